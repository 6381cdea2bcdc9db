"""Define `Payments`: checkout, query, callback and due work over client and store.

The order of writes protects the payments. The intent is stored before the push, evidence before it is
acknowledged, and an outcome before it is reported. Each change is a compare-and-set of the pure `apply`.
If another worker is first, `apply` runs again on the payment as now stored.
"""

from __future__ import annotations

import math
import random
import re
import uuid
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import attrs

from mpesa_stk.client import StkClient
from mpesa_stk.clock import Clock, SystemClock
from mpesa_stk.daraja.models import MAX_REFERENCE, PushAccepted, PushRequest, check_words
from mpesa_stk.errors import (
    ConfigurationError,
    DuplicateTransaction,
    IdempotencyConflict,
    InvalidRequest,
    MpesaError,
    NotSent,
    OutcomeUnknown,
    StoreError,
)
from mpesa_stk.hooks import Hook, Notifier, log_trouble
from mpesa_stk.payments.budget import QueryBudget, budget_for
from mpesa_stk.payments.callback import CallbackHandler, CallbackReceipt
from mpesa_stk.payments.due import DueReport, DueWork
from mpesa_stk.payments.events import (
    KeyReused,
    PaymentEvent,
    PushOutcomeLost,
    PushRefused,
    PushTaken,
)
from mpesa_stk.payments.query import PaymentQuery, PaymentStatus
from mpesa_stk.payments.recorder import Recorder
from mpesa_stk.payments.schedule import (
    CALLBACK_RETENTION,
    EXPIRE_AFTER,
    FIRST_QUERY,
    KEEP_ASKING,
    PROMPT_LIVES,
    WRITE_AGAIN_AFTER,
)
from mpesa_stk.payments.signing import signed_url
from mpesa_stk.payments.state import Transaction, TransactionState
from mpesa_stk.payments.store import TransactionStore
from mpesa_stk.payments.transaction import apply
from mpesa_stk.phone import PhoneNumber
from mpesa_stk.privacy import hides_locals

_KEY = re.compile(r"[!-~]{1,255}")
_TOO_LONG = (
    f"must be at most {MAX_REFERENCE} characters; to keep a longer one, give a shorter "
    "prompt_reference beside it"
)


