"""Define how events change a payment: the one table of rules. Pure.

`apply` takes a transaction, an event and the time, and returns a transaction. The rules:

- Success is absorbing: no event leads out of SUCCEEDED.
- A proven success beats FAILED, EXPIRED, REJECTED and UNCERTAIN.
- A failure settles only an open payment. A query settles only on the closed list of final codes.
- A query never overrides a callback.
- A callback that contradicts us (amount, id, receipt, payer or date) does not settle: `needs_review`.
- A person may call a payment paid. He may call it unpaid if it is not paid and no prompt can be open.
- A row of Safaricom's records that fits exactly one payment proves its success. A doubtful one does not.
- If a fact changes after it was reported, the payment is due for a report again.
- An event that comes twice has no second effect.
- An attempt takes the places of its order. A second success takes none, and needs a review.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType

import attrs

from mpesa_stk.daraja.models import (
    PaymentConfirmed,
    PaymentUnproven,
    QueryStatus,
)
from mpesa_stk.payments.decisions import meaning_for_the_desk
from mpesa_stk.payments.effects import (
    BEING_REPORTED,
    NEWS,
    due_for_report,
    effects_of,
    order_facts,
    report_until,
)
from mpesa_stk.payments.events import (
    CallbackSeen,
    Expired,
    Forgotten,
    IdLearnt,
    Meaning,
    PaymentEvent,
    PushRefused,
    QueryBegun,
    QuerySeen,
    ReceiptClaimed,
    RecordDoubted,
    RecordSeen,
    Resolved,
)
from mpesa_stk.payments.evidence import contradiction, meaning_of_record
from mpesa_stk.payments.state import HistoryEntry, Transaction, TransactionState

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
        Meaning.RELEASED: {},
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
        Meaning.REVIEWED: {},
        Meaning.PERSON_PAID: _TO_PAID,
        # `meaning_for_the_desk` refuses it for an open payment that has not expired.
        Meaning.PERSON_NOT_PAID: _TO_FAILED | {_S.EXPIRED: _S.FAILED},
        Meaning.RECORD_PAID: _TO_PAID,
        Meaning.RECORD_RECEIPT: {},
        Meaning.RECORD_CONTRADICTS: {},
        Meaning.RECORD_DOUBTFUL: {},
        Meaning.CLAIMED: {},
        Meaning.FORGOTTEN: {},
    }
)
"""Meaning -> state -> next state. If a state is missing, the payment keeps its state."""

_ASKED = {Meaning.ASKING.value, Meaning.NOTHING_NEW.value}


def meaning_of(transaction: Transaction, event: PaymentEvent, now: datetime, /) -> Meaning:
    """Return the meaning of an event for this transaction.

    Raises:
        InvalidRequest: A person's decision breaks a rule.
    """
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
    if isinstance(event, (RecordSeen, RecordDoubted, ReceiptClaimed)):
        return meaning_of_record(transaction, event)
    if isinstance(event, (Resolved, Forgotten)):
        return meaning_for_the_desk(transaction, event, now)
    past = _is_of_an_earlier_try(transaction, event, now)
    past = past or _is_of_another_prompt(transaction, event)
    return Meaning.NOTHING_NEW if past else event.meaning


def _is_of_an_earlier_try(transaction: Transaction, event: PaymentEvent, now: datetime) -> bool:
    """Return whether the event is about an earlier attempt at the payment."""
    if isinstance(event, PushRefused):
        return event.expires_at != transaction.expires_at
    return isinstance(event, Expired) and now < transaction.expires_at


def _is_of_another_prompt(transaction: Transaction, event: PaymentEvent) -> bool:
    """Return whether a caller names a prompt, and the payment has another one."""
    known = transaction.checkout_request_id
    return isinstance(event, IdLearnt) and known not in (None, event.checkout_request_id)


def apply(
    transaction: Transaction, event: PaymentEvent, now: datetime, /, *, paid_before: bool = False
) -> Transaction:
    """Apply an event to a transaction.

    Args:
        transaction: The transaction before the event.
        event: The event.
        now: The time of the event, aware.
        paid_before: Whether another attempt has the place of the paid one in the transaction's order.

    Returns:
        The transaction after the event. It is the same object if the event has no effect.

    Raises:
        InvalidRequest: A person's decision breaks a rule.
    """
    meaning = meaning_of(transaction, event, now)
    state = TRANSITIONS[meaning].get(transaction.state, transaction.state)
    facts = effects_of(transaction, event, meaning, state, now)
    facts |= order_facts(transaction, facts, meaning, now, paid_before=paid_before)
    facts = {name: value for name, value in facts.items() if getattr(transaction, name) != value}
    if state.settled and NEWS & facts.keys():
        facts |= {"reported": False, "due_at": due_for_report(transaction, now)}
    code = event.history_code
    if transaction.state.settled and not state.settled and report_until(transaction, now) > now:
        code = BEING_REPORTED
    entry = HistoryEntry(at=now, event=meaning.value, code=code, state=state, **_authorship(event))
    if not facts and not _is_noted_always(transaction, event, entry):
        return transaction
    history = facts.pop("history", transaction.history)
    if event.repeats:
        history = _without_repetition(history, entry)
    return attrs.evolve(transaction, **facts, updated=now, history=_bounded((*history, entry)))


def last_asked(transaction: Transaction, /) -> datetime | None:
    """Return when Daraja was last asked about a payment, as its history shows.

    The last entry counts, not the latest time, because the clock may have been set back.
    """
    asked = (entry.at for entry in reversed(transaction.history) if entry.event in _ASKED)
    return next(asked, None)


# --- history ------------------------------------------------------------------------------------------


def _is_noted_always(before: Transaction, event: PaymentEvent, entry: HistoryEntry) -> bool:
    """Return whether an event without other effect gets an entry in the history.

    A callback does if no entry has its meaning and code yet (invariant I4), and so does a row of
    Safaricom's records or a customer's claim. A page's query does, since it keeps other pages from asking
    too. A person's decision does, unless it was the last thing that happened.
    """
    if isinstance(event, Resolved):
        return not before.history or attrs.evolve(before.history[-1], at=entry.at) != entry
    if isinstance(event, (RecordDoubted, RecordSeen, ReceiptClaimed)):
        return entry.event != Meaning.NOTHING_NEW.value
    said = {(past.event, past.code) for past in before.history}
    new = isinstance(event, CallbackSeen) and (entry.event, entry.code) not in said
    return new or isinstance(event, QueryBegun)


def _authorship(event: PaymentEvent) -> dict[str, str]:
    """Return who made a decision, and why, if the event is one."""
    return {"by": event.by, "note": event.note} if isinstance(event, Resolved) else {}


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
    """Return the first four and the last entries, at most `MAX_HISTORY` in all.

    Decisions of persons are dropped last, because Daraja cannot be asked about them again.
    """
    kept = list(history)
    while len(kept) > MAX_HISTORY:
        later = range(_FIRST_KEPT, len(kept))
        del kept[next((place for place in later if kept[place].by is None), _FIRST_KEPT)]
    return tuple(kept)
