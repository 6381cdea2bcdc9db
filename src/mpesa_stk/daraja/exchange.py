"""HTTP requests and answers as plain values, for `protocol` and transports. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, Protocol

import attrs

from mpesa_stk.privacy import Unpicklable

MAX_BODY = 64 * 1024
"""Most bytes of a body, both compressed and decompressed. A larger body is refused, unless the request says
that its answer may have more."""


@attrs.frozen(kw_only=True)
class HttpRequest(Unpicklable):
    """One request.

    Attributes:
        method: ``GET`` or ``POST``.
        url: Absolute address.
        headers: Header fields, with the credentials.
        body: Body, or None.
        connect_timeout: Seconds to wait for a connection.
        total_timeout: Seconds for the whole exchange.
        leave_within: Seconds after which the request must not leave any more, even if connecting took
            that long.
        max_body: Most bytes of the answer's body, both compressed and decompressed.
    """

    method: Literal["GET", "POST"]
    url: str
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes | None = attrs.field(default=None, repr=False)
    connect_timeout: float
    total_timeout: float
    leave_within: float = math.inf
    max_body: int = MAX_BODY


@attrs.frozen(kw_only=True)
class HttpResponse(Unpicklable):
    """One answer.

    Attributes:
        status: HTTP status.
        headers: Header fields, names in lower case.
        body: Body, decompressed, at most ``max_body`` bytes of the request. It may hold a token.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)


class Transport(Protocol):
    """Sends one request and returns the answer, even if its status is an error."""

    def send(self, request: HttpRequest, /) -> HttpResponse:
        """Send the request once. Follow no redirect and never send it again.

        Raises:
            NotSent: The request provably never left, for example because it could not leave in time.
            OutcomeUnknown: The exchange failed in any other way.
        """
        ...

    def close(self) -> None:
        """Close idle connections."""
        ...


class AsyncTransport(Protocol):
    """A `Transport` whose methods are awaited. The same rules hold."""

    async def send(self, request: HttpRequest, /) -> HttpResponse:
        """Send the request once. Follow no redirect and never send it again.

        If the awaiting task is cancelled, the request may have left.

        Raises:
            NotSent: The request provably never left.
            OutcomeUnknown: The exchange failed in any other way.
        """
        ...

    async def close(self) -> None:
        """Close idle connections."""
        ...


class AwaitedTransport:
    """A `Transport` as an `AsyncTransport` that never suspends."""

    def __init__(self, transport: Transport, /) -> None:
        self._transport = transport

    async def send(self, request: HttpRequest, /) -> HttpResponse:
        """Send the request once, in this thread."""
        return self._transport.send(request)

    async def close(self) -> None:
        """Close idle connections."""
        self._transport.close()