class Payments:
    """Payments of one account: asked for once, never lost, never invented.

    Threads may share it. The store may hold payments of other accounts too. `Payments` handles their
    callbacks, and leaves all other work on them to the `Payments` of those accounts.

    Attributes:
        client: Talks to Daraja.
        store: Keeps the payments.
        clock: Gives the time.
        account: Who is paid, such as ``"paybill 600000"``.
        notify: Hands an `Event` to the hooks and the log.
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
        if callback_retention < 2 * KEEP_ASKING:
            raise ConfigurationError((("callback_retention", "must be at least two days"),))
        self.client = client
        self.store = store
        self.clock = clock or SystemClock()
        self.account = str(client.config.account)
        self.notify = Notifier(tuple(hooks))
        self._recorder = Recorder(store=store, clock=self.clock, notify=self.notify, jitter=jitter)
        self._callbacks = CallbackHandler(self._recorder, client.config.callback_secrets)
        budget = query_budget if query_budget is not None else budget_for(client.config.environment)
        self._query = PaymentQuery(
            recorder=self._recorder, callbacks=self._callbacks, client=client, budget=budget
        )
        self._due = DueWork(
            recorder=self._recorder,
            callbacks=self._callbacks,
            client=client,
            budget=budget,
            callback_retention=callback_retention,
        )

    # --- checkout ------------------------------------------------------------------------------

    @hides_locals
    def checkout(
        self,
        *,
        phone_number: str | PhoneNumber,
        amount: int | Decimal,
        reference: str,
        description: str = "",
        prompt_reference: str | None = None,
        prompt_description: str | None = None,
        idempotency_key: str | None = None,
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
            idempotency_key: Your name for this payment, 1 to 255 visible ASCII characters.

        Returns:
            The transaction, if a prompt may be live: PENDING, or UNCERTAIN if the push's outcome is
            unknown (wait, do not check out again). If the key was used before: the payment of that key,
            in any state.

        Raises:
            InvalidRequest: A field breaks a rule. No payment was stored, and no push was sent.
            IdempotencyConflict: The key was used with another payload. No push was sent.
            StoreError: The intent could not be stored. No push was sent.
            MpesaError: No prompt appeared. The error carries `transaction_no`, and the payment is stored
                as REJECTED.
        """
        if prompt_reference is None:
            _refuse_long(reference)
        else:
            check_words("reference", reference)
        if prompt_description is not None and description != "":
            check_words("description", description)
        request = self.client.check_push(
            phone_number=phone_number,
            amount=amount,
            reference=reference if prompt_reference is None else prompt_reference,
            description=description if prompt_description is None else prompt_description,
        )
        intent = self._intent(request, reference, description, _checked_key(idempotency_key))
        transaction, ours = self._store_intent(intent)
        if not ours:
            return transaction
        request = self._signed(request, transaction)
        write_until = self.clock.monotonic() + self.client.config.total_timeout
        try:
            answer = self._push(transaction, request)
        except OutcomeUnknown as error:
            # Do not store the error's text: the host's own transport may have written it.
            reason = f"HTTP {error.http_status}" if error.http_status else "no answer"
            lost = PushOutcomeLost(reason=reason, next_due=self._recorder.next_query(transaction))
            return self._after_push(transaction, lost, write_until)
        except MpesaError as error:
            error.transaction_no = transaction.transaction_no
            code = getattr(error, "error_code", None)
            refused = PushRefused(
                code=code, reason=type(error).__name__, expires_at=transaction.expires_at
            )
            self._after_push(transaction, refused, write_until)
            raise
        return self._accepted(transaction, answer, write_until)

    def _signed(self, request: PushRequest, transaction: Transaction) -> PushRequest:
        """Return the request with a callback URL that proves which payment it belongs to."""
        config = self.client.config
        if not config.callback_secrets:
            return request
        return attrs.evolve(
            request,
            callback_url=signed_url(
                config.callback_url,
                config.callback_secrets[0],
                transaction_no=transaction.transaction_no,
                amount=transaction.amount,
                account=transaction.account,
            ),
        )

    def _push(self, transaction: Transaction, request: PushRequest) -> PushAccepted:
        """Send the push, unless it is too late.

        It is too late if the push could still be under way when the payment counts as orphaned.

        Raises:
            NotSent: It is too late to send the push.
            MpesaError: As `StkClient.send_push` raises.
        """
        given_up = transaction.due_at or transaction.expires_at
        left = (given_up - self.clock.now()).total_seconds() - self.client.config.total_timeout
        if left <= 0:
            raise NotSent("storing the payment took too long")
        return self.client.send_push(request, leave_by=self.clock.monotonic() + left)

    def _intent(
        self, request: PushRequest, reference: str, description: str, key: str | None
    ) -> Transaction:
        now = self.clock.now()
        return Transaction(
            transaction_no=str(uuid.uuid4()),
            idempotency_key=key,
            account=self.account,
            phone_number=request.phone_number.e164,
            amount=request.amount,
            reference=reference,
            description=description,
            created=now,
            updated=now,
            expires_at=now + EXPIRE_AFTER,
            due_at=now + self._longest_push(),
        )

    def _longest_push(self) -> timedelta:
        """Return the time after which a worker that still pushes counts as dead.

        A push takes at most two tokens and two exchanges, each within the total time-out.
        """
        return timedelta(seconds=4 * self.client.config.total_timeout + FIRST_QUERY)

    def _store_intent(self, intent: Transaction) -> tuple[Transaction, bool]:
        """Store the intent, or find the payment that has its idempotency key.

        Returns:
            The stored payment, and whether this call must push it.
        """
        try:
            self.store.add(intent)
        except DuplicateTransaction:
            known = self.store.find(idempotency_key=intent.idempotency_key, account=intent.account)
            if known is None:
                raise
        else:
            return intent, True
        differing = tuple(
            field
            for field in ("phone_number", "amount", "reference", "description")
            if getattr(known, field) != getattr(intent, field)
        )
        if differing:
            raise IdempotencyConflict(differing)
        # If a callback came about the refused push, its prompt did appear, and may be paid.
        reached = known.checkout_request_id is not None or known.needs_review is not None
        if known.state is TransactionState.REJECTED and not reached:
            return self._start_again(known, intent)
        return known, False

    def _start_again(self, rejected: Transaction, intent: Transaction) -> tuple[Transaction, bool]:
        """Take a REJECTED payment for a new push, unless another worker takes it first.

        Returns:
            The payment as now stored, and whether this call must push it.
        """
        again = KeyReused(
            expires_at=intent.expires_at, due_at=self.clock.now() + self._longest_push()
        )
        after = apply(rejected, again, self.clock.now())
        if self.store.replace(after):
            return attrs.evolve(after, version=after.version + 1), True
        return self._recorder.stored(rejected.transaction_no), False

    def _after_push(
        self, transaction: Transaction, event: PaymentEvent, write_until: float
    ) -> Transaction:
        """Store the outcome of a push.

        While the store fails, this tries again until `write_until`.
        If the store fails for longer, the caller still gets the payment with the outcome, and so has no
        reason to push again: the prompt may be live. The stored intent becomes UNCERTAIN when it is due.

        Returns:
            The payment after the push, even if it could not be stored.
        """
        pauses = iter(WRITE_AGAIN_AFTER)
        while True:
            try:
                return self._recorder.record(transaction, event)
            except DuplicateTransaction:
                break
            except StoreError as error:
                log_trouble(
                    "push_not_written",
                    transaction_no=transaction.transaction_no,
                    error=type(error).__name__,
                )
            pause = next(pauses, math.inf)
            if self.clock.monotonic() + pause > write_until:
                break
            self.clock.sleep(pause)
        return apply(transaction, event, self.clock.now())

    def _accepted(
        self, transaction: Transaction, answer: PushAccepted, write_until: float
    ) -> Transaction:
        taken = PushTaken(
            answer=answer,
            next_due=self._recorder.next_query(transaction),
            lives_until=self.clock.now() + PROMPT_LIVES,
        )
        transaction = self._after_push(transaction, taken, write_until)
        try:
            return self._callbacks.apply_kept(transaction)
        except StoreError:
            return transaction  # the callbacks stay kept, and process_due applies them

    # --- query ---------------------------------------------------------------------------------

    @hides_locals
    def get(self, transaction_no: str, /) -> Transaction | None:
        """Return the payment of this account with that number as stored, or None.

        Raises:
            StoreError: The store failed.
        """
        return self._ours(self.store.get(transaction_no))

    @hides_locals
    def find(self, *, checkout_request_id: str) -> Transaction | None:
        """Return the payment of this account whose prompt has that id as stored, or None.

        Raises:
            StoreError: The store failed.
        """
        return self._ours(self.store.find(checkout_request_id=checkout_request_id))

    def _ours(self, transaction: Transaction | None) -> Transaction | None:
        return transaction if transaction and transaction.account == self.account else None

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
        return self._query.ask(checkout_request_id, token=token, key=_checked_key(idempotency_key))

    # --- callback ------------------------------------------------------------------------------

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
        return self._callbacks.handle(body, token)

    # --- the work that is due --------------------------------------------------------------------

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
        return self._due.process(
            on_settled=on_settled, limit=limit, deadline=deadline, stop=stop or _never
        )


def _never() -> bool:
    return False


def _refuse_long(reference: object) -> None:
    """Raise InvalidRequest if a reference is too long, and name the way to keep it.

    The check of the push finds all other faults of a reference.
    """
    if isinstance(reference, str) and len(reference) > MAX_REFERENCE:
        raise InvalidRequest("reference", _TOO_LONG)


def _checked_key(idempotency_key: object) -> str | None:
    if idempotency_key is None:
        return None
    if not isinstance(idempotency_key, str) or not _KEY.fullmatch(idempotency_key):
        raise InvalidRequest("idempotency_key", "must be 1 to 255 visible ASCII characters")
    return idempotency_key
