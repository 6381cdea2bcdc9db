"""A Daraja to develop against: a pure engine, and a server on this machine around it."""

from __future__ import annotations

from mpesa_stk.simulator.engine import PIN, DarajaEngine, Reply
from mpesa_stk.simulator.faults import FAULTS, Fault, Manner
from mpesa_stk.simulator.journal import Entry, Journal
from mpesa_stk.simulator.outcomes import OUTCOMES, Outcome
from mpesa_stk.simulator.prompts import CallbackDelivery, Prompt
from mpesa_stk.simulator.scenarios import SCENARIOS, TEST_PHONES, Pending, Scenario, Shape
from mpesa_stk.simulator.server import SimulatorServer

__all__ = [
    "FAULTS",
    "OUTCOMES",
    "PIN",
    "SCENARIOS",
    "TEST_PHONES",
    "CallbackDelivery",
    "DarajaEngine",
    "Entry",
    "Fault",
    "Journal",
    "Manner",
    "Outcome",
    "Pending",
    "Prompt",
    "Reply",
    "Scenario",
    "Shape",
    "SimulatorServer",
]
