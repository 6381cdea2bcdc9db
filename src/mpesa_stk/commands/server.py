"""A small threaded WSGI server for ``mpesa-stk serve``. Standard library only.

One request a connection. No look-ups of names. A client has a limited time to send its request, and
less if others wait.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import threading
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from mpesa_stk.clock import SystemClock
from mpesa_stk.urls import origin_of

__all__ = ["PaymentServer"]

_LOGGER = logging.getLogger("mpesa_stk.server")
_POLL = 0.1
_DRAINED = 1024 * 1024


class PaymentServer(ThreadingMixIn, WSGIServer):
    """Serves a WSGI application, a thread for each connection, and a bounded number of them.

    The port is bound when it is made; the application of `set_app` answers from `start` to `stop`.
    """

    # On Windows, the option would let two servers share a port.
    allow_reuse_address = os.name != "nt"
    request_queue_size = 128

    def __init__(
        self,
        host: str,
        port: int,
        /,
        *,
        read_within: float = 30.0,
        grace: float = 2.0,
        most: int = 128,
        room_within: float = 1.0,
    ) -> None:
        """Bind.

        Args:
            host: Address to listen on.
            port: Port to listen on; 0 for any free one.
            read_within: Seconds that a client has to send its request.
            grace: Seconds that it still has when the server stops.
            most: Connections at the same time. If there are as many, those that are sending for
                longest are hung up on, so that callbacks, which are sent at once, find room.
            room_within: Seconds that a new connection waits for that; then it is closed.

        Raises:
            OSError: The address cannot be had.
        """
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._read_within = read_within
        self._grace = grace
        self._most = most
        self._room_within = room_within
        self._clock = SystemClock()
        self._open: dict[socket.socket, float] = {}
        self._closed = threading.Condition()
        super().__init__((host, port), _Handler)
        self._thread = threading.Thread(
            target=self.serve_forever, args=(_POLL,), name="mpesa-stk-server", daemon=True
        )

    @property
    def origin(self) -> str:
        """Its address, such as ``http://127.0.0.1:8000``."""
        return origin_of(self.server_name, self.server_port)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more connections, and return when every request in flight is answered.

        Clients that are still sending have a moment to finish.
        """
        self.shutdown()
        self._thread.join()
        self.socket.close()
        with self._closed:
            self._closed.wait_for(lambda: not self._open, self._grace)
        self._hang_up(self._clock.monotonic())
        self.server_close()

    # --- what socketserver calls -----------------------------------------------------------------

    def server_bind(self) -> None:
        """Bind, without the look-up of a name that `WSGIServer` does."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.socket.getsockname()[:2]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as socketserver has it
        """Answer in a thread of its own, if there is room."""
        if not self._make_room():
            self.shutdown_request(request)
            return
        with self._closed:
            self._open[request] = self._clock.monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - as socketserver has it
        """Forget a connection that ends."""
        with self._closed:
            self._open.pop(request, None)
            self._closed.notify_all()
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Several times a second: hang up on those who take too long."""
        self._hang_up(self._clock.monotonic() - self._read_within)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 - as socketserver has it
        """A connection broke, which is no trouble of ours."""
        error = type(sys.exc_info()[1]).__name__
        _LOGGER.info("mpesa_stk.server.connection_failed error=%s", error)

    def _make_room(self) -> bool:
        """Hang up on the older half if every place is taken; False if that frees none."""
        with self._closed:
            if len(self._open) < self._most:
                return True
            for connection in list(self._open)[: (self._most + 1) // 2]:
                _stop_reading(connection)
            return self._closed.wait_for(lambda: len(self._open) < self._most, self._room_within)

    def _hang_up(self, opened_before: float) -> None:
        """Stop reading from old connections."""
        with self._closed:
            for connection, opened in self._open.items():
                if opened <= opened_before:
                    _stop_reading(connection)


def _stop_reading(connection: socket.socket) -> None:
    """End the reading side of a connection; what is being answered is answered all the same."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RD)


class _Handler(WSGIRequestHandler):
    """One connection."""

    # Of one read. Longer than `read_within`, for systems where that does not wake a read.
    timeout = 60

    def handle(self) -> None:
        super().handle()
        # Unread bytes would reset the connection before the answer is read.
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.rfile.read(_DRAINED)

    def get_environ(self) -> dict[str, Any]:
        """As WSGI has it, without fields that would pass for others: ``X_Forwarded_For``."""
        for name in [name for name in self.headers if "_" in name]:
            del self.headers[name]
        return super().get_environ()

    def log_message(self, *_args: object) -> None:
        """Stay quiet: the path of a callback is a secret of the payment."""
