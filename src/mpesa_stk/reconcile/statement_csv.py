"""Read the bytes of a statement in CSV as lines of cells. Pure.

The delimiter may be a comma, a semicolon or a tab, and the text UTF-8, UTF-16 or that of old Windows.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator

import attrs

from mpesa_stk.errors import InvalidStatement
from mpesa_stk.reconcile.statement import Statement
from mpesa_stk.reconcile.statement_rows import CUT, Line, heading_of, read_lines

_DELIMITERS = ",;\t"
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_csv(data: bytes, /) -> Statement:
    """Read a statement in CSV.

    Raises:
        InvalidStatement: The bytes are no statement, or a line of it cannot be read.
    """
    text = _text_of(data)
    lines = _Lines(text, _delimiter_of(text))
    statement = read_lines(lines)
    if not lines.cut:
        return statement
    return attrs.evolve(statement, complete=False, problems=(*statement.problems, CUT))


def _text_of(data: bytes) -> str:
    """Decode the bytes. Only names can hold letters for which the encoding matters."""
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), None)
    if encoding is None and data[1:2] == b"\0":
        encoding = "utf-16-le"
    if encoding is not None:
        return data.decode(encoding, "replace")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _delimiter_of(text: str) -> str:
    """Return the delimiter of the line that names the columns, or a comma if there is no such line."""
    for line in io.StringIO(text, newline=None):
        for delimiter in _DELIMITERS:
            if delimiter in line and heading_of(line.replace('"', "").split(delimiter)):
                return delimiter
    return ","


class _Lines:
    """The lines of a file.

    Attributes:
        cut: Whether the file turned out to end in the middle of a line, which is then left out.
    """

    def __init__(self, text: str, delimiter: str) -> None:
        self._text = text
        self._delimiter = delimiter
        self.cut = False

    def __iter__(self) -> Iterator[Line]:
        """Yield each line. The last one only if it is whole."""
        reader = csv.reader(
            io.StringIO(self._text, newline=""), delimiter=self._delimiter, strict=True
        )
        ended = self._text.endswith(("\n", "\r"))
        width = 0
        waiting: Line | None = None
        while True:
            number = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                break
            except csv.Error:
                if ended or reader.line_num > number:
                    problem = "has a quote that does not close, or an unreadable cell"
                    raise InvalidStatement(problem, line=number) from None
                self.cut = True
                break
            if waiting is not None:
                yield waiting
            width = width or (len(cells) if heading_of(cells) else 0)
            waiting = number, cells
        if waiting is None:
            return
        if not ended and not self.cut and any(map(str.strip, waiting[1])):
            self.cut = heading_of(waiting[1]) is not None or len(waiting[1]) < width
            if len(waiting[1]) < width:
                return
        yield waiting
