"""Does what is due, batch after batch, until it is time to stop; for `worker` and `serve`."""

from __future__ import annotations

import random
from collections.abc import Callable

from mpesa_stk.errors import StoreError
from mpesa_stk.hooks import log_trouble
from mpesa_stk.payments.due import DueReport

__all__ = ["do_batches"]

_LONGEST_BACKOFF = 60.0


def do_batches(
    batch: Callable[[], DueReport],
    /,
    *,
    pause: Callable[[float], bool],
    every: float,
    jitter: Callable[[], float] = random.random,
    failed: Callable[[StoreError, float], object] | None = None,
) -> None:
    """Do batches for ever: the next at once after a full one, else after a pause.

    A store that fails does not end it: the pause grows, 1, 2, 4 ... 60 seconds, each spread by a tenth.

    Args:
        batch: Does one batch.
        pause: Waits for that many seconds; returns whether it is time to stop, as soon as it is.
        every: Seconds between two batches.
        jitter: Returns a random number from 0 to 1.
        failed: Told of a failure of the store, and of the pause that follows; the log hears of it anyway.
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
