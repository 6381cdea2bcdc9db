"""The token cache of a fleet: one token for each app, one fetch at a time.

A new token may kill the old one (docs/daraja.md, section 1). So workers share a `TokenStore`, and one of
them fetches while the others wait. A refused token is dropped only if the store still holds that token.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from typing import Protocol

from mpesa_stk.clock import AsyncClock
from mpesa_stk.daraja.models import Token
from mpesa_stk.errors import MpesaError, NotSent
from mpesa_stk.faces import Call, call_here
from mpesa_stk.forks import PerProcess
from mpesa_stk.privacy import hides_locals


def not_in_time() -> NotSent:
    """Return the error for a flight that others held until the time was up.

    `TokenStore.single_flight` raises it.
    """
    return NotSent("other workers could not get a token in time")


async def take_flight(
    take: Callable[[], Awaitable[bool]],
    timeout: float,
    /,
    *,
    clock: AsyncClock,
    pause: Callable[[], float],
) -> None:
    """Try to take a flight until it is taken or the time is up, for a `TokenStore` that must look again.

    Args:
        take: Takes the flight if it is free, and returns whether it was.
        timeout: Seconds to wait at most. With 0.0 or less, look once.
        clock: Measures the time, and waits between two looks.
        pause: Returns the seconds between two looks. Vary them, so that not all workers look together.

    Raises:
        NotSent: Others held the flight until the time was up.
    """
    ends = clock.monotonic() + timeout
    while not await take():
        left = ends - clock.monotonic()
        if left <= 0:
            raise not_in_time()
        await clock.sleep(min(pause(), left))


class TokenStore(Protocol):
    """Keeps tokens, for all workers that share it.

    A store for several processes must also keep four rules:

    - `Token.renew_at` is a monotonic second of one process. Keep a moment of wall time instead, and
      convert it in `load` to a monotonic second of the reading process. A `Clock` knows both.
    - A token is identified by its `value` alone: the other two fields differ between processes.
    - A flight belongs to its holder for a lease and ends with the lease, so that a killed worker does
      not block the others for longer. Only the current holder gives it back.
    - Each failure raises `StoreError`, without the token in its text.

    `load` is called once for each push and query, and its answer is not kept anywhere else, so that each
    worker sees a new token at once. It should cost one look-up.
    """

    def load(self, app: str, /) -> Token | None:
        """Return the app's last saved token, or None. Any process may have saved it.

        A token whose `renew_at` has passed may be returned or not: the cache does not use it.

        Raises:
            StoreError: The store cannot be reached.
        """
        ...

    def save(self, app: str, token: Token, /) -> None:
        """Keep the app's new token, in place of the one before.

        A token that arrives late, from a holder whose lease had run out, is dead. The cache looks for a
        newer token before it saves one. A store may also keep the token with the later renewal.

        Raises:
            StoreError: The token could not be kept.
        """
        ...

    def drop(self, app: str, token: Token, /) -> None:
        """Forget the app's token if it still has this token's `value`, in one atomic step.

        Raises:
            StoreError: The store cannot be reached.
        """
        ...

    def single_flight(self, app: str, timeout: float, /) -> AbstractContextManager[object]:
        """Hold the right to fetch the app's token. Others wait until it is given back.

        Entering waits for one holder no longer than its lease, and for all holders together no longer than
        `timeout`. A free flight is taken even if no time is left. The store must not stay locked while the
        flight is held, because any worker may call `load`, `save` and `drop` then. Leaving never raises
        `StoreError`: a flight that cannot be given back ends with its lease.

        Args:
            app: The app that needs a token.
            timeout: Seconds to wait at most. With 0.0 or less, look once.

        Raises:
            NotSent: On entering, if others held the flight until the time was up.
            StoreError: On entering, if the store cannot be reached.
        """
        ...


class AsyncTokenStore(Protocol):
    """A `TokenStore` whose methods are awaited. The same rules hold."""

    async def load(self, app: str, /) -> Token | None:
        """Return the app's last saved token, or None."""
        ...

    async def save(self, app: str, token: Token, /) -> None:
        """Keep the app's new token, in place of the one before."""
        ...

    async def drop(self, app: str, token: Token, /) -> None:
        """Forget the app's token if it still has this token's `value`."""
        ...

    def single_flight(self, app: str, timeout: float, /) -> AbstractAsyncContextManager[object]:
        """Hold the right to fetch the app's token. Other tasks and workers wait meanwhile."""
        ...


