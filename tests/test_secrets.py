"""No secret leaves the process except in its own request to the configured origin.

A table of everything that can go wrong with a client; after each, all that a host could print, log,
store or send to an error tracker is searched for the canaries.
"""

from __future__ import annotations

import base64
import copy
import json
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
import requests
import requests_mock

from loopback import closed_port
from mpesa_stk import (
    AuthenticationFailed,
    ConfigurationError,
    DarajaError,
    Event,
    GatewayBlocked,
    HttpRequest,
    HttpResponse,
    InvalidRequest,
    MpesaError,
    NotSent,
    OutcomeUnknown,
    RateLimited,
    RequestsTransport,
    RetryPolicy,
    StkClient,
    SubscriberBusy,
    Token,
    Transport,
    UnexpectedResponse,
    stk_password,
    stk_timestamp,
)
from support import (
    CALLBACK_SECRET,
    CANARIES,
    CHECKOUT_ID,
    CONSUMER_KEY,
    CONSUMER_SECRET,
    PASSKEY,
    START,
    TESTS,
    TOKEN,
    ManualClock,
    accepted,
    loopback_config,
    make_config,
)
from transports import MakeTransport

BASIC = base64.b64encode(f"{CONSUMER_KEY}:{CONSUMER_SECRET}".encode()).decode()
PASSWORD = stk_password("600000", PASSKEY, stk_timestamp(START))
SECRETS = (*CANARIES, BASIC, PASSWORD)

Answer = Callable[[HttpRequest], HttpResponse]
Use = Callable[[StkClient], object]


def answer(body: object, status: int = 200, content_type: str = "application/json") -> Answer:
    """Answer with JSON, or with these very bytes."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = HttpResponse(status=status, headers={"content-type": content_type}, body=raw)
    return lambda _request: response


def no(code: str, message: str, status: int) -> Answer:
    """Daraja's no."""
    return answer({"requestId": "r-1", "errorCode": code, "errorMessage": message}, status)


def fail(error: MpesaError) -> Answer:
    """Fail as a transport does."""

    def answer_nothing(_request: HttpRequest) -> HttpResponse:
        raise copy.copy(error)

    return answer_nothing


def sent(request: HttpRequest) -> str:
    """All that a request holds, as a careless server would print it."""
    body = (request.body or b"").decode()
    password = json.loads(body)["Password"] if body else ""
    decoded = base64.b64decode(password).decode()
    return f"{request.headers['Authorization']} {password} {decoded} {decoded[6:-14]}"


def echo(code: str, status: int, shape: str = "{}") -> Answer:
    """An error whose message repeats what was sent."""
    return lambda request: no(code, shape.format(sent(request)), status)(request)


def echo_page(status: int, content_type: str = "text/html") -> Answer:
    """A page that repeats what was sent."""

    def page(request: HttpRequest) -> HttpResponse:
        text = (
            f"<html>Request unsuccessful: {sent(request)} {request.body!r} incident id: 7-8</html>"
        )
        return answer(text.encode(), status, content_type)(request)

    return page


TOKEN_ANSWER = answer({"access_token": TOKEN, "expires_in": "3599"})


class Daraja:
    """A transport that answers token requests in one way and all others in another."""

    def __init__(self, *, token: Answer = TOKEN_ANSWER, call: Answer = TOKEN_ANSWER) -> None:
        self._token = token
        self._call = call

    def send(self, request: HttpRequest, /) -> HttpResponse:
        """Answer one request."""
        return (self._token if request.method == "GET" else self._call)(request)

    def close(self) -> None:
        """Nothing is open."""


def push(client: StkClient) -> object:
    """Ask for a payment."""
    return client.push(phone_number="0718643064", amount=100, reference="INV-1")


def query(client: StkClient) -> object:
    """Ask what became of one."""
    return client.query(CHECKOUT_ID)


def token(client: StkClient) -> object:
    """Ask for a token."""
    return client.token()


def push_with(**fields: Any) -> Use:
    """A push with fields that break a rule, secrets among them."""
    good: dict[str, Any] = {"phone_number": "0718643064", "amount": 100, "reference": "INV-1"}
    return lambda client: client.push(**(good | fields))


REFUSED_TOKEN = no("404.001.03", "Invalid Access Token", 404)
NO_PRODUCT = no("401.003.01", f"no apiproduct match found for {TOKEN}", 401)
BAD_KEY = no("400.008.01", "Invalid Authentication passed", 400)
HTML = answer(b"<html>busy</html>", 503, "text/html")
ECHOING_JSON = {"errorCode": "400.002.02", "access_token": TOKEN}

