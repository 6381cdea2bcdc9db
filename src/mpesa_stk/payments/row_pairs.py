"""Find which payments and rows fit each other, without comparing each with each. Pure.

Rows are kept in buckets of equal reference, amount and visible digits, and each bucket is sorted by time.
A payment looks into few buckets, and fits a stretch of each. So the work grows with n log n, also if
thousands of payments look alike.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal

import attrs

from mpesa_stk.payments.events import Meaning
from mpesa_stk.payments.state import FORGOTTEN_PHONE, Transaction
from mpesa_stk.reconcile.statement import StatementRow

_NATIONAL = len("712345678")
_HIDDEN = re.compile(r"[^0-9]+")
_SEPARATORS = str.maketrans("", "", "+ -()")
_WHOLE = "whole"
_START = "start"
_MASKED = "masked"

_Shape = tuple[str, int, int]
_Seen = tuple[_Shape, str]


@attrs.frozen(kw_only=True)
class FitRule:
    """When a row fits a payment, beside the amount and the phone.

    Attributes:
        earliest: The least time from the push to the completion.
        latest: The most time from the push to the completion.
        by_reference: Whether the reference must be equal.
    """

    earliest: timedelta
    latest: timedelta
    by_reference: bool


PAYBILL = FitRule(earliest=timedelta(minutes=-1), latest=timedelta(hours=24), by_reference=True)
"""A row of a paybill names the reference of the prompt."""
TILL = FitRule(earliest=timedelta(0), latest=timedelta(minutes=5), by_reference=False)
"""A row of a till names no reference."""


@attrs.frozen(kw_only=True)
class Group:
    """Payments and rows that fit each other, directly or through others.

    Attributes:
        payments: The payments, the first pushed first.
        rows: The rows, the first completed first.
    """

    payments: tuple[Transaction, ...]
    rows: tuple[StatementRow, ...]

    @property
    def is_pair(self) -> bool:
        """Whether exactly one payment and exactly one row fit each other."""
        return len(self.payments) == 1 and len(self.rows) == 1


def pushed_at(payment: Transaction, /) -> datetime:
    """Return when the prompt of a payment was last asked for."""
    again = (one.at for one in reversed(payment.history) if one.event == Meaning.AGAIN.value)
    return next(again, payment.created)


# --- phones -----------------------------------------------------------------------------------------


def visible_digits(phone_number: str | None, /) -> _Seen:
    """Return the digits of a phone number that a record shows: how many of which end, and the digits."""
    runs = _HIDDEN.split((phone_number or "").translate(_SEPARATORS))
    first, last = runs[0], runs[-1]
    if len(runs) > 1:
        return (_MASKED, len(first), len(last)), f"{first}*{last}"
    if len(first) >= _NATIONAL:
        return (_WHOLE, _NATIONAL, 0), first[-_NATIONAL:]
    return (_START, len(first), 0), first  # a number that was cut, or none


def _shown_as(phone_number: str, shape: _Shape) -> set[str]:
    """Return the digits that records of a given shape may show of a payer: 254712..., 0712... or 712..."""
    kind, first, last = shape
    national = phone_number[-_NATIONAL:]
    if kind == _WHOLE:
        return {national}
    forms = (f"254{national}", f"0{national}", national)
    if kind == _START:
        return {form[:first] for form in forms} | {national[_NATIONAL - first :]}
    return {f"{form[:first]}*{form[len(form) - last :]}" for form in forms}


def phone_may_be(payment: Transaction, row: StatementRow, /) -> bool:
    """Return whether the visible digits of a row do not contradict the payer."""
    shape, digits = visible_digits(row.phone_number)
    forgotten = payment.phone_number == FORGOTTEN_PHONE
    return forgotten or digits in _shown_as(payment.phone_number, shape)


# --- buckets ----------------------------------------------------------------------------------------


class _Bucket:
    """Rows that look alike, sorted by time, and the payments that fit a stretch of them."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.times: list[datetime] = []
        self.stretches: list[tuple[int, int]] = []

    def stretch(self, earliest: datetime, latest: datetime) -> tuple[int, int]:
        """Return the first and the end of the rows that were completed between two moments."""
        return bisect_left(self.times, earliest), bisect_right(self.times, latest)

    def joined(self) -> Iterator[tuple[int, int]]:
        """Yield each two neighbours that some payment fits both."""
        steps = [0] * (len(self.rows) + 1)
        for first, end in self.stretches:
            steps[first] += 1
            steps[end - 1] -= 1
        depth = 0
        for place in range(len(self.rows) - 1):
            depth += steps[place]
            if depth > 0:
                yield self.rows[place], self.rows[place + 1]


