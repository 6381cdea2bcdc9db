"""The SQL stores on an SQLAlchemy ``AsyncEngine`` (extra ``sql-async``). It imports asyncio and greenlet.

There is no second copy of a statement or a rule. Each class has the synchronous store over the engine's
``sync_engine``, and calls its methods in SQLAlchemy's greenlet bridge, as ``AsyncSession.run_sync`` does.
Where a synchronous driver would block, the bridge awaits an asynchronous one.

Cancelling a caller does not interrupt a statement: the method runs to its end in a separate task. If the
event loop ends meanwhile, SQLAlchemy closes the connection instead of using it again.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from datetime import datetime
from typing import ParamSpec, TypeVar

try:
    import greenlet as _greenlet  # noqa: F401 - SQLAlchemy would miss it only at the first call
    import sqlalchemy as sa
    from sqlalchemy.ext.asyncio import AsyncEngine

    # These two are not in SQLAlchemy's reference. It exports them since 1.4, for authors of dialects.
    from sqlalchemy.util import await_only, greenlet_spawn
except ImportError as missing:
    raise ImportError(
        "the asynchronous SQL stores need SQLAlchemy and greenlet: "
        "pip install 'mpesa-stk-client[sql-async]'"
    ) from missing

from mpesa_stk.clock import AsyncClock, AsyncSystemClock
from mpesa_stk.errors import ConfigurationError
from mpesa_stk.faces import Call
from mpesa_stk.payments.budget import AwaitedQueryBudget, QueryPace
from mpesa_stk.payments.store import AwaitedTransactionStore
from mpesa_stk.stores.async_calls import PolledTokenStore, Tasks, ended
from mpesa_stk.stores.sql import SqlQueryBudget, SqlTokenStore, SqlTransactionStore

__all__ = ["AsyncSqlQueryBudget", "AsyncSqlTokenStore", "AsyncSqlTransactionStore"]

P = ParamSpec("P")
T = TypeVar("T")


# --- the bridge -----------------------------------------------------------------------------------------


class _TransactionStore(SqlTransactionStore):
    _driver_is_async = True


class _TokenStore(SqlTokenStore):
    _driver_is_async = True


class _QueryBudget(SqlQueryBudget):
    _driver_is_async = True


class _Bridge:
    """Calls functions of the synchronous stores in the greenlet bridge, each to its end."""

    def __init__(self) -> None:
        self._tasks = Tasks()

    async def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function, and return its result."""
        return await ended(self.start(function, *args, **kwargs))

    def start(
        self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[T]:
        """Begin a call."""
        return self._tasks.start(greenlet_spawn(functools.partial(function, *args, **kwargs)))


class _Clock:
    """The clock of a synchronous store in the bridge: its `sleep` lets other tasks run."""

    def __init__(self, clock: AsyncClock | None) -> None:
        self._clock = clock if clock is not None else AsyncSystemClock()

    def now(self) -> datetime:
        """Return the current moment, in UTC."""
        return self._clock.now()

    def monotonic(self) -> float:
        """Return seconds since an arbitrary start."""
        return self._clock.monotonic()

    def sleep(self, seconds: float, /) -> None:
        """Wait for that many seconds, in the event loop."""
        await_only(self._clock.sleep(seconds))


def _sync_engine(engine: AsyncEngine) -> sa.Engine:
    """Return the synchronous face of an asynchronous engine.

    Raises:
        ConfigurationError: It is no asynchronous engine.
    """
    if not isinstance(engine, AsyncEngine):
        raise ConfigurationError((("engine", "must be an SQLAlchemy AsyncEngine"),))
    return engine.sync_engine


class _Tables:
    """The common part of the stores: their tables.

    Attributes:
        metadata: The tables, for the host's own migrations.
    """

    _inner: _TransactionStore | _TokenStore | _QueryBudget
    _call: Call

    @property
    def metadata(self) -> sa.MetaData:
        """The tables, for the host's own migrations."""
        return self._inner.metadata

    async def create_tables(self) -> None:
        """Create the missing tables and indexes. Existing ones stay as they are.

        Raises:
            StoreError: The database failed.
        """
        await self._call(self._inner.create_tables)


# --- the stores -----------------------------------------------------------------------------------------


class AsyncSqlTransactionStore(_Tables, AwaitedTransactionStore):
    """An `AsyncTransactionStore` on an SQLAlchemy ``AsyncEngine``.

    Each method opens and closes its own transaction. The tasks of one event loop may share it. Processes
    and machines share the database. See `SqlTransactionStore`.

    Attributes:
        metadata: The tables, for the host's own migrations.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        /,
        *,
        table_prefix: str = "mpesa_stk_",
        schema: str | None = None,
        clock: AsyncClock | None = None,
    ) -> None:
        """Make a store. The first call connects.

        Args:
            engine: The host's engine. It may serve other stores and the host's own tables too.
            table_prefix: Start of the names of tables and indexes.
            schema: The schema of the tables, or None for the default one. It must exist.
            clock: Waits between two tries after a deadlock.

        Raises:
            ConfigurationError: This is no asynchronous engine, or its database is not supported.
        """
        store = _TransactionStore(
            _sync_engine(engine), table_prefix=table_prefix, schema=schema, clock=_Clock(clock)
        )
        super().__init__(store, _Bridge())
        self._inner = store


class AsyncSqlTokenStore(_Tables, PolledTokenStore):
    """An `AsyncTokenStore` on an SQLAlchemy ``AsyncEngine``: many workers share one token.

    It works on the same tables as `SqlTokenStore`, and by the same rules.

    Attributes:
        metadata: The tables, for the host's own migrations.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        /,
        *,
        table_prefix: str = "mpesa_stk_",
        schema: str | None = None,
        lease: float = 30.0,
        clock: AsyncClock | None = None,
    ) -> None:
        """Make a store. The first call connects.

        Args:
            engine: The host's engine.
            table_prefix: Start of the names of the tables.
            schema: The schema of the tables, or None for the default one. It must exist.
            lease: Seconds for which one worker may fetch the token while the others wait. All workers
                that share a store use the same. A worker that dies blocks the others no longer.
            clock: Gives the time, and waits.

        Raises:
            ConfigurationError: This is no asynchronous engine, its database is not supported, or the
                lease is not positive.
        """
        clock = clock if clock is not None else AsyncSystemClock()
        store = _TokenStore(
            _sync_engine(engine),
            table_prefix=table_prefix,
            schema=schema,
            lease=lease,
            clock=_Clock(clock),
        )
        super().__init__(store, _Bridge(), clock=clock)
        self._inner = store


class AsyncSqlQueryBudget(_Tables, AwaitedQueryBudget):
    """An `AsyncQueryBudget` on an SQLAlchemy ``AsyncEngine``, shared by all workers of an app.

    Attributes:
        metadata: The table, for the host's own migrations.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        pace: QueryPace,
        /,
        *,
        table_prefix: str = "mpesa_stk_",
        schema: str | None = None,
        clock: AsyncClock | None = None,
    ) -> None:
        """Make a budget. The first call connects.

        Args:
            engine: The host's engine.
            pace: How fast each app may ask. All workers that share a budget use the same.
            table_prefix: Start of the name of the table.
            schema: The schema of the table, or None for the default one. It must exist.
            clock: Waits between two tries after a deadlock.

        Raises:
            ConfigurationError: This is no asynchronous engine, or its database is not supported.
        """
        budget = _QueryBudget(
            _sync_engine(engine),
            pace,
            table_prefix=table_prefix,
            schema=schema,
            clock=_Clock(clock),
        )
        super().__init__(budget, _Bridge())
        self._inner = budget
