"""The client: one token, one push, and an honest word on what became of it."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
import requests
import requests_mock as requests_mock_module
from urllib3 import HTTPSConnectionPool
from urllib3.exceptions import (
    ConnectTimeoutError,
    MaxRetryError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
)

from both_faces import make_client
from loopback import Exchange, Server, answer, answer_json, closed_port, hang_up, stay_silent
from mpesa_stk import (
    SANDBOX,
    AuthenticationFailed,
    DarajaError,
    Event,
    GatewayBlocked,
    HttpRequest,
    HttpResponse,
    InvalidAmount,
    InvalidPhoneNumber,
    InvalidRequest,
    MemoryTokenStore,
    MpesaError,
    NotSent,
    OutcomeUnknown,
    PhoneNumber,
    PushAccepted,
    QueryResult,
    QueryStatus,
    RateLimited,
    RetryPolicy,
    StkClient,
    SubscriberBusy,
    UnexpectedResponse,
)
from support import (
    CALLBACK_URL,
    CANARIES,
    CHECKOUT_ID,
    CONSUMER_KEY,
    MERCHANT_ID,
    TOKEN,
    ManualClock,
    accepted,
    loopback_config,
    make_config,
)

pytestmark = pytest.mark.usefixtures("face")

Mocker = requests_mock_module.Mocker
TOKEN_URL, PUSH_URL, QUERY_URL = SANDBOX.urls.values()
PHONE = "0718643064"
BLOCK_PAGE = "<html>Request unsuccessful. Incapsula incident ID: 87300-1784</html>"
POOL = HTTPSConnectionPool("sandbox.safaricom.co.ke")


def bearer(value: str = TOKEN, expires_in: object = "3599") -> dict[str, Any]:
    """The token endpoint's answer, as requests-mock wants it."""
    return {"json": {"access_token": value, "expires_in": expires_in}}


def no(code: str, message: str, status: int, **more: Any) -> dict[str, Any]:
    """Daraja's no, as requests-mock wants it."""
    body = {"requestId": "r-1", "errorCode": code, "errorMessage": message}
    return {"json": body, "status_code": status, **more}


def queried(code: object, description: str = "x") -> dict[str, Any]:
    """The status query's answer, as requests-mock wants it."""
    body = {
        "ResponseCode": "0",
        "ResponseDescription": "The service request has been accepted successsfully",
        "MerchantRequestID": MERCHANT_ID,
        "CheckoutRequestID": CHECKOUT_ID,
        "ResultCode": code,
        "ResultDesc": description,
    }
    return {"json": body}


def not_sent() -> dict[str, Any]:
    """What requests raises where no connection came about."""
    reason = NewConnectionError(POOL, "refused")  # type: ignore[arg-type]
    return {"exc": requests.ConnectionError(MaxRetryError(POOL, "/", reason))}


ACCEPTED: dict[str, Any] = {"json": accepted()}
REFUSED_TOKEN = no("404.001.03", "Invalid Access Token", 404)
NO_PRODUCT = no("401.003.01", "Invalid Access Token: no apiproduct match found", 401)


@pytest.fixture
def clock() -> ManualClock:
    """A clock moved by hand."""
    return ManualClock()


@pytest.fixture
def events() -> list[Event]:
    """What the hook was told."""
    return []


@pytest.fixture
def client(clock: ManualClock, events: list[Event]) -> Iterator[StkClient]:
    """A client for the sandbox, over the default transport, without randomness."""
    with make_client(
        make_config(),
        clock=clock,
        retry=RetryPolicy(jitter=lambda: 0.5),
        hooks=(events.append,),
    ) as client:
        yield client


def push(client: StkClient) -> PushAccepted:
    """Ask for 100 shillings."""
    return client.push(phone_number=PHONE, amount=100, reference="INV-1")


def sent(mock: Mocker, method: str) -> int:
    """How many requests with that method left."""
    return sum(request.method == method for request in mock.request_history)


def tokens_of(mock: Mocker) -> list[str]:
    """The bearer token of each POST."""
    return [
        request.headers["Authorization"].removeprefix("Bearer ")
        for request in mock.request_history
        if request.method == "POST"
    ]


# --- the token ---------------------------------------------------------------------------------------


def test_five_lines(client: StkClient, requests_mock: Mocker) -> None:
    """The way it is used: push, then ask."""
    requests_mock.get(TOKEN_URL, **bearer())
    requests_mock.post(PUSH_URL, **ACCEPTED)
    requests_mock.post(QUERY_URL, **queried("0"))

    accepted_push = client.push(phone_number=PHONE, amount=Decimal(100), reference="INV-1")
    result = client.query(accepted_push.checkout_request_id)

    assert (accepted_push.checkout_request_id, result.status) == (CHECKOUT_ID, QueryStatus.PAID)
    assert (sent(requests_mock, "GET"), sent(requests_mock, "POST")) == (1, 2)
    assert tokens_of(requests_mock) == [TOKEN, TOKEN]


def test_a_token_is_renewed_a_minute_early(
    client: StkClient, clock: ManualClock, requests_mock: Mocker
) -> None:
    """Its hour counts from before it was asked for, by the monotonic clock."""

    def slow(_request: object, _context: object) -> dict[str, Any]:
        clock.advance(30.0)
        return {"access_token": TOKEN, "expires_in": "3599"}

    requests_mock.get(TOKEN_URL, json=slow)
    asked_at = clock.monotonic()
    first = client.token()
    assert clock.monotonic() == asked_at + 30.0
    clock.advance(3599.0 - 60.0 - 30.0 - 0.001)
    assert client.token() is first
    clock.advance(0.001)
    assert client.token() is not first
    assert sent(requests_mock, "GET") == 2


def test_a_clock_that_is_set_back_renews_nothing(
    client: StkClient, clock: ManualClock, requests_mock: Mocker
) -> None:
    """The time of day plays no part."""
    requests_mock.get(TOKEN_URL, **bearer())
    client.token()
    clock._now -= timedelta(days=400)

    assert client.token().value == TOKEN
    assert sent(requests_mock, "GET") == 1


@pytest.mark.parametrize(
    ("expires_in", "kept"),
    [("3599", 3539), (3599, 3539), ("soon", 3539), (None, 3539), (600, 540), ("600", 540)],
)
def test_expires_in_of_any_kind(
    client: StkClient,
    clock: ManualClock,
    requests_mock: Mocker,
    expires_in: object,
    kept: float,
) -> None:
    """A string, a number or nonsense: the token is kept as long as it may be."""
    requests_mock.get(TOKEN_URL, **bearer(expires_in=expires_in))
    client.token()
    clock.advance(kept - 0.001)
    client.token()
    assert sent(requests_mock, "GET") == 1
    clock.advance(0.001)
    client.token()
    assert sent(requests_mock, "GET") == 2


