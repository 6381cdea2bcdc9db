"""The rules for an app's token, its token flight and its query budget, which its workers share.

A database has one row for each app, which is written by compare-and-set. This file decides about the
values, and does not know the database.
"""

from __future__ import annotations

import contextlib
import random
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

from mpesa_stk.clock import AwaitedClock, Clock, SystemClock
from mpesa_stk.daraja.models import Token
from mpesa_stk.daraja.tokens import take_flight
from mpesa_stk.errors import ConfigurationError, StoreError
from mpesa_stk.faces import finish
from mpesa_stk.payments.budget import BudgetState, QueryPace, slow_down, take_slot
from mpesa_stk.privacy import hides_locals
from mpesa_stk.stores.rows import checked

__all__ = ["AppRow", "AppRows", "SharedBudget", "SharedTokens"]

_MOST_RACES = 50
_SHORTEST_PAUSE = 0.05
_LONGEST_PAUSE = 0.15

T = TypeVar("T")
AppRow = dict[str, Any]


class AppRows(Protocol):
    """A table with one row for each app. Rows are never deleted, so their versions only grow."""

    def get(self, app: str, /) -> AppRow | None:
        """Return the row of an app, or None."""
        ...

    def insert(self, row: AppRow, /) -> bool:
        """Insert the first row of an app. Return False if it has one."""
        ...

    def update(self, app: str, seen_version: int, values: AppRow, /) -> bool:
        """Write over the version that was read. Return False if another writer was first."""
        ...


def _change(
    rows: AppRows, app: str, decide: Callable[[AppRow | None], tuple[AppRow | None, T]]
) -> T:
    """Read a row, decide on new values, write them, and return the result.

    If another writer was first, read and decide again.

    Args:
        rows: The table.
        app: The app whose row it is.
        decide: Takes the stored row, or None if there is none. Returns the values to write, or
            None to write none, and the result.

    Raises:
        StoreError: The database failed, or other writers were first too many times.
    """
    for _ in range(_MOST_RACES):
        before = rows.get(app)
        values, result = decide(before)
        if values is None or _put(rows, app, before, checked(values)):
            return result
    raise StoreError("other writers were first too many times")


def _put(rows: AppRows, app: str, before: AppRow | None, values: AppRow) -> bool:
    if before is None:
        return rows.insert(checked({"app": app, "version": 0}) | values)
    version: int = before["version"]
    return rows.update(app, version, {**values, "version": version + 1})


class SharedTokens:
    """A `TokenStore` on two tables: the tokens, and the flights in which they are fetched."""

    def __init__(
        self,
        tokens: AppRows,
        flights: AppRows,
        /,
        *,
        lease: float,
        clock: Clock | None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._tokens = tokens
        self._flights = flights
        self._lease = timedelta(seconds=_checked_lease(lease))
        self._clock = clock or SystemClock()
        self._jitter = jitter

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

        def decide(kept: AppRow | None) -> tuple[AppRow | None, None]:
            if kept is None or kept["value"] is None:
                return new, None
            # It is far older than the kept one: its fetch outlived the lease, and the next holder fetched.
            is_late = kept["renew_at"] - renew_at > self._lease / 2
            return (None if is_late else new), None

        _change(self._tokens, app, decide)

    @hides_locals
    def drop(self, app: str, token: Token, /) -> None:
        """Forget the app's token if it is still this one."""
        nothing = {"value": None, "expires_in": None, "renew_at": None}

        def decide(kept: AppRow | None) -> tuple[AppRow | None, None]:
            is_it = kept is not None and kept["value"] == token.value
            return (nothing if is_it else None), None

        _change(self._tokens, app, decide)

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

        def decide(row: AppRow | None) -> tuple[AppRow | None, bool]:
            now = self._clock.now()
            until = None if row is None else row["until"]
            # A lease that ends too late does not count: the clock that wrote it was wrong.
            if until is not None and now < until <= now + 2 * self._lease:
                return None, False
            return {"holder": holder, "until": now + self._lease}, True

        return _change(self._flights, app, decide)

    def _land(self, app: str, holder: str) -> None:
        """Give the flight back if it is still ours."""

        def decide(row: AppRow | None) -> tuple[AppRow | None, None]:
            is_ours = row is not None and row["holder"] == holder
            return ({"holder": None, "until": None} if is_ours else None), None

        _change(self._flights, app, decide)

    def _wall_time(self, monotonic: float) -> datetime:
        """Turn a monotonic second of this process into a time that other processes know."""
        left = monotonic - self._clock.monotonic()
        try:
            return self._clock.now() + timedelta(seconds=left)
        except (OverflowError, ValueError):
            pass
        raise StoreError("renew_at holds a value that cannot be stored")


class SharedBudget:
    """A `QueryBudget` on one table."""

    def __init__(self, states: AppRows, pace: QueryPace, /) -> None:
        self._states = states
        self._pace = pace

    def take(self, app: str, now: datetime, /) -> float:
        """Ask for one status query. Return 0.0, or the seconds until one may be sent."""

        def decide(row: AppRow | None) -> tuple[AppRow | None, float]:
            before = _state_of(row)
            after, wait = take_slot(before, self._pace, now)
            return (None if after is before else _row_of(after)), wait

        return _change(self._states, app, decide)

    def throttled(self, app: str, now: datetime, retry_after: float, /) -> None:
        """Note that Daraja refused a query because there were too many."""

        def decide(row: AppRow | None) -> tuple[AppRow, None]:
            return _row_of(slow_down(_state_of(row), self._pace, now, retry_after)), None

        _change(self._states, app, decide)


def _state_of(row: AppRow | None) -> BudgetState | None:
    if row is None:
        return None
    return BudgetState(
        next_at=row["next_at"], interval=row["interval_seconds"], slowed_at=row["slowed_at"]
    )


def _row_of(state: BudgetState) -> AppRow:
    return {
        "next_at": state.next_at,
        "interval_seconds": state.interval,
        "slowed_at": state.slowed_at,
    }


def _checked_lease(lease: float, /) -> float:
    """Return the seconds of a lease.

    Raises:
        ConfigurationError: The lease is not positive.
    """
    if not 0 < lease < float("inf"):
        raise ConfigurationError((("lease", "must be a positive number of seconds"),))
    return lease
