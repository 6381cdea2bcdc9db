"""`RedisTokenStore` and `AsyncRedisTokenStore`: the contract on a real Redis, their keys and failures."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import traceback
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio

import mpesa_stk
from async_stores import AsyncManualClock, Cancelling
from databases import Servers
from mpesa_stk import ConfigurationError, NotSent, StoreError, Token
from mpesa_stk.stores.redis import AsyncRedisTokenStore, RedisClient, RedisTokenStore
from mpesa_stk.testing import TokenStoreContract
from mpesa_stk.testing.token_contract import MakeTokenStore
from support import TOKEN, ManualClock

PATIENCE = 60.0
NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture(name="prefix")
def _prefix() -> str:
    """What the keys of one test begin with: the tests share a server."""
    return f"test-{uuid.uuid4().hex}:"


@pytest.fixture(name="client")
def _client(servers: Servers) -> Iterator[redis.Redis]:
    """A client that answers with bytes, as redis does by default."""
    with redis.Redis.from_url(servers.redis_url()) as client:
        yield client


class TestRedisTokens(TokenStoreContract):
    """Each handle has a client of its own, as a process has; every other one decodes its answers."""

    @pytest.fixture
    def make_store(self, servers: Servers, prefix: str) -> Iterator[MakeTokenStore]:
        """A store on a new client."""
        clients: list[redis.Redis] = []

        def make() -> RedisTokenStore:
            decode = len(clients) % 2 == 1
            client = redis.Redis.from_url(servers.redis_url(), decode_responses=decode)
            clients.append(client)
            return RedisTokenStore(client, prefix=prefix, lease=1.0)

        yield make
        for client in clients:
            client.close()


def token(value: str = TOKEN, *, renew_at: float = 2000.0) -> Token:
    """A token; the manual clock begins at 1000."""
    return Token(value=value, expires_in=3599.0, renew_at=renew_at)


def keys(client: redis.Redis, prefix: str) -> list[str]:
    """The names of the keys of one test, without the prefix."""
    found: list[bytes] = list(client.scan_iter(match=f"{prefix}*"))
    return sorted(key.decode().removeprefix(prefix) for key in found)


def lives(client: RedisClient, key: str) -> int:
    """How many milliseconds a key has left."""
    left: int = client.execute_command("PTTL", key)
    return left


def test_moment_of_renewal_survives_another_process(client: redis.Redis, prefix: str) -> None:
    """Each process reads it by its own monotonic clock; the wall clock is what they share."""
    here, there = ManualClock(), ManualClock()
    there._monotonic = 5.0
    RedisTokenStore(client, prefix=prefix, clock=here).save("app", token(renew_at=1600.0))
    there.advance(100.0)
    loaded = RedisTokenStore(client, prefix=prefix, clock=there).load("app")
    assert loaded is not None
    assert loaded.renew_at == pytest.approx(605.0)


def test_redis_forgets_a_token_that_must_be_renewed(client: redis.Redis, prefix: str) -> None:
    """The key lives until then, and no longer; so no dead secret stays behind."""
    store = RedisTokenStore(client, prefix=prefix, clock=ManualClock())
    store.save("app", token(renew_at=1600.0))
    assert keys(client, prefix) == ["token:app"]
    assert 590_000 < lives(client, f"{prefix}token:app") <= 600_000
    store.drop("app", token())
    store.save("app", token(renew_at=999.0))
    assert lives(client, f"{prefix}token:app") <= 1


def test_late_token_does_not_replace_a_newer_one(client: redis.Redis, prefix: str) -> None:
    """A worker whose lease ran out saves its dead token in vain."""
    store = RedisTokenStore(client, prefix=prefix, clock=ManualClock())
    store.save("app", token("newer", renew_at=2000.0))
    store.save("app", token("late", renew_at=1999.0))
    kept = store.load("app")
    assert kept is not None
    assert kept.value == "newer"


def test_flight_is_a_key_that_redis_forgets(client: redis.Redis, prefix: str) -> None:
    """It has the lease to live, and is gone when the flight is given back."""
    store = RedisTokenStore(client, prefix=prefix, lease=20.0)
    with store.single_flight("app", PATIENCE):
        assert keys(client, prefix) == ["flight:app"]
        assert 10_000 < lives(client, f"{prefix}flight:app") <= 20_000
    assert keys(client, prefix) == []


def test_waiting_pauses_by_the_clock(client: redis.Redis, prefix: str) -> None:
    """It looks again after short pauses, each a little different."""

    class Impatient(ManualClock):
        def sleep(self, seconds: float, /) -> None:
            super().sleep(seconds)
            if len(self.slept) == 5:
                client.delete(f"{prefix}flight:app")

    clock = Impatient()
    store = RedisTokenStore(client, prefix=prefix, clock=clock)
    client.set(f"{prefix}flight:app", "somebody", px=60_000)
    with store.single_flight("app", PATIENCE):
        assert len(clock.slept) == 5
    assert all(0.02 <= pause <= 0.06 for pause in clock.slept)
    assert len(set(clock.slept)) > 1


def test_waiting_for_a_flight_ends_by_the_clock(client: redis.Redis, prefix: str) -> None:
    """It looks a last time when the time is up, and sleeps no longer."""
    client.set(f"{prefix}flight:app", "somebody", px=60_000)
    for timeout in (0.1, 0.0, -1.0):
        clock = ManualClock()
        store = RedisTokenStore(client, prefix=prefix, clock=clock)
        with (
            pytest.raises(NotSent, match="other workers could not get a token in time"),
            store.single_flight("app", timeout),
        ):
            pytest.fail("two were in one flight")
        assert sum(clock.slept) == pytest.approx(max(timeout, 0.0))


def test_command_that_is_sent_twice_takes_one_flight(client: redis.Redis, prefix: str) -> None:
    """A client that lost an answer and asks again does not wait for itself."""
    redis_client: RedisClient = client

    class Stammering:
        def execute_command(self, *args: Any, **options: Any) -> Any:
            redis_client.execute_command(*args, **options)
            return redis_client.execute_command(*args, **options)

    clock = ManualClock()
    with RedisTokenStore(Stammering(), prefix=prefix, clock=clock).single_flight("app", PATIENCE):
        assert keys(client, prefix) == ["flight:app"]
    assert clock.slept == []


@pytest.mark.parametrize(
    "fields", [{"value": "x"}, {"value": "x", "expires_in": "1", "renew_at": "x"}]
)
def test_what_cannot_be_read_is_no_token(
    client: redis.Redis, prefix: str, fields: dict[str, str]
) -> None:
    """It is fetched anew, and what is saved then can be read."""
    redis_client: RedisClient = client
    for name, value in fields.items():
        redis_client.execute_command("HSET", f"{prefix}token:app", name, value)
    store = RedisTokenStore(client, prefix=prefix)
    assert store.load("app") is None


METHODS: dict[str, Callable[[RedisTokenStore], object]] = {
    "load": lambda store: store.load("app"),
    "save": lambda store: store.save("app", token()),
    "drop": lambda store: store.drop("app", token()),
    "single_flight": lambda store: store.single_flight("app", PATIENCE).__enter__(),
}


@pytest.mark.parametrize("method", METHODS)
def test_lost_redis_is_a_store_error_without_the_token(method: str) -> None:
    """Neither the error nor the frames of its traceback show the token or the address."""
    store = RedisTokenStore(redis.Redis.from_url(NOWHERE), clock=ManualClock())
    with pytest.raises(StoreError) as caught:
        METHODS[method](store)
    assert str(caught.value) == "the token store (Redis) failed: ConnectionError"
    assert caught.value.__context__ is None
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = [frame for frame in shown.stack if "mpesa_stk" in frame.filename]
    assert ours
    for frame in ours:
        assert TOKEN not in str(frame.locals)


def test_flight_that_cannot_be_given_back_ends_quietly(client: redis.Redis, prefix: str) -> None:
    """The token was fetched; its lease ends the flight."""
    redis_client: RedisClient = client

    class Breaking:
        broken = False

        def execute_command(self, *args: Any, **options: Any) -> Any:
            if self.broken:
                raise redis.exceptions.ConnectionError("gone")
            return redis_client.execute_command(*args, **options)

    connection = Breaking()
    with RedisTokenStore(connection, prefix=prefix).single_flight("app", PATIENCE):
        connection.broken = True
    assert keys(client, prefix) == ["flight:app"]


@pytest.mark.parametrize("lease", [0.0, -1.0, 0.0009])
def test_lease_must_last(client: redis.Redis, lease: float) -> None:
    """A lease of no length would let everybody fetch."""
    with pytest.raises(ConfigurationError, match="lease"):
        RedisTokenStore(client, lease=lease)


# --- awaited -----------------------------------------------------------------------------------------


def on_redis(
    url: str, prefix: str, work: Callable[[AsyncRedisTokenStore], Awaitable[None]]
) -> None:
    """Do some work on a store, in an event loop of its own."""

    async def main() -> None:
        async with redis.asyncio.Redis.from_url(url) as client:
            await work(AsyncRedisTokenStore(client, prefix=prefix, clock=AsyncManualClock()))

    asyncio.run(main())


def test_both_kinds_share_one_token(client: redis.Redis, redis_url: str, prefix: str) -> None:
    """A worker without an event loop reads what another one saved, and drops it."""

    async def work(store: AsyncRedisTokenStore) -> None:
        await store.save("app", token(renew_at=1600.0))
        sync = RedisTokenStore(client, prefix=prefix, clock=ManualClock())
        found = sync.load("app")
        assert found is not None
        assert found.value == TOKEN
        await store.drop("app", token())
        assert sync.load("app") is None
        assert await store.load("app") is None

    on_redis(redis_url, prefix, work)


def test_task_that_waits_for_a_flight_sleeps_by_the_clock(
    client: redis.Redis, redis_url: str, prefix: str
) -> None:
    """It looks again after short pauses, and a last time when the time is up."""
    client.set(f"{prefix}flight:app", "somebody", px=60_000)

    async def work(store: AsyncRedisTokenStore) -> None:
        with pytest.raises(NotSent, match="other workers could not get a token in time"):
            async with store.single_flight("app", 0.5):
                pytest.fail("two were in one flight")

    on_redis(redis_url, prefix, work)


def test_flight_is_given_back_wherever_its_task_is_cancelled(
    client: redis.Redis, redis_url: str, prefix: str
) -> None:
    """While it is taken, or while it is held."""

    async def work(store: AsyncRedisTokenStore) -> None:
        async def fly() -> None:
            async with store.single_flight("app", PATIENCE):
                pass

        step, came = 0, True
        while came:
            step += 1
            cancelling = Cancelling(step, inner=False)
            await cancelling.run(fly())
            came = cancelling.came
            assert keys(client, prefix) == []
        assert step >= 2

        async def hold() -> None:
            async with store.single_flight("app", PATIENCE):
                assert keys(client, prefix) == ["flight:app"]
                await asyncio.sleep(PATIENCE)

        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(hold(), 0.1)
        assert keys(client, prefix) == []

    on_redis(redis_url, prefix, work)


@pytest.mark.parametrize("method", ["load", "save", "drop", "single_flight"])
def test_lost_redis_is_a_store_error_of_the_awaited_store_too(method: str) -> None:
    """Neither the error nor the frames of its traceback show the token or the address."""

    async def main() -> StoreError:
        store = AsyncRedisTokenStore(redis.asyncio.Redis.from_url(NOWHERE))
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "load": lambda: store.load("app"),
            "save": lambda: store.save("app", token()),
            "drop": lambda: store.drop("app", token()),
            "single_flight": lambda: store.single_flight("app", PATIENCE).__aenter__(),
        }
        with pytest.raises(StoreError) as caught:
            await calls[method]()
        return caught.value

    error = asyncio.run(main())
    assert str(error) == "the token store (Redis) failed: ConnectionError"
    assert error.__context__ is None
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    ours = [frame for frame in shown.stack if "mpesa_stk" in frame.filename]
    assert ours
    for frame in ours:
        assert TOKEN not in str(frame.locals)


@pytest.mark.parametrize("lease", [0.0, -1.0, 0.0009])
def test_lease_of_the_awaited_store_must_last(lease: float) -> None:
    """A lease of no length would let everybody fetch."""
    with pytest.raises(ConfigurationError, match="lease"):
        AsyncRedisTokenStore(redis.asyncio.Redis.from_url(NOWHERE), lease=lease)


def test_missing_extra_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where redis is not installed, the error names what to install."""
    monkeypatch.setitem(sys.modules, "redis", None)
    monkeypatch.setitem(sys.modules, "redis.exceptions", None)
    path = Path(mpesa_stk.__file__).parent / "stores" / "redis.py"
    spec = importlib.util.spec_from_file_location("redis_store_without_redis", path)
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(ImportError, match=r"mpesa-stk-client\[redis\]"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
