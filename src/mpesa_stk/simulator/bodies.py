"""Reads the bodies of requests, whole or in chunks (RFC 9112, sections 6 and 7.1)."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import Protocol

from mpesa_stk.daraja.http import MAX_BODY, HttpResponse

__all__ = ["BadChunks", "read_body", "read_chunks", "unread"]

_DRAINED = 1024 * 1024
_LENGTH = re.compile(r"[0-9]{1,9}")
_LONGEST_LINE = 256
_MOST_TRAILERS = 32
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;.*)?\r?\n", re.DOTALL)
_LINE_ENDS = (b"\r\n", b"\n")
_UNREAD = {
    HTTPStatus.BAD_REQUEST: "the body needs a whole Content-Length, or chunks that are whole",
    HTTPStatus.NOT_IMPLEMENTED: "the only Transfer-Encoding that is read is chunked",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: f"the body may have {MAX_BODY} bytes at most",
}


class BadChunks(Exception):
    """The chunks are not whole, or no chunks."""


class _Lines(Protocol):
    """What a buffered reader of bytes has."""

    def read(self, size: int, /) -> bytes: ...

    def readline(self, size: int, /) -> bytes: ...


class _Fields(Protocol):
    """What header fields have, whose names may be in any case."""

    def get(self, name: str, failobj: str, /) -> str: ...


def read_body(headers: _Fields, stream: _Lines, /) -> bytes | HTTPStatus | None:
    """Read the body of a request.

    Args:
        headers: The header fields.
        stream: Gives what follows them.

    Returns:
        The body, the status that says why it is not read, or None where its end is missing.
    """
    encoding = headers.get("transfer-encoding", "").strip().lower()
    if encoding == "chunked":
        return _chunked_body(stream)
    if encoding:
        return HTTPStatus.NOT_IMPLEMENTED
    text = headers.get("content-length", "0").strip()
    if not _LENGTH.fullmatch(text):
        return HTTPStatus.BAD_REQUEST
    if int(text) > MAX_BODY:
        # Unread bytes would reset the connection before the answer is read.
        stream.read(min(int(text), _DRAINED))
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    body = stream.read(int(text))
    return body if len(body) == int(text) else None


def _chunked_body(stream: _Lines) -> bytes | HTTPStatus:
    try:
        body = read_chunks(stream, most=MAX_BODY)
    except BadChunks:
        return HTTPStatus.BAD_REQUEST
    if body is None:
        stream.read(_DRAINED)
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    return body


def unread(status: HTTPStatus, /) -> HttpResponse:
    """The refusal of a request whose body is not read."""
    told = {"code": "unread-body", "message": _UNREAD[status], "field": None}
    headers = {"connection": "close", "content-type": "application/json"}
    return HttpResponse(status=status, headers=headers, body=json.dumps({"error": told}).encode())


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
