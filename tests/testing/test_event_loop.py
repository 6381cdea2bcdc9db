"""The event loop in a thread, in which the contracts test asynchronous stores."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from async_stores import eventually
from mpesa_stk import NotSent
from mpesa_stk.daraja.async_tokens import AsyncMemoryTokenStore
from mpesa_stk.testing import BlockingTokenStore, EventLoopThread
from processes import in_fresh_interpreter


def test_calls_are_tasks_of_one_loop_in_another_thread() -> None:
    """Two calls meet there, so they run side by side."""

    async def meet(mine: asyncio.Event, other: asyncio.Event) -> str:
        mine.set()
        await eventually(other.is_set)
        return threading.current_thread().name

    with EventLoopThread() as loop:
        one, two = asyncio.Event(), asyncio.Event()
        first = loop.start(meet(one, two))
        assert loop.run(meet(two, one)) == first.result(60.0) == "event loop"


def test_end_cancels_what_is_left() -> None:
    """A task that waits for ever does not hold up the tests."""
    ends: list[str] = []

    async def wait() -> None:
        try:
            await asyncio.sleep(600.0)
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    with EventLoopThread() as loop:
        loop.start(wait())
        loop.run(asyncio.sleep(0))
    assert ends == ["cancelled"]


class Watched(AsyncMemoryTokenStore):
    """Notes what is raised inside a flight, and in which task it is taken and given back."""

    def __init__(self) -> None:
        super().__init__()
        self.raised: list[BaseException] = []
        self.tasks: list[object] = []

    @asynccontextmanager
    async def single_flight(self, app: str, timeout: float, /) -> AsyncIterator[None]:
        """As the parent."""
        async with super().single_flight(app, timeout):
            self.tasks.append(asyncio.current_task())
            try:
                yield
            except Exception as error:
                self.raised.append(error)
                raise
            finally:
                self.tasks.append(asyncio.current_task())


def test_flight_is_held_by_one_task() -> None:
    """An error of the block is raised in it, and comes out unchanged."""
    inner = Watched()
    with EventLoopThread() as loop:
        store = BlockingTokenStore(inner, loop)
        error = ZeroDivisionError()

        def fly() -> None:
            with store.single_flight("app", 1.0):
                with pytest.raises(NotSent), store.single_flight("app", 0.0):
                    pytest.fail("two were in one flight")
                raise error

        with pytest.raises(ZeroDivisionError) as caught:
            fly()
        assert caught.value is error
        with store.single_flight("app", 0.0):
            pass
    assert inner.raised == [error]
    assert len(set(inner.tasks)) == 2
    assert inner.tasks[0] is inner.tasks[1]


def test_asyncio_is_imported_on_first_use() -> None:
    """Hosts that test synchronous code do not need it."""
    code = "import sys, mpesa_stk.testing; print('mpesa_stk.testing.event_loop' in sys.modules)"
    assert in_fresh_interpreter(code) == "False"
