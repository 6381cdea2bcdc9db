"""Do the due work: orphaned intents, queries of open payments, and reports.

`due_at` is the only schedule. A batch is bounded in number and time. If one payment fails, the others
still get their turn, and the failed one is due again when its lease ends. Many workers may run batches
at the same time.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from enum import Enum

import attrs

from mpesa_stk.errors import (
    AuthenticationFailed,
    DarajaError,
    InvalidRequest,
    MpesaError,
    RateLimited,
    StoreError,
)
from mpesa_stk.hooks import log_trouble
from mpesa_stk.payments.effects import news_of
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
    LEASE_MARGIN,
    LEAST_QUERY,
    LONGEST_PAUSE,
    LONGEST_RETRY_AFTER,
    PURGE_EVERY,
    SLOWEST_QUERY,
    pause_before_report,
)
from mpesa_stk.payments.served import AccountParts, ServedAccounts
from mpesa_stk.payments.state import Transaction, TransactionState

_PURGED_AT_ONCE = 100

Handler = Callable[[Transaction], Awaitable[object]]
"""Receives a settled payment. It is awaited."""


class _Heard(Enum):
    """What was learnt when a worker last looked at an open payment."""

    NOTHING = 0
    """Daraja could not be asked. The payment does not expire."""
    WORDS = 1
    """Daraja answered without an outcome. The payment may expire, and then needs a review."""
    ANSWER = 2
    """Daraja named the outcome or does not know the payment, or there is no id to ask by."""


@attrs.frozen(kw_only=True)
class DueReport:
    """The result of one batch, as numbers of payments.

    Attributes:
        claimed: Payments taken from the store.
        queried: Payments that Daraja was asked about.
        deferred: Payments to ask about later, because the budget of queries was used up.
        throttled: Queries that Daraja refused because there were too many.
        settled: Payments that got an outcome.
        expired: The settled ones that were given up as EXPIRED.
        reported: Payments that the host's handler took.
        report_failed: Payments for which the handler raised. They are reported again later.
        unreported: Settled payments of a batch without a handler. They stay due for one with a handler.
        failed: Payments for which the store or Daraja failed. They are due again later.
        left: Payments that were claimed but not handled, because of the deadline, a stop, or another
            worker that took them.
        foreign: Payments that were left alone, because the settings of their account are not found. Only
            `Accounts` that load settings when they are needed can claim such payments.
        purged: Kept callbacks that were deleted because of their age.
        more: Whether the batch was full and not all of it was unreported. Then more may be due now.
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
    foreign: int = 0
    purged: int = 0
    more: bool = False


@attrs.define(kw_only=True)
class _Queries:
    """The queries of one app in a running batch. Each app has a separate budget.

    Attributes:
        asked: How many were sent.
        deferred: How many payments were deferred.
        closed_until: When the budget allows the next query, if it was used up.
    """

    asked: int = 0
    deferred: int = 0
    closed_until: datetime | None = None


@attrs.define(kw_only=True)
class _Batch:
    """The state of one running batch.

    Attributes:
        on_settled: The host's handler.
        ends: Monotonic second after which the batch begins no further payment.
        tally: The counts of the `DueReport`.
        untold: Settled payments that cannot be reported, because there is no handler.
        queries: The queries, by app.
    """

    on_settled: Handler | None
    ends: float
    tally: Counter[str] = attrs.Factory(Counter)
    untold: list[Transaction] = attrs.Factory(list)
    queries: defaultdict[str, _Queries] = attrs.Factory(lambda: defaultdict(_Queries))


