"""Time as an argument: the clocks that the package reads and waits by. A leaf."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import Protocol


class Clock(Protocol):
    """The time as the package reads it."""

    def now(self) -> datetime:
        """Return the current moment, timezone-aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds since an arbitrary start. They never decrease."""
        ...

    def sleep(self, seconds: float, /) -> None:
        """Wait for that many seconds."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the current moment, in UTC."""
        return datetime.now(timezone.utc)

    def monotonic(self) -> float:
        """Return seconds since an arbitrary start."""
        return time.monotonic()

    def sleep(self, seconds: float, /) -> None:
        """Wait for that many seconds."""
        time.sleep(seconds)


class AsyncClock(Protocol):
    """A `Clock` whose `sleep` is awaited."""

    def now(self) -> datetime:
        """Return the current moment, timezone-aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds since an arbitrary start. They never decrease."""
        ...

    async def sleep(self, seconds: float, /) -> None:
        """Wait for that many seconds, while other tasks run."""
        ...


class AsyncSystemClock:
    """The machine's clock, whose `sleep` lets other tasks run."""

    def now(self) -> datetime:
        """Return the current moment, in UTC."""
        return datetime.now(timezone.utc)

    def monotonic(self) -> float:
        """Return seconds since an arbitrary start."""
        return time.monotonic()

    async def sleep(self, seconds: float, /) -> None:
        """Wait for that many seconds."""
        import asyncio  # noqa: PLC0415 - synchronous hosts never import it

        await asyncio.sleep(seconds)


class AwaitedClock:
    """A `Clock` as an `AsyncClock` that never suspends."""

    def __init__(self, clock: Clock, /) -> None:
        self._clock = clock

    def now(self) -> datetime:
        """Return the current moment, in UTC."""
        return self._clock.now()

    def monotonic(self) -> float:
        """Return seconds since an arbitrary start."""
        return self._clock.monotonic()

    async def sleep(self, seconds: float, /) -> None:
        """Wait for that many seconds, in this thread."""
        self._clock.sleep(seconds)
