"""How a command that runs until it is told to stop hears of it: SIGINT and SIGTERM, as a wish."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

from mpesa_stk.clock import Clock, SystemClock

__all__ = ["StopWish", "stop_signals"]

_POLL = 0.2


class StopWish:
    """Whether a command was told to stop."""

    def __init__(self, clock: Clock, /) -> None:
        self._clock = clock
        self._came: list[int] = []

    def come(self, number: int = 0, /) -> None:
        """Take note that it is time to stop; safe to call in a signal handler."""
        self._came.append(number)

    def has_come(self) -> bool:
        """Whether it is time to stop."""
        return bool(self._came)

    def wait(self, seconds: float = float("inf"), /) -> bool:
        """Wait until it is time to stop, or for that long; whether it is time to stop."""
        ends = self._clock.monotonic() + seconds
        # Short naps: an event that is set within a signal handler could wait for itself.
        while not self._came:
            left = ends - self._clock.monotonic()
            if left <= 0:
                break
            self._clock.sleep(min(left, _POLL))
        return self.has_come()


@contextlib.contextmanager
def stop_signals() -> Iterator[StopWish]:
    """Take SIGINT and SIGTERM as the wish to stop, however many come, until the block ends."""
    wish = StopWish(SystemClock())
    before = {
        number: signal.signal(number, lambda number, _frame: wish.come(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
