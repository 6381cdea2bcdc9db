"""``mpesa-stk worker``: does the work that is due, batch after batch, until a signal stops it."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import inspect
import logging
import math
import sys
from collections.abc import Callable
from typing import Any

import attrs

from mpesa_stk.commands import database
from mpesa_stk.commands.context import BadArgument, Context, one_line
from mpesa_stk.commands.exit_codes import DONE
from mpesa_stk.commands.loop import StopFlag, do_batches, stop_signals
from mpesa_stk.commands.options import Subparsers, seconds, whole_number
from mpesa_stk.commands.pull_work import PullWork, pause
from mpesa_stk.errors import ConfigurationError, StoreError
from mpesa_stk.payments.accounts import Accounts
from mpesa_stk.payments.alarm import CallbackNews
from mpesa_stk.payments.due import DueReport
from mpesa_stk.payments.payments import Payments
from mpesa_stk.payments.state import Transaction

_EVERY = 2.0
_LONGEST_PAUSE = 86_400.0
_LIMIT = 100
_MOST = 1_000_000
_DEADLINE = 10.0
_CHECK_EVERY = 60.0

Handler = Callable[[Transaction], object]


def add_to(commands: Subparsers, /) -> None:
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
    source = command.add_mutually_exclusive_group()
    database.add_option(source)
    source.add_argument(
        "--payments",
        metavar="MODULE:FACTORY",
        help="called without arguments; returns your Payments or Accounts",
    )
    add_options(command)
    command.set_defaults(command=run)


def add_options(command: argparse.ArgumentParser, /) -> None:
    """Add the options that do not say whose payments they are."""
    command.add_argument(
        "--every",
        default=_EVERY,
        type=seconds(_LONGEST_PAUSE),
        metavar="SECONDS",
        help="pause between two batches (%(default)s)",
    )
    command.add_argument(
        "--limit",
        default=_LIMIT,
        type=whole_number(1, _MOST),
        help="most payments of a batch (%(default)s)",
    )
    command.add_argument("--once", action="store_true", help="do what is due now, then end")
    command.add_argument(
        "--pull",
        type=pause,
        metavar="PAUSE",
        help="also look for lost payments in Safaricom's records, at most so often: 15m",
    )


def run(context: Context, arguments: argparse.Namespace, /) -> int:
    """Do the work that is due for the payments that the arguments name."""
    # The command of an installed package does not look for modules in the current folder.
    here = str(context.folder.resolve())
    if here not in sys.path:
        sys.path.insert(0, here)
    check_options(context, arguments)
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(stop_signals())
        # The module of the factory first: it may set up something that the handler's module needs.
        factory = _import_function(arguments.payments) if arguments.payments else None
        handler = _import_handler(arguments.handler)
        if factory is None:
            source = stack.enter_context(database.open_source(context, arguments.database))
        else:
            source = _call_factory(factory)
        _show_the_log()
        return work(
            context,
            source,
            handler,
            stop=stop,
            every=arguments.every,
            limit=arguments.limit,
            once=arguments.once,
            pull_every=arguments.pull,
        )


def check_options(context: Context, arguments: argparse.Namespace, /) -> None:
    """Refuse options that do not go together.

    Raises:
        BadArgument: They do not.
    """
    if arguments.once and arguments.pull is not None:
        instead = context.command_line("reconcile --pull --apply")
        raise BadArgument(f"--pull: not with --once: cron runs `{instead}`")


def work(  # noqa: PLR0913 - each has a name
    context: Context,
    source: Callable[[], Payments | Accounts],
    handler: Handler,
    /,
    *,
    stop: StopFlag,
    every: float = _EVERY,
    limit: int = _LIMIT,
    once: bool = False,
    pull_every: float | None = None,
) -> int:
    """Do batches until the flag is set. The payment in hand is finished first.

    Args:
        context: The world of the command.
        source: Returns the payments, before each batch.
        handler: Called with each settled payment.
        stop: The flag.
        every: Seconds between two batches.
        limit: Most payments of a batch.
        once: Whether to end as soon as no more is due.
        pull_every: The least seconds between two pulls of an account. None for no pulls.

    Raises:
        StoreError: The store failed, and `once` is set.
    """
    check = _CallbackCheck(context)
    look = PullWork(context, pull_every) if pull_every is not None else None

    def batch() -> DueReport:
        payments = source()
        report = payments.process_due(
            on_settled=_without_exit(handler), limit=limit, deadline=_DEADLINE, stop=stop.is_set
        )
        _print_batch(context, report)
        if not once:
            check(payments)
        if look is not None:
            look(payments)
        return report

    def failed(error: StoreError, wait: float) -> None:
        text = one_line(str(error))
        context.complain(
            f"the store failed: {text}; trying again in {wait:.0f} s",
            "see that the database runs, and that its user may use the tables",
        )

    if once:
        while batch().more and not stop.is_set():
            pass
        return DONE
    context.say("Doing what is due; SIGTERM or Ctrl-C ends it after the payment in hand.")
    do_batches(batch, pause=stop.wait, every=every, failed=failed)
    return DONE


class _CallbackCheck:
    """Looks once a minute whether callbacks still come, and says what is new."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._next = context.clock.monotonic()

    def __call__(self, payments: Payments | Accounts) -> None:
        """Look if it is time to.

        Raises:
            StoreError: The store failed.
        """
        if self._context.clock.monotonic() < self._next:
            return
        self._next = self._context.clock.monotonic() + _CHECK_EVERY
        try:
            news = payments.check_callbacks()
        except ConfigurationError:
            self._next = math.inf  # a host's own store need not be able to search
            return
        if news is CallbackNews.STOPPED:
            doctor = self._context.command_line("doctor")
            self._context.complain(_STOPPED, f"see that your callback URL answers: `{doctor}`")
        elif news is not None:
            self._context.complain("callbacks come again")


