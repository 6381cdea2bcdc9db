"""The steps that bring older tables of payments up to the present ones."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.schema import CreateColumn

from mpesa_stk.stores.sql_schema import Step

__all__ = ["payment_steps"]


def payment_steps(payments: sa.Table, /) -> Mapping[int, Step]:
    """Return the steps of the table of payments, by the version that each reaches."""

    def add_orders_and_searches(connection: sa.Connection) -> None:
        _add_columns(connection, payments, ("order", "order_slot"))
        for index in payments.indexes:
            index.create(connection, checkfirst=True)

    def add_prompt_references(connection: sa.Connection) -> None:
        _add_columns(connection, payments, ("prompt_reference",))

    return {3: add_orders_and_searches, 4: add_prompt_references}


def _add_columns(connection: sa.Connection, table: sa.Table, names: tuple[str, ...]) -> None:
    """Add columns that may be NULL, unless they are there."""
    columns = sa.inspect(connection).get_columns(table.name, schema=table.schema)
    present = {column["name"] for column in columns}
    name = connection.dialect.identifier_preparer.format_table(table)
    for missing in (one for one in names if one not in present):
        definition = CreateColumn(table.c[missing]).compile(dialect=connection.dialect)
        connection.exec_driver_sql(f"ALTER TABLE {name} ADD COLUMN {definition}")
