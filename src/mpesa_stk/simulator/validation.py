"""What Daraja refuses of a request, one small rule each. Pure.

Only what Daraja is known to refuse is refused (facts, sections 1 to 4 and 8b); what it takes but does not
ask for is in `advice`. All rules but the one for addresses are written anew instead of shared with the
client, so that the client's mistakes show.
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

from mpesa_stk.config import StkConfig
from mpesa_stk.simulator.prompts import EAT
from mpesa_stk.urls import host_of

__all__ = [
    "CLOCK_ERROR",
    "PUSH_FIELDS",
    "QUERY_FIELDS",
    "basic_credentials",
    "bearer_token",
    "digits_of",
    "fits_account",
    "has_password",
    "invalid_field",
    "is_plausible",
    "lateness_of",
    "text_of",
    "whole_of",
]

Rule = Callable[[object], bool]

_MAX_AMOUNT = 250_000
# Where the description gets too long is not known: 20 characters are sent in production. Daraja's refusal
# calls it Remarks (facts, section 8b), and its other APIs ask for Remarks of at most 100 characters.
_MAX_REMARKS = 100
_MAX_SHORT = 1024
_MOST_DIGITS = 20
CLOCK_ERROR = timedelta(minutes=10)
"""How far the clock of a client may be off."""
# The easternmost zone. The westernmost one is twelve hours behind.
_FURTHEST_ZONE = timedelta(hours=14)
_EAST_AFRICA = timedelta(hours=3)
_TRANSACTION_TYPES = ("CustomerPayBillOnline", "CustomerBuyGoodsOnline")
_DIGITS = re.compile(r"[0-9]{1,20}")
_WHOLE = re.compile(r"([0-9]{1,20})(?:\.0{1,20})?")
_MSISDN = re.compile(r"254[17][0-9]{8}")
_TIMESTAMP = re.compile(r"[0-9]{14}")
_CHECKOUT_ID = re.compile(r"[!-~]{1,128}")
_BEARER = re.compile(r"bearer +([!-~]+)", re.IGNORECASE)
_BASIC = re.compile(r"basic +([A-Za-z0-9+/]+={0,2})", re.IGNORECASE)


def text_of(value: object, /) -> str | None:
    """A JSON string without blanks around it, or a whole number's digits; None for anything else."""
    if isinstance(value, str):
        return value.strip()
    if type(value) is int and abs(value) < 10**_MOST_DIGITS:
        return str(value)
    if isinstance(value, Decimal) and value.is_finite() and value.adjusted() < _MOST_DIGITS:
        return str(int(value)) if value == int(value) else None
    return None


def digits_of(value: object, /) -> str | None:
    """The digits of a number or string, which Daraja takes alike; None for anything else."""
    text = text_of(value)
    return text if text is not None and _DIGITS.fullmatch(text) else None


def whole_of(value: object, /) -> int | None:
    """A whole amount, also if it is written as ``1.00``; None for anything else."""
    match = _WHOLE.fullmatch(text_of(value) or "")
    return int(match[1]) if match else None


def _matches(shape: re.Pattern[str]) -> Rule:
    """A rule: a text of that shape."""
    return lambda value: shape.fullmatch(text_of(value) or "") is not None


def _is_text(shortest: int, longest: int) -> Rule:
    """A rule: a text of that many characters."""

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
    """The moment at which a clock in East Africa shows a Timestamp."""
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

# Daraja's refusal names the description so (facts, section 8b).
_CALLED = {"TransactionDesc": "Remarks"}


def invalid_field(body: Mapping[str, object], fields: Mapping[str, Rule], /) -> str | None:
    """The first field that is missing or breaks its rule, as Daraja calls it, or None."""
    for name, rule in fields.items():
        if not rule(body.get(name)):
            return _CALLED.get(name, name)
    return None


def lateness_of(timestamp: object, now: datetime, /) -> timedelta | None:
    """How far a Timestamp is behind a clock in East Africa; None where it is no Timestamp."""
    shown = _shown(text_of(timestamp) or "")
    return None if shown is None else now - shown


def is_plausible(timestamp: object, now: datetime, /) -> bool:
    """Whether a clock shows that Timestamp now, in any zone of the world."""
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
    """What a Basic header carries, or None where it is no such header."""
    match = _BASIC.fullmatch(authorization.strip())
    if match is None:
        return None
    try:
        return base64.b64decode(match[1], validate=True)
    except binascii.Error:
        return None


def bearer_token(authorization: str, /) -> str | None:
    """The token of a Bearer header, or None where it is no such header."""
    match = _BEARER.fullmatch(authorization.strip())
    return match[1] if match else None
