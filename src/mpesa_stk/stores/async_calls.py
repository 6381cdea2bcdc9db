"""Let asynchronous stores call synchronous ones. It imports asyncio.

A call that has begun runs to its end, even if its caller is cancelled meanwhile. So no statement of a
database is interrupted, and no connection goes back to its pool in the middle of one.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractContextManager, asynccontextmanager
from threading import Lock
from typing import Any, ParamSpec, Protocol, TypeVar

from mpesa_stk.clock import AsyncClock
from mpesa_stk.daraja.tokens import AwaitedTokenStore, TokenStore, take_flight
from mpesa_stk.errors import NotSent

__all__ = ["Calls", "PolledTokenStore", "Tasks", "ended", "ignore_error"]

P = ParamSpec("P")
T = TypeVar("T")

# Seconds between two attempts to take a flight that another worker holds.
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.05, 0.15


async def ended(work: asyncio.Future[T], /) -> T:
    """Wait for some work, and return its result. If the caller is cancelled, the work goes on."""
    await asyncio.wait({work})
    return work.result()


def ignore_error(work: asyncio.Future[Any], /) -> None:
    """Look at the error of some work that is over, or asyncio would log that no caller did."""
    if not work.cancelled():
        work.exception()


class Tasks:
    """Runs flows in separate tasks, so that they go on if their callers are cancelled."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()  # the event loop itself keeps no task alive

    def start(self, flow: Coroutine[Any, Any, T], /) -> asyncio.Task[T]:
        """Begin a flow. If the caller does not await it, its error is ignored."""
        task = asyncio.get_running_loop().create_task(flow)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(ignore_error)
        return task


class Calls(Protocol):
    """Calls synchronous functions without blocking the event loop."""

    async def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function, and return its result."""
        ...

    def start(
        self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[T]:
        """Begin a call at once. It runs to its end, even if its caller is cancelled."""
        ...


class PolledTokenStore(AwaitedTokenStore):
    """A `TokenStore` as an `AsyncTokenStore` whose tasks wait for a flight without blocking anything.

    The inner store only looks whether the flight is free. Between two looks, the task sleeps.
    """

    def __init__(self, store: TokenStore, calls: Calls, /, *, clock: AsyncClock) -> None:
        super().__init__(store, calls)
        self._calls = calls
        self._clock = clock

    @asynccontextmanager
    async def single_flight(self, app: str, timeout: float, /) -> AsyncIterator[None]:
        """Hold the right to fetch the app's token. Other tasks and workers wait meanwhile.

        If the task is cancelled while it takes the flight, the flight is given back.
        """
        boarding = _Boarding(self._store, app)

        async def take() -> bool:
            try:
                return await ended(self._calls.start(boarding.enter))
            except asyncio.CancelledError:
                if boarding.abandon():
                    self._calls.start(boarding.leave)
                raise

        await take_flight(take, timeout, clock=self._clock, pause=_pause)
        try:
            yield
        finally:
            await ended(self._calls.start(boarding.leave))


class _Boarding:
    """The attempts to take a flight, whose task may be cancelled at any moment."""

    def __init__(self, store: TokenStore, app: str) -> None:
        self._store = store
        self._app = app
        self._lock = Lock()
        self._flight: AbstractContextManager[object]
        self._is_held = self._is_abandoned = False

    def enter(self) -> bool:
        """Take the flight if it is free, and return whether it was."""
        flight = self._store.single_flight(self._app, 0.0)
        try:
            flight.__enter__()
        except NotSent:
            return False
        with self._lock:
            if not self._is_abandoned:
                self._flight, self._is_held = flight, True
                return True
        flight.__exit__(None, None, None)
        return False

    def abandon(self) -> bool:
        """Let `enter` give the flight back, and return whether it is too late for that."""
        with self._lock:
            self._is_abandoned = True
            return self._is_held

    def leave(self) -> None:
        """Give the flight back that `enter` took."""
        self._flight.__exit__(None, None, None)


def _pause() -> float:
    return random.uniform(_SHORTEST_PAUSE, _LONGEST_PAUSE)  # noqa: S311 - no secret
