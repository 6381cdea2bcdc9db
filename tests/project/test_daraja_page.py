"""The page of facts about Daraja: its sections are those that comments cite, its codes the catalogue's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpesa_stk.daraja.results import CATALOGUE
from mpesa_stk.web.addresses import SAFARICOM_NETWORKS

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").is_file())
PAGE = ROOT / "docs" / "daraja.md"
CITED_IN = [
    path
    for folder in ("src", "tests", "docs")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in {".py", ".md", ".html"}
]

# A citation may go on in the next line of a comment.
LINE_BREAK = re.compile(r"\s*\n[ \t]*(?:#[ \t]?|\*[ \t]?)?")
NUMBER = r"[0-9]+(?:\.[0-9]+)?"
CITATION = re.compile(
    rf"docs/daraja\.md,? sections? ({NUMBER}(?:(?:, and |, | and | to ){NUMBER}\b)*)"
)
RANGE = re.compile(rf"({NUMBER}) to ({NUMBER})")
HEADING = re.compile(r"^#{2,3} ([0-9]+(?:\.[0-9]+)?)\.? ", flags=re.MULTILINE)

WAITS = {
    0: "none",
    15: "15 s",
    60: "1 min",
    120: "2 min",
    180: "3 min",
    3_600: "1 hour",
    86_400: "1 day",
}
CODE_ROW = re.compile(
    r"^\| `(?P<code>[\w.]+)` \|.*"
    r"\| (?P<final>yes|no) \| `(?P<retry>\w+)` \| (?P<wait>[^|]+) \| `(?P<evidence>\w+)` \|$",
    flags=re.MULTILINE,
)


def cited_sections(text: str) -> Iterator[str]:
    """Yield the number of each section that a text cites, and all the numbers of a range."""
    for citation in CITATION.finditer(LINE_BREAK.sub(" ", text)):
        yield from re.findall(NUMBER, citation[1])
        for first, last in RANGE.findall(citation[1]):
            yield from map(str, range(int(first), int(last)))


def _section(number: int) -> str:
    text = PAGE.read_text(encoding="utf-8")
    found = re.search(rf"^## {number}\. .*?(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[0]


@pytest.mark.parametrize(
    ("text", "sections"),
    [
        ("(docs/daraja.md, section 7).", ["7"]),
        ("(docs/daraja.md,\n    section 7)", ["7"]),
        ("# (docs/daraja.md, sections 0\n# and 3)", ["0", "3"]),
        ("docs/daraja.md, sections 1, 3 and 4, and the samples", ["1", "3", "4"]),
        ("docs/daraja.md, sections 1 to 4 and 6.", ["1", "4", "6", "1", "2", "3"]),
        ("docs/daraja.md, section 5. 3 of them", ["5"]),
        ("docs/daraja.md", []),
    ],
)
def test_citations_are_read_in_every_spelling(text: str, sections: list[str]) -> None:
    """One section, several, a range, and citations that are broken over two lines."""
    assert list(cited_sections(text)) == sections


def test_every_cited_section_exists() -> None:
    """Each section that code, tests or pages cite is a heading of the page."""
    sections = set(HEADING.findall(PAGE.read_text(encoding="utf-8")))
    missing = [
        f"{path.relative_to(ROOT)}: section {number}"
        for path in CITED_IN
        if path != Path(__file__)
        for number in cited_sections(path.read_text(encoding="utf-8"))
        if number not in sections
    ]
    assert missing == []


def test_the_sections_are_numbered_in_order() -> None:
    """The numbers begin with 0 and none is missing."""
    numbers = HEADING.findall(PAGE.read_text(encoding="utf-8"))
    assert numbers == [str(number) for number in range(len(numbers))]


def test_the_table_of_codes_is_the_catalogue() -> None:
    """Each code of the catalogue has one row, with the same readings."""
    rows = CODE_ROW.findall(_section(5))
    assert sorted(rows) == sorted(
        (
            entry.code,
            "yes" if entry.final else "no",
            entry.retry.value,
            WAITS[entry.wait_seconds],
            entry.evidence,
        )
        for entry in CATALOGUE.values()
    )


def test_the_addresses_are_those_that_may_call() -> None:
    """The page names the addresses from which callbacks are taken, and no others."""
    shown = set(re.findall(r"`(196[0-9.]+)`", _section(6)))
    assert shown == {str(network).removesuffix("/32") for network in SAFARICOM_NETWORKS}


def test_no_file_cites_facts_that_are_not_here() -> None:
    """A comment cites the page, which a reader has."""
    cited = re.compile(r"\bfacts,\s+(?:#\s+)?sections? [0-9]")
    this = Path(__file__).name
    for path in ROOT.glob("**/*"):
        if path.suffix in (".py", ".md") and path.name != this and ".venv" not in path.parts:
            assert not cited.search(path.read_text(encoding="utf-8")), path
