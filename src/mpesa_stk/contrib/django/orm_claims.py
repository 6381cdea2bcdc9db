"""The statements of `DjangoTransactionStore.claim_due`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import models

from mpesa_stk.contrib.django.models import FIELDS, Payment
from mpesa_stk.contrib.django.orm_database import OrmDatabase

__all__ = ["CHUNK", "claim_rows"]

CHUNK = 500
"""Databases limit the number of parameters in a statement."""


def claim_rows(
    database: OrmDatabase, now: datetime, limit: int, until: datetime, accounts: list[str], /
) -> list[dict[str, Any]]:
    """Lock due rows that no worker has locked, longest due first, and move them.

    The index is in order of due time within one account. So each account is asked separately, for as many
    rows as are its share.
    """
    payments = database.rows(Payment)
    if not database.locks_rows(Payment):
        # A transaction that reads first would fail at once if another one is writing.
        payments.filter(pk="").update(version=0)
    due = payments.filter(due_at__lte=now).order_by("due_at")
    locked: list[tuple[int, datetime, dict[str, Any]]] = []
    for account, share in _shares(due, accounts, limit).items():
        of_account = due.filter(account=account).values(*FIELDS)[:share]
        # PostgreSQL sorts before it locks, but returns each row as it is once locked.
        rows = sorted(database.locking(of_account, Payment), key=lambda row: row["due_at"])
        locked += [(turn, row["due_at"], row) for turn, row in enumerate(rows)]
    locked.sort(key=lambda place: place[:2])
    rows = [row for _, _, row in locked]
    numbers = [row["transaction_no"] for row in rows]
    for start in range(0, len(numbers), CHUNK):
        some = payments.filter(pk__in=numbers[start : start + CHUNK])
        some.update(due_at=until, version=models.F("version") + 1)
    return [{**row, "due_at": until, "version": row["version"] + 1} for row in rows]


def _shares(due: Any, accounts: list[str], limit: int) -> dict[str, int]:  # noqa: ANN401 - Django has no types
    """Return how many due payments to take of each account, if the accounts take turns."""
    if len(accounts) == 1:
        return {accounts[0]: limit}
    firsts: dict[str, datetime] = {}
    for start in range(0, len(accounts), CHUNK):
        some = due.filter(account__in=accounts[start : start + CHUNK]).order_by()
        firsts.update(some.values_list("account").annotate(models.Min("due_at")))
    if len(firsts) >= limit:
        longest_due = sorted(firsts, key=lambda account: (firsts[account], account))
        return dict.fromkeys(longest_due[:limit], 1)
    turns = [
        (turn, due_at, account)
        for account in firsts
        for turn, due_at in enumerate(
            due.filter(account=account).values_list("due_at", flat=True)[:limit]
        )
    ]
    shares: dict[str, int] = {}
    for _, _, account in sorted(turns)[:limit]:
        shares[account] = shares.get(account, 0) + 1
    return shares
