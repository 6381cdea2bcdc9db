"""The rules for the fields and headers of a request. Pure.

A request is refused only for a reason for which Daraja is known to refuse it (docs/daraja.md,
sections 1 to 4). Other differences are in `advice`. The client has its own rules, except for addresses: so
a mistake in the client shows here.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from types import MappingProxyType

from mpesa_stk.config.settings import StkConfig
from mpesa_stk.config.urls import host_of
from mpesa_stk.simulator.prompts import EAT

Rule = Callable[[object], bool]

_MAX_AMOUNT = 250_000
# The limit of the description is not known: clients in production send 20 characters. Daraja's refusal
# calls it Remarks (docs/daraja.md, section 2), and Daraja's other APIs limit Remarks to 100 characters.
_MAX_REMARKS = 100
_MAX_SHORT = 1024
_MOST_DIGITS = 20
CLOCK_ERROR = timedelta(minutes=10)
"""Largest error of a client's clock."""
# The easternmost zone. The westernmost one is twelve hours behind.
_FURTHEST_ZONE = timedelta(hours=14)
_EAST_AFRICA = timedelta(hours=3)
_TRANSACTION_TYPES = ("CustomerPayBillOnline", "CustomerBuyGoodsOnline")
_DIGITS = re.compile(r"[0-9]{1,20}")
_WHOLE = re.compile(r"([0-9]{1,20})(?:\.0{1,20})?")
_MSISDN = re.compile(r"254[17][0-9]{8}")
_TIMESTAMP = re.compile(r"[0-9]{14}")
_PULL_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")
_CHECKOUT_ID = re.compile(r"[!-~]{1,128}")
_BEARER = re.compile(r"bearer +([!-~]+)", re.IGNORECASE)
_BASIC = re.compile(r"basic +([A-Za-z0-9+/]+={0,2})", re.IGNORECASE)


def text_of(value: object, /) -> str | None:
    """A JSON string without blanks around it, or a whole number's digits, or None."""
    if isinstance(value, str):
        return value.strip()
    if type(value) is int and abs(value) < 10**_MOST_DIGITS:
        return str(value)
    if isinstance(value, Decimal) and value.is_finite() and value.adjusted() < _MOST_DIGITS:
        return str(int(value)) if value == int(value) else None
    return None


def digits_of(value: object, /) -> str | None:
    """The digits of a number or string (Daraja accepts both), or None."""
    text = text_of(value)
    return text if text is not None and _DIGITS.fullmatch(text) else None


def whole_of(value: object, /) -> int | None:
    """A whole amount, also in the form ``1.00``, or None."""
    match = _WHOLE.fullmatch(text_of(value) or "")
    return int(match[1]) if match else None


def _matches(shape: re.Pattern[str]) -> Rule:
    """A rule for texts of a certain form."""
    return lambda value: shape.fullmatch(text_of(value) or "") is not None


def _is_text(shortest: int, longest: int) -> Rule:
    """A rule for texts of a certain length."""

    def fits(value: object) -> bool:
        text = text_of(value)
        return text is not None and shortest <= len(text) <= longest

    return fits


def _is_amount(value: object) -> bool:
    amount = whole_of(value)
    return amount is not None and 1 <= amount <= _MAX_AMOUNT


def _is_timestamp(value: object) -> bool:
    return _shown(text_of(value) or "") is not None


def _shown(timestamp: str) -> datetime | None:
    """The time of a Timestamp, read as East Africa Time, or None."""
    if not _TIMESTAMP.fullmatch(timestamp):
        return None
    try:
        return datetime.strptime(timestamp, "%Y%m%d%H%M%S").replace(tzinfo=EAT)
    except ValueError:
        return None