class DueWork:
    """Runs batches of due payments."""

    def __init__(
        self, *, recorder: Recorder, accounts: ServedAccounts, callback_retention: timedelta
    ) -> None:
        self._recorder = recorder
        self._accounts = accounts
        self._callback_retention = callback_retention
        self._purge_at = -math.inf
        self._batches = 0
        self._handled: dict[str, int] = {}  # the last batch that handled a payment of an account

    async def process(
        self,
        *,
        on_settled: Handler | None,
        limit: int,
        deadline: float,
        stop: Callable[[], bool],
    ) -> DueReport:
        """Do one batch, as `Payments.process_due` documents."""
        clock = self._recorder.clock
        # The lease outlasts the batch, so that other workers do not take its payments.
        lease = timedelta(seconds=deadline + self._accounts.longest_exchange + LEASE_MARGIN)
        batch = _Batch(on_settled=on_settled, ends=clock.monotonic() + deadline)
        tally = batch.tally
        store = self._recorder.store
        names = await self._accounts.names()
        rest = _in_order(await store.claim_due(clock.now(), limit, lease, names), self._handled)
        self._batches += 1
        tally["claimed"] = len(rest)
        try:
            while rest and not stop():
                transaction = rest.pop(0)
                if clock.monotonic() >= batch.ends:
                    tally["left"] += 1
                else:
                    self._handled[transaction.account] = self._batches
                    await self._do(transaction, batch)
        finally:
            # If a stop or the handler ended the batch, other workers can take the rest at once.
            tally["left"] += len(rest)
            await self._release([*rest, *batch.untold])
        tally["purged"] = await self._purge()
        # If the whole batch is unreported it stays due, and another batch would only repeat it.
        more = tally["claimed"] >= limit and tally["claimed"] > tally["unreported"]
        return DueReport(more=more, **tally)

    async def _purge(self) -> int:
        """Delete kept callbacks that are too old, at most 100 at once.

        After a call that found fewer, or failed, the next one is an hour later.

        Returns:
            How many were deleted.
        """
        clock = self._recorder.clock
        if clock.monotonic() < self._purge_at:
            return 0
        before = clock.now() - self._callback_retention
        try:
            purged = await self._recorder.store.purge_callbacks(before, _PURGED_AT_ONCE)
        except StoreError as error:
            log_trouble("purge_failed", error=type(error).__name__)
            purged = 0
        if purged < _PURGED_AT_ONCE:
            self._purge_at = clock.monotonic() + PURGE_EVERY
        return purged

    async def _release(self, transactions: list[Transaction]) -> None:
        """Make payments due for other workers now."""
        now = self._recorder.clock.now()
        for transaction in transactions:
            with contextlib.suppress(StoreError):  # it is due again when its lease ends
                await self._recorder.release(transaction, now)

    async def _do(self, transaction: Transaction, batch: _Batch) -> None:
        """Do the due work of one payment.

        A failure is counted and logged, and the batch goes on.
        """
        try:
            account = await self._accounts.parts_of(transaction.account)
            if account is None:  # it is due again when its lease ends
                batch.tally["foreign"] += 1
                return
            after = await self._follow(transaction, account, batch)
            if after.state.settled and not after.reported:
                await self._deliver(after, batch, ours=transaction.state.settled)
        except MpesaError as error:
            batch.tally["failed"] += 1
            log_trouble(
                "due_failed",
                transaction_no=transaction.transaction_no,
                error=type(error).__name__,
            )

    # --- open payments --------------------------------------------------------------------------

    async def _follow(
        self, transaction: Transaction, account: AccountParts, batch: _Batch
    ) -> Transaction:
        """Apply a payment's kept callbacks and, if it is still open, ask Daraja about it.

        An orphaned CREATED payment becomes UNCERTAIN first. An open payment whose time is over expires,
        unless Daraja could not be asked.

        Returns:
            The payment as now stored.
        """
        if transaction.state.settled:
            return await account.callbacks.apply_kept(transaction)
        recorder = self._recorder
        if transaction.state is TransactionState.CREATED:
            died = WorkerDied(next_due=recorder.next_query(transaction))
            transaction = await recorder.record(transaction, died)
        transaction = await account.callbacks.apply_kept(transaction)
        if not transaction.state.settled:
            overdue = recorder.clock.now() >= transaction.expires_at
            transaction, heard = await self._look(transaction, account, batch)
            if overdue and heard is not _Heard.NOTHING and not transaction.state.settled:
                over = Expired(answered=heard is _Heard.ANSWER)
                transaction = await recorder.record(transaction, over)
                batch.tally["expired"] += transaction.state is TransactionState.EXPIRED
        batch.tally["settled"] += transaction.state.settled
        return transaction

    async def _look(
        self, transaction: Transaction, account: AccountParts, batch: _Batch
    ) -> tuple[Transaction, _Heard]:
        """Ask Daraja if possible, and store the next due time.

        Daraja is asked if the payment has an id and the budget allows it.

        Returns:
            The payment as now stored, and what was learnt.
        """
        recorder = self._recorder
        if transaction.checkout_request_id is None:
            nothing = Deferred(reason="no id to ask by", next_due=recorder.next_query(transaction))
            return await recorder.record(transaction, nothing), _Heard.ANSWER
        queries = batch.queries[account.client.app]
        wait = await self._wait_for_budget(account, queries, batch)
        if wait > 0:
            # Spread deferred payments, or all would return for one query: the n-th (from 0) returns
            # after wait * (1 + n/2). Half a slot is enough, since some settle by callback.
            place = 1 + queries.deferred / 2
            queries.deferred += 1
            batch.tally["deferred"] += 1
            seconds = min(wait * place, max(wait, SLOWEST_QUERY))
            await recorder.release(transaction, recorder.clock.now() + timedelta(seconds=seconds))
            return transaction, _Heard.NOTHING
        queries.asked += 1
        return await self._ask(transaction, transaction.checkout_request_id, account, batch)

    async def _wait_for_budget(
        self, account: AccountParts, queries: _Queries, batch: _Batch
    ) -> float:
        """Take the slot of one query of the account's app, and sleep a little for it if needed.

        An app's first query of a batch never waits, since another worker may hold an older payment. Later
        ones sleep up to two seconds, or a batch could ask only once. They sleep only while enough time is
        left to defer the rest.

        Returns:
            0.0 if the batch may ask now. Otherwise the seconds until it may.
        """
        clock, app = self._recorder.clock, account.client.app
        if queries.closed_until is not None and clock.now() < queries.closed_until:
            return (queries.closed_until - clock.now()).total_seconds()
        wait = await account.budget.take(app, clock.now())
        patience = LONGEST_PAUSE if queries.asked else 0.0
        while 0 < wait <= patience and clock.monotonic() + wait + LONGEST_PAUSE <= batch.ends:
            await clock.sleep(wait)
            wait = await account.budget.take(app, clock.now())
        queries.closed_until = clock.now() + timedelta(seconds=wait)
        return wait

    async def _ask(
        self,
        transaction: Transaction,
        checkout_request_id: str,
        account: AccountParts,
        batch: _Batch,
    ) -> tuple[Transaction, _Heard]:
        """Ask Daraja about one payment, and store the answer. Returns the same as `_look`."""
        recorder = self._recorder
        batch.tally["queried"] += 1
        left = batch.ends - recorder.clock.monotonic()
        try:
            # One attempt: the budget counts each query that is sent, and the schedule asks again.
            result = await account.client.query(
                checkout_request_id, timeout=max(left, LEAST_QUERY), attempts=1
            )
        except MpesaError as error:
            batch.tally["failed"] += 1
            asked = timedelta(seconds=await self._pause_after(error, account, batch))
            next_due = max(recorder.next_query(transaction), recorder.clock.now() + asked)
            deferred = Deferred(reason=type(error).__name__, next_due=next_due)
            transaction = await recorder.record(transaction, deferred)
            long_over = recorder.clock.now() >= transaction.expires_at + KEEP_ASKING
            spoken = long_over or _is_about_the_payment(error)
            return transaction, _Heard.WORDS if spoken else _Heard.NOTHING
        seen = QuerySeen(result=result, next_due=recorder.next_query(transaction))
        heard = _Heard.ANSWER if result.not_found else _Heard.WORDS
        return await recorder.record(transaction, seen), heard

    async def _pause_after(self, error: MpesaError, account: AccountParts, batch: _Batch) -> float:
        """Return the seconds that Daraja asks to wait, at most an hour.

        A rate limit slows all workers down.
        """
        seconds: float = getattr(error, "retry_after", None) or 0.0
        if isinstance(error, RateLimited):
            batch.tally["throttled"] += 1
            now = self._recorder.clock.now()
            await account.budget.throttled(account.client.app, now, seconds)
        return min(seconds, LONGEST_RETRY_AFTER)

    # --- settled payments -----------------------------------------------------------------------

    async def _deliver(self, transaction: Transaction, batch: _Batch, *, ours: bool) -> None:
        """Call the handler with a settled payment, then store that it was reported.

        The handler is called at least once. The payment is taken for its report before, so that the
        handler gets the stored payment, and other workers leave it alone meanwhile. `ours` is true if the
        payment was already settled when this worker claimed it.
        """
        if batch.on_settled is None:
            batch.tally["unreported"] += 1
            batch.untold.append(transaction)
            return
        recorder = self._recorder
        due = transaction.due_at is not None and transaction.due_at <= recorder.clock.now()
        held = await recorder.take_for_report(transaction) if ours or due else None
        if held is None:
            batch.tally["left"] += 1
            return
        try:
            await batch.on_settled(held)
        except Exception as error:  # noqa: BLE001 - the host's handler may raise anything; the others must not suffer
            await self._tell_again(held, error, batch)
        except BaseException as error:
            # The host wants to stop, so raise. Defer this payment, or each restart would stop at it.
            with contextlib.suppress(StoreError):
                await self._tell_again(held, error, batch)
            raise
        else:
            await recorder.record(held, Reported(news=news_of(held)))
            batch.tally["reported"] += 1

    async def _tell_again(
        self, transaction: Transaction, error: BaseException, batch: _Batch
    ) -> None:
        """Store that the report failed, and when to try again.

        The pauses grow with each failure, up to an hour.
        """
        batch.tally["report_failed"] += 1
        log_trouble(
            "report_failed",
            cause=error,  # the host's own code, which the host has to repair
            transaction_no=transaction.transaction_no,
            error=type(error).__name__,
        )
        pause = pause_before_report(_failures(transaction))
        again = ReportFailed(news=news_of(transaction), next_due=self._recorder.with_jitter(pause))
        await self._recorder.record(transaction, again)


