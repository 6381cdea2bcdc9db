"""Define which decisions of a person about a payment are allowed, and when it may be forgotten. Pure."""

from __future__ import annotations

import re
from datetime import datetime

from mpesa_stk.errors import InvalidRequest
from mpesa_stk.payments.events import Forgotten, Meaning, Resolved
from mpesa_stk.payments.state import FORGOTTEN_PHONE, Transaction, TransactionState

_S = TransactionState
_MEANINGS = {
    None: Meaning.REVIEWED,
    _S.SUCCEEDED: Meaning.PERSON_PAID,
    _S.FAILED: Meaning.PERSON_NOT_PAID,
}
_RECEIPT = re.compile(r"[A-Z0-9]{5,32}")
_LONGEST_NAME = 64
_LONGEST_NOTE = 500


def decision(
    *,
    note: str,
    by: str,
    outcome: TransactionState | None,
    receipt_number: str | None,
    seen: str | None,
) -> Resolved:
    """Check the words that a person typed, and make an event of them.

    Args:
        note: Why the person decided so.
        by: Who decided.
        outcome: SUCCEEDED, FAILED or None.
        receipt_number: The receipt in the M-Pesa statement. Spaces around it and small letters are
            corrected.
        seen: The reasons for a review that the decision answers.

    Raises:
        InvalidRequest: A field breaks a rule.
    """
    if outcome not in _MEANINGS:
        raise InvalidRequest("outcome", "must be SUCCEEDED, FAILED or None")
    if receipt_number is not None:
        receipt_number = receipt_of(receipt_number)
    return Resolved(
        by=_one_line("by", by, _LONGEST_NAME),
        note=_one_line("note", note, _LONGEST_NOTE),
        outcome=None if outcome is None else TransactionState(outcome),
        receipt_number=receipt_number,
        seen=seen,
    )


def receipt_of(typed: object, /) -> str:
    """Return a receipt as M-Pesa writes it. Spaces around it and small letters are corrected.

    Raises:
        InvalidRequest: It does not have the form of a receipt.
    """
    receipt = typed.strip().upper() if isinstance(typed, str) else ""
    if not _RECEIPT.fullmatch(receipt):
        raise InvalidRequest("receipt_number", "must be 5 to 32 letters and digits")
    return receipt


def _one_line(field: str, text: object, longest: int) -> str:
    line = text.strip() if isinstance(text, str) else ""
    if not 1 <= len(line) <= longest or not line.isprintable():
        raise InvalidRequest(field, f"must be one line of 1 to {longest} printable characters")
    return line


def meaning_for_the_desk(
    before: Transaction, event: Resolved | Forgotten, now: datetime, /
) -> Meaning:
    """Return the meaning of a person's decision, or of the order to forget who paid.

    Raises:
        InvalidRequest: The decision breaks a rule.
    """
    if isinstance(event, Resolved):
        return _meaning_of_decision(before, event, now)
    return Meaning.FORGOTTEN if _may_be_forgotten(before) else Meaning.NOTHING_NEW


def _meaning_of_decision(before: Transaction, event: Resolved, now: datetime) -> Meaning:
    if event.outcome is _S.FAILED:
        _check_not_paid(before, now)
    if event.receipt_number is not None:
        if _S.SUCCEEDED not in (event.outcome, before.state):
            raise InvalidRequest(
                "receipt_number", "only a paid payment has a receipt: call the payment paid, too"
            )
        if before.receipt_number not in (None, event.receipt_number):
            raise InvalidRequest("receipt_number", "the payment has another receipt")
    return _MEANINGS[event.outcome]


def _check_not_paid(before: Transaction, now: datetime) -> None:
    if before.state is _S.SUCCEEDED:
        raise InvalidRequest(
            "outcome", "the payment is paid, and a paid payment is never called unpaid"
        )
    if not before.state.settled and now < before.expires_at:
        raise InvalidRequest(
            "outcome",
            "the customer may still pay: the prompt may be open on the phone until the payment"
            " expires, which is at most some minutes away",
        )


def _may_be_forgotten(before: Transaction) -> bool:
    """Return whether a payment names its payer, and no work is left to do for it."""
    done = before.state.settled and before.reported and before.needs_review is None
    return done and before.phone_number != FORGOTTEN_PHONE
