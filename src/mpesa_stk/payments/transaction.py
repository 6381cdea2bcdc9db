"""A payment's life: the transaction, its states, and the one table of rules. Pure.

`apply` takes a transaction, an event and the time, and returns a transaction. The rules:

- success is absorbing, and a proven success beats FAILED, EXPIRED, REJECTED and UNCERTAIN;
- a failure settles only an open payment, a query only on the closed list of final codes;
- a query never overrides a callback;
- a callback that contradicts us (another amount, id or receipt) settles nothing: `needs_review`;
- the same event twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
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
    Deferred,
    Doubted,
    OutcomeLost,
    PaymentEvent,
    PushRefused,
    PushTaken,
    QuerySeen,
    Reported,
    ReportFailed,
    Signal,
    TimeUp,
    TryAgain,
    WorkerDied,
)
from mpesa_stk.payments.state import TransactionState
from mpesa_stk.phone import masked_phone_repr
from mpesa_stk.secrecy import masked_id_repr

__all__ = [
    "TRANSITIONS",
    "HistoryEntry",
    "Transaction",
    "TransactionState",
    "apply",
    "contradiction",
    "signal_of",
]

_DOUBT = "callback reports success without proof"
MAX_HISTORY = 40
_FIRST_KEPT = 4
_MOST_ALIKE = 8


@attrs.frozen(kw_only=True)
class HistoryEntry:
    """One dated line of a payment's history, without personal data.

    Attributes:
        at: When.
        event: What happened, a constant word.
        code: The result or error code, where there was one; of a lost push, in a constant word or
            two, what came instead of an answer.
        state: The state after it.
    """

    at: datetime
    event: str
    code: str | None = None
    state: TransactionState


@attrs.frozen(kw_only=True)
class Transaction:
    """Everything that is known about one payment. All times are aware and UTC.

    Attributes:
        transaction_no: UUID4, the payment's stable id.
        idempotency_key: The caller's name for this payment, or None.
        account: Who is paid, for example ``"paybill 174379"``.
        phone_number: Who pays, E.164.
        amount: Whole shillings (KES).
        reference: Shown in the prompt.
        description: The caller's words.
        state: `TransactionState`.
        created: When the intent was stored.
        updated: When it last changed.
        expires_at: When an open payment is given up as EXPIRED.
        due_at: When `process_due` must look at it again, or None.
        merchant_request_id: Daraja's id of the request.
        checkout_request_id: Daraja's id of the prompt.
        response_description: Daraja's answer to the push.
        customer_message: Daraja's words for the customer.
        result_code: The result's code, or the error code of a refused push.
        result_desc: Daraja's words on it.
        receipt_number: M-Pesa's receipt; None until a callback brought it.
        paid_at: When the customer paid, where the callback told.
        settled_by: ``push``, ``callback``, ``query`` or ``time``; None while open.
        needs_review: Why a person must look at it, or None.
        reported: Whether the host was told of the outcome.
        history: What happened, oldest first, bounded.
        version: Grows with every stored change.
    """

    transaction_no: str
    idempotency_key: str | None = None
    account: str
    phone_number: str = attrs.field(repr=masked_phone_repr)
    amount: int
    reference: str
    description: str = ""
    state: TransactionState = TransactionState.CREATED
    created: datetime
    updated: datetime
    expires_at: datetime
    due_at: datetime | None
    merchant_request_id: str | None = None
    checkout_request_id: str | None = attrs.field(default=None, repr=masked_id_repr)
    response_description: str | None = None
    customer_message: str | None = None
    result_code: str | None = None
    result_desc: str | None = None
    receipt_number: str | None = None
    paid_at: datetime | None = None
    settled_by: str | None = None
    needs_review: str | None = None
    reported: bool = False
    history: tuple[HistoryEntry, ...] = ()
    version: int = 0

    @property
    def status_code(self) -> str:
        """``"0"`` for paid, ``"1"`` for everything else."""
        return "0" if self.state is TransactionState.SUCCEEDED else "1"


# --- the table -------------------------------------------------------------------------------------

_S = TransactionState
_Row = dict[TransactionState, TransactionState]
_TO_PAID: _Row = dict.fromkeys(
    (_S.CREATED, _S.UNCERTAIN, _S.PENDING, _S.FAILED, _S.REJECTED, _S.EXPIRED), _S.SUCCEEDED
)
_TO_FAILED: _Row = dict.fromkeys((_S.CREATED, _S.UNCERTAIN, _S.PENDING), _S.FAILED)

TRANSITIONS: Mapping[Signal, Mapping[TransactionState, TransactionState]] = MappingProxyType(
    {
        Signal.ACCEPTED: {_S.CREATED: _S.PENDING, _S.UNCERTAIN: _S.PENDING},
        Signal.REFUSED: {_S.CREATED: _S.REJECTED, _S.UNCERTAIN: _S.REJECTED},
        Signal.LOST: {_S.CREATED: _S.UNCERTAIN},
        Signal.ORPHANED: {_S.CREATED: _S.UNCERTAIN},
        Signal.AGAIN: {_S.REJECTED: _S.CREATED},
        Signal.PAID: _TO_PAID,
        Signal.NOT_PAID: _TO_FAILED,
        Signal.UNPROVEN: {},
        Signal.CONTRADICTED: {},
        Signal.QUERY_PAID: _TO_PAID,
        Signal.QUERY_NOT_PAID: _TO_FAILED,
        Signal.NOTHING_NEW: {},
        Signal.TIME_UP: {_S.UNCERTAIN: _S.EXPIRED, _S.PENDING: _S.EXPIRED},
        Signal.REPORTED: {},
        Signal.REPORT_FAILED: {},
    }
)
"""Signal -> state -> next state. Where a state is missing, the payment stays where it is."""


def contradiction(transaction: Transaction, result: CallbackResult, /) -> str | None:
    """How a callback disagrees with what is known, or None.

    A proven failure after a callback's success, or another amount, id or receipt.
    """
    known = transaction.checkout_request_id
    if known is not None and known != result.checkout_request_id:
        return "callback names another checkout_request_id"
    if isinstance(result, PaymentConfirmed):
        if result.amount != transaction.amount:
            return "callback has another amount"
        if transaction.receipt_number not in (None, result.receipt_number):
            return "callback has another receipt"
    elif not isinstance(result, PaymentUnproven) and transaction.state is _S.SUCCEEDED:
        return "callback says not paid after a success"
    return None


def signal_of(transaction: Transaction, event: PaymentEvent, /) -> Signal:
    """What an event means for this transaction."""
    if isinstance(event, CallbackSeen):
        if contradiction(transaction, event.result):
            return Signal.CONTRADICTED
        if isinstance(event.result, PaymentConfirmed):
            return Signal.PAID
        return Signal.UNPROVEN if isinstance(event.result, PaymentUnproven) else Signal.NOT_PAID
    if isinstance(event, QuerySeen):
        if event.result.status is QueryStatus.PAID:
            overrides = transaction.state is _S.FAILED and transaction.settled_by == "callback"
            return Signal.CONTRADICTED if overrides else Signal.QUERY_PAID
        failed = event.result.status is QueryStatus.FAILED
        return Signal.QUERY_NOT_PAID if failed else Signal.NOTHING_NEW
    return _PLAIN[type(event)]


_PLAIN: Mapping[type, Signal] = MappingProxyType(
    {
        PushTaken: Signal.ACCEPTED,
        PushRefused: Signal.REFUSED,
        OutcomeLost: Signal.LOST,
        WorkerDied: Signal.ORPHANED,
        TryAgain: Signal.AGAIN,
        Deferred: Signal.NOTHING_NEW,
        Doubted: Signal.CONTRADICTED,
        TimeUp: Signal.TIME_UP,
        Reported: Signal.REPORTED,
        ReportFailed: Signal.REPORT_FAILED,
    }
)


def apply(transaction: Transaction, event: PaymentEvent, now: datetime, /) -> Transaction:
    """The transaction after an event; the very same object where the event changes nothing.

    Args:
        transaction: Before.
        event: What happened.
        now: When, aware.
    """
    signal = signal_of(transaction, event)
    state = TRANSITIONS[signal].get(transaction.state, transaction.state)
    facts = _learnt(transaction, event, signal, state, now)
    facts = {name: value for name, value in facts.items() if getattr(transaction, name) != value}
    entry = HistoryEntry(at=now, event=signal.value, code=_code_of(event), state=state)
    if not facts and not _is_new_evidence(transaction, event, entry):
        return transaction
    history = transaction.history
    if isinstance(event, (Deferred, ReportFailed)):
        history = _without_repetition(history, entry)
    return attrs.evolve(transaction, **facts, updated=now, history=_bounded((*history, entry)))


def _is_new_evidence(before: Transaction, event: PaymentEvent, entry: HistoryEntry) -> bool:
    """Whether a callback says something that is written nowhere yet (invariant I4)."""
    said = {(past.event, past.code) for past in before.history}
    return isinstance(event, CallbackSeen) and (entry.event, entry.code) not in said


def _without_repetition(
    history: tuple[HistoryEntry, ...], entry: HistoryEntry
) -> tuple[HistoryEntry, ...]:
    """Make room for an entry that says only that it failed again: of a long row, the last one goes."""
    row = history[-_MOST_ALIKE:]
    alike = len(row) == _MOST_ALIKE and all(
        attrs.evolve(past, at=entry.at) == entry for past in row
    )
    return history[:-1] if alike else history


def _bounded(history: tuple[HistoryEntry, ...]) -> tuple[HistoryEntry, ...]:
    """Keep how it began and what came last."""
    if len(history) <= MAX_HISTORY:
        return history
    return history[:_FIRST_KEPT] + history[_FIRST_KEPT - MAX_HISTORY :]


def _code_of(event: PaymentEvent) -> str | None:
    if isinstance(event, CallbackSeen):
        return event.result.result.code
    if isinstance(event, QuerySeen):
        return event.result.result_code
    if isinstance(event, (OutcomeLost, Deferred)):
        return event.reason
    return event.code if isinstance(event, PushRefused) else None


def _learnt(
    before: Transaction, event: PaymentEvent, signal: Signal, state: TransactionState, now: datetime
) -> dict[str, Any]:
    """The fields that an event sets; those that already have the value are dropped later."""
    moved = state is not before.state
    facts: dict[str, Any] = {"state": state} | _schedule(before, event, now)
    if moved and state.settled:
        facts |= _settlement(before, signal, state, now)
    if isinstance(event, PushTaken):
        facts |= _from_push(before, event)
    elif isinstance(event, CallbackSeen):
        facts |= _from_callback(before, event.result, signal, moved=moved, now=now)
    elif isinstance(event, QuerySeen):
        facts |= _from_query(before, event.result, signal, moved=moved)
    elif isinstance(event, Doubted):
        facts["needs_review"] = before.needs_review or event.reason
    elif isinstance(event, PushRefused) and moved:
        facts |= {"result_code": event.code, "result_desc": event.reason}
    elif isinstance(event, TryAgain) and moved:
        facts |= _fresh_start(event)
    elif isinstance(event, Reported) and before.state is event.state:
        facts |= {"reported": True, "due_at": None}
    return facts


def _schedule(before: Transaction, event: PaymentEvent, now: datetime) -> dict[str, Any]:
    """When to look again: an open payment as the event says, a settled one until it is reported."""
    next_due = getattr(event, "next_due", None)
    if isinstance(event, ReportFailed):
        concerned = before.state is event.state and not before.reported
    else:
        concerned = not before.state.settled
    return {"due_at": max(next_due, now)} if next_due is not None and concerned else {}


def _settlement(
    before: Transaction, signal: Signal, state: TransactionState, now: datetime
) -> dict[str, Any]:
    """An outcome: it is due for its report at once."""
    facts: dict[str, Any] = {"reported": False, "due_at": now, "settled_by": _SETTLERS[signal]}
    if state is _S.SUCCEEDED and before.needs_review == _DOUBT:
        facts["needs_review"] = None
    if state is _S.EXPIRED and before.state is _S.UNCERTAIN:
        facts["needs_review"] = before.needs_review or "the push's outcome was never learnt"
    return facts


_SETTLERS: Mapping[Signal, str] = MappingProxyType(
    {
        Signal.REFUSED: "push",
        Signal.PAID: "callback",
        Signal.NOT_PAID: "callback",
        Signal.QUERY_PAID: "query",
        Signal.QUERY_NOT_PAID: "query",
        Signal.TIME_UP: "time",
    }
)


def _from_push(before: Transaction, event: PushTaken) -> dict[str, Any]:
    """Daraja's answer; an id that a callback brought first stays."""
    answer = event.answer
    return {
        "merchant_request_id": answer.merchant_request_id,
        "checkout_request_id": before.checkout_request_id or answer.checkout_request_id,
        "response_description": answer.response_description,
        "customer_message": answer.customer_message,
    }


