"""Statements of the portal, whole and damaged: what is read, and what is said."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpesa_stk import (
    ConfigurationError,
    InvalidStatement,
    RowKind,
    Statement,
    StatementRow,
    StatementSource,
    read_statement,
)
from mpesa_stk.reconcile import spreadsheets, statement_file, statement_rows
from support import DATA, ROOT

SAMPLES: dict[str, Any] = json.loads((DATA / "records-samples.json").read_text(encoding="utf-8"))
TILL: str = SAMPLES["portal_statement_csv"]["text"]
PAYBILL: str = SAMPLES["portal_statement_paybill_rows"]["text"]
COLUMNS = TILL.splitlines()[6]
PAID = TILL.splitlines()[7]
INV_19 = PAYBILL.splitlines()[1]


def utc(text: str) -> datetime:
    """A moment, as UTC."""
    return datetime.fromisoformat(text).astimezone(timezone.utc)


def read(text: str) -> Statement:
    """What a text is read as."""
    return read_statement(text.encode())


def with_paid(**changes: str) -> str:
    """The till's statement, with its payment changed by column."""
    cells = dict(zip(COLUMNS.split(","), PAID.split(","), strict=True))
    assert set(changes) <= set(cells)
    cells |= {name: f'"{text}"' for name, text in changes.items()}
    return TILL.replace(PAID, ",".join(cells.values()))


def changed(**changes: str) -> StatementRow:
    """The payment of the till's statement, after changes of its cells."""
    (row,) = read(with_paid(**changes)).rows
    return row


# --- whole files -------------------------------------------------------------------------------------


def test_the_statement_of_a_till() -> None:
    """The payment is a row. A sweep and a failed payment are left out. The period is that of the file."""
    assert read(TILL) == Statement(
        source=StatementSource.FILE,
        number="3702865",
        rows=(
            StatementRow(
                receipt_number="UIPDS807K6",
                completed=utc("2026-09-25T10:32:37+03:00"),
                amount=Decimal("30.0"),
                kind=RowKind.TILL,
                phone_number="070****366",
            ),
        ),
        covers_from=utc("2026-09-25T00:00:00+03:00"),
        covers_until=utc("2026-09-26T00:00:00+03:00"),
        left_out=2,
    )


def test_the_rows_of_a_paybill() -> None:
    """Thousands have commas, the reference is that of details, and the period that of the rows' days."""
    assert read(PAYBILL) == Statement(
        source=StatementSource.FILE,
        rows=(
            StatementRow(
                receipt_number="UKQ00000A1",
                completed=utc("2026-11-26T10:32:37+03:00"),
                amount=Decimal("1250.00"),
                kind=RowKind.PAYBILL,
                reference="INV-19",
                phone_number="25470****001",
            ),
        ),
        covers_from=utc("2026-11-26T00:00:00+03:00"),
        covers_until=utc("2026-11-27T00:00:00+03:00"),
        left_out=1,
    )


def without_columns(text: str, *names: str) -> str:
    """A text of comma-separated lines without some columns. No cell has a comma."""
    heading = COLUMNS.split(",")
    kept = [place for place, name in enumerate(heading) if name not in names]
    lines = [line.split(",") for line in text.splitlines()]
    return "\n".join(
        ",".join(line[place] for place in kept) if len(line) == len(heading) else ",".join(line)
        for line in lines
    )


def columns_turned(text: str) -> str:
    """The same with the columns in the opposite order."""
    lines = [line.split(",") for line in text.splitlines()]
    return "\n".join(",".join(line[::-1] if len(line) > 10 else line) for line in lines) + "\n"


