"""The loop of a command that runs until SIGINT or SIGTERM, for `worker` and `serve`."""

from __future__ import annotations

import contextlib
import random
import signal
from collections.abc import Callable, Iterator

from mpesa_stk.clock import Clock, SystemClock
from mpesa_stk.errors import StoreError
from mpesa_stk.hooks import log_trouble
from mpesa_stk.payments.due import DueReport

_POLL = 0.2
_LONGEST_BACKOFF = 60.0


class StopFlag:
    """Whether a signal asked the command to stop."""

    def __init__(self, clock: Clock, /) -> None:
        self._clock = clock
        self._signals: list[int] = []

    def set(self, number: int = 0, /) -> None:
        """Ask the command to stop. Safe to call in a signal handler."""
        self._signals.append(number)

    def is_set(self) -> bool:
        """Whether the command is to stop."""
        return bool(self._signals)

    def wait(self, seconds: float = float("inf"), /) -> bool:
        """Sleep until the flag is set or the time is over, and return whether it is set."""
        ends = self._clock.monotonic() + seconds
        # Short naps, since a threading.Event that is set in a signal handler could wait for itself.
        while not self._signals:
            left = ends - self._clock.monotonic()
            if left <= 0:
                break
            self._clock.sleep(min(left, _POLL))
        return self.is_set()


@contextlib.contextmanager
def stop_signals() -> Iterator[StopFlag]:
    """Set a flag on SIGINT and SIGTERM, however many come, until the block ends."""
    stop = StopFlag(SystemClock())
    before = {
        number: signal.signal(number, lambda number, _frame: stop.set(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def do_batches(
    batch: Callable[[], DueReport],
    /,
    *,
    pause: Callable[[float], bool],
    every: float,
    jitter: Callable[[], float] = random.random,
    failed: Callable[[StoreError, float], object] | None = None,
) -> None:
    """Do batches until `pause` returns True. After a full batch the next one begins at once.

    A store that fails does not end the loop. The pause grows: 1, 2, 4 ... 60 seconds, each spread by a
    tenth.

    Args:
        batch: Does one batch.
        pause: Sleeps for so many seconds, or less if the command is to stop, and returns whether it is.
        every: Seconds between two batches.
        jitter: Returns a random number from 0 to 1.
        failed: Called with each failure of the store and the pause that follows. It is logged as well.
    """
    failures = 0
    wait = 0.0
    while not pause(wait):
        try:
            report = batch()
        except StoreError as error:
            log_trouble("due_batch_failed", error=type(error).__name__)
            backoff = min(2.0 ** min(failures, 10), _LONGEST_BACKOFF)
            wait = backoff * (0.9 + 0.2 * jitter())
            failures += 1
            if failed is not None:
                failed(error, wait)
        else:
            failures = 0
            wait = 0.0 if report.more else every
