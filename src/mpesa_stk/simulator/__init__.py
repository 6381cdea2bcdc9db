"""A Daraja to develop against: a pure engine, and a server around it."""

from __future__ import annotations

from mpesa_stk.simulator.callback_trouble import Trouble
from mpesa_stk.simulator.engine import DarajaEngine, Reply
from mpesa_stk.simulator.faults import FAULTS, DeliveryFault, Fault
from mpesa_stk.simulator.journal import Entry, Journal
from mpesa_stk.simulator.ledger import LedgerRow
from mpesa_stk.simulator.outages import Outage
from mpesa_stk.simulator.prompts import CallbackDelivery, Prompt
from mpesa_stk.simulator.pull_forms import PullForm
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
    "LedgerRow",
    "Outage",
    "Outcome",
    "Pending",
    "Prompt",
    "PullForm",
    "Reply",
    "Scenario",
    "Shape",
    "SimulatorServer",
    "Trouble",
]
