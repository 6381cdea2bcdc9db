"""Types and options of argparse that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - argparse names no public type
else:
    Subparsers = object

HIGHEST_PORT = 65_535


def seconds(longest: float, /, *, zero: bool = False) -> Callable[[str], float]:
    """Return an argparse type for a number of seconds.

    Args:
        longest: The most seconds that are allowed.
        zero: Whether 0 is allowed.
    """
    lowest = "0 to" if zero else "above 0, at most"

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = -1.0
        if not 0 <= number <= longest or (number == 0 and not zero):
            raise argparse.ArgumentTypeError(f"must be {lowest} {longest:.0f} seconds")
        return number

    return read


def whole_number(lowest: int, highest: int, /) -> Callable[[str], int]:
    """Return an argparse type for a whole number from `lowest` to `highest`, in ASCII digits."""

    def read(text: str) -> int:
        digits = text.isascii() and text.isdecimal() and len(text) <= len(str(highest))
        if not digits or not lowest <= int(text) <= highest:
            raise argparse.ArgumentTypeError(f"must be a number from {lowest} to {highest}")
        return int(text)

    return read


def add_language(command: argparse.ArgumentParser, /) -> None:
    """Add ``--lang``, the language of the text for the customer."""
    command.add_argument(
        "--lang", choices=("en", "sw"), default="en", help="language of the customer's text"
    )


def add_json(command: argparse.ArgumentParser, /) -> None:
    """Add ``--json``."""
    command.add_argument("--json", action="store_true", help="JSON on stdout")
