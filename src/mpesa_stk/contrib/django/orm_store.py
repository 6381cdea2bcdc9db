"""`DjangoTransactionStore`: payments in a database of the host's Django project (extra ``django``).

Each write is a separate transaction, because the intent of a payment must be in the database before its
push is sent. If the host is in a transaction, a write raises `ConfigurationError`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import models

from mpesa_stk.clock import Clock
from mpesa_stk.contrib.django.models import FIELDS, KeptCallback, Payment
from mpesa_stk.contrib.django.orm_claims import CHUNK, claim_rows
from mpesa_stk.contrib.django.orm_database import OrmDatabase
from mpesa_stk.contrib.django.orm_search import search_rows
from mpesa_stk.payments.search import PaymentPage, PaymentSearch, place_after
from mpesa_stk.payments.state import Transaction
from mpesa_stk.payments.store import KeptCallback as Kept
from mpesa_stk.privacy import hides_locals
from mpesa_stk.stores.payment_rows import page_of_rows, readable, refuse_taken, was_replaced
from mpesa_stk.stores.rows import (
    UNIQUE,
    kept_of,
    row_of,
    row_of_kept,
    storable,
    transaction_of,
)

__all__ = ["DjangoTransactionStore"]

_ORDERED = ("reference", "idempotency_key")


class DjangoTransactionStore:
    """A `TransactionStore` on the ORM. Safe to share between threads, processes and machines.

    Django keeps a connection for each thread. On an event loop, wrap the store in
    `ThreadedTransactionStore`.
    """

    def __init__(self, using: str | None = None, *, clock: Clock | None = None) -> None:
        """Make a store. The first call connects.

        Args:
            using: The alias of the database, or None for the one to which the host's routers write.
            clock: Waits between two tries after a deadlock.

        Raises:
            ConfigurationError: There is no such alias.
        """
        self._database = OrmDatabase(using, clock=clock)

    # --- payments --------------------------------------------------------------------------------

    @hides_locals
    def add(self, transaction: Transaction, /) -> None:
        """Insert a new transaction."""
        row = _row_of(transaction)

        def insert() -> bool:
            self._database.rows(Payment).create(**row)
            return True

        self._database.write(
            Payment,
            insert,
            refused=lambda: self._refuse(row, new=True),
            unsure=lambda: self._stored_row(transaction) == row or None,
        )

    @hides_locals
    def get(self, transaction_no: str, /) -> Transaction | None:
        """Return the transaction with that number, or None."""
        return self._first("transaction_no", transaction_no)

    @hides_locals
    def find(
        self,
        *,
        checkout_request_id: str | None = None,
        receipt_number: str | None = None,
        idempotency_key: str | None = None,
        account: str | None = None,
        reference: str | None = None,
    ) -> Transaction | None:
        """Return the transaction with that value, or the last created of several."""
        wanted = {
            "reference": reference,
            "checkout_request_id": checkout_request_id,
            "receipt_number": receipt_number,
            "idempotency_key": idempotency_key,
        }
        for field, value in wanted.items():
            if value is not None:
                return self._first(field, value, account)
        return None

    @hides_locals
    def replace(self, transaction: Transaction, /) -> bool:
        """Store a changed transaction, unless another writer was first."""
        row = _row_of(transaction, version=transaction.version + 1)
        number = row.pop("transaction_no")

        def update() -> bool:
            seen = self._database.rows(Payment).filter(pk=number, version=transaction.version)
            return bool(seen.update(**row))

        return self._database.write(
            Payment,
            update,
            refused=lambda: self._refuse({**row, "transaction_no": number}, new=False),
            unsure=lambda: was_replaced(
                {**row, "transaction_no": number}, self._stored_row(transaction)
            ),
        )

    @hides_locals
    def attempts(self, account: str, order: str, /) -> list[Transaction]:
        """Return all transactions of an account for an order, the first created first."""
        if not storable(account + order):
            return []
        found = self._database.rows(Payment).filter(account=account, order=order)
        rows = self._read(found.order_by("created", "transaction_no"))
        return [transaction_of(row) for row in rows]

    @hides_locals
    def search(self, search: PaymentSearch, /, *, cursor: str | None, limit: int) -> PaymentPage:
        """Return one page of the payments that are wanted, the last created first.

        If the history or state of a row cannot be read, the store logs the row and leaves it out.
        """
        after = place_after(cursor)
        if limit < 1:
            return PaymentPage(payments=(), next_cursor=None)
        rows = search_rows(self._database.rows(Payment), search, after, limit + 1, self._read)
        return page_of_rows(rows, limit)

    @hides_locals
    def claim_due(
        self, now: datetime, limit: int, lease: timedelta, accounts: frozenset[str], /
    ) -> list[Transaction]:
        """Claim up to `limit` due transactions of `accounts`, longest due first, accounts in turn.

        A claim sets `due_at` to ``now + lease``. If the history or state of a row cannot be read, the
        store logs the row and leaves it out, so that it does not hold up the others.
        """
        mine = sorted(filter(storable, accounts))
        if limit < 1 or not mine:
            return []
        rows = self._database.write(
            Payment,
            lambda: claim_rows(self._database, now, limit, now + lease, mine),
            single=False,
        )
        return readable(rows)

    # --- kept callbacks ----------------------------------------------------------------------------

    @hides_locals
    def keep_callback(self, kept: Kept, /) -> None:
        """Keep a callback, unless one with its id is kept already."""
        row = row_of_kept(kept)

        def insert() -> bool:
            self._database.rows(KeptCallback).create(**row)
            return True

        def is_kept() -> bool | None:
            kept_now = self._database.rows(KeptCallback).filter(pk=kept.callback_id)
            return self._database.read(KeptCallback, kept_now.exists) or None

        self._database.write(KeptCallback, insert, refused=is_kept, unsure=is_kept)

    @hides_locals
    def kept_callbacks(
        self, *, checkout_request_id: str | None = None, transaction_no: str | None = None
    ) -> list[Kept]:
        """Return the kept callbacks that name either value, oldest first."""
        pairs = {"checkout_request_id": checkout_request_id, "transaction_no": transaction_no}
        owners = [
            models.Q((name, value))
            for name, value in pairs.items()
            if value is not None and storable(value)
        ]
        if not owners:
            return []
        found = self._database.rows(KeptCallback).filter(models.Q(*owners, _connector=models.Q.OR))
        ordered = found.order_by("received", "callback_id").values()
        rows = self._database.read(KeptCallback, lambda: list(ordered))
        return [kept_of({**row, "body": bytes(row["body"])}) for row in rows]

    @hides_locals
    def drop_callback(self, callback_id: str, /) -> None:
        """Forget a kept callback."""
        if storable(callback_id):
            this = self._database.rows(KeptCallback).filter(pk=callback_id)
            self._database.write(KeptCallback, this.delete)

    @hides_locals
    def purge_callbacks(self, before: datetime, limit: int, /) -> int:
        """Forget up to `limit` callbacks received before a moment, oldest first.

        Return their number.
        """
        callbacks = self._database.rows(KeptCallback)
        old = callbacks.filter(received__lt=before).order_by("received")[: max(limit, 0)]
        numbers = self._database.read(
            KeptCallback, lambda: list(old.values_list("callback_id", flat=True))
        )

        def forget() -> int:
            return sum(
                callbacks.filter(pk__in=numbers[start : start + CHUNK]).delete()[0]
                for start in range(0, len(numbers), CHUNK)
            )

        return self._database.write(KeptCallback, forget, single=False) if numbers else 0

    # --- parts ---------------------------------------------------------------------------------------

    def _read(self, found: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - Django has no types
        """Return the rows of a query of payments."""
        return self._database.read(Payment, lambda: list(found.values(*FIELDS)))

    def _first(self, field: str, value: str, account: str | None = None) -> Transaction | None:
        """Return the payment with a value, or the one of several that was created last."""
        if not storable(value) or not storable(account or ""):
            return None  # PostgreSQL can neither hold it nor look for it
        found = self._database.rows(Payment).filter(**{field: value})
        if account is not None:
            found = found.filter(account=account)
        if field in _ORDERED:
            found = found.order_by("-created")
        rows = self._read(found[:1])
        return transaction_of(rows[0]) if rows else None

    def _stored_row(self, transaction: Transaction) -> dict[str, Any] | None:
        stored = self.get(transaction.transaction_no)
        return None if stored is None else _row_of(stored)

    def _refuse(self, row: dict[str, Any], *, new: bool) -> None:
        """Raise DuplicateTransaction with the field whose value another payment has."""
        same = [
            models.Q(*((name, row[name]) for name in names), _connector=models.Q.AND)
            for field, names in UNIQUE.items()
            if row[field] is not None
        ]
        found = self._database.rows(Payment).filter(models.Q(*same, _connector=models.Q.OR))
        refuse_taken(row, self._read(found), new=new)


def _row_of(transaction: Transaction, **changes: int) -> dict[str, Any]:
    row = row_of(transaction, **changes)
    return {**row, "in_review": row["needs_review"] is not None}
