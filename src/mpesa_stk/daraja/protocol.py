"""Sans-I/O: builds each HTTP request to Daraja, reads each HTTP answer. Pure.

Answers are classified by endpoint, status, code and text together, because the same code means
different things: ``500.001.1001`` is "pending" on the query and a refusal on the push (facts,
sections 0 and 3). Texts are compared in lower case by what they contain.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import attrs

from mpesa_stk.account import PayBill, Till
from mpesa_stk.config import StkConfig
from mpesa_stk.daraja import wire
from mpesa_stk.daraja.http import HttpRequest, HttpResponse
from mpesa_stk.daraja.models import (
    CHECKOUT_ID,
    PushAccepted,
    PushRequest,
    QueryResult,
    QueryStatus,
    Token,
)
from mpesa_stk.daraja.results import PAID_CODE, explain
from mpesa_stk.errors import (
    AuthenticationFailed,
    DarajaError,
    GatewayBlocked,
    MpesaError,
    OutcomeUnknown,
    RateLimited,
    SubscriberBusy,
    UnexpectedResponse,
)

__all__ = [
    "NAIROBI",
    "build_push",
    "build_query",
    "build_token",
    "read_push",
    "read_query",
    "read_token",
    "stk_password",
    "stk_timestamp",
]

NAIROBI = timezone(timedelta(hours=3), "EAT")
"""East Africa Time: +03:00 all year, so no time-zone database is needed."""

DEFAULT_DESCRIPTION = "Payment"
"""Sent where the caller gave none: one source wants 1 to 13 characters (facts, section 2)."""

_DEFAULT_LIFETIME = 3599.0
_LONGEST_LIFETIME = 86_400.0
_RENEW_EARLY = 60.0
_HEADER_SAFE = re.compile(r"[!-~]{1,4096}")
_DARAJA_CODE = re.compile(r"[45][0-9]{2}(?:\.[0-9]+)+")
_INTERNAL_ERRORS = ("500.003.1001", "500.002.1001")
_INCIDENT = re.compile(r"incident(?:_id=| id:?\s*)([0-9A-Za-z-]{4,80})", re.IGNORECASE)
_BLOCK_MARKS = ("incapsula", "imperva", "request unsuccessful")


def stk_timestamp(moment: datetime, /) -> str:
    """Write a moment the way Daraja wants it: ``20191219102115``, in East Africa Time.

    Args:
        moment: A timezone-aware datetime in any zone.

    Raises:
        ValueError: The datetime is naive.
    """
    if moment.tzinfo is None:
        raise ValueError("moment must be timezone-aware")
    return moment.astimezone(NAIROBI).strftime("%Y%m%d%H%M%S")


def stk_password(shortcode: str, passkey: str, timestamp: str, /) -> str:
    """The password of a push or query: base64 of shortcode, passkey and timestamp.

    Args:
        shortcode: The paybill, or a till's store number.
        passkey: The M-Pesa Express passkey.
        timestamp: The same text that the request carries as Timestamp.
    """
    return base64.b64encode(f"{shortcode}{passkey}{timestamp}".encode()).decode()


# --- requests ------------------------------------------------------------------------------------


def build_token(config: StkConfig, /) -> HttpRequest:
    """The request for a token: GET with HTTP Basic, v1 only (facts, section 1)."""
    credentials = f"{config.consumer_key}:{config.consumer_secret}".encode()
    url = config.environment.token_url
    if "grant_type=" not in url:
        url += f"{'&' if '?' in url else '?'}grant_type=client_credentials"
    return HttpRequest(
        method="GET",
        url=url,
        headers={"Authorization": "Basic " + base64.b64encode(credentials).decode()},
        connect_timeout=config.connect_timeout,
        total_timeout=config.total_timeout,
    )


def _post(config: StkConfig, url: str, token: Token, body: bytes) -> HttpRequest:
    return HttpRequest(
        method="POST",
        url=url,
        headers={"Authorization": f"Bearer {token.value}", "Content-Type": "application/json"},
        body=body,
        connect_timeout=config.connect_timeout,
        total_timeout=config.total_timeout,
    )


def _number(digits: str) -> int | str:
    """A shortcode as a JSON number, unless that would lose a leading zero."""
    return digits if digits.startswith("0") else int(digits)


def build_push(
    config: StkConfig, request: PushRequest, /, *, token: Token, moment: datetime
) -> HttpRequest:
    """The push request. Numbers go as JSON numbers, which every source accepts."""
    account: PayBill | Till = config.account
    timestamp = stk_timestamp(moment)
    msisdn = int(request.phone_number.msisdn)
    body = wire.PushBody(
        shortcode=_number(account.shortcode),
        password=stk_password(account.shortcode, config.passkey, timestamp),
        timestamp=timestamp,
        transaction_type=account.transaction_type,
        amount=request.amount,
        party_a=msisdn,
        party_b=_number(account.party_b),
        phone_number=msisdn,
        callback_url=request.callback_url,
        reference=request.reference,
        description=request.description or DEFAULT_DESCRIPTION,
    )
    return _post(config, config.environment.push_url, token, wire.encode(body))


def build_query(
    config: StkConfig, checkout_request_id: str, /, *, token: Token, moment: datetime
) -> HttpRequest:
    """The status query, with a fresh timestamp and password."""
    timestamp = stk_timestamp(moment)
    body = wire.QueryBody(
        shortcode=_number(config.account.shortcode),
        password=stk_password(config.account.shortcode, config.passkey, timestamp),
        timestamp=timestamp,
        checkout_request_id=checkout_request_id,
    )
    return _post(config, config.environment.query_url, token, wire.encode(body))


# --- answers -------------------------------------------------------------------------------------


def read_token(response: HttpResponse, /, *, sent_at: float) -> Token:
    """Read the token endpoint's answer.

    Args:
        response: The answer.
        sent_at: Monotonic second at which the request was sent; the lifetime counts from there.

    Raises:
        DarajaError: Daraja refused; `AuthenticationFailed` for bad credentials.
        UnexpectedResponse: The answer has no usable token.
    """
    payload = _payload(response)
    error = wire.read_error(payload.json)
    if error is not None:
        raise _refusal("token", response, error)
    answer = _read(wire.TokenAnswer, payload, response)
    if not _ok(response) or not _HEADER_SAFE.fullmatch(answer.access_token):
        raise UnexpectedResponse(
            "no usable token in the answer",
            http_status=response.status,
            problems=("$.access_token: not a token",),
        )
    lifetime = _lifetime(answer.expires_in)
    return Token(
        value=answer.access_token,
        expires_in=lifetime,
        renew_at=sent_at + max(lifetime - _RENEW_EARLY, lifetime / 2),
    )


def _lifetime(value: object) -> float:
    """``expires_in`` is ``"3599"`` or ``3599``; anything unusable counts as 3599 (facts, section 1)."""
    if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value):
        value = int(value)
    if type(value) is int and value > 0:
        return min(float(value), _LONGEST_LIFETIME)
    return _DEFAULT_LIFETIME


def read_push(response: HttpResponse, /) -> PushAccepted:
    """Read the push endpoint's answer.

    Accepted means a 2xx, ResponseCode ``"0"`` and a CheckoutRequestID that can be asked about.

    Raises:
        DarajaError: Daraja refused with an error code: no prompt was sent.
        GatewayBlocked: A firewall answered before Daraja saw the push.
        OutcomeUnknown: Any other answer: the prompt may be live.
    """
    try:
        payload = _payload(response)
        error = wire.read_error(payload.json)
        if error is not None:
            raise _push_refusal(response, error, accepts="CheckoutRequestID" in payload.json)
        answer = _read(wire.PushAnswer, payload, response)
    except GatewayBlocked:
        raise
    except UnexpectedResponse as unreadable:
        raise _unknown(response, "the answer cannot be read") from unreadable
    usable_id = CHECKOUT_ID.fullmatch(answer.checkout_request_id)
    if not _ok(response) or answer.response_code != PAID_CODE or not usable_id:
        raise _unknown(response, "the answer neither accepts nor refuses")
    return PushAccepted(
        merchant_request_id=answer.merchant_request_id,
        checkout_request_id=answer.checkout_request_id,
        response_code=answer.response_code,
        response_description=answer.response_description,
        customer_message=answer.customer_message,
    )


def read_query(response: HttpResponse, checkout_request_id: str, /) -> QueryResult:
    """Read the status query's answer about one CheckoutRequestID.

    Settles only on the closed list of final codes; everything else is PENDING or UNKNOWN.

    Raises:
        DarajaError: Daraja refused the query itself.
        UnexpectedResponse: The answer cannot be read.
    """
    payload = _payload(response)
    error = wire.read_error(payload.json)
    if error is not None:
        return _query_error(response, error, checkout_request_id)
    if not _ok(response):
        raise UnexpectedResponse("an error without a code", http_status=response.status)
    answer = _read(wire.QueryAnswer, payload, response)
    about_us = answer.checkout_request_id == checkout_request_id
    if answer.result_code == "4999" and "wrong credentials" in (answer.result_desc or "").lower():
        raise _wrong_passkey(response, wire.ErrorAnswer(code="4999", message=None, request_id=None))
    return QueryResult(
        status=_status(answer) if about_us else QueryStatus.UNKNOWN,
        checkout_request_id=checkout_request_id,
        merchant_request_id=answer.merchant_request_id if about_us else None,
        response_code=answer.response_code,
        response_description=answer.response_description,
        result_code=answer.result_code if about_us else None,
        result_desc=answer.result_desc if about_us else None,
    )


def _status(answer: wire.QueryAnswer) -> QueryStatus:
    if answer.response_code != PAID_CODE or answer.result_code is None:
        return QueryStatus.UNKNOWN
    if answer.result_code == PAID_CODE:
        return QueryStatus.PAID
    if answer.result_code == "4999":
        return QueryStatus.PENDING
    return QueryStatus.FAILED if explain(answer.result_code).final else QueryStatus.UNKNOWN


def _query_error(
    response: HttpResponse, error: wire.ErrorAnswer, checkout_request_id: str
) -> QueryResult:
    """An error on the query: "still being processed" and "unknown id" are answers, not errors."""
    text = (error.message or "").lower()
    status = None
    if error.code == "500.001.1001" and "being processed" in text:
        status = QueryStatus.PENDING
    elif "invalid checkoutrequestid" in text:
        # Also answered for a valid id that is asked about too early (facts, section 4).
        status = QueryStatus.UNKNOWN
    if status is None:
        raise _refusal("query", response, error)
    return QueryResult(
        status=status, checkout_request_id=checkout_request_id, result_desc=error.message
    )


# --- refusals --------------------------------------------------------------------------------------


def _ok(response: HttpResponse) -> bool:
    return 200 <= response.status < 300  # noqa: PLR2004 - HTTP's success range


@attrs.define
class _Payload:
    """An answer's JSON, which may hold a token, out of sight of those who print local variables."""

    json: Mapping[str, Any] = attrs.field(repr=False)


