"""Build the requests of Pull Transactions, and read the answers. Pure.

Docs/daraja.md, section 11 has the facts. Keys are matched without regard to case and spaces, because live
answers spell some of them with spaces.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone

import attrs

from mpesa_stk.config.settings import StkConfig
from mpesa_stk.daraja import protocol, refusals, wire
from mpesa_stk.daraja.exchange import HttpRequest, HttpResponse
from mpesa_stk.daraja.models import Token
from mpesa_stk.errors import (
    AuthenticationFailed,
    InvalidPhoneNumber,
    InvalidRequest,
    UnexpectedResponse,
)
from mpesa_stk.phone import PhoneNumber
from mpesa_stk.privacy import clean_text

WINDOW = timedelta(hours=48)
"""How far back Daraja answers."""

DONE = "1000"
NONE_FOUND = "1001"
"""No records, or the account is not registered, or the app lacks the product: Daraja does not tell."""
NOT_RETRIEVED = "500"

MOST_PAGE = 4 * 1024 * 1024
"""Most bytes of a page. Nobody knows whether all pages are as short as those that were seen."""

_TOLERANCE = timedelta(minutes=1)
_REGISTERS_WITHIN = 120.0  # it may hang for longer than 30 s (docs/daraja.md, section 11)


@attrs.frozen(kw_only=True)
class PullRegistration:
    """The account is registered for pulls.

    Attributes:
        response_code: ``"1000"``, or ``"1001"`` if it was registered before.
        response_description: Daraja's words.
    """

    response_code: str
    response_description: str

    @property
    def was_registered(self) -> bool:
        """Whether the account was registered before. Then its old URL and number may still be in use."""
        return self.response_code == NONE_FOUND


@attrs.frozen(kw_only=True)
class PullWindow:
    """What is asked for, in whole seconds.

    Attributes:
        begins: The first moment, aware.
        ends: The moment after the last one that is covered: not later than the question.
        asked_until: The end that the request names, aware.
    """

    begins: datetime
    ends: datetime
    asked_until: datetime


@attrs.frozen(kw_only=True)
class PullPage:
    """One page of an answer.

    Attributes:
        response_code: Daraja's code.
        rows: The value in place of the rows, unread.
        total: How many records Daraja counts in all pages. None if it does not say.
    """

    response_code: str
    rows: tuple[object, ...] = attrs.field(default=(), repr=False)
    total: int | None = None


# --- requests ------------------------------------------------------------------------------------


def check_window(start: datetime, end: datetime, /, *, now: datetime) -> PullWindow:
    """Check the window of a pull.

    Raises:
        InvalidRequest: A moment is naive, too old or in the future, or they are in the wrong order.
    """
    for field, moment in (("start", start), ("end", end)):
        if getattr(moment, "tzinfo", None) is None:
            raise InvalidRequest(field, "must be a datetime with a time zone")
    now = now.astimezone(timezone.utc)
    begins, asked_until = start.astimezone(timezone.utc), end.astimezone(timezone.utc)
    if begins < now - WINDOW - _TOLERANCE:
        raise InvalidRequest("start", "must be within the last 48 hours")
    if asked_until > now + _TOLERANCE:
        raise InvalidRequest("end", "must not be in the future")
    # One that was 48 hours ago when the caller looked at the clock may be a little older now.
    begins = max(begins, now - WINDOW).replace(microsecond=0)
    asked_until = asked_until.replace(microsecond=0)
    if begins >= asked_until:
        raise InvalidRequest("start", "must be at least a second before end")
    ends = max(min(asked_until, now.replace(microsecond=0)), begins)
    return PullWindow(begins=begins, ends=ends, asked_until=asked_until)


def build_page(
    config: StkConfig, window: PullWindow, /, *, offset: int, token: Token
) -> HttpRequest:
    """Build the request for one page."""
    body = {
        "ShortCode": config.account.shortcode,
        "StartDate": _nairobi(window.begins),
        "EndDate": _nairobi(window.asked_until),
        "OffSetValue": str(offset),
    }
    request = protocol.post(config, config.environment.pull_query_url, token, _json(body))
    return attrs.evolve(request, max_body=MOST_PAGE)


def check_nominated(number: str | PhoneNumber, /) -> PhoneNumber:
    """Check the number that is named in a registration.

    Raises:
        InvalidPhoneNumber: It is not a Kenyan mobile number.
    """
    if isinstance(number, PhoneNumber):
        return number
    try:
        return PhoneNumber.parse(number)
    except InvalidPhoneNumber as error:
        rule = error.rule
    raise InvalidPhoneNumber("nominated_number", rule)


def build_registration(
    config: StkConfig, /, *, nominated: PhoneNumber, callback_url: str, token: Token
) -> HttpRequest:
    """Build the request that registers the account. Daraja takes the number as ``254...`` only."""
    body = {
        "ShortCode": config.account.shortcode,
        "RequestType": "Pull",
        "NominatedNumber": nominated.msisdn,
        "CallBackURL": callback_url,
    }
    request = protocol.post(config, config.environment.pull_register_url, token, _json(body))
    return attrs.evolve(request, total_timeout=max(request.total_timeout, _REGISTERS_WITHIN))


def _nairobi(moment: datetime) -> str:
    return moment.astimezone(protocol.NAIROBI).strftime("%Y-%m-%d %H:%M:%S")


def _json(body: Mapping[str, str]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


# --- answers -------------------------------------------------------------------------------------


def read_page(response: HttpResponse, /) -> PullPage:
    """Read one page.

    Raises:
        DarajaError: Daraja refused. It is `AuthenticationFailed` for a token that it does not accept.
        UnexpectedResponse: The answer cannot be read.
    """
    found = _answer_of(response, "pull")
    code = wire.plain_code(found.get("responsecode"))
    if code == NONE_FOUND:
        return PullPage(response_code=code)
    message = clean_text(found.get("responsemessage")) or ""
    if code == NOT_RETRIEVED and "failed to retrieve" in message.lower():
        return PullPage(response_code=code)
    rows = _flat(found.get("response"))
    _check(response, "pull", code, message, fine=(DONE,))
    if rows is None:
        raise _unreadable(response, "Response")
    total = wire.plain_code(found.get("totalrecords"))
    number = int(total) if total is not None and total.isdecimal() else None
    return PullPage(response_code=DONE, rows=tuple(rows), total=number)


def read_registration(response: HttpResponse, /) -> PullRegistration:
    """Read the answer to a registration.

    Raises:
        DarajaError: Daraja refused. It is `AuthenticationFailed` for a token that it does not accept.
        UnexpectedResponse: The answer cannot be read.
    """
    found = _answer_of(response, "registration")
    code = wire.plain_code(found.get("responsestatus", found.get("responsecode")))
    words = clean_text(found.get("responsedescription", found.get("responsemessage"))) or ""
    code = _check(response, "registration", code, words, fine=(DONE, NONE_FOUND))
    return PullRegistration(response_code=code, response_description=words)


def not_allowed(error: AuthenticationFailed, /) -> AuthenticationFailed:
    """Return the error to raise if a new token is refused too, or if the product is missing.

    An app without the product gets the words for a dead token (docs/daraja.md, section 11).
    """
    if error.reason == "credentials":
        return error
    return AuthenticationFailed(
        "Pull Transactions is not enabled on this app: Daraja refused a token that it had just given",
        reason="product",
        http_status=error.http_status,
        error_code=error.error_code,
        error_message=error.error_message,
        request_id=error.request_id,
        retry_after=error.retry_after,
    )


def folded(found: Mapping[str, object], /) -> dict[str, object]:
    """Return an object with its keys in small letters, without spaces."""
    return {"".join(key.split()).casefold(): value for key, value in found.items()}


def _answer_of(response: HttpResponse, step: str) -> dict[str, object]:
    """Read an answer that is no error."""
    payload = refusals.payload_of(response, most=MOST_PAGE)
    error = wire.read_error(payload.json)
    if error is None and response.status == refusals.TOO_MANY:
        error = wire.ErrorAnswer(code=None, message=None, request_id=None)
    if error is not None:
        raise refusals.refusal(step, response, error)
    found = folded(payload.json)
    if len(found) < len(payload.json):
        raise UnexpectedResponse(
            "the answer is not in Daraja's format",
            http_status=response.status,
            problems=("$: two keys differ only in spaces or capitals",),
        )
    return found


def _check(
    response: HttpResponse, step: str, code: str | None, message: str, *, fine: tuple[str, ...]
) -> str:
    """Return the code of an answer that is fine, or raise the error that another one means."""
    if code is None or (code in fine and not 200 <= response.status < 300):  # noqa: PLR2004 - HTTP's success range
        raise _unreadable(response, "ResponseCode")
    if code not in fine:
        error = wire.ErrorAnswer(code=code, message=message, request_id=None)
        raise refusals.refusal(step, response, error)
    return code


def _flat(rows: object) -> list[object] | None:
    """Return the rows of ``[[row]]``, ``[row]`` and ``[[]]``."""
    if not isinstance(rows, list):
        return None
    return [row for each in rows for row in (each if isinstance(each, list) else [each])]


def _unreadable(response: HttpResponse, key: str) -> UnexpectedResponse:
    return UnexpectedResponse(
        "the answer is not in Daraja's format",
        http_status=response.status,
        problems=(f"$.{key}: missing or not known",),
    )
