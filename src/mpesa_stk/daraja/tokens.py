"""The token cache: one token an app, one fetch at a time.

A new token may kill the old one (facts, section 1), so processes share a `TokenStore`, and a refused
token is dropped only if it is still the one that failed.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from mpesa_stk.clock import Clock
from mpesa_stk.daraja.models import Token
from mpesa_stk.errors import MpesaError

__all__ = ["MemoryTokenStore", "TokenCache", "TokenStore"]


class TokenStore(Protocol):
    """Where tokens are kept, for all workers that share it."""

    def load(self, app: str, /) -> Token | None:
        """The app's token, fresh or not."""
        ...

    def save(self, app: str, token: Token, /) -> None:
        """Keep the app's new token."""
        ...

    def drop(self, app: str, token: Token, /) -> None:
        """Forget the app's token if it is still this one, in one atomic step."""
        ...

    def single_flight(self, app: str, /) -> AbstractContextManager[object]:
        """Hold the right to fetch the app's token; others wait until it is given back."""
        ...


class MemoryTokenStore:
    """Keeps tokens in this process; safe to share between threads and clients."""

    def __init__(self) -> None:
        self._tokens: dict[str, Token] = {}
        self._flights: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def load(self, app: str, /) -> Token | None:
        """The app's token, fresh or not."""
        return self._tokens.get(app)

    def save(self, app: str, token: Token, /) -> None:
        """Keep the app's new token."""
        with self._lock:
            self._tokens[app] = token

    def drop(self, app: str, token: Token, /) -> None:
        """Forget the app's token if it is still this one."""
        with self._lock:
            kept = self._tokens.get(app)
            if kept is not None and kept.value == token.value:
                del self._tokens[app]

    def single_flight(self, app: str, /) -> AbstractContextManager[object]:
        """Hold the right to fetch the app's token."""
        with self._lock:
            return self._flights.setdefault(app, threading.Lock())


class TokenCache:
    """One app's token: kept, renewed in time, fetched once however many threads ask."""

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
            deadline: Monotonic second after which no new try to fetch one starts.

        Raises:
            MpesaError: It could not be fetched. Threads that waited for the same fetch get a copy
                of the same error instead of trying one after the other.
        """
        token = self._usable()
        if token is not None:
            return token
        failures = self._failures
        with self._store.single_flight(self._app):
            token = self._usable()
            if token is not None:
                return token
            if self._failures != failures and self._last_failure is not None:
                raise copy.copy(self._last_failure)
            try:
                token = self._fetch(deadline)
            except MpesaError as error:
                self._failures += 1
                self._last_failure = copy.copy(error)
                raise
            self._store.save(self._app, token)
            return token

    def drop(self, token: Token, /) -> None:
        """Forget a token that was refused, unless a newer one took its place already."""
        self._store.drop(self._app, token)

    def _usable(self) -> Token | None:
        token = self._store.load(self._app)
        if token is None or self._clock.monotonic() >= token.renew_at:
            return None
        return token
