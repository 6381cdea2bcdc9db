"""Made-up payments, rows and statements for the tests of records."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from mpesa_stk import (
    RowKind,
    Statement,
    StatementRow,
    StatementSource,
    Transaction,
    TransactionState,
)
from mpesa_stk.payments.events import Meaning
from mpesa_stk.payments.state import HistoryEntry
from mpesa_stk.testing import contract_values
from support import START

TILL_ACCOUNT = "till 5000001 of store 6000001"
MASKED = "25471****064"
_S = TransactionState


def asked(ordinal: int = 1, **changes: Any) -> Transaction:
    """A payment that nobody knows the outcome of."""
    facts: dict[str, Any] = {"state": _S.EXPIRED, "settled_by": "time", "due_at": None}
    return contract_values.payment(ordinal, **(facts | {"reported": True} | changes))


def paid(ordinal: int = 1, **changes: Any) -> Transaction:
    """A payment that a callback settled ten seconds after its push."""
    facts: dict[str, Any] = {
        "state": _S.SUCCEEDED,
        "settled_by": "callback",
        "receipt_number": f"HELD{ordinal:06}",
        "paid_at": START + timedelta(seconds=10),
    }
    return asked(ordinal, **(facts | changes))


def by_query(ordinal: int = 1, **changes: Any) -> Transaction:
    """A payment that a status query called paid. It has no receipt."""
    said = HistoryEntry(
        at=START + timedelta(seconds=40), event=Meaning.QUERY_PAID.value, state=_S.SUCCEEDED
    )
    facts: dict[str, Any] = {"state": _S.SUCCEEDED, "settled_by": "query", "history": (said,)}
    return asked(ordinal, **(facts | changes))


def refused(ordinal: int = 1, **changes: Any) -> Transaction:
    """A payment that a callback called not paid."""
    return asked(ordinal, **({"state": _S.FAILED, "settled_by": "callback"} | changes))


def row(receipt: str = "NLJ7RT61SV", seconds: float = 10, **changes: Any) -> StatementRow:
    """A row of a paybill, completed some seconds after `START`."""
    facts: dict[str, Any] = {
        "receipt_number": receipt,
        "completed": START + timedelta(seconds=seconds),
        "amount": Decimal("100.00"),
        "kind": RowKind.PAYBILL,
        "reference": "INV-1",
        "phone_number": MASKED,
    }
    return StatementRow(**(facts | changes))


def till_row(receipt: str = "NLJ7RT61SV", seconds: float = 10, **changes: Any) -> StatementRow:
    """A row of a till."""
    return row(receipt, seconds, **({"kind": RowKind.TILL, "reference": None} | changes))


def statement(*rows: StatementRow, **changes: Any) -> Statement:
    """A complete statement of the paybill 600000, of one day before and after `START`."""
    facts: dict[str, Any] = {
        "source": StatementSource.FILE,
        "number": "600000",
        "rows": rows,
        "covers_from": START - timedelta(days=1),
        "covers_until": START + timedelta(days=1),
    }
    return Statement(**(facts | changes))
