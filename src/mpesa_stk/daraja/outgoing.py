"""Where a request goes, and the bytes that are sent there. Pure."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

import attrs

from mpesa_stk.daraja.exchange import HttpRequest
from mpesa_stk.daraja.sending import NO_SUCH_PROXY, NeverLeft

_PORTS = {"http": 80, "https": 443}
_LINE = re.compile(r"[ -~]*")


@attrs.frozen
class Peer:
    """A server or a proxy.

    Attributes:
        host: Name or address.
        port: TCP port.
        tls: Whether it speaks TLS.
    """

    host: str
    port: int
    tls: bool


@attrs.frozen(kw_only=True, eq=False)
class Way:
    """The way to an origin.

    Attributes:
        origin: The server that a request is for.
        proxy: The proxy on the way, or None.
        tunnel: The request by which the proxy connects to the origin, or None. It may hold a password.
        target: The text before the path in the first line of a request.
        lines: The header lines that all requests have in common. They may hold the proxy's password.
    """

    origin: Peer
    proxy: Peer | None
    tunnel: bytes | None = attrs.field(repr=False)
    target: str
    lines: tuple[str, ...] = attrs.field(repr=False)


def find_way(url: str, /, *, proxies: Mapping[str, str], headers: Mapping[str, str]) -> Way:
    """Return the way to the origin of a URL.

    Args:
        url: Absolute address.
        proxies: Proxy URL by scheme. As in requests, a key may also be ``scheme://host`` or ``all``.
        headers: Header fields of each request, with User-Agent.

    Raises:
        NeverLeft: The proxy cannot be used.
        ValueError: The URL or a header field cannot be sent.
    """
    parts = urlsplit(url)
    origin = _peer(url)
    lines = (
        f"Host: {parts.netloc.rpartition('@')[2]}",
        *(f"{name}: {value}" for name, value in headers.items()),
    )
    places = (f"://{parts.hostname}", "")
    keys = [f"{scheme}{place}" for scheme in (parts.scheme, "all") for place in places]
    proxy_url = next((proxies[key] for key in keys if key in proxies), None)
    if proxy_url is None:
        return Way(origin=origin, proxy=None, tunnel=None, target="", lines=lines)
    try:
        proxy, login = _peer(proxy_url), _login(proxy_url)
    except ValueError:
        proxy = None
    if proxy is None:  # raised here, since the error above shows the URL and its password
        raise NeverLeft(NO_SUCH_PROXY)
    if not origin.tls:
        target = f"http://{parts.netloc.rpartition('@')[2]}"
        return Way(origin=origin, proxy=proxy, tunnel=None, target=target, lines=(*lines, *login))
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    where = f"{host}:{origin.port}"
    agent = f"User-Agent: {headers['User-Agent']}"
    tunnel = _head(f"CONNECT {where} HTTP/1.1", f"Host: {where}", agent, *login)
    return Way(origin=origin, proxy=proxy, tunnel=tunnel, target="", lines=lines)


def write(request: HttpRequest, way: Way, /) -> bytes:
    """Return a request as the bytes that are sent.

    Raises:
        ValueError: The URL or a header field cannot be sent.
    """
    parts = urlsplit(request.url)
    query = f"?{parts.query}" if parts.query else ""
    body = request.body
    return _head(
        f"{request.method} {way.target}{parts.path or '/'}{query} HTTP/1.1",
        *way.lines,
        *(f"{name}: {value}" for name, value in request.headers.items()),
        *(() if body is None else (f"Content-Length: {len(body)}",)),
    ) + (body or b"")


def _head(*lines: str) -> bytes:
    if not all(map(_LINE.fullmatch, lines)):
        raise ValueError("a URL or a header field has a character that HTTP does not allow")
    return "\r\n".join((*lines, "", "")).encode("ascii")


def _peer(url: str) -> Peer:
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError("a URL must begin with http:// or https://, and name a host")
    port = _PORTS[parts.scheme] if parts.port is None else parts.port
    return Peer(parts.hostname, port, parts.scheme == "https")


def _login(url: str) -> tuple[str, ...]:
    """Return the header lines that carry the user and the password of a proxy's URL."""
    parts = urlsplit(url)
    if parts.username is None:
        return ()
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return ("Proxy-Authorization: Basic " + base64.b64encode(pair.encode()).decode(),)
