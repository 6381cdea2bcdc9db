"""`TokenStoreContract`: the duties of every `TokenStore`, as tests to inherit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from mpesa_stk.clock import Clock, SystemClock
from mpesa_stk.daraja.models import Token
from mpesa_stk.daraja.tokens import TokenStore
from mpesa_stk.errors import NotSent

__all__ = ["MakeTokenStore", "TokenStoreContract"]

MakeTokenStore = Callable[[], TokenStore]
"""Opens another handle on the same tokens."""

_WORKERS = 8
_PATIENCE = 60.0
_BLINK = 0.05
_LONG_BLINK = 5.0
_DRIFT = 0.1


class TokenStoreContract:
    """Test a `TokenStore`.

    Inherit from this class, and override the fixture `make_store`. Name your class ``Test...``, so that
    pytest runs it. Every test is part of the contract: overriding one is not supported.

    Attributes:
        lease: Seconds that a flight of `make_store`'s handles lasts after its holder is gone. Keep it
            short, since a test waits for it. A store that several processes share needs a lease. None
            skips the test.
    """

    lease: float | None = 1.0

    def close_thread(self) -> None:
        """Release the resources of a thread, at its end and in it. The default is a no-op."""

    @pytest.fixture
    def make_store(self) -> MakeTokenStore:
        """Return a function that opens ANOTHER handle on the same tokens.

        There are no tokens at first.
        """
        raise NotImplementedError("override the fixture make_store")

    @pytest.fixture
    def clock(self) -> Clock:
        """Return the clock of the handles. By default it is the machine's."""
        return SystemClock()

    def test_starts_empty(self, make_store: MakeTokenStore, clock: Clock) -> None:
        """A new store has no token, and dropping a token that is not there is no error."""
        store = make_store()
        store.drop("app", _token(clock, "one"))
        assert store.load("app") is None, "no token was saved yet"

    def test_every_handle_reads_what_one_saved(
        self, make_store: MakeTokenStore, clock: Clock
    ) -> None:
        """Every handle reads the newest token at once: value, life and moment of renewal."""
        first, second = make_store(), make_store()
        for value in ("one", "two" * 400, "three"):
            token = _token(clock, value)
            first.save("app", token)
            _same(first.load("app"), token)
            _same(second.load("app"), token)

    def test_apps_do_not_share_tokens(self, make_store: MakeTokenStore, clock: Clock) -> None:
        """One store serves several apps."""
        store = make_store()
        one, two = _token(clock, "one"), _token(clock, "two")
        store.save("a", one)
        store.save("A", two)
        store.drop("a", one)
        assert store.load("a") is None, "its token was dropped"
        _same(store.load("A"), two)

    def test_drop_compares_the_value(self, make_store: MakeTokenStore, clock: Clock) -> None:
        """Any worker can drop the token that failed, and a newer one stays."""
        first, second = make_store(), make_store()
        token = _token(clock, "One")
        first.save("app", token)
        for other in ("one", "One ", "On", "Two"):
            second.drop("app", _token(clock, other))
            _same(first.load("app"), token)
        second.drop("app", Token(value="One", expires_in=1.0, renew_at=0.0))
        assert first.load("app") is None, "a token is known by its value alone"

    def test_flights_are_one_at_a_time(self, make_store: MakeTokenStore) -> None:
        """If many workers ask at once, each with a handle, only one is in a flight at a time."""
        barrier = threading.Barrier(_WORKERS)
        flying: list[object] = []
        seen: list[int] = []

        def fly() -> None:
            me = object()
            store = make_store()
            barrier.wait(_PATIENCE)
            with store.single_flight("app", _PATIENCE):
                flying.append(me)
                store.load("app")  # meanwhile other workers could enter
                seen.append(len(flying))
                flying.remove(me)

        workers = [self._start(fly) for _ in range(_WORKERS)]
        for worker in workers:
            worker.join(_PATIENCE)
        assert seen == [1] * _WORKERS, f"so many were in a flight at once: {seen}"

    def test_waiting_for_a_flight_ends(self, make_store: MakeTokenStore, clock: Clock) -> None:
        """A worker gets NotSent when its time is over. Taking a free flight needs no time."""
        first, second = make_store(), make_store()
        for timeout in (_BLINK, 0.0, -1.0):
            began = clock.monotonic()
            with first.single_flight("app", timeout):
                failure = self._turned_away(second, timeout)
            # On a very slow machine, the lease of the first flight may have ended.
            over = self.lease is not None and clock.monotonic() - began > self.lease
            assert over or isinstance(failure, NotSent), f"NotSent was to be raised, not {failure}"

    def test_flight_blocks_nothing_else(self, make_store: MakeTokenStore, clock: Clock) -> None:
        """While one worker fetches, others can load, save and drop, and fetch for another app."""
        first, second = make_store(), make_store()
        token = _token(clock, "one")
        with first.single_flight("a", _PATIENCE), second.single_flight("b", _PATIENCE):
            second.save("a", token)
            _same(first.load("a"), token)
            first.drop("a", token)
            assert second.load("a") is None, "its token was dropped"

    def test_flight_is_given_back_after_an_error(self, make_store: MakeTokenStore) -> None:
        """An error raised in a flight comes out unchanged, and the next worker may fetch."""
        store = make_store()
        for _ in range(2):
            with pytest.raises(ZeroDivisionError), store.single_flight("app", _PATIENCE):
                raise ZeroDivisionError

    def test_lost_flight_ends_with_its_lease(
        self, make_store: MakeTokenStore, clock: Clock
    ) -> None:
        """A lost holder blocks others for its lease only, and cannot end the next holder's flight."""
        if self.lease is None:
            pytest.skip("lease = None: a flight of this store ends with its process")
        gone = make_store().single_flight("app", _PATIENCE)
        gone.__enter__()
        second = make_store().single_flight("app", _PATIENCE)
        self._in_time(second.__enter__, "a flight whose holder is gone must end with its lease")
        began = clock.monotonic()
        gone.__exit__(None, None, None)
        third = make_store().single_flight("app", _PATIENCE)
        self._in_time(third.__enter__, "the second flight must end with its lease too")
        waited = clock.monotonic() - began
        third.__exit__(None, None, None)
        second.__exit__(None, None, None)
        assert waited > self.lease / 2, "the one that came too late gave back another one's flight"

    def _start(self, function: Callable[[], object]) -> threading.Thread:
        """Start a thread that cannot keep the process alive if the store blocks it."""

        def run() -> None:
            try:
                function()
            finally:
                self.close_thread()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def _turned_away(self, store: TokenStore, timeout: float) -> BaseException | None:
        """Enter the flight in a thread, and return the NotSent that it raises, or None."""
        raised: list[BaseException | None] = []

        def fly() -> None:
            failure = None
            try:
                with ExitStack() as stack:
                    stack.enter_context(store.single_flight("app", timeout))
            except NotSent as error:
                failure = error
            raised.append(failure)

        worker = self._start(fly)
        worker.join(_LONG_BLINK)
        assert raised, f"waiting for a flight must end after {timeout} seconds"
        return raised[0]

    def _in_time(self, function: Callable[[], object], message: str) -> None:
        worker = self._start(function)
        worker.join(_PATIENCE)
        assert not worker.is_alive(), message


def _token(clock: Clock, value: str) -> Token:
    """Make a token that lives for an hour."""
    return Token(value=value, expires_in=3599.0, renew_at=clock.monotonic() + 3539.0)


def _same(found: Token | None, wanted: Token) -> None:
    assert found is not None, "the token was not found"
    assert found.value == wanted.value, "another token was found"
    assert found.expires_in == wanted.expires_in, "expires_in must come back as it was"
    assert abs(found.renew_at - wanted.renew_at) < _DRIFT, (
        "renew_at must come back as the same moment, by the monotonic clock of the reader"
    )
