"""Read settings from environment variables, passed as a mapping. Pure.

The names are those of the payment system's first description, and a few more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from mpesa_stk.config.account import PayBill, Till
from mpesa_stk.config.environment import PRODUCTION, PRODUCTION_HOST, SANDBOX, Environment
from mpesa_stk.config.urls import host_of
from mpesa_stk.errors import ConfigurationError

REQUIRED = ("consumer_key", "consumer_secret", "shortcode", "pass_key", "c2b_callback")

# Field of StkConfig or of its parts -> variable, if the two names differ.
VARIABLES = {
    "passkey": "pass_key",
    "callback_url": "c2b_callback",
    "token_url": "access_token_url",
    "push_url": "checkout_url",
    "query_url": "mpesa_query_check_url",
    "store_number": "shortcode",
    "max_amount": "mpesa_max_amount",
    "callback_secrets": "callback_secret",
    "environment": "mpesa_environment",
    "proxies": "mpesa_proxy",
    "ca_bundle": "mpesa_ca_bundle",
}

# Many .env files use the names of other packages: without underscores, and with words in front.
_OTHER_NAMES = {
    "consumer_key": "CONSUMERKEY",
    "consumer_secret": "CONSUMERSECRET",
    "shortcode": "SHORTCODE|PAYBILL|PAYBILLNUMBER",
    "pass_key": "PASSKEY",
    "c2b_callback": "CALLBACK|CALLBACKURL",
}
_WORDS_IN_FRONT = (
    "MPESA|DARAJA|SAFARICOM|LIPANAMPESA|LNM|STK|C2B|EXPRESS|ONLINE|PUSH|BUSINESS|API|APP|SANDBOX|LIVE"
    "|PROD|PRODUCTION|TEST"
)
_QUOTES = ("'", '"', "`")


def settings_from(environ: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the arguments of `StkConfig`, and the faults by variable."""
    if not isinstance(environ, Mapping):
        raise ConfigurationError((("environ", "must map names to texts"),))
    problems: dict[str, str] = {}

    def read(name: str) -> str:
        return _text_of(environ, name, problems)

    for name in REQUIRED:
        if not read(name):
            problems.setdefault(name, "is not set" + _near_miss(environ, name))
    settings: dict[str, Any] = {
        "consumer_key": read("consumer_key"),
        "consumer_secret": read("consumer_secret"),
        "passkey": read("pass_key"),
        "account": _account_from(read, problems),
        "callback_url": read("c2b_callback"),
        "environment": _environment_from(read, problems),
        "callback_secrets": _parts(read("callback_secret")),
        "allowed_callback_networks": _parts(read("allowed_callback_networks")),
        "trusted_proxies": _parts(read("trusted_proxies")),
        "allowed_hosts": _parts(read("allowed_hosts")),
        "proxies": _proxies_from(read("mpesa_proxy")),
        "ca_bundle": read("mpesa_ca_bundle") or None,
    }
    ceiling = read("mpesa_max_amount")
    if ceiling:
        settings["max_amount"] = int(ceiling) if re.fullmatch("[0-9]{1,9}", ceiling) else 0
    return settings, problems


def _text_of(environ: Mapping[str, str], name: str, problems: dict[str, str]) -> str:
    """Return the text of a variable, named in lower or upper case.

    It is ``""`` if the variable is not set.
    """
    for spelling in (name, name.upper()):
        value: object = environ.get(spelling)
        text = value.strip() if isinstance(value, str) else ""
        if value is not None and not isinstance(value, str):
            problems[name] = "must be a string"
        elif text.startswith(_QUOTES) or text.endswith(_QUOTES):
            problems[name] = "has quotes around it, which count as a part of it: remove them"
        if text:
            return text
    return ""


def _near_miss(environ: Mapping[str, str], name: str) -> str:
    """Return a hint if a variable with another package's name is set.

    The hint is added to "is not set". It is ``""`` if there is no such variable.
    """
    known = re.compile(f"(?:{_WORDS_IN_FRONT})*(?:{_OTHER_NAMES[name]})")
    for other in sorted(map(str, environ)):
        letters = re.sub("[_.-]", "", other.upper())
        if known.fullmatch(letters) and _text_of(environ, other, {}):
            return f" ({other} is set: did you mean {name.upper()}?)"
    return ""


def _parts(text: str) -> tuple[str, ...]:
    """Return the parts of a comma-separated list."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _proxies_from(url: str) -> dict[str, str] | None:
    """Return the proxy, for https only.

    Daraja is reached by https, and http stays on this machine.
    """
    return {"https": url} if url else None


def _account_from(read: Callable[[str], str], problems: dict[str, str]) -> PayBill | Till:
    """Return the till that the variables name, or else the paybill."""
    try:
        if read("till_number"):
            return Till(store_number=read("shortcode"), till_number=read("till_number"))
        return PayBill(read("shortcode"))
    except ConfigurationError as error:
        for name, rule in error.problems:
            problems.setdefault(VARIABLES.get(name, name), rule)
    return PayBill("00000")  # a placeholder, so that the other settings are checked too


def _environment_from(read: Callable[[str], str], problems: dict[str, str]) -> Environment:
    """Return the environment that the variables name.

    Variables may replace single addresses of it.
    """
    replaced = {field: read(VARIABLES[field]) for field in ("token_url", "push_url", "query_url")}
    name = read("mpesa_environment").lower()
    if not name:
        live = PRODUCTION_HOST in map(host_of, replaced.values())
        name = "production" if live else "sandbox"
    if name not in ("sandbox", "production"):
        problems.setdefault("mpesa_environment", "must be sandbox or production")
    base = PRODUCTION if name == "production" else SANDBOX
    return attrs.evolve(base, **{field: url for field, url in replaced.items() if url})
