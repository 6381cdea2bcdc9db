"""What a whole payment costs in SQL, beside the driver alone with the same statements in autocommit."""

from __future__ import annotations

import asyncio
import functools
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import attrs
import pytest
import sqlalchemy as sa

from async_stores import new_engine, url_for
from measure import Line, Scoreboard
from mpesa_stk import MemoryTransactionStore, TransactionStore
from mpesa_stk.stores.sql import SqlTransactionStore
from mpesa_stk.stores.sql_async import AsyncSqlTransactionStore
from raw_payments import PAYMENTS, Raw
from scale_double import open_async_shop, open_shop

ROUNDS = 8
BATCH = 10
LIMIT = 2.5
ONE = {"pool_size": 1, "max_overflow": 0}


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


def in_turns(subjects: dict[str, Callable[[], None]]) -> dict[str, Spent]:
    """Run rounds of each subject, so that noise hits all of them alike."""
    rounds: dict[str, list[Spent]] = {name: [] for name in subjects}
    for _ in range(ROUNDS):
        for name, subject in subjects.items():
            rounds[name].append(spent_on(subject))
    return {name: least(spent) for name, spent in rounds.items()}


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


class AsyncWhole:
    """The same over an asynchronous driver, one payment at a time, in an event loop that stays."""

    def __init__(self, url: str, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._engine = new_engine(url, **ONE)
        store = AsyncSqlTransactionStore(self._engine)
        self._loop.run_until_complete(store.create_tables())
        self._shop = open_async_shop(store, name)

    def __call__(self) -> None:
        """One round."""
        self._loop.run_until_complete(self._round())

    async def _round(self) -> None:
        for _ in range(PAYMENTS):
            await self._shop.checkout()
        for _ in range(PAYMENTS):
            await self._shop.take_callback()
        report = await self._shop.payments.process_due(
            on_settled=lambda _payment: None, limit=PAYMENTS
        )
        assert report.reported == PAYMENTS

    def close(self) -> None:
        """Hang up."""
        self._loop.run_until_complete(self._engine.dispose())
        self._loop.close()


DATABASES = {
    "PostgreSQL": ("postgres_url", "psycopg", ("asyncpg", "psycopg")),
    "SQLite": ("sqlite_url", "sqlite3", ("aiosqlite",)),
    "MariaDB": ("mariadb_url", "pymysql", ("aiomysql",)),
}


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A new SQLite file."""
    return f"sqlite:///{tmp_path / 'payments.sqlite3'}"


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    """Closes what a test opens."""
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("database", DATABASES)
def test_sql_price(
    scoreboard: Scoreboard, request: pytest.FixtureRequest, opened: ExitStack, database: str
) -> None:
    """A payment beside its statements, beside its rules, and on the asyncio face."""
    fixture, driver, drivers = DATABASES[database]
    url: str = request.getfixturevalue(fixture)
    engine = sa.create_engine(url, **ONE)
    opened.callback(engine.dispose)
    store = SqlTransactionStore(engine)
    store.create_tables()
    whole = Whole(store, "Q")
    whole()
    subjects: dict[str, Callable[[], None]] = {
        "sql": whole,
        "memory": Whole(MemoryTransactionStore(), "M"),
        "raw": opened.enter_context(
            closing(Raw(url, store.metadata.tables["mpesa_stk_transactions"]))
        ),
    }
    for number, name in enumerate(drivers):
        there = closing(AsyncWhole(url_for(name, url), f"A{number}"))
        subjects[name] = opened.enter_context(there)
    spent = in_turns(subjects)
    sql, floor, rules = (spent[name] for name in ("sql", "raw", "memory"))
    ratio = sql.wall / floor.wall
    judged = database == "PostgreSQL"
    limit = f": at most {LIMIT} x raw {driver}" if judged else f", x raw {driver} (no budget)"
    scoreboard.lines.append(
        Line(
            budget=f"a whole payment on {database}{limit}",
            measured=f"{ratio:.2f}",
            met=not judged or ratio <= LIMIT,
            notes=(
                f"{sql.wall:.2f} ms against {floor.wall:.2f} ms",
                f"processor time: {sql.processor:.2f} ms against {floor.processor:.2f} ms",
                f"processor time of the rules alone: {rules.processor:.2f} ms",
                *(
                    f"asyncio with {name}: {spent[name].wall:.2f} ms,"
                    f" processor time {spent[name].processor:.2f} ms"
                    for name in drivers
                ),
            ),
        )
    )


# --- statements ---------------------------------------------------------------------------------------


def sent_by_mariadb(driver: Any, work: Callable[[], object]) -> int:
    """How many statements the server got, and so the round trips."""

    def questions() -> int:
        cursor = driver.cursor()
        cursor.execute("SHOW SESSION STATUS LIKE 'Questions'")
        return int(cursor.fetchone()[1])

    before = questions()
    work()
    return questions() - before - 1  # the second question itself


def sent_by_sqlite(driver: Any, work: Callable[[], object]) -> int:
    """How many statements SQLite executed. It has no round trips."""
    seen: list[str] = []
    driver.set_trace_callback(seen.append)
    work()
    driver.set_trace_callback(None)
    return len(seen)


COUNTS = {"SQLite": sent_by_sqlite, "MariaDB": sent_by_mariadb}


@pytest.mark.parametrize("database", COUNTS)
def test_sql_statements(
    scoreboard: Scoreboard, request: pytest.FixtureRequest, opened: ExitStack, database: str
) -> None:
    """All that is sent for a payment. For PostgreSQL, test_scale_costs.py counts it."""
    engine = sa.create_engine(request.getfixturevalue(DATABASES[database][0]), **ONE)
    opened.callback(engine.dispose)
    store = SqlTransactionStore(engine)
    store.create_tables()
    shop = open_shop(store, "S")
    report = functools.partial(shop.payments.process_due, on_settled=lambda _payment: None)
    shop.checkout()
    shop.take_callback()
    report()
    pooled = engine.raw_connection()
    driver: Any = pooled.driver_connection
    pooled.close()
    steps: dict[str, Callable[[], object]] = {
        "checkout": lambda: [shop.checkout() for _ in range(BATCH)],
        "callback": lambda: [shop.take_callback() for _ in range(BATCH)],
        f"report (of {BATCH} in a batch)": report,
    }
    found = {step: COUNTS[database](driver, work) / BATCH for step, work in steps.items()}
    scoreboard.lines.append(
        Line(
            budget=f"statements of a payment on {database}, with BEGIN and COMMIT (no budget)",
            measured=f"{sum(found.values()):.1f}",
            met=True,
            notes=tuple(f"{step}: {number:.1f}" for step, number in found.items()),
        )
    )
