"""A small HTTP/1.1 server over a plain function, for this machine. Standard library only.

It listens on 127.0.0.1 unless it is told otherwise. Answers may be streams, and may be cut off. Any client
of HTTP/1.0 or 1.1 is understood, but each has a limited time to send a request, and not too many are
served at once.
"""

from __future__ import annotations

import contextlib
import io
import ipaddress
import json
import logging
import os
import re
import socket
import socketserver
import struct
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any, cast

from mpesa_stk.clock import Clock, SystemClock
from mpesa_stk.daraja.http import MAX_BODY, HttpResponse
from mpesa_stk.simulator.answers import CLIENT, Sent, Stream
from mpesa_stk.simulator.chunks import BadChunks, read_chunks
from mpesa_stk.simulator.faults import Manner
from mpesa_stk.urls import origin_of

__all__ = ["Answer", "LoopbackServer"]

Answer = Callable[[str, str, Mapping[str, str], bytes], "HttpResponse | Sent | Stream"]
"""From method, request target, headers and body to an answer; among the headers is the `CLIENT`."""

_LOGGER = logging.getLogger("mpesa_stk.simulator")
_POLL = 0.1
_DRAINED = 1024 * 1024
_UNREAD = {
    HTTPStatus.BAD_REQUEST: "the body needs a whole Content-Length, or chunks that are whole",
    HTTPStatus.NOT_IMPLEMENTED: "the only Transfer-Encoding that is read is chunked",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: f"the body may have {MAX_BODY} bytes at most",
}
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 34\r\n"
    b"Connection: close\r\n\r\ntoo many connections are open here"
)
_MOST_CONNECTIONS = 256
_READ_WITHIN = 30.0
_LENGTH = re.compile(r"[0-9]{1,9}")
# SO_LINGER with no time to linger: closing then sends a reset.
_NO_LINGERING = struct.pack("HH" if os.name == "nt" else "ii", 1, 0)


class LoopbackServer:
    """Serves a function over HTTP, a thread for each connection.

    The port is bound when it is made, requests are answered from `start` (or ``with``) to `close`.
    """

    def __init__(
        self,
        answer: Answer,
        /,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        drip_pause: float = 1.0,
        grace: float = 2.0,
        clock: Clock | None = None,
        most: int = _MOST_CONNECTIONS,
    ) -> None:
        """Bind.

        Args:
            answer: Answers each request; called by many threads at a time.
            host: Address to listen on; this machine's own by default.
            port: Port to listen on; 0 for any free one.
            drip_pause: Seconds before each byte of an answer that comes byte by byte.
            grace: Seconds that a client has to read its answer when the server closes.
            clock: Tells how long clients take to send their requests; the machine's by default.
            most: How many connections are served at once; further ones are answered with 503 at once.

        Raises:
            OSError: The address cannot be had.
        """
        server = _ServerOnIPv6 if ":" in host else _Server
        self._server = server(
            (host, port),
            answer,
            drip_pause=drip_pause,
            grace=grace,
            clock=clock or SystemClock(),
            most=most,
        )
        self._host = host
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL,), name="mpesa-stk-loopback", daemon=True
        )

    @property
    def origin(self) -> str:
        """Its address on this machine, such as ``http://127.0.0.1:8090``."""
        return origin_of(self._host, self._server.server_address[1])

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Answer what has arrived, end streams, hang up, and end all threads."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.hang_up()

    def __enter__(self) -> LoopbackServer:  # noqa: PYI034 - typing.Self needs Python 3.11
        self.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()


