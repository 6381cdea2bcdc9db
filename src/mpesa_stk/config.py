"""Settings: the accounts, the environments and `StkConfig`, checked before anything is sent.

The rules for URLs are in `urls`. The process environment is read in `StkConfig.from_env` only.
"""

from __future__ import annotations

import base64
import binascii
import math
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping

import attrs

from mpesa_stk.account import PayBill, Till
from mpesa_stk.errors import ConfigurationError
from mpesa_stk.secrecy import HoldsSecrets
from mpesa_stk.urls import banned_words, callback_url_fault, daraja_url_fault, is_loopback_url

__all__ = [
    "PRODUCTION",
    "SANDBOX",
    "CallbackUrlWarning",
    "Environment",
    "StkConfig",
]

# Safaricom prints these in its public documentation (facts, section 2).
SANDBOX_SHORTCODE = "174379"
SANDBOX_PASSKEY = "bfb279f9aa9bdbcf158e97dd71a467cd2e0c893059b10f78e6b72ada1ed2c919"
_SANDBOX_HOST = "sandbox.safaricom.co.ke"
_PRODUCTION_HOST = "api.safaricom.co.ke"
_VISIBLE = re.compile(r"[!-~]+")
_HEADER_TEXT = re.compile(r"[ -~]*")
_MIN_SECRET = 16


class CallbackUrlWarning(UserWarning):
    """Safaricom says that it refuses callback URLs with certain words; it enforces it patchily."""


@attrs.frozen(kw_only=True)
class Environment:
    """Where Daraja is.

    Attributes:
        name: ``sandbox``, ``production`` or a name of your own.
        token_url: Address of the token endpoint.
        push_url: Address of the push endpoint.
        query_url: Address of the status query endpoint.
    """

    name: str
    token_url: str
    push_url: str
    query_url: str

    @classmethod
    def at(cls, origin: str, /, *, name: str) -> Environment:
        """Daraja's three paths under an origin such as ``https://api.safaricom.co.ke``."""
        return cls(
            name=name,
            token_url=f"{origin}/oauth/v1/generate?grant_type=client_credentials",
            push_url=f"{origin}/mpesa/stkpush/v1/processrequest",
            query_url=f"{origin}/mpesa/stkpushquery/v1/query",
        )

    @property
    def urls(self) -> dict[str, str]:
        """The three addresses by field name."""
        return {
            "token_url": self.token_url,
            "push_url": self.push_url,
            "query_url": self.query_url,
        }


SANDBOX = Environment.at(f"https://{_SANDBOX_HOST}", name="sandbox")
PRODUCTION = Environment.at(f"https://{_PRODUCTION_HOST}", name="production")


def _stripped(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


@attrs.frozen(kw_only=True)
class StkConfig(HoldsSecrets):
    """All settings of a client. Frozen, checked when made, and silent about its secrets.

    Attributes:
        consumer_key: The app's consumer key; surrounding white space is dropped.
        consumer_secret: The app's consumer secret; surrounding white space is dropped.
        passkey: The M-Pesa Express passkey (not the base64 password); white space is dropped.
        account: Who is paid: a `PayBill` or a `Till`.
        callback_url: Where Daraja posts results: https, a public host.
        environment: `SANDBOX`, `PRODUCTION` or your own `Environment`.
        max_amount: Most shillings that one push may ask for.
        connect_timeout: Seconds to wait for a connection.
        total_timeout: Seconds that one exchange may take, connecting included.
        callback_secrets: Keys that sign each push's callback URL, newest first.
        proxies: Proxy URL by scheme; proxies of the process environment are not used.
        user_agent: Your own product token, added after ``mpesa-stk/<version>``.

    Raises:
        ConfigurationError: One error that names every bad setting.
    """

    consumer_key: str = attrs.field(repr=False, converter=_stripped)
    consumer_secret: str = attrs.field(repr=False, converter=_stripped)
    passkey: str = attrs.field(repr=False, converter=_stripped)
    account: PayBill | Till
    callback_url: str
    environment: Environment = SANDBOX
    max_amount: int = 250_000
    connect_timeout: float = 10.0
    total_timeout: float = 45.0
    callback_secrets: tuple[str, ...] = attrs.field(default=(), repr=False, converter=tuple)
    proxies: Mapping[str, str] | None = attrs.field(default=None, repr=False)
    user_agent: str = ""

    def __attrs_post_init__(self) -> None:
        problems = tuple(_problems(self))
        if problems:
            raise ConfigurationError(problems)
        words = banned_words(self.callback_url)
        if words:
            warnings.warn(
                f"callback_url contains {', '.join(words)}, which Safaricom may refuse",
                CallbackUrlWarning,
                stacklevel=3,
            )

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, /) -> StkConfig:
        """Read the settings from environment variables.

        Names: ``consumer_key``, ``consumer_secret``, ``shortcode``, ``pass_key``,
        ``c2b_callback``; optional ``access_token_url``, ``checkout_url``,
        ``mpesa_query_check_url``, ``till_number``, ``mpesa_environment`` (``sandbox`` or
        ``production``), ``callback_secret`` (comma-separated, newest first),
        ``mpesa_max_amount``. Upper case is accepted too.

        Args:
            environ: The variables; the process environment by default.

        Raises:
            ConfigurationError: One error that names every missing or unusable variable.
        """
        return _from_env(os.environ if environ is None else environ)


