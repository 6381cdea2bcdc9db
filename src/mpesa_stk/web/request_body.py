"""Read the body of an HTTP request, whole or in chunks (RFC 9112, sections 6 and 7.1)."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Protocol

from mpesa_stk.daraja.exchange import MAX_BODY
from mpesa_stk.web.messages import WebResponse, error_response

DRAINED = 1024 * 1024
"""Number of bytes of a refused request that are still read.

Unread bytes would reset the connection too early.
"""
LINE_ENDS = (b"\r\n", b"\n")
"""The empty line that ends a head."""
_LENGTH = re.compile(r"[0-9]{1,9}")
_LONGEST_LINE = 256
_MOST_TRAILERS = 32
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;.*)?\r?\n", re.DOTALL)
_UNREAD = {
    HTTPStatus.BAD_REQUEST: "the body needs one whole Content-Length, or chunks that are whole",
    HTTPStatus.NOT_IMPLEMENTED: "the only Transfer-Encoding that is read is chunked",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: f"the body may have {MAX_BODY} bytes at most",
}


class BadChunks(Exception):
    """The chunks end early, or are malformed."""


class _Lines(Protocol):
    """A buffered reader of bytes."""

    def read(self, size: int, /) -> bytes: ...

    def readline(self, size: int, /) -> bytes: ...


class _Fields(Protocol):
    """Header fields, with names in any case."""

    def get_all(self, name: str, failobj: list[str], /) -> list[str]: ...


def read_body(headers: _Fields, stream: _Lines, /) -> bytes | HTTPStatus | None:
    """Read the body of a request.

    Args:
        headers: The header fields.
        stream: Yields the bytes that follow them.

    Returns:
        The body, or the status of the refusal if it cannot be read, or None if it ends early.
    """
    encodings = headers.get_all("transfer-encoding", [])
    lengths = headers.get_all("content-length", [])
    if len(encodings) + len(lengths) > 1:
        # A proxy may have used the other field, and so may see another end of the body than this server.
        return HTTPStatus.BAD_REQUEST
    if encodings:
        is_chunked = encodings[0].strip().lower() == "chunked"
        return _chunked_body(stream) if is_chunked else HTTPStatus.NOT_IMPLEMENTED
    text = lengths[0].strip() if lengths else "0"
    if not _LENGTH.fullmatch(text):
        return HTTPStatus.BAD_REQUEST
    if int(text) > MAX_BODY:
        stream.read(min(int(text), DRAINED))
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    body = stream.read(int(text))
    return body if len(body) == int(text) else None


def _chunked_body(stream: _Lines) -> bytes | HTTPStatus:
    try:
        body = read_chunks(stream, most=MAX_BODY)
    except BadChunks:
        return HTTPStatus.BAD_REQUEST
    if body is None:
        stream.read(DRAINED)
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    return body


def refusal_of(status: HTTPStatus, /) -> WebResponse:
    """Make the answer to a request with a body that cannot be read."""
    too_large = status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    code = "body_too_large" if too_large else "unread_body"
    return error_response(status, code, _UNREAD[status], Connection="close")


def read_chunks(stream: _Lines, /, *, most: int) -> bytes | None:
    """Read a chunked body and the trailer fields behind it.

    Args:
        stream: Yields the bytes.
        most: Largest length of the body.

    Returns:
        The body, or None if it is longer. Then the rest stays in the stream.

    Raises:
        BadChunks: The chunks end early, or are malformed.
    """
    body = b""
    while (size := _next_size(stream)) > 0:
        if len(body) + size > most:
            return None
        chunk = stream.read(size)
        if len(chunk) < size or stream.readline(_LONGEST_LINE) not in LINE_ENDS:
            raise BadChunks
        body += chunk
    for _ in range(_MOST_TRAILERS):
        if stream.readline(_LONGEST_LINE) in LINE_ENDS:
            return body
    raise BadChunks


def _next_size(stream: _Lines) -> int:
    match = _SIZE.fullmatch(stream.readline(_LONGEST_LINE))
    if match is None:
        raise BadChunks
    return int(match[1], 16)
