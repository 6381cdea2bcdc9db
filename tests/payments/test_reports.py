"""Reports: what is reported is what is stored, news follows, and an order is never un-paid (I2)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from daraja_double import answer, refusal, result
from hosts import BrokenStore, Host, LateStore, another_worker, overtaken, pending
from mpesa_stk import (
    CallbackOutcome,
    DarajaError,
    DueReport,
    Transaction,
    TransactionState,
)
from support import CALLBACK_SECRET, CHECKOUT_ID, accepted, callback

pytestmark = pytest.mark.usefixtures("face")

State = TransactionState
SECOND = "ws_CO_second"


def two_failures() -> Host:
    """A host with two payments whose callbacks said that they failed, the first one longer due."""
    host = pending()
    host.daraja.push_script.append(answer(accepted(SECOND)))
    host.checkout(reference="INV-2")
    host.payments.handle_callback(callback(1032))
    host.clock.advance(1)
    host.payments.handle_callback(callback(1032, checkout_request_id=SECOND))
    return host


def reports(host: Host, meanwhile: Callable[[], object]) -> list[tuple[str, Transaction]]:
    """What two workers report if something happens while A reports the first payment of two."""
    told: list[tuple[str, Transaction]] = []

    def of_a(transaction: Transaction) -> None:
        told.append(("A", transaction))
        if transaction.reference == "INV-1" and len(told) == 1:
            host.clock.advance(8)
            meanwhile()
            another_worker(host).process_due(on_settled=lambda paid: told.append(("B", paid)))

    host.payments.process_due(on_settled=of_a)
    for _ in range(3):
        host.clock.advance(200)
        host.payments.process_due(on_settled=lambda paid: told.append(("A", paid)))
    return told


def of_second(told: list[tuple[str, Transaction]]) -> list[Transaction]:
    """What was reported of the second payment."""
    return [transaction for _, transaction in told if transaction.reference == "INV-2"]


def test_stale_failure_is_never_reported_after_the_success() -> None:
    """Worker A waits in a handler while the proven success of its next payment arrives."""
    host = two_failures()
    success = callback(checkout_request_id=SECOND)
    told = of_second(reports(host, lambda: host.payments.handle_callback(success)))
    assert [paid.state for paid in told] == [State.SUCCEEDED]
    assert told[0].receipt_number == "NLJ7RT61SV"


def test_success_that_comes_while_its_failure_is_reported_comes_after_it() -> None:
    """Worker B leaves the payment to A until A's report is over, so the last word is the success."""
    host = two_failures()
    success = callback()
    told = [
        (worker, paid.state)
        for worker, paid in reports(host, lambda: host.payments.handle_callback(success))
        if paid.reference == "INV-1"
    ]
    assert told == [("A", State.FAILED), ("A", State.SUCCEEDED)]


def test_success_is_reported_with_the_receipt_that_was_stored_before() -> None:
    """A query settled it; the receipt came while the worker was busy with another payment."""
    host = pending()
    host.daraja.push_script.append(answer(accepted(SECOND)))
    host.checkout(reference="INV-2")
    host.payments.handle_callback(callback(1032))
    host.clock.advance(20)
    host.daraja.query_script.append(result(SECOND, "0"))
    host.payments.query(SECOND)
    receipt = callback(checkout_request_id=SECOND)
    told = of_second(reports(host, lambda: host.payments.handle_callback(receipt)))
    assert [(paid.state, paid.receipt_number) for paid in told] == [(State.SUCCEEDED, "NLJ7RT61SV")]


def test_success_is_reported_with_the_review_that_was_stored_before() -> None:
    """A contradiction came while the worker was busy with another payment."""
    host = pending()
    host.daraja.push_script.append(answer(accepted(SECOND)))
    host.checkout(reference="INV-2")
    host.payments.handle_callback(callback(1032))
    host.clock.advance(1)
    host.payments.handle_callback(callback(checkout_request_id=SECOND))
    denial = callback(1032, checkout_request_id=SECOND)
    told = of_second(reports(host, lambda: host.payments.handle_callback(denial)))
    assert [paid.needs_review for paid in told] == ["callback says not paid after a success"]


def test_refused_payment_that_was_started_again_is_not_reported() -> None:
    """Its second prompt is open when the worker comes to it: there is no outcome to report."""
    host = pending()
    host.payments.handle_callback(callback(1032))
    host.clock.advance(1)
    host.daraja.push_script.append(refusal("400.002.02", "Bad Request - Invalid Amount", 400))
    with pytest.raises(DarajaError):
        host.checkout(reference="INV-2", idempotency_key="order-2")

    def again() -> None:
        host.daraja.push_script.append(answer(accepted(SECOND)))
        assert host.checkout(reference="INV-2", idempotency_key="order-2").state is State.PENDING

    told: list[str] = []

    def handler(transaction: Transaction) -> None:
        told.append(transaction.reference)
        again()

    report = host.payments.process_due(on_settled=handler)
    assert told == ["INV-1"]
    assert report == DueReport(claimed=2, reported=1, left=1)
    assert host.stored("INV-2").state is State.PENDING