SAME = {
    "as it is": TILL.encode(),
    "byte order mark": b"\xef\xbb\xbf" + TILL.encode(),
    "UTF-16": TILL.encode("utf-16"),
    "UTF-16, big": b"\xfe\xff" + TILL.encode("utf-16-be"),
    "UTF-16, unmarked": TILL.encode("utf-16-le"),
    "CRLF": TILL.replace("\n", "\r\n").encode(),
    "semicolons": TILL.replace(",", ";").encode(),
    "tabs": TILL.replace(",", "\t").encode(),
    "blank lines": ("\n" + TILL.replace("\n", "\n\n") + ",,,\n\n \n").encode(),
    "all quoted": "\n".join(
        ",".join(f'"{cell}"' for cell in line.split(",")) for line in TILL.splitlines()
    ).encode(),
    "columns in small letters": TILL.replace(COLUMNS, COLUMNS.lower()).encode(),
    "columns with spaces": TILL.replace(COLUMNS, COLUMNS.replace(",", " , ")).encode(),
    "columns in another order": columns_turned(TILL).encode(),
    "no currency": without_columns(TILL, "Currency").encode(),
    "few columns": without_columns(
        TILL, "Initiation Time", "Balance", "Balance Confirmed", "Linked Transaction ID", "A/C No."
    ).encode(),
    "no line end at the end": TILL.rstrip().encode(),
    "old Windows": TILL.replace("SHOP", "SHÖP").encode("latin-1"),
    "names of columns on each page": TILL.replace(PAID, f"{PAID}\n{COLUMNS}").encode(),
    "CR": TILL.replace("\n", "\r").encode(),
    "CR and semicolons": TILL.replace("\n", "\r").replace(",", ";").encode(),
    "blanks at the end": TILL.encode() + b"  ",
    "empty cells at the end": TILL.encode() + b",,,",
    "a hint for Excel": b"sep=,\n" + TILL.encode(),
    "the same line twice": TILL.replace(PAID, f"{PAID}\n{PAID}").encode(),
}


@pytest.mark.parametrize("name", SAME)
def test_forms_of_one_statement(name: str) -> None:
    """However a program wrote the file, it says the same."""
    assert read_statement(SAME[name]) == read(TILL)


def test_a_path_is_read_as_its_bytes(tmp_path: Path) -> None:
    """A path may be a text or a `Path`. The name of the file does not matter."""
    path = tmp_path / "statement.xlsx"
    path.write_text(TILL, encoding="utf-8")
    assert read_statement(path) == read_statement(str(path)) == read(TILL)
    with pytest.raises(FileNotFoundError):
        read_statement(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("25-09-2026 10:32:37", "2026-09-25T10:32:37+03:00"),
        ("25/9/2026 10:32", "2026-09-25T10:32:00+03:00"),
        ("25/09/2026 10:32:37", "2026-09-25T10:32:37+03:00"),
        ("25-9-2026 0:05", "2026-09-25T00:05:00+03:00"),
    ],
)
def test_both_forms_of_times(text: str, moment: str) -> None:
    """The day stands before the month, in Nairobi."""
    assert changed(**{"Completion Time": text}).completed == utc(moment)


@pytest.mark.parametrize(
    ("text", "amount"),
    [("30", "30"), ("1,250.00", "1250.00"), ("1,234,567.5", "1234567.5"), ("0.500", "0.500")],
)
def test_amounts(text: str, amount: str) -> None:
    """They are taken exactly as they are written."""
    assert changed(**{"Paid In": text}).amount == Decimal(amount)


@pytest.mark.parametrize(
    ("details", "account", "reference"),
    [
        ("Pay Bill Online from 25471****904 - A. NAME Acc. INV-19", "", "INV-19"),
        ("Pay Bill Online from 25471****904 - A. NAME Acc.  school fees 7 ", "", "school fees 7"),
        ("Pay Bill Online", "INV-19", "INV-19"),
        ("Pay Bill Online from 25471****904 - A. NAME Acc. INV-19", "INV-19", "INV-19"),
        ("Pay Bill Online from 25471****904 - REVERS FEE", "REVERSAL 9", "REVERSAL 9"),
        ("Pay Bill Online from 25471****904 - A. NAME Acc.", "", None),
    ],
)
def test_the_reference(details: str, account: str, reference: str | None) -> None:
    """It stands behind Acc. or in the account column, and may hold any words."""
    row = changed(**{"Details": details, "Reason Type": "Pay Bill", "A/C No.": account})
    assert (row.reference, row.kind) == (reference, RowKind.PAYBILL)


def test_two_references_are_none() -> None:
    """A line that names two of them proves no payment by its reference."""
    text = with_paid(
        **{"Details": "Pay Bill from 25471****904 - X Acc. INV-1", "A/C No.": "INV-19"}
    )
    statement = read(text)
    assert (statement.rows[0].reference, statement.complete) == (None, False)
    assert statement.problems == (statement_rows.TWO_REFERENCES,)


