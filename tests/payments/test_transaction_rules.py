"""The transition table: single rules, and any order of events at all."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mpesa_stk import (
    InvalidRequest,
    PushAccepted,
    QueryResult,
    QueryStatus,
    Transaction,
    TransactionState,
    parse_callback,
)
from mpesa_stk.payments import events
from mpesa_stk.payments.effects import FITS_SEVERAL, FITS_WITHOUT_QUERY, news_of
from mpesa_stk.payments.evidence import PAID_AFTER_FAILURE, contradiction
from mpesa_stk.payments.schedule import KEEP_ASKING, REPORT_LEASE
from mpesa_stk.payments.transaction import (
    MAX_HISTORY,
    TRANSITIONS,
    apply,
    meaning_of,
)
from support import CHECKOUT_ID, MERCHANT_ID, START, accepted, callback, make_transaction

State = TransactionState
LATER = START + timedelta(seconds=30)
OVER = START + timedelta(minutes=15)
TIME_UP = events.Expired(answered=True)
REFUSED = events.PushRefused(
    code="400.002.02", reason="DarajaError", expires_at=make_transaction().expires_at
)


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
        lives_until=START + timedelta(minutes=5),
    )


def seen(code: int | str = 0, **changes: Any) -> events.CallbackSeen:
    """A callback came."""
    return events.CallbackSeen(result=parse_callback(callback(code, **changes)))


def with_item(name: str, value: object) -> events.CallbackSeen:
    """A callback came that proves the payment, with one item changed."""
    body = json.loads(callback())
    for item in body["Body"]["stkCallback"]["CallbackMetadata"]["Item"]:
        if item["Name"] == name:
            item["Value"] = value
    return events.CallbackSeen(result=parse_callback(json.dumps(body)))


def paid_by(phone: object) -> events.CallbackSeen:
    """A callback came that names this payer."""
    return with_item("PhoneNumber", phone)


def paid_on(date: object) -> events.CallbackSeen:
    """A callback came with this date, in Nairobi's time; `START` is at nine o'clock there."""
    return with_item("TransactionDate", date)


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
    """The sandbox has been reported to deny payments that callbacks proved (docs/daraja.md, section 4)."""
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
        (seen(MerchantRequestID="1-2-3"), "callback names another merchant_request_id"),
        (paid_by(254700000001), "callback has another payer"),
        (paid_by("+254700000001"), "callback has another payer"),
        (paid_on(20261123085459), "callback has a date before the payment"),
        (paid_on(20261123090531), "callback has a date in the future"),
    ],
)
def test_contradicting_callback_needs_review_and_settles_nothing(
    event: events.CallbackSeen, reason: str
) -> None:
    """Another amount, id, payer or date is not this payment; Daraja is asked at once."""
    before = make_transaction(
        state=State.PENDING, checkout_request_id=CHECKOUT_ID, merchant_request_id=MERCHANT_ID
    )
    after = apply(before, event, LATER)
    assert (after.state, after.needs_review) == (State.PENDING, reason)
    assert after.due_at == LATER
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


@pytest.mark.parametrize("phone", ["254718***064", "2547XXXXX064", None, "718643064", 12345])
def test_payer_who_may_be_ours_is_no_contradiction(phone: object) -> None:
    """A masked, missing, shorter or unreadable number says nothing against the payment."""
    after = apply(make_transaction(state=State.PENDING), paid_by(phone), LATER)
    assert after.state is State.SUCCEEDED


@pytest.mark.parametrize("date", [20261123085501, 20261123090530, None, "yesterday"])
def test_date_within_the_payments_life_is_no_contradiction(date: object) -> None:
    """Clocks may differ by five minutes, and a date that cannot be read says nothing."""
    after = apply(make_transaction(state=State.PENDING), paid_on(date), LATER)
    assert after.state is State.SUCCEEDED


def test_proof_that_comes_long_after_the_end_settles_with_a_review() -> None:
    """A token of 90 days ago proves the payment, and a person hears that it was late."""
    failed = make_transaction(state=State.FAILED, settled_by="callback", reported=True, due_at=None)
    in_time = failed.expires_at + KEEP_ASKING
    assert apply(failed, seen(), in_time).needs_review is None
    for event in (seen(), paid_on(20270221090000)):
        after = apply(failed, event, START + timedelta(days=90))
        assert (after.state, after.reported) == (State.SUCCEEDED, False)
        assert after.needs_review == "callback came more than a day late"


@pytest.mark.parametrize("state", [State.FAILED, State.REJECTED, State.EXPIRED])
def test_success_without_proof_after_an_outcome_needs_review(state: State) -> None:
    """Daraja is not asked about a settled payment any more, so the host hears of the doubt."""
    before = make_transaction(state=state, due_at=None, reported=True)
    after = apply(before, unproven(), LATER)
    assert (after.state, after.reported, after.due_at) == (state, False, LATER)
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


NEWS = [
    (State.SUCCEEDED, seen(receipt="OTHER12345"), "callback has another receipt"),
    (State.SUCCEEDED, seen(1032), "callback says not paid after a success"),
    (State.FAILED, PAID_QUERY, "query says paid after a callback's failure"),
    (State.EXPIRED, unproven(), "callback reports success without proof"),
    (State.FAILED, events.Doubted(reason="callback cannot be read"), "callback cannot be read"),
]


@pytest.mark.parametrize(("state", "event", "review"), NEWS)
def test_review_after_a_report_is_reported(
    state: State, event: events.PaymentEvent, review: str
) -> None:
    """A doubt that comes after the host was told makes the payment due for a report again."""
    receipt = "NLJ7RT61SV" if state is State.SUCCEEDED else None
    before = make_transaction(
        state=state, settled_by="callback", receipt_number=receipt, reported=True, due_at=None
    )
    after = apply(before, event, LATER)
    assert (after.state, after.needs_review) == (state, review)
    assert (after.reported, after.due_at) == (False, LATER)
    assert apply(after, event, LATER) is after


def test_second_doubt_is_reported_too() -> None:
    """Each reason for a review is named, and each is news."""
    before = make_transaction(state=State.EXPIRED, reported=True, due_at=None)
    first = apply(before, unproven(), LATER)
    told = apply(first, events.Reported(news=news_of(first)), LATER)
    second = apply(told, seen(amount=99), LATER)
    assert second.needs_review == (
        "callback reports success without proof; callback has another amount"
    )
    assert (second.reported, second.due_at) == (False, LATER)


def test_receipt_after_a_report_is_reported() -> None:
    """A success that a query told is reported again once its receipt comes."""
    paid = apply(make_transaction(state=State.PENDING), PAID_QUERY, LATER)
    told = apply(paid, events.Reported(news=news_of(paid)), LATER)
    assert told.due_at is None
    after = apply(told, seen(), LATER)
    assert (after.receipt_number, after.reported, after.due_at) == ("NLJ7RT61SV", False, LATER)


def test_news_waits_until_the_report_that_is_under_way_is_over() -> None:
    """A worker that holds a failure for its report makes that report before the success is due."""
    leased = LATER + timedelta(seconds=60)
    held = make_transaction(state=State.FAILED, settled_by="callback", due_at=leased)
    paid = apply(held, seen(), LATER)
    assert (paid.state, paid.due_at) == (State.SUCCEEDED, leased)
    over = apply(paid, events.Reported(news=news_of(held)), LATER)
    assert (over.reported, over.due_at) == (False, LATER)


def test_news_does_not_wait_as_long_as_a_report_that_failed() -> None:
    """The pause after a failed report may be an hour: a success does not wait for it."""
    paused = make_transaction(
        state=State.FAILED, settled_by="callback", due_at=LATER + timedelta(hours=1)
    )
    assert apply(paused, seen(), LATER).due_at == LATER + REPORT_LEASE


def test_failure_told_after_expiry_is_written_down() -> None:
    """An EXPIRED payment stays EXPIRED, and its code is remembered (invariant I4)."""
    expired = make_transaction(state=State.EXPIRED, due_at=None, reported=True)
    after = apply(expired, seen(1032), LATER)
    assert (after.state, after.result_code, after.reported) == (State.EXPIRED, "1032", True)
    assert after.history[-1].code == "1032"
    assert apply(after, seen(1032), LATER) is after


def test_uncertain_payment_that_expires_needs_review() -> None:
    """Nobody could ever ask about it: it has no id."""
    after = apply(make_transaction(state=State.UNCERTAIN), TIME_UP, OVER)
    assert after.state is State.EXPIRED
    assert after.needs_review == "the push's outcome was never learnt"


@pytest.mark.parametrize(
    ("answered", "review"), [(True, None), (False, "Daraja never said how it ended")]
)
def test_payment_that_expires_without_an_answer_needs_review(
    *, answered: bool, review: str | None
) -> None:
    """That it is still being processed is no answer, and neither is a refusal of the query."""
    before = make_transaction(state=State.PENDING)
    after = apply(before, events.Expired(answered=answered), OVER)
    assert (after.state, after.needs_review) == (State.EXPIRED, review)
    assert apply(after, PAID_QUERY, OVER).needs_review is None


def test_payment_that_was_started_anew_does_not_expire_by_what_came_before() -> None:
    """A worker that was about to give it up comes too late."""
    before = make_transaction(state=State.UNCERTAIN)
    almost = before.expires_at - timedelta(seconds=1)
    assert apply(before, TIME_UP, almost) is before


def test_late_acceptance_of_an_expired_payment_is_followed() -> None:
    """Its prompt is live, so that Daraja is asked about it, and it lives as long as the prompt may."""
    expired = apply(make_transaction(state=State.UNCERTAIN), TIME_UP, OVER)
    told = apply(expired, events.Reported(news=news_of(expired)), OVER)
    soon = OVER + timedelta(seconds=20)
    lives = OVER + timedelta(minutes=5)
    late = attrs.evolve(taken(), next_due=soon, lives_until=lives)
    after = apply(told, late, OVER)
    assert (after.state, after.due_at, after.expires_at) == (State.PENDING, soon, lives)
    assert (after.reported, after.settled_by, after.needs_review) == (False, None, None)
    assert after.checkout_request_id == CHECKOUT_ID


def test_id_that_the_caller_proves_is_taken_if_there_is_none() -> None:
    """A payment that lost its id is asked about by it; one that has another keeps that."""
    learnt = events.IdLearnt(checkout_request_id=CHECKOUT_ID)
    for state in (State.CREATED, State.UNCERTAIN, State.EXPIRED):
        after = apply(make_transaction(state=state), learnt, LATER)
        assert (after.state, after.checkout_request_id) == (State.PENDING, CHECKOUT_ID)
        assert after.due_at == LATER
        other = make_transaction(state=state, checkout_request_id="ws_CO_1")
        assert apply(other, learnt, LATER).checkout_request_id == "ws_CO_1"
    failed = make_transaction(state=State.FAILED)
    assert apply(failed, learnt, LATER) is failed
    assert "718643064" not in repr(learnt)


def test_question_of_a_page_is_written_down_with_the_next_look() -> None:
    """Eight in a row stay, so that a page that asks all the time does not push out the beginning."""
    payment = apply(make_transaction(state=State.PENDING), taken(), START)
    for number in range(20):
        moment = START + timedelta(seconds=10 * number)
        payment = apply(payment, events.QueryBegun(next_due=moment), moment)
    assert payment.due_at == START + timedelta(seconds=190)
    assert [entry.event for entry in payment.history] == ["push accepted"] + [
        "asked for a page"
    ] * 8
    assert payment.history[-1].at == payment.due_at


def test_late_answer_of_a_slow_worker_still_counts() -> None:
    """A payment thought orphaned becomes PENDING or REJECTED when its worker was only slow."""
    orphan = apply(make_transaction(), events.WorkerDied(next_due=LATER), START)
    assert (orphan.state, orphan.due_at) == (State.UNCERTAIN, LATER)
    assert apply(orphan, taken(), LATER).state is State.PENDING
    assert apply(orphan, REFUSED, LATER).result_code == "400.002.02"


def test_refusal_of_an_earlier_try_is_not_of_this_one() -> None:
    """Not even if the clock stood still, so that both tries began at the same moment."""
    refused = apply(make_transaction(), REFUSED, START)
    again = events.KeyReused(expires_at=refused.expires_at, due_at=LATER)
    anew = apply(refused, again, START)
    assert (refused.state, anew.state) == (State.REJECTED, State.CREATED)
    assert apply(anew, REFUSED, LATER) is anew


def test_push_answer_after_an_early_callback_adds_darajas_words_only() -> None:
    """The callback settled it; the answer that comes later is only filled in."""
    paid = apply(make_transaction(), seen(), START)
    after = apply(paid, taken("ws_CO_ignored"), LATER)
    assert (after.state, after.due_at) == (State.SUCCEEDED, START)
    assert after.checkout_request_id == CHECKOUT_ID
    assert after.customer_message == accepted()["CustomerMessage"]


def test_same_key_starts_only_a_rejected_payment_again() -> None:
    """Every other state ignores it."""
    again = events.KeyReused(expires_at=LATER, due_at=LATER)
    for state in set(State) - {State.REJECTED}:
        before = make_transaction(state=state)
        assert apply(before, again, START) is before
    after = apply(make_transaction(state=State.REJECTED, result_code="x"), again, START)
    assert (after.state, after.result_code, after.expires_at) == (State.CREATED, None, LATER)


def told(state: State, **changes: Any) -> events.Reported:
    """The host was told."""
    return events.Reported(news=events.News(state=state, **changes))


def test_report_is_noted_for_settled_payments_only() -> None:
    """An open payment has nothing to report."""
    before = make_transaction(state=State.PENDING)
    assert apply(before, told(State.FAILED), LATER) is before
    after = apply(make_transaction(state=State.FAILED), told(State.FAILED), LATER)
    assert (after.reported, after.due_at) == (True, None)


@pytest.mark.parametrize(
    "facts", [{}, {"receipt_number": "OTHER12345"}, {"needs_review": "callback has another payer"}]
)
def test_report_of_what_is_past_is_no_report(facts: dict[str, Any]) -> None:
    """A payment that changed while the host was told is due for its report at once."""
    paid = make_transaction(state=State.SUCCEEDED, receipt_number="NLJ7RT61SV")
    state = State.SUCCEEDED if facts else State.EXPIRED
    after = apply(paid, told(state, **facts), LATER)
    assert (after.reported, after.due_at) == (False, LATER)
    assert after.history[-1].code == state.value
    hour = LATER + timedelta(hours=1)
    news = events.News(state=state, **facts)
    assert apply(after, events.ReportFailed(news=news, next_due=hour), LATER).due_at == LATER


def test_failed_report_comes_again_unless_another_worker_made_it() -> None:
    """It is put off; if the host knows already, it is over."""
    later = LATER + timedelta(hours=1)
    failed = events.ReportFailed(news=events.News(state=State.FAILED), next_due=later)
    after = apply(make_transaction(state=State.FAILED), failed, LATER)
    assert (after.reported, after.due_at) == (False, later)
    over = apply(after, told(State.FAILED), LATER)
    assert apply(over, failed, LATER) is over


def test_table_names_every_signal_and_leaves_success_alone() -> None:
    """No row leads out of SUCCEEDED, and no signal is missing."""
    assert set(TRANSITIONS) == set(events.Meaning)
    assert all(State.SUCCEEDED not in row for row in TRANSITIONS.values())


@pytest.mark.parametrize("state", list(State))
def test_status_code_is_zero_for_success_alone(state: State) -> None:
    """The two status codes of the payment endpoints."""
    expected = "0" if state is State.SUCCEEDED else "1"
    payment = make_transaction(state=state)
    assert payment.status_code == expected
    assert (payment.paid, payment.settled) == (state is State.SUCCEEDED, state not in OPEN)


def test_repr_of_a_transaction_hides_the_payer() -> None:
    """Neither the phone number nor the id that ends in it is in the repr."""
    shown = repr(make_transaction(checkout_request_id=CHECKOUT_ID))
    assert "718643064" not in shown
    assert "+254718***064" in shown


def in_record(
    receipt: str = "NLJ7RT61SV", amount: int | str = 100, source: str = "statement"
) -> events.RecordSeen:
    """A row of Safaricom's records fits this payment alone."""
    return events.RecordSeen(
        source=source, receipt_number=receipt, amount=Decimal(amount), paid_at=LATER
    )


