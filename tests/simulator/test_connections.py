"""Which requests the HTTP server reads, which clients it cuts off, and how many it serves."""

from __future__ import annotations

import http.client
import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpesa_stk import HttpResponse
from mpesa_stk.daraja.exchange import MAX_BODY
from mpesa_stk.simulator.delivery import Stream
from mpesa_stk.web import http_server
from mpesa_stk.web.http_server import HttpServer
from mpesa_stk.web.messages import WebRequest
from mpesa_stk.web.open_connections import OpenConnections, Phase
from mpesa_stk.web.request_body import BadChunks, read_chunks
from support import ManualClock

PATIENCE = 10.0
CHUNKED = b"POST /push HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: Chunked \r\n\r\n"
HELLO = b"5\r\nhello\r\n0\r\n\r\n"


def echo(request: WebRequest) -> HttpResponse:
    """Answer with the body, and with the client's address."""
    return HttpResponse(
        status=200, headers={"x-client": str(request.remote_addr)}, body=request.body
    )


def reading(server: HttpServer) -> bool:
    """Whether a request is arriving."""
    return Phase.READING in server._server.connections.phases()


def connect(server: HttpServer, sent: bytes = b"") -> socket.socket:
    """A plain connection with some bytes on it."""
    parts = urlsplit(server.origin)
    connection = socket.create_connection((str(parts.hostname), parts.port or 0), PATIENCE)
    connection.sendall(sent)
    return connection


def answer_on(connection: socket.socket) -> tuple[int, str, bytes]:
    """Status, connection field and body of the next answer."""
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    return answer.status, answer.getheader("connection", ""), answer.read()


def read_all(connection: socket.socket) -> bytes:
    """All bytes until the connection ends, however it does."""
    got = b""
    try:
        while more := connection.recv(65536):
            got += more
    except ConnectionResetError:
        pass
    return got


def wait_until(done: Callable[[], object]) -> None:
    """Look until it is so."""
    ends = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < ends
        threading.Event().wait(0.005)


# --- bodies ------------------------------------------------------------------------------------------


def test_a_chunked_body_is_read() -> None:
    """With extensions, trailer fields and hexadecimal sizes; the connection is kept for the next one."""
    chunks = b'5;name="value"\r\nhello\r\n00A\r\n, Nairobi!\r\n000\r\nChecksum: 1\r\n\r\n'
    with HttpServer(echo) as server, closing(connect(server, CHUNKED + chunks)) as connection:
        assert answer_on(connection) == (200, "", b"hello, Nairobi!")
        connection.sendall(CHUNKED + HELLO)
        assert answer_on(connection) == (200, "", b"hello")


@pytest.mark.parametrize(
    "chunks",
    [
        b"5\r\nhelloo\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"hello",
        b"1" * 999 + b"\r\n",
        b"0\r\n" + b"Field: 1\r\n" * 33 + b"\r\n",
    ],
)
def test_what_are_no_chunks_is_refused(chunks: bytes) -> None:
    """In words, and the connection is closed."""
    sent = CHUNKED + chunks
    with HttpServer(echo) as server, closing(connect(server, sent)) as connection:
        connection.shutdown(socket.SHUT_WR)
        status, field, body = answer_on(connection)

    assert (status, field) == (400, "close")
    assert "chunks that are whole" in json.loads(body)["error"]["message"]


@pytest.mark.parametrize("cut", range(len(HELLO)))
def test_a_chunked_body_that_ends_early_is_none(cut: int) -> None:
    """Wherever it is cut, nothing is read as if it were whole."""
    with pytest.raises(BadChunks):
        read_chunks(io.BytesIO(HELLO[:cut]), most=99)


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=5), st.integers(0, 200))
@settings(deadline=None)
def test_chunks_are_what_was_cut_into_them(pieces: list[bytes], most: int) -> None:
    """They are joined again, or too long."""
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    whole = b"".join(pieces)

    read = read_chunks(io.BytesIO(chunks + b"0\r\n\r\n"), most=most)

    assert read == (whole if len(whole) <= most else None)


