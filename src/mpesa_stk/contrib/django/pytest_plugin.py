"""A pytest plugin for Django hosts, beside pytest-django. Name it in the top conftest.py.

``pytest_plugins = ["mpesa_stk.contrib.django.pytest_plugin"]``. pytest does not load it by itself.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mpesa_stk.testing.daraja import SimulatedDaraja

__all__ = ["mpesa_daraja"]


@pytest.fixture
def mpesa_daraja(db: None) -> Iterator[SimulatedDaraja]:  # noqa: ARG001 - payments are in the database
    """Yield a simulated Daraja behind the payments. `mpesa_daraja.run()` lets customers answer."""
    from mpesa_stk.contrib.django.testing import (  # noqa: PLC0415 - pytest-django sets Django up first
        simulated_daraja,
    )

    with simulated_daraja() as daraja:
        yield daraja
