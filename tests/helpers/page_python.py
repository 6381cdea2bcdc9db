"""The Python of the pages, found and run by Sybil.

A block is run in the namespace of its page, with the settings of a simulated Daraja in the environment. A
block whose page says before it ``<!-- not run: REASON -->`` is compiled, and what it imports must exist.

``python tests/helpers/page_python.py`` counts the blocks.
"""

from __future__ import annotations

import ast
import doctest
import importlib
import importlib.util
import re
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs
from sqlalchemy import Engine
from sybil import Document, Example, Region, Sybil
from sybil.parsers.myst import CodeBlockParser, PythonCodeBlockParser

from example_shops import set_up_django

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]

_NOT_RUN = re.compile(r"<!-- not run: (?P<reason>[^\n]+) -->\n\Z")


@attrs.frozen
class _Parser:
    """Finds the blocks of Python; those that a page does not want to be run are only checked."""

    _blocks: PythonCodeBlockParser = attrs.field(
        factory=lambda: PythonCodeBlockParser(doctest_optionflags=doctest.ELLIPSIS)
    )

    def __call__(self, document: Document) -> Iterable[Region]:
        fenced = list(CodeBlockParser("python", check)(document))
        checked = [region for region in fenced if _NOT_RUN.search(document.text[: region.start])]
        yield from checked
        for region in self._blocks(document):
            if not any(one.start <= region.start < one.end for one in checked):
                yield region


def check(example: Example) -> None:
    """Compile a block, and import what it imports from this package and its dependencies."""
    tree = ast.parse(example.parsed, filename=example.path)
    if "mpesa_stk.contrib.django" in example.parsed:
        set_up_django()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and _is_here(node.module):
            module = importlib.import_module(node.module)
            missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
            assert not missing, f"{node.module} has no {', '.join(missing)}"
        elif isinstance(node, ast.Import):
            for name in filter(_is_here, (alias.name for alias in node.names)):
                importlib.import_module(name)


def _is_here(module: str) -> bool:
    """Whether a module can be looked up: not one of the reader's own, or of a package that is not here."""
    package = module.partition(".")[0]
    if package == "mpesa_stk":
        return True
    found = importlib.util.find_spec(package)
    return found is not None and not str(found.origin).startswith(str(DOCS))


def run(page: Path, names: dict[str, Any]) -> None:
    """Run and check the blocks of a page in their order. It takes these names for granted."""
    document = Sybil(parsers=[_Parser()], path=str(page.parent)).parse(page)
    document.namespace |= {"__name__": "__main__"} | names
    try:
        for example in document.examples():
            example.evaluate()
    finally:
        for value in document.namespace.values():
            if isinstance(value, Engine):
                value.dispose()  # no page shows this, and its process would end


def counts(page: Path) -> Counter[str]:
    """How many blocks of a page are run as programs, run as sessions, and only checked."""
    found: Counter[str] = Counter()
    text = page.read_text(encoding="utf-8")
    for match in re.finditer(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
        if _NOT_RUN.search(text[: match.start()]):
            found["checked"] += 1
        else:
            found["sessions" if ">>>" in match[1] else "run"] += 1
    return found


if __name__ == "__main__":
    total: Counter[str] = Counter()
    for one in PAGES:
        if counts(one):
            sys.stdout.write(f"{one.relative_to(ROOT)}: {dict(counts(one))}\n")
            total += counts(one)
    sys.stdout.write(f"{sum(total.values())} blocks: {dict(total)}\n")
