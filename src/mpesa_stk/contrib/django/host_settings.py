"""Read the host's settings: the dict ``MPESA_STK``, and the environment for what it lacks."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs
from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.db import connections
from django.utils.module_loading import import_string

from mpesa_stk.config.from_env import REQUIRED, VARIABLES
from mpesa_stk.config.settings import StkConfig
from mpesa_stk.config.several import (
    NAMES,
    VARIABLE,
    configs_from_env,
    configs_from_tables,
    text_of_value,
)
from mpesa_stk.contrib.django.simulated_merchant import SIMULATED, Simulated, simulated_texts
from mpesa_stk.errors import ConfigurationError
from mpesa_stk.hooks import Hook
from mpesa_stk.privacy import hides_locals
from mpesa_stk.web.guard import CallbackGuard
from mpesa_stk.web.limits import Limits

__all__ = [
    "NEEDS_DEBUG",
    "SETTING",
    "HostSettings",
    "is_unset",
    "named_database",
    "read_settings",
    "settings_around",
]

SETTING = "MPESA_STK"
NEEDS_DEBUG = "is for development: with DEBUG off, orders would count as paid without money"
"""The rule that ``simulate`` breaks on a machine that is no developer's."""
OWN = (
    "accounts",
    "authorize",
    "cache",
    "database",
    "guard",
    "hooks",
    "key_scope",
    "limits",
    "quote",
    "simulate",
    "simulate_port",
    "simulate_shop",
)
"""The keys that only the Django app has."""
_TEXTS = (*NAMES, VARIABLE)
_KEYS = (*_TEXTS, *OWN)
# Arguments of StkConfig, which the pages of the library show.
_MEANT = {"account": "shortcode"} | VARIABLES

Problems = list[tuple[str, str]]
Guard = CallbackGuard | Callable[[StkConfig], CallbackGuard]


@attrs.frozen(kw_only=True)
class HostSettings:
    """The settings of the host, all of which can work.

    Attributes:
        configs: The settings of each account.
        several: Whether the host names several accounts, even if it has one so far.
        database: The alias of the payments' database, or None for the one to which the routers write.
        quote: Returns a price, as `PaymentEndpoints` takes it.
        authorize: The same with Django's own request in place of the first argument.
        key_scope: As `authorize`.
        guard: As `PaymentEndpoints` takes it.
        limits: How often clients may act. None for limits in `cache`, or in this process.
        cache: The alias of the cache that counts for all processes, or None.
        hooks: Receive each event.
        simulated: The simulated Daraja, or None.
    """

    configs: tuple[StkConfig, ...]
    several: bool = False
    database: str | None = None
    quote: Callable[..., Any] | None = None
    authorize: Callable[..., Any] | None = None
    key_scope: Callable[..., Any] | None = None
    guard: Guard | None = None
    limits: Limits | None = None
    cache: str | None = None
    hooks: tuple[Hook, ...] = ()
    simulated: Simulated | None = None


@hides_locals
def read_settings(environ: Mapping[str, str] | None = None, /) -> HostSettings:
    """Read the settings of this project.

    Args:
        environ: The environment variables. Default: those of the process.

    Raises:
        ConfigurationError: One error that names every setting that is missing or cannot work.
    """
    environ = os.environ if environ is None else environ
    problems: Problems = []
    texts, own = _sorted_keys(_given(), problems)
    simulated = _simulated(own, several=VARIABLE in texts or "accounts" in own, problems=problems)
    if simulated is not None:
        texts, environ = simulated_texts(texts, simulated), {}
    merged = {name: text for name, text in environ.items() if name.lower() not in texts} | texts
    configs = _configs(merged, own.get("accounts"), problems)
    several = "accounts" in own or bool(_first(merged, VARIABLE))
    parts = _parts_of(own, problems)
    _raise(problems)
    return HostSettings(configs=configs, several=several, simulated=simulated, **parts)


def settings_around(configs: tuple[StkConfig, ...], /) -> HostSettings:
    """Read the keys that only the Django app has, and put them around other accounts, for tests.

    Raises:
        ConfigurationError: One of the keys cannot work.
    """
    problems: Problems = []
    _, own = _sorted_keys(_given(), problems)
    parts = _parts_of(own, problems)
    _raise(problems)
    return HostSettings(configs=configs, several=len(configs) > 1 or "accounts" in own, **parts)


def named_database() -> str | None:
    """Return the alias that the settings name, or None. To look at payments, this setting is enough."""
    given: dict[Any, Any] = getattr(settings, SETTING, None) or {}
    named = {str(key).lower(): value for key, value in given.items()}
    alias: str | None = named.get("database")
    return alias


def _raise(problems: Problems) -> None:
    """Raise an error with the first problem of each setting, if there is any."""
    found: dict[str, str] = {}
    for name, rule in problems:
        found.setdefault(name, rule)
    if found:
        raise ConfigurationError(tuple(found.items()))


