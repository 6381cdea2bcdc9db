"""What Daraja checks of a request, one small rule each. Pure.

The rules are those of the collected wire facts, sections 1, 2 and 4. All but the one for addresses are
written anew instead of shared with the client, so that the client's mistakes show.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType

from mpesa_stk.config import StkConfig
from mpesa_stk.simulator.prompts import EAT
from mpesa_stk.urls import callback_url_fault

__all__ = [
    "PUSH_FIELDS",
    "QUERY_FIELDS",
    "basic_credentials",
    "bearer_token",
    "digits_of",
    "foreign_account_field",
    "has_password",
    "invalid_field",
    "is_fresh",
    "unknown_fields",
]

Rule = Callable[[object], bool]

_MAX_AMOUNT = 250_000
_MAX_REFERENCE = 12
_MAX_DESCRIPTION = 13
_STALE = timedelta(minutes=10)
_TRANSACTION_TYPES = ("CustomerPayBillOnline", "CustomerBuyGoodsOnline")
_DIGITS = re.compile(r"[0-9]{1,20}")
_MSISDN = re.compile(r"254[17][0-9]{8}")
_TIMESTAMP = re.compile(r"[0-9]{14}")
_CHECKOUT_ID = re.compile(r"[!-~]{1,128}")
_BEARER = re.compile(r"Bearer ([!-~]+)")
_BASIC = re.compile(r"Basic ([A-Za-z0-9+/]+={0,2})")


def digits_of(value: object, /) -> str | None:
    """The digits of a JSON number or string, which Daraja takes alike; None for anything else."""
    text = str(value) if type(value) is int else value
    return text if isinstance(text, str) and _DIGITS.fullmatch(text) else None


def _matches(shape: re.Pattern[str]) -> Rule:
    """A rule: a string of that shape."""
    return lambda value: isinstance(value, str) and shape.fullmatch(value) is not None


def _is_number(value: object) -> bool:
    return digits_of(value) is not None


def _is_text(shortest: int, longest: int) -> Rule:
    """A rule: a string of that many characters."""
    return lambda value: isinstance(value, str) and shortest <= len(value) <= longest


def _is_amount(value: object) -> bool:
    digits = digits_of(value)
    return digits is not None and 1 <= int(digits) <= _MAX_AMOUNT


def _is_msisdn(value: object) -> bool:
    return _MSISDN.fullmatch(digits_of(value) or "") is not None


def _is_timestamp(value: object) -> bool:
    return isinstance(value, str) and _moment(value) is not None


def _moment(timestamp: str) -> datetime | None:
    """The moment that a Timestamp names, in East Africa Time."""
    if not _TIMESTAMP.fullmatch(timestamp):
        return None
    try:
        return datetime.strptime(timestamp, "%Y%m%d%H%M%S").replace(tzinfo=EAT)
    except ValueError:
        return None


_CREDENTIALS: Mapping[str, Rule] = MappingProxyType(
    {
        "BusinessShortCode": _is_number,
        "Password": _is_text(1, 1024),
        "Timestamp": _is_timestamp,
    }
)
PUSH_FIELDS: Mapping[str, Rule] = MappingProxyType(
    {
        **_CREDENTIALS,
        "TransactionType": lambda value: value in _TRANSACTION_TYPES,
        "Amount": _is_amount,
        "PartyA": _is_msisdn,
        "PartyB": _is_number,
        "PhoneNumber": _is_msisdn,
        "CallBackURL": lambda value: callback_url_fault(value, allow_loopback=True) is None,
        "AccountReference": _is_text(1, _MAX_REFERENCE),
        "TransactionDesc": _is_text(0, _MAX_DESCRIPTION),
    }
)
"""The fields of a push and their rules, in the order in which they are checked."""

QUERY_FIELDS: Mapping[str, Rule] = MappingProxyType(
    {**_CREDENTIALS, "CheckoutRequestID": _matches(_CHECKOUT_ID)}
)
"""The fields of a status query and their rules."""

_OPTIONAL = {"TransactionDesc": ""}


def unknown_fields(body: Mapping[str, object], fields: Mapping[str, Rule], /) -> bool:
    """Whether the body holds a name that the endpoint does not have."""
    return not body.keys() <= fields.keys()


def invalid_field(body: Mapping[str, object], fields: Mapping[str, Rule], /) -> str | None:
    """The first field that is missing or breaks its rule, or None."""
    for name, rule in fields.items():
        if not rule(body.get(name, _OPTIONAL.get(name))):
            return name
    return None


def is_fresh(timestamp: str, now: datetime, /) -> bool:
    """Whether a well-formed Timestamp is about now, read as East Africa Time."""
    moment = _moment(timestamp)
    return moment is not None and abs(now - moment) <= _STALE


def has_password(body: Mapping[str, object], config: StkConfig, /) -> bool:
    """Whether Password is base64 of shortcode, passkey and this body's Timestamp."""
    plain = f"{config.account.shortcode}{config.passkey}{body['Timestamp']}"
    expected = base64.b64encode(plain.encode())
    return hmac.compare_digest(str(body["Password"]).encode("utf-8", "replace"), expected)


def foreign_account_field(body: Mapping[str, object], config: StkConfig, /) -> str | None:
    """The field that does not fit the merchant's account, paybill or till, or None."""
    if body["TransactionType"] != config.account.transaction_type:
        return "TransactionType"
    if digits_of(body["PartyB"]) != config.account.party_b:
        return "PartyB"
    return None


def basic_credentials(authorization: str, /) -> bytes | None:
    """What a Basic header carries, or None where it is no such header."""
    match = _BASIC.fullmatch(authorization)
    if match is None:
        return None
    try:
        return base64.b64decode(match[1], validate=True)
    except binascii.Error:
        return None


def bearer_token(authorization: str, /) -> str | None:
    """The token of a Bearer header, or None where it is no such header."""
    match = _BEARER.fullmatch(authorization)
    return match[1] if match else None
