"""Callbacks: whose they are, what is kept, what they settle."""

from __future__ import annotations

from typing import Any

import pytest

from daraja_double import answer
from mpesa_stk import (
    CallbackOutcome,
    CallbackRefused,
    HttpResponse,
    InvalidCallback,
    OutcomeUnknown,
    StoreError,
    Transaction,
    TransactionState,
)
from support import CALLBACK_SECRET, CHECKOUT_ID, MERCHANT_ID, accepted, callback
from test_payments_flow import BrokenStore, Host

SIGNED: dict[str, Any] = {"callback_secrets": (CALLBACK_SECRET,)}


def pending(**settings: Any) -> Host:
    """A host with one PENDING payment whose CheckoutRequestID is `CHECKOUT_ID`."""
    host = Host(**settings)
    host.daraja.push_script.append(answer(accepted()))
    host.checkout()
    return host


def test_signed_callback_settles_a_payment_whose_answer_was_lost() -> None:
    """The signed URL says which payment it is, where no CheckoutRequestID is known."""
    host = Host(**SIGNED)
    host.daraja.push_script.append(OutcomeUnknown("no complete answer in time"))
    assert host.checkout().checkout_request_id is None
    receipt = host.payments.handle_callback(callback(), token=host.daraja.token)
    assert receipt.outcome is CallbackOutcome.SETTLED
    assert host.stored().state is TransactionState.SUCCEEDED
    assert host.stored().checkout_request_id == CHECKOUT_ID
    assert host.stored().merchant_request_id == MERCHANT_ID


@pytest.mark.parametrize(
    "token",
    [
        None,
        "",
        "x",
        "6f9619ff-8b86-4011-b42d-00c04fc964ff." + "0" * 32,
        "{number}." + "0" * 32,
        "{number}",
    ],
)
def test_callback_without_our_signature_is_refused(token: str | None) -> None:
    """A missing, malformed, unknown or wrongly signed token settles and stores nothing."""
    host = pending(**SIGNED)
    before = host.stored()
    token = token and token.replace("{number}", before.transaction_no)
    with pytest.raises(CallbackRefused):
        host.payments.handle_callback(callback(), token=token)
    assert host.stored() == before
    assert host.events[-1].outcome == "refused"


def test_token_of_one_payment_does_not_settle_another() -> None:
    """A genuine token with another payment's CheckoutRequestID is a contradiction."""
    host = pending(**SIGNED)
    receipt = host.payments.handle_callback(
        callback(checkout_request_id="ws_CO_other"), token=host.daraja.token
    )
    assert receipt.outcome is CallbackOutcome.NOTED
    assert host.stored().state is TransactionState.PENDING
    assert host.stored().needs_review == "callback names another checkout_request_id"


def test_token_is_ignored_where_urls_are_not_signed() -> None:
    """Without callback_secrets the CheckoutRequestID alone says which payment it is."""
    host = pending()
    receipt = host.payments.handle_callback(callback(1032), token="anything")
    assert receipt.outcome is CallbackOutcome.SETTLED
    assert host.stored().result_code == "1032"


def test_body_that_is_no_callback_is_refused() -> None:
    """Bytes that are no callback raise, and an event says so without their content."""
    host = pending()
    with pytest.raises(InvalidCallback):
        host.payments.handle_callback(b'{"Body": {"phone": "254718643064"}}')
    assert host.events[-1].error == "InvalidCallback"
    assert "718643064" not in repr(host.events)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (callback(amount=99), "callback has another amount"),
        (callback(CallbackMetadata=None), "success without proof"),
    ],
)
def test_doubtful_callback_is_kept_raw_once(body: bytes, reason: str) -> None:
    """What settles nothing is kept as evidence, once however often it comes."""
    host = pending()
    outcomes = [host.payments.handle_callback(body).outcome for _ in range(3)]
    kept = host.store.kept_callbacks(transaction_no=host.stored().transaction_no)
    assert outcomes == [CallbackOutcome.NOTED, CallbackOutcome.REPEATED, CallbackOutcome.REPEATED]
    assert [(each.body, each.reason) for each in kept] == [(body, reason)]
    assert host.stored().state is TransactionState.PENDING


def test_second_wrong_amount_is_kept_too() -> None:
    """Other evidence is other evidence, also where the payment is doubted already."""
    host = pending()
    for amount in (98, 99):
        host.payments.handle_callback(callback(amount=amount))
    assert len(host.store.kept_callbacks(checkout_request_id=CHECKOUT_ID)) == 2


def test_receipt_of_another_payment_settles_nothing() -> None:
    """A receipt pays one payment: the second that claims it is for a person."""
    host = pending()
    host.payments.handle_callback(callback())
    host.daraja.push_script.append(answer(accepted("ws_CO_second")))
    host.checkout(reference="INV-2")
    body = callback(checkout_request_id="ws_CO_second")
    for outcome in (CallbackOutcome.NOTED, CallbackOutcome.REPEATED):
        assert host.payments.handle_callback(body).outcome is outcome
    second = host.stored("INV-2")
    assert second.state is TransactionState.PENDING
    assert second.needs_review == "callback has the receipt_number of another payment"
    assert len(host.store.kept_callbacks(transaction_no=second.transaction_no)) == 1


