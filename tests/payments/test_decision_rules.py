"""The rules of the table for decisions of persons, and for payments whose payer is forgotten."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from mpesa_stk import InvalidRequest, Transaction, TransactionState, parse_callback
from mpesa_stk.daraja.models import QueryResult, QueryStatus
from mpesa_stk.payments.decisions import decision
from mpesa_stk.payments.effects import news_of
from mpesa_stk.payments.events import CallbackSeen, Forgotten, QuerySeen, Reported, Resolved
from mpesa_stk.payments.state import FORGOTTEN_PHONE, HistoryEntry
from mpesa_stk.payments.transaction import MAX_HISTORY, apply
from support import CHECKOUT_ID, START, callback, make_transaction

State = TransactionState
OPEN = (State.CREATED, State.UNCERTAIN, State.PENDING)
LATER = START + timedelta(seconds=30)
OVER = START + timedelta(minutes=15)
RECEIPT = "NLJ7RT61SV"
DOUBT = "callback has another amount"
PAID_QUERY = QuerySeen(
    result=QueryResult(
        status=QueryStatus.PAID,
        checkout_request_id=CHECKOUT_ID,
        result_code="0",
        result_desc="words",
    )
)


def says(outcome: State | None = None, receipt: str | None = None, **changes: Any) -> Resolved:
    """A person decided."""
    facts: dict[str, Any] = {"by": "Amina", "note": "in the statement", "seen": None}
    return decision(outcome=outcome, receipt_number=receipt, **(facts | changes))


def reported(state: State, **changes: Any) -> Transaction:
    """A settled payment that was reported."""
    facts: dict[str, Any] = {"state": state, "reported": True, "due_at": None}
    return make_transaction(**(facts | changes))


def posted(code: int | str = 0, **changes: Any) -> CallbackSeen:
    """A callback came."""
    return CallbackSeen(result=parse_callback(callback(code, **changes)))


# --- called paid -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [state for state in State if state is not State.SUCCEEDED])
def test_a_person_may_call_any_payment_paid(state: State) -> None:
    """It is SUCCEEDED with the receipt of the statement, and due for its report."""
    facts = {"state": state, "reported": state.settled, "result_code": "1032"}
    before = make_transaction(**facts)
    after = apply(before, says(State.SUCCEEDED, RECEIPT), LATER)
    assert (after.state, after.receipt_number) == (State.SUCCEEDED, RECEIPT)
    assert (after.settled_by, after.reported, after.due_at) == ("person", False, LATER)
    assert (after.result_code, after.status_code) == ("0", "0")
    last = after.history[-1]
    assert (last.event, last.by, last.note) == ("person: paid", "Amina", "in the statement")
    assert last.state is State.SUCCEEDED


def test_a_receipt_is_added_to_a_payment_that_is_paid() -> None:
    """The query knows no receipts. The payment is reported again with it, and who settled it stays."""
    before = reported(State.SUCCEEDED, settled_by="query")
    for outcome in (None, State.SUCCEEDED):
        after = apply(before, says(outcome, RECEIPT), LATER)
        assert (after.receipt_number, after.settled_by) == (RECEIPT, "query")
        assert (after.reported, after.due_at) == (False, LATER)


def test_another_receipt_does_not_replace_the_first() -> None:
    """The same one again changes no fact."""
    before = reported(State.SUCCEEDED, receipt_number=RECEIPT)
    with pytest.raises(InvalidRequest) as caught:
        apply(before, says(State.SUCCEEDED, "OTHER12345"), LATER)
    assert (caught.value.field, caught.value.rule) == (
        "receipt_number",
        "the payment has another receipt",
    )
    assert apply(before, says(State.SUCCEEDED, RECEIPT), LATER).reported


@pytest.mark.parametrize("outcome", [None, State.FAILED])
def test_only_a_paid_payment_has_a_receipt(outcome: State | None) -> None:
    """A receipt beside "not paid" is a mistake of the person."""
    with pytest.raises(InvalidRequest) as caught:
        apply(reported(State.EXPIRED), says(outcome, RECEIPT), LATER)
    assert caught.value.field == "receipt_number"


# --- called unpaid ---------------------------------------------------------------------------------------


def test_a_paid_payment_is_never_called_unpaid() -> None:
    """The error names the rule."""
    with pytest.raises(InvalidRequest, match="a paid payment is never called unpaid") as caught:
        apply(reported(State.SUCCEEDED), says(State.FAILED), LATER)
    assert caught.value.field == "outcome"


@pytest.mark.parametrize("state", OPEN)
def test_a_payment_whose_prompt_may_be_open_is_not_called_unpaid(state: State) -> None:
    """The customer could still pay. Once the payment has expired, it may be called unpaid."""
    before = make_transaction(state=state)
    with pytest.raises(InvalidRequest, match="the customer may still pay") as caught:
        apply(before, says(State.FAILED), OVER - timedelta(microseconds=1))
    assert caught.value.field == "outcome"
    after = apply(before, says(State.FAILED), OVER)
    assert (after.state, after.settled_by, after.due_at) == (State.FAILED, "person", OVER)


def test_an_expired_payment_may_be_called_unpaid() -> None:
    """It is FAILED, without a code of Daraja, and reported again."""
    before = reported(State.EXPIRED, needs_review=DOUBT, settled_by="time")
    after = apply(before, says(State.FAILED, seen=DOUBT), LATER)
    assert (after.state, after.settled_by, after.result_code) == (State.FAILED, "person", None)
    assert (after.needs_review, after.reported, after.due_at) == (None, False, LATER)


@pytest.mark.parametrize("state", [State.FAILED, State.REJECTED])
def test_what_is_unpaid_may_be_called_so(state: State) -> None:
    """That closes the review. The state, and who settled it, stay."""
    before = reported(state, needs_review=DOUBT, settled_by="callback", result_code="1032")
    after = apply(before, says(State.FAILED, seen=DOUBT), LATER)
    assert (after.state, after.settled_by, after.result_code) == (state, "callback", "1032")
    assert (after.needs_review, after.reported) == (None, False)


# --- reviews ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", list(State))
def test_a_review_is_closed(state: State) -> None:
    """The state stays. A settled payment is reported again, since the review was news."""
    before = make_transaction(state=state, needs_review=DOUBT, reported=state.settled)
    after = apply(before, says(seen=DOUBT), LATER)
    assert (after.state, after.needs_review, after.reported) == (state, None, False)
    assert after.due_at == (LATER if state.settled else before.due_at)
    assert after.history[-1].event == "person: reviewed"


@pytest.mark.parametrize("outcome", [None, State.SUCCEEDED, State.FAILED])
def test_a_doubt_that_the_person_had_not_seen_stays(outcome: State | None) -> None:
    """Between reading and deciding, another reason for a review came."""
    before = reported(State.EXPIRED, needs_review=f"{DOUBT}; callback has another payer")
    after = apply(before, says(outcome, seen=DOUBT), LATER)
    assert after.needs_review == "callback has another payer"


def test_a_decision_without_news_is_noted_and_not_reported() -> None:
    """A remark is an entry in the history. The same one at once again is none."""
    before = reported(State.FAILED)
    once = apply(before, says(), LATER)
    assert (once.reported, once.due_at, len(once.history)) == (True, None, 1)
    assert apply(once, says(), OVER) is once
    assert len(apply(once, says(note="he called again"), OVER).history) == len("ab")


def test_decisions_outlive_all_other_entries() -> None:
    """A long history drops what Daraja said before what a person decided."""
    payment = make_transaction(state=State.PENDING)
    for _ in range(5):
        payment = apply(payment, posted(amount=99), LATER)
    payment = apply(payment, says(note="first"), LATER)
    for number in range(2 * MAX_HISTORY):
        payment = apply(payment, posted(f"5{number:03}"), LATER)
    notes = [entry.note for entry in payment.history if entry.by]
    assert (notes, len(payment.history)) == (["first"], MAX_HISTORY)


# --- evidence that comes later ---------------------------------------------------------------------------


def test_proof_beats_a_person_who_called_it_unpaid() -> None:
    """A callback's success wins, and so does Daraja's own word in a query."""
    unpaid = apply(reported(State.EXPIRED), says(State.FAILED), LATER)
    assert apply(unpaid, posted(), OVER).state is State.SUCCEEDED
    assert apply(unpaid, PAID_QUERY, OVER).state is State.SUCCEEDED


def test_a_failure_after_a_person_called_it_paid_asks_for_a_review() -> None:
    """The payment stays paid."""
    paid = apply(reported(State.EXPIRED), says(State.SUCCEEDED), LATER)
    after = apply(paid, posted(1032), OVER)
    assert after.state is State.SUCCEEDED
    assert after.needs_review == "callback says not paid after a success"


def test_proof_after_a_person_called_it_paid_brings_the_receipt() -> None:
    """If it names another receipt than the person, a person must look again."""
    paid = apply(reported(State.EXPIRED), says(State.SUCCEEDED), LATER)
    after = apply(paid, posted(), OVER)
    assert (after.receipt_number, after.settled_by) == (RECEIPT, "callback")
    paid = apply(reported(State.EXPIRED), says(State.SUCCEEDED, "OTHER12345"), LATER)
    after = apply(paid, posted(), OVER)
    assert (after.receipt_number, after.needs_review) == (
        "OTHER12345",
        "callback has another receipt",
    )


# --- what a person types ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("note", ""),
        ("note", "  "),
        ("note", "two\nlines"),
        ("note", "n" * 501),
        ("note", None),
        ("by", ""),
        ("by", "A" * 65),
        ("by", "A\0"),
        ("receipt_number", "NLJ7"),
        ("receipt_number", "NLJ7 RT61SV"),
        ("receipt_number", "N" * 33),
        ("receipt_number", 7),
        ("outcome", State.EXPIRED),
        ("outcome", "PAID"),
    ],
)
def test_what_is_typed_is_checked(field: str, value: object) -> None:
    """The error names the field, and does not repeat the value."""
    typed: dict[str, Any] = {"note": "n", "by": "A", "outcome": None, "receipt_number": None}
    with pytest.raises(InvalidRequest) as caught:
        decision(**(typed | {field: value}), seen=None)
    assert caught.value.field == field


def test_a_typed_receipt_is_read_as_m_pesa_writes_it() -> None:
    """Or a small letter would make the same receipt another one."""
    assert says(State.SUCCEEDED, " nlj7rt61sv\n").receipt_number == RECEIPT


# --- forgetting ------------------------------------------------------------------------------------------


def test_the_payer_is_forgotten_and_the_books_stay() -> None:
    """Phone, ids, description and notes go. The payment is not reported again."""
    note = HistoryEntry(
        at=START, event="person: paid", state=State.SUCCEEDED, by="Amina", note="Otieno called"
    )
    before = reported(
        State.SUCCEEDED,
        receipt_number=RECEIPT,
        checkout_request_id=CHECKOUT_ID,
        merchant_request_id="29115-34620561-1",
        description="Otieno",
        history=(note,),
    )
    after = apply(before, Forgotten(), OVER)
    assert (after.phone_number, after.checkout_request_id) == (FORGOTTEN_PHONE, None)
    assert (after.merchant_request_id, after.description) == (None, "")
    assert [(entry.event, entry.by, entry.note) for entry in after.history] == [
        ("person: paid", "Amina", None),
        ("forgotten", None, None),
    ]
    kept = ("state", "receipt_number", "reference", "amount", "created", "reported", "due_at")
    assert [getattr(after, name) for name in kept] == [getattr(before, name) for name in kept]
    assert apply(after, Forgotten(), OVER) is after


@pytest.mark.parametrize(
    "before",
    [
        *(make_transaction(state=state) for state in OPEN),
        make_transaction(state=State.FAILED),
        reported(State.FAILED, needs_review=DOUBT),
    ],
)
def test_payments_with_work_left_are_not_forgotten(before: Transaction) -> None:
    """Open, unreported, under review: the phone number is still needed."""
    assert apply(before, Forgotten(), OVER) is before


def test_a_forgotten_payment_follows_the_rules_still() -> None:
    """A callback that comes years later names a payer whom we do not know: a person must look."""
    forgotten = apply(reported(State.EXPIRED), Forgotten(), OVER)
    after = apply(forgotten, posted(), OVER)
    assert (after.state, after.needs_review) == (State.EXPIRED, "callback has another payer")
    paid = apply(after, says(State.SUCCEEDED, RECEIPT, seen=after.needs_review), OVER)
    assert (paid.state, paid.needs_review, paid.checkout_request_id) == (
        State.SUCCEEDED,
        None,
        None,
    )


def test_reports_of_decisions_are_as_all_reports() -> None:
    """Once reported, the payment is done again."""
    after = apply(reported(State.EXPIRED), says(State.SUCCEEDED, RECEIPT), LATER)
    news = Reported(news=news_of(after))
    assert (apply(after, news, OVER).reported, apply(after, news, OVER).due_at) == (True, None)
