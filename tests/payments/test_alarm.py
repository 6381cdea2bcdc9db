"""The alarm: callbacks have stopped while pushes succeed. Its rule, a year of a shop, and both faces."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from datetime import datetime, timedelta

import attrs
import pytest

from hosts import Host
from mpesa_stk import CallbackNews, Transaction, TransactionState
from mpesa_stk.payments.alarm import ENOUGH, LOOKED_AT, SETTLE, CallbackAlarm
from mpesa_stk.payments.events import Meaning
from mpesa_stk.payments.state import HistoryEntry
from support import START, make_transaction

_S = TransactionState
CALLED = make_transaction(state=_S.SUCCEEDED, settled_by="callback")
ASKED = make_transaction(state=_S.SUCCEEDED, settled_by="query")
LATE = attrs.evolve(
    ASKED,
    state=_S.FAILED,
    history=(HistoryEntry(at=START, event=Meaning.NOT_PAID.value, state=_S.FAILED),),
)
SILENT = (
    make_transaction(state=_S.EXPIRED, settled_by="time"),
    make_transaction(state=_S.REJECTED, settled_by="push"),
    make_transaction(state=_S.PENDING),
    make_transaction(state=_S.SUCCEEDED, settled_by="person"),
)


# --- the rule --------------------------------------------------------------------------------------------


def test_payments_without_callbacks_raise_the_alarm_once() -> None:
    """Once, however often it is asked, and an all-clear as soon as a callback came."""
    alarm = CallbackAlarm()
    assert alarm.judge([ASKED] * (ENOUGH - 1)) is None
    assert alarm.judge([ASKED] * ENOUGH) is CallbackNews.STOPPED
    assert alarm.judge([ASKED] * 9) is None
    assert alarm.judge([CALLED, *[ASKED] * 9]) is CallbackNews.RETURNED
    assert alarm.judge([CALLED, *[ASKED] * 9]) is None
    assert alarm.judge([ASKED] * ENOUGH) is CallbackNews.STOPPED


@pytest.mark.parametrize("came", [CALLED, LATE])
def test_one_callback_among_them_is_enough(came: Transaction) -> None:
    """Also one that came after Daraja's query had told the outcome."""
    assert CallbackAlarm().judge([*[ASKED] * (ENOUGH - 1), came, ASKED]) is None


def test_payments_that_say_nothing_do_not_count() -> None:
    """Daraja sends a callback only when it knows how a payment ended."""
    assert CallbackAlarm().judge([*SILENT] * 9) is None
    assert CallbackAlarm().judge([*SILENT, *[ASKED] * (ENOUGH - 1)]) is None
    assert CallbackAlarm().judge([*SILENT, *[ASKED] * ENOUGH]) is CallbackNews.STOPPED
    assert CallbackAlarm().judge([]) is None


# --- a year of a shop ------------------------------------------------------------------------------------

HOURS = [0] * 6 + [1, 4, 6, 7, 8, 9, 10, 9, 7, 7, 8, 10, 9, 6, 4, 2, 1, 0]
"""Customers an hour, from midnight to midnight: about a hundred a day, and none at night."""
LOST = 0.01
NEVER_SAID = 0.02
OUTAGES = 12


@attrs.frozen
class Outage:
    """Callbacks of payments that begin in it do not come."""

    begins: datetime
    ends: datetime


@attrs.define
class Tally:
    """What the alarm said in a year."""

    payments: int = 0
    lost: int = 0
    false_alarms: int = 0
    unnoticed: int = 0
    delays: list[timedelta] = attrs.Factory(list)
    cleared: list[timedelta] = attrs.Factory(list)


def outages(chance: random.Random) -> list[Outage]:
    """One in each month, from four hours to two days long."""
    begins = [START + timedelta(days=30 * n + chance.uniform(1, 25)) for n in range(OUTAGES)]
    return [Outage(at, at + timedelta(hours=chance.uniform(4, 48))) for at in begins]


def customers(chance: random.Random, scale: float) -> Iterator[datetime]:
    """When the customers of a year pay: a Poisson process whose rate depends on the hour."""
    at, most = START, max(HOURS) * scale
    while at < START + timedelta(days=365):
        at += timedelta(hours=chance.expovariate(most))
        if chance.random() * most < HOURS[(at.hour + 3) % 24] * scale:
            yield at


