"""The documentation: its links lead somewhere, and the page of the architecture is so."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import mpesa_stk

ROOT = Path(__file__).parents[2]
PACKAGE = Path(mpesa_stk.__file__).parent
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "tests" / "benchmarks" / "README.md", *DOCS]
ARCHITECTURE = ROOT / "docs" / "explanation" / "architecture.md"
FENCED = re.compile(r"^```.*?^```$", flags=re.MULTILINE | re.DOTALL)


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


# --- links -------------------------------------------------------------------------------------------


def _without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", FENCED.sub("", text))


def _anchors(page: Path) -> set[str]:
    """The anchors that a page's headings get."""
    text = page.read_text(encoding="utf-8")
    included = re.match(r"```{include} (\S+)", text)
    if included:
        return _anchors(page.parent / included[1])
    prose = FENCED.sub("", text)
    headings = re.findall(r"^#+ (.+)$", prose, flags=re.MULTILINE)
    return {
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    """Each link to a file names one that exists, and each anchor a heading in it."""
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", _without_code(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_link_to_the_outside_has_a_good_shape() -> None:
    """It is https with a host name, and only this machine is http. No address is asked."""
    links = {
        link
        for page in PAGES
        for link in re.findall(
            r"(?:\]\(|<)(\w+:/[^)>]*)", _without_code(page.read_text(encoding="utf-8"))
        )
    }
    assert links
    good = re.compile(
        r"https://[\w-]+(\.[\w-]+)+(/\S*)?|http://(127\.0\.0\.1|localhost)(:\d+)?/\S*"
    )
    assert [link for link in sorted(links) if not good.fullmatch(link)] == []


# --- the architecture page ---------------------------------------------------------------------------


def _listed_files() -> list[str]:
    """The files that the page's tables describe, in its order: first column, in backticks."""
    text = ARCHITECTURE.read_text(encoding="utf-8")
    return re.findall(r"^\| `([\w/]+\.(?:py|typed|html|css|js))` \|", text, flags=re.MULTILINE)


def _files() -> list[str]:
    paths = [path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return sorted(path.relative_to(PACKAGE).as_posix() for path in paths)


def test_every_file_has_its_place_on_the_architecture_page() -> None:
    """The page describes each file of the package once, and none that does not exist."""
    assert sorted(_listed_files()) == _files()


def _imported_files(file: str) -> set[str]:
    """The files of the package that a file imports, at once or later."""
    tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    ours = [name.split(".")[1:] for name in names if name.split(".")[0] == "mpesa_stk"]
    spellings = {f"{'/'.join(parts)}.py" for parts in ours}
    return {spelling for spelling in spellings if (PACKAGE / spelling).is_file()}


@pytest.mark.parametrize("file", [file for file in _files() if file.endswith(".py")])
def test_a_file_imports_only_what_stands_above_it(file: str) -> None:
    """The order of the page is the order of the imports: no file imports one from further down."""
    order = _listed_files()
    above = set(order[: order.index(file)])
    assert _imported_files(file) - above == set()
