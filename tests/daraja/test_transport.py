"""The transport, over real sockets: what was sent how often, what that proves, and what is never sent."""

from __future__ import annotations

import gzip
import logging
import os
import signal
import socket
import sys
import threading
import time
import traceback
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import attrs
import pytest
import requests
import requests_mock as requests_mock_module
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from certificates import Tls
from loopback import (
    Act,
    Exchange,
    Server,
    answer,
    answer_json,
    closed_port,
    drip,
    full_backlog,
    garbage_at_once,
    hang_up,
    hang_up_at_once,
    head,
    raw_server,
    reset,
    reset_at_once,
    say,
    silence,
    stay_silent,
    upgrade_to_tls,
)
from mpesa_stk import (
    ConfigurationError,
    HttpRequest,
    NotSent,
    OutcomeUnknown,
    RequestsTransport,
    Transport,
)
from mpesa_stk.daraja.connections import _DeadlineSocket
from mpesa_stk.daraja.exchange import MAX_BODY
from mpesa_stk.daraja.sending import BROKEN, MAX_IDLE, NO_ANSWER, TOO_LARGE
from mpesa_stk.errors import TransportError
from support import CANARIES, CONSUMER_SECRET, TOKEN
from transports import MakeTransport

PUSH_PATH = "/mpesa/stkpush/v1/processrequest"
BODY = b'{"Password":"' + CONSUMER_SECRET.encode() + b'"}'


class Monotonic:
    """A monotonic clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        """What it shows."""
        return self.seconds


@pytest.fixture
def monotonic() -> Monotonic:
    """The clock by which the transport measures idle time."""
    return Monotonic()


@pytest.fixture
def transport(make_transport: MakeTransport, monotonic: Monotonic) -> Transport:
    """A transport of each kind, with a clock moved by hand."""
    return make_transport(monotonic=monotonic)


def post(origin: str, *, total_timeout: float = 5.0, connect_timeout: float = 2.0) -> HttpRequest:
    """A push, full of canaries."""
    return HttpRequest(
        method="POST",
        url=origin + PUSH_PATH,
        headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
        body=BODY,
        connect_timeout=connect_timeout,
        total_timeout=total_timeout,
    )


def get(origin: str, path: str = "/oauth") -> HttpRequest:
    """A request without a body."""
    return HttpRequest(
        method="GET",
        url=origin + path,
        headers={"Authorization": "Basic c2VjcmV0"},
        connect_timeout=2.0,
        total_timeout=5.0,
    )


ONLY_REQUESTS = pytest.mark.parametrize("make_transport", ["requests"], indirect=True)
EVERY_KIND = pytest.mark.parametrize(
    "make_transport", ["requests", "session", "aiohttp"], indirect=True
)


def failure(transport: Transport, request: HttpRequest) -> TransportError:
    """The error that sending raises."""
    with pytest.raises(TransportError) as caught:
        transport.send(request)
    return caught.value


def assert_closed(server: Server, connections: int) -> None:
    """Wait until the server has seen that many of its connections end."""
    for _ in range(connections):
        assert server.ended.acquire(timeout=5.0), "a connection was left open"


# --- was it sent? ------------------------------------------------------------------------------------


@EVERY_KIND
@pytest.mark.parametrize(
    ("nowhere", "reason"),
    [
        pytest.param(closed_port, "no connection could be made", id="refused"),
        pytest.param(
            full_backlog,
            "connecting timed out",
            id="connect-timeout",
            marks=pytest.mark.skipif(
                sys.platform != "linux", reason="only Linux drops what a full queue cannot take"
            ),
        ),
    ],
)
def test_no_connection_is_not_sent(
    transport: Transport,
    nowhere: Callable[[], AbstractContextManager[str]],
    reason: str,
) -> None:
    """Where no connection came about, nothing can have been sent."""
    with nowhere() as origin:
        error = failure(transport, post(origin, connect_timeout=0.2))

    assert type(error) is NotSent
    assert error.reason == reason


@EVERY_KIND
def test_unknown_name_is_not_sent(transport: Transport) -> None:
    """Where the host's name cannot be found, nothing can have been sent."""
    error = failure(transport, post("http://daraja.invalid"))

    assert type(error) is NotSent
    assert error.reason == "no connection could be made"


