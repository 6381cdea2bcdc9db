"""A shop of many orders: each scenario of the simulator, processes that die, customers who press again.

It is written as the page about orders says. In the end its books are compared with the paid prompts.
"""

from __future__ import annotations

import pytest

from whole_shop import (
    DEATHS,
    Shop,
    check_that_all_happened,
    paid_twice_without_a_flag,
    wrongly_paid,
    wrongly_unpaid,
)


@pytest.fixture(scope="module", params=DEATHS)
def shop(request: pytest.FixtureRequest) -> Shop:
    """A shop at the end of its day."""
    shop = Shop(request.param)
    shop.open()
    return shop


def test_nobody_is_wrongly_paid(shop: Shop) -> None:
    """An order counts as paid if a prompt of it was paid, or if Daraja's own query said so."""
    assert wrongly_paid(shop) == []


def test_nobody_is_wrongly_unpaid(shop: Shop) -> None:
    """Whoever paid is booked as paid, or the order says that nobody knows."""
    assert wrongly_unpaid(shop) == []


def test_nobody_pays_twice_without_a_flag(shop: Shop) -> None:
    """Each further success of an order was reported with its review and its receipt."""
    assert paid_twice_without_a_flag(shop) == []


def test_the_day_had_all_that_can_happen(shop: Shop) -> None:
    """Otherwise the other tests would prove nothing."""
    check_that_all_happened(shop)
