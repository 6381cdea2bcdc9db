"""The Django app: add ``"mpesa_stk.contrib.django"`` to ``INSTALLED_APPS`` (extra ``django``).

The names are loaded when they are first used, because Django imports this package before its models.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mpesa_stk.contrib.django.cache_limits import CacheLimits
    from mpesa_stk.contrib.django.orders_link import order_key, orders_for, payments_for
    from mpesa_stk.contrib.django.runtime import async_payments, endpoints, payments
    from mpesa_stk.contrib.django.signals import process_due

__all__ = [
    "CacheLimits",
    "async_payments",
    "endpoints",
    "order_key",
    "orders_for",
    "payments",
    "payments_for",
    "process_due",
]

_LATER = {
    "CacheLimits": "cache_limits",
    "async_payments": "runtime",
    "endpoints": "runtime",
    "order_key": "orders_link",
    "orders_for": "orders_link",
    "payments": "runtime",
    "payments_for": "orders_link",
    "process_due": "signals",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public name
    """Load a name of `_LATER` when it is first used."""
    if name in _LATER:
        return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
