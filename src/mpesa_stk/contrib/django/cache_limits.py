"""`CacheLimits`: how often clients may act, counted in a cache of Django for all processes.

Each time that something may happen is a key of the cache, which lives as long as it counts. A cache adds a
key only if it is not there, in one step. So two processes never take the same place.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from django.core.cache import caches

from mpesa_stk.errors import StoreError
from mpesa_stk.web.limits import RateName, Rates

__all__ = ["CacheLimits"]


class CacheLimits:
    """`Limits` that all processes share, if they share the cache. Redis, Memcached and the database do.

    The clocks of the machines must agree to seconds. If the cache drops keys early, less is counted.
    """

    def __init__(
        self,
        alias: str = "default",
        /,
        *,
        rates: Rates | None = None,
        prefix: str = "mpesa-stk",
        now: Callable[[], float] = time.time,
    ) -> None:
        """Make limits. The first call uses the cache.

        Args:
            alias: The cache in ``CACHES``.
            rates: What is allowed.
            prefix: Start of the keys.
            now: Returns the machine's time in seconds since 1970.
        """
        self._alias = alias
        self._rates = rates or Rates()
        self._prefix = prefix
        self._now = now

    def take(self, name: RateName, key: str, /) -> float:
        """Count it, if it may happen now."""
        seconds = self._rates.of(name).seconds
        with _reachable():
            until = self._now() + seconds
            cache, taken = self._cache(), self._taken(name, key)
            free = [place for place in self._places(name, key) if place not in taken]
            if any(cache.add(place, until, seconds) for place in free):
                return 0.0
            return self._until(self._taken(name, key))

    def wait(self, name: RateName, key: str, /) -> float:
        """Return what `take` would return, without counting."""
        with _reachable():
            taken = self._taken(name, key)
            return self._until(taken) if len(taken) >= self._rates.of(name).times else 0.0

    def forget(self, name: RateName, key: str, /) -> None:
        """Forget all that was counted under a key."""
        with _reachable():
            self._cache().delete_many(self._places(name, key))

    def _cache(self) -> Any:  # noqa: ANN401 - Django has no types
        return caches[self._alias]

    def _places(self, name: RateName, key: str) -> list[str]:
        times = self._rates.of(name).times
        return [f"{self._prefix}:{name}:{key}:{number}" for number in range(times)]

    def _taken(self, name: RateName, key: str) -> dict[str, float]:
        """Return when each place that is taken is free again."""
        found: dict[str, float] = self._cache().get_many(self._places(name, key))
        return found

    def _until(self, taken: dict[str, float]) -> float:
        """Return the seconds until the first place is free. It is more than 0.0, which would mean yes."""
        return max(min(taken.values(), default=0.0) - self._now(), 0.001)


@contextlib.contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 - each cache raises the errors of its driver
        raise StoreError(f"the limits cannot be counted: {type(error).__name__}") from None
