"""The endpoints as a WSGI application (PEP 3333), which any Python web server can mount."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from mpesa_stk.daraja.exchange import MAX_BODY
from mpesa_stk.privacy import hides_locals
from mpesa_stk.web.messages import WebRequest, WebResponse

_LENGTH = re.compile("[0-9]{1,19}")


class WsgiApp:
    """Turn a WSGI environ into a `WebRequest`, and send its answer.

    It may be mounted anywhere, since the path is SCRIPT_NAME and PATH_INFO together.
    """

    def __init__(self, handle: Callable[[WebRequest], WebResponse], /) -> None:
        self._handle = handle

    @hides_locals
    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer one request."""
        response = self._handle(request_from(environ))
        status = f"{response.status} {HTTPStatus(response.status).phrase}"
        start_response(status, list(response.headers.items()))
        return [response.body]


def request_from(environ: dict[str, Any], /) -> WebRequest:
    """Read a WSGI environ, with at most one byte more than a body may have."""
    headers = {
        name[len("HTTP_") :].replace("_", "-"): value
        for name, value in environ.items()
        if name.startswith("HTTP_") and isinstance(value, str)
    }
    headers["content-type"] = environ.get("CONTENT_TYPE", "")
    return WebRequest(
        method=environ["REQUEST_METHOD"],
        path=environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""),
        query=environ.get("QUERY_STRING", ""),
        headers=headers,
        body=_read_body(environ),
        remote_addr=environ.get("REMOTE_ADDR") or None,
    )


def _read_body(environ: dict[str, Any]) -> bytes:
    length = environ.get("CONTENT_LENGTH", "")
    if _LENGTH.fullmatch(length):
        most = min(int(length), MAX_BODY + 1)
    else:  # without a length, the input may never end, unless the server says that it does
        most = MAX_BODY + 1 if environ.get("wsgi.input_terminated") else 0
    body: bytes = environ["wsgi.input"].read(most)
    return body
