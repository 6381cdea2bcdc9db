"""What may be tried again, and when: by outcome, and never past the deadline."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mpesa_stk import (
    AuthenticationFailed,
    DarajaError,
    GatewayBlocked,
    InvalidRequest,
    MpesaError,
    NotSent,
    OutcomeUnknown,
    RateLimited,
    RetryPolicy,
    StoreError,
    SubscriberBusy,
    UnexpectedResponse,
)
from mpesa_stk.clock import AwaitedClock
from mpesa_stk.daraja.retry import may_ask_again, may_push_again
from mpesa_stk.faces import finish
from support import ManualClock

# error, whether a push may be sent again, whether a token request or a query may
TABLE = [
    (NotSent("refused"), True, True),
    (OutcomeUnknown("no answer"), False, True),
    (RateLimited("slow down", http_status=429), False, True),
    (RateLimited("slow down", http_status=200), False, True),
    (DarajaError("internal", http_status=500), False, True),
    (DarajaError("bad gateway", http_status=502), False, True),
    (DarajaError("bad request", http_status=400), False, False),
    (DarajaError("an error under 200", http_status=200), False, False),
    (SubscriberBusy("prompt open", http_status=400), False, False),
    (UnexpectedResponse("html", http_status=502), False, True),
    (UnexpectedResponse("html", http_status=200), False, True),
    (GatewayBlocked("blocked", http_status=503), False, False),
    (AuthenticationFailed("token", http_status=404, reason="token_refused"), False, False),
    (AuthenticationFailed("key", http_status=500, reason="credentials"), False, False),
    (InvalidRequest("field", "rule"), False, False),
    (StoreError("down"), False, False),
    (RuntimeError("a bug"), False, False),
    (TimeoutError("somebody else's"), False, False),
    (KeyboardInterrupt(), False, False),
]


@pytest.mark.parametrize(("error", "push", "ask"), TABLE, ids=lambda value: repr(value)[:40])
def test_what_may_be_tried_again(error: BaseException, push: bool, ask: bool) -> None:  # noqa: FBT001 - columns of the table
    """A push only if it never left; what moves no money, wherever trying again can help."""
    assert may_push_again(error) is push
    assert may_ask_again(error) is ask


class Tries:
    """A call that fails with one error after another, then succeeds."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.made = 0

    async def __call__(self) -> str:
        """One try."""
        self.made += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def run(
    tries: Tries,
    clock: ManualClock,
    *,
    policy: RetryPolicy | None = None,
    seconds: float = 1000.0,
    again: Callable[[BaseException], bool] = may_ask_again,
) -> str:
    """Run tries with the middle of the jitter, so that waits are what the policy says."""
    policy = policy or RetryPolicy(jitter=lambda: 0.5)
    ends_at = clock.monotonic() + seconds
    return finish(policy.run(tries, again=again, clock=AwaitedClock(clock), ends_at=ends_at))


def test_waits_double_up_to_a_limit() -> None:
    """Half a second, one, two ... and never more than the most."""
    clock = ManualClock()
    policy = RetryPolicy(attempts=8, jitter=lambda: 0.5)

    assert run(Tries(*[NotSent("x")] * 7), clock, policy=policy) == "done"
    assert clock.slept == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


@pytest.mark.parametrize(("jitter", "wait"), [(0.0, 0.25), (0.5, 0.5), (1.0, 0.75)])
def test_jitter_spreads_the_waits(jitter: float, wait: float) -> None:
    """From half to one and a half, so that workers that failed together do not return together."""
    clock = ManualClock()

    run(Tries(NotSent("x")), clock, policy=RetryPolicy(jitter=lambda: jitter))

    assert clock.slept == [wait]


def test_the_last_error_is_raised_after_all_tries() -> None:
    """Four tries by default; the error is the last one itself, with no other around it."""
    clock = ManualClock()
    last = NotSent("the fourth")
    tries = Tries(NotSent("x"), OutcomeUnknown("y"), NotSent("z"), last)

    with pytest.raises(NotSent) as caught:
        run(tries, clock)

    assert tries.made == 4
    assert caught.value is last
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize("error", [OutcomeUnknown("x"), KeyboardInterrupt(), RuntimeError("bug")])
def test_what_may_not_be_tried_again_is_raised_at_once(error: BaseException) -> None:
    """One try, no wait."""
    clock = ManualClock()
    tries = Tries(error)

    with pytest.raises(type(error)):
        run(tries, clock, again=may_push_again)

    assert (tries.made, clock.slept) == (1, [])


def test_the_server_says_how_long_to_wait() -> None:
    """Retry-After counts where it is longer than our own wait."""
    clock = ManualClock()
    asked = [30.0, 0.0, None]
    tries = Tries(*[RateLimited("x", http_status=429, retry_after=wait) for wait in asked])

    run(tries, clock)

    assert clock.slept == [30.0, 1.0, 2.0]


@pytest.mark.parametrize(("seconds", "made"), [(0.0, 1), (0.4, 1), (0.5, 2), (1.4, 2), (1.5, 3)])
def test_no_try_starts_after_the_deadline(seconds: float, made: int) -> None:
    """A wait that would end after the deadline is not begun; one that ends on it is."""
    clock = ManualClock()
    tries = Tries(*[NotSent("x")] * 9)

    with pytest.raises(NotSent):
        run(tries, clock, seconds=seconds)

    assert tries.made == made
    assert sum(clock.slept) <= seconds


def test_a_long_retry_after_is_not_waited_for() -> None:
    """Where the server asks for more time than there is, the caller hears of it at once."""
    clock = ManualClock()
    error = RateLimited("x", http_status=429, retry_after=3600.0)

    with pytest.raises(RateLimited) as caught:
        run(Tries(error), clock, seconds=45.0)

    assert caught.value.retry_after == 3600.0
    assert clock.slept == []


def test_default_jitter_stays_within_its_bounds() -> None:
    """The default is random, from 0 to 1."""
    policy = RetryPolicy()

    assert all(0.0 <= policy.jitter() <= 1.0 for _ in range(100))


def test_every_error_has_a_row() -> None:
    """A class added to the error tree has to be thought about here, if Daraja can cause it."""
    from_daraja = {
        kind
        for root in (DarajaError, UnexpectedResponse, NotSent, OutcomeUnknown)
        for kind in (root, *root.__subclasses__())
    }

    assert from_daraja <= {type(error) for error, _, _ in TABLE if isinstance(error, MpesaError)}
