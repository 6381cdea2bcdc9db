"""SQL tables that an app's workers share: token, token flight, query budget.

Each table has one row for each app. Hosts import these classes from ``stores/sql.py``.
"""

from __future__ import annotations

import contextlib
import random
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, TypeVar

import sqlalchemy as sa

from mpesa_stk.clock import AwaitedClock, Clock, SystemClock
from mpesa_stk.daraja.models import Token
from mpesa_stk.daraja.tokens import take_flight
from mpesa_stk.errors import ConfigurationError, StoreError
from mpesa_stk.faces import finish
from mpesa_stk.payments.budget import BudgetState, QueryPace, slow_down, take_slot
from mpesa_stk.privacy import hides_locals
from mpesa_stk.stores.rows import LENGTHS, checked
from mpesa_stk.stores.sql_database import Database, ExactText, Moment, make_table
from mpesa_stk.stores.sql_schema import Schema
from mpesa_stk.stores.sql_single import Prepared

__all__ = ["SqlQueryBudget", "SqlTokenStore"]

_MOST_RACES = 50
_SHORTEST_PAUSE = 0.05
_LONGEST_PAUSE = 0.15

T = TypeVar("T")
_Row = dict[str, Any]


class _AppRows:
    """A table with one row for each app, written by compare-and-set."""

    def __init__(
        self, database: Database, metadata: sa.MetaData, name: str, *columns: sa.Column[Any]
    ) -> None:
        self._database = database
        self.table = make_table(
            metadata,
            name,
            sa.Column("app", ExactText(LENGTHS["app"]), primary_key=True),
            *columns,
            sa.Column("version", sa.BigInteger, nullable=False),
        )
        # Built once, since each push reads its token.
        mine = self.table.c.app == sa.bindparam("this_app")
        self._select = Prepared(sa.select(self.table).where(mine))
        self._update = Prepared(
            sa.update(self.table)
            .where(mine)
            .where(self.table.c.version == sa.bindparam("seen_version"))
        )

    def get(self, app: str) -> _Row | None:
        rows = self._database.read(self._select, {"this_app": app})
        return rows[0] if rows else None

    def change(self, app: str, decide: Callable[[_Row | None], tuple[_Row | None, T]]) -> T:
        """Read a row, decide on new values, write them, and return the result.

        If another writer was first, read and decide again.

        Args:
            app: The app whose row it is.
            decide: Takes the stored row, or None if there is none. Returns the values to write, or
                None to write none, and the result.

        Raises:
            StoreError: The database failed, or other writers were first too many times.
        """
        for _ in range(_MOST_RACES):
            before = self.get(app)
            values, result = decide(before)
            if values is None or self._put(app, before, checked(values)):
                return result
        raise StoreError("other writers were first too many times")

    def _put(self, app: str, before: _Row | None, values: _Row) -> bool:
        """Write over the version that was read.

        Rows are never deleted, so versions only grow.
        """
        if before is None:
            row = checked({"app": app, "version": 0}) | values
            return self._database.inserted(self.table, row, refused=lambda: False)
        seen = {"this_app": app, "seen_version": before["version"]}
        row = {**values, "version": before["version"] + 1}
        return self._database.changed(self._update, row | seen)


