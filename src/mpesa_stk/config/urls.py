"""Check the URLs of Daraja and of callbacks, and compare hosts. A leaf, pure.

Safaricom's rules for callback URLs are in its FAQ (docs/daraja.md, section 2): https in production, a
public host, certain words avoided.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

_VISIBLE = re.compile(r"[!-~]+")
_HOST_NAME = re.compile(
    r"(?:[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?\.)+[a-z][a-z0-9-]*[a-z0-9]", re.IGNORECASE
)
# urlsplit accepts more than this, and differs between versions of Python.
_NETLOC = re.compile(r"(?:[^][:]+|\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\])(?::[0-9]{1,5})?")
_PLAIN_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}")
_PUBLIC_IPV6 = ipaddress.ip_network("2000::/3")
_PRIVATE_SUFFIXES = (".localhost", ".local", ".internal", ".lan", ".home.arpa", ".test", ".invalid")
_BANNED_WORDS = ("mpesa", "safaricom", "exec", "exe", "cmd", "sql", "query")
_MAX_LENGTH = 1024
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - only compared with
_REACHED_AT = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - only to tell where that is


def origin_of(host: str, port: int, /) -> str:
    """Return the origin of a server on this machine that listens on an address."""
    host = _REACHED_AT.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def is_loopback_url(url: object, /) -> bool:
    """Return whether the URL names this machine: 127.0.0.0/8, ::1 or localhost."""
    parts = _split(url)
    return not isinstance(parts, str) and _is_loopback(parts.hostname or "")


def host_of(url: object, /) -> str:
    """Return the host that the URL names, in lower case, or ``""`` if it is not a URL."""
    parts = _split(url)
    return "" if isinstance(parts, str) else (parts.hostname or "").rstrip(".")


def is_host(name: object, /) -> bool:
    """Return whether this is a host name or an address, without scheme and port."""
    return isinstance(name, str) and (
        _address(name) is not None or _PLAIN_HOST.fullmatch(name) is not None
    )


def names_this_machine(host: str, /, *, listening_on: str) -> bool:
    """Return whether a Host field names this machine.

    Another name may belong to a DNS rebinding attack. If the server listens on every address, any IP
    address is accepted: an address needs no DNS, so an attacker cannot point it here.

    Args:
        host: The Host field of a request.
        listening_on: The address on which the server listens.
    """
    url = f"http://{host}"
    name = host_of(url)
    if is_loopback_url(url) or (name != "" and name == listening_on.lower()):
        return True
    return listening_on in _EVERYWHERE and _address(name) is not None


def daraja_url_fault(url: object, /) -> str | None:
    """Return the fault of an address of Daraja, or None.

    The address must be https, or http on this machine.
    """
    parts = _split(url)
    if isinstance(parts, str):
        return parts
    if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        return "must be https"
    return None


def callback_url_fault(
    url: object, /, *, allow_loopback: bool, extended: bool = False
) -> str | None:
    """Return the fault of a callback URL, or None.

    Args:
        url: The address.
        allow_loopback: Whether Daraja itself is on this machine (a simulator). Only then can http and a
            loopback host work.
        extended: Whether a signed token will be added to the path.
    """
    parts = _split(url)
    if isinstance(parts, str):
        return parts
    if extended and "?" in str(url):
        return "must not have a query when callback_secrets are set"
    host = parts.hostname or ""
    if _is_loopback(host):
        return None if allow_loopback else "must be a public host, not this machine"
    if parts.scheme != "https":
        return "must be https"
    return _private_host_fault(host)


def banned_words(url: str, /) -> tuple[str, ...]:
    """Return the words in a callback URL that Safaricom says it refuses."""
    return tuple(word for word in _BANNED_WORDS if word in url.lower())


def _split(url: object) -> SplitResult | str:
    """Return the URL's parts, or a text that says why it cannot be used."""
    if not isinstance(url, str) or not url:
        return "must be a URL"
    if not _VISIBLE.fullmatch(url):
        return "must not contain spaces, control characters or non-ASCII characters"
    if len(url) > _MAX_LENGTH:
        return f"must be at most {_MAX_LENGTH} characters"
    return _parts(url)


def _parts(url: str) -> SplitResult | str:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "is not a valid URL"
    if parts.scheme not in ("https", "http") or not parts.hostname:
        return "must be an https URL with a host"
    if "@" in parts.netloc:
        return "must not contain user info"
    if not _NETLOC.fullmatch(parts.netloc) or port == 0:
        return "is not a valid URL"
    if "#" in url:
        return "must not have a fragment"
    return parts


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


def _private_host_fault(host: str) -> str | None:
    address = _address(host)
    if address is not None:
        return None if _is_public(address) else "must be a public address"
    name = host.rstrip(".")
    if name.endswith(_PRIVATE_SUFFIXES) or not _HOST_NAME.fullmatch(name):
        return "must be a public host name"
    return None


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        # An IPv6 address outside of 2000::/3, or inside of 2002::/16, may stand for any IPv4 address.
        return address.is_global and address in _PUBLIC_IPV6 and address.sixtofour is None
    return address.is_global and not address.is_multicast
