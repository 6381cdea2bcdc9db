"""The parts of `AsyncPayments` in Django: stores whose calls run in Django's own threads.

Django gives each request of an ASGI server a thread for code that blocks, with the database connections of
that request. In tests it is the thread of the test, so payments see the test's transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from asgiref.sync import sync_to_async

from mpesa_stk.stores.async_calls import Tasks
from mpesa_stk.web.limits import Limits, RateName

__all__ = ["AwaitedLimits", "DjangoCalls"]

P = ParamSpec("P")
T = TypeVar("T")


class DjangoCalls:
    """Call synchronous functions in the thread that Django has for them."""

    def __init__(self) -> None:
        self._tasks = Tasks()

    async def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function, and return its result."""
        return await sync_to_async(function)(*args, **kwargs)

    def start(
        self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[T]:
        """Begin a call at once. It runs to its end, even if its caller is cancelled."""
        return self._tasks.start(self(function, *args, **kwargs))


class AwaitedLimits:
    """`Limits` that block, as `AsyncLimits`."""

    def __init__(self, limits: Limits, /) -> None:
        self._limits = limits

    async def take(self, name: RateName, key: str, /) -> float:
        """Count it, if it may happen now."""
        return await sync_to_async(self._limits.take)(name, key)

    async def wait(self, name: RateName, key: str, /) -> float:
        """Return what `take` would return, without counting."""
        return await sync_to_async(self._limits.wait)(name, key)

    async def forget(self, name: RateName, key: str, /) -> None:
        """Forget all that was counted under a key."""
        await sync_to_async(self._limits.forget)(name, key)
