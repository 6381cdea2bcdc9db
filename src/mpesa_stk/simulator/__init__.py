"""A Daraja to develop against: a pure engine, and a server on this machine around it."""

from __future__ import annotations

from mpesa_stk.simulator.engine import DarajaEngine
from mpesa_stk.simulator.prompts import OUTCOMES, CallbackDelivery, Outcome, Scenario
from mpesa_stk.simulator.server import SimulatorServer

__all__ = [
    "OUTCOMES",
    "CallbackDelivery",
    "DarajaEngine",
    "Outcome",
    "Scenario",
    "SimulatorServer",
]