class Arrivals(MemoryTokenStore):
    """Counts the threads that come to fetch or wait."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = threading.Semaphore(0)

    def single_flight(self, app: str, timeout: float, /) -> AbstractContextManager[object]:
        """As the parent, after counting."""
        self.seen.release()
        return super().single_flight(app, timeout)


def daraja(token_act: Callable[[Exchange], None]) -> Callable[[Exchange], None]:
    """A small Daraja for the loopback server; the token is what an act says."""
    accept = answer_json(accepted())

    def act(exchange: Exchange) -> None:
        (token_act if exchange.received.method == "GET" else accept)(exchange)

    return act


def test_32_threads_on_a_cold_client(caplog: pytest.LogCaptureFixture) -> None:
    """One token request, 32 pushes, no connection thrown away."""
    store = Arrivals()

    def when_all_wait(exchange: Exchange) -> None:
        for _ in range(32):
            assert store.seen.acquire(timeout=5.0)
        answer_json({"access_token": TOKEN, "expires_in": 3599})(exchange)

    with (
        caplog.at_level(logging.WARNING),
        Server(daraja(when_all_wait)) as server,
        StkClient(loopback_config(server.origin), token_store=store) as client,
        ThreadPoolExecutor(32) as pool,
    ):
        pushes = [pool.submit(push, client) for _ in range(32)]

        assert {pushed.result(30).checkout_request_id for pushed in pushes} == {CHECKOUT_ID}
        assert (server.count("GET"), server.count("POST")) == (1, 32)
    assert caplog.records == []


def test_threads_that_wait_share_a_failed_fetch() -> None:
    """Eight pushes on a wrong key are one token request, and eight errors of their own."""
    store = Arrivals()
    refusal = {"errorCode": "400.008.01", "errorMessage": "Invalid Authentication passed"}

    def when_all_wait(exchange: Exchange) -> None:
        for _ in range(8):
            assert store.seen.acquire(timeout=5.0)
        answer_json(refusal, 400)(exchange)

    with (
        Server(daraja(when_all_wait)) as server,
        StkClient(loopback_config(server.origin), token_store=store) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        errors = [pushed.exception(30) for pushed in [pool.submit(push, client) for _ in range(8)]]

        assert {type(error) for error in errors} == {AuthenticationFailed}
        assert len({id(error) for error in errors}) == 8
        assert (server.count("GET"), server.count("POST")) == (1, 0)


def test_clients_of_one_app_share_a_store(clock: ManualClock, requests_mock: Mocker) -> None:
    """Two clients, one token; a client with another key gets its own."""
    requests_mock.get(TOKEN_URL, [bearer("first"), bearer("second")])
    store = MemoryTokenStore()
    configs = [make_config(), make_config(), make_config(consumer_key="other")]
    clients = [StkClient(config, token_store=store, clock=clock) for config in configs]

    assert [client.token().value for client in clients] == ["first", "first", "second"]
    assert not [app for app in store._tokens if CONSUMER_KEY in app]
    for client in clients:
        client.close()


# --- a refused token ---------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 404])
def test_a_refused_token_is_replaced_once(
    client: StkClient, requests_mock: Mocker, status: int
) -> None:
    """The push was not executed, so it goes out once more, with a new token."""
    requests_mock.get(TOKEN_URL, [bearer("first"), bearer("second")])
    requests_mock.post(PUSH_URL, [no("404.001.03", "Invalid Access Token", status), ACCEPTED])

    assert push(client).checkout_request_id == CHECKOUT_ID
    assert tokens_of(requests_mock) == ["first", "second"]


def test_a_second_refusal_is_raised(client: StkClient, requests_mock: Mocker) -> None:
    """Once is all: two POSTs, then the error."""
    requests_mock.get(TOKEN_URL, [bearer("first"), bearer("second"), bearer("third")])
    requests_mock.post(PUSH_URL, **REFUSED_TOKEN)

    with pytest.raises(AuthenticationFailed) as caught:
        push(client)

    assert caught.value.reason == "token_refused"
    assert caught.value.__context__ is None
    assert tokens_of(requests_mock) == ["first", "second"]


def test_a_missing_product_is_not_tried_again(client: StkClient, requests_mock: Mocker) -> None:
    """A new token does not enable a product."""
    requests_mock.get(TOKEN_URL, **bearer())
    requests_mock.post(PUSH_URL, **NO_PRODUCT)

    with pytest.raises(AuthenticationFailed) as caught:
        push(client)

    assert caught.value.reason == "product"
    assert (sent(requests_mock, "GET"), sent(requests_mock, "POST")) == (1, 1)


def test_no_new_token_after_a_refusal(client: StkClient, requests_mock: Mocker) -> None:
    """The first push was refused and no second was sent: that is "not sent", not "unknown"."""
    requests_mock.get(TOKEN_URL, [bearer(), {"exc": requests.ReadTimeout}])
    requests_mock.post(PUSH_URL, **REFUSED_TOKEN)

    with pytest.raises(NotSent, match="no token for the push"):
        push(client)

    assert sent(requests_mock, "POST") == 1


# --- what became of a push -----------------------------------------------------------------------------

# What comes back -> the error that says so. None of these pushes may be sent twice.
NEVER_TWICE = [
    pytest.param({"status_code": 429}, RateLimited, id="429-empty"),
    pytest.param(
        {"status_code": 429, "text": BLOCK_PAGE, "headers": {"Retry-After": "1"}},
        RateLimited,
        id="429-html",
    ),
    pytest.param(no("500.003.02", "System is busy.", 500), OutcomeUnknown, id="busy"),
    pytest.param(no("500.003.02", "Spike Arrest Violation", 500), RateLimited, id="spike"),
    pytest.param(no("500.003.03", "Quota Violation", 500), RateLimited, id="quota"),
    pytest.param(
        {
            "json": {"fault": {"faultstring": "Spike", "detail": {"errorcode": "x.ratelimit.S"}}},
            "status_code": 500,
        },
        OutcomeUnknown,
        id="gateway-spike",
    ),
    pytest.param(
        no("500.001.1001", "Unable to lock subscriber, a transaction", 500),
        SubscriberBusy,
        id="lock",
    ),
    pytest.param(no("400.002.02", "Bad Request - Invalid Amount", 400), DarajaError, id="400"),
    pytest.param(no("405.001", "Method Not Allowed", 405), DarajaError, id="405"),
    pytest.param(no("500.001.1001", "Merchant does not exist", 500), DarajaError, id="merchant"),
    pytest.param(no("400.002.02", "Bad Request", 200), DarajaError, id="error-under-200"),
    pytest.param(no("500.001.1001", "Wrong credentials", 500), AuthenticationFailed, id="passkey"),
    pytest.param(
        {"text": BLOCK_PAGE, "status_code": 403, "headers": {"Content-Type": "text/html"}},
        GatewayBlocked,
        id="block-page-403",
    ),
    pytest.param({"text": BLOCK_PAGE, "status_code": 503}, OutcomeUnknown, id="block-page-503"),
    pytest.param(no("500.003.1001", "Internal Server Error", 500), OutcomeUnknown, id="internal"),
    pytest.param({"status_code": 500}, OutcomeUnknown, id="500-empty"),
    pytest.param({"status_code": 503, "json": {}}, OutcomeUnknown, id="503-object"),
    pytest.param({"status_code": 502, "text": "<html>x</html>"}, OutcomeUnknown, id="502-html"),
    pytest.param({"status_code": 504, "text": "<html>x</html>"}, OutcomeUnknown, id="504-html"),
    pytest.param({"text": ""}, OutcomeUnknown, id="200-empty"),
    pytest.param({"text": "OK"}, OutcomeUnknown, id="200-garbage"),
    pytest.param({"text": "<html>Welcome</html>"}, OutcomeUnknown, id="200-html"),
    pytest.param({"json": [accepted()]}, OutcomeUnknown, id="200-array"),
    pytest.param({"json": accepted() | {"ResponseCode": "1"}}, OutcomeUnknown, id="200-code-1"),
    pytest.param({"content": b"x" * 70_000}, OutcomeUnknown, id="200-oversized"),
    pytest.param(
        {"status_code": 307, "headers": {"Location": PUSH_URL}}, OutcomeUnknown, id="redirect"
    ),
    pytest.param(
        {"exc": requests.ReadTimeout(ReadTimeoutError(POOL, "/", "x"))},
        OutcomeUnknown,
        id="read-timeout",
    ),
    pytest.param(
        {"exc": requests.ConnectionError(ProtocolError("Connection aborted."))},
        OutcomeUnknown,
        id="reset",
    ),
    pytest.param(
        {"exc": requests.exceptions.ChunkedEncodingError(ProtocolError("x"))},
        OutcomeUnknown,
        id="cut-short",
    ),
    pytest.param({"exc": requests.ConnectionError}, OutcomeUnknown, id="no-reason-given"),
    pytest.param(
        {"exc": requests.ConnectionError(MaxRetryError(POOL, "/", ProtocolError("x")))},
        OutcomeUnknown,
        id="another-reason",
    ),
    pytest.param({"exc": requests.exceptions.SSLError}, OutcomeUnknown, id="tls"),
    pytest.param({"exc": OSError(104, "reset")}, OutcomeUnknown, id="bare-oserror"),
    pytest.param({"exc": TimeoutError()}, OutcomeUnknown, id="bare-timeout"),
]


@pytest.mark.parametrize(("reply", "kind"), NEVER_TWICE)
def test_a_push_is_never_sent_twice(
    client: StkClient,
    clock: ManualClock,
    requests_mock: Mocker,
    reply: dict[str, Any],
    kind: type[MpesaError],
) -> None:
    """One POST, no wait, and the error class that says what is known."""
    requests_mock.get(TOKEN_URL, **bearer())
    requests_mock.post(PUSH_URL, [reply, ACCEPTED])

    with pytest.raises(MpesaError) as caught:
        push(client)

    assert type(caught.value) is kind
    assert sent(requests_mock, "POST") == 1
    assert clock.slept == []


@pytest.mark.parametrize(("reply", "kind"), NEVER_TWICE)
def test_an_error_of_a_push_leads_to_no_secret(
    client: StkClient, requests_mock: Mocker, reply: dict[str, Any], kind: type[MpesaError]
) -> None:
    """Neither its text nor the local variables of its traceback, as error reporters collect them."""
    requests_mock.get(TOKEN_URL, **bearer())
    requests_mock.post(PUSH_URL, **reply)

    with pytest.raises(kind) as caught:
        push(client)

    assert not [canary for canary in CANARIES if canary in reported(caught.value)]


def reported(error: BaseException) -> str:
    """What an error reporter that collects local variables sends away, for this package's frames."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    texts = [str(error), repr(vars(error))]
    pending = [told]
    while pending:
        told = pending.pop()
        pending += [chained for chained in (told.__cause__, told.__context__) if chained]
        ours = [frame for frame in told.stack if "mpesa_stk" in frame.filename]
        texts += [f"{frame.name} {frame.locals}" for frame in ours]
    return "\n".join(texts)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"text": f'{{"access_token": "{TOKEN}", "expires'}, id="cut-short"),
        pytest.param({"json": {"access_token": TOKEN}, "status_code": 500}, id="under-500"),
        pytest.param({"json": {"access_token": f"{TOKEN} x"}}, id="with-a-space"),
        pytest.param({"json": {"access_token": [TOKEN]}}, id="in-an-array"),
    ],
)
def test_an_unusable_token_is_not_shown(
    client: StkClient, requests_mock: Mocker, body: dict[str, Any]
) -> None:
    """A token that cannot be used is still a secret."""
    requests_mock.get(TOKEN_URL, **body)

    with pytest.raises(UnexpectedResponse) as caught:
        client.token()

    assert TOKEN.lower() not in reported(caught.value).lower()