def _payload(response: HttpResponse) -> _Payload:
    """The answer as a JSON object, or the error that says what came instead."""
    try:
        return _Payload(wire.read_object(response.body))
    except wire.WireError as error:
        problems = error.problems
    _raise_if_limited(response)
    blocked = _blocked(response)
    if blocked is not None:
        raise blocked
    raise UnexpectedResponse(
        f"HTTP {response.status} without a readable answer",
        http_status=response.status,
        problems=problems,
    )


def _blocked(response: HttpResponse) -> GatewayBlocked | None:
    """The error for a firewall's page. Not raised here, where the page is a local variable."""
    page = response.body.decode("utf-8", "replace").lower()
    is_page = "html" in response.headers.get("content-type", "") or "<html" in page
    if not any(mark in page for mark in _BLOCK_MARKS) and not (response.status == 403 and is_page):  # noqa: PLR2004 - Forbidden
        return None
    incident = _INCIDENT.search(page)
    return GatewayBlocked(
        "a web firewall blocked the request before Daraja saw it",
        http_status=response.status,
        incident_id=incident[1] if incident else None,
    )


def _raise_if_limited(response: HttpResponse) -> None:
    if response.status == 429:  # noqa: PLR2004 - Too Many Requests
        raise RateLimited(
            "Daraja's gateway asks to slow down",
            http_status=response.status,
            retry_after=_retry_after(response),
        )


