"""Searches and reviews beside a million settled payments, and beside sixty.

Each finds as many payments in both databases. Like the other budgets of scale these fail the run where
they are missed: a shop's history must not slow its desk down.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import attrs
import pytest
import sqlalchemy as sa

from databases import Servers
from measure import Line, Scoreboard, Times, ratio
from mpesa_stk import PaymentSearch, TransactionState
from mpesa_stk.payments.search import cursor_at
from mpesa_stk.payments.state import FORGOTTEN_PHONE
from mpesa_stk.stores.sql import SqlTransactionStore
from scale_data import TABLE, WANTED, WANTED_PHONE, fill

SETTLED = 1_000_000
SMALL = 60
PAGE = 50
LIMIT = 1.5
_ROUNDS = 15
_CALLS = 10
_EMPTY, _FULL = 0, 1


@attrs.frozen
class Desk:
    """A database of payments, and what is looked for in it."""

    store: SqlTransactionStore
    engine: sa.Engine
    account: str
    first: datetime
    receipt: str
    middle: str

    def searches(self) -> dict[str, tuple[PaymentSearch, str | None, int]]:
        """What is wanted, the cursor, and how many payments the page has."""
        mine = frozenset({self.account})
        one = functools.partial(PaymentSearch, accounts=mine)
        day: dict[str, Any] = {
            "created_from": self.first,
            "created_before": self.first + timedelta(days=1),
        }
        return {
            "phone": (one(phone_number=WANTED_PHONE), None, PAGE),
            "receipt": (one(receipt_number=self.receipt), None, 1),
            "reference": (one(reference=WANTED), None, PAGE),
            "order": (one(order=WANTED), None, PAGE),
            "day": (one(**day), None, PAGE),
            "state": (one(state=TransactionState.FAILED), None, PAGE),
            "account": (one(), None, PAGE),
            "account, a page in the middle": (one(), self.middle, PAGE),
            "reviews": (one(needs_review=True), None, PAGE),
            "reviews of all accounts": (PaymentSearch(needs_review=True), None, PAGE),
            "day, all accounts": (PaymentSearch(**day), None, PAGE),
            "not forgotten": (one(not_forgotten=True), None, PAGE),
        }


def desk_of(url: str, settled: int) -> Desk:
    """Fill a database, and open it."""
    fill(url, settled=settled, due=0, wanted=SMALL)
    engine = sa.create_engine(url)
    store = SqlTransactionStore(engine)
    payments = store.metadata.tables[TABLE].c
    read = sa.select(payments.account, payments.created, payments.transaction_no)
    in_order = read.add_columns(payments.receipt_number).order_by(payments.created)
    with engine.connect() as connection:
        first = connection.execute(in_order.limit(1)).one()
        # A whole page is before it, also in the small database.
        later = first.created + timedelta(seconds=max(settled // 2, PAGE + 2))
        middle = connection.execute(in_order.where(payments.created >= later).limit(1)).one()
    return Desk(
        store=store,
        engine=engine,
        account=first.account,
        first=first.created,
        receipt=middle.receipt_number,
        middle=cursor_at((middle.created, middle.transaction_no)),
    )


@pytest.fixture(scope="module", params=["PostgreSQL", "SQLite"])
def desks(
    request: pytest.FixtureRequest, servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Desk, Desk]]:
    """Two databases of a kind: with sixty settled payments, and with a million."""
    folder = tmp_path_factory.mktemp("desk")
    urls = [
        servers.postgres_url()
        if request.param == "PostgreSQL"
        else f"sqlite:///{folder / name}.sqlite3"
        for name in ("small", "full")
    ]
    small, full = desk_of(urls[_EMPTY], SMALL), desk_of(urls[_FULL], SETTLED)
    yield request.param, small, full
    for desk in (small, full):
        desk.engine.dispose()
    for file in folder.iterdir():
        file.unlink()  # a gigabyte


def test_history_does_not_slow_the_desk(
    scoreboard: Scoreboard, desks: tuple[str, Desk, Desk]
) -> None:
    """Each search takes about as long beside a million settled payments."""
    kind, small, full = desks
    found: dict[str, float] = {}
    for name in small.searches():
        calls = [_search(desk, name) for desk in (small, full)]
        times = _in_turns(calls)
        found[name] = ratio(times[_FULL], times[_EMPTY])
        quartiles = [f"{1e3 * each.quartile:.2f} ms" for each in times]
        scoreboard.lines.append(
            Line(
                budget=f"{kind}, search by {name}: beside {SETTLED:,} as fast (at most {LIMIT} x)",
                measured=f"{found[name]:.2f}",
                met=found[name] <= LIMIT,
                notes=(f"{quartiles[_FULL]} against {quartiles[_EMPTY]}",),
            )
        )
    assert {name: times for name, times in found.items() if times > LIMIT} == {}


def test_nothing_left_to_forget_is_found_soon(
    scoreboard: Scoreboard, desks: tuple[str, Desk, Desk]
) -> None:
    """The database passes over a million forgotten payments. It comes last, since it changes all."""
    kind, _, full = desks
    payments = full.store.metadata.tables[TABLE]
    with full.engine.begin() as connection:
        connection.execute(sa.update(payments).values(phone_number=FORGOTTEN_PHONE))
    wanted = PaymentSearch(accounts=frozenset({full.account}), not_forgotten=True)
    taken = []
    for _ in range(3):
        started = time.perf_counter()
        assert full.store.search(wanted, cursor=None, limit=200).payments == ()
        taken.append(time.perf_counter() - started)
    scoreboard.lines.append(
        Line(
            budget=f"{kind}: seconds to pass over {SETTLED:,} forgotten payments, once a run",
            measured=f"{min(taken):.2f}",
            met=True,
        )
    )


def _search(desk: Desk, name: str) -> Callable[[], Any]:
    wanted, cursor, size = desk.searches()[name]
    call = functools.partial(desk.store.search, wanted, cursor=cursor, limit=PAGE)
    assert len(call().payments) == size, name
    return call


def _in_turns(calls: list[Callable[[], Any]]) -> list[Times]:
    """Seconds a call, in rounds; the databases take turns, and take turns to be first."""
    taken: list[list[float]] = [[] for _ in calls]
    for turn in range(_ROUNDS):
        for place in (_EMPTY, _FULL)[:: -1 if turn % 2 else 1]:
            started = time.perf_counter()
            for _ in range(_CALLS):
                calls[place]()
            taken[place].append((time.perf_counter() - started) / _CALLS)
    return [Times(tuple(rounds)) for rounds in taken]
