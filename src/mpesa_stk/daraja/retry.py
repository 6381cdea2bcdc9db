"""Decide which requests may be sent again, and when.

This is the only file that imports tenacity. The outcome decides, never the HTTP verb or an exception class
of requests:

    =====  ==============  ================  ====================================
    step   not sent        token refused     rate limited, 5xx, unreadable, unknown
    =====  ==============  ================  ====================================
    token  again           --                again
    query  again           new token, once   again, within the caller's deadline
    pull   again           new token, once   again; registering for pulls: never
    push   again           new token, once   never
    =====  ==============  ================  ====================================

Daraja did not execute a push whose token it refused. `client` fetches the new token.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import attrs

from mpesa_stk.clock import AsyncClock
from mpesa_stk.errors import (
    AuthenticationFailed,
    DarajaError,
    GatewayBlocked,
    NotSent,
    RateLimited,
    TransportError,
    UnexpectedResponse,
)

if TYPE_CHECKING:
    import tenacity

T = TypeVar("T")


def may_push_again(error: BaseException, /) -> bool:
    """Return whether a push may be sent again: only if it provably never left."""
    return isinstance(error, NotSent)


def may_ask_again(error: BaseException, /) -> bool:
    """Return whether a token request or a status query may be sent again.

    Neither moves money.
    """
    if isinstance(error, (GatewayBlocked, AuthenticationFailed)):
        return False
    if isinstance(error, DarajaError) and not isinstance(error, RateLimited):
        return error.http_status >= 500  # noqa: PLR2004 - server errors
    return isinstance(error, (TransportError, RateLimited, UnexpectedResponse))


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """Number of tries of one request, and the waits between them.

    Attributes:
        attempts: Most tries of one request, the first included.
        first_wait: Seconds before the second try. The wait doubles with each further try.
        max_wait: Most seconds between two tries, before jitter and unless the server asks for more.
        jitter: Returns a random number from 0 to 1. Each wait is multiplied by 0.5 plus that number.
    """

    attempts: int = 4
    first_wait: float = 0.5
    max_wait: float = 8.0
    jitter: Callable[[], float] = attrs.field(default=random.random, repr=False)

    async def run(
        self,
        call: Callable[[], Awaitable[T]],
        /,
        *,
        again: Callable[[BaseException], bool],
        clock: AsyncClock,
        ends_at: float,
    ) -> T:
        """Call until a try succeeds, fails for good, or would wait past the deadline.

        Args:
            call: Makes one try.
            again: Returns whether another try may follow an error.
            clock: The clock to read and to sleep by.
            ends_at: Monotonic second after which no new try starts.
        """
        # The first try runs without tenacity, which would take a tenth of a push's time.
        try:
            return await call()
        except Exception as error:
            if not again(error):
                raise
            first_failure = [error]
        import tenacity  # noqa: PLC0415 - keeps it out of the time of `import mpesa_stk`

        async def attempt() -> T:
            if first_failure:
                raise first_failure.pop()
            return await call()

        def stop(state: tenacity.RetryCallState) -> bool:
            wakes = clock.monotonic() + state.upcoming_sleep
            return state.attempt_number >= self.attempts or wakes > ends_at

        return await tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(again),
            wait=self._wait,
            stop=stop,
            sleep=clock.sleep,
            reraise=True,
        )(attempt)

    def _wait(self, state: tenacity.RetryCallState) -> float:
        backoff = min(self.first_wait * 2.0 ** (state.attempt_number - 1), self.max_wait)
        error = state.outcome.exception() if state.outcome else None
        asked = getattr(error, "retry_after", None) or 0.0
        return max(backoff * (0.5 + self.jitter()), float(asked))
