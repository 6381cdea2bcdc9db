"""Databases of the upgrade benchmark: tables of version 1 with many rows, and the sum of what they hold."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import attrs
import sqlalchemy as sa

from mpesa_stk.stores.rows import row_of, row_of_kept
from mpesa_stk.stores.sql import SqlTransactionStore
from scale_data import LONG_AGO, TABLE, Values, hurry, multiply, settled_payment
from sql_stores import kept, make_version_1

_CALLBACKS = "mpesa_stk_callbacks"
_KEPT_AT_ONCE = 1_000
Columns = Mapping[str, tuple[str, ...]]
"""The names of the columns of each table that has rows."""


@attrs.frozen
class Held:
    """What a table holds: its rows, and a sum over the hashes of them."""

    rows: int
    sum: int


def old_database(url: str, *, settled: int, due: int, callbacks: int) -> Columns:
    """Make tables of version 1, and put payments and kept callbacks into them.

    Returns:
        The columns of the tables.
    """
    engine = engine_of(url)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", hurry)
    make_version_1(engine)
    payments, kept_callbacks = (_as_it_is(engine, name) for name in (TABLE, _CALLBACKS))
    with engine.begin() as connection:
        row = row_of(settled_payment())
        connection.execute(
            sa.insert(payments),
            {each.name: row[each.name] for each in payments.c if each.name in row},
        )
    multiply(engine, payments, range(1, settled), {})
    open_ones: Values = {
        "state": sa.literal("PENDING"),
        "reported": sa.false(),
        "due_at": sa.literal(LONG_AGO, payments.c.due_at.type),
        **dict.fromkeys(("receipt_number", "paid_at", "settled_by"), sa.null()),
    }
    multiply(engine, payments, range(settled + 1, settled + 1 + due), open_ones)
    for first in range(0, callbacks, _KEPT_AT_ONCE):
        rows = [
            row_of_kept(kept(number, checkout_request_id=f"ws_CO_{number}"))
            for number in range(first, min(first + _KEPT_AT_ONCE, callbacks))
        ]
        with engine.begin() as connection:
            connection.execute(sa.insert(kept_callbacks), rows)
    engine.dispose()
    return {each.name: tuple(each.c.keys()) for each in (payments, kept_callbacks)}


def engine_of(url: str) -> sa.Engine:
    """An engine whose connections can fill a table by one statement, and hash a row."""
    engine = sa.create_engine(url)

    @sa.event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: object) -> None:
        if engine.dialect.name == "sqlite":
            connection.create_function("row_hash", -1, _row_hash, deterministic=True)
        if engine.dialect.name == "mysql":
            connection.cursor().execute("SET max_recursive_iterations = 4294967295")

    return engine


def held_by(url: str, columns: Columns) -> dict[str, Held]:
    """What these columns hold, as the database itself counts and hashes them."""
    engine = engine_of(url)
    held: dict[str, Held] = {}
    with engine.connect() as connection:
        for table, names in columns.items():
            quoted = [engine.dialect.identifier_preparer.quote(name) for name in names]
            statement = f"SELECT count(*), sum({_hash_of(engine, quoted)}) FROM {table}"
            rows, total = connection.exec_driver_sql(statement).one()
            held[table] = Held(int(rows), int(total))
    engine.dispose()
    return held


def _hash_of(engine: sa.Engine, names: list[str]) -> str:
    """An expression for a number that depends on each value of a row, and on what is NULL."""
    if engine.dialect.name == "postgresql":
        return f"hashtextextended(ROW({', '.join(names)})::text, 0)::numeric"
    if engine.dialect.name == "sqlite":
        return f"row_hash({', '.join(names)})"
    parts = ", ".join(f"coalesce(hex({name}), 'NULL')" for name in names)
    return f"cast(conv(left(md5(concat_ws('|', {parts})), 15), 16, 10) AS DECIMAL(20))"


def _row_hash(*values: Any) -> int:
    """A function for SQLite, which has none that hashes."""
    return zlib.crc32(repr(values).encode())


def _as_it_is(engine: sa.Engine, name: str) -> sa.Table:
    """A table with the columns that the database has, and the types by which the library writes them."""
    known = SqlTransactionStore(engine).metadata.tables[name].c
    found = sa.inspect(engine).get_columns(name)
    columns = [
        sa.Column(each["name"], known[each["name"]].type if each["name"] in known else each["type"])
        for each in found
    ]
    return sa.Table(name, sa.MetaData(), *columns)
