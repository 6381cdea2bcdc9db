"""Many rows of Safaricom's records against as many payments: time, memory, and how both grow.

Seconds are those of the processor. n log n is twelve times as much for ten times as many, and a hundred
thousand payments do not fit into its caches, which costs more. Thirty times fails the run: work that
compares each with each would take a hundred times as long.
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from measure import Line, Scoreboard
from mpesa_stk import Desk, StatementRow, Transaction
from mpesa_stk.clock import AwaitedClock
from mpesa_stk.faces import finish
from mpesa_stk.hooks import Notifier
from mpesa_stk.payments.matching import match
from mpesa_stk.payments.store import AwaitedTransactionStore
from mpesa_stk.stores.rows import row_of
from mpesa_stk.stores.sql import SqlTransactionStore
from records import asked, paid, row, statement
from support import START, ManualClock

FEW, MANY = 10_000, 100_000
GROWTH = 30.0
_DAY = 86_400
_PERIOD = {"covers_until": START + timedelta(days=2)}

Scene = tuple[list[Transaction], list[StatementRow]]


def a_day(many: int) -> Scene:
    """A day of a busy shop. One callback of ten was lost, and one row of fifty was paid by hand."""
    payments, rows = [], []
    for number in range(many):
        created = START + timedelta(seconds=number * _DAY / many)
        phone = f"+2547{number % 100_000_000:08}"
        make = asked if number % 10 == 0 else paid
        changes = {"paid_at": created + timedelta(seconds=10)} if make is paid else {}
        payments.append(
            make(number, created=created, reference=f"INV-{number}", phone_number=phone, **changes)
        )
        by_hand = number % 50 == 1
        rows.append(
            row(
                f"HELD{number:06}" if make is paid and not by_hand else f"FREE{number:06}",
                completed=created + timedelta(seconds=10),
                reference=f"INV-{number}",
                phone_number=f"2547{phone[5:7]}****{phone[-3:]}",
            )
        )
    return payments, rows


def all_alike(many: int) -> Scene:
    """The worst case: one reference, one amount, one payer, and no receipt is known."""
    payments = [
        asked(number, created=START + timedelta(seconds=number * _DAY / many))
        for number in range(many)
    ]
    rows = [
        row(f"FREE{number:06}", number * _DAY / many + 10, amount=Decimal(100))
        for number in range(many)
    ]
    return payments, rows


def seconds_of(scene: Scene) -> float:
    """The shortest of three comparisons."""
    payments, rows = scene
    record = statement(*rows, **_PERIOD)
    taken = []
    for _ in range(3):
        gc.collect()
        gc.freeze()  # Python's own collector would look at the payments and rows again and again
        began = time.process_time()
        match(payments, [record], is_till=False)
        taken.append(time.process_time() - began)
        gc.unfreeze()
    return min(taken)


def megabytes_of(scene: Scene) -> float:
    """The most memory that a comparison takes beside its payments and rows."""
    payments, rows = scene
    record = statement(*rows, **_PERIOD)
    tracemalloc.start()
    match(payments, [record], is_till=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


@pytest.mark.parametrize("scene", [a_day, all_alike])
def test_matching_grows_with_n_log_n(scoreboard: Scoreboard, scene: Callable[[int], Scene]) -> None:
    """Ten times the payments and rows, in time and memory."""
    few, many = scene(FEW), scene(MANY)
    times = seconds_of(few), seconds_of(many)
    memory = megabytes_of(few), megabytes_of(many)
    growth = times[1] / times[0]
    line = Line(
        budget=f"match, {scene.__name__}: {MANY:,} x {MANY:,} at most {GROWTH:g} x {FEW:,} x {FEW:,}",
        measured=f"{times[1]:.2f} s, {growth:.1f} x; {memory[1]:.0f} MB, {memory[1] / memory[0]:.1f} x",
        met=growth <= GROWTH,
    )
    scoreboard.lines.append(line)
    assert line.met, line.measured


def test_reconciling_through_sql(scoreboard: Scoreboard, tmp_path: Path) -> None:
    """The whole flow over SQLite: the payments page by page, each receipt that is not held, the matcher."""
    taken = []
    for many in (FEW, MANY):
        payments, rows = a_day(many)
        engine = sa.create_engine(f"sqlite:///{tmp_path}/{many}.db")
        store = SqlTransactionStore(engine)
        store.create_tables()
        (table,) = (
            one for one in store.metadata.sorted_tables if one.name.endswith("transactions")
        )
        with engine.begin() as connection:
            connection.execute(sa.insert(table), [row_of(one) for one in payments])
        clock, notify = AwaitedClock(ManualClock()), Notifier(())
        account = frozenset({"paybill 600000"})
        desk = Desk(AwaitedTransactionStore(store), clock=clock, notify=notify, accounts=account)
        began = time.process_time()
        report = finish(desk.reconcile(statement(*rows, **_PERIOD)))
        taken.append(time.process_time() - began)
        engine.dispose()
        assert len(report.would_settle) == many // 10
        assert len(report.missing) == many // 50
    growth = taken[1] / taken[0]
    line = Line(
        budget=f"reconcile, SQLite: {MANY:,} x {MANY:,} at most {GROWTH:g} x {FEW:,} x {FEW:,}",
        measured=f"{taken[1]:.1f} s, {growth:.1f} x",
        met=growth <= GROWTH,
    )
    scoreboard.lines.append(line)
    assert line.met, line.measured
