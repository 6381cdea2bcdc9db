"""The answers that the HTTP server can send: whole ones, and ones that write to the connection."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Protocol

from mpesa_stk.web.messages import WebRequest


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
    """The connection of one request, for an answer that writes to it."""

    def head(self, response: Response, /, *, has_length: bool = True) -> bytes:
        """Return the status line and header fields of an answer."""

    def send_now(self, data: bytes, /) -> None:
        """Send bytes, without waiting for more."""

    def end(self, *, reset: bool = False) -> None:
        """Close the connection after this answer, or reset it."""

    def is_over(self, pause: float = 0.0, /) -> bool:
        """Wait, then return whether the client hung up or the server closes."""


class Delivery(ABC):
    """An answer that writes to the connection itself, such as a stream."""

    @abstractmethod
    def send(self, wire: Wire, /) -> None:
        """Send the answer."""


Answer = Callable[[WebRequest], "Response | Delivery"]
