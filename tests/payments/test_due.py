"""`process_due`: orphans, queries, expiry, delivery; and the recorder's races.

How it shares a budget of queries, and what many workers do to each other, is in `test_due_workers`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import attrs
import pytest

from daraja_double import answer, refusal, result
from hosts import BrokenStore, Host, LateStore, another_worker, go_to, overtaken, pending
from mpesa_stk import (
    DueReport,
    HttpResponse,
    MemoryTransactionStore,
    OutcomeUnknown,
    StoreError,
    Transaction,
    TransactionState,
)
from mpesa_stk.payments.budget import UnlimitedQueryBudget
from mpesa_stk.payments.schedule import KEEP_ASKING
from support import CALLBACK_SECRET, CHECKOUT_ID, accepted, callback, make_transaction

pytestmark = pytest.mark.usefixtures("face")


def test_nothing_is_due_at_first() -> None:
    """A payment that was just pushed is left alone."""
    host = pending()
    assert host.payments.process_due() == DueReport()
    assert host.daraja.queries == []


def test_open_payment_is_asked_about_and_settled() -> None:
    """After about 20 s Daraja is asked; a final answer settles and is delivered at once."""
    host = pending()
    host.clock.advance(20)
    host.daraja.query_script.append(result(CHECKOUT_ID, "1032"))
    told: list[Transaction] = []
    report = host.payments.process_due(on_settled=told.append)
    assert report == DueReport(claimed=1, queried=1, settled=1, reported=1)
    assert [(paid.state, paid.result_code) for paid in told] == [(TransactionState.FAILED, "1032")]
    assert host.stored().reported
    host.clock.advance(86_400)
    assert host.payments.process_due(on_settled=told.append) == DueReport()


def test_questions_become_rarer_until_the_payment_expires() -> None:
    """Pending answers settle nothing; the pauses grow, and the end is EXPIRED, not FAILED."""
    host = pending()
    moments = []
    while not host.stored().state.settled:
        due = host.stored().due_at
        assert due is not None
        host.clock.advance((due - host.clock.now()).total_seconds())
        moments.append((host.clock.now() - host.stored().created).total_seconds())
        host.daraja.query_script.append(result(CHECKOUT_ID, "4999"))
        report = host.payments.process_due()
    pauses = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert moments[0] == 20.0
    assert moments[-1] == 900.0
    assert pauses[:-1] == sorted(pauses[:-1])
    assert max(pauses) <= 330.0
    assert host.stored().state is TransactionState.EXPIRED
    assert host.stored().needs_review == "Daraja never said how it ended"
    assert report.expired == 1


def test_payment_that_daraja_does_not_know_expires_without_a_review() -> None:
    """That is an answer, and it has been given for ids that were asked about too early, too."""
    host = pending()
    host.clock.advance(900)
    host.daraja.query_script.append(refusal("500.001.1001", "The transaction does not Exist", 500))
    assert host.payments.process_due().expired == 1
    assert host.stored().needs_review is None


def test_expiring_payment_is_asked_about_once_more() -> None:
    """The last question comes before the payment is given up."""
    host = pending()
    host.clock.advance(3600)
    host.daraja.query_script.append(result(CHECKOUT_ID, "0"))
    report = host.payments.process_due(on_settled=lambda _: None)
    assert report == DueReport(claimed=1, queried=1, settled=1, reported=1)
    assert host.stored().state is TransactionState.SUCCEEDED


def test_payment_does_not_expire_by_an_answer_from_before() -> None:
    """Daraja was asked a moment too early, and answered late: it is asked once more."""
    host = pending()
    host.clock.advance(899)

    def slow() -> HttpResponse:
        host.clock.advance(3)
        return result(CHECKOUT_ID, "4999")

    host.daraja.query_script.extend([slow, result(CHECKOUT_ID, "0")])
    assert host.payments.process_due().expired == 0
    assert host.stored().state is TransactionState.PENDING
    host.clock.advance(600)
    assert host.payments.process_due(on_settled=lambda _: None).reported == 1
    assert host.stored().state is TransactionState.SUCCEEDED


OUTAGES = [
    OutcomeUnknown("no complete answer in time"),
    HttpResponse(status=503, headers={}, body=b""),
    HttpResponse(status=429, headers={}, body=b""),
    refusal("500.001.1001", "Wrong credentials", 500),
    refusal("404.001.03", "Invalid Access Token", 404),
]


@pytest.mark.parametrize("outage", OUTAGES, ids=["silence", "503", "429", "passkey", "token"])
def test_an_outage_expires_nothing_for_a_day(outage: Any) -> None:
    """Daraja is asked ever more slowly, and the payment stays open until a day after its expiry."""
    host = pending()
    payments = another_worker(host)
    asked = []
    while not host.stored().state.settled:
        go_to(host)
        host.daraja.query_script.clear()
        host.daraja.query_script.extend([outage] * 10)
        asked.append(host.clock.now() - host.stored().expires_at)
        report = payments.process_due()
        assert (report.queried, report.failed) == (1, 1)
    assert asked[-1] >= KEEP_ASKING > asked[-2]
    assert len([moment for moment in asked if moment >= timedelta(0)]) <= 32
    pauses = [
        later - earlier for earlier, later in itertools.pairwise(asked) if earlier >= timedelta(0)
    ]
    assert pauses == sorted(pauses)
    assert timedelta(hours=1) <= pauses[-1] < timedelta(hours=1, seconds=10)
    assert host.stored().state is TransactionState.EXPIRED
    assert host.stored().needs_review == "Daraja never said how it ended"
    events = [entry.event for entry in host.stored().history]
    assert events == ["push accepted"] + ["nothing new"] * 8 + ["time is up"]


def test_payment_that_daraja_refuses_to_speak_of_expires() -> None:
    """A refusal of the very question is an answer, and no outage."""
    host = pending()
    host.clock.advance(900)
    host.daraja.query_script.append(refusal("400.002.05", "Invalid Request Payload", 400))
    assert host.payments.process_due().expired == 1
    assert host.stored().needs_review == "Daraja never said how it ended"


def test_clock_that_was_set_back_does_not_make_a_payment_asked_about_all_the_time() -> None:
    """An hour backwards: fewer than 40 queries until the payment ends, where 121 were sent."""
    host = pending()
    payments = another_worker(host)
    host.clock.advance(60)
    host.clock.step(-3600)
    host.store.replace(attrs.evolve(host.stored(), due_at=host.clock.now()))
    while not host.stored().state.settled:
        go_to(host)
        host.daraja.query_script.append(result(CHECKOUT_ID, "4999"))
        payments.process_due()
    assert len(host.daraja.queries) < 40


def test_payment_whose_id_cannot_be_sent_expires() -> None:
    """No later question can be better than this one."""
    host = Host()
    host.store.add(make_transaction(checkout_request_id="", state=TransactionState.PENDING))
    host.clock.advance(900)
    report = host.payments.process_due()
    assert (report.failed, report.expired) == (1, 1)
    assert host.daraja.queries == []


@pytest.mark.parametrize(
    ("planned", "code"),
    [
        (OutcomeUnknown("the payer 254718643064 hung up"), "no answer"),
        (HttpResponse(status=503, headers={}, body=b""), "HTTP 503"),
    ],
)
def test_history_tells_how_a_push_was_lost(planned: Any, code: str) -> None:
    """In constant words, whatever a transport says."""
    host = Host()
    host.daraja.push_script.append(planned)
    host.checkout()
    assert [(entry.event, entry.code) for entry in host.stored().history] == [
        ("push outcome lost", code)
    ]


def test_uncertain_payment_has_nothing_to_ask_by_and_expires_into_review() -> None:
    """Without a CheckoutRequestID and without a signed callback nobody can ever tell."""
    host = Host()
    host.daraja.push_script.append(OutcomeUnknown("no complete answer in time"))
    host.checkout()
    host.clock.advance(20)
    assert host.payments.process_due() == DueReport(claimed=1)
    host.clock.advance(3600)
    assert host.payments.process_due().expired == 1
    assert host.stored().state is TransactionState.EXPIRED
    assert host.stored().needs_review == "the push's outcome was never learnt"
    assert host.daraja.queries == []


def test_intent_of_a_dead_worker_becomes_uncertain_and_is_not_pushed() -> None:
    """A CREATED payment that is found due was orphaned: the library never pushes it again."""

    class Store(MemoryTransactionStore):
        dead = False

        def replace(self, transaction: Transaction, /) -> bool:
            if self.dead:
                raise StoreError("a dead worker writes nothing")
            return super().replace(transaction)

    store = Store()
    host = Host(store, callback_secrets=(CALLBACK_SECRET,))

    def die() -> HttpResponse:
        store.dead = True
        raise KeyboardInterrupt

    host.daraja.push_script.append(die)
    with pytest.raises(KeyboardInterrupt):
        host.checkout(idempotency_key="order-1")
    assert host.stored().state is TransactionState.CREATED
    store.dead = False
    host.clock.advance(201)
    assert host.payments.process_due() == DueReport(claimed=1)
    assert host.stored().state is TransactionState.UNCERTAIN
    assert host.checkout(idempotency_key="order-1").state is TransactionState.UNCERTAIN
    assert len(host.daraja.pushes) == 1
    receipt = host.payments.handle_callback(callback(), token=host.daraja.token)
    assert receipt.transaction is not None
    assert receipt.transaction.state is TransactionState.SUCCEEDED


def test_intent_is_not_taken_for_orphaned_while_its_push_can_still_run() -> None:
    """Two tokens and two exchanges fit before a worker counts as dead."""
    host = Host()

    def slow() -> HttpResponse:
        host.clock.advance(4 * 45.0)
        assert host.payments.process_due() == DueReport()
        return answer(accepted())

    host.daraja.push_script.append(slow)
    assert host.checkout().state is TransactionState.PENDING


def test_kept_callback_is_applied_before_daraja_is_asked() -> None:
    """Evidence that lies in the store settles the payment without a query."""
    store = LateStore()
    host = Host(store)
    host.daraja.push_script.append(overtaken(host))
    assert host.checkout().state is TransactionState.PENDING
    store.hidden = False
    host.clock.advance(20)
    report = host.payments.process_due(on_settled=lambda _: None)
    assert report == DueReport(claimed=1, settled=1, reported=1)
    assert host.stored().receipt_number == "NLJ7RT61SV"


def test_limited_query_is_put_off_for_as_long_as_daraja_asks() -> None:
    """A rate limit is no answer; the payment waits and stays open."""
    host = pending()
    host.clock.advance(20)
    limited = HttpResponse(status=429, headers={"retry-after": "600"}, body=b"")
    host.daraja.query_script.append(limited)
    report = host.payments.process_due()
    assert (report.queried, report.failed) == (1, 1)
    due = host.stored().due_at
    assert due is not None
    assert due - host.clock.now() == timedelta(seconds=600)


def test_raising_handler_is_told_again_later_and_harms_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A poison payment backs off, ever longer; the others are delivered. The log has the traceback."""
    host = pending()
    host.payments.handle_callback(callback(1032))
    host.daraja.push_script.append(answer(accepted("ws_CO_second")))
    host.checkout(reference="INV-2")
    host.payments.handle_callback(callback(1032, checkout_request_id="ws_CO_second"))
    told: list[str] = []

    def handler(transaction: Transaction) -> None:
        told.append(transaction.reference)
        if transaction.reference == "INV-1":
            raise ValueError("order 7 is unknown here")

    report = host.payments.process_due(on_settled=handler)
    assert (report.reported, report.report_failed) == (1, 1)
    assert host.stored("INV-2").reported
    pauses = []
    for _ in range(9):
        due = host.stored().due_at
        assert due is not None
        pauses.append((due - host.clock.now()).total_seconds())
        host.clock.advance(pauses[-1])
        host.payments.process_due(on_settled=handler)
    assert pauses == [30.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 3600.0, 3600.0]
    assert told.count("INV-2") == 1
    events = [entry.event for entry in host.stored().history]
    assert events == ["push accepted", "callback: not paid"] + ["report failed"] * 8
    assert "report_failed" in caplog.text
    assert "ValueError: order 7 is unknown here" in caplog.text
    assert "in handler" in caplog.text


