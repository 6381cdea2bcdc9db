"""Rows of payments that a database returned, for the SQL stores and for those of Django."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mpesa_stk.errors import DuplicateTransaction, StoreError
from mpesa_stk.hooks import log_trouble
from mpesa_stk.payments.search import PaymentPage, cursor_at
from mpesa_stk.payments.state import Transaction
from mpesa_stk.stores.rows import UNIQUE, transaction_of

__all__ = ["page_of_rows", "readable", "refuse_taken", "was_replaced"]

_Row = dict[str, Any]


def readable(rows: Iterable[_Row], /) -> list[Transaction]:
    """Return the payments of the rows. A row that cannot be read is logged and left out."""
    found = []
    for row in rows:
        try:
            found.append(transaction_of(row))
        except StoreError:
            log_trouble("payment_unreadable", transaction_no=row["transaction_no"])
    return found


def page_of_rows(rows: list[_Row], limit: int, /) -> PaymentPage:
    """Return a page of at most `limit` rows. One more row means that there is a next page."""
    shown, cursor = rows[:limit], None
    if len(rows) > limit:
        cursor = cursor_at((shown[-1]["created"], shown[-1]["transaction_no"]))
    return PaymentPage(payments=tuple(readable(shown)), next_cursor=cursor)


def was_replaced(row: Mapping[str, Any], stored: Mapping[str, Any] | None, /) -> bool | None:
    """Return whether our row was committed, or None if that is not certain.

    Only one writer can make the next version. If the stored row has that version and is not ours,
    ours was not written. If that version is not there yet, our commit may still be under way.
    """
    if stored is None or stored["version"] != row["version"]:
        return None
    return stored == row


def refuse_taken(row: _Row, others: Iterable[_Row], /, *, new: bool) -> None:
    """Raise DuplicateTransaction with the field whose value another payment has.

    The rows are read for it, because each database words this error differently.

    Args:
        row: The row that was refused.
        others: Rows that have one of its unique values.
        new: Whether the row is a new payment. If not, it may be among the others.
    """
    found = list(others)
    for field, names in UNIQUE.items():
        for other in found if row[field] is not None else ():
            ours = not new and other["transaction_no"] == row["transaction_no"]
            if not ours and all(other[name] == row[name] for name in names):
                raise DuplicateTransaction(field)
