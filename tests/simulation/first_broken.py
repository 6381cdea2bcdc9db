"""Run seeds until one breaks a promise, and print that. Prints nothing if none does."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[1:1] = [str(ROOT), str(ROOT / "tests" / "helpers")]

from tests.simulation.runs import Setting, broken_by, played  # noqa: E402 - the paths come first

if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    for number in range(int(sys.argv[1])):
        broken = broken_by(played(number, Setting()))
        if broken:
            print(f"seed {number}: {broken[0]}")
            break
