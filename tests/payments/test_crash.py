"""A worker is killed (SIGKILL) at every step, others take over, and the promises I1 to I4 hold.

Each test plays one story of `crash_stories` with a worker that dies at one point, in a process of its own,
on a real database. ``docs/explanation/crash-safety.md`` describes the method.
"""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
import sqlalchemy

from crash_scene import TAKEN, Scene, Story
from crash_stories import STORIES
from crash_worker import DIED, Order, nursery, open_engine
from crash_world import World
from databases import Servers
from mpesa_stk.stores.sql import SqlTransactionStore

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        DIED is None or "fork" not in multiprocessing.get_all_start_methods(),
        reason="no SIGKILL or no fork on this platform",
    ),
]

PATIENCE = 30.0
DATABASES = ("sqlite", "postgresql")


@attrs.frozen(kw_only=True)
class Journal:
    """What a worker told before it ended.

    Attributes:
        killed: Whether it was killed.
        entries: Its steps, what it told the host, what it raised.
    """

    killed: bool
    entries: list[tuple[str, Any]]

    def of(self, kind: str) -> list[Any]:
        """The entries of one kind."""
        return [entry for name, entry in self.entries if name == kind]


class Shop:
    """A database, and the workers on it."""

    def __init__(self, url: str) -> None:
        self.engine = open_engine(url)
        self.store = SqlTransactionStore(self.engine)
        self.store.create_tables()
        context = multiprocessing.get_context("spawn")
        self._orders, theirs = context.Pipe()
        self._nursery = context.Process(target=nursery, args=(url, theirs))
        self._nursery.start()
        theirs.close()
        assert self._orders.poll(PATIENCE), "the nursery does not start"
        self._orders.recv()

    def clear(self) -> None:
        """Forget all payments."""
        with self.engine.begin() as connection:
            for table in self.store.metadata.sorted_tables:
                connection.execute(sqlalchemy.delete(table))

    def kill(self, scene: Scene, order: Order, point: str) -> None:
        """Run a worker that is killed at a point."""
        journal = self.run(scene, order, point)
        assert journal.killed
        assert journal.of("step")[-1] == point

    def run(self, scene: Scene, order: Order, kill_at: str | None) -> Journal:
        """Run a worker in a process of its own."""
        self._orders.send((scene.place, order, scene.world.clock.now(), kill_at))
        assert self._orders.poll(PATIENCE), "the nursery does not answer"
        code, entries = self._orders.recv()
        assert code in (0, DIED), f"exit code {code} after {entries}"
        self._forget_the_dead()
        journal = Journal(killed=code == DIED, entries=entries)
        scene.told += journal.of("told")
        return journal

    def close(self) -> None:
        """Close the nursery, and all connections."""
        self._orders.close()
        self._nursery.join(PATIENCE)
        if self._nursery.is_alive():
            self._nursery.kill()
            self._nursery.join(PATIENCE)
        self._nursery.close()
        self.engine.dispose()

    def _forget_the_dead(self) -> None:
        """PostgreSQL needs a moment to notice that a worker is gone, and rolls back then."""
        if self.engine.dialect.name != "postgresql":
            return
        others = sqlalchemy.text(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND xact_start IS NOT NULL"
        )
        deadline = time.monotonic() + PATIENCE
        while True:
            with self.engine.connect() as connection:
                if connection.execute(others).scalar_one() == 0:
                    return
            assert time.monotonic() < deadline, "a dead worker's transaction is still open"
            time.sleep(0.002)


Shops = Callable[[str], Shop]


# --- what the tests share -----------------------------------------------------------------------------


class Table:
    """The points that were tried, for the end of the run."""

    def __init__(self) -> None:
        self.points: Counter[tuple[str, str]] = Counter()
        self.violated: Counter[tuple[str, str]] = Counter()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print one line for each action and database."""
        terminalreporter.section("workers killed")
        for action, database in sorted(self.points):
            points, violated = self.points[action, database], self.violated[action, database]
            terminalreporter.write_line(
                f"{action:16} {database:11} {points:4} points, {violated} with a violation"
            )
        total, bad = sum(self.points.values()), sum(self.violated.values())
        terminalreporter.write_line(f"{'all':28} {total:4} points, {bad} with a violation")


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Table:
    """Collects what is printed at the end."""
    table = Table()
    request.config.pluginmanager.register(table)
    return table


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """One Daraja for all tests."""
    with World() as world:
        yield world


@pytest.fixture(scope="module")
def shops(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shops]:
    """A shop on each kind of database, opened when it is first asked for."""
    opened: dict[str, Shop] = {}

    def shop(database: str) -> Shop:
        if database not in opened:
            file = tmp_path_factory.mktemp("crash") / "payments.sqlite3"
            url = f"sqlite:///{file}" if database == "sqlite" else servers.postgres_url()
            opened[database] = Shop(url)
        return opened[database]

    yield shop
    for each in opened.values():
        each.close()


def play(world: World, shop: Shop, story: Story, outcome: str, kill_at: str | None) -> Journal:
    """Play a story; returns what the worker told. Fails where a promise is broken."""
    shop.clear()
    scene = Scene(world, shop.store, story, outcome=outcome, killer=shop.kill)
    try:
        story.before(scene)
        order = scene.order()
        journal = shop.run(scene, order, kill_at)
        scene.ended(503 if journal.killed else TAKEN)
        scene.recover()
        assert scene.violations() == []
    finally:
        scene.close()
    return journal


def _played(database: str) -> list[tuple[Story, str]]:
    """The stories that are played on a database; the other one does not need every outcome."""
    return [
        (story, outcome)
        for story in STORIES
        for outcome in story.outcomes[: None if database == "sqlite" else 1]
    ]


WHOLE = [
    pytest.param(database, story, outcome, id=f"{database}: {story.label}, {outcome}")
    for database in DATABASES
    for story, outcome in _played(database)
]
POINTS = [
    pytest.param(
        database, story, outcome, point, id=f"{database}: {story.label}, {outcome}: {point}"
    )
    for database in DATABASES
    for story, outcome in _played(database)
    for point in story.points
]


@pytest.mark.parametrize(("database", "story", "outcome", "point"), POINTS)
def test_no_promise_is_broken_by_a_worker_that_is_killed(
    world: World, shops: Shops, table: Table, database: str, story: Story, outcome: str, point: str
) -> None:
    """The worker dies at this point, and in the end all is as it must be."""
    row = (story.action, database)
    table.points[row] += 1
    table.violated[row] += 1
    journal = play(world, shops(database), story, outcome, point)
    assert journal.killed
    assert journal.of("step")[-1] == point
    table.violated[row] -= 1


@pytest.mark.parametrize(("database", "story", "outcome"), WHOLE)
def test_every_step_of_a_story_is_among_the_points(
    world: World, shops: Shops, database: str, story: Story, outcome: str
) -> None:
    """Without a crash, the worker takes exactly the steps at which others are killed."""
    journal = play(world, shops(database), story, outcome, None)
    assert not journal.killed
    assert journal.of("step") == list(story.points)