# What goes wrong, whom it happens to, and how it ends.
PATHS: dict[str, tuple[Daraja, Use, type[MpesaError]]] = {
    "bad credentials": (Daraja(token=BAD_KEY), token, AuthenticationFailed),
    "bad credentials, echoed": (
        Daraja(token=lambda request: no("400.008.01", sent(request), 400)(request)),
        push,
        AuthenticationFailed,
    ),
    "token endpoint echoes": (Daraja(token=echo_page(500)), push, GatewayBlocked),
    "token endpoint is blocked": (Daraja(token=echo_page(403)), token, GatewayBlocked),
    "token answer is no JSON": (
        Daraja(token=answer(f'{{"access_token": "{TOKEN}"'.encode())),
        token,
        UnexpectedResponse,
    ),
    "token answer is a list": (Daraja(token=answer([TOKEN])), token, UnexpectedResponse),
    "token answer has no token": (
        Daraja(token=answer({"token": TOKEN})),
        push,
        UnexpectedResponse,
    ),
    "token cannot be a header": (
        Daraja(token=answer({"access_token": f"{TOKEN}\r\n"})),
        token,
        UnexpectedResponse,
    ),
    "token is not text": (
        Daraja(token=answer({"access_token": [TOKEN]})),
        token,
        UnexpectedResponse,
    ),
    "token under an error status": (
        Daraja(token=answer({"access_token": TOKEN}, 500)),
        token,
        UnexpectedResponse,
    ),
    "token and error together": (
        Daraja(token=answer(ECHOING_JSON | {"errorMessage": TOKEN}, 400)),
        token,
        DarajaError,
    ),
    "token times out": (
        Daraja(token=fail(OutcomeUnknown("no complete answer in time"))),
        push,
        NotSent,
    ),
    "push token refused": (Daraja(call=REFUSED_TOKEN), push, AuthenticationFailed),
    "query token refused": (Daraja(call=REFUSED_TOKEN), query, AuthenticationFailed),
    "push product missing": (Daraja(call=NO_PRODUCT), push, AuthenticationFailed),
    "push wrong passkey": (
        Daraja(call=echo("500.001.1001", 500, "Wrong credentials {}")),
        push,
        DarajaError,
    ),
    "push echoed": (Daraja(call=echo("400.002.02", 400)), push, DarajaError),
    "push echoed, late": (
        Daraja(call=echo("400.002.02", 400, "x" * 150 + " {}")),
        push,
        DarajaError,
    ),
    "push echoed, busy": (
        Daraja(call=echo("500.001.1001", 500, "Unable to lock subscriber {}")),
        push,
        SubscriberBusy,
    ),
    "push echoed, limited": (Daraja(call=echo("500.003.02", 429)), push, RateLimited),
    "push echoed, unknown": (Daraja(call=echo("500.003.1001", 500)), push, OutcomeUnknown),
    "push page echoes": (Daraja(call=echo_page(503)), push, OutcomeUnknown),
    "push page echoes, refused": (Daraja(call=echo_page(403)), push, GatewayBlocked),
    "push text echoes": (
        Daraja(call=lambda request: answer(sent(request).encode(), 500, "text/plain")(request)),
        push,
        OutcomeUnknown,
    ),
    "push answer is no JSON": (Daraja(call=HTML), push, OutcomeUnknown),
    "push answer is empty": (Daraja(call=answer(b"")), push, OutcomeUnknown),
    "push answer is odd": (Daraja(call=answer({"token": TOKEN})), push, OutcomeUnknown),
    "push answer is odd inside": (
        Daraja(call=answer(accepted() | {"ResponseCode": [TOKEN]})),
        push,
        OutcomeUnknown,
    ),
    "push answer is neither": (
        Daraja(call=answer(accepted() | {"ResponseCode": "1", "token": TOKEN})),
        push,
        OutcomeUnknown,
    ),
    "push limited": (Daraja(call=answer(b"slow", 429)), push, RateLimited),
    "push times out": (
        Daraja(call=fail(OutcomeUnknown("no complete answer in time"))),
        push,
        OutcomeUnknown,
    ),
    "push never leaves": (Daraja(call=fail(NotSent("refused"))), push, NotSent),
    "query echoed": (Daraja(call=echo("400.002.02", 400)), query, DarajaError),
    "query page echoes": (Daraja(call=echo_page(403)), query, GatewayBlocked),
    "query answer is no JSON": (Daraja(call=HTML), query, UnexpectedResponse),
    "query answer is odd": (Daraja(call=answer({"x": TOKEN})), query, UnexpectedResponse),
    "query times out": (
        Daraja(call=fail(OutcomeUnknown("no complete answer in time"))),
        query,
        OutcomeUnknown,
    ),
    "bad phone number": (Daraja(), push_with(phone_number=TOKEN), InvalidRequest),
    "bad amount": (Daraja(), push_with(amount=PASSKEY), InvalidRequest),
    "bad reference": (Daraja(), push_with(reference=PASSKEY), InvalidRequest),
    "bad description": (Daraja(), push_with(description=CONSUMER_SECRET), InvalidRequest),
    "bad callback URL": (
        Daraja(),
        push_with(callback_url=f"https://u:{PASSKEY}@shop.example.co.ke/"),
        InvalidRequest,
    ),
    "bad checkout id": (Daraja(), lambda client: client.query(f"{TOKEN} x"), InvalidRequest),
}


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """The error and all that it was raised from or while handling."""
    seen = [error]
    for each in seen:
        yield each
        seen += [
            other for other in (each.__cause__, each.__context__) if other and other not in seen
        ]


