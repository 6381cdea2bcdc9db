"""The work that is due: orphaned intents, open payments to ask about, outcomes to report.

`due_at` is the only schedule. One batch is bounded in number and time, and a payment that fails harms
no other: its lease brings it back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import attrs

from mpesa_stk.client import StkClient
from mpesa_stk.errors import MpesaError
from mpesa_stk.hooks import log_trouble
from mpesa_stk.payments.events import (
    Deferred,
    QuerySeen,
    Reported,
    ReportFailed,
    TimeUp,
    WorkerDied,
)
from mpesa_stk.payments.intake import CallbackIntake
from mpesa_stk.payments.ledger import Ledger
from mpesa_stk.payments.state import TransactionState
from mpesa_stk.payments.transaction import Transaction

__all__ = ["DueReport", "DueWork"]

_FIRST_REDELIVERY = 30.0
_SLOWEST_REDELIVERY = 3600.0
_LEASE_MARGIN = 30.0


@attrs.frozen(kw_only=True)
class DueReport:
    """What one batch did, in numbers of payments.

    Attributes:
        claimed: Taken from the store.
        queried: Daraja was asked about.
        settled: Got an outcome.
        expired: Of those, given up as EXPIRED.
        reported: The host was told.
        report_failed: The host's handler raised; it is told again later.
        unreported: Settled, but nobody to tell.
        failed: The store or Daraja failed; their time comes again.
        left: Not begun before the deadline; their lease brings them back.
    """

    claimed: int = 0
    queried: int = 0
    settled: int = 0
    expired: int = 0
    reported: int = 0
    report_failed: int = 0
    unreported: int = 0
    failed: int = 0
    left: int = 0


class DueWork:
    """Does what is due."""

    def __init__(self, *, ledger: Ledger, intake: CallbackIntake, client: StkClient) -> None:
        self._ledger = ledger
        self._intake = intake
        self._client = client

    def process(
        self,
        *,
        on_settled: Callable[[Transaction], object] | None,
        limit: int,
        deadline: float,
    ) -> DueReport:
        """Do one batch; see `Payments.process_due`."""
        clock = self._ledger.clock
        ends = clock.monotonic() + deadline
        tally: Counter[str] = Counter()
        # No payment of the batch may be taken by another worker before this one is through.
        lease = timedelta(seconds=deadline + self._client.config.total_timeout + _LEASE_MARGIN)
        for transaction in self._ledger.store.claim_due(clock.now(), limit, lease):
            tally["claimed"] += 1
            if clock.monotonic() >= ends:
                tally["left"] += 1
                continue
            try:
                after = self._follow(transaction, ends, tally)
                if after.state.settled and not after.reported:
                    self._deliver(after, on_settled, tally)
            except MpesaError as error:
                tally["failed"] += 1
                log_trouble(
                    "due_failed",
                    transaction_no=transaction.transaction_no,
                    error=type(error).__name__,
                )
        return DueReport(**tally)

    def _follow(self, transaction: Transaction, ends: float, tally: Counter[str]) -> Transaction:
        """Bring an open payment forward: kept callbacks, the query, its expiry."""
        if transaction.state.settled:
            return transaction
        ledger = self._ledger
        if transaction.state is TransactionState.CREATED:
            died = WorkerDied(next_due=ledger.next_query(transaction))
            transaction = ledger.advance(transaction, died)
        transaction = self._intake.apply_kept(transaction)
        if not transaction.state.settled:
            transaction = self._ask(transaction, ends, tally)
        if not transaction.state.settled and ledger.clock.now() >= transaction.expires_at:
            transaction = ledger.advance(transaction, TimeUp())
            tally["expired"] += transaction.state is TransactionState.EXPIRED
        tally["settled"] += transaction.state.settled
        return transaction

    def _ask(self, transaction: Transaction, ends: float, tally: Counter[str]) -> Transaction:
        """Ask Daraja, where there is an id to ask by; say when to look again."""
        ledger = self._ledger
        if transaction.checkout_request_id is None:
            nothing = Deferred(reason="no id to ask by", next_due=ledger.next_query(transaction))
            return ledger.advance(transaction, nothing)
        tally["queried"] += 1
        left = ends - ledger.clock.monotonic()
        try:
            result = self._client.query(transaction.checkout_request_id, timeout=max(left, 1.0))
        except MpesaError as error:
            tally["failed"] += 1
            asked = timedelta(seconds=getattr(error, "retry_after", None) or 0)
            next_due = max(ledger.next_query(transaction), ledger.clock.now() + asked)
            deferred = Deferred(reason=type(error).__name__, next_due=next_due)
            return ledger.advance(transaction, deferred)
        seen = QuerySeen(result=result, next_due=ledger.next_query(transaction))
        return ledger.advance(transaction, seen)

    def _deliver(
        self,
        transaction: Transaction,
        on_settled: Callable[[Transaction], object] | None,
        tally: Counter[str],
    ) -> None:
        """Tell the host, then write that it was told: at least once, never not at all."""
        if on_settled is None:
            tally["unreported"] += 1  # its lease brings it back
            return
        now = self._ledger.clock.now()
        try:
            on_settled(transaction)
        except Exception as error:  # noqa: BLE001 - the host's handler may raise anything; no other payment may suffer
            tally["report_failed"] += 1
            log_trouble(
                "report_failed",
                transaction_no=transaction.transaction_no,
                error=type(error).__name__,
            )
            age = (now - transaction.updated).total_seconds()
            wait = min(max(2 * age, _FIRST_REDELIVERY), _SLOWEST_REDELIVERY)
            again = ReportFailed(state=transaction.state, next_due=now + timedelta(seconds=wait))
            self._ledger.advance(transaction, again)
            return
        self._ledger.advance(transaction, Reported(state=transaction.state))
        tally["reported"] += 1
