"""A request and a response as plain values, for any framework. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping

import attrs

MAX_FIELDS = 100
"""Largest number of header fields in a request. Browsers, proxies and Daraja send far fewer."""


def _lower_names(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


@attrs.frozen(kw_only=True)
class WebRequest:
    """One request to a payment endpoint.

    Attributes:
        method: HTTP method.
        path: Path of the URL, with the prefix, without a query.
        query: Query of the URL, without the question mark. The endpoints do not read it.
        headers: Header fields, with names in any case. They are stored in lower case.
        body: Body. Read at most `MAX_BODY` + 1 bytes of it from the network: more is refused.
        remote_addr: Address of the peer that holds the connection, or None if it is not known.
    """

    method: str
    path: str = attrs.field(repr=False)
    headers: Mapping[str, str] = attrs.field(repr=False, converter=_lower_names)
    body: bytes = attrs.field(repr=False)
    remote_addr: str | None = None
    query: str = attrs.field(default="", repr=False)


@attrs.frozen
class WebResponse:
    """One answer.

    Attributes:
        status: HTTP status.
        headers: Header fields.
        body: Body.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = attrs.field(repr=False)


def json_response(status: int, payload: Mapping[str, object], /, **headers: str) -> WebResponse:
    """Make a JSON answer that no cache keeps.

    Args:
        status: HTTP status.
        payload: The object.
        **headers: Further fields, with underscores for dashes.
    """
    body = json.dumps(payload).encode()
    fields = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    return WebResponse(status, fields | {n.replace("_", "-"): v for n, v in headers.items()}, body)


def error_response(
    status: int,
    code: str,
    message: str,
    field: str | None = None,
    facts: Mapping[str, object] | None = None,
    /,
    **headers: str,
) -> WebResponse:
    """Make the answer to a failed request.

    `status` and `headers` are as for `json_response`. `facts` are further fields of the error, on which a
    page can act.
    """
    error = {"code": code, "message": message, "field": field} | dict(facts or {})
    return json_response(status, {"error": error}, **headers)


class Refusal(Exception):
    """End a request with this answer."""

    def __init__(self, response: WebResponse) -> None:
        self.response = response
        super().__init__(response.status)


TOO_BUSY = error_response(
    503, "too_busy", "Too many requests are being answered; nothing was sent.", Retry_After="2"
)
"""The answer to a checkout or query if too many are being answered already."""

TOO_MANY_FIELDS = error_response(
    431, "too_many_fields", f"At most {MAX_FIELDS} header fields are taken."
)
"""The answer to a request with more than `MAX_FIELDS`."""
