"""docs/what-happens-when: each page has the same parts, and its test phones end as it says.

The sessions of the pages are run by `test_docs.py`.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import attrs
import pytest

from mpesa_stk import MpesaError, Transaction
from mpesa_stk.testing import TEST_PHONES, SimulatedDaraja

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").is_file())
FOLDER = ROOT / "docs" / "what-happens-when"
INDEX = (FOLDER / "index.md").read_text(encoding="utf-8")
PAGES = sorted(set(FOLDER.glob("*.md")) - {FOLDER / "index.md"})
PARTS = ["Symptom", "Cause", "Done by the library", "Your part", "Try it"]
ROW = re.compile(r"^\| `(07\d{8})` \| `([\w-]+)` \| (.+) \|$", flags=re.MULTILINE)
HALF_AN_HOUR, EVERY = 1800, 30


@attrs.frozen(kw_only=True)
class Claim:
    """A row of a page: a test phone, its scenario, and how a payment of it ends."""

    page: str
    phone: str
    scenario: str
    ends: str


CLAIMS = [
    Claim(page=page.stem, phone=phone, scenario=scenario, ends=ends)
    for page in PAGES
    for phone, scenario, ends in ROW.findall(page.read_text(encoding="utf-8"))
]


def text_of(page: Path) -> str:
    """The text of a page."""
    return page.read_text(encoding="utf-8")


def played(phone: str) -> str:
    """How a payment of a phone ends, in the words of a row."""
    daraja = SimulatedDaraja()
    payments = daraja.payments()
    told: list[Transaction] = []
    with contextlib.suppress(MpesaError):
        payments.checkout(phone_number=phone, amount=100, reference="INV-1")
    for _ in range(0, HALF_AN_HOUR, EVERY):
        daraja.advance(EVERY)
        payments.process_due(on_settled=told.append)
    last = told[-1]
    states = ", ".join(f"`{payment.state.value}`" for payment in told)
    code = f" {last.result_code}" if last.result_code and not last.paid else ""
    return states + code + (", review" if last.needs_review else "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_its_parts_and_a_way_to_see_it(page: Path) -> None:
    """Five parts in their order, and a test phone or a session at the end."""
    text = text_of(page)
    assert re.findall(r"^## (.+)$", text, flags=re.MULTILINE) == PARTS
    way = text.partition("## Try it")[2]
    assert ROW.search(way) or ">>> " in way
    assert f"]({page.name})" in INDEX


def test_the_index_leads_to_each_page() -> None:
    """The hidden list of the site has each page once, and no other one."""
    listed = INDEX.partition(":maxdepth: 1")[2].partition("```")[0].split()
    assert sorted(listed) == [page.stem for page in PAGES]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: f"{claim.page}-{claim.scenario}")
def test_a_phone_ends_as_its_page_says(claim: Claim) -> None:
    """The phone is that of the scenario, and its payment ends in those states, with that code."""
    assert TEST_PHONES[claim.scenario] == f"254{claim.phone[1:]}"
    assert played(claim.phone) == claim.ends


def test_pages_name_enough_phones() -> None:
    """The rows are found: most pages have one."""
    assert len({claim.page for claim in CLAIMS}) >= len(PAGES) // 2