def _in_order(claimed: list[Transaction], handled: Mapping[str, int]) -> list[Transaction]:
    """Sort claimed payments: settled ones first, then open ones.

    Settled payments keep their order, the longest due first. Open ones follow by age, the oldest first,
    and by amount if they are of the same age, the largest first. Several accounts take turns.
    """
    settled = [transaction for transaction in claimed if transaction.state.settled]
    still_open = [transaction for transaction in claimed if not transaction.state.settled]
    still_open.sort(key=lambda transaction: (transaction.expires_at, -transaction.amount))
    return [*_in_turn(settled, handled), *_in_turn(still_open, handled)]


def _in_turn(transactions: list[Transaction], handled: Mapping[str, int]) -> list[Transaction]:
    """Sort the first payment of each account before the second of any, and keep the order otherwise.

    So the payments of one account do not keep the others waiting. Within a turn, the accounts come first
    that earlier batches did not reach: otherwise one whose answers take until the end of each batch would
    be the only one that is handled.
    """
    seen: Counter[str] = Counter()
    turns = []
    for transaction in transactions:
        account = transaction.account
        turns.append((seen[account], handled.get(account, 0), transaction))
        seen[account] += 1
    return [transaction for *_, transaction in sorted(turns, key=lambda turn: turn[:2])]


def _is_about_the_payment(error: MpesaError) -> bool:
    """Return whether an error is Daraja's answer to this query.

    An outage, a rate limit and wrong credentials are not.
    """
    if isinstance(error, DarajaError) and not isinstance(
        error, (AuthenticationFailed, RateLimited)
    ):
        return error.http_status < 500  # noqa: PLR2004 - server errors
    return isinstance(error, InvalidRequest)


def _failures(transaction: Transaction) -> int:
    """Return how many reports failed in a row."""
    events = [entry.event for entry in reversed(transaction.history)]
    return sum(1 for _ in itertools.takewhile(Meaning.REPORT_FAILED.value.__eq__, events))
