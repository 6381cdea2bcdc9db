"""Limit how often Daraja is asked: the rule, the protocol, a budget in memory.

The rule consists of two pure functions. Each takes (state, pace, now) and returns the next state. A store
therefore needs only one row for each app, which it changes by compare-and-set. This file neither waits
nor sends.
"""

from __future__ import annotations

import math
import threading
from datetime import datetime, timedelta
from typing import Protocol
from urllib.parse import urlsplit

import attrs

from mpesa_stk.config.environment import SANDBOX_HOST, Environment
from mpesa_stk.errors import ConfigurationError
from mpesa_stk.faces import Call, call_here
from mpesa_stk.forks import PerProcess

_LONGEST_WAIT = 3600.0
_TOGETHER = 10.0


# --- the rule: pure -----------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class QueryPace:
    """How fast an app may ask Daraja about payments.

    Queries are spaced evenly. The app never sends two at once (a burst of 1).

    Attributes:
        per_minute: Queries a minute while Daraja does not complain.
        slowest: The lowest pace, in queries a minute, however often Daraja complains. One by default.
        recovery: Seconds in which a pace that was halved doubles again.

    Raises:
        ConfigurationError: A number is out of its range.
    """

    per_minute: float
    slowest: float = attrs.Factory(lambda self: min(self.per_minute, 1.0), takes_self=True)
    recovery: float = 300.0

    def __attrs_post_init__(self) -> None:
        rules = (
            ("per_minute", 1 / 60 <= self.per_minute < math.inf, "must be at least one an hour"),
            (
                "slowest",
                1 / 60 <= self.slowest <= self.per_minute,
                "must be at least one an hour and at most per_minute",
            ),
            ("recovery", 0 < self.recovery < math.inf, "must be a positive number of seconds"),
        )
        problems = tuple((name, rule) for name, kept, rule in rules if not kept)
        if problems:
            raise ConfigurationError(problems)


@attrs.frozen(kw_only=True)
class BudgetState:
    """The state of the budget of one app. A store keeps these three values in one row.

    Attributes:
        next_at: When the app may ask the next query, aware UTC.
        interval: Seconds between two queries, as set when Daraja last complained.
        slowed_at: When Daraja last complained, or None if it never did. From then on the interval
            shrinks with time.
    """

    next_at: datetime
    interval: float
    slowed_at: datetime | None = None


def take_slot(
    state: BudgetState | None, pace: QueryPace, now: datetime, /
) -> tuple[BudgetState, float]:
    """Take the slot of one query, if it is free.

    Args:
        state: The stored state, or None for an app that is not known yet.
        pace: How fast the app may ask.
        now: The time, aware UTC.

    Returns:
        If the slot is free: the state to store, and 0.0. If not: the same state object, which need not
        be stored again, and the seconds until a slot is free.
    """
    wait = _wait(state, now)
    if state is not None and wait > 0:
        return state, wait
    interval = _interval(state, pace, now)
    if state is None:
        state = BudgetState(next_at=now, interval=interval)
    return attrs.evolve(state, next_at=now + timedelta(seconds=interval)), 0.0


def slow_down(
    state: BudgetState | None, pace: QueryPace, now: datetime, retry_after: float, /
) -> BudgetState:
    """Slow the queries down, because Daraja complained of too many.

    Each complaint halves the pace and closes the budget for a while. Complaints within two intervals, or
    within ten seconds, count as one. So several queries that were under way together halve the pace only
    once. A page that asks all the time cannot stop all others.

    Args:
        state: The stored state, or None for an app that is not known yet.
        pace: How fast the app may ask.
        now: The time, aware UTC.
        retry_after: Seconds that Daraja asked to wait, or 0.0. More than an hour counts as an hour.

    Returns:
        The state to store.
    """
    interval = _interval(state, pace, now)
    wait = max(_wait(state, now), min(retry_after, _LONGEST_WAIT))
    if state is None or not _just_slowed(state, now, 2 * interval):
        interval = min(2 * interval, 60.0 / pace.slowest)
        slowed_at: datetime | None = now
        wait = max(wait, interval)
    else:
        interval, slowed_at = state.interval, state.slowed_at
    return BudgetState(
        next_at=now + timedelta(seconds=wait), interval=interval, slowed_at=slowed_at
    )


def _just_slowed(state: BudgetState, now: datetime, interval: float) -> bool:
    if state.slowed_at is None:
        return False
    return abs((now - state.slowed_at).total_seconds()) < max(interval, _TOGETHER)