BOMB = gzip.compress(bytes(30 * 1024 * 1024))

UNKNOWN = [
    pytest.param(hang_up, BROKEN, id="reads-then-closes"),
    pytest.param(reset, BROKEN, id="reads-then-resets"),
    pytest.param(stay_silent, NO_ANSWER, id="reads-then-hangs"),
    pytest.param(say(head(200, content_length=100) + b"{"), BROKEN, id="body-cut-short"),
    pytest.param(
        say(head(200, transfer_encoding="chunked") + b"20\r\n{"), BROKEN, id="chunk-cut-short"
    ),
    pytest.param(say(b"220 mail.example.com ESMTP\r\n"), BROKEN, id="not-http"),
    pytest.param(say(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200), BROKEN, id="200-headers"),
    pytest.param(
        drip(b"", b"HTTP/1.1 200 OK\r\nA: bbbbbbbbbbb"), NO_ANSWER, id="drips-status-line"
    ),
    pytest.param(drip(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"), NO_ANSWER, id="drips-headers"),
    pytest.param(drip(head(200, content_length=9999), b"{"), NO_ANSWER, id="drips-body"),
    pytest.param(
        drip(head(200, transfer_encoding="chunked"), b"1\r\n{\r\n"), NO_ANSWER, id="drips-chunks"
    ),
    pytest.param(drip(head(200), b"{"), NO_ANSWER, id="drips-without-length"),
    pytest.param(answer(200, bytes(MAX_BODY + 2)), TOO_LARGE, id="oversized"),
    pytest.param(
        say(head(200, content_length=10**12) + bytes(MAX_BODY + 1), keep=True),
        TOO_LARGE,
        id="claims-a-terabyte",
    ),
]


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        *UNKNOWN,
        pytest.param(answer(200, BOMB, content_encoding="gzip"), TOO_LARGE, id="gzip-bomb"),
    ],
)
def test_anything_after_sending_is_unknown(transport: Transport, act: Act, reason: str) -> None:
    """Whatever goes wrong once a byte may have left: one POST, unknown, within the deadline."""
    with Server(act) as server:
        started = time.monotonic()
        error = failure(transport, post(server.origin, total_timeout=0.3))
        elapsed = time.monotonic() - started

        assert server.count("POST", at_least=1) == 1

    assert type(error) is OutcomeUnknown
    assert error.reason == reason
    assert elapsed < 2.0


@pytest.mark.parametrize(("act", "reason"), UNKNOWN)
def test_a_connection_that_failed_is_not_used_again(
    transport: Transport, act: Act, reason: str
) -> None:
    """What is left unread on a connection never becomes the answer to the next request."""
    with Server(act, answer_json({"second": True})) as server:
        assert failure(transport, post(server.origin, total_timeout=0.3)).reason == reason
        assert transport.send(post(server.origin)).body == b'{"second": true}'

        assert server.connections == 2


def test_after_the_deadline_nothing_is_read() -> None:
    """Not even what has arrived: a server that is always a byte ahead cannot hold us."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"HTTP/1.1 200 OK")
        ours.settimeout(0.0)
        with _DeadlineSocket(ours).makefile("rb") as reader, pytest.raises(TimeoutError):
            reader.read(1)


@ONLY_REQUESTS
def test_an_answer_cut_in_its_headers_has_no_body(transport: Transport) -> None:
    """The standard library takes the end of the line for the end of the headers: nothing is in it."""
    with Server(say(b"HTTP/1.1 200 OK\r\nContent-"), answer_json({})) as server:
        response = transport.send(post(server.origin))
        transport.send(post(server.origin))

        assert (response.status, response.body) == (200, b"")
        assert server.connections == 2


@pytest.mark.parametrize(
    "nowhere", [pytest.param(closed_port, id="not-sent"), pytest.param(None, id="unknown")]
)
def test_no_secret_can_be_reached_from_an_error(
    transport: Transport, nowhere: Callable[[], AbstractContextManager[str]] | None
) -> None:
    """The library's own error holds the request; ours leads neither to it nor to a secret."""
    if nowhere is None:
        with Server(hang_up) as server:
            error = failure(transport, post(server.origin))
    else:
        with nowhere() as origin:
            error = failure(transport, post(origin))

    assert error.__cause__ is None
    assert error.__context__ is None
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    text = "".join(told.format()) + repr(error.__dict__)
    assert "send" in text
    assert not [canary for canary in CANARIES if canary in text]


