"""Define a stored payment: its state, its history, and all facts about it. Pure."""

from __future__ import annotations

from datetime import datetime
from enum import Enum

import attrs

from mpesa_stk.privacy import masked_id_repr, masked_phone_repr

FORGOTTEN_PHONE = "+254000000000"
"""The phone number of a payment that was anonymised. No real phone has it."""


class TransactionState(str, Enum):
    """The state of a payment."""

    CREATED = "CREATED"
    """The intent is stored. Whether the push was sent is not known."""
    UNCERTAIN = "UNCERTAIN"
    """The push was sent, or may have been sent, and its answer is unknown."""
    PENDING = "PENDING"
    """Daraja accepted the push, and no outcome is known yet."""
    SUCCEEDED = "SUCCEEDED"
    """Paid."""
    FAILED = "FAILED"
    """Not paid, and final: cancelled, no funds, wrong PIN, unreachable ..."""
    REJECTED = "REJECTED"
    """The push never reached the phone."""
    EXPIRED = "EXPIRED"
    """No outcome was known in time. The customer may have paid: this is not a failure."""

    @property
    def settled(self) -> bool:
        """Whether the payment has an outcome to report."""
        return self not in _OPEN


_OPEN = frozenset({TransactionState.CREATED, TransactionState.UNCERTAIN, TransactionState.PENDING})


@attrs.frozen(kw_only=True)
class HistoryEntry:
    """One dated line of a payment's history. Only `by` and `note` may name a person.

    Attributes:
        at: When it happened.
        event: Constant words for the event.
        code: The result code or error code, or None. For some events, constant words instead: a lost push
            has ``HTTP 503`` or ``no answer``, and a payment that was opened again during its report has
            ``while it is reported``.
        state: The state after the event.
        by: Who decided it, if a person did.
        note: That person's reason. The repr does not show it.
    """

    at: datetime
    event: str
    code: str | None = None
    state: TransactionState
    by: str | None = None
    note: str | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class Transaction:
    """A stored payment: all facts that are known about it.

    All times are aware and UTC.

    Attributes:
        transaction_no: UUID4, the payment's stable id.
        idempotency_key: The caller's name for this payment, or None.
        account: Who is paid, for example ``"paybill 174379"``.
        phone_number: Who pays, E.164.
        amount: Whole shillings (KES).
        reference: The caller's reference. The prompt shows it, unless `checkout` got a `prompt_reference`.
        description: The caller's description.
        prompt_reference: The reference that the prompt showed instead. None if it showed `reference`.
            Payments that were stored before version 4 of the tables do not say it.
        order: What is being paid, or None. Several attempts may be made for one order.
        order_slot: The place that this attempt takes for its order: ``live:`` or ``paid:`` and the order.
            None if it takes none. A store gives each place of an account to one payment.
        state: `TransactionState`.
        created: When the intent was stored.
        updated: When it last changed.
        expires_at: When an open payment is given up as EXPIRED.
        due_at: When `process_due` must handle it next, or None.
        merchant_request_id: Daraja's id of the request.
        checkout_request_id: Daraja's id of the prompt.
        response_description: Daraja's answer to the push.
        customer_message: Daraja's words for the customer.
        result_code: The result's code, or the error code of a refused push.
        result_desc: Daraja's words on it.
        receipt_number: M-Pesa's receipt, or None until a callback brings it.
        paid_at: When the customer paid, if a callback or a record named the time.
        settled_by: ``push``, ``callback``, ``query``, ``record``, ``time`` or ``person``. None while the
            payment is open.
        needs_review: Why a person must look at it, or None. Several reasons are separated by "; ".
        reported: Whether the host's handler got the outcome as it is now.
        history: The events, oldest first. Their number is bounded.
        version: Grows with every stored change.
    """

    transaction_no: str
    idempotency_key: str | None = None
    account: str
    phone_number: str = attrs.field(repr=masked_phone_repr)
    amount: int
    reference: str
    description: str = ""
    prompt_reference: str | None = None
    order: str | None = None
    order_slot: str | None = None
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
    def shown_reference(self) -> str:
        """The reference that the prompt showed. Safaricom's records have it as the account number."""
        return self.reference if self.prompt_reference is None else self.prompt_reference

    @property
    def status_code(self) -> str:
        """``"0"`` if the payment is paid, otherwise ``"1"``."""
        return "0" if self.paid else "1"
