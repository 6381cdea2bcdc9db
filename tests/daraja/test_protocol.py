"""The pure core: each request as Daraja wants it, each answer read for what it proves."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timedelta, timezone
from typing import Any

import attrs
import pytest

from mpesa_stk import (
    AuthenticationFailed,
    DarajaError,
    Environment,
    GatewayBlocked,
    HttpRequest,
    HttpResponse,
    MpesaError,
    OutcomeUnknown,
    PayBill,
    PhoneNumber,
    PushRequest,
    QueryStatus,
    RateLimited,
    SubscriberBusy,
    Till,
    Token,
    UnexpectedResponse,
    stk_password,
    stk_timestamp,
)
from mpesa_stk.daraja import protocol
from mpesa_stk.daraja.results import CATALOGUE
from support import (
    CALLBACK_URL,
    CANARIES,
    CHECKOUT_ID,
    CONSUMER_KEY,
    CONSUMER_SECRET,
    MERCHANT_ID,
    PASSKEY,
    START,
    accepted,
    make_config,
)
from support import TOKEN as TOKEN_TEXT

TOKEN = Token(value=TOKEN_TEXT, expires_in=3599.0, renew_at=0.0)
BLOCK_PAGE = (
    b'<html><body><iframe src="/_Incapsula_Resource?xinfo=1&incident_id=873000020-178453A">'
    b"Request unsuccessful. Incapsula incident ID: 873000020-178453A</iframe></body></html>"
)


def answered(body: object, status: int = 200, **headers: str) -> HttpResponse:
    """An HTTP answer: JSON, or these very bytes."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpResponse(status=status, headers=named, body=raw)


def no(code: object, message: object = "No.", status: int = 400) -> HttpResponse:
    """An error answer in Daraja's own shape."""
    return answered({"requestId": "r-1", "errorCode": code, "errorMessage": message}, status)


def gateway_no(code: str, message: str, status: int) -> HttpResponse:
    """An error answer of the API gateway in front of Daraja."""
    return answered({"fault": {"faultstring": message, "detail": {"errorcode": code}}}, status)


def soap_fault(status: int) -> HttpResponse:
    """A fault of the system behind the gateway."""
    return answered({"Envelope": {"Body": {"Fault": {"faultstring": "Server fault"}}}}, status)


def queried(code: object = "0", description: object = "x", **changes: Any) -> HttpResponse:
    """The status query's answer."""
    return answered(
        {
            "ResponseCode": "0",
            "ResponseDescription": "The service request has been accepted successsfully",
            "MerchantRequestID": MERCHANT_ID,
            "CheckoutRequestID": CHECKOUT_ID,
            "ResultCode": code,
            "ResultDesc": description,
        }
        | changes
    )


def text_of(request: HttpRequest) -> dict[str, Any]:
    """The JSON of a request."""
    body: dict[str, Any] = json.loads(request.body or b"")
    return body


# --- timestamp and password -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moment", "stamp"),
    [
        # TZ=UTC-3 date -d 2019-12-19T07:21:15Z +%Y%m%d%H%M%S, and so for each row
        ("2019-12-19T07:21:15+00:00", "20191219102115"),
        ("2023-12-31T21:00:00+00:00", "20240101000000"),
        ("2024-02-29T20:59:59+00:00", "20240229235959"),
        ("2026-07-01T00:30:09+00:00", "20260701033009"),
        ("2026-07-01T03:30:09+03:00", "20260701033009"),
        ("2026-06-30T17:30:09-07:00", "20260701033009"),
    ],
)
def test_timestamps_are_nairobis(moment: str, stamp: str) -> None:
    """Whatever zone the moment is told in, Daraja gets East Africa Time."""
    assert stk_timestamp(datetime.fromisoformat(moment)) == stamp


def test_a_naive_moment_is_refused() -> None:
    """A datetime without a zone would be read in the host's own."""
    with pytest.raises(ValueError, match="timezone-aware"):
        stk_timestamp(datetime(2026, 1, 1))  # noqa: DTZ001 - naive on purpose


