"""`Desk`: the work of a person with stored payments. It needs no client and no keys.

`PaymentsFlow` has one for its account, and the command line makes one over a store. It only awaits its
store, so `finish` runs it if the store never suspends.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

import attrs

from mpesa_stk.clock import AsyncClock
from mpesa_stk.errors import InvalidRequest
from mpesa_stk.hooks import Event, Notifier
from mpesa_stk.payments.alarm import LOOKED_AT, CallbackAlarm, CallbackNews, recent_payments
from mpesa_stk.payments.callback import CallbackHandler
from mpesa_stk.payments.decisions import decision
from mpesa_stk.payments.events import Forgotten
from mpesa_stk.payments.reconciling import Claim, Reconciling
from mpesa_stk.payments.record_report import ReconcileReport
from mpesa_stk.payments.recorder import Recorder
from mpesa_stk.payments.schedule import KEEP_ASKING
from mpesa_stk.payments.search import (
    AsyncSearchableStore,
    PaymentPage,
    PaymentSearch,
    async_searchable,
    place_after,
)
from mpesa_stk.payments.state import Transaction, TransactionState
from mpesa_stk.payments.store import AsyncTransactionStore
from mpesa_stk.privacy import hides_locals
from mpesa_stk.reconcile.statement import Statement

ListNames = Callable[[], Awaitable[frozenset[str]]]
"""Lists the full names of accounts."""
MOST_PAYMENTS = 1000
"""The most payments of one page."""
_READ_AT_ONCE = 200


class Desk:
    """Searches payments, decides about those that need a person, reconciles, and forgets old payers."""

    def __init__(
        self,
        store: AsyncTransactionStore,
        /,
        *,
        clock: AsyncClock,
        notify: Notifier,
        accounts: frozenset[str] | ListNames | None = None,
    ) -> None:
        """Make a desk over a store.

        Args:
            store: Stores the payments.
            clock: Gives the time.
            notify: Hands an `Event` to the hooks and the log when a person settles a payment.
            accounts: The accounts whose payments are seen, or a function that lists them. None means all.
        """
        self._accounts = accounts
        self._notify = notify
        self._alarm = CallbackAlarm()
        self._store = store
        self._clock = clock
        self._recorder = Recorder(store=store, clock=clock, notify=notify, jitter=lambda: 0.5)
        self._callbacks = CallbackHandler(self._recorder)
        self._reconciling = Reconciling(
            self._recorder, self._callbacks, search=self.search, seen=self._seen
        )
        self._forgetting: tuple[datetime, str | None] | None = None

    @hides_locals
    async def get(self, transaction_no: str, /) -> Transaction | None:
        """Return the payment with that number as stored, or None.

        Raises:
            StoreError: The store failed.
        """
        found = await self._store.get(transaction_no)
        if found is None:
            return None
        accounts = await self._seen()
        return found if accounts is None or found.account in accounts else None

    @hides_locals
    async def search(
        self, search: PaymentSearch, /, *, cursor: str | None = None, limit: int = 50
    ) -> PaymentPage:
        """Return one page of the payments that are wanted, the last created first.

        Args:
            search: The payments that are wanted. Of its accounts, only those of this desk count.
            cursor: The `next_cursor` of the page before, or None for the first page.
            limit: The most payments of the page, 1 to 1000.

        Raises:
            InvalidRequest: The cursor or the limit breaks a rule.
            ConfigurationError: The store cannot search.
            StoreError: The store failed.
        """
        if type(limit) is not int or not 1 <= limit <= MOST_PAYMENTS:
            raise InvalidRequest("limit", f"must be a whole number from 1 to {MOST_PAYMENTS}")
        place_after(cursor)
        store: AsyncSearchableStore = async_searchable(self._store)
        accounts = await self._seen()
        if accounts is not None:
            wanted = accounts if search.accounts is None else accounts & search.accounts
            search = attrs.evolve(search, accounts=wanted)
        return await store.search(search, cursor=cursor, limit=limit)

    @hides_locals
    async def reviews(self, *, cursor: str | None = None, limit: int = 50) -> PaymentPage:
        """Return one page of the payments that a person must look at, the last created first.

        The arguments and errors are those of `search`.
        """
        return await self.search(PaymentSearch(needs_review=True), cursor=cursor, limit=limit)

    @hides_locals
    async def resolve(
        self,
        transaction_no: str,
        /,
        *,
        note: str,
        by: str,
        outcome: TransactionState | None = None,
        receipt_number: str | None = None,
    ) -> Transaction:
        """Write a person's decision about a payment, as `Payments.resolve` documents."""
        found = await self.get(transaction_no)
        if found is None:
            raise InvalidRequest("transaction_no", "is not the number of a payment here")
        event = decision(
            note=note,
            by=by,
            outcome=outcome,
            receipt_number=receipt_number,
            seen=found.needs_review,
        )
        # Evidence that waits is applied before. So it counts, and it cannot reopen what is decided now.
        found = await self._callbacks.apply_kept(found)
        return await self._recorder.record(found, event)

    @hides_locals
    async def forget(self, older_than: datetime, limit: int = 1000, /) -> int:
        """Forget who paid old payments, and drop the old kept callbacks.

        The phone number becomes `FORGOTTEN_PHONE`, and Daraja's ids, the description and the notes in the
        history go. Amounts, receipts, references, orders, states and times stay. Payments that are open,
        that were not reported or that need a review are left.

        The next call goes on where this one ended. Call it until it returns less than `limit`. A call of
        another desk begins anew, and passes over the payments that are forgotten.

        Args:
            older_than: Payments created before this moment are meant, and callbacks received before it.
            limit: The most payments to forget in this call, and the most callbacks.

        Returns:
            How many payments were forgotten.

        Raises:
            InvalidRequest: The moment has no time zone, or is less than two days ago. The limit is less
                than 1.
            ConfigurationError: The store cannot search.
            StoreError: The store failed. Payments that were forgotten before stay so.
        """
        if older_than.tzinfo is None or older_than > self._clock.now() - 2 * KEEP_ASKING:
            raise InvalidRequest("older_than", "must be at least two days ago, with a time zone")
        if limit < 1:
            raise InvalidRequest("limit", "must be at least 1")
        await self._store.purge_callbacks(older_than, limit)
        wanted = PaymentSearch(created_before=older_than, not_forgotten=True)
        place = self._forgetting
        cursor = place[1] if place is not None and place[0] == older_than else None
        forgotten = 0
        while forgotten < limit:
            page = await self.search(
                wanted, cursor=cursor, limit=min(limit - forgotten, _READ_AT_ONCE)
            )
            for payment in page.payments:
                before, after = await self._recorder.change(payment, Forgotten())
                forgotten += after is not before
            cursor = page.next_cursor
            self._forgetting = None if cursor is None else (older_than, cursor)
            if cursor is None:
                break
        return forgotten

    @hides_locals
    async def reconcile(
        self, statement: Statement | Sequence[Statement], /, *, apply: bool = False
    ) -> ReconcileReport:
        """Compare payments with Safaricom's own records, as `Payments.reconcile` documents."""
        return await self._reconciling.reconcile(statement, apply=apply)

    @hides_locals
    async def claim(
        self, transaction_no: str, receipt_number: str, /, *, statement: Statement | None = None
    ) -> Claim:
        """Answer a customer who names the receipt of a payment, as `Payments.claim` documents."""
        found = await self.get(transaction_no)
        if found is None:
            raise InvalidRequest("transaction_no", "is not the number of a payment here")
        return await self._reconciling.claim(found, receipt_number, statement=statement)

    @hides_locals
    async def check_callbacks(self) -> CallbackNews | None:
        """Look whether callbacks still come, as `Payments.check_callbacks` documents."""
        page = await self.search(recent_payments(self._clock.now()), limit=LOOKED_AT)
        news = self._alarm.judge(page.payments)
        if news is not None:
            self._notify(Event(kind="alarm", outcome=news.value))
        return news

    async def _seen(self) -> frozenset[str] | None:
        """Return the accounts whose payments this desk sees now. None means all."""
        return await self._accounts() if callable(self._accounts) else self._accounts
