"""Opens the SQL database of a command: ``--database``, or the variable ``mpesa_database``."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import attrs

from mpesa_stk.client import StkClient
from mpesa_stk.commands.context import BadArgument, Context
from mpesa_stk.config.settings import StkConfig
from mpesa_stk.payments.accounts import Accounts
from mpesa_stk.payments.budget import QueryPace, pace_for
from mpesa_stk.payments.payments import Payments
from mpesa_stk.payments.store import TransactionStore

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from mpesa_stk.stores.sql import SqlQueryBudget, SqlTokenStore, SqlTransactionStore
    from mpesa_stk.stores.sql_schema import Schema

VARIABLE = "mpesa_database"
_OPTION = "--database"
_URL_FORM = (
    "write it as postgresql+psycopg://user@host:5432/database, and a password's special characters as "
    "%40 and the like"
)


@attrs.frozen(kw_only=True)
class DatabaseUrl:
    """The address of a database.

    Attributes:
        text: The SQLAlchemy URL. It may hold a password.
        source: The option or variable that named it, for messages.
    """

    text: str = attrs.field(repr=False)
    source: str


def add_option(command: argparse._ActionsContainer, /) -> None:
    """Add ``--database``."""
    command.add_argument(
        _OPTION, metavar="URL", help="SQLAlchemy URL of the payments (MPESA_DATABASE)"
    )


def named(context: Context, option: str | None, /) -> DatabaseUrl | None:
    """Return the database that the option or else the environment names, or None."""
    if option is not None:
        return DatabaseUrl(text=option, source=_OPTION)
    text = context.variable(VARIABLE)
    return DatabaseUrl(text=text, source=VARIABLE) if text else None


def needed(context: Context, option: str | None, /) -> DatabaseUrl:
    """Return the database that the option or else the environment names.

    Raises:
        BadArgument: Neither names one.
    """
    url = named(context, option)
    if url is None:
        raise BadArgument(f"{VARIABLE}: is not set, and {_OPTION} is not given")
    return url


def url_fault(url: DatabaseUrl, /) -> str:
    """Explain why no engine can be made for a URL, or return ``""``. Does not connect."""
    try:
        with _open_engine(url):
            return ""
    except BadArgument as error:
        return str(error).removeprefix(f"{url.source}: ")


@contextlib.contextmanager
def open_store(context: Context, option: str | None, /) -> Iterator[TransactionStore]:
    """Open the payments of the project, or of the database that is named, to read them.

    Raises:
        BadArgument: No database is named, its URL cannot work, or SQLAlchemy or the driver is missing.
    """
    if context.project is not None:
        yield context.project.store
        return
    with _open_engine(needed(context, option)) as engine:
        # The extra `sql` may not be installed, so its modules are imported when they are needed.
        from mpesa_stk.stores.sql import SqlTransactionStore  # noqa: PLC0415

        yield SqlTransactionStore(engine)


@contextlib.contextmanager
def open_schemas(url: DatabaseUrl, /) -> Iterator[Mapping[str, Schema]]:
    """Open the tables of a database, to bring them up: each store's schema by what it keeps.

    Raises:
        BadArgument: The URL cannot work, or SQLAlchemy or the driver is not installed.
    """
    with _open_engine(url) as engine:
        from mpesa_stk.stores.sql import (  # noqa: PLC0415 - as above
            SqlQueryBudget,
            SqlTokenStore,
            SqlTransactionStore,
        )

        yield {
            "payments": SqlTransactionStore(engine).schema,
            "tokens": SqlTokenStore(engine).schema,
            "query budget": SqlQueryBudget(engine, QueryPace(per_minute=1)).schema,
        }


@attrs.frozen(kw_only=True)
class SharedPayments:
    """Payments whose store, token and query budget all processes share in one database."""

    payments: Payments | Accounts
    _parts: tuple[SqlTransactionStore | SqlTokenStore | SqlQueryBudget, ...]
    _missing: list[bool] = attrs.field(factory=lambda: [True], init=False, repr=False)

    def ready(self) -> Payments | Accounts:
        """Return the payments. The first time, missing tables are made before.

        Raises:
            StoreError: The database failed. The next call tries again.
        """
        while self._missing:
            for part in self._parts:
                part.create_tables()
            self._missing.clear()
        return self.payments


@contextlib.contextmanager
def open_source(
    context: Context, option: str | None, /
) -> Iterator[Callable[[], Payments | Accounts]]:
    """Open the payments of the project, or of the database that is named, to work on them.

    Yields:
        A function that returns them.

    Raises:
        BadArgument: As `open_store` raises.
        ConfigurationError: A setting of an account is missing or cannot work.
    """
    if context.project is not None:
        yield context.project.payments
        return
    url = needed(context, option)
    with open_payments(context, url, context.settings_of_all()) as shared:
        yield shared.ready


@contextlib.contextmanager
def open_payments(
    context: Context, url: DatabaseUrl, configs: tuple[StkConfig, ...], /
) -> Iterator[SharedPayments]:
    """Open the payments of one account or of several in a database, to work on them.

    Raises:
        BadArgument: The URL cannot work, or SQLAlchemy or the driver is not installed.
    """
    with _open_engine(url) as engine:
        from mpesa_stk.stores.sql import (  # noqa: PLC0415 - as above
            SqlQueryBudget,
            SqlTokenStore,
            SqlTransactionStore,
        )

        store, tokens = SqlTransactionStore(engine), SqlTokenStore(engine)
        pace = pace_for(configs[0].environment)  # all accounts are in one environment
        budget = SqlQueryBudget(engine, pace) if pace else None
        payments = context.payments(configs, store, token_store=tokens, query_budget=budget)
        with contextlib.closing(connections_of(payments)):
            yield SharedPayments(
                payments=payments,
                parts=(store, tokens) if budget is None else (store, tokens, budget),
            )


def connections_of(payments: Payments | Accounts, /) -> StkClient | Accounts:
    """Return the object that closes the connections of payments."""
    return payments if isinstance(payments, Accounts) else payments.client


@contextlib.contextmanager
def _open_engine(url: DatabaseUrl) -> Iterator[Engine]:
    """Make an engine without connecting it. Messages never repeat the URL, which may hold a password."""
    try:
        from sqlalchemy import create_engine  # noqa: PLC0415 - as above
        from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError  # noqa: PLC0415
    except ImportError:
        needs = "needs SQLAlchemy: pip install 'mpesa-stk-client[sql]'"
        raise BadArgument(f"{url.source}: {needs}") from None
    try:
        engine = create_engine(url.text, pool_pre_ping=True)
    except ImportError as error:
        why = f"its driver is not installed ({error}): {advice(url.text)}"
        raise BadArgument(f"{url.source}: {why}") from None
    except (SQLAlchemyError, ValueError) as error:
        how = advice(url.text) if isinstance(error, NoSuchModuleError) else _URL_FORM
        why = f"not a usable URL ({type(error).__name__}): {how}"
        raise BadArgument(f"{url.source}: {why}") from None
    if engine.dialect.is_async:
        why = f"its driver is for asyncio only: {advice(url.text)}"
        raise BadArgument(f"{url.source}: {why}")
    try:
        yield engine
    finally:
        engine.dispose()


# --- the spelling of a URL -------------------------------------------------------------------------------

# Names of databases as people write them -> the name that SQLAlchemy knows.
_KINDS: Mapping[str, str] = {
    "postgres": "postgresql",
    "postgresql": "postgresql",
    "pgsql": "postgresql",
    "psql": "postgresql",
    "mysql": "mysql",
    "mariadb": "mariadb",
    "sqlite": "sqlite",
    "sqlite3": "sqlite",
}
# A kind -> its drivers that work without asyncio, best first: name in a URL, and module.
_DRIVERS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "postgresql": (("psycopg", "psycopg"), ("psycopg2", "psycopg2"), ("pg8000", "pg8000")),
    "mysql": (("pymysql", "pymysql"), ("mysqldb", "MySQLdb")),
    "mariadb": (("pymysql", "pymysql"), ("mysqldb", "MySQLdb")),
}
_PACKAGES: Mapping[str, str] = {"psycopg": "psycopg[binary]", "pymysql": "pymysql"}
_ALIKE = 0.7


def advice(url: str, /) -> str:
    """Advise how to write a URL whose kind or driver SQLAlchemy does not know, without repeating it."""
    written = url.partition(":")[0].partition("+")[0].lower()
    near = difflib.get_close_matches(written, _KINDS, 1, _ALIKE)
    if not near:
        return "write it as postgresql+psycopg://user@host/database, or as SQLAlchemy's pages say"
    kind = _KINDS[near[0]]
    if kind == "sqlite":
        return "write sqlite:///file.db, or sqlite:////var/lib/shop/file.db"
    drivers = _DRIVERS[kind]
    installed = [name for name, module in drivers if importlib.util.find_spec(module)]
    name = installed[0] if installed else drivers[0][0]
    written_so = f"write {kind}+{name}://..., with the rest as it is"
    return written_so if installed else f"pip install '{_PACKAGES[name]}', and {written_so}"
