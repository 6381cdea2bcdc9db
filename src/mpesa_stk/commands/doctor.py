"""``mpesa-stk doctor``: checks a configuration without moving money.

It contacts only the configured addresses of Daraja and the configured callback URL.
"""

from __future__ import annotations

import argparse
import difflib
import json
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import attrs

from mpesa_stk.commands import database
from mpesa_stk.commands.context import Context
from mpesa_stk.commands.doctor_network import check_network
from mpesa_stk.commands.doctor_settings import REMEDIES, Finding, check_refusal, check_settings
from mpesa_stk.commands.exit_codes import DONE, NOT_DONE
from mpesa_stk.commands.options import Subparsers, add_json
from mpesa_stk.config.from_env import REQUIRED
from mpesa_stk.config.settings import StkConfig
from mpesa_stk.config.several import VARIABLE as ACCOUNTS
from mpesa_stk.config.several import SecretsFileWarning, configs_from_env
from mpesa_stk.daraja.exchange import MAX_BODY
from mpesa_stk.errors import ConfigurationError

_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_SET_IN_FILE = re.compile(r"^[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=", re.MULTILINE)
_WORDS_IN_FRONT = re.compile("(?:MPESA|DARAJA|SAFARICOM|LNM|STK)+")
_ALIKE = 0.92


def add_to(commands: Subparsers, /) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "doctor",
        help="check the settings of the environment, without moving money",
        description="Checks the settings of the environment without moving money. Asks Daraja for a "
        "token and about a payment that cannot exist, and GETs your callback URL.",
    )
    add_options(command)
    command.set_defaults(command=run)


def add_options(command: argparse.ArgumentParser, /) -> None:
    """Add the options."""
    command.add_argument("--offline", action="store_true", help="look at the settings only")
    add_json(command)


def run(context: Context, arguments: argparse.Namespace, /) -> int:
    """Check everything, and print the findings."""
    environ = context.environ
    findings = [*check_variables(environ), *check_names(environ), *check_database(context)]
    findings += check_file(_read_dotenv(context.folder), environ)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            configs = configs_from_env(environ, folder=context.folder)
    except ConfigurationError as error:
        findings += check_refusal(error)
    else:
        findings += check_configs(context, configs, offline=arguments.offline)
    # Other warnings are about banned words, and a finding says the same.
    findings += [
        Finding(
            level="warning",
            check=ACCOUNTS,
            text=str(one.message).removeprefix(f"{ACCOUNTS} "),
            remedy="chmod o-r",
        )
        for one in caught
        if issubclass(one.category, SecretsFileWarning)
    ]
    return show_findings(context, findings, as_json=arguments.json)


def check_configs(
    context: Context, configs: Iterable[StkConfig], /, *, offline: bool
) -> Iterator[Finding]:
    """Check settings that can work and, unless `offline`, ask Daraja and the callback URLs."""
    for config in configs:
        yield from check_settings(config)
    yield from check_proxies(context.environ)
    if not offline:
        for config in configs:
            yield from check_network(context, config)


def _read_dotenv(folder: Path) -> str:
    """Read the beginning of the file ``.env`` of a folder. Returns ``""`` if it cannot be read."""
    path = folder / ".env"
    try:
        if path.is_file():
            with path.open("rb") as file:
                return file.read(MAX_BODY).decode("utf-8", "replace")
    except OSError:
        pass  # the file of another user: the checks go on without it
    return ""


def show_findings(context: Context, findings: Sequence[Finding], /, *, as_json: bool) -> int:
    """Print findings.

    Returns:
        Exit code: 0, or 1 if there is a problem.
    """
    levels = [finding.level for finding in findings]
    problems, cautions = levels.count("problem"), levels.count("warning")
    if as_json:
        facts = {
            "problems": problems,
            "warnings": cautions,
            "findings": [attrs.asdict(finding) for finding in findings],
        }
        context.show(json.dumps(facts, indent=2))
    else:
        for finding in findings:
            remedy = f" -> {finding.remedy}" if finding.remedy else ""
            context.show(f"{finding.level:<8} {finding.check}: {finding.text}{remedy}")
        context.show(f"problems: {problems}, warnings: {cautions}")
    return NOT_DONE if problems else DONE


