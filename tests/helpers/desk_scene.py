"""A made-up shop whose payments the tests and the page of the desk look at."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import create_engine

from mpesa_stk import KeptCallback, Transaction, TransactionState
from mpesa_stk.payments.events import Meaning
from mpesa_stk.payments.state import HistoryEntry
from mpesa_stk.stores.sql import SqlTransactionStore
from support import CHECKOUT_ID, MERCHANT_ID, START, callback, make_transaction

__all__ = [
    "DOUBTED",
    "NOW",
    "OLD",
    "PAID",
    "PAYMENTS",
    "SHOES",
    "SILENT",
    "keep",
    "shop_at",
    "store_at",
]

NOW = START + timedelta(days=3, hours=3)
"""Noon in Nairobi, three days after the first payment."""
_S = TransactionState


def _story(at: datetime, *steps: tuple[Meaning, TransactionState, str | None]) -> dict[str, Any]:
    """The fields of a payment that was created at a moment, with a step every ten seconds."""
    history = tuple(
        HistoryEntry(at=at + timedelta(seconds=10 * n), event=event.value, state=state, code=code)
        for n, (event, state, code) in enumerate(steps, start=1)
    )
    return {
        "created": at,
        "updated": history[-1].at if history else at,
        "expires_at": at + timedelta(minutes=15),
        "history": history,
    }


_ACCEPTED = (Meaning.ACCEPTED, _S.PENDING, None)

PAID = make_transaction(
    transaction_no="1b4e28ba-2fa1-41d2-883f-0016d3cca427",
    amount=1_500,
    reference="INV-201",
    state=_S.SUCCEEDED,
    checkout_request_id=CHECKOUT_ID,
    merchant_request_id=MERCHANT_ID,
    result_code="0",
    receipt_number="NLJ7RT61SV",
    paid_at=START + timedelta(seconds=18),
    settled_by="callback",
    reported=True,
    due_at=None,
    **_story(
        START,
        _ACCEPTED,
        (Meaning.PAID, _S.SUCCEEDED, "0"),
        (Meaning.REPORTED, _S.SUCCEEDED, "SUCCEEDED"),
    ),
)
DECLINED = make_transaction(
    transaction_no="6fa459ea-ee8a-4ca4-894e-db77e160355e",
    phone_number="+254722000111",
    amount=4_000,
    reference="Ada ya Shule",
    order="mwanafunzi-12",
    state=_S.FAILED,
    result_code="1032",
    settled_by="callback",
    reported=True,
    due_at=None,
    **_story(
        START + timedelta(hours=5),
        _ACCEPTED,
        (Meaning.NOT_PAID, _S.FAILED, "1032"),
        (Meaning.REPORTED, _S.FAILED, "FAILED"),
    ),
)
SILENT = make_transaction(
    transaction_no="9f3c0f6e-5d0b-4c7e-8a4c-0b9a2d1e7f10",
    phone_number="+254712345678",
    amount=250,
    reference="INV-202",
    order="order-77",
    state=_S.EXPIRED,
    checkout_request_id="ws_CO_24112026100000123712345678",
    settled_by="time",
    needs_review="Daraja never said how it ended",
    reported=True,
    due_at=None,
    **_story(
        START + timedelta(days=1),
        _ACCEPTED,
        (Meaning.NOTHING_NEW, _S.PENDING, "4999"),
        (Meaning.TIME_UP, _S.EXPIRED, None),
        (Meaning.REPORTED, _S.EXPIRED, "EXPIRED"),
    ),
)
DOUBTED = make_transaction(
    transaction_no="c56a4180-65aa-42ec-a945-5fd21dec0538",
    phone_number="+254110000222",
    amount=60,
    reference="INV-203",
    state=_S.FAILED,
    result_code="1037",
    settled_by="callback",
    needs_review="query says paid after a callback's failure; callback has another amount",
    due_at=NOW,
    **_story(
        START + timedelta(days=2),
        _ACCEPTED,
        (Meaning.NOT_PAID, _S.FAILED, "1037"),
        (Meaning.CONTRADICTED, _S.FAILED, "0"),
    ),
)
SHOES = make_transaction(
    transaction_no="e02fa0e4-01ad-410b-9dc1-1f3b0c5e2a66",
    amount=3_200,
    reference="Viatu \U0001f45f",
    state=_S.PENDING,
    **_story(NOW - timedelta(minutes=1), _ACCEPTED),
)
OLD = make_transaction(
    transaction_no="00000000-0000-4000-8000-000000000001",
    phone_number="+254700000001",
    amount=900,
    reference="INV-1",
    description="Viatu vya Amina",
    state=_S.SUCCEEDED,
    checkout_request_id="ws_CO_10032022120000123700000001",
    result_code="0",
    receipt_number="KCA1BC2DE3",
    settled_by="callback",
    reported=True,
    due_at=None,
    **_story(START - timedelta(days=1_719), _ACCEPTED, (Meaning.PAID, _S.SUCCEEDED, "0")),
)
PAYMENTS = (OLD, PAID, DECLINED, SILENT, DOUBTED, SHOES)
"""All payments of the shop, the oldest first."""


@contextlib.contextmanager
def store_at(url: str) -> Iterator[SqlTransactionStore]:
    """The store of a shop in that database."""
    engine = create_engine(url)
    try:
        yield SqlTransactionStore(engine)
    finally:
        engine.dispose()


def keep(url: str, *payments: Transaction) -> None:
    """Store payments as a shop does."""
    with store_at(url) as store:
        for payment in payments:
            store.add(payment)


def shop_at(url: str) -> str:
    """Make the tables of the shop, and store its payments and a callback. Returns the URL."""
    with store_at(url) as store:
        store.create_tables()
        store.keep_callback(
            KeptCallback(
                callback_id="5f" * 32,
                body=callback(amount=90),
                reason="callback has another amount",
                received=START + timedelta(days=2, seconds=30),
                transaction_no=DOUBTED.transaction_no,
            )
        )
    keep(url, *PAYMENTS)
    return url
