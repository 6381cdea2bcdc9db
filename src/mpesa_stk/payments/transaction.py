"""Define how events change a payment: the one table of rules. Pure.

`apply` takes a transaction, an event and the time, and returns a transaction. The rules:

- Success is absorbing: no event leads out of SUCCEEDED.
- A proven success beats FAILED, EXPIRED, REJECTED and UNCERTAIN.
- A failure settles only an open payment. A query settles only on the closed list of final codes.
- A query never overrides a callback.
- A callback that contradicts us (amount, id, receipt, payer or date) does not settle: `needs_review`.
- If a fact changes after it was reported, the payment is due for a report again.
- An event that comes twice has no second effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

import attrs

from mpesa_stk.daraja.models import (
    CallbackResult,
    PaymentConfirmed,
    PaymentUnproven,
    QueryResult,
    QueryStatus,
)
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
    QueryBegun,
    QuerySeen,
    Reported,
    ReportFailed,
)
from mpesa_stk.payments.evidence import contradiction, with_review, without_reviews
from mpesa_stk.payments.schedule import KEEP_ASKING, REPORT_LEASE
from mpesa_stk.payments.state import HistoryEntry, Transaction, TransactionState

_UNPROVEN = "callback reports success without proof"
_NEVER_LEARNT = "the push's outcome was never learnt"
_NEVER_SAID = "Daraja never said how it ended"
_DOUBTS = frozenset({_UNPROVEN, _NEVER_LEARNT, _NEVER_SAID})
"""Reasons for a review that a success removes."""
MAX_HISTORY = 40
_FIRST_KEPT = 4
_MOST_ALIKE = 8


# --- the table -------------------------------------------------------------------------------------

_S = TransactionState
_Row = dict[TransactionState, TransactionState]
_TO_PAID: _Row = dict.fromkeys(
    (_S.CREATED, _S.UNCERTAIN, _S.PENDING, _S.FAILED, _S.REJECTED, _S.EXPIRED), _S.SUCCEEDED
)
_TO_FAILED: _Row = dict.fromkeys((_S.CREATED, _S.UNCERTAIN, _S.PENDING), _S.FAILED)

TRANSITIONS: Mapping[Meaning, Mapping[TransactionState, TransactionState]] = MappingProxyType(
    {
        # A late acceptance means that a prompt is live, so an EXPIRED payment is followed again.
        Meaning.ACCEPTED: dict.fromkeys((_S.CREATED, _S.UNCERTAIN, _S.EXPIRED), _S.PENDING),
        Meaning.REFUSED: {_S.CREATED: _S.REJECTED, _S.UNCERTAIN: _S.REJECTED},
        Meaning.LOST: {_S.CREATED: _S.UNCERTAIN},
        Meaning.ORPHANED: {_S.CREATED: _S.UNCERTAIN},
        Meaning.AGAIN: {_S.REJECTED: _S.CREATED},
        Meaning.LINKED: dict.fromkeys((_S.CREATED, _S.UNCERTAIN, _S.EXPIRED), _S.PENDING),
        Meaning.PAID: _TO_PAID,
        Meaning.NOT_PAID: _TO_FAILED,
        Meaning.UNPROVEN: {},
        Meaning.CONTRADICTED: {},
        Meaning.ASKING: {},
        Meaning.QUERY_PAID: _TO_PAID,
        Meaning.QUERY_NOT_PAID: _TO_FAILED,
        Meaning.NOTHING_NEW: {},
        Meaning.TIME_UP: {_S.UNCERTAIN: _S.EXPIRED, _S.PENDING: _S.EXPIRED},
        Meaning.REPORTED: {},
        Meaning.REPORT_FAILED: {},
    }
)
"""Meaning -> state -> next state. If a state is missing, the payment keeps its state."""

_BEING_REPORTED = "while it is reported"
_ASKED = {Meaning.ASKING.value, Meaning.NOTHING_NEW.value}


def meaning_of(transaction: Transaction, event: PaymentEvent, now: datetime, /) -> Meaning:
    """Return the meaning of an event for this transaction."""
    if isinstance(event, CallbackSeen):
        if contradiction(transaction, event.result, now):
            return Meaning.CONTRADICTED
        if isinstance(event.result, PaymentConfirmed):
            return Meaning.PAID
        return Meaning.UNPROVEN if isinstance(event.result, PaymentUnproven) else Meaning.NOT_PAID
    if isinstance(event, QuerySeen):
        if event.result.status is QueryStatus.PAID:
            overrides = transaction.state is _S.FAILED and transaction.settled_by == "callback"
            return Meaning.CONTRADICTED if overrides else Meaning.QUERY_PAID
        failed = event.result.status is QueryStatus.FAILED
        return Meaning.QUERY_NOT_PAID if failed else Meaning.NOTHING_NEW
    if _is_of_an_earlier_try(transaction, event, now) or _is_of_another_prompt(transaction, event):
        return Meaning.NOTHING_NEW
    return event.meaning


def _is_of_an_earlier_try(transaction: Transaction, event: PaymentEvent, now: datetime) -> bool:
    """Return whether the event is about an earlier attempt at the payment."""
    if isinstance(event, PushRefused):
        return event.expires_at != transaction.expires_at
    return isinstance(event, Expired) and now < transaction.expires_at


def _is_of_another_prompt(transaction: Transaction, event: PaymentEvent) -> bool:
    """Return whether a caller names a prompt, and the payment has another one."""
    known = transaction.checkout_request_id
    return isinstance(event, IdLearnt) and known not in (None, event.checkout_request_id)


def apply(transaction: Transaction, event: PaymentEvent, now: datetime, /) -> Transaction:
    """Apply an event to a transaction.

    Args:
        transaction: The transaction before the event.
        event: The event.
        now: The time of the event, aware.

    Returns:
        The transaction after the event. It is the same object if the event has no effect.
    """
    meaning = meaning_of(transaction, event, now)
    state = TRANSITIONS[meaning].get(transaction.state, transaction.state)
    facts = _learnt(transaction, event, meaning, state, now)
    facts = {name: value for name, value in facts.items() if getattr(transaction, name) != value}
    if state.settled and _NEWS & facts.keys():
        facts |= {"reported": False, "due_at": _due_for_report(transaction, now)}
    code = event.history_code
    if transaction.state.settled and not state.settled and _report_until(transaction, now) > now:
        code = _BEING_REPORTED
    entry = HistoryEntry(at=now, event=meaning.value, code=code, state=state)
    if not facts and not _is_noted_always(transaction, event, entry):
        return transaction
    history = transaction.history
    if event.repeats:
        history = _without_repetition(history, entry)
    return attrs.evolve(transaction, **facts, updated=now, history=_bounded((*history, entry)))


def news_of(transaction: Transaction, /) -> News:
    """Return the facts that a report of this transaction gives the host."""
    return News(**{name: getattr(transaction, name) for name in _NEWS})


_NEWS = frozenset(attrs.fields_dict(News))


def last_asked(transaction: Transaction, /) -> datetime | None:
    """Return when Daraja was last asked about a payment, as its history shows.

    The last entry counts, not the latest time, because the clock may have been set back.
    """
    asked = (entry.at for entry in reversed(transaction.history) if entry.event in _ASKED)
    return next(asked, None)


# --- history ------------------------------------------------------------------------------------------


def _is_noted_always(before: Transaction, event: PaymentEvent, entry: HistoryEntry) -> bool:
    """Return whether an event without other effect gets an entry in the history.

    A callback does if no entry has its meaning and code yet (invariant I4). A page's query does, since it
    keeps other pages from asking too.
    """
    said = {(past.event, past.code) for past in before.history}
    new = isinstance(event, CallbackSeen) and (entry.event, entry.code) not in said
    return new or isinstance(event, QueryBegun)


def _without_repetition(
    history: tuple[HistoryEntry, ...], entry: HistoryEntry
) -> tuple[HistoryEntry, ...]:
    """Make room for a new entry if the last eight entries equal it.

    Then the history is returned without its newest entry, which the new one replaces. So many attempts
    with the same end do not push out the beginning of the history.
    """
    row = history[-_MOST_ALIKE:]
    alike = len(row) == _MOST_ALIKE and all(
        attrs.evolve(past, at=entry.at) == entry for past in row
    )
    return history[:-1] if alike else history


def _bounded(history: tuple[HistoryEntry, ...]) -> tuple[HistoryEntry, ...]:
    """Return the first four and the last entries, at most `MAX_HISTORY` in all."""
    if len(history) <= MAX_HISTORY:
        return history
    return history[:_FIRST_KEPT] + history[_FIRST_KEPT - MAX_HISTORY :]


# --- what an event teaches ------------------------------------------------------------------------------


def _learnt(
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
    elif isinstance(event, (Reported, ReportFailed)):
        facts |= _after_report(before, event, now)
    elif moved:
        facts |= _from_the_flow(before, event)
    return facts


def _from_the_flow(before: Transaction, event: PaymentEvent) -> dict[str, Any]:
    """Return the fields that a refusal, an expiry or a new attempt sets."""
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


def _due_for_report(before: Transaction, now: datetime) -> datetime:
    """Return when the news of a settled payment is due for its report.

    It is due at once, unless a report is under way. A worker holds a settled payment while it reports it.
    News waits until that report is over, so that the older report cannot come after the newer. The same
    holds for the outcome of a payment that was opened again during its report.
    """
    if before.state.settled:
        return _report_until(before, now)
    reopened = (one.at for one in before.history if one.code == _BEING_REPORTED)
    over = max((at + REPORT_LEASE for at in reopened), default=now)
    return min(max(over, now), now + REPORT_LEASE)


def _report_until(settled: Transaction, now: datetime) -> datetime:
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
        facts["needs_review"] = without_reviews(before.needs_review, moot)
    return facts


_SETTLERS: Mapping[Meaning, str] = MappingProxyType(
    {
        Meaning.REFUSED: "push",
        Meaning.PAID: "callback",
        Meaning.NOT_PAID: "callback",
        Meaning.QUERY_PAID: "query",
        Meaning.QUERY_NOT_PAID: "query",
        Meaning.TIME_UP: "time",
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
            "needs_review": with_review(
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
            doubts = without_reviews(before.needs_review, _DOUBTS)
            facts["needs_review"] = with_review(doubts, "callback came more than a day late")
    return facts


def _doubt(before: Transaction, reason: str, now: datetime) -> dict[str, Any]:
    """Return the fields of a doubt: the review and, if it is open, a query at once."""
    reviewed = with_review(before.needs_review, reason)
    if reviewed == before.needs_review:
        return {}
    return {"needs_review": reviewed} | ({} if before.state.settled else {"due_at": now})


def _review_of_expiry(before: Transaction, *, answered: bool) -> str | None:
    if before.state is _S.UNCERTAIN:
        return with_review(before.needs_review, _NEVER_LEARNT)
    return before.needs_review if answered else with_review(before.needs_review, _NEVER_SAID)


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
