"""A shop's year: with Safaricom's records no payment stays unknown, and none is settled wrongly."""

from __future__ import annotations

import pytest
from tests.simulation.year import SOURCES, Count, Year


def lived(days: int, source: str, *, till: bool = False) -> Count:
    """What came of so many days."""
    return Year(1, source=source, till=till).run(days)


@pytest.mark.parametrize("source", SOURCES)
def test_a_fortnight(source: str) -> None:
    """With a record, each payment is right. Without one, some end unknown, and none is paid wrongly."""
    count = lived(14, source)
    assert count.payments > 300
    assert count.wrong == 0
    if source == "none":
        assert count.left + count.listed > 0
        assert count.by_record == 0
    else:
        assert (count.left, count.listed) == (0, 0)
        assert count.by_record > 0
        assert count.unasked == count.by_hand > 0


def test_a_fortnight_of_a_till() -> None:
    """Its rows name no reference. So a payment that no query called paid is listed for a person."""
    count = lived(14, "statement", till=True)
    assert (count.wrong, count.left) == (0, 0)
    assert count.listed > 0


@pytest.mark.slow
def test_a_year() -> None:
    """Of ten thousand payments, at least 99.99 % need no person, and all others are listed."""
    count = lived(365, "pull")
    assert count.payments > 10_000
    assert (count.wrong, count.left) == (0, 0)
    assert count.resolved >= 0.9999
    assert count.unknown > 50
