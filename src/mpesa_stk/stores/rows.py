"""Turn a stored payment into a row of plain values, and back. Pure.

A row is a dict with the names of the fields of `Transaction` or `KeptCallback`. If some database cannot
hold a value as it is, this file raises a `StoreError` before the value is sent. Otherwise some databases
would cut a text that is too long, one refuses NUL, and drivers raise other errors for half of a surrogate
pair.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

import attrs

from mpesa_stk.errors import StoreError
from mpesa_stk.payments.state import HistoryEntry, Transaction, TransactionState
from mpesa_stk.payments.store import KeptCallback

__all__ = [
    "LENGTHS",
    "UNIQUE",
    "checked",
    "kept_of",
    "row_of",
    "row_of_kept",
    "storable",
    "transaction_of",
]

UNIQUE = {
    "transaction_no": ("transaction_no",),
    "idempotency_key": ("idempotency_key", "account"),
    "checkout_request_id": ("checkout_request_id",),
    "receipt_number": ("receipt_number",),
    "order_slot": ("order_slot", "account"),
}
"""For each field that a conflict can name: the fields whose values, together, only one payment has."""

LENGTHS = dict.fromkeys(
    (*UNIQUE, "reference", "prompt_reference", "order", "app"), 255
) | dict.fromkeys(
    ("account", "phone_number", "state", "result_code", "settled_by", "callback_id"), 64
)
"""The largest number of characters in each field. Other fields have no limit."""

_MOST = 2**63 - 1
_NOT_STORABLE = re.compile("[\0\ud800-\udfff]")
_FIELDS = tuple(field.name for field in attrs.fields(Transaction))
_VALUES = operator.attrgetter(*_FIELDS)
# Daraja's words. No rule reads them, so a strange character in one must not keep a paid payment open.
_WORDS = (
    "merchant_request_id",
    "response_description",
    "customer_message",
    "result_code",
    "result_desc",
)


def storable(text: str, /) -> bool:
    """Return whether a text has no NUL and no half of a surrogate pair.

    Every database can hold such a text.
    """
    if text.isascii():
        return "\0" not in text
    return _NOT_STORABLE.search(text) is None


def checked(row: dict[str, Any], /) -> dict[str, Any]:
    """Return the row unchanged if every database can hold its values.

    Raises:
        StoreError: A value cannot be stored as it is. The text names the field, not the value.
    """
    for name, value in row.items():
        if value is None:
            continue
        if isinstance(value, str):
            good = storable(value) and len(value) <= LENGTHS.get(name, len(value))
        elif isinstance(value, int):
            good = -_MOST <= value <= _MOST
        else:
            good = not isinstance(value, datetime) or value.tzinfo is not None
        if not good:
            raise StoreError(f"{name} holds a value that cannot be stored")
    return row


def row_of(transaction: Transaction, /, *, version: int | None = None) -> dict[str, Any]:
    """Return the row of a payment, with its own version or another one.

    A NUL in Daraja's words becomes U+2400, the symbol for NUL.

    Raises:
        StoreError: A value cannot be stored as it is.
    """
    row = dict(zip(_FIELDS, _VALUES(transaction), strict=True))
    for name in _WORDS:
        words = row[name]
        if words is not None and "\0" in words:
            row[name] = words.replace("\0", "\u2400")
    row["state"] = transaction.state.value
    row["history"] = json.dumps([_line(entry) for entry in transaction.history])
    if version is not None:
        row["version"] = version
    return checked(row)


def transaction_of(row: Mapping[str, Any], /) -> Transaction:
    """Return the payment of a row.

    Raises:
        StoreError: This version of the library did not write the row.
    """
    try:
        history = tuple(_entry(line) for line in json.loads(row["history"]))
        state = TransactionState(row["state"])
        return Transaction(**{**row, "state": state, "history": history})
    except (KeyError, TypeError, ValueError):
        pass
    raise StoreError("a stored payment cannot be read")


def row_of_kept(kept: KeptCallback, /) -> dict[str, Any]:
    """Return the row of a kept callback.

    Raises:
        StoreError: A value cannot be stored as it is.
    """
    return checked(attrs.asdict(kept))


def kept_of(row: Mapping[str, Any], /) -> KeptCallback:
    """Return the kept callback of a row."""
    return KeptCallback(**row)


def _line(entry: HistoryEntry) -> dict[str, Any]:
    at = entry.at.astimezone(timezone.utc).isoformat()
    line = {"at": at, "event": entry.event, "code": entry.code, "state": entry.state.value}
    if entry.by is not None or entry.note is not None:
        line |= {"by": entry.by, "note": entry.note}
    return line


def _entry(line: Mapping[str, Any]) -> HistoryEntry:
    at = datetime.fromisoformat(line["at"])
    return HistoryEntry(**{**line, "at": at, "state": TransactionState(line["state"])})
