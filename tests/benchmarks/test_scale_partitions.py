"""A table of payments that the host partitioned by account: what still holds, and what is lost."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import attrs
import pytest
import sqlalchemy as sa

from measure import Line, Scoreboard
from mpesa_stk import DuplicateTransaction, Transaction
from mpesa_stk.stores.rows import UNIQUE, row_of
from mpesa_stk.stores.sql import SqlTransactionStore
from scale_data import plan_of_the_claim
from support import START, make_transaction

ACCOUNTS = ("paybill 600000", "paybill 600001")
SETTLED = 20_000
LEASE = timedelta(minutes=2)
_TABLE = "mpesa_stk_transactions"


@pytest.fixture
def partitioned(postgres_url: str) -> Iterator[SqlTransactionStore]:
    """A store whose table has a partition an account; every unique value is unique in its account only."""
    engine = sa.create_engine(postgres_url)
    store = SqlTransactionStore(engine)
    host = sa.MetaData()
    for table in store.metadata.tables.values():
        table.to_metadata(host)
    columns = [
        sa.Column(column.name, column.type, nullable=column.nullable)
        for column in host.tables[_TABLE].columns
    ]
    indexes = [(index.name, list(index.columns.keys())) for index in host.tables[_TABLE].indexes]
    host.remove(host.tables[_TABLE])
    unique = [sa.UniqueConstraint(*dict.fromkeys(("account", *names))) for names in UNIQUE.values()]
    own = sa.Table(_TABLE, host, *columns, *unique, postgresql_partition_by="LIST (account)")
    for name, names in indexes:
        partial: dict[str, Any] = {}
        if "due_at" in names:
            partial["postgresql_where"] = own.c.due_at.is_not(None)
        sa.Index(name, *(own.c[column] for column in names), **partial)
    host.create_all(engine)
    with engine.begin() as connection:
        for number, account in enumerate(ACCOUNTS):
            connection.exec_driver_sql(
                f"CREATE TABLE part_{number} PARTITION OF {_TABLE} FOR VALUES IN ('{account}')"
            )
        settled = [row_of(attrs.evolve(_payment(-n), due_at=None)) for n in range(1, SETTLED + 1)]
        connection.execute(sa.insert(store.metadata.tables[_TABLE]), settled)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"ANALYZE {_TABLE}")
    yield store
    engine.dispose()


def _payment(number: int, **changes: Any) -> Transaction:
    return make_transaction(
        transaction_no=f"no-{number}",
        account=ACCOUNTS[number % 2],
        due_at=START + timedelta(seconds=number),
        **changes,
    )


def test_partitions_by_account(
    scoreboard: Scoreboard, partitioned: SqlTransactionStore, postgres_url: str
) -> None:
    """The claim takes from all partitions, the longest due first; a key is unique in its account only."""
    for number in range(10):
        partitioned.add(_payment(number))
    claimed = partitioned.claim_due(START + LEASE, 5, LEASE, frozenset(ACCOUNTS))
    assert [payment.transaction_no for payment in claimed] == [f"no-{n}" for n in range(5)]
    assert partitioned.get("no-9") == _payment(9)
    assert partitioned.replace(_payment(9, receipt_number="NLJ7RT61SV"))
    partitioned.add(_payment(11, idempotency_key="order-1"))
    with pytest.raises(DuplicateTransaction):
        partitioned.add(_payment(13, idempotency_key="order-1"))
    # As in one table: the other account may use the same key.
    partitioned.add(_payment(12, idempotency_key="order-1"))
    plan = plan_of_the_claim(postgres_url)
    scoreboard.lines.append(
        Line(
            budget="PostgreSQL, partitioned by account: a claim reads the index of its own partition",
            measured=str(sum("Index Scan" in line for line in plan)),
            met=True,
            notes=plan,
        )
    )
    assert sum("Index Scan using part_0_account_due_at" in line for line in plan) == 1
    assert "Seq Scan" not in " ".join(plan)
