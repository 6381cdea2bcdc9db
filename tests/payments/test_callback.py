"""Callbacks: whose they are, what is kept, what they settle."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from typing import Any

import pytest

from both_faces import make_payments
from daraja_double import answer, make_client, result
from hosts import SIGNED, BrokenStore, Host, pending
from mpesa_stk import (
    CallbackOutcome,
    CallbackRefused,
    ConfigurationError,
    HttpResponse,
    InvalidCallback,
    KeptCallback,
    MemoryTransactionStore,
    OutcomeUnknown,
    StoreError,
    Transaction,
    TransactionState,
)
from mpesa_stk.payments.callback import MOST_KEPT
from support import CHECKOUT_ID, MERCHANT_ID, accepted, callback

pytestmark = pytest.mark.usefixtures("face")


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


def test_unproven_callback_with_the_id_of_another_payment_is_a_doubt() -> None:
    """It is kept and noted. The payment goes on to its end, and each later look is no error either."""
    host = Host(**SIGNED)
    host.daraja.push_script.append(answer(accepted("ws_CO_1", "1-1")))
    host.checkout()
    host.daraja.push_script.append(answer({}, 503))
    host.checkout(reference="INV-2", amount=200)
    body = callback(checkout_request_id="ws_CO_1", CallbackMetadata=None)
    receipt = host.payments.handle_callback(body, token=host.daraja.token)
    assert receipt.outcome is CallbackOutcome.NOTED
    doubt = "callback has the checkout_request_id of another payment"
    assert host.stored("INV-2").needs_review == doubt
    host.clock.advance(3600)
    host.daraja.query_script.append(answer({}, 500))
    report = host.payments.process_due(on_settled=lambda _: None)
    assert report.expired == 1
    assert host.stored("INV-2").state is TransactionState.EXPIRED


def test_callback_at_the_url_of_one_payment_never_settles_another() -> None:
    """Who knows one genuine URL can settle no other payment: the body is evidence of that one."""
    host = Host(**SIGNED)
    host.daraja.push_script.append(answer(accepted("ws_CO_1", "1-1")))
    host.checkout()
    stolen = host.daraja.token
    host.daraja.push_script.append(answer(accepted("ws_CO_2", "1-2")))
    other = host.checkout(reference="INV-2")
    body = callback(checkout_request_id="ws_CO_2", MerchantRequestID="1-2")
    host.payments.handle_callback(body, token=stolen)
    host.clock.advance(60)
    host.daraja.query_script.extend([answer({}, 500)] * 2)
    host.payments.process_due(on_settled=lambda _: None)
    found = host.payments.get(other.transaction_no)
    assert found is not None
    assert found.state is TransactionState.PENDING
    assert len(host.store.kept_callbacks(checkout_request_id="ws_CO_2")) == 1


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


def _pending_with_a_faster_receipt() -> Host:
    """A host with a PENDING payment. A callback with another receipt wins the race with the first one."""

    class Raced(BrokenStore):
        raced = False

        def replace(self, transaction: Transaction, /) -> bool:
            if transaction.receipt_number == "NLJ7RT61SV" and not self.raced:
                self.raced = True
                host.payments.handle_callback(callback(receipt="FASTER1234"))
            return super().replace(transaction)

    host = pending(store=Raced())
    return host


def test_two_receipts_at_the_same_moment_keep_both() -> None:
    """Where another callback wins the race with another receipt, ours is kept as evidence."""
    host = _pending_with_a_faster_receipt()
    assert host.payments.handle_callback(callback()).outcome is CallbackOutcome.NOTED
    assert host.stored().receipt_number == "FASTER1234"
    assert host.stored().needs_review == "callback has another receipt"
    kept = host.store.kept_callbacks(checkout_request_id=CHECKOUT_ID)
    assert [each.body for each in kept] == [callback()]


def test_second_receipt_under_review_is_kept_too() -> None:
    """A payment that is under review already: the receipt that loses the race is evidence all the same."""
    host = _pending_with_a_faster_receipt()
    host.payments.handle_callback(callback(amount=99, receipt="NLJ7RT61S0"))
    host.payments.handle_callback(callback())
    assert host.stored().needs_review == (
        "callback has another amount; callback has another receipt"
    )
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


# --- bodies that cannot be read -----------------------------------------------------------------------

UNREADABLE = [
    b"<html>502 Bad Gateway</html>",
    b"",
    b"{",
    callback().replace(b"successfully", b"successfully\xe9"),
    b'{"Body": {"stkCallback": {"ResultCode": 0}}}',
]


@pytest.mark.parametrize("body", UNREADABLE)
def test_genuine_callback_that_cannot_be_read_is_kept_and_asked_about(body: bytes) -> None:
    """Its URL proves the payment, and Daraja may post it only once: it is kept once, raw, and flagged."""
    host = pending(**SIGNED)
    for _ in range(2):
        receipt = host.payments.handle_callback(body, token=host.daraja.token)
        assert receipt.outcome is CallbackOutcome.KEPT
        assert receipt.transaction == host.stored()
    (kept,) = host.store.kept_callbacks(transaction_no=host.stored().transaction_no)
    assert (kept.body, kept.reason) == (body, "callback cannot be read")
    assert host.stored().state is TransactionState.PENDING
    assert host.stored().needs_review == "callback cannot be read"
    assert host.stored().due_at == host.clock.now()
    assert (host.events[-1].outcome, host.events[-1].code) == ("kept", None)
    host.daraja.query_script.append(result(CHECKOUT_ID, "0"))
    told: list[Transaction] = []
    host.payments.process_due(on_settled=told.append)
    assert [(paid.state, paid.needs_review) for paid in told] == [
        (TransactionState.SUCCEEDED, "callback cannot be read")
    ]
    assert len(host.store.kept_callbacks(transaction_no=host.stored().transaction_no)) == 1


def test_callback_that_cannot_be_read_is_refused_without_a_genuine_token() -> None:
    """Anybody can post garbage: only a token of ours makes it evidence."""
    host = pending(**SIGNED)
    with pytest.raises(CallbackRefused):
        host.payments.handle_callback(b"garbage", token=host.daraja.token[:-1] + "g")
    unsigned = pending()
    with pytest.raises(InvalidCallback):
        unsigned.payments.handle_callback(b"garbage")


def test_kept_callbacks_of_a_payment_are_bounded() -> None:
    """The twenty-first that proves nothing is not acknowledged; a proof is taken all the same."""
    host = pending(**SIGNED)
    token = host.daraja.token
    for amount in range(200, 200 + MOST_KEPT):
        host.payments.handle_callback(callback(amount=amount), token=token)
    with pytest.raises(CallbackRefused):
        host.payments.handle_callback(callback(amount=99), token=token)
    assert host.events[-1].outcome == "refused"
    host.payments.handle_callback(callback(amount=200), token=token)
    kept = host.store.kept_callbacks(transaction_no=host.stored().transaction_no)
    assert len(kept) == MOST_KEPT
    assert host.payments.handle_callback(callback(), token=token).outcome is CallbackOutcome.SETTLED


def test_kept_callbacks_of_an_unknown_prompt_are_bounded() -> None:
    """Without signed URLs, one made-up id cannot fill the store."""
    host = Host()
    for amount in range(1, 1 + MOST_KEPT):
        host.payments.handle_callback(callback(amount=amount))
    with pytest.raises(CallbackRefused):
        host.payments.handle_callback(callback(amount=99))
    assert len(host.store.kept_callbacks(checkout_request_id=CHECKOUT_ID)) == MOST_KEPT


# --- forgetting ------------------------------------------------------------------------------------------


def test_old_kept_callbacks_are_forgotten() -> None:
    """After 90 days `process_due` forgets them, a hundred at once, and looks once an hour."""
    host = Host()
    for number in range(150):
        host.payments.handle_callback(callback(checkout_request_id=f"ws_CO_{number}"))
    host.clock.advance(90 * 86_400)
    assert host.payments.process_due().purged == 0
    host.clock.advance(1)
    assert host.payments.process_due().purged == 0
    host.clock.advance(3600)
    assert [host.payments.process_due().purged for _ in range(3)] == [100, 50, 0]
    assert host.store.kept_callbacks(checkout_request_id="ws_CO_149") == []


def test_host_says_how_long_callbacks_are_kept() -> None:
    """Two days at least: until then a payment may still be open."""
    host = Host()
    host.payments.handle_callback(callback())
    days = timedelta(days=2)
    client, store = host.payments.client, host.store
    brief = make_payments(client, store, clock=host.clock, callback_retention=days)
    host.clock.advance(2 * 86_400 + 1)
    assert brief.process_due().purged == 1
    with pytest.raises(ConfigurationError):
        make_payments(
            client, store, clock=host.clock, callback_retention=days - timedelta(seconds=1)
        )


def test_store_that_cannot_forget_harms_no_payment(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and tried again an hour later."""
    store = BrokenStore("purge_callbacks")
    host = pending(store=store)
    host.payments.handle_callback(callback())
    assert host.payments.process_due(on_settled=lambda _: None).reported == 1
    assert "purge_failed error=StoreError" in caplog.text


