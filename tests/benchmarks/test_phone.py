"""What `normalize_phone` costs beside Google's phonenumbers."""

from __future__ import annotations

from typing import Any

import phonenumbers

from measure import Line, Scoreboard, in_words, profile, ratio, take_turns
from mpesa_stk import normalize_phone

LIMIT = 0.05
SPELLINGS = (
    "0718643064",
    "718643064",
    "254718643064",
    "+254718643064",
    "+254 718 643 064",
    "0718-643-064",
    "(0718) 643 064",
    "+254 (0) 718 643064",
)


def test_phone(benchmark: Any, scoreboard: Scoreboard) -> None:
    """Normalizing a number costs a small part of what a library for all the world's numbers takes."""

    def ours() -> list[str]:
        return [normalize_phone(text) for text in SPELLINGS]

    def theirs() -> list[str]:
        parsed = [phonenumbers.parse(text, "KE") for text in SPELLINGS]
        form = phonenumbers.PhoneNumberFormat.E164
        return [phonenumbers.format_number(number, form)[1:] for number in parsed]

    assert ours() == theirs() == ["254718643064"] * len(SPELLINGS)
    subject, floor = take_turns(benchmark, ours, theirs, rounds=150, calls=20)
    found = ratio(subject, floor)
    notes = [f"{len(SPELLINGS)} spellings: {in_words(subject, floor)}"]
    if found > LIMIT:
        notes += profile(ours, calls=5_000)
    scoreboard.lines.append(
        Line(
            budget=f"normalize_phone: at most {LIMIT} x phonenumbers parse and format",
            measured=f"{found:.4f}",
            met=found <= LIMIT,
            notes=tuple(notes),
        )
    )
