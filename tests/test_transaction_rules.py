"""The transition table: single rules, and any order of events at all."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import attrs
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mpesa_stk import (
    PushAccepted,
    QueryResult,
    QueryStatus,
    Transaction,
    TransactionState,
    parse_callback,
)
from mpesa_stk.payments import events
from mpesa_stk.payments.transaction import (
    MAX_HISTORY,
    TRANSITIONS,
    apply,
    contradiction,
    signal_of,
)
from support import CHECKOUT_ID, MERCHANT_ID, START, accepted, callback, make_transaction

State = TransactionState
LATER = START + timedelta(seconds=30)


def taken(checkout_request_id: str = CHECKOUT_ID) -> events.PushTaken:
    """Daraja accepted the push."""
    answer = accepted(checkout_request_id)
    return events.PushTaken(
        answer=PushAccepted(
            merchant_request_id=answer["MerchantRequestID"],
            checkout_request_id=answer["CheckoutRequestID"],
            response_code=answer["ResponseCode"],
            response_description=answer["ResponseDescription"],
            customer_message=answer["CustomerMessage"],
        ),
        next_due=LATER,
    )


def seen(code: int | str = 0, **changes: Any) -> events.CallbackSeen:
    """A callback came."""
    return events.CallbackSeen(result=parse_callback(callback(code, **changes)))


def unproven(**changes: Any) -> events.CallbackSeen:
    """A success code without proof came."""
    return seen(CallbackMetadata=None, **changes)


def asked(status: QueryStatus, code: str | None = None, **changes: Any) -> events.QuerySeen:
    """Daraja answered a status query."""
    remote = QueryResult(
        status=status, checkout_request_id=CHECKOUT_ID, result_code=code, result_desc="words"
    )
    return events.QuerySeen(result=remote, **changes)


PAID_QUERY = asked(QueryStatus.PAID, "0")
FAILED_QUERY = asked(QueryStatus.FAILED, "1032")
OPEN = (State.CREATED, State.UNCERTAIN, State.PENDING)


@pytest.mark.parametrize("state", list(State))
def test_proven_success_beats_every_other_state(state: State) -> None:
    """A callback with proof makes any payment SUCCEEDED, and due for its report."""
    before = make_transaction(state=state, reported=state.settled)
    after = apply(before, seen(), LATER)
    assert after.state is State.SUCCEEDED
    assert after.receipt_number == "NLJ7RT61SV"
    assert after.paid_at == datetime(2026, 11, 23, 6, 0, 13, tzinfo=timezone.utc)
    assert after.paid_at.tzinfo is timezone.utc
    assert after.result_code == "0"
    if state is not State.SUCCEEDED:
        assert (after.reported, after.due_at, after.settled_by) == (False, LATER, "callback")


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("event", [seen(1032), FAILED_QUERY], ids=["callback", "query"])
def test_failure_settles_only_an_open_payment(state: State, event: Any) -> None:
    """What is settled already stays as it is when a failure is told."""
    after = apply(make_transaction(state=state), event, LATER)
    assert after.state is (State.FAILED if state in OPEN else state)


@pytest.mark.parametrize("state", list(State))
def test_paid_by_query_settles_all_but_a_success(state: State) -> None:
    """Daraja's own word that it was paid settles whatever no callback settled."""
    after = apply(make_transaction(state=state), PAID_QUERY, LATER)
    assert after.state is State.SUCCEEDED
    assert after.receipt_number is None


def test_query_never_overrides_a_callbacks_failure() -> None:
    """A paid answer of the query after a failing callback settles nothing: a person must look."""
    failed = apply(make_transaction(state=State.PENDING), seen(1032), LATER)
    after = apply(failed, PAID_QUERY, LATER)
    assert after.state is State.FAILED
    assert after.needs_review == "query says paid after a callback's failure"
    assert apply(after, PAID_QUERY, LATER) is after


def test_query_failure_after_a_callbacks_success_changes_nothing() -> None:
    """The sandbox has been reported to deny payments that callbacks proved (facts, section 4)."""
    paid = apply(make_transaction(state=State.PENDING), seen(), LATER)
    assert apply(paid, FAILED_QUERY, LATER) is paid


