"""`MemoryTransactionStore`: for tests and demos. It forgets everything with the process."""

from __future__ import annotations

import heapq
import threading
from datetime import datetime, timedelta

import attrs

from mpesa_stk.errors import DuplicateTransaction
from mpesa_stk.payments.store import KeptCallback
from mpesa_stk.payments.transaction import Transaction

__all__ = ["MemoryTransactionStore"]

_UNIQUE = ("idempotency_key", "checkout_request_id", "receipt_number")


class MemoryTransactionStore:
    """A `TransactionStore` in this process: thread-safe, O(1) look-ups.

    A heap of due times makes `claim_due` cost what is due, not what is stored. Its entries are
    never removed in place: one whose time is no longer the transaction's is skipped when it
    surfaces, and all such are dropped when they become most of the heap.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._transactions: dict[str, Transaction] = {}
        self._unique: dict[str, dict[str, str]] = {field: {} for field in _UNIQUE}
        self._by_reference: dict[str, list[str]] = {}
        self._due: list[tuple[datetime, str]] = []
        self._scheduled = 0
        self._kept: dict[str, KeptCallback] = {}
        self._kept_for: dict[tuple[str, str | None], dict[str, KeptCallback]] = {}

    def add(self, transaction: Transaction, /) -> None:
        """Insert a new transaction."""
        with self._lock:
            if transaction.transaction_no in self._transactions:
                raise DuplicateTransaction("transaction_no")
            self._check_unique(transaction)
            self._by_reference.setdefault(transaction.reference, []).append(
                transaction.transaction_no
            )
            self._write(None, transaction)

    def get(self, transaction_no: str, /) -> Transaction | None:
        """The transaction with that number."""
        with self._lock:
            return self._transactions.get(transaction_no)

    def find(
        self,
        *,
        checkout_request_id: str | None = None,
        receipt_number: str | None = None,
        idempotency_key: str | None = None,
        reference: str | None = None,
    ) -> Transaction | None:
        """The transaction with that value; of several with a reference, the one created last."""
        wanted = {
            "checkout_request_id": checkout_request_id,
            "receipt_number": receipt_number,
            "idempotency_key": idempotency_key,
        }
        with self._lock:
            if reference is not None:
                numbers = self._by_reference.get(reference, [])
                found = [self._transactions[number] for number in numbers]
                return max(found, key=lambda transaction: transaction.created, default=None)
            for field, value in wanted.items():
                if value is not None:
                    return self._transactions.get(self._unique[field].get(value, ""))
            return None

    def replace(self, transaction: Transaction, /) -> bool:
        """Store a changed transaction if nobody changed it meanwhile."""
        with self._lock:
            before = self._transactions.get(transaction.transaction_no)
            if before is None or before.version != transaction.version:
                return False
            self._check_unique(transaction)
            self._write(before, attrs.evolve(transaction, version=transaction.version + 1))
            return True

    def claim_due(self, now: datetime, limit: int, lease: timedelta, /) -> list[Transaction]:
        """Take up to `limit` due transactions and move each one's `due_at` to ``now + lease``."""
        with self._lock:
            taken: dict[str, Transaction] = {}
            while self._due and len(taken) < limit and self._due[0][0] <= now:
                due_at, number = heapq.heappop(self._due)
                if self._transactions[number].due_at == due_at:
                    taken[number] = self._transactions[number]
            return [self._write_lease(before, now + lease) for before in taken.values()]

    def keep_callback(self, kept: KeptCallback, /) -> None:
        """Keep a callback."""
        with self._lock:
            self._kept[kept.callback_id] = kept
            for owner in self._owners(kept):
                self._kept_for.setdefault(owner, {})[kept.callback_id] = kept

    def kept_callbacks(
        self, *, checkout_request_id: str | None = None, transaction_no: str | None = None
    ) -> list[KeptCallback]:
        """The kept callbacks that name either value, oldest first."""
        with self._lock:
            found = {
                **self._kept_for.get(("checkout_request_id", checkout_request_id), {}),
                **self._kept_for.get(("transaction_no", transaction_no), {}),
            }
            return sorted(found.values(), key=lambda kept: kept.received)

    def drop_callback(self, callback_id: str, /) -> None:
        """Forget a kept callback."""
        with self._lock:
            kept = self._kept.pop(callback_id, None)
            for owner in self._owners(kept) if kept is not None else ():
                del self._kept_for[owner][callback_id]
                if not self._kept_for[owner]:
                    del self._kept_for[owner]

    @staticmethod
    def _owners(kept: KeptCallback) -> list[tuple[str, str | None]]:
        """The values that a kept callback is found by."""
        owners: list[tuple[str, str | None]] = [("checkout_request_id", kept.checkout_request_id)]
        if kept.transaction_no is not None:
            owners.append(("transaction_no", kept.transaction_no))
        return owners

    def _check_unique(self, transaction: Transaction) -> None:
        for field, owners in self._unique.items():
            value = getattr(transaction, field)
            if owners.get(value, transaction.transaction_no) != transaction.transaction_no:
                raise DuplicateTransaction(field)

    def _write(self, before: Transaction | None, after: Transaction) -> None:
        number = after.transaction_no
        for field, owners in self._unique.items():
            value = getattr(after, field)
            if value is not None:
                owners[value] = number
        self._transactions[number] = after
        was_due = None if before is None else before.due_at
        self._scheduled += (after.due_at is not None) - (was_due is not None)
        if after.due_at is not None and after.due_at != was_due:
            self._schedule(after.due_at, number)

    def _write_lease(self, before: Transaction, until: datetime) -> Transaction:
        """Move a due time whose heap entry was just taken out."""
        after = attrs.evolve(before, due_at=until, version=before.version + 1)
        self._write(before, after)
        if before.due_at == until:  # a lease of no length
            self._schedule(until, after.transaction_no)
        return after

    def _schedule(self, due_at: datetime, number: str) -> None:
        heapq.heappush(self._due, (due_at, number))
        self._compact()

    def _compact(self) -> None:
        """Drop the entries that are out of date, when they are most of the heap."""
        if len(self._due) > 2 * self._scheduled + 64:
            self._due = list(
                {
                    (due_at, number)
                    for due_at, number in self._due
                    if self._transactions[number].due_at == due_at
                }
            )
            heapq.heapify(self._due)
