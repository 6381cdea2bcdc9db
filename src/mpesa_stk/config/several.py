"""Read the settings of several accounts: from a TOML file, or from variables with a prefix for each."""

from __future__ import annotations

import difflib
import importlib
import os
import re
import stat
import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mpesa_stk.config.from_env import REQUIRED
from mpesa_stk.config.settings import StkConfig
from mpesa_stk.errors import ConfigurationError
from mpesa_stk.privacy import hides_locals

VARIABLE = "mpesa_accounts"
NAMES = (
    *REQUIRED,
    "till_number",
    "access_token_url",
    "checkout_url",
    "mpesa_query_check_url",
    "mpesa_environment",
    "callback_secret",
    "mpesa_max_amount",
    "mpesa_proxy",
    "mpesa_ca_bundle",
    "allowed_callback_networks",
    "trusted_proxies",
    "allowed_hosts",
)
"""The settings of an account, named as in the environment."""
# If an account lacks one of these, that is a mistake: with the number of another account, customers would
# pay that one.
_NEVER_SHARED = frozenset({"shortcode", "till_number"})
_PREFIXES = re.compile(r"\s*[A-Za-z][A-Za-z0-9_]*(\s*,\s*[A-Za-z][A-Za-z0-9_]*)*\s*")
_PLACE = re.compile(r"\(at [^()]*\)")
_TOML_SINCE = (3, 11)

Problems = list[tuple[str, str]]


class SecretsFileWarning(UserWarning):
    """Other users of the machine can read the file with the settings of the accounts."""


@hides_locals
def configs_from_env(
    environ: Mapping[str, str], /, *, folder: Path | None = None
) -> tuple[StkConfig, ...]:
    """Read the settings of several accounts, or of one, as environment variables name them.

    ``mpesa_accounts`` is the path of a TOML file with a table for each account, or a list of prefixes such
    as ``FEES,LUNCH``. With prefixes, ``FEES_SHORTCODE`` is the shortcode of the first account.

    Each account has the settings of `StkConfig.from_env`. If its table or prefix lacks one, it takes that
    of all accounts: from the file before the first table, or from the variable without a prefix. Only
    ``shortcode`` and ``till_number`` are never shared. Without ``mpesa_accounts``, the settings are those
    of one account.

    Args:
        environ: The variables, such as ``os.environ``.
        folder: The folder in which a relative path begins. By default the current one.

    Returns:
        The settings of each account, in order.

    Raises:
        ConfigurationError: One error that names every setting of every account that cannot work.
    """
    named = _variable(environ, VARIABLE)
    if not named:
        return (StkConfig.from_env(environ),)
    problems: Problems = []
    shared = {name: text for name in NAMES if (text := _variable(environ, name))}
    if _PREFIXES.fullmatch(named):
        separator, accounts = "_", _from_prefixes(environ, named)
    else:
        separator = "."
        table = _read((folder or Path()) / named, problems)
        accounts = _from_tables(table, shared, problems)
    configs = _made(accounts, shared, separator, problems)
    if problems:
        raise ConfigurationError(tuple(problems))
    return tuple(configs.values())


@hides_locals
def configs_from_tables(
    tables: Mapping[str, Any], environ: Mapping[str, str], /
) -> tuple[StkConfig, ...]:
    """Read the settings of several accounts from tables with the keys of a TOML file.

    Args:
        tables: The settings of each account, by its label.
        environ: The variables. An account takes from them the settings that its table lacks.

    Returns:
        The settings of each account, in order.

    Raises:
        ConfigurationError: One error that names every setting of every account that cannot work.
    """
    problems: Problems = []
    shared = {name: text for name in NAMES if (text := _variable(environ, name))}
    accounts = _from_tables(tables, shared, problems)
    configs = _made(accounts, shared, ".", problems)
    if problems:
        raise ConfigurationError(tuple(problems))
    return tuple(configs.values())


def _variable(environ: Mapping[str, str], *names: str) -> str:
    """Return the text of the first variable that is set, in the given or upper case, or ``""``."""
    spellings = [spelling for name in names for spelling in (name, name.upper())]
    texts = (str(environ.get(spelling, "")).strip() for spelling in spellings)
    return next(filter(None, texts), "")


