"""How the HTTP server sends answers: whole, cut, reset, byte by byte, not at all, and as streams."""

from __future__ import annotations

import http.client
import itertools
import json
import logging
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from mpesa_stk import HttpRequest, HttpResponse, NotSent, OutcomeUnknown, RequestsTransport
from mpesa_stk.simulator import DeliveryFault
from mpesa_stk.simulator.delivery import FaultyDelivery, Stream
from mpesa_stk.web.answers import Answer
from mpesa_stk.web.http_server import HttpServer
from mpesa_stk.web.messages import WebRequest
from mpesa_stk.web.open_connections import Phase

PATIENCE = 10.0
ANSWER = HttpResponse(
    status=200, headers={"content-type": "application/json"}, body=b'{"ResponseCode": "0"}'
)


def answering(answer: HttpResponse | FaultyDelivery | Stream) -> Answer:
    """A function that always answers the same."""
    return lambda _request: answer


def with_fault(
    fault: DeliveryFault, response: HttpResponse = ANSWER, drip_pause: float = 1.0
) -> Answer:
    """A function whose answer has a fault in its delivery."""
    return answering(FaultyDelivery(response=response, fault=fault, drip_pause=drip_pause))


def request_to(server: HttpServer, total_timeout: float = PATIENCE) -> HttpRequest:
    """A request as the client sends them."""
    return HttpRequest(
        method="POST",
        url=f"{server.origin}/mpesa/stkpush/v1/processrequest",
        headers={"Content-Type": "application/json"},
        body=b"{}",
        connect_timeout=PATIENCE,
        total_timeout=total_timeout,
    )


def send(server: HttpServer, total_timeout: float = PATIENCE) -> HttpResponse:
    """What the client's own transport makes of the answer."""
    transport = RequestsTransport()
    try:
        return transport.send(request_to(server, total_timeout))
    finally:
        transport.close()


def connect(server: HttpServer) -> socket.socket:
    """A plain connection, with a request on it."""
    parts = urlsplit(server.origin)
    connection = socket.create_connection((str(parts.hostname), parts.port or 0), PATIENCE)
    connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return connection


def read_all(connection: socket.socket) -> bytes:
    """All bytes until the connection ends."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def wait_until(done: Callable[[], object]) -> None:
    """Look until it is so."""
    ends = time.monotonic() + PATIENCE
    pause = threading.Event()
    while not done():
        assert time.monotonic() < ends
        pause.wait(0.005)


# --- faults ------------------------------------------------------------------------------------------


def test_a_whole_answer_arrives() -> None:
    """A plain answer keeps the connection."""
    with HttpServer(answering(ANSWER)) as server, closing(connect(server)) as connection:
        assert send(server).body == ANSWER.body
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.read() == ANSWER.body
        assert not answer.will_close


@pytest.mark.parametrize("fault", [DeliveryFault.NOTHING, DeliveryFault.HALF])
def test_an_answer_that_does_not_arrive_leaves_the_outcome_unknown(fault: DeliveryFault) -> None:
    """The client's transport knows that it may have happened."""
    with HttpServer(with_fault(fault)) as server, pytest.raises(OutcomeUnknown):
        send(server)


def test_nothing_is_a_hang_up_without_a_byte() -> None:
    """Not a status line, not a reset: the connection ends."""
    server = HttpServer(with_fault(DeliveryFault.NOTHING))
    with server, closing(connect(server)) as connection:
        assert read_all(connection) == b""


