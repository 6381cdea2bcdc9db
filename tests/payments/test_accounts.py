"""Several accounts in one store: each `Payments` follows and reports the payments of its own account."""

from __future__ import annotations

from collections import defaultdict

import pytest

from both_faces import make_payments
from daraja_double import ScriptedDaraja, answer, make_client, result
from mpesa_stk import (
    MemoryTransactionStore,
    PayBill,
    Payments,
    Transaction,
    TransactionState,
)
from mpesa_stk.payments.budget import UnlimitedQueryBudget
from support import CALLBACK_SECRET, ManualClock, accepted, callback

pytestmark = pytest.mark.usefixtures("face")

NUMBERS = [str(600_000 + number) for number in range(20)]


class Merchants:
    """Twenty merchants, each with its own Daraja, over one store."""

    def __init__(self, *numbers: str) -> None:
        self.clock = ManualClock()
        self.store = MemoryTransactionStore()
        self.darajas = {number: ScriptedDaraja() for number in numbers}
        self.payments: dict[str, Payments] = {
            number: make_payments(
                make_client(
                    daraja,
                    self.clock,
                    account=PayBill(number),
                    callback_secrets=(CALLBACK_SECRET,),
                ),
                self.store,
                clock=self.clock,
                jitter=lambda: 0.5,
                query_budget=UnlimitedQueryBudget(),
            )
            for number, daraja in self.darajas.items()
        }

    def checkout(self, number: str) -> Transaction:
        """A customer of this merchant is asked to pay."""
        self.darajas[number].push_script.append(answer(accepted(f"ws_CO_{number}")))
        return self.payments[number].checkout(
            phone_number="0718643064",
            amount=100,
            reference=f"INV-{number}",
            idempotency_key="order-1",
        )


def test_each_worker_asks_about_its_own_payments_and_reports_them() -> None:
    """Twenty merchants, callbacks lost, workers in turn: twenty of twenty are right."""
    shops = Merchants(*NUMBERS)
    for number in NUMBERS:
        shops.checkout(number)
        shops.darajas[number].query_script.append(result(f"ws_CO_{number}", "0"))
    shops.clock.advance(20)
    told: dict[str, list[Transaction]] = defaultdict(list)
    for number in NUMBERS:
        shops.payments[number].process_due(on_settled=told[number].append)
    for number in NUMBERS:
        assert [(paid.reference, paid.state) for paid in told[number]] == [
            (f"INV-{number}", TransactionState.SUCCEEDED)
        ]
        assert [query["CheckoutRequestID"] for query in shops.darajas[number].queries] == [
            f"ws_CO_{number}"
        ]


def test_payment_of_another_account_is_not_expired() -> None:
    """A worker that has not its credentials leaves it alone, however late it is."""
    ours, theirs = NUMBERS[:2]
    shops = Merchants(ours, theirs)
    foreign = shops.checkout(theirs)
    shops.clock.advance(86_400 * 7)
    assert shops.payments[ours].process_due(on_settled=lambda _: None).claimed == 0
    assert shops.store.get(foreign.transaction_no) == foreign


def test_same_key_names_a_payment_of_each_account() -> None:
    """Two merchants who both call an order "order-1" get a prompt each."""
    shops = Merchants(*NUMBERS[:2])
    first, second = (shops.checkout(number) for number in NUMBERS[:2])
    assert first.transaction_no != second.transaction_no
    assert [len(daraja.pushes) for daraja in shops.darajas.values()] == [1, 1]
    assert shops.checkout(NUMBERS[0]).transaction_no == first.transaction_no


def test_callback_is_taken_whichever_process_it_comes_to() -> None:
    """A genuine callback settles the payment it belongs to; its own worker reports it."""
    ours, theirs = NUMBERS[:2]
    shops = Merchants(ours, theirs)
    shops.checkout(theirs)
    token = shops.darajas[theirs].token
    body = callback(checkout_request_id=f"ws_CO_{theirs}")
    assert shops.payments[ours].handle_callback(body, token=token).transaction is not None
    told: list[str] = []
    assert shops.payments[ours].process_due(on_settled=lambda _: told.append("ours")).claimed == 0
    shops.payments[theirs].process_due(on_settled=lambda _: told.append("theirs"))
    assert told == ["theirs"]
