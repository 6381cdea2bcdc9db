"""A scriptable HTTP server on this machine's loopback, over real sockets, for what only they can show.

It answers each request with the next act of its script (the last one repeats), counts what arrives,
and leaves nothing behind when its ``with`` block ends: no thread, no socket.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, TypeAlias

import attrs

__all__ = [
    "Act",
    "Exchange",
    "Received",
    "Server",
    "answer",
    "answer_json",
    "closed_port",
    "drip",
    "full_backlog",
    "garbage_at_once",
    "hang_up",
    "hang_up_at_once",
    "head",
    "raw_server",
    "reset",
    "reset_at_once",
    "say",
    "silence",
    "stay_silent",
    "upgrade_to_tls",
]

PATIENCE = 10.0


@attrs.frozen(kw_only=True)
class Received:
    """One request as it arrived."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    connection: int
    whole_at_once: bool


@attrs.define(kw_only=True)
class Exchange:
    """What an act may use: the request, the open connection, and whether the server is ending."""

    received: Received
    connection: socket.socket
    ending: threading.Event
    keep: bool = True


Act: TypeAlias = Callable[[Exchange], None]


class Server:
    """Listens on 127.0.0.1 while its ``with`` block runs; each connection has a thread of its own."""

    def __init__(self, *script: Act, tls: ssl.SSLContext | None = None) -> None:
        self.received: list[Received] = []
        self.connections = 0
        self.ended = threading.Semaphore(0)  # released as each connection ends
        self._script = script
        self._tls = tls
        self._lock = threading.Condition()
        self._ending = threading.Event()
        self._open: dict[int, socket.socket] = {}
        self._threads: list[threading.Thread] = []
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))

    @property
    def port(self) -> int:
        """The port it listens on."""
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def origin(self) -> str:
        """Its address, as a URL without a path."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def count(self, method: str, *, at_least: int = 0) -> int:
        """How many requests with that method arrived. Waits seconds at most for those that must."""
        with self._lock:
            self._lock.wait_for(lambda: self._arrived(method) >= at_least, 5.0)
            return self._arrived(method)

    def _arrived(self, method: str) -> int:
        return sum(received.method == method for received in self.received)

    def __enter__(self) -> Server:  # noqa: PYI034 - typing.Self needs Python 3.11
        self._listener.listen(128)
        self._start(self._accept)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._ending.set()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE).close()
        self._threads[0].join(PATIENCE)  # accepts no more, so the rest are all there
        with self._lock:
            for connection in self._open.values():
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a server thread did not end"
        self._listener.close()

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._ending.is_set():
                connection.close()
                return
            with self._lock:
                self.connections += 1
                number = self.connections
                self._open[number] = connection
            self._start(self._serve, connection, number)

    def _serve(self, connection: socket.socket, number: int) -> None:
        try:
            with contextlib.suppress(OSError):
                if self._tls:
                    self._replace(number, self._tls.wrap_socket(connection, server_side=True))
                self._converse(number)
        finally:
            with self._lock:
                self._open.pop(number).close()
            self.ended.release()

    def _replace(self, number: int, connection: socket.socket) -> None:
        with self._lock:
            self._open[number] = connection

    def _converse(self, number: int) -> None:
        keep = True
        while keep and not self._ending.is_set():
            received = _receive(self._open[number], number)
            if received is None:
                return
            with self._lock:
                act = self._script[min(len(self.received), len(self._script) - 1)]
                self.received.append(received)
                self._lock.notify_all()
                exchange = Exchange(
                    received=received, connection=self._open[number], ending=self._ending
                )
            act(exchange)
            self._replace(number, exchange.connection)
            keep = exchange.keep


def _receive(connection: socket.socket, number: int) -> Received | None:
    """Read one request; None where the client closed instead."""
    data = b""
    reads = 0
    length = 0
    while b"\r\n\r\n" not in data or len(data.partition(b"\r\n\r\n")[2]) < length:
        piece = connection.recv(65536)
        if not piece:
            return None
        data += piece
        reads += 1
        top, _, _ = data.partition(b"\r\n\r\n")
        first, *lines = top.decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in lines)
        }
        length = int(headers.get("content-length", "0"))
    method, target, _ = first.split(" ")
    body = data.partition(b"\r\n\r\n")[2]
    return Received(
        method=method,
        target=target,
        headers=headers,
        body=body,
        connection=number,
        whole_at_once=reads == 1,
    )


# --- acts ------------------------------------------------------------------------------------------


def head(status: int, **headers: str | int) -> bytes:
    """The status line and headers of an answer."""
    lines = [f"HTTP/1.1 {status} Status"]
    lines += [f"{name.replace('_', '-').title()}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def answer(status: int = 200, body: bytes = b"", **headers: str | int) -> Act:
    """Answer whole, and keep the connection."""
    return say(head(status, content_length=len(body), **headers) + body, keep=True)


def answer_json(value: Any, status: int = 200) -> Act:
    """Answer with JSON."""
    return answer(status, json.dumps(value).encode(), content_type="application/json")


def say(data: bytes, *, keep: bool = False) -> Act:
    """Send these bytes as they are, then hang up unless told to keep the connection."""

    def act(exchange: Exchange) -> None:
        exchange.connection.sendall(data)
        exchange.keep = keep

    return act


def hang_up(exchange: Exchange) -> None:
    """Read the request, then close without a word."""
    exchange.keep = False


def reset(exchange: Exchange) -> None:
    """Read the request, then reset the connection."""
    exchange.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    exchange.connection.close()
    exchange.keep = False


def stay_silent(exchange: Exchange) -> None:
    """Read the request, then say nothing until the client gives up."""
    exchange.connection.recv(1)
    exchange.keep = False


def drip(start: bytes, endless: bytes, *, every: float = 0.01) -> Act:
    """Send a start at once, then the rest byte by byte, over and over, until the client gives up."""

    def act(exchange: Exchange) -> None:
        exchange.keep = False
        exchange.connection.sendall(start)
        position = 0
        while not exchange.ending.wait(every):
            exchange.connection.sendall(endless[position : position + 1])
            position = (position + 1) % len(endless)

    return act


def upgrade_to_tls(context: ssl.SSLContext) -> Act:
    """As a proxy does on CONNECT: agree, then be the origin behind TLS."""

    def act(exchange: Exchange) -> None:
        exchange.connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        exchange.connection = context.wrap_socket(exchange.connection, server_side=True)

    return act


# --- servers that speak no TLS ----------------------------------------------------------------------


@contextlib.contextmanager
def raw_server(act: Callable[[socket.socket], None]) -> Iterator[int]:
    """The port of a server that does one thing to each connection, as soon as a byte arrived."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(PATIENCE)
                connection.recv(1)
                act(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
        thread.join(PATIENCE)
        assert not thread.is_alive(), "the server did not end"


def reset_at_once(connection: socket.socket) -> None:
    """Reset the connection."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def hang_up_at_once(connection: socket.socket) -> None:
    """Read what came, and close."""
    connection.recv(65_536)


def garbage_at_once(connection: socket.socket) -> None:
    """Answer with what is no TLS."""
    connection.recv(65_536)
    connection.sendall(b"220 mail.example.com ESMTP\r\n")


def silence(connection: socket.socket) -> None:
    """Read until the client gives up."""
    while connection.recv(65_536):
        pass


# --- ports that are no server -----------------------------------------------------------------------


@contextlib.contextmanager
def closed_port() -> Iterator[str]:
    """The origin of a port on which nobody listens, and on which nobody else can meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@contextlib.contextmanager
def full_backlog() -> Iterator[str]:
    """The origin of a port whose queue of connections is full, so that Linux drops each new one."""
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = sockets.enter_context(socket.socket())
            waiting.settimeout(0.0)
            waiting.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
