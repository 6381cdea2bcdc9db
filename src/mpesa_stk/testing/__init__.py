"""Tools for the tests of hosts: a simulated Daraja, a clock, callbacks, test phones, contracts.

This import loads neither pytest nor requests nor asyncio. The contracts of stores, and the code that makes
them test asynchronous stores, are loaded at their first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mpesa_stk.simulator.faults import FAULTS, DeliveryFault, Fault
from mpesa_stk.simulator.pull_forms import PullForm
from mpesa_stk.simulator.scenarios import (
    OUTCOMES,
    PIN,
    SCENARIOS,
    TEST_PHONES,
    Pending,
    Scenario,
    Shape,
)
from mpesa_stk.testing import phones
from mpesa_stk.testing.async_daraja import AsyncSimulatedDaraja
from mpesa_stk.testing.callback_bodies import (
    failed_callback,
    paid_callback,
    signed_path,
    signed_token,
    unproven_callback,
)
from mpesa_stk.testing.daraja import SimulatedDaraja, simulated_config
from mpesa_stk.testing.manual_clock import ManualClock
from mpesa_stk.testing.payloads import PAYLOADS, Payload, payload

if TYPE_CHECKING:
    from mpesa_stk.testing.event_loop import (
        BlockingTokenStore,
        BlockingTransactionStore,
        EventLoopThread,
    )
    from mpesa_stk.testing.search_contract import SearchContract
    from mpesa_stk.testing.store_contract import StoreContract
    from mpesa_stk.testing.token_contract import TokenStoreContract

__all__ = [
    "FAULTS",
    "OUTCOMES",
    "PAYLOADS",
    "PIN",
    "SCENARIOS",
    "TEST_PHONES",
    "AsyncSimulatedDaraja",
    "BlockingTokenStore",
    "BlockingTransactionStore",
    "DeliveryFault",
    "EventLoopThread",
    "Fault",
    "ManualClock",
    "Payload",
    "Pending",
    "PullForm",
    "Scenario",
    "SearchContract",
    "Shape",
    "SimulatedDaraja",
    "StoreContract",
    "TokenStoreContract",
    "failed_callback",
    "paid_callback",
    "payload",
    "phones",
    "signed_path",
    "signed_token",
    "simulated_config",
    "unproven_callback",
]


_LATER = {
    "BlockingTokenStore": "event_loop",
    "BlockingTransactionStore": "event_loop",
    "EventLoopThread": "event_loop",
    "SearchContract": "search_contract",
    "StoreContract": "store_contract",
    "TokenStoreContract": "token_contract",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public name
    """Load a name of `_LATER` when it is first used."""
    if name in _LATER:
        return getattr(importlib.import_module(f"mpesa_stk.testing.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
