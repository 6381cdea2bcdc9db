"""`SharedLimits` and `AsyncSharedLimits`: the counts of a fleet, in Redis, through the library limits.

Only this file imports limits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mpesa_stk.errors import ConfigurationError, StoreError
from mpesa_stk.privacy import hides_locals
from mpesa_stk.web.limits import RateName, Rates

try:
    from limits import RateLimitItem, RateLimitItemPerSecond
    from limits.aio.strategies import MovingWindowRateLimiter as AsyncMovingWindow
    from limits.errors import StorageError
    from limits.storage import storage_from_string
    from limits.strategies import MovingWindowRateLimiter as MovingWindow
except ImportError as error:
    raise ImportError(
        "shared limits need the package limits: pip install 'mpesa-stk-client[limits]'"
    ) from error

__all__ = ["AsyncSharedLimits", "SharedLimits"]


class SharedLimits:
    """`Limits` that all processes and machines of a fleet share, for `Payments`.

    limits counts by the clock of the machine that asks, so the clocks of a fleet must agree to seconds.
    """

    @hides_locals
    def __init__(
        self,
        url: str,
        /,
        *,
        rates: Rates | None = None,
        prefix: str = "mpesa-stk",
        now: Callable[[], float] = time.time,
        **options: Any,  # noqa: ANN401 - those of limits
    ) -> None:
        """Make limits. The first call connects.

        Args:
            url: Where to count, such as ``redis://127.0.0.1:6379/0``.
            rates: What is allowed.
            prefix: Start of the keys' names, after that of limits.
            now: Returns the machine's time in seconds since 1970, from which a wait is computed.
            **options: Options of the storage of limits. Give Redis a ``socket_timeout``: without one, a
                Redis that hangs holds up every request.

        Raises:
            ConfigurationError: limits has no such storage, or lacks the package for it.
        """
        self._items = _Items(rates or Rates(), prefix, now)
        with _readable(url):
            self._window = MovingWindow(storage_from_string(url, wrap_exceptions=True, **options))

    @hides_locals
    def take(self, name: RateName, key: str, /) -> float:
        """Count it, if it may happen now."""
        item = self._items.item_of(name)
        with _reachable():
            if self._window.hit(item, key):
                return 0.0
            return self._items.until(self._window.get_window_stats(item, key).reset_time)

    @hides_locals
    def wait(self, name: RateName, key: str, /) -> float:
        """Return what `take` would return, without counting."""
        item = self._items.item_of(name)
        with _reachable():
            if self._window.test(item, key):
                return 0.0
            return self._items.until(self._window.get_window_stats(item, key).reset_time)

    @hides_locals
    def forget(self, name: RateName, key: str, /) -> None:
        """Forget all that was counted under a key."""
        with _reachable():
            self._window.clear(self._items.item_of(name), key)


class AsyncSharedLimits:
    """`SharedLimits` whose methods are awaited, for `AsyncPayments`."""

    @hides_locals
    def __init__(
        self,
        url: str,
        /,
        *,
        rates: Rates | None = None,
        prefix: str = "mpesa-stk",
        now: Callable[[], float] = time.time,
        **options: Any,  # noqa: ANN401 - those of limits
    ) -> None:
        """Make limits. The arguments are those of `SharedLimits`.

        Args:
            url: Where to count, such as ``async+redis://127.0.0.1:6379/0``. The driver of ``async+redis``
                is that of the package redis, unless the options name another one.
            rates: What is allowed.
            prefix: Start of the keys' names, after that of limits.
            now: Returns the machine's time in seconds since 1970.
            **options: Options of the storage of limits.

        Raises:
            ConfigurationError: limits has no such storage, or lacks the package for it.
        """
        self._items = _Items(rates or Rates(), prefix, now)
        if url.startswith("async+redis"):
            options = {"implementation": "redispy"} | options
        with _readable(url):
            storage = storage_from_string(url, wrap_exceptions=True, **options)
            self._window = AsyncMovingWindow(storage)

    @hides_locals
    async def take(self, name: RateName, key: str, /) -> float:
        """Count it, if it may happen now."""
        item = self._items.item_of(name)
        with _reachable():
            if await self._window.hit(item, key):
                return 0.0
            return self._items.until((await self._window.get_window_stats(item, key)).reset_time)

    @hides_locals
    async def wait(self, name: RateName, key: str, /) -> float:
        """Return what `take` would return, without counting."""
        item = self._items.item_of(name)
        with _reachable():
            if await self._window.test(item, key):
                return 0.0
            return self._items.until((await self._window.get_window_stats(item, key)).reset_time)

    @hides_locals
    async def forget(self, name: RateName, key: str, /) -> None:
        """Forget all that was counted under a key."""
        with _reachable():
            await self._window.clear(self._items.item_of(name), key)


class _Items:
    """The rates in the form of limits, and the time."""

    def __init__(self, rates: Rates, prefix: str, now: Callable[[], float]) -> None:
        self._rates = rates
        self._prefix = prefix
        self._now = now

    def item_of(self, name: RateName) -> RateLimitItem:
        rate = self._rates.of(name)
        return RateLimitItemPerSecond(rate.times, rate.seconds, namespace=f"{self._prefix}:{name}")

    def until(self, moment: float) -> float:
        """Return the seconds until a moment. It is more than 0.0, which would mean yes."""
        return max(moment - self._now(), 0.001)


@contextmanager
def _readable(url: str) -> Iterator[None]:
    """Say what is wrong with a URL, and never repeat it: it may hold a password."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - of limits, or of what it imports
        kind = url.partition(":")[0] if "://" in url else ""
        rule = f"limits cannot count at such a URL ({type(error).__name__}, scheme {kind!r:.40})"
        raise ConfigurationError((("url", rule),)) from None


@contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 - limits wraps the errors of some calls only
        cause = error.storage_error if isinstance(error, StorageError) else error
        name = type(cause).__name__
        raise StoreError(f"the limits cannot be counted: {name}") from None
