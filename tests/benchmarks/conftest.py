"""What the benchmarks share: the closing table, and a server in another process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from measure import Scoreboard

_SCOREBOARD = pytest.StashKey[Scoreboard]()


@pytest.fixture(scope="session")
def scoreboard(pytestconfig: pytest.Config) -> Scoreboard:
    """Collects the lines of the closing table."""
    return pytestconfig.stash.setdefault(_SCOREBOARD, Scoreboard())


@pytest.fixture
def server() -> Iterator[str]:
    """The origin of a Daraja on this machine, in a process of its own."""
    with _serving() as origin:
        yield origin


@pytest.fixture
def slow_server() -> Iterator[str]:
    """The same, which thinks for 50 ms before each answer."""
    with _serving("0.05") as origin:
        yield origin


class _serving:  # noqa: N801 - used as a function
    """Runs `push_server` in another process for a while."""

    def __init__(self, *arguments: str) -> None:
        script = str(Path(__file__).with_name("push_server.py"))
        self._process = subprocess.Popen(
            [sys.executable, script, *arguments], stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> str:
        assert self._process.stdout is not None
        return f"http://127.0.0.1:{int(self._process.stdout.readline())}"

    def __exit__(self, *_error: object) -> None:
        self._process.kill()
        self._process.communicate(timeout=60)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the table, and below it what explains it."""
    scoreboard = config.stash.get(_SCOREBOARD, Scoreboard())
    if not scoreboard.lines:
        return
    terminalreporter.section("budgets")
    for row in scoreboard.table():
        terminalreporter.line(row)
    for line in scoreboard.lines:
        if line.notes:
            terminalreporter.line("")
            terminalreporter.line(line.budget)
        for note in line.notes:
            terminalreporter.line(f"    {note}")
