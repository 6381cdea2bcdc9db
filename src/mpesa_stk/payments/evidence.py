"""Find how a callback or a row of Safaricom's records contradicts its payment. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from mpesa_stk.daraja.models import CallbackResult, PaymentConfirmed, PaymentUnproven
from mpesa_stk.payments.events import Meaning, ReceiptClaimed, RecordDoubted, RecordSeen
from mpesa_stk.payments.state import Transaction, TransactionState

_CLOCKS_DIFFER = timedelta(minutes=5)
"""How far Daraja's clock and ours may be apart."""
_NATIONAL = len("712345678")
_MOST_CLAIMS = 5
"""The most receipts that customers name for one payment and that its history keeps."""
PAID_AFTER_FAILURE = "record shows money after a failure"
"""Why a person must look at a payment that Daraja called not paid, and that a row fits."""


def contradiction(transaction: Transaction, result: CallbackResult, now: datetime, /) -> str | None:
    """Return how a callback contradicts the stored payment, or None if it does not.

    Args:
        transaction: The payment that the callback names.
        result: The parsed callback.
        now: The time, aware.
    """
    for field in ("checkout_request_id", "merchant_request_id"):
        known, named = getattr(transaction, field), getattr(result, field)
        if known is not None and named is not None and known != named:
            return f"callback names another {field}"
    if isinstance(result, PaymentConfirmed):
        return _unlike_the_payment(transaction, result, now)
    if not isinstance(result, PaymentUnproven) and transaction.state is TransactionState.SUCCEEDED:
        return "callback says not paid after a success"
    return None


def _unlike_the_payment(
    transaction: Transaction, result: PaymentConfirmed, now: datetime
) -> str | None:
    """Return how a proven success differs from the payment, or None."""
    if result.amount != transaction.amount:
        return "callback has another amount"
    if transaction.receipt_number not in (None, result.receipt_number):
        return "callback has another receipt"
    if _is_another_payer(transaction.phone_number, result.phone_number):
        return "callback has another payer"
    if result.paid_at is not None:
        if result.paid_at < transaction.created - _CLOCKS_DIFFER:
            return "callback has a date before the payment"
        if result.paid_at > now + _CLOCKS_DIFFER:
            return "callback has a date in the future"
    return None


def _is_another_payer(ours: str, theirs: str | None) -> bool:
    """Return whether a callback names another payer.

    A masked number may be ours, so only a number with all digits counts.
    """
    digits = (theirs or "").removeprefix("+")
    whole = digits.isdecimal() and len(digits) >= _NATIONAL
    return whole and digits[-_NATIONAL:] != ours[-_NATIONAL:]


# --- Safaricom's own records ---------------------------------------------------------------------------


def ended_unpaid(transaction: Transaction, /) -> bool:
    """Return whether Daraja itself said that the prompt was not paid, or that it reached no phone.

    Money that comes for it nevertheless was sent by hand.
    """
    state = transaction.state
    failed = state is TransactionState.FAILED and transaction.settled_by == "callback"
    return failed or state is TransactionState.REJECTED


def contradiction_of_record(transaction: Transaction, seen: RecordSeen, /) -> str | None:
    """Return how a row contradicts the stored payment, or None if it does not."""
    if seen.amount != transaction.amount:
        return "record has another amount"
    if transaction.receipt_number not in (None, seen.receipt_number):
        return "record has another receipt"
    return PAID_AFTER_FAILURE if ended_unpaid(transaction) else None


def meaning_of_record(
    transaction: Transaction, event: RecordSeen | RecordDoubted | ReceiptClaimed, /
) -> Meaning:
    """Return the meaning of a row, of doubtful rows, or of a customer's claim.

    A fact that the history has already has no second effect. So a person who closed a review is
    not asked again because of the same rows.
    """
    if isinstance(event, ReceiptClaimed):
        claims = [past for past in transaction.history if past.event == Meaning.CLAIMED.value]
        said = event.history_code in {past.code for past in claims}
        return Meaning.NOTHING_NEW if said or len(claims) >= _MOST_CLAIMS else Meaning.CLAIMED
    meaning = Meaning.RECORD_DOUBTFUL
    if isinstance(event, RecordSeen):
        if contradiction_of_record(transaction, event) is not None:
            meaning = Meaning.RECORD_CONTRADICTS
        elif transaction.receipt_number is not None:
            return Meaning.NOTHING_NEW
        elif transaction.paid:
            return Meaning.RECORD_RECEIPT
        else:
            return Meaning.RECORD_PAID
    told = (meaning.value, event.history_code)
    known = any((past.event, past.code) == told for past in transaction.history)
    return Meaning.NOTHING_NEW if known else meaning
