"""Thousands of payments wait at once in one process, on one event loop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from measure import Line, Scoreboard
from support import HELPERS

PAYMENTS = 5000
PAY_AFTER = 30
_SHOP = Path(__file__).with_name("waiting_shop.py")
_PATIENCE = 300.0


def test_waiting(scoreboard: Scoreboard) -> None:
    """Each customer pays after half a minute, and the callback settles the payment."""
    places = os.pathsep.join(filter(None, [str(HELPERS), os.environ.get("PYTHONPATH", "")]))
    command = [sys.executable, str(_SHOP), str(PAYMENTS), str(PAY_AFTER)]
    done = subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": places},
        stdout=subprocess.PIPE,
        text=True,
        timeout=_PATIENCE,
        check=True,
    )
    found = json.loads(done.stdout)
    settled = found["states"].get("SUCCEEDED", 0)
    assert found["waiting"] == PAYMENTS
    scoreboard.lines.append(
        Line(
            budget=f"{PAYMENTS:,} payments waiting in one asyncio process: all settle",
            measured=f"{settled:,} paid",
            met=settled == PAYMENTS,
            notes=(
                f"customers pay after {PAY_AFTER} s; all were settled after {found['seconds']} s",
                f"at most {found['peak_mb']} MB of memory",
                f"at most {found['threads']} threads, which look up host names",
            ),
        )
    )
