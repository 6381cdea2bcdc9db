"""The access rules of the page and the control interface. Pure.

There is no login. Web pages of other sites are refused: by the Host of their requests, by their Origin,
and by a content type that a browser sends to another site only after a preflight request.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

import attrs

from mpesa_stk.config.urls import host_of, is_loopback_url, names_this_machine
from mpesa_stk.web.messages import error_response

JSON_HEADERS: Mapping[str, str] = {
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}
"""Header fields that `json_response` does not add."""
HEADERS: Mapping[str, str] = {
    **JSON_HEADERS,
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}
"""Header fields of each answer that is not JSON."""
FOREIGN_PAGE = error_response(
    403, "foreign-origin", "web pages of other sites are not let in", **JSON_HEADERS
)
"""The answer to a push from a page of another site."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
"""The Content-Security-Policy of the page: its own files, and no text that becomes a script or markup."""


@attrs.frozen
class Refused(Exception):
    """The request is refused.

    Attributes:
        status: HTTP status.
        code: A word for programs.
        message: A sentence for people.
        field: The field that breaks a rule, or None.
    """

    status: int
    code: str
    message: str
    field: str | None = None


def bad_field(field: str, rule: str, /) -> Refused:
    """The refusal of a field that breaks its rule."""
    return Refused(400, "bad-field", f"{field} {rule}", field)


def check_access(headers: Mapping[str, str], /, *, listening_on: str) -> None:
    """Reject DNS rebinding and pages of other sites.

    The Host must be loopback or the listening address. If the server listens on all addresses, any IP
    address passes, because DNS rebinding needs a name. An Origin must be this server.

    Args:
        headers: Header fields, names in lower case.
        listening_on: The ``host`` that the server was given.

    Raises:
        Refused: The Host or the Origin is another one.
    """
    host = headers.get("host", "")
    if not names_this_machine(host, listening_on=listening_on):
        message = "the Host must name this machine: localhost, 127.0.0.1, or where it listens"
        raise Refused(403, "foreign-host", message)
    url = f"http://{host}"
    if headers.get("origin", url) != url:
        raise Refused(403, "foreign-origin", "web pages of other sites are not let in")


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_foreign_page(headers: Mapping[str, str], /) -> bool:
    """Whether the request comes from a web page of another machine. Only browsers send an Origin.

    Args:
        headers: Header fields, names in lower case.
    """
    return "origin" in headers and not is_loopback_url(headers["origin"])


def callback_may_go(url: str, requester: str, /) -> bool:
    """Whether a callback goes to the machine that pushed.

    Otherwise a push could make this machine post to any other one, or to a port that only this machine
    can reach.

    Args:
        url: Address of the callback. Names are not looked up: they may change a moment later.
        requester: Address of the client that pushed.
    """
    asked_by = ipaddress.ip_address(requester)
    if is_loopback_url(url):
        return asked_by.is_loopback
    return _address(host_of(url)) == asked_by


def check_content_type(headers: Mapping[str, str], /) -> None:
    """Reject content types other than JSON.

    Raises:
        Refused: The content type is another one, or missing.
    """
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused(415, "not-json", "the content type must be application/json")
