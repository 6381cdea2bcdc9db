"""`AsyncPayments`: the face of `PaymentsFlow` for asyncio. It imports no asyncio itself."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

from mpesa_stk.async_client import AsyncStkClient
from mpesa_stk.clock import AsyncClock, AsyncSystemClock
from mpesa_stk.hooks import Hook
from mpesa_stk.payments.budget import (
    AsyncQueryBudget,
    AwaitedQueryBudget,
    budget_for,
)
from mpesa_stk.payments.callback import CallbackReceipt
from mpesa_stk.payments.desk_faces import AsyncDeskFace
from mpesa_stk.payments.due import DueReport
from mpesa_stk.payments.handlers import any_handler, never
from mpesa_stk.payments.orders import OrderStatus
from mpesa_stk.payments.payments_flow import PaymentsFlow
from mpesa_stk.payments.query import PaymentStatus
from mpesa_stk.payments.schedule import CALLBACK_RETENTION
from mpesa_stk.payments.state import Transaction
from mpesa_stk.payments.store import (
    AsyncTransactionStore,
)
from mpesa_stk.phone import PhoneNumber
from mpesa_stk.privacy import hides_locals


class AsyncPayments(AsyncDeskFace):
    """`Payments` for asyncio: the same methods, awaited.

    The tasks of one event loop may share it. If a task is cancelled while it checks out, the payment is
    stored, and no prompt is sent twice.

    Attributes:
        client: Talks to Daraja.
        store: Keeps the payments.
        clock: Gives the time.
        account: Who is paid, such as ``"paybill 600000"``.
        notify: Hands an `Event` to the hooks and the log.
        flow: The methods, for `PaymentEndpoints`.
    """

    def __init__(
        self,
        client: AsyncStkClient,
        store: AsyncTransactionStore,
        /,
        *,
        clock: AsyncClock | None = None,
        hooks: tuple[Hook, ...] = (),
        jitter: Callable[[], float] = random.random,
        query_budget: AsyncQueryBudget | None = None,
        callback_retention: timedelta = CALLBACK_RETENTION,
    ) -> None:
        """Make payments over a client and a store. The arguments are those of `Payments`.

        Args:
            client: Sends requests to Daraja.
            store: Stores the payments. To use a synchronous one, wrap it in a `ThreadedTransactionStore`.
            clock: Gives the time. By default the system's clock.
            hooks: Receive an `Event` for each callback and each settled payment. They must not block.
            jitter: Returns a random number from 0 to 1.
            query_budget: Limits the status queries.
            callback_retention: How long to keep callbacks that settled no payment.

        Raises:
            ConfigurationError: `callback_retention` is too short.
        """
        self.client = client
        self.store = store
        self.clock = clock or AsyncSystemClock()
        if query_budget is None:
            query_budget = AwaitedQueryBudget(budget_for(client.config.environment))
        self.flow = PaymentsFlow(
            client.flow,
            store,
            clock=self.clock,
            hooks=hooks,
            jitter=jitter,
            budget=query_budget,
            callback_retention=callback_retention,
        )
        self.account = self.flow.account
        self.notify = self.flow.notify
        self._desk = self.flow.desk

    @hides_locals
    async def checkout(  # noqa: PLR0913 - those of `Payments.checkout`
        self,
        *,
        phone_number: str | PhoneNumber,
        amount: int | Decimal,
        reference: str,
        description: str = "",
        prompt_reference: str | None = None,
        prompt_description: str | None = None,
        idempotency_key: str | None = None,
        order: str | None = None,
        unresolved_ok: bool = False,
    ) -> Transaction:
        """Ask a customer to pay, once, as `Payments.checkout` does.

        If the task is cancelled after the intent was stored, the payment is UNCERTAIN: the push may have
        left. A callback or `process_due` settles it.
        """
        return await self.flow.checkout.run(
            phone_number=phone_number,
            amount=amount,
            reference=reference,
            description=description,
            prompt_reference=prompt_reference,
            prompt_description=prompt_description,
            idempotency_key=idempotency_key,
            order=order,
            unresolved_ok=unresolved_ok,
        )

    @hides_locals
    async def get(self, transaction_no: str, /) -> Transaction | None:
        """Return the payment with that number, as `Payments.get` does."""
        return await self.flow.get(transaction_no)

    @hides_locals
    async def find(self, *, checkout_request_id: str) -> Transaction | None:
        """Return the payment whose prompt has that id, as `Payments.find` does."""
        return await self.flow.find(checkout_request_id=checkout_request_id)

    @hides_locals
    async def order(self, order: str, /) -> OrderStatus:
        """Return what is known about an order, as `Payments.order` does."""
        return await self.flow.order(order)

    @hides_locals
    async def outcome(
        self, transaction_no: str, /, *, timeout: float = 120.0
    ) -> Transaction | None:
        """Wait until a payment is settled, as `Payments.outcome` does."""
        return await self.flow.outcome(transaction_no, timeout=timeout)

    @hides_locals
    async def query(
        self,
        checkout_request_id: str,
        /,
        *,
        token: str | None = None,
        idempotency_key: str | None = None,
    ) -> PaymentStatus:
        """Return the status of a payment, as `Payments.query` does."""
        return await self.flow.query(
            checkout_request_id, token=token, idempotency_key=idempotency_key
        )

    @hides_locals
    async def handle_callback(self, body: bytes, /, *, token: str | None = None) -> CallbackReceipt:
        """Handle a callback that Daraja posted, as `Payments.handle_callback` does."""
        return await self.flow.handle_callback(body, token=token)

    @hides_locals
    async def process_due(
        self,
        *,
        on_settled: Callable[[Transaction], object] | None = None,
        limit: int = 100,
        deadline: float = 25.0,
        stop: Callable[[], bool] | None = None,
    ) -> DueReport:
        """Do one bounded batch of due work, as `Payments.process_due` does.

        `on_settled` may be a plain function, which must not block, or an ``async def``. If the task is
        cancelled, the payment in hand is due again when its lease ends.
        """
        return await self.flow.due.process(
            on_settled=any_handler(on_settled) if on_settled is not None else None,
            limit=limit,
            deadline=deadline,
            stop=stop or never,
        )
