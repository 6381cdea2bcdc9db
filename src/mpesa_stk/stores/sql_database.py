"""What the SQL stores share: column types, one transaction a verb, and errors without parameters.

SQLAlchemy's errors print the parameters of the statement, which are phone numbers and tokens. So none of
them is chained or quoted: a `StoreError` says in our words what failed, with the class of the error and
the database's code, and is raised where no such error is at hand.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
from collections.abc import Callable
from datetime import datetime, timezone
from enum import Enum
from typing import Any, Generic, TypeVar

import attrs
import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite

from mpesa_stk.clock import Clock
from mpesa_stk.errors import ConfigurationError, StoreError
from mpesa_stk.hooks import log_trouble
from mpesa_stk.stores.sql_errors import code_of, meaning_of

__all__ = ["Database", "ExactText", "LongBytes", "LongText", "Moment", "make_table"]

T = TypeVar("T")

_MYSQL = ("mysql", "mariadb")
_DATABASES = ("postgresql", "sqlite", *_MYSQL)
# The longest name of an index is 20 characters longer, and PostgreSQL takes 63.
_TABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,42}")
_TRIES = 5
_PAUSE = 0.05
_BUSY_MILLISECONDS = 30_000
# Serialization failure and deadlock in PostgreSQL; in MySQL and MariaDB a deadlock, and a row that
# changed since it was read. All of them say that the transaction was rolled back.
_ROLLED_BACK = ("40001", "40P01", 1213, 1020)


# --- tables and column types ----------------------------------------------------------------------------


def make_table(metadata: sa.MetaData, name: str, /, *items: sa.schema.SchemaItem) -> sa.Table:
    """Make a table that can hold emoji and keeps transactions, also if a server's defaults are older.

    Raises:
        ConfigurationError: The prefix of its name is no plain identifier, or is too long.
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
    """A text that is compared by its bytes.

    The default collations of MySQL and MariaDB ignore case and trailing spaces, so that two ids could
    count as one.
    """

    impl = sa.String
    cache_ok = True

    def __init__(self, length: int | None = None) -> None:
        super().__init__(length)
        self.length = length

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[str]:
        """The type of a database."""
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
    """An aware time in UTC, exact to the microsecond; stored without zone where there is no such type."""

    impl = sa.DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """The type of a database."""
        if dialect.name in _MYSQL:
            return mysql.DATETIME(fsp=6)
        return sa.DateTime(timezone=dialect.name == "postgresql")

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """To the database."""
        if value is None:
            return None
        moment = value.astimezone(timezone.utc)
        return moment if dialect.name == "postgresql" else moment.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """From the database."""
        if value is None:
            return None
        if dialect.name == "postgresql":
            return value.astimezone(timezone.utc)
        return value.replace(tzinfo=timezone.utc)


def LongText() -> sa.types.TypeEngine[str]:  # noqa: N802 - it stands where a type stands
    """A text of any length."""
    return sa.Text().with_variant(mysql.LONGTEXT(), *_MYSQL)


def LongBytes() -> sa.types.TypeEngine[bytes]:  # noqa: N802 - as above
    """Bytes of any number."""
    return sa.LargeBinary().with_variant(mysql.LONGBLOB(), *_MYSQL)


# --- transactions --------------------------------------------------------------------------------------


class _Kind(Enum):
    """What a failure means for what was to be written."""

    NOT_REACHED = "no connection was had"
    ROLLED_BACK = "it was rolled back, and may be tried again"
    REFUSED = "a constraint refused it"
    UNSURE = "it may have been written"


@attrs.frozen(kw_only=True)
class _Done(Generic[T]):
    result: T


@attrs.frozen(kw_only=True)
class _Failure:
    kind: _Kind
    meaning: str


