"""The suite's own manners: it runs however it was started, and no test waits without an end."""

from __future__ import annotations

import ast
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import processes
from support import ROOT, TESTS

# Without an argument, each of these waits for ever.
ENDLESS = {"wait", "join", "communicate", "result", "exception", "get"}
RUNS = {"run", "call", "check_call", "check_output"}

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to ignore")


def waits_without_end(source: str) -> Iterator[int]:
    """The lines of some code that wait for a thread, a process or a queue for ever."""
    with_an_end: set[ast.AST] = set()  # what asyncio.wait_for waits for
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner, name = node.func.value, node.func.attr
        if name == "wait_for" and len(node.args) > 1:
            with_an_end.add(node.args[0])
        if node in with_an_end:
            continue
        is_subprocess = isinstance(owner, ast.Name) and owner.id == "subprocess"
        if is_subprocess and name in RUNS:
            if not any(keyword.arg == "timeout" for keyword in node.keywords):
                yield node.lineno
        elif name in ENDLESS and not node.args and not node.keywords:
            yield node.lineno


def imported(path: Path) -> Iterator[str]:
    """The modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_every_wait_of_the_suite_has_an_end() -> None:
    """A thread or a process that hangs fails its test; it does not hold up the suite."""
    found = [
        f"{path.relative_to(TESTS)}:{line}"
        for path in sorted(TESTS.rglob("*.py"))
        for line in waits_without_end(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_waits_without_end_are_found() -> None:
    """Each kind of them, and no other call of the same name."""
    endless = ("thread.join()", "process.wait()", "answers.get()", "subprocess.run(['x'])")
    assert [list(waits_without_end(line)) for line in endless] == [[1]] * len(endless)
    ended = (
        "' '.join(x)",
        "process.wait(5)",
        "q.get(timeout=5)",
        "subprocess.run(x, timeout=5)",
        "await asyncio.wait_for(event.wait(), 5.0)",
    )
    assert [list(waits_without_end(line)) for line in ended] == [[]] * len(ended)


def test_no_test_file_imports_another_one() -> None:
    """What two of them share is in ``tests/helpers``. The simulation is a package of its own."""
    found = [
        f"{path.relative_to(TESTS)}: {module}"
        for path in sorted(TESTS.rglob("*.py"))
        for module in imported(path)
        if module.rpartition(".")[2].startswith("test_")
        or (module.startswith("tests") and not module.startswith("tests.simulation."))
    ]
    assert found == []


@posix
@pytest.mark.slow
def test_the_suite_runs_where_signals_are_ignored() -> None:
    """Started by a shell that ignores Ctrl-C, as ``nohup`` and some CI do, its tests can press it."""
    test = "commands/test_demo.py::test_ctrl_c_ends_the_waiting"
    ignoring = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN)"
    code = f"{ignoring}; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    code += "; os.execv(sys.argv[1], sys.argv[1:])"
    pytest_ = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(TESTS / test)]
    run = subprocess.run(  # noqa: S603 - our own interpreter and tests
        [sys.executable, "-c", code, *pytest_],
        capture_output=True,
        check=False,
        cwd=ROOT,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_process_that_hangs_is_ended() -> None:
    """Whoever reads its output gets the end of it, instead of waiting for ever."""
    hangs = [sys.executable, "-c", "import time; time.sleep(600)"]
    with (
        subprocess.Popen(hangs, stdout=subprocess.PIPE, text=True) as hanging,  # noqa: S603 - our own
        processes.ended(hanging, within=0.05),
    ):
        assert hanging.stdout is not None
        assert hanging.stdout.read() == ""
    assert hanging.returncode == -signal.SIGKILL
