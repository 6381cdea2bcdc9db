"""No seed breaks a promise, a seed is the same world again, and broken rules are noticed."""

from __future__ import annotations

import pytest
from tests.simulation.mutants import MUTANTS, NAMED_TESTS, mutated, verdict_on
from tests.simulation.runs import Setting, broken_by, played, shrunk
from tests.simulation.world import World

_AT_ONCE = 50
_SOME = range(0, 2 * _AT_ONCE, _AT_ONCE)
_MORE = range(2 * _AT_ONCE, 6 * _AT_ONCE, _AT_ONCE)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Thousands of lines of the library's log say nothing here."""
    caplog.set_level("CRITICAL", logger="mpesa_stk")


@pytest.mark.parametrize(
    "first", [*_SOME, *(pytest.param(first, marks=pytest.mark.slow) for first in _MORE)]
)
def test_no_seed_breaks_a_promise(first: int) -> None:
    """Play a failing seed with ``python -m tests.simulation --seed N --shrink``."""
    worlds = [played(seed, Setting()) for seed in range(first, first + _AT_ONCE)]
    assert {world.seed: broken_by(world) for world in worlds if broken_by(world)} == {}
    assert any(world.faults for world in worlds)


@pytest.mark.parametrize(
    ("setting", "seeds"),
    [
        (Setting(asynchronous=False), 50),
        pytest.param(Setting(sqlite=True), 3, marks=pytest.mark.slow),
        pytest.param(Setting(asynchronous=False, sqlite=True), 3, marks=pytest.mark.slow),
    ],
)
def test_no_seed_breaks_a_promise_elsewhere(setting: Setting, seeds: int) -> None:
    """On the other face, and over a database, which takes far longer."""
    for seed in range(1000, 1000 + seeds):
        assert broken_by(played(seed, setting)) == [], f"seed {seed}"


def test_a_seed_is_the_same_world_again() -> None:
    """Line by line, on the same face. Both faces take the same steps."""
    first, again = played(7, Setting()), played(7, Setting())
    assert first.log == again.log
    assert len(first.log) > 100
    assert first.log == played(7, Setting(asynchronous=False)).log


def test_a_skipped_fault_does_not_happen() -> None:
    """So a failing world can be made smaller."""
    world = next(world for seed in range(50) if len((world := played(seed, Setting())).faults) > 20)
    calm = played(world.seed, Setting(), skip=frozenset(range(10_000)))
    assert not [line for line in calm.log if "FAULT" in line]
    assert [line for line in world.log if "FAULT" in line]


def test_a_failing_world_shrinks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until each fault that is left is needed for the one that breaks the promise: somebody dies."""

    def broken_promises(world: World) -> list[str]:
        return ["somebody died"] if any("dies" in line for line in world.log) else []

    monkeypatch.setattr("tests.simulation.runs.broken_promises", broken_promises)
    brief = Setting(steps=150)
    seed = next(seed for seed in range(200) if broken_by(played(seed, brief)))
    skip = shrunk(seed, brief)
    world = played(seed, brief, skip=skip)
    assert broken_by(world)
    left = set(range(len(world.faults))) - skip
    assert len(left) < len(played(seed, brief).faults)
    assert not any(broken_by(played(seed, brief, skip=skip | {one})) for one in left)


def test_each_mutant_changes_a_line_that_is_there() -> None:
    """A rule that moved takes its mutants along."""
    for mutant in MUTANTS:
        assert mutated(mutant)
    assert len(MUTANTS) >= 40
    assert set(NAMED_TESTS) <= {replaced for _, replaced, _ in MUTANTS}


@pytest.mark.slow
@pytest.mark.parametrize("mutant", [each for each in MUTANTS if each[1] not in NAMED_TESTS][::12])
def test_a_mutant_is_noticed(mutant: tuple[str, str, str]) -> None:
    """Some of them. ``python -m tests.simulation --mutants`` runs all."""
    assert verdict_on(mutant, 800).startswith("seed ")


@pytest.mark.slow
@pytest.mark.parametrize("mutant", [each for each in MUTANTS if each[1] in NAMED_TESTS])
def test_a_mutant_that_no_world_notices_fails_its_test(mutant: tuple[str, str, str]) -> None:
    """So each mutant is noticed by something."""
    assert verdict_on(mutant, 0).startswith("test ")