def _read(kind: type[wire.T], payload: _Payload, response: HttpResponse) -> wire.T:
    try:
        return wire.read(kind, payload.json)
    except wire.WireError as error:
        problems = error.problems
    _raise_if_limited(response)
    raise UnexpectedResponse(
        "the answer is not in Daraja's format", http_status=response.status, problems=problems
    )


def _retry_after(response: HttpResponse) -> float | None:
    text = response.headers.get("retry-after", "")
    return float(text) if re.fullmatch("[0-9]{1,6}", text) else None


def _unknown(response: HttpResponse, reason: str) -> OutcomeUnknown:
    return OutcomeUnknown(f"HTTP {response.status}: {reason}", http_status=response.status)


def _push_refusal(response: HttpResponse, error: wire.ErrorAnswer, *, accepts: bool) -> MpesaError:
    """The refusal, if the answer proves that no prompt was sent.

    It does where it says to slow down; under a 4xx; and where Daraja itself gives one of its codes,
    whatever the status. It does not where it accepts as well, or where the code tells of an error
    inside: that may have struck after the prompt.
    """
    refusal = _refusal("push", response, error)
    code = error.code or ""
    if not accepts and code not in _INTERNAL_ERRORS:
        own_code = not error.from_gateway and _DARAJA_CODE.fullmatch(code)
        if own_code or 400 <= response.status < 500 or isinstance(refusal, RateLimited):  # noqa: PLR2004 - client errors
            return refusal
    return _unknown(response, f"error {code or 'without a code'}")


