"""A lock that notifies waiting threads of each change under it. Standard library only."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from mpesa_stk.clock import Clock, SystemClock


class Changes:
    """A lock, as a context manager, with notices of changes. A thread may take it twice."""

    def __init__(
        self, *, heartbeat: float = 15.0, look: float = 1.0, clock: Clock | None = None
    ) -> None:
        """Start without changes.

        Args:
            heartbeat: Seconds without a change after which a stream of events sends a comment.
            look: Seconds after which a stream yields an empty part, so that its end is noticed.
            clock: Measures the time between heartbeats. Default: the machine's.
        """
        self._condition = threading.Condition()
        self._count = 0
        self._ended = False
        self._heartbeat = heartbeat
        self._look = look
        self._clock = clock or SystemClock()

    def __enter__(self) -> None:
        self._condition.acquire()

    def __exit__(self, *_error: object) -> None:
        self._condition.release()

    @property
    def ended(self) -> bool:
        """Whether `end` was called."""
        return self._ended

    def notify(self) -> None:
        """Wake the threads that wait for a change."""
        with self._condition:
            self._count += 1
            self._condition.notify_all()

    def end(self) -> None:
        """Wake all waiting threads, and end all streams."""
        with self._condition:
            self._ended = True
            self._condition.notify_all()

    def wait(self, seconds: float | None, /) -> None:
        """Wait for a change, or that many seconds. The caller holds the lock."""
        self._condition.wait(seconds)

    def events(self, data: Callable[[], str], /) -> Iterator[bytes]:
        """Yield server-sent events: one at once, and one after each change, until the end.

        Args:
            data: Makes the data of an event. The caller holds the lock.
        """
        seen = -1
        heard = self._clock.monotonic()
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._ended or self._count != seen, self._look)  # noqa: B023 - called at once
                if self._ended:
                    return
                changed = self._count != seen
                seen = self._count
                event = f"event: changed\ndata: {data()}\n\n".encode() if changed else b""
            now = self._clock.monotonic()
            if not event and now - heard >= self._heartbeat:
                event = b": nothing new\n\n"
            if event:
                heard = now
            yield event
