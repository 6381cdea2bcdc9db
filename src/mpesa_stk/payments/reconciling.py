"""The flow of a reconciliation: read the payments, ask the matcher, apply what it says; and claims.

A desk has it. It only awaits its store, so `finish` runs it if the store never suspends.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Protocol

import attrs

from mpesa_stk.config.account import short_names
from mpesa_stk.errors import DuplicateTransaction, InvalidRequest
from mpesa_stk.hooks import Event
from mpesa_stk.payments.callback import CallbackHandler
from mpesa_stk.payments.decisions import receipt_of
from mpesa_stk.payments.events import ReceiptClaimed, RecordDoubted, RecordSeen
from mpesa_stk.payments.matching import fits, match
from mpesa_stk.payments.record_report import ReconcileReport, RecordDoubt, RecordMatch, merged
from mpesa_stk.payments.recorder import Recorder
from mpesa_stk.payments.search import PaymentPage, PaymentSearch
from mpesa_stk.payments.state import Transaction
from mpesa_stk.privacy import hides_locals, mask_receipt
from mpesa_stk.reconcile.statement import Statement

RECEIPT_TAKEN = "another payment got a receipt of the record while it was applied"
_LOOK_BACK = timedelta(hours=48)
"""How long before the period a payment may have been created that is completed in it."""
_LOOK_AHEAD = timedelta(minutes=2)
_READ_AT_ONCE = 1000
_LETTER = re.compile("[A-Z]")


class _Search(Protocol):
    """`Desk.search`."""

    async def __call__(
        self, search: PaymentSearch, /, *, cursor: str | None = None, limit: int = 50
    ) -> PaymentPage:
        """Return one page of the payments that are wanted."""
        ...


class ClaimAnswer(str, Enum):
    """What is known about a receipt that a customer names."""

    PAID = "paid"
    """The payment is paid, with this receipt."""
    OTHER_RECEIPT = "other receipt"
    """The payment is paid, with another receipt."""
    OTHER_PAYMENT = "other payment"
    """The receipt pays another payment."""
    IN_RECORD = "in record"
    """The statement has the receipt, and its row fits the payment. `reconcile` decides."""
    DOES_NOT_FIT = "does not fit"
    """The statement has the receipt, and its amount, reference, time or phone is not the payment's."""
    UNKNOWN = "unknown"
    """Nothing is known about the receipt yet."""


@attrs.frozen(kw_only=True)
class Claim:
    """The answer to a customer who names a receipt.

    Attributes:
        answer: `ClaimAnswer`.
        transaction: The payment as now stored.
    """

    answer: ClaimAnswer
    transaction: Transaction