class Database:
    """Runs work on an engine of the host's, each time in a transaction of its own."""

    def __init__(
        self,
        engine: sa.Engine,
        /,
        *,
        clock: Clock,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Check the engine; nothing is connected yet.

        Raises:
            ConfigurationError: It is no engine, or its database is not supported.
        """
        if not isinstance(engine, sa.Engine):
            raise ConfigurationError((("engine", "must be an SQLAlchemy Engine"),))
        if engine.dialect.is_async:
            raise ConfigurationError((("engine", "must not have an asynchronous driver"),))
        if engine.dialect.name not in _DATABASES:
            raise ConfigurationError(
                (("engine", "must be of PostgreSQL, MySQL, MariaDB or SQLite"),)
            )
        self._sqlite = engine.dialect.name == "sqlite"
        self._engine = self._isolated = engine
        if not self._sqlite:
            # Also where the engine is in autocommit. In MySQL the default would lock gaps, too. An option
            # of the engine is set before an event handler of the host's can begin a transaction.
            self._isolated = engine.execution_options(isolation_level="READ COMMITTED")
        elif not sa.event.contains(engine, "do_connect", _make_private):
            sa.event.listen(engine, "do_connect", _make_private)
        self._clock = clock
        self._jitter = jitter

    def read(self, statement: sa.Select[Any], /) -> list[dict[str, Any]]:
        """The rows of a query.

        Raises:
            StoreError: The database failed.
        """
        return self.run(
            lambda connection: [dict(row) for row in connection.execute(statement).mappings()],
            writes=False,
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
        """Insert one row. For the rest see `run`."""

        def work(connection: sa.Connection) -> bool:
            connection.execute(sa.insert(table).values(row))
            return True

        return self.run(work, refused=refused, unsure=unsure)

    def inserted_once(
        self,
        table: sa.Table,
        row: dict[str, Any],
        /,
        *,
        unsure: Callable[[], bool | None],
    ) -> None:
        """Insert one row; if its primary key is there, nothing changes. For the rest see `run`."""
        (key,) = table.primary_key.columns
        statement: sa.UpdateBase
        if self._engine.dialect.name in _MYSQL:
            # INSERT IGNORE would bend values that do not fit.
            to_itself = {key.name: key}
            statement = mysql.insert(table).values(row).on_duplicate_key_update(to_itself)
        else:
            insert = sqlite.insert if self._sqlite else postgresql.insert
            statement = insert(table).values(row).on_conflict_do_nothing(index_elements=[key])
        self.changed(statement, unsure=unsure)

    def changed(
        self,
        statement: sa.UpdateBase,
        /,
        *,
        refused: Callable[[], bool | None] | None = None,
        unsure: Callable[[], bool | None] | None = None,
    ) -> bool:
        """Execute a statement that writes; whether it changed a row. For the rest see `run`."""

        def work(connection: sa.Connection) -> bool:
            return connection.execute(statement).rowcount > 0

        return self.run(work, refused=refused, unsure=unsure)

    def run(
        self,
        work: Callable[[sa.Connection], T],
        /,
        *,
        writes: bool = True,
        isolated: bool = False,
        refused: Callable[[], T | None] | None = None,
        unsure: Callable[[], T | None] | None = None,
    ) -> T:
        """Do some work in one transaction, and commit what it wrote.

        Where the database rolled it back because of other writers, it is done anew.

        Args:
            work: Executes statements, and returns the result.
            writes: Whether it writes.
            isolated: Whether it locks rows first, and needs READ COMMITTED for that.
            refused: Called where a constraint refused a row. Returns the result after all, or None;
                or raises what the caller is told.
            unsure: Called where nobody knows whether it was committed. Returns the result where the
                stored rows tell, or None.

        Raises:
            StoreError: The database failed.
        """
        tries = 0
        while True:
            outcome = self._attempt(work, writes=writes, isolated=isolated)
            if isinstance(outcome, _Done):
                return outcome.result
            tries += 1
            if outcome.kind is not _Kind.ROLLED_BACK or tries == _TRIES:
                break
            self._clock.sleep(_PAUSE * tries * self._jitter())
        look = {_Kind.REFUSED: refused, _Kind.UNSURE: unsure}.get(outcome.kind)
        found = look() if look is not None else None
        if found is None:
            # Those who catch a StoreError log its class alone: its text may be a host's.
            log_trouble("database_failed", error=outcome.meaning)
            raise StoreError(f"the database failed: {outcome.meaning}")
        return found

    def create(self, metadata: sa.MetaData, /) -> None:
        """Create the tables and indexes that are missing.

        Raises:
            StoreError: The database failed.
        """

        def work(connection: sa.Connection) -> bool:
            metadata.create_all(connection)
            # An index can be missing where a process died between a table and its indexes.
            for table in metadata.tables.values():
                for index in table.indexes:
                    index.create(connection, checkfirst=True)
            return True

        self._create(work, _TRIES)

    def _create(self, work: Callable[[sa.Connection], bool], tries: int) -> bool:
        def again() -> bool | None:
            # Another process creates the same tables at the same moment.
            return self._create(work, tries - 1) if tries > 1 else None

        return self.run(work, refused=again, unsure=again)

    def _attempt(
        self, work: Callable[[sa.Connection], T], *, writes: bool, isolated: bool
    ) -> _Done[T] | _Failure:
        """Do the work once. Of an error only its meaning is left, with its class and code."""
        reached = False
        try:
            with (self._isolated if isolated else self._engine).connect() as connection:
                if self._sqlite:
                    _begin_sqlite(connection, writes=writes)
                reached = True
                result = work(connection)
                if writes:
                    self._commit(connection)
        except Exception as error:  # noqa: BLE001 - on a broken connection drivers raise anything, AttributeError too
            kind = _kind(error) if reached else _Kind.NOT_REACHED
            return _Failure(kind=kind, meaning=meaning_of(error, reached=reached))
        return _Done(result=result)

    def _commit(self, connection: sa.Connection) -> None:
        try:
            driver: Any = connection.connection.dbapi_connection
            if self._sqlite and getattr(driver, "autocommit", None) is True:
                connection.exec_driver_sql("COMMIT")  # its commit() does nothing (Python 3.12)
            connection.commit()
        except BaseException:
            # SQLAlchemy does not roll back what could not be committed, and the next user of the
            # connection would commit it.
            connection.invalidate()
            raise


def _make_private(_dialect: object, _record: object, args: list[Any], _options: object) -> None:
    """Create an SQLite file that does not exist, for its owner alone: it will hold phone numbers.

    SQLite gives its journals the mode of the file. A file that exists keeps its mode. What SQLAlchemy
    hands on as a URI (``?uri=true``) is not a path: the file has the mode of the process's umask then.
    """
    path = args[0] if args else ":memory:"
    if path in ("", ":memory:") or path.startswith("file:"):
        return
    with contextlib.suppress(OSError):  # it exists; or SQLite will say what is wrong
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _begin_sqlite(connection: sa.Connection, *, writes: bool) -> None:
    """Wait for other writers, and take the write lock first, whatever the engine begins by itself.

    A transaction that has read cannot take it while another one writes: it fails at once then.
    """
    if connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() < _BUSY_MILLISECONDS:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}")
    if writes:
        driver: Any = connection.connection.dbapi_connection
        if driver.in_transaction:  # an event handler of the host's began one
            connection.exec_driver_sql("ROLLBACK")
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _kind(error: Exception) -> _Kind:
    if code_of(error) in _ROLLED_BACK:
        return _Kind.ROLLED_BACK
    return _Kind.REFUSED if isinstance(error, sa.exc.IntegrityError) else _Kind.UNSURE
