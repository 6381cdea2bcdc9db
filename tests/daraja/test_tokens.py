"""The token cache: one token an app, one fetch at a time, and nobody drops somebody else's."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import pytest

from mpesa_stk import (
    AuthenticationFailed,
    MemoryTokenStore,
    MpesaError,
    NotSent,
    StoreError,
    Token,
)
from mpesa_stk.clock import AwaitedClock
from mpesa_stk.daraja.tokens import AwaitedTokenStore, TokenCache, TokenStore, not_in_time
from mpesa_stk.faces import finish
from mpesa_stk.testing import TokenStoreContract
from mpesa_stk.testing.token_contract import MakeTokenStore
from support import ManualClock


def token(value: str = "one", *, renew_at: float = 2000.0) -> Token:
    """A token."""
    return Token(value=value, expires_in=3599.0, renew_at=renew_at)


class Fetcher:
    """Hands out what it is given, one at a time, and counts."""

    def __init__(self, *results: Token | Exception) -> None:
        self.results = list(results)
        self.ends: list[float] = []

    def __call__(self, ends_at: float) -> Token:
        """Fetch once."""
        self.ends.append(ends_at)
        result = self.results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result


def make_cache(
    fetch: Callable[[float], Token],
    *,
    store: TokenStore | None = None,
    clock: ManualClock | None = None,
    app: str = "app",
) -> Cache:
    """A cache."""

    async def fetch_one(ends_at: float) -> Token:
        return fetch(ends_at)

    return Cache(
        TokenCache(
            app=app,
            store=AwaitedTokenStore(store or MemoryTokenStore()),
            clock=AwaitedClock(clock or ManualClock()),
            fetch=fetch_one,
        )
    )


class Cache:
    """A cache in this thread."""

    def __init__(self, cache: TokenCache) -> None:
        self._cache = cache

    def get(self, *, ends_at: float) -> Token:
        """As `TokenCache.get`."""
        return finish(self._cache.get(ends_at=ends_at))

    def drop(self, token: Token, /) -> None:
        """As `TokenCache.drop`."""
        finish(self._cache.drop(token))

    @property
    def last_failure(self) -> MpesaError | None:
        """The error that waiting threads get a copy of."""
        return self._cache._last_failure


class WatchedStore(MemoryTokenStore):
    """Tells when a thread is about to wait for its turn to fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.arrivals = threading.Semaphore(0)

    def single_flight(self, app: str, timeout: float, /) -> AbstractContextManager[object]:
        """As the parent, after saying so."""
        self.arrivals.release()
        return super().single_flight(app, timeout)


class SlowFetcher:
    """Waits until it is let go; then returns or raises what it was given."""

    def __init__(self, result: Token | BaseException) -> None:
        self.result = result
        self.calls = 0
        self.go = threading.Event()

    def __call__(self, _ends_at: float) -> Token:
        """Fetch once."""
        self.calls += 1
        assert self.go.wait(5.0)
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


# --- the cache ---------------------------------------------------------------------------------------


def test_a_token_is_fetched_once_and_kept() -> None:
    """The deadline is handed on; the second call fetches nothing."""
    fetch = Fetcher(token())
    cache = make_cache(fetch)

    assert cache.get(ends_at=7.0) == cache.get(ends_at=8.0) == token()
    assert fetch.ends == [7.0]


def test_a_token_is_renewed_from_its_moment_on() -> None:
    """Up to the moment it is used, at the moment it is not."""
    clock = ManualClock()
    renew_at = clock.monotonic() + 100.0
    cache = make_cache(Fetcher(token(renew_at=renew_at), token("two", renew_at=9e9)), clock=clock)
    cache.get(ends_at=0.0)
    clock.advance(99.999)
    assert cache.get(ends_at=0.0).value == "one"
    clock.advance(0.001)
    assert cache.get(ends_at=0.0).value == "two"


def test_a_dropped_token_is_fetched_again() -> None:
    """A refused token is forgotten."""
    cache = make_cache(Fetcher(token(), token("two")))
    cache.drop(cache.get(ends_at=0.0))

    assert cache.get(ends_at=0.0).value == "two"