_CREDENTIALS: Mapping[str, Rule] = MappingProxyType(
    {
        "BusinessShortCode": _matches(_DIGITS),
        "Password": _is_text(1, _MAX_SHORT),
        "Timestamp": _is_timestamp,
    }
)
PUSH_FIELDS: Mapping[str, Rule] = MappingProxyType(
    {
        **_CREDENTIALS,
        "TransactionType": lambda value: text_of(value) in _TRANSACTION_TYPES,
        "Amount": _is_amount,
        "PartyA": _matches(_MSISDN),
        "PartyB": _matches(_DIGITS),
        "PhoneNumber": _matches(_MSISDN),
        "CallBackURL": lambda value: isinstance(value, str) and host_of(value) != "",
        "AccountReference": _is_text(1, _MAX_SHORT),
        "TransactionDesc": _is_text(0, _MAX_REMARKS),
    }
)
"""The fields of a push and their rules, in the order in which they are checked."""

QUERY_FIELDS: Mapping[str, Rule] = MappingProxyType(
    {**_CREDENTIALS, "CheckoutRequestID": _matches(_CHECKOUT_ID)}
)
"""The fields of a status query and their rules."""

PULL_REGISTER_FIELDS: Mapping[str, Rule] = MappingProxyType(
    {
        "RequestType": lambda value: text_of(value) == "Pull",
        "NominatedNumber": _matches(_MSISDN),
        "CallBackURL": lambda value: isinstance(value, str) and host_of(value) != "",
    }
)
"""The fields of a registration for pulls and their rules, besides ShortCode."""

PULL_QUERY_FIELDS: Mapping[str, Rule] = MappingProxyType(
    {
        "StartDate": lambda value: pull_time(value) is not None,
        "EndDate": lambda value: pull_time(value) is not None,
        "OffSetValue": _matches(_DIGITS),
    }
)
"""The fields of a pull and their rules, besides ShortCode."""

# Name of the description in Daraja's refusal (docs/daraja.md, section 2).
_CALLED = {"TransactionDesc": "Remarks"}


def pull_time(value: object, /) -> datetime | None:
    """A time as in ``2026-09-25 05:00:00``, read as East Africa Time, or None."""
    text = text_of(value) or ""
    if not _PULL_TIME.fullmatch(text):
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=EAT)
    except ValueError:
        return None


def invalid_field(body: Mapping[str, object], fields: Mapping[str, Rule], /) -> str | None:
    """Daraja's name of the first field that is missing or breaks its rule, or None."""
    for name, rule in fields.items():
        if not rule(body.get(name)):
            return _CALLED.get(name, name)
    return None


def lateness_of(timestamp: object, now: datetime, /) -> timedelta | None:
    """The difference between East Africa Time and a Timestamp, or None for a malformed one."""
    shown = _shown(text_of(timestamp) or "")
    return None if shown is None else now - shown


def is_plausible(timestamp: object, now: datetime, /) -> bool:
    """Whether a clock in some time zone of the world shows this Timestamp now."""
    lateness = lateness_of(timestamp, now)
    return lateness is not None and abs(_EAST_AFRICA - lateness) <= _FURTHEST_ZONE + CLOCK_ERROR


def has_password(body: Mapping[str, object], config: StkConfig, /) -> bool:
    """Whether Password is base64 of shortcode, passkey and this body's Timestamp."""
    plain = f"{config.account.shortcode}{config.passkey}{text_of(body['Timestamp'])}"
    expected = base64.b64encode(plain.encode())
    given = text_of(body["Password"]) or ""
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected)


def fits_account(body: Mapping[str, object], config: StkConfig, /) -> bool:
    """Whether type and receiver are those of the merchant's account, paybill or till."""
    given = text_of(body.get("TransactionType")), digits_of(body.get("PartyB"))
    return given == (config.account.transaction_type, config.account.party_b)


def basic_credentials(authorization: str, /) -> bytes | None:
    """The decoded credentials of a Basic header, or None."""
    match = _BASIC.fullmatch(authorization.strip())
    if match is None:
        return None
    try:
        return base64.b64decode(match[1], validate=True)
    except binascii.Error:
        return None


def bearer_token(authorization: str, /) -> str | None:
    """The token of a Bearer header, or None."""
    match = _BEARER.fullmatch(authorization.strip())
    return match[1] if match else None