class SqlTokenStore:
    """A `TokenStore` on an SQLAlchemy engine: many workers share one token.

    The token is a secret, and is stored in clear text. The clocks of the machines that share a store
    must agree to a few seconds.

    Attributes:
        metadata: The tables, for the host's own migrations.
        schema: The version of the tables.
    """

    _driver_is_async = False

    def __init__(
        self,
        engine: sa.Engine,
        /,
        *,
        table_prefix: str = "mpesa_stk_",
        schema: str | None = None,
        lease: float = 30.0,
        clock: Clock | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Make a store. The first call connects.

        Args:
            engine: The host's engine.
            table_prefix: Start of the names of the tables.
            schema: The schema of the tables, or None for the default one. It must exist.
            lease: Seconds for which one worker may fetch the token while the others wait. All workers
                that share a store use the same. A worker that dies blocks the others no longer.
            clock: Gives the time, and waits.
            jitter: Returns a random number from 0 to 1, so that waiting workers do not all look at
                the same moment.

        Raises:
            ConfigurationError: This is no synchronous engine, its database is not supported, or the
                lease is not positive.
        """
        if not 0 < lease < float("inf"):
            raise ConfigurationError((("lease", "must be a positive number of seconds"),))
        self._clock = clock or SystemClock()
        self._jitter = jitter
        self._lease = timedelta(seconds=lease)
        self._database = Database(engine, clock=self._clock, driver_is_async=self._driver_is_async)
        self.metadata = sa.MetaData(schema=schema)
        self._tokens = _AppRows(
            self._database,
            self.metadata,
            f"{table_prefix}tokens",
            sa.Column("value", ExactText()),
            sa.Column("expires_in", sa.Double),
            sa.Column("renew_at", Moment),
        )
        self._flights = _AppRows(
            self._database,
            self.metadata,
            f"{table_prefix}token_flights",
            sa.Column("holder", sa.String(32)),
            sa.Column("until", Moment),
        )
        self.schema = Schema(self._database, self.metadata, self._tokens.table, table_prefix)

    def create_tables(self) -> None:
        """Create the missing tables. Existing ones stay as they are.

        Raises:
            StoreError: The database failed.
        """
        self.schema.create()

    @hides_locals
    def load(self, app: str, /) -> Token | None:
        """Return the app's token, fresh or not, or None."""
        row = self._tokens.get(app)
        if row is None or row["value"] is None:
            return None
        left = (row["renew_at"] - self._clock.now()).total_seconds()
        return Token(
            value=row["value"],
            expires_in=row["expires_in"],
            renew_at=self._clock.monotonic() + left,
        )

    @hides_locals
    def save(self, app: str, token: Token, /) -> None:
        """Keep the app's new token, unless a later holder of the flight has saved one."""
        renew_at = self._wall_time(token.renew_at)
        new = {"value": token.value, "expires_in": token.expires_in, "renew_at": renew_at}

        def decide(kept: _Row | None) -> tuple[_Row | None, None]:
            if kept is None or kept["value"] is None:
                return new, None
            # It is far older than the kept one: its fetch outlived the lease, and the next holder fetched.
            is_late = kept["renew_at"] - renew_at > self._lease / 2
            return (None if is_late else new), None

        self._tokens.change(app, decide)

    @hides_locals
    def drop(self, app: str, token: Token, /) -> None:
        """Forget the app's token if it is still this one."""
        nothing = {"value": None, "expires_in": None, "renew_at": None}

        def decide(kept: _Row | None) -> tuple[_Row | None, None]:
            is_it = kept is not None and kept["value"] == token.value
            return (nothing if is_it else None), None

        self._tokens.change(app, decide)

    @contextlib.contextmanager
    def single_flight(self, app: str, timeout: float, /) -> Iterator[None]:
        """Hold the right to fetch the app's token, without an open transaction."""
        holder = uuid.uuid4().hex

        async def take() -> bool:
            return self._take_off(app, holder)

        finish(take_flight(take, timeout, clock=AwaitedClock(self._clock), pause=self._pause))
        try:
            yield
        finally:
            # If the lease cannot be given back, it runs out by itself.
            with contextlib.suppress(StoreError):
                self._land(app, holder)

    def _pause(self) -> float:
        """Return the seconds between two attempts to take a flight."""
        return _SHORTEST_PAUSE + (_LONGEST_PAUSE - _SHORTEST_PAUSE) * self._jitter()

    def _take_off(self, app: str, holder: str) -> bool:
        """Take the flight if it is free, and return whether it was."""

        def decide(row: _Row | None) -> tuple[_Row | None, bool]:
            now = self._clock.now()
            until = None if row is None else row["until"]
            # A lease that ends too late does not count: the clock that wrote it was wrong.
            if until is not None and now < until <= now + 2 * self._lease:
                return None, False
            return {"holder": holder, "until": now + self._lease}, True

        return self._flights.change(app, decide)

    def _land(self, app: str, holder: str) -> None:
        """Give the flight back if it is still ours."""

        def decide(row: _Row | None) -> tuple[_Row | None, None]:
            is_ours = row is not None and row["holder"] == holder
            return ({"holder": None, "until": None} if is_ours else None), None

        self._flights.change(app, decide)

    def _wall_time(self, monotonic: float) -> datetime:
        """Turn a monotonic second of this process into a time that other processes know."""
        left = monotonic - self._clock.monotonic()
        try:
            return self._clock.now() + timedelta(seconds=left)
        except (OverflowError, ValueError):
            pass
        raise StoreError("renew_at holds a value that cannot be stored")


class SqlQueryBudget:
    """A `QueryBudget` on an SQLAlchemy engine, shared by all workers of an app.

    Attributes:
        metadata: The tables, for the host's own migrations.
        schema: The version of the tables.
    """

    _driver_is_async = False

    def __init__(
        self,
        engine: sa.Engine,
        pace: QueryPace,
        /,
        *,
        table_prefix: str = "mpesa_stk_",
        schema: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Make a budget. The first call connects.

        Args:
            engine: The host's engine.
            pace: How fast each app may ask. All workers that share a budget use the same.
            table_prefix: Start of the name of the table.
            schema: The schema of the table, or None for the default one. It must exist.
            clock: Waits between two tries after a deadlock.

        Raises:
            ConfigurationError: This is no synchronous engine, or its database is not supported.
        """
        self._pace = pace
        self._database = Database(
            engine, clock=clock or SystemClock(), driver_is_async=self._driver_is_async
        )
        self.metadata = sa.MetaData(schema=schema)
        self._states = _AppRows(
            self._database,
            self.metadata,
            f"{table_prefix}query_budgets",
            sa.Column("next_at", Moment, nullable=False),
            sa.Column("interval_seconds", sa.Double, nullable=False),
            sa.Column("slowed_at", Moment),
        )
        self.schema = Schema(self._database, self.metadata, self._states.table, table_prefix)

    def create_tables(self) -> None:
        """Create the table if it is missing. An existing one stays as it is.

        Raises:
            StoreError: The database failed.
        """
        self.schema.create()

    def take(self, app: str, now: datetime, /) -> float:
        """Ask for one status query. Return 0.0, or the seconds until one may be sent."""

        def decide(row: _Row | None) -> tuple[_Row | None, float]:
            before = _state_of(row)
            after, wait = take_slot(before, self._pace, now)
            return (None if after is before else _row_of(after)), wait

        return self._states.change(app, decide)

    def throttled(self, app: str, now: datetime, retry_after: float, /) -> None:
        """Note that Daraja refused a query because there were too many."""
        self._states.change(
            app,
            lambda row: (_row_of(slow_down(_state_of(row), self._pace, now, retry_after)), None),
        )


def _state_of(row: _Row | None) -> BudgetState | None:
    if row is None:
        return None
    return BudgetState(
        next_at=row["next_at"], interval=row["interval_seconds"], slowed_at=row["slowed_at"]
    )


def _row_of(state: BudgetState) -> _Row:
    return {
        "next_at": state.next_at,
        "interval_seconds": state.interval,
        "slowed_at": state.slowed_at,
    }
