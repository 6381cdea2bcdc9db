"""Shared parts of the SQL stores: column types, transactions, and errors without parameters.

SQLAlchemy's errors print the parameters of the statement, which are phone numbers and tokens. So this file
neither chains nor quotes them. Its `StoreError` describes the failure in our words, with the class of the
error and the database's code. It is raised outside the ``except`` block, so that it has no context.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from types import MappingProxyType
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite

from mpesa_stk.clock import Clock
from mpesa_stk.errors import ConfigurationError
from mpesa_stk.stores.database_work import TRIES, Done, Failure, Kind, done, was_rolled_back
from mpesa_stk.stores.sql_errors import meaning_of
from mpesa_stk.stores.sql_single import Prepared, alone, is_alone, is_direct, watch_pool

__all__ = ["Database", "ExactText", "LongBytes", "LongText", "Moment", "make_table"]

T = TypeVar("T")
_Connect = Callable[[], contextlib.AbstractContextManager[sa.Connection]]

_MYSQL = ("mysql", "mariadb")
_DATABASES = ("postgresql", "sqlite", *_MYSQL)
# The longest name of an index has 20 characters more, and PostgreSQL takes 63.
_TABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,42}")
_BUSY_MILLISECONDS = 30_000
_WAITS = "mpesa_stk_waits"
_HEX = "_hex"
_NO_VALUES: Mapping[str, object] = MappingProxyType({})


# --- tables and column types ----------------------------------------------------------------------------


def make_table(metadata: sa.MetaData, name: str, /, *items: sa.schema.SchemaItem) -> sa.Table:
    """Make a table with transactions and full Unicode on any server.

    Raises:
        ConfigurationError: The prefix of its name is not a plain identifier, or is too long.
    """
    if not _TABLE_NAME.fullmatch(name):
        problem = (
            "must be at most 30 ASCII letters, digits and underscores, and begin with no digit"
        )
        raise ConfigurationError((("table_prefix", problem),))
    wanted = {"engine": "InnoDB", "charset": "utf8mb4"}
    options: dict[str, Any] = {
        f"{dialect}_{option}": value for dialect in _MYSQL for option, value in wanted.items()
    }
    return sa.Table(name, metadata, *items, **options)


class ExactText(sa.types.TypeDecorator[str]):
    """A text that the database compares by its bytes.

    The default collations of MySQL and MariaDB ignore case and trailing spaces, so two ids could count
    as one.
    """

    impl = sa.String
    cache_ok = True

    def __init__(self, length: int | None = None) -> None:
        super().__init__(length)
        self.length = length

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[str]:
        """Return the type to use in a database."""
        if dialect.name not in _MYSQL:
            return sa.Text() if self.length is None else sa.String(self.length)
        mariadb = getattr(dialect, "is_mariadb", False)
        options = {
            "charset": "utf8mb4",
            "collation": "utf8mb4_nopad_bin" if mariadb else "utf8mb4_0900_bin",
        }
        if self.length is None:
            return mysql.LONGTEXT(**options)
        return mysql.VARCHAR(self.length, **options)


class Moment(sa.types.TypeDecorator[datetime]):
    """An aware time in UTC, exact to the microsecond.

    If the database has no type with a zone, the time is stored without one.
    """

    impl = sa.DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """Return the type to use in a database."""
        if dialect.name in _MYSQL:
            return mysql.DATETIME(fsp=6)
        return sa.DateTime(timezone=dialect.name == "postgresql")

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Convert a time on its way to the database."""
        if value is None:
            return None
        moment = value.astimezone(timezone.utc)
        return moment if dialect.name == "postgresql" else moment.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Convert a time that was read from the database."""
        if value is None:
            return None
        if dialect.name == "postgresql":
            return value.astimezone(timezone.utc)
        return value.replace(tzinfo=timezone.utc)


def LongText() -> sa.types.TypeEngine[str]:  # noqa: N802 - it is used like a type
    """Return the type of a text of any length."""
    return sa.Text().with_variant(mysql.LONGTEXT(), *_MYSQL)


def LongBytes() -> sa.types.TypeEngine[bytes]:  # noqa: N802 - as above
    """Return the type of a byte string of any length."""
    return sa.LargeBinary().with_variant(mysql.LONGBLOB(), *_MYSQL)


# --- transactions --------------------------------------------------------------------------------------


class Database:
    """Run each piece of work on the host's engine, in a separate transaction."""

    def __init__(
        self,
        engine: sa.Engine,
        /,
        *,
        clock: Clock,
        jitter: Callable[[], float] = random.random,
        driver_is_async: bool = False,
    ) -> None:
        """Check the engine, without connecting.

        Args:
            engine: The host's engine.
            clock: Waits between two tries.
            jitter: Returns a random number from 0 to 1, which varies the waits.
            driver_is_async: Whether the engine is the synchronous face of an `AsyncEngine`, and all
                methods are called in SQLAlchemy's greenlet bridge.

        Raises:
            ConfigurationError: The engine is of another kind, or its database is not supported.
        """
        if not isinstance(engine, sa.Engine):
            raise ConfigurationError((("engine", "must be an SQLAlchemy Engine"),))
        if engine.dialect.is_async and not driver_is_async:
            raise ConfigurationError((("engine", "must not have an asynchronous driver"),))
        if engine.dialect.name not in _DATABASES:
            raise ConfigurationError(
                (("engine", "must be of PostgreSQL, MySQL, MariaDB or SQLite"),)
            )
        if "isolation_level" in engine.get_execution_options():
            # SQLAlchemy would apply it after ours, so that a claim or a commit would not be what it seems.
            problem = "must have its isolation_level from create_engine, not from execution_options"
            raise ConfigurationError((("engine", problem),))
        self._sqlite = engine.dialect.name == "sqlite"
        self._engine = self._isolated = self._single = engine
        if engine.dialect.name == "postgresql":
            # One statement is a transaction by itself. BEGIN and COMMIT would cost two more round trips.
            # In MySQL, switching costs more round trips than it saves.
            self._single = engine.execution_options(isolation_level="AUTOCOMMIT")
            watch_pool(engine)
        if not self._sqlite:
            # This works for an engine in autocommit, too. In MySQL the default isolation would also lock
            # gaps. It is an option of the engine, because that takes effect before an event handler of the
            # host can begin a transaction.
            self._isolated = engine.execution_options(isolation_level="READ COMMITTED")
        else:
            sa.event.listen(engine, "do_connect", _make_private)  # it is added only once
        self._clock = clock
        self._jitter = jitter
        self._check: Callable[[], bool] | None = None
        self._inserts: dict[sa.Table, Prepared] = {}
        self._inserts_once: dict[sa.Table, Prepared] = {}

    def before_first_use(self, check: Callable[[], bool], /) -> None:
        """Call a function before each use, until it returns True."""
        self._check = check

    def read(
        self, statement: Prepared, values: Mapping[str, object] = _NO_VALUES, /
    ) -> list[dict[str, Any]]:
        """Return the rows of a query.

        Args:
            statement: The query, with named parameters.
            values: The values of the parameters.

        Raises:
            StoreError: The database failed.
        """
        return self.run(
            lambda connection: statement.rows(connection, values), writes=False, single=True
        )

    def inserted(
        self,
        table: sa.Table,
        row: dict[str, Any],
        /,
        *,
        refused: Callable[[], bool | None],
        unsure: Callable[[], bool | None] | None = None,
    ) -> bool:
        """Insert one row and return True. `run` explains the arguments and errors."""
        if table not in self._inserts:
            self._inserts[table] = Prepared(sa.insert(table))
        statement = self._inserts[table]

        def work(connection: sa.Connection) -> bool:
            statement.count(connection, row)
            return True

        return self.run(work, single=True, refused=refused, unsure=unsure)

    def inserted_once(
        self,
        table: sa.Table,
        row: dict[str, Any],
        /,
        *,
        unsure: Callable[[], bool | None],
    ) -> None:
        """Insert one row, unless its primary key is there. See `run` for the rest."""
        if table not in self._inserts_once:
            self._inserts_once[table] = Prepared(self._insert_once(table))
        if self._engine.dialect.name in _MYSQL:
            row = {
                (name + _HEX if isinstance(value, bytes) else name): (
                    value.hex() if isinstance(value, bytes) else value
                )
                for name, value in row.items()
            }
        self.changed(self._inserts_once[table], row, unsure=unsure)

    def _insert_once(self, table: sa.Table) -> sa.UpdateBase:
        (key,) = table.primary_key.columns
        if self._engine.dialect.name not in _MYSQL:
            insert = sqlite.insert if self._sqlite else postgresql.insert
            return insert(table).on_conflict_do_nothing(index_elements=[key])
        # aiomysql cannot send bytes beside PyMySQL 1.2 (aio-libs/aiomysql issue 1080).
        values = {
            column.name: sa.func.unhex(sa.bindparam(column.name + _HEX, type_=sa.Text()))
            if isinstance(column.type, sa.LargeBinary)
            else sa.bindparam(column.name, type_=column.type)
            for column in table.c
        }
        # INSERT IGNORE would change values that do not fit.
        return mysql.insert(table).values(values).on_duplicate_key_update({key.name: key})

    def changed(
        self,
        statement: Prepared,
        values: Mapping[str, object] = _NO_VALUES,
        /,
        *,
        refused: Callable[[], bool | None] | None = None,
        unsure: Callable[[], bool | None] | None = None,
    ) -> bool:
        """Execute a write, and return whether it changed a row. See `run` for the rest."""
        return self.run(
            lambda connection: statement.count(connection, values) > 0,
            single=True,
            refused=refused,
            unsure=unsure,
        )

    def run(
        self,
        work: Callable[[sa.Connection], T],
        /,
        *,
        writes: bool = True,
        isolated: bool = False,
        single: bool = False,
        unchecked: bool = False,
        refused: Callable[[], T | None] | None = None,
        unsure: Callable[[], T | None] | None = None,
    ) -> T:
        """Do some work in one transaction, commit it, and return its result.

        If the database rolls it back because of other writers, do it again.

        Args:
            work: Executes statements, and returns the result.
            writes: Whether the work writes.
            isolated: Whether the work locks rows first, and so needs READ COMMITTED.
            single: Whether the work is one statement, which some databases commit by itself.
            unchecked: Whether the check before the first use is left out, as in that check itself.
            refused: Called after a constraint violation. It returns a result, returns None to fail, or
                raises an error for the caller.
            unsure: Called if the commit may or may not have happened. It reads the rows again and
                returns the result, or None if they do not decide it.

        Raises:
            StoreError: The database failed.
        """
        if self._check is not None and not unchecked and self._check():
            self._check = None
        # A handler of the host may set something for the transaction that it sees begin.
        single = single and not self._engine.dispatch.begin
        engine = self._isolated if isolated else self._single if single else self._engine
        connect: _Connect = engine.connect
        if single and is_direct(self._engine):
            connect = functools.partial(alone, self._engine)
        return done(
            lambda: self._attempt(work, writes=writes, connect=connect),
            clock=self._clock,
            jitter=self._jitter,
            refused=refused,
            unsure=unsure,
        )

    def create(self, metadata: sa.MetaData, /, *, first: sa.Table) -> None:
        """Create the tables and indexes that are missing, one of the tables before the others.

        Raises:
            StoreError: The database failed.
        """

        def work(connection: sa.Connection) -> bool:
            first.create(connection, checkfirst=True)
            metadata.create_all(connection)
            # An index is missing if a process died after it made a table and before it made its indexes.
            for table in metadata.tables.values():
                for index in table.indexes:
                    index.create(connection, checkfirst=True)
            return True

        # Each try that another process disturbs leaves at least one more table or index.
        self._create(work, TRIES + sum(len(table.indexes) for table in metadata.tables.values()))
        self._check = None

    def _create(self, work: Callable[[sa.Connection], bool], tries: int) -> bool:
        def again() -> bool | None:
            # Another process may be creating the same tables at this moment.
            return self._create(work, tries - 1) if tries > 1 else None

        return self.run(work, unchecked=True, refused=again, unsure=again)

    def _attempt(
        self,
        work: Callable[[sa.Connection], T],
        *,
        writes: bool,
        connect: _Connect,
    ) -> Done[T] | Failure:
        """Do the work once. Reduce an error to its meaning, its class and its code."""
        reached = False
        try:
            with connect() as connection:
                if self._sqlite:
                    _begin_sqlite(connection, writes=writes)
                reached = True
                result = work(connection)
                if writes and not is_alone(connection):
                    self._commit(connection)
        except Exception as error:  # noqa: BLE001 - on a broken connection drivers raise anything, AttributeError too
            kind = _kind(error) if reached else Kind.NOT_REACHED
            return Failure(kind=kind, meaning=meaning_of(error, reached=reached))
        return Done(result=result)

    def _commit(self, connection: sa.Connection) -> None:
        try:
            if self._sqlite and _commits_nothing(connection):
                connection.exec_driver_sql("COMMIT")
            connection.commit()
        except BaseException:
            # SQLAlchemy does not roll back after a failed commit, and the next user of the connection
            # would commit these changes.
            connection.invalidate()
            raise


