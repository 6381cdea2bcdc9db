"""The queries of `DjangoTransactionStore.search`, each of which reads an index in the order of the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import models

from mpesa_stk.payments.search import PaymentSearch, Place
from mpesa_stk.payments.state import FORGOTTEN_PHONE
from mpesa_stk.stores.rows import storable

__all__ = ["search_rows"]

_Rows = list[dict[str, Any]]
_EXACT = ("phone_number", "receipt_number", "reference", "order", "checkout_request_id", "state")
_OF_ANY_ACCOUNT = (
    "phone_number",
    "receipt_number",
    "reference",
    "checkout_request_id",
    "needs_review",
)
"""The fields whose indexes do not begin with the account."""


def search_rows(
    payments: Any,  # noqa: ANN401 - Django has no types
    search: PaymentSearch,
    after: Place | None,
    limit: int,
    read: Callable[[Any], _Rows],
    /,
) -> _Rows:
    """Return up to `limit` rows of the payments that are wanted, the last created first.

    The index of an account is in the order of the page. So the first rows of each account are read, and
    only these are sorted.

    Raises:
        StoreError: The database failed.
    """
    texts = [value for field in _EXACT if isinstance(value := getattr(search, field), str)]
    if not all(map(storable, texts)):
        return []  # PostgreSQL can neither store such a text nor search for it
    wanted = payments.filter(*_conditions(search, after)).order_by("-created", "-transaction_no")
    if search.accounts is None:
        return read(wanted[:limit])
    accounts = sorted(filter(storable, search.accounts))
    if any(getattr(search, field) for field in _OF_ANY_ACCOUNT):
        return read(wanted.filter(account__in=accounts)[:limit])
    rows: _Rows = []
    for account in accounts:
        rows += read(wanted.filter(account=account)[:limit])
    rows.sort(key=lambda row: (row["created"], row["transaction_no"]), reverse=True)
    return rows[:limit]


def _conditions(search: PaymentSearch, after: Place | None) -> list[models.Q]:
    """Return the conditions on the wanted payments, apart from their accounts."""
    wanted = [
        models.Q((field, getattr(value, "value", value)))  # a state is an Enum
        for field in _EXACT
        if (value := getattr(search, field)) is not None
    ]
    if search.created_from is not None:
        wanted.append(models.Q(created__gte=search.created_from))
    if search.created_before is not None:
        wanted.append(models.Q(created__lt=search.created_before))
    if search.needs_review:
        wanted.append(models.Q(in_review=True))
    if search.not_forgotten:
        wanted.append(~models.Q(phone_number=FORGOTTEN_PHONE))
    if after is not None:
        created, number = after
        earlier = models.Q(created__lt=created) | models.Q(transaction_no__lt=number)
        wanted += [models.Q(created__lte=created), earlier]
    return wanted
