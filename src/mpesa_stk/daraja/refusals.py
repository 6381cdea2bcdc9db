"""Explain refusals, and decide which of them prove that no prompt was sent. Pure.

The refusals that prove it are a closed list, in one table below. Any other answer leaves a push's outcome
unknown, because sending a push again after a prompt asks the customer twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import attrs

from mpesa_stk.daraja import wire
from mpesa_stk.daraja.exchange import MAX_BODY, HttpResponse
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
from mpesa_stk.privacy import clean_text

TOO_MANY = 429

# --- the closed list (docs/daraja.md, sections 0 and 3) -------------------------------------------------

REFUSING_STATUSES = frozenset({400, 401, 403, 404, 405, 413, 415, 422, TOO_MANY})
"""With one of these statuses, an error body or a gateway's page is a refusal. With HTTP 200, an error code
that begins with one of these numbers is a refusal."""

_TOO_FAST = re.compile("spike ?arrest|quota")
REFUSING_TEXTS: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {
        "500.001.1001": re.compile(
            r"merchant does not exist|wrong credentials|unable to lock subscriber"
            r"|^(?:bad request ?- ?|\[[^]]{0,40}\] ?- ?)?invalid "
        ),
        "500.003.02": _TOO_FAST,
        "500.003.03": _TOO_FAST,
    }
)
"""With any status, these codes refuse if their text matches. With another text they are no proof."""

_DARAJA_CODE = re.compile(r"([0-9]{3})(?:\.[0-9]+)+")


def proves_no_prompt(status: int, error: wire.ErrorAnswer, /) -> bool:
    """Return whether an error answer to a push proves that no prompt was sent."""
    code, text = error.code or "", (error.message or "").lower()
    if status == TOO_MANY:
        return True
    if code in REFUSING_TEXTS and not error.from_gateway:
        return REFUSING_TEXTS[code].search(text) is not None
    named = _DARAJA_CODE.fullmatch(code)
    fits = named is None or int(named[1]) in REFUSING_STATUSES
    if status == 200:  # noqa: PLR2004 - OK
        return named is not None and fits and not error.from_gateway
    # A code for an internal error may follow a prompt, and an error without code and text is no proof.
    return status in REFUSING_STATUSES and fits and bool(code or text.strip())


def page_refuses(response: HttpResponse, /) -> bool:
    """Return whether a gateway's page proves that no prompt was sent."""
    return response.status in REFUSING_STATUSES


def push_refusal(
    response: HttpResponse, error: wire.ErrorAnswer, /, *, accepts: bool
) -> MpesaError:
    """Return the error for an error answer to a push.

    Args:
        response: The answer.
        error: The error in it.
        accepts: Whether the answer also has a CheckoutRequestID. Then it contradicts itself, and the
            outcome is unknown.
    """
    if proves_no_prompt(response.status, error) and not accepts:
        return refusal("push", response, error)
    return unknown(response, f"error {error.code or 'without a code'}")


def unknown(response: HttpResponse, reason: str, /) -> OutcomeUnknown:
    """Return the error for an answer that leaves a push's outcome unknown."""
    return OutcomeUnknown(f"HTTP {response.status}: {reason}", http_status=response.status)


# --- bodies ----------------------------------------------------------------------------------------

_INCIDENT = re.compile(r"incident(?:_id=| id:?\s*)([0-9A-Za-z-]{4,80})", re.IGNORECASE)
_BLOCK_MARKS = ("incapsula", "imperva", "request unsuccessful")
_TOKEN_REFUSED = "invalid access token"  # noqa: S105 - Daraja's words, no secret
_TOKEN_STATUSES = (400, 401, 404)


@attrs.define
class Payload:
    """An answer's JSON, which may hold a token.

    The repr hides it from tools that print local variables.
    """

    json: Mapping[str, Any] = attrs.field(repr=False)


def payload_of(response: HttpResponse, /, *, most: int = MAX_BODY) -> Payload:
    """Read the answer as a JSON object of at most so many bytes.

    Raises:
        AuthenticationFailed: The answer is plain text that refuses the token (docs/daraja.md, section 1).
        RateLimited: The answer asks to slow down.
        GatewayBlocked: The answer is the page of a firewall or gateway.
        UnexpectedResponse: The answer is anything else.
    """
    try:
        return Payload(wire.read_object(response.body, most=most))
    except wire.WireError as error:
        problems = error.problems
    _raise_if_limited(response)
    told = _blocked(response) or _told_in_plain_text(response)
    if told is not None:
        raise told
    raise UnexpectedResponse(
        f"HTTP {response.status} without a readable answer",
        http_status=response.status,
        problems=problems,
    )


def read(kind: type[wire.T], payload: Payload, response: HttpResponse, /) -> wire.T:
    """Read an answer as one of the classes in `wire`.

    Raises:
        RateLimited: The answer cannot be read and asks to slow down.
        UnexpectedResponse: The answer cannot be read.
    """
    try:
        return wire.read(kind, payload.json)
    except wire.WireError as error:
        problems = error.problems
    _raise_if_limited(response)
    raise UnexpectedResponse(
        "the answer is not in Daraja's format", http_status=response.status, problems=problems
    )


