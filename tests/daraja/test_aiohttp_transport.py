"""`AioHttpTransport` in its event loop: cancellation, loops that end, connections that changed while idle.

What both transports promise is in `test_transport.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib.util
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Coroutine, Iterator
from typing import Any

import attrs
import pytest

from certificates import Tls
from loopback import (
    PATIENCE,
    Act,
    Exchange,
    Server,
    answer_json,
    drip,
    full_backlog,
    head,
    raw_server,
    say,
    silence,
    stay_silent,
    upgrade_to_tls,
)
from mpesa_stk import AioHttpTransport, HttpRequest, NotSent, OutcomeUnknown
from mpesa_stk.daraja.sending import BROKEN, CLOSED, NO_ANSWER, NO_SUCH_PROXY, TLS, NeverLeft
from mpesa_stk.errors import TransportError
from support import CANARIES, CONSUMER_SECRET, TOKEN
from transports import InLoop

BODY = b'{"Password":"' + CONSUMER_SECRET.encode() + b'"}'


def post(origin: str, **changes: Any) -> HttpRequest:
    """A push, full of canaries."""
    request = HttpRequest(
        method="POST",
        url=f"{origin}/push",
        headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
        body=BODY,
        connect_timeout=5.0,
        total_timeout=5.0,
    )
    return attrs.evolve(request, **changes)


@pytest.fixture
def in_loop() -> Iterator[InLoop]:
    """A transport with an event loop of its own."""
    in_loop = InLoop()
    yield in_loop
    in_loop.end()


def assert_closed(server: Server) -> None:
    """Wait until the server has seen one of its connections end."""
    assert server.ended.acquire(timeout=PATIENCE), "a connection was left open"


async def failure(sending: Coroutine[Any, Any, object]) -> TransportError:
    """The error that sending raises."""
    with pytest.raises(TransportError) as caught:
        await sending
    return caught.value


# --- cancellation --------------------------------------------------------------------------------------


class Point:
    """An act that says when a request has come as far as that, and then goes on."""

    def __init__(self, act: Act) -> None:
        self.reached = threading.Event()
        self._act = act

    def __call__(self, exchange: Exchange) -> None:
        """Serve one request."""
        self.reached.set()
        self._act(exchange)


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize(
    "act",
    [
        pytest.param(stay_silent, id="before-the-answer"),
        pytest.param(drip(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"), id="in-its-head"),
        pytest.param(drip(head(200, content_length=9999), b"{"), id="in-its-body"),
    ],
)
def test_a_cancelled_request_takes_its_connection_with_it(
    tls: Tls,
    act: Act,
    secure: bool,  # noqa: FBT001 - a table of two
) -> None:
    """The cancellation goes on, and what still arrives is nobody's answer; no secret goes with it."""
    point = Point(act)

    async def cancel(server: Server) -> None:
        transport = AioHttpTransport(ca_bundle=str(tls.bundle))
        task = asyncio.create_task(transport.send(post(server.origin)))
        assert await asyncio.to_thread(point.reached.wait, PATIENCE)
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        assert "in send" in "".join(told.format())
        assert not [canary for canary in CANARIES if canary in "".join(told.format())]
        await asyncio.to_thread(assert_closed, server)
        assert (await transport.send(post(server.origin))).body == b'{"second": true}'
        assert server.connections == 2
        await transport.close()

    context = tls.server() if secure else None
    with Server(point, answer_json({"second": True}), tls=context) as server:
        asyncio.run(cancel(server))


def test_a_request_that_is_cancelled_while_it_connects_leaves_nothing_open(tls: Tls) -> None:
    """Neither in TCP, nor in the TLS handshake, nor in a proxy's tunnel."""

    async def cancel(url: str, **options: Any) -> None:
        transport = AioHttpTransport(ca_bundle=str(tls.bundle), **options)
        task = asyncio.create_task(transport.send(post(url)))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with full_backlog() as origin:
        asyncio.run(cancel(origin))
    with raw_server(silence) as port:
        asyncio.run(cancel(f"https://127.0.0.1:{port}"))
    with Server(stay_silent) as proxy:
        asyncio.run(cancel("https://daraja.invalid", proxies={"https": proxy.origin}))
        assert_closed(proxy)
    gc.collect()  # an open socket warns here


# --- event loops ---------------------------------------------------------------------------------------


