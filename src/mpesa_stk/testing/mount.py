"""Put a simulated Daraja behind requests-mock. Only `SimulatedDaraja.mount` imports this file.

This file imports requests, because the code of a host catches the errors of requests. Otherwise only the
transport imports it. requests-mock is not imported: its mocker is an argument.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import requests

from mpesa_stk.daraja.exchange import HttpResponse

Exchange = Callable[[str, str, Mapping[str, str], bytes | None, float, float], HttpResponse]
"""Takes method, address, headers, body, and the seconds for the whole exchange and for each read."""


class RequestsMocker(Protocol):
    """The fixture, the `Mocker` or the `Adapter` of requests-mock."""

    def register_uri(self, method: Any, url: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as requests-mock has it
        """Set the answer to a request."""
        ...


def register(mocker: RequestsMocker, urls: Iterable[str], exchange: Exchange, /) -> None:
    """Answer all requests to some addresses with an exchange.

    Args:
        mocker: The mocker of requests-mock.
        urls: The addresses.
        exchange: Answers one request, or raises `TimeoutError` or another `OSError` as a socket does.
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
        # The query is left out: the simulated Daraja checks it, not requests-mock.
        address = url.partition("?")[0]
        for method in ("GET", "POST"):
            mocker.register_uri(method, address, content=answer)


def _limits_of(timeout: Any) -> tuple[float, float]:  # noqa: ANN401 - a number, a pair, urllib3's own kind or None
    """Return the seconds for the whole exchange and for each read.

    Only urllib3's `Timeout` limits the whole exchange.
    """
    whole = getattr(timeout, "total", None)
    read = timeout[1] if isinstance(timeout, tuple) else timeout
    limits = [limit if isinstance(limit, (int, float)) else math.inf for limit in (whole, read)]
    return limits[0], limits[1]
