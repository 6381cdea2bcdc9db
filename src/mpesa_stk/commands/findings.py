"""The books beside Safaricom's record, as a shopkeeper reads them: lines, and whether both agree. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from enum import Enum

import attrs

from mpesa_stk.payments.record_report import ReconcileReport
from mpesa_stk.payments.state import Transaction
from mpesa_stk.reconcile.statement import StatementRow


class Verdict(str, Enum):
    """A finding about a payment, a row of the record, or both. The values are an interface."""

    CONFIRMED = "confirmed"
    SETTLED = "settled"
    RECEIPT_ADDED = "receipt_added"
    AMOUNT_DIFFERS = "amount_differs"
    AMBIGUOUS = "ambiguous"
    NOT_ASKED_FOR = "not_asked_for"
    NOT_IN_RECORD = "not_in_record"
    NOT_COVERED = "not_covered"


_AGREED = frozenset({Verdict.CONFIRMED, Verdict.NOT_COVERED})
APPLIED = frozenset({Verdict.SETTLED, Verdict.RECEIPT_ADDED})
"""What the books lack, and get with ``--apply``."""


@attrs.frozen(kw_only=True)
class Line:
    """One finding.

    Attributes:
        verdict: `Verdict`.
        payment: The payment in the books, if it is one.
        row: The row of the record, if it is one.
        candidates: The payments that the row may belong to, if several may or none is proven.
        reason: Why, in few words. None if the verdict says it all.
    """

    verdict: Verdict
    payment: Transaction | None = None
    row: StatementRow | None = None
    candidates: tuple[str, ...] = ()
    reason: str | None = None

    @property
    def amount(self) -> Decimal:
        """The shillings: those of the record if it has a row."""
        if self.row is not None:
            return self.row.amount
        return Decimal(self.payment.amount) if self.payment is not None else Decimal(0)

    @property
    def at(self) -> datetime | None:
        """When the money came, or else when it was asked for."""
        if self.row is not None:
            return self.row.completed
        return self.payment.created if self.payment is not None else None

    @property
    def receipt_number(self) -> str:
        """The receipt, or ``""``."""
        if self.row is not None:
            return self.row.receipt_number
        return (self.payment.receipt_number or "") if self.payment is not None else ""


@attrs.frozen(kw_only=True)
class Books:
    """The books beside one record of Safaricom.

    Attributes:
        name: The account as the books or the record name it.
        source: ``statement`` or ``pull``.
        agree: Whether both agree in both directions for the periods.
        applied: Whether the books were changed.
        periods: The periods that the record covers, the first first.
        problems: Reasons besides the lines why both do not agree, in constant words.
        lines: The findings.
    """

    name: str
    source: str
    agree: bool = False
    applied: bool = False
    periods: tuple[tuple[datetime, datetime], ...] = ()
    problems: tuple[str, ...] = ()
    lines: tuple[Line, ...] = ()

    @property
    def differ(self) -> bool:
        """Whether something is in one of the two and not in the other, or not the same in both."""
        fine = _AGREED | APPLIED if self.applied else _AGREED
        return any(line.verdict not in fine for line in self.lines)

    def of(self, verdict: Verdict, /) -> tuple[Line, ...]:
        """Return the lines with a verdict."""
        return tuple(line for line in self.lines if line.verdict is verdict)


def books_of(report: ReconcileReport, /, *, name: str, source: str) -> Books:
    """Return the findings of a report as lines."""
    return Books(
        name=name,
        source=source,
        agree=report.agrees,
        applied=report.applied,
        periods=report.covered,
        problems=report.problems,
        lines=tuple(_lines_of(report)),
    )


def _lines_of(report: ReconcileReport) -> Iterator[Line]:
    for verdict, matches in (
        (Verdict.CONFIRMED, report.confirmed),
        (Verdict.SETTLED, report.settled or report.would_settle),
        (Verdict.RECEIPT_ADDED, report.receipts_added),
    ):
        for match in matches:
            yield Line(verdict=verdict, payment=match.transaction, row=match.row)
    for match in report.amounts_differ:
        yield Line(
            verdict=Verdict.AMOUNT_DIFFERS,
            payment=match.transaction,
            row=match.row,
            reason=f"the books have {match.transaction.amount:,}",
        )
    for doubt in report.ambiguous:
        candidates = tuple(one.transaction_no for one in doubt.transactions)
        for row in doubt.rows:
            yield Line(
                verdict=Verdict.AMBIGUOUS, row=row, candidates=candidates, reason=doubt.reason
            )
    for row in report.unasked:
        yield Line(verdict=Verdict.NOT_ASKED_FOR, row=row)
    for verdict, payments in (
        (Verdict.NOT_IN_RECORD, report.missing),
        (Verdict.NOT_COVERED, report.not_covered),
    ):
        for payment in payments:
            yield Line(verdict=verdict, payment=payment)


def shillings(lines: Iterable[Line], /) -> str:
    """Return the sum of lines for people: cents only if there are any."""
    total = sum((line.amount for line in lines), Decimal(0))
    return f"{total:,.0f}" if total == total.to_integral_value() else f"{total:,.2f}"


def headline(verdict: Verdict, /, *, applied: bool) -> str:
    """Return the words of a verdict for a shopkeeper."""
    if verdict in APPLIED and not applied:
        return _NOT_YET[verdict]
    return _WORDS[verdict]


_WORDS: Mapping[Verdict, str] = {
    Verdict.CONFIRMED: "paid, in the books and in Safaricom's record",
    Verdict.SETTLED: "paid by Safaricom's record, and now in the books",
    Verdict.RECEIPT_ADDED: "paid, and the receipt is now in the books",
    Verdict.AMOUNT_DIFFERS: "the amount is another one in Safaricom's record",
    Verdict.AMBIGUOUS: "money that fits, but nothing proves to whom it belongs",
    Verdict.NOT_ASKED_FOR: "money that nobody was asked for",
    Verdict.NOT_IN_RECORD: "called paid in the books, but not in Safaricom's record",
    Verdict.NOT_COVERED: "called paid, and outside of what the record covers",
}
_NOT_YET: Mapping[Verdict, str] = {
    Verdict.SETTLED: "paid by Safaricom's record, and not yet in the books",
    Verdict.RECEIPT_ADDED: "paid, and the receipt is not yet in the books",
}
STEPS: Mapping[Verdict, str] = {
    Verdict.AMOUNT_DIFFERS: "look at each with `{show}`; a person decides",
    Verdict.AMBIGUOUS: "ask the customer for the code of the message from M-Pesa, then `{resolve}`",
    Verdict.NOT_ASKED_FOR: "customers also pay by hand: find out for what, and write it into your books",
    Verdict.NOT_IN_RECORD: "hand out nothing more for them, and ask Safaricom about their receipts",
    Verdict.NOT_COVERED: "give a record of those days too",
}
"""What a person does about a verdict."""