@pytest.mark.parametrize("chunk", [MAX_BODY + 1, 1024, 0xFFFFFFFF])
def test_a_chunked_body_has_the_same_limit(chunk: int) -> None:
    """64 KiB, in one chunk or in many, announced or sent."""
    sent = min(chunk, MAX_BODY + 1)
    body = (b"%x\r\n%s\r\n" % (chunk, b"x" * sent)) * (MAX_BODY // sent + 1) + b"0\r\n\r\n"
    with HttpServer(echo) as server, closing(connect(server, CHUNKED + body)) as connection:
        connection.shutdown(socket.SHUT_WR)
        status, field, told = answer_on(connection)

    assert (status, field) == (413, "close")
    assert "65536 bytes at most" in json.loads(told)["error"]["message"]


def test_a_body_that_ends_early_is_no_request() -> None:
    """Half a push is not carried out: the connection ends without an answer."""
    asked: list[bytes] = []

    def note(*request: object) -> HttpResponse:
        asked.append(str(request).encode())
        return HttpResponse(status=200, headers={}, body=b"")

    sent = b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf"
    with HttpServer(note) as server, closing(connect(server, sent)) as connection:
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection) == b""

    assert asked == []


# --- versions ----------------------------------------------------------------------------------------


def test_http_1_0_is_answered_and_closed() -> None:
    """Without a Host, as its clients may; the end of the connection is the end of the answer."""
    sent = b"POST /push HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello"
    with HttpServer(echo) as server, closing(connect(server, sent)) as connection:
        assert read_all(connection).endswith(b"\r\n\r\nhello")


def test_http_1_0_may_keep_the_connection() -> None:
    """If it asks for that; it is told so, because it could not know."""
    sent = b"POST / HTTP/1.0\r\nConnection: Keep-Alive\r\nContent-Length: 5\r\n\r\nhello"
    with HttpServer(echo) as server, closing(connect(server, sent)) as connection:
        assert answer_on(connection) == (200, "keep-alive", b"hello")
        connection.sendall(sent)
        assert answer_on(connection) == (200, "keep-alive", b"hello")


# --- who asks ----------------------------------------------------------------------------------------


def test_the_client_s_address_is_the_connection_s() -> None:
    """No header field makes it another one."""
    sent = b"GET / HTTP/1.1\r\nX-Client: 192.0.2.1\r\nX: 1\r\nConnection: close\r\n\r\n"
    with HttpServer(echo) as server, closing(connect(server, sent)) as connection:
        assert b"x-client: 127.0.0.1\r\n" in read_all(connection)


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("2001:DB8:0::1", "2001:db8::1"),
    ],
)
def test_an_address_is_written_in_one_way(peer: str, address: str) -> None:
    """IPv4 as such also on a server of IPv6, and without the name of an interface."""
    assert http_server.address_of((peer, 1)) == address


# --- slow senders ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        b"P",
        b"POST / HTTP/1.1\r\nHost: loc",
        b"POST / HTTP/1.1\r\nHost: localhost\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf",
        CHUNKED + b"5\r\nhel",
        CHUNKED,
    ],
)
def test_who_takes_too_long_to_send_is_cut_off(sent: bytes) -> None:
    """After half a minute, wherever it is in its request, which is then not carried out."""
    clock = ManualClock()
    asked: list[object] = []

    def note(*request: object) -> HttpResponse:
        asked.append(request)
        return HttpResponse(status=200, headers={}, body=b"")

    server = HttpServer(note, clock=clock)
    with server, closing(connect(server, sent)) as connection:
        wait_until(lambda: reading(server))
        clock.advance(30.0)
        read_all(connection)
        wait_until(lambda: not len(server._server.connections))

    assert asked == []


