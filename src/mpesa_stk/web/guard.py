"""Who may call: the allow-list and token of callbacks, the refusal of other sites' browsers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeVar
from urllib.parse import urlsplit

import attrs

from mpesa_stk.config import StkConfig
from mpesa_stk.errors import CallbackRefused
from mpesa_stk.web.addresses import SAFARICOM_NETWORKS, Network, client_address, is_in, networks
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
    """

    allowed_networks: tuple[Network, ...] = attrs.field(
        default=SAFARICOM_NETWORKS, converter=_as_networks
    )
    trusted_proxies: tuple[Network, ...] = attrs.field(default=(), converter=_as_networks)
    token_suffices: bool = False
    allowed_origins: tuple[str, ...] = attrs.field(default=(), converter=_as_origins)

    @classmethod
    def from_config(cls, config: StkConfig, /) -> CallbackGuard:
        """The guard that the settings describe.

        Where Daraja itself is on this machine (a simulator), its callbacks come from there too.
        """
        allowed = networks(config.allowed_callback_networks) or SAFARICOM_NETWORKS
        if config.environment.is_loopback:
            allowed += networks(("127.0.0.0/8", "::1"))
        return cls(allowed_networks=allowed, trusted_proxies=networks(config.trusted_proxies))

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
        client = client_address(request.remote_addr, request.headers, self.trusted_proxies)
        if client is None:
            raise CallbackRefused("the client's address cannot be known")
        if not is_in(client, self.allowed_networks):
            raise CallbackRefused("the client's address is not allowed")


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
