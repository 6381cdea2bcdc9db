"""Read the callback that Daraja posts as a typed result. Pure.

Items are found by name, not by position. A payment is paid only with proof: exactly one readable receipt
and amount. A success code without that proof gives `PaymentUnproven`, never an exception (docs/daraja.md,
section 6). A result code that cannot be read gives `PaymentUnproven` too: it may stand for a success.
"""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal

from mpesa_stk.daraja import wire
from mpesa_stk.daraja.models import (
    CallbackResult,
    PaymentConfirmed,
    PaymentFailed,
    PaymentUnproven,
)
from mpesa_stk.daraja.protocol import NAIROBI
from mpesa_stk.daraja.results import PAID_CODE, explain
from mpesa_stk.errors import InvalidCallback

_CODE = "$.Body.stkCallback.ResultCode"
_ITEMS = "$.Body.stkCallback.CallbackMetadata.Item"
_RECEIPT = re.compile(r"[A-Za-z0-9]{5,32}").fullmatch
_AMOUNT = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,4})?").fullmatch
_DATE = re.compile(r"[0-9]{14}|[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}").fullmatch
_PHONE = re.compile(r"[+0-9*xX]{3,20}").fullmatch
_PAID = explain(PAID_CODE)
_LEAST = Decimal("0.01")
_TOO_MUCH = Decimal(10) ** 12
# M-Pesa began in 2007. A number outside of these years is not a date.
_EARLIEST = 2000_01_01_00_00_00
_LATEST = 2999_12_31_23_59_59
_SHORTEST_PHONE = 10**2
_LONGEST_PHONE = 10**20


def parse_callback(body: bytes | str, /) -> CallbackResult:
    """Read an STK callback.

    Args:
        body: The raw body, as it was posted.

    Returns:
        `PaymentConfirmed`, `PaymentFailed`, or `PaymentUnproven` for a success code without proof and
        for a code that cannot be read.

    Raises:
        InvalidCallback: The body is not an STK callback. `problems` names JSON paths.
    """
    problems: tuple[str, ...] = ("$: neither bytes nor text",)
    if isinstance(body, (bytes, str)):
        try:
            return _result(wire.read_callback(body))
        except wire.WireError as error:
            problems = error.problems
    del body  # some tools print a traceback with the locals of each frame
    raise InvalidCallback(problems)


def _result(callback: wire.CallbackBody) -> CallbackResult:
    code = wire.plain_code(callback.result_code)
    # "00" or "0.0" is not a failing code, but no source writes success like this.
    if code is None or (code != PAID_CODE and not code.strip("-.0")):
        return _unreadable(callback)
    if code != PAID_CODE:
        return PaymentFailed(
            checkout_request_id=callback.checkout_request_id,
            merchant_request_id=callback.merchant_request_id,
            result=explain(code),
            result_desc=callback.result_desc,
        )
    items, problems = _items(callback.metadata)
    receipt = _receipt(items.get("MpesaReceiptNumber"))
    if receipt is None:
        problems.append(f"{_ITEMS}.MpesaReceiptNumber: missing or not a receipt")
    amount = _amount(items.get("Amount"))
    if amount is None:
        problems.append(f"{_ITEMS}.Amount: missing or not a positive amount")
    if problems or amount is None or receipt is None:
        return PaymentUnproven(
            checkout_request_id=callback.checkout_request_id,
            merchant_request_id=callback.merchant_request_id,
            result=_PAID,
            result_desc=callback.result_desc,
            problems=tuple(problems),
        )
    return PaymentConfirmed(
        checkout_request_id=callback.checkout_request_id,
        merchant_request_id=callback.merchant_request_id,
        result=_PAID,
        result_desc=callback.result_desc,
        receipt_number=receipt,
        amount=amount,
        paid_at=_moment(items.get("TransactionDate")),
        phone_number=_phone(items.get("PhoneNumber")),
    )


def _unreadable(callback: wire.CallbackBody) -> PaymentUnproven:
    """Return the result of a callback whose code cannot be read.

    The status query must decide about its payment.
    """
    code = callback.result_code
    return PaymentUnproven(
        checkout_request_id=callback.checkout_request_id,
        merchant_request_id=callback.merchant_request_id,
        result=explain((wire.clean_code(code) if type(code) is str else "") or "unreadable"),
        result_desc=callback.result_desc,
        problems=(f"{_CODE}: missing or not a code",),
    )


def _items(metadata: object) -> tuple[dict[str, object], list[str]]:
    """Return the metadata's items by name, and the problems found.

    A name that comes twice is a problem.
    """
    listed = metadata.get("Item") if type(metadata) is dict else None
    if type(listed) is not list:
        return {}, [f"{_ITEMS}: missing or not an array"]
    try:
        found: dict[str, object] = {item["Name"]: item.get("Value") for item in listed}
    except (TypeError, KeyError, AttributeError):
        return {}, [f"{_ITEMS}: holds something that is no named item"]
    return found, [] if len(found) == len(listed) else [f"{_ITEMS}: a name comes twice"]


def _receipt(value: object) -> str | None:
    return value if type(value) is str and _RECEIPT(value) else None


def _amount(value: object) -> Decimal | None:
    """Read an amount, or return None.

    It is a JSON number, or the string that one test claims (docs/daraja.md, section 6).
    """
    if type(value) is int or (type(value) is str and _AMOUNT(value)):
        value = Decimal(value)
    if type(value) is Decimal and value.is_finite() and _LEAST <= value < _TOO_MUCH:
        return value
    return None


def _moment(value: object) -> datetime | None:
    """Read ``20191219102115`` or ``"2023-04-26 12:30:00"``, in East Africa Time."""
    if type(value) is str and _DATE(value):
        value = int("".join(filter(str.isdigit, value)))
    if type(value) is not int or not _EARLIEST <= value <= _LATEST:
        return None
    day_number, time_number = divmod(value, 1_000_000)
    month_number, day = divmod(day_number, 100)
    hour_minute, second = divmod(time_number, 100)
    try:
        return datetime(
            month_number // 100,
            month_number % 100,
            day,
            hour_minute // 100,
            hour_minute % 100,
            second,
            tzinfo=NAIROBI,
        )
    except ValueError:
        return None


def _phone(value: object) -> str | None:
    """Return the payer's number as written, perhaps masked as ``254708***430``."""
    if type(value) is int:
        return str(value) if _SHORTEST_PHONE < value < _LONGEST_PHONE else None
    return value if type(value) is str and _PHONE(value) else None
