"""A store that fails, hangs or does not say whether it wrote, at every call: the promises I1 to I4 hold.

The stories are those of the crash tests, played in this process. The trouble is in a double around a
real store.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
import sqlalchemy

from crash_scene import Scene, Story, post
from crash_stories import STORIES
from crash_worker import Order, SteppedStore, SteppedTransport, Steps, act, open_engine, shop
from crash_world import World
from mpesa_stk import (
    MemoryTransactionStore,
    MpesaError,
    Payments,
    RequestsTransport,
    StoreError,
    TransactionStore,
)
from mpesa_stk.stores.sql import SqlTransactionStore

pytestmark = pytest.mark.slow

PATIENCE = 10.0


class Trouble(Protocol):
    """What goes wrong: raises at some of the calls that it is told of."""

    def __call__(self, point: str, /) -> None:
        """A call of the store begins or has ended."""
        ...


class Fails:
    """The store fails at one call: before it, or after it was done, which the caller cannot tell apart."""

    def __init__(self, where: str) -> None:
        self._where = where
        self.struck = False

    def __call__(self, point: str, /) -> None:
        """Fail there."""
        if point == self._where:
            self.struck = True
            raise StoreError("the store is in trouble")


class FailsFromThenOn(Fails):
    """An outage: the store fails at one call, and at every one after it."""

    def __call__(self, point: str, /) -> None:
        """Fail there and later."""
        self.struck = self.struck or point == self._where
        if self.struck:
            raise StoreError("the store is in trouble")


class HasABug(Fails):
    """The store raises what no store may raise."""

    def __call__(self, point: str, /) -> None:
        """Raise there."""
        if point == self._where:
            self.struck = True
            raise ZeroDivisionError


class Hangs(Fails):
    """The store hangs at one call until the test lets it go on."""

    def __init__(self, where: str) -> None:
        super().__init__(where)
        self.reached = threading.Event()
        self.released = threading.Event()

    def __call__(self, point: str, /) -> None:
        """Wait there."""
        if point == self._where:
            self.reached.set()
            assert self.released.wait(PATIENCE)


class _Died(BaseException):
    """Ends a worker where it stands."""


def _die(scene: Scene, order: Order, point: str) -> None:
    """Run a worker in this process that is gone from a point on."""
    passed = []

    def at(reached: str) -> None:
        passed.append(reached)
        if point in passed:  # a dead worker does not tidy up either
            raise _Died

    steps = Steps(at)
    transport = SteppedTransport(RequestsTransport(), scene.place, steps)
    worker = shop(scene.place, SteppedStore(scene.store, steps), scene.world.clock, transport)
    with pytest.raises(_Died):
        act(worker, order, scene.tell)
    worker.client.close()


# --- what the tests share -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """One Daraja for all tests."""
    with World() as world:
        yield world


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], TransactionStore]]:
    """Empties the one SQLite store of all tests."""
    file: Path = tmp_path_factory.mktemp("trouble") / "payments.sqlite3"
    engine = open_engine(f"sqlite:///{file}")
    store = SqlTransactionStore(engine)
    store.create_tables()

    def empty() -> TransactionStore:
        with engine.begin() as connection:
            for table in store.metadata.sorted_tables:
                connection.execute(sqlalchemy.delete(table))
        return store

    yield empty
    engine.dispose()


@pytest.fixture
def make_store(
    request: Any, sqlite: Callable[[], TransactionStore]
) -> Callable[[], TransactionStore]:
    """Makes an empty store of the kind that is asked for."""
    return MemoryTransactionStore if request.param == "memory" else sqlite


@pytest.fixture
def play(world: World, make_store: Callable[[], TransactionStore]) -> Iterator[Any]:
    """Makes scenes, and closes them."""
    scenes: list[Scene] = []

    def play(story: Story) -> Scene:
        scene = Scene(world, make_store(), story, outcome="paid", killer=_die)
        scenes.append(scene)
        story.before(scene)
        return scene

    yield play
    for scene in scenes:
        scene.close()


def troubled(scene: Scene, trouble: Trouble) -> Payments:
    """A worker whose store is in trouble."""
    store = SteppedStore(scene.store, Steps(trouble))
    return shop(scene.place, store, scene.world.clock)


def calls(action: str | None = None) -> list[Any]:
    """The stories, each with the beginning and the end of every call of its store."""
    return [
        pytest.param(story, point, id=f"{story.label}: {point}")
        for story in STORIES
        if action in (None, story.action)
        for point in story.points
        if " store." in point and not point.startswith("inside")
    ]


WHAT_GOES_WRONG = pytest.mark.parametrize(
    ("make_store", "kind"),
    [
        pytest.param("memory", Fails, id="memory fails once"),
        pytest.param("memory", FailsFromThenOn, id="memory fails from then on"),
        pytest.param("memory", HasABug, id="memory has a bug"),
        pytest.param("sqlite", Fails, id="sqlite fails once"),
    ],
    indirect=["make_store"],
)


# --- the store raises ----------------------------------------------------------------------------------


@WHAT_GOES_WRONG
@pytest.mark.parametrize(("story", "point"), calls("checkout"))
def test_checkout_sends_nothing_unless_the_intent_is_stored(
    play: Callable[[Story], Scene], story: Story, point: str, kind: type[Fails]
) -> None:
    """An error before the push means that no push was sent; in the end all is as it must be."""
    scene = play(story)
    sent = scene.world.pushes
    trouble = kind(point)
    worker = troubled(scene, trouble)
    error = None
    try:
        act(worker, scene.order(), scene.tell)
    except (MpesaError, ZeroDivisionError) as raised:
        error = raised
    worker.client.close()
    assert trouble.struck
    if _before_the_push(story, point):
        assert error is not None
        assert scene.world.pushes == sent
    elif kind is not HasABug:
        # The prompt may be live. Only what Daraja itself refused is an error.
        assert not isinstance(error, StoreError)
        assert scene.world.pushes == sent + 1
    scene.recover()
    assert scene.violations() == []


def _before_the_push(story: Story, point: str) -> bool:
    points = list(story.points)
    return points.index(point) < points.index("before send push")


@WHAT_GOES_WRONG
@pytest.mark.parametrize(("story", "point"), calls("handle_callback"))
def test_callback_that_meets_trouble_is_never_acknowledged(
    play: Callable[[Story], Scene], story: Story, point: str, kind: type[Fails]
) -> None:
    """The endpoint answers 5xx, so that Daraja may post it again; in the end all is as it must be."""
    scene = play(story)
    trouble = kind(point)
    worker = troubled(scene, trouble)
    order = scene.order()
    status = post(worker, order.body, order.token)
    worker.client.close()
    assert trouble.struck
    assert status == (500 if kind is HasABug else 503)
    scene.ended(status)
    scene.recover()
    assert scene.violations() == []


@WHAT_GOES_WRONG
@pytest.mark.parametrize(("story", "point"), calls("process_due"))
def test_due_work_that_meets_trouble_is_done_later(
    play: Callable[[Story], Scene], story: Story, point: str, kind: type[Fails]
) -> None:
    """What one batch cannot do, a later one does."""
    scene = play(story)
    trouble = kind(point)
    worker = troubled(scene, trouble)
    with contextlib.suppress(StoreError, ZeroDivisionError):  # the payment's lease brings it back
        act(worker, scene.order(), scene.tell)
    worker.client.close()
    assert trouble.struck
    scene.recover()
    assert scene.violations() == []


# --- the store hangs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("make_store", ["memory", "sqlite"], indirect=True)
@pytest.mark.parametrize(("story", "point"), calls())
def test_worker_that_comes_back_after_others_did_its_work_breaks_nothing(
    play: Callable[[Story], Scene], story: Story, point: str
) -> None:
    """Its store hangs, others bring the payment to its end, and then it goes on where it was."""
    scene = play(story)
    trouble = Hangs(point)
    worker = troubled(scene, trouble)
    order, failures = scene.order(), []

    def go() -> None:
        try:
            act(worker, order, scene.tell)
        except MpesaError as error:
            failures.append(error)

    thread = threading.Thread(target=go)
    thread.start()
    try:
        assert trouble.reached.wait(PATIENCE)
        scene.ended(503)  # Daraja does not wait for so long
        scene.recover()
        assert scene.violations() == []
        sent = scene.world.pushes
    finally:
        trouble.released.set()
        thread.join(PATIENCE)
    assert not thread.is_alive()
    worker.client.close()
    assert scene.world.pushes == sent, "a prompt for a payment that was given up"
    scene.follow_up()
    assert scene.violations() == []
