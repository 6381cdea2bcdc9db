"""A clock that is moved by hand, for tests. Imports nothing of the package."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta, timezone

__all__ = ["START", "ManualClock"]

START = datetime(2026, 11, 23, 6, 0, 0, tzinfo=timezone.utc)
"""The moment that a `ManualClock` shows at first: nine in the morning in Nairobi."""

_FIRST_SECOND = 1000.0


class ManualClock:
    """A `Clock` that moves when it is told to, or slept on. Safe to share between threads.

    Attributes:
        slept: The seconds of each `sleep`, in order.
    """

    def __init__(self, *, start: datetime = START) -> None:
        """Make a clock.

        Args:
            start: The moment that it shows at first, timezone-aware.
        """
        self._lock = threading.Lock()
        self._now = start
        self._monotonic = _FIRST_SECOND
        self.slept: list[float] = []

    def now(self) -> datetime:
        """The moment that it shows."""
        return self._now

    def monotonic(self) -> float:
        """Seconds since some start."""
        return self._monotonic

    def sleep(self, seconds: float, /) -> None:
        """Move on by that much at once."""
        self.slept.append(seconds)
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Move on."""
        with self._lock:
            self._now += timedelta(seconds=seconds)
            self._monotonic += seconds

    def step(self, seconds: float) -> None:
        """Set the time of day forwards or backwards, as a correction of the clock does."""
        with self._lock:
            self._now += timedelta(seconds=seconds)
