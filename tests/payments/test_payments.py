"""`Payments.checkout` and `Payments.query`, over a scripted Daraja and a store that can fail."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from daraja_double import answer, refusal
from hosts import BrokenStore, Host, pending
from mpesa_stk import (
    AuthenticationFailed,
    CallbackOutcome,
    DarajaError,
    DuplicateTransaction,
    GatewayBlocked,
    HttpResponse,
    IdempotencyConflict,
    InvalidAmount,
    InvalidRequest,
    MemoryTransactionStore,
    MpesaError,
    NotSent,
    OutcomeUnknown,
    RateLimited,
    StoreError,
    SubscriberBusy,
    Transaction,
    TransactionState,
)
from support import CALLBACK_SECRET, CALLBACK_URL, accepted, callback

pytestmark = pytest.mark.usefixtures("face")

HTML = HttpResponse(
    status=403,
    headers={"content-type": "text/html"},
    body=b"<html>Incapsula incident ID: 7-8</html>",
)


def test_accepted_push_is_pending_with_darajas_answer() -> None:
    """A push that Daraja takes is stored with all that Daraja said, and is due for a query."""
    host = Host()
    transaction = host.checkout(description="Shoes")
    assert transaction == host.stored()
    assert transaction.state is TransactionState.PENDING
    assert transaction.checkout_request_id == "ws_CO_23112026090000001"
    assert transaction.merchant_request_id == "29115-34620561-1"
    assert transaction.phone_number == "+254718643064"
    assert transaction.description == "Shoes"
    assert transaction.status_code == "1"
    assert transaction.due_at is not None
    assert (transaction.due_at - host.clock.now()).total_seconds() == 20.0
    assert [entry.event for entry in transaction.history] == ["push accepted"]


def test_a_longer_description_is_kept_whole_beside_the_prompts() -> None:
    """What Daraja is sent may be shorter than what is remembered."""
    host = Host()
    transaction = host.checkout(description="Payment for services", prompt_description="Services")
    assert transaction.description == "Payment for services"
    assert host.daraja.pushes[0]["TransactionDesc"] == "Services"


@pytest.mark.parametrize("field", ["reference", "description"])
@pytest.mark.parametrize("words", [7, "x" * 256, "two\nlines", None])
def test_words_that_are_stored_alone_are_checked_too(field: str, words: Any) -> None:
    """What the prompt does not show is a printable text all the same, or nothing is stored or sent."""
    host = Host()
    with pytest.raises(InvalidRequest) as caught:
        host.checkout(**{field: words, f"prompt_{field}": "INV-1"})
    assert caught.value.field == field
    assert host.daraja.pushes == []


def test_intent_is_stored_before_the_push_is_sent() -> None:
    """When the push leaves, the store already holds the payment as CREATED."""
    host = Host()
    seen: list[TransactionState] = []

    def look() -> HttpResponse:
        seen.append(host.stored().state)
        return answer(accepted())

    host.daraja.push_script.append(look)
    host.checkout()
    assert seen == [TransactionState.CREATED]


@pytest.mark.parametrize(
    "planned",
    [
        OutcomeUnknown("no complete answer in time"),
        answer(b"", 503),
        answer(b"<html>bad gateway</html>", 502),
        refusal("500.003.1001", "Internal Server Error", 500),
        answer({"ResponseCode": "1"}),
        answer(b"garbage"),
    ],
)
def test_unknown_outcome_is_uncertain_and_never_pushed_again(planned: HttpResponse) -> None:
    """Where the prompt may be live, checkout returns UNCERTAIN, and the key pushes nothing again."""
    host = Host()
    host.daraja.push_script.append(planned)
    transaction = host.checkout(idempotency_key="order-1")
    assert transaction.state is TransactionState.UNCERTAIN
    assert host.checkout(idempotency_key="order-1") == host.stored()
    assert len(host.daraja.pushes) == 1
    assert host.settled == []


@pytest.mark.parametrize(
    ("planned", "error"),
    [
        (refusal("400.002.02", "Bad Request - Invalid Amount", 400), DarajaError),
        (refusal("500.001.1001", "Wrong credentials", 500), AuthenticationFailed),
        (refusal("500.001.1001", "Unable to lock subscriber, ...", 500), SubscriberBusy),
        (refusal("500.003.02", "Error Occurred: Spike Arrest Violation", 500), RateLimited),
        (answer(b"", 429), RateLimited),
        (HTML, GatewayBlocked),
    ],
)
def test_refused_push_is_rejected_and_raised(
    planned: HttpResponse, error: type[MpesaError]
) -> None:
    """Where no prompt appeared, the payment is REJECTED and the error names it."""
    host = Host()
    host.daraja.push_script.append(planned)
    with pytest.raises(error) as caught:
        host.checkout()
    transaction = host.stored()
    assert type(caught.value) is error
    assert caught.value.transaction_no == transaction.transaction_no
    assert transaction.state is TransactionState.REJECTED
    assert transaction.settled_by == "push"
    assert len(host.daraja.pushes) == 1
    assert host.settled == ["rejected"]


def test_push_that_never_left_is_rejected() -> None:
    """A push that provably never left is tried again, then REJECTED."""
    host = Host()
    host.daraja.push_script.extend([NotSent("no connection could be made")] * 4)
    with pytest.raises(NotSent):
        host.checkout()
    assert host.stored().state is TransactionState.REJECTED


def test_rejected_payment_is_tried_again_under_its_key() -> None:
    """The same key after REJECTED pushes anew, for the same payment."""
    host = Host()
    host.daraja.push_script.append(refusal("400.002.02", "Bad Request - Invalid Amount", 400))
    with pytest.raises(DarajaError):
        host.checkout(idempotency_key="order-1")
    rejected = host.stored()
    transaction = host.checkout(idempotency_key="order-1")
    assert transaction.transaction_no == rejected.transaction_no
    assert transaction.state is TransactionState.PENDING
    assert transaction.result_code is None
    assert transaction.settled_by is None
    assert len(host.daraja.pushes) == 2


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(callback(0, receipt=None), id="success without proof"),
        pytest.param(callback(0, amount=101), id="another amount"),
        pytest.param(callback(1032), id="cancelled"),
    ],
)
def test_rejected_payment_whose_prompt_appeared_is_not_pushed_again(body: bytes) -> None:
    """Daraja refused the push, and a callback shows that the phone was asked all the same."""
    host = Host(callback_secrets=(CALLBACK_SECRET,))
    host.daraja.push_script.append(refusal("500.003.02", "Spike Arrest Violation", 500))
    with pytest.raises(RateLimited):
        host.checkout(idempotency_key="order-1")
    host.payments.handle_callback(body, token=host.daraja.token)

    again = host.checkout(idempotency_key="order-1")

    assert again.state is TransactionState.REJECTED
    assert len(host.daraja.pushes) == 1


def test_rejected_payment_that_is_tried_later_is_asked_about_as_a_new_one() -> None:
    """The schedule begins with the push that was taken, not with the one that was refused."""
    host = Host()
    host.daraja.push_script.append(refusal("400.002.02", "Bad Request - Invalid Amount", 400))
    with pytest.raises(DarajaError):
        host.checkout(idempotency_key="order-1")
    host.clock.advance(3600)

    transaction = host.checkout(idempotency_key="order-1")

    assert transaction.due_at == host.clock.now() + timedelta(seconds=20)


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"amount": 101}, ("amount",)),
        ({"phone_number": "0718643065", "reference": "INV-2"}, ("phone_number", "reference")),
        ({"description": "other"}, ("description",)),
    ],
)
def test_same_key_with_another_payload_is_a_conflict(
    changes: dict[str, Any], fields: tuple[str, ...]
) -> None:
    """A key names one payment: another payload is refused, and nothing is sent."""
    host = Host()
    host.checkout(idempotency_key="order-1")
    with pytest.raises(IdempotencyConflict) as caught:
        host.checkout(idempotency_key="order-1", **changes)
    assert caught.value.fields == fields
    assert len(host.daraja.pushes) == 1


def _race(threads: int, call: Callable[[], Transaction]) -> list[Transaction]:
    barrier = threading.Barrier(threads)

    def run() -> Transaction:
        barrier.wait(10)
        return call()

    with ThreadPoolExecutor(threads) as pool:
        return [future.result(10) for future in [pool.submit(run) for _ in range(threads)]]


def test_racing_threads_with_one_key_push_once() -> None:
    """Sixteen threads with the same key make one payment and one push."""
    host = Host()
    raced = _race(16, lambda: host.checkout(idempotency_key="order-1"))
    assert {transaction.transaction_no for transaction in raced} == {host.stored().transaction_no}
    assert len(host.daraja.pushes) == 1


def test_racing_threads_retry_a_rejected_payment_once() -> None:
    """Of the threads that find a REJECTED payment under their key, one pushes it."""
    host = Host()
    host.daraja.push_script.append(refusal("400.002.02", "Bad Request - Invalid Amount", 400))
    with pytest.raises(DarajaError):
        host.checkout(idempotency_key="order-1")
    _race(16, lambda: host.checkout(idempotency_key="order-1"))
    assert len(host.daraja.pushes) == 2


def test_losing_the_race_for_a_rejected_payment_pushes_nothing() -> None:
    """A caller that finds the REJECTED payment taken meanwhile returns it as it is now."""

    class Overtaken(MemoryTransactionStore):
        def replace(self, transaction: Transaction, /) -> bool:
            first = super().replace(transaction)
            return first and transaction.state is not TransactionState.CREATED

    host = Host(Overtaken())
    host.daraja.push_script.append(refusal("400.002.02", "Bad Request - Invalid Amount", 400))
    with pytest.raises(DarajaError):
        host.checkout(idempotency_key="order-1")
    assert host.checkout(idempotency_key="order-1").state is TransactionState.CREATED
    assert len(host.daraja.pushes) == 1


@pytest.mark.parametrize("key", ["", "a b", "é", "x" * 256, 7])
def test_unusable_idempotency_key_is_refused(key: Any) -> None:
    """A key that is no short visible text is refused before anything is stored or sent."""
    host = Host()
    with pytest.raises(InvalidRequest) as caught:
        host.checkout(idempotency_key=key)
    assert caught.value.field == "idempotency_key"
    assert host.store.find(reference="INV-1") is None


def test_bad_amount_is_refused_before_anything_is_stored() -> None:
    """Bad input leaves no trace: nothing stored, nothing sent."""
    host = Host()
    with pytest.raises(InvalidAmount):
        host.checkout(amount=0)
    assert host.store.find(reference="INV-1") is None
    assert host.daraja.pushes == []


def test_nothing_is_sent_when_the_intent_cannot_be_stored() -> None:
    """A store that is down refuses the push before it is sent."""
    host = Host(BrokenStore("add"))
    with pytest.raises(StoreError):
        host.checkout()
    assert host.daraja.pushes == []


def test_transaction_number_that_exists_is_not_taken_over() -> None:
    """A duplicate that no idempotency key explains is an error, not somebody else's payment."""

    class Full(MemoryTransactionStore):
        def add(self, _transaction: Transaction, /) -> None:
            raise DuplicateTransaction("transaction_no")

    host = Host(Full())
    with pytest.raises(DuplicateTransaction):
        host.checkout()
    assert host.daraja.pushes == []


