"""Put several statements of one account together, and say what they can prove. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import cast

import attrs

from mpesa_stk.payments.row_pairs import visible_digits
from mpesa_stk.payments.state import Transaction
from mpesa_stk.reconcile.statement import Statement, StatementRow

CLOCKS_DISAGREE = "the times of the record differ from those of receipts that are held already"
SOURCES_DISAGREE = "two records disagree, so they settle nothing"
NO_PERIOD = "the period of the record is not known"
NOT_COMPLETE = "the record is not complete"
EMPTY_UNPROVEN = (
    "Daraja says that there are no records, which it also says of an account without pulls"
)
_CLOCKS_DIFFER = timedelta(seconds=120)
"""The most by which times of one payment may differ in two sources."""

Period = tuple[datetime, datetime]


@attrs.frozen(kw_only=True)
class Record:
    """The statements of one account as one.

    Attributes:
        rows: The rows by receipt, the first completed first. One statement fills in what another lacks.
        sources: Where the row of each receipt was read.
        covered: The periods in which each payment is among the rows.
        trusted: Whether the rows may change payments.
        problems: Why a period is not covered, and why the rows are not trusted.
    """

    rows: Mapping[str, StatementRow]
    sources: Mapping[str, str]
    covered: tuple[Period, ...]
    trusted: bool
    problems: tuple[str, ...]

    def covers(self, first: datetime, last: datetime, /) -> bool:
        """Return whether a time from `first` to `last` is covered as a whole."""
        return any(start <= first and last < end for start, end in self.covered)

    def touches(self, first: datetime, last: datetime, /) -> bool:
        """Return whether a time from `first` to `last` is covered in part."""
        return any(start <= last and first < end for start, end in self.covered)


def record_of(statements: Sequence[Statement], holders: Mapping[str, Transaction], /) -> Record:
    """Return several statements of one account as one record.

    Args:
        statements: The statements.
        holders: The payments that hold a receipt, by receipt.
    """
    ordered = sorted(statements, key=_order)
    rows, disagree = _combined(ordered)
    problems = [problem for one in ordered for problem in one.problems]
    clocks = all(_clock_is_right(one, holders) for one in ordered)
    covering = []
    for one in ordered:
        reason = _why_not_covering(one, ordered, holders)
        covering += [one] if reason is None else []
        problems += [] if reason is None else [reason]
    disagree = disagree or _one_leaves_out(rows.values(), ordered, covering)
    problems += [] if clocks else [CLOCKS_DISAGREE]
    problems += [SOURCES_DISAGREE] if disagree else []
    trusted = clocks and not disagree
    return Record(
        rows=dict(sorted(rows.items(), key=lambda item: (item[1].completed, item[0]))),
        sources={row.receipt_number: one.source.value for one in ordered[::-1] for row in one.rows},
        covered=_joined(_period(one) for one in covering) if trusted else (),
        trusted=trusted,
        problems=tuple(dict.fromkeys(problems)),
    )


def _order(one: Statement) -> tuple[str, str, str]:
    """Return a key by which statements are sorted, so that their order does not matter."""
    first = one.rows[0].receipt_number if one.rows else ""
    return one.source.value, str(one.covers_from), first


# --- two sources ------------------------------------------------------------------------------------


def _combined(statements: Iterable[Statement]) -> tuple[dict[str, StatementRow], bool]:
    """Return the rows by receipt, and whether two rows of one receipt contradict each other."""
    rows: dict[str, StatementRow] = {}
    disagree = False
    for row in (row for one in statements for row in one.rows):
        known = rows.get(row.receipt_number)
        if known is None:
            rows[row.receipt_number] = row
            continue
        disagree = disagree or _contradict(known, row)
        rows[row.receipt_number] = attrs.evolve(
            known,
            kind=known.kind or row.kind,
            reference=known.reference or row.reference,
            phone_number=known.phone_number or row.phone_number,
        )
    return rows, disagree


def _contradict(one: StatementRow, other: StatementRow) -> bool:
    """Return whether two rows of one receipt cannot be of one payment."""
    return (
        one.amount != other.amount
        or abs(one.completed - other.completed) > _CLOCKS_DIFFER
        or _differ(one.reference, other.reference)
        or _differ(one.kind, other.kind)
        or _phones_differ(one.phone_number, other.phone_number)
    )


def _differ(one: str | None, other: str | None) -> bool:
    return one is not None and other is not None and one.strip() != other.strip()


def _phones_differ(one: str | None, other: str | None) -> bool:
    """Return whether the last visible digits of two numbers differ, as many as both show."""
    ends = [visible_digits(phone)[1].rpartition("*")[2] for phone in (one, other)]
    length = min(len(end) for end in ends)
    return ends[0][len(ends[0]) - length :] != ends[1][len(ends[1]) - length :]


def _one_leaves_out(
    rows: Iterable[StatementRow], statements: Sequence[Statement], covering: Sequence[Statement]
) -> bool:
    """Return whether a complete statement lacks a row of its period that another one has.

    A row near an end of the period may lie outside of it by the other clock.
    """
    if len(statements) == 1:
        return False
    receipts = [({row.receipt_number for row in one.rows}, _period(one)) for one in covering]
    return any(
        row.receipt_number not in known
        and start + _CLOCKS_DIFFER <= row.completed < end - _CLOCKS_DIFFER
        for row in rows
        for known, (start, end) in receipts
    )


# --- what is covered --------------------------------------------------------------------------------


def _why_not_covering(
    one: Statement, all_of_them: Sequence[Statement], holders: Mapping[str, Transaction]
) -> str | None:
    """Return why the absence of a row in a statement is no proof, or None if it is one."""
    if one.covers_from is None or one.covers_until is None:
        return NO_PERIOD
    if not one.complete:
        return NOT_COMPLETE
    pulls = (other for other in all_of_them if other.source is one.source)
    works = any(row.receipt_number in holders for other in pulls for row in other.rows)
    return EMPTY_UNPROVEN if one.empty_answer and not works else None


def _period(one: Statement) -> Period:
    """Return the period of a statement whose period is known."""
    return cast("Period", (one.covers_from, one.covers_until))


def _joined(periods: Iterable[Period]) -> tuple[Period, ...]:
    """Return periods, of which those that touch are one, the first first."""
    found: list[Period] = []
    for start, end in sorted(periods):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((start, end))
    return tuple(found)


def _clock_is_right(one: Statement, holders: Mapping[str, Transaction]) -> bool:
    """Return whether the times of a statement are those of receipts that are held already.

    The zone of a pull's times is not reliable, and days and months of a file may be confused. Without such
    a receipt, the times cannot be compared.
    """
    apart = [
        abs((row.completed - paid_at).total_seconds())
        for row in one.rows
        if (holder := holders.get(row.receipt_number)) is not None
        and (paid_at := holder.paid_at) is not None
    ]
    return not apart or median(apart) <= _CLOCKS_DIFFER.total_seconds()
