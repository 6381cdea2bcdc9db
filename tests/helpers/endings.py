"""How each scenario of the simulator ends, once it is played through `Payments`."""

from __future__ import annotations

import attrs

from mpesa_stk import TransactionState

CREATED, UNCERTAIN, PENDING, SUCCEEDED, FAILED, REJECTED, EXPIRED = TransactionState
NEVER_LEARNT = "the push's outcome was never learnt"


@attrs.frozen(kw_only=True)
class Ending:
    """How a scenario ends.

    Attributes:
        state: The final state.
        code: The result code, or the error code of a refused push.
        told: The states that the host is told of, in order.
        prompts: How many prompts appear.
        review: Why a person must look at it.
    """

    state: TransactionState
    code: str | None
    told: tuple[TransactionState, ...]
    prompts: int = 1
    review: str | None = None


def paid(*before: TransactionState) -> Ending:
    """Paid, after the host was told something else where it is named."""
    return Ending(state=SUCCEEDED, code="0", told=(*before, SUCCEEDED))


def failed(code: str) -> Ending:
    """A prompt that was not paid."""
    return Ending(state=FAILED, code=code, told=(FAILED,))


def rejected(code: str | None) -> Ending:
    """A push that reached no phone."""
    return Ending(state=REJECTED, code=code, told=(REJECTED,), prompts=0)


def never_learnt() -> Ending:
    """A push without a prompt, of which nobody heard again."""
    return Ending(state=EXPIRED, code=None, told=(EXPIRED,), prompts=0, review=NEVER_LEARNT)


ENDINGS = {
    "paid": paid(),
    "paid-late": paid(),
    "paid-after-expiry": paid(EXPIRED),
    "cancelled": failed("1032"),
    "wrong-pin": failed("2001"),
    "pin-locked": failed("8006"),
    "no-funds": failed("1"),
    "unreachable": failed("1037"),
    "ignored": failed("1037"),
    "expired": failed("1019"),
    "session-open": failed("1001"),
    "below-minimum": failed("2"),
    "above-maximum": failed("3"),
    "daily-limit": failed("4"),
    "balance-limit": failed("8"),
    "rule-limited": failed("17"),
    "wrong-operator": failed("SFC_IC0003"),
    "by-hand": failed("1037"),
    "callback-lost": paid(),
    "callback-twice": paid(),
    "callback-four-times": paid(),
    "callback-late": paid(SUCCEEDED),  # by a query; then with the receipt
    "callback-first": paid(),
    "masked-phone": paid(),
    "no-phone": paid(),
    "bare-balance": paid(),
    "string-amount": paid(),
    "pending-500": paid(),
    "pending-4999": paid(),
    "query-says-failed": paid(FAILED),
    "query-says-paid": failed("1032"),
    "query-limited": paid(),
    "query-refused": paid(),
    "token-refused-404": paid(),
    "token-refused-401": paid(),
    "token-killed": paid(),
    "token-expires-early": paid(),
    "no-product": rejected("401.003.01"),
    "subscriber-locked": rejected("500.001.1001"),
    "spike-arrest": rejected("500.003.02"),
    "rate-limited": rejected("policies.ratelimit.SpikeArrestViolation"),
    "busy": never_learnt(),
    "unavailable": never_learnt(),
    "blocked": rejected(None),
    "internal-error": never_learnt(),
    "done-but-500": paid(),
    "dropped": never_learnt(),
    "done-but-dropped": paid(),
    "done-but-cut": paid(),
    "done-then-reset": paid(),
    "byte-by-byte": paid(),
    "not-permitted": failed("2028"),
    "slow": paid(),
    "pending-no-text": paid(),
    "pending-no-text-200": paid(),
    "query-too-early": paid(),
    "cancelled-1031": failed("1031"),
    "bad-debt": failed("E3008"),
}
