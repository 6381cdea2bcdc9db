"""Synchronous stores in threads: who waits, who is cancelled, what is closed, what a fork inherits."""

from __future__ import annotations

import asyncio
import contextvars
import os
import sys
import threading
import warnings
from collections.abc import Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from async_stores import AsyncManualClock, eventually
from mpesa_stk import (
    ConfigurationError,
    DuplicateTransaction,
    MemoryQueryBudget,
    MemoryTokenStore,
    MemoryTransactionStore,
    NotSent,
    QueryPace,
    StoreError,
    Token,
    Transaction,
)
from mpesa_stk.stores.threaded import (
    ThreadedQueryBudget,
    ThreadedTokenStore,
    ThreadedTransactionStore,
)
from sql_stores import numbered
from support import START

PATIENCE = 60.0


class HeldStore(MemoryTransactionStore):
    """A store whose `add` waits until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.threads: set[str] = set()

    def add(self, transaction: Transaction, /) -> None:
        """Wait, and insert."""
        self.threads.add(threading.current_thread().name)
        self.inside.release()
        assert self.go.acquire(timeout=PATIENCE)
        super().add(transaction)


class HeldTokens(MemoryTokenStore):
    """A store of tokens in which taking a flight waits until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.is_held = False
        self.inside = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.given_back = threading.Semaphore(0)
        self.error: Exception | None = None

    def single_flight(self, app: str, timeout: float, /) -> AbstractContextManager[object]:
        """As the parent, but later."""
        return self._held(super().single_flight(app, timeout))

    @contextmanager
    def _held(self, flight: AbstractContextManager[object]) -> Iterator[None]:
        with flight:
            if self.is_held:
                self.inside.release()
                assert self.go.acquire(timeout=PATIENCE)
            if self.error is not None:
                raise self.error
            yield
        self.given_back.release()


async def until(semaphore: threading.Semaphore) -> None:
    """Wait for a thread, while the event loop goes on."""
    assert await asyncio.to_thread(semaphore.acquire, timeout=PATIENCE)


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel a task, and wait for its end."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def fly(store: ThreadedTokenStore, timeout: float = PATIENCE) -> Coroutine[Any, Any, None]:
    """Take a flight, and give it back."""

    async def flight() -> None:
        async with store.single_flight("app", timeout):
            pass

    return flight()


# --- payments and budgets -----------------------------------------------------------------------------


def test_methods_run_in_a_few_threads_beside_the_event_loop() -> None:
    """The loop goes on, and further calls wait for a free thread."""
    inner = HeldStore()

    async def main() -> None:
        store = ThreadedTransactionStore(inner, threads=2)
        adding = [asyncio.create_task(store.add(numbered(n))) for n in range(6)]
        for _ in range(2):
            await until(inner.inside)
        assert not inner.inside.acquire(blocking=False)
        for _ in adding:
            inner.go.release()
        await asyncio.gather(*adding)
        assert len(inner.threads) == 2
        assert await store.get("no-5") == numbered(5)
        with pytest.raises(DuplicateTransaction):
            await asyncio.gather(store.add(numbered(5)), release(inner))
        await store.close()

    asyncio.run(main())
    assert all(name.startswith("mpesa-stk-store") for name in inner.threads)


async def release(inner: HeldStore) -> None:
    """Let one caller go."""
    inner.go.release()


def test_cancelled_caller_stops_no_method() -> None:
    """One that runs goes on to its end, and one that still waits for a thread is dropped."""
    inner = HeldStore()

    async def main() -> None:
        store = ThreadedTransactionStore(inner, threads=1)
        running = asyncio.create_task(store.add(numbered(1)))
        await until(inner.inside)
        waiting = asyncio.create_task(store.add(numbered(2)))
        await asyncio.sleep(0)
        await cancelled(running)
        await cancelled(waiting)
        inner.go.release()
        await store.close()

    asyncio.run(main())
    assert inner.get("no-1") == numbered(1)
    assert inner.get("no-2") is None


def test_budget_runs_in_threads() -> None:
    """Its slots are those of the inner budget."""
    inner = MemoryQueryBudget(QueryPace(per_minute=60.0))

    async def main() -> None:
        budget = ThreadedQueryBudget(inner)
        assert await budget.take("app", START) == 0.0
        await budget.throttled("app", START, 30.0)
        assert await budget.take("app", START) == 30.0
        await budget.close()

    asyncio.run(main())


def test_trace_of_the_caller_goes_on_in_the_thread() -> None:
    """Its context variables have their values there."""
    span: contextvars.ContextVar[str] = contextvars.ContextVar("span", default="none")
    seen: list[str] = []

    class Traced(MemoryTransactionStore):
        def get(self, transaction_no: str, /) -> Transaction | None:
            seen.append(span.get("none"))
            return super().get(transaction_no)

    async def main() -> None:
        store = ThreadedTransactionStore(Traced())
        span.set("checkout")
        await store.get("no-1")
        await store.close()

    asyncio.run(main())
    assert seen == ["checkout"]