@pytest.mark.parametrize("status", [QueryStatus.PENDING, QueryStatus.UNKNOWN])
def test_open_answer_of_the_query_only_moves_the_schedule(status: QueryStatus) -> None:
    """Pending and unknown answers settle nothing; with a next time they reschedule."""
    before = make_transaction(state=State.PENDING)
    assert apply(before, asked(status, "4999"), LATER) is before
    after = apply(before, asked(status, "4999", next_due=LATER), START)
    assert (after.state, after.due_at) == (State.PENDING, LATER)
    assert after.history[-1].code == "4999"


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (seen(amount=99), "callback has another amount"),
        (seen(checkout_request_id="ws_CO_other"), "callback names another checkout_request_id"),
    ],
)
def test_contradicting_callback_needs_review_and_settles_nothing(
    event: events.CallbackSeen, reason: str
) -> None:
    """Another amount or id is not a payment."""
    before = make_transaction(state=State.PENDING, checkout_request_id=CHECKOUT_ID)
    after = apply(before, event, LATER)
    assert (after.state, after.needs_review) == (State.PENDING, reason)
    assert apply(after, event, LATER) is after


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (seen(receipt="OTHER12345"), "callback has another receipt"),
        (seen(1032), "callback says not paid after a success"),
    ],
)
def test_contradiction_after_success_keeps_the_success(
    event: events.CallbackSeen, reason: str
) -> None:
    """Paid stays paid, with its first receipt; the contradiction is for a person."""
    paid = apply(make_transaction(state=State.PENDING), seen(), LATER)
    after = apply(paid, event, LATER)
    assert (after.state, after.receipt_number) == (State.SUCCEEDED, "NLJ7RT61SV")
    assert after.needs_review == reason


def test_success_without_proof_is_asked_about_at_once() -> None:
    """An unproven success settles nothing and brings the next query forward; proof lifts the doubt."""
    before = make_transaction(state=State.PENDING)
    doubted = apply(before, unproven(), START)
    assert (doubted.state, doubted.due_at) == (State.PENDING, START)
    assert doubted.needs_review == "callback reports success without proof"
    assert apply(doubted, unproven(), START) is doubted
    paid = apply(doubted, PAID_QUERY, LATER)
    assert (paid.state, paid.needs_review) == (State.SUCCEEDED, None)


@pytest.mark.parametrize("state", [State.FAILED, State.REJECTED, State.EXPIRED])
def test_success_without_proof_after_an_outcome_needs_review(state: State) -> None:
    """Nobody asks Daraja about a settled payment any more, so a person must."""
    after = apply(make_transaction(state=state, due_at=None), unproven(), LATER)
    assert (after.state, after.due_at) == (state, None)
    assert after.needs_review == "callback reports success without proof"


def test_success_without_proof_after_success_is_only_written_down() -> None:
    """It is in the history, and nothing else changes."""
    paid = apply(make_transaction(state=State.PENDING), seen(), LATER)
    after = apply(paid, unproven(), LATER)
    assert after.needs_review is None
    assert after.history[-1].event == "callback: success without proof"


def test_review_of_a_contradiction_outlives_the_success() -> None:
    """A wrong amount seen before the right one still wants a person's look."""
    before = apply(make_transaction(state=State.PENDING), seen(amount=1), LATER)
    after = apply(before, seen(), LATER)
    assert (after.state, after.needs_review) == (State.SUCCEEDED, "callback has another amount")


def test_failure_told_after_expiry_is_written_down() -> None:
    """An EXPIRED payment stays EXPIRED, and its code is remembered (invariant I4)."""
    expired = make_transaction(state=State.EXPIRED, due_at=None, reported=True)
    after = apply(expired, seen(1032), LATER)
    assert (after.state, after.result_code, after.reported) == (State.EXPIRED, "1032", True)
    assert after.history[-1].code == "1032"
    assert apply(after, seen(1032), LATER) is after


def test_uncertain_payment_that_expires_needs_review() -> None:
    """Nobody could ever ask about it: it has no id."""
    after = apply(make_transaction(state=State.UNCERTAIN), events.TimeUp(), LATER)
    assert after.state is State.EXPIRED
    assert after.needs_review == "the push's outcome was never learnt"
    assert apply(make_transaction(state=State.PENDING), events.TimeUp(), LATER).needs_review is None