def _raise_if_limited(response: HttpResponse) -> None:
    if response.status == TOO_MANY:
        raise RateLimited(
            "Daraja's gateway asks to slow down",
            http_status=response.status,
            retry_after=_retry_after(response),
        )


def _blocked(response: HttpResponse) -> GatewayBlocked | None:
    """Return the error for a gateway's page, or None.

    The caller raises it, because the page is a local variable here and a traceback might show it.
    """
    page = response.body.decode("utf-8", "replace").lower()
    of_firewall = any(mark in page for mark in _BLOCK_MARKS)
    is_page = "<html" in page or (
        "html" in response.headers.get("content-type", "") and page.strip() != ""
    )
    if not of_firewall and not (is_page and page_refuses(response)):
        return None
    incident = _INCIDENT.search(page)
    who = "a web firewall" if of_firewall or response.status == 403 else "a gateway"  # noqa: PLR2004 - Forbidden
    return GatewayBlocked(
        f"{who} blocked the request before Daraja saw it",
        http_status=response.status,
        incident_id=incident[1] if incident else None,
    )


def _told_in_plain_text(response: HttpResponse) -> AuthenticationFailed | None:
    """Return the error if the answer refuses the token in plain text, or None."""
    if response.status not in _TOKEN_STATUSES:
        return None
    text = clean_text(response.body.decode("utf-8", "replace"))
    error = wire.ErrorAnswer(code=None, message=text, request_id=None, from_gateway=True)
    return _token_refused(response, error)


def _retry_after(response: HttpResponse) -> float | None:
    text = response.headers.get("retry-after", "")
    return float(text) if re.fullmatch("[0-9]{1,6}", text) else None


# --- the error for each refusal ----------------------------------------------------------------------


def refusal(step: str, response: HttpResponse, error: wire.ErrorAnswer, /) -> DarajaError:
    """Return the typed error for an error answer (docs/daraja.md, sections 1 and 3).

    Args:
        step: ``token``, ``push`` or ``query``.
        response: The answer.
        error: The error in it.
    """
    text = (error.message or "").lower()
    code = error.code or ""
    facts = _facts(response, error)
    refused = _token_refused(response, error)
    if refused is not None:
        return refused
    if step == "token" and (code == "400.008.01" or response.status == 401):  # noqa: PLR2004 - Unauthorized
        return wrong_key(response, error)
    if response.status == TOO_MANY or code in ("500.003.02", "500.003.03") or "ratelimit" in code:
        return RateLimited(f"Daraja asks to slow down: {code} {error.message}", **facts)
    if "unable to lock subscriber" in text:
        return SubscriberBusy("an M-Pesa prompt is already open on that phone", **facts)
    if "wrong credentials" in text:
        return wrong_passkey(response, error)
    told = f"Daraja refused the {step}: {code} {error.message or ''}".rstrip()
    if "invalid remarks" in text:
        told += " (Remarks is the description)"
    return DarajaError(told, **facts)


def _token_refused(response: HttpResponse, error: wire.ErrorAnswer) -> AuthenticationFailed | None:
    """Return the error if the answer refuses the token, or None.

    The token may be dead, or not valid for this product.
    """
    text = (error.message or "").lower()
    if "no apiproduct match" in text:
        return AuthenticationFailed(
            "M-Pesa Express is not enabled on this app, or the token is older than its approval",
            reason="product",
            **_facts(response, error),
        )
    if _TOKEN_REFUSED in text and response.status in _TOKEN_STATUSES:
        return AuthenticationFailed(
            "the access token was refused", reason="token_refused", **_facts(response, error)
        )
    return None


def wrong_key(
    response: HttpResponse, error: wire.ErrorAnswer | None = None, /
) -> AuthenticationFailed:
    """Return the error for refused app credentials.

    The token endpoint answers an empty HTTP 400 to a wrong key or secret, and to those of the other
    environment (docs/daraja.md, section 1).
    """
    nothing = wire.ErrorAnswer(code=None, message=None, request_id=None)
    return AuthenticationFailed(
        "consumer key or consumer secret is wrong, or they belong to the other environment:"
        " sandbox and production have different ones",
        reason="credentials",
        **_facts(response, error if error is not None else nothing),
    )


def wrong_passkey(response: HttpResponse, error: wire.ErrorAnswer, /) -> AuthenticationFailed:
    """Return the error for a shortcode and a passkey that do not belong together."""
    return AuthenticationFailed(
        "wrong credentials: shortcode and passkey do not belong together in this environment",
        reason="credentials",
        **_facts(response, error),
    )


def _facts(response: HttpResponse, error: wire.ErrorAnswer) -> dict[str, Any]:
    return {
        "http_status": response.status,
        "error_code": error.code,
        "error_message": error.message,
        "request_id": error.request_id,
        "retry_after": _retry_after(response),
    }