class TimeLimit(Exception):
    """As Celery raises one from a signal's handler, in the middle of anything."""


@ONLY_REQUESTS
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a signal of a timer")
@pytest.mark.parametrize("act", [stay_silent, drip(head(200, content_length=9999), b"{")])
def test_no_secret_can_be_reached_from_an_interruption(transport: Transport, act: Act) -> None:
    """The frames of requests hold the request, and leave with none of them what interrupts it."""

    def interrupt(*_args: object) -> None:
        raise TimeLimit

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with Server(act) as server:
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(TimeLimit) as caught:
                transport.send(post(server.origin))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert caught.value.__context__ is None
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    text = "".join(shown.format())
    assert "in send" in text
    assert not [canary for canary in CANARIES if canary in text]


# --- answers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 400, 401, 404, 429, 500, 503])
def test_every_status_is_handed_back(transport: Transport, status: int) -> None:
    """The transport judges no status: it brings back what came, header names in lower case."""
    with Server(answer(status, b'{"a": 1}', retry_after=30)) as server:
        response = transport.send(post(server.origin))

        assert (response.status, response.body) == (status, b'{"a": 1}')
        assert response.headers["retry-after"] == "30"
        assert server.count("POST") == 1


def test_a_request_may_allow_a_longer_answer(transport: Transport) -> None:
    """Plain or compressed, its body is read whole up to that, and no further."""
    body = b"[" + b" " * 3 * MAX_BODY + b"]"
    zipped = answer(200, gzip.compress(body), content_encoding="gzip")
    with Server(answer(200, body), zipped, answer(200, body), zipped) as server:
        longer = attrs.evolve(post(server.origin), max_body=len(body))
        assert [transport.send(longer).body for _ in range(2)] == [body, body]
        shorter = attrs.evolve(longer, max_body=len(body) - 1)
        assert [failure(transport, shorter).reason for _ in range(2)] == [TOO_LARGE] * 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(transport: Transport, status: int) -> None:
    """A 307 followed would be a second POST: the status comes back and nothing else happens."""
    with Server(answer(status, b"moved", location="/elsewhere")) as server:
        response = transport.send(post(server.origin))

        assert (response.status, response.body) == (status, b"moved")
        assert len(server.received) == 1


@EVERY_KIND
def test_the_body_of_a_redirect_is_bounded_too(make_transport: MakeTransport) -> None:
    """A redirect is handed back before requests reads its whole body, however long, to follow it."""
    endless = drip(
        head(307, location="/elsewhere", content_length=10**12) + bytes(MAX_BODY + 1), b"x"
    )
    with Server(endless) as server:
        error = failure(make_transport(), post(server.origin, total_timeout=0.5))

        assert error.reason == TOO_LARGE
        assert len(server.received) == 1


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        pytest.param(gzip.compress(b'{"a": 1}'), "gzip", id="gzip"),
        pytest.param(gzip.compress(b'{"a": 1}'), "GZIP", id="upper-case"),
        pytest.param(zlib.compress(b'{"a": 1}'), "deflate", id="deflate"),
        pytest.param(b'{"a": 1}', "gzip", id="not-compressed-at-all"),
        pytest.param(b'{"a": 1}', "br", id="unknown-encoding"),
    ],
)
def test_a_compressed_answer_is_read(transport: Transport, body: bytes, encoding: str) -> None:
    """A server that compresses unasked is understood; a header that lies changes nothing."""
    with Server(answer(200, body, content_encoding=encoding)) as server:
        assert transport.send(post(server.origin)).body == b'{"a": 1}'
        assert server.received[0].headers["accept-encoding"] == "identity"


def test_the_largest_body_is_read(transport: Transport) -> None:
    """The limit itself is still taken."""
    with Server(answer(200, b"x" * MAX_BODY)) as server:
        assert len(transport.send(post(server.origin)).body) == MAX_BODY


