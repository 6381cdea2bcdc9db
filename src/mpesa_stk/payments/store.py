"""Define `TransactionStore`: the few atomic methods that a host's database needs.

Each method is atomic by itself. No database transaction spans two of them, so that any database can
serve. If the database fails, a method raises `StoreError`. It never returns None or False for a failure.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol

import attrs

from mpesa_stk.faces import Call, call_here
from mpesa_stk.payments.search import PaymentPage, PaymentSearch, searchable
from mpesa_stk.payments.state import Transaction
from mpesa_stk.privacy import hides_locals, masked_id_repr


@attrs.frozen(kw_only=True)
class KeptCallback:
    """A callback that could not settle a payment yet, kept raw as evidence.

    Attributes:
        callback_id: A hash of the callback, 64 hexadecimal digits. The same callback has the same id.
        body: The raw body. It may hold a phone number.
        reason: Why it did not settle a payment, in a few constant words.
        received: When the callback came, aware UTC.
        checkout_request_id: The prompt that the callback names, or None if its body cannot be read.
        transaction_no: The payment that the signed URL names, or None.
    """

    callback_id: str
    body: bytes = attrs.field(repr=False)
    reason: str
    received: datetime
    checkout_request_id: str | None = attrs.field(default=None, repr=masked_id_repr)
    transaction_no: str | None = None


class TransactionStore(Protocol):
    """Stores payments and kept callbacks."""

    def add(self, transaction: Transaction, /) -> None:
        """Insert a new transaction.

        Raises:
            DuplicateTransaction: Its `transaction_no` exists, or its account has a transaction with
                its `idempotency_key` or `order_slot`. Of two concurrent calls exactly one succeeds.
        """
        ...

    def get(self, transaction_no: str, /) -> Transaction | None:
        """Return the transaction with that number as last stored by any process, or None."""
        ...

    def find(
        self,
        *,
        checkout_request_id: str | None = None,
        receipt_number: str | None = None,
        idempotency_key: str | None = None,
        account: str | None = None,
        reference: str | None = None,
    ) -> Transaction | None:
        """Return the transaction with a given value, or None.

        The caller gives exactly one value, and may give `account` too. Then payments of other accounts
        are not found. Several payments may have the same reference, and a key may exist once in each
        account. If several match, the one created last is returned.
        """
        ...

    def replace(self, transaction: Transaction, /) -> bool:
        """Store a changed transaction, unless another writer changed it meanwhile.

        Writes only if the stored `version` equals the given one, and stores ``version + 1``.

        Returns:
            True if the transaction was written, False if another writer was first.

        Raises:
            DuplicateTransaction: Another transaction has its checkout_request_id or receipt_number,
                or one of its account has its order_slot.
        """
        ...

    def attempts(self, account: str, order: str, /) -> list[Transaction]:
        """Return all transactions of an account for an order, the first created first."""
        ...

    def claim_due(
        self, now: datetime, limit: int, lease: timedelta, accounts: frozenset[str], /
    ) -> list[Transaction]:
        """Take up to `limit` transactions with ``due_at <= now``, the longest due first.

        Only transactions whose `account` is in `accounts` are taken. All others stay as they are, and do
        not count towards the limit. An empty set takes none.

        Several accounts take turns, so that one with many due transactions does not keep the others
        waiting: first the longest due of each account, then the second of each, and so on. Within a turn,
        the longest due comes first.

        The same atomic step moves the `due_at` of each to ``now + lease`` and raises its version. So two
        workers never get the same transaction while its lease lasts.

        Returns:
            The transactions as now stored.
        """
        ...

    def keep_callback(self, kept: KeptCallback, /) -> None:
        """Keep a callback.

        If one with its `callback_id` is kept already, that one stays unchanged.
        """
        ...

    def kept_callbacks(
        self, *, checkout_request_id: str | None = None, transaction_no: str | None = None
    ) -> list[KeptCallback]:
        """Return the kept callbacks that name either value, oldest first."""
        ...

    def drop_callback(self, callback_id: str, /) -> None:
        """Delete a kept callback. If there is none with that id, this is no error."""
        ...

    def purge_callbacks(self, before: datetime, limit: int, /) -> int:
        """Delete up to `limit` kept callbacks received before a moment, oldest first.

        Returns:
            How many were deleted.
        """
        ...


class AsyncTransactionStore(Protocol):
    """A `TransactionStore` whose methods are awaited. Each is atomic by itself, as there."""

    async def add(self, transaction: Transaction, /) -> None:
        """Insert a new transaction."""
        ...

    async def get(self, transaction_no: str, /) -> Transaction | None:
        """Return the transaction with that number, or None."""
        ...

    async def find(
        self,
        *,
        checkout_request_id: str | None = None,
        receipt_number: str | None = None,
        idempotency_key: str | None = None,
        account: str | None = None,
        reference: str | None = None,
    ) -> Transaction | None:
        """Return the transaction with a given value, or None."""
        ...

    async def replace(self, transaction: Transaction, /) -> bool:
        """Store a changed transaction, unless another writer changed it meanwhile."""
        ...

    async def attempts(self, account: str, order: str, /) -> list[Transaction]:
        """Return all transactions of an account for an order, the first created first."""
        ...

    async def claim_due(
        self, now: datetime, limit: int, lease: timedelta, accounts: frozenset[str], /
    ) -> list[Transaction]:
        """Take up to `limit` due transactions of these accounts, the longest due first."""
        ...

    async def keep_callback(self, kept: KeptCallback, /) -> None:
        """Keep a callback."""
        ...

    async def kept_callbacks(
        self, *, checkout_request_id: str | None = None, transaction_no: str | None = None
    ) -> list[KeptCallback]:
        """Return the kept callbacks that name either value, oldest first."""
        ...

    async def drop_callback(self, callback_id: str, /) -> None:
        """Delete a kept callback."""
        ...

    async def purge_callbacks(self, before: datetime, limit: int, /) -> int:
        """Delete up to `limit` kept callbacks received before a moment, and count them."""
        ...


class AwaitedTransactionStore:
    """A `TransactionStore` as an `AsyncTransactionStore`. It never suspends, unless `call` does."""

    def __init__(self, store: TransactionStore, /, call: Call = call_here) -> None:
        self._store = store
        self._call = call

    @hides_locals
    async def add(self, transaction: Transaction, /) -> None:
        """Insert a new transaction."""
        await self._call(self._store.add, transaction)

    @hides_locals
    async def get(self, transaction_no: str, /) -> Transaction | None:
        """Return the transaction with that number, or None."""
        return await self._call(self._store.get, transaction_no)

    @hides_locals
    async def find(
        self,
        *,
        checkout_request_id: str | None = None,
        receipt_number: str | None = None,
        idempotency_key: str | None = None,
        account: str | None = None,
        reference: str | None = None,
    ) -> Transaction | None:
        """Return the transaction with a given value, or None."""
        return await self._call(
            self._store.find,
            checkout_request_id=checkout_request_id,
            receipt_number=receipt_number,
            idempotency_key=idempotency_key,
            account=account,
            reference=reference,
        )

    @hides_locals
    async def replace(self, transaction: Transaction, /) -> bool:
        """Store a changed transaction, unless another writer changed it meanwhile."""
        return await self._call(self._store.replace, transaction)

    @hides_locals
    async def attempts(self, account: str, order: str, /) -> list[Transaction]:
        """Return all transactions of an account for an order, the first created first."""
        return await self._call(self._store.attempts, account, order)

    @hides_locals
    async def claim_due(
        self, now: datetime, limit: int, lease: timedelta, accounts: frozenset[str], /
    ) -> list[Transaction]:
        """Take up to `limit` due transactions of these accounts, the longest due first."""
        return await self._call(self._store.claim_due, now, limit, lease, accounts)

    @hides_locals
    async def keep_callback(self, kept: KeptCallback, /) -> None:
        """Keep a callback."""
        await self._call(self._store.keep_callback, kept)

    @hides_locals
    async def kept_callbacks(
        self, *, checkout_request_id: str | None = None, transaction_no: str | None = None
    ) -> list[KeptCallback]:
        """Return the kept callbacks that name either value, oldest first."""
        return await self._call(
            self._store.kept_callbacks,
            checkout_request_id=checkout_request_id,
            transaction_no=transaction_no,
        )

    @hides_locals
    async def drop_callback(self, callback_id: str, /) -> None:
        """Delete a kept callback."""
        await self._call(self._store.drop_callback, callback_id)

    @hides_locals
    async def purge_callbacks(self, before: datetime, limit: int, /) -> int:
        """Delete up to `limit` kept callbacks received before a moment, and count them."""
        return await self._call(self._store.purge_callbacks, before, limit)

    @hides_locals
    async def search(
        self, search: PaymentSearch, /, *, cursor: str | None, limit: int
    ) -> PaymentPage:
        """Return one page of the payments that are wanted, the last created first.

        Raises:
            ConfigurationError: The store cannot search.
        """
        return await self._call(searchable(self._store).search, search, cursor=cursor, limit=limit)
