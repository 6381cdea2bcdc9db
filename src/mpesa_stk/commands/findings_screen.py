"""Shows the books beside Safaricom's record: tables for a shopkeeper, JSON and CSV for programs."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import TextIO

from mpesa_stk.commands.context import Context
from mpesa_stk.commands.findings import APPLIED, STEPS, Books, Line, Verdict, headline, shillings
from mpesa_stk.commands.payment_facts import View, iso, moment, payments
from mpesa_stk.commands.payments_export import harmless
from mpesa_stk.commands.screen import Column, screen_of, show_lines
from mpesa_stk.daraja.protocol import NAIROBI

_SUMS = (
    Column("payments", right=True),
    Column("shillings", right=True),
    Column("what", whole=True),
)
_LINES = (
    Column("when"),
    Column("amount", right=True),
    Column("phone"),
    Column("receipt"),
    Column("reference"),
    Column("transaction", whole=True),
)
HEADINGS = (
    "account",
    "verdict",
    "reason",
    "when",
    "amount",
    "receipt",
    "phone",
    "reference",
    "state",
    "transaction_no",
    "candidates",
)
"""The columns of the CSV. They are part of the interface."""


# --- for people ------------------------------------------------------------------------------------------


def show_books(context: Context, books: Books, view: View, /) -> None:
    """Print the sums, then what is not in agreement line by line, then what to do about it."""
    show_lines(context, *_heading(books), *(f"Mind: {problem}" for problem in books.problems))
    found = [(verdict, lines) for verdict in Verdict if (lines := books.of(verdict))]
    if found:
        rows = [
            (f"{len(lines):,}", shillings(lines), headline(verdict, applied=books.applied))
            for verdict, lines in found
        ]
        screen_of(context).table(_SUMS, rows)
    for verdict, lines in found:
        if verdict is not Verdict.CONFIRMED:
            _show_lines_of(context, verdict, lines, books, view)
    show_lines(context, "", *_ending(books))


def _heading(books: Books) -> list[str]:
    source = "the statement" if books.source == "statement" else "what Daraja answered"
    if not books.periods:
        return [f"{books.name}, by {source}: no period is covered"]
    return [
        f"{books.name}, by {source}: {moment(start)} to {moment(end)}"
        for start, end in books.periods
    ]


def _show_lines_of(
    context: Context, verdict: Verdict, lines: Sequence[Line], books: Books, view: View
) -> None:
    title = headline(verdict, applied=books.applied)
    show_lines(context, "", f"{title[:1].upper()}{title[1:]}:")
    shows_why = any(line.reason or line.candidates for line in lines)
    columns = (*_LINES, Column("why", whole=True)) if shows_why else _LINES
    rows = [
        (*_cells(line, view), _why(line)) if shows_why else _cells(line, view) for line in lines
    ]
    screen_of(context).table(columns, rows)
    if verdict in STEPS:
        show, resolve = (context.command_line(f"payments {name}") for name in ("show", "resolve"))
        step = STEPS[verdict].format(show=show, resolve=resolve)
        show_lines(context, f"What to do: {step}")


def _why(line: Line) -> str:
    return "; ".join(filter(None, (line.reason or "", _candidates(line))))


def _candidates(line: Line) -> str:
    if not line.candidates:
        return ""
    return "may be for " + " or ".join(line.candidates)


def _cells(line: Line, view: View) -> tuple[str, ...]:
    when = line.at
    amount = f"{line.amount:,.0f}" if line.amount == int(line.amount) else f"{line.amount:,.2f}"
    return (
        "" if when is None else f"{when.astimezone(NAIROBI):%Y-%m-%d %H:%M}",
        amount,
        _phone(line, view),
        line.receipt_number,
        _reference(line, view),
        line.payment.transaction_no if line.payment is not None else "",
    )


def _phone(line: Line, view: View) -> str:
    if line.payment is not None:
        return view.phone(line.payment)
    return view.record_phone(line.row.phone_number if line.row is not None else None)


def _reference(line: Line, view: View) -> str:
    if line.payment is not None:
        return view.text(line.payment, line.payment.reference)
    return view.record_text(line.row.reference if line.row is not None else None)


def _ending(books: Books) -> list[str]:
    if books.agree:
        return ["Nothing is missing: the books and Safaricom agree."]
    if not books.differ:
        return [
            "Nobody can say whether something is missing: the record does not show a whole period."
        ]
    waiting = sum(len(books.of(verdict)) for verdict in APPLIED)
    lines = ["The books and Safaricom do not agree."]
    if waiting and not books.applied:
        lines.append(f"Nothing was changed. --apply writes {payments(waiting)} into the books.")
    return lines


# --- for programs ----------------------------------------------------------------------------------------


def books_facts(books: Books, view: View, /) -> dict[str, object]:
    """Return the books for programs. The names of the fields are part of the interface."""
    return {
        "account": books.name,
        "source": books.source,
        "covered": [{"from": iso(start), "until": iso(end)} for start, end in books.periods],
        "problems": list(books.problems),
        "applied": books.applied,
        "agree": books.agree,
        "counts": {verdict.value: len(books.of(verdict)) for verdict in Verdict},
        "lines": [_line_facts(line, view) for line in books.lines],
    }


def _line_facts(line: Line, view: View) -> dict[str, object]:
    payment = line.payment
    return {
        "verdict": line.verdict.value,
        "reason": line.reason,
        "when": iso(line.at),
        "amount": str(line.amount),
        "receipt_number": line.receipt_number or None,
        "phone_number": _phone(line, view) or None,
        "reference": _reference(line, view) or None,
        "state": payment.state.value if payment is not None else None,
        "transaction_no": payment.transaction_no if payment is not None else None,
        "candidates": list(line.candidates),
    }


def write_csv(target: TextIO, all_books: Sequence[Books], view: View, /) -> int:
    """Write every line as CSV, and return how many there are."""
    writer = csv.writer(target, quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(HEADINGS)
    count = 0
    for books in all_books:
        for line in books.lines:
            writer.writerow(_csv_cells(books, line, view))
            count += 1
    return count


def _csv_cells(books: Books, line: Line, view: View) -> tuple[str | float, ...]:
    facts = _line_facts(line, view)
    when = line.at
    amount = line.amount
    return (
        harmless(books.name),
        line.verdict.value,
        harmless(line.reason or ""),
        "" if when is None else f"{when.astimezone(NAIROBI):%Y-%m-%d %H:%M:%S}",
        int(amount) if amount == int(amount) else float(amount),
        harmless(line.receipt_number),
        harmless(_phone(line, view).removeprefix("+")),
        harmless(_reference(line, view)),
        str(facts["state"] or ""),
        str(facts["transaction_no"] or ""),
        " ".join(line.candidates),
    )