def _wait(state: BudgetState | None, now: datetime) -> float:
    """Return the seconds until the next query.

    If `next_at` is further away than the longest wait, a wrong clock wrote it. Then it is ignored.
    """
    wait = 0.0 if state is None else (state.next_at - now).total_seconds()
    return wait if 0 < wait <= _LONGEST_WAIT else 0.0


def _interval(state: BudgetState | None, pace: QueryPace, now: datetime) -> float:
    """Return the seconds between two queries at `now`: more after a complaint."""
    fastest = 60.0 / pace.per_minute
    if state is None or state.slowed_at is None:
        return fastest
    halvings = max((now - state.slowed_at).total_seconds(), 0.0) / pace.recovery
    return max(fastest, state.interval * math.pow(0.5, halvings))


# --- the protocol, and two implementations --------------------------------------------------------------


class QueryBudget(Protocol):
    """Shares the allowance of status queries between all workers and pages of an app.

    Each method is atomic: if two callers come at the same moment, at most one of them may ask. `app`
    names the app, as in a `TokenStore`. One budget may serve several apps. `now` comes from the caller's
    clock. A failure of the database is raised as `StoreError`.
    """

    def take(self, app: str, now: datetime, /) -> float:
        """Take the slot of one status query, if it is free.

        Returns:
            0.0 if the caller may ask now. This query is counted. Otherwise the seconds until a slot is
            free. Such a call is not counted, and it reserves no slot.
        """
        ...

    def throttled(self, app: str, now: datetime, retry_after: float, /) -> None:
        """Slow down, because Daraja refused a query as one too many.

        No query is allowed for `retry_after` seconds (0.0 if Daraja named no time). The pace is halved,
        but not below a floor. It recovers slowly, by the clock.
        """
        ...


class AsyncQueryBudget(Protocol):
    """A `QueryBudget` whose methods are awaited. The same rules hold."""

    async def take(self, app: str, now: datetime, /) -> float:
        """Take the slot of one status query, if it is free."""
        ...

    async def throttled(self, app: str, now: datetime, retry_after: float, /) -> None:
        """Slow down, because Daraja refused a query as one too many."""
        ...


class AwaitedQueryBudget:
    """A `QueryBudget` as an `AsyncQueryBudget`. It never suspends, unless `call` does."""

    def __init__(self, budget: QueryBudget, /, call: Call = call_here) -> None:
        self._budget = budget
        self._call = call

    async def take(self, app: str, now: datetime, /) -> float:
        """Take the slot of one status query, if it is free."""
        return await self._call(self._budget.take, app, now)

    async def throttled(self, app: str, now: datetime, retry_after: float, /) -> None:
        """Slow down, because Daraja refused a query as one too many."""
        await self._call(self._budget.throttled, app, now, retry_after)


class MemoryQueryBudget:
    """A `QueryBudget` in this process: thread-safe, not shared with other processes."""

    def __init__(self, pace: QueryPace, /) -> None:
        """Make a budget.

        Args:
            pace: How fast each app may ask.
        """
        self._pace = pace
        self._lock = PerProcess(threading.Lock)
        self._states: dict[str, BudgetState] = {}

    def take(self, app: str, now: datetime, /) -> float:
        """Take the slot of one status query, if it is free."""
        with self._lock():
            self._states[app], wait = take_slot(self._states.get(app), self._pace, now)
            return wait

    def throttled(self, app: str, now: datetime, retry_after: float, /) -> None:
        """Slow down, because Daraja refused a query as one too many."""
        with self._lock():
            self._states[app] = slow_down(self._states.get(app), self._pace, now, retry_after)


class UnlimitedQueryBudget:
    """A `QueryBudget` without a limit, for a Daraja on this machine."""

    def take(self, _app: str, _now: datetime, /) -> float:
        """Allow the query."""
        return 0.0

    def throttled(self, _app: str, _now: datetime, _retry_after: float, /) -> None:
        """Ignore that Daraja refused a query."""


def pace_for(environment: Environment, /) -> QueryPace | None:
    """Return how fast an environment may be asked, or None if it has no limit.

    The sandbox allows about five queries a minute, one at a time (docs/daraja.md, sections 0 and 4). The
    limit of production is not known (docs/daraja.md, section 9). So the pace begins at one query a
    second, and refusals slow it down.
    """
    if environment.is_loopback:
        return None
    if urlsplit(environment.query_url).hostname == SANDBOX_HOST:
        return QueryPace(per_minute=5.0)
    return QueryPace(per_minute=60.0)


def budget_for(environment: Environment, /) -> QueryBudget:
    """Make the default budget: in this process, at the pace of the environment."""
    pace = pace_for(environment)
    return UnlimitedQueryBudget() if pace is None else MemoryQueryBudget(pace)
