"""Say which fields of a payment each event sets. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

import attrs

from mpesa_stk.daraja.models import CallbackResult, PaymentConfirmed, QueryResult
from mpesa_stk.payments.events import (
    CallbackSeen,
    Doubted,
    Expired,
    IdLearnt,
    KeyReused,
    Meaning,
    News,
    PaymentEvent,
    PushRefused,
    PushTaken,
    QuerySeen,
    RecordDoubted,
    RecordSeen,
    Reported,
    ReportFailed,
    Resolved,
)
from mpesa_stk.payments.evidence import (
    PAID_AFTER_FAILURE,
    contradiction,
    contradiction_of_record,
)
from mpesa_stk.payments.orders import slot_after
from mpesa_stk.payments.schedule import KEEP_ASKING, REPORT_LEASE
from mpesa_stk.payments.state import FORGOTTEN_PHONE, Transaction, TransactionState

_UNPROVEN = "callback reports success without proof"
_NEVER_LEARNT = "the push's outcome was never learnt"
_NEVER_SAID = "Daraja never said how it ended"
_PAID_TWICE = "order paid twice"
FITS_SEVERAL = "record fits several payments or rows"
FITS_WITHOUT_QUERY = "record fits, and no query says paid"
_DOUBTS = frozenset(
    {
        _UNPROVEN,
        _NEVER_LEARNT,
        _NEVER_SAID,
        FITS_SEVERAL,
        FITS_WITHOUT_QUERY,
        PAID_AFTER_FAILURE,
    }
)
"""Reasons for a review that a success removes."""
_BY_HAND = "A person found that it was paid."
_BY_RECORD = "Safaricom's records show the payment."
_NO_RESULT: Mapping[str, None] = MappingProxyType({"result_code": None, "result_desc": None})
BEING_REPORTED = "while it is reported"
"""The code in the history of a payment that was opened again while its outcome was being reported."""
_SEPARATOR = "; "
NEWS = frozenset(attrs.fields_dict(News))
"""The fields that a report gives the host. If one changes, the payment is reported again."""
_S = TransactionState


def effects_of(
    before: Transaction,
    event: PaymentEvent,
    meaning: Meaning,
    state: TransactionState,
    now: datetime,
) -> dict[str, Any]:
    """Return the fields that an event sets, changed or not."""
    moved = state is not before.state
    facts: dict[str, Any] = {"state": state} | _schedule(event, state, now)
    if moved:
        facts |= _settlement(before, meaning, state)
    if isinstance(event, PushTaken):
        facts |= _from_push(before, event, state)
    elif isinstance(event, IdLearnt) and moved:
        facts |= {"checkout_request_id": event.checkout_request_id, "due_at": now}
    elif isinstance(event, CallbackSeen):
        facts |= _from_callback(before, event.result, meaning, moved=moved, now=now)
    elif isinstance(event, QuerySeen):
        facts |= _from_query(before, event.result, meaning, moved=moved)
    elif isinstance(event, Doubted):
        facts |= _doubt(before, event.reason, now)
    elif isinstance(event, (RecordSeen, RecordDoubted)):
        facts |= _from_record(before, event, meaning, moved=moved, now=now)
    elif isinstance(event, (Reported, ReportFailed)):
        facts |= _after_report(before, event, now)
    elif isinstance(event, Resolved):
        facts |= _decided(attrs.evolve(before, **facts), event, moved=moved)
    else:
        facts |= _from_the_flow(before, event, meaning, moved=moved)
    return facts


def order_facts(
    before: Transaction,
    facts: Mapping[str, Any],
    meaning: Meaning,
    now: datetime,
    *,
    paid_before: bool,
) -> dict[str, Any]:
    """Return the place of an attempt at an order, and the review of a second success.

    Args:
        before: The attempt before the event.
        facts: The fields that the event sets otherwise, with the state.
        meaning: The meaning of the event.
        now: The time of the event.
        paid_before: Whether another attempt has the place of the paid one.
    """
    if before.order is None:
        return {}
    state = facts["state"]
    slot = slot_after(before, meaning, state, now, paid_before=paid_before)
    if not paid_before or state is not _S.SUCCEEDED or before.state is _S.SUCCEEDED:
        return {"order_slot": slot}
    reasons = facts.get("needs_review", before.needs_review)
    return {"order_slot": slot, "needs_review": _with_review(reasons, _PAID_TWICE)}


def _from_the_flow(
    before: Transaction, event: PaymentEvent, meaning: Meaning, *, moved: bool
) -> dict[str, Any]:
    """Return the fields that a refusal, an expiry, a new attempt or the end of the payer's data sets."""
    if meaning is Meaning.FORGOTTEN:
        return _anonymous(before)
    if not moved:
        return {}
    if isinstance(event, PushRefused):
        return {"result_code": event.code, "result_desc": event.reason}
    if isinstance(event, Expired):
        return {"needs_review": _review_of_expiry(before, answered=event.answered)}
    return _fresh_start(before, event) if isinstance(event, KeyReused) else {}


