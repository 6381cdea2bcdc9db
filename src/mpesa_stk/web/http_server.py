"""A small HTTP/1.1 server for `mpesa-stk serve`, the simulator and the demo. Standard library only.

It has one thread for each connection, and a limited number of them. A client has limited time to send
its request, and less if others wait for its place.
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
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, cast

from mpesa_stk.clock import Clock, SystemClock
from mpesa_stk.config.urls import origin_of
from mpesa_stk.web.answers import Answer, Delivery, Response
from mpesa_stk.web.messages import WebRequest
from mpesa_stk.web.open_connections import OpenConnections, Phase
from mpesa_stk.web.request_body import DRAINED, LINE_ENDS, read_body, refusal_of

_LOGGER = logging.getLogger("mpesa_stk.server")
_POLL = 0.1
_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 34\r\n"
    b"Connection: close\r\n\r\ntoo many connections are open here"
)
# SO_LINGER with no time to linger: closing then sends a reset.
_NO_LINGERING = struct.pack("HH" if os.name == "nt" else "ii", 1, 0)


class HttpServer:
    """Serve a function over HTTP.

    The port is bound by `__init__`. Requests are answered from `start` (or ``with``) to `close`.

    Attributes:
        origin: Its address for this machine, such as ``http://127.0.0.1:8090``.
    """

    def __init__(  # noqa: PLR0913 - limits, each with a default
        self,
        answer: Answer,
        /,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        keep_alive: bool = True,
        grace: float = 2.0,
        most: int = 256,
        read_within: float = 30.0,
        room_within: float = 1.0,
        clock: Clock | None = None,
    ) -> None:
        """Bind the port.

        Args:
            answer: Answers each request. Many threads call it at the same time.
            host: Address to listen on.
            port: Port to listen on, or 0 for any free one.
            keep_alive: Whether a client may send several requests over one connection.
            grace: Seconds that a client has to send a request, and to read its answer, after `close`.
            most: Largest number of open connections. The oldest slow clients make room for a new one.
                If all requests are being answered, a new connection is answered with 503.
            read_within: Seconds that a client has to send a request.
            room_within: Seconds that a new connection waits for the room that slow clients make.
            clock: Measures how long clients take. Default: the machine's.

        Raises:
            OSError: The address is not available.
        """
        connections = OpenConnections(
            clock=clock or SystemClock(), most=most, read_within=read_within
        )
        server = _ServerOnIPv6 if ":" in host else _Server
        self._server = server((host, port), connections, keep_alive, room_within)
        self._server.answer = answer
        self._grace = grace
        self.origin = origin_of(host, self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL,), name="mpesa-stk-server", daemon=True
        )

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Finish requests that arrived, end streams and threads, and free the port."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.socket.close()
        self._server.ending.set()
        self._server.connections.end_all(self._grace)
        self._server.server_close()

    def __enter__(self) -> HttpServer:  # noqa: PYI034 - typing.Self needs Python 3.11
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


class _Server(socketserver.ThreadingTCPServer):
    # On Windows, the option would let two servers share a port.
    allow_reuse_address = os.name != "nt"
    request_queue_size = 128
    answer: Answer

    def __init__(
        self,
        address: tuple[str, int],
        connections: OpenConnections,
        keep_alive: bool,  # noqa: FBT001 - of this file
        room_within: float,
    ) -> None:
        self.connections = connections
        self.keep_alive = keep_alive
        self.ending = threading.Event()
        self._room_within = room_within
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as socketserver has it
        if self.connections.add(request, patience=self._room_within):
            super().process_request(request, client_address)
            return
        _LOGGER.warning("mpesa_stk.server.too_many_connections")
        with contextlib.suppress(OSError):
            request.settimeout(0)  # the thread that accepts connections must not wait
            request.sendall(_BUSY)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Cut off slow clients. The base class calls this several times a second."""
        self.connections.cut_off_slow()

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - as socketserver has it
        self.connections.forget(request)
        if request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == _NO_LINGERING:
            self.close_request(request)  # reset at once, without a shutdown before it
        else:
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 - as socketserver has it
        error = sys.exc_info()[1]
        if isinstance(error, (ConnectionError, TimeoutError)):
            _LOGGER.info("mpesa_stk.server.client_left error=%s", type(error).__name__)
            return
        _LOGGER.warning(
            "mpesa_stk.server.connection_failed",
            exc_info=True,  # noqa: LOG014 - socketserver calls this in its except block
        )


class _ServerOnIPv6(_Server):
    address_family = socket.AF_INET6


class _Reader(io.BufferedReader):
    """Remember the last line, because `http.server` accepts a head that was cut off."""

    last_line = b""

    def readline(self, size: int | None = -1, /) -> bytes:
        self.last_line = super().readline(size)
        return self.last_line


