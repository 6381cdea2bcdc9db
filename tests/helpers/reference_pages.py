"""The parts of ``docs/reference/`` that are made from the code, between markers.

``python tests/helpers/reference_pages.py`` writes them anew.
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping

import attrs

import mpesa_stk
import openapi_file
from mpesa_stk import (
    SANDBOX,
    ConfigurationError,
    Environment,
    MpesaError,
    StkConfig,
    TransactionState,
    cli,
    errors,
)
from mpesa_stk.commands import exit_codes
from mpesa_stk.config.from_env import REQUIRED
from mpesa_stk.daraja.results import CATALOGUE
from mpesa_stk.payments.transaction import TRANSITIONS
from support import ROOT

REFERENCE = ROOT / "docs" / "reference"

# --- names and docstrings ------------------------------------------------------------------------------

# Values have no docstring of their own.
VALUES = {
    "CallbackResult": "`PaymentConfirmed`, `PaymentFailed` or `PaymentUnproven`.",
    "MAX_BODY": "The most bytes of a body that are read, 65,536.",
    "PRODUCTION": "The `Environment` in which money moves.",
    "SAFARICOM_NETWORKS": "The addresses from which Safaricom calls back.",
    "SANDBOX": "The `Environment` for trying things out.",
}


def _in_a_cell(text: str) -> str:
    """A text of a docstring as it may stand in a table."""
    return " ".join(text.split()).replace("``", "`").replace("|", "or")


def summary(name: str) -> str:
    """The first sentence of a public name's docstring."""
    if name in VALUES:
        return VALUES[name]
    first, _, _ = (inspect.getdoc(getattr(mpesa_stk, name)) or "").partition("\n\n")
    return _in_a_cell(first)


def names() -> Iterator[str]:
    """Every export, with a link to its full documentation."""
    yield "| name | |"
    yield "|---|---|"
    for name in mpesa_stk.__all__:
        yield f"| {{py:obj}}`{name} <mpesa_stk.{name}>` | {summary(name)} |"


def attributes(kind: type[object]) -> dict[str, str]:
    """The section "Attributes" of a class's own docstring."""
    section = re.search(
        r"^Attributes:\n((?:    .*\n?|\n)+)", inspect.getdoc(kind) or "", re.MULTILINE
    )
    if section is None:
        return {}
    entries = re.findall(r"^    (\w+): ((?:.+\n?)(?:     +.+\n?)*)", section[1], re.MULTILINE)
    return {name: _in_a_cell(text) for name, text in entries}


# --- errors --------------------------------------------------------------------------------------------


def _errors(kind: type[MpesaError], depth: int = 0) -> Iterator[tuple[int, type[MpesaError]]]:
    """An error and those below it, in the order in which they are written."""
    yield depth, kind
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from _errors(below, depth + 1)


def error_tree() -> Iterator[str]:
    """Each error under the one that it belongs to, with the attributes that it adds."""
    for depth, kind in _errors(MpesaError):
        name = f"{{py:obj}}`~mpesa_stk.{kind.__name__}`"
        facts = ", ".join(f"`{fact}`" for fact in attributes(kind))
        adds = f" It has {facts}." if facts else ""
        yield f"{'  ' * depth}- {name}: {summary(kind.__name__)}{adds}"


def error_classes() -> Iterator[str]:
    """What Sphinx documents as the classes of the errors."""
    yield "```{eval-rst}"
    for _, kind in _errors(MpesaError):
        yield f".. autoexception:: mpesa_stk.{kind.__name__}"
        yield "   :no-inherited-members:"
    yield "```"


# --- result codes --------------------------------------------------------------------------------------


def code_table() -> Iterator[str]:
    """Every code that the catalogue knows, for developers."""
    yield "| code | meaning | settles | again | wait | evidence |"
    yield "|---|---|---|---|---|---|"
    for code, row in CATALOGUE.items():
        wait = f"{row.wait_seconds} s" if row.wait_seconds else ""
        yield (
            f"| `{code}` | {row.meaning} | {'yes' if row.final else 'no'} | `{row.retry.value}` "
            f"| {wait} | {row.evidence} |"
        )


def message_table() -> Iterator[str]:
    """Every code that the catalogue knows, for customers."""
    yield "| code | English | Swahili |"
    yield "|---|---|---|"
    for code, row in CATALOGUE.items():
        yield f"| `{code}` | {row.message()} | {row.message('sw')} |"


# --- settings ------------------------------------------------------------------------------------------

