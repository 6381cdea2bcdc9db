"""The promises about payments hold while many hands are at work, and much goes wrong at once."""

from __future__ import annotations

import pytest

from many_hands import World

_WORLDS = 50
_ACTS = 60


@pytest.mark.parametrize("block", range(8))
def test_promises_hold_in_worlds_of_chance(block: int) -> None:
    """Two accounts, four workers, one store: see `many_hands` for what may happen."""
    for seed in range(block * _WORLDS, (block + 1) * _WORLDS):
        world = World(seed)
        for _ in range(_ACTS):
            world.act()
            world.check()
        world.end()
        assert world.faults == [], f"seed {seed}"
