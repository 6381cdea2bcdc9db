"""What can become of a push: scenarios by name, each with a test phone that plays it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

import attrs

from mpesa_stk.simulator.faults import FAULTS
from mpesa_stk.simulator.outcomes import NOT_PERMITTED, OUTCOMES

__all__ = ["BY_HAND", "SCENARIOS", "TEST_PHONES", "Pending", "Scenario", "Shape", "scenario_of"]

_DELAY = attrs.validators.and_(attrs.validators.ge(0.0), attrs.validators.le(86_400.0))
_MOST_CALLBACKS = 10
_SOON: float | None = 1.0
_FEW_QUERIES = 5


def _check_callbacks(_scenario: object, _attribute: object, value: object) -> None:
    if type(value) is not int or not 0 <= value <= _MOST_CALLBACKS:
        raise ValueError(f"callbacks must be a whole number from 0 to {_MOST_CALLBACKS}")


class Shape(Enum):
    """How the callback of a payment is written (facts, section 6)."""

    PLAIN = "plain"
    MASKED_PHONE = "masked-phone"
    NO_PHONE = "no-phone"
    BARE_BALANCE = "bare-balance"
    STRING_AMOUNT = "string-amount"


class Pending(Enum):
    """What the query answers while the prompt is open (facts, section 4)."""

    ERROR_500 = "500"
    CODE_4999 = "4999"
    NO_TEXT_500 = "no-text-500"
    NO_TEXT_200 = "no-text-200"


@attrs.frozen(kw_only=True)
class Scenario:
    """What becomes of a push.

    Attributes:
        outcome: How its prompt ends: a name of `OUTCOMES`.
        answer_after: Seconds from the push until then; None where it is answered by hand.
        callbacks: How often the callback is posted.
        callback_after: Seconds from the answer to the callback.
        callback_first: Whether the customer is so quick that the callback comes before the push is
            answered.
        shape: How the callback is written.
        pending: What the query answers while the prompt is open.
        query_outcome: What the query says of an ended prompt, where it contradicts the callback.
        queries_a_minute: How many status queries are answered; the others are refused with 429.
        push_fault: What happens to the push: a name of `FAULTS`. Where it refuses the token, the second
            try goes through.
        query_fault: What happens to the first status query.
    """

    outcome: str = attrs.field(default="paid", validator=attrs.validators.in_(tuple(OUTCOMES)))
    answer_after: float | None = attrs.field(
        default=_SOON, validator=attrs.validators.optional(_DELAY)
    )
    callbacks: int = attrs.field(default=1, validator=_check_callbacks)
    callback_after: float = attrs.field(default=0.0, validator=_DELAY)
    callback_first: bool = False
    shape: Shape = attrs.field(default=Shape.PLAIN, converter=Shape)
    pending: Pending = attrs.field(default=Pending.ERROR_500, converter=Pending)
    query_outcome: str | None = attrs.field(
        default=None, validator=attrs.validators.in_((None, *OUTCOMES))
    )
    queries_a_minute: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.ge(1))
    )
    push_fault: str | None = attrs.field(
        default=None, validator=attrs.validators.in_((None, *FAULTS))
    )
    query_fault: str | None = attrs.field(
        default=None, validator=attrs.validators.in_((None, *FAULTS))
    )

    def __attrs_post_init__(self) -> None:
        if self.callback_first and (self.answer_after, self.callback_after) != (0.0, 0.0):
            raise ValueError("callback_first needs answer_after=0 and callback_after=0")


BY_HAND = "by-hand"
"""The prompt waits for somebody to answer it, on the page or through the control interface."""

SCENARIOS: Mapping[str, Scenario] = MappingProxyType(
    {
        # How the customer answers.
        "paid": Scenario(),
        "paid-late": Scenario(answer_after=90.0),
        "paid-after-expiry": Scenario(answer_after=1200.0),
        "cancelled": Scenario(outcome="cancelled"),
        "wrong-pin": Scenario(outcome="wrong-pin"),
        "pin-locked": Scenario(outcome="pin-locked"),
        "no-funds": Scenario(outcome="no-funds"),
        "unreachable": Scenario(outcome="unreachable"),
        "ignored": Scenario(outcome="no-response", answer_after=60.0),
        "expired": Scenario(outcome="expired", answer_after=60.0),
        "session-open": Scenario(outcome="session-open"),
        "below-minimum": Scenario(outcome="below-minimum"),
        "above-maximum": Scenario(outcome="above-maximum"),
        "daily-limit": Scenario(outcome="daily-limit"),
        "balance-limit": Scenario(outcome="balance-limit"),
        "rule-limited": Scenario(outcome="rule-limited"),
        "wrong-operator": Scenario(outcome="wrong-operator"),
        BY_HAND: Scenario(answer_after=None),
        # How the callback comes.
        "callback-lost": Scenario(callbacks=0),
        "callback-twice": Scenario(callbacks=2),
        "callback-four-times": Scenario(callbacks=4),
        "callback-late": Scenario(callback_after=300.0),
        "callback-first": Scenario(answer_after=0.0, callback_first=True),
        "masked-phone": Scenario(shape=Shape.MASKED_PHONE),
        "no-phone": Scenario(shape=Shape.NO_PHONE),
        "bare-balance": Scenario(shape=Shape.BARE_BALANCE),
        "string-amount": Scenario(shape=Shape.STRING_AMOUNT),
        # What the query says.
        "pending-500": Scenario(answer_after=45.0),
        "pending-4999": Scenario(answer_after=45.0, pending=Pending.CODE_4999),
        "query-says-failed": Scenario(callback_after=300.0, query_outcome="cancelled"),
        "query-says-paid": Scenario(outcome="cancelled", query_outcome="paid"),
        "query-limited": Scenario(callbacks=0, queries_a_minute=_FEW_QUERIES),
        "query-refused": Scenario(callbacks=0, query_fault="rate-limited"),
        # How Daraja, its gateway and the network fail.
        "token-refused-404": Scenario(push_fault="token-refused-404"),
        "token-refused-401": Scenario(push_fault="token-refused-401"),
        "token-killed": Scenario(push_fault="token-dead"),
        "token-expires-early": Scenario(push_fault="token-dead"),
        "no-product": Scenario(push_fault="no-product"),
        "subscriber-locked": Scenario(push_fault="subscriber-locked"),
        "spike-arrest": Scenario(push_fault="spike-arrest"),
        "rate-limited": Scenario(push_fault="rate-limited"),
        "busy": Scenario(push_fault="busy"),
        "unavailable": Scenario(push_fault="unavailable"),
        "blocked": Scenario(push_fault="blocked"),
        "internal-error": Scenario(push_fault="internal-error"),
        "done-but-500": Scenario(push_fault="done-but-500"),
        "dropped": Scenario(push_fault="dropped"),
        "done-but-dropped": Scenario(push_fault="done-but-dropped"),
        "done-but-cut": Scenario(push_fault="done-but-cut"),
        "done-then-reset": Scenario(push_fault="done-then-reset"),
        "byte-by-byte": Scenario(push_fault="byte-by-byte"),
        # Later ones stand here, whatever they are about: the tests of others name test phones by number.
        "not-permitted": Scenario(outcome=NOT_PERMITTED),
        "slow": Scenario(push_fault="slow"),
        "pending-no-text": Scenario(answer_after=45.0, pending=Pending.NO_TEXT_500),
        "pending-no-text-200": Scenario(answer_after=45.0, pending=Pending.NO_TEXT_200),
        "query-too-early": Scenario(callbacks=0, query_fault="does-not-exist"),
        "cancelled-1031": Scenario(outcome="cancelled-1031"),
        "bad-debt": Scenario(outcome="bad-debt"),
    }
)
"""What can become of a push, by name."""

TEST_PHONES: Mapping[str, str] = MappingProxyType(
    {name: f"254700000{number:03}" for number, name in enumerate(SCENARIOS, start=1)}
)
"""The phone that plays each scenario, by the scenario's name."""

_PLAYED_BY = MappingProxyType({phone: SCENARIOS[name] for name, phone in TEST_PHONES.items()})


def scenario_of(phone_number: str, /) -> Scenario | None:
    """The scenario that a test phone plays, or None for any other phone."""
    return _PLAYED_BY.get(phone_number)