@pytest.mark.parametrize(
    "reason",
    [
        pytest.param(NewConnectionError(POOL, "refused"), id="refused"),  # type: ignore[arg-type]
        pytest.param(ConnectTimeoutError("connecting timed out"), id="connect-timeout"),
    ],
)
def test_a_push_that_never_left_is_tried_again(
    client: StkClient, clock: ManualClock, requests_mock: Mocker, reason: Exception
) -> None:
    """Nothing left this machine, so trying again cannot ask for money twice."""
    requests_mock.get(TOKEN_URL, **bearer())
    failure = {"exc": requests.ConnectionError(MaxRetryError(POOL, "/", reason))}
    requests_mock.post(PUSH_URL, [failure, failure, ACCEPTED])

    assert push(client).checkout_request_id == CHECKOUT_ID
    assert clock.slept == [0.5, 1.0]
    stamps = [
        json.loads(request.body)["Timestamp"]
        for request in requests_mock.request_history
        if request.method == "POST"
    ]
    assert stamps == ["20261123090000", "20261123090000", "20261123090001"]


def test_a_push_that_cannot_leave_is_given_up(client: StkClient, requests_mock: Mocker) -> None:
    """After all tries, the error still says that nothing was sent."""
    requests_mock.get(TOKEN_URL, **bearer())
    requests_mock.post(PUSH_URL, **not_sent())

    with pytest.raises(NotSent) as caught:
        push(client)

    assert sent(requests_mock, "POST") == 4
    assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.parametrize(
    ("first", "kind"),
    [
        pytest.param({"exc": requests.ReadTimeout}, OutcomeUnknown, id="then-unknown"),
        pytest.param(REFUSED_TOKEN, AuthenticationFailed, id="then-refused-twice"),
    ],
)
def test_what_follows_a_try_that_never_left(
    client: StkClient, requests_mock: Mocker, first: dict[str, Any], kind: type[MpesaError]
) -> None:
    """Each try is judged for itself: once something may have left, there is no other."""
    requests_mock.get(TOKEN_URL, **bearer())
    requests_mock.post(PUSH_URL, [not_sent(), first])

    with pytest.raises(kind):
        push(client)

    assert sent(requests_mock, "POST") == (2 if kind is OutcomeUnknown else 3)


