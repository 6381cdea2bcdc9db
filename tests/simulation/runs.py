"""Play a seed, on either face and store, and find the fewest faults that break a promise."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import sqlalchemy
from tests.simulation.checks import broken_promises
from tests.simulation.world import World

from mpesa_stk import MemoryTransactionStore, TransactionStore
from mpesa_stk.stores.sql import SqlTransactionStore


@attrs.frozen(kw_only=True)
class Setting:
    """The face and the store of a run, and its steps before the trouble ends."""

    asynchronous: bool = True
    sqlite: bool = False
    steps: int = 600


def played(seed: int, setting: Setting, *, skip: frozenset[int] = frozenset()) -> World:
    """Run the world of a seed to its end. The faults in `skip` do not happen."""
    store, close = _sqlite() if setting.sqlite else (MemoryTransactionStore(), _nothing)
    world = World(
        seed, asynchronous=setting.asynchronous, store=store, steps=setting.steps, skip=skip
    )
    try:
        world.run()
        world.broken = broken_promises(world)
    except Exception as error:  # noqa: BLE001 - a bug, or a world that does not end
        world.broken = [f"{type(error).__name__}: {error}"]
    finally:
        close()
    return world


def broken_by(world: World) -> list[str]:
    """The promises that were broken in a world that was played."""
    return world.broken


def shrunk(seed: int, setting: Setting) -> frozenset[int]:
    """The faults that can be left out, so that a promise is still broken."""
    skip: frozenset[int] = frozenset()
    size = len(played(seed, setting).faults)
    while size >= 1:
        skip, smaller = _without(seed, setting, skip, size)
        size = size if smaller else size // 2
    return skip


def _without(
    seed: int, setting: Setting, skip: frozenset[int], size: int
) -> tuple[frozenset[int], bool]:
    """Leave out faults, so many at once. Return the faults left out, and whether there are more now."""
    before, place = skip, 0
    while place < len(played(seed, setting, skip=skip).faults):
        wider = skip | frozenset(range(place, place + size))
        if wider != skip and broken_by(played(seed, setting, skip=wider)):
            skip = wider
        place += size
    return skip, skip != before


def _sqlite() -> tuple[TransactionStore, Callable[[], object]]:
    engine = sqlalchemy.create_engine(
        "sqlite://", poolclass=sqlalchemy.pool.StaticPool, connect_args={"check_same_thread": False}
    )
    store = SqlTransactionStore(engine)
    store.create_tables()
    return store, engine.dispose


def _nothing() -> None:
    """Memory needs no closing."""