_STOPPED = (
    "callbacks have stopped: Daraja says how the last payments ended, and posted nothing about them"
)


def _without_exit(handler: Handler) -> Handler:
    """Turn SystemExit of the handler into a failed report: signals alone stop this command."""

    def report(transaction: Transaction) -> None:
        try:
            handler(transaction)
        except SystemExit as leaving:
            raise RuntimeError("the handler called sys.exit") from leaving

    return report


# --- the functions that the arguments name ---------------------------------------------------------------


def _import_handler(spec: str) -> Callable[..., Any]:
    """Import the handler.

    Raises:
        BadArgument: It does not exist, or a call would not run it.
    """
    handler = _import_function(spec)
    if inspect.iscoroutinefunction(handler) or inspect.isgeneratorfunction(handler):
        raise BadArgument(f"{spec!r} is no plain function: it would never run")
    return handler


def _import_function(spec: str) -> Callable[..., Any]:
    """Import the function ``package.module:function``.

    Raises:
        BadArgument: It does not exist.
    """
    module_name, _, path = spec.partition(":")
    if not module_name or not path:
        raise BadArgument(f"{spec!r} is not of the form package.module:function")
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:
        raise BadArgument(f"cannot import {module_name!r}: {_words(error)}") from error
    for name in path.split("."):
        found = getattr(found, name, None)
    if not callable(found):
        raise BadArgument(f"{module_name!r} has no function {path!r}")
    function: Callable[..., Any] = found
    return function


def _call_factory(factory: Callable[..., Any]) -> Callable[[], Payments | Accounts]:
    """Let the host's factory make the payments.

    Raises:
        ConfigurationError: The factory raised it.
        BadArgument: The factory failed, or returned another type.
    """
    try:
        payments = factory()
    except ConfigurationError:
        raise
    except Exception as error:
        raise BadArgument(f"the factory of --payments failed: {_words(error)}") from error
    if not isinstance(payments, (Payments, Accounts)):
        raise BadArgument(f"the factory of --payments returned a {type(payments).__name__}")
    return lambda: payments


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


# --- output ----------------------------------------------------------------------------------------------


def _print_batch(context: Context, report: DueReport) -> None:
    """Print one line about a batch that did something."""
    numbers = attrs.asdict(report)
    del numbers["more"]
    done = [f"{name} {number}" for name, number in numbers.items() if number]
    if done:
        context.show(", ".join(done))


def _show_the_log() -> None:
    """Show warnings on stderr, unless the host's own set-up does: each would come twice."""
    handlers = logging.getLogger("mpesa_stk").handlers
    if all(isinstance(handler, logging.NullHandler) for handler in handlers):
        logging.basicConfig(level=logging.WARNING, format="%(message)s")