@pytest.mark.parametrize(
    ("act", "connections"),
    [
        pytest.param(answer(204), 1, id="empty"),
        pytest.param(
            say(head(200, transfer_encoding="chunked") + b"2\r\n{}\r\n0\r\n\r\n", keep=True),
            1,
            id="chunked",
        ),
        pytest.param(answer(200, b"{}", connection="close"), 2, id="close-asked-for"),
        pytest.param(say(b"HTTP/1.0 200 OK\r\n\r\n{}"), 2, id="http-1.0"),
        pytest.param(answer(503, b"<html>Request unsuccessful</html>"), 1, id="html-block-page"),
    ],
)
def test_connections_live_as_long_as_the_server_says(
    transport: Transport, act: Act, connections: int
) -> None:
    """Each form in which an answer may end is read whole, and its connection used again or not."""
    with Server(act) as server:
        first = transport.send(post(server.origin))
        second = transport.send(post(server.origin))

        assert first.body == second.body
        assert server.connections == connections


# --- what is never sent ------------------------------------------------------------------------------


def test_a_request_arrives_whole_and_says_who_asks(make_transport: MakeTransport) -> None:
    """Head and body leave in one piece, with our product token first and the host's after it."""
    with Server(answer_json({})) as server:
        transport = make_transport(user_agent="shop/2.0")
        transport.send(post(server.origin))
        transport.send(get(server.origin))

        pushed, fetched = server.received
        assert pushed.whole_at_once
        assert (pushed.method, pushed.target, pushed.body) == ("POST", PUSH_PATH, BODY)
        assert pushed.headers["user-agent"] == f"mpesa-stk/{version('mpesa-stk-client')} shop/2.0"
        assert pushed.headers["authorization"] == f"Bearer {TOKEN}"
        assert pushed.headers["accept"] == "application/json"
        assert pushed.headers["content-length"] == str(len(BODY))
        assert (fetched.method, fetched.body) == ("GET", b"")
        assert "content-length" not in fetched.headers


def test_the_default_user_agent_is_ours_alone(transport: Transport) -> None:
    """Nothing about the host, its system or its environment is told."""
    with Server(answer_json({})) as server:
        transport.send(get(server.origin))

        told = server.received[0].headers["user-agent"]
        assert told == f"mpesa-stk/{version('mpesa-stk-client')}"


@EVERY_KIND
def test_cookies_are_never_sent_back(make_transport: MakeTransport) -> None:
    """Nothing that a server sets may steer a payment."""
    with Server(answer(200, b"{}", set_cookie="visid=1; Path=/")) as server:
        transport = make_transport()
        transport.send(post(server.origin))
        transport.send(post(server.origin))

        assert not [received for received in server.received if "cookie" in received.headers]


