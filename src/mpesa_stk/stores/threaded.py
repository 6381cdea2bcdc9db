"""Synchronous stores for `AsyncPayments` and `AsyncStkClient`: their methods run in threads.

Use them if a store has no asynchronous twin. They import asyncio.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from mpesa_stk.clock import AsyncClock, AsyncSystemClock
from mpesa_stk.daraja.tokens import TokenStore
from mpesa_stk.errors import ConfigurationError
from mpesa_stk.forks import PerProcess
from mpesa_stk.payments.budget import AwaitedQueryBudget, QueryBudget
from mpesa_stk.payments.store import AwaitedTransactionStore, TransactionStore
from mpesa_stk.stores.async_calls import PolledTokenStore, ignore_error

__all__ = ["ThreadedQueryBudget", "ThreadedTokenStore", "ThreadedTransactionStore"]

P = ParamSpec("P")
T = TypeVar("T")


class ThreadedTransactionStore(AwaitedTransactionStore):
    """A `TransactionStore` as an `AsyncTransactionStore`: each method runs in a thread of a pool.

    If a caller is cancelled, a method that has begun runs to its end. A forked child has its own pool.
    """

    def __init__(self, store: TransactionStore, /, *, threads: int = 8) -> None:
        """Make an asynchronous store of a synchronous one.

        Args:
            store: The store. Threads must be able to share it.
            threads: The largest number of threads. Further calls wait for a free one.

        Raises:
            ConfigurationError: `threads` is less than 1.
        """
        self._threads = _Threads(threads)
        super().__init__(store, self._threads)

    async def close(self) -> None:
        """Wait for the methods that are running, and end the threads. The store stays open."""
        await self._threads.close()


class ThreadedTokenStore(PolledTokenStore):
    """A `TokenStore` as an `AsyncTokenStore`: each method runs in a thread of a pool.

    A task that waits for a flight occupies no thread. If it is cancelled while it takes a flight, it gives
    the flight back. A forked child has its own pool.
    """

    def __init__(
        self, store: TokenStore, /, *, threads: int = 8, clock: AsyncClock | None = None
    ) -> None:
        """Make an asynchronous store of a synchronous one.

        Args:
            store: The store. Threads must be able to share it, and one thread may give back a flight
                that another one took.
            threads: The largest number of threads. Further calls wait for a free one.
            clock: Waits between two attempts to take a flight.

        Raises:
            ConfigurationError: `threads` is less than 1.
        """
        self._threads = _Threads(threads)
        clock = clock if clock is not None else AsyncSystemClock()
        super().__init__(store, self._threads, clock=clock)

    async def close(self) -> None:
        """Wait for the methods that are running, and end the threads. The store stays open."""
        await self._threads.close()


class ThreadedQueryBudget(AwaitedQueryBudget):
    """A `QueryBudget` as an `AsyncQueryBudget`: each method runs in a thread of a pool.

    A forked child has its own pool.
    """

    def __init__(self, budget: QueryBudget, /, *, threads: int = 8) -> None:
        """Make an asynchronous budget of a synchronous one.

        Args:
            budget: The budget. Threads must be able to share it.
            threads: The largest number of threads. Further calls wait for a free one.

        Raises:
            ConfigurationError: `threads` is less than 1.
        """
        self._threads = _Threads(threads)
        super().__init__(budget, self._threads)

    async def close(self) -> None:
        """Wait for the methods that are running, and end the threads. The budget stays open."""
        await self._threads.close()


class _Threads:
    """Calls functions in threads, of which there are at most so many."""

    def __init__(self, threads: int) -> None:
        if threads < 1:
            raise ConfigurationError((("threads", "must be at least 1"),))
        self._pool = PerProcess(
            lambda: ThreadPoolExecutor(threads, thread_name_prefix="mpesa-stk-store")
        )

    async def __call__(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function, and return its result.

        If the caller is cancelled, a call that still waits for a thread is dropped.
        """
        return await self.start(function, *args, **kwargs)

    def start(
        self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[T]:
        """Begin a call, or let it wait for a free thread."""
        # A trace of the caller goes on in the thread.
        run = functools.partial(contextvars.copy_context().run, function, *args, **kwargs)
        call = asyncio.wrap_future(self._pool().submit(run))
        call.add_done_callback(ignore_error)
        return call

    async def close(self) -> None:
        """Wait for the calls that are running, and end the threads."""
        await asyncio.to_thread(self._pool().shutdown)
