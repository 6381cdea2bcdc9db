"""Tools for the tests of Django hosts: the payments of the project over a simulated Daraja.

Daraja's callbacks go through the project's URLs and middleware. Time is a `ManualClock`, and no request
leaves the process. In a `TestCase`, the payments are rolled back at its end.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Iterator
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.test import AsyncClient, Client

from mpesa_stk.config.settings import StkConfig
from mpesa_stk.contrib.django import runtime
from mpesa_stk.contrib.django.host_settings import settings_around
from mpesa_stk.contrib.django.mounting import callback_path
from mpesa_stk.contrib.django.parts import Parts
from mpesa_stk.contrib.django.views import is_on_loop
from mpesa_stk.simulator.scenarios import Scenario
from mpesa_stk.testing.async_daraja import AsyncSimulatedDaraja
from mpesa_stk.testing.daraja import SimulatedDaraja, no_chance, simulated_config

__all__ = ["SimulatedDarajaMixin", "simulated_daraja"]

_SITE = "https://shop.example.co.ke"
_JSON = "application/json"


@contextlib.contextmanager
def simulated_daraja(
    *configs: StkConfig, scenario: Scenario | str | None = None
) -> Iterator[SimulatedDaraja]:
    """Use a simulated Daraja until the block ends, and then raise the error of a failed callback.

    `payments`, the endpoints and `process_due` work with it. The keys of ``MPESA_STK`` that belong to the
    Django app, such as ``quote``, stay as they are. Credentials and limits are not used.

    Args:
        configs: The accounts. Default: one that is made up. Make others with `simulated_config`.
        scenario: The scenario of pushes, or its name. Default: paid after a second.

    Raises:
        ImproperlyConfigured: The project's URLs do not include the endpoints.
    """
    path = callback_path()
    if path is None:
        raise ImproperlyConfigured(
            'add path("payments/", include("mpesa_stk.contrib.django.urls")) to your URLs'
        )
    accounts = configs or (simulated_config(callback_url=f"{_SITE}{path}"),)
    daraja = SimulatedDaraja(*accounts, scenario=scenario)
    awaited = AsyncSimulatedDaraja(daraja)
    parts = Parts(
        settings_around(accounts),
        transport=daraja,
        async_transport=awaited,
        clock=daraja.clock,
        async_clock=awaited.clock,
        jitter=no_chance,
    )
    daraja.deliver_to(_post)
    with runtime.replaced(parts):
        yield daraja
    daraja.raise_callback_errors()


class SimulatedDarajaMixin:
    """Mix it into a `django.test.TestCase`: ``class MyTest(SimulatedDarajaMixin, TestCase)``.

    Attributes:
        daraja: The simulated Daraja of the test. `daraja.run()` lets the customer answer.
        scenario: The scenario of pushes, or its name. None for: paid after a second.
    """

    daraja: SimulatedDaraja
    scenario: Scenario | str | None = None

    def setUp(self) -> None:
        """Begin to simulate Daraja. It ends after the test."""
        super().setUp()  # type: ignore[misc]  # of the test case
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)  # type: ignore[attr-defined]  # the same
        self.daraja = stack.enter_context(simulated_daraja(scenario=self.scenario))


def _post(url: str, body: bytes) -> int | Awaitable[int]:
    """Post a callback to the project, as Daraja does, and return the HTTP status."""
    path = urlsplit(url).path
    if is_on_loop():
        return _post_on_loop(path, body)
    return int(Client().generic("POST", path, body, _JSON).status_code)


async def _post_on_loop(path: str, body: bytes) -> int:
    response: Any = await AsyncClient().generic("POST", path, body, _JSON)
    return int(response.status_code)