@EVERY_KIND
def test_netrc_does_not_replace_the_token(
    make_transport: MakeTransport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A .netrc entry for Daraja's host must not become the Authorization header."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password other\n", encoding="ascii")
    monkeypatch.setenv("NETRC", str(netrc))
    assert requests.utils.get_netrc_auth("http://127.0.0.1/") == ("somebody", "other")
    with Server(answer_json({})) as server:
        make_transport().send(post(server.origin))

        assert server.received[0].headers["authorization"] == f"Bearer {TOKEN}"


# --- proxies -----------------------------------------------------------------------------------------


def test_proxies_of_the_environment_are_ignored(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy variable that somebody left behind does not get to see the token."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with Server(answer_json({})) as server:
        transport.send(post(server.origin))

        assert server.received[0].target == PUSH_PATH


def test_a_configured_proxy_is_used(make_transport: MakeTransport) -> None:
    """A configured proxy gets the request, and its connection is kept."""
    with Server(answer_json({})) as proxy:
        transport = make_transport(proxies={"http": proxy.origin.replace("//", "//user:pass@")})
        transport.send(post("http://daraja.invalid"))
        transport.send(post("http://daraja.invalid"))

        for received in proxy.received:
            assert received.target == f"http://daraja.invalid{PUSH_PATH}"
            assert received.headers["host"] == "daraja.invalid"
            assert received.headers["proxy-authorization"] == "Basic dXNlcjpwYXNz"
        assert len(proxy.received) == 2
        assert proxy.connections == 1


def test_the_proxies_of_an_own_session_are_used() -> None:
    """A host that brings a session brings its proxies with it."""
    with Server(answer_json({})) as proxy:
        session = requests.Session()
        session.proxies = {"http": proxy.origin}
        transport = RequestsTransport(session=session)
        transport.send(post("http://daraja.invalid"))
        transport.close()

        assert proxy.count("POST") == 1


# --- TLS ---------------------------------------------------------------------------------------------


@pytest.fixture
def trusting(make_transport: MakeTransport, tls: Tls, monotonic: Monotonic) -> Transport:
    """A transport that trusts the tests' CA and no other."""
    return make_transport(ca_bundle=str(tls.bundle), monotonic=monotonic)


def test_tls_keeps_connections_and_deadlines(tls: Tls, trusting: Transport) -> None:
    """Over TLS too: one connection for many requests, whole requests, a total deadline."""
    dripping = drip(head(200, content_length=9999), b"{")
    with Server(answer_json({}), answer_json({}), dripping, tls=tls.server()) as server:
        trusting.send(post(server.origin))
        trusting.send(post(server.origin))
        assert server.connections == 1
        assert server.received[1].whole_at_once

        started = time.monotonic()
        assert failure(trusting, post(server.origin, total_timeout=0.3)).reason == NO_ANSWER
        assert time.monotonic() - started < 2.0


@pytest.mark.parametrize(
    ("act", "reason"), [(hang_up, BROKEN), (reset, BROKEN), (stay_silent, NO_ANSWER)]
)
def test_what_fails_after_the_handshake_is_unknown(
    tls: Tls, trusting: Transport, act: Act, reason: str
) -> None:
    """TLS proves nothing once the request was written."""
    with Server(act, tls=tls.server()) as server:
        error = failure(trusting, post(server.origin, total_timeout=1.5))

        assert server.count("POST") == 1
    assert (type(error), error.reason) == (OutcomeUnknown, reason)


CERTIFICATES = [
    pytest.param(
        {"names": ("127.0.0.1",), "trust": False}, "is not trusted", id="unknown-authority"
    ),
    pytest.param({"names": ("shop.example",)}, "is for another host", id="another-name"),
    pytest.param({"names": ("127.0.0.2",)}, "is for another host", id="another-address"),
    pytest.param({"names": ("127.0.0.1",), "old": True}, "is not valid at this time", id="expired"),
]


@pytest.mark.parametrize(("case", "reason"), CERTIFICATES)
def test_a_certificate_that_is_refused_is_not_sent(
    make_transport: MakeTransport, tls: Tls, case: dict[str, Any], reason: str
) -> None:
    """Nothing is sent to a server that cannot prove who it is, and the error says why."""
    bundle = str(tls.bundle) if case.get("trust", True) else None
    transport = make_transport(ca_bundle=bundle)
    with Server(
        answer_json({}), tls=tls.server(*case["names"], old=case.get("old", False))
    ) as server:
        error = failure(transport, post(server.origin))

        assert server.received == []
    assert (type(error), error.reason) == (NotSent, f"the server's certificate {reason}")


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        pytest.param(reset_at_once, "the TLS handshake failed", id="reset"),
        pytest.param(hang_up_at_once, "the TLS handshake failed", id="closed"),
        pytest.param(garbage_at_once, "the TLS handshake failed", id="garbage"),
        pytest.param(silence, "the TLS handshake timed out", id="silence"),
    ],
)
def test_a_handshake_that_fails_is_not_sent(
    trusting: Transport, act: Callable[[socket.socket], None], reason: str
) -> None:
    """Whatever a server does to the handshake: the request was not written yet."""
    with raw_server(act) as port:
        error = failure(trusting, post(f"https://127.0.0.1:{port}", connect_timeout=0.3))

    assert (type(error), error.reason) == (NotSent, reason)


def test_a_session_of_the_host_proves_less(tls: Tls) -> None:
    """Its connections are not ours, so a handshake that failed proves nothing there."""
    with requests.Session() as session, Server(answer_json({}), tls=tls.server()) as server:
        error = failure(RequestsTransport(session=session), post(server.origin))

    assert type(error) is OutcomeUnknown


def test_ca_bundle_counts_for_a_session_of_the_host(tls: Tls) -> None:
    """What is asked for by name goes before what the session brings."""
    with requests.Session() as session, Server(answer_json({}), tls=tls.server()) as server:
        transport = RequestsTransport(session=session, ca_bundle=str(tls.bundle))
        assert transport.send(post(server.origin)).status == 200