@pytest.mark.parametrize(
    ("reply", "kind", "tries"),
    [
        pytest.param(not_sent(), NotSent, 4, id="not-sent"),
        pytest.param({"exc": requests.ReadTimeout}, NotSent, 4, id="timeout"),
        pytest.param({"exc": requests.ConnectionError}, NotSent, 4, id="reset"),
        pytest.param({"status_code": 429}, RateLimited, 4, id="429"),
        pytest.param({"status_code": 503}, UnexpectedResponse, 4, id="503"),
        pytest.param({"text": ""}, UnexpectedResponse, 4, id="empty"),
        pytest.param({"json": {}}, UnexpectedResponse, 4, id="no-token"),
        pytest.param(no("500.003.1001", "Internal", 500), DarajaError, 4, id="internal"),
        pytest.param({"text": BLOCK_PAGE, "status_code": 403}, GatewayBlocked, 1, id="blocked"),
        pytest.param(no("400.008.01", "Invalid", 400), AuthenticationFailed, 1, id="key"),
        pytest.param(no("400.008.02", "Invalid grant type", 400), DarajaError, 1, id="grant"),
    ],
)
def test_a_push_without_a_token_is_never_unknown(
    client: StkClient,
    requests_mock: Mocker,
    reply: dict[str, Any],
    kind: type[MpesaError],
    tries: int,
) -> None:
    """Whatever the token endpoint does, no push was sent; it is asked again where that may help."""
    requests_mock.get(TOKEN_URL, **reply)

    with pytest.raises(MpesaError) as caught:
        push(client)

    assert type(caught.value) is kind
    assert (sent(requests_mock, "GET"), sent(requests_mock, "POST")) == (tries, 0)


def test_a_token_on_its_own_may_be_unknown(client: StkClient, requests_mock: Mocker) -> None:
    """Asked for by itself, a token that did not arrive is what it is."""
    requests_mock.get(TOKEN_URL, exc=requests.ReadTimeout)

    with pytest.raises(OutcomeUnknown):
        client.token()


def test_an_answer_that_comes_too_late() -> None:
    """A server slower than the time limit: one POST, unknown, and not a second longer."""
    token = answer_json({"access_token": TOKEN, "expires_in": "3599"})

    def late(exchange: Exchange) -> None:
        stay_silent(exchange)  # returns when the client has given up
        answer_json(accepted())(exchange)

    with Server(token, late) as server:
        config = loopback_config(server.origin, connect_timeout=0.3, total_timeout=0.3)
        started = time.monotonic()
        with StkClient(config) as client, pytest.raises(OutcomeUnknown):
            push(client)

        assert time.monotonic() - started < 2.0
        assert (server.count("GET"), server.count("POST")) == (1, 1)


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(hang_up, id="hangs-up"),
        pytest.param(answer(307, b"", location="/mpesa/stkpush/v1/processrequest"), id="307"),
        pytest.param(answer(200, b"", content_encoding="gzip"), id="empty-gzip"),
    ],
)
def test_real_trouble_is_one_post(act: Callable[[Exchange], None]) -> None:
    """Over real sockets, too, a push whose outcome is unknown is sent once."""
    token = answer_json({"access_token": TOKEN, "expires_in": "3599"})
    with Server(token, act) as server, StkClient(loopback_config(server.origin)) as client:
        with pytest.raises(OutcomeUnknown):
            push(client)

        assert server.count("POST") == 1


