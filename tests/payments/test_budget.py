"""The budget of status queries: its pure rule, the one in memory, and each environment's pace."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpesa_stk import (
    PRODUCTION,
    SANDBOX,
    ConfigurationError,
    Environment,
    MemoryQueryBudget,
    QueryBudget,
    QueryPace,
)
from mpesa_stk.payments.budget import (
    BudgetState,
    UnlimitedQueryBudget,
    budget_for,
    pace_for,
    slow_down,
    take_slot,
)
from support import START

APP = "app-1"
FIVE = QueryPace(per_minute=5)


def after(seconds: float) -> datetime:
    """So many seconds after the start."""
    return START + timedelta(seconds=seconds)


def wait_after(state: BudgetState, now: datetime, pace: QueryPace = FIVE) -> float:
    """How long to wait for the next query."""
    return take_slot(state, pace, now)[1]


def test_one_query_then_a_pause() -> None:
    """The burst is one: the next query waits for a whole interval, and not a moment longer."""
    budget = MemoryQueryBudget(FIVE)
    assert budget.take(APP, after(0)) == 0.0
    assert budget.take(APP, after(0)) == 12.0
    assert budget.take(APP, after(11.5)) == 0.5
    assert budget.take(APP, after(12)) == 0.0
    assert budget.take(APP, after(12)) == 12.0


def test_idleness_saves_nothing_up() -> None:
    """After an hour without a query there is one, not three hundred."""
    budget = MemoryQueryBudget(FIVE)
    budget.take(APP, after(0))
    assert budget.take(APP, after(3600)) == 0.0
    assert budget.take(APP, after(3600)) == 12.0


def test_a_refused_query_changes_nothing() -> None:
    """Asking often does not move the moment away, and gives nothing to store."""
    state, wait = take_slot(None, FIVE, START)
    assert (state, wait) == (BudgetState(next_at=after(12), interval=12.0), 0.0)
    again, wait = take_slot(state, FIVE, after(3))
    assert again is state
    assert wait == 9.0


def test_apps_do_not_share() -> None:
    """Each app has an allowance of its own."""
    budget = MemoryQueryBudget(FIVE)
    assert budget.take(APP, START) == budget.take("app-2", START) == 0.0
    budget.throttled(APP, START, 600.0)
    assert budget.take("app-2", after(12)) == 0.0


def test_a_complaint_stops_all_for_as_long_as_daraja_asks() -> None:
    """Nobody asks until then, though the interval is shorter."""
    budget = MemoryQueryBudget(FIVE)
    budget.take(APP, START)
    budget.throttled(APP, START, 600.0)
    assert budget.take(APP, after(599)) == 1.0
    assert budget.take(APP, after(600)) == 0.0


def test_a_complaint_before_the_first_query_counts() -> None:
    """A person's query may be the first to be refused."""
    budget = MemoryQueryBudget(FIVE)
    budget.throttled(APP, START, 0.0)
    assert budget.take(APP, START) == 24.0


def test_complaints_halve_the_pace_down_to_its_floor() -> None:
    """60, 30, 15 ... and then one a minute, however often Daraja complains."""
    pace = QueryPace(per_minute=60, recovery=1e9)
    state: BudgetState | None = None
    intervals = []
    for number in range(8):
        state = slow_down(state, pace, after(100 * number), 0.0)
        intervals.append(round(state.interval, 3))
    assert intervals == [2, 4, 8, 16, 32, 60, 60, 60]


def test_complaints_of_queries_under_way_together_count_once() -> None:
    """Five workers that are refused at once do not slow the app by a factor of thirty-two."""
    pace = QueryPace(per_minute=60)
    first = slow_down(None, pace, START, 0.0)
    second = slow_down(first, pace, after(9), 30.0)
    assert (second.interval, second.slowed_at) == (first.interval, first.slowed_at)
    assert second.next_at == after(39)
    third = slow_down(second, pace, after(10), 0.0)
    assert third.interval == pytest.approx(4.0, rel=0.05)
    assert third.next_at == after(39)


def test_complaints_without_end_do_not_stop_the_queries() -> None:
    """A page that asks all the time, and is refused each time, does not keep the workers from asking."""
    pace = QueryPace(per_minute=5)
    budget = MemoryQueryBudget(pace)
    asked = 0
    for second in range(3600):
        asked += budget.take(APP, after(second)) == 0.0
        if second % 2:
            budget.throttled(APP, after(second), 0.0)
    assert asked >= 30