@pytest.mark.parametrize(
    ("make_transport", "damage"),
    [
        ("requests", "gone-before"),
        ("requests", "gone-later"),
        ("requests", "damaged-later"),
        ("aiohttp", "gone-before"),
        ("aiohttp", "damaged-before"),
    ],
    indirect=["make_transport"],
)
def test_a_ca_bundle_that_is_lost_is_not_sent(
    make_transport: MakeTransport, tls: Tls, tmp_path: Path, damage: str
) -> None:
    """A file that vanishes under a running client stops requests, and makes none of them unknown."""
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(tls.bundle.read_bytes())
    transport = make_transport(ca_bundle=str(bundle))
    with Server(answer(200, b"{}", connection="close"), tls=tls.server()) as server:
        if damage.endswith("later"):
            transport.send(post(server.origin))
        bundle.unlink()
        if damage.startswith("damaged"):
            bundle.write_text("no certificate", encoding="ascii")
        error = failure(transport, post(server.origin))

    assert (type(error), error.reason) == (
        NotSent,
        "the file of CA certificates cannot be used",
    )


def test_what_would_leave_too_late_is_not_sent(tls: Tls, trusting: Transport) -> None:
    """Connecting may take longer than there is time: then the request is not written any more."""
    late = attrs.evolve(post("https://127.0.0.1"), leave_within=0.0)
    with Server(answer_json({}), tls=tls.server()) as server:
        error = failure(trusting, attrs.evolve(late, url=server.origin))

        assert (type(error), server.received) == (NotSent, [])
        assert error.reason == "connecting took too long to send it in time"
        trusting.send(post(server.origin))
        assert failure(trusting, attrs.evolve(late, url=server.origin)).reason == error.reason
        assert len(server.received) == 1


# --- TLS through a proxy -----------------------------------------------------------------------------


@pytest.fixture
def through(make_transport: MakeTransport, tls: Tls) -> Callable[[str], Transport]:
    """Makes a transport that uses a proxy for TLS."""
    return lambda proxy: make_transport(proxies={"https": proxy}, ca_bundle=str(tls.bundle))


def connect_to_garbage(exchange: Exchange) -> None:
    """As a proxy that agrees to connect, to a server that speaks no TLS."""
    exchange.connection.sendall(head(200))
    exchange.connection.recv(65_536)
    exchange.connection.sendall(b"220 mail.example.com ESMTP\r\n")
    exchange.keep = False


def test_a_proxy_sees_nothing_of_a_tls_request(
    tls: Tls, through: Callable[[str], Transport]
) -> None:
    """Through a proxy, TLS goes to the origin: the proxy learns the host and no header of ours."""
    with Server(upgrade_to_tls(tls.server("daraja.invalid")), answer_json({"a": 1})) as proxy:
        transport = through(proxy.origin.replace("//", "//user:pass@"))
        assert transport.send(post("https://daraja.invalid")).body == b'{"a": 1}'

        connect, push = proxy.received
        assert (connect.method, connect.target) == ("CONNECT", "daraja.invalid:443")
        assert connect.headers["proxy-authorization"] == "Basic dXNlcjpwYXNz"
        assert "authorization" not in connect.headers
        assert (push.method, push.headers["authorization"]) == ("POST", f"Bearer {TOKEN}")
        assert "proxy-authorization" not in push.headers


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        pytest.param(answer(407), "the proxy refused to connect, with status 407", id="407"),
        pytest.param(answer(502), "the proxy refused to connect, with status 502", id="502"),
        pytest.param(hang_up, "connecting through the proxy failed", id="closed"),
        pytest.param(say(b"SSH-2.0\r\n"), "connecting through the proxy failed", id="no-proxy"),
        pytest.param(stay_silent, "connecting through the proxy timed out", id="silence"),
        pytest.param(connect_to_garbage, "the TLS handshake failed", id="garbage-behind-it"),
    ],
)
def test_a_proxy_that_does_not_connect_is_not_sent(
    through: Callable[[str], Transport], act: Act, reason: str
) -> None:
    """What a proxy gets to see before it connects is the host's name and nothing of the request."""
    with Server(act) as proxy:
        error = failure(through(proxy.origin), post("https://daraja.invalid", connect_timeout=0.3))

        assert proxy.count("POST") == 0
    assert (type(error), error.reason) == (NotSent, reason)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_unreachable_proxy_is_not_sent(make_transport: MakeTransport, scheme: str) -> None:
    """Where no proxy is reached, nothing can have been sent."""
    with closed_port() as proxy:
        transport = make_transport(proxies={scheme: proxy})
        error = failure(transport, post(f"{scheme}://daraja.invalid"))

    assert (type(error), error.reason) == (
        NotSent,
        "no connection to the proxy could be made",
    )


