"""A pytest plugin for hosts: ``pytest_plugins = ["mpesa_stk.testing.plugin"]`` in their top conftest.py.

It is never loaded by itself. Beside the store contract, the only place that imports pytest.
No assertion in it is for pytest to explain, so it may be imported before, too: PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mpesa_stk.client import StkClient
from mpesa_stk.payments.payments import Payments
from mpesa_stk.testing.clock import ManualClock
from mpesa_stk.testing.daraja import SimulatedDaraja

__all__ = ["daraja", "manual_clock", "payments", "stk_client"]


@pytest.fixture
def manual_clock() -> ManualClock:
    """The time of the other fixtures; it stands still until it is moved."""
    return ManualClock()


@pytest.fixture
def daraja(manual_clock: ManualClock) -> Iterator[SimulatedDaraja]:
    """A Daraja in this process. What a receiver of callbacks raised is raised when the test is over."""
    simulated = SimulatedDaraja(clock=manual_clock)
    yield simulated
    simulated.raise_callback_errors()


@pytest.fixture
def stk_client(daraja: SimulatedDaraja) -> StkClient:
    """A client of ``daraja``; the one that ``payments`` use, too."""
    return daraja.client()


@pytest.fixture
def payments(daraja: SimulatedDaraja, stk_client: StkClient) -> Payments:
    """Payments in memory over ``daraja``, to which its callbacks are handed."""
    return daraja.payments(client=stk_client)
