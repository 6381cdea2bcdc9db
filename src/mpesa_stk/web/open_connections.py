"""The open connections of a server: count them, and end those that are too slow."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterable
from enum import Enum

import attrs

from mpesa_stk.clock import Clock

_SHORTEST_GRACE = 0.05


class Phase(Enum):
    """The step that a connection is at."""

    IDLE = "idle"
    """The client may send a request, or hang up."""
    READING = "reading"
    """A request has begun to arrive."""
    ANSWERING = "answering"
    """The request is whole, and its answer is being made."""
    WRITING = "writing"
    """The answer is on its way."""


@attrs.frozen
class _State:
    phase: Phase
    since: float


class OpenConnections:
    """Count connections, and end slow ones. Safe to share between threads."""

    def __init__(self, *, clock: Clock, most: int, read_within: float) -> None:
        """Start without any connection.

        Args:
            clock: Measures how long requests take to arrive.
            most: Largest number of open connections.
            read_within: Seconds that a client has to send one request.
        """
        self._clock = clock
        self._most = most
        self._read_within = read_within
        self._states: dict[socket.socket, _State] = {}
        self._changed = threading.Condition()

    def __len__(self) -> int:
        with self._changed:
            return len(self._states)

    def add(self, connection: socket.socket, /, *, patience: float) -> bool:
        """Count a new connection, and make room for it if all places are taken.

        Room is made by the older half of the clients that have not sent a whole request: Daraja sends
        a callback at once, so a callback finds a place behind any number of slow clients.

        Args:
            connection: The connection.
            patience: Seconds to wait until the older ones have ended.

        Returns:
            False if there is no place: all requests are whole and being answered.
        """
        with self._changed:
            if len(self._states) >= self._most:
                slow = self._in(Phase.IDLE, Phase.READING)
                _shut(slow[: (len(slow) + 1) // 2], socket.SHUT_RD)
                has_room = bool(slow) and self._changed.wait_for(
                    lambda: len(self._states) < self._most, patience
                )
                if not has_room:
                    return False
            self._states[connection] = _State(Phase.IDLE, self._clock.monotonic())
            return True

    def forget(self, connection: socket.socket, /) -> None:
        """Stop counting a connection that is about to be closed."""
        with self._changed:
            self._states.pop(connection, None)
            self._changed.notify_all()

    def enter(self, connection: socket.socket, phase: Phase, /) -> None:
        """Note that a connection is at its next step."""
        with self._changed:
            self._states[connection] = _State(phase, self._clock.monotonic())

    def phases(self) -> list[Phase]:
        """Return the step of each open connection, oldest connection first."""
        with self._changed:
            return [state.phase for state in self._states.values()]

    def cut_off_slow(self) -> None:
        """Stop reading from clients that take too long to send a request."""
        began_before = self._clock.monotonic() - self._read_within
        with self._changed:
            reading = self._in(Phase.READING)
            slow = [one for one in reading if self._states[one].since <= began_before]
            _shut(slow, socket.SHUT_RD)

    def end_all(self, grace: float, /) -> None:
        """End idle connections, finish requests, and wait until all are closed.

        Args:
            grace: Seconds that a client has to send the rest of a request, and to read its answer.
        """
        grace = max(grace, _SHORTEST_GRACE)
        with self._changed:
            _shut(self._in(Phase.IDLE), socket.SHUT_RD)
            before = dict(self._states)
            # A request that is being answered is always finished, so there may be several rounds.
            while not self._changed.wait_for(lambda: not self._states, grace):
                _shut(self._in(Phase.IDLE, Phase.READING), socket.SHUT_RD)
                writing = self._in(Phase.WRITING)
                stuck = [one for one in writing if self._states[one] is before.get(one)]
                _shut(stuck, socket.SHUT_RDWR)
                before = dict(self._states)

    def _in(self, *phases: Phase) -> list[socket.socket]:
        return [one for one, state in self._states.items() if state.phase in phases]


def _shut(connections: Iterable[socket.socket], side: int) -> None:
    for connection in connections:
        with contextlib.suppress(OSError):
            connection.shutdown(side)
