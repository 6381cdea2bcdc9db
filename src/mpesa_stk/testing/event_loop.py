"""Asynchronous stores as synchronous ones, for the contracts. It imports asyncio.

An `EventLoopThread` runs an event loop in a thread. Each call of a blocking store is a task of that loop.
So the threads of a contract become tasks that run side by side, as in a server.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, TypeVar

from mpesa_stk.daraja.models import Token
from mpesa_stk.daraja.tokens import AsyncTokenStore
from mpesa_stk.payments.search import PaymentPage, PaymentSearch, async_searchable
from mpesa_stk.payments.state import Transaction
from mpesa_stk.payments.store import AsyncTransactionStore, KeptCallback

__all__ = ["BlockingTokenStore", "BlockingTransactionStore", "EventLoopThread"]

T = TypeVar("T")

_PATIENCE = 120.0


class EventLoopThread:
    """An event loop in a thread, as a context manager.

    At the end, the tasks that are left are cancelled, and the loop is closed.
    """

    def __init__(self) -> None:
        self._began: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._wait()), name="event loop", daemon=True
        )

    def __enter__(self) -> EventLoopThread:  # noqa: PYI034 - typing.Self needs Python 3.11
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        loop, end = self._began.result(_PATIENCE)
        loop.call_soon_threadsafe(end.set)
        self._thread.join(_PATIENCE)

    def run(self, coroutine: Coroutine[Any, Any, T], /) -> T:
        """Run a coroutine in the loop, and return its result.

        Raises:
            TimeoutError: It took more than two minutes.
        """
        return self.start(coroutine).result(_PATIENCE)

    def start(self, coroutine: Coroutine[Any, Any, T], /) -> Future[T]:
        """Start a coroutine in the loop, without waiting for it."""
        loop, _ = self._began.result(_PATIENCE)
        return asyncio.run_coroutine_threadsafe(coroutine, loop)

    async def _wait(self) -> None:
        end = asyncio.Event()
        self._began.set_result((asyncio.get_running_loop(), end))
        await end.wait()


class BlockingTransactionStore:
    """An `AsyncTransactionStore` as a `TransactionStore`, whose calls run in an event loop."""

    def __init__(self, store: AsyncTransactionStore, loop: EventLoopThread, /) -> None:
        self._store = store
        self._loop = loop

    def add(self, transaction: Transaction, /) -> None:
        """Insert a new transaction."""
        self._loop.run(self._store.add(transaction))

    def get(self, transaction_no: str, /) -> Transaction | None:
        """Return the transaction with that number, or None."""
        return self._loop.run(self._store.get(transaction_no))

    def find(
        self,
        *,
        checkout_request_id: str | None = None,
        receipt_number: str | None = None,
        idempotency_key: str | None = None,
        account: str | None = None,
        reference: str | None = None,
    ) -> Transaction | None:
        """Return the transaction with a given value, or None."""
        return self._loop.run(
            self._store.find(
                checkout_request_id=checkout_request_id,
                receipt_number=receipt_number,
                idempotency_key=idempotency_key,
                account=account,
                reference=reference,
            )
        )

    def replace(self, transaction: Transaction, /) -> bool:
        """Store a changed transaction, unless another writer changed it meanwhile."""
        return self._loop.run(self._store.replace(transaction))

    def attempts(self, account: str, order: str, /) -> list[Transaction]:
        """Return all transactions of an account for an order, the first created first."""
        return self._loop.run(self._store.attempts(account, order))

    def claim_due(
        self, now: datetime, limit: int, lease: timedelta, accounts: frozenset[str], /
    ) -> list[Transaction]:
        """Take up to `limit` due transactions of these accounts, the longest due first."""
        return self._loop.run(self._store.claim_due(now, limit, lease, accounts))

    def keep_callback(self, kept: KeptCallback, /) -> None:
        """Keep a callback."""
        self._loop.run(self._store.keep_callback(kept))

    def kept_callbacks(
        self, *, checkout_request_id: str | None = None, transaction_no: str | None = None
    ) -> list[KeptCallback]:
        """Return the kept callbacks that name either value, oldest first."""
        return self._loop.run(
            self._store.kept_callbacks(
                checkout_request_id=checkout_request_id, transaction_no=transaction_no
            )
        )

    def drop_callback(self, callback_id: str, /) -> None:
        """Delete a kept callback."""
        self._loop.run(self._store.drop_callback(callback_id))

    def purge_callbacks(self, before: datetime, limit: int, /) -> int:
        """Delete up to `limit` kept callbacks received before a moment, and count them."""
        return self._loop.run(self._store.purge_callbacks(before, limit))

    def search(self, search: PaymentSearch, /, *, cursor: str | None, limit: int) -> PaymentPage:
        """Return one page of the payments that are wanted, the last created first."""
        store = async_searchable(self._store)
        return self._loop.run(store.search(search, cursor=cursor, limit=limit))


class BlockingTokenStore:
    """An `AsyncTokenStore` as a `TokenStore`, whose calls run in an event loop."""

    def __init__(self, store: AsyncTokenStore, loop: EventLoopThread, /) -> None:
        self._store = store
        self._loop = loop

    def load(self, app: str, /) -> Token | None:
        """Return the app's last saved token, or None."""
        return self._loop.run(self._store.load(app))

    def save(self, app: str, token: Token, /) -> None:
        """Keep the app's new token, in place of the one before."""
        self._loop.run(self._store.save(app, token))

    def drop(self, app: str, token: Token, /) -> None:
        """Forget the app's token if it still has this token's `value`."""
        self._loop.run(self._store.drop(app, token))

    @contextmanager
    def single_flight(self, app: str, timeout: float, /) -> Iterator[None]:
        """Hold the right to fetch the app's token, in a task of the event loop."""
        entered: Future[None] = Future()
        end: Future[None] = Future()

        async def fly() -> None:
            async with self._store.single_flight(app, timeout):
                entered.set_result(None)
                await asyncio.wrap_future(end)

        flight = self._loop.start(fly())
        wait({entered, flight}, _PATIENCE, FIRST_COMPLETED)
        if not entered.done():
            flight.result(0.0)
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the task raises it, where the flight is held
            end.set_exception(error)
        else:
            end.set_result(None)
        flight.result(_PATIENCE)
