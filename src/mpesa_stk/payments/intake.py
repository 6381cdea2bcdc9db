"""Takes callbacks: proves whose they are, keeps the evidence, settles the payment."""

from __future__ import annotations

import uuid
from enum import Enum

import attrs

from mpesa_stk.daraja.callbacks import parse_callback
from mpesa_stk.daraja.models import CallbackResult
from mpesa_stk.errors import CallbackRefused, DuplicateTransaction, InvalidCallback
from mpesa_stk.hooks import Event
from mpesa_stk.payments.events import CallbackSeen, Doubted, Signal
from mpesa_stk.payments.ledger import Ledger
from mpesa_stk.payments.signing import is_genuine, transaction_no_of
from mpesa_stk.payments.store import KeptCallback
from mpesa_stk.payments.transaction import Transaction, contradiction, signal_of
from mpesa_stk.secrecy import mask_checkout_id

__all__ = ["CallbackIntake", "CallbackOutcome", "CallbackReceipt"]

_DOUBTFUL = (Signal.CONTRADICTED, Signal.UNPROVEN)


class CallbackOutcome(str, Enum):
    """What a callback did."""

    SETTLED = "settled"
    """It settled the payment."""
    NOTED = "noted"
    """It changed the payment without settling it: a doubt, a contradiction, a receipt."""
    REPEATED = "repeated"
    """It told nothing new."""
    KEPT = "kept"
    """Its payment is not known yet; it is kept until that turns up."""


@attrs.frozen(kw_only=True)
class CallbackReceipt:
    """What became of a callback. Whatever it is, the callback was stored: acknowledge it.

    Attributes:
        outcome: `CallbackOutcome`.
        transaction: The payment after it, or None where it is not known yet.
    """

    outcome: CallbackOutcome
    transaction: Transaction | None


@attrs.frozen(kw_only=True)
class _Judgement:
    """What one callback did to its payment.

    Attributes:
        before: The stored payment that it met.
        after: The payment after it.
        doubtful: Whether the callback is kept because it proves nothing.
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


class CallbackIntake:
    """Takes callbacks into a ledger."""

    def __init__(self, ledger: Ledger, secrets: tuple[str, ...]) -> None:
        self._ledger = ledger
        self._store = ledger.store
        self._secrets = secrets

    def take(self, body: bytes, token: str | None) -> CallbackReceipt:
        """Take one callback; see `Payments.handle_callback`."""
        try:
            claimed = self._claimed_payment(token)
            result = parse_callback(body)
        except (CallbackRefused, InvalidCallback) as error:
            self._ledger.notify(
                Event(kind="callback", outcome="refused", error=type(error).__name__)
            )
            raise
        receipt = self._place(body, result, claimed)
        known = receipt.transaction
        self._ledger.notify(
            Event(
                kind="callback",
                outcome=receipt.outcome.value,
                code=result.result.code,
                transaction_no=known.transaction_no if known else None,
                merchant_request_id=result.merchant_request_id,
                checkout_request_id=mask_checkout_id(result.checkout_request_id),
            )
        )
        return receipt

    def apply_kept(self, transaction: Transaction, /) -> Transaction:
        """Apply the callbacks that were kept for a payment, and drop those that are used up.

        Those that prove nothing stay, as evidence; applying one twice changes nothing.
        """
        kept_callbacks = self._store.kept_callbacks(
            checkout_request_id=transaction.checkout_request_id,
            transaction_no=transaction.transaction_no,
        )
        for kept in kept_callbacks:
            transaction = self._apply_one(transaction, kept).after
        return transaction

    def _apply_one(self, transaction: Transaction, kept: KeptCallback) -> _Judgement:
        judgement = self._judge(transaction, parse_callback(kept.body), kept.body)
        if not judgement.doubtful:
            self._store.drop_callback(kept.callback_id)
        return judgement

    def _claimed_payment(self, token: str | None) -> Transaction | None:
        """The payment that the signed URL proves, or None where URLs are not signed."""
        if not self._secrets:
            return None
        number = transaction_no_of(token or "")
        if number is None:
            raise CallbackRefused("no token in the callback URL")
        transaction = self._store.get(number)
        if transaction is None or not is_genuine(token or "", transaction, self._secrets):
            raise CallbackRefused("the token is not ours")
        return transaction

    def _place(
        self, body: bytes, result: CallbackResult, claimed: Transaction | None
    ) -> CallbackReceipt:
        known = claimed or self._store.find(checkout_request_id=result.checkout_request_id)
        if known is not None:
            judgement = self._judge(known, result, body)
            return CallbackReceipt(outcome=judgement.outcome, transaction=judgement.after)
        # The push answer may not be stored yet: keep the evidence, then look once more.
        kept = self._keep(body, result, None, "no payment has this checkout_request_id yet")
        known = self._store.find(checkout_request_id=result.checkout_request_id)
        if known is None:
            return CallbackReceipt(outcome=CallbackOutcome.KEPT, transaction=None)
        judgement = self._apply_one(known, kept)
        return CallbackReceipt(outcome=judgement.outcome, transaction=judgement.after)

    def _judge(self, known: Transaction, result: CallbackResult, body: bytes) -> _Judgement:
        """Apply a callback to its payment; keep it first where it proves nothing."""
        event: CallbackSeen | Doubted = CallbackSeen(result=result)
        reason = contradiction(known, result) or "success without proof"
        if signal_of(known, event) not in _DOUBTFUL:
            try:
                before, after = self._ledger.step(known, event)
            except DuplicateTransaction as error:
                reason = f"callback has the {error.field} of another payment"
                event = Doubted(reason=reason)
            else:
                # Doubtful all the same where another callback was faster, and they disagree.
                doubtful = signal_of(before, event) in _DOUBTFUL
                if doubtful:
                    reason = contradiction(before, result) or reason
                    self._keep(body, result, known.transaction_no, reason)
                return _Judgement(before=before, after=after, doubtful=doubtful)
        self._keep(body, result, known.transaction_no, reason)
        before, after = self._ledger.step(known, event)
        return _Judgement(before=before, after=after, doubtful=True)

    def _keep(
        self, body: bytes, result: CallbackResult, transaction_no: str | None, reason: str
    ) -> KeptCallback:
        """Keep a callback, unless the very same one is kept already."""
        kept_callbacks = self._store.kept_callbacks(
            checkout_request_id=result.checkout_request_id, transaction_no=transaction_no
        )
        for kept in kept_callbacks:
            if kept.body == body:
                return kept
        kept = KeptCallback(
            callback_id=str(uuid.uuid4()),
            body=body,
            reason=reason,
            received=self._ledger.clock.now(),
            checkout_request_id=result.checkout_request_id,
            transaction_no=transaction_no,
        )
        self._store.keep_callback(kept)
        return kept