def test_the_pace_recovers_by_the_clock() -> None:
    """What was halved twice is itself again after two recoveries, and never faster."""
    pace = QueryPace(per_minute=60, recovery=300)
    state = slow_down(slow_down(None, pace, START, 0.0), pace, after(10), 0.0)
    steps = []
    for seconds in (310, 610, 10_000):
        asked, wait = take_slot(state, pace, after(seconds))
        assert wait == 0.0
        steps.append(round((asked.next_at - after(seconds)).total_seconds(), 1))
    assert steps == [2.0, 1.0, 1.0]


def test_a_clock_that_was_wrong_blocks_nobody() -> None:
    """A moment that no rule can have set does not count."""
    state, _ = take_slot(None, FIVE, after(86_400))
    assert wait_after(state, START) == 0.0
    behind = slow_down(slow_down(None, FIVE, after(100), 0.0), FIVE, START, 0.0)
    assert behind.next_at <= after(3600)
    assert wait_after(behind, START) > 0.0


def test_daraja_cannot_stop_the_queries_for_longer_than_an_hour() -> None:
    """A Retry-After of eleven days is cut down."""
    assert wait_after(slow_down(None, FIVE, START, 999_999.0), START) == 3600.0


@given(
    steps=st.lists(
        st.tuples(st.floats(0, 100), st.booleans(), st.floats(0, 200)), min_size=1, max_size=60
    ),
    per_minute=st.floats(1, 120),
)
def test_no_two_queries_are_closer_than_the_pace(
    steps: list[tuple[float, bool, float]], per_minute: float
) -> None:
    """Whatever is asked and refused: granted queries keep their distance, and a refusal its promise."""
    pace = QueryPace(per_minute=per_minute)
    state: BudgetState | None = None
    seconds, free_at = 0.0, -math.inf
    for pause, complains, retry_after in steps:
        seconds += pause
        if complains:
            state = slow_down(state, pace, after(seconds), retry_after)
            assert state.interval <= 60 / pace.slowest
            # Complaints that come together make one pause, or as long a one as they ask for.
            first = state.slowed_at == after(seconds)
            pause_of_it = max(retry_after, 60 / per_minute if first else 0.0)
            free_at = max(free_at, seconds + pause_of_it)
            continue
        state, wait = take_slot(state, pace, after(seconds))
        assert 0 <= wait <= 3600
        if wait == 0:
            assert seconds >= free_at - 1e-5
            free_at = seconds + 60 / per_minute


def test_threads_get_one_query_between_them() -> None:
    """Of many that ask at the same moment exactly one may."""
    budget = MemoryQueryBudget(FIVE)
    barrier = Barrier(16)

    def ask(_number: int) -> float:
        barrier.wait(10)
        return budget.take(APP, START)

    with ThreadPoolExecutor(16) as pool:
        waits = sorted(pool.map(ask, range(16)))
    assert waits == [0.0] + [12.0] * 15


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"per_minute": 0}, "per_minute"),
        ({"per_minute": 0.01}, "per_minute"),
        ({"per_minute": math.inf}, "per_minute"),
        ({"per_minute": math.nan}, "per_minute"),
        ({"per_minute": 5, "slowest": 6}, "slowest"),
        ({"per_minute": 5, "slowest": 0}, "slowest"),
        ({"per_minute": 5, "recovery": 0}, "recovery"),
        ({"per_minute": 5, "recovery": math.inf}, "recovery"),
    ],
)
def test_a_pace_that_cannot_be_kept_is_refused(settings: dict[str, float], field: str) -> None:
    """The error names the setting."""
    with pytest.raises(ConfigurationError) as caught:
        QueryPace(**settings)
    assert field in [name for name, _ in caught.value.problems]


def test_the_slowest_pace_has_a_default() -> None:
    """One a minute, or the pace itself where that is slower."""
    assert QueryPace(per_minute=60).slowest == 1.0
    assert QueryPace(per_minute=0.5).slowest == 0.5


def test_each_environment_has_its_pace() -> None:
    """Five a minute in the sandbox, sixty elsewhere, no limit on this machine."""
    assert pace_for(SANDBOX) == QueryPace(per_minute=5)
    assert pace_for(PRODUCTION) == QueryPace(per_minute=60)
    proxy = Environment.at("https://daraja.example.co.ke", name="sandbox")
    assert pace_for(proxy) == QueryPace(per_minute=60)
    assert pace_for(Environment.at("http://127.0.0.1:8080", name="simulator")) is None


def test_a_daraja_on_this_machine_has_no_limit() -> None:
    """Every query is granted, refused ones before or not."""
    budget: QueryBudget = budget_for(Environment.at("http://127.0.0.1:8080", name="simulator"))
    assert isinstance(budget, UnlimitedQueryBudget)
    budget.throttled(APP, START, 600.0)
    assert [budget.take(APP, START) for _ in range(3)] == [0.0] * 3
    assert isinstance(budget_for(SANDBOX), MemoryQueryBudget)