@pytest.mark.parametrize(
    "kind", [ThreadedTransactionStore, ThreadedTokenStore, ThreadedQueryBudget]
)
def test_there_must_be_a_thread(kind: Any) -> None:
    """None at all would let every call wait for ever."""
    with pytest.raises(ConfigurationError, match="threads"):
        kind(MemoryTransactionStore(), threads=0)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_forked_child_has_threads_of_its_own() -> None:
    """Those of its parent do not exist there."""
    store = ThreadedTransactionStore(MemoryTransactionStore(), threads=1)
    asyncio.run(store.add(numbered(1)))
    with warnings.catch_warnings():
        # Later Pythons warn of a fork beside threads, which is what is tested.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        status = 1
        try:
            found = asyncio.run(asyncio.wait_for(store.get("no-1"), PATIENCE))
            status = 0 if found == numbered(1) else 2
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    asyncio.run(store.close())


# --- flights ------------------------------------------------------------------------------------------


def test_those_who_wait_for_a_flight_do_not_keep_its_holder_waiting() -> None:
    """There is one thread, and the holder needs it to give the flight back."""

    async def main() -> None:
        clock = AsyncManualClock()
        store = ThreadedTokenStore(MemoryTokenStore(), threads=1, clock=clock)
        async with store.single_flight("app", PATIENCE):
            waiting = [asyncio.create_task(fly(store, 1e6)) for _ in range(20)]
            await eventually(lambda: clock.yielded >= 40)
            token = Token(value="one", expires_in=1.0, renew_at=1.0)
            await store.save("app", token)
            assert await store.load("app") == token
        await asyncio.gather(*waiting)
        assert all(0.05 <= pause <= 0.15 for pause in clock.clock.slept)
        await store.close()

    asyncio.run(main())


def test_waiting_for_a_flight_ends_by_the_clock() -> None:
    """It looks a last time when the time is up, and sleeps no longer."""

    async def main() -> None:
        clock = AsyncManualClock()
        store = ThreadedTokenStore(MemoryTokenStore(), clock=clock)
        async with store.single_flight("app", PATIENCE):
            with pytest.raises(NotSent, match="other workers could not get a token in time"):
                await fly(store, 0.5)
        assert sum(clock.clock.slept) == pytest.approx(0.5)
        await store.close()

    asyncio.run(main())


def test_flight_that_a_thread_takes_for_a_cancelled_task_is_given_back() -> None:
    """The thread itself gives it back, so the event loop may even have ended meanwhile."""
    inner = HeldTokens()
    inner.is_held = True

    async def main() -> None:
        store = ThreadedTokenStore(inner, threads=1)
        task = asyncio.create_task(fly(store))
        await until(inner.inside)
        await cancelled(task)

    asyncio.run(main())
    inner.go.release()
    assert inner.given_back.acquire(timeout=PATIENCE)
    with inner_flight(inner):
        pass


@contextmanager
def inner_flight(inner: HeldTokens) -> Iterator[None]:
    """A flight that is free."""
    inner.is_held = False
    with inner.single_flight("app", 0.0):
        yield


def test_flight_that_was_taken_as_its_task_is_cancelled_is_given_back() -> None:
    """The thread is ready, and the task is cancelled before it goes on."""
    inner = HeldTokens()

    async def main() -> None:
        store = ThreadedTokenStore(inner, threads=1)
        task = asyncio.create_task(fly(store))
        await asyncio.sleep(0)
        # The thread has taken the flight, and the event loop has not gone on yet.
        store._threads._pool().submit(int).result(PATIENCE)
        await cancelled(task)
        await until(inner.given_back)
        await store.close()

    asyncio.run(main())
    with inner_flight(inner):
        pass


def test_flight_whose_holder_is_cancelled_is_given_back() -> None:
    """The task ends when it is."""
    inner = HeldTokens()

    async def main() -> None:
        store = ThreadedTokenStore(inner)
        inside = asyncio.Event()

        async def hold() -> None:
            async with store.single_flight("app", PATIENCE):
                inside.set()
                await asyncio.sleep(PATIENCE)

        task = asyncio.create_task(hold())
        await eventually(inside.is_set)
        await cancelled(task)
        with inner_flight(inner):
            pass
        await store.close()

    asyncio.run(main())


def test_error_of_the_store_comes_out() -> None:
    """It is raised where the flight was to be taken."""
    inner = HeldTokens()
    inner.error = StoreError("the token store is down")

    async def main() -> None:
        store = ThreadedTokenStore(inner)
        with pytest.raises(StoreError, match="down"):
            await fly(store)
        await store.close()

    asyncio.run(main())