class _Server(socketserver.ThreadingTCPServer):
    """Knows its open connections: an idle one does not keep `close` waiting, a slow one is cut off."""

    # On Windows, the option would let two servers share a port.
    allow_reuse_address = os.name != "nt"
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        answer: Answer,
        *,
        drip_pause: float,
        grace: float,
        clock: Clock,
        most: int,
    ) -> None:
        self.answer = answer
        self.drip_pause = drip_pause
        self.ending = threading.Event()
        self._grace = grace
        self._clock = clock
        self._most = most
        self._open: set[socket.socket] = set()
        # When each request that is not whole yet began, and the connections that took too long with one.
        self._reading: dict[socket.socket, float] = {}
        self._cut: set[socket.socket] = set()
        self._closed = threading.Condition()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as socketserver has it
        with self._closed:
            too_many = len(self._open) >= self._most
            if not too_many:
                self._open.add(request)
        if too_many:
            _LOGGER.warning("mpesa_stk.simulator.too_many_connections")
            with contextlib.suppress(OSError):
                request.settimeout(0)  # the accepting thread waits for nobody
                request.sendall(_BUSY)
            super().shutdown_request(request)
            return
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """Several times a second: cut off those who take too long to send a request."""
        began_before = self._clock.monotonic() - _READ_WITHIN
        with self._closed:
            slow = [
                connection for connection, began in self._reading.items() if began <= began_before
            ]
            self._cut.update(slow)
            for connection in slow:
                del self._reading[connection]
        self._shut(socket.SHUT_RD, slow)

    def begin_reading(self, connection: socket.socket) -> None:
        """A request begins to arrive."""
        with self._closed:
            self._reading[connection] = self._clock.monotonic()

    def end_reading(self, connection: socket.socket) -> bool:
        """A request has arrived; False where it was cut off, and cannot be whole."""
        with self._closed:
            self._reading.pop(connection, None)
            return connection not in self._cut

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - as socketserver has it
        with self._closed:
            self._open.discard(request)
            self._reading.pop(request, None)
            self._cut.discard(request)
            self._closed.notify_all()
        if request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == _NO_LINGERING:
            self.close_request(request)  # without the farewell that would precede the reset
        else:
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 - as socketserver has it
        if isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            _LOGGER.debug("mpesa_stk.simulator.client_left")
            return
        _LOGGER.warning(
            "mpesa_stk.simulator.connection_failed",
            exc_info=True,  # noqa: LOG014 - socketserver calls this where it caught the error
        )

    def hang_up(self) -> None:
        """End the reading side of each connection, then wait for the threads that answer."""
        self.ending.set()
        self._shut(socket.SHUT_RD)
        with self._closed:
            self._closed.wait_for(lambda: not self._open, self._grace)
        self._shut(socket.SHUT_RDWR)
        self.server_close()

    def _shut(self, side: int, which: Iterable[socket.socket] | None = None) -> None:
        with self._closed:
            for connection in self._open if which is None else which:
                with contextlib.suppress(OSError):
                    connection.shutdown(side)


class _ServerOnIPv6(_Server):
    address_family = socket.AF_INET6