def test_late_answer_of_a_slow_worker_still_counts() -> None:
    """A payment thought orphaned becomes PENDING or REJECTED when its worker was only slow."""
    orphan = apply(make_transaction(), events.WorkerDied(next_due=LATER), START)
    assert (orphan.state, orphan.due_at) == (State.UNCERTAIN, LATER)
    assert apply(orphan, taken(), LATER).state is State.PENDING
    refused = events.PushRefused(code="400.002.02", reason="DarajaError")
    assert apply(orphan, refused, LATER).result_code == "400.002.02"


def test_push_answer_after_an_early_callback_adds_darajas_words_only() -> None:
    """The callback settled it; the answer that comes later is only filled in."""
    paid = apply(make_transaction(), seen(), START)
    after = apply(paid, taken("ws_CO_ignored"), LATER)
    assert (after.state, after.due_at) == (State.SUCCEEDED, START)
    assert after.checkout_request_id == CHECKOUT_ID
    assert after.customer_message == accepted()["CustomerMessage"]


def test_same_key_starts_only_a_rejected_payment_again() -> None:
    """Every other state ignores it."""
    again = events.TryAgain(expires_at=LATER, due_at=LATER)
    for state in set(State) - {State.REJECTED}:
        before = make_transaction(state=state)
        assert apply(before, again, START) is before
    after = apply(make_transaction(state=State.REJECTED, result_code="x"), again, START)
    assert (after.state, after.result_code, after.expires_at) == (State.CREATED, None, LATER)


def test_report_is_noted_for_settled_payments_only() -> None:
    """An open payment has nothing to report."""
    told = events.Reported(state=State.FAILED)
    before = make_transaction(state=State.PENDING)
    assert apply(before, told, LATER) is before
    after = apply(make_transaction(state=State.FAILED), told, LATER)
    assert (after.reported, after.due_at) == (True, None)


def test_report_of_a_state_that_is_past_is_no_report() -> None:
    """A payment that was paid while the host was told of its expiry is still to be reported."""
    paid = apply(make_transaction(state=State.EXPIRED), seen(), LATER)
    assert apply(paid, events.Reported(state=State.EXPIRED), LATER) is paid
    later = LATER + timedelta(hours=1)
    assert apply(paid, events.ReportFailed(state=State.EXPIRED, next_due=later), LATER) is paid


def test_failed_report_comes_again_unless_another_worker_made_it() -> None:
    """It is put off; where the host knows already, it is over."""
    later = LATER + timedelta(hours=1)
    failed = events.ReportFailed(state=State.FAILED, next_due=later)
    after = apply(make_transaction(state=State.FAILED), failed, LATER)
    assert (after.reported, after.due_at) == (False, later)
    told = apply(after, events.Reported(state=State.FAILED), LATER)
    assert apply(told, failed, LATER) is told


def test_table_names_every_signal_and_leaves_success_alone() -> None:
    """No row leads out of SUCCEEDED, and no signal is missing."""
    assert set(TRANSITIONS) == set(events.Signal)
    assert all(State.SUCCEEDED not in row for row in TRANSITIONS.values())


@pytest.mark.parametrize("state", list(State))
def test_status_code_is_zero_for_success_alone(state: State) -> None:
    """The two status codes of the payment endpoints."""
    expected = "0" if state is State.SUCCEEDED else "1"
    assert make_transaction(state=state).status_code == expected


def test_repr_of_a_transaction_hides_the_payer() -> None:
    """Neither the phone number nor the id that ends in it is in the repr."""
    shown = repr(make_transaction(checkout_request_id=CHECKOUT_ID))
    assert "718643064" not in shown
    assert "+254718***064" in shown