def _made(
    accounts: Mapping[str, dict[str, str]],
    shared: Mapping[str, str],
    separator: str,
    problems: Problems,
) -> dict[str, StkConfig]:
    """Make the settings of each account, and add those that cannot work to the problems."""
    configs: dict[str, StkConfig] = {}
    common = {name: text for name, text in shared.items() if name not in _NEVER_SHARED}
    for label, own in accounts.items():
        try:
            configs[label] = StkConfig.from_env(common | own)
        except ConfigurationError as error:
            problems += [(f"{label}{separator}{name}", rule) for name, rule in error.problems]
    first: dict[str, str] = {}
    for label, config in configs.items():
        other = first.setdefault(str(config.account), label)
        if other != label:
            problems.append((label, f"is {config.account}, as {other} is"))
    if len({config.environment.token_url for config in configs.values()}) > 1:
        rule = "has accounts in several environments, which must not share one store"
        problems.append((VARIABLE, rule))
    return configs


# --- prefixes ------------------------------------------------------------------------------------------


def _from_prefixes(environ: Mapping[str, str], named: str) -> dict[str, dict[str, str]]:
    """Return the settings of each prefix, by the prefix as it is written."""
    labels = dict.fromkeys(label.strip() for label in named.split(","))
    return {
        label: {
            name: text
            for name in NAMES
            if (text := _variable(environ, f"{label}_{name}", f"{label.lower()}_{name}"))
        }
        for label in labels
    }


# --- the file ------------------------------------------------------------------------------------------


def _read(path: Path, problems: Problems) -> dict[str, Any]:
    """Read a TOML file. If it cannot be read, the reason is added to the problems."""
    if sys.version_info < _TOML_SINCE:
        rule = (
            "names a TOML file, which needs Python 3.11: name prefixes such as FEES,LUNCH instead"
        )
        problems.append((VARIABLE, rule))
        return {}
    tomllib = importlib.import_module("tomllib")
    try:
        with path.open("rb") as file:
            _warn_if_open(os.fstat(file.fileno()).st_mode)
            table: dict[str, Any] = tomllib.load(file)
    except OSError as error:
        problems.append((VARIABLE, f"cannot be read: {os.strerror(error.errno or 0)}"))
    except ValueError as error:  # of tomllib, or of bytes that are no UTF-8
        place = _PLACE.search(str(error))
        problems.append((VARIABLE, f"is not a TOML file {place[0] if place else ''}".strip()))
    else:
        return table
    return {}


def _warn_if_open(mode: int) -> None:
    if os.name == "posix" and mode & stat.S_IROTH:
        text = f"{VARIABLE} names a file that all users of this machine can read"
        warnings.warn(text, SecretsFileWarning, stacklevel=2)


def _from_tables(
    table: Mapping[str, Any], shared: dict[str, str], problems: Problems
) -> dict[str, dict[str, str]]:
    """Return the settings of each table, and add those before the first table to the shared ones."""
    tables = {label: own for label, own in table.items() if isinstance(own, dict)}
    before = {name: value for name, value in table.items() if name not in tables}
    shared |= _texts("", before, problems)
    if not tables and not problems:
        problems.append((VARIABLE, "must have a table for each account, such as [fees]"))
    for name in sorted(_NEVER_SHARED & before.keys()):
        problems.append((name, "must be in the table of its account"))
    return {label: _texts(f"{label}.", own, problems) for label, own in tables.items()}


def _texts(label: str, table: Mapping[str, Any], problems: Problems) -> dict[str, str]:
    """Return the values of a table as texts. Values of other types and unknown names are problems."""
    texts: dict[str, str] = {}
    for name, value in table.items():
        text = text_of_value(value)
        if name not in NAMES:
            near = difflib.get_close_matches(name, NAMES, 1)
            hint = f": did you mean {near[0]}?" if near else ""
            problems.append((f"{label}{name}", f"is not a setting{hint}"))
        elif text is None:
            problems.append((f"{label}{name}", "must be a text, a whole number or a list of texts"))
        else:
            texts[name] = text
    return texts


def text_of_value(value: object, /) -> str | None:
    """Return a value of a table as an environment variable has it. None if its type cannot be one."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, (list, tuple)) and all(isinstance(part, str) for part in value):
        parts: Iterable[str] = value
        return ",".join(parts)
    return None
