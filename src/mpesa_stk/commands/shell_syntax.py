"""Environment variables in the syntax of a shell, or of a file of variables. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

_PLAIN = re.compile(r"[A-Za-z0-9_./:?=%@+,-]*")
# PowerShell takes each of these for the end of a text in single quotes.
_QUOTES_OF_POWERSHELL = re.compile("(['\u2018\u2019\u201a\u201b])")


def bash(name: str, value: str, /) -> str:
    """Return a line that sets a variable in bash, zsh, and any other shell of POSIX."""
    quoted = value.replace("'", "'\\''")
    return f"export {name}='{quoted}'"


def _fish(name: str, value: str, /) -> str:
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"set -gx {name} '{quoted}'"


def _powershell(name: str, value: str, /) -> str:
    quoted = _QUOTES_OF_POWERSHELL.sub(r"\1\1", value)
    return f"$env:{name} = '{quoted}'"


def _dotenv(name: str, value: str, /) -> str:
    # Readers of such files differ about escapes, and some keep quotes as a part of the value. A value has
    # quotes only if it needs them, as where a shell reads the file.
    if _PLAIN.fullmatch(value):
        return f"{name}={value}"
    if "'" in value or "\\" in value:
        raise ValueError("readers of .env files differ about quotes and backslashes")
    return f"{name}='{value}'"


SYNTAXES: Mapping[str, Callable[[str, str], str]] = {
    "bash": bash,
    "fish": _fish,
    "powershell": _powershell,
    "dotenv": _dotenv,
}
"""Each syntax: a function of a name and a value without line breaks that returns the line."""