@pytest.mark.parametrize(
    ("parts", "password"),
    [
        # printf %s 174379bfb2...c91920210628092408 | openssl base64 -A; also the portal's own sample
        (
            (
                "174379",
                "bfb279f9aa9bdbcf158e97dd71a467cd2e0c893059b10f78e6b72ada1ed2c919",
                "20210628092408",
            ),
            (
                "MTc0Mzc5YmZiMjc5ZjlhYTliZGJjZjE1OGU5N2RkNzFhNDY3Y2QyZTBjODkzMDU5YjEwZjc4ZTZiNzJhZGEx"
                "ZWQyYzkxOTIwMjEwNjI4MDkyNDA4"
            ),
        ),
        # printf %s 600000c0ffee20260102030405 | base64 -w0
        (("600000", "c0ffee", "20260102030405"), "NjAwMDAwYzBmZmVlMjAyNjAxMDIwMzA0MDU="),
        # printf %s '012345~!@#%^20191219102115' | base64 -w0
        (("012345", "~!@#%^", "20191219102115"), "MDEyMzQ1fiFAIyVeMjAxOTEyMTkxMDIxMTU="),
    ],
)
def test_passwords_are_base64_of_the_three_parts(
    parts: tuple[str, str, str], password: str
) -> None:
    """The same as independent tools make."""
    assert stk_password(*parts) == password


# --- requests ------------------------------------------------------------------------------------------


def test_the_token_request_is_basic() -> None:
    """GET, HTTP Basic, no body, the settings' time limits."""
    request = protocol.build_token(make_config(connect_timeout=3.0, total_timeout=9.0))

    scheme, credentials = request.headers["Authorization"].split()
    assert (request.method, request.body, scheme) == ("GET", None, "Basic")
    assert base64.b64decode(credentials) == f"{CONSUMER_KEY}:{CONSUMER_SECRET}".encode()
    assert (request.connect_timeout, request.total_timeout) == (3.0, 9.0)


@pytest.mark.parametrize(
    ("url", "completed"),
    [
        ("https://d.example/oauth", "https://d.example/oauth?grant_type=client_credentials"),
        ("https://d.example/o?a=b", "https://d.example/o?a=b&grant_type=client_credentials"),
        (
            "https://d.example/o?grant_type=client_credentials",
            "https://d.example/o?grant_type=client_credentials",
        ),
    ],
)
def test_the_grant_type_is_completed(url: str, completed: str) -> None:
    """People set the token URL with its query or without."""
    environment = attrs.evolve(Environment.at("https://d.example", name="own"), token_url=url)

    assert protocol.build_token(make_config(environment=environment)).url == completed


def push_request(**changes: Any) -> PushRequest:
    """A push, checked."""
    fields: dict[str, Any] = {
        "phone_number": "0718643064",
        "amount": 100,
        "reference": "INV-1",
        "description": "Shoes",
        "callback_url": CALLBACK_URL,
        "max_amount": 250_000,
    }
    return PushRequest.checked(**(fields | changes))


@pytest.mark.parametrize(
    ("account", "short", "party", "kind"),
    [
        (PayBill("600000"), 600000, 600000, "CustomerPayBillOnline"),
        (PayBill("012345"), "012345", "012345", "CustomerPayBillOnline"),
        (
            Till(store_number="600000", till_number="5566778"),
            600000,
            5566778,
            "CustomerBuyGoodsOnline",
        ),
        (
            Till(store_number="600000", till_number="0556677"),
            600000,
            "0556677",
            "CustomerBuyGoodsOnline",
        ),
    ],
)
def test_the_push_request(
    account: PayBill | Till, short: int | str, party: int | str, kind: str
) -> None:
    """Numbers go as JSON numbers, except where that would lose a leading zero."""
    request = protocol.build_push(
        make_config(account=account), push_request(), token=TOKEN, moment=START
    )

    assert request.url == "https://sandbox.safaricom.co.ke/mpesa/stkpush/v1/processrequest"
    assert request.method == "POST"
    assert request.headers == {
        "Authorization": f"Bearer {TOKEN_TEXT}",
        "Content-Type": "application/json",
    }
    assert text_of(request) == {
        "BusinessShortCode": short,
        "Password": stk_password(str(short), PASSKEY, "20261123090000"),
        "Timestamp": "20261123090000",
        "TransactionType": kind,
        "Amount": 100,
        "PartyA": 254718643064,
        "PartyB": party,
        "PhoneNumber": 254718643064,
        "CallBackURL": CALLBACK_URL,
        "AccountReference": "INV-1",
        "TransactionDesc": "Shoes",
    }


def test_a_missing_description_is_filled() -> None:
    """One source wants 1 to 13 characters, so none is never sent."""
    request = protocol.build_push(
        make_config(), push_request(description=""), token=TOKEN, moment=START
    )

    assert text_of(request)["TransactionDesc"] == "Payment"


def test_the_query_request() -> None:
    """A fresh timestamp, and the password that belongs to it."""
    moment = START + timedelta(seconds=61)
    request = protocol.build_query(make_config(), CHECKOUT_ID, token=TOKEN, moment=moment)

    assert request.url == "https://sandbox.safaricom.co.ke/mpesa/stkpushquery/v1/query"
    assert text_of(request) == {
        "BusinessShortCode": 600000,
        "Password": stk_password("600000", PASSKEY, "20261123090101"),
        "Timestamp": "20261123090101",
        "CheckoutRequestID": CHECKOUT_ID,
    }


