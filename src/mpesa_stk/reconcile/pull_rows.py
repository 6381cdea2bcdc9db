"""Put the pages of a pull together: a row is a payment, no payment, or a problem. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal

from mpesa_stk.reconcile.pull import NOT_RETRIEVED, PullPage, PullWindow, folded
from mpesa_stk.reconcile.record_values import (
    amount_of,
    phone_of,
    pull_time,
    receipt_of,
    words_of,
)
from mpesa_stk.reconcile.statement import RowKind, Statement, StatementRow, StatementSource

MOST_PAGES = 200

EMPTY = "Daraja has no records, or the account is not registered for pulls: it does not tell which"
BROKE = "a page could not be read"
BAD_ROW = "a row could not be read"
CONTRADICTION = "a receipt came with different facts"
OUTSIDE = "a row is outside of the window that was asked for"
FEWER = "Daraja counts more records than it gave"
REPEATED = "a page repeats another one, so there may be more"
TOO_MANY_PAGES = f"there are more than {MOST_PAGES} pages"

_AROUND = timedelta(minutes=2)
_KINDS = (
    (RowKind.PAYBILL, re.compile("pay-?bi|bill")),
    (RowKind.TILL, re.compile("buy|goods")),
)
_LONGEST_NUMBER = 15


class _BadRowError(Exception):
    pass


class PulledRows:
    """The rows of the pages so far.

    Attributes:
        pages: How many pages came.
        offset: How many rows came. The next page begins behind them.
    """

    def __init__(self, window: PullWindow, /, *, number: str) -> None:
        self.pages = 0
        self.offset = 0
        self._window = window
        self._number = number
        self._seen: set[str] = set()
        self._rows: dict[str, StatementRow] = {}
        self._contradicted: set[str] = set()
        self._left_out = 0
        self._total: int | None = None
        self._empty = False
        self._problems: dict[str, None] = {}

    def say(self, problem: str, /) -> None:
        """Note why the statement is not complete."""
        self._problems[problem] = None

    @property
    def may_have_more(self) -> bool:
        """Whether rows may have been passed over, because the offset counts pages.

        That cannot be if at most one row came, or if Daraja counts no more. If something went wrong, it
        is known already.
        """
        is_all = self._total is not None and len(self._seen) >= self._total
        return self.offset > 1 and not is_all and not self._problems.keys() - {REPEATED}

    def take(self, page: PullPage, /, *, again: bool = False) -> bool:
        """Take a page. Return whether another one may follow: if this one had something new.

        Args:
            page: The page.
            again: Whether it may hold rows that came already.
        """
        self.pages += 1
        if page.total is not None:
            self._total = page.total
        if not page.rows:
            if self.pages == 1:
                self._empty = True
                self.say(EMPTY)
            elif page.response_code == NOT_RETRIEVED:
                self.say(BROKE)
            return False
        self.offset += len(page.rows)
        known = len(self._seen)
        for row in page.rows:
            self._take_row(row)
        if len(self._seen) > known:
            return True
        if not again:
            self.say(REPEATED)
        return False

    def _take_row(self, raw: object) -> None:
        """Take a row. One that came before is looked at again, since it may say something else."""
        key = _key_of(raw)
        is_new = key not in self._seen
        self._seen.add(key)
        try:
            row = _read(raw)
        except _BadRowError:
            self.say(BAD_ROW)
            return
        if row is None:
            self._left_out += is_new
        elif not self._window.begins - _AROUND <= row.completed <= self._window.ends + _AROUND:
            self.say(OUTSIDE)
        elif self._rows.setdefault(row.receipt_number, row) != row:
            self._contradicted.add(row.receipt_number)
            self.say(CONTRADICTION)

    def statement(self) -> Statement:
        """Return the rows that came as a statement."""
        if self._total is not None:
            self._problems.pop(REPEATED, None)
            if len(self._seen) < self._total:
                self.say(FEWER)
        rows = [row for name, row in self._rows.items() if name not in self._contradicted]
        return Statement(
            source=StatementSource.PULL,
            number=self._number,
            rows=tuple(sorted(rows, key=lambda row: (row.completed, row.receipt_number))),
            covers_from=self._window.begins,
            covers_until=self._window.ends,
            complete=not self._problems,
            empty_answer=self._empty,
            left_out=self._left_out,
            problems=tuple(self._problems),
        )


def _key_of(raw: object) -> str:
    """Return the key by which two rows are the same: the receipt, or else the whole row."""
    receipt = receipt_of(_text(folded(raw).get("transactionid"))) if isinstance(raw, dict) else None
    return receipt or json.dumps(raw, sort_keys=True, default=str)


def _read(raw: object) -> StatementRow | None:
    """Read a row. Return None if it is no payment to the account."""
    if not isinstance(raw, dict):
        raise _BadRowError
    row: Mapping[str, object] = folded(raw)
    if len(row) < len(raw):
        raise _BadRowError  # it says something twice
    kind = _text(row.get("transactiontype")).casefold()
    if not kind:
        raise _BadRowError
    if "c2b" not in kind or "revers" in kind:
        return None
    receipt = receipt_of(_text(row.get("transactionid")))
    completed = pull_time(_text(row.get("trxdate")))
    amount = amount_of(_text(row.get("amount")))
    if receipt is None or completed is None or amount is None or amount <= 0:
        raise _BadRowError
    return StatementRow(
        receipt_number=receipt,
        completed=completed,
        amount=amount,
        kind=next((each for each, words in _KINDS if words.search(kind)), None),
        reference=words_of(_text(row.get("billreference"))),
        phone_number=phone_of(_text(row.get("msisdn"))),
    )


def _text(value: object) -> str:
    """Return a value that is a text or a number as text. Any other value is empty."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, Decimal) and value.is_finite() and abs(value.adjusted()) < _LONGEST_NUMBER:
        return format(value, "f")
    return str(value) if type(value) is int else ""
