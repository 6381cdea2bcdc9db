"""No traceback of a store shows a secret, whatever fails, in the tools that hosts use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from async_stores import AsyncManualClock, url_for
from mpesa_stk import (
    DuplicateTransaction,
    MemoryTokenStore,
    MemoryTransactionStore,
    StoreError,
    ThreadedTokenStore,
    ThreadedTransactionStore,
)
from mpesa_stk.stores.redis import RedisTokenStore
from mpesa_stk.stores.sql import SqlTokenStore, SqlTransactionStore
from mpesa_stk.stores.sql_async import AsyncSqlTokenStore, AsyncSqlTransactionStore
from mpesa_stk.testing import EventLoopThread
from secret_scenes import MARK, PHONE, FailsAt, Interrupted, leaks_of
from store_uses import APP, KEPT, PAYMENT, TOKEN_USES, USES, caught_by, new_token
from support import TOKEN, ManualClock

FAILURES = (
    lambda: sa.exc.OperationalError(MARK, {"x": TOKEN}, Exception(PHONE)),
    lambda: sa.exc.IntegrityError(MARK, {"x": TOKEN}, Exception(PHONE)),
    Interrupted,
)


class Failing:
    """Makes an engine fail at one of its statements with parameters, or not at all."""

    def __init__(self, engine: sa.Engine) -> None:
        self.left = -1
        self.make: Callable[[], BaseException] = Interrupted
        sa.event.listen(engine, "before_cursor_execute", self._count)

    def _count(self, *facts: Any) -> None:
        if facts[3]:  # its parameters
            self.left -= 1
            if self.left == 0:
                raise self.make()


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    """An engine on a new database."""
    url = f"sqlite:///{tmp_path / 'payments.sqlite3'}"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
    engine = sa.create_engine(url)
    yield engine
    engine.dispose()


def check_sql(store: object, engine: sa.Engine, uses: dict[str, Callable[[Any], object]]) -> None:
    """Fail at each statement of each use, in every way."""
    failing = Failing(engine)
    seen = []
    for make in FAILURES:
        failing.make = make
        for use in uses.values():
            for number in range(1, 20):
                failing.left = number
                error = caught_by(use, store)
                if error is not None:
                    seen.append(type(error))
                    assert not leaks_of(error)
                if failing.left > 0:
                    break
    failing.left = -1
    assert {StoreError, Interrupted} <= set(seen)
    assert len(seen) >= 2 * len(uses)


@pytest.mark.slow
def test_no_failing_statement_shows_a_payment(engine: sa.Engine) -> None:
    """Neither by its parameters nor by rows that were read."""
    store = SqlTransactionStore(engine)
    store.create_tables()
    store.add(PAYMENT)
    store.keep_callback(KEPT)
    check_sql(store, engine, USES)


@pytest.mark.slow
def test_no_failing_statement_shows_a_token(engine: sa.Engine) -> None:
    """The same for the tokens of a fleet."""
    store = SqlTokenStore(engine, clock=ManualClock())
    store.create_tables()
    store.save(APP, new_token())
    check_sql(store, engine, TOKEN_USES)


def test_no_row_that_cannot_be_read_is_shown(engine: sa.Engine) -> None:
    """It was written by another version, or by hand."""
    store = SqlTransactionStore(engine)
    store.create_tables()
    store.add(PAYMENT)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE mpesa_stk_transactions SET state = 'x'")
    error = caught_by(USES["find"], store)
    assert isinstance(error, StoreError)
    assert not leaks_of(error)


def test_no_error_of_the_memory_stores_shows_a_secret() -> None:
    """A duplicate, a full store, a bug."""
    store = MemoryTransactionStore(max_kept_callbacks=0)
    store.add(PAYMENT)
    del store._numbers
    found = [caught_by(use, store) for use in USES.values()]
    errors = [error for error in found if error is not None]
    assert {StoreError, AttributeError, DuplicateTransaction} <= set(map(type, errors))
    assert not [leak for error in errors for leak in leaks_of(error)]


@pytest.mark.parametrize(
    "error", [redis.ConnectionError(TOKEN), RuntimeError("a bug"), Interrupted()]
)
def test_no_failing_redis_shows_a_token(error: BaseException) -> None:
    """The client fails at each command, or has a bug."""
    seen = 0
    for use in TOKEN_USES.values():
        client = FailsAt(redis.Redis)
        client.left, client.error = 1, error
        caught = caught_by(use, RedisTokenStore(client, clock=ManualClock()))
        if caught is not None:
            seen += 1
            assert not leaks_of(caught)
    assert seen >= 3


# --- asynchronous stores -----------------------------------------------------------------------------


def check_awaited(store: Any, engine: sa.Engine, uses: dict[str, Callable[[Any], object]]) -> None:
    """Fail at each statement of each use, in every way, inside an event loop."""
    failing = Failing(engine)
    seen = []
    with EventLoopThread() as loop:

        def awaited(use: Callable[[Any], Any]) -> Callable[[Any], object]:
            return lambda store: loop.run(use(store))

        loop.run(store.create_tables())
        for make in FAILURES[:2]:
            failing.make = make
            for use in uses.values():
                for number in range(1, 20):
                    failing.left = number
                    error = caught_by(awaited(use), store)
                    if error is not None:
                        seen.append(type(error))
                        assert not leaks_of(error)
                    if failing.left > 0:
                        break
    assert set(seen) >= {StoreError}
    assert len(seen) >= len(uses)


@pytest.mark.slow
@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_no_failing_statement_of_an_awaited_store_shows_a_payment(
    postgres_url: str, driver: str
) -> None:
    """Nor do the frames of the bridge and of the task."""
    engine = create_async_engine(url_for(driver, postgres_url), poolclass=sa.NullPool)
    check_awaited(AsyncSqlTransactionStore(engine), engine.sync_engine, USES)


def test_no_failing_statement_of_an_awaited_store_shows_a_token(postgres_url: str) -> None:
    """The same for the tokens of a fleet."""
    engine = create_async_engine(url_for("asyncpg", postgres_url), poolclass=sa.NullPool)
    store = AsyncSqlTokenStore(engine, clock=AsyncManualClock())
    check_awaited(store, engine.sync_engine, TOKEN_USES)


def run_in_loop(use: Callable[[Any], Any], store: object) -> object:
    """Use a store in an event loop of its own."""
    return asyncio.run(use(store))


@pytest.mark.parametrize("error", [StoreError("x"), RuntimeError("a bug")])
def test_no_store_in_threads_shows_a_secret(error: Exception) -> None:
    """The thread fails, and the task raises its error."""
    inner = FailsAt(MemoryTransactionStore())
    tokens = FailsAt(MemoryTokenStore())
    stores = (ThreadedTransactionStore(inner), USES), (ThreadedTokenStore(tokens), TOKEN_USES)
    seen = 0
    for store, uses in stores:
        for use in uses.values():
            for part in (inner, tokens):
                part.left, part.error = 1, error
            caught = caught_by(partial(run_in_loop, use), store)
            assert caught is error
            assert not leaks_of(caught)
            error.__traceback__ = None
            seen += 1
        asyncio.run(store.close())
    assert seen == len(USES) + len(TOKEN_USES)
