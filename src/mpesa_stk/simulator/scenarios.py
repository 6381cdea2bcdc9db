"""Scenarios: what happens after a push, as data. Pure.

An `Outcome` is the way in which a prompt ends. A `Scenario` is an outcome with its delays, its callbacks
and its faults. Each ready scenario has a test phone. Codes and texts are Daraja's own (docs/daraja.md,
section 5).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any, TypeVar

import attrs

from mpesa_stk.simulator.faults import FAULTS

PROMPT_LIFE = 60.0
"""Seconds for which a prompt waits for its customer (docs/daraja.md, section 6)."""

PIN = "1234"
"""The PIN of every simulated customer."""

PAID = "paid"
WRONG_PIN = "wrong-pin"
NO_RESPONSE = "no-response"
NOT_PERMITTED = "not-permitted"


@attrs.frozen(kw_only=True)
class Outcome:
    """The way in which a prompt ends.

    Attributes:
        code: Daraja's ResultCode, as a string if Daraja writes one.
        description: Daraja's ResultDesc.
    """

    code: int | str
    description: str

    @property
    def paid(self) -> bool:
        """Whether the customer paid."""
        return self.code == 0


OUTCOMES: Mapping[str, Outcome] = MappingProxyType(
    {
        PAID: Outcome(code=0, description="The service request is processed successfully."),
        "cancelled": Outcome(code=1032, description="Request cancelled by user"),
        WRONG_PIN: Outcome(code=2001, description="The initiator information is invalid."),
        "no-funds": Outcome(code=1, description="The balance is insufficient for the transaction."),
        "unreachable": Outcome(code=1037, description="DS timeout user cannot be reached."),
        NO_RESPONSE: Outcome(code=1037, description="No response from user."),
        "expired": Outcome(code=1019, description="Transaction has expired"),
        "below-minimum": Outcome(code=2, description="Declined due to limit rule."),
        "above-maximum": Outcome(
            code=3,
            description="Declined due to limit rule: greater than the maximum transaction amount.",
        ),
        "daily-limit": Outcome(
            code=4,
            description="Declined due to limit rule: would exceed daily transfer limit.",
        ),
        "balance-limit": Outcome(
            code=8,
            description="Declined due to limit rule: would exceed the maximum balance.",
        ),
        "rule-limited": Outcome(code=17, description="Rule limited."),
        "pin-locked": Outcome(code=8006, description="The security credential is locked."),
        "session-open": Outcome(
            code=1001,
            description="Unable to lock subscriber, a transaction is already in process for the "
            "current subscriber.",
        ),
        "wrong-operator": Outcome(code="SFC_IC0003", description="The operator does not exist."),
        NOT_PERMITTED: Outcome(
            code=2028,
            description="The request is not permitted according to product assignment.",
        ),
        "cancelled-1031": Outcome(code=1031, description="Request cancelled by user"),
        "bad-debt": Outcome(code="E3008", description="Error, the user has a bad debt contract."),
    }
)
"""The ways in which a prompt can end, by name."""


class Shape(Enum):
    """The form of a payment's callback (docs/daraja.md, section 6)."""

    PLAIN = "plain"
    MASKED_PHONE = "masked-phone"
    NO_PHONE = "no-phone"
    BARE_BALANCE = "bare-balance"
    STRING_AMOUNT = "string-amount"


class Pending(Enum):
    """The answer of a status query while the prompt is open (docs/daraja.md, section 4)."""

    ERROR_500 = "500"
    CODE_4999 = "4999"
    NO_TEXT_500 = "no-text-500"
    NO_TEXT_200 = "no-text-200"


# --- the rules of a scenario's fields ----------------------------------------------------------------


@attrs.frozen
class BadScenario(ValueError):
    """A field of a scenario breaks its rule.

    Attributes:
        field: Name of the field.
        rule: The rule, such as ``must be true or false``.
    """

    field: str
    rule: str

    def __str__(self) -> str:
        return f"{self.field} {self.rule}"


