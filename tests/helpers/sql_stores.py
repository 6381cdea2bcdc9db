"""What the tests of the SQL stores share: databases of each kind, and payments to fill them with."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from mpesa_stk import KeptCallback, Transaction
from mpesa_stk.stores.sql import SqlTransactionStore
from support import CHECKOUT_ID, START, make_transaction

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
