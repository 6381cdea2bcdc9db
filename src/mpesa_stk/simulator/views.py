"""What the control interface shows and reads: the simulator's values in JSON's own types. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from decimal import Decimal
from enum import Enum
from typing import Any

import attrs

from mpesa_stk.daraja import wire
from mpesa_stk.simulator.faults import FAULTS
from mpesa_stk.simulator.journal import Entry
from mpesa_stk.simulator.outcomes import OUTCOMES
from mpesa_stk.simulator.prompts import Prompt
from mpesa_stk.simulator.scenarios import Pending, Scenario, Shape

__all__ = [
    "BadField",
    "entry_view",
    "is_number",
    "known_name",
    "object_from",
    "only_field",
    "prompt_view",
    "scenario_from",
    "scenario_view",
    "time_view",
]

_DAY = 86_400
_MOST_CALLBACKS = 10
_MOST_QUERIES = 1_000_000


@attrs.frozen
class BadField(Exception):
    """A field cannot be used.

    Attributes:
        field: Which.
        rule: What it must be.
    """

    field: str
    rule: str


# --- shown -------------------------------------------------------------------------------------------


def time_view(moment: datetime, /) -> str:
    """A moment as ISO 8601, in UTC, to the millisecond."""
    text = moment.astimezone(timezone.utc).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def scenario_view(scenario: Scenario, /) -> dict[str, object]:
    """A scenario's fields."""
    return attrs.asdict(scenario, value_serializer=_plain)


def _plain(_owner: object, _field: object, value: object) -> object:
    return value.value if isinstance(value, Enum) else value


def entry_view(entry: Entry, /) -> dict[str, object]:
    """An entry of the journal."""
    return {
        "number": entry.number,
        "at": time_view(entry.at),
        "kind": entry.kind,
        "asked": entry.asked,
        "status": entry.status,
        "answered": entry.answered,
        "note": entry.note,
        "advice": list(entry.advice),
    }


def prompt_view(
    prompt: Prompt, /, *, is_open: bool, callbacks: Iterable[Entry]
) -> dict[str, object]:
    """A prompt; how it is going to end is not told before it has.

    Args:
        prompt: The prompt.
        is_open: Whether it still waits for its customer.
        callbacks: The journal's entries of its callbacks.
    """
    outcome = None if is_open else prompt.outcome
    paid = outcome is not None and outcome.paid
    return {
        "checkout_request_id": prompt.checkout_request_id,
        "merchant_request_id": prompt.merchant_request_id,
        "phone_number": prompt.phone_number,
        "amount": prompt.amount,
        "reference": prompt.reference,
        "opened": time_view(prompt.opened),
        "ends": time_view(prompt.ends),
        "open": is_open,
        "answer": None if is_open else prompt.answer,
        "paid": paid,
        "result_code": None if outcome is None else outcome.code,
        "result_desc": None if outcome is None else outcome.description,
        "receipt_number": prompt.receipt_number if paid else None,
        "callback_url": prompt.callback_url,
        "callbacks": [
            {"at": time_view(entry.at), "status": entry.status, "note": entry.note}
            for entry in callbacks
        ],
    }


# --- read --------------------------------------------------------------------------------------------


def object_from(body: bytes, /) -> Mapping[str, object]:
    """The JSON object that a body is.

    Raises:
        BadField: It is anything else.
    """
    try:
        return wire.read_object(body)
    except wire.WireError:
        raise BadField("body", "must be one JSON object") from None


def only_field(asked: Mapping[str, object], /, *names: str) -> tuple[str, object]:
    """The one field that is given, and its value.

    Raises:
        BadField: It is not one of those names, or not alone.
    """
    if len(asked) != 1 or not set(asked) <= set(names):
        raise BadField(" or ".join(names), "must be given, and nothing else")
    return next(iter(asked.items()))


def known_name(field: str, value: object, names: Mapping[str, object], /) -> str:
    """A name out of those that are known.

    Raises:
        BadField: It is anything else.
    """
    if isinstance(value, str) and value in names:
        return value
    raise BadField(field, f"must be one of {', '.join(names)}")


_Rule = tuple[Callable[[object], bool], str]


def _one_of(names: Iterable[str]) -> _Rule:
    kept = tuple(names)
    return (lambda value: isinstance(value, str) and value in kept), f"one of {', '.join(kept)}"


def _whole(lowest: int, highest: int) -> _Rule:
    def fits(value: object) -> bool:
        return type(value) is int and lowest <= value <= highest

    return fits, f"a whole number from {lowest} to {highest}"


def _or_null(rule: _Rule) -> _Rule:
    fits, words = rule
    return (lambda value: value is None or fits(value)), f"{words}, or null"


def is_number(value: object, lowest: float, highest: float, /) -> bool:
    """Whether a value read from JSON is a number within bounds."""
    if isinstance(value, Decimal) and not value.is_finite():
        return False
    return type(value) in (int, Decimal) and lowest <= value <= highest  # type: ignore[operator]


_SECONDS: _Rule = (
    lambda value: is_number(value, 0, _DAY),
    f"a number of seconds from 0 to {_DAY}",
)
_TRUTH: _Rule = (lambda value: isinstance(value, bool)), "true or false"

_RULES: Mapping[str, _Rule] = {
    "outcome": _one_of(OUTCOMES),
    "answer_after": _or_null(_SECONDS),
    "callbacks": _whole(0, _MOST_CALLBACKS),
    "callback_after": _SECONDS,
    "callback_first": _TRUTH,
    "shape": _one_of(shape.value for shape in Shape),
    "pending": _one_of(pending.value for pending in Pending),
    "query_outcome": _or_null(_one_of(OUTCOMES)),
    "queries_a_minute": _or_null(_whole(1, _MOST_QUERIES)),
    "push_fault": _or_null(_one_of(FAULTS)),
    "query_fault": _or_null(_one_of(FAULTS)),
}


def scenario_from(fields: object, /) -> Scenario:
    """The scenario that a JSON object describes; what it does not name is as by default.

    Raises:
        BadField: A field is unknown or cannot be used.
    """
    if not isinstance(fields, Mapping):
        raise BadField("scenario", "must be an object")
    for name, value in fields.items():
        if name not in _RULES:
            raise BadField(f"scenario.{name}", "is not a field of a scenario")
        fits, words = _RULES[name]
        if not fits(value):
            raise BadField(f"scenario.{name}", f"must be {words}")
    numbers: dict[str, Any] = {
        name: float(value) if isinstance(value, Decimal) else value
        for name, value in fields.items()
    }
    try:
        return Scenario(**numbers)
    except ValueError:
        # The only rule about two fields.
        rule = "needs answer_after and callback_after to be 0"
        raise BadField("scenario.callback_first", rule) from None