@attrs.frozen
class _Rule:
    """A validator that names its rule: the control interface shows it to the sender of a scenario."""

    fits: Callable[[object], bool]
    words: str

    def __call__(self, _scenario: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if not self.fits(value):
            raise BadScenario(attribute.name, f"must be {self.words}")

    def or_none(self) -> _Rule:
        return _Rule(lambda value: value is None or self.fits(value), f"{self.words}, or null")


def _one_of(names: Iterable[str]) -> _Rule:
    kept = tuple(names)
    return _Rule(lambda value: value in kept, f"one of {', '.join(kept)}")


def _whole(lowest: int, highest: int) -> _Rule:
    def fits(value: object) -> bool:
        return type(value) is int and lowest <= value <= highest

    return _Rule(fits, f"a whole number from {lowest} to {highest}")


def _is_delay(value: object) -> bool:
    return type(value) in (int, float) and 0 <= value <= _DAY  # type: ignore[operator]


_DAY = 86_400
_SECONDS = _Rule(_is_delay, f"a number of seconds from 0 to {_DAY}")
_TRUTH = _Rule(lambda value: isinstance(value, bool), "true or false")
_OUTCOME = _one_of(OUTCOMES)
_FAULT = _one_of(FAULTS).or_none()
_SOON: float | None = 1.0
_FEW_QUERIES = 5

E = TypeVar("E", bound=Enum)


def _member(kind: type[E], name: str, value: object) -> E:
    try:
        return kind(value)
    except ValueError:
        values = ", ".join(member.value for member in kind)
        raise BadScenario(name, f"must be one of {values}") from None


def _shape(value: Shape | str) -> Shape:
    return _member(Shape, "shape", value)


def _pending(value: Pending | str) -> Pending:
    return _member(Pending, "pending", value)


@attrs.frozen(kw_only=True)
class Scenario:
    """The course of events after a push.

    Attributes:
        outcome: The way in which its prompt ends: a name of `OUTCOMES`.
        answer_after: Seconds from the push until then, or None if you answer it yourself.
        callbacks: Number of times that the callback is posted.
        callback_after: Seconds from the customer's answer to the callback.
        callback_first: Whether the callback comes before the answer to the push.
        shape: The form of the callback.
        pending: The answer of a status query while the prompt is open.
        query_outcome: The outcome that status queries report, if it differs from the callback's.
        queries_a_minute: Number of status queries that are answered. Others are refused with 429.
        push_fault: Fault of the push: a name of `FAULTS`. If it refuses the token, the second try
            succeeds.
        query_fault: Fault of the first status query.

    Raises:
        BadScenario: A field breaks its rule.
    """

    outcome: str = attrs.field(default=PAID, validator=_OUTCOME)
    answer_after: float | None = attrs.field(default=_SOON, validator=_SECONDS.or_none())
    callbacks: int = attrs.field(default=1, validator=_whole(0, 10))
    callback_after: float = attrs.field(default=0.0, validator=_SECONDS)
    callback_first: bool = attrs.field(default=False, validator=_TRUTH)
    shape: Shape = attrs.field(default=Shape.PLAIN, converter=_shape)
    pending: Pending = attrs.field(default=Pending.ERROR_500, converter=_pending)
    query_outcome: str | None = attrs.field(default=None, validator=_OUTCOME.or_none())
    queries_a_minute: int | None = attrs.field(
        default=None, validator=_whole(1, 1_000_000).or_none()
    )
    push_fault: str | None = attrs.field(default=None, validator=_FAULT)
    query_fault: str | None = attrs.field(default=None, validator=_FAULT)

    def __attrs_post_init__(self) -> None:
        if self.callback_first and (self.answer_after, self.callback_after) != (0.0, 0.0):
            raise BadScenario("callback_first", "needs answer_after and callback_after to be 0")

    @property
    def answer(self) -> str:
        """The way in which its prompt ends by itself. A prompt that is yours to answer runs out."""
        return NO_RESPONSE if self.answer_after is None else self.outcome

    @property
    def ends_after(self) -> float:
        """Seconds after which its prompt ends by itself."""
        return PROMPT_LIFE if self.answer_after is None else self.answer_after


# --- the ready ones ----------------------------------------------------------------------------------

BY_HAND = "by-hand"
"""The name of the scenario in which you answer the prompt, on the page or by a call."""

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
        # How the status query answers.
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
        # New ones of every kind go here: the tests of hosts name test phones by their number.
        "not-permitted": Scenario(outcome=NOT_PERMITTED),
        "slow": Scenario(push_fault="slow"),
        "pending-no-text": Scenario(answer_after=45.0, pending=Pending.NO_TEXT_500),
        "pending-no-text-200": Scenario(answer_after=45.0, pending=Pending.NO_TEXT_200),
        "query-too-early": Scenario(callbacks=0, query_fault="does-not-exist"),
        "cancelled-1031": Scenario(outcome="cancelled-1031"),
        "bad-debt": Scenario(outcome="bad-debt"),
    }
)
"""The ready scenarios, by name."""

TEST_PHONES: Mapping[str, str] = MappingProxyType(
    {name: f"254700000{number:03}" for number, name in enumerate(SCENARIOS, start=1)}
)
"""The test phone of each scenario, by the scenario's name."""

_PLAYED_BY = MappingProxyType({phone: SCENARIOS[name] for name, phone in TEST_PHONES.items()})


def scenario_of(phone_number: str, /) -> Scenario | None:
    """The scenario of a test phone, or None for any other phone."""
    return _PLAYED_BY.get(phone_number)
