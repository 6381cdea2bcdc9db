"""`read_statement`: a statement of the organisation portal, from a file or from bytes."""

from __future__ import annotations

import os
from pathlib import Path

from mpesa_stk.errors import InvalidStatement
from mpesa_stk.privacy import hides_locals
from mpesa_stk.reconcile.spreadsheets import XLS, XLSX, read_xls, read_xlsx
from mpesa_stk.reconcile.statement import Statement
from mpesa_stk.reconcile.statement_csv import read_csv

MOST_BYTES = 64 * 1024 * 1024
"""Most bytes of a file."""


@hides_locals
def read_statement(path_or_bytes: str | os.PathLike[str] | bytes, /) -> Statement:
    """Read a statement that was downloaded from Safaricom's organisation portal.

    It reads .csv, and with the extra `statement` also .xlsx and .xls. The name of the file does not matter.
    If one line of it cannot be read, the whole file is refused: a wrong row could settle a wrong payment. A
    file that ends in the middle of a line gives a statement that is not complete.

    Args:
        path_or_bytes: The path of the file, or its content.

    Raises:
        InvalidStatement: It is no statement, or a line of it cannot be read. The error says which.
        ConfigurationError: It is a spreadsheet, and the extra `statement` is not installed.
        OSError: The file cannot be opened or read.
    """
    data = path_or_bytes if isinstance(path_or_bytes, bytes) else _read_file(path_or_bytes)
    if len(data) > MOST_BYTES:
        raise InvalidStatement("the file is too large: download a shorter period")
    if data.startswith(XLSX):
        return read_xlsx(data)
    if data.startswith(XLS):
        return read_xls(data)
    if data.startswith(b"%PDF"):
        raise InvalidStatement("a PDF: download the statement as CSV, XLS or XLSX")
    return read_csv(data)


def _read_file(path: str | os.PathLike[str]) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(MOST_BYTES + 1)
