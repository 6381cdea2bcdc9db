"""`Payments`: checkout, status query, callback and the work that is due, over a client and a store.

The order of writes is what keeps the promise: the intent is stored before the push, evidence before
it is acknowledged, and an outcome before it is reported. Each change is a compare-and-set of a pure
`apply`, tried again from the stored state when another worker was first.
"""

from __future__ import annotations

import random
import re
import uuid
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import attrs

from mpesa_stk.client import StkClient
from mpesa_stk.clock import Clock, SystemClock
from mpesa_stk.daraja.models import MAX_REFERENCE, PushAccepted, PushRequest, QueryResult
from mpesa_stk.errors import (
    DuplicateTransaction,
    IdempotencyConflict,
    InvalidRequest,
    MpesaError,
    NotSent,
    OutcomeUnknown,
    RateLimited,
    StoreError,
)
from mpesa_stk.hooks import Hook, Notifier, log_trouble
from mpesa_stk.payments.budget import QueryBudget, budget_for
from mpesa_stk.payments.due import DueReport, DueWork
from mpesa_stk.payments.events import (
    OutcomeLost,
    PaymentEvent,
    PushRefused,
    PushTaken,
    QuerySeen,
    TryAgain,
)
from mpesa_stk.payments.intake import CallbackIntake, CallbackReceipt
from mpesa_stk.payments.ledger import EXPIRE_AFTER, FIRST_QUERY, Ledger
from mpesa_stk.payments.signing import signed_url
from mpesa_stk.payments.state import TransactionState
from mpesa_stk.payments.store import TransactionStore
from mpesa_stk.payments.transaction import Transaction, apply
from mpesa_stk.phone import PhoneNumber

__all__ = ["PaymentStatus", "Payments"]

_KEY = re.compile(r"[!-~]{1,255}")
_TOO_LONG = (
    f"must be at most {MAX_REFERENCE} characters; to keep a longer one, give a shorter "
    "prompt_reference beside it"
)


@attrs.frozen(kw_only=True)
class PaymentStatus:
    """Daraja's view and ours.

    Attributes:
        remote: Daraja's answer, or None where it could not be asked.
        remote_error: Why it could not be asked.
        local_transaction: The payment as stored, with the answer applied; None if it is not ours.
    """

    remote: QueryResult | None
    remote_error: MpesaError | None
    local_transaction: Transaction | None