def test_a_newer_token_is_not_dropped_for_an_older_one() -> None:
    """The slower of two workers that were refused must not throw away the other's new token."""
    cache = make_cache(Fetcher(token(), token("two")))
    old = cache.get(ends_at=0.0)
    cache.drop(old)
    cache.get(ends_at=0.0)
    cache.drop(old)

    assert cache.get(ends_at=0.0).value == "two"


def test_workers_share_a_store() -> None:
    """One worker's token is every worker's."""
    store = MemoryTokenStore()
    first = make_cache(Fetcher(token()), store=store)
    second = make_cache(Fetcher(), store=store)

    assert first.get(ends_at=0.0) is second.get(ends_at=0.0)


def test_apps_do_not_share_tokens() -> None:
    """One store may serve several apps."""
    store = MemoryTokenStore()
    first = make_cache(Fetcher(token()), store=store, app="a")
    second = make_cache(Fetcher(token("two")), store=store, app="b")

    assert first.get(ends_at=0.0).value == "one"
    assert second.get(ends_at=0.0).value == "two"


def test_many_threads_wait_for_one_fetch() -> None:
    """However many ask at once, one fetches and all get its token."""
    store = WatchedStore()
    fetch = SlowFetcher(token())
    cache = make_cache(fetch, store=store)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(cache.get, ends_at=5000.0) for _ in range(8)]
        for _ in range(8):
            assert store.arrivals.acquire(timeout=5.0)
        fetch.go.set()

        assert {result.result(30).value for result in asked} == {"one"}
    assert fetch.calls == 1


def test_many_threads_share_one_failure() -> None:
    """Those that waited get a copy of the error instead of failing slowly one after the other."""
    store = WatchedStore()
    refused = AuthenticationFailed("bad key", http_status=400, reason="credentials")
    fetch = SlowFetcher(refused)
    cache = make_cache(fetch, store=store)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(cache.get, ends_at=5000.0) for _ in range(4)]
        for _ in range(4):
            assert store.arrivals.acquire(timeout=5.0)
        fetch.go.set()
        errors = [result.exception(30) for result in asked]

    assert fetch.calls == 1
    assert len({id(error) for error in errors}) == 4
    for error in errors:
        assert isinstance(error, AuthenticationFailed)
        assert (str(error), error.reason, error.http_status) == ("bad key", "credentials", 400)


def test_who_asks_after_a_failure_tries_again() -> None:
    """A failure is shared with those who waited for it, and with nobody later."""
    fetch = Fetcher(NotSent("x"), NotSent("y"), token())
    cache = make_cache(fetch)
    for reason in ("x", "y"):
        with pytest.raises(NotSent, match=reason):
            cache.get(ends_at=0.0)

    assert cache.get(ends_at=0.0).value == "one"
    assert len(fetch.ends) == 3


def test_a_bug_in_fetching_is_not_shared() -> None:
    """What is no error of ours is raised to its own thread; the next in line fetches."""
    store = WatchedStore()
    fetch = SlowFetcher(ZeroDivisionError())
    cache = make_cache(fetch, store=store)
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(cache.get, ends_at=5000.0) for _ in range(2)]
        for _ in range(2):
            assert store.arrivals.acquire(timeout=5.0)
        fetch.go.set()
        kinds = [type(result.exception(30)) for result in asked]

    assert kinds == [ZeroDivisionError, ZeroDivisionError]
    assert fetch.calls == 2


def test_a_failure_keeps_no_traceback() -> None:
    """The kept error is a copy: the frames of the thread that failed are let go."""
    original = NotSent("x")
    cache = make_cache(Fetcher(original))
    with pytest.raises(NotSent) as caught:
        cache.get(ends_at=0.0)

    assert caught.value is original
    kept = cache.last_failure
    assert isinstance(kept, MpesaError)
    assert kept is not original
    assert kept.__traceback__ is None


# --- a fleet -----------------------------------------------------------------------------------------


class SlowFlights(MemoryTokenStore):
    """Other processes hold the flight for a while; then something has happened."""

    def __init__(self, clock: ManualClock, *, seconds: float, saved: Token | None = None) -> None:
        super().__init__()
        self._clock = clock
        self._seconds = seconds
        self._saved = saved

    def single_flight(self, app: str, timeout: float, /) -> AbstractContextManager[object]:
        """Wait, no longer than the timeout."""
        self._clock.advance(min(self._seconds, max(timeout, 0.0)))
        if self._seconds > timeout > 0.0:
            raise not_in_time()
        if self._saved is not None:
            self.save(app, self._saved)
        return super().single_flight(app, timeout)


