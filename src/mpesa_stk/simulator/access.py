"""Who may steer the simulator. Pure.

There is no login. Web pages of other sites are kept out: by the Host that their requests name, by their
Origin, and by a content type that a browser sends nowhere without asking first.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import re
from collections.abc import Mapping

import attrs

from mpesa_stk.urls import host_of, is_loopback_url, names_this_machine

__all__ = [
    "HEADERS",
    "Refused",
    "callback_may_go",
    "check_access",
    "check_content_type",
    "is_foreign_page",
    "policy_of",
]

HEADERS: Mapping[str, str] = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
}
"""Header fields of each answer."""
_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


@attrs.frozen
class Refused(Exception):
    """The request is answered with an error.

    Attributes:
        status: HTTP status.
        code: A word for programs.
        message: A sentence for people.
        field: The field that it is about, where there is one.
    """

    status: int
    code: str
    message: str
    field: str | None = None


def check_access(headers: Mapping[str, str], /, *, listening_on: str) -> None:
    """Let in who names this machine, and pages of this server alone.

    A name that somebody else's DNS lets point here is not this machine's. Where the server listens on
    every address, each address is: no DNS is needed for one.

    Args:
        headers: Header fields, names in lower case.
        listening_on: The address that the server was told to listen on.

    Raises:
        Refused: It is somebody else.
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
    """Whether a web page asks that is not of this machine; what is no browser names no Origin.

    Args:
        headers: Header fields, names in lower case.
    """
    return "origin" in headers and not is_loopback_url(headers["origin"])


def callback_may_go(url: str, requester: str, /) -> bool:
    """Whether a callback is posted there without being told to: to the machine of who asked for it.

    A push could otherwise make this machine post to any other, or to a port that only it reaches.

    Args:
        url: Where to. Names are not looked up: what they mean may be another machine a moment later.
        requester: The address from which the push came.
    """
    asked_by = ipaddress.ip_address(requester)
    if is_loopback_url(url):
        return asked_by.is_loopback
    return _address(host_of(url)) == asked_by


def check_content_type(headers: Mapping[str, str], /) -> None:
    """Let in what says that it is JSON.

    Raises:
        Refused: It says something else, or nothing.
    """
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused(415, "not-json", "the content type must be application/json")


def policy_of(page: bytes, /) -> str:
    """A Content-Security-Policy: the page's own script, and no address but its own server's."""
    digests = [hashlib.sha256(script).digest() for script in _SCRIPT.findall(page)]
    scripts = [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]
    return (
        f"default-src 'none'; script-src {' '.join(scripts)}; "
        "style-src 'unsafe-inline'; img-src data:; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )
