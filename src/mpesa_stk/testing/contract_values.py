"""Payments and callbacks for the tests of the contracts, and their comparison."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import attrs

from mpesa_stk.payments.state import HistoryEntry, Transaction, TransactionState
from mpesa_stk.payments.store import KeptCallback, TransactionStore
from mpesa_stk.testing.manual_clock import START

__all__ = [
    "LEASE",
    "OTHER",
    "OURS",
    "START",
    "TICK",
    "MakeStore",
    "full_payment",
    "kept_callback",
    "number_of",
    "one_of",
    "payment",
    "same",
]

MakeStore = Callable[[], TransactionStore]
"""Opens another handle on the same payments."""

TICK = timedelta(microseconds=1)
"""The shortest difference between two times that a store must keep."""
LEASE = timedelta(seconds=60)
"""The length of a claim."""
OURS = frozenset({"paybill 600000"})
"""The account of `payment`, as an argument of `claim_due`."""
OTHER = "till 5000001 (6000001)"
"""The account of `full_payment`, which differs from that of `payment`."""


def number_of(ordinal: int, /) -> str:
    """Return a UUID4 that depends only on the ordinal."""
    return str(uuid.UUID(int=ordinal, version=4))


def payment(ordinal: int, /, **changes: Any) -> Transaction:  # noqa: ANN401 - any field
    """Make a payment whose intent was just stored."""
    facts: dict[str, Any] = {
        "transaction_no": number_of(ordinal),
        "account": "paybill 600000",
        "phone_number": "+254718643064",
        "amount": 100,
        "reference": "INV-1",
        "created": START,
        "updated": START,
        "expires_at": START + timedelta(minutes=15),
        "due_at": START + timedelta(minutes=3),
    }
    return Transaction(**(facts | changes))


def full_payment(ordinal: int, /, **changes: Any) -> Transaction:  # noqa: ANN401 - any field
    """Make a payment with a distinct value in every field, in several scripts."""
    entry = HistoryEntry(at=START + TICK, event="push accepted", state=TransactionState.PENDING)
    decided = attrs.evolve(
        entry, at=START + LEASE, by="Amina", note="aliona \u2018SMS\u2019 \U0001f4f1"
    )
    facts: dict[str, Any] = {
        "idempotency_key": f"order-{ordinal}",
        "account": OTHER,
        "amount": 16_777_217,  # not exact as a float of 32 bits
        "reference": "Viatu \u2713 \U0001f45f",
        "prompt_reference": f"VIATU-{ordinal}",
        "order": f"Oda \u2713 {ordinal}",
        "order_slot": f"paid:Oda \u2713 {ordinal}",
        "description": "Ngozi e\u0301 \u00e9",  # the same letter, composed and not
        "state": TransactionState.SUCCEEDED,
        "created": START + 2 * TICK,
        "updated": START + 3 * TICK,
        "expires_at": START + timedelta(minutes=15, microseconds=999_999),
        "due_at": START + timedelta(minutes=3, microseconds=1),
        "merchant_request_id": f"29115-34620561-{ordinal}",
        "checkout_request_id": f"ws_CO_23112026090000{ordinal:09}",
        "response_description": "Imepokelewa \u2013 tunashughulikia \U0001f1f0\U0001f1ea",
        "customer_message": "Asante sana \U0001f64f\U0001f3fe '\"\\%_\t\n;--",
        "result_code": "SFC_IC0003",
        "result_desc": "\u1240\u1308\u1230 \u4e2d\u6587 \u0627\u0644\u0639\u0631\u0628\u064a\u0629",
        "receipt_number": f"NLJ7RT{ordinal}",
        "paid_at": START + timedelta(seconds=13, microseconds=7),
        "settled_by": "callback",
        "needs_review": "callback has another amount \u2013 angalia \U0001f440",
        "reported": True,
        "history": (entry, attrs.evolve(entry, at=START + LEASE, code="1032 \U0001f6ab"), decided),
        "version": 7,
    }
    return payment(ordinal, **(facts | changes))


def kept_callback(ordinal: int, /, **changes: Any) -> KeptCallback:  # noqa: ANN401 - any field
    """Make a kept callback, received one microsecond later for each higher ordinal."""
    facts: dict[str, Any] = {
        "callback_id": hashlib.sha256(str(ordinal).encode()).hexdigest(),
        "body": b'{"Body": {}}',
        "reason": "no payment has this checkout_request_id yet",
        "received": START + ordinal * TICK,
        "checkout_request_id": "ws_CO_1",
    }
    return KeptCallback(**(facts | changes))


def one_of(claimed: list[Transaction]) -> Transaction:
    """Return the only payment that was claimed."""
    assert len(claimed) == 1, f"exactly one payment is due; claimed were {len(claimed)}"
    return claimed[0]


def same(found: Transaction | None, wanted: Transaction) -> None:
    """Assert that two payments have equal fields and types, with moments in UTC."""
    assert found is not None, "the payment was not found"
    for name in attrs.fields_dict(Transaction):
        got, want = getattr(found, name), getattr(wanted, name)
        assert got == want, f"{name}: got {got!r} instead of {want!r}"
        assert type(got) is type(want), f"{name}: got {type(got)} instead of {type(want)}"
    moments = [found.created, found.updated, found.expires_at, found.due_at, found.paid_at]
    for moment in [*moments, *(entry.at for entry in found.history)]:
        assert moment is None or moment.utcoffset() == timedelta(0), f"{moment!r} is not in UTC"
