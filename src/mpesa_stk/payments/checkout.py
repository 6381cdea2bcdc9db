"""The flow of a checkout: store the intent, push, store the outcome.

The intent is stored before the push. So if the process dies, its payment is known, and it counts as
UNCERTAIN once no worker can still be pushing it.
"""

from __future__ import annotations

import contextlib
import math
import re
import uuid
from datetime import timedelta
from decimal import Decimal

import attrs

from mpesa_stk.clock import AsyncClock
from mpesa_stk.daraja.client_flow import ClientFlow
from mpesa_stk.daraja.models import MAX_REFERENCE, PushAccepted, PushRequest, check_words
from mpesa_stk.errors import (
    DuplicateTransaction,
    InvalidRequest,
    MpesaError,
    NotSent,
    OutcomeUnknown,
    StoreError,
)
from mpesa_stk.hooks import log_trouble
from mpesa_stk.payments.callback import CallbackHandler
from mpesa_stk.payments.events import PaymentEvent, PushOutcomeLost, PushRefused, PushTaken
from mpesa_stk.payments.intents import Intents
from mpesa_stk.payments.orders import live_slot
from mpesa_stk.payments.recorder import Recorder
from mpesa_stk.payments.schedule import EXPIRE_AFTER, FIRST_QUERY, PROMPT_LIVES, WRITE_AGAIN_AFTER
from mpesa_stk.payments.signing import signed_url
from mpesa_stk.payments.state import Transaction
from mpesa_stk.payments.transaction import apply
from mpesa_stk.phone import PhoneNumber

_KEY = re.compile(r"[!-~]{1,255}")
_LONGEST_ORDER = 128
_TOO_LONG = (
    f"must be at most {MAX_REFERENCE} characters; to keep a longer one, give a shorter "
    "prompt_reference beside it"
)