@pytest.mark.parametrize("state", list(State))
def test_a_row_of_a_record_beats_every_state_but_darajas_own_no(state: State) -> None:
    """It settles with its receipt and time, and is reported. A refused push is for a person."""
    before = make_transaction(state=state, reported=state.settled, settled_by="time")
    after = apply(before, in_record("NLJ7RT61SV", "100.00"), LATER)
    if state is State.REJECTED:
        assert (after.state, after.needs_review) == (state, PAID_AFTER_FAILURE)
        assert after.history[-1].event == "record: contradicts"
        return
    assert (after.state, after.receipt_number, after.paid_at) == (
        State.SUCCEEDED,
        "NLJ7RT61SV",
        LATER,
    )
    event = "record: receipt" if state is State.SUCCEEDED else "record: paid"
    assert (after.settled_by, after.reported, after.due_at) == ("record", False, LATER)
    assert (after.history[-1].event, after.history[-1].code) == (event, "statement NLJ7RT61SV")
    assert apply(after, in_record(), LATER) is after
    assert apply(after, in_record(source="pull"), LATER) is after


def test_a_row_after_a_callbacks_failure_is_for_a_person() -> None:
    """Two words of Safaricom disagree, so neither settles. What only a query denied is settled."""
    failed = apply(make_transaction(state=State.PENDING), seen(1032), LATER)
    after = apply(failed, in_record(), LATER)
    assert (after.state, after.needs_review) == (State.FAILED, "record shows money after a failure")
    assert apply(after, in_record(), LATER) is after
    by_query = apply(make_transaction(state=State.PENDING), FAILED_QUERY, LATER)
    assert apply(by_query, in_record(), LATER).state is State.SUCCEEDED


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (in_record(amount="99.00"), "record has another amount"),
        (in_record("OTHER12345"), "record has another receipt"),
    ],
)
def test_a_row_that_contradicts_a_paid_payment_is_for_a_person(
    event: events.RecordSeen, reason: str
) -> None:
    """The payment keeps what it has, and the same row has no second effect."""
    paid = apply(make_transaction(state=State.PENDING), seen(), LATER)
    after = apply(paid, event, LATER)
    assert (after.state, after.receipt_number) == (State.SUCCEEDED, "NLJ7RT61SV")
    assert after.needs_review == reason
    assert apply(after, event, LATER) is after


