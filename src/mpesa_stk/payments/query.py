"""Asks what became of a payment, for a page or a person: from the store if it is known there."""

from __future__ import annotations

import attrs

from mpesa_stk.client import StkClient
from mpesa_stk.daraja.models import QueryResult, QueryStatus, check_checkout_id
from mpesa_stk.errors import MpesaError, RateLimited
from mpesa_stk.hooks import log_trouble
from mpesa_stk.payments.budget import QueryBudget
from mpesa_stk.payments.callback import CallbackHandler
from mpesa_stk.payments.events import IdLearnt, QueryBegun, QuerySeen
from mpesa_stk.payments.recorder import Recorder
from mpesa_stk.payments.schedule import ASK_AGAIN_AFTER
from mpesa_stk.payments.state import Transaction
from mpesa_stk.payments.transaction import last_asked

__all__ = ["PaymentQuery", "PaymentStatus"]


@attrs.frozen(kw_only=True)
class PaymentStatus:
    """Daraja's view and ours.

    Attributes:
        remote: Daraja's answer. None if the payment is settled, if Daraja was asked a moment ago, or if
            it could not be asked.
        remote_error: Why it could not be asked.
        local_transaction: The payment as stored, with the answer applied; None if it is not ours.
    """

    remote: QueryResult | None = None
    remote_error: MpesaError | None = None
    local_transaction: Transaction | None = None


class PaymentQuery:
    """Answers from the store, or from Daraja within the budget."""

    def __init__(
        self,
        *,
        recorder: Recorder,
        callbacks: CallbackHandler,
        client: StkClient,
        budget: QueryBudget,
    ) -> None:
        self._recorder = recorder
        self._callbacks = callbacks
        self._client = client
        self._budget = budget
        self._account = str(client.config.account)

    def ask(self, checkout_request_id: str, *, token: str | None, key: str | None) -> PaymentStatus:
        """See `Payments.query`."""
        check_checkout_id(checkout_request_id)
        claimed = self._callbacks.payment_of(token) if token is not None else None
        local = self._recorder.store.find(checkout_request_id=checkout_request_id)
        if local is None:
            return self._unknown_here(checkout_request_id, claimed, key)
        if not self._is_ours(local):
            return PaymentStatus()
        local = self._callbacks.apply_kept(local)
        if local.state.settled or not self._may_ask(local):
            return PaymentStatus(local_transaction=local)
        recorder = self._recorder
        # The last look is a worker's: a page that put it off could keep the payment from its expiry.
        overdue = recorder.clock.now() >= local.expires_at
        next_due = None if overdue else recorder.next_query(local)
        begun = recorder.try_once(local, QueryBegun(next_due=next_due))
        if begun is None:  # another caller was first, and asks, or has settled it
            return PaymentStatus(local_transaction=recorder.stored(local.transaction_no))
        return self._asked(checkout_request_id, begun)

    def _may_ask(self, local: Transaction) -> bool:
        """Whether Daraja was not asked about this payment a moment ago, and the budget allows it now."""
        asked, now = last_asked(local), self._recorder.clock.now()
        if asked is not None and abs(now - asked) < ASK_AGAIN_AFTER:
            return False
        return self._budget.take(self._client.app, now) <= 0

    def _asked(self, checkout_request_id: str, local: Transaction) -> PaymentStatus:
        """Ask Daraja, and settle the payment if the answer is final."""
        remote = self._remote(checkout_request_id)
        if isinstance(remote, MpesaError):
            return PaymentStatus(remote_error=remote, local_transaction=local)
        local = self._recorder.record(local, QuerySeen(result=remote))
        return PaymentStatus(remote=remote, local_transaction=local)

    def _unknown_here(
        self, checkout_request_id: str, claimed: Transaction | None, key: str | None
    ) -> PaymentStatus:
        """Ask about an id that no payment has. A payment that the caller proves it is of gets it."""
        recorder = self._recorder
        if claimed is not None and not self._is_ours(claimed):
            return PaymentStatus()
        if self._budget.take(self._client.app, recorder.clock.now()) > 0:
            return PaymentStatus()
        remote = self._remote(checkout_request_id)
        if isinstance(remote, MpesaError):
            return PaymentStatus(remote_error=remote)
        local = recorder.store.find(checkout_request_id=checkout_request_id)
        if local is None and claimed is None and key is not None:
            claimed = recorder.store.find(idempotency_key=key, account=self._account)
        if local is None and claimed is not None and _is_known(remote):
            local = recorder.record(claimed, IdLearnt(checkout_request_id=checkout_request_id))
        if (
            local is None
            or local.checkout_request_id != checkout_request_id
            or not self._is_ours(local)
        ):
            log_trouble("payment_of_query_unknown", status=remote.status.value)
            return PaymentStatus(remote=remote)
        local = self._callbacks.apply_kept(local)
        local = recorder.record(local, QuerySeen(result=remote))
        return PaymentStatus(remote=remote, local_transaction=local)

    def _is_ours(self, transaction: Transaction) -> bool:
        """Whether it is of the account whose credentials are here."""
        return transaction.account == self._account

    def _remote(self, checkout_request_id: str) -> QueryResult | MpesaError:
        """Daraja's answer, or why there is none. If Daraja asks to slow down, all workers do."""
        try:
            return self._client.query(checkout_request_id, attempts=1)
        except RateLimited as error:
            now = self._recorder.clock.now()
            self._budget.throttled(self._client.app, now, error.retry_after or 0.0)
            return error
        except MpesaError as error:
            return error


def _is_known(remote: QueryResult) -> bool:
    """Whether Daraja knows the prompt: it named an outcome, or says that it is being processed."""
    return remote.status is not QueryStatus.UNKNOWN
