"""Reads bodies that are sent in chunks (RFC 9112, section 7.1). Pure but for the stream."""

from __future__ import annotations

import re
from typing import Protocol

__all__ = ["BadChunks", "read_chunks"]

_LONGEST_LINE = 256
_MOST_TRAILERS = 32
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;.*)?\r?\n", re.DOTALL)
_LINE_ENDS = (b"\r\n", b"\n")


class BadChunks(Exception):
    """The chunks are not whole, or no chunks."""


class _Lines(Protocol):
    """What a buffered reader of bytes has."""

    def read(self, size: int, /) -> bytes: ...

    def readline(self, size: int, /) -> bytes: ...


def read_chunks(stream: _Lines, /, *, most: int) -> bytes | None:
    """Read a chunked body and the trailer fields behind it.

    Args:
        stream: Gives the bytes.
        most: How long the body may be.

    Returns:
        The body, or None where it is longer; the rest of it is left in the stream.

    Raises:
        BadChunks: It ends early, or is not chunked.
    """
    body = b""
    while (size := _next_size(stream)) > 0:
        if len(body) + size > most:
            return None
        chunk = stream.read(size)
        if len(chunk) < size or stream.readline(_LONGEST_LINE) not in _LINE_ENDS:
            raise BadChunks
        body += chunk
    for _ in range(_MOST_TRAILERS):
        if stream.readline(_LONGEST_LINE) in _LINE_ENDS:
            return body
    raise BadChunks


def _next_size(stream: _Lines) -> int:
    match = _SIZE.fullmatch(stream.readline(_LONGEST_LINE))
    if match is None:
        raise BadChunks
    return int(match[1], 16)