def _parts_of(own: Mapping[str, Any], problems: Problems) -> dict[str, Any]:
    """Return the fields of `HostSettings` that the Django app's keys set."""
    parts = {
        "database": _alias(own, "database", connections, problems),
        "cache": _alias(own, "cache", settings.CACHES, problems),
        "hooks": _hooks(own.get("hooks", ()), problems),
    }
    names = ("quote", "authorize", "key_scope", "guard", "limits")
    return parts | {name: _imported(name, own[name], problems) for name in names if name in own}


def is_unset(error: ConfigurationError, /) -> bool:
    """Return whether an error says only that no credentials are set at all."""
    return {name for name, rule in error.problems if rule == "is not set"} >= set(REQUIRED)


# --- the dict ----------------------------------------------------------------------------------------


def _given() -> Mapping[str, Any]:
    given: object = getattr(settings, SETTING, {})
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise ConfigurationError(((SETTING, "must be a dict whose keys are texts"),))
    return given


def _sorted_keys(
    given: Mapping[str, Any], problems: Problems
) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the settings of the account as texts, and those of the Django app. None counts as missing."""
    texts: dict[str, str] = {}
    own: dict[str, Any] = {}
    for key, value in given.items():
        name = key.lower()
        if name in texts or name in own:
            problems.append((name, "is set twice"))
        elif name not in _KEYS:
            problems.append((key, f"is not a setting{_hint(name)}"))
        elif value is None:
            continue
        elif name in OWN:
            own[name] = value
        else:
            text = text_of_value(str(value) if isinstance(value, Path) else value)
            if text is None:
                rule = "must be a text, a whole number or a list of texts"
                problems.append((name, rule))
            else:
                texts[name] = text
    return texts, own


def _hint(name: str) -> str:
    near = [_MEANT[name]] if name in _MEANT else difflib.get_close_matches(name, _KEYS, 1)
    return f": did you mean {near[0]}?" if near else ""


def _first(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name) or environ.get(name.upper()) or ""


# --- the values --------------------------------------------------------------------------------------


def _configs(
    merged: Mapping[str, str], accounts: object, problems: Problems
) -> tuple[StkConfig, ...]:
    folder = Path(getattr(settings, "BASE_DIR", "."))
    try:
        if accounts is None:
            return configs_from_env(merged, folder=folder)
        if not isinstance(accounts, Mapping):
            problems.append(("accounts", "must be a dict with a dict for each account"))
            return ()
        return configs_from_tables(accounts, merged)
    except ConfigurationError as error:
        problems += error.problems
        return ()


def _simulated(own: Mapping[str, Any], *, several: bool, problems: Problems) -> Simulated | None:
    """Return the simulated Daraja that the host wants, or None.

    Outside of development a simulated payment would be goods for no money.
    """
    wanted = own.get("simulate", False)
    if not isinstance(wanted, bool):
        problems.append(("simulate", "must be True or False"))
    if wanted is not True:
        return None
    if not settings.DEBUG:
        problems.append(("simulate", NEEDS_DEBUG))
    if several:
        problems.append(("simulate", "plays one account: leave out accounts beside it"))
    found = {name: own[name] for name in SIMULATED if name in own}
    try:
        return Simulated(**{SIMULATED[name]: value for name, value in found.items()})
    except ConfigurationError as error:
        problems += error.problems
        return Simulated()


def _alias(
    own: Mapping[str, Any], name: str, known: Iterable[str], problems: Problems
) -> str | None:
    alias: str | None = own.get(name)
    if alias is not None and alias not in list(known):
        problems.append((name, f"must be an alias in {name.upper()}S"))
    return alias


def _hooks(given: object, problems: Problems) -> tuple[Hook, ...]:
    if not isinstance(given, (list, tuple)):
        problems.append(("hooks", "must be a list of dotted paths"))
        return ()
    return tuple(_imported("hooks", each, problems) for each in given)


def _imported(name: str, given: object, problems: Problems) -> Any:  # noqa: ANN401 - the host's
    """Return the object that a dotted path names. A value that is no text is returned as it is."""
    found = given
    if isinstance(given, str):
        try:
            found = import_string(given)
        except Exception as error:  # noqa: BLE001 - the host's module may raise anything
            problems.append((name, f"cannot be imported: {type(error).__name__}: {error}"))
            return None
    if name == "limits":
        return _limits(found, problems)
    if not callable(found) and not (name == "guard" and isinstance(found, CallbackGuard)):
        problems.append((name, "must name a function"))
    return found


def _limits(found: Any, problems: Problems) -> Limits | None:  # noqa: ANN401 - the host's
    """Return the limits that a setting names, or those that the function makes that it names."""
    made = found if hasattr(found, "take") or not callable(found) else found()
    if not hasattr(made, "take") or iscoroutinefunction(made.take):
        problems.append(
            ("limits", "must name limits with plain methods, or a function that makes them")
        )
        return None
    limits: Limits = made
    return limits
