"""Every collected wire sample, replayed against what it must be read as."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import requests_mock as requests_mock_module
from urllib3 import HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError

from mpesa_stk import (
    AuthenticationFailed,
    DarajaError,
    HttpRequest,
    HttpResponse,
    InvalidCallback,
    MpesaError,
    PayBill,
    PaymentConfirmed,
    PaymentFailed,
    PaymentUnproven,
    PushAccepted,
    PushRequest,
    QueryResult,
    RequestsTransport,
    Till,
    Token,
    TransportError,
    parse_callback,
    stk_password,
)
from mpesa_stk.config.environment import SANDBOX_PASSKEY
from mpesa_stk.daraja import protocol
from support import make_config, samples

SAMPLES = {sample["id"]: sample for sample in samples()}

# (sample, endpoint) -> what it is read as, in the words of `told`
EXPECTED = {
    ("token-ok-expires-string", "token"): "Token 3599",
    ("token-bad-grant", "token"): "DarajaError 400.008.02",
    ("token-bad-auth-type", "token"): "AuthenticationFailed credentials 400.008.01",
    ("token-non-json", "token"): "AuthenticationFailed credentials None",
    ("token-imperva-403", "token"): "GatewayBlocked",
    ("stk-accepted-old-ids", "stkpush"): "PushAccepted ws_CO_191220191020363925",
    ("stk-accepted-new-ids", "stkpush"): "PushAccepted ws_CO_1007202409152617172396192",
    ("stk-400-shortcode", "stkpush"): "DarajaError 400.002.02",
    ("stk-400-callback", "stkpush"): "DarajaError 400.002.02",
    ("stk-400-timestamp", "stkpush"): "DarajaError 400.002.02",
    ("stk-400-amount", "stkpush"): "DarajaError 400.002.02",
    ("stk-400-phone", "stkpush"): "DarajaError 400.002.02",
    ("stk-404-token", "stkpush"): "AuthenticationFailed token_refused 404.001.03",
    ("stk-401-token", "stkpush"): "AuthenticationFailed token_refused 404.001.03",
    ("stk-404-resource", "stkpush"): "DarajaError 404.001.01",
    ("stk-404-authheader", "stkpush"): "DarajaError 404.001.04",
    ("stk-405", "stkpush"): "DarajaError 405.001",
    ("stk-500-merchant", "stkpush"): "DarajaError 500.001.1001",
    ("stk-500-credentials", "stkpush"): "AuthenticationFailed credentials 500.001.1001",
    ("stk-500-lock", "stkpush"): "SubscriberBusy 500.001.1001",
    # Rejected, but that no prompt appeared is not proven.
    ("stk-500-busy", "stkpush"): "OutcomeUnknown",
    ("stk-500-spike", "stkpush"): "RateLimited 500.003.02",
    ("stk-500-internal", "stkpush"): "OutcomeUnknown",
    # Seen at another product only; an error inside proves nothing about the prompt.
    ("other-500-system-internal", "stkpush"): "OutcomeUnknown",
    ("gateway-429-fault", "stkpush"): "RateLimited policies.ratelimit.SpikeArrestViolation",
    ("gateway-429-fault", "stkquery"): "RateLimited policies.ratelimit.SpikeArrestViolation",
    ("gateway-503-empty", "stkpush"): "OutcomeUnknown",
    ("gateway-503-empty", "stkquery"): "UnexpectedResponse",
    ("transport-connect-timeout", "token"): "NotSent",
    ("transport-connect-timeout", "stkpush"): "NotSent",
    ("transport-connect-timeout", "stkquery"): "NotSent",
    ("query-success", "stkquery"): "QueryResult PAID 0",
    ("query-timeout", "stkquery"): "QueryResult FAILED 1037",
    ("query-pending-500", "stkquery"): "QueryResult PENDING None",
    ("query-pending-4999", "stkquery"): "QueryResult PENDING 4999",
    ("query-unknown-id", "stkquery"): "QueryResult UNKNOWN None",
    ("cb-success-official", "callback"): (
        "PaymentConfirmed NLJ7RT61SV 1.00 2019-12-19T10:21:15+03:00 254708374149"
    ),
    ("cb-success-balance-no-value", "callback"): (
        "PaymentConfirmed MAO0DO9BYO 1.00 2018-01-24T14:47:54+03:00 254700000011"
    ),
    ("cb-success-int-amount", "callback"): (
        "PaymentConfirmed LGR7OWQX0R 1 2017-07-27T15:48:00+03:00 254700000013"
    ),
    ("cb-success-2541-number", "callback"): (
        "PaymentConfirmed TJ3MX6CLYC 10.00 2025-10-03T03:04:27+03:00 254700000010"
    ),
    ("cb-success-no-phone", "callback"): (
        "PaymentConfirmed NLJ7RT61SV 100 2026-04-01T10:21:15+03:00 None"
    ),
    ("cb-success-empty-items", "callback"): "PaymentUnproven 2 problems",
    ("cb-success-no-metadata", "callback"): "PaymentUnproven 3 problems",
    ("cb-1032", "callback"): "PaymentFailed 1032 official",
    ("cb-1032-period", "callback"): "PaymentFailed 1032 official",
    ("cb-1037", "callback"): "PaymentFailed 1037 official",
    ("cb-1037-no-response", "callback"): "PaymentFailed 1037 official",
    ("cb-1", "callback"): "PaymentFailed 1 official",
    ("cb-1-prefix", "callback"): "PaymentFailed 1 official",
    ("cb-2001", "callback"): "PaymentFailed 2001 official",
    ("cb-1019", "callback"): "PaymentFailed 1019 official",
    ("cb-1036", "callback"): "PaymentFailed 1036 reported",
    ("cb-1025", "callback"): "PaymentFailed 1025 official",
    ("cb-9999", "callback"): "PaymentFailed 9999 reported",
    ("cb-17", "callback"): "PaymentFailed 17 official",
    ("cb-1001", "callback"): "PaymentFailed 1001 reported",
    ("cb-2028", "callback"): "PaymentFailed 2028 official",
    ("cb-2", "callback"): "PaymentFailed 2 official",
    ("cb-3", "callback"): "PaymentFailed 3 official",
    ("cb-4", "callback"): "PaymentFailed 4 official",
    ("cb-8", "callback"): "PaymentFailed 8 official",
    # What a host answers; whoever posts it back to us sends no callback.
    ("cb-ack", "callback-ack"): "InvalidCallback",
}

# Sample -> fields that we write as JSON numbers where its source writes strings: every source takes
# numbers, and one reports that strings are ignored in silence (docs/daraja.md, section 2).
REQUESTS = {
    "token-request": set[str](),
    "stk-request-paybill": {"Amount", "PartyA", "PartyB", "PhoneNumber"},
    "stk-request-till": set[str](),
    "query-request": {"BusinessShortCode"},
}

TOKEN = Token(value="token", expires_in=3599.0, renew_at=0.0)
MOMENT = datetime(2026, 1, 2, 0, 4, 5, tzinfo=timezone.utc)


def told(outcome: object) -> str:
    """An outcome in a few words: its type, and what sets it apart."""
    words: list[object] = [type(outcome).__name__]
    match outcome:
        case Token():
            words += [int(outcome.expires_in)]
        case PushAccepted():
            words += [outcome.checkout_request_id]
        case QueryResult():
            words += [outcome.status.value, outcome.result_code]
        case PaymentConfirmed():
            assert outcome.paid_at is not None
            words += [outcome.receipt_number, outcome.amount, outcome.paid_at.isoformat()]
            words += [outcome.phone_number]
        case PaymentUnproven():
            words += [len(outcome.problems), "problems"]
        case AuthenticationFailed():
            words += [outcome.reason, outcome.error_code]
        case DarajaError():
            words += [outcome.error_code]
        case PaymentFailed():
            words += [outcome.result.code, outcome.result.evidence]
    return " ".join(map(str, words))


def body_of(sample: dict[str, Any]) -> bytes:
    """The bytes of a sample."""
    raw: str | None = sample.get("body_raw")
    return (json.dumps(sample["body"]) if raw is None else raw).encode()


def replayed(sample: dict[str, Any], endpoint: str) -> object:
    """What a sample is read as at an endpoint."""
    if endpoint.startswith("callback"):
        return parse_callback(body_of(sample))
    headers = {name.lower(): value for name, value in sample.get("headers", {}).items()}
    response = HttpResponse(status=sample["http_status"], headers=headers, body=body_of(sample))
    if endpoint == "token":
        return protocol.read_token(response, sent_at=0.0)
    if endpoint == "stkpush":
        return protocol.read_push(response)
    body = json.loads(response.body or b"{}")
    asked = body.get("CheckoutRequestID") or body.get("requestId") or "ws_CO_1"
    return protocol.read_query(response, asked)


PAYBILL = PayBill("600000")
TILL = Till(store_number="600000", till_number="5566778")


def built(endpoint: str, account: PayBill | Till = PAYBILL) -> HttpRequest:
    """Our request to an endpoint."""
    config = make_config(account=account)
    if endpoint == "token":
        return protocol.build_token(config)
    if endpoint == "stkquery":
        return protocol.build_query(config, "ws_CO_1", token=TOKEN, moment=MOMENT)
    push = PushRequest.checked(
        phone_number="254712345678",
        amount=1500,
        reference="BK001",
        description="Payment",
        callback_url="https://example.com/callback",
        max_amount=250_000,
    )
    return protocol.build_push(config, push, token=TOKEN, moment=MOMENT)


def test_every_sample_has_an_expectation() -> None:
    """A sample that is added without saying what it means fails here."""
    found = {
        (sample["id"], endpoint)
        for sample in SAMPLES.values()
        if sample["kind"] != "request"
        for endpoint in sample["group"].split("|")
    }

    assert found == set(EXPECTED)
    assert {s["id"] for s in SAMPLES.values() if s["kind"] == "request"} == set(REQUESTS)


@pytest.mark.parametrize(
    ("name", "endpoint"),
    [key for key in EXPECTED if SAMPLES[key[0]]["kind"] != "transport-error"],
)
def test_samples(name: str, endpoint: str) -> None:
    """Each answer and callback is read as what the facts say it is."""
    try:
        outcome = replayed(SAMPLES[name], endpoint)
    except MpesaError as error:
        outcome = error

    assert told(outcome) == EXPECTED[name, endpoint]


@pytest.mark.parametrize(
    ("name", "endpoint"),
    [key for key in EXPECTED if SAMPLES[key[0]]["kind"] == "transport-error"],
)
def test_transport_samples(
    name: str, endpoint: str, requests_mock: requests_mock_module.Mocker
) -> None:
    """A failure of the network, as requests reports it."""
    message = SAMPLES[name]["body"]["error"]
    pool = HTTPSConnectionPool("api.safaricom.co.ke")
    reason = MaxRetryError(pool, "/", ConnectTimeoutError(message))
    requests_mock.register_uri(
        requests_mock_module.ANY, requests_mock_module.ANY, exc=requests.ConnectTimeout(reason)
    )
    transport = RequestsTransport()

    with pytest.raises(TransportError) as caught:
        transport.send(built(endpoint))

    assert told(caught.value) == EXPECTED[name, endpoint]
    transport.close()
    pool.close()


@pytest.mark.parametrize("name", [name for name in REQUESTS if SAMPLES[name]["group"] != "token"])
def test_requests_look_like_the_samples(name: str) -> None:
    """Ours have the same fields, with the same JSON types but for the numbers named above."""
    sample = SAMPLES[name]["body"]
    account = TILL if name == "stk-request-till" else PAYBILL
    ours = json.loads(built(SAMPLES[name]["group"], account).body or b"")

    assert set(ours) == set(sample)
    differ = {field for field in sample if type(ours[field]) is not type(sample[field])}
    assert differ == REQUESTS[name]
    assert {type(ours[field]) for field in differ} <= {int}


def test_the_till_request_is_the_sample() -> None:
    """Given the same values, ours is the sample, field by field."""
    sample = SAMPLES["stk-request-till"]["body"]

    ours = json.loads(built("stkpush", TILL).body or b"")

    assert ours | {"Password": "<base64>"} == sample


def test_the_token_request_is_the_sample() -> None:
    """Verb, path, query and the form of the header."""
    sample = SAMPLES["token-request"]["body"]
    ours = built("token")
    url = urlsplit(ours.url)

    assert (ours.method, url.path) == (sample["method"], sample["path"])
    assert parse_qs(url.query) == {name: [value] for name, value in sample["query"].items()}
    assert set(ours.headers) == set(sample["headers"])
    assert ours.headers["Authorization"].startswith("Basic ")


def test_the_portals_password_is_ours() -> None:
    """The password in the official sample is the one that we make from its parts."""
    body = SAMPLES["stk-request-paybill"]["body"]

    assert stk_password("174379", SANDBOX_PASSKEY, body["Timestamp"]) == body["Password"]


def test_an_acknowledgement_is_no_callback() -> None:
    """Our own answer, posted back, is refused with the path of what is missing."""
    with pytest.raises(InvalidCallback) as caught:
        parse_callback(body_of(SAMPLES["cb-ack"]))

    assert caught.value.problems == ("$.Body: missing or not an object",)
