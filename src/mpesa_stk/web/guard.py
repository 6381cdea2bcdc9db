"""Who may call: the allow-list of callbacks, our own host names, the refusal of other sites' pages."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeVar
from urllib.parse import urlsplit

import attrs

from mpesa_stk.config.settings import StkConfig
from mpesa_stk.config.urls import host_of, is_host, names_this_machine
from mpesa_stk.errors import CallbackRefused
from mpesa_stk.web.addresses import (
    SAFARICOM_NETWORKS,
    Address,
    Network,
    address_of,
    client_address,
    is_in,
    is_proxied,
    networks,
)
from mpesa_stk.web.http import WebRequest

__all__ = ["CallbackGuard", "is_cross_site"]

T = TypeVar("T")
_HOST_AND_PORT = re.compile(r"[a-z0-9.-]+(:[0-9]+)?|\[[0-9a-f:.]+\](:[0-9]+)?")


def _as_networks(values: Iterable[str | Network]) -> tuple[Network, ...]:
    return networks(str(value) for value in _each(values))


def _as_origins(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(_as_origin(value.strip().lower().removesuffix("/")) for value in _each(values))


def _as_origin(text: str) -> str:
    scheme, _, host = text.partition("://")
    if scheme not in ("https", "http") or not _HOST_AND_PORT.fullmatch(host):
        raise ValueError("allowed_origins: must be origins such as https://shop.example")
    return text


def _as_hosts(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(_as_host(value.strip().lower().rstrip(".")) for value in _each(values))


def _as_host(text: str) -> str:
    if not is_host(text):
        raise ValueError("allowed_hosts: must be host names such as shop.example, without a port")
    return text


def _each(values: Iterable[T]) -> Iterable[T]:
    """The values; of a text, which would yield its letters, there is none."""
    if isinstance(values, str):
        raise TypeError("must be a list or tuple of strings, not one string")
    return values


@attrs.frozen(kw_only=True)
class CallbackGuard:
    """Lets only Safaricom call back. The signed token is checked by `Payments.handle_callback`.

    Attributes:
        allowed_networks: Addresses and networks from which callbacks come.
        trusted_proxies: Your own proxies, whose word on the client's address counts.
        token_suffices: Whether a callback with a genuine signed token is taken from any address, so
            that a new address of Safaricom's loses no callback. Off by default: both are required.
        allowed_origins: Other sites (``https://shop.example``) whose pages may start a checkout.
            Their browsers ask for leave first (CORS); answering that is your server's part.
        allowed_hosts: Host names under which the endpoints are reached, without a port; the host of
            ``callback_url`` is one of them. Empty for no check, unless `listening_on` is given.
        listening_on: The address that your server listens on, if browsers reach it without a proxy:
            then names of this machine are allowed hosts too, and other names are refused.
        simulator_is_local: Whether Daraja is a simulator on this machine. Then callbacks may come from
            this machine too, but not from a proxy on it that passes on what others send.
    """

    allowed_networks: tuple[Network, ...] = attrs.field(
        default=SAFARICOM_NETWORKS, converter=_as_networks
    )
    trusted_proxies: tuple[Network, ...] = attrs.field(default=(), converter=_as_networks)
    token_suffices: bool = False
    allowed_origins: tuple[str, ...] = attrs.field(default=(), converter=_as_origins)
    allowed_hosts: tuple[str, ...] = attrs.field(default=(), converter=_as_hosts)
    listening_on: str = ""
    simulator_is_local: bool = False

    @classmethod
    def from_config(cls, config: StkConfig, /) -> CallbackGuard:
        """The guard that the settings describe."""
        return cls(
            allowed_networks=networks(config.allowed_callback_networks) or SAFARICOM_NETWORKS,
            trusted_proxies=networks(config.trusted_proxies),
            allowed_hosts=config.allowed_hosts,
            simulator_is_local=config.environment.is_loopback,
        )

    def client_of(self, request: WebRequest, /) -> Address | None:
        """Return the address of the client, or None if it cannot be known."""
        return client_address(request.remote_addr, request.headers, self.trusted_proxies)

    def check_callback(self, request: WebRequest, /, *, signed: bool) -> None:
        """Let a callback through, as far as its address goes.

        Args:
            request: The callback.
            signed: Whether a signed token is going to be demanded of it.

        Raises:
            CallbackRefused: Its address is not allowed, or cannot be known.
        """
        if self.token_suffices and signed:
            return
        client = self.client_of(request)
        if client is None:
            raise CallbackRefused("the client's address cannot be known")
        if not is_in(client, self.allowed_networks) and not self._is_simulator(client, request):
            raise CallbackRefused("the client's address is not allowed")

    def _is_simulator(self, client: Address, request: WebRequest) -> bool:
        """Whether a program on this machine sent it, and no proxy there for somebody else.

        What trusted proxies say of the client was read already, so their header fields are no doubt.
        """
        if not self.simulator_is_local or not client.is_loopback:
            return False
        peer = address_of(request.remote_addr or "")
        trusted = peer is not None and is_in(peer, self.trusted_proxies)
        return trusted or not is_proxied(request.headers)

    def is_foreign_host(self, request: WebRequest, /, *, callback_url: str) -> bool:
        """Return whether the request names a host that is not this server (DNS rebinding).

        A page of another site can have its own name lead to this machine, and its requests then pass
        for requests of this server's pages. Their Host gives them away.

        Args:
            request: The request.
            callback_url: Where Daraja posts results; its host is one of this server's.
        """
        if not self.allowed_hosts and not self.listening_on:
            return False
        host = request.headers.get("host", "")
        name = host_of(f"http://{host}")
        if name and (name in self.allowed_hosts or name == host_of(callback_url)):
            return False
        return not (self.listening_on and names_this_machine(host, listening_on=self.listening_on))


def is_cross_site(request: WebRequest, allowed_origins: tuple[str, ...], /) -> bool:
    """Whether a browser sent this on behalf of another site's page.

    By Fetch Metadata where the browser sends it, else by Origin against Host; a request with neither is
    no browser's. A sibling host of the same site counts as another one unless it is in
    `allowed_origins`.
    """
    origin = request.headers.get("origin")
    if origin is not None and origin.lower() in allowed_origins:
        return False
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    if origin is None:
        return False
    try:
        netloc = urlsplit(origin).netloc
    except ValueError:
        return True
    return not netloc or netloc.lower() != request.headers.get("host", "").lower()
