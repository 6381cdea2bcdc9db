"""`DjangoTransactionStore`: the methods of `TransactionStore` in Django's ORM.

Reads never leave a transaction open, and each write is a transaction of its own: the intent must be in
the database before the push is sent. Inside an ``atomic`` block of somebody else's that would not be
so, and Django raises RuntimeError (``durable=True``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import attrs
from django import db
from django.db.transaction import atomic

from ledger.models import Callback, Payment
from mpesa_stk import (
    DuplicateTransaction,
    HistoryEntry,
    KeptCallback,
    PaymentPage,
    PaymentSearch,
    StoreError,
    Transaction,
    TransactionState,
)
from mpesa_stk.payments.search import page_of, place_after
from mpesa_stk.payments.state import FORGOTTEN_PHONE

UNIQUE = {
    "transaction_no": ("transaction_no",),
    "idempotency_key": ("idempotency_key", "account"),
    "checkout_request_id": ("checkout_request_id",),
    "receipt_number": ("receipt_number",),
    "order_slot": ("order_slot", "account"),
}


EXACT = ("phone_number", "receipt_number", "reference", "order", "checkout_request_id", "state")


class DjangoTransactionStore:
    """Payments in the default database. Safe to share between threads, processes and machines."""

    def add(self, transaction: Transaction, /) -> None:
        """Insert a new transaction."""
        with _store_errors():
            try:
                with atomic(durable=True):
                    Payment.objects.create(**_row(transaction))
            except db.IntegrityError:
                _raise_duplicate(transaction, Payment.objects.all())
                raise

    def get(self, transaction_no: str, /) -> Transaction | None:
        """The transaction with that number."""
        return _first(transaction_no=transaction_no)

    def find(
        self,
        *,
        checkout_request_id: str | None = None,
        receipt_number: str | None = None,
        idempotency_key: str | None = None,
        account: str | None = None,
        reference: str | None = None,
    ) -> Transaction | None:
        """The transaction with that value; of several, the one created last."""
        wanted = {
            "reference": reference,
            "checkout_request_id": checkout_request_id,
            "receipt_number": receipt_number,
            "idempotency_key": idempotency_key,
        }
        of_account = {} if account is None else {"account": account}
        for field, value in wanted.items():
            if value is not None:
                return _first(**{field: value}, **of_account)
        return None

    def replace(self, transaction: Transaction, /) -> bool:
        """Store a changed transaction if nobody changed it meanwhile: UPDATE ... WHERE version."""
        row = _row(transaction) | {"version": transaction.version + 1}
        number = row.pop("transaction_no")
        with _store_errors():
            try:
                return _update(transaction, **row)
            except db.IntegrityError:
                _raise_duplicate(transaction, Payment.objects.exclude(transaction_no=number))
                raise

    def attempts(self, account: str, order: str, /) -> list[Transaction]:
        """All transactions of an account for an order, the first created first."""
        with _store_errors():
            rows = Payment.objects.filter(account=account, order=order)
            return [_transaction(row) for row in rows.order_by("created").values()]

    def claim_due(
        self, now: datetime, limit: int, lease: timedelta, accounts: frozenset[str], /
    ) -> list[Transaction]:
        """Take up to `limit` due transactions of `accounts`; move each `due_at` to ``now + lease``.

        Each is taken by an UPDATE that only the first of several workers can do: of the payments that
        another one takes in this very moment, none comes back from here.
        """
        with _store_errors():
            # One look an account: the index is in order of due time within one account.
            due = Payment.objects.filter(due_at__lte=now).order_by("due_at")
            shares = [due.filter(account=one).values()[:limit] for one in accounts]
            # The accounts take turns: the first payment of each, then the second of each, and so on.
            turns = [
                (turn, row["due_at"], row) for share in shares for turn, row in enumerate(share)
            ]
            turns.sort(key=lambda place: place[:2])
            found = [_transaction(row) for _, _, row in turns[:limit]]
            leased = {"due_at": now + lease}
            return [
                attrs.evolve(before, **leased, version=before.version + 1)
                for before in found
                if _update(before, **leased, version=before.version + 1)
            ]

    def keep_callback(self, kept: KeptCallback, /) -> None:
        """Keep a callback; if its id is kept already, nothing changes."""
        with _store_errors():
            try:
                with atomic(durable=True):
                    Callback.objects.create(**attrs.asdict(kept))
            except db.IntegrityError:
                if not Callback.objects.filter(callback_id=kept.callback_id).exists():
                    raise

    def kept_callbacks(
        self, *, checkout_request_id: str | None = None, transaction_no: str | None = None
    ) -> list[KeptCallback]:
        """The kept callbacks that name either value, oldest first."""
        wanted = db.models.Q(pk__in=[])
        if checkout_request_id is not None:
            wanted |= db.models.Q(checkout_request_id=checkout_request_id)
        if transaction_no is not None:
            wanted |= db.models.Q(transaction_no=transaction_no)
        with _store_errors():
            rows = Callback.objects.filter(wanted).order_by("received", "callback_id").values()
            return [KeptCallback(**(row | {"body": bytes(row["body"])})) for row in rows]

    def drop_callback(self, callback_id: str, /) -> None:
        """Forget a kept callback."""
        with _store_errors(), atomic(durable=True):
            Callback.objects.filter(callback_id=callback_id).delete()

    def purge_callbacks(self, before: datetime, limit: int, /) -> int:
        """Forget up to `limit` kept callbacks received before that moment, the oldest first."""
        with _store_errors(), atomic(durable=True):
            old = Callback.objects.filter(received__lt=before).order_by("received")
            numbers = list(old.values_list("callback_id", flat=True)[:limit])
            return Callback.objects.filter(callback_id__in=numbers).delete()[0]

    def search(self, search: PaymentSearch, /, *, cursor: str | None, limit: int) -> PaymentPage:
        """One page of the payments that are wanted, the last created first (optional protocol)."""
        after = place_after(cursor)
        wanted = _wanted(search)
        if any("\0" in value or not _is_unicode(value) for value in wanted.values()):
            return PaymentPage(payments=(), next_cursor=None)
        found = Payment.objects.filter(**wanted)
        if search.accounts is not None:
            found = found.filter(account__in=search.accounts)
        if search.created_from is not None:
            found = found.filter(created__gte=search.created_from)
        if search.created_before is not None:
            found = found.filter(created__lt=search.created_before)
        if search.needs_review:
            found = found.filter(needs_review__isnull=False)
        if search.not_forgotten:
            found = found.exclude(phone_number=FORGOTTEN_PHONE)
        if after is not None:
            created, number = after
            earlier = db.models.Q(created__lt=created) | db.models.Q(transaction_no__lt=number)
            found = found.filter(earlier, created__lte=created)
        with _store_errors():
            rows = found.order_by("-created", "-transaction_no").values()[: max(limit, 0) + 1]
            return page_of([_transaction(row) for row in rows], limit)


@contextmanager
def _store_errors() -> Iterator[None]:
    """Whatever fails in the database is a StoreError; a ValueError is a value that it cannot hold."""
    try:
        yield
    except (db.Error, ValueError) as error:
        raise StoreError(f"the database failed: {type(error).__name__}") from error


def _first(**wanted: str) -> Transaction | None:
    if any("\0" in value for value in wanted.values()):
        return None  # PostgreSQL can neither hold it nor look for it
    with _store_errors():
        row = Payment.objects.filter(**wanted).order_by("-created").values().first()
        return None if row is None else _transaction(row)


def _wanted(search: PaymentSearch) -> dict[str, str]:
    """The values that must be equal."""
    values = {field: getattr(search, field) for field in EXACT}
    if search.state is not None:
        values["state"] = search.state.value
    return {field: value for field, value in values.items() if value is not None}


def _is_unicode(text: str) -> bool:
    """Whether a text has no half of a surrogate pair."""
    return text.isascii() or text == text.encode(errors="replace").decode()


def _update(before: Transaction, **values: object) -> bool:
    """Write, unless another writer was first."""
    mine = Payment.objects.filter(transaction_no=before.transaction_no, version=before.version)
    with atomic(durable=True):
        return mine.update(**values) == 1


def _raise_duplicate(transaction: Transaction, others: db.models.QuerySet[Payment]) -> None:
    """Name the value that another payment has; each database says it in words of its own."""
    for field, names in UNIQUE.items():
        values = {name: getattr(transaction, name) for name in names}
        if values[field] is not None and others.filter(**values).exists():
            raise DuplicateTransaction(field) from None


# --- a transaction and its row -----------------------------------------------------------------------


def _row(transaction: Transaction) -> dict[str, Any]:
    row = {name: getattr(transaction, name) for name in attrs.fields_dict(Transaction)}
    history = [
        attrs.asdict(entry) | {"at": entry.at.isoformat(), "state": entry.state.value}
        for entry in transaction.history
    ]
    return row | {"state": transaction.state.value, "history": history}


def _transaction(row: dict[str, Any]) -> Transaction:
    history = tuple(
        HistoryEntry(
            **entry
            | {
                "at": datetime.fromisoformat(entry["at"]),
                "state": TransactionState(entry["state"]),
            }
        )
        for entry in row["history"]
    )
    return Transaction(**(row | {"state": TransactionState(row["state"]), "history": history}))
