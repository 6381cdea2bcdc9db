"""A payment as a person or a program at the desk sees it: times in Nairobi, the payer masked."""

from __future__ import annotations

import re
from datetime import datetime

import attrs

from mpesa_stk.commands.screen import Column
from mpesa_stk.daraja.protocol import NAIROBI
from mpesa_stk.payments.state import FORGOTTEN_PHONE, HistoryEntry, Transaction
from mpesa_stk.payments.store import KeptCallback
from mpesa_stk.privacy import mask_checkout_id, mask_phone

# A mobile number in a text that people wrote, with the prefix that other numbers lack.
_PHONE_LIKE = re.compile(r"(?<![0-9])(?:\+?254|0)[17][0-9]{8}(?![0-9])")
_NATIONAL = len("712345678")

COLUMNS = (
    Column("asked"),
    Column("amount", right=True),
    Column("phone"),
    Column("state"),
    Column("receipt"),
    Column("reference"),
    Column("order"),
    Column("transaction", whole=True),
)
"""The columns of a table of payments, for `row_of`."""


def moment(at: datetime, /) -> str:
    """Return a moment in East Africa Time."""
    return f"{at.astimezone(NAIROBI):%Y-%m-%d %H:%M:%S} EAT"


def iso(at: datetime | None, /) -> str | None:
    """Return a moment for programs, with the offset of East Africa Time."""
    return None if at is None else at.astimezone(NAIROBI).isoformat()


def payments(number: int, /) -> str:
    """Return a number of payments in words."""
    return f"{number:,} payment" if number == 1 else f"{number:,} payments"


@attrs.frozen
class View:
    """What is shown of personal data.

    Attributes:
        unmask: Whether phone numbers are shown whole.
    """

    unmask: bool = False

    def phone(self, transaction: Transaction, /) -> str:
        """Return who pays, or that it was forgotten."""
        number = transaction.phone_number
        if number == FORGOTTEN_PHONE:
            return "forgotten"
        return number if self.unmask else str(mask_phone(number))

    def checkout_id(self, identity: str | None, /) -> str | None:
        """Return a CheckoutRequestID. It ends in the payer's number."""
        return identity if self.unmask else mask_checkout_id(identity)

    def text(self, transaction: Transaction, text: str | None, /) -> str:
        """Return a text that people wrote, such as a reference that is a phone number."""
        if self.unmask or not text:
            return text or ""
        payer = transaction.phone_number[-_NATIONAL:]
        text = re.sub(rf"(?:\+?254|0)?{re.escape(payer)}", _masked, text)
        return _PHONE_LIKE.sub(_masked, text)

    def record_phone(self, number: str | None, /) -> str:
        """Return the payer as Safaricom's record shows it. It may hide digits already."""
        if number is None or self.unmask or not number.removeprefix("+").isdecimal():
            return number or ""
        return str(mask_phone(number))

    def record_text(self, text: str | None, /) -> str:
        """Return a text of Safaricom's record, which the customer typed."""
        return (text or "") if self.unmask else _PHONE_LIKE.sub(_masked, text or "")


def _masked(found: re.Match[str]) -> str:
    return str(mask_phone(found[0]))


def row_of(transaction: Transaction, view: View, /) -> tuple[str, ...]:
    """Return a payment as a row below `COLUMNS`."""
    return (
        f"{transaction.created.astimezone(NAIROBI):%Y-%m-%d %H:%M}",
        f"{transaction.amount:,}",
        view.phone(transaction),
        transaction.state.value,
        transaction.receipt_number or "",
        view.text(transaction, transaction.reference),
        view.text(transaction, transaction.order),
        transaction.transaction_no,
    )


def facts_of(transaction: Transaction, view: View, /) -> dict[str, object]:
    """Return a payment for programs. The names of the fields are part of the interface."""
    return {
        "transaction_no": transaction.transaction_no,
        "state": transaction.state.value,
        "paid": transaction.paid,
        "amount": transaction.amount,
        "phone_number": view.phone(transaction),
        "receipt_number": transaction.receipt_number,
        "reference": view.text(transaction, transaction.reference),
        "order": view.text(transaction, transaction.order) or None,
        "description": view.text(transaction, transaction.description),
        "account": transaction.account,
        "created": iso(transaction.created),
        "updated": iso(transaction.updated),
        "paid_at": iso(transaction.paid_at),
        "checkout_request_id": view.checkout_id(transaction.checkout_request_id),
        "merchant_request_id": transaction.merchant_request_id,
        "result_code": transaction.result_code,
        "result_desc": view.text(transaction, transaction.result_desc) or None,
        "settled_by": transaction.settled_by,
        "needs_review": transaction.needs_review,
        "reported": transaction.reported,
    }


def history_facts(
    transaction: Transaction, entry: HistoryEntry, view: View, /
) -> dict[str, object]:
    """Return a line of a history for programs."""
    return {
        "at": iso(entry.at),
        "event": entry.event,
        "code": entry.code,
        "state": entry.state.value,
        "by": entry.by,
        "note": view.text(transaction, entry.note) or None,
    }


def kept_facts(kept: KeptCallback, /) -> dict[str, object]:
    """Return a kept callback for programs, without its body, which holds the payer's number."""
    return {
        "callback_id": kept.callback_id,
        "received": iso(kept.received),
        "reason": kept.reason,
    }
