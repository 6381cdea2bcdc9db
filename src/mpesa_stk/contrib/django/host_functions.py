"""Call the host's functions `quote`, `authorize` and `key_scope` as each face of the endpoints needs them.

A plain function may use the ORM, also under ASGI. An ``async def`` may be used under WSGI, too.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import attrs
from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async
from django.http import HttpRequest

from mpesa_stk.web.messages import WebRequest

__all__ = ["DjangoWebRequest", "HostFunction", "awaited", "given_django_request", "plain", "priced"]

HostFunction = Callable[..., Any]


@attrs.frozen(kw_only=True)
class DjangoWebRequest(WebRequest):
    """A request with the one that Django made of it.

    Attributes:
        original: Django's request, with its user and session.
    """

    original: HttpRequest = attrs.field(repr=False, eq=False)


def awaited(function: HostFunction, /) -> HostFunction:
    """Return a function as an ``async def``."""
    return function if iscoroutinefunction(function) else sync_to_async(function)


def plain(function: HostFunction, /) -> HostFunction:
    """Return a function as a plain one."""
    return async_to_sync(function) if iscoroutinefunction(function) else function


def given_django_request(function: HostFunction, /) -> HostFunction:
    """Return a function that hands on Django's request in place of the library's."""
    return lambda request, *rest: function(request.original, *rest)


def priced(quote: HostFunction, /) -> HostFunction:
    """Return a `quote` whose whole shillings are an int, also if the host's are a `Decimal`."""
    if iscoroutinefunction(quote):

        async def price_later(*names: str) -> object:
            return _whole(await quote(*names))

        return price_later

    def price(*names: str) -> object:
        return _whole(quote(*names))

    return price


def _whole(price: object) -> object:
    """Return a whole `Decimal` as an int. The endpoints refuse any other value that is no int."""
    is_whole = isinstance(price, Decimal) and price == price.to_integral_value()
    return int(price) if is_whole else price  # type: ignore[call-overload]