MOMENTS = st.integers(0, 7200).map(lambda seconds: START + timedelta(seconds=seconds))
EVENTS = st.one_of(
    st.sampled_from(
        [
            taken(),
            taken("ws_CO_other"),
            events.PushRefused(code="400.002.02", reason="DarajaError"),
            events.OutcomeLost(reason="time-out", next_due=LATER),
            events.WorkerDied(next_due=LATER),
            events.TryAgain(expires_at=LATER, due_at=LATER),
            seen(),
            seen(amount=99),
            seen(receipt="OTHER12345"),
            seen(checkout_request_id="ws_CO_other"),
            seen(1032),
            seen("SFC_IC0003"),
            unproven(),
            PAID_QUERY,
            FAILED_QUERY,
            events.Doubted(reason="callback has the receipt_number of another payment"),
            events.TimeUp(),
            *(events.Reported(state=state) for state in State if state.settled),
        ]
    ),
    st.builds(lambda due: asked(QueryStatus.PENDING, "4999", next_due=due), MOMENTS),
    st.builds(lambda due: events.Deferred(reason="RateLimited", next_due=due), MOMENTS),
    st.builds(
        lambda state, due: events.ReportFailed(state=state, next_due=due),
        st.sampled_from([state for state in State if state.settled]),
        MOMENTS,
    ),
)


class AnyLife(RuleBasedStateMachine):
    """A payment to which anything happens, in any order and at any pace."""

    def __init__(self) -> None:
        super().__init__()
        self.payment: Transaction = make_transaction()
        self.now = START
        self.receipt: str | None = None
        self.was_paid = False

    @rule(event=EVENTS, pause=st.integers(0, 600))
    def happen(self, event: events.PaymentEvent, pause: int) -> None:
        """One more event."""
        self.now += timedelta(seconds=pause)
        before = self.payment
        self.payment = apply(before, event, self.now)
        expected = TRANSITIONS[signal_of(before, event)].get(before.state, before.state)
        assert self.payment.state is expected
        assert apply(self.payment, event, self.now) is self.payment or isinstance(
            event, (events.ReportFailed, events.Deferred, events.QuerySeen)
        )
        fixed = ("transaction_no", "amount", "phone_number", "account", "reference", "version")
        assert all(getattr(before, name) == getattr(self.payment, name) for name in fixed)

    @invariant()
    def success_is_absorbing(self) -> None:
        """Once paid, always paid, with the same receipt."""
        assert not self.was_paid or self.payment.state is State.SUCCEEDED
        self.was_paid = self.payment.state is State.SUCCEEDED
        assert self.receipt in (None, self.payment.receipt_number)
        self.receipt = self.payment.receipt_number

    @invariant()
    def nothing_is_forgotten(self) -> None:
        """An open payment is due, a settled one is due until it is reported."""
        payment = self.payment
        assert (payment.due_at is None) is (payment.state.settled and payment.reported)
        assert not payment.reported or payment.state.settled
        assert payment.state.settled is (payment.settled_by is not None)

    @invariant()
    def history_is_bounded_and_impersonal(self) -> None:
        """It keeps how it began and what came last, and names no phone."""
        history = self.payment.history
        assert len(history) <= MAX_HISTORY
        assert list(history) == sorted(history, key=lambda entry: entry.at)
        assert "718643064" not in json.dumps(
            [attrs.asdict(entry) for entry in history], default=str
        )


TestAnyLife = AnyLife.TestCase


def test_history_keeps_its_beginning_and_its_end() -> None:
    """A payment that is asked about for ever does not grow for ever."""
    payment = apply(make_transaction(), taken(), START)
    for number in range(3 * MAX_HISTORY):
        moment = START + timedelta(seconds=number)
        due = moment + timedelta(seconds=20)
        payment = apply(payment, asked(QueryStatus.PENDING, "4999", next_due=due), moment)
    assert len(payment.history) == MAX_HISTORY
    assert payment.history[0].event == "push accepted"
    assert payment.history[-1].at == START + timedelta(seconds=3 * MAX_HISTORY - 1)


def test_merchant_id_of_the_callback_is_taken_where_none_is_known() -> None:
    """An UNCERTAIN payment learns its ids from its signed callback."""
    after = apply(make_transaction(state=State.UNCERTAIN), seen(1032), LATER)
    assert (after.merchant_request_id, after.checkout_request_id) == (MERCHANT_ID, CHECKOUT_ID)
    assert contradiction(after, parse_callback(callback(1032))) is None