class _Handler(BaseHTTPRequestHandler):
    """One connection: reads requests, writes what the server's function answers."""

    server: _Server
    protocol_version = "HTTP/1.1"
    # Longer than clients keep an idle connection, so that they never use one that was just closed.
    timeout = 60
    # Head and body leave in one packet.
    wbufsize = -1

    def handle_one_request(self) -> None:
        """Wait for a request, however long, and then for a limited time until it is whole."""
        try:
            cast("io.BufferedReader", self.rfile).peek(1)
        except TimeoutError:
            self.close_connection = True
            return
        self.server.begin_reading(self.connection)
        super().handle_one_request()

    def _respond(self) -> None:
        body = self._body()
        if not self.server.end_reading(self.connection) or body is None:
            self.close_connection = True
            return
        if isinstance(body, HTTPStatus):
            self._write(_unread(body))
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        headers[CLIENT] = _address_of(self.client_address)
        answer = self.server.answer(self.command, self.path, headers, body)
        if isinstance(answer, Stream):
            self._stream(answer)
        elif isinstance(answer, Sent):
            self._write(answer.response, answer.manner)
        else:
            self._write(answer)

    def __getattr__(self, name: str) -> Callable[[], None]:
        """Every method, however unusual, is the function's to answer: ``do_GET`` and so on."""
        if name.startswith("do_"):
            return self._respond
        raise AttributeError(name)

    def _body(self) -> bytes | HTTPStatus | None:
        """The body, the status that says why it is not read, or None where its end is missing."""
        if "transfer-encoding" in self.headers:
            return self._chunked_body()
        text = self.headers.get("content-length", "0").strip()
        if not _LENGTH.fullmatch(text):
            return HTTPStatus.BAD_REQUEST
        if int(text) > MAX_BODY:
            # Unread bytes would reset the connection before the answer is read.
            self.rfile.read(min(int(text), _DRAINED))
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        body = self.rfile.read(int(text))
        return body if len(body) == int(text) else None

    def _chunked_body(self) -> bytes | HTTPStatus:
        """A body in chunks, which has no length in the head; one that ends early is no good one."""
        if self.headers["transfer-encoding"].strip().lower() != "chunked":
            return HTTPStatus.NOT_IMPLEMENTED
        try:
            body = read_chunks(self.rfile, most=MAX_BODY)
        except BadChunks:
            return HTTPStatus.BAD_REQUEST
        if body is None:
            self.rfile.read(_DRAINED)
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        return body

    # --- how answers travel ------------------------------------------------------------------------

    def _write(self, response: HttpResponse, manner: Manner = Manner.WHOLE) -> None:
        if manner is not Manner.WHOLE:
            self.close_connection = True
        if manner is Manner.NOTHING:
            return
        body = b"" if self.command == "HEAD" else response.body
        if manner is Manner.HALF:
            body = body[: len(body) // 2]
        message = self._head(response) + body
        if manner is Manner.DRIP:
            self._drip(message)
            return
        self.wfile.write(message)
        if manner is Manner.RESET:
            self.wfile.flush()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGERING)

    def _head(self, response: HttpResponse) -> bytes:
        """Status line and header fields."""
        collected = io.BytesIO()
        wfile, self.wfile = self.wfile, collected
        try:
            self.send_response(response.status)
            for name, value in response.headers.items():
                self.send_header(name, value)
            if "connection" not in response.headers:
                self._tell_of_connection()
            if response.status != HTTPStatus.NO_CONTENT:
                self.send_header("content-length", str(len(response.body)))
            self.end_headers()
        finally:
            self.wfile = wfile
        return collected.getvalue()

    def _tell_of_connection(self) -> None:
        """What becomes of the connection, where the version of HTTP does not say so."""
        if self.close_connection:
            self.send_header("connection", "close")
        elif self.request_version == "HTTP/1.0":
            self.send_header("connection", "keep-alive")

    def _drip(self, message: bytes) -> None:
        """One byte at a time, as long as somebody wants it."""
        for number in range(len(message)):
            if self.server.ending.wait(self.server.drip_pause) or self._is_alone():
                return
            self.wfile.write(message[number : number + 1])
            self.wfile.flush()

    def _stream(self, stream: Stream) -> None:
        """The bits as they come; without a length, so that the end of the connection ends it."""
        self.close_connection = True
        self.send_response(HTTPStatus.OK)
        for name, value in stream.headers.items():
            self.send_header(name, value)
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.flush()
        for chunk in stream.chunks:
            if self.server.ending.is_set() or self._is_alone():
                return
            self.wfile.write(chunk)
            self.wfile.flush()

    def _is_alone(self) -> bool:
        """Whether the client hung up."""
        self.connection.settimeout(0)
        try:
            return not self.connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            self.connection.settimeout(self.timeout)

    def handle_expect_100(self) -> bool:
        """Let the client send its body now: the buffer would keep that word until it has."""
        go_on = super().handle_expect_100()
        self.wfile.flush()
        return go_on

    def log_message(self, *_args: object) -> None:
        """Stay quiet: the path of a callback is a secret of the payment."""


def _address_of(client: tuple[str, int]) -> str:
    """A client's address; one of IPv4 is written so on a server of IPv6 too."""
    address = ipaddress.ip_address(client[0].partition("%")[0])
    return str(getattr(address, "ipv4_mapped", None) or address)


def _unread(status: HTTPStatus) -> HttpResponse:
    """The refusal of a request whose body is not read."""
    told = {"code": "unread-body", "message": _UNREAD[status], "field": None}
    headers = {"connection": "close", "content-type": "application/json"}
    return HttpResponse(status=status, headers=headers, body=json.dumps({"error": told}).encode())