class AwaitedTokenStore:
    """A `TokenStore` as an `AsyncTokenStore`. It never suspends, unless `call` does."""

    def __init__(self, store: TokenStore, /, call: Call = call_here) -> None:
        self._store = store
        self._call = call

    @hides_locals
    async def load(self, app: str, /) -> Token | None:
        """Return the app's last saved token, or None."""
        return await self._call(self._store.load, app)

    @hides_locals
    async def save(self, app: str, token: Token, /) -> None:
        """Keep the app's new token, in place of the one before."""
        await self._call(self._store.save, app, token)

    @hides_locals
    async def drop(self, app: str, token: Token, /) -> None:
        """Forget the app's token if it still has this token's `value`."""
        await self._call(self._store.drop, app, token)

    @asynccontextmanager
    async def single_flight(self, app: str, timeout: float, /) -> AsyncIterator[None]:
        """Hold the right to fetch the app's token."""
        with self._store.single_flight(app, timeout):
            yield


class MemoryTokenStore:
    """Keeps tokens in this process. It is safe to share between threads and clients.

    A forked process begins with its parent's tokens, since a new token may kill them. It does not take
    over the parent's locks and flights.
    """

    def __init__(self) -> None:
        self._tokens: dict[str, Token] = {}
        self._lock = PerProcess(threading.Lock)
        self._flights = PerProcess(_new_flights)

    def load(self, app: str, /) -> Token | None:
        """Return the app's token, fresh or not."""
        return self._tokens.get(app)

    def save(self, app: str, token: Token, /) -> None:
        """Keep the app's new token."""
        with self._lock():
            self._tokens[app] = token

    def drop(self, app: str, token: Token, /) -> None:
        """Forget the app's token if it still has this token's `value`."""
        with self._lock():
            kept = self._tokens.get(app)
            if kept is not None and kept.value == token.value:
                del self._tokens[app]

    def single_flight(self, app: str, timeout: float, /) -> AbstractContextManager[object]:
        """Hold the right to fetch the app's token."""
        return self._flight(app, timeout)

    @contextmanager
    def _flight(self, app: str, timeout: float) -> Iterator[None]:
        flight = self._flights().setdefault(app, threading.Lock())
        if not flight.acquire(timeout=min(max(timeout, 0.0), threading.TIMEOUT_MAX)):
            raise not_in_time()
        try:
            yield
        finally:
            flight.release()


def _new_flights() -> dict[str, threading.Lock]:
    return {}


class TokenCache:
    """Keeps one app's token, and fetches it once for all workers that ask."""

    def __init__(
        self,
        *,
        app: str,
        store: AsyncTokenStore,
        clock: AsyncClock,
        fetch: Callable[[float], Awaitable[Token]],
    ) -> None:
        self._app = app
        self._store = store
        self._clock = clock
        self._fetch = fetch
        self._failures = 0
        self._last_failure: MpesaError | None = None

    async def get(self, *, ends_at: float) -> Token:
        """Return a token that can be used now.

        Args:
            ends_at: Monotonic second at which waiting for others ends, and after which no second
                try to fetch a token starts. The first try is made in any case, unless another worker
                fetches.

        Raises:
            NotSent: Others tried to fetch a token until the time was up.
            MpesaError: The token could not be fetched, or the store failed. Those that waited for the
                same fetch get a copy of its error instead of trying one after the other.
        """
        token = await self._usable()
        if token is not None:
            return token
        failures = self._failures
        # While Daraja is down, the workers of a fleet must not wait for each other's failures in turn. So a
        # worker gives up when its time is over.
        async with self._store.single_flight(self._app, ends_at - self._clock.monotonic()):
            token = await self._usable()
            if token is not None:
                return token
            if self._failures != failures and self._last_failure is not None:
                raise copy.copy(self._last_failure)
            return await self._fetch_one(ends_at)

    async def drop(self, token: Token, /) -> None:
        """Forget a refused token, unless a newer one has already replaced it."""
        await self._store.drop(self._app, token)

    async def _fetch_one(self, ends_at: float) -> Token:
        """Fetch a token and save it, unless another worker saved a newer one."""
        try:
            token = await self._fetch(ends_at)
        except MpesaError as error:
            self._failures += 1
            self._last_failure = copy.copy(error)
            raise
        # The flight's lease may have run out meanwhile. Then another worker has fetched a newer token, and
        # ours is dead.
        newer = await self._usable()
        if newer is not None:
            return newer
        await self._store.save(self._app, token)
        return token

    async def _usable(self) -> Token | None:
        token = await self._store.load(self._app)
        if token is None or self._clock.monotonic() >= token.renew_at:
            return None
        return token
