"""Handle callbacks: prove which payment is meant, keep evidence, settle it."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from datetime import datetime
from enum import Enum

import attrs

from mpesa_stk.daraja.callbacks import parse_callback
from mpesa_stk.daraja.models import CallbackResult
from mpesa_stk.errors import CallbackRefused, DuplicateTransaction, InvalidCallback, StoreError
from mpesa_stk.hooks import Event, log_trouble
from mpesa_stk.payments.events import CallbackSeen, Doubted, Meaning
from mpesa_stk.payments.evidence import contradiction
from mpesa_stk.payments.recorder import Recorder
from mpesa_stk.payments.signing import is_genuine, transaction_no_of
from mpesa_stk.payments.state import Transaction
from mpesa_stk.payments.store import KeptCallback
from mpesa_stk.payments.transaction import meaning_of
from mpesa_stk.privacy import mask_checkout_id

MOST_KEPT = 20
"""The most callbacks that are kept for one payment, and for one CheckoutRequestID."""
_DOUBTFUL = (Meaning.CONTRADICTED, Meaning.UNPROVEN)
_UNREADABLE = "callback cannot be read"

IsSigned = Callable[[str], Awaitable[bool]]
"""Returns whether the callbacks of an account, given by its full name, are signed."""


class CallbackOutcome(str, Enum):
    """The effect of a callback."""

    SETTLED = "settled"
    """It settled the payment."""
    NOTED = "noted"
    """It changed the payment without settling it: a doubt, a contradiction, a receipt."""
    REPEATED = "repeated"
    """It brought no news."""
    KEPT = "kept"
    """Its raw body is kept: its payment is not known yet, or the body cannot be read."""


@attrs.frozen(kw_only=True)
class CallbackReceipt:
    """The effect of a callback.

    The callback is stored, whichever outcome it has. Acknowledge it.

    Attributes:
        outcome: `CallbackOutcome`.
        transaction: The payment after the callback, or None if its payment is not known yet.
    """

    outcome: CallbackOutcome
    transaction: Transaction | None


@attrs.frozen(kw_only=True)
class _Judgement:
    """The effect of one callback on its payment.

    Attributes:
        before: The stored payment before the callback.
        after: The payment after it.
        doubtful: Whether the callback must stay kept, because it is no proof.
    """

    before: Transaction
    after: Transaction
    doubtful: bool

    @property
    def outcome(self) -> CallbackOutcome:
        if self.after is self.before:
            return CallbackOutcome.REPEATED
        if self.after.state.settled and self.after.state is not self.before.state:
            return CallbackOutcome.SETTLED
        return CallbackOutcome.NOTED


class CallbackHandler:
    """Proves which payment a callback is for, keeps evidence, settles the payment."""

    def __init__(
        self, recorder: Recorder, *, secrets: tuple[str, ...] = (), account: str | None = None
    ) -> None:
        self._recorder = recorder
        self._store = recorder.store
        self._secrets = secrets
        self._account = account
        self._is_signed: IsSigned | None = None

    def know_others(self, is_signed: IsSigned, /) -> None:
        """Learn whether the callbacks of other accounts in the store are signed."""
        self._is_signed = is_signed

    async def handle(self, body: bytes, token: str | None) -> CallbackReceipt:
        """Handle one callback, as `Payments.handle_callback` documents."""
        try:
            claimed = await self.payment_of(token) if self._secrets else None
            receipt, result = await self._received(body, claimed)
        except (CallbackRefused, InvalidCallback) as error:
            self._recorder.notify(
                Event(kind="callback", outcome="refused", error=type(error).__name__)
            )
            raise
        self._notify(receipt, result)
        return receipt

    async def _received(
        self, body: bytes, claimed: Transaction | None
    ) -> tuple[CallbackReceipt, CallbackResult | None]:
        """Read a callback and apply it to its payment.

        Returns:
            The receipt, and the parsed callback. The latter is None if the body cannot be read.
        """
        try:
            result = parse_callback(body)
        except InvalidCallback:
            if claimed is None:
                raise
            return await self._keep_unread(body, claimed), None
        return await self._place(body, result, claimed), result

    async def payment_of(self, token: str | None, /) -> Transaction:
        """Return the payment that the token of a signed callback URL proves.

        Raises:
            CallbackRefused: The token is missing or not ours.
            StoreError: The store failed.
        """
        number = transaction_no_of(token or "")
        if number is None:
            raise CallbackRefused("no token in the callback URL")
        transaction = await self._store.get(number)
        if transaction is None or not is_genuine(
            token or "",
            self._secrets,
            transaction_no=transaction.transaction_no,
            amount=transaction.amount,
            account=transaction.account,
        ):
            raise CallbackRefused("the token is not ours")
        return transaction

    def _notify(self, receipt: CallbackReceipt, result: CallbackResult | None) -> None:
        known = receipt.transaction
        self._recorder.notify(
            Event(
                kind="callback",
                outcome=receipt.outcome.value,
                code=result.result.code if result else None,
                transaction_no=known.transaction_no if known else None,
                merchant_request_id=result.merchant_request_id if result else None,
                checkout_request_id=mask_checkout_id(
                    result.checkout_request_id if result else None
                ),
            )
        )

    async def apply_kept(self, transaction: Transaction, /) -> Transaction:
        """Apply the kept callbacks of a payment, and delete those that are used up.

        Callbacks that are no proof stay, as evidence. Applying one twice has no further effect. If our
        callbacks are signed, one that came without a token is no proof: an account that shares the store
        may have kept it.

        Returns:
            The payment after the callbacks.
        """
        kept_callbacks = await self._store.kept_callbacks(
            checkout_request_id=transaction.checkout_request_id,
            transaction_no=transaction.transaction_no,
        )
        for kept in kept_callbacks:
            if kept.transaction_no not in (None, transaction.transaction_no):
                continue  # its URL proves that it belongs to another payment
            if self._secrets and kept.transaction_no is None:
                continue
            try:
                result = parse_callback(kept.body)
            except InvalidCallback:
                continue  # evidence for a person
            transaction = (await self._apply_one(transaction, result, kept)).after
        return transaction

    async def _apply_one(
        self, transaction: Transaction, result: CallbackResult, kept: KeptCallback
    ) -> _Judgement:
        judgement = await self._judge(transaction, result, None, kept.received)
        if not judgement.doubtful:
            await self._drop(kept)
        return judgement

    async def _drop(self, kept: KeptCallback) -> None:
        """Delete a callback that is used up.

        If the store fails, a later call of `apply_kept` or the purge of old callbacks deletes it.
        """
        try:
            await self._store.drop_callback(kept.callback_id)
        except StoreError as error:
            log_trouble("callback_not_dropped", error=type(error).__name__)

    async def _keep_unread(self, body: bytes, claimed: Transaction) -> CallbackReceipt:
        """Keep a genuine body that cannot be read.

        The payment becomes due for a query at once, and needs a review. Daraja was seen to post a
        callback once and never again (docs/daraja.md, section 6), so this body may be the only evidence.
        """
        await self._keep(body, None, claimed.transaction_no, _UNREADABLE)
        after = await self._recorder.record(claimed, Doubted(reason=_UNREADABLE))
        return CallbackReceipt(outcome=CallbackOutcome.KEPT, transaction=after)

    async def _place(
        self, body: bytes, result: CallbackResult, claimed: Transaction | None
    ) -> CallbackReceipt:
        known = claimed or await self._find(result)
        if known is not None:
            judgement = await self._judge(known, result, body)
            return CallbackReceipt(outcome=judgement.outcome, transaction=judgement.after)
        # The answer to the push may not be stored yet. Keep the evidence, then search once more.
        kept = await self._keep(
            body, result.checkout_request_id, None, "no payment has this checkout_request_id yet"
        )
        known = await self._find(result)
        if known is None:
            return CallbackReceipt(outcome=CallbackOutcome.KEPT, transaction=None)
        judgement = await self._apply_one(known, result, kept)
        return CallbackReceipt(outcome=judgement.outcome, transaction=judgement.after)

    async def _find(self, result: CallbackResult) -> Transaction | None:
        """Return the payment that a callback without a token names, or None.

        The store may hold payments of other accounts. If their callbacks are signed, this one is no proof.
        """
        known = await self._store.find(checkout_request_id=result.checkout_request_id)
        if known is None or known.account == self._account or self._is_signed is None:
            return known
        return None if await self._is_signed(known.account) else known

    async def _judge(
        self,
        known: Transaction,
        result: CallbackResult,
        body: bytes | None,
        received: datetime | None = None,
    ) -> _Judgement:
        """Apply a callback to its payment, and keep it first if it is no proof.

        If the callback is kept already, `body` is None, and it was `received` at that moment.
        """
        event: CallbackSeen | Doubted = CallbackSeen(result=result)
        now = self._recorder.clock.now()
        reason = contradiction(known, result, now) or "success without proof"
        if meaning_of(known, event, now) not in _DOUBTFUL:
            try:
                before, after = await self._recorder.change(known, event)
            except DuplicateTransaction as error:
                reason = _of_another(error)
                event = Doubted(reason=reason)
            else:
                # The stored payment or the time may differ from those of the first check: another
                # callback may have been faster. So check again whether this one is doubtful.
                now = self._recorder.clock.now() if after is before else after.updated
                doubtful = meaning_of(before, event, now) in _DOUBTFUL
                if doubtful and body is not None:
                    reason = contradiction(before, result, now) or reason
                    await self._keep(body, result.checkout_request_id, known.transaction_no, reason)
                return _Judgement(before=before, after=after, doubtful=doubtful)
        if body is not None:
            await self._keep(body, result.checkout_request_id, known.transaction_no, reason)
        if received is not None and _is_decided(known, event, received, now):
            return _Judgement(before=known, after=known, doubtful=True)
        try:
            before, after = await self._recorder.change(known, event)
        except DuplicateTransaction as error:  # it is no proof, so it teaches no id
            event = Doubted(reason=_of_another(error))
            before, after = await self._recorder.change(known, event)
        return _Judgement(before=before, after=after, doubtful=True)

    async def _keep(
        self,
        body: bytes,
        checkout_request_id: str | None,
        transaction_no: str | None,
        reason: str,
    ) -> KeptCallback:
        """Keep a callback with its raw body. The same callback is kept only once.

        Returns:
            The kept callback.

        Raises:
            CallbackRefused: `MOST_KEPT` callbacks are kept for this payment or prompt already.
            StoreError: The store failed.
        """
        kept = KeptCallback(
            callback_id=_callback_id(body, checkout_request_id or transaction_no or ""),
            body=body,
            reason=reason,
            received=self._recorder.clock.now(),
            checkout_request_id=checkout_request_id,
            transaction_no=transaction_no,
        )
        others = await self._store.kept_callbacks(
            checkout_request_id=checkout_request_id, transaction_no=transaction_no
        )
        if kept.callback_id not in {other.callback_id for other in others}:
            if len(others) >= MOST_KEPT:
                raise CallbackRefused("too many callbacks are kept for this payment")
            await self._store.keep_callback(kept)
        return kept


def _is_decided(
    known: Transaction, event: CallbackSeen | Doubted, received: datetime, now: datetime
) -> bool:
    """Return whether a person decided about the payment after this doubt was noted.

    Then the callback stays as evidence, and does not ask for the review again.
    """
    noted = (meaning_of(known, event, now).value, event.history_code)
    decided = max((entry.at for entry in known.history if entry.by), default=received)
    return received < decided and any((entry.event, entry.code) == noted for entry in known.history)


def _of_another(error: DuplicateTransaction) -> str:
    return f"callback has the {error.field} of another payment"


def _callback_id(body: bytes, owner: str) -> str:
    """Return a hash of the callback, so that a repeated one has the same id."""
    return hashlib.sha256(owner.encode() + b"\n" + body).hexdigest()
