"""Callbacks as Daraja sends them, for tests of a host's endpoint. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from datetime import datetime
from decimal import Decimal
from urllib.parse import urlsplit

from mpesa_stk.config.settings import StkConfig
from mpesa_stk.daraja.models import PushAccepted
from mpesa_stk.daraja.results import explain
from mpesa_stk.payments.signing import signed_url
from mpesa_stk.payments.state import Transaction
from mpesa_stk.phone import normalize_phone
from mpesa_stk.simulator.prompts import payment_items, written_callback
from mpesa_stk.simulator.scenarios import OUTCOMES, PAID, Outcome, Shape
from mpesa_stk.testing import phones
from mpesa_stk.testing.manual_clock import START

_PROOF = ("Amount", "MpesaReceiptNumber")
_CODE = re.compile(r"[0-9]+|[A-Z]{2,}_[A-Z0-9]+")
_MERCHANT_REQUEST_ID = "29115-34620561-1"


def paid_callback(
    about: Transaction | PushAccepted | str,
    /,
    *,
    amount: int | Decimal | None = None,
    receipt_number: str | None = None,
    phone_number: str | None = None,
    paid_at: datetime | None = None,
    shape: Shape = Shape.PLAIN,
) -> bytes:
    """Return the callback for a customer who paid.

    Args:
        about: The payment, the answer to its push, or a CheckoutRequestID.
        amount: Shillings. Default: the transaction's.
        receipt_number: M-Pesa's receipt. Default: made from the CheckoutRequestID.
        phone_number: Phone of the payer, in any form that `normalize_phone` accepts. Default: the
            transaction's.
        paid_at: Time of the payment, timezone-aware. Default: the transaction's last change.
        shape: Form of the callback.

    Raises:
        InvalidPhoneNumber: The phone number is malformed or masked.
        ValueError: `about` is no transaction, and no amount is given.
    """
    return _success(about, amount, receipt_number, phone_number, paid_at, shape, without=())


def unproven_callback(
    about: Transaction | PushAccepted | str,
    /,
    *,
    without: Collection[str] = ("MpesaReceiptNumber",),
    amount: int | Decimal | None = None,
    receipt_number: str | None = None,
) -> bytes:
    """Return a callback that reports a payment without proof.

    Args:
        about: As for `paid_callback`.
        without: Names of the missing items: ``Amount``, ``MpesaReceiptNumber`` or both, and any others.
        amount: As for `paid_callback`.
        receipt_number: As for `paid_callback`.

    Raises:
        ValueError: `without` names no part of the proof, or `about` is no transaction and no amount is
            given.
    """
    if not set(without) & set(_PROOF):
        raise ValueError(f"without must name one of {', '.join(_PROOF)}")
    return _success(about, amount, receipt_number, None, None, Shape.PLAIN, without=without)


def failed_callback(
    about: Transaction | PushAccepted | str, /, *, outcome: str | int = "cancelled"
) -> bytes:
    """Return the callback for a customer who did not pay.

    Args:
        about: As for `paid_callback`.
        outcome: A name of `OUTCOMES`, or a ResultCode, known or not.

    Raises:
        ValueError: The outcome is paid, or is neither a name nor a code.
    """
    failure = _outcome(outcome)
    if explain(failure.code) == explain(OUTCOMES[PAID].code):
        raise ValueError("this outcome is paid: use paid_callback or unproven_callback")
    merchant_request_id, checkout_request_id = _ids(about)
    return written_callback(
        merchant_request_id=merchant_request_id,
        checkout_request_id=checkout_request_id,
        outcome=failure,
        items=None,
    )


def signed_path(transaction: Transaction, config: StkConfig, /) -> str:
    """Return the path of a payment's signed callback URL.

    Args:
        transaction: The payment.
        config: The settings. The first of their ``callback_secrets`` signs.

    Raises:
        ValueError: The settings have no ``callback_secrets``.
    """
    if not config.callback_secrets:
        raise ValueError("callback URLs are signed only if callback_secrets are set")
    url = signed_url(
        config.callback_url,
        config.callback_secrets[0],
        transaction_no=transaction.transaction_no,
        amount=transaction.amount,
        account=transaction.account,
    )
    return urlsplit(url).path


def signed_token(transaction: Transaction, config: StkConfig, /) -> str:
    """Return the token for `Payments.handle_callback`: the end of `signed_path`.

    Raises:
        ValueError: The settings have no ``callback_secrets``.
    """
    return signed_path(transaction, config).rstrip("/").rpartition("/")[2]


def _success(
    about: Transaction | PushAccepted | str,
    amount: int | Decimal | None,
    receipt_number: str | None,
    phone_number: str | None,
    paid_at: datetime | None,
    shape: Shape,
    *,
    without: Collection[str],
) -> bytes:
    merchant_request_id, checkout_request_id = _ids(about)
    transaction = about if isinstance(about, Transaction) else None
    if amount is None:
        if transaction is None:
            raise ValueError("amount must be given without a transaction")
        amount = transaction.amount
    payer = phone_number or (transaction.phone_number if transaction else phones.PAID)
    items = payment_items(
        amount=amount,
        receipt_number=receipt_number or _receipt_of(checkout_request_id),
        paid_at=paid_at or (transaction.updated if transaction else START),
        phone_number=normalize_phone(payer),
        shape=shape,
    )
    return written_callback(
        merchant_request_id=merchant_request_id,
        checkout_request_id=checkout_request_id,
        outcome=OUTCOMES[PAID],
        items={name: value for name, value in items.items() if name not in without},
    )


def _ids(about: Transaction | PushAccepted | str) -> tuple[str, str]:
    """Return MerchantRequestID and CheckoutRequestID. Make up missing ones."""
    if isinstance(about, str):
        return _MERCHANT_REQUEST_ID, about
    checkout_request_id = about.checkout_request_id
    if isinstance(about, Transaction) and checkout_request_id is None:
        checkout_request_id = f"ws_CO_{about.created:%d%m%Y%H%M%S}000{about.phone_number[-9:]}"
    return about.merchant_request_id or _MERCHANT_REQUEST_ID, str(checkout_request_id)


def _receipt_of(checkout_request_id: str) -> str:
    """Make a receipt that depends on the CheckoutRequestID only."""
    return hashlib.sha256(checkout_request_id.encode()).hexdigest()[:10].upper()


def _outcome(outcome: str | int) -> Outcome:
    """Return an outcome by its name or its code."""
    text = str(outcome)
    known = [each for name, each in OUTCOMES.items() if text in (name, str(each.code))]
    if known:
        return known[0]
    if not _CODE.fullmatch(text):
        raise ValueError("outcome must be a name of OUTCOMES or a ResultCode")
    return Outcome(code=outcome, description="Failed.")
