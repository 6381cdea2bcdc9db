"""`RedisTokenStore` and `AsyncRedisTokenStore`: one token for each app and all its workers, in Redis.

Both stores send their commands by one flow. The synchronous store runs it with `finish`, and the
asynchronous one awaits it. Only this file imports redis, which itself imports asyncio.

There is no store of payments, because evidence must survive a power cut and Redis may lose the last writes.
A lost token is only fetched again.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Protocol

from mpesa_stk.clock import AsyncClock, AsyncSystemClock, AwaitedClock, Clock, SystemClock
from mpesa_stk.daraja.models import Token
from mpesa_stk.daraja.tokens import take_flight
from mpesa_stk.errors import ConfigurationError, StoreError
from mpesa_stk.faces import finish
from mpesa_stk.privacy import hides_locals
from mpesa_stk.stores.async_calls import Tasks, ended

try:
    from redis.exceptions import RedisError
except ImportError as error:
    raise ImportError(
        "the Redis stores need the package redis: pip install 'mpesa-stk-client[redis]'"
    ) from error

__all__ = ["AsyncRedisClient", "AsyncRedisTokenStore", "RedisClient", "RedisTokenStore"]

# Seconds between two attempts to take a flight that another worker holds.
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.02, 0.06

# Each script names one key, so that all of them work on a cluster too.
# A worker whose lease ran out must not replace the newer token of the next worker with its dead one.
_SAVE = """
if tonumber(redis.call('HGET', KEYS[1], 'renew_at') or 0) > tonumber(ARGV[3]) then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'value', ARGV[1], 'expires_in', ARGV[2], 'renew_at', ARGV[3])
return redis.call('PEXPIRE', KEYS[1], ARGV[4])
"""
_DROP = """
if redis.call('HGET', KEYS[1], 'value') == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""
# If a client sends a lost command again, it must not wait for itself.
_TAKE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return 1 end
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
return 0
"""
_GIVE_BACK = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class RedisClient(Protocol):
    """The method of ``redis.Redis`` and ``redis.RedisCluster`` that the store calls."""

    def execute_command(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as redis has it
        """Send a command and return its answer."""
        ...


class AsyncRedisClient(Protocol):
    """The method of ``redis.asyncio.Redis`` and ``redis.asyncio.RedisCluster`` that the store calls."""

    def execute_command(self, *args: Any, **options: Any) -> Awaitable[Any]:  # noqa: ANN401 - as above
        """Send a command and return its answer."""
        ...


class RedisTokenStore:
    """Keep tokens in Redis, for all processes and machines that share it.

    A token is a hash that Redis forgets when the token must be renewed. The right to fetch one is a key
    that holds a random id of the worker. Redis forgets the key when the lease ends. A script gives the
    right back: it deletes the key only if the key still holds that id.
    """

    def __init__(
        self,
        client: RedisClient,
        /,
        *,
        prefix: str = "mpesa-stk:",
        lease: float = 30.0,
        clock: Clock | None = None,
    ) -> None:
        """Make a store. The first call connects.

        Args:
            client: A ``redis.Redis``. Give it a ``socket_timeout``: without one, a Redis that
                hangs stops every push.
            prefix: Start of each key's name.
            lease: Seconds that a worker may take to fetch a token before another one tries.
            clock: The clock of the `StkClient`. Default: the machine's.

        Raises:
            ConfigurationError: The lease is shorter than a millisecond.
        """

        async def execute(*command: str | int) -> Any:  # noqa: ANN401 - as redis has it
            return client.execute_command(*command)

        clock = clock if clock is not None else SystemClock()
        self._keys = _Keys(execute, prefix=prefix, lease=lease, clock=AwaitedClock(clock))

    @hides_locals
    def load(self, app: str, /) -> Token | None:
        """Return the app's token, or None if it must be renewed or cannot be read."""
        return finish(self._keys.load(app))

    @hides_locals
    def save(self, app: str, token: Token, /) -> None:
        """Keep the app's token until it must be renewed, unless a newer one is kept."""
        finish(self._keys.save(app, token))

    @hides_locals
    def drop(self, app: str, token: Token, /) -> None:
        """Forget the app's token if it is still this one."""
        finish(self._keys.drop(app, token))

    @contextmanager
    def single_flight(self, app: str, timeout: float, /) -> Iterator[None]:
        """Hold the right to fetch the app's token, at most for the lease."""
        holder = _new_holder()
        finish(
            take_flight(
                lambda: self._keys.take(app, holder),
                timeout,
                clock=self._keys.clock,
                pause=_pause,
            )
        )
        try:
            yield
        finally:
            finish(self._keys.give_back(app, holder))


