"""The answers that the HTTP server can send: whole ones, and ones that are sent in their own way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Protocol

from mpesa_stk.web.http import WebRequest


class Response(Protocol):
    """An answer: a `WebResponse` or an `HttpResponse`."""

    @property
    def status(self) -> int:
        """HTTP status."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Header fields."""

    @property
    def body(self) -> bytes:
        """Body."""


class Wire(Protocol):
    """The connection of one request, for an answer that is sent in its own way."""

    def head(self, response: Response, /, *, has_length: bool = True) -> bytes:
        """Status line and header fields."""

    def send_now(self, data: bytes, /) -> None:
        """Send bytes, without waiting for more."""

    def end(self, *, reset: bool = False) -> None:
        """Close the connection after this answer, or reset it."""

    def is_over(self, pause: float = 0.0, /) -> bool:
        """Wait that many seconds, then return whether the client hung up or the server closes."""


class Delivery(ABC):
    """An answer that is sent in its own way, such as a stream."""

    @abstractmethod
    def send(self, wire: Wire, /) -> None:
        """Send it."""


Answer = Callable[[WebRequest], "Response | Delivery"]
