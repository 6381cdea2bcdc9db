"""How the commands that serve are told to stop."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator

from mpesa_stk.clock import SystemClock

__all__ = ["stop_signals"]

_POLL = 0.2


@contextlib.contextmanager
def stop_signals() -> Iterator[Callable[[], None]]:
    """Take SIGINT and SIGTERM as the wish to stop; gives what waits for one, however many come."""
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _frame: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    clock = SystemClock()

    def wait() -> None:
        while not came:
            clock.sleep(_POLL)

    try:
        yield wait
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