class AsyncRedisTokenStore:
    """A `RedisTokenStore` whose methods are awaited, on a client of ``redis.asyncio``.

    Both kinds work on the same keys, so synchronous and asynchronous workers may share them.
    """

    def __init__(
        self,
        client: AsyncRedisClient,
        /,
        *,
        prefix: str = "mpesa-stk:",
        lease: float = 30.0,
        clock: AsyncClock | None = None,
    ) -> None:
        """Make a store. The first call connects.

        Args:
            client: A ``redis.asyncio.Redis``. Give it a ``socket_timeout``: without one, a Redis that
                hangs stops every push.
            prefix: Start of each key's name.
            lease: Seconds that a worker may take to fetch a token before another one tries.
            clock: The clock of the `AsyncStkClient`. Default: the machine's.

        Raises:
            ConfigurationError: The lease is shorter than a millisecond.
        """
        clock = clock if clock is not None else AsyncSystemClock()
        self._keys = _Keys(client.execute_command, prefix=prefix, lease=lease, clock=clock)
        self._tasks = Tasks()

    @hides_locals
    async def load(self, app: str, /) -> Token | None:
        """Return the app's token, or None if it must be renewed or cannot be read."""
        return await self._keys.load(app)

    @hides_locals
    async def save(self, app: str, token: Token, /) -> None:
        """Keep the app's token until it must be renewed, unless a newer one is kept."""
        await self._keys.save(app, token)

    @hides_locals
    async def drop(self, app: str, token: Token, /) -> None:
        """Forget the app's token if it is still this one."""
        await self._keys.drop(app, token)

    @asynccontextmanager
    async def single_flight(self, app: str, timeout: float, /) -> AsyncIterator[None]:
        """Hold the right to fetch the app's token, at most for the lease.

        If the task is cancelled while it takes the flight, the flight is given back.
        """
        holder = _new_holder()

        async def take() -> bool:
            taking = self._tasks.start(self._keys.take(app, holder))
            try:
                return await ended(taking)
            except asyncio.CancelledError:
                self._tasks.start(self._give_back(taking, app, holder))
                raise

        await take_flight(take, timeout, clock=self._keys.clock, pause=_pause)
        try:
            yield
        finally:
            await ended(self._tasks.start(self._keys.give_back(app, holder)))

    async def _give_back(self, taking: asyncio.Task[bool], app: str, holder: str) -> None:
        """Give back the flight of a cancelled caller, once the command that takes it is over."""
        await asyncio.wait({taking})
        await self._keys.give_back(app, holder)


class _Keys:
    """The keys of the tokens and flights, once for both stores."""

    def __init__(
        self,
        execute: Callable[..., Awaitable[Any]],
        *,
        prefix: str,
        lease: float,
        clock: AsyncClock,
    ) -> None:
        self._lease = int(lease * 1000)
        if self._lease < 1:
            raise ConfigurationError((("lease", "must be at least a millisecond"),))
        self._execute = execute
        self._prefix = prefix
        self.clock = clock

    async def load(self, app: str) -> Token | None:
        """Return the app's token, or None if it must be renewed or cannot be read."""
        key = f"{self._prefix}token:{app}"
        fields = await self._send("HMGET", key, "value", "expires_in", "renew_at")
        try:
            value, expires_in, renew_at = (_text(field) for field in fields)
            left = float(renew_at) - self.clock.now().timestamp()
            return Token(
                value=value,
                expires_in=float(expires_in),
                renew_at=self.clock.monotonic() + left,
            )
        except ValueError:
            return None

    async def save(self, app: str, token: Token) -> None:
        """Keep the app's token until it must be renewed, unless a newer one is kept."""
        left = token.renew_at - self.clock.monotonic()
        renew_at = repr(self.clock.now().timestamp() + left)
        lives = max(int(left * 1000), 1)
        key, expires_in = f"{self._prefix}token:{app}", repr(token.expires_in)
        await self._send("EVAL", _SAVE, 1, key, token.value, expires_in, renew_at, lives)

    async def drop(self, app: str, token: Token) -> None:
        """Forget the app's token if it is still this one."""
        await self._send("EVAL", _DROP, 1, f"{self._prefix}token:{app}", token.value)

    async def take(self, app: str, holder: str) -> bool:
        """Take the flight if it is free, and return whether it was."""
        key = f"{self._prefix}flight:{app}"
        return bool(await self._send("EVAL", _TAKE, 1, key, holder, self._lease))

    async def give_back(self, app: str, holder: str) -> None:
        """Give the flight back if it is still ours."""
        with suppress(StoreError):  # the lease ends it
            await self._send("EVAL", _GIVE_BACK, 1, f"{self._prefix}flight:{app}", holder)

    async def _send(self, *command: str | int) -> Any:  # noqa: ANN401 - as redis has it
        try:
            return await self._execute(*command)
        except RedisError as error:
            kind = type(error).__name__
        # The client's text is left out: it may hold an address.
        raise StoreError(f"the token store (Redis) failed: {kind}")


def _new_holder() -> str:
    """Return a random id of the one who holds a flight."""
    return secrets.token_hex(16)


def _pause() -> float:
    return random.uniform(_SHORTEST_PAUSE, _LONGEST_PAUSE)  # noqa: S311 - no secret


def _text(field: bytes | str | None) -> str:
    """Return a field of the hash as text, whether the client decodes answers or not."""
    if field is None:
        raise ValueError
    return field.decode() if isinstance(field, bytes) else field
