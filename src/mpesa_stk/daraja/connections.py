"""Connections that keep deadlines and do not grow old: urllib3's, with less trust in the network.

A read time-out of the standard library counts from each byte, so a server that drips one byte a second
holds a client for ever; here it is a total. Imports urllib3 and nothing of the package.
"""

from __future__ import annotations

import http.client
import io
import time
from collections import deque
from collections.abc import Callable
from queue import Empty
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

__all__ = ["MAX_IDLE", "pool_classes"]

MAX_IDLE = 15.0
"""Seconds after which an idle connection is not used again: a NAT may have dropped it in silence,
and the first payment of the hour would go into the void."""


def pool_classes(monotonic: Callable[[], float], /) -> dict[str, type[HTTPConnectionPool]]:
    """The pools by scheme, for urllib3's `PoolManager.pool_classes_by_scheme`.

    Args:
        monotonic: The clock by which a connection's idle time is measured.
    """

    def idle(_size: int) -> _IdleConnections:
        return _IdleConnections(monotonic)

    class Pool(HTTPConnectionPool):
        ConnectionCls = _Connection
        QueueCls = staticmethod(idle)  # type: ignore[assignment]  # urllib3 only calls it

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = _TlsConnection
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
    """Sends head and body in one piece: half a request is less often on its way when a line drops."""

    response_class = _DeadlineResponse
    _held: list[bytes] | None = None

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._held = []
        try:
            super().request(*args, **kwargs)
            whole = b"".join(self._held)
        finally:
            self._held = None
        self.send(whole)

    def send(self, data: Any) -> None:
        if self._held is None:
            super().send(data)
        else:
            self._held.append(data)


class _Connection(_SendsAtOnce):
    pass


class _TlsConnection(_SendsAtOnce, HTTPSConnection):
    pass


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
