"""A pytest plugin for hosts: ``pytest_plugins = ["mpesa_stk.testing.plugin"]`` in their top conftest.py.

pytest does not load it by itself. Only this file and the contracts import pytest.
It has no assertions for pytest to rewrite, so it may also be imported earlier: PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mpesa_stk.async_client import AsyncStkClient
from mpesa_stk.client import StkClient
from mpesa_stk.payments.async_payments import AsyncPayments
from mpesa_stk.payments.payments import Payments
from mpesa_stk.testing.async_daraja import AsyncSimulatedDaraja
from mpesa_stk.testing.daraja import SimulatedDaraja
from mpesa_stk.testing.manual_clock import ManualClock

__all__ = [
    "async_daraja",
    "async_payments",
    "async_stk_client",
    "daraja",
    "manual_clock",
    "payments",
    "stk_client",
]


@pytest.fixture
def manual_clock() -> ManualClock:
    """Return the clock of the other fixtures. It stands still until a test moves it."""
    return ManualClock()


@pytest.fixture
def daraja(manual_clock: ManualClock) -> Iterator[SimulatedDaraja]:
    """Yield a Daraja in this process.

    After the test, raise the first error of a receiver of callbacks.
    """
    simulated = SimulatedDaraja(clock=manual_clock)
    yield simulated
    simulated.raise_callback_errors()


@pytest.fixture
def stk_client(daraja: SimulatedDaraja) -> StkClient:
    """Return a client of ``daraja``, which ``payments`` use, too."""
    return daraja.client()


@pytest.fixture
def payments(daraja: SimulatedDaraja, stk_client: StkClient) -> Payments:
    """Return payments in memory over ``daraja``. They receive its callbacks."""
    return daraja.payments(client=stk_client)


@pytest.fixture
def async_daraja(daraja: SimulatedDaraja) -> AsyncSimulatedDaraja:
    """Return ``daraja`` for tests with asyncio."""
    return AsyncSimulatedDaraja(daraja)


@pytest.fixture
def async_stk_client(async_daraja: AsyncSimulatedDaraja) -> AsyncStkClient:
    """Return a client of ``daraja``, which ``async_payments`` use, too."""
    return async_daraja.client()


@pytest.fixture
def async_payments(
    async_daraja: AsyncSimulatedDaraja, async_stk_client: AsyncStkClient
) -> AsyncPayments:
    """Return payments in memory over ``daraja``, for asyncio. They receive its callbacks."""
    return async_daraja.payments(client=async_stk_client)