@pytest.mark.parametrize(
    ("other", "details", "phone"),
    [
        ("070****366 - A. NAME", "Merchant Payment", "070****366"),
        ("", "Merchant Payment from 25471****904 - A. NAME", "25471****904"),
        ("254712345678", "Merchant Payment", "254712345678"),
        ("3702865X - SHOP", "Merchant Payment", None),
        ("", "Merchant Payment from somebody", None),
        ("********** - A. NAME", "", None),
    ],
)
def test_the_phone_is_as_it_is_written(other: str, details: str, phone: str | None) -> None:
    """Its masked digits stay masked, and a repr masks the others."""
    row = changed(**{"Other Party Info": other, "Details": details})
    assert row.phone_number == phone
    assert "254712345678" not in repr(row)


def test_money_of_an_unknown_kind_is_kept() -> None:
    """It is not lost, and it says of no payment what it was."""
    row = changed(**{"Details": "Something New", "Reason Type": ""})
    assert (row.kind, row.amount) == (None, Decimal("30.0"))


@pytest.mark.parametrize(
    "changes",
    [
        {"Transaction Status": "Failed"},
        {"Transaction Status": "Cancelled", "Paid In": ""},
        {"Reason Type": "Pay Merchant Reversal"},
        {"Details": "Reversal of 1 - Merchant Payment"},
        {"Reason Type": "Pay Merchant Charge"},
        {"Reason Type": "Merchant Account to Organization Settlement Account"},
        {"Paid In": "", "Withdrawn": "-30.00"},
        {"Paid In": "0.00", "Withdrawn": "-30.00"},
    ],
)
def test_what_is_no_payment_is_counted(changes: dict[str, str]) -> None:
    """Fees, sweeps, reversals and failed payments."""
    statement = read(with_paid(**changes))
    assert (statement.rows, statement.left_out, statement.complete) == ((), 3, True)


def test_a_payment_that_was_taken_back_is_no_payment() -> None:
    """A reversal names it, in whatever order the lines stand."""
    back = "UIPREVERSE1,25-09-2026 11:00:00,,Merchant Payment Reversal,Completed,,-30,0,,,,UIPDS807K6,,"
    for lines in (f"{PAID}\n{back}", f"{back}\n{PAID}"):
        statement = read(TILL.replace(PAID, lines))
        assert (statement.rows, statement.left_out) == ((), 4)
    failed = back.replace("Completed", "Failed")
    assert len(read(TILL.replace(PAID, f"{PAID}\n{failed}")).rows) == 1


def test_a_status_that_is_not_known_is_said() -> None:
    """Such a line may still become a payment."""
    statement = read(with_paid(**{"Transaction Status": "Pending"}))
    assert (statement.rows, statement.left_out, statement.complete) == ((), 3, False)
    assert statement.problems == (statement_rows.OTHER_STATUS,)


def test_a_payment_around_midnight_is_of_the_period() -> None:
    """It was started before the end, and completed after it."""
    assert changed(**{"Completion Time": "26-09-2026 00:00:02"}).receipt_number == "UIPDS807K6"


def test_a_period_may_name_days_only() -> None:
    """It ends with the end of its last day. Without payments, it is still covered."""
    text = TILL.replace(" 00:00:00,To", ",To").replace("25-09-2026 23:59:59", "26/9/2026")
    text = text[: text.index(PAID)]
    statement = read(text)
    assert statement.rows == ()
    assert statement.covers_from == utc("2026-09-25T00:00:00+03:00")
    assert statement.covers_until == utc("2026-09-27T00:00:00+03:00")


def test_nothing_is_covered_if_nothing_is_named() -> None:
    """Names of columns alone say of no day that it was empty."""
    statement = read(f"{COLUMNS}\n")
    assert (statement.rows, statement.covers_from, statement.covers_until) == ((), None, None)


# --- damage ------------------------------------------------------------------------------------------