# --- rotation of the secret ------------------------------------------------------------------------


def test_secret_is_rotated_in_two_steps_without_losing_a_callback() -> None:
    """First every process accepts the new secret, then they sign with it, one after the other."""
    old, new = "old-secret-0123456789", "new-secret-0123456789"
    steps = [(old,), (old, new), (new, old), (new,)]
    for before, after in itertools.pairwise(steps):
        for signing, reading in ((before, after), (after, before)):
            host = pending(callback_secrets=signing)
            reader = make_payments(
                make_client(host.daraja, host.clock, callback_secrets=reading),
                host.store,
                clock=host.clock,
            )
            receipt = reader.handle_callback(callback(), token=host.daraja.token)
            assert receipt.outcome is CallbackOutcome.SETTLED


def test_kept_doubts_cost_one_look_at_the_store() -> None:
    """They are kept already, and are not kept anew at each look at their payment."""

    class Counting(MemoryTransactionStore):
        looks = 0

        def kept_callbacks(self, **wanted: Any) -> list[KeptCallback]:
            self.looks += 1
            return super().kept_callbacks(**wanted)

    store = Counting()
    host = pending(store=store)
    for amount in range(1, MOST_KEPT + 1):
        host.payments.handle_callback(callback(amount=amount))
    store.looks = 0
    host.daraja.query_script.append(result(CHECKOUT_ID, "4999"))
    assert host.payments.process_due().queried == 1
    assert store.looks == 1


def test_callback_judged_while_the_clock_is_set_back_is_kept() -> None:
    """It was a proof at first sight, and from the future when it was applied."""
    host = pending()
    now = host.clock.now

    def set_back() -> datetime:
        moment = now()
        host.clock.now = now  # type: ignore[method-assign]
        host.clock.step(-3600)
        return moment

    host.clock.now = set_back  # type: ignore[method-assign]
    assert host.payments.handle_callback(callback()).outcome is CallbackOutcome.NOTED
    assert host.stored().needs_review == "callback has a date in the future"
    assert len(host.store.kept_callbacks(checkout_request_id=CHECKOUT_ID)) == 1