def test_a_callback_after_a_record_is_a_repetition_or_a_contradiction() -> None:
    """The same receipt is no news, and another one is for a person."""
    paid = apply(make_transaction(state=State.EXPIRED), in_record(), LATER)
    told = apply(paid, events.Reported(news=news_of(paid)), LATER)
    same = apply(told, seen(), LATER)
    assert (same.reported, same.due_at, same.paid_at) == (True, None, LATER)
    assert news_of(same) == news_of(told)
    other = apply(told, seen(receipt="OTHER12345"), LATER)
    assert (other.needs_review, other.reported) == ("callback has another receipt", False)


def test_rows_in_doubt_are_a_review_once() -> None:
    """A person who closed it is not asked again because of the same rows. A success ends the doubt."""
    doubt = events.RecordDoubted(
        source="pull", reason=FITS_SEVERAL, receipts=("A1B2C", "B1B2C", "C1B2C", "D1B2C", "E1B2C")
    )
    before = make_transaction(state=State.EXPIRED, reported=True, due_at=None)
    after = apply(before, doubt, LATER)
    assert (after.needs_review, after.reported, after.due_at) == (FITS_SEVERAL, False, LATER)
    assert after.history[-1].code == "pull A1B2C B1B2C C1B2C D1B2C"
    closed = apply(after, events.Resolved(by="Amina", note="seen", seen=after.needs_review), LATER)
    assert apply(closed, doubt, LATER) is closed
    more = attrs.evolve(doubt, receipts=("F1B2C",))
    assert apply(closed, more, LATER).needs_review == FITS_SEVERAL
    assert apply(after, seen(), LATER).needs_review is None


