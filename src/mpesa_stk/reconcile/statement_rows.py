"""Read the lines of a portal statement, as texts in cells, into a `Statement`. Pure.

Columns are found by name. Money is never guessed: if a line cannot be read, the file is refused
(docs/how-to/closing-the-day.md lists what is said about each damage).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import attrs

from mpesa_stk.errors import InvalidStatement
from mpesa_stk.privacy import clean_text
from mpesa_stk.reconcile.record_values import (
    amount_of,
    phone_of,
    portal_time,
    receipt_of,
    words_of,
)
from mpesa_stk.reconcile.statement import RowKind, Statement, StatementRow, StatementSource

MOST_LINES = 500_000
"""Most lines of a file. An account with more payments downloads shorter periods."""

CUT = "the file ends in the middle of a line"
TWO_REFERENCES = "a line names two references"
OTHER_STATUS = "a line has a status that is neither completed nor failed"

_HEADING_WITHIN = 200
_NEEDED = {
    "receiptno": "Receipt No.",
    "completiontime": "Completion Time",
    "transactionstatus": "Transaction Status",
    "paidin": "Paid In",
}
_KNOWN = {*_NEEDED, "details", "withdrawn", "reasontype", "otherpartyinfo", "acno", "currency"}
_KNOWN |= {"linkedtransactionid"}
_FAILED = {"failed", "cancelled", "canceled", "declined", "expired", "rejected"}
_LETTERS = re.compile("[^a-z0-9]+")
_DIGITS = re.compile("[0-9]{4,12}")
_LONG_NUMBER = re.compile(r"[0-9*](?:[ ().+-]{0,2}[0-9*]){6,}")
_LONGEST_SHOWN = 40
# The text before the payer's name and reference, which may hold any words.
_BEFORE_NAMES = re.compile(r"\s(?:from|to|by)\s+\S*[0-9*]|\s-\s|\sAcc\.", re.IGNORECASE)
_REFERENCE = re.compile(r"\bAcc\.\s*(.*)", re.IGNORECASE | re.DOTALL)
_FROM = re.compile(r"\sfrom\s+(\S+)", re.IGNORECASE)
_REVERSAL = re.compile("revers", re.IGNORECASE)
_NO_PAYMENT = re.compile(
    r"revers|\bcharges?\b|\bfees?\b|\btariff\b|settlement account|\baccount to\b|\bto bank\b",
    re.IGNORECASE,
)
_KINDS = (
    (RowKind.PAYBILL, re.compile(r"pay\s?bill", re.IGNORECASE)),
    (RowKind.TILL, re.compile(r"merchant|buy\s?goods", re.IGNORECASE)),
)
# A payment may be started in the period and completed just after it.
_AROUND = timedelta(days=1)
_A_DAY = timedelta(days=1)

Line = tuple[int, Sequence[str]]
"""The number of a line in its file, from 1, and the texts of its cells."""


def heading_of(cells: Sequence[str], /) -> dict[str, int] | None:
    """Return the places of the columns, by plain name, if these are the names of columns."""
    if not any("eceipt" in cell.casefold() for cell in cells):
        return None
    names = [_plain(cell) for cell in cells]
    if "receiptno" not in names or len(set(names) & _KNOWN) < len(_NEEDED) - 1:
        return None
    return {name: names.index(name) for name in _KNOWN if name in names}


def read_lines(lines: Iterable[Line], /) -> Statement:
    """Read the lines of one statement.

    Raises:
        InvalidStatement: The lines are no statement, or one of them cannot be read.
    """
    reader = _Reader()
    for number, cells in lines:
        if number > MOST_LINES:
            raise InvalidStatement(f"has more than {MOST_LINES} lines: download a shorter period")
        stripped = [cell.strip() for cell in cells]
        if any(stripped):
            reader.take(number, stripped)
    return reader.statement()


def shown(cells: Sequence[str], /) -> str:
    """Return the begin of a line as it can be shown: one line, cut, without long numbers."""
    text = clean_text(" ".join(cells)) or ""
    return _LONG_NUMBER.sub("[...]", text)[:_LONGEST_SHOWN]


def _plain(text: str) -> str:
    """Return the name of a column or a label in small letters, without spaces and marks."""
    return _LETTERS.sub("", text.casefold())


@attrs.define
class _Heading:
    """The block of lines above the payments."""

    number: str | None = None
    begins: datetime | None = None
    ends: datetime | None = None

    def take(self, line: int, cells: Sequence[str]) -> None:
        """Read one line of the block: a label and its values."""
        label = _plain(cells[0])
        if label in ("shortcode", "tillnumber"):
            found = next((cell for cell in cells[1:] if _DIGITS.fullmatch(cell)), None)
            self.number = found or self.number
        elif label == "timeperiod":
            begins, ends = _after(cells, "from"), _after(cells, "to")
            if begins is None or ends is None or ends[0] < begins[0]:
                raise InvalidStatement(
                    "must name a begin and an end", line=line, column="Time Period"
                )
            self.begins, self.ends = begins[0], ends[0] + ends[1]

    def refuses(self, moment: datetime) -> bool:
        """Return whether a line cannot be of this period, as if day and month were exchanged."""
        if self.begins is None or self.ends is None:
            return False
        return not self.begins - _AROUND <= moment < self.ends + _AROUND


def _after(cells: Sequence[str], word: str) -> tuple[datetime, timedelta] | None:
    """Return the time in the cell behind a word."""
    for before, cell in itertools.pairwise(cells):
        if _plain(before) == word:
            return portal_time(cell)
    return None


class _Reader:
    """Takes the lines one by one."""

    def __init__(self) -> None:
        self._block = _Heading()
        self._columns: dict[str, int] | None = None
        self._width = 0
        self._first: tuple[int, str] | None = None
        self._rows: dict[str, StatementRow] = {}
        self._reversed: set[str] = set()
        self._moments: list[datetime] = []  # the first and the last of all lines
        self._left_out = 0
        self._problems: dict[str, None] = {}

    def take(self, line: int, cells: list[str]) -> None:
        """Read one line that is not empty."""
        if self._first is None:
            self._first = line, shown(cells)
        if self._columns is not None:
            self._row(line, cells, self._columns)
            return
        columns = heading_of(cells)
        if columns is not None:
            self._begin(line, cells, columns)
        elif line > _HEADING_WITHIN:
            raise self._no_statement()
        else:
            self._block.take(line, cells)

    def _begin(self, line: int, cells: list[str], columns: dict[str, int]) -> None:
        for name, written in _NEEDED.items():
            if name not in columns:
                raise InvalidStatement("the column is missing", line=line, column=written)
        names = [name for cell in cells if (name := _plain(cell)) in _KNOWN]
        if len(set(names)) < len(names):
            raise InvalidStatement("names a column twice", line=line)
        self._columns, self._width = columns, len(cells)

    def _row(self, line: int, cells: list[str], columns: Mapping[str, int]) -> None:
        """Read a line below the names of the columns."""
        if any(cells[self._width :]):
            raise InvalidStatement("has more cells than there are columns", line=line)
        if len(cells) <= max(columns[name] for name in _NEEDED):
            raise InvalidStatement("has too few cells", line=line)
        if heading_of(cells) == columns:
            return  # the next page of a file that repeats them
        texts = {
            name: cells[place] if place < len(cells) else "" for name, place in columns.items()
        }
        entry = _Entry(line=line, texts=texts)
        moment = entry.moment()
        if self._block.refuses(moment):
            problem = "is outside of the period that the file names"
            raise InvalidStatement(problem, line=line, column=_NEEDED["completiontime"])
        self._moments = [*self._moments, moment]
        self._moments = [min(self._moments), max(self._moments)]
        receipt = entry.receipt()
        amount = entry.money_in()
        self._reversed |= entry.takes_back()
        if not entry.is_final():
            self._problems[OTHER_STATUS] = None
        if amount is None:
            self._left_out += 1
            return
        row = entry.row(receipt, moment, amount)
        if entry.references_differ():
            self._problems[TWO_REFERENCES] = None
        if self._rows.setdefault(receipt, row) != row:
            problem = "is a receipt that another line gives other facts"
            raise InvalidStatement(problem, line=line, column=_NEEDED["receiptno"])

    def statement(self) -> Statement:
        """Return the lines that were read, as a statement."""
        if self._columns is None:
            raise self._no_statement()
        kept = [row for name, row in self._rows.items() if name not in self._reversed]
        begins, ends = self._block.begins, self._block.ends
        if begins is None and self._moments:
            first, last = (moment.replace(hour=0, minute=0, second=0) for moment in self._moments)
            begins, ends = first, last + _A_DAY
        return Statement(
            source=StatementSource.FILE,
            number=self._block.number,
            rows=tuple(sorted(kept, key=lambda row: (row.completed, row.receipt_number))),
            covers_from=None if begins is None else begins.astimezone(timezone.utc),
            covers_until=None if ends is None else ends.astimezone(timezone.utc),
            complete=not self._problems,
            left_out=self._left_out + len(self._rows) - len(kept),
            problems=tuple(self._problems),
        )

    def _no_statement(self) -> InvalidStatement:
        line, text = self._first if self._first is not None else (None, None)
        problem = "not a statement of the portal: no line names the column Receipt No."
        return InvalidStatement(problem, line=line, shown=text)


@attrs.frozen(kw_only=True)
class _Entry:
    """One line below the names of the columns. Each method reads one thing, or refuses the file."""

    line: int
    texts: Mapping[str, str] = attrs.field(repr=False)

    def _wrong(self, column: str, problem: str) -> InvalidStatement:
        return InvalidStatement(problem, line=self.line, column=column)

    def _text(self, name: str) -> str:
        return self.texts.get(name, "")

    def moment(self) -> datetime:
        """Return when it was completed."""
        found = portal_time(self._text("completiontime"))
        if found is None or found[1] == _A_DAY:
            raise self._wrong(
                "Completion Time", "must be DD-MM-YYYY HH:mm:ss or D/M/YYYY H:mm, in Nairobi"
            )
        return found[0]

    def receipt(self) -> str:
        """Return the receipt."""
        receipt = receipt_of(self._text("receiptno"))
        if receipt is None:
            raise self._wrong("Receipt No.", "must be 6 to 20 letters and digits")
        return receipt

    def money_in(self) -> Decimal | None:
        """Return the shillings of a payment to the account, or None if the line is none."""
        paid = self._amount("paidin", "Paid In")
        withdrawn = self._amount("withdrawn", "Withdrawn")
        if not self._text("transactionstatus"):
            raise self._wrong("Transaction Status", "must not be empty")
        if paid < 0:
            raise self._wrong("Paid In", "must not be negative")
        if paid and withdrawn:
            raise self._wrong("Paid In", "must be empty if something was withdrawn")
        if not self._is_completed():
            return None
        if not paid and not withdrawn and "withdrawn" in self.texts:
            raise self._wrong("Paid In", "must not be empty if nothing was withdrawn")
        if self._text("currency").upper() not in ("", "KES"):
            raise self._wrong("Currency", "must be KES")
        if not paid or any(_NO_PAYMENT.search(words) for words in self._what()):
            return None
        return paid

    def _amount(self, name: str, column: str) -> Decimal:
        """Return an amount, 0 if there is none."""
        text = self._text(name)
        amount = Decimal(0) if text in ("", "-") else amount_of(text)
        if amount is None:
            raise self._wrong(column, "must be a number of shillings such as 1,250.00")
        return amount

    def _what(self) -> list[str]:
        """Return the words that say what the line is, without names and references."""
        details = _BEFORE_NAMES.split(self._text("details"), maxsplit=1)[0]
        return [self._text("reasontype"), details]

    def _is_completed(self) -> bool:
        return self._text("transactionstatus").casefold() == "completed"

    def is_final(self) -> bool:
        """Return whether the status says that the line cannot become a payment any more."""
        return self._is_completed() or self._text("transactionstatus").casefold() in _FAILED

    def takes_back(self) -> set[str]:
        """Return the receipts of payments that this line reverses."""
        if not self._is_completed():
            return set()
        if not any(_REVERSAL.search(words) for words in self._what()):
            return set()
        receipts = (self._text("linkedtransactionid"), self._text("receiptno"))
        return {text.upper() for text in receipts if text}

    def references_differ(self) -> bool:
        """Return whether details and account column contradict each other."""
        return len(self._references()) > 1

    def _references(self) -> dict[str, None]:
        match = _REFERENCE.search(self._text("details"))
        found = (words_of(self._text("acno")), words_of(match[1]) if match else None)
        return {reference: None for reference in found if reference is not None}

    def row(self, receipt: str, moment: datetime, amount: Decimal) -> StatementRow:
        """Return the payment."""
        references = list(self._references())
        match = _FROM.search(self._text("details"))
        kinds = [kind for kind, words in _KINDS if any(map(words.search, self._what()))]
        return StatementRow(
            receipt_number=receipt,
            completed=moment.astimezone(timezone.utc),
            amount=amount,
            kind=kinds[0] if kinds else None,
            reference=references[0] if len(references) == 1 else None,
            phone_number=phone_of(self._text("otherpartyinfo"))
            or (phone_of(match[1]) if match else None),
        )
