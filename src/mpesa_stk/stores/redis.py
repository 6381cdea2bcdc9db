"""`RedisTokenStore`: one token for each app and all its workers, in Redis.

Only this file imports redis. It has no store of payments, because evidence must survive a power cut and
Redis may lose the last writes. A lost token is only fetched again.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from mpesa_stk.clock import Clock, SystemClock
from mpesa_stk.daraja.models import Token
from mpesa_stk.daraja.tokens import not_in_time
from mpesa_stk.errors import ConfigurationError, StoreError
from mpesa_stk.privacy import hides_locals

try:
    from redis.exceptions import RedisError
except ImportError as error:
    raise ImportError(
        "RedisTokenStore needs the package redis: pip install 'mpesa-stk-client[redis]'"
    ) from error

__all__ = ["RedisClient", "RedisTokenStore"]

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
        self._lease = int(lease * 1000)
        if self._lease < 1:
            raise ConfigurationError((("lease", "must be at least a millisecond"),))
        self._client = client
        self._prefix = prefix
        self._clock = clock if clock is not None else SystemClock()

    @hides_locals
    def load(self, app: str, /) -> Token | None:
        """Return the app's token, or None if it must be renewed or cannot be read."""
        fields = self._send(["HMGET", self._token_key(app), "value", "expires_in", "renew_at"])
        try:
            value, expires_in, renew_at = (_text(field) for field in fields)
            left = float(renew_at) - self._clock.now().timestamp()
            return Token(
                value=value,
                expires_in=float(expires_in),
                renew_at=self._clock.monotonic() + left,
            )
        except ValueError:
            return None

    @hides_locals
    def save(self, app: str, token: Token, /) -> None:
        """Keep the app's token until it must be renewed, unless a newer one is kept."""
        left = token.renew_at - self._clock.monotonic()
        renew_at = repr(self._clock.now().timestamp() + left)
        lives = max(int(left * 1000), 1)
        key, expires_in = self._token_key(app), repr(token.expires_in)
        self._send(["EVAL", _SAVE, 1, key, token.value, expires_in, renew_at, lives])

    @hides_locals
    def drop(self, app: str, token: Token, /) -> None:
        """Forget the app's token if it is still this one."""
        self._send(["EVAL", _DROP, 1, self._token_key(app), token.value])

    @contextmanager
    def single_flight(self, app: str, timeout: float, /) -> Iterator[None]:
        """Hold the right to fetch the app's token, at most for the lease."""
        key = f"{self._prefix}flight:{app}"
        holder = secrets.token_hex(16)
        ends = self._clock.monotonic() + timeout
        while not self._send(["EVAL", _TAKE, 1, key, holder, self._lease]):
            left = ends - self._clock.monotonic()
            if left <= 0:
                raise not_in_time()
            pause = random.uniform(_SHORTEST_PAUSE, _LONGEST_PAUSE)  # noqa: S311 - no secret
            self._clock.sleep(min(pause, left))
        try:
            yield
        finally:
            with suppress(StoreError):  # the lease ends it
                self._send(["EVAL", _GIVE_BACK, 1, key, holder])

    def _token_key(self, app: str) -> str:
        return f"{self._prefix}token:{app}"

    def _send(self, command: list[str | int]) -> Any:  # noqa: ANN401 - as redis has it
        try:
            return self._client.execute_command(*command)
        except RedisError as error:
            kind = type(error).__name__
        # The client's text is left out: it may hold an address.
        raise StoreError(f"the token store (Redis) failed: {kind}")


def _text(field: bytes | str | None) -> str:
    """Return a field of the hash as text, whether the client decodes answers or not."""
    if field is None:
        raise ValueError
    return field.decode() if isinstance(field, bytes) else field