def test_requests_keep_their_secrets() -> None:
    """No repr of a request or an answer shows what it carries."""
    config = make_config()
    shown = [
        protocol.build_token(config),
        protocol.build_push(config, push_request(), token=TOKEN, moment=START),
        answered({"access_token": TOKEN_TEXT}),
        TOKEN,
    ]

    for value in shown:
        assert not [canary for canary in (*CANARIES, "718643064") if canary in repr(value)]


# --- the token's answer ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expires_in", "lifetime", "renewed_after"),
    [
        pytest.param("3599", 3599, 3539, id="string"),
        pytest.param(3599, 3599, 3539, id="number"),
        pytest.param("3600", 3600, 3540, id="other"),
        pytest.param(120, 120, 60, id="two-minutes"),
        pytest.param(60, 60, 30, id="shorter-than-the-margin"),
        pytest.param(1, 1, 0.5, id="one-second"),
        pytest.param(10**9, 86_400, 86_340, id="longer-than-a-day"),
        pytest.param(None, 3599, 3539, id="null"),
        pytest.param(0, 3599, 3539, id="zero"),
        pytest.param(-1, 3599, 3539, id="negative"),
        pytest.param("-1", 3599, 3539, id="negative-string"),
        pytest.param("soon", 3599, 3539, id="word"),
        pytest.param("9" * 5000, 3599, 3539, id="endless"),
        pytest.param("\u0663\u0665", 3599, 3539, id="other-digits"),
        pytest.param(3599.0, 3599, 3539, id="fraction"),
        pytest.param(True, 3599, 3539, id="bool"),
        pytest.param([3599], 3599, 3539, id="array"),
    ],
)
def test_expires_in_is_anything(expires_in: object, lifetime: float, renewed_after: float) -> None:
    """A number, a string of digits, or 3599; it counts from when the request was sent."""
    response = answered({"access_token": TOKEN_TEXT, "expires_in": expires_in})

    token = protocol.read_token(response, sent_at=5000.0)

    assert token == Token(value=TOKEN_TEXT, expires_in=lifetime, renew_at=5000.0 + renewed_after)


def test_expires_in_may_be_missing() -> None:
    """One fixture misspells the key."""
    response = answered({"access_token": TOKEN_TEXT, "expiry_in": "10"})

    assert protocol.read_token(response, sent_at=0.0).expires_in == 3599.0


@pytest.mark.parametrize(
    "response",
    [
        pytest.param(answered({}), id="empty-object"),
        pytest.param(answered({"access_token": None}), id="null"),
        pytest.param(answered({"access_token": ""}), id="empty"),
        pytest.param(answered({"access_token": "a b"}), id="space"),
        pytest.param(answered({"access_token": "a\r\nX-Evil: 1"}), id="header-injection"),
        pytest.param(answered({"access_token": "\u00e9"}), id="not-ascii"),
        pytest.param(answered({"access_token": "a" * 4097}), id="endless"),
        pytest.param(answered({"access_token": TOKEN_TEXT}, 500), id="under-500"),
        pytest.param(answered({"access_token": TOKEN_TEXT}, 307), id="redirect"),
        pytest.param(answered(b""), id="empty-body"),
        pytest.param(answered(b"", 403), id="empty-403"),
        pytest.param(answered(b"<html>Bad gateway</html>", 502), id="html"),
    ],
)
def test_what_is_no_token(response: HttpResponse) -> None:
    """Whatever came instead of a token is never quoted and never sent as one."""
    with pytest.raises(UnexpectedResponse) as caught:
        protocol.read_token(response, sent_at=0.0)

    assert type(caught.value) is UnexpectedResponse
    assert caught.value.http_status == response.status
    assert caught.value.problems
    assert TOKEN_TEXT not in str(caught.value)


# --- refusals --------------------------------------------------------------------------------------------

