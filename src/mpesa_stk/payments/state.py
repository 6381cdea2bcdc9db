"""What is stored of a payment: its state, its history, and all that is known. Pure."""

from __future__ import annotations

from datetime import datetime
from enum import Enum

import attrs

from mpesa_stk.privacy import masked_id_repr, masked_phone_repr

__all__ = ["HistoryEntry", "Transaction", "TransactionState"]


class TransactionState(str, Enum):
    """Where a payment stands."""

    CREATED = "CREATED"
    """The intent is stored; nothing is known to be sent."""
    UNCERTAIN = "UNCERTAIN"
    """The push was sent and its answer is unknown."""
    PENDING = "PENDING"
    """Daraja accepted; waiting for the customer."""
    SUCCEEDED = "SUCCEEDED"
    """Paid."""
    FAILED = "FAILED"
    """Final refusal: cancelled, no funds, wrong PIN, unreachable ..."""
    REJECTED = "REJECTED"
    """It never reached the phone."""
    EXPIRED = "EXPIRED"
    """Nobody could tell in time; not a failure."""

    @property
    def settled(self) -> bool:
        """Whether the payment has an outcome to report."""
        return self not in _OPEN


_OPEN = frozenset({TransactionState.CREATED, TransactionState.UNCERTAIN, TransactionState.PENDING})


@attrs.frozen(kw_only=True)
class HistoryEntry:
    """One dated line of a payment's history, without personal data.

    Attributes:
        at: When.
        event: What happened, a constant word.
        code: The result or error code, where there was one. In constant words: of a lost push, what
            came instead of an answer; of a payment that was opened again, that its outcome was being
            reported.
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
        needs_review: Why a person must look at it, or None. Several reasons are separated by "; ".
        reported: Whether the host was told of the outcome as it is now.
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
    def paid(self) -> bool:
        """Whether the customer paid."""
        return self.state is TransactionState.SUCCEEDED

    @property
    def settled(self) -> bool:
        """Whether the payment has an outcome."""
        return self.state.settled

    @property
    def status_code(self) -> str:
        """``"0"`` for paid, ``"1"`` for everything else."""
        return "0" if self.paid else "1"