def _make_private(_dialect: object, _record: object, args: list[Any], _options: object) -> None:
    """Create a missing SQLite file for its owner alone: it will hold phone numbers.

    SQLite gives its journals the mode of the file. A file that exists keeps its mode. If SQLAlchemy passes
    a URI (``?uri=true``), that is not a path, and the process's umask decides the mode of the file.
    """
    path = args[0] if args else ":memory:"
    if path in ("", ":memory:") or path.startswith("file:"):
        return
    with contextlib.suppress(OSError):  # the file exists, or SQLite will report the problem
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _begin_sqlite(connection: sa.Connection, *, writes: bool) -> None:
    """Begin a transaction that waits for others. If it writes, lock at once.

    A transaction that has already read fails at once if it asks for the write lock while another one
    writes.
    """
    if _WAITS not in connection.info:  # kept for as long as the driver's connection
        if connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() < _BUSY_MILLISECONDS:
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}")
        connection.info[_WAITS] = True
    if writes:
        if not connection.in_transaction():
            connection.begin()  # before an event handler of the host does
        driver: Any = connection.connection.driver_connection
        if driver.in_transaction:  # an event handler of the host began one
            connection.exec_driver_sql("ROLLBACK")
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _commits_nothing(connection: sa.Connection) -> bool:
    """Return whether ``commit()`` of the driver has no effect (``autocommit=True``, from Python 3.12)."""
    driver: Any = connection.connection.driver_connection
    # aiosqlite does not pass this attribute on from the connection of sqlite3 that it has.
    return getattr(getattr(driver, "_conn", driver), "autocommit", None) is True


def _kind(error: Exception) -> Kind:
    if was_rolled_back(error):
        return Kind.ROLLED_BACK
    return Kind.REFUSED if isinstance(error, sa.exc.IntegrityError) else Kind.UNSURE
