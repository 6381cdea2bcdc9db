"""The open connections of a server: how many there are, and which take too long. Standard library only."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterable

from mpesa_stk.clock import Clock

__all__ = ["Connections"]

_READ_WITHIN = 30.0


class Connections:
    """Those that are open. Its methods may be called by any thread."""

    def __init__(self, *, clock: Clock, most: int) -> None:
        """Begin without any.

        Args:
            clock: Tells how long requests are under way.
            most: How many may be open.
        """
        self._clock = clock
        self._most = most
        self._open: set[socket.socket] = set()
        # When each request that is not whole yet began, and the connections that took too long with one.
        self._reading: dict[socket.socket, float] = {}
        self._cut: set[socket.socket] = set()
        self._closed = threading.Condition()

    def add(self, connection: socket.socket, /) -> bool:
        """Count one more; False where there are too many, and it is not counted."""
        with self._closed:
            if len(self._open) >= self._most:
                return False
            self._open.add(connection)
            return True

    def forget(self, connection: socket.socket, /) -> None:
        """It is about to be closed."""
        with self._closed:
            self._open.discard(connection)
            self._reading.pop(connection, None)
            self._cut.discard(connection)
            self._closed.notify_all()

    def begin_reading(self, connection: socket.socket, /) -> None:
        """A request begins to arrive."""
        with self._closed:
            self._reading[connection] = self._clock.monotonic()

    def end_reading(self, connection: socket.socket, /) -> bool:
        """A request has arrived; False where it was cut off, and cannot be whole."""
        with self._closed:
            self._reading.pop(connection, None)
            return connection not in self._cut

    def cut_off_slow(self) -> None:
        """End the reading side of those whose request is under way for too long."""
        began_before = self._clock.monotonic() - _READ_WITHIN
        with self._closed:
            slow = [
                connection for connection, began in self._reading.items() if began <= began_before
            ]
            self._cut.update(slow)
            for connection in slow:
                del self._reading[connection]
            _shut(slow, socket.SHUT_RD)

    def hang_up(self, grace: float, /) -> None:
        """End the reading side of each, wait until all are closed, and end what is left.

        Args:
            grace: Seconds to wait at most.
        """
        with self._closed:
            _shut(self._open, socket.SHUT_RD)
            self._closed.wait_for(lambda: not self._open, grace)
            _shut(self._open, socket.SHUT_RDWR)


def _shut(connections: Iterable[socket.socket], side: int) -> None:
    for connection in connections:
        with contextlib.suppress(OSError):
            connection.shutdown(side)