def test_claims_of_customers_are_noted_a_few_times() -> None:
    """Each code once, and at most five."""
    payment = make_transaction(state=State.EXPIRED)
    for number in (1, 1, 2, 3, 4, 5, 6, 7):
        claim = events.ReceiptClaimed(receipt_number=f"CLAIM{number}")
        payment = apply(payment, claim, LATER)
    assert [entry.code for entry in payment.history] == [f"CLAIM{n}" for n in range(1, 6)]
    assert (payment.state, payment.needs_review) == (State.EXPIRED, None)


MOMENTS = st.integers(0, 7200).map(lambda seconds: START + timedelta(seconds=seconds))
TOLD = st.builds(
    events.News,
    state=st.sampled_from([state for state in State if state.settled]),
    receipt_number=st.sampled_from([None, "NLJ7RT61SV", "OTHER12345"]),
    needs_review=st.sampled_from([None, "callback has another amount"]),
)
DECISIONS = st.builds(
    lambda outcome, receipt, seen: events.Resolved(
        by="Amina", note="statement", outcome=outcome, receipt_number=receipt, seen=seen
    ),
    st.sampled_from([None, State.SUCCEEDED, State.FAILED]),
    st.sampled_from([None, "NLJ7RT61SV", "OTHER12345"]),
    st.sampled_from([None, "callback has another amount"]),
)
RECORDS = st.builds(
    lambda source, receipt, amount: events.RecordSeen(
        source=source, receipt_number=receipt, amount=Decimal(amount), paid_at=LATER
    ),
    st.sampled_from(["statement", "pull"]),
    st.sampled_from(["NLJ7RT61SV", "OTHER12345"]),
    st.sampled_from([100, 100, 100, 99]),
)
ROWS_IN_DOUBT = st.builds(
    lambda reason, receipts: events.RecordDoubted(
        source="statement", reason=reason, receipts=tuple(receipts)
    ),
    st.sampled_from([FITS_SEVERAL, FITS_WITHOUT_QUERY, PAID_AFTER_FAILURE]),
    st.lists(st.sampled_from(["NLJ7RT61SV", "OTHER12345", "THIRD12345"]), max_size=6),
)
CLAIMS = st.builds(
    lambda number: events.ReceiptClaimed(receipt_number=f"CLAIM{number}"), st.integers(10, 30)
)
EVENTS = st.one_of(
    DECISIONS,
    RECORDS,
    ROWS_IN_DOUBT,
    CLAIMS,
    st.sampled_from(
        [
            taken(),
            taken("ws_CO_other"),
            REFUSED,
            events.PushOutcomeLost(reason="time-out", next_due=LATER),
            events.WorkerDied(next_due=LATER),
            events.KeyReused(expires_at=LATER, due_at=LATER),
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
            TIME_UP,
            events.Expired(answered=False),
            events.IdLearnt(checkout_request_id=CHECKOUT_ID),
            events.IdLearnt(checkout_request_id="ws_CO_other"),
            seen(MerchantRequestID="1-2-3"),
            paid_by(254700000001),
            paid_on(20261123085459),
        ]
    ),
    st.builds(lambda due: asked(QueryStatus.PENDING, "4999", next_due=due), MOMENTS),
    st.builds(lambda due: events.Deferred(reason="RateLimited", next_due=due), MOMENTS),
    st.builds(lambda due: events.QueryBegun(next_due=due), MOMENTS),
    st.builds(lambda news: events.Reported(news=news), TOLD),
    st.builds(lambda news, due: events.ReportFailed(news=news, next_due=due), TOLD, MOMENTS),
)


