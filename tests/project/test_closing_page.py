"""docs/how-to/closing-the-day.md: what it shows of the command is what it prints, for a made-up shop.

``PYTHONPATH=src:tests/helpers python tests/project/test_closing_page.py --write`` writes the output anew.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import sys
import tempfile
from pathlib import Path

from closing_scene import CLOSING, PAYMENTS, QUIET, shop_at, write_statement
from mpesa_stk import cli
from mpesa_stk.commands.context import Context
from support import ROOT, ManualClock

PAGE = ROOT / "docs" / "how-to" / "closing-the-day.md"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
QUIET_DAY = "september-25.csv"
LOST_DAY = "september-25-lost.csv"


def transcript(folder: Path, command: str) -> str:
    """A command, all that it prints, and its exit code, as at a terminal without rich."""
    screen = io.StringIO()
    _, *argv = shlex.split(command)
    name = "lost.db" if LOST_DAY in command else "quiet.db"
    context = Context(
        environ={"mpesa_database": f"sqlite:///{folder / name}"},
        clock=ManualClock(start=CLOSING),
        folder=folder,
        stdout=screen,
    )
    with contextlib.redirect_stderr(screen):
        code = cli.main(argv, context=context)
    return f"$ {command}\n{screen.getvalue()}$ echo $?\n{code}\n"


def played(page: str) -> str:
    """The page with the commands of its blocks run again, one after another."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shop_at(f"sqlite:///{folder / 'quiet.db'}", *QUIET)
        shop_at(f"sqlite:///{folder / 'lost.db'}", *PAYMENTS)
        write_statement(folder, quiet=True, name=QUIET_DAY)
        write_statement(folder, name=LOST_DAY)

        def play(block: re.Match[str]) -> str:
            commands = re.findall(r"^\$ (mpesa-stk .*)$", block[1], re.MULTILINE)
            told = "".join(transcript(folder, command) for command in commands)
            return f"```console\n{told}```"

        return BLOCK.sub(play, page)


def test_the_transcripts_are_what_the_command_prints() -> None:
    """Every block of the page, in its order."""
    page = PAGE.read_text(encoding="utf-8")
    assert page.count("```console") == 3
    assert played(page) == page, "run: python tests/project/test_closing_page.py --write"


if __name__ == "__main__" and "--write" in sys.argv:
    PAGE.write_text(played(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
