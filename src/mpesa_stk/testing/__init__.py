"""What hosts use in their own tests: a Daraja in their process, a clock, callbacks, test phones.

Importing it imports neither pytest nor requests.
"""

from __future__ import annotations

from mpesa_stk.simulator.engine import PIN
from mpesa_stk.simulator.faults import FAULTS, Fault
from mpesa_stk.simulator.outcomes import OUTCOMES
from mpesa_stk.simulator.scenarios import SCENARIOS, TEST_PHONES, Pending, Scenario, Shape
from mpesa_stk.testing import phones
from mpesa_stk.testing.callbacks import (
    failed_callback,
    paid_callback,
    signed_path,
    signed_token,
    unproven_callback,
)
from mpesa_stk.testing.clock import ManualClock
from mpesa_stk.testing.daraja import SimulatedDaraja, simulated_config
from mpesa_stk.testing.payloads import PAYLOADS, Payload, payload

__all__ = [
    "FAULTS",
    "OUTCOMES",
    "PAYLOADS",
    "PIN",
    "SCENARIOS",
    "TEST_PHONES",
    "Fault",
    "ManualClock",
    "Payload",
    "Pending",
    "Scenario",
    "Shape",
    "SimulatedDaraja",
    "failed_callback",
    "paid_callback",
    "payload",
    "phones",
    "signed_path",
    "signed_token",
    "simulated_config",
    "unproven_callback",
]
