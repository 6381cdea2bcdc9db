"""HTTP as plain values: what `protocol` builds and reads, and what a transport carries. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, Protocol

import attrs

from mpesa_stk.privacy import Unpicklable

__all__ = ["MAX_BODY", "HttpRequest", "HttpResponse", "Transport"]

MAX_BODY = 64 * 1024
"""Bytes of a body that are read, compressed or not; a larger one is refused."""


@attrs.frozen(kw_only=True)
class HttpRequest(Unpicklable):
    """One request.

    Attributes:
        method: ``GET`` or ``POST``.
        url: Absolute address.
        headers: Header fields; they hold the credentials.
        body: Body, or None.
        connect_timeout: Seconds to wait for a connection.
        total_timeout: Seconds for the whole exchange.
        leave_within: Seconds after which it may not leave any more, however long connecting takes.
    """

    method: Literal["GET", "POST"]
    url: str
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes | None = attrs.field(default=None, repr=False)
    connect_timeout: float
    total_timeout: float
    leave_within: float = math.inf


@attrs.frozen(kw_only=True)
class HttpResponse(Unpicklable):
    """One answer.

    Attributes:
        status: HTTP status.
        headers: Header fields, names in lower case.
        body: Body, decompressed, at most `MAX_BODY` bytes; it may hold a token.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)


class Transport(Protocol):
    """Carries one request to the server and brings the answer back, whatever its status."""

    def send(self, request: HttpRequest, /) -> HttpResponse:
        """Send once; never follow a redirect, never send again.

        Raises:
            NotSent: The request provably never left; also if it could not leave in time.
            OutcomeUnknown: Anything else went wrong.
        """
        ...

    def close(self) -> None:
        """Close idle connections."""
        ...
