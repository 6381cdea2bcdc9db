"""What the tests of the SQL stores share: databases of each kind, and payments to fill them with."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from mpesa_stk import KeptCallback, Transaction
from mpesa_stk.stores.sql import SqlTransactionStore
from support import CHECKOUT_ID, DATA, START, make_transaction

LEASE = timedelta(seconds=60)
MakeEngine = Callable[..., sa.Engine]


def numbered(number: int, **changes: Any) -> Transaction:
    """One of many payments."""
    return make_transaction(transaction_no=f"no-{number}", **changes)


def kept(number: int, **changes: Any) -> KeptCallback:
    """A kept callback."""
    facts: dict[str, Any] = {
        "callback_id": f"callback-{number}",
        "body": b"\x00\xff",
        "reason": "no payment has this checkout_request_id yet",
        "received": START,
        "checkout_request_id": CHECKOUT_ID,
    }
    return KeptCallback(**(facts | changes))


def new_store(engine: sa.Engine, **options: Any) -> SqlTransactionStore:
    """A store whose tables exist."""
    store = SqlTransactionStore(engine, **options)
    store.create_tables()
    return store


def make_version_1(engine: sa.Engine) -> None:
    """Make the tables as the library made them before they said their version."""
    kind = {"mysql": "mariadb"}.get(engine.dialect.name, engine.dialect.name)
    text = (DATA / f"tables-1-{kind}.sql").read_text(encoding="utf-8")
    with engine.begin() as connection:
        for statement in text.split(";\n"):
            if statement.strip():
                connection.exec_driver_sql(statement)


class InAutocommit(sqlite3.Connection):
    """A connection as ``autocommit=True`` of Python 3.12 makes it: its own commit does nothing."""

    autocommit = True

    def commit(self) -> None:
        """Nothing."""


def begins_deferred(engine: sa.Engine) -> None:
    """A well-known recipe for SQLite: every transaction begins with BEGIN."""

    @sa.event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN")
