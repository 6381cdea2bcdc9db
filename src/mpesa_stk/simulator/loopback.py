"""A small HTTP/1.1 server on this machine over a plain function. Standard library only.

It binds 127.0.0.1 and nothing else: settings accept plain http for this machine only.
"""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any

from mpesa_stk.daraja.http import MAX_BODY, HttpResponse

__all__ = ["Answer", "LoopbackServer"]

Answer = Callable[[str, str, Mapping[str, str], bytes], HttpResponse]
"""From method, request target, headers and body to an answer."""

_LOGGER = logging.getLogger("mpesa_stk.simulator")
_HOST = "127.0.0.1"
_POLL = 0.1
_DRAINED = 1024 * 1024
_LENGTH = re.compile(r"[0-9]{1,9}")


class LoopbackServer:
    """Serves a function over HTTP on 127.0.0.1, a thread for each connection.

    The port is bound when it is made, requests are answered from `start` (or ``with``) to `close`.
    """

    def __init__(self, answer: Answer, /, *, port: int = 0) -> None:
        """Bind.

        Args:
            answer: Answers each request; called by many threads at a time.
            port: Port to listen on; 0 for any free one.
        """
        self._server = _Server(answer, port)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL,), name="mpesa-stk-loopback", daemon=True
        )

    @property
    def origin(self) -> str:
        """Its address: ``http://127.0.0.1:<port>``."""
        return f"http://{_HOST}:{self._server.server_address[1]}"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Answer what has arrived, hang up, and end all threads."""
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
    """Knows its open connections, so that an idle one does not keep `close` waiting."""

    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, answer: Answer, port: int) -> None:
        super().__init__((_HOST, port), _Handler)
        self.answer = answer
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as socketserver has it
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - as socketserver has it
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 - as socketserver has it
        _LOGGER.warning(
            "mpesa_stk.simulator.connection_failed",
            exc_info=True,  # noqa: LOG014 - socketserver calls this where it caught the error
        )

    def hang_up(self) -> None:
        """End the reading side of each connection, then wait for the threads that answer."""
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RD)
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    """One connection: reads requests, writes what the server's function answers."""

    server: _Server
    protocol_version = "HTTP/1.1"
    # Longer than clients keep an idle connection, so that they never use one that was just closed.
    timeout = 60
    # Head and body leave in one packet.
    wbufsize = -1

    def _respond(self) -> None:
        length = self._body_length()
        if isinstance(length, HTTPStatus):
            self._write(HttpResponse(status=length, headers={"connection": "close"}, body=b""))
            return
        body = self.rfile.read(length)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._write(self.server.answer(self.command, self.path, headers, body))

    def __getattr__(self, name: str) -> Callable[[], None]:
        """Every method, however unusual, is the function's to answer: ``do_GET`` and so on."""
        if name.startswith("do_"):
            return self._respond
        raise AttributeError(name)

    def _body_length(self) -> int | HTTPStatus:
        """How long the body is, or the status that says why it is not read."""
        if "transfer-encoding" in self.headers:
            return HTTPStatus.LENGTH_REQUIRED
        text = self.headers.get("content-length", "0")
        if not _LENGTH.fullmatch(text):
            return HTTPStatus.BAD_REQUEST
        if int(text) > MAX_BODY:
            # Unread bytes would reset the connection before the answer is read.
            self.rfile.read(min(int(text), _DRAINED))
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        return int(text)

    def _write(self, response: HttpResponse) -> None:
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(response.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    def log_message(self, *_args: object) -> None:
        """Stay quiet: the path of a callback is a secret of the payment."""