class Payments:
    """Payments that are remembered: asked for once, never lost, never invented.

    Safe to share between threads.
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
    ) -> None:
        """Make the flow over a client and a store.

        Args:
            client: Talks to Daraja; its config says who is paid and how callbacks are signed.
            store: Remembers the payments.
            clock: Tells the time.
            hooks: Receive an `Event` for each callback and each settled payment.
            jitter: Returns a random number from 0 to 1; spreads status queries and repeated reports.
            query_budget: Limits the status queries of `process_due`. By default one in this process, at
                the environment's pace: 5 a minute in the sandbox, 60 elsewhere, no limit for a Daraja
                on this machine. Several processes need one that they share.
        """
        self.client = client
        self.store = store
        self.clock = clock or SystemClock()
        self.notify = Notifier(tuple(hooks))
        self._ledger = Ledger(store=store, clock=self.clock, notify=self.notify, jitter=jitter)
        self._intake = CallbackIntake(self._ledger, client.config.callback_secrets)
        self._budget = (
            query_budget if query_budget is not None else budget_for(client.config.environment)
        )
        self._due = DueWork(
            ledger=self._ledger,
            intake=self._intake,
            client=client,
            budget=self._budget,
            app=client.app,
        )

    # --- checkout ------------------------------------------------------------------------------

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

        The intent is stored before the push. The same `idempotency_key` with the same payload
        returns its transaction and pushes nothing, except that a REJECTED one is tried again: it never
        reached the phone, unless a callback says that it did.

        Args:
            phone_number: Who pays.
            amount: Whole shillings.
            reference: Shown in the prompt, 1 to 12 characters, unless `prompt_reference` is given.
            description: Up to 13 characters, unless `prompt_description` is given.
            prompt_reference: What the prompt shows in place of `reference`, which is then yours to
                choose freely.
            prompt_description: What Daraja is sent in place of `description`, which is then yours
                to choose freely.
            idempotency_key: Your name for this payment, 1 to 255 visible ASCII characters.

        Returns:
            The transaction, wherever a prompt may be live: PENDING, or UNCERTAIN where the push's
            outcome is unknown (wait, do not check out again). With a key that was used before: the
            payment of that key, in whatever state it is.

        Raises:
            InvalidRequest: A field breaks a rule; nothing was stored or sent.
            IdempotencyConflict: The key was used with another payload; nothing was sent.
            StoreError: The intent could not be stored; nothing was sent.
            MpesaError: No prompt appeared. The error carries `transaction_no`; the payment is
                stored as REJECTED.
        """
        if prompt_reference is None:
            _refuse_long(reference)
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
        secrets = self.client.config.callback_secrets
        if secrets:
            url = signed_url(self.client.config.callback_url, transaction, secrets[0])
            request = attrs.evolve(request, callback_url=url)
        try:
            answer = self._push(transaction, request)
        except OutcomeUnknown as error:
            # Not the reason's own text, which a transport of the host's may have written.
            reason = f"HTTP {error.http_status}" if error.http_status else "no answer"
            lost = OutcomeLost(reason=reason, next_due=self._ledger.next_query(transaction))
            return self._after_push(transaction, lost)
        except MpesaError as error:
            error.transaction_no = transaction.transaction_no
            code = getattr(error, "error_code", None)
            self._after_push(transaction, PushRefused(code=code, reason=type(error).__name__))
            raise
        return self._accepted(transaction, answer)

    def _push(self, transaction: Transaction, request: PushRequest) -> PushAccepted:
        """Push, unless storing the intent took so long that others may have given the payment up."""
        if transaction.due_at is not None and self.clock.now() >= transaction.due_at:
            raise NotSent("storing the payment took too long")
        return self.client.send_push(request)

    def _intent(
        self, request: PushRequest, reference: str, description: str, key: str | None
    ) -> Transaction:
        now = self.clock.now()
        return Transaction(
            transaction_no=str(uuid.uuid4()),
            idempotency_key=key,
            account=str(self.client.config.account),
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
        """After this long without a word, the worker that pushes must have died.

        A push is at most two tokens and two exchanges long, each within the total time-out.
        """
        return timedelta(seconds=4 * self.client.config.total_timeout + FIRST_QUERY)

    def _store_intent(self, intent: Transaction) -> tuple[Transaction, bool]:
        """Store the intent; the stored payment, and whether it is this call that pushes it."""
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
            for field in ("phone_number", "amount", "reference", "description", "account")
            if getattr(known, field) != getattr(intent, field)
        )
        if differing:
            raise IdempotencyConflict(differing)
        # A callback came about the refused push: its prompt did appear, and may be paid.
        reached = known.checkout_request_id is not None or known.needs_review is not None
        if known.state is TransactionState.REJECTED and not reached:
            return self._start_again(known, intent)
        return known, False

    def _start_again(self, rejected: Transaction, intent: Transaction) -> tuple[Transaction, bool]:
        """Take a REJECTED payment for a new push, unless another worker takes it first."""
        again = TryAgain(
            expires_at=intent.expires_at, due_at=self.clock.now() + self._longest_push()
        )
        after = apply(rejected, again, self.clock.now())
        if self.store.replace(after):
            return attrs.evolve(after, version=after.version + 1), True
        return self._ledger.stored(rejected.transaction_no), False

    def _after_push(self, transaction: Transaction, event: PaymentEvent) -> Transaction:
        """Write what came of a push.

        Where the store fails now, the prompt may be live all the same, and the stored intent becomes
        UNCERTAIN when it is due: the caller gets the truth, and no reason to push again.
        """
        try:
            return self._ledger.advance(transaction, event)
        except StoreError as error:
            log_trouble(
                "push_not_written",
                transaction_no=transaction.transaction_no,
                error=type(error).__name__,
            )
            return apply(transaction, event, self.clock.now())

    def _accepted(self, transaction: Transaction, answer: PushAccepted) -> Transaction:
        taken = PushTaken(answer=answer, next_due=self._ledger.next_query(transaction))
        transaction = self._after_push(transaction, taken)
        try:
            return self._intake.apply_kept(transaction)
        except StoreError:
            return transaction  # they stay kept; process_due applies them

    # --- query ---------------------------------------------------------------------------------

    def query(self, checkout_request_id: str, /) -> PaymentStatus:
        """Ask Daraja about a payment, join it with ours, and settle ours where it is final.

        A person asks: the budget of `process_due` does not hold this back, and it is not counted there,
        or a page that asks every second would keep `process_due` from ever asking. Where Daraja answers
        that it is too much, `process_due` slows down.

        Raises:
            InvalidRequest: The id cannot be one.
            StoreError: The store failed.
        """
        remote: QueryResult | None = None
        failure: MpesaError | None = None
        try:
            remote = self.client.query(checkout_request_id)
        except InvalidRequest:
            raise
        except MpesaError as error:
            failure = error
            if isinstance(error, RateLimited):
                self._budget.throttled(self.client.app, self.clock.now(), error.retry_after or 0.0)
        local = self.store.find(checkout_request_id=checkout_request_id)
        if local is not None and remote is not None:
            local = self._ledger.advance(local, QuerySeen(result=remote))
        return PaymentStatus(remote=remote, remote_error=failure, local_transaction=local)

    # --- callback ------------------------------------------------------------------------------

    def handle_callback(self, body: bytes, /, *, token: str | None = None) -> CallbackReceipt:
        """Take a callback that Daraja posted; it is stored when this returns.

        Args:
            body: The raw body.
            token: The last path segment of the signed callback URL. Required where
                ``callback_secrets`` are set.

        Raises:
            CallbackRefused: The token is missing or not ours; nothing was stored.
            InvalidCallback: The body is not a callback; nothing was stored.
            StoreError: It could not be stored: answer 5xx, never 200.
        """
        return self._intake.take(body, token)

    # --- the work that is due --------------------------------------------------------------------

    def process_due(
        self,
        *,
        on_settled: Callable[[Transaction], object] | None = None,
        limit: int = 100,
        deadline: float = 25.0,
        stop: Callable[[], bool] | None = None,
    ) -> DueReport:
        """Do one bounded batch of what is due: ask about open payments, report settled ones.

        Call it from cron, a task queue or a thread, by as many workers as you like. Settled payments come
        first, the longest due before the others; then open ones, the oldest before the younger ones and,
        of the same age, the larger amount before the smaller. Where the budget of status queries is
        used up, the rest is deferred until it allows more.

        Args:
            on_settled: Told of each settled payment at least once; `transaction_no` is the stable
                id to deduplicate by. What it raises is logged, and it is told again later. Without
                it nothing is reported, and the payments stay due for a caller that brings one.
            limit: Most payments to take.
            deadline: Seconds after which no further payment is begun.
            stop: Asked before each payment; once it says True, no further payment is begun, and those
                not begun are due for other workers at once.

        Raises:
            StoreError: The store failed when asked for what is due.
            BaseException: What `on_settled` raised, if it is no `Exception`, such as `SystemExit`. The
                payment is told again later all the same.
        """
        return self._due.process(
            on_settled=on_settled, limit=limit, deadline=deadline, stop=stop or _never
        )


def _never() -> bool:
    return False


def _refuse_long(reference: object) -> None:
    """Say how a long reference can be kept; what else is wrong with it the push's check says."""
    if isinstance(reference, str) and len(reference) > MAX_REFERENCE:
        raise InvalidRequest("reference", _TOO_LONG)


def _checked_key(idempotency_key: object) -> str | None:
    if idempotency_key is None:
        return None
    if not isinstance(idempotency_key, str) or not _KEY.fullmatch(idempotency_key):
        raise InvalidRequest("idempotency_key", "must be 1 to 255 visible ASCII characters")
    return idempotency_key
