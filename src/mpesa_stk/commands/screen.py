"""Tables and progress of a command: through rich at a terminal that has it, otherwise plain lines.

The rest of the commands does not know which of the two is used. All texts are cleaned here, because a
customer's reference may hold line breaks or terminal escapes.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import attrs

from mpesa_stk.commands.context import Context
from mpesa_stk.privacy import printable

Advance = Callable[[int], None]
"""Adds a number to the count that a progress shows."""

_WIDEST = 40
_ANY = 10_000
_PAUSE = 5.0
# A terminal draws these on top of the character before.
_NO_WIDTH = frozenset({"Mn", "Me"})
_WIDE = frozenset({"W", "F"})


@attrs.frozen
class Column:
    """A column of a table.

    Attributes:
        title: Its heading.
        right: Whether its texts end at the same place, as numbers do.
        whole: Whether its texts are never cut.
    """

    title: str
    right: bool = attrs.field(default=False, kw_only=True)
    whole: bool = attrs.field(default=False, kw_only=True)


class Screen(Protocol):
    """Shows tables on stdout and progress on stderr."""

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[str]], /) -> None:
        """Print a table."""
        ...

    def progress(self, words: str, /) -> contextlib.AbstractContextManager[Advance]:
        """Show how far a long work is, until the block ends."""
        ...


def screen_of(context: Context, /) -> Screen:
    """Return the screen of a command.

    It is drawn by rich if stdout is a terminal and rich is installed.
    """
    if context.output().isatty() and importlib.util.find_spec("rich") is not None:
        return _RichScreen(context)
    return _PlainScreen(context)


def show_lines(context: Context, /, *lines: str) -> None:
    """Print lines to stdout. Each stays one line, even if it holds a line break."""
    context.show(*(_fit(context, line) for line in lines))


def _fit(context: Context, text: str) -> str:
    """Return a text as one line that stdout can encode."""
    encoding = context.output().encoding or "utf-8"
    return printable(text).encode(encoding, "replace").decode(encoding)


# --- plain -----------------------------------------------------------------------------------------------


@attrs.frozen
class _PlainScreen:
    """Aligned lines."""

    _context: Context

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[str]], /) -> None:
        """Print a line for the headings and one for each row."""
        lines = [[column.title for column in columns], *_cells(self._context, columns, rows)]
        widths = [max(map(width_of, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            cells_of_line = zip(columns, line, widths, strict=True)
            padded = (_padded(text, width, column) for column, text, width in cells_of_line)
            self._context.show("  ".join(padded).rstrip())

    @contextlib.contextmanager
    def progress(self, words: str, /) -> Iterator[Advance]:
        """Print a line to stderr every few seconds."""
        count, clock = 0, self._context.clock
        said = clock.monotonic()

        def advance(number: int) -> None:
            nonlocal count, said
            count += number
            if clock.monotonic() - said >= _PAUSE:
                said = clock.monotonic()
                self._context.say(f"{words}: {count:,}")

        yield advance


def _cells(
    context: Context, columns: Sequence[Column], rows: Sequence[Sequence[str]]
) -> list[list[str]]:
    """Return the texts of a table as they are shown."""
    return [
        [
            _fit(context, text) if column.whole else _cut(_fit(context, text))
            for column, text in zip(columns, row, strict=True)
        ]
        for row in rows
    ]


def width_of(text: str, /) -> int:
    """Return how many columns of a terminal a text takes."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.category(character) in _NO_WIDTH:
        return 0
    return 2 if unicodedata.east_asian_width(character) in _WIDE else 1


def _cut(text: str) -> str:
    """Return a text that is not wider than the widest column, with three dots if it was cut."""
    # A character may carry any number of marks without a width.
    text = text[: 4 * _WIDEST]
    if width_of(text) <= _WIDEST:
        return text
    while width_of(text) > _WIDEST - len("..."):
        text = text[:-1]
    return text + "..."


def _padded(text: str, width: int, column: Column) -> str:
    gap = " " * (width - width_of(text))
    return gap + text if column.right else text + gap


# --- through rich ----------------------------------------------------------------------------------------


@attrs.frozen
class _RichScreen:
    """Tables and progress of the library rich."""

    _context: Context

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[str]], /) -> None:
        """Print a table with a line below its headings.

        If the terminal is too narrow, the lines are plain. So a long number is never cut in two, and can be
        copied.
        """
        # The extra `cli` may not be installed, so its modules are imported when they are needed.
        from rich.box import SIMPLE_HEAD  # noqa: PLC0415
        from rich.console import Console  # noqa: PLC0415
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        drawn = Table(box=SIMPLE_HEAD, pad_edge=False)
        for column in columns:
            drawn.add_column(column.title, justify="right" if column.right else "left")
        for row in _cells(self._context, columns, rows):
            # A `Text` has no markup: a reference of "[red]" is shown as it is.
            drawn.add_row(*map(Text, row))
        console = Console(file=self._context.output(), _environ=dict(self._context.environ))
        if (
            console.measure(drawn, options=console.options.update(width=_ANY)).maximum
            > console.width
        ):
            _PlainScreen(self._context).table(columns, rows)
        else:
            console.print(drawn)

    @contextlib.contextmanager
    def progress(self, words: str, /) -> Iterator[Advance]:
        """Draw a spinner with the count on stderr."""
        from rich.console import Console  # noqa: PLC0415 - as above
        from rich.progress import Progress, SpinnerColumn, TextColumn  # noqa: PLC0415

        columns = (SpinnerColumn(), TextColumn("{task.description} {task.completed:,.0f}"))
        console = Console(file=sys.stderr, _environ=dict(self._context.environ))
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task(words, total=None)
            yield lambda number: progress.advance(task, number)
