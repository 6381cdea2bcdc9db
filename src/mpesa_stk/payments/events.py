"""What can happen to a payment, as values; what it means is in `transaction`. Pure."""

from __future__ import annotations

from datetime import datetime
from enum import Enum

import attrs

from mpesa_stk.daraja.models import CallbackResult, PushAccepted, QueryResult
from mpesa_stk.payments.state import TransactionState
from mpesa_stk.privacy import masked_id_repr

__all__ = [
    "CallbackSeen",
    "Deferred",
    "Doubted",
    "Expired",
    "IdLearnt",
    "KeyReused",
    "Meaning",
    "News",
    "PaymentEvent",
    "PushOutcomeLost",
    "PushRefused",
    "PushTaken",
    "QueryBegun",
    "QuerySeen",
    "ReportFailed",
    "Reported",
    "WorkerDied",
]


@attrs.frozen(kw_only=True)
class PushTaken:
    """Daraja accepted the push.

    Attributes:
        answer: Daraja's answer.
        next_due: When to ask about it.
        lives_until: Until when its prompt may be answered. The payment does not expire before.
    """

    answer: PushAccepted
    next_due: datetime
    lives_until: datetime


@attrs.frozen(kw_only=True)
class IdLearnt:
    """The caller proved that a prompt belongs to this payment, whose id was lost."""

    checkout_request_id: str = attrs.field(repr=masked_id_repr)


@attrs.frozen(kw_only=True)
class PushRefused:
    """The push provably reached no phone.

    Attributes:
        code: Daraja's error code.
        reason: Constant words.
        expires_at: Of the payment when it was pushed. A payment that was started anew since has another,
            and its new push was not refused.
    """

    code: str | None
    reason: str
    expires_at: datetime


@attrs.frozen(kw_only=True)
class PushOutcomeLost:
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
class KeyReused:
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
class QueryBegun:
    """Daraja is about to be asked because a page wants to know.

    Attributes:
        next_due: When to look at it again. None leaves that as it is.
    """

    next_due: datetime | None = None


@attrs.frozen(kw_only=True)
class Doubted:
    """A callback names this payment and cannot be believed; a person must look at it."""

    reason: str


@attrs.frozen(kw_only=True)
class Expired:
    """An open payment outlived its `expires_at`.

    Attributes:
        answered: Whether Daraja said how it ended, or that it does not know the payment.
    """

    answered: bool


@attrs.frozen(kw_only=True)
class News:
    """What a report tells the host. If any of it changes, the payment is reported again."""

    state: TransactionState
    receipt_number: str | None = None
    needs_review: str | None = None


@attrs.frozen(kw_only=True)
class Reported:
    """The host was told this; the stored payment may have moved on meanwhile."""

    news: News


@attrs.frozen(kw_only=True)
class ReportFailed:
    """The host could not be told this; tell it again at `next_due`."""

    news: News
    next_due: datetime


PaymentEvent = (
    PushTaken
    | IdLearnt
    | PushRefused
    | PushOutcomeLost
    | WorkerDied
    | KeyReused
    | CallbackSeen
    | QueryBegun
    | QuerySeen
    | Deferred
    | Doubted
    | Expired
    | Reported
    | ReportFailed
)


class Meaning(str, Enum):
    """What an event means for one transaction: the columns of the table."""

    ACCEPTED = "push accepted"
    REFUSED = "push refused"
    LOST = "push outcome lost"
    ORPHANED = "worker died"
    AGAIN = "same key again"
    LINKED = "id learnt from the caller"
    ASKING = "asked for a page"
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