PAYBILL_LINES = PAYBILL.splitlines()
DAMAGED: dict[str, tuple[str | bytes, str]] = {
    "an empty file": ("", "no line names the column Receipt No."),
    "another file": (
        "Name,Phone\nA. NAME,0712 345 678\n",
        "line 1: not a statement of the portal: no line names the column Receipt No.: 'Name Phone'",
    ),
    "a list of phones": ("254712345678\n", "'[...]'"),
    "a PDF": (b"%PDF-1.7", "a PDF: download the statement as CSV, XLS or XLSX"),
    "a spreadsheet that is cut or damaged": (b"PK\x03\x04", "the spreadsheet cannot be read"),
    "an old spreadsheet that is cut": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "cannot be read"),
    "no names of columns": (PAID, "no line names the column Receipt No."),
    "a column is missing": (
        TILL.replace("Paid In", "Money"),
        "line 7: Paid In: the column is missing",
    ),
    "a column comes twice": (TILL.replace("Withdrawn", "Paid In"), "line 7: names a column twice"),
    "an amount that is no number": (
        with_paid(**{"Paid In": "30 bob"}),
        "line 8: Paid In: must be a number of shillings such as 1,250.00",
    ),
    "a comma for the cents": (
        with_paid(**{"Paid In": "30,5"}),
        "line 8: Paid In: must be a number",
    ),
    "parts of a cent": (with_paid(**{"Paid In": "30.505"}), "line 8: Paid In: must be a number"),
    "an amount of another currency": (with_paid(Currency="USD"), "line 8: Currency: must be KES"),
    "a negative payment": (with_paid(**{"Paid In": "-30"}), "Paid In: must not be negative"),
    "no amount": (
        with_paid(**{"Paid In": ""}),
        "line 8: Paid In: must not be empty if nothing was withdrawn",
    ),
    "money in and out in one line": (
        with_paid(Withdrawn="250.00"),
        "line 8: Paid In: must be empty if something was withdrawn",
    ),
    "a thousands comma without quotes": (
        TILL.replace(",30.0,,", ",1,250.00,,"),
        "line 8: has more cells than there are columns",
    ),
    "an unreadable time": (
        with_paid(**{"Completion Time": "2026-09-25T10:32"}),
        "line 8: Completion Time: must be DD-MM-YYYY HH:mm:ss or D/M/YYYY H:mm, in Nairobi",
    ),
    "a month before the day": (
        with_paid(**{"Completion Time": "9/25/2026 10:32"}),
        "line 8: Completion Time: must be DD-MM-YYYY",
    ),
    "day and month exchanged": (
        with_paid(**{"Completion Time": "09/05/2026 10:32"}),
        "line 8: Completion Time: is outside of the period that the file names",
    ),
    "a day without a time": (
        with_paid(**{"Completion Time": "25-09-2026"}),
        "line 8: Completion Time: must be",
    ),
    "an unreadable receipt": (
        with_paid(**{"Receipt No.": "1.2E+10"}),
        "line 8: Receipt No.: must be 6 to 20 letters and digits",
    ),
    "no status": (
        with_paid(**{"Transaction Status": ""}),
        "line 8: Transaction Status: must not be empty",
    ),
    "a line with too few cells": (TILL.replace(PAID, "UIPDS807K6,x"), "line 8: has too few cells"),
    "a receipt with two amounts": (
        TILL.replace(PAID, f"{PAID}\n{PAID.replace(',30.0,', ',31.0,')}"),
        "line 9: Receipt No.: is a receipt that another line gives other facts",
    ),
    "a quote that does not close": (
        TILL.replace("Merchant Payment", '"Merchant Payment', 1),
        "line 8: has a quote that does not close, or an unreadable cell",
    ),
    "a period without an end": (
        TILL.replace("To,25-09-2026 23:59:59", "To,"),
        "line 4: Time Period: must name a begin and an end",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_statement_is_refused(name: str) -> None:
    """The error says where and what, and shows no phone number. Nothing of the file is taken."""
    data, said = DAMAGED[name]
    with pytest.raises(InvalidStatement) as caught:
        read_statement(data.encode() if isinstance(data, str) else data)
    assert said in str(caught.value)
    assert "0712" not in str(caught.value)
    assert "254712345678" not in str(caught.value)


def test_the_error_has_its_facts() -> None:
    """A program can say them in its own words."""
    with pytest.raises(InvalidStatement) as caught:
        read(with_paid(**{"Paid In": "x"}))
    error = caught.value
    assert (error.line, error.column, error.shown) == (8, "Paid In", None)
    with pytest.raises(InvalidStatement) as caught:
        read("a,b\n")
    assert (caught.value.line, caught.value.column, caught.value.shown) == (1, None, "a b")


@pytest.mark.parametrize("name", DAMAGED)
def test_the_page_lists_the_damage(name: str) -> None:
    """What is said about it is what the page says."""
    page = (ROOT / "docs" / "how-to" / "closing-the-day.md").read_text(encoding="utf-8")
    assert f"| {name} |" in page


@pytest.mark.parametrize("left", [1, 20, 40, 90, len(PAYBILL_LINES[2]) - 1])
def test_a_file_that_is_cut_is_not_complete(left: int) -> None:
    """The line in which it ends is left out, wherever it was cut, and the lines before it stay."""
    cut = "\n".join([*PAYBILL_LINES[:2], PAYBILL_LINES[2][:left]])
    statement = read(cut)
    assert [row.receipt_number for row in statement.rows] == ["UKQ00000A1"]
    assert (statement.complete, statement.problems) == (False, (statement_rows.CUT,))
    assert statement.left_out == 0


def test_a_file_that_is_cut_in_its_reference() -> None:
    """The last cell may lack its end, but the line says it a second time."""
    statement = read("\n".join(PAYBILL_LINES[:2])[:-1])
    assert (statement.rows[0].reference, statement.complete) == (None, False)


def test_a_quote_that_swallows_lines_is_no_cut() -> None:
    """The file also lacks its last line end, but more than one line is lost."""
    with pytest.raises(InvalidStatement, match="line 8: has a quote that does not close"):
        read(TILL.replace("Merchant Payment", '"Merchant Payment', 1).rstrip())


def test_a_file_that_is_cut_at_the_names_of_columns() -> None:
    """It has no payments, and does not say that there were none."""
    assert read(COLUMNS).complete is False


# --- spreadsheets ------------------------------------------------------------------------------------


def xlsx(*sheets: list[list[Any]]) -> bytes:
    """A spreadsheet as bytes."""
    book = openpyxl.Workbook(write_only=True)
    for rows in sheets:
        sheet = book.create_sheet()
        for row in rows:
            sheet.append(row)
    stream = io.BytesIO()
    book.save(stream)
    return stream.getvalue()


LINES: list[list[Any]] = [line.split(",") for line in TILL.splitlines()]


def with_numbers() -> list[list[Any]]:
    """The lines as Excel keeps them: numbers and dates as such."""
    lines = [[cell or None for cell in line] for line in LINES]
    lines[1][1] = 3702865
    lines[7][1] = datetime(2026, 9, 25, 10, 32, 36, 999_000)  # noqa: DTZ001 - as Excel has it
    lines[7][5], lines[8][6], lines[7][8] = 30.0, -22779.95, True
    return lines


def test_an_xlsx_says_what_the_csv_says() -> None:
    """As texts, and as numbers and dates. Empty sheets do not matter."""
    assert read_statement(xlsx(LINES)) == read(TILL)
    assert read_statement(xlsx([], with_numbers())) == read(TILL)


def test_an_xls_says_what_the_csv_says() -> None:
    """The file was written by xlwt 1.3.0, with numbers, a date, a flag and a cell with an error."""
    assert read_statement(DATA / "statement.xls") == read(TILL)


def test_a_reference_that_excel_made_a_number() -> None:
    """It is written without decimals."""
    lines = with_numbers()
    lines[7][3], lines[7][12] = "Pay Bill Online", 19.0
    assert read_statement(xlsx(lines)).rows[0].reference == "19"


def test_a_formula_without_its_value_is_no_amount() -> None:
    """What it would give is not computed."""
    lines = with_numbers()
    lines[7][5] = "=10+20"
    with pytest.raises(InvalidStatement, match="line 8: Paid In: must not be empty"):
        read_statement(xlsx(lines))


def test_two_statements_in_one_file() -> None:
    """Which of them is meant is not guessed."""
    with pytest.raises(InvalidStatement, match="two sheets hold statements"):
        read_statement(xlsx(LINES, LINES))


def test_a_spreadsheet_that_unpacks_to_gigabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused before it is unpacked."""
    monkeypatch.setattr(spreadsheets, "MOST_UNPACKED", 1000)
    with pytest.raises(InvalidStatement, match="the spreadsheet is too large"):
        read_statement(xlsx(LINES))


@pytest.mark.slow
def test_a_spreadsheet_with_a_billion_rows() -> None:
    """Its rows before the billionth are empty, and are not made."""
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(xlsx(LINES))) as source,
        zipfile.ZipFile(stream, "w") as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name).replace(b'<row r="9"', b'<row r="999999999"'))
    with pytest.raises(InvalidStatement, match="more than 500000 lines"):
        read_statement(stream.getvalue())


@pytest.mark.parametrize(
    ("library", "data"), [("openpyxl", spreadsheets.XLSX), ("xlrd", spreadsheets.XLS)]
)
def test_without_the_extra(library: str, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names what to install. CSV needs nothing."""
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigurationError, match=r"pip install 'mpesa-stk-client\[statement\]'"):
        read_statement(data)
    assert read(TILL).rows


