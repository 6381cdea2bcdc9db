"""When a worker looks for payments in Safaricom's records: pure functions of the schedule."""

from __future__ import annotations

from datetime import timedelta

import pytest

from mpesa_stk.payments.schedule import (
    LOOKS,
    RECORDS_REACH,
    closed_day,
    is_to_be_looked_for,
)
from support import START

MINUTE = timedelta(minutes=1)


def looks(every: timedelta) -> list[timedelta]:
    """How old a payment is each time that a worker looks for it, which asks itself every so often."""
    found, since, now = list[timedelta](), START, START
    while now < START + timedelta(hours=60):
        now += every
        if is_to_be_looked_for(START, since=since, now=now):
            found.append(now - START)
            since = now
    return found


def test_a_payment_is_looked_for_five_times() -> None:
    """After 3 and 15 minutes, 2 hours, 24 hours, and an hour before the records end."""
    minutes = (3, 15, 120, 1440, 2820)
    assert looks(MINUTE) == [timedelta(minutes=number) for number in minutes]


def test_looks_wait_for_the_next_pull() -> None:
    """A worker that pulls every quarter of an hour does the first two looks in one."""
    assert looks(15 * MINUTE) == [timedelta(minutes=number) for number in (15, 120, 1440, 2820)]


@pytest.mark.parametrize(
    ("age", "due"),
    [
        (3 * MINUTE - timedelta(seconds=1), False),
        (3 * MINUTE, True),
        (timedelta(hours=30), True),
        (RECORDS_REACH, True),
        (RECORDS_REACH + timedelta(seconds=1), False),
        (-timedelta(hours=1), False),
    ],
)
def test_a_new_worker_looks_for_what_the_records_still_hold(age: timedelta, *, due: bool) -> None:
    """It does not know what was looked for before, and a payment from the future is left."""
    assert is_to_be_looked_for(START - age, since=None, now=START) is due


@pytest.mark.parametrize("look", LOOKS)
def test_a_look_is_done_once(look: timedelta) -> None:
    """A pull at the very moment of a look is that look."""
    assert not is_to_be_looked_for(START, since=START + look, now=START + look + MINUTE)


@pytest.mark.parametrize(
    ("now", "day"),
    [
        ("2026-09-25T00:30:00+03:00", "2026-09-24T00:00:00+03:00"),
        ("2026-09-25T00:29:59+03:00", "2026-09-23T00:00:00+03:00"),
        ("2026-09-25T23:59:59+03:00", "2026-09-24T00:00:00+03:00"),
        ("2027-01-01T06:00:00+03:00", "2026-12-31T00:00:00+03:00"),
    ],
)
def test_a_day_is_closed_half_an_hour_after_midnight(now: str, day: str) -> None:
    """Midnight in Nairobi, wherever the worker runs."""
    moment = START.fromisoformat(now).astimezone(START.tzinfo)
    assert closed_day(moment) == START.fromisoformat(day)
    assert closed_day(moment).utcoffset() == timedelta(0)