def test_handler_that_does_not_run_has_told_nobody(face: str) -> None:
    """A generator only begins when somebody runs it, and so does an ``async def`` without asyncio."""

    async def later(transaction: Transaction) -> None:
        told.append(transaction)

    def pieces(transaction: Transaction) -> Iterator[None]:
        told.append(transaction)
        yield

    told: list[Transaction] = []
    for handler in (later, pieces) if face == "sync" else (pieces,):
        host = pending()
        host.payments.handle_callback(callback())
        report = host.payments.process_due(on_settled=handler)
        assert (report.reported, report.report_failed) == (0, 1)
        assert not host.stored().reported
    assert told == []


def test_settled_payments_wait_for_somebody_to_tell() -> None:
    """Without a handler nothing counts as reported, and nobody who has one needs to wait."""
    host = pending()
    host.payments.handle_callback(callback())
    before = host.stored()
    assert host.payments.process_due() == DueReport(claimed=1, unreported=1)
    assert not host.stored().reported
    assert host.stored().updated == before.updated
    assert host.payments.process_due(on_settled=lambda _: None).reported == 1


def test_first_redelivery_is_soon_though_nobody_was_there_for_hours() -> None:
    """The pause grows with the failures, not with the time that the host was away."""
    host = pending()
    host.payments.handle_callback(callback())
    host.clock.advance(5 * 3600)
    host.payments.process_due(on_settled=fail)
    due = host.stored().due_at
    assert due is not None
    assert due - host.clock.now() == timedelta(seconds=30)


