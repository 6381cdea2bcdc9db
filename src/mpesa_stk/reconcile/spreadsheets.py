"""Read statements in .xlsx and .xls as lines of cells. It needs the extra `statement`.

Cells become the texts that the portal writes into CSV, so that one reader reads all forms. A formula is
read as the value that was saved with it.
"""

from __future__ import annotations

import io
import itertools
import zipfile
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from mpesa_stk.errors import ConfigurationError, InvalidStatement
from mpesa_stk.reconcile.statement import Statement
from mpesa_stk.reconcile.statement_rows import MOST_LINES, Line, heading_of, read_lines

XLSX = b"PK\x03\x04"
XLS = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""The first bytes of the two forms."""

MOST_UNPACKED = 128 * 1024 * 1024
"""Most bytes of an .xlsx once it is unpacked."""

_MOST_COLUMNS = 64
_UNREADABLE = "the spreadsheet cannot be read: download it again, or as CSV"


def read_xlsx(data: bytes, /) -> Statement:
    """Read a statement in .xlsx.

    Raises:
        InvalidStatement: The bytes are no statement, or a row of it cannot be read.
        ConfigurationError: The extra `statement` is not installed.
    """
    try:
        import openpyxl  # noqa: PLC0415 - an extra
    except ImportError:
        raise _needs("openpyxl") from None
    try:
        _check_size(data)
        book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
        return _read_sheets([_xlsx_lines(sheet) for sheet in book.worksheets])
    except InvalidStatement:
        raise
    except Exception:  # noqa: BLE001 - whatever it stumbles over in a damaged file
        unreadable = InvalidStatement(_UNREADABLE)
    raise unreadable


def read_xls(data: bytes, /) -> Statement:
    """Read a statement in .xls.

    Raises:
        InvalidStatement: The bytes are no statement, or a row of it cannot be read.
        ConfigurationError: The extra `statement` is not installed.
    """
    try:
        import xlrd  # noqa: PLC0415 - an extra
    except ImportError:
        raise _needs("xlrd") from None
    try:
        # It would print its complaints.
        book = xlrd.open_workbook(file_contents=data, logfile=io.StringIO())
        return _read_sheets([_xls_lines(xlrd, book, sheet) for sheet in book.sheets()])
    except InvalidStatement:
        raise
    except Exception:  # noqa: BLE001 - whatever it stumbles over in a damaged file
        unreadable = InvalidStatement(_UNREADABLE)
    raise unreadable


def _needs(library: str) -> ConfigurationError:
    rule = f"this file needs {library}: pip install 'mpesa-stk-client[statement]'"
    return ConfigurationError((("statement", rule),))


def _check_size(data: bytes) -> None:
    """Refuse a file that unpacks to far more than a statement has. zipfile reads no more than it names."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        if sum(each.file_size for each in file.infolist()) > MOST_UNPACKED:
            raise InvalidStatement("the spreadsheet is too large: download a shorter period")


def _read_sheets(sheets: Sequence[Iterator[Line]]) -> Statement:
    """Read the one sheet that names the columns, or else refuse the first."""
    # A damaged file may say that its next row is the billionth, and all rows before it are empty.
    books = [list(itertools.islice(lines, MOST_LINES + 1)) for lines in sheets]
    found = [lines for lines in books if any(heading_of(cells) for _, cells in lines)]
    if len(found) > 1:
        raise InvalidStatement("two sheets hold statements: save each as a file")
    return read_lines((found or books)[0])


def _xlsx_lines(sheet: Any) -> Iterator[Line]:  # noqa: ANN401 - a sheet of openpyxl
    sheet.reset_dimensions()  # they may be wrong
    rows = sheet.iter_rows(max_col=_MOST_COLUMNS, values_only=True)
    for number, cells in enumerate(rows, 1):
        yield number, _trimmed([_text(cell) for cell in cells])


def _xls_lines(xlrd: Any, book: Any, sheet: Any) -> Iterator[Line]:  # noqa: ANN401 - of xlrd
    for number in range(sheet.nrows):
        cells = []
        for cell in sheet.row(number)[:_MOST_COLUMNS]:
            value = cell.value
            if cell.ctype == xlrd.XL_CELL_DATE:
                value = xlrd.xldate_as_datetime(value, book.datemode)
            elif cell.ctype == xlrd.XL_CELL_ERROR:
                value = "#ERROR"
            elif cell.ctype == xlrd.XL_CELL_BOOLEAN:
                value = bool(value)
            cells.append(_text(value))
        yield number + 1, _trimmed(cells)


def _text(value: object) -> str:
    """Return a cell as the portal writes it into CSV."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        # Excel counts days, so a second may be off by a little.
        return (value + timedelta(milliseconds=500)).strftime("%d-%m-%Y %H:%M:%S")
    if isinstance(value, float):
        return format(Decimal(repr(value)), "f").removesuffix(".0")
    return str(value)


def _trimmed(cells: list[str]) -> list[str]:
    """Drop the empty cells at the end."""
    while cells and not cells[-1].strip():
        cells.pop()
    return cells
