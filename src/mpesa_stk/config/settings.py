"""`StkConfig`: all settings of a client, checked before anything is sent.

The rules for URLs are in `urls`. The process environment is read in `StkConfig.from_env` only.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import ipaddress
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import attrs

from mpesa_stk.config.account import PayBill, Till
from mpesa_stk.config.environment import (
    PRODUCTION_HOST,
    SANDBOX,
    SANDBOX_HOST,
    SANDBOX_PASSKEY,
    SANDBOX_SHORTCODE,
    Environment,
)
from mpesa_stk.config.from_env import VARIABLES, settings_from
from mpesa_stk.config.strength import MIN_SECRET, is_too_wide, secret_fault
from mpesa_stk.config.urls import (
    banned_words,
    callback_url_fault,
    daraja_url_fault,
    host_of,
    is_host,
)
from mpesa_stk.errors import ConfigurationError
from mpesa_stk.privacy import Unpicklable, hides_locals

_VISIBLE = re.compile(r"[!-~]+")
_HEADER_TEXT = re.compile(r"[ -~]*")
_NETWORKS = "must be a list or tuple of IP addresses or networks"
_LONGEST_TIMEOUT = 86_400
_PROXY_SCHEMES = frozenset({"http", "https", "socks4", "socks4a", "socks5", "socks5h"})


class CallbackUrlWarning(UserWarning):
    """The callback URL has a word that Safaricom says it refuses.

    Safaricom enforces that rule patchily.
    """


@attrs.frozen(kw_only=True, init=False)
class StkConfig(Unpicklable):
    """All settings of a client.

    They are frozen and checked when made, and the repr hides secrets. White space around the three
    credentials is dropped.

    Attributes:
        consumer_key: The app's consumer key.
        consumer_secret: The app's consumer secret.
        passkey: The M-Pesa Express passkey (not the base64 password).
        account: The account that is paid: a `PayBill` or a `Till`.
        callback_url: The URL to which Daraja posts results: https, with a public host.
        environment: `SANDBOX`, `PRODUCTION` or your own `Environment`.
        max_amount: Most shillings that one push may ask for.
        connect_timeout: Seconds to wait for a connection.
        total_timeout: Seconds that one exchange may take, connecting included.
        callback_secrets: Keys that sign each push's callback URL, newest first.
        proxies: Proxy URL by scheme, such as ``{"https": "http://proxy:3128"}``. Proxies of the process
            environment are not used.
        ca_bundle: PEM file of the trusted CA certificates, in place of those that requests brings. Set it
            for a proxy that inspects TLS.
        user_agent: Your own product token, added after ``mpesa-stk/<version>``.
        allowed_callback_networks: Networks from which callbacks may come, such as ``10.0.0.0/8``. Empty
            means Safaricom's published addresses. The payment endpoints check this.
        trusted_proxies: Your own proxies. The payment endpoints believe the client address they report.
        allowed_hosts: Host names under which your payment endpoints are reached, without a port. The host
            of `callback_url` counts as one of them. Empty means no check.

    Raises:
        ConfigurationError: One error that names every bad setting.
    """

    consumer_key: str = attrs.field(repr=False)
    consumer_secret: str = attrs.field(repr=False)
    passkey: str = attrs.field(repr=False)
    account: PayBill | Till
    callback_url: str
    environment: Environment
    max_amount: int
    connect_timeout: float
    total_timeout: float
    callback_secrets: tuple[str, ...] = attrs.field(repr=False)
    proxies: Mapping[str, str] | None = attrs.field(repr=False)
    ca_bundle: str | None
    user_agent: str
    allowed_callback_networks: tuple[str, ...]
    trusted_proxies: tuple[str, ...]
    allowed_hosts: tuple[str, ...]

    def __init__(  # noqa: PLR0913 - one argument a setting, all of them by name
        self,
        *,
        consumer_key: str,
        consumer_secret: str,
        passkey: str,
        account: PayBill | Till,
        callback_url: str,
        environment: Environment = SANDBOX,
        max_amount: int = 250_000,
        connect_timeout: float = 10.0,
        total_timeout: float = 45.0,
        callback_secrets: list[str] | tuple[str, ...] = (),
        proxies: Mapping[str, str] | None = None,
        ca_bundle: str | None = None,
        user_agent: str = "",
        allowed_callback_networks: list[str] | tuple[str, ...] = (),
        trusted_proxies: list[str] | tuple[str, ...] = (),
        allowed_hosts: list[str] | tuple[str, ...] = (),
    ) -> None:
        self.__attrs_init__(  # pyright: ignore[reportAttributeAccessIssue]  # made by attrs
            consumer_key=_stripped(consumer_key),
            consumer_secret=_stripped(consumer_secret),
            passkey=_stripped(passkey),
            account=account,
            callback_url=callback_url,
            environment=environment,
            max_amount=max_amount,
            connect_timeout=connect_timeout,
            total_timeout=total_timeout,
            callback_secrets=_stripped_each(callback_secrets),
            proxies=_copied(proxies),
            ca_bundle=ca_bundle,
            user_agent=user_agent,
            allowed_callback_networks=_stripped_each(allowed_callback_networks),
            trusted_proxies=_stripped_each(trusted_proxies),
            allowed_hosts=_stripped_each(allowed_hosts),
        )
        problems = _first_by_name(_problems(self))
        # Some tools print a traceback with the locals of each frame, and a URL may hold a password too. The
        # warning below may become an error. `hides_locals` would hide the arguments from type checkers.
        del consumer_key, consumer_secret, passkey, callback_secrets, proxies
        del callback_url, environment
        if problems:
            del self
            raise ConfigurationError(tuple(problems.items()))
        words = banned_words(self.callback_url)
        if words:
            warnings.warn(
                f"callback_url contains {', '.join(words)}, which Safaricom may refuse",
                CallbackUrlWarning,
                stacklevel=_stacklevel_of_host(),
            )

    @classmethod
    @hides_locals
    def from_env(cls, environ: Mapping[str, str] | None = None, /) -> StkConfig:
        """Read the settings from environment variables.

        Required: ``consumer_key``, ``consumer_secret``, ``shortcode``, ``pass_key``, ``c2b_callback``.

        Optional: ``access_token_url``, ``checkout_url``, ``mpesa_query_check_url``, ``till_number``,
        ``mpesa_environment`` (``sandbox`` or ``production``), ``callback_secret`` (comma-separated, newest
        first), ``mpesa_max_amount``, ``mpesa_proxy``, ``mpesa_ca_bundle``, ``allowed_callback_networks``,
        ``trusted_proxies`` and ``allowed_hosts`` (each of these three comma-separated).

        Names in upper case are accepted too.

        Args:
            environ: The variables. The process environment by default.

        Raises:
            ConfigurationError: One error that names every missing or unusable variable.
        """
        config = None
        settings, problems = settings_from(os.environ if environ is None else environ)
        try:
            config = cls(**settings)
        except ConfigurationError as error:
            found = [(VARIABLES.get(name, name), rule) for name, rule in error.problems]
            problems = _first_by_name([*problems.items(), *found])
        if config is None or problems:
            raise ConfigurationError(tuple(problems.items()))
        return config


# --- normal forms of settings: a value of another type is kept, so that the rules can refuse it ------


def _stripped(value: Any) -> Any:  # noqa: ANN401 - see above
    return value.strip() if isinstance(value, str) else value


def _stripped_each(values: Any) -> Any:  # noqa: ANN401 - see above
    return tuple(map(_stripped, values)) if isinstance(values, (list, tuple)) else values


def _copied(values: Any) -> Any:  # noqa: ANN401 - see above
    return MappingProxyType(dict(values)) if isinstance(values, Mapping) else values


# --- the rules ---------------------------------------------------------------------------------------


def _first_by_name(problems: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the first problem of each setting."""
    found: dict[str, str] = {}
    for name, rule in problems:
        found.setdefault(name, rule)
    return found


