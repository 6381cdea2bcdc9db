"""The work that is due: orphaned intents, open payments to ask about, outcomes to report.

`due_at` is the only schedule. One batch is bounded in number and time, and a payment that fails harms
no other: its lease brings it back. Many workers may do batches at once.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import math
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import Enum

import attrs

from mpesa_stk.client import StkClient
from mpesa_stk.errors import (
    AuthenticationFailed,
    DarajaError,
    InvalidRequest,
    MpesaError,
    RateLimited,
    StoreError,
)
from mpesa_stk.hooks import log_trouble
from mpesa_stk.payments.budget import QueryBudget
from mpesa_stk.payments.callback import CallbackHandler
from mpesa_stk.payments.events import (
    Deferred,
    Expired,
    Meaning,
    QuerySeen,
    Reported,
    ReportFailed,
    WorkerDied,
)
from mpesa_stk.payments.recorder import Recorder
from mpesa_stk.payments.schedule import (
    KEEP_ASKING,
    LONGEST_RETRY_AFTER,
    PURGE_EVERY,
    SLOWEST_QUERY,
    pause_before_report,
)
from mpesa_stk.payments.state import Transaction, TransactionState
from mpesa_stk.payments.transaction import news_of

__all__ = ["DueReport", "DueWork"]

_LEASE_MARGIN = 30.0
_LEAST_QUERY = 5.0
_PATIENCE = 2.0
_PURGED_AT_ONCE = 100


class _Heard(Enum):
    """What the last look at an open payment brought."""

    NOTHING = 0
    """Daraja could not be asked: the payment does not expire."""
    WORDS = 1
    """Daraja answered, but not how it ended: it may expire, and a person must look at it."""
    ANSWER = 2
    """Daraja said how it ended, or that it does not know it; or there is no id to ask by."""


@attrs.frozen(kw_only=True)
class DueReport:
    """What one batch did, in numbers of payments.

    Attributes:
        claimed: Taken from the store.
        queried: Daraja was asked about.
        deferred: Not asked about, since the budget of queries was used up; asked about later.
        throttled: Of the queries, refused by Daraja because of too many.
        settled: Got an outcome.
        expired: Of those, given up as EXPIRED.
        reported: The host was told.
        report_failed: The host's handler raised; it is told again later.
        unreported: Settled, but nobody to tell; due at once for whoever brings a handler.
        failed: The store or Daraja failed; their time comes again.
        left: Claimed but not handled: the deadline came, the batch was stopped, or another worker has
            them by now.
        purged: Of kept callbacks, forgotten because they are too old.
        more: Whether the batch was full, so that more may be due now. False if all of it is unreported.
    """

    claimed: int = 0
    queried: int = 0
    deferred: int = 0
    throttled: int = 0
    settled: int = 0
    expired: int = 0
    reported: int = 0
    report_failed: int = 0
    unreported: int = 0
    failed: int = 0
    left: int = 0
    purged: int = 0
    more: bool = False


@attrs.define(kw_only=True)
class _Batch:
    """One batch while it is done.

    Attributes:
        on_settled: The host's handler.
        ends: Monotonic second after which no payment is begun.
        tally: What was done.
        untold: Settled payments that nobody can be told of.
        closed_until: When the budget allows the next query, where it was used up.
    """

    on_settled: Callable[[Transaction], object] | None
    ends: float
    tally: Counter[str] = attrs.Factory(Counter)
    untold: list[Transaction] = attrs.Factory(list)
    closed_until: datetime | None = None


class DueWork:
    """Does what is due."""

    def __init__(
        self,
        *,
        recorder: Recorder,
        callbacks: CallbackHandler,
        client: StkClient,
        budget: QueryBudget,
        callback_retention: timedelta,
    ) -> None:
        self._recorder = recorder
        self._callbacks = callbacks
        self._client = client
        self._budget = budget
        self._app = client.app
        self._accounts = frozenset({str(client.config.account)})
        self._callback_retention = callback_retention
        self._purge_at = -math.inf

    def process(
        self,
        *,
        on_settled: Callable[[Transaction], object] | None,
        limit: int,
        deadline: float,
        stop: Callable[[], bool],
    ) -> DueReport:
        """Do one batch; see `Payments.process_due`."""
        clock = self._recorder.clock
        # No payment of the batch may be taken by another worker before this one is through.
        lease = timedelta(seconds=deadline + self._client.config.total_timeout + _LEASE_MARGIN)
        batch = _Batch(on_settled=on_settled, ends=clock.monotonic() + deadline)
        tally = batch.tally
        store = self._recorder.store
        rest = _in_order(store.claim_due(clock.now(), limit, lease, self._accounts))
        tally["claimed"] = len(rest)
        try:
            while rest and not stop():
                transaction = rest.pop(0)
                if clock.monotonic() >= batch.ends:
                    tally["left"] += 1
                else:
                    self._do(transaction, batch)
        finally:
            # Stopped, or taken down by the handler: nobody needs to wait until our leases end.
            tally["left"] += len(rest)
            self._release([*rest, *batch.untold])
        tally["purged"] = self._purge()
        # A batch that is due again as a whole would come for ever.
        more = tally["claimed"] >= limit and tally["claimed"] > tally["unreported"]
        return DueReport(more=more, **tally)

    def _purge(self) -> int:
        """Forget kept callbacks that are too old: few at once, and seldom."""
        clock = self._recorder.clock
        if clock.monotonic() < self._purge_at:
            return 0
        before = clock.now() - self._callback_retention
        try:
            purged = self._recorder.store.purge_callbacks(before, _PURGED_AT_ONCE)
        except StoreError as error:
            log_trouble("purge_failed", error=type(error).__name__)
            purged = 0
        if purged < _PURGED_AT_ONCE:
            self._purge_at = clock.monotonic() + PURGE_EVERY
        return purged

    def _release(self, transactions: list[Transaction]) -> None:
        now = self._recorder.clock.now()
        for transaction in transactions:
            with contextlib.suppress(StoreError):  # its lease brings it back
                self._recorder.release(transaction, now)

    def _do(self, transaction: Transaction, batch: _Batch) -> None:
        """Do what is due for one payment; whatever fails, the others are done."""
        try:
            after = self._follow(transaction, batch)
            if after.state.settled and not after.reported:
                self._deliver(after, batch, ours=transaction.state.settled)
        except MpesaError as error:
            batch.tally["failed"] += 1
            log_trouble(
                "due_failed",
                transaction_no=transaction.transaction_no,
                error=type(error).__name__,
            )

    # --- open payments --------------------------------------------------------------------------

    def _follow(self, transaction: Transaction, batch: _Batch) -> Transaction:
        """Bring a payment forward: kept callbacks, which may prove more than is stored, then the query."""
        if transaction.state.settled:
            return self._callbacks.apply_kept(transaction)
        recorder = self._recorder
        if transaction.state is TransactionState.CREATED:
            died = WorkerDied(next_due=recorder.next_query(transaction))
            transaction = recorder.record(transaction, died)
        transaction = self._callbacks.apply_kept(transaction)
        if not transaction.state.settled:
            overdue = recorder.clock.now() >= transaction.expires_at
            transaction, heard = self._look(transaction, batch)
            if overdue and heard is not _Heard.NOTHING and not transaction.state.settled:
                over = Expired(answered=heard is _Heard.ANSWER)
                transaction = recorder.record(transaction, over)
                batch.tally["expired"] += transaction.state is TransactionState.EXPIRED
        batch.tally["settled"] += transaction.state.settled
        return transaction

    def _look(self, transaction: Transaction, batch: _Batch) -> tuple[Transaction, _Heard]:
        """Ask Daraja if that is possible and the budget allows it; say when to look again."""
        recorder = self._recorder
        if transaction.checkout_request_id is None:
            nothing = Deferred(reason="no id to ask by", next_due=recorder.next_query(transaction))
            return recorder.record(transaction, nothing), _Heard.ANSWER
        wait = self._wait_for_budget(batch)
        if wait > 0:
            # Those behind it wait longer, or all would come back for each single query: half of their
            # place in the line, since others may settle without a query.
            place = 1 + batch.tally["deferred"] / 2
            batch.tally["deferred"] += 1
            seconds = min(wait * place, max(wait, SLOWEST_QUERY))
            recorder.release(transaction, recorder.clock.now() + timedelta(seconds=seconds))
            return transaction, _Heard.NOTHING
        return self._ask(transaction, transaction.checkout_request_id, batch)

    def _wait_for_budget(self, batch: _Batch) -> float:
        """Seconds until a query may be asked; 0.0 where one may be asked now, which is counted.

        Between two queries of a batch a short pause is waited for, or a batch could ask once and no more;
        not before the first, for which an older payment may be waiting elsewhere, and not so long that
        there is no time left to defer the rest.
        """
        clock = self._recorder.clock
        if batch.closed_until is not None and clock.now() < batch.closed_until:
            return (batch.closed_until - clock.now()).total_seconds()
        wait = self._budget.take(self._app, clock.now())
        patience = _PATIENCE if batch.tally["queried"] else 0.0
        while 0 < wait <= patience and clock.monotonic() + wait + _PATIENCE <= batch.ends:
            clock.sleep(wait)
            wait = self._budget.take(self._app, clock.now())
        batch.closed_until = clock.now() + timedelta(seconds=wait)
        return wait

    def _ask(
        self, transaction: Transaction, checkout_request_id: str, batch: _Batch
    ) -> tuple[Transaction, _Heard]:
        """Ask Daraja; returns as `_look` does."""
        recorder = self._recorder
        batch.tally["queried"] += 1
        left = batch.ends - recorder.clock.monotonic()
        try:
            # One try: the budget counts questions that are sent, and the schedule asks again.
            result = self._client.query(
                checkout_request_id, timeout=max(left, _LEAST_QUERY), attempts=1
            )
        except MpesaError as error:
            batch.tally["failed"] += 1
            asked = timedelta(seconds=self._pause_after(error, batch))
            next_due = max(recorder.next_query(transaction), recorder.clock.now() + asked)
            deferred = Deferred(reason=type(error).__name__, next_due=next_due)
            transaction = recorder.record(transaction, deferred)
            long_over = recorder.clock.now() >= transaction.expires_at + KEEP_ASKING
            spoken = long_over or _is_about_the_payment(error)
            return transaction, _Heard.WORDS if spoken else _Heard.NOTHING
        seen = QuerySeen(result=result, next_due=recorder.next_query(transaction))
        heard = _Heard.ANSWER if result.not_found else _Heard.WORDS
        return recorder.record(transaction, seen), heard

    def _pause_after(self, error: MpesaError, batch: _Batch) -> float:
        """Seconds that Daraja asks for; where it says that we ask too much, all workers hear of it."""
        seconds: float = getattr(error, "retry_after", None) or 0.0
        if isinstance(error, RateLimited):
            batch.tally["throttled"] += 1
            self._budget.throttled(self._app, self._recorder.clock.now(), seconds)
        return min(seconds, LONGEST_RETRY_AFTER)

    # --- settled payments -----------------------------------------------------------------------

    def _deliver(self, transaction: Transaction, batch: _Batch, *, ours: bool) -> None:
        """Report a payment, then write that it was reported: at least once.

        It is taken for the report first, so that what is reported is what is stored, and no other worker
        reports it meanwhile. `ours` says that it was settled when this worker claimed it.
        """
        if batch.on_settled is None:
            batch.tally["unreported"] += 1
            batch.untold.append(transaction)
            return
        recorder = self._recorder
        due = transaction.due_at is not None and transaction.due_at <= recorder.clock.now()
        held = recorder.take_for_report(transaction) if ours or due else None
        if held is None:
            batch.tally["left"] += 1
            return
        try:
            _refuse_unrun(batch.on_settled(held))
        except Exception as error:  # noqa: BLE001 - the host's handler may raise anything; no other payment may suffer
            self._tell_again(held, error, batch)
        except BaseException as error:
            # The host wants to stop, so it does; but not at the same payment again and again.
            with contextlib.suppress(StoreError):
                self._tell_again(held, error, batch)
            raise
        else:
            recorder.record(held, Reported(news=news_of(held)))
            batch.tally["reported"] += 1

    def _tell_again(self, transaction: Transaction, error: BaseException, batch: _Batch) -> None:
        """Write that the host could not be told, and when to try again: ever more slowly."""
        batch.tally["report_failed"] += 1
        log_trouble(
            "report_failed",
            cause=error,  # the host's own code, which the host has to repair
            transaction_no=transaction.transaction_no,
            error=type(error).__name__,
        )
        pause = pause_before_report(_failures(transaction))
        again = ReportFailed(news=news_of(transaction), next_due=self._recorder.with_jitter(pause))
        self._recorder.record(transaction, again)


def _refuse_unrun(returned: object) -> None:
    """What ``async def`` and generator functions return when they are called has done nothing yet."""
    if inspect.iscoroutine(returned) or inspect.isgenerator(returned):
        returned.close()
        raise TypeError("the handler did not run: it must be a plain function")


def _in_order(claimed: list[Transaction]) -> list[Transaction]:
    """Settled payments as claimed, the longest due first; then open ones, the oldest and largest first."""
    settled = [transaction for transaction in claimed if transaction.state.settled]
    still_open = [transaction for transaction in claimed if not transaction.state.settled]
    still_open.sort(key=lambda transaction: (transaction.expires_at, -transaction.amount))
    return settled + still_open


def _is_about_the_payment(error: MpesaError) -> bool:
    """Whether an error is Daraja's answer to this very question, and no outage or lack of credentials."""
    if isinstance(error, DarajaError) and not isinstance(
        error, (AuthenticationFailed, RateLimited)
    ):
        return error.http_status < 500  # noqa: PLR2004 - server errors
    return isinstance(error, InvalidRequest)


def _failures(transaction: Transaction) -> int:
    """How many reports failed in a row."""
    events = [entry.event for entry in reversed(transaction.history)]
    return sum(1 for _ in itertools.takewhile(Meaning.REPORT_FAILED.value.__eq__, events))
