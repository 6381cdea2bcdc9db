"""The parts that the transports share: the reasons of their errors, headers, idle connections, and bodies.

Both transports give the same reason for the same trouble. This file imports no HTTP library.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import attrs

from mpesa_stk.version import __version__

MAX_IDLE = 15.0
"""Seconds after which an idle connection is not used again. A NAT may have dropped it silently, and the
next payment would be lost on it."""

# --- reasons -----------------------------------------------------------------------------------------

NO_CERTIFICATES = "the file of CA certificates cannot be used"
NO_SUCH_PROXY = "the proxy cannot be used"
CLOSED = "the connection was closed at once"
TOO_LATE = "connecting took too long to send it in time"

NO_ANSWER = "no complete answer in time"
BROKEN = "the connection failed before the answer was complete"
TOO_LARGE = "the answer is too large"

_CLOCK = frozenset({9, 10})  # OpenSSL: not valid yet, not valid any more
_OTHER_HOST = frozenset({62, 64})  # OpenSSL: another host name, another IP address


class NeverLeft(Exception):
    """No byte of the request was written.

    Attributes:
        reason: What happened, in a few constant words.
    """

    def __init__(self, reason: str, /) -> None:
        self.reason = reason
        super().__init__(reason)


@attrs.frozen
class Step:
    """A step of connecting.

    Attributes:
        failed: The reason if it fails.
        timed_out: The reason if it takes too long.
    """

    failed: str
    timed_out: str


TO_ORIGIN = Step("no connection could be made", "connecting timed out")
TO_PROXY = Step("no connection to the proxy could be made", "connecting to the proxy timed out")
THROUGH_PROXY = Step(
    "connecting through the proxy failed", "connecting through the proxy timed out"
)
TLS = Step("the TLS handshake failed", "the TLS handshake timed out")


def why_not_trusted(verify_code: int | None, /) -> str:
    """Return the reason for a certificate that OpenSSL refused with this code."""
    if verify_code in _OTHER_HOST:
        return "the server's certificate is for another host"
    if verify_code in _CLOCK:
        return "the server's certificate is not valid at this time"
    return "the server's certificate is not trusted"


def refused_by_proxy(status: int | str, /) -> str:
    """Return the reason for a proxy that answered CONNECT with this status."""
    return f"the proxy refused to connect, with status {status}"


# --- headers -----------------------------------------------------------------------------------------


def own_headers(user_agent: str, /) -> dict[str, str]:
    """Return the headers that a transport adds to each request.

    Args:
        user_agent: The host's own product token, which comes after ours.
    """
    return {
        "User-Agent": f"mpesa-stk/{__version__} {user_agent}".rstrip(),
        "Accept": "application/json",
        "Accept-Encoding": "identity",
    }


# --- idle connections --------------------------------------------------------------------------------


class _CanClose(Protocol):
    def close(self) -> object: ...


Connection = TypeVar("Connection", bound=_CanClose)


class IdleConnections(Generic[Connection]):
    """The idle connections to one origin.

    Their number is not limited. The most recently used one comes first, and a stale one is never used.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """Begin with none.

        Args:
            monotonic: The clock by which idle time is measured.
        """
        self._monotonic = monotonic
        self._idle: deque[tuple[float, Connection]] = deque()

    def add(self, connection: Connection) -> None:
        """Keep a connection whose answer is complete."""
        self._drop_stale()
        self._idle.append((self._monotonic(), connection))

    def take(self) -> Connection | None:
        """Return the most recently used connection, or None."""
        try:
            since, connection = self._idle.pop()
        except IndexError:
            return None
        if self._monotonic() - since > MAX_IDLE:
            connection.close()
            self._drop_stale()  # this was the most recently used, so all others are stale too
            return None
        return connection

    def _drop_stale(self) -> None:
        """Close the stale connections that a burst of requests left.

        The oldest is leftmost.
        """
        try:
            while self._monotonic() - self._idle[0][0] > MAX_IDLE:
                self._idle.popleft()[1].close()
        except IndexError:
            return


# --- bodies ------------------------------------------------------------------------------------------


def decompressed(body: bytes, encoding: str, /, *, most: int) -> bytes:
    """Decompress a body that a server compressed unasked.

    Args:
        body: The body as it came.
        encoding: The header Content-Encoding.
        most: Most bytes of a body.

    Returns:
        At most one byte more than that.
    """
    if encoding.lower() not in ("gzip", "deflate"):
        return body
    try:
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 32).decompress(body, most + 1)
    except zlib.error:
        return body  # the header was wrong, so the reader will find no JSON in it
