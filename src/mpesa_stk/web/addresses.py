"""Safaricom's addresses as dated data, and the address of a client behind proxies. Pure.

Anybody can write a header that names the client. Such a header counts only if each proxy that wrote it is
in `trusted_proxies`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Safaricom's going-live page, as re-checked by integrators on 2026-08-08 (docs/daraja.md, section 6).
_OFFICIAL = (
    "196.201.214.200",
    "196.201.214.206",
    "196.201.214.207",
    "196.201.214.208",
    "196.201.213.114",
    "196.201.213.44",
    "196.201.212.127",
    "196.201.212.138",
    "196.201.212.129",
    "196.201.212.136",
    "196.201.212.74",
    "196.201.212.69",
)
# Only older lists have these two neighbours of official addresses. They stay, because a lost callback costs
# more than two more addresses.
_OLDER = ("196.201.212.128", "196.201.212.132")

_MOST_HOPS = 20
# Header fields that reverse proxies, tunnels and platforms add. The simulator and browsers never send them.
_OF_PROXIES = frozenset(
    {
        "cdn-loop",
        "cf-connecting-ip",
        "forwarded",
        "true-client-ip",
        "via",
        "x-client-ip",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-real-ip",
    }
)
_PAIR = re.compile(r'([A-Za-z-]+)=(?:"([^"\\]*)"|([^",;\s\\]+))')
_ELEMENT = re.compile(rf"\s*{_PAIR.pattern}(?:\s*;\s*{_PAIR.pattern})*\s*")


def networks(texts: Iterable[str], /) -> tuple[Network, ...]:
    """Read addresses and networks such as ``10.0.0.0/8`` or ``::1``.

    Raises:
        ValueError: A text is neither an address nor a network.
    """
    return tuple(ipaddress.ip_network(text.strip()) for text in texts)


SAFARICOM_NETWORKS = networks(_OFFICIAL + _OLDER)
"""The addresses of Safaricom's callbacks: 12 official ones, and 2 from older lists."""


def is_in(address: Address, allowed: tuple[Network, ...], /) -> bool:
    """Return whether an address is in one of the networks."""
    return any(address.version == net.version and address in net for net in allowed)


def client_address(
    remote_addr: str | None, headers: Mapping[str, str], trusted_proxies: tuple[Network, ...], /
) -> Address | None:
    """Return the address of the client, or None if it is not certain.

    The client is the peer, unless the peer is a trusted proxy. Then the client is the rightmost address in
    ``X-Forwarded-For`` or ``Forwarded`` that is not a trusted proxy. If all addresses are trusted proxies,
    the client is the leftmost one: a program on one of your own machines. If both headers are there, they
    must agree, because it is not known which one the proxy wrote.

    Args:
        remote_addr: Address of the peer.
        headers: Header fields, names in lower case.
        trusted_proxies: The host's own proxies.
    """
    peer = address_of(remote_addr or "")
    if peer is None or not is_in(peer, trusted_proxies):
        return peer
    chains = [
        read(headers[name])
        for name, read in (("x-forwarded-for", _hops), ("forwarded", _forwarded))
        if name in headers
    ]
    clients = [_client_in(chain, trusted_proxies) for chain in chains]
    if not clients or any(client != clients[0] for client in clients):
        return None
    return clients[0]


def is_proxied(headers: Mapping[str, str], /) -> bool:
    """Return whether a proxy says that it passed the request on.

    Args:
        headers: Header fields, names in lower case.
    """
    return not _OF_PROXIES.isdisjoint(headers)


def _client_in(chain: list[str], trusted_proxies: tuple[Network, ...]) -> Address | None:
    address = None
    for text in reversed(chain[-_MOST_HOPS:]):
        address = address_of(text)
        if address is None or not is_in(address, trusted_proxies):
            return address
    return address if len(chain) <= _MOST_HOPS else None


def _hops(value: str) -> list[str]:
    """Split off one more part than is read, since a header may hold thousands."""
    return value.rsplit(",", _MOST_HOPS)


def _forwarded(value: str) -> list[str]:
    """Return the only ``for`` of each element (RFC 7239), or an empty text.

    A comma always separates elements, even inside quotes. Otherwise a client could leave a quote open and
    so hide the element that the proxy adds after it.
    """
    return [_for_of(element) for element in _hops(value)]


def _for_of(element: str) -> str:
    if not _ELEMENT.fullmatch(element):
        return ""
    pairs = _PAIR.findall(element)
    named = [quoted or plain for name, quoted, plain in pairs if name.lower() == "for"]
    return named[0] if len(named) == 1 else ""


def address_of(text: str, /) -> Address | None:
    """Read an address, with or without brackets and a port.

    Returns:
        The address, or None if the text is not one. An IPv4 address mapped into IPv6 becomes IPv4.
    """
    host = text.strip()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
