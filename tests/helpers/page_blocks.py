"""The blocks of code of a page, found by the file name in their first line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from support import ROOT

__all__ = ["HOW_TO", "block", "blocks", "defined"]

HOW_TO = ROOT / "docs" / "how-to"
_BLOCK = re.compile(r"^ *```(\w+)\n(.*?)^ *```$", flags=re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    """All blocks of a language."""
    return [code for found, code in _BLOCK.findall(page.read_text("utf-8")) if found == language]


def block(page: Path, language: str, name: str) -> str:
    """The one block of a language that begins with a comment of a file's name."""
    found = [code for code in blocks(page, language) if code.startswith(f"# {name}\n")]
    assert len(found) == 1, f"{page.name} has {len(found)} blocks of {name}"
    return found[0]


def defined(page: Path, name: str) -> dict[str, Any]:
    """What a Python block defines."""
    code = block(page, "python", name)
    names: dict[str, Any] = {"__name__": name}
    exec(compile(code, f"{page.name}:{name}", "exec"), names)  # noqa: S102 - our own page
    return names