def test_after_waiting_the_token_of_another_process_is_read() -> None:
    """What another one fetched meanwhile is used, and nothing is fetched."""
    clock = ManualClock()
    store = SlowFlights(clock, seconds=40.0, saved=token("theirs"))
    cache = make_cache(Fetcher(), store=store, clock=clock)

    assert cache.get(ends_at=1045.0).value == "theirs"


def test_a_process_with_a_stale_copy_reads_the_newer_token() -> None:
    """Nothing is kept beside the store: a token that another process saved is seen at once."""
    store = MemoryTokenStore()
    cache = make_cache(Fetcher(token()), store=store)
    stale = cache.get(ends_at=2000.0)
    store.save("app", token("newer"))

    assert cache.get(ends_at=2000.0).value == "newer"
    cache.drop(stale)
    assert cache.get(ends_at=2000.0).value == "newer"


def test_workers_do_not_wait_for_each_others_failures_in_turn() -> None:
    """Whoever waited until its time was up makes way instead of trying as well."""
    clock = ManualClock()
    fetch = Fetcher()
    cache = make_cache(fetch, store=SlowFlights(clock, seconds=45.1), clock=clock)
    with pytest.raises(NotSent, match="other workers could not get a token in time"):
        cache.get(ends_at=1045.0)

    assert fetch.ends == []
    assert clock.monotonic() == 1045.0


@pytest.mark.parametrize(("seconds", "ends_at"), [(44.9, 1045.0), (0.0, 1000.0), (0.0, 5.0)])
def test_one_try_is_made_where_there_is_time_or_nothing_was_waited_for(
    seconds: float, ends_at: float
) -> None:
    """The one try that a caller asked for, perhaps with no time at all, is made."""
    clock = ManualClock()
    fetch = Fetcher(token())
    cache = make_cache(fetch, store=SlowFlights(clock, seconds=seconds), clock=clock)

    assert cache.get(ends_at=ends_at).value == "one"
    assert fetch.ends == [ends_at]


def test_a_token_that_comes_after_the_lease_gives_way_to_the_newer_one() -> None:
    """Who fetched when our lease had run out has the living token: ours is not saved."""
    store = MemoryTokenStore()

    def fetch(_ends_at: float) -> Token:
        store.save("app", token("newer"))
        return token("dead")

    cache = make_cache(fetch, store=store)

    assert cache.get(ends_at=2000.0).value == "newer"
    assert store.load("app") == token("newer")


def test_a_store_that_fails_is_told() -> None:
    """Nothing is fetched behind the back of the other workers: it would kill their token."""

    class Lost(MemoryTokenStore):
        def load(self, app: str, /) -> Token | None:
            raise StoreError(f"lost {app}")

    fetch = Fetcher()
    with pytest.raises(StoreError, match="lost app"):
        make_cache(fetch, store=Lost()).get(ends_at=2000.0)

    assert fetch.ends == []


# --- the store in memory -------------------------------------------------------------------------------


class TestMemoryTokens(TokenStoreContract):
    """A flight ends with the process, and so does the store."""

    lease = None

    @pytest.fixture
    def make_store(self) -> MakeTokenStore:
        """Always the same store."""
        store = MemoryTokenStore()
        return lambda: store


def test_the_memory_store_drops_by_value() -> None:
    """Which token it is, its secret says, not the object that carries it."""
    store = MemoryTokenStore()
    store.save("app", token())
    store.drop("app", token("another"))
    assert store.load("app") == token()
    store.drop("app", token(renew_at=0.0))
    assert store.load("app") is None


def test_flights_are_one_at_a_time_for_each_app() -> None:
    """The same app waits, another does not."""
    store = MemoryTokenStore()
    with (
        store.single_flight("a", 0.0),
        store.single_flight("b", 0.0),
        pytest.raises(NotSent, match="other workers could not get a token in time"),
        store.single_flight("a", 0.01),
    ):
        pytest.fail("two were in one flight")
    with store.single_flight("a", float("inf")):
        assert store.load("a") is None
