"""Define the events of a payment. `transaction` says how each changes it. Pure."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import ClassVar

import attrs

from mpesa_stk.daraja.models import CallbackResult, PushAccepted, QueryResult
from mpesa_stk.payments.state import TransactionState
from mpesa_stk.privacy import masked_id_repr

MOST_RECEIPTS = 4
"""The most receipts that one entry of the history names."""


class Meaning(str, Enum):
    """The meaning of an event for one transaction. `TRANSITIONS` has a row for each."""

    ACCEPTED = "push accepted"
    REFUSED = "push refused"
    LOST = "push outcome lost"
    ORPHANED = "worker died"
    AGAIN = "same key again"
    RELEASED = "place given back"
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
    REPORTED = "reported"
    REPORT_FAILED = "report failed"
    REVIEWED = "person: reviewed"
    PERSON_PAID = "person: paid"
    PERSON_NOT_PAID = "person: not paid"
    RECORD_PAID = "record: paid"
    RECORD_RECEIPT = "record: receipt"
    RECORD_CONTRADICTS = "record: contradicts"
    RECORD_DOUBTFUL = "record: doubtful"
    CLAIMED = "customer: names a receipt"
    FORGOTTEN = "forgotten"


class _Event:
    """An event of a payment.

    Attributes:
        meaning: Its meaning for every transaction. None if that depends on the transaction.
        repeats: Whether it may come again and again. The history keeps only the last eight in a row.
    """

    __slots__ = ()

    meaning: ClassVar[Meaning | None] = None
    repeats: ClassVar[bool] = False

    @property
    def history_code(self) -> str | None:
        """The code for the history, or None."""
        return None


@attrs.frozen(kw_only=True)
class PushTaken(_Event):
    """Daraja accepted the push.

    Attributes:
        answer: Daraja's answer.
        next_due: When to ask Daraja about the payment.
        lives_until: Until when the customer may answer the prompt. The payment does not expire before.
    """

    meaning: ClassVar[Meaning] = Meaning.ACCEPTED

    answer: PushAccepted
    next_due: datetime
    lives_until: datetime


@attrs.frozen(kw_only=True)
class IdLearnt(_Event):
    """The caller proved that a prompt belongs to this payment, whose id was lost."""

    meaning: ClassVar[Meaning] = Meaning.LINKED

    checkout_request_id: str = attrs.field(repr=masked_id_repr)


@attrs.frozen(kw_only=True)
class PushRefused(_Event):
    """The push provably reached no phone.

    Attributes:
        code: Daraja's error code.
        reason: The name of the error's class.
        expires_at: The `expires_at` of the payment when it was pushed. If the payment was started anew
            since, it has another one, and this event does not concern its new push.
    """

    meaning: ClassVar[Meaning] = Meaning.REFUSED

    code: str | None
    reason: str
    expires_at: datetime

    @property
    def history_code(self) -> str | None:
        """The code for the history."""
        return self.code


@attrs.frozen(kw_only=True)
class PushOutcomeLost(_Event):
    """The push was sent, and its answer does not say whether a prompt appeared.

    Attributes:
        reason: Constant words for the history: ``HTTP 503`` or ``no answer``.
        next_due: When to look at the payment again.
    """

    meaning: ClassVar[Meaning] = Meaning.LOST

    reason: str
    next_due: datetime

    @property
    def history_code(self) -> str | None:
        """The code for the history."""
        return self.reason


@attrs.frozen(kw_only=True)
class WorkerDied(_Event):
    """A CREATED payment is due: its worker died between the intent and the answer."""

    meaning: ClassVar[Meaning] = Meaning.ORPHANED

    next_due: datetime


@attrs.frozen(kw_only=True)
class KeyReused(_Event):
    """The caller used the key of a REJECTED payment again.

    No prompt appeared, so it is pushed anew.
    """

    meaning: ClassVar[Meaning] = Meaning.AGAIN

    expires_at: datetime
    due_at: datetime


@attrs.frozen(kw_only=True)
class OrderReleased(_Event):
    """A new attempt at the order begins, so this one, which has ended, gives its place back."""

    meaning: ClassVar[Meaning] = Meaning.RELEASED


@attrs.frozen(kw_only=True)
class CallbackSeen(_Event):
    """Daraja posted a result."""

    result: CallbackResult

    @property
    def history_code(self) -> str | None:
        """The code for the history."""
        return self.result.result.code


@attrs.frozen(kw_only=True)
class QuerySeen(_Event):
    """Daraja answered a status query.

    Attributes:
        result: Daraja's answer.
        next_due: When to ask again if the answer does not settle the payment. None changes no due time.
    """

    repeats: ClassVar[bool] = True

    result: QueryResult
    next_due: datetime | None = None

    @property
    def history_code(self) -> str | None:
        """The code for the history."""
        return self.result.result_code


@attrs.frozen(kw_only=True)
class Deferred(_Event):
    """The worker could not learn anything about the payment now.

    Attributes:
        reason: Constant words for the history.
        next_due: When to look at the payment again.
    """

    meaning: ClassVar[Meaning] = Meaning.NOTHING_NEW
    repeats: ClassVar[bool] = True

    reason: str
    next_due: datetime

    @property
    def history_code(self) -> str | None:
        """The code for the history."""
        return self.reason


@attrs.frozen(kw_only=True)
class QueryBegun(_Event):
    """A query for a page or a person is about to be sent.

    Attributes:
        next_due: When to look at the payment again. None changes no due time.
    """

    meaning: ClassVar[Meaning] = Meaning.ASKING
    repeats: ClassVar[bool] = True

    next_due: datetime | None = None


@attrs.frozen(kw_only=True)
class Doubted(_Event):
    """A callback names this payment but cannot be believed.

    A person must look at the payment.
    """

    meaning: ClassVar[Meaning] = Meaning.CONTRADICTED

    reason: str


@attrs.frozen(kw_only=True)
class Expired(_Event):
    """An open payment outlived its `expires_at`.

    Attributes:
        answered: Whether Daraja named the outcome, does not know the payment, or there is no id to ask by.
    """

    meaning: ClassVar[Meaning] = Meaning.TIME_UP

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
class Reported(_Event):
    """The host's handler returned from a report with `news`.

    The stored payment may have changed since.
    """

    meaning: ClassVar[Meaning] = Meaning.REPORTED

    news: News

    @property
    def history_code(self) -> str | None:
        """The code for the history."""
        return self.news.state.value


@attrs.frozen(kw_only=True)
class ReportFailed(_Event):
    """The host's handler raised at a report with `news`.

    The payment is reported again at `next_due`.
    """

    meaning: ClassVar[Meaning] = Meaning.REPORT_FAILED
    repeats: ClassVar[bool] = True

    news: News
    next_due: datetime

    @property
    def history_code(self) -> str | None:
        """The code for the history."""
        return self.news.state.value


@attrs.frozen(kw_only=True)
class Resolved(_Event):
    """A person decided about the payment.

    Attributes:
        by: Who decided.
        note: Why.
        outcome: SUCCEEDED if it was paid, FAILED if it was not. None only closes the review.
        receipt_number: The receipt that the person read in the M-Pesa statement.
        seen: The reasons for a review when the person decided. Reasons that came later stay.
    """

    by: str
    note: str
    outcome: TransactionState | None = None
    receipt_number: str | None = None
    seen: str | None = None


@attrs.frozen(kw_only=True)
class RecordSeen(_Event):
    """A row of Safaricom's own records fits only this payment, and the payment only this row.

    Attributes:
        source: Where the row was read: ``statement`` or ``pull``.
        receipt_number: The receipt of the row.
        amount: The amount of the row.
        paid_at: When the row was completed, aware, UTC.
    """

    source: str
    receipt_number: str
    amount: Decimal
    paid_at: datetime

    @property
    def history_code(self) -> str | None:
        """The code for the history: the source and the receipt."""
        return f"{self.source} {self.receipt_number}"


@attrs.frozen(kw_only=True)
class RecordDoubted(_Event):
    """Rows of Safaricom's own records may be of this payment, but do not prove it. A person must look.

    Attributes:
        source: Where the rows were read: ``statement`` or ``pull``.
        reason: Constant words for the review.
        receipts: The receipts of the rows, for the history.
    """

    source: str
    reason: str
    receipts: tuple[str, ...]

    @property
    def history_code(self) -> str | None:
        """The code for the history: the source and the first receipts."""
        return " ".join((self.source, *self.receipts[:MOST_RECEIPTS]))


@attrs.frozen(kw_only=True)
class ReceiptClaimed(_Event):
    """A customer says that the payment has this receipt. That alone is no proof."""

    receipt_number: str

    @property
    def history_code(self) -> str | None:
        """The code for the history."""
        return self.receipt_number


@attrs.frozen(kw_only=True)
class Forgotten(_Event):
    """It is time to forget who paid. Amounts, receipts, references, states and times stay."""


PaymentEvent = (
    PushTaken
    | IdLearnt
    | PushRefused
    | PushOutcomeLost
    | WorkerDied
    | KeyReused
    | OrderReleased
    | CallbackSeen
    | QueryBegun
    | QuerySeen
    | Deferred
    | Doubted
    | Expired
    | Reported
    | ReportFailed
    | Resolved
    | RecordSeen
    | RecordDoubted
    | ReceiptClaimed
    | Forgotten
)