@pytest.mark.parametrize("proxy", ["http://", "ftp://proxy.example"])
def test_a_proxy_that_cannot_be_one_is_not_sent(make_transport: MakeTransport, proxy: str) -> None:
    """`StkConfig` refuses such settings; a transport made without it says that nothing was sent."""
    error = failure(make_transport(proxies={"https": proxy}), post("https://daraja.invalid"))

    assert (type(error), error.reason) == (NotSent, "the proxy cannot be used")


# --- connections -------------------------------------------------------------------------------------


def test_a_fresh_connection_is_used_again(transport: Transport, monotonic: Monotonic) -> None:
    """Up to the limit, an idle connection saves the next payment a handshake."""
    with Server(answer_json({})) as server:
        transport.send(post(server.origin))
        monotonic.seconds += MAX_IDLE
        transport.send(post(server.origin))

        assert server.connections == 1


def test_an_old_connection_is_not_used_again(transport: Transport, monotonic: Monotonic) -> None:
    """Beyond the limit, a NAT may have dropped it in silence: the next payment gets a new one."""
    with Server(answer_json({})) as server:
        transport.send(post(server.origin))
        monotonic.seconds += MAX_IDLE + 0.001
        transport.send(post(server.origin))

        assert server.connections == 2
        assert_closed(server, 1)


def test_a_connection_that_the_server_closed_is_not_used_again(
    transport: Transport,
) -> None:
    """A server that hung up between two requests costs a connection, not a payment."""
    with Server(say(head(200, content_length=2) + b"{}"), answer_json({})) as server:
        transport.send(post(server.origin))
        assert_closed(server, 1)
        transport.send(post(server.origin))

        assert server.connections == 2


def _burst(transport: Transport, origin: str, threads: int) -> None:
    with ThreadPoolExecutor(threads) as pool:
        for sent in [pool.submit(transport.send, post(origin)) for _ in range(threads)]:
            assert sent.result(30).status == 200


def _all_at_once(threads: int) -> Act:
    """An act that answers only when that many requests are there at the same time."""
    meeting = threading.Barrier(threads)
    reply = answer_json({})

    def act(exchange: object) -> None:
        meeting.wait(5.0)
        reply(exchange)  # type: ignore[arg-type]

    return act


