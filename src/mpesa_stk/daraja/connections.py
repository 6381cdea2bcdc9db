"""urllib3 connections with a total deadline and a limit on idle time.

The standard library starts its read time-out again at each byte, so a server that sends one byte a second
holds a client for ever. Here the read time-out limits the whole answer. This file imports urllib3 and no
module of the package.

A connection writes a request in one piece, after connecting is complete. An error before that piece is
handed to the socket proves that no byte of the request left. Such an error is raised as `NeverLeft`, which
urllib3 and requests pass on unchanged.
"""

from __future__ import annotations

import http.client
import io
import math
import re
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import Empty
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, SSLError
from urllib3.util.ssl_match_hostname import CertificateError

MAX_IDLE = 15.0
"""Seconds after which an idle connection is not used again. A NAT may have dropped it silently, and the
next payment would be lost on it."""


NO_CERTIFICATES = "the file of CA certificates cannot be used"

_CLOCK = frozenset({9, 10})  # OpenSSL: not valid yet, not valid any more
_OTHER_HOST = frozenset({62, 64})  # OpenSSL: another host name, another IP address
_REFUSED_BY_PROXY = re.compile(r"Tunnel connection failed: ([0-9]{3})\b")


class NeverLeft(Exception):
    """No byte of the request was written.

    Attributes:
        reason: What happened, in a few constant words.
    """

    def __init__(self, reason: str, /) -> None:
        self.reason = reason
        super().__init__(reason)


class Limits(threading.local):
    """The limits of the request that this thread sends.

    Attributes:
        leave_by: Second of `time.monotonic` after which the request must not leave any more.
    """

    leave_by: float = math.inf


def pool_classes(
    monotonic: Callable[[], float], limits: Limits, /
) -> dict[str, type[HTTPConnectionPool]]:
    """Return the pools by scheme, for urllib3's `PoolManager.pool_classes_by_scheme`.

    Args:
        monotonic: The clock by which a connection's idle time is measured.
        limits: The limits of the request that each thread sends.
    """

    def idle(_size: int) -> _IdleConnections:
        return _IdleConnections(monotonic)

    class Connection(_SendsAtOnce):
        _limits = limits

    class TlsConnection(_SendsAtOnce, HTTPSConnection):
        _limits = limits

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection
        QueueCls = staticmethod(idle)  # type: ignore[assignment]  # urllib3 only calls it

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = TlsConnection
        QueueCls = staticmethod(idle)  # type: ignore[assignment]  # urllib3 only calls it

    return {"http": Pool, "https": TlsPool}


class _DeadlineReader(io.RawIOBase):
    """Reads a socket until a deadline, however slowly the bytes arrive."""

    def __init__(self, sock: Any) -> None:
        self._socket = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._deadline = time.monotonic() + sock.gettimeout()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._socket.settimeout(left)
        read: int | None = self._raw.readinto(buffer)
        return read

    def close(self) -> None:
        self._raw.close()
        super().close()


class _DeadlineSocket:
    """The one method of a socket that `http.client.HTTPResponse` uses."""

    def __init__(self, sock: Any) -> None:
        self._socket = sock

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_DeadlineReader(self._socket))


class _DeadlineResponse(http.client.HTTPResponse):
    """Reads status line, headers and body within one read time-out."""

    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(_DeadlineSocket(sock), *args, **kwargs)  # type: ignore[arg-type]


class _SendsAtOnce(HTTPConnection):
    """Connects, then sends head and body in one piece, unless it is too late."""

    response_class = _DeadlineResponse
    _limits: Limits
    _held: list[bytes] | None = None

    def connect(self) -> None:
        """Connect, through the proxy if there is one, and finish the TLS handshake."""
        try:
            super().connect()
        except (OSError, HTTPError, http.client.HTTPException, ValueError) as error:
            reason = _why_not_connected(error, by_proxy=self.proxy is not None)
        else:
            return
        raise NeverLeft(reason)

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._held = []
        try:
            super().request(*args, **kwargs)
            whole = b"".join(self._held)
        finally:
            self._held = None
        if self.sock is None:
            self.connect()
        if time.monotonic() > self._limits.leave_by:
            raise NeverLeft("connecting took too long to send it in time")
        self.send(whole)

    def send(self, data: Any) -> None:
        if self._held is None:
            super().send(data)
        else:
            self._held.append(data)


def _why_not_connected(error: Exception, *, by_proxy: bool) -> str:
    """Say in constant words why a connection was not completed."""
    if isinstance(error, NewConnectionError):
        return f"no connection {'to the proxy ' if by_proxy else ''}could be made"
    if isinstance(error, ConnectTimeoutError):
        return f"connecting {'to the proxy ' if by_proxy else ''}timed out"
    code = getattr(error, "verify_code", None)
    if code in _OTHER_HOST or isinstance(error, CertificateError):  # urllib3 1.26 looks by itself
        return "the server's certificate is for another host"
    if isinstance(error, ssl.SSLCertVerificationError):
        if code in _CLOCK:
            return "the server's certificate is not valid at this time"
        return "the server's certificate is not trusted"
    if isinstance(error, SSLError):  # urllib3's class, raised when it loads the file
        return NO_CERTIFICATES
    refused = _REFUSED_BY_PROXY.match(str(error))
    if refused:
        return f"the proxy refused to connect, with status {refused[1]}"
    where = "connecting through the proxy" if by_proxy else "the TLS handshake"
    if by_proxy and isinstance(error, ssl.SSLError):
        where = "the TLS handshake"
    return f"{where} {'timed out' if isinstance(error, TimeoutError) else 'failed'}"


class _IdleConnections:
    """The idle connections of a pool.

    Their number is not limited. The most recently used one comes first, and a stale one is never used. This
    class replaces the queue in which urllib3 keeps them.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._idle: deque[tuple[float, Any]] = deque()

    def put(self, connection: Any, **_kwargs: Any) -> None:
        if connection is None:  # urllib3's placeholder for a connection that is not made yet
            return
        self._drop_stale()
        self._idle.append((self._monotonic(), connection))

    def get(self, **_kwargs: Any) -> Any:
        try:
            since, connection = self._idle.pop()
        except IndexError:
            raise Empty from None
        if self._monotonic() - since > MAX_IDLE:
            connection.close()
            self._drop_stale()  # this was the most recently used, so all others are stale too
            raise Empty
        return connection

    def _drop_stale(self) -> None:
        """Close the stale connections that a burst of threads left.

        The oldest is leftmost.
        """
        try:
            while self._monotonic() - self._idle[0][0] > MAX_IDLE:
                self._idle.popleft()[1].close()
        except IndexError:
            return