def _problems(config: StkConfig) -> Iterator[tuple[str, str]]:
    """Yield every setting that cannot work, with the rule that it breaks."""
    yield from _secret_problems(config)
    environment: object = config.environment
    loopback = False
    if isinstance(environment, Environment):
        loopback = environment.is_loopback
        yield from _environment_problems(environment, config)
    else:
        yield "environment", "must be an Environment"
    fault = callback_url_fault(
        config.callback_url, allow_loopback=loopback, extended=bool(config.callback_secrets)
    )
    if fault:
        yield "callback_url", fault
    if not isinstance(config.account, (PayBill, Till)):
        yield "account", "must be a PayBill or a Till"
    yield from _plain_problems(config)
    if not loopback:
        yield from _open_doors(config)


def _plain_problems(config: StkConfig) -> Iterator[tuple[str, str]]:
    if type(config.max_amount) is not int or config.max_amount < 1:
        yield "max_amount", "must be a whole number of at least 1"
    for field in ("connect_timeout", "total_timeout"):
        if not _is_duration(getattr(config, field)):
            yield field, f"must be a number of seconds above 0, at most {_LONGEST_TIMEOUT}"
    yield from _network_problems(config)
    agent: object = config.user_agent
    if not isinstance(agent, str) or not _HEADER_TEXT.fullmatch(agent):
        yield "user_agent", "must be one line of ASCII characters"
    for field in ("allowed_callback_networks", "trusted_proxies"):
        values: object = getattr(config, field)
        faults = map(_network_fault, values) if isinstance(values, tuple) else iter([_NETWORKS])
        fault = next(filter(None, faults), None)
        if fault:
            yield field, fault
    hosts: object = config.allowed_hosts
    if not isinstance(hosts, tuple) or not all(map(is_host, hosts)):
        yield "allowed_hosts", "must be a list or tuple of host names, without scheme or port"


def _open_doors(config: StkConfig) -> Iterator[tuple[str, str]]:
    """Yield the settings that would let everybody in.

    The caller allows them if Daraja is on this machine, because no money moves then.
    """
    for secret in filter(_can_sign, _texts(config.callback_secrets)):
        fault = secret_fault(secret)
        if fault:
            yield "callback_secrets", fault
    # With signed URLs, allowing all addresses may be intended: some platforms hide the client's address.
    unsigned = () if config.callback_secrets else ("allowed_callback_networks",)
    for field in ("trusted_proxies", *unsigned):
        networks = [text for text in _texts(getattr(config, field)) if not _network_fault(text)]
        if any(map(is_too_wide, networks)):
            yield field, "must not hold all addresses; name networks such as 10.0.0.0/8"


