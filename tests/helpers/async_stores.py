"""What the tests of the asynchronous stores share: URLs of their drivers, engines of an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from mpesa_stk.testing import EventLoopThread
from support import ManualClock

DRIVERS = {
    "asyncpg": "postgresql+asyncpg",
    "psycopg": "postgresql+psycopg",
    "aiomysql": "mysql+aiomysql",
    "aiosqlite": "sqlite+aiosqlite",
}
"""The drivername of the URLs of each asynchronous driver."""


def url_for(driver: str, url: str) -> str:
    """The URL of a database with another driver."""
    return sa.make_url(url).set(drivername=DRIVERS[driver]).render_as_string(hide_password=False)


def new_engine(url: str, **options: Any) -> AsyncEngine:
    """An engine that keeps its connections, also those to SQLite, which SQLAlchemy 2.0 does not."""
    return create_async_engine(url, poolclass=sa.AsyncAdaptedQueuePool, **options)


class LoopEngines:
    """Asynchronous engines that are used in one event loop, and disposed of at its end."""

    def __init__(self, loop: EventLoopThread) -> None:
        self.loop = loop
        self._engines: list[AsyncEngine] = []

    @property
    def first(self) -> AsyncEngine:
        """The engine that was made first."""
        return self._engines[0]

    def open(self, url: str, **options: Any) -> AsyncEngine:
        """Make an engine."""
        self._engines.append(new_engine(url, **options))
        return self._engines[-1]

    def close(self) -> None:
        """Close all connections."""
        for engine in self._engines:
            self.loop.run(engine.dispose())


async def eventually(is_so: Callable[[], bool]) -> None:
    """Wait until something is so, while other tasks run."""
    for _ in range(6000):
        if is_so():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it is not so after a minute")


class Cancelling:
    """Cancels a task at the moment when the task of a store's method waits for the n-th time."""

    def __init__(self, step: int, *, inner: bool) -> None:
        """Prepare.

        Args:
            step: Which wait it is.
            inner: Cancel the task of the method itself, as the end of an event loop does. If False, cancel
                the task that called the method.
        """
        self._left = step
        self._inner = inner
        self._tasks: list[asyncio.Task[Any]] = []
        self.came = False

    async def run(self, call: Coroutine[Any, Any, Any]) -> None:
        """Call a method in a task, and wait for the end of that task and of the method."""
        loop = asyncio.get_running_loop()
        loop.set_task_factory(self._make)
        try:
            caller = loop.create_task(call)
            assert self._tasks == [caller]
            while not all(task.done() for task in self._tasks):
                await asyncio.wait(list(self._tasks), timeout=60.0)
        finally:
            loop.set_task_factory(None)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _make(
        self, loop: asyncio.AbstractEventLoop, flow: Any, **options: Any
    ) -> asyncio.Task[Any]:
        """Make a task. The first one is the caller's, and the second one is that of the method."""
        if len(self._tasks) == 1:
            flow = Watched(flow, self._waits)
        self._tasks.append(asyncio.Task(flow, loop=loop, **options))
        return self._tasks[-1]

    def _waits(self) -> None:
        self._left -= 1
        if self._left == 0:
            self.came = True
            asyncio.get_running_loop().call_soon(self._tasks[self._inner].cancel)


class Watched(Coroutine[Any, Any, Any]):
    """A coroutine that tells each time it is about to wait."""

    def __init__(self, flow: Coroutine[Any, Any, Any], waits: Callable[[], None]) -> None:
        self._flow = flow
        self._waits = waits

    def send(self, value: Any) -> Any:
        """Go on."""
        awaited = self._flow.send(value)
        self._waits()
        return awaited

    def throw(self, *error: Any) -> Any:
        """Go on with an error."""
        return self._flow.throw(*error)

    def close(self) -> None:
        """Give up."""
        self._flow.close()

    def __await__(self) -> Any:
        return self._flow.__await__()


class AsyncManualClock:
    """An `AsyncClock` over a `ManualClock`: it sleeps for no time, and lets other tasks run meanwhile.

    Attributes:
        clock: The clock that shows the time.
        yielded: How often other tasks could run.
    """

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.yielded = 0

    def now(self) -> datetime:
        """The time of day."""
        return self.clock.now()

    def monotonic(self) -> float:
        """The seconds since some start."""
        return self.clock.monotonic()

    async def sleep(self, seconds: float, /) -> None:
        """Advance by these seconds."""
        self.clock.sleep(seconds)
        await asyncio.sleep(0)
        self.yielded += 1
