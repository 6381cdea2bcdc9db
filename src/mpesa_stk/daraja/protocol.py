"""Build each HTTP request to Daraja and read each HTTP answer, without I/O. Pure.

Answers are classified by endpoint, status, code and text together, because the same code means
different things: ``500.001.1001`` is "pending" on the query and may be a refusal on the push
(docs/daraja.md, sections 0 and 3). A text is searched, in lower case, for a known part. `refusals` explains
refusals and lists those that prove that no prompt was sent.
"""

from __future__ import annotations

import base64
import re
from datetime import datetime, timedelta, timezone

from mpesa_stk.config.account import PayBill, Till
from mpesa_stk.config.settings import StkConfig
from mpesa_stk.daraja import refusals, wire
from mpesa_stk.daraja.exchange import HttpRequest, HttpResponse
from mpesa_stk.daraja.models import (
    CHECKOUT_ID,
    PushAccepted,
    PushRequest,
    QueryResult,
    QueryStatus,
    Token,
)
from mpesa_stk.daraja.results import PAID_CODE, explain
from mpesa_stk.errors import GatewayBlocked, UnexpectedResponse

NAIROBI = timezone(timedelta(hours=3), "EAT")
"""East Africa Time: +03:00 all year, so no time-zone database is needed."""

DEFAULT_DESCRIPTION = "Payment"
"""Sent if the caller gives none. One source requires 1 to 13 characters (docs/daraja.md, section 2)."""

_DEFAULT_LIFETIME = 3599.0
_LONGEST_LIFETIME = 86_400.0
_RENEW_EARLY = 60.0
_BAD_CREDENTIALS = (400, 401)
_HEADER_SAFE = re.compile(r"[!-~]{1,4096}")
# Daraja gives these two answers about an id that it does not know, or does not know yet (docs/daraja.md,
# section 4).
_NOT_FOUND = ("invalid checkoutrequestid", "transaction does not exist")
_PROCESSING = "500.001.1001"


def stk_timestamp(moment: datetime, /) -> str:
    """Write a moment as Daraja expects it: ``20191219102115``, in East Africa Time.

    Args:
        moment: A timezone-aware datetime in any zone.

    Raises:
        ValueError: The datetime is naive.
    """
    if moment.tzinfo is None:
        raise ValueError("moment must be timezone-aware")
    return moment.astimezone(NAIROBI).strftime("%Y%m%d%H%M%S")


def stk_password(shortcode: str, passkey: str, timestamp: str, /) -> str:
    """Return the password: base64 of shortcode, passkey and timestamp.

    A push and a query carry it.

    Args:
        shortcode: The paybill, or a till's store number.
        passkey: The M-Pesa Express passkey.
        timestamp: The request's Timestamp, the same text.
    """
    return base64.b64encode(f"{shortcode}{passkey}{timestamp}".encode()).decode()


# --- requests ------------------------------------------------------------------------------------


def build_token(config: StkConfig, /) -> HttpRequest:
    """Build the request for a token.

    It is a GET with HTTP Basic, v1 only (docs/daraja.md, section 1).
    """
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


def post(config: StkConfig, url: str, token: Token, body: bytes, /) -> HttpRequest:
    """Build a POST of JSON with a token."""
    return HttpRequest(
        method="POST",
        url=url,
        headers={"Authorization": f"Bearer {token.value}", "Content-Type": "application/json"},
        body=body,
        connect_timeout=config.connect_timeout,
        total_timeout=config.total_timeout,
    )


def _number(digits: str) -> int | str:
    """Return a shortcode as a JSON number, unless that would lose a leading zero."""
    return digits if digits.startswith("0") else int(digits)


def build_push(
    config: StkConfig, request: PushRequest, /, *, token: Token, moment: datetime
) -> HttpRequest:
    """Build the push request.

    Numbers are sent as JSON numbers, which every source accepts.
    """
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
    return post(config, config.environment.push_url, token, wire.encode(body))


def build_query(
    config: StkConfig, checkout_request_id: str, /, *, token: Token, moment: datetime
) -> HttpRequest:
    """Build the status query, with a fresh timestamp and password."""
    timestamp = stk_timestamp(moment)
    body = wire.QueryBody(
        shortcode=_number(config.account.shortcode),
        password=stk_password(config.account.shortcode, config.passkey, timestamp),
        timestamp=timestamp,
        checkout_request_id=checkout_request_id,
    )
    return post(config, config.environment.query_url, token, wire.encode(body))


