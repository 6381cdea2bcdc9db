"""Tables and progress, drawn by rich or plain: aligned, and safe in a terminal whatever a text holds."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from mpesa_stk.commands.context import Context
from mpesa_stk.commands.screen import Column, screen_of, show_lines, width_of
from support import ManualClock
from terminals import Terminal, without_rich

COLUMNS = (Column("amount", right=True), Column("reference"), Column("number", whole=True))
STEERING = "\x1b[2J\x1b]0;title\x07\r\n\t\x9b31m\u202eevil\u2066\u200b\x7f"


def shown(rows: list[list[str]], stdout: io.StringIO, **environ: str) -> str:
    """A table as a command prints it."""
    screen_of(Context(stdout=stdout, environ=environ)).table(COLUMNS, rows)
    return stdout.getvalue()


def test_a_plain_table_is_aligned() -> None:
    """Numbers end at the same place; Swahili, Chinese and emoji take the columns that they take."""
    rows = [["5", "Ada ya Shule", "a"], ["1,000", "Viatu \U0001f45f\u2713", "b"]]
    rows += [["20", "\u4e2d\u6587", "c"], ["7", "e\u0301clair", "d"]]

    lines = shown(rows, io.StringIO()).splitlines()

    assert lines[0] == "amount  reference     number"
    assert lines[1] == "     5  Ada ya Shule  a"
    assert {width_of(line.rpartition("  ")[0]) for line in lines[1:]} <= {18, 19, 20}
    assert {width_of(line[: line.rindex(line[-1])]) for line in lines[1:]} == {22}


def test_a_long_text_is_cut_and_a_number_is_not() -> None:
    """A reference cannot push the number, which people copy, out of sight."""
    row = ["5", "\U0001f45f" * 300, "n" * 60]
    line = shown([row], io.StringIO()).splitlines()[1]
    assert line == f"     5  {chr(0x1F45F) * 18}...  {'n' * 60}"


def test_marks_without_width_are_bounded() -> None:
    """A letter with ten thousand accents is cut too."""
    line = shown([["5", "e" + "\u0301" * 10_000, "n"]], io.StringIO()).splitlines()[1]
    assert len(line) < 200


@pytest.mark.parametrize("stdout", [io.StringIO, Terminal])
def test_no_text_steers_the_terminal(stdout: Any) -> None:
    """Control characters, escapes and marks that turn the direction are spaces in both forms."""
    printed = shown([["5", STEERING, "n"]], stdout(), TERM="dumb")

    assert "evil" in printed
    assert all(text.isprintable() for text in printed.splitlines())
    assert not set(printed) & set("\x1b\x07\x9b\x7f\r\t\u202e\u2066\u200b")


def test_lines_stay_lines() -> None:
    """Also a line of a story is one line."""
    stdout = io.StringIO()
    show_lines(Context(stdout=stdout), f"a{STEERING}", "b")
    first, second = stdout.getvalue().splitlines()
    assert first.isprintable()
    assert second == "b"


def test_a_terminal_gets_a_drawn_table() -> None:
    """Rich draws a line below the headings, and takes no text for its markup."""
    printed = shown([["5", "[red]:smile:", "n"]], Terminal(), TERM="dumb")
    assert "\u2500\u2500" in printed
    assert "[red]:smile:" in printed


def test_a_narrow_terminal_gets_plain_lines() -> None:
    """A number that people copy is never cut in two."""
    number = "6f9619ff-8b86-4011-b42d-00c04fc964ff"
    printed = shown([["5", "x", number]], Terminal(), TERM="xterm", COLUMNS="40")
    assert printed == f"amount  reference  number\n     5  x          {number}\n"


def test_without_rich_a_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is a comfort: nothing is missing without it."""
    without_rich(monkeypatch)
    assert (
        shown([["5", "x", "n"]], Terminal()) == "amount  reference  number\n     5  x          n\n"
    )


def test_what_a_terminal_cannot_encode_is_a_question_mark() -> None:
    """A terminal in the C locale shows the rest, and the command does not fail."""
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii", newline="\n")
    screen_of(Context(stdout=stdout)).table((Column("reference"),), [["Viatu \U0001f45f"]])
    stdout.flush()
    assert stdout.buffer.getvalue() == b"reference\nViatu ?\n"


def test_plain_progress_says_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    """A long work says every few seconds that it goes on; a short one says nothing."""
    clock = ManualClock()
    with screen_of(Context(clock=clock, stdout=io.StringIO())).progress("written") as advance:
        advance(500)
        clock.advance(6.0)
        advance(700)
        advance(1)
    assert capsys.readouterr().err == "written: 1,200\n"


def test_drawn_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rich draws the count, and takes it away at the end."""
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    context = Context(stdout=Terminal(), environ={"TERM": "xterm", "COLUMNS": "60"})
    with screen_of(context).progress("written") as advance:
        advance(1_200)
    assert "written 1,200" in stderr.getvalue()