class _Handler(BaseHTTPRequestHandler):
    """One connection: read requests, write answers. It is the `Wire` of its answers."""

    server: _Server
    rfile: _Reader
    protocol_version = "HTTP/1.1"
    # Clients close idle connections earlier than this, so they never use one that was just closed.
    timeout = 60
    # A buffer lets head and body leave in one packet.
    wbufsize = -1
    _is_refused = False

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self.rfile = _Reader(cast("io.RawIOBase", self.connection.makefile("rb", 0)))

    def handle(self) -> None:
        super().handle()
        if self._is_refused:
            # The client may still be sending. Read that, or a reset would overtake the answer.
            self.server.connections.enter(self.connection, Phase.READING)
            self.wfile.flush()
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_WR)
                self.rfile.read(DRAINED)

    def handle_one_request(self) -> None:
        """Wait for a request, and then for a limited time until it is whole."""
        self.server.connections.enter(self.connection, Phase.IDLE)
        if self.server.ending.is_set():
            # A request that has arrived is still read. After it, the reader sees the end.
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RD)
        try:
            self.rfile.peek(1)
        except TimeoutError:
            self.close_connection = True
            return
        self.server.connections.enter(self.connection, Phase.READING)
        super().handle_one_request()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse a request that is not HTTP."""
        self._is_refused = True
        super().send_error(code, message, explain)

    def _respond(self) -> None:
        head_is_whole = self.rfile.last_line in LINE_ENDS
        body = read_body(self.headers, self.rfile) if head_is_whole else None
        self.server.connections.enter(self.connection, Phase.ANSWERING)
        if body is None:
            self.close_connection = True
            return
        if not self.server.keep_alive:
            self.close_connection = True
        answer = refusal_of(body) if isinstance(body, HTTPStatus) else self._answer(body)
        self.server.connections.enter(self.connection, Phase.WRITING)
        if isinstance(answer, Delivery):
            answer.send(self)
        else:
            self.wfile.write(self.head(answer))
            self.wfile.write(b"" if self.command == "HEAD" else answer.body)
            self.wfile.flush()

    def _answer(self, body: bytes) -> Response | Delivery:
        path, _, query = self.path.partition("?")
        headers: dict[str, str] = {}
        for name, value in self.headers.items():
            known = headers.get(name.lower())
            headers[name.lower()] = value if known is None else f"{known}, {value}"
        request = WebRequest(
            method=self.command,
            path=path,
            query=query,
            headers=headers,
            body=body,
            remote_addr=address_of(self.client_address),
        )
        return self.server.answer(request)

    def __getattr__(self, name: str) -> Callable[[], None]:
        """Answer every method (``do_GET`` and so on), also an unusual one."""
        if name.startswith("do_"):
            return self._respond
        raise AttributeError(name)

    # --- the `Wire` ----------------------------------------------------------------------------------

    def head(self, response: Response, /, *, has_length: bool = True) -> bytes:
        collected = io.BytesIO()
        wfile, self.wfile = self.wfile, collected
        given = {name.lower() for name in response.headers}
        has_length = has_length and response.status != HTTPStatus.NO_CONTENT
        try:
            self.send_response(response.status)
            for name, value in response.headers.items():
                self.send_header(name, value)
            if "connection" not in given:
                self._send_connection()
            if has_length and "content-length" not in given:
                self.send_header("content-length", str(len(response.body)))
            self.end_headers()
        finally:
            self.wfile = wfile
        return collected.getvalue()

    def _send_connection(self) -> None:
        """Write the field if it differs from the default of the client's HTTP version."""
        if self.close_connection:
            self.send_header("connection", "close")
        elif self.request_version == "HTTP/1.0":
            self.send_header("connection", "keep-alive")

    def send_now(self, data: bytes, /) -> None:
        self.wfile.write(data)
        self.wfile.flush()

    def end(self, *, reset: bool = False) -> None:
        self.close_connection = True
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGERING)

    def is_over(self, pause: float = 0.0, /) -> bool:
        if self.server.ending.wait(pause):
            return True
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
        """Let the client send its body now.

        Without the flush, the buffer would hold this answer.
        """
        go_on = super().handle_expect_100()
        self.wfile.flush()
        return go_on

    def log_message(self, *_args: object) -> None:
        """Log no request: the path of a callback is a secret of the payment."""


def address_of(client: tuple[str, int], /) -> str:
    """Return a client's address. An IPv4 address looks the same on a server of IPv6."""
    address = ipaddress.ip_address(client[0].partition("%")[0])
    return str(getattr(address, "ipv4_mapped", None) or address)
