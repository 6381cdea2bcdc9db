"""The parts of payments, put together once for both faces.

`Payments` and `AsyncPayments` document the methods.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from mpesa_stk.clock import AsyncClock
from mpesa_stk.daraja.client_flow import ClientFlow
from mpesa_stk.errors import ConfigurationError
from mpesa_stk.hooks import Hook, Notifier
from mpesa_stk.payments.budget import AsyncQueryBudget
from mpesa_stk.payments.callback import CallbackHandler, CallbackReceipt
from mpesa_stk.payments.checkout import Checkout, checked_key, checked_order
from mpesa_stk.payments.desk import Desk
from mpesa_stk.payments.due import DueWork
from mpesa_stk.payments.orders import OrderStatus, status_of
from mpesa_stk.payments.query import PaymentQuery, PaymentStatus
from mpesa_stk.payments.recorder import Recorder
from mpesa_stk.payments.schedule import KEEP_ASKING, pause_before_look
from mpesa_stk.payments.served import AccountParts, OneAccount
from mpesa_stk.payments.state import Transaction
from mpesa_stk.payments.store import AsyncTransactionStore


class PaymentsFlow:
    """Payments of one account over a client and a store.

    Attributes:
        config: The settings of the client.
        account: Who is paid, such as ``"paybill 600000"``.
        notify: Hands an `Event` to the hooks and the log.
        checkout: Asks customers to pay.
        parts: The parts with which payments are followed, for `AccountsFlow`.
        due: Does the work that is due.
        desk: Does the work of a person with the payments.
    """

    def __init__(
        self,
        client: ClientFlow,
        store: AsyncTransactionStore,
        /,
        *,
        clock: AsyncClock,
        hooks: tuple[Hook, ...],
        jitter: Callable[[], float],
        budget: AsyncQueryBudget,
        callback_retention: timedelta,
    ) -> None:
        if callback_retention < 2 * KEEP_ASKING:
            raise ConfigurationError((("callback_retention", "must be at least two days"),))
        self.config = client.config
        self.account = str(client.config.account)
        self.notify = Notifier(tuple(hooks))
        self._store = store
        self._clock = clock
        recorder = Recorder(store=store, clock=clock, notify=self.notify, jitter=jitter)
        self._callbacks = CallbackHandler(
            recorder, secrets=client.config.callback_secrets, account=self.account
        )
        self.checkout = Checkout(recorder=recorder, callbacks=self._callbacks, client=client)
        self.desk = Desk(store, clock=clock, notify=self.notify, accounts=frozenset({self.account}))
        self._query = PaymentQuery(
            recorder=recorder, callbacks=self._callbacks, client=client, budget=budget
        )
        self.parts = AccountParts(client=client, budget=budget, callbacks=self._callbacks)
        self.due = DueWork(
            recorder=recorder,
            accounts=OneAccount(name=self.account, parts=self.parts),
            callback_retention=callback_retention,
        )

    def now(self) -> datetime:
        """Return the current moment."""
        return self._clock.now()

    async def get(self, transaction_no: str, /) -> Transaction | None:
        """Return the payment of this account with that number as stored, or None."""
        return await self.desk.get(transaction_no)

    async def find(self, *, checkout_request_id: str) -> Transaction | None:
        """Return the payment of this account whose prompt has that id as stored, or None."""
        return await self._store.find(checkout_request_id=checkout_request_id, account=self.account)

    async def of_key(self, idempotency_key: str, /) -> Transaction | None:
        """Return the payment of this account with that idempotency key as stored, or None."""
        return await self._store.find(idempotency_key=idempotency_key, account=self.account)

    async def order(self, order: str, /) -> OrderStatus:
        """Return what is known about an order, as `Payments.order` documents."""
        name = checked_order(order)
        attempts = await self._store.attempts(self.account, name)
        return status_of(name, attempts, self._clock.now())

    async def outcome(self, transaction_no: str, /, *, timeout: float) -> Transaction | None:
        """Wait until a payment is settled, as `Payments.outcome` documents."""
        started = self._clock.monotonic()
        while True:
            transaction = await self.get(transaction_no)
            waited = self._clock.monotonic() - started
            if transaction is None or transaction.settled or waited >= timeout:
                return transaction
            await self._clock.sleep(min(pause_before_look(waited), timeout - waited))

    async def query(
        self, checkout_request_id: str, /, *, token: str | None, idempotency_key: str | None
    ) -> PaymentStatus:
        """Return the status of a payment, as `Payments.query` documents."""
        key = checked_key(idempotency_key)
        return await self._query.ask(checkout_request_id, token=token, key=key)

    async def handle_callback(self, body: bytes, /, *, token: str | None) -> CallbackReceipt:
        """Handle a callback that Daraja posted, as `Payments.handle_callback` documents."""
        return await self._callbacks.handle(body, token)
