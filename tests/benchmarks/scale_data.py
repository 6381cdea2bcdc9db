"""Databases of the scale benchmarks: filled with settled payments by one statement, measured, explained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

import sqlalchemy as sa

from mpesa_stk import MemoryTransactionStore, Transaction
from mpesa_stk.stores.sql import SqlTransactionStore
from mpesa_stk.stores.sql_tables import due_statement
from scale_double import open_shop
from support import ACCOUNTS

TABLE = "mpesa_stk_transactions"
LONG_AGO = datetime(2001, 1, 1, tzinfo=timezone.utc)
"""When the payments were due that are claimed: what the benchmarks add themselves is due much later."""
WANTED = "WANTED"
"""Reference and order of the settled payments that searches look for."""
WANTED_PHONE = "+254718643064"
"""Their payer."""

Values = Mapping[str, sa.ColumnElement[Any]]
"""Expressions by the names of columns."""
_UUID_PARTS = ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12))


# --- filling -------------------------------------------------------------------------------------------


def fill(url: str, *, settled: int, due: int, wanted: int = 0) -> None:
    """Make a database's tables, with that many settled payments, and that many that were due long ago.

    Nothing waits for the disk meanwhile. Each settled payment was created a second after the one before.
    If some are wanted, they are spread evenly over the settled ones: FAILED, with a review, and with the
    reference, order and payer that searches look for. Each of the others has its own.
    """
    engine = sa.create_engine(url)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", hurry)
    store = SqlTransactionStore(engine)
    store.create_tables()
    payments = store.metadata.tables[TABLE]
    store.add(settled_payment())
    if settled:
        every = settled // wanted if wanted else None
        multiply(engine, payments, range(1, settled), {}, every)
    open_ones: Values = {
        "state": sa.literal("PENDING"),
        "reported": sa.false(),
        "due_at": sa.literal(LONG_AGO, payments.c.due_at.type),
        **dict.fromkeys(("receipt_number", "paid_at", "settled_by"), sa.null()),
    }
    multiply(engine, payments, range(settled + 1, settled + 1 + due), open_ones)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("ANALYZE").close()
            connection.exec_driver_sql("PRAGMA journal_mode=WAL").close()
        else:
            connection.exec_driver_sql("VACUUM (ANALYZE)").close()
    engine.dispose()


def settled_payment() -> Transaction:
    """A payment that went all the way, with the history of one: asked, accepted, paid, reported."""
    store = MemoryTransactionStore()
    shop = open_shop(store, "OLD")
    asked = shop.checkout()
    assert shop.take_callback()
    shop.payments.process_due(on_settled=lambda _payment: None)
    stored = store.get(asked.transaction_no)
    assert stored is not None
    assert (stored.state.value, stored.due_at, stored.reported) == ("SUCCEEDED", None, True)
    return stored


def hurry(connection: Any, _record: object) -> None:
    """Let a new connection to SQLite wait for no disk."""
    for setting in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-1000000"):
        connection.execute(f"PRAGMA {setting}").close()


def multiply(
    engine: sa.Engine,
    payments: sa.Table,
    copies: range,
    changes: Values,
    every: int | None = None,
) -> None:
    """Copy a payment, each copy with its own ids; with random ones where the library's are random."""
    count = sa.select(sa.literal(copies.start).label("number")).cte("numbers", recursive=True)
    following = sa.select(count.c.number + 1).where(count.c.number < copies.stop - 1)
    count = count.union_all(following)
    text = sa.cast(count.c.number, sa.String(9))
    nine = sa.func.substr("000000000" + text, sa.func.length(text) + 1)
    values: Values = {
        "transaction_no": _random_uuid(engine),
        "idempotency_key": "order-" + text,
        "reference": "INV-" + text,
        "checkout_request_id": "ws_CO_01012026" + nine + "718643064",
        "receipt_number": "R" + nine,
        **changes,
    }
    names = [column.name for column in payments.c]
    pattern = sa.select(payments).limit(1).subquery()
    values = {"created": _later(engine, pattern.c.created, count.c.number), **values}
    if every is not None:
        values = {**values, **_to_be_found(count.c.number % every == 0, text, nine)}
    columns = [values.get(name, pattern.c[name]).label(name) for name in names]
    rows = sa.select(*columns).select_from(count.join(pattern, sa.true()))
    with engine.begin() as connection:
        connection.execute(sa.insert(payments).from_select(names, rows))