@pytest.mark.parametrize(("chance", "pause"), [(0.0, 27.0), (1.0, 33.0)])
def test_redelivery_is_spread(chance: float, pause: float) -> None:
    """A handler that was down does not get all its payments back in one moment."""
    host = pending()
    host.payments.handle_callback(callback())
    another_worker(host, jitter=lambda: chance).process_due(on_settled=fail)
    due = host.stored().due_at
    assert due is not None
    assert due - host.clock.now() == timedelta(seconds=pause)


def fail(_transaction: Transaction) -> None:
    """A handler that does not work."""
    raise ValueError


def test_payment_paid_while_its_expiry_was_told_is_reported_again() -> None:
    """The host heard of the expiry; it must hear of the payment too (invariant I2)."""
    host = Host(callback_secrets=(CALLBACK_SECRET,))
    host.daraja.push_script.append(OutcomeUnknown("no complete answer in time"))
    host.checkout()
    host.clock.advance(3600)
    told: list[TransactionState] = []

    def handler(transaction: Transaction) -> None:
        told.append(transaction.state)
        if transaction.state is TransactionState.EXPIRED:
            host.payments.handle_callback(callback(), token=host.daraja.token)

    for _ in range(2):
        host.payments.process_due(on_settled=handler)
    assert told == [TransactionState.EXPIRED, TransactionState.SUCCEEDED]
    assert host.stored().reported


