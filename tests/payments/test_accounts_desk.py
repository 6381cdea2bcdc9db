"""A desk for all accounts: it sees the payments of the accounts that are served, and no others."""

from __future__ import annotations

from typing import Any

import pytest

from both_faces import make_accounts
from daraja_double import ScriptedDaraja
from mpesa_stk import (
    CallbackNews,
    InvalidRequest,
    MemoryTransactionStore,
    PayBill,
    Transaction,
    TransactionState,
)
from mpesa_stk.testing import contract_values
from support import ManualClock, make_config

pytestmark = pytest.mark.usefixtures("face")

CONFIGS = [make_config(account=PayBill(number)) for number in ("600000", "600001")]
OURS = ["paybill 600000", "paybill 600001", "paybill 600000"]
FOREIGN = "paybill 600009"


def payment(number: int, account: str, **changes: Any) -> Transaction:
    """A payment of the clock's day."""
    return contract_values.payment(number, account=account, **changes)


def accounts_over(*payments: Transaction, clock: ManualClock | None = None) -> Any:
    """Two accounts over a store with payments."""
    store = MemoryTransactionStore()
    for each in payments:
        store.add(each)
    return make_accounts(
        store, CONFIGS, clock=clock or ManualClock(), transport=ScriptedDaraja(), jitter=lambda: 0.5
    )


def test_search_finds_the_payments_of_all_served_accounts() -> None:
    """Those of a foreign account stay unseen, and so do its reviews."""
    doubtful = {"needs_review": "Daraja never said how it ended"}
    ours = [payment(number, account, **doubtful) for number, account in enumerate(OURS)]
    accounts = accounts_over(*ours, payment(9, FOREIGN, **doubtful))
    for page in (accounts.search(reference="INV-1"), accounts.reviews()):
        assert sorted(one.account for one in page.payments) == sorted(OURS)
    assert accounts["600001"].search().payments == (ours[1],)


def test_a_person_decides_about_a_payment_of_any_served_account() -> None:
    """And not about a foreign one."""
    expired = {"state": TransactionState.EXPIRED, "settled_by": "time"}
    ours, foreign = payment(1, OURS[1], **expired), payment(2, FOREIGN, **expired)
    accounts = accounts_over(ours, foreign)
    paid = accounts.resolve(
        ours.transaction_no,
        note="in the statement",
        by="Amina",
        outcome=TransactionState.SUCCEEDED,
        receipt_number="NLJ7RT61SV",
    )
    assert paid.paid
    with pytest.raises(InvalidRequest) as caught:
        accounts.resolve(foreign.transaction_no, note="x", by="Amina")
    assert caught.value.field == "transaction_no"


def test_one_look_is_for_the_callbacks_of_all_accounts() -> None:
    """The last payments of all accounts were settled by queries alone."""
    clock = ManualClock()
    settled = {"state": TransactionState.SUCCEEDED, "settled_by": "query", "created": clock.now()}
    payments = [payment(number, OURS[number % 2], **settled) for number in range(6)]
    accounts = accounts_over(*payments, clock=clock)
    clock.advance(1200)
    assert accounts.check_callbacks() is CallbackNews.STOPPED
    assert accounts.check_callbacks() is None