def _texts(values: object) -> tuple[str, ...]:
    """Return the values, or an empty tuple if their type is wrong.

    Another rule reports a wrong type.
    """
    return values if isinstance(values, tuple) else ()


def _network_problems(config: StkConfig) -> Iterator[tuple[str, str]]:
    """Yield the problems of proxies and CA certificates."""
    proxies: object = config.proxies
    if proxies is not None and not (
        isinstance(proxies, Mapping)
        and all(isinstance(scheme, str) for scheme in proxies)
        and all(map(_is_proxy_url, proxies.values()))
    ):
        yield "proxies", "must map schemes to proxy URLs such as http://proxy:3128"
    bundle: object = config.ca_bundle
    if bundle is not None:
        fault = _ca_bundle_fault(bundle)
        if fault:
            yield "ca_bundle", fault


def _ca_bundle_fault(path: object) -> str:
    """Return why certificates cannot be checked with this file, or ``""`` if they can."""
    if not isinstance(path, str) or not path:
        return "must be the path of a file"
    import ssl  # noqa: PLC0415 - takes longer to import than all of this file, and few need it

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except (ssl.SSLError, ValueError):
        return "holds no CA certificates in PEM form"
    except OSError as error:
        return f"cannot be read: {os.strerror(error.errno or 0)}"
    return ""


def _secret_problems(config: StkConfig) -> Iterator[tuple[str, str]]:
    for field in ("consumer_key", "consumer_secret", "passkey"):
        value: object = getattr(config, field)
        if not isinstance(value, str) or not _VISIBLE.fullmatch(value):
            yield field, "must be a string of visible ASCII characters"
        elif field == "consumer_key" and ":" in value:
            yield field, "must not contain a colon: HTTP Basic cannot carry it"
        elif field == "passkey" and _looks_like_password(value):
            yield field, "is a base64 password; the passkey is the plain text from the portal"
    secrets: object = config.callback_secrets
    if not isinstance(secrets, tuple):
        yield "callback_secrets", "must be a list or tuple of strings, newest first"
    elif not all(map(_can_sign, secrets)):
        yield (
            "callback_secrets",
            f"each must be printable text of at least {MIN_SECRET} characters",
        )


def _environment_problems(environment: Environment, config: StkConfig) -> Iterator[tuple[str, str]]:
    for field, url in environment.urls.items():
        fault = daraja_url_fault(url)
        if fault:
            yield field, fault
    hosts = set(map(host_of, environment.urls.values()))
    production = PRODUCTION_HOST in hosts or str(environment.name).lower() == "production"
    if production and SANDBOX_HOST in hosts:
        yield "environment", "mixes sandbox and production addresses"
    if production and getattr(config.account, "shortcode", None) == SANDBOX_SHORTCODE:
        yield "shortcode", "is the public sandbox shortcode; production needs your own"
    if production and config.passkey == SANDBOX_PASSKEY:
        yield "passkey", "is the public sandbox passkey; production needs your own"


def _looks_like_password(passkey: str) -> bool:
    """Return whether this is base64(shortcode + passkey + timestamp)."""
    try:
        decoded = base64.b64decode(passkey, validate=True)
    except (binascii.Error, ValueError):
        return False
    return re.fullmatch(rb"[0-9]{5,7}[!-~]*[0-9]{14}", decoded) is not None


def _can_sign(secret: object) -> bool:
    # os.environ makes lone surrogates of bytes that are not UTF-8. They are not printable and cannot be
    # encoded.
    return isinstance(secret, str) and len(secret) >= MIN_SECRET and secret.isprintable()


def _is_duration(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return 0 < value <= _LONGEST_TIMEOUT


def _network_fault(text: object) -> str | None:
    """Return the fault of an address or network, or None."""
    if not isinstance(text, str):
        return _NETWORKS
    with contextlib.suppress(ValueError):
        ipaddress.ip_network(text)
        return None
    with contextlib.suppress(ValueError):
        meant = ipaddress.ip_network(text, strict=False)
        return (
            f"one has bits set behind the first {meant.prefixlen}, which name a host:"
            f" did you mean {meant}?"
        )
    return _NETWORKS


def _is_proxy_url(url: object) -> bool:
    if not isinstance(url, str) or not _VISIBLE.fullmatch(url):
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in _PROXY_SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _stacklevel_of_host() -> int:
    """Return the `stacklevel` for a warning of `StkConfig.__init__`.

    The warning then points at the host's line that made the settings.
    """
    level = 1
    frame = sys._getframe(level)  # noqa: SLF001 - warnings' skip_file_prefixes needs Python 3.12
    ours = (__name__, hides_locals.__module__)
    while frame.f_globals.get("__name__") in ours and frame.f_back is not None:
        level, frame = level + 1, frame.f_back
    return level