class Checkout:
    """Asks customers to pay, each once."""

    def __init__(
        self, *, recorder: Recorder, callbacks: CallbackHandler, client: ClientFlow
    ) -> None:
        self._recorder = recorder
        self._store = recorder.store
        self._clock: AsyncClock = recorder.clock
        self._callbacks = callbacks
        self._client = client
        self._account = str(client.config.account)
        self._longest_push = _longest_push(client.config.total_timeout)
        self._intents = Intents(recorder, longest_push=self._longest_push)

    async def run(  # noqa: PLR0913 - those of `Payments.checkout`
        self,
        *,
        phone_number: str | PhoneNumber,
        amount: int | Decimal,
        reference: str,
        description: str,
        prompt_reference: str | None,
        prompt_description: str | None,
        idempotency_key: str | None,
        order: str | None = None,
        unresolved_ok: bool = False,
    ) -> Transaction:
        """Ask a customer to pay, as `Payments.checkout` documents."""
        if prompt_reference is None:
            _refuse_long(reference)
        else:
            check_words("reference", reference)
        if prompt_description is not None and description != "":
            check_words("description", description)
        request = self._client.check_push(
            phone_number=phone_number,
            amount=amount,
            reference=reference if prompt_reference is None else prompt_reference,
            description=description if prompt_description is None else prompt_description,
        )
        intent = attrs.evolve(
            self._intent(request, reference, description),
            idempotency_key=checked_key(idempotency_key),
            prompt_reference=None if request.reference == reference else request.reference,
            order=None if order is None else checked_order(order),
            order_slot=live_slot(order),
        )
        transaction, ours = await self._intents.store(intent, unresolved_ok=unresolved_ok)
        if not ours:
            return transaction
        return await self._pushed(transaction, self._signed(request, transaction))

    async def _pushed(self, transaction: Transaction, request: PushRequest) -> Transaction:
        """Send the push and store its outcome, even if this task is cancelled meanwhile."""
        write_until = self._clock.monotonic() + self._client.config.total_timeout
        event: PaymentEvent = self._lost("interrupted", transaction)
        try:
            event, error = await self._push_outcome(transaction, request)
            after = await self._after_push(transaction, event, write_until)
        except (Exception, GeneratorExit):
            raise
        except BaseException:  # this task is cancelled, or the process must stop
            # If this write fails, the stored intent becomes UNCERTAIN when it is due.
            with contextlib.suppress(Exception):
                await self._recorder.record(transaction, event)
            raise
        if error is not None:
            error.transaction_no = transaction.transaction_no
            raise error
        # A callback at a signed URL finds its payment before the push is answered: it waits for no id.
        if isinstance(event, PushTaken) and not self._client.config.callback_secrets:
            with contextlib.suppress(StoreError):  # they stay kept, and process_due applies them
                return await self._callbacks.apply_kept(after)
        return after

    async def _push_outcome(
        self, transaction: Transaction, request: PushRequest
    ) -> tuple[PaymentEvent, MpesaError | None]:
        """Send the push, and return its outcome. The error says why no prompt appeared."""
        try:
            answer = await self._push(transaction, request)
        except OutcomeUnknown as error:
            # Do not store the error's text: the host's own transport may have written it.
            reason = f"HTTP {error.http_status}" if error.http_status else "no answer"
            return self._lost(reason, transaction), None
        except MpesaError as error:
            refused = PushRefused(
                code=getattr(error, "error_code", None),
                reason=type(error).__name__,
                expires_at=transaction.expires_at,
            )
            return refused, error
        taken = PushTaken(
            answer=answer,
            next_due=self._recorder.next_query(transaction),
            lives_until=self._clock.now() + PROMPT_LIVES,
        )
        return taken, None

    def _lost(self, reason: str, transaction: Transaction) -> PushOutcomeLost:
        return PushOutcomeLost(reason=reason, next_due=self._recorder.next_query(transaction))

    def _signed(self, request: PushRequest, transaction: Transaction) -> PushRequest:
        """Return the request with a callback URL that proves which payment it belongs to."""
        config = self._client.config
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

    async def _push(self, transaction: Transaction, request: PushRequest) -> PushAccepted:
        """Send the push, unless it is too late.

        It is too late if the push could still be under way when the payment counts as orphaned.

        Raises:
            NotSent: It is too late to send the push.
            MpesaError: As `StkClient.send_push` raises.
        """
        given_up = transaction.due_at or transaction.expires_at
        left = (given_up - self._clock.now()).total_seconds() - self._client.config.total_timeout
        if left <= 0:
            raise NotSent("storing the payment took too long")
        return await self._client.send_push(request, leave_by=self._clock.monotonic() + left)

    def _intent(self, request: PushRequest, reference: str, description: str) -> Transaction:
        now = self._clock.now()
        return Transaction(
            transaction_no=str(uuid.uuid4()),
            account=self._account,
            phone_number=request.phone_number.e164,
            amount=request.amount,
            reference=reference,
            description=description,
            created=now,
            updated=now,
            expires_at=now + EXPIRE_AFTER,
            due_at=now + self._longest_push,
        )

    async def _after_push(
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
                return await self._recorder.record(transaction, event)
            except DuplicateTransaction:
                break
            except StoreError as error:
                log_trouble(
                    "push_not_written",
                    transaction_no=transaction.transaction_no,
                    error=type(error).__name__,
                )
            pause = next(pauses, math.inf)
            if self._clock.monotonic() + pause > write_until:
                break
            await self._clock.sleep(pause)
        return apply(transaction, event, self._clock.now())


def _longest_push(total_timeout: float) -> timedelta:
    """Return the time after which a worker that still pushes counts as dead.

    A push takes at most two tokens and two exchanges, each within the total time-out.
    """
    return timedelta(seconds=4 * total_timeout + FIRST_QUERY)


def _refuse_long(reference: object) -> None:
    """Raise InvalidRequest if a reference is too long, and name the way to keep it.

    The check of the push finds all other faults of a reference.
    """
    if isinstance(reference, str) and len(reference) > MAX_REFERENCE:
        raise InvalidRequest("reference", _TOO_LONG)


def checked_order(order: object) -> str:
    """Return the order, if it keeps the rule.

    Raises:
        InvalidRequest: It does not.
    """
    name = check_words("order", order)
    if len(name) > _LONGEST_ORDER:
        raise InvalidRequest("order", f"must be at most {_LONGEST_ORDER} characters")
    return name


def checked_key(idempotency_key: object) -> str | None:
    """Return the key, if it keeps the rule.

    Raises:
        InvalidRequest: It does not.
    """
    if idempotency_key is None:
        return None
    if not isinstance(idempotency_key, str) or not _KEY.fullmatch(idempotency_key):
        raise InvalidRequest("idempotency_key", "must be 1 to 255 visible ASCII characters")
    return idempotency_key
