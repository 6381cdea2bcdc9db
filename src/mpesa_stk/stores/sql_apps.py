"""What workers share for an app, in SQL tables: its token, the flight that fetches it, the query budget.

One row an app in each table. Imported by hosts from ``stores/sql.py``.
"""

from __future__ import annotations

import contextlib
import random
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, TypeVar

import sqlalchemy as sa

from mpesa_stk.clock import Clock, SystemClock
from mpesa_stk.daraja.models import Token
from mpesa_stk.daraja.tokens import not_in_time
from mpesa_stk.errors import ConfigurationError, StoreError
from mpesa_stk.payments.budget import BudgetState, QueryPace, slow_down, take_slot
from mpesa_stk.privacy import hides_locals
from mpesa_stk.stores.rows import LENGTHS, checked
from mpesa_stk.stores.sql_database import Database, ExactText, Moment, make_table

__all__ = ["SqlQueryBudget", "SqlTokenStore"]

_MOST_RACES = 50
_SHORTEST_PAUSE = 0.05
_LONGEST_PAUSE = 0.15

T = TypeVar("T")
_Row = dict[str, Any]


class _AppRows:
    """A table with one row an app, written by compare-and-set."""

    def __init__(
        self, database: Database, metadata: sa.MetaData, name: str, *columns: sa.Column[Any]
    ) -> None:
        self._database = database
        self._table = make_table(
            metadata,
            name,
            sa.Column("app", ExactText(LENGTHS["app"]), primary_key=True),
            *columns,
            sa.Column("version", sa.BigInteger, nullable=False),
        )

    def get(self, app: str) -> _Row | None:
        rows = self._database.read(sa.select(self._table).where(self._table.c.app == app))
        return rows[0] if rows else None

    def change(self, app: str, decide: Callable[[_Row | None], tuple[_Row | None, T]]) -> T:
        """Read, decide what to write, and write it unless another writer was first; then decide anew.

        Args:
            app: Whose row.
            decide: From the stored row, or None, to the values to write, or None, and the result.
        """
        for _ in range(_MOST_RACES):
            before = self.get(app)
            values, result = decide(before)
            if values is None or self._put(app, before, checked(values)):
                return result
        raise StoreError("other writers were first too many times")

    def _put(self, app: str, before: _Row | None, values: _Row) -> bool:
        """Write on top of the version that was read; rows are never deleted, so versions only grow."""
        if before is None:
            row = checked({"app": app, "version": 0}) | values
            return self._database.inserted(self._table, row, refused=lambda: False)
        columns = self._table.c
        row = {**values, "version": before["version"] + 1}
        mine = (columns.app == app) & (columns.version == before["version"])
        return self._database.changed(sa.update(self._table).where(mine).values(row))


class SqlTokenStore:
    """A `TokenStore` on an SQLAlchemy engine: a fleet of workers fetches one token.

    The token, a secret, is stored as it is. Machines that share a store need clocks that agree to a few
    seconds.

    Attributes:
        metadata: The tables, for the host's own migrations.
    """

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
        """Make a store; nothing is connected yet.

        Args:
            engine: The host's engine.
            table_prefix: What the names of the tables begin with.
            schema: The schema of the tables, or None for the default one. It must exist.
            lease: Seconds for which one worker may fetch the token while the others wait; those who
                share a store use the same. A worker that dies blocks the others no longer than that.
            clock: Tells the time, and waits.
            jitter: Returns a random number from 0 to 1; spreads the looks of those who wait.

        Raises:
            ConfigurationError: The engine is none, its database is not supported, or the lease is not
                positive.
        """
        if not 0 < lease < float("inf"):
            raise ConfigurationError((("lease", "must be a positive number of seconds"),))
        self._clock = clock or SystemClock()
        self._jitter = jitter
        self._lease = timedelta(seconds=lease)
        self._database = Database(engine, clock=self._clock)
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

    def create_tables(self) -> None:
        """Create the tables that are missing; it changes none that exist.

        Raises:
            StoreError: The database failed.
        """
        self._database.create(self.metadata)

    @hides_locals
    def load(self, app: str, /) -> Token | None:
        """The app's token, fresh or not."""
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
        """Keep the app's new token, unless a later holder of the flight was faster."""
        renew_at = self._wall_time(token.renew_at)
        new = {"value": token.value, "expires_in": token.expires_in, "renew_at": renew_at}

        def decide(kept: _Row | None) -> tuple[_Row | None, None]:
            if kept is None or kept["value"] is None:
                return new, None
            # Far older than the kept one: its fetch outlived the lease, and the next holder's came after.
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
        """Hold the right to fetch the app's token; no transaction is open meanwhile."""
        holder = uuid.uuid4().hex
        ends = self._clock.monotonic() + timeout
        while not self._take_off(app, holder):
            left = ends - self._clock.monotonic()
            if left <= 0:
                raise not_in_time()
            pause = _SHORTEST_PAUSE + (_LONGEST_PAUSE - _SHORTEST_PAUSE) * self._jitter()
            self._clock.sleep(min(pause, left))
        try:
            yield
        finally:
            # The token was fetched or not; a lease that cannot be given back runs out.
            with contextlib.suppress(StoreError):
                self._land(app, holder)

    def _take_off(self, app: str, holder: str) -> bool:
        """Take the flight if nobody is on it."""

        def decide(row: _Row | None) -> tuple[_Row | None, bool]:
            now = self._clock.now()
            until = None if row is None else row["until"]
            # A lease that ends too late was written by a clock that was wrong: it does not count.
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
        """A monotonic second of this process as a time that other processes know."""
        left = monotonic - self._clock.monotonic()
        try:
            return self._clock.now() + timedelta(seconds=left)
        except (OverflowError, ValueError):
            pass
        raise StoreError("renew_at holds a value that cannot be stored")


class SqlQueryBudget:
    """A `QueryBudget` on an SQLAlchemy engine: all workers of an app share one allowance.

    Attributes:
        metadata: The table, for the host's own migrations.
    """

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
        """Make a budget; nothing is connected yet.

        Args:
            engine: The host's engine.
            pace: How fast each app may ask; those who share a budget use the same.
            table_prefix: What the name of the table begins with.
            schema: The schema of the table, or None for the default one. It must exist.
            clock: Waits between two tries after a deadlock.

        Raises:
            ConfigurationError: The engine is none, or its database is not supported.
        """
        self._pace = pace
        self._database = Database(engine, clock=clock or SystemClock())
        self.metadata = sa.MetaData(schema=schema)
        self._states = _AppRows(
            self._database,
            self.metadata,
            f"{table_prefix}query_budgets",
            sa.Column("next_at", Moment, nullable=False),
            sa.Column("interval_seconds", sa.Double, nullable=False),
            sa.Column("slowed_at", Moment),
        )

    def create_tables(self) -> None:
        """Create the table if it is missing; it changes none that exists.

        Raises:
            StoreError: The database failed.
        """
        self._database.create(self.metadata)

    def take(self, app: str, now: datetime, /) -> float:
        """Ask for one status query."""

        def decide(row: _Row | None) -> tuple[_Row | None, float]:
            before = _state_of(row)
            after, wait = take_slot(before, self._pace, now)
            return (None if after is before else _row_of(after)), wait

        return self._states.change(app, decide)

    def throttled(self, app: str, now: datetime, retry_after: float, /) -> None:
        """Daraja refused a query because of too many."""
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