# --- bounds ------------------------------------------------------------------------------------------


def test_a_file_that_is_too_large(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No more than the limit is read from the disk."""
    monkeypatch.setattr(statement_file, "MOST_BYTES", 100)
    path = tmp_path / "large.csv"
    path.write_text(TILL, encoding="utf-8")
    with pytest.raises(InvalidStatement, match="the file is too large"):
        read_statement(path)


def test_a_file_with_too_many_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shorter period can be downloaded."""
    monkeypatch.setattr(statement_rows, "MOST_LINES", 8)
    with pytest.raises(InvalidStatement, match="has more than 8 lines"):
        read(TILL)


def test_a_heading_is_looked_for_near_the_top() -> None:
    """A file of another kind is not read to its end."""
    with pytest.raises(InvalidStatement, match="no line names the column"):
        read("x,y\n" * 300 + TILL)


# --- anything ----------------------------------------------------------------------------------------


def take(data: bytes) -> None:
    """Read bytes: a statement that keeps its promises, or the error that is documented."""
    try:
        statement = read_statement(data)
    except InvalidStatement as error:
        assert error.problem  # noqa: PT017 - the error is optional
        return
    receipts = [row.receipt_number for row in statement.rows]
    assert len(set(receipts)) == len(receipts)
    assert all(row.amount > 0 and row.completed.tzinfo for row in statement.rows)
    assert statement.complete or statement.problems
    assert list(statement.rows) == sorted(statement.rows, key=lambda row: row.completed)


@given(data=st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    """They are a statement or refused."""
    for begin in (b"", spreadsheets.XLSX, spreadsheets.XLS, COLUMNS.encode() + b"\n"):
        take(begin + data)


@given(
    place=st.integers(0, len(TILL)),
    length=st.integers(0, 30),
    text=st.text(alphabet=st.sampled_from(',;\t"\n\r\0 09-:/.xÖ'), max_size=5),
)
def test_any_damage(place: int, length: int, text: str) -> None:
    """One damage somewhere gives a statement or a refusal, and never another error."""
    take((TILL[:place] + text + TILL[place + length :]).encode())


@given(place=st.integers(0, len(SAME["as it is"])))
def test_any_cut(place: int) -> None:
    """A file that was cut has no payment that the whole one does not have."""
    try:
        statement = read(TILL[:place])
    except InvalidStatement:
        return
    assert set(statement.rows) <= set(read(TILL).rows)


XLSX_BYTES = xlsx(with_numbers())
XLS_BYTES = (DATA / "statement.xls").read_bytes()


@given(
    whole=st.sampled_from([XLSX_BYTES, XLS_BYTES]),
    place=st.integers(0, len(XLS_BYTES)),
    data=st.binary(max_size=4),
)
def test_any_damage_to_a_spreadsheet(whole: bytes, place: int, data: bytes) -> None:
    """It is a statement or refused."""
    take(whole[:place] + data + whole[place + len(data) :])
