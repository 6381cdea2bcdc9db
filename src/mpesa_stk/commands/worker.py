"""``mpesa-stk worker``: does what is due for a host, batch after batch, until it is told to stop."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import inspect
import logging
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from mpesa_stk.client import StkClient
from mpesa_stk.commands.database_urls import advice
from mpesa_stk.commands.due_loop import do_batches
from mpesa_stk.commands.parsers import BAD_ARGUMENTS, DONE, NOT_DONE, SEE_DOCTOR, Commands
from mpesa_stk.commands.posting import one_line
from mpesa_stk.commands.signals import StopWish, stop_signals
from mpesa_stk.config import StkConfig
from mpesa_stk.errors import ConfigurationError, StoreError
from mpesa_stk.payments.budget import pace_for
from mpesa_stk.payments.due import DueReport
from mpesa_stk.payments.flow import Payments
from mpesa_stk.payments.transaction import Transaction

__all__ = ["add_to", "run"]

_EVERY = 2.0
_LIMIT = 100
_DEADLINE = 10.0
_URL_FORM = (
    "write it as postgresql+psycopg://user@host:5432/database, and a password's special characters as "
    "%40 and the like"
)

Handler = Callable[[Transaction], object]


class _CannotStart(Exception):
    """What the command was given cannot work; nothing was claimed."""


def add_to(commands: Commands, /) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "worker",
        help="do what is due: ask about open payments, tell your code of settled ones",
        description="Does what is due, again and again: asks Daraja about open payments, and calls "
        "your handler for each settled one. Run as many as you like.",
    )
    command.add_argument(
        "--handler",
        required=True,
        metavar="MODULE:FUNCTION",
        help="called with each settled transaction, at least once",
    )
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument("--database", metavar="URL", help="SQLAlchemy URL of the payments")
    source.add_argument(
        "--payments",
        metavar="MODULE:FACTORY",
        help="called without arguments; returns your Payments",
    )
    command.add_argument(
        "--every",
        default=_EVERY,
        type=_seconds,
        metavar="SECONDS",
        help="pause between two batches (%(default)s)",
    )
    command.add_argument(
        "--limit", default=_LIMIT, type=_count, help="most payments of a batch (%(default)s)"
    )
    command.add_argument("--once", action="store_true", help="do what is due now, then end")
    command.set_defaults(command=_run)


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError("must be a positive number of seconds")
    return number


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError("must be a whole number from 1")
    return int(text)


def _run(arguments: argparse.Namespace) -> int:
    # The command of an installed package does not look for modules where it is called.
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    with contextlib.ExitStack() as stack:
        wish = stack.enter_context(stop_signals())
        try:
            # The module of the factory first: it may set up what the handler's module needs.
            factory = _named(arguments.payments) if arguments.payments else None
            handler = _handler(arguments.handler)
            source = (
                _from_factory(factory) if factory else _from_database(arguments.database, stack)
            )
        except (_CannotStart, ConfigurationError) as error:
            _say(f"mpesa-stk worker: {error}")
            if isinstance(error, ConfigurationError):
                _say(f"mpesa-stk worker: {SEE_DOCTOR}")
            return BAD_ARGUMENTS
        _show_the_log()
        return run(
            source,
            handler,
            wish=wish,
            every=arguments.every,
            limit=arguments.limit,
            once=arguments.once,
        )


def run(
    source: Callable[[], Payments],
    handler: Handler,
    /,
    *,
    wish: StopWish,
    every: float = _EVERY,
    limit: int = _LIMIT,
    once: bool = False,
) -> int:
    """Do batches until told to stop; the payment in hand is finished first.

    Args:
        source: Gives the payments, before each batch.
        handler: Told of each settled payment.
        wish: Says when it is time to stop.
        every: Seconds between two batches.
        limit: Most payments of a batch.
        once: Whether to end when nothing more is due.

    Returns:
        Exit code: 0, or 1 where `once` is set and the store failed.
    """

    def batch() -> DueReport:
        report = source().process_due(
            on_settled=_contained(handler), limit=limit, deadline=_DEADLINE, stop=wish.has_come
        )
        _tell(report)
        return report

    if not once:
        _say("Doing what is due; SIGTERM or Ctrl-C ends it after the payment in hand.")
        do_batches(batch, pause=wish.wait, every=every, failed=_store_failed)
        return DONE
    try:
        while batch().more and not wish.has_come():
            pass
    except StoreError as error:
        _store_failed(error)
        return NOT_DONE
    return DONE


def _contained(handler: Handler) -> Handler:
    """The handler, without its power to end the command: the signals are ours, so it can mean no stop."""

    def tell(transaction: Transaction) -> None:
        try:
            handler(transaction)
        except SystemExit as leaving:
            raise RuntimeError("the handler called sys.exit") from leaving

    return tell


# --- what the arguments name -----------------------------------------------------------------------------


def _handler(spec: str) -> Callable[..., Any]:
    """The handler of that name.

    Raises:
        _CannotStart: There is none, or calling it would not run it.
    """
    handler = _named(spec)
    if inspect.iscoroutinefunction(handler) or inspect.isgeneratorfunction(handler):
        raise _CannotStart(f"{spec!r} is no plain function: it would never run")
    return handler


def _named(spec: str) -> Callable[..., Any]:
    """The function that ``package.module:function`` names.

    Raises:
        _CannotStart: There is none.
    """
    module_name, _, path = spec.partition(":")
    if not module_name or not path:
        raise _CannotStart(f"{spec!r} is not of the form package.module:function")
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:
        raise _CannotStart(f"cannot import {module_name!r}: {_words(error)}") from error
    for name in path.split("."):
        found = getattr(found, name, None)
    if not callable(found):
        raise _CannotStart(f"{module_name!r} has no function {path!r}")
    function: Callable[..., Any] = found
    return function


def _from_factory(factory: Callable[..., Any]) -> Callable[[], Payments]:
    try:
        payments = factory()
    except ConfigurationError:
        raise
    except Exception as error:
        raise _CannotStart(f"the factory of --payments failed: {_words(error)}") from error
    if not isinstance(payments, Payments):
        raise _CannotStart(f"the factory of --payments returned a {type(payments).__name__}")
    return lambda: payments


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _from_database(url: str, stack: contextlib.ExitStack) -> Callable[[], Payments]:
    """Payments in an SQL database, with its token and its budget shared by all workers.

    The tables are made before the first batch: a database that is down then is waited for as later.
    """
    config = StkConfig.from_env()
    try:
        # Imported here: they need the extra ``sql``, and no other command does.
        from sqlalchemy import create_engine  # noqa: PLC0415
        from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError  # noqa: PLC0415

        from mpesa_stk.payments.sql import (  # noqa: PLC0415
            SqlQueryBudget,
            SqlTokenStore,
            SqlTransactionStore,
        )

    except ImportError:
        needs = "--database needs SQLAlchemy: pip install 'mpesa-stk-client[sql]'"
        raise _CannotStart(needs) from None
    try:
        engine = create_engine(url, pool_pre_ping=True)
    except ImportError as error:
        why = f"its driver is not installed ({error}): {advice(url)}"
        raise _CannotStart(f"--database: {why}") from None
    except (SQLAlchemyError, ValueError) as error:
        # Without its text, which could hold the password.
        how = advice(url) if isinstance(error, NoSuchModuleError) else _URL_FORM
        why = f"not a usable URL ({type(error).__name__}): {how}"
        raise _CannotStart(f"--database: {why}") from None
    if engine.dialect.is_async:
        raise _CannotStart(f"--database: its driver is for asyncio only: {advice(url)}")
    stack.callback(engine.dispose)
    store, tokens = SqlTransactionStore(engine), SqlTokenStore(engine)
    pace = pace_for(config.environment)
    budget = SqlQueryBudget(engine, pace) if pace else None
    client = stack.enter_context(StkClient(config, token_store=tokens))
    payments = Payments(client, store, query_budget=budget)
    missing = [part.create_tables for part in (store, tokens, budget) if part is not None]

    def source() -> Payments:
        while missing:
            missing[0]()
            del missing[0]
        return payments

    return source


# --- what is printed: what was done to stdout, the rest to stderr -----------------------------------------


def _tell(report: DueReport) -> None:
    """One line about a batch that did something."""
    numbers = attrs.asdict(report)
    del numbers["more"]
    done = [f"{name} {number}" for name, number in numbers.items() if number]
    if done:
        print(", ".join(done), flush=True)


def _show_the_log() -> None:
    """Show warnings on stderr, unless the host's own set-up shows them: each would come twice."""
    handlers = logging.getLogger("mpesa_stk").handlers
    if all(isinstance(handler, logging.NullHandler) for handler in handlers):
        logging.basicConfig(level=logging.WARNING, format="%(message)s")


def _store_failed(error: StoreError, wait: float | None = None) -> None:
    """Say what failed, and what to do."""
    again = "" if wait is None else f"; trying again in {wait:.0f} s"
    _say(f"mpesa-stk worker: the store failed: {one_line(str(error))}{again}")
    _say("mpesa-stk worker: see that the database runs, and that its user may use the tables")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