REPEATED = (
    events.ReportFailed,
    events.Deferred,
    events.QuerySeen,
    events.QueryBegun,
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
        try:
            self.payment = apply(before, event, self.now)
        except InvalidRequest:
            assert isinstance(event, events.Resolved)
            return
        signal = meaning_of(before, event, self.now)
        expected = TRANSITIONS[signal].get(before.state, before.state)
        assert self.payment.state is expected
        assert apply(self.payment, event, self.now) is self.payment or isinstance(event, REPEATED)
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
        code = str(4999 + number % 2)
        payment = apply(payment, asked(QueryStatus.PENDING, code, next_due=due), moment)
    assert len(payment.history) == MAX_HISTORY
    assert payment.history[0].event == "push accepted"
    assert payment.history[-1].at == START + timedelta(seconds=3 * MAX_HISTORY - 1)


def test_merchant_id_of_the_callback_is_taken_where_none_is_known() -> None:
    """An UNCERTAIN payment learns its ids from its signed callback."""
    after = apply(make_transaction(state=State.UNCERTAIN), seen(1032), LATER)
    assert (after.merchant_request_id, after.checkout_request_id) == (MERCHANT_ID, CHECKOUT_ID)
    assert contradiction(after, parse_callback(callback(1032)), LATER) is None
