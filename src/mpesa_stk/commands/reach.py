"""Whether one's own callback URL can be reached, for `mpesa-stk doctor`."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping

from mpesa_stk.commands.checks import Finding, Level
from mpesa_stk.config import StkConfig
from mpesa_stk.daraja.http import HttpRequest, HttpResponse, Transport
from mpesa_stk.errors import TransportError
from mpesa_stk.urls import host_of, is_loopback_url

__all__ = ["Resolve", "addresses_of", "of_callback"]

Resolve = Callable[[str], Iterable[str]]
"""From a host's name to its addresses; raises OSError where there are none."""

# Of the shape of a signed callback's last path segment.
_MADE_UP_TOKEN = f"00000000-0000-4000-8000-000000000000.{'0' * 32}"
# How the transport's words for a time-out end.
_SILENCE = ("timed out", "in time")


def addresses_of(host: str, /) -> Iterable[str]:
    """Ask the system for a host's addresses."""
    return {str(found[4][0]) for found in socket.getaddrinfo(host, None)}


def of_callback(
    config: StkConfig, /, *, transport: Transport, resolve: Resolve
) -> Iterator[Finding]:
    """Whether the host's name resolves, and what a GET without credentials is answered."""
    try:
        addresses = [ipaddress.ip_address(text) for text in resolve(host_of(config.callback_url))]
    except (OSError, ValueError):
        yield _finding("problem", "its host name does not resolve", "correct the name or its DNS")
        return
    if not is_loopback_url(config.callback_url) and not all(one.is_global for one in addresses):
        yield _finding(
            "warning",
            "its host name resolves to a private address from here",
            "make sure that the public DNS names a public one",
        )
    try:
        answer = transport.send(_request(config))
    except TransportError as error:
        silent = error.reason.endswith(_SILENCE)
        yield _finding(
            "warning" if silent else "problem",
            f"cannot be reached from here: {error.reason}",
            "this is fine if your firewall lets only Safaricom in; if not, look into the server"
            if silent
            else "check that the server runs, its firewall, and its certificate",
        )
    else:
        yield _of_answer(answer)


def _request(config: StkConfig) -> HttpRequest:
    url = config.callback_url
    if config.callback_secrets:  # then this is the shape of the address that Daraja posts to
        url = f"{url.rstrip('/')}/{_MADE_UP_TOKEN}/"
    return HttpRequest(
        method="GET",
        url=url,
        headers={},
        connect_timeout=config.connect_timeout,
        total_timeout=config.total_timeout,
    )


def _finding(level: Level, text: str, remedy: str = "") -> Finding:
    return Finding(level=level, check="c2b_callback", text=text, remedy=remedy)


def _of_answer(answer: HttpResponse) -> Finding:
    """What the answer to a GET tells about the endpoint; Daraja is going to POST."""
    status = answer.status
    page = _page_of(answer) if status in _PAGES else ""
    if page:
        firewall = _firewall_of(answer, page)
        what = f"a page, it seems of {firewall}" if firewall else "a web page"
        return _finding(
            "problem",
            f"answers {status} to a GET with {what}: it is not your endpoint that answers",
            "let POSTs to this address through, without a challenge"
            if firewall
            else "send this path to the endpoint, and not to the pages of your site",
        )
    level, words, remedy = _STATUSES.get(status) or _CLASSES.get(status // 100) or _OTHER
    return _finding(level, f"answers {status} to a GET: {words}", remedy)


def _page_of(answer: HttpResponse) -> str:
    """The beginning of a web page, in lower case; nothing if it is none."""
    text = answer.body[:_ENOUGH].decode("utf-8", "replace").strip().lower()
    is_page = "html" in answer.headers.get("content-type", "").lower() or text.startswith("<")
    return text if is_page else ""


def _firewall_of(answer: HttpResponse, page: str) -> str:
    """Who stands before the shop and sent this page, in words; nothing if nothing says so."""
    headers = " ".join((*answer.headers, answer.headers.get("server", ""))).lower()
    challenged = "cf-mitigated" in headers or any(mark in page for mark in _CHALLENGES)
    if answer.status < _REFUSED and not challenged:
        return ""  # a shop's own page may pass their servers, and name them
    named = (who for mark, who in _FIREWALLS.items() if mark in headers or mark in page)
    return next(named, "a firewall" if challenged else "")


# A guard or an endpoint answers with JSON or with nothing; servers answer 404, 405 and 5xx with pages.
_PAGES = (*range(200, 300), 403, 429)
_REFUSED = 400
_ENOUGH = 16_384
# What an answer's headers or its page hold -> who stands before the shop.
_FIREWALLS: Mapping[str, str] = {
    "cloudflare": "the firewall of Cloudflare",
    "cf-mitigated": "the firewall of Cloudflare",
    "incapsula": "the firewall of Imperva",
    "akamai": "the firewall of Akamai",
    "sucuri": "the firewall of Sucuri",
    "awselb": "the firewall of AWS",
    "ngrok": "the tunnel",
}
_CHALLENGES = (
    "just a moment",
    "captcha",
    "attention required",
    "access denied",
    "you are about to visit",
)

_Verdict = tuple[Level, str, str]
_LOGIN: _Verdict = ("problem", "Daraja cannot log in", "let it in without a login")
_NOTHING: _Verdict = ("problem", "nothing is there", "correct the address or the route")
_STATUSES: Mapping[int, _Verdict] = {
    401: _LOGIN,
    407: _LOGIN,
    403: ("ok", "as it should where a guard refuses all but Safaricom's addresses", ""),
    404: _NOTHING,
    405: ("ok", "as an endpoint that takes only POST should", ""),
    410: _NOTHING,
}
_CLASSES: Mapping[int, _Verdict] = {
    2: ("ok", "it is reached", ""),
    3: (
        "problem",
        "Daraja follows no redirect, so every callback would be lost",
        "set the very address that answers, with its www and its slash",
    ),
    5: ("problem", "the server fails", "look into the server's log"),
}
_OTHER: _Verdict = ("warning", "it is reached", "make sure that a POST of JSON is taken there")
