"""What `mpesa-stk doctor` says of settings, without asking anybody. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Literal

import attrs

from mpesa_stk.config import StkConfig
from mpesa_stk.environ import VARIABLES
from mpesa_stk.environment import (
    PRODUCTION_HOST,
    SANDBOX_HOST,
    SANDBOX_PASSKEY,
    SANDBOX_SHORTCODE,
)
from mpesa_stk.errors import ConfigurationError
from mpesa_stk.urls import banned_words, host_of

__all__ = [
    "NAMES",
    "Finding",
    "is_live",
    "of_proxies",
    "of_refusal",
    "of_settings",
    "of_variables",
]

Level = Literal["ok", "warning", "problem"]

_HEX = re.compile(r"[0-9A-Fa-f]{64}")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


@attrs.frozen(kw_only=True)
class Finding:
    """One line of the doctor's.

    Attributes:
        level: How bad it is.
        check: What was looked at.
        text: What was found. Never a secret.
        remedy: What to do about it; empty where nothing is to be done.
    """

    level: Level
    check: str
    text: str
    remedy: str = ""


# Variable -> what to do where it cannot work.
_REMEDIES: Mapping[str, str] = {
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
    "allowed_hosts": "set host names such as shop.example.co.ke, without scheme or port, or unset it",
}


NAMES = frozenset(_REMEDIES)
"""The variables that are read, in lower case."""

# What a rule says -> what to do, where that is not the variable's own remedy.
_BY_RULE = (
    ("is set: did you mean", "rename the variable"),
    ("did you mean", "set what is proposed"),
    ("quotes", "remove the quotes"),
)


def of_variables(environ: Mapping[str, str], /) -> Iterator[Finding]:
    """What the raw variables show that the settings made of them do not."""
    for name in _REMEDIES:
        found = {spelling for spelling in (name, name.upper()) if environ.get(spelling)}
        for spelling in sorted(found):
            yield from _of_raw(spelling, environ[spelling])
        if len({environ[spelling].strip() for spelling in found}) > 1:
            yield Finding(
                level="warning",
                check=name,
                text=f"is set twice, and differs: {name} counts, {name.upper()} does not",
                remedy="unset one of them",
            )


def _of_raw(name: str, value: str) -> Iterator[Finding]:
    if value.strip() != value:
        yield Finding(
            level="warning",
            check=name,
            text="has white space around it, which is dropped here and perhaps not elsewhere",
            remedy="remove the white space",
        )


def of_refusal(error: ConfigurationError, /) -> Iterator[Finding]:
    """The settings that cannot work."""
    for name, rule in error.problems:
        usual = _REMEDIES.get(name, "correct it")
        remedy = next((words for part, words in _BY_RULE if part in rule), usual)
        yield Finding(level="problem", check=name, text=rule, remedy=remedy)


def is_live(config: StkConfig, /) -> bool:
    """Whether real money moves: production by its name or by one of its addresses."""
    hosts = map(host_of, config.environment.urls.values())
    return config.environment.name == "production" or PRODUCTION_HOST in hosts


def of_settings(config: StkConfig, /) -> Iterator[Finding]:
    """Settings that could work, but look wrong."""
    hosts = {name: host_of(url) for name, url in config.environment.urls.items()}
    yield Finding(
        level="ok",
        check="settings",
        text=f"complete: {config.account} in {config.environment.name}",
    )
    if len(set(hosts.values())) > 1:
        told = ", ".join(f"{VARIABLES[name]} at {host}" for name, host in hosts.items())
        yield Finding(
            level="warning",
            check="mpesa_environment",
            text=f"Daraja's addresses are on different hosts: {told}",
            remedy=_REMEDIES["mpesa_environment"],
        )
    if config.environment.name == "sandbox" and PRODUCTION_HOST in hosts.values():
        yield Finding(
            level="problem",
            check="mpesa_environment",
            text="says sandbox, but the addresses are production's: real money would move",
            remedy=_REMEDIES["mpesa_environment"],
        )
    yield from _of_credentials(config, in_sandbox=SANDBOX_HOST in hosts.values())
    yield from _of_callback(config)


def _of_credentials(config: StkConfig, *, in_sandbox: bool) -> Iterator[Finding]:
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


def _of_callback(config: StkConfig) -> Iterator[Finding]:
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


def of_proxies(environ: Mapping[str, str], /) -> Iterator[Finding]:
    """Proxies of the environment, which other programs would use and this library does not."""
    spellings = [spelling for name in _PROXIES for spelling in (name, name.upper())]
    found = [spelling for spelling in spellings if environ.get(spelling)]
    if found:
        yield Finding(
            level="warning",
            check="proxies",
            text=f"{' and '.join(found)} set, but not used by this library",
            remedy="where Daraja is reached through a proxy, set mpesa_proxy",
        )
