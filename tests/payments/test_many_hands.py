"""The promises about payments hold while many hands are at work, and much goes wrong at once."""

from __future__ import annotations

import pytest

from many_hands import World

_WORLDS = 50
_ACTS = 60


@pytest.mark.parametrize(
    "block", [0, 1, *(pytest.param(block, marks=pytest.mark.slow) for block in range(2, 8))]
)
def test_promises_hold_in_worlds_of_chance(block: int, face: str) -> None:
    """Two accounts, four workers, one store: see `many_hands` for what may happen."""
    worlds = _WORLDS if face == "sync" else _WORLDS // 10  # each call starts an event loop there
    for seed in range(block * worlds, (block + 1) * worlds):
        world = World(seed)
        for _ in range(_ACTS):
            world.act()
            world.check()
        world.end()
        assert world.faults == [], f"seed {seed}"
