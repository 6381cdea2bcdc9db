"""One order, several attempts: paid once (invariant I6)."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from daraja_double import answer, refusal, result
from hosts import SIGNED, Host
from mpesa_stk import (
    AlreadyPaid,
    DarajaError,
    DuplicateTransaction,
    IdempotencyConflict,
    InvalidRequest,
    MemoryTransactionStore,
    MpesaError,
    OrderRefused,
    OrderState,
    OutcomeUnknown,
    PaymentInProgress,
    PaymentUnresolved,
    StoreError,
    Transaction,
    TransactionState,
    explain,
)
from support import CHECKOUT_ID, accepted, callback

pytestmark = pytest.mark.usefixtures("face")

ORDER = "ORDER-7"
OTHER_ID = CHECKOUT_ID.replace("ws_CO_23", "ws_CO_24")
OTHER_PHONE = "0722000001"
REFUSED = refusal("400.002.02", "Bad Request - Invalid Amount", 400)


def asked(**settings: Any) -> Host:
    """A host whose first attempt at the order is PENDING."""
    host = Host(**settings)
    host.daraja.push_script.append(answer(accepted()))
    host.checkout(order=ORDER)
    return host


def second(host: Host, **changes: Any) -> Transaction:
    """The same order, under another reference."""
    host.daraja.push_script.append(answer(accepted(OTHER_ID)))
    return host.checkout(**({"order": ORDER, "reference": "INV-2"} | changes))


def refused(host: Host, error: type[OrderRefused], **changes: Any) -> None:
    """A further attempt is refused, names the first one, and nothing is sent."""
    pushes, stored = len(host.daraja.pushes), host.store.attempts("paybill 600000", ORDER)
    with pytest.raises(error) as caught:
        second(host, **changes)
    host.daraja.push_script.clear()
    assert type(caught.value) is error
    assert caught.value.transaction_no == stored[0].transaction_no
    assert len(host.daraja.pushes) == pushes
    assert host.store.attempts("paybill 600000", ORDER) == stored


def paid_late(checkout_request_id: str, receipt: str) -> bytes:
    """A callback of a payment that was made a quarter of an hour later."""
    return callback(
        checkout_request_id=checkout_request_id, receipt=receipt, transaction_date=20261123091600
    )


def failed_by_query(host: Host) -> None:
    """Only a query says that the first attempt failed."""
    host.daraja.query_script.append(result(CHECKOUT_ID, "1032"))
    host.clock.advance(20)
    host.payments.query(CHECKOUT_ID)
    assert host.stored().state is TransactionState.FAILED


def expired(host: Host) -> None:
    """Nobody can say how the first attempt ended."""
    host.clock.advance(901)
    host.daraja.query_script.append(result(CHECKOUT_ID, "4999"))
    host.payments.process_due()
    assert host.stored().state is TransactionState.EXPIRED


# --- while an attempt may be paid ----------------------------------------------------------------------


def test_the_same_payload_gets_the_attempt_that_is_open() -> None:
    """Whatever its key: the customer pressed the button again."""
    host = asked()
    for key in (None, "again", "and-again"):
        assert host.checkout(order=ORDER, idempotency_key=key) == host.stored()
    assert len(host.daraja.pushes) == 1
    assert host.payments.order(ORDER).state is OrderState.IN_PROGRESS


@pytest.mark.parametrize(
    "change",
    [
        {"phone_number": OTHER_PHONE},
        {"amount": 99},
        {"reference": "INV-2"},
        {"description": "x"},
    ],
)
def test_another_payload_waits_for_the_attempt_that_is_open(change: dict[str, Any]) -> None:
    """No second prompt goes out for the order, not even at the host's risk."""
    host = asked()
    for risk in (False, True):
        refused(host, PaymentInProgress, **({"reference": "INV-1"} | change), unresolved_ok=risk)


def test_a_push_without_an_answer_may_be_paid() -> None:
    """UNCERTAIN counts as open."""
    host = Host()
    host.daraja.push_script.append(OutcomeUnknown("no answer"))
    host.checkout(order=ORDER)
    refused(host, PaymentInProgress)


def test_orders_and_accounts_do_not_stand_in_each_others_way() -> None:
    """Another order, and payments without one, are pushed."""
    host = asked()
    host.checkout(order="ORDER-8")
    host.checkout()
    host.checkout()
    assert len(host.daraja.pushes) == 4


# --- after an attempt ----------------------------------------------------------------------------------


def test_a_paid_order_is_paid() -> None:
    """Whoever asks, with whatever payload and risk."""
    host = asked()
    host.payments.handle_callback(callback())
    refused(host, AlreadyPaid)
    refused(host, AlreadyPaid, reference="INV-1", unresolved_ok=True)
    status = host.payments.order(ORDER)
    assert (status.state, status.paid, status.may_pay) == (OrderState.PAID, True, False)
    assert status.receipts == ("NLJ7RT61SV",)
    assert status.deciding == host.stored()
    assert not status.paid_twice