def _schedule(event: PaymentEvent, state: TransactionState, now: datetime) -> dict[str, Any]:
    """Return the next `due_at` of an open payment, if the event names one."""
    next_due = getattr(event, "next_due", None)
    concerned = not state.settled and not isinstance(event, ReportFailed)
    return {"due_at": max(next_due, now)} if next_due is not None and concerned else {}


def due_for_report(before: Transaction, now: datetime) -> datetime:
    """Return when the news of a settled payment is due for its report.

    It is due at once, unless a report is under way. A worker holds a settled payment while it reports it.
    News waits until that report is over, so that the older report cannot come after the newer. The same
    holds for the outcome of a payment that was opened again during its report.
    """
    if before.state.settled:
        return report_until(before, now)
    reopened = (one.at for one in before.history if one.code == BEING_REPORTED)
    over = max((at + REPORT_LEASE for at in reopened), default=now)
    return min(max(over, now), now + REPORT_LEASE)


def report_until(settled: Transaction, now: datetime) -> datetime:
    """Return when a report that may be under way ends, or `now` if there is none."""
    if settled.reported or settled.due_at is None:
        return now
    return min(max(settled.due_at, now), now + REPORT_LEASE)


def _after_report(
    before: Transaction, event: Reported | ReportFailed, now: datetime
) -> dict[str, Any]:
    """Return the fields after a report.

    If a fact changed meanwhile, the next report is due at once. If the handler raised, it is due later.
    Otherwise the payment counts as reported.
    """
    if not before.state.settled or before.reported:
        return {}
    if event.news != news_of(before):
        return {"due_at": now}
    if isinstance(event, ReportFailed):
        return {"due_at": max(event.next_due, now)}
    return {"reported": True, "due_at": None}


def _settlement(before: Transaction, meaning: Meaning, state: TransactionState) -> dict[str, Any]:
    """Return the fields of a new state: who settled it, and the remaining reviews.

    If the new state is open, `settled_by` is None.
    """
    facts: dict[str, Any] = {"settled_by": _SETTLERS.get(meaning), "reported": False}
    if state in (_S.PENDING, _S.SUCCEEDED):
        moot = _DOUBTS if state is _S.SUCCEEDED else _DOUBTS - {_UNPROVEN}
        facts["needs_review"] = _without_reviews(before.needs_review, moot)
    return facts


_SETTLERS: Mapping[Meaning, str] = MappingProxyType(
    {
        Meaning.REFUSED: "push",
        Meaning.PAID: "callback",
        Meaning.NOT_PAID: "callback",
        Meaning.QUERY_PAID: "query",
        Meaning.QUERY_NOT_PAID: "query",
        Meaning.TIME_UP: "time",
        Meaning.PERSON_PAID: "person",
        Meaning.PERSON_NOT_PAID: "person",
    }
)


def _from_push(before: Transaction, event: PushTaken, state: TransactionState) -> dict[str, Any]:
    """Return the fields of Daraja's answer to the push.

    If a callback brought the CheckoutRequestID first, that one stays.
    """
    answer = event.answer
    facts: dict[str, Any] = {
        "merchant_request_id": answer.merchant_request_id,
        "checkout_request_id": before.checkout_request_id or answer.checkout_request_id,
        "response_description": answer.response_description,
        "customer_message": answer.customer_message,
    }
    if not state.settled:
        facts["expires_at"] = max(before.expires_at, event.lives_until)
    return facts


def _from_query(
    before: Transaction, result: QueryResult, meaning: Meaning, *, moved: bool
) -> dict[str, Any]:
    if meaning is Meaning.CONTRADICTED:
        return {
            "needs_review": _with_review(
                before.needs_review, "query says paid after a callback's failure"
            )
        }
    if not moved:
        return {}
    return {"result_code": result.result_code, "result_desc": result.result_desc}


