"""Changes stored payments: every change is a compare-and-set of the pure `apply`.

Shared by the parts of the flow. Tells the hooks when a payment settles, and says when an open payment
is looked at again.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import attrs

from mpesa_stk.clock import Clock
from mpesa_stk.errors import StoreError
from mpesa_stk.hooks import Event, Notifier
from mpesa_stk.payments.events import PaymentEvent
from mpesa_stk.payments.store import TransactionStore
from mpesa_stk.payments.transaction import Transaction, apply
from mpesa_stk.secrecy import mask_checkout_id

__all__ = ["FIRST_QUERY", "Ledger"]

FIRST_QUERY = 20.0
"""Seconds after which an open payment is asked about for the first time (facts, section 0)."""
_SLOWEST_QUERY = 300.0
_MOST_RACES = 20


class Ledger:
    """A store, the time, and the rules between them."""

    def __init__(
        self,
        *,
        store: TransactionStore,
        clock: Clock,
        notify: Notifier,
        jitter: Callable[[], float],
    ) -> None:
        self.store = store
        self.clock = clock
        self.notify = notify
        self._jitter = jitter

    def advance(self, transaction: Transaction, event: PaymentEvent, /) -> Transaction:
        """Apply an event to the stored payment, whoever else changes it meanwhile.

        Returns:
            The payment as now stored.

        Raises:
            StoreError: The store failed, or others were first too many times.
            DuplicateTransaction: The event brings an id or receipt of another payment.
        """
        return self.step(transaction, event)[1]

    def step(
        self, transaction: Transaction, event: PaymentEvent, /
    ) -> tuple[Transaction, Transaction]:
        """Apply an event as `advance` does.

        Returns:
            The stored payment that the event met, and the payment after it; the very same object where
            the event changed nothing, be it because another worker was first.
        """
        for _ in range(_MOST_RACES):
            after = apply(transaction, event, self.clock.now())
            if after is transaction:
                return transaction, transaction
            if self.store.replace(after):
                saved = attrs.evolve(after, version=after.version + 1)
                if saved.state.settled and saved.state is not transaction.state:
                    self._tell_settled(saved)
                return transaction, saved
            transaction = self.stored(transaction.transaction_no)
        raise StoreError("other writers were first too many times")

    def stored(self, transaction_no: str, /) -> Transaction:
        """The payment as now stored.

        Raises:
            StoreError: It is gone.
        """
        transaction = self.store.get(transaction_no)
        if transaction is None:
            raise StoreError("a stored transaction is gone")
        return transaction

    def next_query(self, transaction: Transaction, /) -> datetime:
        """When to ask about an open payment again: ever more slowly, spread, by its expiry at last."""
        now = self.clock.now()
        age = (now - transaction.created).total_seconds()
        wait = min(max(age / 2, FIRST_QUERY), _SLOWEST_QUERY) * (0.9 + 0.2 * self._jitter())
        return min(now + timedelta(seconds=wait), max(transaction.expires_at, now))

    def _tell_settled(self, transaction: Transaction) -> None:
        self.notify(
            Event(
                kind="settled",
                outcome=transaction.state.value.lower(),
                code=transaction.result_code,
                transaction_no=transaction.transaction_no,
                merchant_request_id=transaction.merchant_request_id,
                checkout_request_id=mask_checkout_id(transaction.checkout_request_id),
            )
        )