# --- what is asked -------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot change a process's time zone")
def test_nairobis_time_wherever_the_host_is(
    requests_mock: Mocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host in New York sends East Africa Time, and the system clock is read in UTC."""
    requests_mock.get(TOKEN_URL, **bearer())
    requests_mock.post(PUSH_URL, **ACCEPTED)
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        before = datetime.now(timezone.utc)
        with StkClient(make_config()) as client:
            push(client)
        after = datetime.now(timezone.utc)
    finally:
        monkeypatch.undo()
        time.tzset()

    stamp = requests_mock.request_history[-1].json()["Timestamp"]
    sent_at = datetime.strptime(f"{stamp}+0300", "%Y%m%d%H%M%S%z")
    assert before - timedelta(seconds=1) < sent_at <= after


def test_the_settings_reach_the_wire(clock: ManualClock) -> None:
    """The default transport carries the host's product token and its proxy."""
    token = answer_json({"access_token": TOKEN, "expires_in": "3599"})
    with Server(token) as proxy, closed_port() as daraja_origin:
        config = loopback_config(
            daraja_origin, user_agent="shop/2.0", proxies={"http": proxy.origin}
        )
        with StkClient(config, clock=clock) as client:
            assert client.token().value == TOKEN

        assert proxy.received[0].headers["user-agent"].endswith(" shop/2.0")


# --- in time -----------------------------------------------------------------------------------------


class BusyFlights(MemoryTokenStore):
    """Others hold the flight for a while; how long a client may wait is noted."""

    def __init__(self, clock: ManualClock, seconds: float) -> None:
        super().__init__()
        self.timeouts: list[float] = []
        self._clock = clock
        self._seconds = seconds

    def single_flight(self, app: str, timeout: float, /) -> AbstractContextManager[object]:
        """Wait, and say so if that was not enough."""
        self.timeouts.append(timeout)
        self._clock.advance(min(self._seconds, timeout))
        if timeout < self._seconds:
            raise NotSent("other workers could not get a token in time")
        return super().single_flight(app, timeout)


def timed_client(clock: ManualClock, store: MemoryTokenStore) -> StkClient:
    """A client whose token costs time; nothing is random."""
    retry = RetryPolicy(jitter=lambda: 0.5)
    client: StkClient = make_client(make_config(), clock=clock, token_store=store, retry=retry)
    return client


def test_waiting_for_a_token_ends_when_the_push_must_leave(
    clock: ManualClock, requests_mock: Mocker
) -> None:
    """Others fetch for ever: the push that could only leave too late is not sent."""
    store = BusyFlights(clock, 1000.0)
    client = timed_client(clock, store)
    request = client.check_push(phone_number=PHONE, amount=1, reference="A")
    for leave_by, waited in ((clock.monotonic() + 12.5, 12.5), (None, 45.0), (1e9, 45.0)):
        began = clock.monotonic()
        with pytest.raises(NotSent, match="other workers"):
            client.send_push(request, leave_by=leave_by)
        assert clock.monotonic() - began == pytest.approx(waited)
    assert requests_mock.request_history == []


def test_a_push_whose_token_came_too_late_is_not_sent(
    clock: ManualClock, requests_mock: Mocker
) -> None:
    """The token was fetched, and kept for others; this push's time was over."""

    def slow_token(_request: object, _context: object) -> dict[str, Any]:
        clock.advance(60.0)
        return {"access_token": TOKEN, "expires_in": "3599"}

    requests_mock.get(TOKEN_URL, json=slow_token)
    requests_mock.post(PUSH_URL, **ACCEPTED)
    client = timed_client(clock, MemoryTokenStore())
    with pytest.raises(NotSent, match="too late to send the push"):
        push(client)
    assert sent(requests_mock, "POST") == 0
    assert push(client).checkout_request_id == CHECKOUT_ID
    assert sent(requests_mock, "GET") == 1


@pytest.mark.parametrize(("before", "pushed"), [(-1.0, 0), (0.0, 0), (0.001, 1), (float("inf"), 1)])
def test_a_push_leaves_before_its_moment_or_never(
    clock: ManualClock, requests_mock: Mocker, before: float, pushed: int
) -> None:
    """At the moment itself it would arrive after it."""
    requests_mock.get(TOKEN_URL, **bearer())
    requests_mock.post(PUSH_URL, **ACCEPTED)
    client = timed_client(clock, MemoryTokenStore())
    client.token()
    request = client.check_push(phone_number=PHONE, amount=1, reference="A")
    with nullcontext() if pushed else pytest.raises(NotSent):
        client.send_push(request, leave_by=clock.monotonic() + before)
    assert sent(requests_mock, "POST") == pushed
    assert clock.slept == []


def test_the_second_try_with_a_new_token_must_leave_in_time_too(
    clock: ManualClock, requests_mock: Mocker
) -> None:
    """The refusal of the first token, and the new token, took too long."""

    def slow_refusal(_request: object, context: Any) -> dict[str, Any]:
        clock.advance(10.0)
        context.status_code = 404
        body: dict[str, Any] = REFUSED_TOKEN["json"]
        return body

    requests_mock.get(TOKEN_URL, **bearer())
    requests_mock.post(PUSH_URL, [{"json": slow_refusal}, ACCEPTED])
    client = timed_client(clock, MemoryTokenStore())
    request = client.check_push(phone_number=PHONE, amount=1, reference="A")
    with pytest.raises(NotSent, match="too late to send the push"):
        client.send_push(request, leave_by=clock.monotonic() + 9.9)
    assert sent(requests_mock, "POST") == 1


def test_no_try_that_was_not_sent_is_repeated_too_late(
    clock: ManualClock, requests_mock: Mocker
) -> None:
    """The wait before the third try would end after the push's moment."""
    requests_mock.get(TOKEN_URL, **bearer())
    requests_mock.post(PUSH_URL, **not_sent())
    client = timed_client(clock, MemoryTokenStore())
    request = client.check_push(phone_number=PHONE, amount=1, reference="A")
    with pytest.raises(NotSent, match="no connection could be made"):
        client.send_push(request, leave_by=clock.monotonic() + 1.0)
    assert sent(requests_mock, "POST") == 2
    assert clock.slept == [0.5]


def test_no_frame_of_a_push_shows_the_phone_number(
    client: StkClient, requests_mock: Mocker
) -> None:
    """What was checked is not kept in clear while the push is under way."""
    requests_mock.get(TOKEN_URL, **bearer())
    requests_mock.post(PUSH_URL, exc=requests.ReadTimeout)
    own = f"{CALLBACK_URL}/{TOKEN}"
    with pytest.raises(OutcomeUnknown) as caught:
        client.push(phone_number=PHONE, amount=1, reference="A", callback_url=own)
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    frames = [frame for frame in shown.stack if "mpesa_stk" in frame.filename]
    assert frames
    for frame in frames:
        assert not [text for text in (PHONE[1:], TOKEN) if text in str(frame.locals)], frame


def test_connecting_has_no_more_time_than_the_push() -> None:
    """The transport is told both, so that a slow name lookup cannot send it late."""
    seen: list[HttpRequest] = []

    class Notes:
        def send(self, request: HttpRequest, /) -> HttpResponse:
            seen.append(request)
            body: Any = accepted() if request.method == "POST" else bearer()["json"]
            return HttpResponse(status=200, headers={}, body=json.dumps(body).encode())

        def close(self) -> None:
            """Nothing is open."""

    clock = ManualClock()
    client = make_client(make_config(), clock=clock, transport=Notes())
    request = client.check_push(phone_number=PHONE, amount=1, reference="A")
    client.send_push(request, leave_by=clock.monotonic() + 4.0)
    client.send_push(request)

    assert [one.leave_within for one in seen] == [float("inf"), 4.0, float("inf")]
    assert [one.connect_timeout for one in seen[1:]] == [4.0, 10.0]
    assert [one.total_timeout for one in seen[1:]] == [45.0, 45.0]


def test_a_query_without_time_waits_a_second_for_a_token(
    clock: ManualClock, requests_mock: Mocker
) -> None:
    """The last poll of a wait has no time left, and still asks if a token is fetched meanwhile."""
    requests_mock.get(TOKEN_URL, **bearer())
    requests_mock.post(QUERY_URL, **queried("0"))
    store = BusyFlights(clock, 0.9)
    timed_client(clock, store).query(CHECKOUT_ID, timeout=0.0)
    assert store.timeouts == [pytest.approx(1.0)]


def test_each_push_may_have_its_own_callback_url(client: StkClient, requests_mock: Mocker) -> None:
    """The settings' URL is only the default."""
    requests_mock.get(TOKEN_URL, **bearer())
    requests_mock.post(PUSH_URL, **ACCEPTED)
    own = "https://other.example.co.ke/cb"
    client.push(phone_number=PHONE, amount=1, reference="A", callback_url=own)
    client.push(phone_number=PhoneNumber.parse(PHONE), amount=1, reference="A")

    urls = [request.json()["CallBackURL"] for request in requests_mock.request_history[1:]]
    assert urls == [own, CALLBACK_URL]


@pytest.mark.parametrize(
    ("changes", "kind", "field"),
    [
        ({"phone_number": "0618643064"}, InvalidPhoneNumber, "phone_number"),
        ({"phone_number": None}, InvalidPhoneNumber, "phone_number"),
        ({"amount": 0}, InvalidAmount, "amount"),
        ({"amount": 250_001}, InvalidAmount, "amount"),
        ({"amount": 1.5}, InvalidAmount, "amount"),
        ({"amount": True}, InvalidAmount, "amount"),
        ({"amount": Decimal("NaN")}, InvalidAmount, "amount"),
        ({"reference": ""}, InvalidRequest, "reference"),
        ({"reference": "x" * 13}, InvalidRequest, "reference"),
        ({"reference": "a#b"}, InvalidRequest, "reference"),
        ({"description": "x" * 14}, InvalidRequest, "description"),
        ({"callback_url": "http://shop.example.co.ke/"}, InvalidRequest, "callback_url"),
        ({"callback_url": "https://localhost/"}, InvalidRequest, "callback_url"),
        ({"callback_url": ""}, InvalidRequest, "callback_url"),
    ],
)
def test_what_breaks_a_rule_is_not_sent(
    client: StkClient,
    requests_mock: Mocker,
    events: list[Event],
    changes: dict[str, Any],
    kind: type[InvalidRequest],
    field: str,
) -> None:
    """The error names the field; not even a token was asked for."""
    fields: dict[str, Any] = {"phone_number": PHONE, "amount": 100, "reference": "INV-1"}

    with pytest.raises(InvalidRequest) as caught:
        client.push(**(fields | changes))

    assert type(caught.value) is kind
    assert caught.value.field == field
    assert requests_mock.request_history == []
    assert events == []


# --- the query -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("checkout_request_id", ["", " ", "a b", "a\n", "\u00e9", "x" * 129, None])
def test_an_id_that_cannot_be_one(
    client: StkClient, requests_mock: Mocker, checkout_request_id: Any
) -> None:
    """Nothing is sent for it."""
    with pytest.raises(InvalidRequest):
        client.query(checkout_request_id)
    with pytest.raises(InvalidRequest):
        client.wait_for_result(checkout_request_id)

    assert requests_mock.request_history == []


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(not_sent(), id="not-sent"),
        pytest.param({"exc": requests.ReadTimeout}, id="timeout"),
        pytest.param({"status_code": 429}, id="429"),
        pytest.param({"status_code": 503}, id="503"),
        pytest.param({"text": "<html>x</html>", "status_code": 502}, id="html"),
        pytest.param(no("500.003.02", "System is busy.", 500), id="busy"),
        pytest.param(no("500.001.1001", "Something else", 500), id="error-500"),
    ],
)
def test_a_query_is_asked_again(
    client: StkClient, requests_mock: Mocker, reply: dict[str, Any]
) -> None:
    """It moves no money, so trouble is ridden out."""
    requests_mock.get(TOKEN_URL, **bearer())
    requests_mock.post(QUERY_URL, [reply, reply, queried("1032")])

    assert client.query(CHECKOUT_ID).status is QueryStatus.FAILED
    assert sent(requests_mock, "POST") == 3


