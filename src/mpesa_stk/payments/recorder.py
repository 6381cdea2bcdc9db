"""Change stored payments. Every change is a compare-and-set of the pure `apply`.

All parts of `Payments` share the recorder. It also notifies the hooks when a payment settles, chooses
when an open payment is due again, and manages leases.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import attrs

from mpesa_stk.clock import AsyncClock
from mpesa_stk.errors import DuplicateTransaction, StoreError
from mpesa_stk.hooks import Event, Notifier
from mpesa_stk.payments.events import PaymentEvent
from mpesa_stk.payments.schedule import REPORT_LEASE, pause_before_query
from mpesa_stk.payments.state import Transaction
from mpesa_stk.payments.store import AsyncTransactionStore
from mpesa_stk.payments.transaction import apply
from mpesa_stk.privacy import mask_checkout_id

MOST_RACES = 20
"""How often a write is tried again because other writers were first."""


class Recorder:
    """Applies events to stored payments."""

    def __init__(
        self,
        *,
        store: AsyncTransactionStore,
        clock: AsyncClock,
        notify: Notifier,
        jitter: Callable[[], float],
    ) -> None:
        self.store = store
        self.clock = clock
        self.notify = notify
        self._jitter = jitter

    async def record(self, transaction: Transaction, event: PaymentEvent, /) -> Transaction:
        """Apply an event to the stored payment.

        If another writer is first, the event is applied to the payment as that writer stored it.

        Returns:
            The payment as now stored.

        Raises:
            StoreError: The store failed, or other writers were first too many times.
            DuplicateTransaction: The event brings an id or receipt that another payment has.
        """
        return (await self.change(transaction, event))[1]

    async def change(
        self, transaction: Transaction, event: PaymentEvent, /
    ) -> tuple[Transaction, Transaction]:
        """Apply an event as `record` does, and return the payment before and after it.

        Returns:
            The stored payment before the event, and the payment after it. Both are the same object if the
            event had no effect, for example because another worker had already applied it.
        """
        paid_before = False
        for _ in range(MOST_RACES):
            after = apply(transaction, event, self.clock.now(), paid_before=paid_before)
            if after is transaction:
                return transaction, transaction
            try:
                is_first = await self.store.replace(after)
            except DuplicateTransaction as error:
                if error.field != "order_slot" or paid_before:
                    raise
                paid_before = (
                    True  # another attempt at the order is paid: this is the second success
                )
                continue
            if is_first:
                saved = attrs.evolve(after, version=after.version + 1)
                if saved.state.settled and saved.state is not transaction.state:
                    self._tell_settled(saved)
                return transaction, saved
            transaction = await self.stored(transaction.transaction_no)
        raise StoreError("other writers were first too many times")

    async def try_once(
        self, transaction: Transaction, event: PaymentEvent, /
    ) -> Transaction | None:
        """Apply an event, unless another writer changed the payment meanwhile.

        Returns:
            The payment as now stored, or None if another writer was first.

        Raises:
            StoreError: The store failed.
        """
        after = apply(transaction, event, self.clock.now())
        if await self.store.replace(after):
            return attrs.evolve(after, version=after.version + 1)
        return None

    async def stored(self, transaction_no: str, /) -> Transaction:
        """Return the payment as now stored.

        Raises:
            StoreError: The store failed, or it no longer has the payment.
        """
        transaction = await self.store.get(transaction_no)
        if transaction is None:
            raise StoreError("a stored transaction is gone")
        return transaction

    # --- the schedule ---------------------------------------------------------------------------

    def next_query(self, transaction: Transaction, /) -> datetime:
        """Return when to ask about an open payment again.

        The pauses grow with the payment's age and vary by 10 %. Before the expiry, the result is at most
        `expires_at`, so that the payment is also looked at when it expires.
        """
        now, expires_at = self.clock.now(), transaction.expires_at
        next_due = self.with_jitter(pause_before_query(now, expires_at))
        return next_due if now >= expires_at else min(next_due, expires_at)

    def with_jitter(self, seconds: float, /) -> datetime:
        """Return the time that many seconds from now, varied at random by up to 10 %."""
        return self.clock.now() + timedelta(seconds=seconds * (0.9 + 0.2 * self._jitter()))

    # --- leases -----------------------------------------------------------------------------------

    async def release(self, transaction: Transaction, due_at: datetime, /) -> None:
        """End our lease of a claimed payment, so that it is due at `due_at`.

        If another writer was first, the payment stays as that writer stored it.

        Raises:
            StoreError: The store failed. The lease then ends at its own time.
        """
        await self.store.replace(attrs.evolve(transaction, due_at=due_at))

    async def take_for_report(self, transaction: Transaction, /) -> Transaction | None:
        """Take a settled payment for its report, so that it shows what is stored.

        Args:
            transaction: The payment as this worker last saw it: just settled, or claimed.

        Returns:
            The payment as now stored. None if another worker has it, or if it was reported or started
            anew meanwhile.

        Raises:
            StoreError: The store failed, or other writers were first too many times.
        """
        mine = transaction.due_at
        for _ in range(MOST_RACES):
            until = self.clock.now() + REPORT_LEASE
            held = attrs.evolve(transaction, due_at=until)
            # If the write took longer than the lease, another worker may have reported newer facts.
            if await self.store.replace(held) and self.clock.now() < until:
                return attrs.evolve(held, version=held.version + 1)
            transaction = await self.stored(transaction.transaction_no)
            if not transaction.state.settled or transaction.due_at is None:
                return None
            if transaction.due_at != mine and transaction.due_at > self.clock.now():
                return None
        raise StoreError("other writers were first too many times")

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