def test_batch_ends_at_its_deadline_and_the_lease_brings_the_rest() -> None:
    """What is not begun in time is left to its lease."""
    host = pending()
    host.daraja.push_script.append(answer(accepted("ws_CO_second")))
    host.checkout(reference="INV-2")
    host.clock.advance(20)

    def tell(code: str, seconds: float) -> HttpResponse:
        host.clock.advance(seconds)
        return result(host.daraja.queries[-1]["CheckoutRequestID"], code)

    payments = another_worker(host, UnlimitedQueryBudget())
    host.daraja.query_script.append(lambda: tell("4999", 30))
    report = payments.process_due(deadline=25.0)
    assert (report.claimed, report.queried, report.left) == (2, 1, 1)
    assert payments.process_due().claimed == 0
    host.clock.advance(100)
    host.daraja.query_script.extend([lambda: tell("0", 1)] * 2)
    assert payments.process_due(on_settled=lambda _: None).reported == 2


def test_batch_takes_no_more_than_its_limit() -> None:
    """The limit bounds the batch."""
    host = pending()
    host.daraja.push_script.append(answer(accepted("ws_CO_second")))
    host.checkout(reference="INV-2")
    host.clock.advance(20)
    host.daraja.query_script.append(result(CHECKOUT_ID, "4999"))
    assert host.payments.process_due(limit=1).claimed == 1


def test_store_that_fails_for_one_payment_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    """The failure is logged by number, and the lease brings the payment back."""
    store = BrokenStore()
    host = pending(store=store)
    host.clock.advance(20)
    store.broken = "kept_callbacks"
    assert host.payments.process_due() == DueReport(claimed=1, failed=1)
    assert f"due_failed transaction_no={host.stored().transaction_no}" in caplog.text


def test_failed_query_leaves_the_payment_open() -> None:
    """An error of Daraja's is no outcome."""
    host = pending()
    host.clock.advance(20)
    host.daraja.query_script.append(refusal("400.002.05", "Invalid Request Payload", 400))
    assert host.payments.process_due() == DueReport(claimed=1, queried=1, failed=1)
    assert host.stored().state is TransactionState.PENDING


def test_writer_that_always_loses_gives_up_with_an_error() -> None:
    """A compare-and-set that never wins ends in a StoreError, not in a loop."""

    class Contended(MemoryTransactionStore):
        lost = False

        def replace(self, transaction: Transaction, /) -> bool:
            return not self.lost and super().replace(transaction)

    store = Contended()
    host = pending(store=store)
    store.lost = True
    with pytest.raises(StoreError):
        host.payments.handle_callback(callback())


def test_payment_that_vanishes_under_a_writer_is_an_error() -> None:
    """A store that loses a payment is reported as such."""

    class Forgetful(MemoryTransactionStore):
        gone = False

        def replace(self, transaction: Transaction, /) -> bool:
            return not self.gone and super().replace(transaction)

        def get(self, transaction_no: str, /) -> Transaction | None:
            return None if self.gone else super().get(transaction_no)

    store = Forgetful()
    host = pending(store=store)
    store.gone = True
    with pytest.raises(StoreError):
        host.payments.handle_callback(callback())