# step, answer, error, and its reason where it has one
REFUSALS = [
    ("token", no("400.008.01", "Invalid authentication type passed"), "credentials"),
    ("token", no("999", "no", 401), "credentials"),
    ("token", no("400.008.02", "Invalid grant type passed"), DarajaError),
    ("token", no("500.003.1001", "Internal Server Error", 500), DarajaError),
    ("token", soap_fault(503), DarajaError),
    ("token", no("404.001.03", "Invalid Access Token", 404), "token_refused"),
    ("push", no("404.001.03", "Invalid Access Token", 404), "token_refused"),
    ("push", no("404.001.03", "INVALID ACCESS TOKEN", 401), "token_refused"),
    ("push", no("400.003.01", "Error: invalid access token.", 400), "token_refused"),
    ("push", gateway_no("keymanagement.x", "Invalid Access Token", 401), "token_refused"),
    ("push", answered(b"Error Occurred - Invalid Access Token", 401), "token_refused"),
    ("push", answered(b"Invalid Access Token", 404), "token_refused"),
    ("push", answered(b"Invalid API call as no apiproduct match found", 401), "product"),
    ("query", answered(b"Error Occurred - Invalid Access Token", 401), "token_refused"),
    ("push", no("404.001.03", "Invalid Access Token", 200), DarajaError),
    ("token", answered(b"", 400), "credentials"),
    ("token", answered(b" \r\n", 401), "credentials"),
    ("push", no("404.001.04", "Invalid Authentication Header", 404), DarajaError),
    (
        "push",
        no("401.003.01", "Invalid Access Token: no apiproduct match found", 401),
        "product",
    ),
    ("push", no("500.001.1001", "Wrong credentials", 500), "credentials"),
    ("push", no("500.001.1001", "[MerchantValidate] - Wrong credentials", 500), "credentials"),
    ("push", no("500.001.1001", "Merchant does not exist", 500), DarajaError),
    ("push", no("500.001.1001", "Unable to lock subscriber, a transaction", 500), SubscriberBusy),
    ("push", no("500.001.1001", "unable to lock subscriber", 200), SubscriberBusy),
    ("push", no("500.003.02", "Error Occurred: Spike Arrest Violation", 500), RateLimited),
    ("push", no("500.003.03", "Quota Violation", 500), RateLimited),
    ("push", no(None, None, 429), RateLimited),
    ("push", gateway_no("policies.ratelimit.X", "Spike", 429), RateLimited),
    ("push", answered(b"slow down", 429), RateLimited),
    ("push", answered({"message": "slow down"}, 429), RateLimited),
    ("push", no("400.002.02", "Bad Request - Invalid Amount"), DarajaError),
    ("push", no("400.002.02", "Bad Request - Invalid Amount", 200), DarajaError),
    ("push", no("405.001", "Method Not Allowed", 405), DarajaError),
    ("push", no(None, "Not allowed", 403), DarajaError),
    ("push", no("E77", "?", 422), DarajaError),
    ("push", gateway_no("steps.oauth", "Not found", 404), DarajaError),
    ("push", soap_fault(400), DarajaError),
    ("query", no("400.002.02", "Bad Request - Invalid Timestamp"), DarajaError),
    ("query", no("404.001.03", "Invalid Access Token", 404), "token_refused"),
    ("query", no("500.001.1001", "Wrong credentials", 500), "credentials"),
    ("query", no("500.001.1001", "Something else", 500), DarajaError),
    ("query", no("500.003.02", "System is busy.", 500), RateLimited),
    ("query", answered(b"", 429), RateLimited),
    ("query", soap_fault(503), DarajaError),
]


def read(step: str, response: HttpResponse) -> object:
    """Read an answer as that step's."""
    if step == "token":
        return protocol.read_token(response, sent_at=0.0)
    if step == "push":
        return protocol.read_push(response)
    return protocol.read_query(response, CHECKOUT_ID)


@pytest.mark.parametrize(("step", "response", "expected"), REFUSALS)
def test_refusals_by_step_status_code_and_text(
    step: str, response: HttpResponse, expected: str | type[MpesaError]
) -> None:
    """The same code means different things at different endpoints, so all four decide together."""
    with pytest.raises(DarajaError) as caught:
        read(step, response)

    error = caught.value
    assert error.http_status == response.status
    if isinstance(expected, str):
        assert isinstance(error, AuthenticationFailed)
        assert error.reason == expected
    else:
        assert type(error) is expected


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("30", 30.0), ("0", 0.0), ("-1", None), ("soon", None), ("9" * 7, None), (None, None)],
)
@pytest.mark.parametrize("body", [b"", b'{"errorCode": "500.003.02"}', b"{}"])
def test_retry_after_is_read_in_seconds(
    body: bytes, header: str | None, seconds: float | None
) -> None:
    """A number of seconds is taken; a date or nonsense is not."""
    headers = {} if header is None else {"retry_after": header}
    with pytest.raises(RateLimited) as caught:
        protocol.read_push(answered(body, 429, **headers))

    assert caught.value.retry_after == seconds


def test_a_refusal_carries_its_facts() -> None:
    """Status, code, text and request id are attributes, for hosts and for the support desk."""
    with pytest.raises(DarajaError) as caught:
        protocol.read_push(no("400.002.02", "Bad Request - Invalid Amount"))

    error = caught.value
    assert (error.http_status, error.error_code) == (400, "400.002.02")
    assert (error.error_message, error.request_id) == ("Bad Request - Invalid Amount", "r-1")
    assert str(error) == "Daraja refused the push: 400.002.02 Bad Request - Invalid Amount"