def test_half_promises_more_than_it_sends() -> None:
    """The head tells the full length; half of the body comes."""
    with (
        HttpServer(with_fault(DeliveryFault.HALF)) as server,
        closing(connect(server)) as connection,
    ):
        head, _, body = read_all(connection).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 200 OK")
    assert f"content-length: {len(ANSWER.body)}".encode() in head
    assert body == ANSWER.body[: len(ANSWER.body) // 2]


def test_a_reset_comes_after_the_answer() -> None:
    """The transport has the answer; who reads on meets the reset."""
    with HttpServer(with_fault(DeliveryFault.RESET)) as server:
        assert send(server).body == ANSWER.body
        with closing(connect(server)) as connection:
            got = [connection.recv(1) for _ in range(len(ANSWER.body))]
            with pytest.raises(ConnectionResetError):
                read_all(connection)

    assert b"".join(got).startswith(b"HTTP/1.1 200 OK")


def test_a_drip_brings_the_answer_byte_by_byte() -> None:
    """Where there is time enough, all of it arrives; where there is not, the outcome is unknown."""
    with HttpServer(with_fault(DeliveryFault.DRIP, drip_pause=0.0)) as server:
        assert send(server).body == ANSWER.body
    with (
        HttpServer(with_fault(DeliveryFault.DRIP, drip_pause=0.02)) as server,
        pytest.raises(OutcomeUnknown),
    ):
        send(server, total_timeout=0.3)


def test_a_drip_ends_when_the_client_hangs_up() -> None:
    """Nobody is dripped at for an hour after having left."""
    endless = HttpResponse(status=200, headers={}, body=b"x" * 60_000)
    with HttpServer(with_fault(DeliveryFault.DRIP, endless, 0.01)) as server:
        before = threading.active_count()
        connection = connect(server)
        assert connection.recv(1)
        assert threading.active_count() == before + 1
        connection.close()

        wait_until(lambda: threading.active_count() == before)


def test_a_drip_ends_when_the_server_closes() -> None:
    """The longest pause keeps nobody waiting."""
    server = HttpServer(with_fault(DeliveryFault.DRIP, drip_pause=3600.0))
    server.start()
    with closing(connect(server)):
        wait_until(lambda: Phase.WRITING in server._server.connections.phases())
        started = time.monotonic()
        server.close()

    assert time.monotonic() - started < 5.0


def test_nobody_listening_is_provably_not_sent() -> None:
    """What the faults are compared with: a request that never left."""
    server = HttpServer(answering(ANSWER))
    server.close()
    with pytest.raises(NotSent):
        send(server)


# --- streams -----------------------------------------------------------------------------------------


def test_a_stream_comes_bit_by_bit() -> None:
    """Each bit arrives before the next is made, and the end of the connection is its end."""
    asked = threading.Semaphore(0)

    def bits() -> Iterator[bytes]:
        for bit in (b"one", b"", b"two"):
            assert asked.acquire(timeout=PATIENCE)
            yield bit

    stream = Stream(headers={"content-type": "text/event-stream"}, chunks=bits())
    with HttpServer(answering(stream)) as server, closing(connect(server)) as connection:
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert (answer.status, answer.getheader("content-type")) == (200, "text/event-stream")
        asked.release()
        assert answer.read(3) == b"one"
        asked.release(2)
        assert answer.read() == b"two"


def test_a_stream_ends_when_the_client_hangs_up() -> None:
    """A stream with nothing to say notices all the same: with a farewell or with a reset."""
    ended = threading.Semaphore(0)

    def silence() -> Iterator[bytes]:
        try:
            yield b"begin"
            while True:
                threading.Event().wait(0.005)
                yield b""
        finally:
            ended.release()

    def stream(*_request: object) -> Stream:
        return Stream(headers={}, chunks=silence())

    with HttpServer(stream) as server:
        for lingers in (b"", struct.pack("ii", 1, 0)):
            connection = connect(server)
            assert connection.recv(1)
            if lingers:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, lingers)
            connection.close()
            assert ended.acquire(timeout=PATIENCE)


def test_a_client_that_does_not_read_does_not_keep_close_waiting() -> None:
    """After the grace, a connection that is stuck in the middle of an answer is cut."""
    stream = Stream(headers={}, chunks=itertools.repeat(b"x" * 64 * 1024 * 1024))
    server = HttpServer(answering(stream), grace=0.05)
    server.start()
    with closing(connect(server)) as connection:
        assert connection.recv(1)
        started = time.monotonic()
        server.close()

        assert time.monotonic() - started < 5.0


# --- habits of clients -------------------------------------------------------------------------------


def test_a_client_that_asks_first_is_told_to_go_on() -> None:
    """``Expect: 100-continue``, as curl sends it with large bodies, is answered before the body comes."""

    def echo(request: WebRequest) -> HttpResponse:
        return HttpResponse(status=200, headers={}, body=request.body)

    with HttpServer(echo) as server:
        parts = urlsplit(server.origin)
        with socket.create_connection((str(parts.hostname), parts.port or 0), PATIENCE) as client:
            client.sendall(
                b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n"
                b"Expect: 100-continue\r\nConnection: close\r\n\r\n"
            )
            assert client.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.sendall(b"body")
            assert read_all(client).endswith(b"\r\n\r\nbody")


def test_an_answer_without_content_has_no_length() -> None:
    """RFC 9110 allows none with a 204."""
    empty = HttpResponse(status=204, headers={}, body=b"")
    with HttpServer(answering(empty)) as server, closing(connect(server)) as connection:
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert (answer.status, answer.getheader("content-length")) == (204, None)


def test_a_client_that_left_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    """A connection that is reset in the middle of a request is a line in the log, and no traceback."""
    caplog.set_level(logging.INFO, "mpesa_stk.server")
    with HttpServer(answering(ANSWER)) as server:
        before = threading.active_count()
        connection = connect(server)
        assert connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        wait_until(lambda: threading.active_count() == before)
        wait_until(lambda: caplog.messages)

    assert caplog.messages == ["mpesa_stk.server.client_left error=ConnectionResetError"]


# --- where it listens --------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_it_listens_where_it_is_told_to(host: str) -> None:
    """On this machine's own address by default; its origin is where this machine reaches it."""
    with HttpServer(answering(ANSWER), host=host) as server:
        assert urlsplit(server.origin).hostname == host
        assert json.loads(send(server).body) == {"ResponseCode": "0"}


def test_it_listens_on_ipv6_too() -> None:
    """An address with colons is one of IPv6; a machine without IPv6 says that it cannot be had."""
    try:
        server = HttpServer(answering(ANSWER), host="::1")
    except OSError:
        with (
            pytest.raises(OSError, match=r"."),
            socket.create_server(("::1", 0), family=socket.AF_INET6),
        ):
            pass
        return
    with server:
        assert server.origin.startswith("http://[::1]:")
        assert send(server).status == 200


def test_a_port_that_is_taken_is_an_oserror() -> None:
    """Two servers never share a port."""
    with HttpServer(answering(ANSWER)) as server:
        port = urlsplit(server.origin).port or 0
        with pytest.raises(OSError, match="in use"):
            HttpServer(answering(ANSWER), port=port)
