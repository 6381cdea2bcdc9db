"""How often Daraja may be asked about payments: the pure rule, its protocol, and one in memory.

The rule is a value and two functions from (state, pace, now) to the next state, so that a store needs one
compare-and-set row an app. Nothing here waits, and nothing here sends.
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
from mpesa_stk.forks import PerProcess

__all__ = [
    "BudgetState",
    "MemoryQueryBudget",
    "QueryBudget",
    "QueryPace",
    "UnlimitedQueryBudget",
    "budget_for",
    "pace_for",
    "slow_down",
    "take_slot",
]

_LONGEST_WAIT = 3600.0
_TOGETHER = 10.0


# --- the rule: pure -----------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class QueryPace:
    """How fast an app may ask Daraja about payments. No two queries come at once: the burst is 1.

    Attributes:
        per_minute: Queries a minute while Daraja does not complain.
        slowest: Queries a minute that are left however often it complains; one by default.
        recovery: Seconds in which a pace that was halved doubles again.

    Raises:
        ConfigurationError: A number cannot be a pace.
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
    """What is remembered for one app. A store keeps these three values in one row.

    Attributes:
        next_at: When the next query may be asked, aware UTC.
        interval: Seconds between two queries, as set by the last complaint of Daraja's.
        slowed_at: When that was; from then on the interval shrinks with time. None where it never
            complained.
    """

    next_at: datetime
    interval: float
    slowed_at: datetime | None = None


def take_slot(
    state: BudgetState | None, pace: QueryPace, now: datetime, /
) -> tuple[BudgetState, float]:
    """Ask for one query.

    Args:
        state: As stored; None for an app that is not known yet.
        pace: How fast may be asked.
        now: The time, aware UTC.

    Returns:
        The state to store, and 0.0; or the very state that was given, which need not be stored, and
        the seconds until a query may be asked.
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
    """Daraja complained: nobody asks until it allows it, and the pace is halved.

    Complaints within two intervals, or within ten seconds, count as one: queries that were under way
    together halve the pace once, and a page that asks all the time does not stop all others.

    Args:
        state: As stored; None for an app that is not known yet.
        pace: How fast may be asked.
        now: The time, aware UTC.
        retry_after: Seconds that Daraja asked for, or 0.0; an hour counts at most.

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
    """Seconds until the next query.

    A moment further away than any wait was written by a clock that was wrong: it does not count.
    """
    wait = 0.0 if state is None else (state.next_at - now).total_seconds()
    return wait if 0 < wait <= _LONGEST_WAIT else 0.0


def _interval(state: BudgetState | None, pace: QueryPace, now: datetime) -> float:
    """Seconds between two queries by now: the pace, or slower after a complaint."""
    fastest = 60.0 / pace.per_minute
    if state is None or state.slowed_at is None:
        return fastest
    halvings = max((now - state.slowed_at).total_seconds(), 0.0) / pace.recovery
    return max(fastest, state.interval * math.pow(0.5, halvings))


# --- the protocol, and two that keep it -----------------------------------------------------------------


class QueryBudget(Protocol):
    """Shares the allowance of status queries between all that ask for an app.

    Each verb is atomic: of two callers at the same moment at most one may ask. `app` names the app, as
    in a `TokenStore`; one budget may serve several. `now` comes from the caller's clock. Whatever fails
    in a database comes out as `StoreError`.
    """

    def take(self, app: str, now: datetime, /) -> float:
        """Ask for one status query.

        Returns:
            0.0 where one query may be asked now; it is counted. Otherwise the seconds until one may;
            nothing is counted, and no place is kept.
        """
        ...

    def throttled(self, app: str, now: datetime, retry_after: float, /) -> None:
        """Daraja refused a query because of too many.

        Nobody asks for `retry_after` seconds (0.0 where it did not say), and the pace is halved down
        to a floor. It recovers slowly, by the clock.
        """
        ...


class MemoryQueryBudget:
    """A `QueryBudget` in this process: thread-safe, and not shared with other processes."""

    def __init__(self, pace: QueryPace, /) -> None:
        """Make a budget.

        Args:
            pace: How fast each app may ask.
        """
        self._pace = pace
        self._lock = PerProcess(threading.Lock)
        self._states: dict[str, BudgetState] = {}

    def take(self, app: str, now: datetime, /) -> float:
        """Ask for one status query."""
        with self._lock():
            self._states[app], wait = take_slot(self._states.get(app), self._pace, now)
            return wait

    def throttled(self, app: str, now: datetime, retry_after: float, /) -> None:
        """Daraja refused a query because of too many."""
        with self._lock():
            self._states[app] = slow_down(self._states.get(app), self._pace, now, retry_after)


class UnlimitedQueryBudget:
    """A `QueryBudget` without a limit, for a Daraja on this machine."""

    def take(self, _app: str, _now: datetime, /) -> float:
        """Ask for one status query: always granted."""
        return 0.0

    def throttled(self, _app: str, _now: datetime, _retry_after: float, /) -> None:
        """Daraja refused a query: that changes nothing."""


def pace_for(environment: Environment, /) -> QueryPace | None:
    """How fast an environment may be asked, or None where there is no limit.

    The sandbox allows about five queries a minute, one at a time (docs/daraja.md, sections 0 and 4). The
    limit of production is not known (docs/daraja.md, section 9): begin with one a second, and learn from
    refusals.
    """
    if environment.is_loopback:
        return None
    if urlsplit(environment.query_url).hostname == SANDBOX_HOST:
        return QueryPace(per_minute=5.0)
    return QueryPace(per_minute=60.0)


def budget_for(environment: Environment, /) -> QueryBudget:
    """The budget of a host that brings none: in this process, at the environment's pace."""
    pace = pace_for(environment)
    return UnlimitedQueryBudget() if pace is None else MemoryQueryBudget(pace)
