"""A Daraja to develop against: a pure engine, and a server around it."""

from __future__ import annotations

from mpesa_stk.simulator.engine import DarajaEngine, Reply
from mpesa_stk.simulator.faults import FAULTS, DeliveryFault, Fault
from mpesa_stk.simulator.journal import Entry, Journal
from mpesa_stk.simulator.prompts import CallbackDelivery, Prompt
from mpesa_stk.simulator.scenarios import (
    OUTCOMES,
    PIN,
    SCENARIOS,
    TEST_PHONES,
    Outcome,
    Pending,
    Scenario,
    Shape,
)
from mpesa_stk.simulator.server import SimulatorServer

__all__ = [
    "FAULTS",
    "OUTCOMES",
    "PIN",
    "SCENARIOS",
    "TEST_PHONES",
    "CallbackDelivery",
    "DarajaEngine",
    "DeliveryFault",
    "Entry",
    "Fault",
    "Journal",
    "Outcome",
    "Pending",
    "Prompt",
    "Reply",
    "Scenario",
    "Shape",
    "SimulatorServer",
]