class _Alike:
    """The buckets of one reference and amount, by the visible digits of the phone."""

    def __init__(self) -> None:
        self.buckets: dict[_Seen, _Bucket] = {}
        self.shapes: set[_Shape] = set()

    def of(self, seen: _Seen) -> _Bucket:
        """Return the bucket of these visible digits."""
        self.shapes.add(seen[0])
        return self.buckets.setdefault(seen, _Bucket())

    def fitting(self, payment: Transaction) -> Iterator[_Bucket]:
        """Yield the buckets whose phone does not contradict the payer."""
        if payment.phone_number == FORGOTTEN_PHONE:
            yield from self.buckets.values()
            return
        for shape in self.shapes:
            for digits in _shown_as(payment.phone_number, shape):
                if (shape, digits) in self.buckets:
                    yield self.buckets[shape, digits]


_Likeness = tuple[str | None, Decimal]


def groups_of(
    payments: Iterable[Transaction], rows: Iterable[StatementRow], rule: FitRule, /
) -> list[Group]:
    """Return the payments and rows that fit each other, in groups without a common member.

    A payment that fits no row, or a row that fits no payment, is in no group. The order of the
    arguments does not matter.
    """
    asked = sorted(payments, key=lambda one: (pushed_at(one), one.transaction_no))
    paid = sorted(rows, key=lambda one: (one.completed, one.receipt_number))
    alike = _alike(paid, rule)
    leaders = list(range(len(asked) + len(paid)))
    for place, payment in enumerate(asked):
        pushed = pushed_at(payment)
        same = alike.get((_reference(payment.shown_reference, rule), Decimal(payment.amount)))
        for bucket in () if same is None else same.fitting(payment):
            first, end = bucket.stretch(pushed + rule.earliest, pushed + rule.latest)
            if first < end:
                _join(leaders, place, len(asked) + bucket.rows[first])
                bucket.stretches.append((first, end))
    for bucket in (one for same in alike.values() for one in same.buckets.values()):
        for one, other in bucket.joined():
            _join(leaders, len(asked) + one, len(asked) + other)
    return _groups(leaders, asked, paid)


def _reference(shown: str | None, rule: FitRule) -> str | None:
    return shown.strip() if rule.by_reference and shown is not None else None


def _alike(rows: Iterable[StatementRow], rule: FitRule) -> dict[_Likeness, _Alike]:
    """Return the rows in buckets. Each payment has a reference, so none finds a row without one."""
    alike: dict[_Likeness, _Alike] = {}
    for place, row in enumerate(rows):
        reference = _reference(row.reference, rule)
        same = alike.setdefault((reference, row.amount), _Alike())
        bucket = same.of(visible_digits(row.phone_number))
        bucket.rows.append(place)
        bucket.times.append(row.completed)
    return alike


# --- groups -----------------------------------------------------------------------------------------


def _leader(leaders: list[int], one: int) -> int:
    """Return the one that stands for the group of `one`, and shorten the way to it."""
    while leaders[one] != one:
        leaders[one] = leaders[leaders[one]]
        one = leaders[one]
    return one


def _join(leaders: list[int], one: int, other: int) -> None:
    """Make one group of two. The lesser leader stands for it."""
    low, high = sorted((_leader(leaders, one), _leader(leaders, other)))
    leaders[high] = low


def _groups(leaders: list[int], asked: list[Transaction], paid: list[StatementRow]) -> list[Group]:
    """Return the groups that have a payment and a row, the first pushed first."""
    rows: dict[int, list[StatementRow]] = {}
    for place, row in enumerate(paid):
        rows.setdefault(_leader(leaders, len(asked) + place), []).append(row)
    payments: dict[int, list[Transaction]] = {}
    for place, payment in enumerate(asked):
        payments.setdefault(_leader(leaders, place), []).append(payment)
    return [
        Group(payments=tuple(found), rows=tuple(rows[leader]))
        for leader, found in payments.items()
        if leader in rows
    ]