# --- the environment variables ---------------------------------------------------------------------------


def check_variables(environ: Mapping[str, str], /) -> Iterator[Finding]:
    """Yield variables with white space around them, or that are set twice with different values."""
    for name in REMEDIES:
        found = {spelling for spelling in (name, name.upper()) if environ.get(spelling)}
        for spelling in sorted(found):
            yield from _check_white_space(spelling, environ[spelling])
        if len({environ[spelling].strip() for spelling in found}) > 1:
            yield Finding(
                level="warning",
                check=name,
                text=f"is set twice, and differs: {name} counts, {name.upper()} does not",
                remedy="unset one of them",
            )


def _check_white_space(name: str, value: str) -> Iterator[Finding]:
    if value.strip() != value:
        yield Finding(
            level="warning",
            check=name,
            text="has white space around it, which is dropped here and perhaps not elsewhere",
            remedy="remove the white space",
        )


def check_database(context: Context, /) -> Iterator[Finding]:
    """Yield a database URL that SQLAlchemy cannot use. The database is not connected."""
    url = database.named(context, None)
    fault = url and database.url_fault(url)
    if fault:
        remedy = REMEDIES[database.VARIABLE]
        yield Finding(level="problem", check=database.VARIABLE, text=fault, remedy=remedy)


def check_proxies(environ: Mapping[str, str], /) -> Iterator[Finding]:
    """Yield the proxies of the environment, which other programs use and this library does not."""
    spellings = [spelling for name in _PROXIES for spelling in (name, name.upper())]
    found = [spelling for spelling in spellings if environ.get(spelling)]
    if found:
        yield Finding(
            level="warning",
            check="proxies",
            text=f"{' and '.join(found)} set, but not used by this library",
            remedy="where Daraja is reached through a proxy, set mpesa_proxy",
        )


def check_names(environ: Mapping[str, str], /) -> Iterator[Finding]:
    """Yield variables that this package does not read, but whose names resemble an optional setting.

    The error about a missing setting that is required names them itself.
    """
    for other in sorted(environ):
        meant = _meant(other)
        if meant is None or meant in REQUIRED:
            continue
        if environ[other] and not _is_set(environ, meant):
            yield Finding(
                level="warning",
                check=meant,
                text=f"is not set, but {other} is, which nothing reads",
                remedy=f"did you mean {meant.upper()}? Rename the variable",
            )


def check_file(text: str, environ: Mapping[str, str], /) -> Iterator[Finding]:
    """Yield the settings of a file ``.env`` that are not in the environment.

    Args:
        text: The text of the file.
        environ: The variables that are set.
    """
    found = dict.fromkeys(_SET_IN_FILE.findall(text))
    unread = [name for name in found if (meant := _meant(name)) and not _is_set(environ, meant)]
    if unread:
        yield Finding(
            level="warning",
            check=".env",
            text=f"lies in this folder with {', '.join(unread)}, but nothing reads it",
            remedy="load it into the environment first: set -a; . ./.env; set +a",
        )


def _is_set(environ: Mapping[str, str], name: str) -> bool:
    return any(environ.get(spelling, "").strip() for spelling in (name, name.upper()))


def _meant(other: str) -> str | None:
    """Return the setting that a name stands for or resembles, or None."""
    if not _NAME.fullmatch(other):
        return None
    letters = re.sub("[^A-Z0-9]", "", other.upper())
    front = _WORDS_IN_FRONT.match(letters)
    known = _letters_of(REMEDIES, cut=front is not None)
    # Many files of environment variables shorten this one.
    known |= {"ENV": "mpesa_environment"} if front else {}
    near = difflib.get_close_matches(letters[front.end() :] if front else letters, known, 1, _ALIKE)
    return known[near[0]] if near else None


def _letters_of(names: Iterable[str], *, cut: bool) -> dict[str, str]:
    """Return each name by its letters, without the words in front if `cut` is set."""
    by_letters = {name.replace("_", "").upper(): name for name in names}
    if not cut:
        return by_letters
    return {_WORDS_IN_FRONT.sub("", letters, 1): name for letters, name in by_letters.items()}
