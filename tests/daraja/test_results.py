from __future__ import annotations

import re
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpesa_stk import Result, RetryAdvice, explain
from mpesa_stk.daraja.results import CATALOGUE, PAID_CODE
from support import samples

YES, NO, CONFIRM = RetryAdvice.YES, RetryAdvice.NO, RetryAdvice.CONFIRM
OTHER_AMOUNT, FIX_SETUP = RetryAdvice.OTHER_AMOUNT, RetryAdvice.FIX_SETUP

# docs/daraja.md, section 5: code, stated by Safaricom's own portal, final, what may follow.
FACTS: list[tuple[str, str, bool, RetryAdvice]] = [
    ("0", "official", True, NO),
    ("1", "official", True, YES),
    ("2", "official", True, OTHER_AMOUNT),
    ("3", "official", True, OTHER_AMOUNT),
    ("4", "official", True, YES),
    ("8", "official", True, YES),
    ("17", "official", True, CONFIRM),
    ("20", "reported", True, NO),
    ("26", "reported", False, CONFIRM),
    ("1001", "reported", True, YES),
    ("1019", "official", True, YES),
    ("1025", "official", True, CONFIRM),
    ("1031", "reported", True, YES),
    ("1032", "official", True, YES),
    ("1036", "reported", True, YES),
    ("1037", "official", True, CONFIRM),
    ("1101", "reported", True, FIX_SETUP),
    ("2001", "official", True, YES),
    ("2006", "reported", True, NO),
    ("2028", "official", True, FIX_SETUP),
    ("2029", "reported", False, CONFIRM),
    ("8006", "official", True, NO),
    ("9999", "reported", True, CONFIRM),
    ("E3008", "reported", True, YES),
    ("SFC_IC0003", "reported", True, FIX_SETUP),
    ("4999", "reported", False, NO),
    ("500.001.1001", "reported", False, NO),
]


def test_the_catalogue_holds_every_collected_code() -> None:
    """No code is left out and none is made up."""
    assert CATALOGUE.keys() == {code for code, _, _, _ in FACTS}


@pytest.mark.parametrize(("code", "evidence", "final", "retry"), FACTS)
def test_each_entry_says_what_the_facts_say(
    code: str,
    evidence: str,
    final: bool,  # noqa: FBT001 - a column of the table
    retry: RetryAdvice,
) -> None:
    """Evidence, finality and advice are those of docs/daraja.md."""
    entry = CATALOGUE[code]
    assert (entry.code, entry.evidence, entry.final, entry.retry) == (code, evidence, final, retry)


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=CATALOGUE.keys())
def test_each_entry_speaks_to_developers_and_customers(entry: Result) -> None:
    """A meaning and a message in both languages, different and each one a sentence."""
    english, swahili = entry.message("en"), entry.message("sw")
    assert entry.message() == english != swahili
    for text in (entry.meaning, english, swahili):
        assert re.fullmatch(r"[A-Z].{3,}[.)]", text)
        assert len(text) <= 160
    assert entry.wait_seconds >= 0


def test_waits_follow_the_facts() -> None:
    """The rule of two minutes, an open session's minutes, and nothing to wait for after success."""
    assert explain(17).wait_seconds == 120
    assert 60 <= explain(1001).wait_seconds <= 180
    assert explain(0).wait_seconds == explain(1032).wait_seconds == 0


def test_only_success_is_success() -> None:
    """Zero is the one code that means paid."""
    assert PAID_CODE == "0"
    assert [entry.code for entry in CATALOGUE.values() if entry.meaning == "Paid."] == ["0"]


@pytest.mark.parametrize("code", [1032, "1032"])
def test_a_code_may_be_a_number_or_a_string(code: int | str) -> None:
    """Callbacks write numbers, queries strings; both are the same entry."""
    assert explain(code) is CATALOGUE["1032"]


@pytest.mark.parametrize("code", ["", " 1032", "01032", "sfc_ic0003", "0.0", -1, 7, 10**30])
def test_an_unknown_code_settles_nothing(code: int | str) -> None:
    """It keeps its text, is not final, and asks to confirm before anybody pays again."""
    entry = explain(code)
    assert entry.code == str(code)
    assert (entry.evidence, entry.final, entry.retry) == ("unknown", False, CONFIRM)
    assert entry.message("en") != entry.message("sw")


@given(code=st.integers() | st.text())
def test_every_code_has_an_explanation(code: int | str) -> None:
    """No code makes it fail, and only the catalogue's own are known."""
    entry = explain(code)
    assert entry.code == str(code)
    assert (entry.evidence != "unknown") == (str(code) in CATALOGUE)


def test_an_unknown_language_is_answered_in_english() -> None:
    """A customer gets a message in any case."""
    language: Any = "fr"
    assert explain(1).message(language) == explain(1).message("en")


def test_the_catalogue_cannot_be_changed() -> None:
    """Neither an entry nor the whole."""
    entry: Any = CATALOGUE["1032"]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        entry.final = False
    catalogue: Any = CATALOGUE
    with pytest.raises(TypeError):
        catalogue["1032"] = entry


def test_every_collected_callback_has_a_known_code() -> None:
    """What was seen on the wire can be explained."""
    codes = [sample["body"]["Body"]["stkCallback"]["ResultCode"] for sample in samples("callback")]
    assert len(codes) > 20
    assert {explain(code).evidence for code in codes} == {"official", "reported"}


def test_advice_is_text_that_can_be_stored() -> None:
    """Members are plain strings too."""
    assert [advice.value for advice in RetryAdvice] == [
        "no",
        "yes",
        "confirm",
        "other_amount",
        "fix_setup",
    ]
    assert RetryAdvice("no") == "no"