def test_each_event_loop_has_its_own_connections() -> None:
    """A loop that ended takes its connections with it, even if nobody closed the transport."""
    transport = AioHttpTransport()
    with Server(answer_json({})) as server:

        async def send_twice() -> None:
            await transport.send(post(server.origin))
            await transport.send(post(server.origin))

        for number in (1, 2, 3):
            asyncio.run(send_twice())
            assert_closed(server)
            assert server.connections == number
    gc.collect()
    assert len(transport._loops()) == 1


def test_loops_in_several_threads_share_a_transport() -> None:
    """Each uses its own connections, at the same time."""
    transport = AioHttpTransport()
    meeting = threading.Barrier(2)
    reply = answer_json({})

    def act(exchange: Exchange) -> None:
        meeting.wait(PATIENCE)
        reply(exchange)

    with Server(act) as server:
        threads = [
            threading.Thread(target=lambda: asyncio.run(transport.send(post(server.origin))))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)

        assert server.count("POST") == server.connections == 2


def test_close_ends_the_connections_of_this_loop_only() -> None:
    """Closing twice, or a transport that was never used, does nothing."""
    used, transport = InLoop(), InLoop()
    transport.transport = used.transport
    with Server(answer_json({})) as server:
        used.send(post(server.origin))
        transport.close()
        transport.send(post(server.origin))
        transport.close()
        transport.close()
        assert_closed(server)
        used.send(post(server.origin))
        assert server.connections == 2
    used.end()
    transport.end()


