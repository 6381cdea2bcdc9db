"""`AsyncMemoryTokenStore`: the tokens of one process, for tasks of an event loop. It imports asyncio."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

from mpesa_stk.daraja.models import Token
from mpesa_stk.daraja.tokens import MemoryTokenStore, not_in_time

# The tasks that wait, for each app whose flight is held.
_Flights = dict[str, deque["asyncio.Future[None]"]]


class AsyncMemoryTokenStore:
    """Keeps tokens in this process, for the tasks and clients that share it.

    Several event loops may use it one after the other. Only tasks of one loop wait for each other.
    """

    def __init__(self) -> None:
        self._tokens = MemoryTokenStore()
        # A child process runs another loop, so it waits for no flight of its parent.
        self._flights: WeakKeyDictionary[asyncio.AbstractEventLoop, _Flights] = WeakKeyDictionary()

    async def load(self, app: str, /) -> Token | None:
        """Return the app's token, fresh or not."""
        return self._tokens.load(app)

    async def save(self, app: str, token: Token, /) -> None:
        """Keep the app's new token."""
        self._tokens.save(app, token)

    async def drop(self, app: str, token: Token, /) -> None:
        """Forget the app's token if it still has this token's `value`."""
        self._tokens.drop(app, token)

    @asynccontextmanager
    async def single_flight(self, app: str, timeout: float, /) -> AsyncIterator[None]:
        """Hold the right to fetch the app's token, for a task of this event loop."""
        loop = asyncio.get_running_loop()
        flights = self._flights.setdefault(loop, {})
        if app not in flights:
            flights[app] = deque()
        else:
            turn = loop.create_future()
            flights[app].append(turn)
            try:
                await asyncio.wait({turn}, timeout=max(timeout, 0.0))
            except BaseException:  # this task is cancelled, perhaps just when its turn came
                if not turn.cancel():
                    _hand_on(flights, app)
                raise
            if turn.cancel():
                raise not_in_time()
        try:
            yield
        finally:
            _hand_on(flights, app)


def _hand_on(flights: _Flights, app: str) -> None:
    """Give the flight to the task that waits longest, or end it."""
    waiting = flights[app]
    while waiting:
        turn = waiting.popleft()
        if not turn.done():
            turn.set_result(None)
            return
    del flights[app]