# What each environment variable means, and the setting that it makes. A test compares the names with those
# that the code reads.
VARIABLE_MEANINGS: Mapping[str, tuple[str, str]] = {
    "consumer_key": ("consumer_key", "the app's consumer key"),
    "consumer_secret": ("consumer_secret", "the app's consumer secret"),
    "shortcode": ("account", "the paybill, or the till's store number; 5 to 7 digits"),
    "pass_key": ("passkey", "the M-Pesa Express passkey"),
    "c2b_callback": ("callback_url", "where Daraja posts results: https, a public host"),
    "till_number": ("account", "makes the account a till"),
    "mpesa_environment": ("environment", "`sandbox` or `production`"),
    "access_token_url": ("environment", "replaces the address of the token endpoint"),
    "checkout_url": ("environment", "replaces the address of the push endpoint"),
    "mpesa_query_check_url": ("environment", "replaces the address of the status query"),
    "callback_secret": (
        "callback_secrets",
        "keys that sign callback URLs, comma-separated, newest first, each of at least 16 characters",
    ),
    "mpesa_max_amount": ("max_amount", "most shillings of one push"),
    "mpesa_proxy": (
        "proxies",
        "URL of the proxy through which Daraja is reached, such as `http://user:password@proxy.example:3128`",
    ),
    "mpesa_ca_bundle": (
        "ca_bundle",
        "file of the CA certificates that are trusted, in PEM form, in place of those that requests brings",
    ),
    "allowed_callback_networks": (
        "allowed_callback_networks",
        (
            "comma-separated addresses or networks from which callbacks may come; Safaricom's published "
            "ones if it is not set"
        ),
    ),
    "trusted_proxies": (
        "trusted_proxies",
        (
            "comma-separated addresses or networks of your own proxies; the endpoints believe the client "
            "address that they report"
        ),
    ),
    "allowed_hosts": (
        "allowed_hosts",
        (
            "comma-separated host names under which your payment endpoints are reached; no check if it is "
            "not set"
        ),
    ),
    "mpesa_accounts": (
        "",
        (
            "a TOML file, or prefixes of variables, for "
            "[several accounts](../how-to/accounts.md#settings-from-the-environment)"
        ),
    ),
    "mpesa_database": (
        "",
        "SQLAlchemy URL of the payments, for [the commands](../how-to/worker.md#your-store) that use them",
    ),
}
# Beside a value of a wrong type: values that break the other rules of a setting.
_ALSO_BAD: Mapping[str, tuple[object, ...]] = {
    "consumer_key": ("a:b",),
    "callback_url": ("http://shop.example.co.ke/", "https://10.0.0.1/"),
    "callback_secrets": (("short",),),
    "trusted_proxies": (("0.0.0.0/0",),),
}


def _problems(**settings: object) -> dict[str, str]:
    """The rules that settings break, by name."""
    try:
        StkConfig(**settings)  # type: ignore[arg-type]
    except ConfigurationError as error:
        return dict(error.problems)
    return {}


def rules() -> dict[str, str]:
    """What each setting must be, in the words of the errors about those that are not."""
    wrong: dict[str, object] = dict.fromkeys(
        (field.name for field in attrs.fields(StkConfig)), object()
    )
    found = _problems(**wrong)
    for name, values in _ALSO_BAD.items():
        sound = {"environment": SANDBOX, "callback_secrets": ()}
        others = [_problems(**(wrong | sound | {name: value}))[name] for value in values]
        found[name] = "; ".join([found[name], *others])
    return found


def _default(value: object) -> str:
    """A default, as one writes it."""
    if isinstance(value, Environment):
        return f"`{value.name.upper()}`"
    return "" if value in ((), None, "") else f"`{value!r}`"


def setting_table() -> Iterator[str]:
    """Every setting of `StkConfig`: its default, rule and meaning."""
    must, meanings = rules(), attributes(StkConfig)
    yield "| setting | default | rule | meaning |"
    yield "|---|---|---|---|"
    for name, parameter in inspect.signature(StkConfig).parameters.items():
        is_needed = parameter.default is inspect.Parameter.empty
        default = "needed" if is_needed else _default(parameter.default)
        yield f"| `{name}` | {default} | {must[name]} | {meanings[name]} |"


def variable_table() -> Iterator[str]:
    """Every environment variable that is read."""
    yield "| variable | needed | setting | meaning |"
    yield "|---|---|---|---|"
    for name, (setting, meaning) in VARIABLE_MEANINGS.items():
        needed = "yes" if name in REQUIRED else ""
        yield f"| `{name}` | {needed} | {f'`{setting}`' if setting else ''} | {meaning} |"