@pytest.mark.parametrize("step", ["token", "push", "query"])
def test_no_error_repeats_a_secret(step: str) -> None:
    """What Daraja echoes back does not get into texts."""
    echo = f"Invalid {TOKEN_TEXT} {PASSKEY} for 254718643064"
    for response in (
        no("400.002.02", echo),
        no(echo, echo),
        gateway_no(echo, echo, 400),
        answered(echo.encode(), 400),
        answered({"ResponseCode": echo, "access_token": 1, "CheckoutRequestID": [echo]}),
    ):
        with pytest.raises(MpesaError) as caught:
            read(step, response)
        told = str(caught.value) + repr(caught.value) + str(vars(caught.value))
        assert not [secret for secret in (*CANARIES, "254718643064") if secret in told]


# --- block pages -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["token", "push", "query"])
@pytest.mark.parametrize(
    ("response", "incident"),
    [
        pytest.param(answered(BLOCK_PAGE, 403), "873000020-178453a", id="imperva"),
        pytest.param(
            answered(b"Request unsuccessful. Incapsula incident ID: 1-2", 403), None, id="short-id"
        ),
        pytest.param(
            answered(b"Request unsuccessful. Incapsula incident ID: 12345-6789", 403),
            "12345-6789",
            id="text",
        ),
        pytest.param(answered(b"<html>Not found</html>", 404), None, id="page-404"),
        pytest.param(answered(b"<html>Too large</html>", 413), None, id="page-413"),
        pytest.param(
            answered(b"<html>... blocked by Imperva ...</html>", 403), None, id="without-id"
        ),
        pytest.param(answered(b"<HTML>Forbidden</HTML>", 403), None, id="forbidden-page"),
        pytest.param(
            answered(b"Forbidden", 403, content_type="text/html; charset=utf-8"),
            None,
            id="forbidden-by-type",
        ),
    ],
)
def test_block_pages(step: str, response: HttpResponse, incident: str | None) -> None:
    """A firewall's page means that Daraja saw nothing; its incident id is what support asks for."""
    with pytest.raises(GatewayBlocked) as caught:
        read(step, response)

    assert caught.value.incident_id == incident
    assert caught.value.http_status == response.status


@pytest.mark.parametrize("status", [200, 500, 503])
def test_a_firewalls_page_under_another_status(status: int) -> None:
    """Token and query are blocked; a push may have passed it before, so its outcome is unknown."""
    page = answered(BLOCK_PAGE, status)
    for step in ("token", "query"):
        with pytest.raises(GatewayBlocked) as blocked:
            read(step, page)
        assert blocked.value.incident_id == "873000020-178453a"

    with pytest.raises(OutcomeUnknown, match="firewall"):
        protocol.read_push(page)


# --- the push's answer -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 202])
def test_an_accepted_push(status: int) -> None:
    """Accepted: a 2xx, ResponseCode 0 and a CheckoutRequestID."""
    push = protocol.read_push(answered(accepted(), status))

    assert (push.checkout_request_id, push.merchant_request_id) == (CHECKOUT_ID, MERCHANT_ID)
    assert push.response_code == "0"
    assert push.response_description == push.customer_message == accepted()["CustomerMessage"]


@pytest.mark.parametrize(
    "changes",
    [
        {"ResponseCode": 0},
        {"MerchantRequestID": None},
        {"ResponseDescription": None, "CustomerMessage": 7},
        {"Added": {"a": [1]}},
    ],
)
def test_an_accepted_push_that_looks_odd(changes: dict[str, Any]) -> None:
    """What proves nothing either way does not turn "accepted" into "unknown"."""
    push = protocol.read_push(answered(accepted() | changes))

    assert (push.checkout_request_id, push.response_code) == (CHECKOUT_ID, "0")