def _from_query(
    before: Transaction, result: QueryResult, signal: Signal, *, moved: bool
) -> dict[str, Any]:
    if signal is Signal.CONTRADICTED:
        doubt = "query says paid after a callback's failure"
        return {"needs_review": before.needs_review or doubt}
    if not moved:
        return {}
    return {"result_code": result.result_code, "result_desc": result.result_desc}


def _from_callback(
    before: Transaction, result: CallbackResult, signal: Signal, *, moved: bool, now: datetime
) -> dict[str, Any]:
    if signal is Signal.CONTRADICTED:
        return {"needs_review": before.needs_review or contradiction(before, result)}
    facts: dict[str, Any] = {
        "merchant_request_id": before.merchant_request_id or result.merchant_request_id,
        "checkout_request_id": before.checkout_request_id or result.checkout_request_id,
    }
    if signal is Signal.UNPROVEN:
        return facts | _doubt(before, now)
    if moved or before.result_code is None or isinstance(result, PaymentConfirmed):
        facts |= {"result_code": result.result.code, "result_desc": result.result_desc}
    if isinstance(result, PaymentConfirmed):
        facts |= {
            "receipt_number": result.receipt_number,
            "paid_at": before.paid_at
            or (result.paid_at and result.paid_at.astimezone(timezone.utc)),
            "settled_by": "callback",
        }
    return facts


def _doubt(before: Transaction, now: datetime) -> dict[str, Any]:
    """A success without proof: ask Daraja at once while open, ask a person where that is over."""
    if before.state is _S.SUCCEEDED or before.needs_review:
        return {}
    if before.state.settled:
        return {"needs_review": _DOUBT}
    return {"needs_review": _DOUBT, "due_at": now}


def _fresh_start(event: TryAgain) -> dict[str, Any]:
    return {
        "result_code": None,
        "result_desc": None,
        "settled_by": None,
        "reported": False,
        "expires_at": event.expires_at,
        "due_at": event.due_at,
    }