def test_two_receipts_at_the_same_moment_keep_both() -> None:
    """Where another callback wins the race with another receipt, ours is kept as evidence."""

    class Raced(BrokenStore):
        raced = False

        def replace(self, transaction: Transaction, /) -> bool:
            if transaction.receipt_number == "NLJ7RT61SV" and not self.raced:
                self.raced = True
                host.payments.handle_callback(callback(receipt="FASTER1234"))
            return super().replace(transaction)

    host = pending(store=Raced())
    assert host.payments.handle_callback(callback()).outcome is CallbackOutcome.NOTED
    assert host.stored().receipt_number == "FASTER1234"
    assert host.stored().needs_review == "callback has another receipt"
    kept = host.store.kept_callbacks(checkout_request_id=CHECKOUT_ID)
    assert [each.body for each in kept] == [callback()]


def test_second_receipt_under_review_is_kept_too() -> None:
    """A payment that is under review already: the receipt that loses the race is evidence all the same."""

    class Raced(BrokenStore):
        raced = False

        def replace(self, transaction: Transaction, /) -> bool:
            if transaction.receipt_number == "NLJ7RT61SV" and not self.raced:
                self.raced = True
                host.payments.handle_callback(callback(receipt="FASTER1234"))
            return super().replace(transaction)

    host = pending(store=Raced())
    host.payments.handle_callback(callback(amount=99, receipt="NLJ7RT61S0"))
    host.payments.handle_callback(callback())
    assert host.stored().needs_review == "callback has another amount"
    kept = host.store.kept_callbacks(checkout_request_id=CHECKOUT_ID)
    assert [(each.body, each.reason) for each in kept[1:]] == [
        (callback(), "callback has another receipt")
    ]


def test_only_one_of_two_callbacks_at_the_same_moment_settles() -> None:
    """Where a duplicate wins the race, ours is told as what it then is: a repetition."""

    class Raced(BrokenStore):
        raced = False

        def replace(self, transaction: Transaction, /) -> bool:
            if transaction.receipt_number and not self.raced:
                self.raced = True
                outcomes.append(host.payments.handle_callback(callback()).outcome)
            return super().replace(transaction)

    outcomes: list[CallbackOutcome] = []
    host = pending(store=Raced())
    outcomes.append(host.payments.handle_callback(callback()).outcome)
    assert outcomes == [CallbackOutcome.SETTLED, CallbackOutcome.REPEATED]
    assert host.settled == ["succeeded"]


def test_unknown_payments_callback_is_kept() -> None:
    """A callback about nothing we know is evidence all the same."""
    host = Host()
    receipt = host.payments.handle_callback(callback())
    assert (receipt.outcome, receipt.transaction) == (CallbackOutcome.KEPT, None)
    assert len(host.store.kept_callbacks(checkout_request_id=CHECKOUT_ID)) == 1


def test_payment_that_turns_up_while_its_callback_is_kept_is_settled() -> None:
    """Between the first look and the keeping, the push's answer may have been stored."""

    class TurnsUp(BrokenStore):
        looks = 0

        def find(self, **wanted: Any) -> Transaction | None:
            self.looks += "checkout_request_id" in wanted
            hidden = "checkout_request_id" in wanted and self.looks == 1
            return None if hidden else super().find(**wanted)

    host = pending(store=TurnsUp())
    assert host.payments.handle_callback(callback()).outcome is CallbackOutcome.SETTLED
    assert host.stored().state is TransactionState.SUCCEEDED
    assert host.store.kept_callbacks(checkout_request_id=CHECKOUT_ID) == []


@pytest.mark.parametrize("broken", ["find", "replace"])
def test_callback_that_cannot_be_stored_is_not_acknowledged(broken: str) -> None:
    """A store that is down makes it raise, so that the host answers 5xx."""
    store = BrokenStore()
    host = pending(store=store)
    store.broken = broken
    with pytest.raises(StoreError):
        host.payments.handle_callback(callback())


def test_doubtful_callback_is_not_acknowledged_before_it_is_kept() -> None:
    """The evidence comes first: nothing else is written when it cannot be kept."""
    store = BrokenStore()
    host = pending(store=store)
    before = host.stored()
    store.broken = "keep_callback"
    with pytest.raises(StoreError):
        host.payments.handle_callback(callback(amount=99))
    assert host.stored() == before


def test_contradiction_of_a_kept_callback_stays_kept() -> None:
    """A kept callback with another amount is applied as a doubt, and stays as evidence."""
    host = Host()

    def overtaken() -> HttpResponse:
        host.payments.handle_callback(callback(amount=1))
        return answer(accepted())

    host.daraja.push_script.append(overtaken)
    assert host.checkout().needs_review == "callback has another amount"
    assert len(host.store.kept_callbacks(checkout_request_id=CHECKOUT_ID)) == 1


def test_events_of_a_callback_name_the_payment_and_mask_the_prompt() -> None:
    """The host's hooks learn number, code and outcome; not the payer."""
    host = pending()
    host.payments.handle_callback(callback(1032))
    settled, event = host.events[-2:]
    assert (settled.kind, settled.outcome, settled.code) == ("settled", "failed", "1032")
    assert (event.kind, event.outcome) == ("callback", "settled")
    assert event.transaction_no == settled.transaction_no == host.stored().transaction_no
    assert event.checkout_request_id == CHECKOUT_ID[:-9] + "***"