@pytest.mark.parametrize(
    "response",
    [
        pytest.param(answered(b""), id="empty-200"),
        pytest.param(answered(b"", 503), id="empty-503"),
        pytest.param(answered(b"{}"), id="empty-object"),
        pytest.param(answered(b"[1]"), id="array"),
        pytest.param(answered(b"null"), id="null"),
        pytest.param(answered(b"<html>Bad gateway</html>", 502), id="html-502"),
        pytest.param(answered(b"<html>Welcome</html>"), id="html-200"),
        pytest.param(answered(b"\xff\xfe\x00"), id="garbage"),
        pytest.param(answered(b"", 404), id="empty-404"),
        pytest.param(answered(b"moved", 307), id="redirect"),
        pytest.param(answered(accepted(), 307), id="accepted-under-307"),
        pytest.param(answered(accepted(), 500), id="accepted-under-500"),
        pytest.param(answered(accepted() | {"ResponseCode": "1"}), id="code-1"),
        pytest.param(answered(accepted() | {"ResponseCode": "00"}), id="code-00"),
        pytest.param(answered(accepted() | {"ResponseCode": False}), id="code-false"),
        pytest.param(answered(accepted() | {"CheckoutRequestID": ""}), id="no-id"),
        pytest.param(answered(accepted() | {"CheckoutRequestID": None}), id="null-id"),
        pytest.param(answered(accepted() | {"CheckoutRequestID": 7}), id="number-id"),
        pytest.param(answered(accepted() | {"CheckoutRequestID": "a\nb"}), id="id-of-two-lines"),
        pytest.param(answered(accepted() | {"CheckoutRequestID": "a" * 129}), id="endless-id"),
        pytest.param(
            answered(accepted() | {"errorCode": "500.001.1001", "errorMessage": "x"}),
            id="accepts-and-refuses",
        ),
        pytest.param(answered(accepted() | {"errorCode": None}), id="accepts-and-null-code"),
        pytest.param(no("500.003.1001", "Internal Server Error", 500), id="internal-error"),
        pytest.param(no("500.003.1001", "Internal Server Error", 400), id="internal-error-400"),
        pytest.param(no("500.002.1001", "System internal error.", 500), id="system-internal"),
        pytest.param(no(None, "Something broke", 500), id="5xx-without-code"),
        pytest.param(no("", "", 500), id="5xx-with-empty-code"),
        pytest.param(no("", "", 200), id="200-with-empty-code"),
        pytest.param(no("0", "Success", 200), id="200-with-code-0"),
        pytest.param(no("E77", "?", 500), id="5xx-with-odd-code"),
        *(
            pytest.param(no("500.001.1001", text, status), id=f"{status}-1001-{text}")
            for status in (200, 400, 500, 503)
            for text in (
                None,
                "",
                "Internal Server Error",
                "The transaction is being processed",
                "Request timed out",
                "This is an invalid state",
                "Merchant exists",
            )
        ),
        *(
            pytest.param(no(code, text, status), id=f"{status}-{code}-{text}")
            for status in (200, 400, 500)
            for code in ("500.003.02", "500.003.03")
            for text in (None, "", "System is busy. Please try again in few minutes.")
        ),
        *(
            pytest.param(no("400.002.02", "Bad Request - Invalid Amount", status), id=str(status))
            for status in (
                201,
                202,
                307,
                402,
                406,
                408,
                409,
                410,
                418,
                425,
                451,
                499,
                500,
                502,
                504,
            )
        ),
        *(
            pytest.param(no(code, "Refused", status), id=f"{status}-{code}")
            for status in (200, 400, 404)
            for code in ("408.001", "499.001", "409.001", "500.001", "503.001.01", "504.001.01")
        ),
        pytest.param(no("404.001.03", "Invalid Access Token", 500), id="token-refused-500"),
        pytest.param(no("", "", 404), id="404-with-empty-error"),
        pytest.param(soap_fault(408), id="soap-408"),
        pytest.param(gateway_no("policies.ratelimit.X", "Quota", 500), id="gateway-quota-500"),
        pytest.param(gateway_no("400.002.02", "odd", 200), id="gateway-200-with-darajas-code"),
        pytest.param(gateway_no("500.003.02", "Quota", 500), id="gateway-500-with-darajas-code"),
        pytest.param(answered(b"Invalid Access Token", 500), id="text-500"),
        pytest.param(answered(b"Forbidden", 403), id="text-403"),
        pytest.param(answered({"message": "Forbidden"}, 403), id="403-no-error-body"),
        pytest.param(answered(b"", 400, content_type="text/html"), id="empty-html-400"),
        pytest.param(answered(b"<html>x</html>", 408), id="page-408"),
        pytest.param(answered(b"<html>x</html>", 499), id="page-499"),
        pytest.param(no({"a": 1}, "?", 502), id="5xx-with-object-code"),
        pytest.param(gateway_no("messaging.x", "Unexpected EOF at target", 502), id="gateway-502"),
        pytest.param(gateway_no("messaging.x", "Gateway Timeout", 504), id="gateway-504"),
        pytest.param(gateway_no("500.001.1001", "odd", 500), id="gateway-with-darajas-code"),
        pytest.param(gateway_no("steps.x", "odd", 200), id="gateway-200"),
        pytest.param(soap_fault(500), id="soap-500"),
        pytest.param(soap_fault(200), id="soap-200"),
    ],
)
def test_any_other_answer_to_a_push_is_unknown(response: HttpResponse) -> None:
    """Only Daraja's own word, uncontradicted, proves that no prompt was sent."""
    with pytest.raises(OutcomeUnknown) as caught:
        protocol.read_push(response)

    assert caught.value.http_status == response.status


