"""A clock that tests move by hand. It does not import the rest of the package."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta, timezone

__all__ = ["START", "ManualClock"]

START = datetime(2026, 11, 23, 6, 0, 0, tzinfo=timezone.utc)
"""The first time of a `ManualClock`: nine in the morning in Nairobi."""

_FIRST_SECOND = 1000.0


class ManualClock:
    """A `Clock` that moves only by `advance`, `step` and `sleep`.

    Safe to share between threads.

    Attributes:
        slept: The seconds of each `sleep`, in order.
    """

    def __init__(self, *, start: datetime = START) -> None:
        """Make a clock.

        Args:
            start: Its first time, timezone-aware.
        """
        self._lock = threading.Lock()
        self._now = start
        self._monotonic = _FIRST_SECOND
        self.slept: list[float] = []

    def now(self) -> datetime:
        """Return the time of day of this clock."""
        return self._now

    def monotonic(self) -> float:
        """Return the seconds since some start."""
        return self._monotonic

    def sleep(self, seconds: float, /) -> None:
        """Advance by these seconds at once, and note them in `slept`."""
        self.slept.append(seconds)
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Move the time of day and the monotonic time forwards."""
        with self._lock:
            self._now += timedelta(seconds=seconds)
            self._monotonic += seconds

    def step(self, seconds: float) -> None:
        """Move only the time of day, forwards or backwards, like a clock correction."""
        with self._lock:
            self._now += timedelta(seconds=seconds)
