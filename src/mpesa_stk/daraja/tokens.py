"""The token cache: one token an app, one fetch at a time, for a whole fleet of workers.

A new token may kill the old one (docs/daraja.md, section 1). So workers share a `TokenStore`, one of them
fetches while the others wait, and a refused token is dropped only if it is still the one that failed.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from mpesa_stk.clock import Clock
from mpesa_stk.daraja.models import Token
from mpesa_stk.errors import MpesaError, NotSent
from mpesa_stk.forks import PerProcess

__all__ = ["MemoryTokenStore", "TokenCache", "TokenStore", "not_in_time"]


def not_in_time() -> NotSent:
    """What `TokenStore.single_flight` raises if others held the flight until the time was up."""
    return NotSent("other workers could not get a token in time")


class TokenStore(Protocol):
    """Where tokens are kept, for all workers that share it.

    A store for several processes keeps four rules more:

    - `Token.renew_at` is a monotonic second of one process. Keep a moment of wall time instead, and
      make it a monotonic second of the reading process in `load`; a `Clock` tells both.
    - A token is known by its `value` alone: the other two fields change from process to process.
    - A flight belongs to its holder for a lease, and ends with it: a worker that was killed must
      not block the others for longer. It is given back only by the one that still holds it.
    - What fails raises `StoreError`, without the token in its text.

    `load` is called once for each push and query, and its answer is kept nowhere else: so each
    worker sees a new token at once. It should cost one look-up.
    """

    def load(self, app: str, /) -> Token | None:
        """The app's token as last saved by anybody, or None.

        One whose `renew_at` has passed may be returned or not: it is not used.

        Raises:
            StoreError: The store cannot be reached.
        """
        ...

    def save(self, app: str, token: Token, /) -> None:
        """Keep the app's new token, in place of the one before.

        A token that came late, from a holder whose lease had run out, is dead. The cache looks for a
        newer one before it saves; a store may as well keep the one that is renewed later.

        Raises:
            StoreError: It could not be kept.
        """
        ...

    def drop(self, app: str, token: Token, /) -> None:
        """Forget the app's token if it still has this one's `value`, in one atomic step.

        Raises:
            StoreError: The store cannot be reached.
        """
        ...

    def single_flight(self, app: str, timeout: float, /) -> AbstractContextManager[object]:
        """Hold the right to fetch the app's token; others wait until it is given back.

        Entering waits, for one holder no longer than its lease, and for all of them together no longer
        than `timeout`. A flight that is free is taken, however short the time. Nothing of the store may
        stay locked meanwhile: `load`, `save` and `drop` are called while it is held, by anybody.
        Leaving never raises `StoreError`: a flight that cannot be given back ends with its lease.

        Args:
            app: Whose token.
            timeout: Seconds to wait at most; 0.0 or less to look once.

        Raises:
            NotSent: When entering, others held it until the time was up.
            StoreError: When entering, the store cannot be reached.
        """
        ...


class MemoryTokenStore:
    """Keeps tokens in this process; safe to share between threads and clients.

    A process that was forked begins with its parent's tokens, since a new one may kill them, but with
    no lock or flight of the parent's.
    """

    def __init__(self) -> None:
        self._tokens: dict[str, Token] = {}
        self._lock = PerProcess(threading.Lock)
        self._flights = PerProcess(_new_flights)

    def load(self, app: str, /) -> Token | None:
        """The app's token, fresh or not."""
        return self._tokens.get(app)

    def save(self, app: str, token: Token, /) -> None:
        """Keep the app's new token."""
        with self._lock():
            self._tokens[app] = token

    def drop(self, app: str, token: Token, /) -> None:
        """Forget the app's token if it is still this one."""
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
    """One app's token: kept, renewed in time, fetched once however many workers ask."""

    def __init__(
        self, *, app: str, store: TokenStore, clock: Clock, fetch: Callable[[float], Token]
    ) -> None:
        self._app = app
        self._store = store
        self._clock = clock
        self._fetch = fetch
        self._failures = 0
        self._last_failure: MpesaError | None = None

    def get(self, *, deadline: float) -> Token:
        """A token that can be used now.

        Args:
            deadline: Monotonic second at which waiting for others ends, and after which no second
                try to fetch one starts. If nobody else fetches, the first try is made in any case.

        Raises:
            NotSent: Others tried to fetch one until the time was up.
            MpesaError: It could not be fetched, or the store failed. Threads that waited for the
                same fetch get a copy of the same error instead of trying one after the other.
        """
        token = self._usable()
        if token is not None:
            return token
        failures = self._failures
        # While Daraja is down, the workers of a fleet must not wait for each other's failures in turn:
        # whoever has no time left makes way.
        with self._store.single_flight(self._app, deadline - self._clock.monotonic()):
            token = self._usable()
            if token is not None:
                return token
            if self._failures != failures and self._last_failure is not None:
                raise copy.copy(self._last_failure)
            return self._fetch_one(deadline)

    def drop(self, token: Token, /) -> None:
        """Forget a token that was refused, unless a newer one took its place already."""
        self._store.drop(self._app, token)

    def _fetch_one(self, deadline: float) -> Token:
        """Fetch and save."""
        try:
            token = self._fetch(deadline)
        except MpesaError as error:
            self._failures += 1
            self._last_failure = copy.copy(error)
            raise
        # The flight's lease may have run out meanwhile. Whoever fetched after us has the newer token,
        # and ours is dead.
        newer = self._usable()
        if newer is not None:
            return newer
        self._store.save(self._app, token)
        return token

    def _usable(self) -> Token | None:
        token = self._store.load(self._app)
        if token is None or self._clock.monotonic() >= token.renew_at:
            return None
        return token