# Status, code and text of every kind on the closed list.
REFUSED = [
    *((status, "E77", "?") for status in (400, 401, 403, 404, 405, 413, 415, 422, 429)),
    *((status, None, "No.") for status in (400, 401, 403, 404, 405, 413, 415, 422, 429)),
    (429, "500.003.02", "System is busy."),
    (429, "500.003.1001", ""),
    *((200, f"{status}.002.02", "") for status in (400, 401, 403, 404, 405, 413, 415, 422, 429)),
    *(
        (status, "500.001.1001", text)
        for status in (200, 400, 500, 503)
        for text in (
            "Merchant does not exist",
            "Wrong credentials",
            "[MerchantValidate] - Wrong credentials",
            "Unable to lock subscriber, a transaction is already in process",
            "Invalid PhoneNumber",
            "Bad Request - Invalid PhoneNumber",
            "[X] - invalid amount",
        )
    ),
    *(
        (status, code, text)
        for status in (200, 500)
        for code in ("500.003.02", "500.003.03")
        for text in ("Error Occurred: Spike Arrest Violation", "SpikeArrest", "Quota Violation")
    ),
]


@pytest.mark.parametrize(("status", "code", "text"), REFUSED)
def test_the_closed_list_of_refusals(status: int, code: str | None, text: str) -> None:
    """These prove that no prompt was sent, unless the answer names a prompt as well."""
    refused = no(code, text, status)
    with pytest.raises(DarajaError):
        protocol.read_push(refused)

    contradiction = json.loads(refused.body) | {"CheckoutRequestID": CHECKOUT_ID}
    with pytest.raises(OutcomeUnknown):
        protocol.read_push(answered(contradiction, status))


# --- the query's answer ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("response", "status", "code"),
    [
        pytest.param(queried(), QueryStatus.PAID, "0", id="paid"),
        pytest.param(queried(0), QueryStatus.PAID, "0", id="paid-as-number"),
        pytest.param(queried("4999"), QueryStatus.PENDING, "4999", id="pending"),
        pytest.param(queried(4999), QueryStatus.PENDING, "4999", id="pending-as-number"),
        pytest.param(queried("1032", ResponseCode=0), QueryStatus.FAILED, "1032", id="cancelled"),
        pytest.param(queried("SFC_IC0003"), QueryStatus.FAILED, "SFC_IC0003", id="sfc"),
        pytest.param(queried("777"), QueryStatus.UNKNOWN, "777", id="unknown-code"),
        pytest.param(queried("26"), QueryStatus.UNKNOWN, "26", id="not-final"),
        pytest.param(queried(None), QueryStatus.UNKNOWN, None, id="no-code"),
        pytest.param(queried(ResponseCode="1"), QueryStatus.UNKNOWN, "0", id="query-not-taken"),
        pytest.param(
            queried(CheckoutRequestID="ws_CO_other"), QueryStatus.UNKNOWN, None, id="another-id"
        ),
        pytest.param(queried(CheckoutRequestID=None), QueryStatus.UNKNOWN, None, id="no-id"),
        pytest.param(
            queried("1032", CheckoutRequestID=CHECKOUT_ID.lower()),
            QueryStatus.UNKNOWN,
            None,
            id="another-case",
        ),
        pytest.param(
            no("500.001.1001", "The transaction is being processed", 500),
            QueryStatus.PENDING,
            None,
            id="being-processed",
        ),
        pytest.param(
            no("500.001.1001", "The transaction is being processed", 200),
            QueryStatus.PENDING,
            None,
            id="being-processed-200",
        ),
        pytest.param(
            no("400.002.02", "Bad Request - Invalid CheckoutRequestID"),
            QueryStatus.UNKNOWN,
            None,
            id="asked-too-early",
        ),
        pytest.param(
            no("500.001.1001", "The transaction does not Exist", 500),
            QueryStatus.UNKNOWN,
            None,
            id="does-not-exist",
        ),
        pytest.param(no("500.001.1001", " ", 200), QueryStatus.UNKNOWN, None, id="no-text"),
        pytest.param(queried("E3008"), QueryStatus.FAILED, "E3008", id="debt"),
        pytest.param(queried("1031"), QueryStatus.FAILED, "1031", id="cancelled-1031"),
        pytest.param(queried(" 0"), QueryStatus.PAID, "0", id="paid-after-a-space"),
        pytest.param(queried("00"), QueryStatus.UNKNOWN, "00", id="odd-zero"),
    ],
)
def test_the_querys_answer(response: HttpResponse, status: QueryStatus, code: str | None) -> None:
    """Paid and failed need a closed list and our own id; everything else is not known yet."""
    result = protocol.read_query(response, CHECKOUT_ID)

    assert (result.status, result.result_code) == (status, code)
    assert result.checkout_request_id == CHECKOUT_ID
    assert not result.not_found or status is QueryStatus.UNKNOWN