def _facts(response: HttpResponse, error: wire.ErrorAnswer) -> dict[str, Any]:
    return {
        "http_status": response.status,
        "error_code": error.code,
        "error_message": error.message,
        "request_id": error.request_id,
        "retry_after": _retry_after(response),
    }


def _wrong_passkey(response: HttpResponse, error: wire.ErrorAnswer) -> AuthenticationFailed:
    return AuthenticationFailed(
        "wrong credentials: shortcode and passkey do not belong together in this environment",
        reason="credentials",
        **_facts(response, error),
    )


def _refusal(step: str, response: HttpResponse, error: wire.ErrorAnswer) -> DarajaError:
    """The typed error for an error answer (facts, sections 1 and 3)."""
    text = (error.message or "").lower()
    code = error.code or ""
    facts = _facts(response, error)
    if "no apiproduct match" in text:
        return AuthenticationFailed(
            "M-Pesa Express is not enabled on this app, or the token is older than its approval",
            reason="product",
            **facts,
        )
    if "invalid access token" in text and response.status in (400, 401, 404):
        return AuthenticationFailed("the access token was refused", reason="token_refused", **facts)
    if step == "token" and (code == "400.008.01" or response.status == 401):  # noqa: PLR2004 - Unauthorized
        return AuthenticationFailed(
            "consumer key or consumer secret is wrong", reason="credentials", **facts
        )
    if response.status == 429 or code in ("500.003.02", "500.003.03") or "ratelimit" in code:  # noqa: PLR2004 - Too Many Requests
        return RateLimited(f"Daraja asks to slow down: {code} {error.message}", **facts)
    if "unable to lock subscriber" in text:
        return SubscriberBusy("an M-Pesa prompt is already open on that phone", **facts)
    if "wrong credentials" in text:
        return _wrong_passkey(response, error)
    return DarajaError(f"Daraja refused the {step}: {code} {error.message or ''}".rstrip(), **facts)
