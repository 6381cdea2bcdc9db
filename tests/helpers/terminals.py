"""What commands take for a terminal, and a machine on which rich is not installed."""

from __future__ import annotations

import io
import sys

import pytest

__all__ = ["Terminal", "TypedInput", "without_rich"]


class Terminal(io.StringIO):
    """An output that somebody looks at."""

    def isatty(self) -> bool:
        """Yes."""
        return True


class TypedInput(io.BytesIO):
    """What somebody types at a terminal."""

    def isatty(self) -> bool:
        """Yes."""
        return True


def without_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every import of rich fail, as where it is not installed."""
    monkeypatch.setitem(sys.modules, "rich", None)