def test_who_sends_in_time_is_answered() -> None:
    """In pieces too, and as often as it likes: the time begins anew with each request."""
    clock = ManualClock()
    server = HttpServer(echo, clock=clock)
    with server, closing(connect(server)) as connection:
        for _ in range(3):
            connection.sendall(CHUNKED)
            wait_until(lambda: reading(server))
            clock.advance(29.9)
            server._server.service_actions()
            connection.sendall(HELLO)
            assert answer_on(connection) == (200, "", b"hello")
            wait_until(lambda: not reading(server))
            clock.advance(60.0)
            server._server.service_actions()


def test_an_answer_may_take_its_time() -> None:
    """Only requests are limited, not what is streamed."""
    clock = ManualClock()
    go_on = threading.Event()

    def stream(*_request: object) -> Stream:
        def bits() -> Iterator[bytes]:
            yield b"one"
            assert go_on.wait(PATIENCE)
            yield b"two"

        return Stream(headers={}, chunks=bits())

    server = HttpServer(stream, clock=clock)
    sent = b"GET / HTTP/1.1\r\n\r\n"
    with server, closing(connect(server, sent)) as connection:
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.read(3) == b"one"
        clock.advance(3600.0)
        server._server.service_actions()
        go_on.set()
        assert answer.read() == b"two"


def test_an_idle_connection_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """One on which nothing is sent, after the time of a read."""
    monkeypatch.setattr(http_server._Handler, "timeout", 0.01)
    with HttpServer(echo) as server, closing(connect(server)) as connection:
        assert read_all(connection) == b""


# --- too many ----------------------------------------------------------------------------------------


def test_idle_clients_do_not_keep_others_out() -> None:
    """If every place is taken by clients that send nothing, the oldest of them make room."""
    with HttpServer(echo, most=4) as server, ExitStack() as idle:
        waiting = [idle.enter_context(closing(connect(server))) for _ in range(12)]
        for _ in range(3):
            with closing(connect(server, CHUNKED + HELLO)) as served:
                assert answer_on(served) == (200, "", b"hello")
        assert waiting[0].recv(1024) == b""
        assert len(server._server.connections) <= 4


def test_too_many_connections_are_refused_at_once() -> None:
    """With 503, by no further thread, while all others are being answered; then the next is served."""
    begun, go_on = threading.Semaphore(0), threading.Event()

    def slow(request: WebRequest) -> HttpResponse:
        begun.release()
        assert go_on.wait(PATIENCE)
        return echo(request)

    with HttpServer(slow, most=3) as server, ExitStack() as open_ones:
        asking = [
            open_ones.enter_context(closing(connect(server, CHUNKED + HELLO))) for _ in range(3)
        ]
        assert all(begun.acquire(timeout=PATIENCE) for _ in asking)
        threads = threading.active_count()
        for _ in range(20):
            with closing(connect(server)) as refused:
                assert answer_on(refused) == (503, "close", b"too many connections are open here")
        assert threading.active_count() == threads

        go_on.set()
        for one in asking:
            assert answer_on(one) == (200, "", b"hello")
        with closing(connect(server, CHUNKED + HELLO)) as served:
            assert answer_on(served) == (200, "", b"hello")


def test_slow_clients_that_stay_leave_no_room() -> None:
    """A connection too many is refused if the ones that were cut off need longer than the wait."""
    connections = OpenConnections(clock=ManualClock(), most=1, read_within=30.0)
    with closing(socket.socket()) as first, closing(socket.socket()) as second:
        assert connections.add(first, patience=0.0)
        assert not connections.add(second, patience=0.0)
        connections.forget(first)
        assert connections.add(second, patience=0.0)


# --- the end -----------------------------------------------------------------------------------------


def test_close_finishes_the_requests_that_arrived() -> None:
    """One that is being answered takes its time; one that is arriving may take the grace."""
    begun, go_on = threading.Event(), threading.Event()

    def slow(request: WebRequest) -> HttpResponse:
        if request.path == "/slow":
            begun.set()
            assert go_on.wait(PATIENCE)
        return echo(request)

    server = HttpServer(slow, grace=0.1, keep_alive=False)
    server.start()
    head = b"POST /slow HTTP/1.1\r\nContent-Length: 5\r\n\r\n"
    with closing(connect(server, head + b"hello")) as first, closing(connect(server)) as idle:
        assert begun.wait(PATIENCE)
        wait_until(lambda: Phase.IDLE in server._server.connections.phases())
        closer = threading.Thread(target=server.close)
        closer.start()
        assert idle.recv(1024) == b""
        closer.join(0.3)
        assert closer.is_alive()
        go_on.set()
        assert answer_on(first) == (200, "close", b"hello")
        closer.join(PATIENCE)
    assert not closer.is_alive()


