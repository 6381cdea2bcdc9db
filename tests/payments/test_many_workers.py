"""Many worker processes on one table: `claim_due` gives each due payment to one, and forgets none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from mpesa_stk.stores.sql import SqlTransactionStore
from processes import ended
from support import ACCOUNTS, HELPERS, START, make_transaction

LEASE = timedelta(hours=1)
pytestmark = pytest.mark.slow

PATIENCE = 120.0
TABLE = "mpesa_stk_transactions"

# It claims one batch, and waits for a line on its standard input; so each process has a share, however the
# rest goes. Then it claims until nothing is due, and prints what it got: each payment's number and version,
# and the moment until which it has it.
WORKER = """
import sys
from datetime import timedelta
import sqlalchemy as sa
sys.path.insert(0, sys.argv[2])
from mpesa_stk.stores.sql import SqlTransactionStore
from support import ACCOUNTS, START
engine = sa.create_engine(sys.argv[1])
store = SqlTransactionStore(engine)
limit = int(sys.argv[3])
mine = store.claim_due(START, limit, timedelta(hours=1), ACCOUNTS)
print("ready", len(mine), flush=True)
sys.stdin.readline()
while batch := store.claim_due(START, limit, timedelta(hours=1), ACCOUNTS):
    assert len(batch) <= limit
    mine += batch
engine.dispose()
mine = [f"{payment.transaction_no} {payment.version} {payment.due_at}" for payment in mine]
print(*mine, sep="\\n", end="")
"""


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A new SQLite file."""
    return f"sqlite:///{tmp_path / 'payments.sqlite3'}"


@contextmanager
def filled_store(url: str, size: int) -> Iterator[tuple[SqlTransactionStore, sa.Engine]]:
    """A store with that many due payments: no-0, no-1 ..."""
    engine = sa.create_engine(url)
    try:
        store = SqlTransactionStore(engine)
        store.create_tables()
        store.add(make_transaction(transaction_no="no-0", due_at=START))
        payments = store.metadata.tables[TABLE]
        number = sa.literal(1).label("number")
        numbers = sa.select(number).cte("numbers", recursive=True)
        numbers = numbers.union_all(
            sa.select(numbers.c.number + 1).where(numbers.c.number < size - 1)
        )
        changed = {"transaction_no": "no-" + sa.cast(numbers.c.number, sa.String(9))}
        every = payments.join(numbers, sa.true())
        copies = sa.select(*(changed.get(column.name, column) for column in payments.c))
        with engine.begin() as connection:
            names = [column.name for column in payments.c]
            connection.execute(sa.insert(payments).from_select(names, copies.select_from(every)))
        yield store, engine
    finally:
        engine.dispose()


def claimed_by_processes(url: str, processes: int, batch: int) -> list[list[str]]:
    """What each process claimed, all of them at the same time."""
    tests = str(HELPERS)
    workers = [
        subprocess.Popen(  # noqa: S603 - our own interpreter and code
            [sys.executable, "-W", "error", "-c", WORKER, url, tests, str(batch)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(processes)
    ]
    with ended(*workers, within=PATIENCE):
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == f"ready {batch}\n"
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("\n")
            worker.stdin.flush()
        shares = [worker.communicate(timeout=PATIENCE)[0].splitlines() for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * processes
    return shares


@pytest.mark.parametrize(
    ("kind", "processes", "size", "batch"),
    [("postgres_url", 8, 20_000, 100), ("sqlite_url", 4, 2_000, 20)],
)
def test_each_due_payment_is_claimed_by_one_process(
    request: pytest.FixtureRequest, kind: str, processes: int, size: int, batch: int
) -> None:
    """None is claimed twice within its lease, none is left, and all come back when the lease ends."""
    url: str = request.getfixturevalue(kind)
    with filled_store(url, size) as (store, engine):
        shares = claimed_by_processes(url, processes, batch)
        claimed = [line for share in shares for line in share]
        # Version 1 says that nobody else had moved it before.
        assert sorted(claimed) == sorted(f"no-{number} 1 {START + LEASE}" for number in range(size))
        assert (
            store.claim_due(START + LEASE - timedelta(microseconds=1), size, LEASE, ACCOUNTS) == []
        )
        payments = store.metadata.tables[TABLE]
        with engine.connect() as connection:
            back = connection.scalar(
                sa.select(sa.func.count()).where(
                    payments.c.due_at == START + LEASE, payments.c.version == 1
                )
            )
        assert back == size
        again = store.claim_due(START + LEASE, batch, LEASE, ACCOUNTS)
        assert {payment.version for payment in again} == {2}
        assert len(again) == batch
