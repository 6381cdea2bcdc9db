"""The simulator's values as JSON objects, for the control interface. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from decimal import Decimal
from enum import Enum
from typing import Any

import attrs

from mpesa_stk.daraja import wire
from mpesa_stk.simulator.access import bad_field
from mpesa_stk.simulator.callback_state import CallbackState
from mpesa_stk.simulator.journal import Entry
from mpesa_stk.simulator.ledger import LedgerRow
from mpesa_stk.simulator.outages import Outage
from mpesa_stk.simulator.prompts import Prompt
from mpesa_stk.simulator.scenarios import BadScenario, Scenario
from mpesa_stk.simulator.words import Groups

# --- to JSON -----------------------------------------------------------------------------------------


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
    prompt: Prompt, /, *, is_open: bool, callbacks: Iterable[Entry], state: CallbackState
) -> dict[str, object]:
    """A prompt. Its outcome is hidden while it is open.

    Args:
        prompt: The prompt.
        is_open: Whether it still waits for its customer.
        callbacks: The journal's entries of its callbacks.
        state: The state of its callback.
    """
    outcome = None if is_open else prompt.outcome
    paid = outcome is not None and outcome.paid
    return {
        "checkout_request_id": prompt.checkout_request_id,
        "merchant_request_id": prompt.merchant_request_id,
        "phone_number": prompt.phone_number,
        "business": prompt.business,
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
        "callback": _state_view(state),
    }


def _state_view(state: CallbackState) -> dict[str, object]:
    return {
        "state": state.name,
        "times": state.times,
        "next_at": None if state.next_at is None else time_view(state.next_at),
        "trouble": None
        if state.trouble is None
        else {"badge": state.trouble.badge, "reason": state.trouble.reason},
    }


def groups_view(groups: Groups, phones: Mapping[str, str] | None = None, /) -> list[object]:
    """The groups of a menu: the title of each, and its names with their words and test phones."""
    return [
        {
            "title": title,
            "names": [
                {"name": name, "words": text} | ({"phone": phones[name]} if phones else {})
                for name, text in words.items()
            ],
        }
        for title, words in groups.items()
    ]


def refusal_view(entries: Sequence[Entry], /) -> dict[str, object] | None:
    """The newest request for a token or a prompt, if it was refused, or else None."""
    newest = next((entry for entry in reversed(entries) if entry.kind in ("token", "push")), None)
    if newest is None or (newest.status == 200 and _got_its_wish(newest)):  # noqa: PLR2004 - HTTP's OK
        return None
    return {
        "number": newest.number,
        "kind": newest.kind,
        "status": newest.status,
        "message": _message_in(newest.answered),
        "note": newest.note,
    }


def _got_its_wish(entry: Entry) -> bool:
    return entry.kind == "token" or entry.checkout_request_id is not None


def _message_in(answered: str) -> str:
    """Daraja's code and text in a refusal, or empty."""
    try:
        answer = wire.read_object(answered.encode())
    except wire.WireError:
        return ""
    words = [answer.get(name) for name in ("errorCode", "errorMessage")]
    return " ".join(word for word in words if isinstance(word, str))


def row_view(row: LedgerRow, /) -> dict[str, object]:
    """A row of the ledger. Amounts are texts with two decimal places."""
    return {
        "number": row.number,
        "account": str(row.account),
        "kind": row.kind,
        "receipt_number": row.receipt_number,
        "completed": time_view(row.completed),
        "amount": f"{row.amount:.2f}",
        "balance": f"{row.balance:.2f}",
        "failed": row.failed,
        "phone_number": row.phone_number,
        "name": row.name,
        "reference": row.reference,
        "linked_to": row.linked_to,
        "checkout_request_id": row.checkout_request_id,
    }


def outage_view(current: Outage | None, outages: Iterable[Outage], /) -> dict[str, object]:
    """Whether there is an outage now, and all outages."""
    return {
        "on": current is not None,
        "all": [
            {
                "from": time_view(outage.begins),
                "to": None if outage.ends is None else time_view(outage.ends),
            }
            for outage in outages
        ],
    }


# --- from JSON ---------------------------------------------------------------------------------------


def object_from(body: bytes, /) -> Mapping[str, object]:
    """The JSON object of a body.

    Raises:
        Refused: The body is not a JSON object.
    """
    try:
        return wire.read_object(body)
    except wire.WireError:
        raise bad_field("body", "must be one JSON object") from None


def only_field(asked: Mapping[str, object], /, *names: str) -> tuple[str, object]:
    """The one field of an object, and its value.

    Raises:
        Refused: The object has other fields than one of these names.
    """
    if len(asked) != 1 or not set(asked) <= set(names):
        raise bad_field(" or ".join(names), "must be given, and nothing else")
    return next(iter(asked.items()))


def known_name(field: str, value: object, names: Mapping[str, object], /) -> str:
    """A name of a mapping.

    Raises:
        Refused: The mapping has no such name.
    """
    if isinstance(value, str) and value in names:
        return value
    raise bad_field(field, f"must be one of {', '.join(names)}")


def number_in(value: object, lowest: float, highest: float, /) -> float | None:
    """A number from JSON, or None if it is not a number within these bounds."""
    if not isinstance(value, (int, Decimal)) or isinstance(value, bool):
        return None
    if isinstance(value, Decimal) and not value.is_finite():
        return None
    return float(value) if lowest <= value <= highest else None


def scenario_from(fields: object, /) -> Scenario:
    """The scenario of a JSON object. Missing fields have their defaults.

    Raises:
        Refused: A field is unknown, or breaks its rule.
    """
    if not isinstance(fields, Mapping):
        raise bad_field("scenario", "must be an object")
    known = attrs.fields_dict(Scenario)
    for name in fields:
        if name not in known:
            raise bad_field(f"scenario.{name}", "is not a field of a scenario")
    numbers: dict[str, Any] = {
        name: float(value) if isinstance(value, Decimal) else value
        for name, value in fields.items()
    }
    try:
        return Scenario(**numbers)
    except BadScenario as bad:
        raise bad_field(f"scenario.{bad.field}", bad.rule) from None
