"""Measures a subject beside its floor, and collects the lines of the closing table."""

from __future__ import annotations

import cProfile
import io
import pstats
import statistics
import time
from collections.abc import Callable
from typing import Any

import attrs
import pytest

Call = Callable[[], object]


@attrs.frozen
class Times:
    """Seconds of each round of one call; the rounds of several calls took turns."""

    rounds: tuple[float, ...]

    @property
    def quartile(self) -> float:
        """The lower quartile: other programs only ever add time, so it wanders less than the median."""
        return statistics.quantiles(self.rounds, n=4)[0]

    @property
    def median(self) -> float:
        """The median."""
        return statistics.median(self.rounds)


@attrs.frozen(kw_only=True)
class Line:
    """One line of the closing table."""

    budget: str
    measured: str
    met: bool
    notes: tuple[str, ...] = ()


@attrs.define
class Scoreboard:
    """The lines of a run, in the order in which they were measured."""

    lines: list[Line] = attrs.field(factory=list)

    def table(self) -> list[str]:
        """The table as text."""
        rows = [("budget", "measured", "verdict")]
        rows += [(line.budget, line.measured, _verdict(line)) for line in self.lines]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _verdict(line: Line) -> str:
    return "met" if line.met else "NOT MET"


def take_turns(
    benchmark: Any, subject: Call, *others: Call, rounds: int, calls: int = 1, warmup: int = 3
) -> tuple[Times, ...]:
    """Time a subject and others in turns, so that noise hits all of them alike.

    Args:
        benchmark: pytest-benchmark's fixture; it times the subject.
        subject: What the benchmark is about.
        others: What it is compared with; each runs once before each round of the subject.
        rounds: How many rounds.
        calls: How many calls make a round.
        warmup: Rounds before, which do not count.

    Returns:
        Seconds per call: of the subject first, then of each other.
    """
    taken: list[list[float]] = [[] for _ in others]

    def time_others() -> None:
        for other, times in zip(others, taken, strict=True):
            started = time.perf_counter()
            for _ in range(calls):
                other()
            times.append((time.perf_counter() - started) / calls)

    def repeat() -> None:
        for _ in range(calls):
            subject()

    benchmark.pedantic(repeat, setup=time_others, rounds=rounds, warmup_rounds=warmup)
    if benchmark.disabled:
        pytest.skip("ran once; timing is disabled")
    ours = Times(tuple(seconds / calls for seconds in benchmark.stats.stats.data))
    floors = tuple(Times(tuple(times[warmup:])) for times in taken)
    for number, floor in enumerate(floors):
        benchmark.extra_info[f"floor {number}, lower quartile"] = floor.quartile
    return (ours, *floors)


def ratio(subject: Times, floor: Times) -> float:
    """The ratio of the lower quartiles: what a budget is judged by."""
    return subject.quartile / floor.quartile


def in_words(subject: Times, floor: Times, *, unit: float = 1e6, name: str = "us") -> str:
    """Both times and the ratio of the medians, for the lines below the table."""
    return (
        f"{subject.quartile * unit:.1f} {name} against {floor.quartile * unit:.1f} {name};"
        f" ratio of the medians {subject.median / floor.median:.3f}"
    )


def profile(call: Call, *, calls: int, top: int = 15) -> tuple[str, ...]:
    """Where the time goes: the functions with most time of their own."""
    profiler = cProfile.Profile()
    profiler.enable()
    for _ in range(calls):
        call()
    profiler.disable()
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).sort_stats("tottime").print_stats(top)
    return tuple(line for line in text.getvalue().splitlines() if line.strip())
