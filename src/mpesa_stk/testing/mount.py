"""Puts a simulated Daraja behind requests-mock. Loaded by `SimulatedDaraja.mount` alone.

Beside the transport, the only file that imports requests: what a host's own code catches where the
network fails are requests' errors. requests-mock itself is not imported; its mocker is handed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import requests

from mpesa_stk.daraja.http import HttpResponse

__all__ = ["Exchange", "RequestsMocker", "register"]

Exchange = Callable[[str, str, Mapping[str, str], bytes | None, float, float], HttpResponse]
"""Method, address, headers, body, seconds for the whole exchange and seconds of silence to an answer."""


class RequestsMocker(Protocol):
    """What is used of requests-mock: its fixture, its `Mocker`, or its `Adapter`."""

    def register_uri(self, method: Any, url: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as requests-mock has it
        """Say what a request is answered with."""
        ...


def register(mocker: RequestsMocker, urls: Iterable[str], exchange: Exchange, /) -> None:
    """Let requests to the addresses be answered by an exchange.

    Args:
        mocker: Of requests-mock.
        urls: The addresses.
        exchange: Answers one request; raises `TimeoutError` or another `OSError` as a socket does.
    """

    def answer(request: Any, context: Any) -> bytes:  # noqa: ANN401 - requests-mock's own types
        body = request.body.encode() if isinstance(request.body, str) else request.body
        limit, silence = _limits_of(request.timeout)
        try:
            response = exchange(request.method, request.url, request.headers, body, limit, silence)
        except TimeoutError as error:
            raise requests.ReadTimeout(str(error)) from None
        except OSError as error:
            raise requests.ConnectionError(str(error)) from None
        context.status_code = response.status
        context.headers.update(response.headers)
        return response.body

    for url in urls:
        # Without its query, which Daraja checks, and requests-mock shall not.
        address = url.partition("?")[0]
        for method in ("GET", "POST"):
            mocker.register_uri(method, address, content=answer)


def _limits_of(timeout: Any) -> tuple[float, float]:  # noqa: ANN401 - a number, a pair, urllib3's own kind or None
    """Seconds for the whole exchange, and for each read: only urllib3's own kind limits the whole."""
    whole = getattr(timeout, "total", None)
    read = timeout[1] if isinstance(timeout, tuple) else timeout
    limits = [limit if isinstance(limit, (int, float)) else math.inf for limit in (whole, read)]
    return limits[0], limits[1]