# --- commands ------------------------------------------------------------------------------------------


def commands() -> Iterator[str]:
    """Every command with its arguments, as its own help has them."""
    yield from _command("mpesa-stk", cli._parser())


def _command(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    below: Mapping[str, argparse.ArgumentParser] = {}
    rows = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            below = action.choices
        elif not isinstance(action, (argparse._HelpAction, argparse._VersionAction)):
            rows.append(_argument(action))
    if rows or name == "mpesa-stk":
        yield f"## {name}" if name.count(" ") < 2 else f"### {name}"
        yield ""
        yield _escaped(parser.description or "")
        yield ""
    if rows:
        yield "| argument | default | meaning |"
        yield "|---|---|---|"
        yield from rows
        yield ""
    for word, command in below.items():
        yield from _command(f"{name} {word}", command)


def _argument(action: argparse.Action) -> str:
    """A row of the table of one command."""
    shown = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    takes = "" if action.nargs == 0 else f" {shown}"
    spelled = ", ".join(f"`{option}{takes}`" for option in action.option_strings) or f"`{shown}`"
    default = action.default
    is_shown = action.option_strings and default not in (None, False, True, argparse.SUPPRESS, [])
    meaning = (action.help or "") % {**vars(action), "prog": "mpesa-stk"}
    if action.choices is not None:
        meaning += ": one of " + ", ".join(f"`{choice}`" for choice in action.choices)
    if action.required and action.option_strings:
        meaning = f"{meaning} (needed)".strip()
    return f"| {spelled} | {f'`{default}`' if is_shown else ''} | {_escaped(meaning)} |"


def _escaped(text: str) -> str:
    return re.sub(r"([<>*_|\[\]])", r"\\\1", " ".join(text.split()))


def exit_code_table() -> Iterator[str]:
    """The exit codes, as their module describes them."""
    source = inspect.getsource(exit_codes)
    yield "| code | meaning |"
    yield "|---|---|"
    for code, text in re.findall(
        r'^\w+ = (\d)\n"""(.+?)"""', source, flags=re.MULTILINE | re.DOTALL
    ):
        yield f"| {code} | {_in_a_cell(text)} |"


# --- states --------------------------------------------------------------------------------------------


def transitions() -> Iterator[str]:
    """A row for each signal, a column for each state; a dot where the payment stays where it is."""
    states = list(TransactionState)
    yield "| what happens | " + " | ".join(f"`{state.value}`" for state in states) + " |"
    yield "|---" * (len(states) + 1) + "|"
    for signal, moves in TRANSITIONS.items():
        cells = [f"`{moves[state].value}`" if state in moves else "·" for state in states]
        yield f"| {signal.value} | " + " | ".join(cells) + " |"


# --- the pages -----------------------------------------------------------------------------------------

PARTS: Mapping[tuple[str, str], Callable[[], Iterator[str]]] = {
    ("names.md", "names"): names,
    ("errors.md", "tree"): error_tree,
    ("errors.md", "classes"): error_classes,
    ("codes.md", "codes"): code_table,
    ("codes.md", "messages"): message_table,
    ("settings.md", "settings"): setting_table,
    ("settings.md", "variables"): variable_table,
    ("options.md", "exit-codes"): exit_code_table,
    ("options.md", "commands"): commands,
    ("transactions.md", "transitions"): transitions,
}
"""By page and marker: what makes the lines between ``MARKER:begin`` and ``MARKER:end``."""


def files() -> dict[str, str]:
    """Every generated file of ``docs/reference/``, as it should be."""
    texts = {page: (REFERENCE / page).read_text(encoding="utf-8") for page, _ in PARTS}
    for (page, marker), lines in PARTS.items():
        begin, end = f"<!-- {marker}:begin -->", f"<!-- {marker}:end -->"
        before, found, rest = texts[page].partition(begin)
        _, closed, after = rest.partition(end)
        assert found, f"{page} has no place for {marker}"
        assert closed, f"{page} has no end of {marker}"
        made = "\n".join(lines()).rstrip("\n")
        texts[page] = f"{before}{begin}\n\n{made}\n\n{end}{after}"
    openapi = json.dumps(openapi_file.document(), indent=2, ensure_ascii=False) + "\n"
    return texts | {"openapi.json": openapi}


if __name__ == "__main__":
    for _name, _text in files().items():
        (REFERENCE / _name).write_text(_text, encoding="utf-8")
