"""Stores of payments in memory, for tests and demos. They forget all when the process ends."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Container, Iterable, Iterator
from datetime import datetime, timedelta

import attrs

from mpesa_stk.errors import DuplicateTransaction, StoreError
from mpesa_stk.forks import PerProcess
from mpesa_stk.payments.search import (
    PaymentPage,
    PaymentSearch,
    matches,
    page_of,
    place_after,
    place_of,
)
from mpesa_stk.payments.state import Transaction
from mpesa_stk.payments.store import AwaitedTransactionStore, KeptCallback
from mpesa_stk.privacy import hides_locals

__all__ = ["AsyncMemoryTransactionStore", "MemoryTransactionStore"]

_UNIQUE = ("idempotency_key", "checkout_request_id", "receipt_number", "order_slot")
_OF_AN_ACCOUNT = ("idempotency_key", "order_slot")
_Due = list[tuple[datetime, str]]


class MemoryTransactionStore:
    """Keep transactions in this process. Thread-safe, with look-ups in O(1), but `search` looks at many.

    Each account has a heap of due times, so the cost of `claim_due` depends on the number of due
    transactions, not of all. An entry is never removed in place. If its time is no longer the
    transaction's, it is out of date: `claim_due` skips it when it surfaces, and the store drops all
    such entries when they become most of the heap.
    """

    def __init__(self, *, max_kept_callbacks: int = 10_000) -> None:
        """Make an empty store.

        Args:
            max_kept_callbacks: Largest number of kept callbacks. Keeping one more raises StoreError, so
                it is not acknowledged, and Safaricom may send it again.
        """
        self._most_kept = max_kept_callbacks
        self._lock = PerProcess(threading.Lock)
        self._transactions: dict[str, Transaction] = {}
        # The transactions with each value of a field.
        self._numbers: dict[str, dict[str, list[str]]] = {}
        for field in ("reference", "order", *_UNIQUE):
            self._numbers[field] = {}
        self._due: dict[str, _Due] = {}  # by account
        self._scheduled: dict[str, int] = {}
        self._kept: dict[str, KeptCallback] = {}
        self._kept_for: dict[tuple[str, str], dict[str, KeptCallback]] = {}

    @hides_locals
    def add(self, transaction: Transaction, /) -> None:
        """Insert a new transaction."""
        with self._lock():
            if transaction.transaction_no in self._transactions:
                raise DuplicateTransaction("transaction_no")
            self._check_unique(transaction)
            self._write(None, transaction)

    @hides_locals
    def get(self, transaction_no: str, /) -> Transaction | None:
        """Return the transaction with that number, or None."""
        with self._lock():
            return self._transactions.get(transaction_no)

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
        with self._lock():
            for field, value in wanted.items():
                if value is not None:
                    found = self._with(field, value, account)
                    return max(found, key=lambda transaction: transaction.created, default=None)
            return None

    @hides_locals
    def replace(self, transaction: Transaction, /) -> bool:
        """Store a changed transaction, unless another writer was first."""
        with self._lock():
            before = self._transactions.get(transaction.transaction_no)
            if before is None or before.version != transaction.version:
                return False
            self._check_unique(transaction)
            self._write(before, attrs.evolve(transaction, version=transaction.version + 1))
            return True

    @hides_locals
    def attempts(self, account: str, order: str, /) -> list[Transaction]:
        """Return all transactions of an account for an order, the first created first."""
        with self._lock():
            return sorted(self._with("order", order, account), key=lambda one: one.created)

    @hides_locals
    def search(self, search: PaymentSearch, /, *, cursor: str | None, limit: int) -> PaymentPage:
        """Return one page of the payments that are wanted, the last created first.

        Without a reference, order, receipt or checkout id, it looks at every payment.
        """
        after = place_after(cursor)
        with self._lock():
            found = [
                one
                for one in self._candidates(search)
                if matches(search, one) and (after is None or place_of(one) < after)
            ]
        return page_of(heapq.nlargest(max(limit, 0) + 1, found, key=place_of), limit)

    @hides_locals
    def claim_due(
        self, now: datetime, limit: int, lease: timedelta, accounts: frozenset[str], /
    ) -> list[Transaction]:
        """Claim up to `limit` due transactions of `accounts`, longest due first, accounts in turn.

        A claim sets `due_at` to ``now + lease``.
        """
        with self._lock():
            taken: dict[str, Transaction] = {}
            while len(taken) < limit:
                turn = sorted(self._pop_heads(now, accounts, taken))
                room = limit - len(taken)
                for _, number, _ in turn[:room]:
                    taken[number] = self._transactions[number]
                for due_at, number, account in turn[room:]:
                    heapq.heappush(self._due[account], (due_at, number))
                if not turn:
                    break
            return [self._write_lease(before, now + lease) for before in taken.values()]

    def _pop_heads(
        self, now: datetime, accounts: Iterable[str], taken: Container[str]
    ) -> Iterator[tuple[datetime, str, str]]:
        """Take the longest due entry of each account out of its heap."""
        for account in accounts:
            heap = self._due.get(account, [])
            while heap and heap[0][0] <= now:
                due_at, number = heapq.heappop(heap)
                if number not in taken and self._is_due(account, due_at, number):
                    yield due_at, number, account
                    break

    @hides_locals
    def keep_callback(self, kept: KeptCallback, /) -> None:
        """Keep a callback, unless one with its id is kept already."""
        with self._lock():
            if kept.callback_id in self._kept:
                return
            if len(self._kept) >= self._most_kept:
                raise StoreError(f"{self._most_kept} callbacks are kept: no more fit into memory")
            self._kept[kept.callback_id] = kept
            for owner in self._owners(kept):
                self._kept_for.setdefault(owner, {})[kept.callback_id] = kept

    @hides_locals
    def kept_callbacks(
        self, *, checkout_request_id: str | None = None, transaction_no: str | None = None
    ) -> list[KeptCallback]:
        """Return the kept callbacks that name either value, oldest first."""
        with self._lock():
            found = {
                **self._kept_for.get(("checkout_request_id", checkout_request_id or ""), {}),
                **self._kept_for.get(("transaction_no", transaction_no or ""), {}),
            }
            return sorted(found.values(), key=lambda kept: kept.received)

    @hides_locals
    def drop_callback(self, callback_id: str, /) -> None:
        """Forget a kept callback."""
        with self._lock():
            self._forget(callback_id)

    @hides_locals
    def purge_callbacks(self, before: datetime, limit: int, /) -> int:
        """Forget up to `limit` callbacks received before a moment, oldest first.

        Return their number.
        """
        with self._lock():
            old = [kept for kept in self._kept.values() if kept.received < before]
            old = heapq.nsmallest(limit, old, key=lambda kept: kept.received)
            for kept in old:
                self._forget(kept.callback_id)
            return len(old)

    def _forget(self, callback_id: str) -> None:
        kept = self._kept.pop(callback_id, None)
        for owner in self._owners(kept) if kept is not None else ():
            del self._kept_for[owner][callback_id]
            if not self._kept_for[owner]:
                del self._kept_for[owner]

    @staticmethod
    def _owners(kept: KeptCallback) -> list[tuple[str, str]]:
        """Return the values by which a kept callback is found."""
        names = {
            "checkout_request_id": kept.checkout_request_id,
            "transaction_no": kept.transaction_no,
        }
        return [(name, value) for name, value in names.items() if value is not None]

    def _candidates(self, search: PaymentSearch) -> Iterable[Transaction]:
        """Return payments, among which are all that are wanted."""
        for field in self._numbers:
            value = getattr(search, field, None)
            if value is not None:
                return self._with(field, value, None)
        return self._transactions.values()

    def _with(self, field: str, value: str, account: str | None) -> list[Transaction]:
        """Return the transactions with a value, of one account or of all."""
        found = [self._transactions[number] for number in self._numbers[field].get(value, ())]
        return [one for one in found if account in (None, one.account)]

    def _check_unique(self, transaction: Transaction) -> None:
        for field in _UNIQUE:
            value = getattr(transaction, field)
            account = transaction.account if field in _OF_AN_ACCOUNT else None
            others = self._with(field, value, account) if value is not None else ()
            if any(one.transaction_no != transaction.transaction_no for one in others):
                raise DuplicateTransaction(field)

    def _write(self, before: Transaction | None, after: Transaction) -> None:
        number = after.transaction_no
        for field, numbers in self._numbers.items():
            old, new = getattr(before, field, None), getattr(after, field)
            if old != new:
                if old is not None:
                    numbers[old].remove(number)
                if new is not None:
                    numbers.setdefault(new, []).append(number)
        self._transactions[number] = after
        was = None if before is None else (before.account, before.due_at)
        if was is not None and was[1] is not None:
            self._scheduled[was[0]] -= 1
        if after.due_at is not None:
            self._scheduled[after.account] = self._scheduled.get(after.account, 0) + 1
            if was != (after.account, after.due_at):
                self._schedule(after.account, after.due_at, number)

    def _write_lease(self, before: Transaction, until: datetime) -> Transaction:
        """Move the due time of a transaction whose heap entry was just taken out."""
        after = attrs.evolve(before, due_at=until, version=before.version + 1)
        self._write(before, after)
        if before.due_at == until:  # the lease has no length
            self._schedule(after.account, until, after.transaction_no)
        return after

    def _schedule(self, account: str, due_at: datetime, number: str) -> None:
        heap = self._due.setdefault(account, [])
        heapq.heappush(heap, (due_at, number))
        if len(heap) > 2 * self._scheduled[account] + 64:
            # Most entries are out of date: drop them. A sorted list is a heap.
            heap[:] = sorted({entry for entry in heap if self._is_due(account, *entry)})

    def _is_due(self, account: str, due_at: datetime, number: str) -> bool:
        """Return whether a heap entry still shows the transaction's due time."""
        one = self._transactions[number]
        return (one.account, one.due_at) == (account, due_at)


class AsyncMemoryTransactionStore(AwaitedTransactionStore):
    """A `MemoryTransactionStore` whose methods are awaited. They never suspend."""

    def __init__(self, *, max_kept_callbacks: int = 10_000) -> None:
        """Make an empty store.

        Args:
            max_kept_callbacks: Largest number of kept callbacks. Keeping one more raises StoreError.
        """
        super().__init__(MemoryTransactionStore(max_kept_callbacks=max_kept_callbacks))
