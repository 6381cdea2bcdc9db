"""The tutorials of the script and of the bot: their commands and programs do what the pages show.

The environment of the tests takes the place of the page's own, and a free port that of the simulator's.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from processes import ended
from support import ROOT

TUTORIAL = ROOT / "docs" / "tutorial"
PATIENCE = 60.0
BLOCK = re.compile(r"^```(python|sh|text)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
INSTALLS = re.compile(
    r"mkdir \w+|cd \w+|python3 -m venv \.venv|\. \.venv/bin/activate|pip install \"[\w\[\]-]+\""
)
BEGINS = ['eval "$(mpesa-stk simulate --print-env bash)"', "mpesa-stk simulate &"]


def blocks(page: str) -> list[tuple[str, str]]:
    """The language and the text of each block."""
    return BLOCK.findall((TUTORIAL / page).read_text(encoding="utf-8"))


def commands(page: str) -> list[str]:
    """Every command that the page asks for behind the installation and the start of the simulator."""
    lines = [line for kind, text in blocks(page) if kind == "sh" for line in text.splitlines()]
    typed = [line for line in lines if not INSTALLS.fullmatch(line)]
    assert len(lines) - len(typed) == 5
    assert typed[:2] == BEGINS
    return typed[2:]


def texts(page: str) -> list[str]:
    """What the page says that is typed or printed."""
    return [text for kind, text in blocks(page) if kind == "text"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as the page has it after the installation: its programs, and the commands in `.venv`."""
    for page in ("script.md", "bot.md"):
        for kind, text in blocks(page):
            if kind == "python":
                name = text.partition("\n")[0].removeprefix("# ")
                (tmp_path / name).write_text(text, encoding="utf-8")
    scripts = tmp_path / ".venv" / "bin"
    scripts.mkdir(parents=True)
    python = shlex.quote(sys.executable)
    for name, command in (("python", python), ("mpesa-stk", f"{python} -m mpesa_stk")):
        (scripts / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n', encoding="utf-8")
        (scripts / name).chmod(0o755)
    return tmp_path


@contextlib.contextmanager
def simulated(folder: Path) -> Iterator[Mapping[str, str]]:
    """Run the page's simulator on a free port, and give the environment of the page's terminal."""
    environ = os.environ | {"PATH": f"{folder / '.venv' / 'bin'}:{os.environ['PATH']}"}
    with (
        subprocess.Popen(
            ["mpesa-stk", "simulate", "--port", "0"],  # noqa: S607 - on the path of the page
            cwd=folder,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process,
        ended(process, within=PATIENCE),
    ):
        assert process.stdout is not None
        ports = (re.search(r"CHECKOUT_URL=\S+:(\d+)/", line) for line in process.stdout)
        port = next(filter(None, ports))[1]
        line = BEGINS[0].replace("simulate", f"simulate --port {port}")
        exported = subprocess.run(  # noqa: S603 - a line of our own page
            ["bash", "-c", f"{line}\nenv -0"],  # noqa: S607 - the shell that the page names
            env=environ,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        ).stdout
        yield dict(entry.split("=", 1) for entry in exported.split("\0") if "=" in entry)


def printed(
    *together: str, folder: Path, environ: Mapping[str, str], typed: str | None = None
) -> list[str]:
    """What commands of the page print, with their errors, as on terminals side by side."""
    with contextlib.ExitStack() as stack:
        running = [
            stack.enter_context(
                subprocess.Popen(  # noqa: S603 - commands of our own page
                    shlex.split(command),
                    cwd=folder,
                    env=dict(environ) | {"PYTHONUNBUFFERED": "1"},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
            for command in together
        ]
        stack.enter_context(ended(*running, within=PATIENCE))
        return [process.communicate(typed, timeout=PATIENCE)[0] for process in running]


@pytest.mark.slow
def test_the_script_is_paid_as_its_page_shows(folder: Path) -> None:
    """Tea is paid, and not asked for again. The kettle is cancelled."""
    tea, kettle, listed, stop = commands("script.md")
    assert stop == "kill %1"
    paid, refused = texts("script.md")
    with simulated(folder) as environ:
        # Side by side, since each of them waits for 20 seconds.
        bought, cancelled = printed(tea, kettle, folder=folder, environ=environ)
        again, books = printed(tea, listed, folder=folder, environ=environ)
    assert bought == paid
    assert again == refused
    assert cancelled.splitlines()[-1] == "FAILED"
    assert sorted(re.findall(r"SUCCEEDED|FAILED", books)) == ["FAILED", "SUCCEEDED"]


@pytest.mark.slow
def test_the_bot_answers_as_its_page_shows(folder: Path) -> None:
    """Two customers are asked at once: one pays, and one cancels."""
    (run,) = commands("bot.md")
    typed, answered = texts("bot.md")
    with simulated(folder) as environ:
        (said,) = printed(run, folder=folder, environ=environ, typed=typed)
    assert sorted(said.splitlines()) == sorted(answered.splitlines())
