"""Connections that keep deadlines and do not grow old: urllib3's, with less trust in the network.

A read time-out of the standard library counts from each byte, so a server that drips one byte a second
holds a client for ever; here it is a total. Imports urllib3 and nothing of the package.

A request is written in one piece, after the connection is complete. So whatever fails before that piece
is handed to the socket is proof that no byte of the request left: it is raised as `NeverLeft`, which
urllib3 and requests let through as it is.
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

__all__ = ["MAX_IDLE", "NO_CERTIFICATES", "Limits", "NeverLeft", "pool_classes"]

MAX_IDLE = 15.0
"""Seconds after which an idle connection is not used again: a NAT may have dropped it in silence,
and the first payment of the hour would go into the void."""


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
    """What holds for the request that this thread sends.

    Attributes:
        leave_by: Second of `time.monotonic` after which it may not leave any more.
    """

    leave_by: float = math.inf


def pool_classes(
    monotonic: Callable[[], float], limits: Limits, /
) -> dict[str, type[HTTPConnectionPool]]:
    """The pools by scheme, for urllib3's `PoolManager.pool_classes_by_scheme`.

    Args:
        monotonic: The clock by which a connection's idle time is measured.
        limits: What holds for the request of each thread.
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
    """Reads a socket until a moment, however slowly the bytes drip."""

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
    """The little of a socket that `http.client.HTTPResponse` uses."""

    def __init__(self, sock: Any) -> None:
        self._socket = sock

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_DeadlineReader(self._socket))


class _DeadlineResponse(http.client.HTTPResponse):
    """Reads status line, headers and body under one deadline: the read time-out as a total."""

    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(_DeadlineSocket(sock), *args, **kwargs)  # type: ignore[arg-type]


class _SendsAtOnce(HTTPConnection):
    """Sends head and body in one piece, once it is connected and if it is not too late."""

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
    """What went wrong before a connection was complete, in constant words."""
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
    if isinstance(error, SSLError):  # urllib3's own: from loading the file
        return NO_CERTIFICATES
    refused = _REFUSED_BY_PROXY.match(str(error))
    if refused:
        return f"the proxy refused to connect, with status {refused[1]}"
    where = "connecting through the proxy" if by_proxy else "the TLS handshake"
    if by_proxy and isinstance(error, ssl.SSLError):
        where = "the TLS handshake"
    return f"{where} {'timed out' if isinstance(error, TimeoutError) else 'failed'}"


class _IdleConnections:
    """The idle connections of a pool: no upper bound, the freshest first, no stale one.

    Stands in for the queue that urllib3 keeps them in.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._idle: deque[tuple[float, Any]] = deque()

    def put(self, connection: Any, **_kwargs: Any) -> None:
        if connection is None:  # the places that urllib3 keeps for connections not yet made
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
            self._drop_stale()  # it was the freshest: no other will be asked for
            raise Empty
        return connection

    def _drop_stale(self) -> None:
        """Close what a burst of threads left behind; the oldest is leftmost."""
        try:
            while self._monotonic() - self._idle[0][0] > MAX_IDLE:
                self._idle.popleft()[1].close()
        except IndexError:
            return
