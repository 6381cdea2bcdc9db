"""Looks a text of the admin's search field up as everything that it can be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db import models

from mpesa_stk.contrib.django.admin_lists import accounts_of
from mpesa_stk.errors import InvalidPhoneNumber
from mpesa_stk.phone import PhoneNumber
from mpesa_stk.stores.rows import storable

__all__ = ["numbers_for"]

_MOST_FOUND = 200


def numbers_for(text: str, rows: Any, /) -> list[str]:  # noqa: ANN401 - Django has no types
    """Return the numbers of the payments that a text may mean, the last created first of each kind.

    Each kind is a separate query, because one query for all kinds would read the whole table.
    """
    if not storable(text):
        return []
    found: dict[str, None] = {}
    for wanted in _wanted(text, rows):
        newest = rows.filter(wanted).order_by("-created").values_list("pk", flat=True)
        found.update(dict.fromkeys(newest[:_MOST_FOUND]))
    return list(found)[:_MOST_FOUND]


def _wanted(text: str, rows: Any) -> Iterator[models.Q]:  # noqa: ANN401 - as above
    yield models.Q(transaction_no=text)
    yield models.Q(receipt_number=text.upper())
    yield models.Q(checkout_request_id=text)
    yield models.Q(reference=text)
    # The index of orders begins with the account.
    yield models.Q(account__in=accounts_of(rows), order=text)
    try:
        yield models.Q(phone_number=PhoneNumber.parse(text).e164)
    except InvalidPhoneNumber:
        return