def test_refused_payment_that_is_paid_while_its_refusal_is_reported_is_reported_after_it() -> None:
    """A's handler is slow; the customer tries again and pays meanwhile. The last word is the success."""
    host = Host(callback_secrets=(CALLBACK_SECRET,))
    host.daraja.push_script.append(refusal("400.002.02", "Bad Request - Invalid Amount", 400))
    with pytest.raises(DarajaError):
        host.checkout(idempotency_key="order-1")
    done: list[State] = []

    def of_a(transaction: Transaction) -> None:
        if not done and host.daraja.pushes[1:] == []:
            host.checkout(idempotency_key="order-1")
            host.clock.advance(8)
            success = callback(checkout_request_id="ws_CO_23112026090000002")
            host.payments.handle_callback(success, token=host.daraja.token)
            another_worker(host).process_due(on_settled=lambda paid: done.append(paid.state))
        done.append(transaction.state)

    host.payments.process_due(on_settled=of_a)
    assert done == [State.REJECTED]
    host.clock.advance(100)
    host.payments.process_due(on_settled=of_a)
    assert done == [State.REJECTED, State.SUCCEEDED]


# --- news --------------------------------------------------------------------------------------------


def reported(host: Host) -> list[Transaction]:
    """Everything that is reported now."""
    told: list[Transaction] = []
    host.payments.process_due(on_settled=told.append)
    return told


def test_late_receipt_is_reported() -> None:
    """After a success by query was reported, the callback brings the receipt, and the host gets it."""
    host = pending()
    host.daraja.query_script.append(result(CHECKOUT_ID, "0"))
    host.payments.query(CHECKOUT_ID)
    assert [paid.receipt_number for paid in reported(host)] == [None]
    assert host.payments.handle_callback(callback()).outcome is CallbackOutcome.NOTED
    assert [paid.receipt_number for paid in reported(host)] == ["NLJ7RT61SV"]
    assert reported(host) == []
    assert host.settled == ["succeeded"]


def test_second_receipt_is_reported_as_a_review() -> None:
    """The customer may have paid twice, and the host hears of it."""
    host = pending()
    host.payments.handle_callback(callback())
    assert [paid.needs_review for paid in reported(host)] == [None]
    host.payments.handle_callback(callback(receipt="OTHER12345"))
    assert [(paid.state, paid.needs_review) for paid in reported(host)] == [
        (State.SUCCEEDED, "callback has another receipt")
    ]
    assert reported(host) == []


def test_success_without_proof_after_the_expiry_is_reported() -> None:
    """The host that was told EXPIRED hears that there is a doubt now."""
    host = pending()
    host.clock.advance(900)
    host.daraja.query_script.append(result(CHECKOUT_ID, "4999"))
    assert [paid.state for paid in reported(host)] == [State.EXPIRED]
    host.payments.handle_callback(callback(CallbackMetadata=None))
    (news,) = reported(host)
    assert news.state is State.EXPIRED
    assert str(news.needs_review).endswith("callback reports success without proof")


def test_news_that_comes_while_the_host_is_told_is_told_next() -> None:
    """The report that was under way does not count for it."""
    host = pending()
    host.payments.handle_callback(callback())
    told: list[str | None] = []

    def handler(transaction: Transaction) -> None:
        told.append(transaction.needs_review)
        host.payments.handle_callback(callback(1032))

    for _ in range(3):
        host.payments.process_due(on_settled=handler)
    assert told == [None, "callback says not paid after a success"]


# --- kept proof is applied before any report (invariant I4) ---------------------------------------------


def unapplied() -> tuple[Host, LateStore]:
    """A payment whose success callback overtook the answer, and whose worker died before it applied it."""
    store = LateStore()
    host = Host(store)
    host.daraja.push_script.append(overtaken(host))
    assert host.checkout().state is State.PENDING
    return host, store


def test_kept_success_beats_the_failure_of_another_callback() -> None:
    """A contradicting callback settled the payment: before that is reported, the proof is applied."""
    host, store = unapplied()
    host.payments.handle_callback(callback(1032))
    assert host.stored().state is State.FAILED
    store.hidden = False
    assert [(paid.state, paid.receipt_number) for paid in reported(host)] == [
        (State.SUCCEEDED, "NLJ7RT61SV")
    ]
    assert store.kept_callbacks(checkout_request_id=CHECKOUT_ID) == []


@pytest.mark.parametrize("code", ["0", "1032"])
def test_kept_success_beats_the_answer_of_a_query(code: str) -> None:
    """A query settled the payment, without the receipt or as failed: the report has the proof."""
    host, store = unapplied()
    host.daraja.query_script.append(result(CHECKOUT_ID, code))
    host.payments.query(CHECKOUT_ID)
    assert host.stored().settled_by == "query"
    store.hidden = False
    assert [(paid.state, paid.receipt_number) for paid in reported(host)] == [
        (State.SUCCEEDED, "NLJ7RT61SV")
    ]


def test_kept_callback_whose_drop_failed_is_dropped_before_the_report() -> None:
    """It settled its payment; the phone number in it does not stay in the store."""
    store = BrokenStore("drop_callback")
    host = Host(store)
    host.daraja.push_script.append(overtaken(host))
    host.checkout()
    assert host.stored().state is State.SUCCEEDED
    store.broken = ""
    assert len(store.kept_callbacks(checkout_request_id=CHECKOUT_ID)) == 1
    assert len(reported(host)) == 1
    assert store.kept_callbacks(checkout_request_id=CHECKOUT_ID) == []


def test_store_that_cannot_drop_a_callback_holds_no_report_up() -> None:
    """The proof is applied; whether its raw body is forgotten matters less than the host's order."""
    store = BrokenStore("drop_callback")
    host = Host(store)
    host.daraja.push_script.append(overtaken(host))
    assert host.checkout().state is State.SUCCEEDED
    assert [paid.receipt_number for paid in reported(host)] == ["NLJ7RT61SV"]
