"""docs/how-to/desk.md: what it shows of the commands is what they print, for a made-up shop.

``PYTHONPATH=src:tests/helpers python tests/project/test_desk_page.py --write`` writes the output anew.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import sys
import tempfile
from pathlib import Path

from desk_scene import NOW, shop_at
from mpesa_stk import cli
from mpesa_stk.commands.context import Context
from support import ROOT, ManualClock
from terminals import TypedInput

PAGE = ROOT / "docs" / "how-to" / "desk.md"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROMPT, QUESTION = "$ ", re.compile(r"^.*\[y/N\] (.*)$", re.MULTILINE)


class Typing(TypedInput):
    """A person who types an answer, which the terminal repeats."""

    def __init__(self, answer: str, screen: io.StringIO) -> None:
        super().__init__(f"{answer}\n".encode())
        self._screen = screen

    def readline(self, size: int | None = -1, /) -> bytes:
        """Type it."""
        line = super().readline(size)
        self._screen.write(line.decode())
        return line


def transcript(url: str, command: str, answer: str) -> str:
    """A command and all that it prints, as somebody at a terminal without rich sees it."""
    screen = io.StringIO()
    _, *argv = shlex.split(command)
    context = Context(
        environ={"mpesa_database": url, "USER": "wanjiku"},
        clock=ManualClock(start=NOW),
        stdin=Typing(answer, screen),
        stdout=screen,
    )
    with contextlib.redirect_stderr(screen):
        cli.main(argv, context=context)
    return f"{PROMPT}{command}\n{screen.getvalue()}"


def played(page: str) -> str:
    """The page with the commands of its blocks run again, one after another, on one database."""
    with tempfile.TemporaryDirectory() as folder:
        url = shop_at(f"sqlite:///{Path(folder) / 'payments.db'}")

        def play(block: re.Match[str]) -> str:
            shown = re.split(r"^\$ ", block[1], flags=re.MULTILINE)[1:]
            told = []
            for one in shown:
                command, _, rest = one.partition("\n")
                answered = QUESTION.search(rest)
                told.append(transcript(url, command, answered[1] if answered else ""))
            return "```console\n" + "".join(told).replace("\r\n", "\n") + "```"

        return BLOCK.sub(play, page)


def test_the_transcripts_are_what_the_commands_print() -> None:
    """Every block of the page, in its order."""
    page = PAGE.read_text(encoding="utf-8")
    assert page.count("```console") >= 8
    assert played(page) == page, "run: python tests/project/test_desk_page.py --write"


def test_every_action_is_shown() -> None:
    """The page has a transcript of each action."""
    shown = "".join(BLOCK.findall(PAGE.read_text(encoding="utf-8")))
    actions = ("list", "find", "show", "reviews", "resolve", "export", "forget")
    assert [name for name in actions if f"$ mpesa-stk payments {name} " not in shown] == ["reviews"]
    assert "$ mpesa-stk payments reviews\n" in shown


if __name__ == "__main__" and "--write" in sys.argv:
    PAGE.write_text(played(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
