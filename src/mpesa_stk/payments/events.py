"""Define the events of a payment. `transaction` says how each changes it. Pure."""

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
        next_due: When to ask Daraja about the payment.
        lives_until: Until when the customer may answer the prompt. The payment does not expire before.
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
        reason: The name of the error's class.
        expires_at: The `expires_at` of the payment when it was pushed. If the payment was started anew
            since, it has another one, and this event does not concern its new push.
    """

    code: str | None
    reason: str
    expires_at: datetime


@attrs.frozen(kw_only=True)
class PushOutcomeLost:
    """The push was sent, and its answer does not say whether a prompt appeared.

    Attributes:
        reason: Constant words for the history: ``HTTP 503`` or ``no answer``.
        next_due: When to look at the payment again.
    """

    reason: str
    next_due: datetime


@attrs.frozen(kw_only=True)
class WorkerDied:
    """A CREATED payment is due: its worker died between the intent and the answer."""

    next_due: datetime


@attrs.frozen(kw_only=True)
class KeyReused:
    """The caller used the key of a REJECTED payment again.

    No prompt appeared, so it is pushed anew.
    """

    expires_at: datetime
    due_at: datetime


@attrs.frozen(kw_only=True)
class CallbackSeen:
    """Daraja posted a result."""

    result: CallbackResult


@attrs.frozen(kw_only=True)
class QuerySeen:
    """Daraja answered a status query.

    Attributes:
        result: Daraja's answer.
        next_due: When to ask again if the answer does not settle the payment. None changes no due time.
    """

    result: QueryResult
    next_due: datetime | None = None


@attrs.frozen(kw_only=True)
class Deferred:
    """The worker could not learn anything about the payment now.

    Attributes:
        reason: Constant words for the history.
        next_due: When to look at the payment again.
    """

    reason: str
    next_due: datetime


@attrs.frozen(kw_only=True)
class QueryBegun:
    """A query for a page or a person is about to be sent.

    Attributes:
        next_due: When to look at the payment again. None changes no due time.
    """

    next_due: datetime | None = None


@attrs.frozen(kw_only=True)
class Doubted:
    """A callback names this payment but cannot be believed.

    A person must look at the payment.
    """

    reason: str


@attrs.frozen(kw_only=True)
class Expired:
    """An open payment outlived its `expires_at`.

    Attributes:
        answered: Whether Daraja named the outcome, does not know the payment, or there is no id to ask by.
    """

    answered: bool


@attrs.frozen(kw_only=True)
class News:
    """The facts that a report gives the host.

    If one of them changes, the payment is reported again.
    """

    state: TransactionState
    receipt_number: str | None = None
    needs_review: str | None = None


@attrs.frozen(kw_only=True)
class Reported:
    """The host's handler returned from a report with `news`.

    The stored payment may have changed since.
    """

    news: News


@attrs.frozen(kw_only=True)
class ReportFailed:
    """The host's handler raised at a report with `news`.

    The payment is reported again at `next_due`.
    """

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
    """The meaning of an event for one transaction. `TRANSITIONS` has a row for each."""

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
