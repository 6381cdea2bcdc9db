"""Find how a callback contradicts its payment. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from mpesa_stk.daraja.models import CallbackResult, PaymentConfirmed, PaymentUnproven
from mpesa_stk.payments.state import Transaction, TransactionState

_CLOCKS_DIFFER = timedelta(minutes=5)
"""How far Daraja's clock and ours may be apart."""
_NATIONAL = len("712345678")


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
