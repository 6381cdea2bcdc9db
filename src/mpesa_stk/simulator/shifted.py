"""A clock that can be put forward: the simulator's time goes on by itself, and faster when asked."""

from __future__ import annotations

from datetime import datetime, timedelta

from mpesa_stk.clock import Clock

__all__ = ["FURTHEST", "ShiftedClock"]

FURTHEST = 10 * 366 * 86_400.0
"""Seconds that it can be ahead at most: ten years."""


class ShiftedClock:
    """Another clock, some seconds ahead. `advance` may be called by one thread at a time."""

    def __init__(self, clock: Clock, /) -> None:
        """Show that clock's time.

        Args:
            clock: The clock that goes on by itself.
        """
        self._clock = clock
        self._ahead = 0.0

    def now(self) -> datetime:
        """The moment it shows, in UTC."""
        return self._clock.now() + timedelta(seconds=self._ahead)

    def monotonic(self) -> float:
        """Seconds since some start."""
        return self._clock.monotonic() + self._ahead

    def sleep(self, seconds: float, /) -> None:
        """Wait for that many seconds."""
        self._clock.sleep(seconds)

    def advance(self, seconds: float, /) -> None:
        """Put it forward.

        Args:
            seconds: By how much, at least 0.

        Raises:
            ValueError: It would go back, or be more than `FURTHEST` ahead.
        """
        if not 0 <= seconds <= FURTHEST - self._ahead:
            raise ValueError("must be 0 or more seconds, and ten years in all at most")
        self._ahead += seconds
