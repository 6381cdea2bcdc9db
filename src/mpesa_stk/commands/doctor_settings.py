"""Checks of `mpesa-stk doctor` on the settings, without a request. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Literal

import attrs

from mpesa_stk.config.environment import (
    PRODUCTION_HOST,
    SANDBOX_HOST,
    SANDBOX_PASSKEY,
    SANDBOX_SHORTCODE,
)
from mpesa_stk.config.from_env import VARIABLES
from mpesa_stk.config.settings import StkConfig
from mpesa_stk.config.strength import is_too_wide, secret_fault
from mpesa_stk.config.urls import banned_words, host_of
from mpesa_stk.errors import ConfigurationError

Level = Literal["ok", "warning", "problem"]

_HEX = re.compile(r"[0-9A-Fa-f]{64}")
_TUNNELS = (
    "ngrok-free.app",
    "ngrok-free.dev",
    "ngrok.app",
    "ngrok.dev",
    "ngrok.io",
    "trycloudflare.com",
    "loca.lt",
    "lhr.life",
    "localhost.run",
    "serveo.net",
    "devtunnels.ms",
    "pinggy.link",
)
_PLATFORMS = (
    "onrender.com",
    "herokuapp.com",
    "up.railway.app",
    "fly.dev",
    "vercel.app",
    "run.app",
    "appspot.com",
    "azurewebsites.net",
    "ondigitalocean.app",
    "koyeb.app",
    "replit.app",
    "pythonanywhere.com",
)


@attrs.frozen(kw_only=True)
class Finding:
    """One finding of the doctor, printed as one line.

    Attributes:
        level: How bad it is.
        check: The setting or the thing that was checked.
        text: The finding. Never a secret.
        remedy: Advice. Empty if the finding is good.
    """

    level: Level
    check: str
    text: str
    remedy: str = ""


REMEDIES: Mapping[str, str] = {
    "consumer_key": "copy it from your app's page on Safaricom's developer portal",
    "consumer_secret": "copy it from your app's page on Safaricom's developer portal",
    "shortcode": "set your paybill, or a till's store number; in the sandbox it is 174379",
    "pass_key": "set the plain passkey that belongs to this shortcode in this environment",
    "c2b_callback": "set the https address, on a public host, at which your callbacks arrive",
    "access_token_url": "unset it to use Daraja's own address",
    "checkout_url": "unset it to use Daraja's own address",
    "mpesa_query_check_url": "unset it to use Daraja's own address",
    "till_number": "set the till's number, or unset it for a paybill",
    "mpesa_environment": "set sandbox or production, and take all addresses from that one",
    "callback_secret": "set a random text of at least 16 characters",
    "mpesa_max_amount": "set a whole number of shillings, or unset it",
    "mpesa_proxy": "set a URL such as http://proxy.example:3128, or unset it",
    "mpesa_ca_bundle": "set the path of a file of CA certificates in PEM form, or unset it",
    "allowed_callback_networks": "set addresses or networks such as 10.0.0.0/8, or unset it",
    "trusted_proxies": "set addresses or networks such as 10.0.0.0/8, or unset it",
    "mpesa_accounts": "set the path of a TOML file, or prefixes such as FEES,LUNCH, or unset it",
    "mpesa_database": "set an SQLAlchemy URL such as postgresql+psycopg://user@host/database, or unset it",
    "allowed_hosts": "set host names such as shop.example.co.ke, without scheme or port, or unset it",
}
"""Each variable that this package reads, in lower case, with the advice if it cannot work."""

# A part of a rule's text -> its advice, instead of the variable's usual one.
_BY_RULE = (
    ("is set: did you mean", "rename the variable"),
    ("did you mean", "set what is proposed"),
    ("quotes", "remove the quotes"),
)


def check_refusal(error: ConfigurationError, /) -> Iterator[Finding]:
    """Yield the settings that cannot work."""
    for name, rule in error.problems:
        usual = next(
            (REMEDIES[known] for known in REMEDIES if _is_setting(name, known)), "correct it"
        )
        remedy = next((words for part, words in _BY_RULE if part in rule), usual)
        yield Finding(level="problem", check=name, text=rule, remedy=remedy)


def _is_setting(name: str, known: str) -> bool:
    """Return whether a name is that of a setting, perhaps with the table or the prefix of an account."""
    return name == known or name.endswith((f".{known}", f"_{known}"))


def is_live(config: StkConfig, /) -> bool:
    """Whether real money moves: Daraja is production, by its name or by one of its addresses."""
    hosts = map(host_of, config.environment.urls.values())
    return config.environment.name == "production" or PRODUCTION_HOST in hosts


def check_settings(config: StkConfig, /) -> Iterator[Finding]:
    """Yield the settings that can work but look wrong."""
    hosts = {name: host_of(url) for name, url in config.environment.urls.items()}
    yield Finding(
        level="ok",
        check="settings",
        text=f"complete: {config.account} in {config.environment.name}",
    )
    if len(set(hosts.values())) > 1:
        places = ", ".join(f"{VARIABLES[name]} at {host}" for name, host in hosts.items())
        yield Finding(
            level="warning",
            check="mpesa_environment",
            text=f"Daraja's addresses are on different hosts: {places}",
            remedy=REMEDIES["mpesa_environment"],
        )
    if config.environment.name == "sandbox" and PRODUCTION_HOST in hosts.values():
        yield Finding(
            level="problem",
            check="mpesa_environment",
            text="says sandbox, but the addresses are production's: real money would move",
            remedy=REMEDIES["mpesa_environment"],
        )
    yield from _check_credentials(config, in_sandbox=SANDBOX_HOST in hosts.values())
    yield from _check_signing(config)
    yield from _check_open_doors(config)
    yield from _check_tunnel(config)


def _check_credentials(config: StkConfig, *, in_sandbox: bool) -> Iterator[Finding]:
    if not _HEX.fullmatch(config.passkey):
        yield Finding(
            level="warning",
            check="pass_key",
            text=f"is {len(config.passkey)} characters, not 64 hexadecimal digits as usual: with a "
            "wrong one Daraja may accept pushes and no phone rings",
            remedy="copy it anew, whole and without anything around it",
        )
    public_passkey = config.passkey == SANDBOX_PASSKEY
    public_shortcode = config.account.shortcode == SANDBOX_SHORTCODE
    if public_passkey != public_shortcode:
        which, other = ("passkey", "shortcode") if public_passkey else ("shortcode", "passkey")
        yield Finding(
            level="warning",
            check="pass_key" if public_passkey else "shortcode",
            text=f"is the public sandbox {which}, but the {other} is not the one that belongs to it",
            remedy="take both from the same environment",
        )
    elif in_sandbox and not public_shortcode:
        yield Finding(
            level="warning",
            check="shortcode",
            text="is your own, and the sandbox is reported to know only 174379",
            remedy="use 174379 and its public passkey there, or production's addresses",
        )


def _check_signing(config: StkConfig) -> Iterator[Finding]:
    words = banned_words(config.callback_url)
    if words:
        yield Finding(
            level="warning",
            check="c2b_callback",
            text=f"holds words that Safaricom says it refuses: {', '.join(words)}",
            remedy="use an address without them",
        )
    if not config.callback_secrets:
        yield Finding(
            level="problem" if is_live(config) else "warning",
            check="callback_secret",
            text="is not set: Safaricom signs nothing, so callbacks can be forged, and a push whose "
            "answer is lost cannot be matched with its callback",
            remedy="set a random text of at least 16 characters, the same for all workers",
        )


def _check_tunnel(config: StkConfig) -> Iterator[Finding]:
    """Yield a callback URL behind a tunnel or a platform's router."""
    host = host_of(config.callback_url)
    tunnel = host.endswith(tuple(f".{name}" for name in _TUNNELS))
    if tunnel and is_live(config):
        yield Finding(
            level="warning",
            check="c2b_callback",
            text="is a tunnel's, and Safaricom says that it blocks some of them, above all in production",
            remedy="use a host of your own",
        )
    routed = tunnel or host.endswith(tuple(f".{name}" for name in _PLATFORMS))
    if routed and not config.trusted_proxies:
        yield Finding(
            level="warning",
            check="trusted_proxies",
            text=f"is not set: behind a {'tunnel' if tunnel else 'platform router'} every callback comes "
            f"from the {'tunnel' if tunnel else 'router'} and not from Safaricom, so the endpoints "
            "refuse it",
            remedy="set it to 127.0.0.1 if the tunnel's program runs on this machine"
            if tunnel
            else "set it to the router's addresses or networks, as the platform's documentation or "
            "your server's log names them",
        )


def _check_open_doors(config: StkConfig) -> Iterator[Finding]:
    """Yield secrets that everybody knows, and networks that hold everybody."""
    live = is_live(config)
    for secret in config.callback_secrets:
        fault = secret_fault(secret)
        if fault:
            yield Finding(
                level="problem" if live else "warning",
                check="callback_secret",
                text=f"one {fault}",
                remedy="set a random text of at least 16 characters, the same for all workers",
            )
    for name, networks in (
        ("allowed_callback_networks", config.allowed_callback_networks),
        ("trusted_proxies", config.trusted_proxies),
    ):
        if any(map(is_too_wide, networks)):
            # Some platforms hide the client's address, so signed callback URLs are the guard there.
            meant = name == "allowed_callback_networks" and config.callback_secrets
            yield Finding(
                level="problem" if live and not meant else "warning",
                check=name,
                text="holds addresses of everybody, so it keeps nobody out",
                remedy="name networks such as 10.0.0.0/8, or unset it",
            )
