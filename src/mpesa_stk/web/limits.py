"""How often clients may ask, and how often a phone may be asked: the rule, the protocol, counts in memory.

The rule is one pure function of (moments, rate, now). `Throttle` decides what is counted.
`mpesa_stk.web.shared_limits` keeps the counts of a fleet in Redis.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, Protocol, TypeAlias

import attrs

from mpesa_stk.errors import ConfigurationError
from mpesa_stk.forks import PerProcess

_MOST_MOMENTS = 50_000

RateName: TypeAlias = Literal["requests", "misses", "open_prompts", "prompts", "prompts_of_client"]
"""What is counted: the name of a field of `Rates`."""


# --- the rule: pure -----------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Rate:
    """How often something may happen.

    Attributes:
        times: The most times in any stretch of `seconds`.
        seconds: A whole number.

    Raises:
        ConfigurationError: A number is below 1.
    """

    times: int
    seconds: int

    def __attrs_post_init__(self) -> None:
        problems = tuple(
            (field, "must be at least 1")
            for field in ("times", "seconds")
            if getattr(self, field) < 1
        )
        if problems:
            raise ConfigurationError(problems)


@attrs.frozen(kw_only=True)
class Rates:
    """What `PaymentEndpoints` allows. A client is an IPv4 address, or an IPv6 network of 64 bits.

    Attributes:
        requests: Checkouts, queries and claims of one client. Many phones of one mobile network share an
            address.
        misses: Queries and claims of one client for payments that do not exist or that it may not see,
            and claimed codes that are not those of the payment.
        open_prompts: Prompts on one phone at a time. The seconds are the longest life of a prompt.
        prompts: Prompts on one phone that were not paid.
        prompts_of_client: Prompts on one phone from one client. It is lower than `prompts`, so that one
            stranger cannot use up the prompts of a phone.
    """

    requests: Rate = Rate(times=300, seconds=60)
    misses: Rate = Rate(times=20, seconds=600)
    open_prompts: Rate = Rate(times=1, seconds=180)
    prompts: Rate = Rate(times=5, seconds=3600)
    prompts_of_client: Rate = Rate(times=4, seconds=3600)

    def of(self, name: RateName, /) -> Rate:
        """Return the rate with that name."""
        rate: Rate = getattr(self, name)
        return rate


def wait_of(moments: Sequence[float], rate: Rate, now: float, /) -> float:
    """Return the seconds until something may happen again, or 0.0 if it may happen now.

    Args:
        moments: When it happened, the oldest first.
        rate: How often it may happen.
        now: The time, by the same clock.
    """
    if len(moments) < rate.times:
        return 0.0
    return max(moments[-rate.times] + rate.seconds - now, 0.0)


# --- the protocol, and its implementation in memory -------------------------------------------------------


class Limits(Protocol):
    """Counts how often something happened, and says whether it may happen again. Each method is atomic.

    `name` says what happens. `key` says to whom: it is a hash, never an address or a phone number. If a
    database fails, a method raises an exception, best `StoreError`. Then the limits do not apply.
    """

    def take(self, name: RateName, key: str, /) -> float:
        """Count it, if it may happen now.

        Returns:
            0.0 if it may happen. Otherwise the seconds until it may, and it is not counted.
        """
        ...

    def wait(self, name: RateName, key: str, /) -> float:
        """Return what `take` would return, without counting."""
        ...

    def forget(self, name: RateName, key: str, /) -> None:
        """Forget all that was counted under a key."""
        ...


class AsyncLimits(Protocol):
    """`Limits` whose methods are awaited. The same rules hold."""

    def take(self, name: RateName, key: str, /) -> Awaitable[float]:
        """Count it, if it may happen now."""
        ...

    def wait(self, name: RateName, key: str, /) -> Awaitable[float]:
        """Return what `take` would return, without counting."""
        ...

    def forget(self, name: RateName, key: str, /) -> Awaitable[None]:
        """Forget all that was counted under a key."""
        ...


class MemoryLimits:
    """`Limits` in this process: thread-safe, bounded, not shared with other processes.

    At most 50,000 moments of each name are kept. If there are more, the keys that were used longest ago
    are forgotten.
    """

    def __init__(
        self, *, rates: Rates | None = None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Make limits.

        Args:
            rates: What is allowed.
            monotonic: Returns seconds since an arbitrary start. They never decrease.
        """
        self._rates = rates or Rates()
        self._monotonic = monotonic
        self._lock = PerProcess(threading.Lock)
        self._tables: dict[str, _Table] = {}

    def take(self, name: RateName, key: str, /) -> float:
        """Count it, if it may happen now."""
        with self._lock():
            table, rate, now = self._table(name), self._rates.of(name), self._monotonic()
            wait = wait_of(table.moments_of(key), rate, now)
            if wait <= 0:
                table.add(key, rate, now)
            return wait

    def wait(self, name: RateName, key: str, /) -> float:
        """Return what `take` would return, without counting."""
        with self._lock():
            moments = self._table(name).moments_of(key)
            return wait_of(moments, self._rates.of(name), self._monotonic())

    def forget(self, name: RateName, key: str, /) -> None:
        """Forget all that was counted under a key."""
        with self._lock():
            self._table(name).drop(key)

    def _table(self, name: RateName) -> _Table:
        return self._tables.setdefault(name, _Table())


class NoLimits:
    """`Limits` that allow everything, for tests and for endpoints behind limits of your own."""

    def take(self, _name: RateName, _key: str, /) -> float:
        """Allow it."""
        return 0.0

    def wait(self, _name: RateName, _key: str, /) -> float:
        """Allow it."""
        return 0.0

    def forget(self, _name: RateName, _key: str, /) -> None:
        """Do nothing."""


class _Table:
    """The moments of one rate by key. The key that was used longest ago comes first."""

    def __init__(self) -> None:
        self._keys: OrderedDict[str, tuple[float, ...]] = OrderedDict()
        self._kept = 0

    def moments_of(self, key: str) -> Sequence[float]:
        return self._keys.get(key, ())

    def add(self, key: str, rate: Rate, now: float) -> None:
        before = self._keys.pop(key, ())
        after = (*before, now)[-rate.times :]
        self._keys[key] = after
        self._kept += len(after) - len(before)
        self._purge(now - rate.seconds)

    def drop(self, key: str) -> None:
        self._kept -= len(self._keys.pop(key, ()))

    def _purge(self, before: float) -> None:
        """Drop the keys whose moments are all too old, and others too if there are too many."""
        while len(self._keys) > 1:
            oldest = next(iter(self._keys))
            if self._kept <= _MOST_MOMENTS and self._keys[oldest][-1] > before:
                return
            self.drop(oldest)
