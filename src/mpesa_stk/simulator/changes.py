"""One lock for all that changes, and news of each change for those who wait. Standard library only."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import TracebackType

from mpesa_stk.clock import Clock, SystemClock

__all__ = ["Changes"]


class Changes:
    """A lock (use it as a context manager), and who waits for what happens under it."""

    def __init__(
        self, *, heartbeat: float = 15.0, look: float = 1.0, clock: Clock | None = None
    ) -> None:
        """Begin with nothing changed.

        Args:
            heartbeat: Seconds after which a stream of events says that it is still there.
            look: Seconds after which it gives a thought to whether anybody listens.
            clock: Tells the time between heartbeats; the machine's by default.
        """
        self._condition = threading.Condition()
        self._count = 0
        self._ended = False
        self._heartbeat = heartbeat
        self._look = look
        self._clock = clock or SystemClock()

    def __enter__(self) -> None:
        self._condition.acquire()

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._condition.release()

    @property
    def ended(self) -> bool:
        """Whether nothing changes any more."""
        return self._ended

    def tell(self) -> None:
        """Say that something has changed."""
        with self._condition:
            self._count += 1
            self._condition.notify_all()

    def end(self) -> None:
        """Say that nothing changes any more; all who wait go on."""
        with self._condition:
            self._ended = True
            self._condition.notify_all()

    def wait(self, seconds: float | None, /) -> None:
        """With the lock held: wait for a change, or that many seconds."""
        self._condition.wait(seconds)

    def events(self, data: Callable[[], str], /) -> Iterator[bytes]:
        """Server-sent events: one at once, and one after each change, until the end.

        Args:
            data: What an event says; called with the lock held.
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
