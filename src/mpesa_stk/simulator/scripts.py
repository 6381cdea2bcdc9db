"""Faults that are scripted for the next requests of a step. Pure."""

from __future__ import annotations

from collections import deque
from typing import get_args

from mpesa_stk.simulator.faults import FAULTS, Fault
from mpesa_stk.simulator.incoming import Step


class Scripts:
    """Keep the faults that the next requests of each step meet, in order."""

    def __init__(self) -> None:
        """Start without faults."""
        self._faults: dict[Step, deque[Fault]] = {step: deque() for step in get_args(Step)}

    def add(self, step: Step, /, *faults: str | Fault) -> None:
        """Add faults. If one is not known, no fault is added.

        Raises:
            KeyError: There is no such step or fault.
        """
        script = self._faults[step]
        script.extend([FAULTS[fault] if isinstance(fault, str) else fault for fault in faults])

    def take(self, step: Step, /) -> Fault | None:
        """Remove and return the next fault of a step, or None."""
        script = self._faults[step]
        return script.popleft() if script else None

    def names(self) -> dict[Step, list[str]]:
        """The names of the faults, by their step. Steps without faults are left out."""
        return {
            step: [name_of(fault) or "other" for fault in faults]
            for step, faults in self._faults.items()
            if faults
        }

    def clear(self) -> None:
        """Drop all faults."""
        for script in self._faults.values():
            script.clear()


def name_of(fault: Fault, /) -> str:
    """The name of a fault of `FAULTS`, or empty for a fault of your own."""
    return next((name for name, known in FAULTS.items() if known is fault), "")
