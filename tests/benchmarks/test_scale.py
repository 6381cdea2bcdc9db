"""Checkouts, callbacks and claims a second: 1, 4 and 8 processes, none and a million settled payments.

Unlike the other budgets these fail the run where they are missed: a shop's history must not slow it down.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator
from contextlib import ExitStack

import attrs
import pytest

from databases import Servers
from measure import Line, Scoreboard, Times, ratio
from scale_data import bytes_a_payment, fill, plan_of_the_claim, waiting_for_the_disk
from scale_fleet import Fleet, Window

SETTLED = 1_000_000
DUE = 2_000
FLEETS = (1, 4, 8)
VERBS = ("checkout", "callback", "claim")
LIMIT = 1.3
_ROUNDS = 12
_WINDOW = 0.25
_EMPTY, _FULL = 0, 1


@attrs.frozen
class Databases:
    """Two databases of one kind: one without settled payments, one with a million."""

    kind: str
    urls: tuple[str, str]


@pytest.fixture(params=["PostgreSQL", "SQLite"])
def databases(
    request: pytest.FixtureRequest, servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Databases]:
    """Both databases of a kind, filled; commits wait for the disk."""
    folder = tmp_path_factory.mktemp("scale")
    server = request.param == "PostgreSQL"
    names = ("empty", "full")
    urls = [
        servers.postgres_url() if server else f"sqlite:///{folder / name}.sqlite3" for name in names
    ]
    fill(urls[_EMPTY], settled=0, due=DUE)
    fill(urls[_FULL], settled=SETTLED, due=DUE)
    with ExitStack() as stack:
        if server:
            stack.enter_context(waiting_for_the_disk(urls[_EMPTY]))
        yield Databases(request.param, (urls[_EMPTY], urls[_FULL]))
    for file in folder.iterdir():
        file.unlink()  # a gigabyte


@attrs.frozen
class Measured:
    """The windows of each kind of work, by each fleet on each database, round by round."""

    rounds: dict[tuple[str, int, int], list[Window]]

    def times(self, verb: str, fleet: int, database: int) -> Times:
        """Seconds a payment of one kind of work."""
        return Times(tuple(window.seconds for window in self.rounds[verb, fleet, database]))

    def quartiles(self, verb: str, fleet: int) -> float:
        """Full against empty: the ratio of the lower quartiles."""
        return ratio(self.times(verb, fleet, _FULL), self.times(verb, fleet, _EMPTY))

    def pairs(self, verb: str) -> float:
        """Full against empty: the middle one of all pairs of windows that followed each other."""
        found: list[float] = []
        for fleet in FLEETS:
            both = (self.times(verb, fleet, database).rounds for database in (_FULL, _EMPTY))
            found += [full / empty for full, empty in zip(*both, strict=True)]
        return statistics.median(found)

    def table(self, kind: str) -> Iterator[str]:
        """Payments a second, as Markdown; medians of the rounds. Both: a checkout and its callback."""
        columns = [f"{verb}s, {what}" for verb in VERBS for what in ("empty", "full")]
        yield f"| {kind}: processes | " + " | ".join(columns) + " | both, full |"
        yield "|---" * (2 + len(columns)) + "|"
        for fleet in FLEETS:
            seconds = {
                (verb, database): self.times(verb, fleet, database).median
                for verb in VERBS
                for database in (_EMPTY, _FULL)
            }
            both = seconds["checkout", _FULL] + seconds["callback", _FULL]
            cells = [f"{1 / taken:,.0f}" for taken in (*seconds.values(), both)]
            yield f"| {fleet} | " + " | ".join(cells) + " |"

    def processor(self) -> str:
        """What a worker that works alone computes for one payment; other programs do not count here."""
        found = {
            verb: statistics.median(window.processor for window in self.rounds[verb, 1, _FULL])
            for verb in VERBS
        }
        times = ", ".join(f"{1e3 * seconds:.2f} ms a {verb}" for verb, seconds in found.items())
        return f"processor time of a worker, without the server's: {times}"


def test_history_costs_nothing(scoreboard: Scoreboard, databases: Databases) -> None:
    """Each kind of work takes as long beside a million settled payments, alone and in a crowd."""
    plan = plan_of_the_claim(databases.urls[_FULL])
    table, indexes = bytes_a_payment(databases.urls[_FULL])
    load = os.getloadavg()[0]
    measured = _measure(databases)
    size = f"a settled payment: {table:,.0f} bytes" + f" and {indexes:,.0f} of indexes" * bool(
        indexes
    )
    machine = f"{os.cpu_count()} processors for all; load average before: {load:.1f}"
    notes = {
        "checkout": (machine, *measured.table(databases.kind), measured.processor(), size),
        "callback": (),
        "claim": ("how the database finds what is due:", *plan),
    }
    found = {verb: measured.pairs(verb) for verb in VERBS}
    for verb in VERBS:
        quartiles = ", ".join(f"{measured.quartiles(verb, fleet):.2f}" for fleet in FLEETS)
        scoreboard.lines.append(
            Line(
                budget=f"{databases.kind}, {verb}: {SETTLED:,} settled as fast as 0 (at most {LIMIT} x)",
                measured=f"{found[verb]:.3f}",
                met=found[verb] <= LIMIT,
                notes=(
                    f"ratio of the lower quartiles with {FLEETS} processes: {quartiles}",
                    *notes[verb],
                ),
            )
        )
    assert "mpesa_stk_transactions_account_due_at" in " ".join(plan)
    assert max(found.values()) <= LIMIT


def _measure(databases: Databases) -> Measured:
    """Windows of each kind of work; the two databases take turns, and take turns to be first."""
    rounds: dict[tuple[str, int, int], list[Window]] = {}
    with Fleet(max(FLEETS), list(databases.urls)) as fleet:
        for turn in range(_ROUNDS):
            for size in FLEETS:
                for verb in VERBS:  # checkouts first: callbacks answer them
                    for database in (_EMPTY, _FULL)[:: -1 if turn % 2 else 1]:
                        window = fleet.window(size, database, verb, _WINDOW)
                        rounds.setdefault((verb, size, database), []).append(window)
    return Measured(rounds)