# --- answers -------------------------------------------------------------------------------------


def read_token(response: HttpResponse, /, *, sent_at: float) -> Token:
    """Read the token endpoint's answer.

    Args:
        response: The answer.
        sent_at: Monotonic second at which the request was sent. The token's lifetime starts then.

    Raises:
        DarajaError: Daraja refused. It is `AuthenticationFailed` for bad credentials.
        UnexpectedResponse: The answer has no usable token.
    """
    if response.status in _BAD_CREDENTIALS and not response.body.strip():
        raise refusals.wrong_key(response)
    payload = refusals.payload_of(response)
    error = wire.read_error(payload.json)
    if error is not None:
        raise refusals.refusal("token", response, error)
    answer = refusals.read(wire.TokenAnswer, payload, response)
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
    """Read ``expires_in``.

    It is ``"3599"`` or ``3599`` (docs/daraja.md, section 1). An unusable value counts as 3599.
    """
    if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value):
        value = int(value)
    if type(value) is int and value > 0:
        return min(float(value), _LONGEST_LIFETIME)
    return _DEFAULT_LIFETIME


def read_push(response: HttpResponse, /) -> PushAccepted:
    """Read the push endpoint's answer.

    Accepted means a 2xx, ResponseCode ``"0"`` and a CheckoutRequestID that can be asked about.

    Raises:
        DarajaError: Daraja refused, and its answer proves that no prompt was sent.
        GatewayBlocked: A gateway's page refused the push before Daraja saw it.
        OutcomeUnknown: Any other answer: the prompt may be live.
    """
    try:
        payload = refusals.payload_of(response)
        error = wire.read_error(payload.json)
        if error is not None:
            accepts = "CheckoutRequestID" in payload.json
            raise refusals.push_refusal(response, error, accepts=accepts)
        answer = refusals.read(wire.PushAnswer, payload, response)
    except UnexpectedResponse as unreadable:
        blocked = isinstance(unreadable, GatewayBlocked)
        if blocked and refusals.page_refuses(response):
            raise
        reason = "a firewall's page" if blocked else "the answer cannot be read"
        raise refusals.unknown(response, reason) from unreadable
    usable_id = CHECKOUT_ID.fullmatch(answer.checkout_request_id)
    if not _ok(response) or answer.response_code != PAID_CODE or not usable_id:
        raise refusals.unknown(response, "the answer neither accepts nor refuses")
    return PushAccepted(
        merchant_request_id=answer.merchant_request_id,
        checkout_request_id=answer.checkout_request_id,
        response_code=answer.response_code,
        response_description=answer.response_description,
        customer_message=answer.customer_message,
    )


def read_query(response: HttpResponse, checkout_request_id: str, /) -> QueryResult:
    """Read the status query's answer about one CheckoutRequestID.

    Only a code on the closed list of final codes gives PAID or FAILED. Any other answer gives PENDING or
    UNKNOWN.

    Raises:
        DarajaError: Daraja refused the query itself.
        UnexpectedResponse: The answer cannot be read.
    """
    payload = refusals.payload_of(response)
    error = wire.read_error(payload.json)
    if error is not None:
        return _query_error(response, error, checkout_request_id)
    if not _ok(response):
        raise UnexpectedResponse("an error without a code", http_status=response.status)
    answer = refusals.read(wire.QueryAnswer, payload, response)
    about_us = answer.checkout_request_id == checkout_request_id
    if answer.result_code == "4999" and "wrong credentials" in (answer.result_desc or "").lower():
        refused = wire.ErrorAnswer(code="4999", message=None, request_id=None)
        raise refusals.wrong_passkey(response, refused)
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
    """Return the result if an error code answers the query, or else raise the error."""
    text = (error.message or "").strip().lower()
    not_found = any(each in text for each in _NOT_FOUND)
    if not_found or (error.code == _PROCESSING and not text):
        status = QueryStatus.UNKNOWN
    elif error.code == _PROCESSING and "being processed" in text:
        status = QueryStatus.PENDING
    else:
        raise refusals.refusal("query", response, error)
    return QueryResult(
        status=status,
        checkout_request_id=checkout_request_id,
        result_desc=error.message,
        not_found=not_found,
    )


def _ok(response: HttpResponse) -> bool:
    return 200 <= response.status < 300  # noqa: PLR2004 - HTTP's success range
