"""Rules about who may call: addresses of callbacks, our host names, pages of other sites."""

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
from mpesa_stk.web.messages import WebRequest

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
    """Return the values. Raise TypeError for one string: it would yield letters."""
    if isinstance(values, str):
        raise TypeError("must be a list or tuple of strings, not one string")
    return values


@attrs.frozen(kw_only=True)
class CallbackGuard:
    """Let only Safaricom call back, by its addresses.

    `Payments.handle_callback` checks the signed token.

    Attributes:
        allowed_networks: Addresses and networks from which callbacks come.
        trusted_proxies: Your own proxies. Their header about the client's address is believed.
        token_suffices: Whether a callback with a genuine signed token is accepted from any address, so
            that no callback is lost when Safaricom uses a new address. By default the address must be
            allowed, too.
        allowed_origins: Other sites (``https://shop.example``) whose pages may start a checkout.
            Their browsers ask for permission first (CORS), and your server must answer that.
        allowed_hosts: Host names of the endpoints, without a port. The host of ``callback_url`` is
            always one of them. If this is empty and `listening_on` too, hosts are not checked.
        listening_on: The address on which your server listens, if browsers reach it without a proxy.
            Then names of this machine are allowed hosts too, and other names are refused.
        simulator_is_local: Whether Daraja is a simulator on this machine. Then callbacks may come from
            this machine too, but not from a proxy on it that forwards requests of others.
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
        """Make the guard that the settings describe."""
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
        """Check the address of a callback.

        Args:
            request: The callback.
            signed: Whether a signed token is required as well, and checked later.

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
        """Return whether this machine sent it, not a proxy for somebody else.

        Header fields of trusted proxies do not matter here: `client_of` has already read them.
        """
        if not self.simulator_is_local or not client.is_loopback:
            return False
        peer = address_of(request.remote_addr or "")
        trusted = peer is not None and is_in(peer, self.trusted_proxies)
        return trusted or not is_proxied(request.headers)

    def is_foreign_host(self, request: WebRequest, /, *, callback_url: str) -> bool:
        """Return whether the request's Host is not this server's (DNS rebinding).

        Another site can make its host name lead to this machine. Then the requests of its page look like
        requests of this server's pages, except that their Host is the other site's.

        Args:
            request: The request.
            callback_url: The URL to which Daraja posts results. Its host is one of this server's.
        """
        if not self.allowed_hosts and not self.listening_on:
            return False
        host = request.headers.get("host", "")
        name = host_of(f"http://{host}")
        if name and (name in self.allowed_hosts or name == host_of(callback_url)):
            return False
        return not (self.listening_on and names_this_machine(host, listening_on=self.listening_on))


def is_cross_site(request: WebRequest, allowed_origins: tuple[str, ...], /) -> bool:
    """Return whether a browser sent this on behalf of another site's page.

    If the browser sends Fetch Metadata, that decides. Otherwise Origin is compared with Host. A request
    with neither is assumed not to come from a browser. Another host of the same site counts as another
    site, unless it is in `allowed_origins`.
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
