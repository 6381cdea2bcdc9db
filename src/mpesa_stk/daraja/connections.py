"""urllib3 connections with a total deadline and a limit on idle time.

The standard library starts its read time-out again at each byte, so a server that sends one byte a second
holds a client for ever. Here the read time-out limits the whole answer.

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
from collections.abc import Callable
from queue import Empty
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, SSLError
from urllib3.util.ssl_match_hostname import CertificateError

from mpesa_stk.daraja.sending import (
    NO_CERTIFICATES,
    THROUGH_PROXY,
    TLS,
    TO_ORIGIN,
    TO_PROXY,
    TOO_LATE,
    IdleConnections,
    NeverLeft,
    refused_by_proxy,
    why_not_trusted,
)

_REFUSED_BY_PROXY = re.compile(r"Tunnel connection failed: ([0-9]{3})\b")
_OTHER_HOST_NAME = 62  # of OpenSSL


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

    def idle(_size: int) -> _Queue:
        return _Queue(monotonic)

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
            raise NeverLeft(TOO_LATE)
        self.send(whole)

    def putheader(self, header: Any, *values: Any) -> None:
        # urllib3 compares each value with a marker, which no request of ours has. That costs 3 % of a push.
        http.client.HTTPConnection.putheader(self, header, *values)

    def send(self, data: Any) -> None:
        if self._held is None:
            super().send(data)
        else:
            self._held.append(data)


def _why_not_connected(error: Exception, *, by_proxy: bool) -> str:
    """Say in constant words why a connection was not completed."""
    peer = TO_PROXY if by_proxy else TO_ORIGIN
    if isinstance(error, NewConnectionError):
        return peer.failed
    if isinstance(error, ConnectTimeoutError):
        return peer.timed_out
    if isinstance(error, (ssl.SSLCertVerificationError, CertificateError)):
        # urllib3 1.26 looks at the host name by itself, and its error has no code.
        return why_not_trusted(getattr(error, "verify_code", _OTHER_HOST_NAME))
    if isinstance(error, SSLError):  # urllib3's class, raised when it loads the file
        return NO_CERTIFICATES
    refused = _REFUSED_BY_PROXY.match(str(error))
    if refused:
        return refused_by_proxy(refused[1])
    step = THROUGH_PROXY if by_proxy and not isinstance(error, ssl.SSLError) else TLS
    return step.timed_out if isinstance(error, TimeoutError) else step.failed


class _Queue(IdleConnections[Any]):
    """Replaces the queue in which urllib3 keeps idle connections."""

    def put(self, connection: Any, **_kwargs: Any) -> None:
        if connection is not None:  # urllib3's placeholder for a connection that is not made yet
            self.add(connection)

    def get(self, **_kwargs: Any) -> Any:
        connection = self.take()
        if connection is None:
            raise Empty
        return connection
