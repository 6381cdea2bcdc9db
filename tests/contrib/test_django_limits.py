"""Limits in a cache of Django: the same rule as in memory, for all processes that share the cache."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.test import override_settings

from django_host import running
from mpesa_stk import Rate, Rates, StoreError
from mpesa_stk.contrib.django.async_parts import AwaitedLimits
from mpesa_stk.contrib.django.cache_limits import CacheLimits

RATES = Rates(misses=Rate(times=3, seconds=60))


@pytest.fixture(name="cache")
def _cache() -> Iterator[Any]:
    """A cache that is empty."""
    place = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "limits"}
    with running(CACHES={"default": place}):
        from django.core.cache import cache  # noqa: PLC0415 - of the project

        yield cache
        cache.clear()


@pytest.mark.usefixtures("cache")
def test_so_many_times_in_any_stretch_of_time() -> None:
    """The fourth time must wait until the first one is over, and counts nothing meanwhile."""
    now = [1000.0]
    limits = CacheLimits(rates=RATES, now=lambda: now[0])
    assert [limits.take("misses", "a") for _ in range(3)] == [0.0, 0.0, 0.0]
    assert limits.wait("misses", "a") == 60.0
    now[0] += 15
    assert limits.take("misses", "a") == 45.0
    assert limits.wait("misses", "a") == 45.0
    assert limits.wait("misses", "b") == 0.0
    assert limits.take("misses", "b") == 0.0


@pytest.mark.usefixtures("cache")
def test_what_is_forgotten_does_not_count() -> None:
    """A paid prompt does not count, for example."""
    limits = CacheLimits(rates=RATES)
    for _ in range(3):
        limits.take("misses", "a")
    limits.forget("misses", "a")
    assert limits.take("misses", "a") == 0.0


@pytest.mark.usefixtures("cache")
def test_threads_never_take_one_place_twice() -> None:
    """Many at once get three places together."""
    limits = CacheLimits(rates=RATES)
    with ThreadPoolExecutor(8) as pool:
        waits = list(pool.map(lambda _: limits.take("misses", "a"), range(64)))
    assert waits.count(0.0) == 3


@pytest.mark.usefixtures("cache")
def test_an_event_loop_awaits_them() -> None:
    """Each method runs in Django's thread, and returns the same."""
    limits = AwaitedLimits(CacheLimits(rates=RATES, now=lambda: 1000.0))

    async def ask() -> list[float]:
        waits = [await limits.take("misses", "a") for _ in range(4)]
        await limits.forget("misses", "a")
        return [*waits, await limits.wait("misses", "a")]

    assert asyncio.run(ask()) == [0.0, 0.0, 0.0, 60.0, 0.0]


def test_a_place_that_is_lost_in_between_is_asked_for_again(cache: Any) -> None:
    """If another process takes the last place first, the answer is a wait that is not 0.0."""
    limits = CacheLimits(rates=Rates(misses=Rate(times=1, seconds=60)))

    class Late:
        """A cache whose keys appear after the look at them."""

        def get_many(self, _keys: list[str]) -> dict[str, float]:
            """See none."""
            return {}

        def add(self, *_args: object) -> bool:
            """Come too late."""
            return False

    limits._cache = Late  # type: ignore[method-assign]
    assert limits.take("misses", "a") == 0.001
    assert cache.get("anything") is None


def test_a_cache_that_fails_is_a_store_error() -> None:
    """The endpoints answer 503, and the error names no key."""
    broken = {"BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache", "LOCATION": "x"}
    with running(), override_settings(CACHES={"default": broken}):
        limits = CacheLimits(rates=RATES)
        for ask in (limits.take, limits.wait, limits.forget):
            with pytest.raises(StoreError, match="the limits cannot be counted"):
                ask("misses", "a-key")