def year(seed: int, scale: float = 1.0) -> Tally:
    """What the alarm of a shop says in a year, looking as often as something can have changed."""
    chance = random.Random(seed)
    alarm, tally, planned = CallbackAlarm(), Tally(), outages(chance)
    seen: deque[Transaction] = deque(maxlen=LOOKED_AT)
    waiting: dict[Outage, list[datetime]] = {}
    noticed: set[Outage] = set()
    for at in customers(chance, scale):
        out = next((one for one in planned if one.begins <= at < one.ends), None)
        payment = CALLED
        if chance.random() < NEVER_SAID:
            payment = SILENT[0]
        elif out is not None or chance.random() < LOST:
            payment = ASKED
        if out is not None and payment is ASKED:
            waiting.setdefault(out, []).append(at)
        tally.payments += 1
        tally.lost += payment is ASKED and out is None
        seen.appendleft(payment)
        news, now = alarm.judge(seen), at + SETTLE
        if news is CallbackNews.STOPPED and out is None:
            tally.false_alarms += 1
        elif news is CallbackNews.STOPPED and out is not None:
            tally.delays.append(now - waiting[out][0])
            noticed.add(out)
        elif news is CallbackNews.RETURNED:
            ended = max((one.ends for one in planned if one.ends <= now), default=now)
            tally.cleared.append(now - ended)
    long = {out for out, lost in waiting.items() if len(lost) >= ENOUGH}
    tally.unnoticed = len(long - noticed)
    return tally


def test_a_year_of_a_shop() -> None:
    """No false alarm; each outage of five customers is noticed, the middle one in less than two hours."""
    told = year(seed=0)
    assert (told.false_alarms, told.unnoticed) == (0, 0)
    assert len(told.delays) >= OUTAGES - 2
    assert sorted(told.delays)[len(told.delays) // 2] < timedelta(hours=2)
    assert len(told.cleared) == len(told.delays)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scale", "payments", "outages_seen", "median", "most"),
    [
        (1.0, 394_271, 115, timedelta(minutes=49), timedelta(hours=2, minutes=1)),
        (0.1, 39_201, 94, timedelta(hours=5, minutes=1), timedelta(hours=17)),
    ],
)
def test_ten_years_of_a_shop(
    scale: float, payments: int, outages_seen: int, median: timedelta, most: timedelta
) -> None:
    """A shop with a hundred customers a day, and one with ten: the figures of docs/how-to/worker.md."""
    years = [year(seed, scale) for seed in range(10)]
    delays = sorted(delay for one in years for delay in one.delays)
    assert sum(one.payments for one in years) == payments
    assert sum(one.false_alarms for one in years) == 0
    assert sum(one.unnoticed for one in years) == 0
    assert len(delays) == outages_seen
    assert median - timedelta(minutes=1) < delays[len(delays) // 2] <= median
    assert delays[int(len(delays) * 0.9)] < most


# --- in use ----------------------------------------------------------------------------------------------


def alarms(host: Host) -> list[str]:
    """What the hooks were told."""
    return [event.outcome for event in host.events if event.kind == "alarm"]


def sell(host: Host, number: int, *, called: bool) -> None:
    """A customer pays; Daraja's query says so, and the callback comes or does not."""
    host.clock.advance(60.0)
    payment = CALLED if called else ASKED
    host.store.add(
        attrs.evolve(payment, transaction_no=f"no-{number}", created=host.clock.now(), due_at=None)
    )


@pytest.mark.usefixtures("face")
def test_hooks_and_log_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """Payments of the last ten minutes do not count; a night without customers is silent."""
    host = Host()
    for number in range(ENOUGH):
        sell(host, number, called=False)
    host.clock.advance(SETTLE.total_seconds() - 61.0)
    assert host.payments.check_callbacks() is None

    host.clock.advance(62.0)
    assert host.payments.check_callbacks() is CallbackNews.STOPPED
    host.clock.advance(9 * 3_600.0)
    assert host.payments.check_callbacks() is None

    sell(host, ENOUGH, called=True)
    host.clock.advance(SETTLE.total_seconds() + 1.0)
    assert host.payments.check_callbacks() is CallbackNews.RETURNED
    assert alarms(host) == ["callbacks_stopped", "callbacks_returned"]
    (line,) = (record for record in caplog.records if record.levelname == "WARNING")
    assert line.getMessage() == "mpesa_stk.alarm outcome=callbacks_stopped"


@pytest.mark.usefixtures("face")
def test_each_account_is_judged_by_its_own_payments() -> None:
    """Callbacks of another account do not hide that those of this one have stopped."""
    host = Host()
    for number in range(ENOUGH):
        sell(host, number, called=False)
        other = attrs.evolve(CALLED, transaction_no=f"other-{number}", account="paybill 600001")
        host.store.add(attrs.evolve(other, created=host.clock.now()))
    host.clock.advance(SETTLE.total_seconds() + 1.0)
    assert host.payments.check_callbacks() is CallbackNews.STOPPED


@pytest.mark.usefixtures("face")
def test_old_payments_say_nothing_about_today() -> None:
    """A worker that is started a week after an outage does not report it."""
    host = Host()
    for number in range(ENOUGH):
        sell(host, number, called=False)
    host.clock.advance(timedelta(days=7).total_seconds())
    assert host.payments.check_callbacks() is None
