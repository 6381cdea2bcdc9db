"""A customer's "I paid, here is my code" over HTTP: looks into a fresh record, and settles no payment."""

from __future__ import annotations

from datetime import timedelta

from mpesa_stk.errors import InvalidRequest, MpesaError, RateLimited
from mpesa_stk.payments.decisions import receipt_of
from mpesa_stk.payments.payments_flow import PaymentsFlow
from mpesa_stk.payments.reconciling import Claim, ClaimAnswer
from mpesa_stk.payments.row_pairs import pushed_at
from mpesa_stk.payments.schedule import RECORDS_REACH
from mpesa_stk.payments.state import Transaction
from mpesa_stk.reconcile.pull_flow import pull_statement
from mpesa_stk.reconcile.statement import Statement
from mpesa_stk.web.throttle import Client, Throttle

HITS = frozenset({ClaimAnswer.PAID, ClaimAnswer.IN_RECORD})
"""The answers to a code that is the payment's. All others count as a guess."""
# A payment may be completed a moment before our clock says that it was asked for.
_BEFORE_PUSH = timedelta(minutes=2)


class WebClaim:
    """Answers customers who name a receipt, within the limits of guesses and the budget of queries."""

    def __init__(self, payments: PaymentsFlow, /, *, throttle: Throttle) -> None:
        self._payments = payments
        self._throttle = throttle

    async def run(self, local: Transaction, receipt_number: str, client: Client, /) -> Claim:
        """Answer a claim, and count it if it is a guess.

        Args:
            local: The payment. The client may see it.
            receipt_number: The code that the customer typed.
            client: Who asks.

        Raises:
            InvalidRequest: It does not have the form of a receipt.
            StoreError: The store failed.
        """
        try:
            receipt = receipt_of(receipt_number)
            # `claim` refuses a code without a letter, so no record is pulled for it.
            asks = local.receipt_number is None and not receipt.isdecimal()
            statement = await self._record(local) if asks else None
            claim = await self._payments.desk.claim(
                local.transaction_no, receipt, statement=statement
            )
        except InvalidRequest:
            await self._throttle.missed(client)
            raise
        if claim.answer not in HITS:
            await self._throttle.missed(client)
        return claim

    async def _record(self, local: Transaction) -> Statement | None:
        """Return Daraja's record since the push, or None if it does not reach so far or cannot be had."""
        parts, now = self._payments.parts, self._payments.now()
        start = pushed_at(local) - _BEFORE_PUSH
        if now - start > RECORDS_REACH or await parts.budget.take(parts.client.app, now) > 0:
            return None
        try:
            return await pull_statement(parts.client, start, now)
        except RateLimited as error:
            slow = error.retry_after or 0.0
            await parts.budget.throttled(parts.client.app, self._payments.now(), slow)
            return None
        except MpesaError:
            return None  # the client has reported it
