"""Define the result of comparing stored payments with Safaricom's own records. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import attrs

from mpesa_stk.payments.state import Transaction
from mpesa_stk.reconcile.statement import StatementRow


@attrs.frozen(kw_only=True)
class RecordMatch:
    """A payment, and the row that is of this payment.

    Attributes:
        transaction: The payment. If the report was applied, it is as stored afterwards.
        row: The row.
        source: Where the row was read: ``statement`` or ``pull``.
    """

    transaction: Transaction
    row: StatementRow
    source: str


@attrs.frozen(kw_only=True)
class RecordDoubt:
    """Payments and rows that may belong together. They are not settled.

    Attributes:
        reason: Why, in constant words. It is the reason of the review.
        transactions: The payments that may be meant, the first pushed first.
        rows: The rows that may be theirs, the first completed first.
        source: Where the first row was read.
    """

    reason: str
    transactions: tuple[Transaction, ...]
    rows: tuple[StatementRow, ...]
    source: str


@attrs.frozen(kw_only=True)
class ReconcileReport:
    """The result of comparing stored payments with Safaricom's own records.

    Attributes:
        applied: Whether the payments were changed. False for a dry run.
        trusted: Whether the records may change payments. False if their times are wrong, or if two records
            disagree. `problems` says why.
        confirmed: Payments whose receipt and amount are in the record.
        would_settle: Payments that the record proves as paid. Empty once it is applied.
        settled: Payments that became SUCCEEDED. Empty in a dry run.
        receipts_added: Paid payments that get their receipt from the record, or got it.
        amounts_differ: Payments whose receipt has another amount in the record.
        ambiguous: Payments and rows that may belong together. A person must look at them.
        unasked: Rows of money that no payment of the account asked for.
        missing: Payments called paid that are not in the record, although it covers the moment.
        not_covered: Payments called paid that are not in the record, and may lie outside of its periods.
        covered: The periods that the record covers, the first first.
        problems: Further reasons why books and record do not agree, in constant words.
    """

    applied: bool = False
    trusted: bool = True
    confirmed: tuple[RecordMatch, ...] = ()
    would_settle: tuple[RecordMatch, ...] = ()
    settled: tuple[RecordMatch, ...] = ()
    receipts_added: tuple[RecordMatch, ...] = ()
    amounts_differ: tuple[RecordMatch, ...] = ()
    ambiguous: tuple[RecordDoubt, ...] = ()
    unasked: tuple[StatementRow, ...] = ()
    missing: tuple[Transaction, ...] = ()
    not_covered: tuple[Transaction, ...] = ()
    covered: tuple[tuple[datetime, datetime], ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether books and record agree in both directions, for the period that is covered.

        A change that a dry run shows keeps them from agreeing. `not_covered` alone does not: a payment
        that may lie in the period and outside of it is among the `problems` too.
        """
        open_ends = (
            self.would_settle,
            () if self.applied else self.receipts_added,
            self.amounts_differ,
            self.ambiguous,
            self.unasked,
            self.missing,
            self.problems,
        )
        return self.trusted and bool(self.covered) and not any(open_ends)


def merged(reports: Sequence[ReconcileReport], /) -> ReconcileReport:
    """Return the reports about several accounts as one."""
    lists = {
        name: tuple(one for report in reports for one in getattr(report, name))
        for name in attrs.fields_dict(ReconcileReport)
        if name not in ("applied", "trusted")
    }
    lists["problems"] = tuple(dict.fromkeys(lists["problems"]))
    return ReconcileReport(
        applied=all(report.applied for report in reports),
        trusted=all(report.trusted for report in reports),
        **lists,
    )
