"""``python -m tests.simulation``: run many worlds, or play one again.

--seeds 10000             run that many worlds, one line for each that breaks a promise
--seed 77 --story         play one again, and print what happened
--seed 77 --shrink        find the fewest faults that still break it
--mutants                 break the rules one line at a time, and count how many are noticed
--face sync, --store sqlite   the other face, the other store
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]

from tests.simulation.mutants import hunt  # noqa: E402 - the paths come first
from tests.simulation.runs import Setting, broken_by, played, shrunk  # noqa: E402


def main() -> int:
    """Run the command. 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seeds", type=int, default=300)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="one seed")
    parser.add_argument("--story", action="store_true", help="print what happened")
    parser.add_argument("--shrink", action="store_true", help="print the fewest faults")
    parser.add_argument("--mutants", action="store_true", help="test the tests")
    parser.add_argument("--face", choices=("asyncio", "sync"), default="asyncio")
    parser.add_argument("--store", choices=("memory", "sqlite"), default="memory")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    setting = Setting(asynchronous=given.face == "asyncio", sqlite=given.store == "sqlite")
    if given.mutants:
        return hunt(given.seeds)
    if given.seed is not None:
        return _one(given.seed, setting, story=given.story, shrink=given.shrink)
    return _many(range(given.first, given.first + given.seeds), setting)


def _many(seeds: range, setting: Setting) -> int:
    began, failed, faults = time.monotonic(), 0, Counter[str]()
    for seed in seeds:
        world = played(seed, setting)
        faults.update(
            fault.rpartition(" ")[2] if " in " in fault else fault for fault in world.faults
        )
        broken = broken_by(world)
        if broken:
            failed += 1
            print(f"seed {seed}: {'; '.join(broken)}")
    for kind, times in faults.most_common():
        print(f"{times:8,}  {kind}")
    seconds = time.monotonic() - began
    print(f"{len(seeds):,} seeds, {failed} broke a promise, {seconds:.0f} s")
    return 1 if failed else 0


def _one(seed: int, setting: Setting, *, story: bool, shrink: bool) -> int:
    skip = shrunk(seed, setting) if shrink else frozenset[int]()
    world = played(seed, setting, skip=skip)
    broken = broken_by(world)
    if story or shrink:
        print("\n".join(world.log))
    print("\n".join(broken) or "no promise was broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
