"""A small HTTP/1.1 server over a plain function, for this machine. Standard library only.

It listens on 127.0.0.1 unless it is told otherwise. Answers may be streams, and may be cut off. Any client
of HTTP/1.0 or 1.1 is understood, but each has a limited time to send a request, and not too many are
served at once.
"""

from __future__ import annotations

import contextlib
import io
import ipaddress
import logging
import os
import socket
import socketserver
import struct
import sys
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any, cast

from mpesa_stk.clock import Clock, SystemClock
from mpesa_stk.daraja.http import HttpResponse
from mpesa_stk.simulator.answers import CLIENT, Sent, Stream
from mpesa_stk.simulator.bodies import read_body, unread
from mpesa_stk.simulator.connections import Connections
from mpesa_stk.simulator.faults import Manner
from mpesa_stk.urls import origin_of

__all__ = ["Answer", "LoopbackServer"]

Answer = Callable[[str, str, Mapping[str, str], bytes], "HttpResponse | Sent | Stream"]
"""From method, request target, headers and body to an answer; among the headers is the `CLIENT`."""

_LOGGER = logging.getLogger("mpesa_stk.simulator")
_POLL = 0.1
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 34\r\n"
    b"Connection: close\r\n\r\ntoo many connections are open here"
)
_MOST_CONNECTIONS = 256
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
            connections=Connections(clock=clock or SystemClock(), most=most),
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
        connections: Connections,
    ) -> None:
        self.answer = answer
        self.drip_pause = drip_pause
        self.connections = connections
        self.ending = threading.Event()
        self._grace = grace
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as socketserver has it
        if self.connections.add(request):
            super().process_request(request, client_address)
            return
        _LOGGER.warning("mpesa_stk.simulator.too_many_connections")
        with contextlib.suppress(OSError):
            request.settimeout(0)  # the accepting thread waits for nobody
            request.sendall(_BUSY)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Several times a second: cut off those who take too long to send a request."""
        self.connections.cut_off_slow()

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - as socketserver has it
        self.connections.forget(request)
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
        self.connections.hang_up(self._grace)
        self.server_close()


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
        self.server.connections.begin_reading(self.connection)
        super().handle_one_request()

    def _respond(self) -> None:
        body = read_body(self.headers, cast("io.BufferedReader", self.rfile))
        if not self.server.connections.end_reading(self.connection) or body is None:
            self.close_connection = True
            return
        if isinstance(body, HTTPStatus):
            self._write(unread(body))
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