class Reconciling:
    """Compares stored payments with Safaricom's own records."""

    def __init__(
        self,
        recorder: Recorder,
        callbacks: CallbackHandler,
        /,
        *,
        search: _Search,
        seen: Callable[[], Awaitable[frozenset[str] | None]],
    ) -> None:
        """Make the flow.

        Args:
            recorder: Changes payments.
            callbacks: Applies evidence that waits.
            search: Searches the payments that are seen.
            seen: Returns the accounts whose payments are seen. None means all.
        """
        self._recorder = recorder
        self._callbacks = callbacks
        self._search = search
        self._seen = seen

    @hides_locals
    async def reconcile(
        self, statement: Statement | Sequence[Statement], /, *, apply: bool
    ) -> ReconcileReport:
        """Compare, as `Payments.reconcile` documents."""
        given = list(statement) if isinstance(statement, Sequence) else [statement]
        if not given:
            raise InvalidRequest("statement", "must be a statement, or at least one of several")
        by_number: dict[str, list[Statement]] = {}
        for one in given:
            by_number.setdefault(_number_of(one), []).append(one)
        loaded = [await self._loaded(number, some) for number, some in sorted(by_number.items())]
        by_account: dict[str, tuple[list[Statement], dict[str, Transaction]]] = {}
        for account, some, payments in loaded:  # a till and its store may both be named
            statements, known = by_account.setdefault(account, ([], {}))
            statements += some
            known |= payments
        reports = []
        for account, (statements, known) in sorted(by_account.items()):
            report = await self._compared(account, statements, known)
            reports.append(await self._applied(report) if apply else report)
        return merged(reports)

    # --- the account and its payments -----------------------------------------------------------

    async def _loaded(
        self, number: str, statements: list[Statement]
    ) -> tuple[str, list[Statement], dict[str, Transaction]]:
        """Return the account with a number, its statements, and the payments that may be in them.

        Raises:
            InvalidRequest: No account that is seen has the number, or several have.
        """
        accounts = await self._seen()
        named = frozenset(one for one in accounts or () if number in short_names(one))
        payments = {
            one.transaction_no: one
            async for one in self._payments(statements, None if accounts is None else named)
            if number in short_names(one.account)
        }
        names = sorted({one.account for one in payments.values()} if accounts is None else named)
        if not names:
            raise InvalidRequest("statement", "is of an account that is not served here")
        if len(names) > 1:
            raise InvalidRequest("statement", f"may be of several accounts: {', '.join(names)}")
        return names[0], statements, payments

    async def _payments(
        self, statements: list[Statement], accounts: frozenset[str] | None
    ) -> AsyncIterator[Transaction]:
        """Yield the payments that may be in the statements, page by page."""
        times = [time for one in statements for time in _times_of(one)]
        if not times or accounts == frozenset():
            return
        wanted = PaymentSearch(
            accounts=accounts,
            created_from=min(times) - _LOOK_BACK,
            created_before=max(times) + _LOOK_AHEAD,
        )
        cursor = None
        while True:
            page = await self._search(wanted, cursor=cursor, limit=_READ_AT_ONCE)
            for one in page.payments:
                yield one
            cursor = page.next_cursor
            if cursor is None:
                return

    async def _compared(
        self, account: str, statements: list[Statement], known: dict[str, Transaction]
    ) -> ReconcileReport:
        """Ask the matcher, after each receipt that no loaded payment holds was looked up."""
        held = {one.receipt_number for one in known.values()}
        receipts = {row.receipt_number for one in statements for row in one.rows} - held
        taken = set()
        for receipt in sorted(receipts):
            holder = await self._recorder.store.find(receipt_number=receipt)
            if holder is not None and holder.account == account:
                known[holder.transaction_no] = holder
            elif holder is not None:
                taken.add(receipt)
        return match(
            known.values(),
            statements,
            is_till=account.startswith("till "),
            taken=frozenset(taken),
        )

    # --- applying ---------------------------------------------------------------------------------

    async def _applied(self, report: ReconcileReport) -> ReconcileReport:
        """Apply a report, one compare-and-set a payment. Applying it again has no effect.

        Returns:
            The report with the changes that were made.
        """
        if not report.trusted:
            return attrs.evolve(report, applied=True)
        settled, left = await self._proven(report.would_settle)
        added, taken = await self._proven(report.receipts_added)
        differ = [await self._seen_row(one) for one in report.amounts_differ]
        ambiguous = [await self._doubted(one) for one in report.ambiguous]
        problems = (*report.problems, *([RECEIPT_TAKEN] if left or taken else []))
        return attrs.evolve(
            report,
            applied=True,
            would_settle=(),
            settled=settled,
            receipts_added=added,
            amounts_differ=tuple(differ),
            ambiguous=tuple(ambiguous),
            problems=problems,
        )

    async def _proven(self, matches: Sequence[RecordMatch]) -> tuple[tuple[RecordMatch, ...], bool]:
        """Write the receipts of payments that are proven.

        Returns:
            The payments that now have the receipt, and whether some do not: something else came meanwhile.
        """
        done = []
        for one in matches:
            payment = await self._callbacks.apply_kept(one.transaction)
            try:
                after = await self._seen_row(attrs.evolve(one, transaction=payment))
            except DuplicateTransaction:
                continue
            if after.transaction.receipt_number == one.row.receipt_number:
                done.append(after)
        return tuple(done), len(done) < len(matches)

    async def _seen_row(self, one: RecordMatch) -> RecordMatch:
        event = RecordSeen(
            source=one.source,
            receipt_number=one.row.receipt_number,
            amount=one.row.amount,
            paid_at=one.row.completed,
        )
        return attrs.evolve(one, transaction=await self._recorder.record(one.transaction, event))

    async def _doubted(self, doubt: RecordDoubt) -> RecordDoubt:
        event = RecordDoubted(
            source=doubt.source,
            reason=doubt.reason,
            receipts=tuple(row.receipt_number for row in doubt.rows),
        )
        payments = [await self._recorder.record(one, event) for one in doubt.transactions]
        return attrs.evolve(doubt, transactions=tuple(payments))

    # --- claims -----------------------------------------------------------------------------------

    @hides_locals
    async def claim(
        self, found: Transaction, receipt_number: str, /, *, statement: Statement | None
    ) -> Claim:
        """Answer a customer who names the receipt of a payment, as `Payments.claim` documents."""
        receipt = receipt_of(receipt_number)
        if not _LETTER.search(receipt):
            raise InvalidRequest("receipt_number", "must have a letter, as each code of M-Pesa has")
        if statement is not None and _number_of(statement) not in short_names(found.account):
            raise InvalidRequest("statement", "is of another account than the payment")
        found = await self._callbacks.apply_kept(found)
        answer = await self._answer(found, receipt, statement)
        after = await self._recorder.record(found, ReceiptClaimed(receipt_number=receipt))
        self._recorder.notify(
            Event(
                kind="claim",
                outcome=answer.value.replace(" ", "_"),
                code=mask_receipt(receipt),
                transaction_no=found.transaction_no,
            )
        )
        return Claim(answer=answer, transaction=after)

    async def _answer(
        self, found: Transaction, receipt: str, statement: Statement | None
    ) -> ClaimAnswer:
        if found.receipt_number is not None:
            same = found.receipt_number == receipt
            return ClaimAnswer.PAID if same else ClaimAnswer.OTHER_RECEIPT
        if await self._recorder.store.find(receipt_number=receipt) is not None:
            return ClaimAnswer.OTHER_PAYMENT
        for row in () if statement is None else statement.rows:
            if row.receipt_number == receipt:
                return ClaimAnswer.IN_RECORD if fits(found, row) else ClaimAnswer.DOES_NOT_FIT
        return ClaimAnswer.UNKNOWN


def _number_of(statement: object) -> str:
    """Return the shortcode or till number that a statement names.

    Raises:
        InvalidRequest: It is no statement, or names none.
    """
    if not isinstance(statement, Statement):
        raise InvalidRequest("statement", "must be a Statement")
    if statement.number is None:
        raise InvalidRequest("statement", "does not say of which account it is: give its number")
    return statement.number


def _times_of(statement: Statement) -> list[datetime]:
    ends = [time for time in (statement.covers_from, statement.covers_until) if time is not None]
    return ends + [row.completed for row in statement.rows]