def frames_of(error: BaseException) -> Iterator[str]:
    """Each frame of an error's traceback with its locals, but for those of the tests."""
    for each in chain_of(error):
        shown = traceback.TracebackException.from_exception(each, capture_locals=True)
        for frame in shown.stack:
            if not frame.filename.startswith(str(TESTS)):
                yield f"{frame.filename}:{frame.lineno} in {frame.name}: {frame.locals}"


def exposures(error: BaseException) -> Iterator[str]:
    """All that an error shows, in every way to look at it."""
    for each in chain_of(error):
        yield from (str(each), repr(each), repr(each.args), repr(vars(each)), repr([each]))
        yield pickle.dumps(each).decode("latin-1")
        yield repr(pickle.loads(pickle.dumps(each)))  # noqa: S301 - our own bytes
        yield repr(vars(copy.deepcopy(each)))
    yield "".join(traceback.format_exception(error))


def make_client(transport: Transport, events: list[Event], config: Any = None) -> StkClient:
    """A client with canaries for settings that tells its events."""
    return StkClient(
        config or make_config(callback_secrets=[CALLBACK_SECRET]),
        transport=transport,
        clock=ManualClock(),
        retry=RetryPolicy(jitter=lambda: 0.5),
        hooks=(events.append,),
    )


def check(
    client: StkClient,
    use: Use,
    kind: type[MpesaError],
    events: list[Event],
    caplog: pytest.LogCaptureFixture,
) -> MpesaError:
    """Use a client, see it fail, and search all that can be seen of it."""
    with caplog.at_level(logging.DEBUG), pytest.raises(kind) as failure:
        use(client)
    error = failure.value
    logged = [f"{record.getMessage()} {vars(record)}" for record in caplog.records]
    for shown in (*exposures(error), *logged, repr(events), repr(client), repr(client.config)):
        assert not [secret for secret in SECRETS if secret in shown], shown
    return error


@pytest.mark.parametrize(("daraja", "use", "kind"), PATHS.values(), ids=PATHS.keys())
def test_no_failure_shows_a_secret(
    daraja: Daraja, use: Use, kind: type[MpesaError], caplog: pytest.LogCaptureFixture
) -> None:
    """Not in texts, attributes, pickles, tracebacks, logs or events."""
    events: list[Event] = []
    check(make_client(daraja, events), use, kind, events, caplog)


@pytest.mark.parametrize(("daraja", "use", "kind"), PATHS.values(), ids=PATHS.keys())
def test_no_frame_of_the_library_shows_a_secret(
    daraja: Daraja, use: Use, kind: type[MpesaError]
) -> None:
    """Error trackers and pytest print tracebacks with the locals of each frame."""
    client = make_client(daraja, [])
    with pytest.raises(kind) as failure:
        use(client)
    frames = list(frames_of(failure.value))
    assert frames
    leaks = [frame for frame in frames if any(secret in frame for secret in SECRETS)]
    if isinstance(failure.value, InvalidRequest):
        leaks = []  # the secret is an argument, and the caller passed it
    assert not leaks


