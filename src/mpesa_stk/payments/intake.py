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
            transaction, doubtful = self._judge(transaction, parse_callback(kept.body), kept.body)
            if not doubtful:
                self._store.drop_callback(kept.callback_id)
        return transaction

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
        before = claimed or self._store.find(checkout_request_id=result.checkout_request_id)
        if before is not None:
            after, _ = self._judge(before, result, body)
            return _receipt(before, after)
        # The push answer may not be stored yet: keep the evidence, then look once more.
        self._keep(body, result, None, "no payment has this checkout_request_id yet")
        before = self._store.find(checkout_request_id=result.checkout_request_id)
        if before is None:
            return CallbackReceipt(outcome=CallbackOutcome.KEPT, transaction=None)
        return _receipt(before, self.apply_kept(before))

    def _judge(
        self, before: Transaction, result: CallbackResult, body: bytes
    ) -> tuple[Transaction, bool]:
        """The payment after a callback, and whether the callback is kept because it is doubtful."""
        event: CallbackSeen | Doubted = CallbackSeen(result=result)
        reason = contradiction(before, result) or "success without proof"
        if signal_of(before, event) not in _DOUBTFUL:
            try:
                after = self._ledger.advance(before, event)
            except DuplicateTransaction as error:
                reason = f"callback has the {error.field} of another payment"
                event = Doubted(reason=reason)
            else:
                if after.needs_review in (None, before.needs_review):
                    return after, False
                reason = after.needs_review  # another callback was faster, and they disagree
        self._keep(body, result, before.transaction_no, reason)
        return self._ledger.advance(before, event), True

    def _keep(
        self, body: bytes, result: CallbackResult, transaction_no: str | None, reason: str
    ) -> None:
        """Keep a callback, unless the very same one is kept already."""
        kept_callbacks = self._store.kept_callbacks(
            checkout_request_id=result.checkout_request_id, transaction_no=transaction_no
        )
        if any(kept.body == body for kept in kept_callbacks):
            return
        self._store.keep_callback(
            KeptCallback(
                callback_id=str(uuid.uuid4()),
                body=body,
                reason=reason,
                received=self._ledger.clock.now(),
                checkout_request_id=result.checkout_request_id,
                transaction_no=transaction_no,
            )
        )


def _receipt(before: Transaction, after: Transaction) -> CallbackReceipt:
    if after.version == before.version:
        outcome = CallbackOutcome.REPEATED
    elif after.state.settled and after.state is not before.state:
        outcome = CallbackOutcome.SETTLED
    else:
        outcome = CallbackOutcome.NOTED
    return CallbackReceipt(outcome=outcome, transaction=after)
