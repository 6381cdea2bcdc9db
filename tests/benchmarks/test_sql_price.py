"""What a whole payment costs in SQL, beside raw psycopg with the same statements in autocommit."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import attrs
import psycopg
import pytest
import sqlalchemy as sa

from measure import Line, Scoreboard
from mpesa_stk import MemoryTransactionStore, TransactionStore
from mpesa_stk.stores.sql import SqlTransactionStore
from scale_double import open_shop

PAYMENTS = 100  # one batch of reports
ROUNDS = 8
LIMIT = 2.5
_LEASE = timedelta(minutes=2)


@attrs.frozen
class Spent:
    """Milliseconds of one payment."""

    wall: float
    processor: float


def spent_on(work: Callable[[], object]) -> Spent:
    """Run a round of payments."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    scale = 1000 / PAYMENTS
    return Spent((time.perf_counter() - wall) * scale, (time.process_time() - processor) * scale)


def least(rounds: list[Spent]) -> Spent:
    """The lower quartile of each, since other programs only add time."""
    walls, processors = ([getattr(each, name) for each in rounds] for name in ("wall", "processor"))
    return Spent(statistics.quantiles(walls, n=4)[0], statistics.quantiles(processors, n=4)[0])


class Whole:
    """Checkout, callback and report of payments over a store."""

    def __init__(self, store: TransactionStore, name: str) -> None:
        self._shop = open_shop(store, name)

    def __call__(self) -> None:
        """One round."""
        for _ in range(PAYMENTS):
            self._shop.checkout()
        for _ in range(PAYMENTS):
            self._shop.take_callback()
        report = self._shop.payments.process_due(on_settled=lambda _payment: None, limit=PAYMENTS)
        assert report.reported == PAYMENTS


class Raw:
    """The statements of such payments, through psycopg alone, each in autocommit."""

    def __init__(self, url: str, table: str, columns: list[str], row: dict[str, Any]) -> None:
        self._connection = psycopg.connect(url, autocommit=True)
        self._row = row
        names = ", ".join(columns)
        places = ", ".join(f"%({name})s" for name in columns)
        changes = ", ".join(f"{name} = %({name})s" for name in columns if name != "transaction_no")
        self._insert = f"INSERT INTO {table} ({names}) VALUES ({places})"
        self._update = (
            f"UPDATE {table} SET {changes}"
            " WHERE transaction_no = %(transaction_no)s AND version = %(seen)s"
        )
        self._select = f"SELECT {names} FROM {table} WHERE transaction_no = %(transaction_no)s"
        self._kept = (
            f"SELECT * FROM {table.replace('transactions', 'callbacks')}"
            " WHERE checkout_request_id = %s OR transaction_no = %s ORDER BY received"
        )
        self._claim = (
            f"UPDATE {table} SET due_at = %s, version = version + 1 WHERE transaction_no IN ("
            f"SELECT transaction_no FROM {table} WHERE account = %s AND due_at <= %s"
            f" ORDER BY due_at LIMIT {PAYMENTS} FOR UPDATE SKIP LOCKED) RETURNING {names}"
        )
        self._number = 0

    def __call__(self) -> None:
        """One round."""
        rows = [self._checkout() for _ in range(PAYMENTS)]
        for row in rows:
            self._read(row)
            self._write(row, due_at=row["created"])
        execute, account = self._connection.execute, self._row["account"]
        due = self._row["created"] + _LEASE
        claimed = execute(self._claim, (due + _LEASE, account, due)).fetchall()
        assert len(claimed) == PAYMENTS
        for row in rows:
            row["version"] += 1
            number = row["transaction_no"]
            execute(self._kept, (row["checkout_request_id"], number)).fetchall()
            self._write(row, due_at=due + _LEASE)
            self._write(row, due_at=None, reported=True)

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def _checkout(self) -> dict[str, Any]:
        self._number += 1
        name = f"raw-{self._number}"
        new = {
            "transaction_no": name,
            "idempotency_key": name,
            "receipt_number": name,
            "version": 0,
        }
        row = self._row | new | {"checkout_request_id": None, "due_at": None}
        self._connection.execute(self._insert, row)
        self._write(row, checkout_request_id=name)
        return row

    def _write(self, row: dict[str, Any], **changes: Any) -> None:
        row |= changes | {"seen": row["version"], "version": row["version"] + 1}
        assert self._connection.execute(self._update, row).rowcount == 1

    def _read(self, row: dict[str, Any]) -> None:
        found = self._connection.execute(self._select, {"transaction_no": row["transaction_no"]})
        assert len(found.fetchall()) == 1


@pytest.fixture
def engine(postgres_url: str) -> Iterator[sa.Engine]:
    """An engine with one connection."""
    engine = sa.create_engine(postgres_url, pool_size=1, max_overflow=0)
    yield engine
    engine.dispose()


def test_sql_price(scoreboard: Scoreboard, engine: sa.Engine, postgres_url: str) -> None:
    """A payment over PostgreSQL, beside its statements and beside its rules."""
    store = SqlTransactionStore(engine)
    store.create_tables()
    subjects: dict[str, Callable[[], None]] = {
        "sql": Whole(store, "Q"),
        "memory": Whole(MemoryTransactionStore(), "M"),
    }
    subjects["sql"]()
    (table,) = (each for each in store.metadata.sorted_tables if "transactions" in each.name)
    with engine.connect() as connection:
        row = dict(connection.execute(sa.select(table).limit(1)).mappings().one())
    raw = Raw(
        postgres_url.replace("+psycopg", ""),
        table.name,
        [column.name for column in table.c],
        row,
    )
    subjects["raw"] = raw
    rounds: dict[str, list[Spent]] = {name: [] for name in subjects}
    for _ in range(ROUNDS):
        for name, subject in subjects.items():
            rounds[name].append(spent_on(subject))
    raw.close()
    sql, floor, rules = (least(rounds[name]) for name in ("sql", "raw", "memory"))
    ratio = sql.wall / floor.wall
    scoreboard.lines.append(
        Line(
            budget=f"a whole payment on PostgreSQL: at most {LIMIT} x raw psycopg",
            measured=f"{ratio:.2f}",
            met=ratio <= LIMIT,
            notes=(
                f"{sql.wall:.2f} ms against {floor.wall:.2f} ms",
                f"processor time: {sql.processor:.2f} ms against {floor.processor:.2f} ms",
                f"processor time of the rules alone: {rules.processor:.2f} ms",
            ),
        )
    )
