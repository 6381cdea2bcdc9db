"""What can happen to a payment, as values; what it means is in `transaction`. Pure."""

from __future__ import annotations

from datetime import datetime
from enum import Enum

import attrs

from mpesa_stk.daraja.models import CallbackResult, PushAccepted, QueryResult
from mpesa_stk.payments.state import TransactionState

__all__ = [
    "CallbackSeen",
    "Deferred",
    "Doubted",
    "OutcomeLost",
    "PaymentEvent",
    "PushRefused",
    "PushTaken",
    "QuerySeen",
    "ReportFailed",
    "Reported",
    "Signal",
    "TimeUp",
    "TryAgain",
    "WorkerDied",
]


@attrs.frozen(kw_only=True)
class PushTaken:
    """Daraja accepted the push; ask about it at `next_due`."""

    answer: PushAccepted
    next_due: datetime


@attrs.frozen(kw_only=True)
class PushRefused:
    """The push provably reached no phone."""

    code: str | None
    reason: str


@attrs.frozen(kw_only=True)
class OutcomeLost:
    """The push was sent and no answer tells what became of it.

    Attributes:
        reason: Constant words, which the history shows: ``HTTP 503``, ``no answer``.
        next_due: When to look at it.
    """

    reason: str
    next_due: datetime


@attrs.frozen(kw_only=True)
class WorkerDied:
    """A CREATED payment was found due: its worker died between the intent and the answer."""

    next_due: datetime


@attrs.frozen(kw_only=True)
class TryAgain:
    """The same idempotency key again after REJECTED: no prompt ever appeared, so push anew."""

    expires_at: datetime
    due_at: datetime


@attrs.frozen(kw_only=True)
class CallbackSeen:
    """Daraja posted a result."""

    result: CallbackResult


@attrs.frozen(kw_only=True)
class QuerySeen:
    """Daraja answered a status query; `next_due` says when to ask again, if it does not settle."""

    result: QueryResult
    next_due: datetime | None = None


@attrs.frozen(kw_only=True)
class Deferred:
    """Nothing could be learnt now; look again at `next_due`.

    Attributes:
        reason: Constant words, which the history shows.
        next_due: When to look at it.
    """

    reason: str
    next_due: datetime


@attrs.frozen(kw_only=True)
class Doubted:
    """A callback cannot be ours although it names us; a person must look at it."""

    reason: str


@attrs.frozen(kw_only=True)
class TimeUp:
    """An open payment outlived its `expires_at`."""


@attrs.frozen(kw_only=True)
class Reported:
    """The host was told that the payment is in this state; it may have moved on meanwhile."""

    state: TransactionState


@attrs.frozen(kw_only=True)
class ReportFailed:
    """The host could not be told of this state; tell it again at `next_due`."""

    state: TransactionState
    next_due: datetime


PaymentEvent = (
    PushTaken
    | PushRefused
    | OutcomeLost
    | WorkerDied
    | TryAgain
    | CallbackSeen
    | QuerySeen
    | Deferred
    | Doubted
    | TimeUp
    | Reported
    | ReportFailed
)


class Signal(str, Enum):
    """What an event means for one transaction: the columns of the table."""

    ACCEPTED = "push accepted"
    REFUSED = "push refused"
    LOST = "push outcome lost"
    ORPHANED = "worker died"
    AGAIN = "same key again"
    PAID = "callback: paid, proven"
    NOT_PAID = "callback: not paid"
    UNPROVEN = "callback: success without proof"
    CONTRADICTED = "callback: contradicts us"
    QUERY_PAID = "query: paid"
    QUERY_NOT_PAID = "query: not paid"
    NOTHING_NEW = "nothing new"
    TIME_UP = "time is up"
    REPORTED = "host told"
    REPORT_FAILED = "host could not be told"
