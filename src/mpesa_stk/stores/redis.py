"""`RedisTokenStore`: one token an app for a whole fleet, in Redis. The only file that imports redis.

There is no store of payments here: evidence must survive a power cut, and Redis may lose the last
writes. A lost token is only fetched again.
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

# Seconds between two looks at a flight that another worker holds.
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.02, 0.06

# Each script names one key, so that all of them work on a cluster too.
# A worker whose lease ran out must not put its dead token in the place of the one that came after it.
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
# A client that tries a lost command again must not wait for itself.
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
    """The one method that is used of ``redis.Redis`` or ``redis.RedisCluster``."""

    def execute_command(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as redis has it
        """Send a command and return its answer."""
        ...


class RedisTokenStore:
    """Keeps tokens in Redis, for all processes and machines that share it.

    A token is a hash that Redis forgets when it must be renewed. The right to fetch one is a key with
    the holder's random id, which Redis forgets when the lease is over; it is given back by a script
    that deletes the key only if it still holds that id.
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
        """Make a store; nothing is sent yet.

        Args:
            client: A ``redis.Redis``. Give it a ``socket_timeout``: without one, a Redis that
                hangs stops every push.
            prefix: Begins the name of each key.
            lease: Seconds that a worker may take to fetch a token before another one tries.
            clock: The clock of the `StkClient`; tells the time and sleeps.

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
        """The app's token; one that must be renewed, or that cannot be read, is None."""
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
        """Keep the app's new token until it must be renewed, unless a newer one is kept already."""
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
        """Hold the right to fetch the app's token, for a lease at most."""
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
        # Without the client's text, which may hold an address.
        raise StoreError(f"the token store (Redis) failed: {kind}")


def _text(field: bytes | str | None) -> str:
    """A field of the hash, whether the client decodes answers or not."""
    if field is None:
        raise ValueError
    return field.decode() if isinstance(field, bytes) else field
