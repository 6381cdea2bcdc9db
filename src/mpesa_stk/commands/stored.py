"""Reads a file of stored callbacks, whoever wrote it: a bounded piece of it at a time.

Shops keep callbacks one a line, indented one after another, appended with nothing between, or as one
JSON array. What is no object is a line of its own, so that it can be told of.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import BinaryIO

from mpesa_stk.daraja.http import MAX_BODY
from mpesa_stk.daraja.wire import WireError, read_object

__all__ = ["numbered"]

# The longest line, its end, and one byte by which a longer one is noticed.
_READ = MAX_BODY + 2
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BEFORE = re.compile(rb"\s*(?:[\[,]\s*)?(?=\{)")
_AFTER = re.compile(rb"\s*[,\]]")
_READER = json.JSONDecoder()


def numbered(file: BinaryIO, /) -> Iterator[tuple[int, bytes]]:
    """Yield each object of a file, and each other line that is not blank.

    Returns:
        The number of the line on which it begins, and its bytes. Of a line that is too long, the
        beginning.
    """
    window = _Window(file)
    in_array = False
    while line := window.line():
        text = line.strip()
        if not text or _is_object(text) or (in_array and text == b"]"):
            number = window.take(len(line))
            if text and text != b"]":
                yield number, text
            continue
        start, end = _object_in(window.fill())
        if end:
            in_array = in_array or b"[" in window.bytes[:start]
            window.take(start)
            found = window.bytes[: end - start]
            yield window.take(len(found)), found
            after = _AFTER.match(window.bytes)
            window.take(after.end() if after else 0)
        else:
            yield window.take(len(line)), text
            while len(line) == _READ and not line.endswith(b"\n"):
                line = window.line()
                window.take(len(line))


class _Window:
    """The next bytes of a file, and the number of the line on which they begin."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._number = 1
        self.bytes = b""
        self.bytes = self.line().removeprefix(_BYTE_ORDER_MARK)

    def line(self) -> bytes:
        """The next line, or as much of it as the window holds. More is read only if it is needed."""
        if b"\n" not in self.bytes:
            self.bytes += self._file.readline(_READ - len(self.bytes))
        end = self.bytes.find(b"\n") + 1
        return self.bytes[:end] if end else self.bytes

    def fill(self) -> bytes:
        """The next bytes, as many as the window holds."""
        self.bytes += self._file.read(_READ - len(self.bytes))
        return self.bytes

    def take(self, count: int) -> int:
        """Go on behind that many bytes; the number of the line on which they began."""
        number = self._number
        self._number += self.bytes.count(b"\n", 0, count)
        self.bytes = self.bytes[count:]
        return number


def _object_in(data: bytes) -> tuple[int, int]:
    """Where the first object begins and ends; 0 and 0 if something else comes first, or it is broken.

    What follows an object on its only line must be another one: else the line is no callback.
    """
    before = _BEFORE.match(data)
    if before is None:
        return 0, 0
    start = before.end()
    try:
        # One character a byte, so that places in the text are places in the bytes.
        _, end = _READER.raw_decode(data.decode("latin-1"), start)
    except (ValueError, RecursionError):
        return 0, 0
    after = _AFTER.match(data, end)
    rest = data[after.end() if after else end :].partition(b"\n")[0].strip()
    if rest and not rest.startswith((b"{", b"]")) and b"\n" not in data[start:end]:
        return 0, 0
    return start, end


def _is_object(text: bytes) -> bool:
    try:
        read_object(text)
    except WireError:
        return False
    return True