def _from_callback(
    before: Transaction, result: CallbackResult, meaning: Meaning, *, moved: bool, now: datetime
) -> dict[str, Any]:
    if meaning is Meaning.CONTRADICTED:
        return _doubt(before, str(contradiction(before, result, now)), now)
    facts: dict[str, Any] = {
        "merchant_request_id": before.merchant_request_id or result.merchant_request_id,
        "checkout_request_id": before.checkout_request_id or result.checkout_request_id,
    }
    if meaning is Meaning.UNPROVEN:
        return facts if before.state is _S.SUCCEEDED else facts | _doubt(before, _UNPROVEN, now)
    if moved or before.result_code is None or isinstance(result, PaymentConfirmed):
        facts |= {"result_code": result.result.code, "result_desc": result.result_desc}
    if isinstance(result, PaymentConfirmed):
        facts |= {
            "receipt_number": result.receipt_number,
            "paid_at": before.paid_at
            or (result.paid_at and result.paid_at.astimezone(timezone.utc)),
            "settled_by": "callback",
        }
        if moved and now > before.expires_at + KEEP_ASKING:
            doubts = _without_reviews(before.needs_review, _DOUBTS)
            facts["needs_review"] = _with_review(doubts, "callback came more than a day late")
    return facts


def _from_record(
    before: Transaction,
    event: RecordSeen | RecordDoubted,
    meaning: Meaning,
    *,
    moved: bool,
    now: datetime,
) -> dict[str, Any]:
    """Return the fields of a row of Safaricom's records: the receipt and the time, or a doubt."""
    if meaning is Meaning.NOTHING_NEW:
        return {}
    if isinstance(event, RecordDoubted):
        return _doubt(before, event.reason, now)
    if meaning is Meaning.RECORD_CONTRADICTS:
        return _doubt(before, str(contradiction_of_record(before, event)), now)
    facts: dict[str, Any] = {
        "receipt_number": event.receipt_number,
        "paid_at": event.paid_at.astimezone(timezone.utc),
        "settled_by": "record",
    }
    return facts | ({"result_code": "0", "result_desc": _BY_RECORD} if moved else {})


def _doubt(before: Transaction, reason: str, now: datetime) -> dict[str, Any]:
    """Return the fields of a doubt: the review and, if it is open, a query at once."""
    reviewed = _with_review(before.needs_review, reason)
    if reviewed == before.needs_review:
        return {}
    return {"needs_review": reviewed} | ({} if before.state.settled else {"due_at": now})


def _decided(settled: Transaction, event: Resolved, *, moved: bool) -> dict[str, Any]:
    """Return the fields of a person's decision.

    The code of Daraja's result goes if the person decided otherwise. Reasons for a review that the person
    had not seen stay.
    """
    seen = frozenset((event.seen or "").split(_SEPARATOR))
    facts: dict[str, Any] = {
        "needs_review": _without_reviews(settled.needs_review, seen),
        "receipt_number": settled.receipt_number or event.receipt_number,
    }
    if moved:
        paid = settled.state is _S.SUCCEEDED
        facts |= {"result_code": "0", "result_desc": _BY_HAND} if paid else _NO_RESULT
    return facts


def _anonymous(before: Transaction) -> dict[str, Any]:
    """Return the fields of a payment whose payer is forgotten.

    The CheckoutRequestID ends in the payer's number. Descriptions and notes may name a person.
    """
    return {
        "phone_number": FORGOTTEN_PHONE,
        "checkout_request_id": None,
        "merchant_request_id": None,
        "description": "",
        "history": tuple(attrs.evolve(entry, note=None) for entry in before.history),
    }


def _review_of_expiry(before: Transaction, *, answered: bool) -> str | None:
    if before.state is _S.UNCERTAIN:
        return _with_review(before.needs_review, _NEVER_LEARNT)
    return before.needs_review if answered else _with_review(before.needs_review, _NEVER_SAID)


def _fresh_start(before: Transaction, event: KeyReused) -> dict[str, Any]:
    """Return the fields of a new attempt.

    Attempts are distinguished by `expires_at`, so the new one must differ.
    """
    same = event.expires_at == before.expires_at
    return {
        "result_code": None,
        "result_desc": None,
        "expires_at": event.expires_at + timedelta(microseconds=same),
        "due_at": event.due_at,
    }


# --- reports ------------------------------------------------------------------------------------------


def news_of(transaction: Transaction, /) -> News:
    """Return the facts that a report of this transaction gives the host."""
    return News(**{name: getattr(transaction, name) for name in NEWS})


# --- reviews ------------------------------------------------------------------------------------------


def _with_review(reasons: str | None, reason: str, /) -> str:
    """Return the reasons for a review with one more, without repeating a reason."""
    known = reasons.split(_SEPARATOR) if reasons else []
    return _SEPARATOR.join(known if reason in known else [*known, reason])


def _without_reviews(reasons: str | None, settled: frozenset[str], /) -> str | None:
    """Return the reasons for a review without those in `settled`, or None."""
    known = reasons.split(_SEPARATOR) if reasons else []
    return _SEPARATOR.join(reason for reason in known if reason not in settled) or None
