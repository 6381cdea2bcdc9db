"""What a payment costs: writes, round trips to PostgreSQL, bytes in memory; a process that follows many."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
import sqlalchemy as sa

from measure import Line, Scoreboard
from mpesa_stk import MemoryTransactionStore
from mpesa_stk.stores.sql import SqlTransactionStore
from scale_data import fill
from scale_double import open_shop
from scale_fleet import Fleet
from scale_worker import BATCH
from support import ACCOUNTS

LEASE = timedelta(minutes=2)
PAYMENTS = 10
MOST_TRIPS = 8
FOLLOWED = 10_000
GROWTH = 4.0
STORED = 10_000
MOST_BYTES = 4_096
_MEGABYTE = 1024 * 1024
_ROUND_TRIP = "ReadyForQuery"  # what PostgreSQL says when it has answered
_VERBS = ("SELECT", "INSERT", "UPDATE", "COMMIT")


# --- round trips ---------------------------------------------------------------------------------------


@attrs.frozen
class Wire:
    """What an engine says to PostgreSQL, as PostgreSQL's own client library traces it."""

    engine: sa.Engine
    log: Path
    connections: list[Any] = attrs.Factory(list)

    def counted(self, work: Callable[[], object]) -> Counter[str]:
        """The round trips of some work on one connection, and its statements by their first word."""
        (connection,) = self.connections
        with self.log.open("wb") as log:
            connection.pgconn.trace(log.fileno())
            work()
            connection.pgconn.untrace()
        counts: Counter[str] = Counter()
        for line in self.log.read_text(errors="replace").splitlines():
            name, _, text = line.split("\t", 3)[-1].partition("\t")
            counts[_ROUND_TRIP] += name == _ROUND_TRIP
            for verb in _VERBS:
                counts[verb] += name == "CommandComplete" and f'"{verb}' in text
        return counts


@pytest.fixture
def wire(postgres_url: str, tmp_path: Path) -> Iterator[Wire]:
    """An engine whose connection can be traced."""
    engine = sa.create_engine(postgres_url, pool_size=1, max_overflow=0)
    wire = Wire(engine, tmp_path / "trace")

    @sa.event.listens_for(engine, "connect")
    def _remember(connection: Any, _record: object) -> None:
        wire.connections.append(connection)

    yield wire
    engine.dispose()


def test_round_trips(scoreboard: Scoreboard, wire: Wire) -> None:
    """Asked, accepted, read and paid, held for its report and reported, with a share of the claim."""
    store = SqlTransactionStore(wire.engine)
    store.create_tables()
    shop = open_shop(store, "W")
    shop.checkout()  # the connection is made, and the token fetched
    shop.take_callback()
    shop.payments.process_due(on_settled=lambda _payment: None)
    steps: dict[str, Callable[[], object]] = {
        "checkout": lambda: [shop.checkout() for _ in range(PAYMENTS)],
        "callback": lambda: [shop.take_callback() for _ in range(PAYMENTS)],
        f"report (of {PAYMENTS} in a batch)": lambda: shop.payments.process_due(
            on_settled=lambda _payment: None
        ),
    }
    counts = {step: wire.counted(work) for step, work in steps.items()}
    whole: Counter[str] = sum(counts.values(), Counter())
    columns = ("INSERT", "UPDATE", "SELECT", "COMMIT", _ROUND_TRIP)
    table = [
        "| step, a payment | INSERT | UPDATE | SELECT | commits | round trips |",
        "|---" * 6 + "|",
    ]
    for step, found in {**counts, "whole payment": whole}.items():
        cells = (f"{found[column] / PAYMENTS:.1f}" for column in columns)
        table.append(f"| {step} | " + " | ".join(cells) + " |")
    trips = whole[_ROUND_TRIP] / PAYMENTS
    scoreboard.lines.append(
        Line(
            budget=f"SQL store: round trips of a payment on PostgreSQL: at most {MOST_TRIPS}",
            measured=f"{trips:.1f}",
            met=trips <= MOST_TRIPS,
            notes=(*table, _hot_updates(wire.engine)),
        )
    )
    assert store.claim_due(shop.payments.clock.now(), 1, LEASE, ACCOUNTS) == []
    assert trips <= MOST_TRIPS


def _hot_updates(engine: sa.Engine) -> str:
    """How many updates left the indexes alone, which PostgreSQL calls HOT."""
    statement = (
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables"
        " WHERE relname = 'mpesa_stk_transactions'"
    )
    with engine.begin() as connection:
        connection.exec_driver_sql("SELECT pg_stat_force_next_flush()").close()
    with engine.begin() as connection:
        updates, hot = connection.exec_driver_sql(statement).one()
    return f"of {updates} updates {hot} left the indexes alone (HOT)"


# --- memory ----------------------------------------------------------------------------------------------


def test_memory_store_bytes(scoreboard: Scoreboard) -> None:
    """An open payment of `MemoryTransactionStore` takes a few kilobytes at most, its indexes included."""
    store = MemoryTransactionStore()
    shop = open_shop(store, "M")
    shop.checkout()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(STORED):
            shop.checkout()
            shop.orders.owed.clear()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    found = (after - before) / STORED
    scoreboard.lines.append(
        Line(
            budget=f"memory store: bytes of an open payment (at most {MOST_BYTES:,})",
            measured=f"{found:,.0f}",
            met=found <= MOST_BYTES,
        )
    )
    assert found <= MOST_BYTES


def test_following_keeps_nothing(scoreboard: Scoreboard, postgres_url: str) -> None:
    """A process that follows 10,000 open payments does not grow once it has seen the first thousand."""
    fill(postgres_url, settled=0, due=FOLLOWED)
    with Fleet(1, [postgres_url]) as fleet:
        resident = fleet.follow(0, FOLLOWED // BATCH)
    growth = (resident[-1] - resident[FOLLOWED // BATCH // 10]) / _MEGABYTE
    scoreboard.lines.append(
        Line(
            budget=f"a process that follows {FOLLOWED:,} open payments: grows by at most {GROWTH} MiB",
            measured=f"{growth:.2f}",
            met=growth <= GROWTH,
            notes=(f"the whole process at the end: {resident[-1] / _MEGABYTE:.0f} MiB",),
        )
    )
    assert growth <= GROWTH