def _problems(config: StkConfig) -> Iterator[tuple[str, str]]:
    """Every setting that cannot work, with the rule it breaks."""
    yield from _secret_problems(config)
    yield from _environment_problems(config)
    loopback = all(is_loopback_url(url) for url in config.environment.urls.values())
    fault = callback_url_fault(
        config.callback_url, allow_loopback=loopback, extended=bool(config.callback_secrets)
    )
    if fault:
        yield "callback_url", fault
    if not isinstance(config.account, (PayBill, Till)):
        yield "account", "must be a PayBill or a Till"
    if type(config.max_amount) is not int or config.max_amount < 1:
        yield "max_amount", "must be a whole number of at least 1"
    for field in ("connect_timeout", "total_timeout"):
        if not _is_duration(getattr(config, field)):
            yield field, "must be a positive number of seconds"
    agent: object = config.user_agent
    if not isinstance(agent, str) or not _HEADER_TEXT.fullmatch(agent):
        yield "user_agent", "must be one line of ASCII characters"


def _secret_problems(config: StkConfig) -> Iterator[tuple[str, str]]:
    for field in ("consumer_key", "consumer_secret", "passkey"):
        value: object = getattr(config, field)
        if not isinstance(value, str) or not _VISIBLE.fullmatch(value):
            yield field, "must be a string of visible ASCII characters"
        elif field == "consumer_key" and ":" in value:
            yield field, "must not contain a colon: HTTP Basic cannot carry it"
        elif field == "passkey" and _looks_like_password(value):
            yield field, "is a base64 password; the passkey is the plain text from the portal"
    secrets: tuple[object, ...] = config.callback_secrets
    for secret in secrets:
        if not isinstance(secret, str) or len(secret) < _MIN_SECRET:
            yield "callback_secrets", f"each must be a string of at least {_MIN_SECRET} characters"


def _environment_problems(config: StkConfig) -> Iterator[tuple[str, str]]:
    environment = config.environment
    for field, url in environment.urls.items():
        fault = daraja_url_fault(url)
        if fault:
            yield field, fault
    urls = " ".join(map(str, environment.urls.values()))
    production = _PRODUCTION_HOST in urls or environment.name == "production"
    if production and _SANDBOX_HOST in urls:
        yield "environment", "mixes sandbox and production addresses"
    if production and config.account == PayBill(SANDBOX_SHORTCODE):
        yield "shortcode", "is the public sandbox shortcode; production needs your own"
    if production and config.passkey == SANDBOX_PASSKEY:
        yield "passkey", "is the public sandbox passkey; production needs your own"


def _looks_like_password(passkey: str) -> bool:
    """Whether this is base64(shortcode + passkey + timestamp) instead of a passkey."""
    try:
        decoded = base64.b64decode(passkey, validate=True)
    except (binascii.Error, ValueError):
        return False
    return re.fullmatch(rb"[0-9]{5,7}[!-~]*[0-9]{14}", decoded) is not None


def _is_duration(value: object) -> bool:
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and math.isfinite(value)
        and value > 0
    )


# Field of StkConfig and its parts -> variable, for the settings whose names differ.
_VARIABLES = {
    "passkey": "pass_key",
    "callback_url": "c2b_callback",
    "token_url": "access_token_url",
    "push_url": "checkout_url",
    "query_url": "mpesa_query_check_url",
    "store_number": "shortcode",
    "max_amount": "mpesa_max_amount",
    "callback_secrets": "callback_secret",
    "environment": "mpesa_environment",
}


def _from_env(environ: Mapping[str, str]) -> StkConfig:
    def read(name: str) -> str:
        return (environ.get(name) or environ.get(name.upper()) or "").strip()

    problems = [
        (name, "is not set")
        for name in ("consumer_key", "consumer_secret", "shortcode", "pass_key", "c2b_callback")
        if not read(name)
    ]
    settings: dict[str, object] = {
        "consumer_key": read("consumer_key"),
        "consumer_secret": read("consumer_secret"),
        "passkey": read("pass_key"),
        "callback_url": read("c2b_callback"),
        "environment": _environment_from(read, problems),
    }
    secrets = tuple(part.strip() for part in read("callback_secret").split(",") if part.strip())
    settings["callback_secrets"] = secrets
    if read("mpesa_max_amount"):
        ceiling = read("mpesa_max_amount")
        settings["max_amount"] = int(ceiling) if re.fullmatch("[0-9]{1,9}", ceiling) else 0
    unset = {name for name, _ in problems}
    try:
        settings["account"] = (
            Till(store_number=read("shortcode"), till_number=read("till_number"))
            if read("till_number")
            else PayBill(read("shortcode"))
        )
    except ConfigurationError as error:
        problems += [_in_variables(problem) for problem in error.problems]
        settings["account"] = PayBill("00000")  # only so that the rest gets checked
    try:
        config = StkConfig(**settings)  # type: ignore[arg-type]
    except ConfigurationError as error:
        problems += [_in_variables(problem) for problem in error.problems]
    if problems:
        kept = [p for p in dict.fromkeys(problems) if p[0] not in unset or p[1] == "is not set"]
        raise ConfigurationError(tuple(kept))
    return config


def _environment_from(read: Callable[[str], str], problems: list[tuple[str, str]]) -> Environment:
    """The environment that the variables name, with single addresses replaced."""
    replaced = {field: read(_VARIABLES[field]) for field in ("token_url", "push_url", "query_url")}
    name = read("mpesa_environment").lower()
    if not name:
        live = any(_PRODUCTION_HOST in url for url in replaced.values())
        name = "production" if live else "sandbox"
    if name not in ("sandbox", "production"):
        problems.append(("mpesa_environment", "must be sandbox or production"))
    base = PRODUCTION if name == "production" else SANDBOX
    return attrs.evolve(base, **{field: url for field, url in replaced.items() if url})


def _in_variables(problem: tuple[str, str]) -> tuple[str, str]:
    """The problem under the name of the variable that causes it."""
    return _VARIABLES.get(problem[0], problem[0]), problem[1]