@pytest.mark.parametrize("broken", ["replace", "kept_callbacks"])
def test_store_that_fails_after_the_push_does_not_invite_another(
    broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller learns the truth although it cannot be written: the prompt is live."""
    host = Host(BrokenStore(broken))
    transaction = host.checkout()
    assert transaction.state is TransactionState.PENDING
    assert ("push_not_written" in caplog.text) is (broken == "replace")
    assert host.clock.slept == ([0.1, 0.5, 2.0, 5.0] if broken == "replace" else [])


def test_write_after_the_push_that_failed_is_tried_again() -> None:
    """One bad moment of the store does not lose the CheckoutRequestID."""

    class Hiccup(MemoryTransactionStore):
        failures = 1

        def replace(self, transaction: Transaction, /) -> bool:
            if self.failures:
                self.failures -= 1
                raise StoreError("the connection was lost")
            return super().replace(transaction)

    host = Host(Hiccup())
    assert host.checkout() == host.stored()
    assert host.stored().checkout_request_id == "ws_CO_23112026090000001"
    assert host.clock.slept == [0.1]


def test_refusal_that_is_written_late_does_not_refuse_the_next_try() -> None:
    """The write took effect and failed; the key was used again before it was tried again (invariant I1)."""

    class Hiccup(MemoryTransactionStore):
        failed = False

        def replace(self, transaction: Transaction, /) -> bool:
            replaced = super().replace(transaction)
            if not self.failed:
                self.failed = True
                raise StoreError("the connection broke after the commit")
            return replaced

    host = Host(Hiccup())

    def killed() -> HttpResponse:
        raise KeyboardInterrupt

    def late(seconds: float) -> None:
        """Another worker pushes anew, and is killed before it has the answer: the prompt is there."""
        host.clock.advance(seconds)
        host.daraja.push_script.append(killed)
        with pytest.raises(KeyboardInterrupt):
            host.checkout(idempotency_key="order-1")

    host.daraja.push_script.append(refusal("400.002.02", "Bad Request - Invalid Amount", 400))
    host.clock.sleep = late  # type: ignore[method-assign]
    with pytest.raises(DarajaError):
        host.checkout(idempotency_key="order-1")
    assert host.checkout(idempotency_key="order-1").state is TransactionState.UNCERTAIN
    assert len(host.daraja.pushes) == 2


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_push_that_is_interrupted_is_uncertain_at_once(stop: type[BaseException]) -> None:
    """The push may have left, so the stored payment says so, and the same key does not push again."""
    host = Host()

    def interrupted() -> HttpResponse:
        raise stop

    host.daraja.push_script.append(interrupted)
    with pytest.raises(stop):
        host.checkout(idempotency_key="order-1")
    assert host.stored().state is TransactionState.UNCERTAIN
    assert host.checkout(idempotency_key="order-1").state is TransactionState.UNCERTAIN
    assert len(host.daraja.pushes) == 1


def test_answer_whose_writing_is_interrupted_is_written_after_all() -> None:
    """Daraja accepted. The id of the prompt is kept, even if the process is told to stop."""

    class Interrupted(MemoryTransactionStore):
        stopped = False

        def replace(self, transaction: Transaction, /) -> bool:
            if not self.stopped:
                self.stopped = True
                raise KeyboardInterrupt
            return super().replace(transaction)

    host = Host(Interrupted())
    with pytest.raises(KeyboardInterrupt):
        host.checkout()
    assert host.stored().state is TransactionState.PENDING
    assert host.stored().checkout_request_id == "ws_CO_23112026090000001"


def test_write_after_the_push_is_not_tried_for_longer_than_a_push_may_take() -> None:
    """The caller waits no longer than the total time-out for the answer and its writing."""
    host = Host(BrokenStore("replace"), total_timeout=3.0)

    def slow() -> HttpResponse:
        host.clock.advance(2.5)
        return answer(accepted())

    host.daraja.push_script.append(slow)
    host.checkout()
    assert host.clock.slept == [0.1]


def test_id_of_another_payment_is_not_written_again_and_again() -> None:
    """A duplicate is no trouble that passes."""
    host = Host()
    host.daraja.push_script.extend([answer(accepted())] * 2)
    host.checkout()
    assert host.checkout(reference="INV-2").state is TransactionState.PENDING
    assert host.stored("INV-2").state is TransactionState.CREATED
    assert host.clock.slept == []


def test_push_that_could_outlast_its_intent_is_not_sent() -> None:
    """Others count the payment as orphaned after 200 s, so the push must leave within 155."""

    class Slow(MemoryTransactionStore):
        def add(self, transaction: Transaction, /) -> None:
            super().add(transaction)
            host.clock.advance(155)

    host = Host(Slow())
    with pytest.raises(NotSent):
        host.checkout()
    assert host.daraja.pushes == []


def test_callback_url_is_signed_in_hex() -> None:
    """Each push carries its own callback URL, in which no banned word can appear by chance."""
    host = Host(callback_secrets=(CALLBACK_SECRET,))
    transaction = host.checkout()
    pattern = re.escape(f"{CALLBACK_URL}/{transaction.transaction_no}.") + "[0-9a-f]{32}/"
    assert re.fullmatch(pattern, host.daraja.callback_url)


def test_callback_before_the_answer_twice_and_after_expiry_pays_once() -> None:
    """A callback that overtakes the push's answer, and comes thrice, settles the payment once."""
    host = Host(callback_secrets=(CALLBACK_SECRET,))
    outcomes: list[CallbackOutcome] = []

    def overtaken() -> HttpResponse:
        for _ in range(2):
            receipt = host.payments.handle_callback(callback(), token=host.daraja.token)
            outcomes.append(receipt.outcome)
        return answer(accepted())

    host.daraja.push_script.append(overtaken)
    transaction = host.checkout()
    assert transaction.state is TransactionState.SUCCEEDED
    host.clock.advance(3600)
    told: list[Transaction] = []
    for _ in range(2):
        host.payments.process_due(on_settled=told.append)
    outcomes.append(host.payments.handle_callback(callback(), token=host.daraja.token).outcome)
    assert outcomes == [CallbackOutcome.SETTLED, CallbackOutcome.REPEATED, CallbackOutcome.REPEATED]
    assert [paid.state for paid in told] == [TransactionState.SUCCEEDED]
    assert host.settled == ["succeeded"]
    assert len(host.daraja.pushes) == 1


def test_success_after_expiry_is_paid_and_reported_under_the_same_number() -> None:
    """A payment given up as EXPIRED becomes SUCCEEDED when the proof comes late, thrice."""
    host = Host(callback_secrets=(CALLBACK_SECRET,))
    host.daraja.push_script.append(OutcomeUnknown("no complete answer in time"))
    number = host.checkout().transaction_no
    host.clock.advance(3600)
    told: list[Transaction] = []
    host.payments.process_due(on_settled=told.append)
    for _ in range(3):
        host.payments.handle_callback(callback(), token=host.daraja.token)
    host.payments.process_due(on_settled=told.append)
    assert [(paid.transaction_no, paid.state) for paid in told] == [
        (number, TransactionState.EXPIRED),
        (number, TransactionState.SUCCEEDED),
    ]
    assert host.settled == ["expired", "succeeded"]


def test_unsigned_callback_before_the_answer_is_kept_and_applied() -> None:
    """Without signed URLs a callback that overtakes the answer is kept until its payment turns up."""
    host = Host()
    outcomes: list[CallbackOutcome] = []

    def overtaken() -> HttpResponse:
        outcomes.append(host.payments.handle_callback(callback()).outcome)
        return answer(accepted())

    host.daraja.push_script.append(overtaken)
    transaction = host.checkout()
    assert outcomes == [CallbackOutcome.KEPT]
    assert transaction.state is TransactionState.SUCCEEDED
    assert host.store.kept_callbacks(checkout_request_id=transaction.checkout_request_id) == []


def test_outcome_of_a_payment_is_waited_for() -> None:
    """It looks into the store, ever more rarely, and asks Daraja nothing."""
    host = pending()
    number = host.stored().transaction_no
    still = host.payments.outcome(number, timeout=60.0)
    assert still == host.stored()
    assert sum(host.clock.slept) == pytest.approx(60.0)
    assert (host.clock.slept[0], max(host.clock.slept)) == (0.25, 2.0)
    host.payments.handle_callback(callback())
    settled = host.payments.outcome(number)
    assert settled is not None
    assert settled.paid
    assert host.payments.outcome("no-such-payment") is None
    assert host.daraja.queries == []


def test_what_the_prompt_shows_is_stored() -> None:
    """Safaricom's records have that reference, so it must be known later."""
    host = Host()
    host.daraja.push_script += [answer(accepted("ws_CO_1")), answer(accepted("ws_CO_2"))]
    own = host.checkout(reference="INV-1")
    assert (own.prompt_reference, own.shown_reference) == (None, "INV-1")
    other = host.checkout(reference="Ada ya Shule 2026-00001", prompt_reference="2026-00001")
    assert (other.prompt_reference, other.shown_reference) == ("2026-00001", "2026-00001")
