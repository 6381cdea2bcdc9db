"""Answer pages and people about a payment, from the store or from Daraja."""

from __future__ import annotations

import attrs

from mpesa_stk.daraja.client_flow import ClientFlow
from mpesa_stk.daraja.models import QueryResult, QueryStatus, check_checkout_id
from mpesa_stk.errors import MpesaError, RateLimited
from mpesa_stk.hooks import log_trouble
from mpesa_stk.payments.budget import AsyncQueryBudget
from mpesa_stk.payments.callback import CallbackHandler
from mpesa_stk.payments.events import IdLearnt, QueryBegun, QuerySeen
from mpesa_stk.payments.recorder import Recorder
from mpesa_stk.payments.schedule import ASK_AGAIN_AFTER
from mpesa_stk.payments.state import Transaction
from mpesa_stk.payments.transaction import last_asked


@attrs.frozen(kw_only=True)
class PaymentStatus:
    """The status of a payment, from Daraja and from the store.

    Attributes:
        remote: Daraja's answer. None if the payment is settled, if Daraja was asked a moment ago, or if
            Daraja could not be asked.
        remote_error: The error, if the query of Daraja failed.
        local_transaction: The stored payment with Daraja's answer applied. None if it is not ours.
    """

    remote: QueryResult | None = None
    remote_error: MpesaError | None = None
    local_transaction: Transaction | None = None


class PaymentQuery:
    """Answers queries of pages and people, within the budget of status queries."""

    def __init__(
        self,
        *,
        recorder: Recorder,
        callbacks: CallbackHandler,
        client: ClientFlow,
        budget: AsyncQueryBudget,
    ) -> None:
        self._recorder = recorder
        self._callbacks = callbacks
        self._client = client
        self._budget = budget
        self._account = str(client.config.account)

    async def ask(
        self, checkout_request_id: str, *, token: str | None, key: str | None
    ) -> PaymentStatus:
        """Return the status of a payment, as `Payments.query` documents."""
        check_checkout_id(checkout_request_id)
        claimed = await self._callbacks.payment_of(token) if token is not None else None
        local = await self._recorder.store.find(checkout_request_id=checkout_request_id)
        if local is None:
            return await self._unknown_here(checkout_request_id, claimed, key)
        if not self._is_ours(local):
            return PaymentStatus()
        local = await self._callbacks.apply_kept(local)
        if local.state.settled or not await self._may_ask(local):
            return PaymentStatus(local_transaction=local)
        recorder = self._recorder
        # Do not defer an overdue payment: a page that polls would keep it from its expiry.
        overdue = recorder.clock.now() >= local.expires_at
        next_due = None if overdue else recorder.next_query(local)
        begun = await recorder.try_once(local, QueryBegun(next_due=next_due))
        if begun is None:  # another caller was first: it asks Daraja, or has settled the payment
            return PaymentStatus(local_transaction=await recorder.stored(local.transaction_no))
        return await self._asked(checkout_request_id, begun)

    async def _may_ask(self, local: Transaction) -> bool:
        """Return whether a query is allowed now.

        The last one must be ten seconds ago or more, and the budget must allow the next.
        """
        asked, now = last_asked(local), self._recorder.clock.now()
        if asked is not None and abs(now - asked) < ASK_AGAIN_AFTER:
            return False
        return await self._budget.take(self._client.app, now) <= 0

    async def _asked(self, checkout_request_id: str, local: Transaction) -> PaymentStatus:
        """Ask Daraja, and settle the payment if the answer is final."""
        remote = await self._remote(checkout_request_id)
        if isinstance(remote, MpesaError):
            return PaymentStatus(remote_error=remote, local_transaction=local)
        local = await self._recorder.record(local, QuerySeen(result=remote))
        return PaymentStatus(remote=remote, local_transaction=local)

    async def _unknown_here(
        self, checkout_request_id: str, claimed: Transaction | None, key: str | None
    ) -> PaymentStatus:
        """Ask Daraja about an id that no stored payment has.

        If the caller proved with a token or a key which payment the id belongs to, and Daraja knows the
        id, that payment gets it.
        """
        recorder = self._recorder
        if claimed is not None and not self._is_ours(claimed):
            return PaymentStatus()
        if await self._budget.take(self._client.app, recorder.clock.now()) > 0:
            return PaymentStatus()
        remote = await self._remote(checkout_request_id)
        if isinstance(remote, MpesaError):
            return PaymentStatus(remote_error=remote)
        local = await recorder.store.find(checkout_request_id=checkout_request_id)
        if local is None and claimed is None and key is not None:
            claimed = await recorder.store.find(idempotency_key=key, account=self._account)
        if local is None and claimed is not None and _is_known(remote):
            local = await recorder.record(
                claimed, IdLearnt(checkout_request_id=checkout_request_id)
            )
        if (
            local is None
            or local.checkout_request_id != checkout_request_id
            or not self._is_ours(local)
        ):
            log_trouble("payment_of_query_unknown", status=remote.status.value)
            return PaymentStatus(remote=remote)
        local = await self._callbacks.apply_kept(local)
        local = await recorder.record(local, QuerySeen(result=remote))
        return PaymentStatus(remote=remote, local_transaction=local)

    def _is_ours(self, transaction: Transaction) -> bool:
        """Return whether the payment belongs to the account of this client."""
        return transaction.account == self._account

    async def _remote(self, checkout_request_id: str) -> QueryResult | MpesaError:
        """Ask Daraja once, and return its answer or the error.

        A rate limit slows all workers down.
        """
        try:
            return await self._client.query(checkout_request_id, attempts=1)
        except RateLimited as error:
            now = self._recorder.clock.now()
            await self._budget.throttled(self._client.app, now, error.retry_after or 0.0)
            return error
        except MpesaError as error:
            return error


def _is_known(remote: QueryResult) -> bool:
    """Return whether Daraja knows the prompt: ended, or still being processed."""
    return remote.status is not QueryStatus.UNKNOWN