def test_after_a_failure_that_the_callback_tells_the_next_attempt_goes_out() -> None:
    """From any phone, at once."""
    host = asked()
    host.payments.handle_callback(callback(1032))
    assert host.payments.order(ORDER).may_pay
    paying = second(host, phone_number=OTHER_PHONE)
    assert paying.state is TransactionState.PENDING
    assert [one.state.value for one in host.payments.order(ORDER).attempts] == ["FAILED", "PENDING"]


def test_after_a_refusal_the_next_attempt_goes_out() -> None:
    """A REJECTED attempt reached no phone."""
    host = Host()
    host.daraja.push_script.append(REFUSED)
    with pytest.raises(DarajaError):
        host.checkout(order=ORDER)
    assert host.payments.order(ORDER).may_pay
    assert second(host).state is TransactionState.PENDING


def test_a_refused_push_whose_callback_comes_is_unresolved() -> None:
    """Its prompt did appear, so it may be paid."""
    host = Host(**SIGNED)
    host.daraja.push_script.append(REFUSED)
    with pytest.raises(DarajaError):
        host.checkout(order=ORDER)
    host.payments.handle_callback(callback(amount=99), token=host.daraja.token)
    refused(host, PaymentUnresolved)


def test_a_failure_that_only_a_query_tells_waits_for_the_prompts_life() -> None:
    """Daraja's query was seen to call payments failed that were paid a moment later."""
    host = asked()
    failed_by_query(host)
    assert host.payments.order(ORDER).state is OrderState.UNRESOLVED
    refused(host, PaymentUnresolved)
    host.clock.advance(279)
    refused(host, PaymentUnresolved)
    host.clock.advance(1)
    assert host.payments.order(ORDER).may_pay
    assert second(host).state is TransactionState.PENDING


def test_a_callback_ends_the_doubt_about_such_a_failure() -> None:
    """The callback says the same: then it is final."""
    host = asked()
    failed_by_query(host)
    host.payments.handle_callback(callback(1032))
    assert second(host).state is TransactionState.PENDING


def test_an_expired_attempt_is_unresolved_for_ever() -> None:
    """Days later, nobody knows it any better. The host may take the risk."""
    host = asked()
    expired(host)
    host.clock.advance(7 * 86_400)
    status = host.payments.order(ORDER)
    assert (status.state, status.may_pay, status.may_pay_at_risk) == (
        OrderState.UNRESOLVED,
        False,
        True,
    )
    refused(host, PaymentUnresolved)
    assert second(host, unresolved_ok=True).state is TransactionState.PENDING
    with pytest.raises(PaymentInProgress):
        second(host, phone_number=OTHER_PHONE, unresolved_ok=True)


def test_a_failure_that_daraja_contradicts_is_unresolved() -> None:
    """One callback said no, and another one says yes, with another amount: a person must look."""
    host = asked()
    host.payments.handle_callback(callback(1))
    host.payments.handle_callback(callback(amount=99))
    assert host.stored().state is TransactionState.FAILED
    refused(host, PaymentUnresolved)


def test_a_person_ends_the_doubt() -> None:
    """Called unpaid, the order may be paid. Called paid, it is paid."""
    for outcome, state in (
        (TransactionState.FAILED, OrderState.UNPAID),
        (TransactionState.SUCCEEDED, OrderState.PAID),
    ):
        host = asked()
        expired(host)
        number = host.stored().transaction_no
        host.payments.resolve(number, note="the statement says so", by="Amina", outcome=outcome)
        assert host.payments.order(ORDER).state is state


# --- a second success ------------------------------------------------------------------------------------


def test_a_second_success_is_flagged_and_reported_with_both_receipts() -> None:
    """The first attempt was given up at the host's risk, and both are paid in the end."""
    host = asked()
    expired(host)
    second(host, unresolved_ok=True)
    host.payments.handle_callback(paid_late(OTHER_ID, "NLJ7RT61SW"))
    told: list[Transaction] = []
    host.payments.process_due(on_settled=told.append)
    host.payments.handle_callback(callback())
    host.clock.advance(120)
    host.payments.process_due(on_settled=told.append)
    first, other = host.store.attempts("paybill 600000", ORDER)
    assert first.paid
    assert first.needs_review == "order paid twice"
    assert first.order_slot is None
    assert other.paid
    assert other.needs_review is None
    assert told[-1].needs_review == "order paid twice"
    assert told[-1].receipt_number == "NLJ7RT61SV"
    status = host.payments.order(ORDER)
    assert status.paid_twice
    assert status.receipts == ("NLJ7RT61SV", "NLJ7RT61SW")
    refused(host, AlreadyPaid)


