"""Decide which payments Safaricom's own records prove. Pure: payments and rows in, a report out.

The rules, each by the reports about Safaricom's records (docs/how-to/closing-the-day.md):

- A receipt that a payment holds confirms it. Another amount on its row is for a person.
- A row of a paybill proves a payment if its reference, amount, time and phone fit exactly that one, and no
  other row fits it.
- A row of a till adds the receipt of a payment under the same conditions, if a status query said that the
  payment is paid. Without that, a person must look.
- A row that fits several payments, or a payment that fits several rows, is left to a person.
- A row that no payment claims is listed, and never matched by its amount alone.
- A missing row proves something only where the record covers the moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from mpesa_stk.payments.effects import FITS_SEVERAL, FITS_WITHOUT_QUERY
from mpesa_stk.payments.events import Meaning
from mpesa_stk.payments.evidence import PAID_AFTER_FAILURE, ended_unpaid
from mpesa_stk.payments.record_report import ReconcileReport, RecordDoubt, RecordMatch
from mpesa_stk.payments.record_rows import Record, record_of
from mpesa_stk.payments.row_pairs import PAYBILL, TILL, Group, groups_of, pushed_at
from mpesa_stk.payments.state import Transaction, TransactionState
from mpesa_stk.reconcile.statement import RowKind, Statement, StatementRow

TAKEN_ELSEWHERE = "a receipt of the record belongs to a payment of another account"
NOT_TRUSTED = "the record is not trusted"
PERHAPS_OUTSIDE = "a payment called paid lies at an end of the period, and is not in the record"


def match(
    payments: Iterable[Transaction],
    statements: Sequence[Statement],
    /,
    *,
    is_till: bool,
    taken: frozenset[str] = frozenset(),
) -> ReconcileReport:
    """Compare payments of one account with statements of it, and say what they prove.

    Args:
        payments: The payments of the account that may be in the statements, and all that hold a receipt of
            theirs.
        statements: The statements.
        is_till: Whether the account is a till.
        taken: Receipts that payments of other accounts hold.

    Returns:
        The report of a dry run.
    """
    return _Matching(tuple(payments), statements, is_till=is_till, taken=taken).report()


class _Matching:
    """One comparison."""

    def __init__(
        self,
        payments: tuple[Transaction, ...],
        statements: Sequence[Statement],
        *,
        is_till: bool,
        taken: frozenset[str],
    ) -> None:
        self._payments = payments
        self._holders = {
            one.receipt_number: one for one in payments if one.receipt_number is not None
        }
        self._record = record_of(statements, self._holders)
        self._rule = TILL if is_till else PAYBILL
        self._kind = RowKind.TILL if is_till else RowKind.PAYBILL
        self._taken = taken & self._record.rows.keys()

    def report(self) -> ReconcileReport:
        """Compare."""
        held = [self._of(self._holders[row.receipt_number], row) for row in self._held_rows()]
        groups = self._grouped(ended=False)
        proven = [one for one in groups if self._proves(one)]
        doubts = [
            self._doubt_about(one, self._reason(one)) for one in groups if not self._proves(one)
        ]
        after = [self._doubt_about(one, PAID_AFTER_FAILURE) for one in self._after_failures(groups)]
        matches = [self._of(one.payments[0], one.rows[0]) for one in proven]
        found = {
            one.transaction_no
            for one in [
                *(match.transaction for match in (*held, *matches)),
                *(payment for doubt in doubts for payment in doubt.transactions),
            ]
        }
        claimed = {row.receipt_number for doubt in (*doubts, *after) for row in doubt.rows}
        claimed |= {one.row.receipt_number for one in (*held, *matches)}
        absent = sorted(
            (one for one in self._payments if one.paid and one.transaction_no not in found),
            key=_age,
        )
        return ReconcileReport(
            trusted=self._record.trusted,
            confirmed=_of_equal_amount(held, equal=True),
            amounts_differ=_of_equal_amount(held, equal=False),
            would_settle=tuple(one for one in matches if not one.transaction.paid),
            receipts_added=tuple(one for one in matches if one.transaction.paid),
            ambiguous=(*doubts, *after),
            unasked=tuple(
                row for receipt, row in self._record.rows.items() if receipt not in claimed
            ),
            missing=tuple(one for one in absent if self._record.covers(*_paid_between(one))),
            not_covered=tuple(
                one for one in absent if not self._record.covers(*_paid_between(one))
            ),
            covered=self._record.covered,
            problems=self._what_is_wrong(absent),
        )

    def _held_rows(self) -> list[StatementRow]:
        """Return the rows whose receipt a payment holds."""
        return [row for receipt, row in self._record.rows.items() if receipt in self._holders]

    def _free_rows(self) -> list[StatementRow]:
        """Return the rows whose receipt no payment holds, of the kind of the account."""
        return [
            row
            for receipt, row in self._record.rows.items()
            if receipt not in self._holders
            and receipt not in self._taken
            and row.kind in (None, self._kind)
        ]

    def _candidates(self, *, ended: bool) -> list[Transaction]:
        """Return the payments without a receipt: those that Daraja called not paid, or the others."""
        return [
            one
            for one in self._payments
            if one.receipt_number is None and ended_unpaid(one) is ended
        ]

    def _grouped(self, *, ended: bool) -> list[Group]:
        return groups_of(self._candidates(ended=ended), self._free_rows(), self._rule)

    def _after_failures(self, others: Sequence[Group]) -> list[Group]:
        """Return the rows of a paybill that fit only payments that Daraja called not paid."""
        if self._rule is TILL:
            return []
        used = {row.receipt_number for group in others for row in group.rows}
        free = [row for row in self._free_rows() if row.receipt_number not in used]
        return groups_of(self._candidates(ended=True), free, self._rule)

    def _proves(self, group: Group) -> bool:
        """Return whether a row proves a payment."""
        if not group.is_pair or not self._record.trusted:
            return False
        return self._rule is PAYBILL or query_said_paid(group.payments[0])

    def _reason(self, group: Group) -> str:
        if not group.is_pair:
            return FITS_SEVERAL
        return FITS_WITHOUT_QUERY if self._record.trusted else NOT_TRUSTED

    def _of(self, payment: Transaction, row: StatementRow) -> RecordMatch:
        source = self._record.sources[row.receipt_number]
        return RecordMatch(transaction=payment, row=row, source=source)

    def _doubt_about(self, group: Group, reason: str) -> RecordDoubt:
        return RecordDoubt(
            reason=reason,
            transactions=group.payments,
            rows=group.rows,
            source=self._record.sources[group.rows[0].receipt_number],
        )

    def _what_is_wrong(self, absent: Iterable[Transaction]) -> tuple[str, ...]:
        problems = [*self._record.problems]
        problems += [TAKEN_ELSEWHERE] if self._taken else []
        problems += [PERHAPS_OUTSIDE] if self._at_an_end(absent) else []
        return tuple(problems)

    def _at_an_end(self, absent: Iterable[Transaction]) -> bool:
        """Return whether a payment may lie in a covered period and outside of it."""
        record: Record = self._record
        times = [_paid_between(one) for one in absent]
        return any(record.touches(*time) and not record.covers(*time) for time in times)


def fits(payment: Transaction, row: StatementRow, /) -> bool:
    """Return whether a row may be of a payment: by its amount, reference, time and phone."""
    is_till = payment.account.startswith("till ")
    return bool(groups_of([payment], [row], TILL if is_till else PAYBILL))


def query_said_paid(payment: Transaction, /) -> bool:
    """Return whether a status query made a payment SUCCEEDED. That state is never left."""
    return any(entry.event == Meaning.QUERY_PAID.value for entry in payment.history)


def _of_equal_amount(held: Iterable[RecordMatch], *, equal: bool) -> tuple[RecordMatch, ...]:
    return tuple(one for one in held if (one.row.amount == one.transaction.amount) is equal)


def _age(payment: Transaction) -> tuple[datetime, str]:
    return payment.created, payment.transaction_no


def _paid_between(payment: Transaction) -> tuple[datetime, datetime]:
    """Return the first and the last moment at which a paid payment may have been completed."""
    if payment.paid_at is not None:
        return payment.paid_at, payment.paid_at
    first = pushed_at(payment) + PAYBILL.earliest
    known = (one.at for one in payment.history if one.state is TransactionState.SUCCEEDED)
    return first, min(next(known, payment.updated), first + PAYBILL.latest)
