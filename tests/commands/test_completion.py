"""``mpesa-stk completion``: real shells complete what somebody types."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mpesa_stk import cli
from shells import typed

LOAD = {
    "bash": 'eval "$(cat completion)"; mpesa-stk() { echo "<$*>"; }',
    "zsh": 'autoload -Uz compinit; compinit -D; eval "$(cat completion)"; mpesa-stk() { echo "<$*>"; }',
    "fish": 'source completion; function mpesa-stk; echo "<$argv>"; end',
}


def script_for(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The script that the command prints."""
    assert cli.main(["completion", shell]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    return told.out


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ("simul\t--scen\tcancelled-1\t", "simulate --scenario cancelled-1031"),
        ("payments exp\t--si\t", "payments export --since"),
        ("replay ./callba\t", "replay ./callbacks.jsonl"),
    ],
)
@pytest.mark.parametrize("shell", LOAD)
def test_a_shell_completes_what_is_typed(
    shell: str, keys: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Commands, options, scenarios and names of files."""
    (tmp_path / "completion").write_text(script_for(shell, capsys), encoding="utf-8")
    (tmp_path / "callbacks.jsonl").touch()

    typed(shell, LOAD[shell], f"mpesa-stk {keys}", until=f"<{line}>", folder=str(tmp_path))


def test_powershell_gets_a_completer(capsys: pytest.CaptureFixture[str]) -> None:
    """It is registered for the command, and knows the scenarios."""
    script = script_for("powershell", capsys)
    assert "Register-ArgumentCompleter" in script
    assert "cancelled-1031" in script


def test_without_the_extra_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, and exit code 2."""
    monkeypatch.setitem(sys.modules, "shtab", None)

    assert cli.main(["completion", "bash"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == (
        "mpesa-stk completion: needs the package shtab: pip install 'mpesa-stk-client[cli]'\n"
    )
