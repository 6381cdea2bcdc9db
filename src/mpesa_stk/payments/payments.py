"""`Payments`: checkout, query, callback and due work. `async_payments.py` has the other face of its flow.

The order of writes protects the payments. The intent is stored before the push, evidence before it is
acknowledged, and an outcome before it is reported. Each change is a compare-and-set of the pure `apply`.
If another worker is first, `apply` runs again on the payment as now stored.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

from mpesa_stk.client import StkClient
from mpesa_stk.clock import AwaitedClock, Clock, SystemClock
from mpesa_stk.faces import finish
from mpesa_stk.hooks import Hook
from mpesa_stk.payments.budget import (
    AwaitedQueryBudget,
    QueryBudget,
    budget_for,
)
from mpesa_stk.payments.callback import CallbackReceipt
from mpesa_stk.payments.desk_faces import DeskFace
from mpesa_stk.payments.due import DueReport
from mpesa_stk.payments.handlers import never, plain_handler
from mpesa_stk.payments.orders import OrderStatus
from mpesa_stk.payments.payments_flow import PaymentsFlow
from mpesa_stk.payments.query import PaymentStatus
from mpesa_stk.payments.schedule import CALLBACK_RETENTION
from mpesa_stk.payments.state import Transaction
from mpesa_stk.payments.store import (
    AwaitedTransactionStore,
    TransactionStore,
)
from mpesa_stk.phone import PhoneNumber
from mpesa_stk.privacy import hides_locals


class Payments(DeskFace):
    """Payments of one account: asked for once, never lost, never invented.

    Threads may share it. The store may hold payments of other accounts too. `Payments` handles their
    callbacks, and leaves all other work on them to the `Payments` of those accounts.

    Attributes:
        client: Talks to Daraja.
        store: Keeps the payments.
        clock: Gives the time.
        account: Who is paid, such as ``"paybill 600000"``.
        notify: Hands an `Event` to the hooks and the log.
        flow: The methods in their awaited form, for `PaymentEndpoints`. Its parts never suspend.
    """

    def __init__(
        self,
        client: StkClient,
        store: TransactionStore,
        /,
        *,
        clock: Clock | None = None,
        hooks: tuple[Hook, ...] = (),
        jitter: Callable[[], float] = random.random,
        query_budget: QueryBudget | None = None,
        callback_retention: timedelta = CALLBACK_RETENTION,
    ) -> None:
        """Make payments over a client and a store.

        Args:
            client: Sends requests to Daraja. Its config says who is paid and how callbacks are signed.
            store: Stores the payments.
            clock: Gives the time. By default the system's clock.
            hooks: Receive an `Event` for each callback and each settled payment.
            jitter: Returns a random number from 0 to 1, which varies the times of queries and repeated
                reports.
            query_budget: Limits the status queries. By default it is a budget in this process, at the
                pace of the environment: 5 a minute in the sandbox, 60 elsewhere, and no limit for a
                Daraja on this machine. Several processes need one that they share.
            callback_retention: How long to keep callbacks that settled no payment, at least two days.
                `process_due` deletes older ones.

        Raises:
            ConfigurationError: `callback_retention` is too short.
        """
        self.client = client
        self.store = store
        self.clock = clock or SystemClock()
        budget = query_budget if query_budget is not None else budget_for(client.config.environment)
        self.flow = PaymentsFlow(
            client.flow,
            AwaitedTransactionStore(store),
            clock=AwaitedClock(self.clock),
            hooks=hooks,
            jitter=jitter,
            budget=AwaitedQueryBudget(budget),
            callback_retention=callback_retention,
        )
        self.account = self.flow.account
        self.notify = self.flow.notify
        self._desk = self.flow.desk

    @hides_locals
    def checkout(  # noqa: PLR0913 - each has a name
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
        """Ask a customer to pay, once.

        The intent is stored before the push. If the same `idempotency_key` comes with the same payload
        again, its transaction is returned and no push is sent. Only a REJECTED one is pushed again, since
        it never reached the phone. If a callback says that it did, it is returned as it is.

        Args:
            phone_number: Who pays.
            amount: Whole shillings.
            reference: Your reference, which the prompt shows: 1 to 12 characters. If `prompt_reference`
                is given: 1 to 255 printable characters.
            description: Your description: up to 13 characters. If `prompt_description` is given: up to
                255 printable characters.
            prompt_reference: The reference that the prompt shows in place of `reference`.
            prompt_description: The description that is sent to Daraja in place of `description`.
            idempotency_key: Your name for this attempt, 1 to 255 visible ASCII characters.
            order: What is being paid, 1 to 128 printable characters. An order is paid once: while one of
                its attempts may still be paid, no new prompt goes out for it.
            unresolved_ok: Whether to try again although it is unknown if an earlier attempt at the order
                was paid. The customer may then pay twice.

        Returns:
            The transaction, if a prompt may be live: PENDING, or UNCERTAIN if the push's outcome is
            unknown (wait, do not check out again). If the key was used before: the payment of that key,
            in any state. If the same payload for the same order may still be paid: that attempt.

        Raises:
            InvalidRequest: A field breaks a rule. No payment was stored, and no push was sent.
            IdempotencyConflict: The key was used with another payload. No push was sent.
            PaymentInProgress: Another payload for the order may still be paid. No push was sent.
            PaymentUnresolved: It is unknown whether an earlier attempt at the order was paid. No push
                was sent.
            AlreadyPaid: The order is paid. No push was sent.
            StoreError: The intent could not be stored. No push was sent.
            MpesaError: No prompt appeared. The error carries `transaction_no`, and the payment is stored
                as REJECTED.
        """
        return finish(
            self.flow.checkout.run(
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
        )

    @hides_locals
    def get(self, transaction_no: str, /) -> Transaction | None:
        """Return the payment of this account with that number as stored, or None.

        Raises:
            StoreError: The store failed.
        """
        return finish(self.flow.get(transaction_no))

    @hides_locals
    def find(self, *, checkout_request_id: str) -> Transaction | None:
        """Return the payment of this account whose prompt has that id as stored, or None.

        Raises:
            StoreError: The store failed.
        """
        return finish(self.flow.find(checkout_request_id=checkout_request_id))

    @hides_locals
    def order(self, order: str, /) -> OrderStatus:
        """Return what is known about an order of this account, and what may be done now.

        It looks into the store and does not ask Daraja.

        Raises:
            InvalidRequest: The order is no text of 1 to 128 printable characters.
            StoreError: The store failed.
        """
        return finish(self.flow.order(order))

    @hides_locals
    def outcome(self, transaction_no: str, /, *, timeout: float = 120.0) -> Transaction | None:
        """Wait until a payment of this account is settled, by a callback or by `process_due`.

        It looks into the store and does not ask Daraja.

        Args:
            transaction_no: The number of the payment.
            timeout: Seconds to wait at most.

        Returns:
            The payment as stored, or None if there is no such payment. If the time is up, the payment may
            still be open.

        Raises:
            StoreError: The store failed.
        """
        return finish(self.flow.outcome(transaction_no, timeout=timeout))

    @hides_locals
    def query(
        self,
        checkout_request_id: str,
        /,
        *,
        token: str | None = None,
        idempotency_key: str | None = None,
    ) -> PaymentStatus:
        """Return the status of a payment, from the store or from Daraja.

        A settled payment is answered from the store. Daraja is asked about one open payment at most once
        in ten seconds, however many callers ask, and only while the budget of queries allows it.
        Otherwise the payment is returned as stored.

        Args:
            checkout_request_id: Daraja's id of the prompt.
            token: The last path segment of the signed callback URL. If Daraja's answer to the push could
                not be stored, the token proves which payment the id belongs to.
            idempotency_key: The key of the checkout, which proves the same. Take it from your own
                records, never from a browser.

        Raises:
            InvalidRequest: The id or the key breaks a rule.
            CallbackRefused: The token is not ours.
            StoreError: The store failed.
        """
        return finish(
            self.flow.query(checkout_request_id, token=token, idempotency_key=idempotency_key)
        )

    @hides_locals
    def handle_callback(self, body: bytes, /, *, token: str | None = None) -> CallbackReceipt:
        """Handle a callback that Daraja posted. When this returns, the callback is stored.

        Args:
            body: The raw body.
            token: The last path segment of the signed callback URL. Required if ``callback_secrets`` are
                set.

        Returns:
            The effect of the callback, and its payment if that is known.

        Raises:
            CallbackRefused: The token is missing or not ours, or too many callbacks are kept for this
                payment. The callback was not stored.
            InvalidCallback: The body is not a callback, and no token proves that it is Daraja's. It was
                not stored.
            StoreError: The callback could not be stored. Answer 5xx, never 200.
        """
        return finish(self.flow.handle_callback(body, token=token))

    @hides_locals
    def process_due(
        self,
        *,
        on_settled: Callable[[Transaction], object] | None = None,
        limit: int = 100,
        deadline: float = 25.0,
        stop: Callable[[], bool] | None = None,
    ) -> DueReport:
        """Do one bounded batch of due work: ask about open payments, report settled ones.

        Call it from cron, a task queue or a thread, with as many workers as you like. Settled payments
        come first, the longest due before the others. Open ones follow, the oldest first. Of the same age,
        the largest amount comes first. If the budget of status queries is used up, the other open payments
        are deferred until it allows more.

        Args:
            on_settled: Receives each settled payment at least once, and again when there is news of it: a
                receipt, a review, a success. Deduplicate by `transaction_no`, which never changes. If it
                raises an exception, that is logged with its traceback, and the payment is reported again
                later. Without `on_settled`, settled payments stay due until a batch that has one.
            limit: The most payments to take.
            deadline: Seconds after which the batch begins no further payment.
            stop: Called before each payment. If it returns True, the batch begins no further payment, and
                the rest is due for other workers at once.

        Returns:
            The counts of the batch.

        Raises:
            StoreError: The store failed when the batch claimed due payments.
            BaseException: `on_settled` raised it, and it is no `Exception`, such as `SystemExit`. The
                payment is still reported again later.
        """
        return finish(
            self.flow.due.process(
                on_settled=plain_handler(on_settled) if on_settled is not None else None,
                limit=limit,
                deadline=deadline,
                stop=stop or never,
            )
        )