def test_a_query_is_asked_as_often_as_told(client: StkClient, requests_mock: Mocker) -> None:
    """One try sends one request, so that a budget of queries can be kept."""
    requests_mock.get(TOKEN_URL, **bearer())
    requests_mock.post(QUERY_URL, [{"status_code": 503}, queried("1032")])

    with pytest.raises(UnexpectedResponse):
        client.query(CHECKOUT_ID, attempts=1)
    assert sent(requests_mock, "POST") == 1


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        pytest.param(
            no("400.002.02", "Bad Request - Invalid Timestamp", 400), DarajaError, id="400"
        ),
        pytest.param({"text": BLOCK_PAGE, "status_code": 403}, GatewayBlocked, id="blocked"),
        pytest.param(queried("4999", "Wrong credentials"), AuthenticationFailed, id="passkey"),
        pytest.param(NO_PRODUCT, AuthenticationFailed, id="product"),
    ],
)
def test_a_query_that_asking_again_cannot_help(
    client: StkClient, requests_mock: Mocker, reply: dict[str, Any], kind: type[MpesaError]
) -> None:
    """One POST, and the error."""
    requests_mock.get(TOKEN_URL, **bearer())
    requests_mock.post(QUERY_URL, **reply)

    with pytest.raises(MpesaError) as caught:
        client.query(CHECKOUT_ID)

    assert type(caught.value) is kind
    assert sent(requests_mock, "POST") == 1


def test_a_query_with_a_refused_token(client: StkClient, requests_mock: Mocker) -> None:
    """A new token, once, as for a push."""
    requests_mock.get(TOKEN_URL, [bearer("first"), bearer("second")])
    requests_mock.post(QUERY_URL, [REFUSED_TOKEN, queried("0")])

    assert client.query(CHECKOUT_ID).status is QueryStatus.PAID
    assert tokens_of(requests_mock) == ["first", "second"]


def test_queries_that_are_always_refused_spare_the_tokens(
    client: StkClient, requests_mock: Mocker, clock: ManualClock
) -> None:
    """It is not the token then, and a new one for each query would kill the one that pushes use."""
    requests_mock.get(TOKEN_URL, [bearer("first"), bearer("second"), bearer("third")])
    requests_mock.post(QUERY_URL, **REFUSED_TOKEN)

    for _ in range(5):
        with pytest.raises(AuthenticationFailed):
            client.query(CHECKOUT_ID)
    assert sent(requests_mock, "GET") == 2

    clock.advance(300)
    with pytest.raises(AuthenticationFailed):
        client.query(CHECKOUT_ID)
    assert sent(requests_mock, "GET") == 3


class Hanging:
    """A transport on which every query takes its whole time limit, or some seconds, and fails."""

    def __init__(self, clock: ManualClock, seconds: float) -> None:
        self.clock = clock
        self.seconds = seconds
        self.limits: list[float] = []
        self.closed = 0

    def send(self, request: HttpRequest, /) -> HttpResponse:
        """Answer token requests at once, nothing else ever."""
        if request.method == "GET":
            body = json.dumps({"access_token": TOKEN, "expires_in": 3599}).encode()
            return HttpResponse(status=200, headers={}, body=body)
        self.limits.append(request.total_timeout)
        self.clock.advance(min(self.seconds, request.total_timeout))
        raise OutcomeUnknown("no complete answer in time")

    def close(self) -> None:
        """Count."""
        self.closed += 1

    def __len__(self) -> int:
        """A transport may be empty, and is one all the same."""
        return 0