@pytest.mark.parametrize(
    ("response", "not_found"),
    [
        (no("400.002.02", "Bad Request - Invalid CheckoutRequestID"), True),
        (no("500.001.1001", "The transaction does not Exist", 500), True),
        (no("500.001.1001", "The transaction is being processed", 500), False),
        (no("500.001.1001", "", 500), False),
        (queried("777"), False),
        (queried(CheckoutRequestID="ws_CO_other"), False),
    ],
)
def test_an_id_that_daraja_does_not_know(
    response: HttpResponse,
    not_found: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """The fact travels on the result, so that no caller reads Daraja's words."""
    assert protocol.read_query(response, CHECKOUT_ID).not_found is not_found


def test_a_merchant_that_does_not_exist_is_no_unknown_id() -> None:
    """That is a matter of settings, and an error on the query as on the push."""
    with pytest.raises(DarajaError, match="Merchant does not exist"):
        protocol.read_query(no("500.001.1001", "Merchant does not exist", 500), CHECKOUT_ID)


def test_the_closed_list_of_final_codes() -> None:
    """A query settles on these codes and no others."""
    failed = {
        code
        for code in [*CATALOGUE, *map(str, range(3000))]
        if protocol.read_query(queried(code), CHECKOUT_ID).status is QueryStatus.FAILED
    }

    numbers = [1, 2, 3, 4, 8, 17, 20, 1001, 1019, 1025, 1031, 1032, 1036, 1037, 1101]
    numbers += [2001, 2006, 2028, 8006, 9999]
    assert failed == {*map(str, numbers), "E3008", "SFC_IC0003"}


@pytest.mark.parametrize("about", [CHECKOUT_ID, "ws_CO_other"])
@pytest.mark.parametrize("text", ["Wrong credentials", "[X] - WRONG CREDENTIALS"])
def test_4999_with_wrong_credentials_is_no_pending(text: str, about: str) -> None:
    """A wrong passkey must not look like a payment that takes long."""
    with pytest.raises(AuthenticationFailed) as caught:
        protocol.read_query(queried("4999", text, CheckoutRequestID=about), CHECKOUT_ID)

    assert (caught.value.reason, caught.value.error_code) == ("credentials", "4999")


@pytest.mark.parametrize("words", [None, 7])
def test_a_querys_words_decide_nothing(words: object) -> None:
    """A text that is no text does not hide a result."""
    response = queried(
        "1032", words, ResponseDescription=words, MerchantRequestID=words, CustomerMessage=words
    )

    result = protocol.read_query(response, CHECKOUT_ID)

    assert result.status is QueryStatus.FAILED
    assert result.result is not None
    assert result.result.code == "1032"


@pytest.mark.parametrize(
    "response",
    [
        pytest.param(answered(b"", 503), id="empty"),
        pytest.param(answered(b"{}"), id="empty-object"),
        pytest.param(queried([1]), id="code-array"),
        pytest.param(queried("\x1b[2J"), id="code-that-a-terminal-obeys"),
        pytest.param(answered({"ResponseCode": "0"}, 500), id="under-500"),
        pytest.param(answered({"a": 1}, 404), id="404-without-code"),
    ],
)
def test_a_query_answer_that_cannot_be_read(response: HttpResponse) -> None:
    """It says nothing about the payment, and the error says what is wrong with it."""
    with pytest.raises(UnexpectedResponse) as caught:
        protocol.read_query(response, CHECKOUT_ID)

    assert caught.value.http_status == response.status


def test_problems_name_json_paths() -> None:
    """What is missing is named as Daraja names it."""
    with pytest.raises(UnexpectedResponse) as caught:
        protocol.read_query(answered({"ResultCode": True}), CHECKOUT_ID)

    assert caught.value.problems == ("$.ResponseCode: missing", "$.ResultCode: not a code")


def test_nairobi_has_no_summer() -> None:
    """The zone is fixed, so no time-zone database is needed."""
    assert protocol.NAIROBI.utcoffset(None) == timedelta(hours=3)
    assert stk_timestamp(datetime(2026, 7, 1, tzinfo=timezone.utc)) == "20260701030000"
    assert PhoneNumber.parse("0718643064").msisdn == "254718643064"