def test_a_success_during_the_next_attempt_takes_the_place_of_the_paid_one() -> None:
    """The attempt that is open is flagged if it is paid, too."""
    host = asked()
    host.payments.handle_callback(callback(1032))
    second(host)
    host.payments.handle_callback(callback())
    assert host.payments.order(ORDER).state is OrderState.PAID
    refused(host, AlreadyPaid)
    host.payments.handle_callback(callback(checkout_request_id=OTHER_ID, receipt="NLJ7RT61SW"))
    first, other = host.store.attempts("paybill 600000", ORDER)
    assert (first.needs_review, other.needs_review) == (None, "order paid twice")


def test_a_person_who_calls_a_second_attempt_paid_is_flagged_too() -> None:
    """The receipt was found in the statement, and the customer gets money back."""
    host = asked()
    expired(host)
    second(host, unresolved_ok=True)
    host.payments.handle_callback(paid_late(OTHER_ID, "NLJ7RT61SW"))
    after = host.payments.resolve(
        host.stored().transaction_no,
        note="both are in the statement",
        by="Amina",
        outcome=TransactionState.SUCCEEDED,
        receipt_number="NLJ7RT61SV",
    )
    assert after.needs_review == "order paid twice"
    assert host.payments.order(ORDER).receipts == ("NLJ7RT61SV", "NLJ7RT61SW")


def test_the_same_success_again_flags_nothing() -> None:
    """Repeated callbacks of the one paid attempt."""
    host = asked()
    for _ in range(3):
        host.payments.handle_callback(callback())
    assert host.stored().needs_review is None


# --- keys and races --------------------------------------------------------------------------------------


def test_a_key_names_an_attempt_of_one_order() -> None:
    """Used again, it gets its attempt, in any state. For another order it is a conflict."""
    host = Host()
    host.daraja.push_script.append(answer(accepted()))
    host.checkout(order=ORDER, idempotency_key="k")
    host.payments.handle_callback(callback())
    assert host.checkout(order=ORDER, idempotency_key="k") == host.stored()
    with pytest.raises(IdempotencyConflict) as caught:
        host.checkout(order="ORDER-8", idempotency_key="k")
    assert caught.value.fields == ("order",)


def test_a_rejected_key_is_not_pushed_while_another_attempt_is_open() -> None:
    """The key alone would allow a new push; the order does not."""
    host = Host()
    host.daraja.push_script.append(REFUSED)
    with pytest.raises(DarajaError):
        host.checkout(order=ORDER, idempotency_key="k")
    second(host)
    with pytest.raises(PaymentInProgress):
        host.checkout(order=ORDER, idempotency_key="k")
    host.payments.handle_callback(callback(1032, checkout_request_id=OTHER_ID))
    again = host.checkout(order=ORDER, idempotency_key="k")
    assert (again.state, again.order_slot) == (TransactionState.PENDING, f"live:{ORDER}")
    assert len(host.daraja.pushes) == 3


def test_a_rejected_key_gets_the_open_attempt_of_its_payload() -> None:
    """The button was pressed again without a key, and that prompt is open: no second one goes out."""
    host = Host()
    host.daraja.push_script.append(REFUSED)
    with pytest.raises(DarajaError):
        host.checkout(order=ORDER, idempotency_key="k")
    other = host.checkout(order=ORDER)
    assert host.checkout(order=ORDER, idempotency_key="k") == other
    assert len(host.daraja.pushes) == 2


class CrowdedStore(MemoryTransactionStore):
    """A store in which somebody else always has the place of the order, and is gone at the next look."""

    def add(self, _transaction: Transaction, /) -> None:
        """Refuse."""
        raise DuplicateTransaction("order_slot")


def test_a_checkout_does_not_race_for_ever() -> None:
    """After twenty rounds it is an error, and nothing is sent."""
    host = Host(store=CrowdedStore())
    with pytest.raises(StoreError, match="first too many times"):
        host.checkout(order=ORDER)
    assert host.daraja.pushes == []


class TurningStore(MemoryTransactionStore):
    """A store in which something happens right after the next attempt is stored."""

    happening: Any = None

    def add(self, transaction: Transaction, /) -> None:
        """Insert, and let it happen."""
        super().add(transaction)
        if self.happening is not None:
            happening, self.happening = self.happening, None
            happening()


def test_a_success_in_the_moment_of_the_next_checkout_stops_its_push() -> None:
    """The new attempt is stored already. It is REJECTED, and nothing is sent."""
    store = TurningStore()
    host = asked(store=store)
    host.payments.handle_callback(callback(1032))
    store.happening = lambda: host.payments.handle_callback(callback())
    with pytest.raises(AlreadyPaid):
        second(host)
    assert len(host.daraja.pushes) == 1
    assert host.store.attempts("paybill 600000", ORDER)[1].state is TransactionState.REJECTED


