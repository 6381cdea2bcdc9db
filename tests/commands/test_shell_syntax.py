"""Environment variables as shells and readers of .env files take them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from mpesa_stk.commands.shell_syntax import SYNTAXES
from shells import evaluated, path_of

PLAIN = "http://127.0.0.1:8090/oauth/v1/generate?grant_type=client_credentials"
VALUES = {
    "PLAIN": PLAIN,
    "EMPTY": "",
    "SPACES": " two  words ",
    "DOLLAR": "$HOME ${HOME} $(id) `id`",
    "SIGNS": "a&b;c|d<e>(f)*[g]!h#i~",
    "QUOTES": "it's \"so\" ''",
    "BACKSLASH": "c:\\new\\ \\'",
    "CURLY": "\u2018a\u2019\u201ab\u201b \u201cc\u201d",
}


@pytest.mark.parametrize(
    ("shell", "syntax"), [("bash", "bash"), ("sh", "bash"), ("zsh", "bash"), ("fish", "fish")]
)
def test_a_shell_has_the_values_afterwards(shell: str, syntax: str, tmp_path: Path) -> None:
    """Whatever characters are in them."""
    script = "\n".join(SYNTAXES[syntax](name, value) for name, value in VALUES.items())

    variables = evaluated(shell, script, folder=str(tmp_path))

    assert {name: variables[name] for name in VALUES} == VALUES


def test_powershell_doubles_each_quote_that_it_knows() -> None:
    """It takes four curly ones for single quotes."""
    line = SYNTAXES["powershell"]
    assert line("A", "it's $b `c \\") == "$env:A = 'it''s $b `c \\'"
    assert line("A", VALUES["CURLY"]) == (
        "$env:A = '\u2018\u2018a\u2019\u2019\u201a\u201ab\u201b\u201b \u201cc\u201d'"
    )


def test_readers_of_env_files_have_the_values(tmp_path: Path) -> None:
    """A shell that reads the file, and Node, which has a reader of its own."""
    values = {name: value for name, value in VALUES.items() if not set(value) & set("'\\")}
    assert "SIGNS" in values
    file = tmp_path / ".env"
    file.write_text(
        "".join(f"{SYNTAXES['dotenv'](*item)}\n" for item in values.items()), encoding="utf-8"
    )
    variables = evaluated("sh", "set -a; . ./.env", folder=str(tmp_path))
    assert {name: variables[name] for name in values} == values

    show = "console.log(JSON.stringify(process.env))"
    shown = subprocess.run(  # noqa: S603 - our own script
        [path_of("node"), f"--env-file={file}", "--eval", show],
        capture_output=True,
        check=True,
        timeout=60,
    )
    variables = json.loads(shown.stdout)
    assert {name: variables[name] for name in values} == values


def test_what_readers_of_env_files_read_differently_is_refused() -> None:
    """Rather than written for one of them."""
    for value in (VALUES["QUOTES"], VALUES["BACKSLASH"]):
        with pytest.raises(ValueError, match="differ"):
            SYNTAXES["dotenv"]("A", value)


def test_a_plain_value_has_no_quotes_in_a_file() -> None:
    """Some readers would take them for a part of it."""
    assert SYNTAXES["dotenv"]("A", PLAIN) == f"A={PLAIN}"