def test_another_process_uses_connections_of_its_own(
    in_loop: InLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a fork; `tests/test_forks.py` forks."""
    with Server(answer_json({})) as server:
        in_loop.send(post(server.origin))
        monkeypatch.setattr(os, "getpid", lambda: -1)
        in_loop.send(post(server.origin))
        in_loop.send(post(server.origin))

        assert server.connections == 2


# --- connections that changed while they were idle -------------------------------------------------------


def two_answers(exchange: Exchange) -> None:
    """As a server that answers a request twice: the second answer comes when the first was read."""
    exchange.connection.sendall(head(200, content_length=2) + b"{}")
    time.sleep(0.05)
    exchange.connection.sendall(head(200, content_length=5) + b"stale")


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(two_answers, id="another-answer"),
        pytest.param(say(head(200, content_length=2) + b"{}"), id="closed"),
    ],
)
@pytest.mark.parametrize("noticed", [True, False])
def test_an_idle_connection_that_is_not_quiet_is_not_used(
    tls: Tls,
    act: Act,
    noticed: bool,  # noqa: FBT001 - a table of two
) -> None:
    """The next payment gets a new connection, even if the event loop was too busy to notice."""

    async def send_twice(server: Server) -> None:
        transport = AioHttpTransport(ca_bundle=str(tls.bundle))
        await transport.send(post(server.origin))
        if noticed:
            await asyncio.sleep(0.2)
        else:
            time.sleep(0.2)  # noqa: ASYNC251 - it blocks the loop
        assert (await transport.send(post(server.origin))).body == b'{"second": true}'
        assert server.connections == 2

    for context in (None, tls.server()):
        with Server(act, answer_json({"second": True}), tls=context) as server:
            asyncio.run(send_twice(server))


def test_two_answers_at_once_are_one_answer(in_loop: InLoop) -> None:
    """The second one is not the answer to the next request."""
    both = head(200, content_length=2) + b"{}" + head(200, content_length=5) + b"stale"
    with Server(say(both, keep=True), answer_json({"second": True})) as server:
        assert in_loop.send(post(server.origin)).body == b"{}"
        assert in_loop.send(post(server.origin)).body == b'{"second": true}'
        assert server.connections == 2


def test_a_connection_that_closes_on_the_way_to_the_request_never_carried_it() -> None:
    """It is known that nothing was written, since writing begins with a look at the connection."""

    async def lose(server: Server) -> None:
        transport = AioHttpTransport()
        connections = await transport._connections()
        way = transport._way(server.origin)
        connection = await connections.take(way, within=PATIENCE)
        connection.close()
        with pytest.raises(NeverLeft, match=CLOSED):
            await connections.exchange(way, connection, b"GET / HTTP/1.1\r\n\r\n", within=PATIENCE)

    with Server(answer_json({})) as server:
        asyncio.run(lose(server))
        assert server.received == []


# --- odd answers -----------------------------------------------------------------------------------------


def endless(start: bytes, more: bytes) -> Act:
    """An act that sends a start, and then the rest over and over, as fast as it is taken."""

    def act(exchange: Exchange) -> None:
        exchange.keep = False
        exchange.connection.sendall(start)
        while not exchange.ending.is_set():
            exchange.connection.sendall(more)

    return act


CHUNKED = head(200, transfer_encoding="chunked")


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(say(b"HTTP/1.1 200 OK\r\nContent-"), id="cut-in-its-head"),
        pytest.param(endless(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n" * 2000), id="headers"),
        pytest.param(endless(b"HTTP/1.1 200 OK\r\nA: ", b"b" * 9000), id="header"),
        pytest.param(endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 500), id="continue"),
        pytest.param(endless(CHUNKED + b"0\r\n", b"A: b\r\n" * 2000), id="trailers"),
        pytest.param(endless(CHUNKED + b"2;", b"a=b;" * 3000), id="chunk-extension"),
        pytest.param(say(head(200, content_length="x") + b"{}"), id="length-is-no-number"),
        pytest.param(say(CHUNKED + b"zz\r\n"), id="chunk-is-no-number"),
    ],
)
def test_what_is_no_answer_is_unknown(in_loop: InLoop, act: Act) -> None:
    """Endless answers end before the deadline and before they fill the memory."""
    with Server(act) as server:
        started = time.monotonic()
        error = in_loop.run(failure(in_loop.transport.send(post(server.origin))))

        assert server.count("POST") == 1
        assert (type(error), error.reason) == (OutcomeUnknown, BROKEN)
        assert time.monotonic() - started < 4.0


def test_an_answer_may_be_announced(in_loop: InLoop) -> None:
    """What comes before an answer is no answer."""
    early = head(103, link="</a>; rel=preload")
    with Server(say(head(100) + early + head(200, content_length=2) + b"{}", keep=True)) as server:
        for _ in range(2):
            assert in_loop.send(post(server.origin)).body == b"{}"
        assert server.connections == 1


def test_another_protocol_is_no_answer(in_loop: InLoop) -> None:
    """A server that switches to another protocol says nothing about the payment."""
    with Server(say(head(101, upgrade="websocket", connection="Upgrade"), keep=True)) as server:
        sending = in_loop.transport.send(post(server.origin, total_timeout=0.3))
        error = in_loop.run(failure(sending))

        assert (type(error), error.reason) == (OutcomeUnknown, NO_ANSWER)


def test_an_answer_before_the_request_is_read_counts(in_loop: InLoop) -> None:
    """As a gateway answers that knows from the headers what it will say."""

    def answer_early(connection: socket.socket) -> None:
        connection.sendall(head(503, content_length=0, connection="close"))
        connection.recv(65_536)

    with raw_server(answer_early) as port:
        assert in_loop.send(post(f"http://127.0.0.1:{port}")).status == 503


# --- connecting ------------------------------------------------------------------------------------------


def test_the_next_address_of_a_name_is_tried(
    in_loop: InLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address that does not answer costs a quarter of a second, and no payment."""
    with Server(answer_json({})) as server, full_backlog() as deaf:
        ports = [int(deaf.rpartition(":")[2]), server.port]

        def addresses(*_args: Any, **_kwargs: Any) -> list[Any]:
            return [
                (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", port))
                for port in ports
            ]

        monkeypatch.setattr(socket, "getaddrinfo", addresses)
        assert in_loop.send(post("http://daraja.invalid")).status == 200


def has_ipv6() -> bool:
    """Whether this machine has an IPv6 loopback."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_an_ipv6_address_is_an_origin(in_loop: InLoop) -> None:
    """Its brackets are in the header Host, and not in the address that is connected to."""
    heard: list[bytes] = []
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                heard.append(connection.recv(65_536))
                connection.sendall(head(200, content_length=2) + b"{}")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        port = listener.getsockname()[1]
        assert in_loop.send(post(f"http://[::1]:{port}")).status == 200
        thread.join(PATIENCE)

    assert f"\r\nHost: [::1]:{port}\r\n".encode() in heard[0]


def test_a_host_name_that_cannot_be_one_is_not_sent(in_loop: InLoop) -> None:
    """Python refuses to look it up."""
    error = in_loop.run(failure(in_loop.transport.send(post(f"http://{'a' * 64}.example"))))

    assert (type(error), error.reason) == (NotSent, "no connection could be made")


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"headers": {"A": f"{TOKEN}\r\nX: y"}}, id="header"),
        pytest.param({"headers": {"A": f"{TOKEN}\u00e9"}}, id="not-ascii"),
        pytest.param({"url": "http://127.0.0.1/\u00e9"}, id="path"),
        pytest.param({"url": "ftp://127.0.0.1/"}, id="scheme"),
        pytest.param({"url": "http:///push"}, id="no-host"),
    ],
)
def test_what_http_cannot_say_is_refused(in_loop: InLoop, changes: dict[str, Any]) -> None:
    """Before anything is sent, and without showing what it was."""
    with pytest.raises(ValueError, match="URL") as caught:
        in_loop.send(post("http://127.0.0.1:9", **changes))

    frames = caught.tb.tb_next  # without this one, which holds the changes
    told = traceback.TracebackException(caught.type, caught.value, frames, capture_locals=True)
    assert "in send" in "".join(told.format())
    assert not [canary for canary in CANARIES if canary in "".join(told.format())]


# --- proxies ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["https", "https://daraja.invalid", "all", "all://daraja.invalid"])
def test_a_proxy_may_be_named_as_for_requests(tls: Tls, key: str) -> None:
    """A key that requests understands does not let a request go around the proxy."""
    with Server(upgrade_to_tls(tls.server("daraja.invalid")), answer_json({})) as proxy:
        in_loop = InLoop(proxies={key: proxy.origin}, ca_bundle=str(tls.bundle))
        assert in_loop.send(post("https://daraja.invalid")).status == 200
        in_loop.end()

        assert proxy.received[0].target == "daraja.invalid:443"


def relayed(origin: Server) -> Act:
    """As a proxy does on CONNECT: agree, and pass everything on in both directions."""

    def act(exchange: Exchange) -> None:
        exchange.keep = False
        exchange.connection.sendall(head(200))
        with socket.create_connection(("127.0.0.1", origin.port)) as onward:

            def pump(source: Any, target: Any) -> None:
                with contextlib.suppress(OSError):
                    while data := source.recv(65_536):
                        target.sendall(data)
                    onward.shutdown(socket.SHUT_RDWR)

            back = threading.Thread(target=pump, args=(onward, exchange.connection), daemon=True)
            back.start()
            pump(exchange.connection, onward)
            back.join(PATIENCE)

    return act


@pytest.mark.skipif(not hasattr(asyncio, "timeout"), reason="TLS in a TLS tunnel needs Python 3.11")
def test_a_proxy_may_speak_tls_itself(tls: Tls) -> None:
    """TLS to the origin goes through TLS to the proxy."""
    with (
        Server(answer_json({}), tls=tls.server()) as origin,
        Server(relayed(origin), tls=tls.server()) as proxy,
    ):
        in_loop = InLoop(proxies={"https": proxy.origin}, ca_bundle=str(tls.bundle))
        assert in_loop.send(post(origin.origin)).status == 200
        in_loop.end()

        assert origin.count("POST") == 1
        assert [received.method for received in proxy.received] == ["CONNECT"]


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        pytest.param(None, TLS.failed, id="lost"),
        pytest.param(TypeError("not supported"), NO_SUCH_PROXY, id="not-supported"),
    ],
)
def test_a_tunnel_that_cannot_begin_tls_is_not_sent(
    tls: Tls, monkeypatch: pytest.MonkeyPatch, outcome: Exception | None, reason: str
) -> None:
    """As older Pythons tell that the connection was lost, and that TLS cannot be in TLS."""

    async def start_tls(*_args: Any, **_kwargs: Any) -> None:
        if outcome is not None:
            raise outcome

    monkeypatch.setattr(asyncio.BaseEventLoop, "start_tls", start_tls)
    with Server(say(head(200), keep=True)) as proxy:
        in_loop = InLoop(proxies={"https": proxy.origin}, ca_bundle=str(tls.bundle))
        error = in_loop.run(failure(in_loop.transport.send(post("https://daraja.invalid"))))
        in_loop.end()

    assert (type(error), error.reason) == (NotSent, reason)


def test_missing_extra_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where aiohttp is not installed, the error names what to install."""
    monkeypatch.setitem(sys.modules, "aiohappyeyeballs", None)
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    spec = importlib.util.find_spec("mpesa_stk.daraja.aiohttp_connections")
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(ImportError, match=r"mpesa-stk-client\[async\]"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