@pytest.mark.parametrize(
    ("seconds", "timeout", "limits"),
    [
        pytest.param(20.0, None, [45.0, 24.5, 3.5], id="default"),
        pytest.param(20.0, 30.0, [30.0, 9.5], id="thirty"),
        pytest.param(20.0, 0.0, [1.0], id="none-left"),
        pytest.param(0.0, 60.0, [45.0, 45.0, 45.0, 45.0], id="not-longer-than-one-exchange"),
    ],
)
def test_a_query_keeps_its_deadline(
    clock: ManualClock, seconds: float, timeout: float | None, limits: list[float]
) -> None:
    """Each try gets the time that is left, none starts after it, and one always is made."""
    transport = Hanging(clock, seconds)
    client = make_client(
        make_config(), transport=transport, clock=clock, retry=RetryPolicy(jitter=lambda: 0.5)
    )

    with pytest.raises(OutcomeUnknown):
        client.query(CHECKOUT_ID, timeout=timeout)

    assert transport.limits == limits


def test_a_context_manager_closes_the_transport(clock: ManualClock) -> None:
    """Leaving the block closes what the client sends with, errors or not."""
    transport = Hanging(clock, 0.0)
    with make_client(make_config(), transport=transport, clock=clock):
        assert transport.closed == 0
    assert transport.closed == 1

    with pytest.raises(KeyError), make_client(make_config(), transport=transport, clock=clock):
        raise KeyError
    assert transport.closed == 2


# --- waiting -------------------------------------------------------------------------------------------

PENDING = no("500.001.1001", "The transaction is being processed", 500)


def wait(
    client: StkClient, clock: ManualClock, **arguments: Any
) -> tuple[QueryResult, list[float], list[QueryStatus]]:
    """Wait for a result: what came, after how many seconds it was asked, and what was told."""
    started = clock.monotonic()
    moments: list[float] = []
    statuses: list[QueryStatus] = []

    def on_poll(result: QueryResult) -> None:
        moments.append(clock.monotonic() - started)
        statuses.append(result.status)

    return client.wait_for_result(CHECKOUT_ID, on_poll=on_poll, **arguments), moments, statuses


@pytest.mark.parametrize(
    ("jitter", "moments"),
    [
        (0.0, [15.0, 30.0, 45.0, 60.0, 75.0, 90.0, 105.0, 120.0]),
        (0.5, [17.5, 35.0, 52.5, 70.0, 87.5, 105.0, 120.0]),
        (1.0, [20.0, 40.0, 60.0, 80.0, 100.0, 120.0]),
    ],
)
def test_when_a_result_is_asked_for(
    clock: ManualClock, requests_mock: Mocker, jitter: float, moments: list[float]
) -> None:
    """First after 15 to 20 s, then as often, the last time when the time is up."""
    requests_mock.get(TOKEN_URL, **bearer())
    requests_mock.post(QUERY_URL, **PENDING)
    policy = RetryPolicy(jitter=lambda: jitter)
    with make_client(make_config(), clock=clock, retry=policy) as client:
        result, asked, _ = wait(client, clock)

    assert asked == moments
    assert result.status is QueryStatus.PENDING


@pytest.mark.parametrize(
    ("code", "status"), [("0", QueryStatus.PAID), ("1032", QueryStatus.FAILED)]
)
def test_waiting_ends_with_the_result(
    client: StkClient, clock: ManualClock, requests_mock: Mocker, code: str, status: QueryStatus
) -> None:
    """The first answer that settles is returned, and the last that is told."""
    requests_mock.get(TOKEN_URL, **bearer())
    requests_mock.post(QUERY_URL, [PENDING, queried("4999"), queried(code)])

    result, moments, statuses = wait(client, clock)

    assert (result.status, result.result_code) == (status, code)
    assert statuses == [QueryStatus.PENDING, QueryStatus.PENDING, status]
    assert moments == [17.5, 35.0, 52.5]


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param({"exc": requests.ReadTimeout}, id="timeout"),
        pytest.param(not_sent(), id="not-sent"),
        pytest.param({"status_code": 503}, id="503"),
        pytest.param({"status_code": 429}, id="429"),
        pytest.param({"text": BLOCK_PAGE, "status_code": 403}, id="blocked"),
        pytest.param(no("400.002.02", "Bad Request - Invalid Timestamp", 400), id="refused"),
        pytest.param(no("400.002.02", "Bad Request - Invalid CheckoutRequestID", 400), id="early"),
        pytest.param(queried("777"), id="unknown-code"),
    ],
)
def test_trouble_while_waiting_is_unknown_not_failed(
    client: StkClient, clock: ManualClock, requests_mock: Mocker, reply: dict[str, Any]
) -> None:
    """Nobody could tell: that is UNKNOWN, and no error ends the waiting."""
    requests_mock.get(TOKEN_URL, **bearer())
    requests_mock.post(QUERY_URL, **reply)
    started = clock.monotonic()

    result, _, statuses = wait(client, clock, timeout=60.0)

    assert result.status is QueryStatus.UNKNOWN
    assert result.checkout_request_id == CHECKOUT_ID
    assert set(statuses) == {QueryStatus.UNKNOWN}
    assert clock.monotonic() - started == 60.0


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param({"status_code": 503}, id="503"),
        pytest.param(no("500.003.1001", "Internal Server Error", 500), id="500"),
        pytest.param(no("500.003.02", "System is busy.", 500), id="busy"),
        pytest.param({"exc": requests.ReadTimeout}, id="timeout"),
        pytest.param({"text": "OK"}, id="unreadable"),
        pytest.param(not_sent(), id="not-sent"),
    ],
)
def test_each_poll_is_one_query(
    client: StkClient, clock: ManualClock, requests_mock: Mocker, reply: dict[str, Any]
) -> None:
    """The sandbox allows five a minute, however many of them fail."""
    requests_mock.get(TOKEN_URL, **bearer())
    requests_mock.post(QUERY_URL, **reply)

    _, moments, _ = wait(client, clock)

    assert moments == [17.5, 35.0, 52.5, 70.0, 87.5, 105.0, 120.0]
    assert sent(requests_mock, "POST") == len(moments)


def test_waiting_obeys_retry_after(
    client: StkClient, clock: ManualClock, requests_mock: Mocker
) -> None:
    """Daraja may ask for a longer pause than ours; the one after that is ours again."""
    limited = {"status_code": 429, "headers": {"Retry-After": "40"}}
    requests_mock.get(TOKEN_URL, **bearer())
    requests_mock.post(QUERY_URL, [limited, PENDING])

    _, moments, _ = wait(client, clock, timeout=90.0)

    assert moments == [17.5, 57.5, 75.0, 90.0]