def test_an_odd_argument_is_not_repeated() -> None:
    """What a caller passed is in the caller's own frames; the error's text leaves it out."""
    invalid = [path for path in PATHS.values() if path[2] is InvalidRequest]
    assert len(invalid) == 6
    for daraja, use, kind in invalid:
        with pytest.raises(kind) as failure:
            use(make_client(daraja, []))
        assert len(str(failure.value)) < 120


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        ({"exc": requests.exceptions.ReadTimeout}, OutcomeUnknown),
        ({"exc": requests.exceptions.ConnectionError(f"to {TOKEN}")}, OutcomeUnknown),
        ({"exc": requests.exceptions.ChunkedEncodingError}, OutcomeUnknown),
        ({"text": f"<html>{TOKEN} {PASSWORD} {BASIC}</html>", "status_code": 503}, OutcomeUnknown),
        ({"text": f"{TOKEN} " * 4000}, OutcomeUnknown),
        (
            {"status_code": 307, "headers": {"Location": f"https://evil.example/?{TOKEN}"}},
            OutcomeUnknown,
        ),
    ],
)
def test_no_failure_of_requests_shows_a_secret(
    answers: dict[str, Any], kind: type[MpesaError], caplog: pytest.LogCaptureFixture
) -> None:
    """The library's errors hold the request; ours replace them, and their frames are gone."""
    events: list[Event] = []
    adapter = requests_mock.Adapter()
    adapter.register_uri("GET", requests_mock.ANY, json={"access_token": TOKEN})
    adapter.register_uri("POST", requests_mock.ANY, **answers)
    with requests.Session() as session:
        session.mount("https://", adapter)
        client = make_client(RequestsTransport(session=session), events)
        error = check(client, push, kind, events, caplog)
    for frame in frames_of(error):
        assert not [secret for secret in SECRETS if secret in frame], frame


@pytest.mark.parametrize("use", [token, push, query])
def test_a_refused_connection_shows_no_secret(
    make_transport: MakeTransport, use: Use, caplog: pytest.LogCaptureFixture
) -> None:
    """Over a real socket, with everything that urllib3 and asyncio log at DEBUG."""
    events: list[Event] = []
    with closed_port() as origin:
        client = make_client(make_transport(), events, loopback_config(origin))
        error = check(client, use, NotSent, events, caplog)
    assert events
    for frame in frames_of(error):
        assert not [secret for secret in SECRETS if secret in frame], frame


@pytest.mark.parametrize(
    "settings",
    [
        {"consumer_key": f"{CONSUMER_KEY}:{CONSUMER_SECRET}"},
        {"consumer_secret": f"{CONSUMER_SECRET} {CONSUMER_SECRET}"},
        {"passkey": PASSWORD},
        {"callback_url": f"http://shop.example.co.ke/{PASSKEY}"},
        {"callback_secrets": CALLBACK_SECRET},
        {"proxies": {"https": f"http://u:{PASSKEY}@proxy", "http": None}},
        {"max_amount": 0},
    ],
)
def test_no_refused_setting_is_shown(settings: dict[str, Any]) -> None:
    """Neither by the error nor by the frames of the library that it passed."""
    with pytest.raises(ConfigurationError) as failure:
        make_config(**settings)
    for shown in (*exposures(failure.value), *frames_of(failure.value)):
        assert not [secret for secret in SECRETS if secret in shown], shown


def test_a_working_client_shows_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    """Success is logged too, and what it returns can be printed."""
    events: list[Event] = []
    client = make_client(Daraja(call=answer(accepted())), events)
    with caplog.at_level(logging.DEBUG):
        shown = [repr(client.token()), repr(push(client)), repr(client), repr(client.config)]
    shown += [f"{record.getMessage()} {vars(record)}" for record in caplog.records]
    shown += [repr(event) for event in events]
    assert caplog.records
    assert [event.kind for event in events] == ["token", "push"]
    for text in shown:
        assert not [secret for secret in (*SECRETS, "718643064") if secret in text], text


def test_what_holds_secrets_is_not_pickled() -> None:
    """Task queues refuse it at once instead of writing it down."""
    values = [
        make_config(),
        Token(value=TOKEN, expires_in=1.0, renew_at=1.0),
        HttpRequest(method="GET", url="x", headers={}, connect_timeout=1.0, total_timeout=1.0),
        HttpResponse(status=200, headers={}, body=b""),
    ]
    for value in values:
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(TypeError, match=type(value).__name__):
                pickle.dumps(value, protocol)
        assert copy.copy(value) is copy.deepcopy(value) is value
        assert attrs.evolve(value) == value  # type: ignore[misc]