def test_close_answers_a_request_that_waits_behind_another() -> None:
    """It has arrived, so it is answered before the connection ends."""
    begun, go_on = threading.Event(), threading.Event()

    def slow(request: WebRequest) -> HttpResponse:
        begun.set()
        assert go_on.wait(PATIENCE)
        return echo(request)

    server = HttpServer(slow)
    server.start()
    with closing(connect(server, (CHUNKED + HELLO) * 2)) as connection:
        assert begun.wait(PATIENCE)
        closer = threading.Thread(target=server.close)
        closer.start()
        wait_until(server._server.ending.is_set)
        go_on.set()
        assert read_all(connection).count(b"hello") == 2
        closer.join(PATIENCE)
    assert not closer.is_alive()


def test_a_client_that_is_sending_is_waited_for() -> None:
    """The rest of a request that arrives within the grace is read, and answered."""
    server = HttpServer(echo, grace=PATIENCE)
    server.start()
    with closing(connect(server, b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhel")) as late:
        wait_until(lambda: reading(server))
        closer = threading.Thread(target=server.close)
        closer.start()
        wait_until(server._server.ending.is_set)
        late.sendall(b"lo")
        assert answer_on(late) == (200, "", b"hello")
        closer.join(PATIENCE)
    assert not closer.is_alive()


def test_a_client_that_never_sends_the_rest_is_not_waited_for() -> None:
    """After the grace its connection is closed."""
    server = HttpServer(echo, grace=0.0)
    server.start()
    with closing(connect(server, b"POST / HTTP/1.1\r\n")) as late:
        wait_until(lambda: reading(server))
        server.close()
        assert read_all(late) == b""


# --- one request a connection ------------------------------------------------------------------------


def test_a_connection_may_be_for_one_request() -> None:
    """Without keep-alive the answer says that the connection is closed, and it is."""
    with (
        HttpServer(echo, keep_alive=False) as server,
        closing(connect(server, CHUNKED + HELLO)) as connection,
    ):
        assert answer_on(connection) == (200, "close", b"hello")
        assert connection.recv(1) == b""


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 5\r\nContent-Length: 6",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    ],
)
def test_a_body_with_two_ends_is_refused(fields: bytes) -> None:
    """A proxy in front may have seen the other end, and the rest as another request."""
    sent = b"POST / HTTP/1.1\r\n" + fields + b"\r\n\r\nhello"
    with HttpServer(echo) as server, closing(connect(server, sent)) as connection:
        assert answer_on(connection)[:2] == (400, "close")


def test_a_field_that_comes_twice_is_joined() -> None:
    """No value hides behind the other."""
    seen: list[str] = []

    def note(request: WebRequest) -> HttpResponse:
        seen.append(request.headers["x-forwarded-for"])
        return echo(request)

    sent = b"GET / HTTP/1.1\r\nX-Forwarded-For: 1\r\nx-forwarded-for: 2\r\n\r\n"
    with HttpServer(note) as server, closing(connect(server, sent)) as connection:
        assert answer_on(connection)[0] == 200
    assert seen == ["1, 2"]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 101 + b"\r\n", 431),
    ],
)
def test_a_request_that_is_not_http_gets_an_answer(sent: bytes, status: int) -> None:
    """The client can read it, although it is still sending."""
    with HttpServer(echo) as server, closing(connect(server, sent + b"x" * 500_000)) as connection:
        connection.shutdown(socket.SHUT_WR)
        got = read_all(connection)

    assert str(status).encode() in got.partition(b"\n")[0] or b"Error code: 400" in got