def test_many_threads_keep_their_connections(
    transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    """More threads than urllib3's ten: all connections are kept, none is thrown away."""
    with caplog.at_level(logging.WARNING), Server(_all_at_once(24)) as server:
        _burst(transport, server.origin, 24)
        _burst(transport, server.origin, 24)

        assert server.count("POST") == 48
        assert server.connections == 24
    assert caplog.records == []


@pytest.mark.parametrize("after", ["another-burst", "one-request", "close"])
def test_what_a_burst_left_behind_is_closed(
    transport: Transport, monotonic: Monotonic, after: str
) -> None:
    """Idle connections that grew old are closed, whatever happens next."""
    with Server(*[_all_at_once(4)] * 4, *[answer_json({})] * 4) as server:
        _burst(transport, server.origin, 4)
        monotonic.seconds += MAX_IDLE + 1
        if after == "close":
            transport.close()
        else:
            _burst(transport, server.origin, 4 if after == "another-burst" else 1)

        assert_closed(server, 4)


def test_stale_connections_are_closed_while_others_are_in_use(
    transport: Transport, monotonic: Monotonic
) -> None:
    """A connection that comes back sends those away that grew old beside it."""
    both = _all_at_once(2)
    with Server(both, both, answer_json({}), answer_json({})) as server:
        _burst(transport, server.origin, 2)
        monotonic.seconds += MAX_IDLE - 1
        transport.send(post(server.origin))
        monotonic.seconds += 2
        transport.send(post(server.origin))

        assert server.connections == 2
        assert_closed(server, 1)


def test_close_then_use_again(transport: Transport) -> None:
    """Closing ends idle connections and nothing else."""
    with Server(answer_json({})) as server:
        transport.send(post(server.origin))
        transport.close()
        assert_closed(server, 1)
        transport.send(post(server.origin))

        assert server.connections == 2


def test_each_origin_has_its_own_connections(transport: Transport) -> None:
    """Addresses that share a beginning are not mixed up, with a path or without one."""
    with Server(answer_json({"first": 1})) as first, Server(answer_json({"second": 2})) as second:
        for path in ("/", "", "?grant_type=client_credentials"):
            assert transport.send(get(first.origin, path)).body == b'{"first": 1}'
            assert transport.send(get(second.origin, path)).body == b'{"second": 2}'

        assert [received.target for received in first.received] == [
            "/",
            "/",
            "/?grant_type=client_credentials",
        ]
        assert (first.connections, second.connections) == (1, 1)


# --- sessions and mocks of the host's ------------------------------------------------------------------


def test_an_own_session_is_used() -> None:
    """A host may bring a session, with adapters of its own."""
    session = requests.Session()
    adapter = requests_mock_module.Adapter()
    adapter.register_uri("POST", f"https://daraja.example{PUSH_PATH}", text="{}", status_code=201)
    session.mount("https://daraja.example", adapter)
    transport = RequestsTransport(session=session)

    assert transport.send(post("https://daraja.example")).status == 201
    assert [request.body for request in adapter.request_history] == [BODY]
    transport.close()


@pytest.mark.parametrize("own_session", [False, True])
def test_another_process_uses_connections_of_its_own(
    own_session: bool,  # noqa: FBT001 - a table of two
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As after a fork: the parent's connection is closed, and an adapter of another kind stays."""
    session = requests.Session() if own_session else None
    other = requests_mock_module.Adapter()
    if session is not None:
        session.mount("https://elsewhere.example", other)
    transport = RequestsTransport(session=session)
    with Server(answer_json({})) as server:
        transport.send(post(server.origin))
        monkeypatch.setattr(os, "getpid", lambda: -1)
        transport.send(post(server.origin))
        transport.send(post(server.origin))

        assert server.connections == 2
        assert_closed(server, 1)
        transport.close()
    if session is not None:
        assert transport._session() is session
        assert session.get_adapter("https://elsewhere.example/") is other


@pytest.mark.parametrize(
    "retries", [3, Retry(2, allowed_methods=None), Retry(total=None, connect=1)]
)
def test_a_session_that_sends_again_by_itself_is_refused(retries: int | Retry) -> None:
    """urllib3 sends a POST anew after some errors, whatever the methods it is told: a second prompt."""
    with Server(hang_up) as server, requests.Session() as session:
        session.mount("http://", HTTPAdapter(max_retries=retries))
        with pytest.raises(ConfigurationError, match="session: its adapters must not retry"):
            RequestsTransport(session=session).send(post(server.origin))
        session.mount("http://", HTTPAdapter(max_retries=0))
        assert type(failure(RequestsTransport(session=session), post(server.origin))) is (
            OutcomeUnknown
        )
        assert server.count("POST") == 1


def test_what_an_own_session_adds_is_not_sent() -> None:
    """Auth, headers, cookies and hooks of a shared session have no place in a payment."""
    with Server(answer_json({})) as server, requests.Session() as session:
        session.auth = ("somebody", "other")
        session.headers["X-Debug"] = "1"
        session.cookies.set("a", "b")
        session.hooks["response"] = [lambda *_args, **_kwargs: pytest.fail("called")]
        session.verify = None
        RequestsTransport(session=session).send(post(server.origin))

        headers = server.received[0].headers
        assert headers["authorization"] == f"Bearer {TOKEN}"
        assert not {"x-debug", "cookie"} & set(headers)


@ONLY_REQUESTS
def test_requests_mock_intercepts_the_default_transport(
    transport: Transport, requests_mock: requests_mock_module.Mocker
) -> None:
    """Hosts' tests that use requests-mock need to know nothing about this package."""
    requests_mock.post(f"https://daraja.example{PUSH_PATH}", json={"a": 1}, headers={"X-A": "b"})

    response = transport.send(post("https://daraja.example"))

    assert response.body == b'{"a": 1}'
    assert response.headers["x-a"] == "b"
    assert requests_mock.call_count == 1