def _later(
    engine: sa.Engine, moment: sa.ColumnElement[Any], seconds: sa.ColumnElement[int]
) -> sa.ColumnElement[Any]:
    if engine.dialect.name == "postgresql":
        return moment + sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds)
    if engine.dialect.name in ("mysql", "mariadb"):
        return sa.func.addtime(moment, sa.func.sec_to_time(sa.func.mod(seconds, 3_000_000)))
    pause = "+" + sa.cast(seconds, sa.String) + " seconds"
    return sa.func.strftime("%Y-%m-%d %H:%M:%S.000000", moment, pause)


def _to_be_found(
    wanted: sa.ColumnElement[bool], text: sa.ColumnElement[str], nine: sa.ColumnElement[str]
) -> Values:
    """What the wanted payments have, and what others have in its place."""
    return {
        "phone_number": sa.case((wanted, WANTED_PHONE), else_="+25470" + sa.func.substr(nine, 3)),
        "reference": sa.case((wanted, WANTED), else_="INV-" + text),
        "order": sa.case((wanted, WANTED), else_="order-" + text),
        "state": sa.case((wanted, "FAILED"), else_="SUCCEEDED"),
        "needs_review": sa.case((wanted, "callback has another amount"), else_=sa.null()),
    }


def _random_uuid(engine: sa.Engine) -> sa.ColumnElement[Any]:
    if engine.dialect.name == "postgresql":
        return sa.cast(sa.func.gen_random_uuid(), sa.String)
    if engine.dialect.name == "mysql":
        return sa.func.uuid()
    digits = sa.func.lower(sa.func.hex(sa.func.randomblob(16)))
    first, *others = [sa.func.substr(digits, start, size) for start, size in _UUID_PARTS]
    whole: sa.ColumnElement[Any] = first
    for part in others:
        whole = whole + "-" + part
    return whole


@contextmanager
def waiting_for_the_disk(url: str) -> Iterator[None]:
    """Let a PostgreSQL of the tests wait for the disk at each commit for a while, as it does by default."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("ALTER SYSTEM RESET ALL")
        connection.exec_driver_sql("SELECT pg_reload_conf()").close()
        connection.exec_driver_sql("CHECKPOINT")
    try:
        yield
    finally:
        with engine.connect() as connection:
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                connection.exec_driver_sql(f"ALTER SYSTEM SET {setting} = off")
            connection.exec_driver_sql("SELECT pg_reload_conf()").close()
        engine.dispose()


# --- measuring -------------------------------------------------------------------------------------------


def bytes_a_payment(url: str) -> tuple[float, float]:
    """The bytes that a stored payment takes: in the table, and in its indexes."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(f"SELECT count(*) FROM {TABLE}").scalar_one()
        if engine.dialect.name == "postgresql":
            verbs = ("pg_table_size", "pg_indexes_size")
            table, indexes = (
                connection.exec_driver_sql(f"SELECT {verb}('{TABLE}')").scalar_one()
                for verb in verbs
            )
        else:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            table = pages * connection.exec_driver_sql("PRAGMA page_size").scalar_one()
            indexes = 0  # SQLite keeps them in the same file
    engine.dispose()
    return table / rows, indexes / rows


def plan_of_the_claim(url: str, accounts: Sequence[str] = tuple(ACCOUNTS)) -> tuple[str, ...]:
    """How the database finds what is due, in its own words."""
    engine = sa.create_engine(url)
    payments = SqlTransactionStore(engine).metadata.tables[TABLE]
    statement = due_statement(payments, LONG_AGO + timedelta(days=1), 100, accounts).compile(
        engine, compile_kwargs={"literal_binds": True}
    )
    verb = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    with engine.connect() as connection:
        plan = connection.exec_driver_sql(f"{verb} {statement}").all()
    engine.dispose()
    return tuple(str(row[-1]) for row in plan)