def test_trouble_while_waiting_is_forgotten(
    client: StkClient, clock: ManualClock, requests_mock: Mocker
) -> None:
    """After a bad minute, the result still comes through."""
    requests_mock.get(TOKEN_URL, [{"status_code": 503}] * 4 + [bearer()])
    requests_mock.post(QUERY_URL, [{"status_code": 403, "text": BLOCK_PAGE}, queried("0")])

    result, _, statuses = wait(client, clock)

    assert statuses == [QueryStatus.UNKNOWN, QueryStatus.UNKNOWN, QueryStatus.PAID]
    assert result.status is QueryStatus.PAID


def test_wrong_credentials_end_the_waiting(client: StkClient, requests_mock: Mocker) -> None:
    """What waiting cannot mend is raised."""
    requests_mock.get(TOKEN_URL, **bearer())
    requests_mock.post(QUERY_URL, **no("500.001.1001", "Wrong credentials", 500))

    with pytest.raises(AuthenticationFailed):
        client.wait_for_result(CHECKOUT_ID)


@pytest.mark.parametrize("timeout", [0.0, -5.0, 3.0])
def test_waiting_without_time_asks_once(
    client: StkClient, clock: ManualClock, requests_mock: Mocker, timeout: float
) -> None:
    """Even with hardly any time, one question is asked, and nothing is waited for longer."""
    requests_mock.get(TOKEN_URL, **bearer())
    requests_mock.post(QUERY_URL, **PENDING)
    started = clock.monotonic()

    assert client.wait_for_result(CHECKOUT_ID, timeout=timeout).status is QueryStatus.PENDING
    assert sent(requests_mock, "POST") == 1
    assert clock.monotonic() - started == max(timeout, 0.0)


# --- what is told --------------------------------------------------------------------------------------

# step, what comes back -> outcome, error, code, status of the event
TOLD = [
    pytest.param("push", ACCEPTED, ("ok", None, "0", None), id="accepted"),
    pytest.param(
        "push",
        no("500.001.1001", "Unable to lock subscriber", 500),
        ("refused", "SubscriberBusy", "500.001.1001", 500),
        id="busy",
    ),
    pytest.param(
        "push", {"status_code": 429}, ("rate_limited", "RateLimited", None, 429), id="429"
    ),
    pytest.param(
        "push", {"status_code": 502}, ("unknown", "OutcomeUnknown", None, 502), id="unknown"
    ),
    pytest.param(
        "push",
        {"exc": requests.ReadTimeout},
        ("unknown", "OutcomeUnknown", None, None),
        id="timeout",
    ),
    pytest.param("push", not_sent(), ("not_sent", "NotSent", None, None), id="not-sent"),
    pytest.param(
        "push",
        {"status_code": 403, "text": BLOCK_PAGE},
        ("error", "GatewayBlocked", None, 403),
        id="blocked",
    ),
    pytest.param("query", queried("0"), ("paid", None, "0", None), id="paid"),
    pytest.param("query", queried("1032"), ("failed", None, "1032", None), id="failed"),
    pytest.param("query", PENDING, ("pending", None, None, None), id="pending"),
    pytest.param(
        "query",
        {"json": {}, "status_code": 503},
        ("error", "UnexpectedResponse", None, 503),
        id="unreadable",
    ),
]


@pytest.mark.parametrize(("step", "reply", "told"), TOLD)
def test_hooks_and_log_hear_of_each_step(
    client: StkClient,
    requests_mock: Mocker,
    events: list[Event],
    caplog: pytest.LogCaptureFixture,
    step: str,
    reply: dict[str, Any],
    told: tuple[str, str | None, str | None, int | None],
) -> None:
    """One event a step under a constant name, with codes and ids and nothing personal or secret."""
    requests_mock.get(TOKEN_URL, **bearer())
    requests_mock.post(PUSH_URL if step == "push" else QUERY_URL, **reply)
    with caplog.at_level(logging.DEBUG, logger="mpesa_stk"), suppress(MpesaError):
        push(client) if step == "push" else client.query(CHECKOUT_ID)

    assert [event.kind for event in events] == ["token", step]
    event = events[1]
    assert (event.outcome, event.error, event.code, event.http_status) == told
    assert event.duration is not None
    ours = [record for record in caplog.records if record.name == "mpesa_stk"]
    assert [record.getMessage().split()[0] for record in ours] == [
        "mpesa_stk.token",
        f"mpesa_stk.{step}",
    ]
    text = repr(events) + "".join(record.getMessage() + str(vars(record)) for record in ours)
    for secret in (*CANARIES, CHECKOUT_ID, PHONE, "718643064", "c0ffee"):
        assert secret not in text
    if event.checkout_request_id:
        assert event.checkout_request_id == CHECKOUT_ID[:-9] + "***"


def test_durations_are_of_the_step(
    clock: ManualClock, client: StkClient, requests_mock: Mocker, events: list[Event]
) -> None:
    """A push's duration has everything in it that the caller waited for."""

    def slow(_request: object, _context: object) -> dict[str, Any]:
        clock.advance(2.0)
        return bearer()["json"]  # type: ignore[no-any-return]

    requests_mock.get(TOKEN_URL, json=slow)
    requests_mock.post(PUSH_URL, [not_sent(), ACCEPTED])

    push(client)

    assert [event.duration for event in events] == [2.0, 2.5]


def test_a_failed_token_is_told_as_such(
    client: StkClient, requests_mock: Mocker, events: list[Event]
) -> None:
    """The token's trouble and the push that it prevented are two events."""
    requests_mock.get(TOKEN_URL, exc=requests.ReadTimeout)

    with pytest.raises(NotSent):
        push(client)

    assert [(event.kind, event.outcome) for event in events] == [
        ("token", "unknown"),
        ("push", "not_sent"),
    ]


def test_a_raising_hook_changes_no_payment(
    clock: ManualClock, requests_mock: Mocker, caplog: pytest.LogCaptureFixture
) -> None:
    """The push went out and its answer comes back, whatever the host's hook does."""

    def fail(_event: Event) -> None:
        raise RuntimeError("hunter2")

    requests_mock.get(TOKEN_URL, **bearer())
    requests_mock.post(PUSH_URL, [ACCEPTED, {"status_code": 502}])
    with make_client(make_config(), clock=clock, hooks=(fail,)) as client:
        assert push(client).checkout_request_id == CHECKOUT_ID
        with pytest.raises(OutcomeUnknown):
            push(client)

    assert sent(requests_mock, "POST") == 2
    failures = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert failures == [
        f"mpesa_stk.hook_failed kind={kind} error=RuntimeError"
        for kind in ("token", "push", "push")
    ]
    assert "hunter2" not in caplog.text
