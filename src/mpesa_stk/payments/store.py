"""`TransactionStore`: what a host's database must do, in a few atomic verbs.

Each verb is atomic on its own; no transaction spans two of them, so that any database can serve.
Whatever fails in the database comes out as `StoreError`, never as None or False.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol

import attrs

from mpesa_stk.payments.transaction import Transaction
from mpesa_stk.privacy import masked_id_repr

__all__ = ["KeptCallback", "TransactionStore"]


@attrs.frozen(kw_only=True)
class KeptCallback:
    """A callback that could not settle anything yet, kept raw as evidence.

    Attributes:
        callback_id: 64 hexadecimal digits: a hash of what is kept, the same for the same callback.
        body: The raw body; it may hold a phone number.
        reason: Why it settled nothing, in a few constant words.
        received: When it came, aware UTC.
        checkout_request_id: The prompt that it names, or None if its body cannot be read.
        transaction_no: The payment that its signed URL names, or None.
    """

    callback_id: str
    body: bytes = attrs.field(repr=False)
    reason: str
    received: datetime
    checkout_request_id: str | None = attrs.field(default=None, repr=masked_id_repr)
    transaction_no: str | None = None


class TransactionStore(Protocol):
    """Remembers payments."""

    def add(self, transaction: Transaction, /) -> None:
        """Insert a new transaction.

        Raises:
            DuplicateTransaction: Its `transaction_no` exists, or its account has a transaction with
                its `idempotency_key`. Of two concurrent calls exactly one succeeds.
        """
        ...

    def get(self, transaction_no: str, /) -> Transaction | None:
        """The transaction with that number, as last stored by anybody."""
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
        """The transaction with that value; exactly one value is given.

        If `account` is given too, payments of other accounts are not found. References repeat, and
        a key may exist once in each account: of several, the transaction created last is returned.
        """
        ...

    def replace(self, transaction: Transaction, /) -> bool:
        """Store a changed transaction if nobody changed it meanwhile.

        Writes only if the stored `version` equals the given one, and stores ``version + 1``.

        Returns:
            False if another writer won; nothing is written then.

        Raises:
            DuplicateTransaction: Another transaction has its checkout_request_id or receipt_number.
        """
        ...

    def claim_due(
        self, now: datetime, limit: int, lease: timedelta, accounts: frozenset[str], /
    ) -> list[Transaction]:
        """Take up to `limit` transactions with ``due_at <= now``, the longest due first.

        Only transactions whose `account` is in `accounts` are taken; all others are left as they
        are, and do not count towards the limit. An empty set takes none.

        In the same step each one's `due_at` moves to ``now + lease`` (and its version grows), so
        that two workers never get the same one while the lease lasts.

        Returns:
            The transactions as now stored.
        """
        ...

    def keep_callback(self, kept: KeptCallback, /) -> None:
        """Keep a callback. If its `callback_id` is kept already, nothing changes."""
        ...

    def kept_callbacks(
        self, *, checkout_request_id: str | None = None, transaction_no: str | None = None
    ) -> list[KeptCallback]:
        """The kept callbacks that name either value, oldest first."""
        ...

    def drop_callback(self, callback_id: str, /) -> None:
        """Forget a kept callback; one that is not there is no error."""
        ...

    def purge_callbacks(self, before: datetime, limit: int, /) -> int:
        """Forget up to `limit` kept callbacks received before that moment, the oldest first.

        Returns:
            How many were forgotten.
        """
        ...