def test_an_attempt_that_comes_to_life_again_stops_the_next_push() -> None:
    """Its id was lost, and is learnt in this moment: Daraja is still processing it."""
    store = TurningStore()
    host = Host(store=store)
    host.daraja.push_script.append(OutcomeUnknown("no answer"))
    host.checkout(order=ORDER, idempotency_key="first")
    host.clock.advance(901)
    host.payments.process_due()
    host.daraja.query_script.append(result(CHECKOUT_ID, "4999"))
    store.happening = lambda: host.payments.query(CHECKOUT_ID, idempotency_key="first")
    with pytest.raises(PaymentInProgress):
        second(host, unresolved_ok=True)
    assert len(host.daraja.pushes) == 1
    states = [one.state.value for one in host.payments.order(ORDER).attempts]
    assert states == ["PENDING", "REJECTED"]


def test_a_store_that_fails_before_the_push_leaves_the_order_free() -> None:
    """The attempt is stored, the last look fails, and nothing is sent."""
    store = TurningStore()
    host = Host(store=store)

    def fail_once(*_given: str) -> list[Transaction]:
        del store.attempts
        raise StoreError("the database is down")

    def break_the_next_look() -> None:
        store.attempts = fail_once  # type: ignore[method-assign]

    store.happening = break_the_next_look
    with pytest.raises(StoreError) as caught:
        host.checkout(order=ORDER)
    assert host.daraja.pushes == []
    assert host.stored().state is TransactionState.REJECTED
    assert caught.value.transaction_no == host.stored().transaction_no
    assert host.payments.order(ORDER).may_pay


class OtherOrderStore(MemoryTransactionStore):
    """A store that names the place of the order where the key is taken, too."""

    def add(self, transaction: Transaction, /) -> None:
        """Insert."""
        try:
            super().add(transaction)
        except DuplicateTransaction as error:
            raise DuplicateTransaction("order_slot") from error


def test_a_key_finds_its_attempt_whichever_conflict_a_store_names() -> None:
    """Both values are taken by the same payment."""
    host = asked(store=OtherOrderStore())
    again = Host(store=host.store)
    first = again.checkout(order="ORDER-8", idempotency_key="k")
    assert again.checkout(order="ORDER-8", idempotency_key="k") == first
    assert len(again.daraja.pushes) == 1


def test_of_checkouts_at_once_one_is_pushed() -> None:
    """Eight clerks press the button for eight phones."""
    host = Host()
    barrier = threading.Barrier(8)

    def press(number: int) -> str:
        barrier.wait(30)
        try:
            host.checkout(order=ORDER, phone_number=f"072200000{number}")
        except PaymentInProgress:
            return "in progress"
        return "pushed"

    with ThreadPoolExecutor(8) as pool:
        ends = sorted(pool.map(press, range(8)))
    assert ends == ["in progress"] * 7 + ["pushed"]
    assert len(host.daraja.pushes) == 1


# --- what a host reads -------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["", "x" * 129, "a\nb", 7])
def test_an_order_is_one_line_of_text(order: Any) -> None:
    """The error names the field, and nothing is stored."""
    host = Host()
    for use in (lambda: host.checkout(order=order), lambda: host.payments.order(order)):
        with pytest.raises(InvalidRequest) as caught:
            use()
        assert caught.value.field == "order"
    assert host.daraja.pushes == []


def test_an_unknown_order_may_be_paid() -> None:
    """There is no attempt, and a text for the page."""
    status = Host().payments.order(ORDER)
    assert (status.state, status.attempts, status.deciding) == (OrderState.UNPAID, (), None)
    assert status.may_pay
    assert status.message() == "This order is not paid yet. You can pay now."
    assert status.message("sw").startswith("Agizo")


def test_each_state_has_words_for_the_customer() -> None:
    """In both languages; after a failure, the words of its code."""
    host = asked()
    assert "prompt" in host.payments.order(ORDER).message()
    assert "simu" in host.payments.order(ORDER).message("sw")
    host.payments.handle_callback(callback(1))
    assert host.payments.order(ORDER).message("sw") == explain("1").message("sw")
    second(host)
    host.payments.handle_callback(callback(checkout_request_id=OTHER_ID))
    assert "arrived" in host.payments.order(ORDER).message()
    unknown = asked()
    expired(unknown)
    assert "do not pay again" in unknown.payments.order(ORDER).message()


def test_errors_are_of_one_kind() -> None:
    """A host that cares for no detail catches one class, and it is the library's."""
    host = asked()
    with pytest.raises(OrderRefused) as caught:
        second(host)
    assert isinstance(caught.value, MpesaError)
