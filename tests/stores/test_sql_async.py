"""The SQL stores on asynchronous drivers: cancelling, flights, lost connections, errors, waiting."""

from __future__ import annotations

import asyncio
import runpy
import socket
import sqlite3
import stat
import sys
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

import mpesa_stk.stores.sql_async
from async_stores import AsyncManualClock, Cancelling, eventually, new_engine, url_for
from mpesa_stk import (
    ConfigurationError,
    DuplicateTransaction,
    NotSent,
    QueryPace,
    StoreError,
    Token,
)
from mpesa_stk.stores.sql import SqlQueryBudget, SqlTokenStore, SqlTransactionStore
from mpesa_stk.stores.sql_async import (
    AsyncSqlQueryBudget,
    AsyncSqlTokenStore,
    AsyncSqlTransactionStore,
)
from sql_stores import LEASE, InAutocommit, MakeEngine, begins_deferred, kept, numbered
from support import ACCOUNTS, CHECKOUT_ID, START, TOKEN

T = TypeVar("T")

PASSWORD = "CANARY-database-password"
PACE = QueryPace(per_minute=5.0)
PATIENCE = 60.0


def on_engine(url: str, work: Callable[[AsyncEngine], Awaitable[T]], **options: Any) -> T:
    """Do some work on an engine, in an event loop of its own."""

    async def main() -> T:
        engine = new_engine(url, **options)
        try:
            return await work(engine)
        finally:
            await engine.dispose()

    return asyncio.run(main())


async def new_store(engine: AsyncEngine, **options: Any) -> AsyncSqlTransactionStore:
    """A store whose tables exist."""
    store = AsyncSqlTransactionStore(engine, **options)
    await store.create_tables()
    return store


async def new_tokens(engine: AsyncEngine, **options: Any) -> AsyncSqlTokenStore:
    """A store whose tables exist."""
    store = AsyncSqlTokenStore(engine, **options)
    await store.create_tables()
    return store


def token(clock: AsyncManualClock, value: str = TOKEN) -> Token:
    """A token of Daraja's."""
    return Token(value=value, expires_in=3599.0, renew_at=clock.monotonic() + 3539.0)


@pytest.fixture
def aiosqlite_url(sqlite_url: str) -> str:
    """A new SQLite file."""
    return url_for("aiosqlite", sqlite_url)


# --- what is one store with the synchronous ones ------------------------------------------------------


def test_both_kinds_share_one_database(sqlite_url: str, make_engine: MakeEngine) -> None:
    """A worker without an event loop sees the payments, tokens and slots of the others."""
    clock = AsyncManualClock()

    async def work(engine: AsyncEngine) -> None:
        await (await new_store(engine)).add(numbered(1))
        await (await new_tokens(engine, clock=clock)).save("app", token(clock))
        budget = AsyncSqlQueryBudget(engine, PACE)
        await budget.create_tables()
        assert await budget.take("app", START) == 0.0
        await budget.throttled("app", START, 100.0)

    on_engine(url_for("aiosqlite", sqlite_url), work)
    engine = make_engine(sqlite_url)
    assert SqlTransactionStore(engine).get("no-1") == numbered(1)
    assert SqlTokenStore(engine, clock=clock.clock).load("app") == token(clock)
    assert SqlQueryBudget(engine, PACE).take("app", START) == 100.0


def test_prefix_schema_and_metadata_are_those_of_the_tables(aiosqlite_url: str) -> None:
    """The host's migrations know them."""

    async def work(engine: AsyncEngine) -> list[str]:
        options: dict[str, Any] = {"table_prefix": "shop_", "schema": "till"}
        stores = (
            AsyncSqlTransactionStore(engine, **options),
            AsyncSqlTokenStore(engine, **options),
            AsyncSqlQueryBudget(engine, PACE, **options),
        )
        return sorted({name for store in stores for name in store.metadata.tables})

    names = ["callbacks", "query_budgets", "token_flights", "tokens", "transactions", "versions"]
    assert on_engine(aiosqlite_url, work) == [f"till.shop_{name}" for name in names]


def test_engines_that_cannot_work_are_refused(sqlite_url: str, aiosqlite_url: str) -> None:
    """A synchronous engine would block the event loop; the other way round there is none."""
    engine: Any = sa.create_engine(sqlite_url)
    for make in (
        AsyncSqlTransactionStore,
        AsyncSqlTokenStore,
        lambda engine: AsyncSqlQueryBudget(engine, PACE),
    ):
        with pytest.raises(ConfigurationError, match="must be an SQLAlchemy AsyncEngine"):
            make(engine)
    asynchronous = new_engine(aiosqlite_url)
    with pytest.raises(ConfigurationError, match="must not have an asynchronous driver"):
        SqlTransactionStore(asynchronous.sync_engine)
    with pytest.raises(ConfigurationError, match="lease"):
        AsyncSqlTokenStore(asynchronous, lease=0.0)


# --- cancelling ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("inner", [False, True], ids=["the caller", "the method"])
def test_cancelling_leaves_no_open_transaction(
    async_url: str, make_engine: MakeEngine, *, inner: bool
) -> None:
    """Wherever it is, the payment is stored whole or not at all, and the connection is clean.

    A cancelled caller does not stop the method. The end of an event loop stops it.
    """
    stored: list[bool] = []

    async def work(engine: AsyncEngine) -> None:
        store = await new_store(engine)
        step, came = 0, True
        while came:
            step += 1
            cancelling = Cancelling(step, inner=inner)
            await cancelling.run(store.add(numbered(step)))
            came = cancelling.came
            assert engine.sync_engine.pool.checkedout() == 0  # type: ignore[attr-defined] # of this pool
            # What another transaction of that connection commits is not what was left in it.
            found = await store.get(f"no-{step}")
            await store.add(numbered(1000 + step))
            assert await store.get(f"no-{step}") == found
            stored.append(found is not None)
        assert open_transactions(make_engine(plain_url(async_url))) == 0

    on_engine(async_url, work, pool_size=1, max_overflow=0)
    assert len(stored) >= 2
    assert stored[-1]
    assert all(stored) or inner


def plain_url(url: str) -> str:
    """The URL for a synchronous driver."""
    at = sa.make_url(url)
    plain = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql", "sqlite": "sqlite"}
    return at.set(drivername=plain[at.get_backend_name()]).render_as_string(hide_password=False)


def open_transactions(admin: sa.Engine) -> int:
    """How many transactions others left open in this database."""
    counts = {
        "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND state LIKE 'idle in transaction%%'",
        "mysql": "SELECT count(*) FROM information_schema.innodb_trx JOIN"
        " information_schema.processlist ON trx_mysql_thread_id = id WHERE db = database()",
        # Nobody has the lock for writing.
        "sqlite": "BEGIN IMMEDIATE",
    }
    with admin.connect() as connection:
        if admin.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA busy_timeout = 0")
            connection.exec_driver_sql(counts["sqlite"])
            return 0
        found: int = connection.exec_driver_sql(counts[admin.dialect.name]).scalar_one()
        return found


def test_cancelled_caller_is_told_at_once(aiosqlite_url: str) -> None:
    """It does not wait for the database, which may hang."""

    async def work(engine: AsyncEngine) -> None:
        store = await new_store(engine)
        blocker = sqlite3.connect(str(engine.url.database))
        blocker.execute("BEGIN IMMEDIATE")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(store.add(numbered(1)), 0.05)
        blocker.rollback()
        blocker.close()
        await eventually(lambda: not store._call._tasks._running)  # type: ignore[attr-defined] # of the bridge
        assert await store.get("no-1") == numbered(1)

    on_engine(aiosqlite_url, work)


def test_error_after_a_cancelled_call_bothers_nobody(aiosqlite_url: str) -> None:
    """Nobody waits for it any more, so asyncio need not log that it was never retrieved."""
    complaints: list[dict[str, Any]] = []

    async def work(engine: AsyncEngine) -> None:
        store = await new_store(engine)
        await store.add(numbered(1))
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: complaints.append(context))
        for step in range(1, 9):
            await Cancelling(step, inner=False).run(store.add(numbered(1)))

    on_engine(aiosqlite_url, work)
    assert complaints == []


# --- flights ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inner", [False, True], ids=["the caller", "the method"])
def test_flight_that_is_cancelled_while_it_is_taken_is_given_back(
    async_url: str, *, inner: bool
) -> None:
    """Where the caller is cancelled, at once; where the event loop ends, with the lease."""

    async def work(engine: AsyncEngine) -> None:
        clock = AsyncManualClock()
        store = await new_tokens(engine, clock=clock)

        async def fly(app: str) -> None:
            async with store.single_flight(app, PATIENCE):
                pass

        step, came = 0, True
        while came:
            step += 1
            cancelling = Cancelling(step, inner=inner)
            await cancelling.run(fly(f"app-{step}"))
            came = cancelling.came
            if inner:
                clock.clock.advance(31.0)
            async with store.single_flight(f"app-{step}", 0.0):
                pass
        assert step >= 2
        assert clock.clock.slept == []

    on_engine(async_url, work)


def test_flight_of_a_cancelled_holder_is_given_back(aiosqlite_url: str) -> None:
    """Its task ends inside the flight."""

    async def work(engine: AsyncEngine) -> None:
        store = await new_tokens(engine)
        inside = asyncio.Event()

        async def fly() -> None:
            async with store.single_flight("app", PATIENCE):
                inside.set()
                await asyncio.sleep(PATIENCE)

        task = asyncio.create_task(fly())
        await eventually(inside.is_set)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with store.single_flight("app", 0.0):
            pass

    on_engine(aiosqlite_url, work)


def test_task_that_waits_for_a_flight_sleeps_by_the_clock(aiosqlite_url: str) -> None:
    """It looks about ten times a second, and a last time when its time is over."""

    async def work(engine: AsyncEngine) -> None:
        clock = AsyncManualClock()
        store = await new_tokens(engine, clock=clock)
        async with store.single_flight("app", PATIENCE):
            with pytest.raises(NotSent, match="other workers could not get a token in time"):
                async with store.single_flight("app", 0.5):
                    pytest.fail("two were in one flight")
        slept = clock.clock.slept
        assert sum(slept) == pytest.approx(0.5)
        assert all(0.05 <= pause <= 0.15 for pause in slept[:-1])

    on_engine(aiosqlite_url, work)


def test_flight_that_cannot_be_given_back_ends_with_its_lease(aiosqlite_url: str) -> None:
    """Leaving raises nothing: the token was fetched."""

    async def work(engine: AsyncEngine) -> None:
        clock = AsyncManualClock()
        store = await new_tokens(engine, clock=clock, lease=20.0)
        async with store.single_flight("app", PATIENCE), engine.begin() as connection:
            await connection.exec_driver_sql("ALTER TABLE mpesa_stk_token_flights RENAME TO x")
        async with engine.begin() as connection:
            await connection.exec_driver_sql("ALTER TABLE x RENAME TO mpesa_stk_token_flights")
        with pytest.raises(NotSent):
            async with store.single_flight("app", 0.0):
                pytest.fail("it was given back")
        clock.clock.advance(21.0)
        async with store.single_flight("app", 0.0):
            pass

    on_engine(aiosqlite_url, work)


def test_lost_database_ends_the_waiting() -> None:
    """A flight that cannot be looked for is a StoreError."""

    async def work(engine: AsyncEngine) -> None:
        with pytest.raises(StoreError, match="no connection"):
            async with AsyncSqlTokenStore(engine).single_flight("app", PATIENCE):
                pytest.fail("nobody could take it")

    with dead_port() as port:
        on_engine(f"postgresql+asyncpg://shop@127.0.0.1:{port}/shop", work)


# --- other writers ------------------------------------------------------------------------------------


def test_waiting_after_a_deadlock_lets_other_tasks_run(aiosqlite_url: str) -> None:
    """The pause between two tries is awaited, and so is the asynchronous clock of the host."""
    left = [4]

    def fail(*facts: Any) -> None:
        if facts[2].startswith("INSERT") and left[0]:
            left[0] -= 1
            error = sqlite3.OperationalError(1213, "Deadlock found when trying to get lock")
            raise sa.exc.OperationalError("", {}, error)

    async def work(engine: AsyncEngine) -> None:
        clock = AsyncManualClock()
        store = await new_store(engine, clock=clock)
        sa.event.listen(engine.sync_engine, "before_cursor_execute", fail)
        await store.add(numbered(1))
        assert await store.get("no-1") == numbered(1)
        assert len(clock.clock.slept) == 4
        assert clock.yielded == 4

    on_engine(aiosqlite_url, work)


def test_serialization_failure_is_tried_again(async_server_url: str) -> None:
    """A transaction of another task changes the row meanwhile; each driver says so by its code."""

    async def work(engine: AsyncEngine) -> None:
        store = await new_store(engine)
        await store.add(numbered(1))
        async with engine.begin() as connection:
            await connection.exec_driver_sql(
                "UPDATE mpesa_stk_transactions SET needs_review = NULL"
            )
            replacing = asyncio.create_task(store.replace(numbered(1, result_code="1032")))
            await wait_for_lock(engine)
        assert await replacing
        stored = await store.get("no-1")
        assert stored is not None
        assert (stored.result_code, stored.version) == ("1032", 1)

    on_engine(async_server_url, work, isolation_level="REPEATABLE READ")


async def wait_for_lock(engine: AsyncEngine) -> None:
    """Wait until somebody waits for a row."""
    waiting = {
        "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        " AND datname = current_database()",
        "mysql": "SELECT count(*) FROM information_schema.innodb_trx JOIN"
        " information_schema.processlist ON trx_mysql_thread_id = id"
        " WHERE trx_state = 'LOCK WAIT' AND db = database()",
    }
    for _ in range(300):
        async with engine.connect() as connection:
            if (await connection.exec_driver_sql(waiting[engine.dialect.name])).scalar_one():
                return
        await asyncio.sleep(0.2)  # MariaDB does not refresh what was read less than 0.1 s ago
    pytest.fail("nobody waits for the row")


def test_claims_of_two_tasks_are_apart(async_server_url: str) -> None:
    """A claim skips the rows that another one has locked, whatever the isolation of the engine."""

    async def work(engine: AsyncEngine) -> None:
        store = await new_store(engine)
        for number in range(20):
            await store.add(numbered(number, due_at=START))
        shares = await asyncio.gather(
            *(store.claim_due(START, 5, LEASE, ACCOUNTS) for _ in range(4))
        )
        claimed = [payment.transaction_no for share in shares for payment in share]
        assert len(claimed) == len(set(claimed))
        claimed += [one.transaction_no for one in await store.claim_due(START, 20, LEASE, ACCOUNTS)]
        assert sorted(claimed) == sorted(f"no-{number}" for number in range(20))

    on_engine(async_server_url, work, isolation_level="SERIALIZABLE")


# --- SQLite -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "autocommit", "driver", "recipe"])
def test_sqlite_writers_take_the_lock_first(aiosqlite_url: str, kind: str) -> None:
    """However the host's engine begins transactions: a writer has the lock, and its file is private."""
    options: dict[str, dict[str, Any]] = {
        "autocommit": {"isolation_level": "AUTOCOMMIT"},
        "driver": {"connect_args": {"factory": InAutocommit}},
    }
    seen: list[str] = []

    async def work(engine: AsyncEngine) -> None:
        if kind == "recipe":
            begins_deferred(engine.sync_engine)
        store = await new_store(engine)
        await store.add(numbered(1, due_at=START))

        @sa.event.listens_for(engine.sync_engine, "before_cursor_execute")
        def _inside(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            if statement.startswith("UPDATE"):
                other = sqlite3.connect(str(engine.url.database), timeout=0)
                with pytest.raises(sqlite3.OperationalError, match="locked"):
                    other.execute("BEGIN IMMEDIATE")
                other.close()
                seen.append(statement)

        assert len(await store.claim_due(START, 1, LEASE, ACCOUNTS)) == 1
        assert await store.replace(numbered(1, version=1))

    on_engine(aiosqlite_url, work, **options.get(kind, {}))
    assert len(seen) == 2
    file = Path(str(sa.make_url(aiosqlite_url).database))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600

    async def reopen(engine: AsyncEngine) -> int:
        stored = await AsyncSqlTransactionStore(engine).get("no-1")
        assert stored is not None
        return stored.version

    assert on_engine(aiosqlite_url, reopen) == 2


# --- lost connections and errors ----------------------------------------------------------------------


class Lost(sqlite3.Connection):
    """A connection whose commits are done, and whose answers are lost."""

    is_lost = False

    def commit(self) -> None:
        """Commit, and say that the server is gone."""
        super().commit()
        if Lost.is_lost:
            raise sqlite3.OperationalError("server closed the connection unexpectedly")


def test_commit_whose_answer_was_lost_is_looked_up(
    aiosqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The payment is there, so it was stored."""

    async def work(engine: AsyncEngine) -> None:
        store = await new_store(engine)
        monkeypatch.setattr(Lost, "is_lost", True)
        await store.add(numbered(1))
        assert await store.replace(numbered(1, result_code="0"))
        await store.keep_callback(kept(1))
        with pytest.raises(StoreError, match="ended the connection"):
            await store.drop_callback("callback-1")

    on_engine(aiosqlite_url, work, connect_args={"factory": Lost})


@contextmanager
def dead_port() -> Iterator[int]:
    """A port of this machine where no server listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield unused.getsockname()[1]


def told(error: BaseException) -> str:
    """What a StoreError says; neither it nor its traceback holds the password or the payer."""
    assert isinstance(error, StoreError)
    assert (error.__cause__, error.__context__) == (None, None)
    frames = traceback.TracebackException.from_exception(error, capture_locals=True)
    ours = [frame for frame in frames.stack if "mpesa_stk" in frame.filename]
    assert ours
    shown = str([frame.locals for frame in ours]) + str(error)
    assert PASSWORD not in shown
    assert CHECKOUT_ID not in shown
    return str(error)


def failure_of(url: str, work: Callable[[AsyncSqlTransactionStore], Awaitable[object]]) -> str:
    """What a store says that fails."""

    async def fail(engine: AsyncEngine) -> str:
        with pytest.raises(StoreError) as caught:
            await work(AsyncSqlTransactionStore(engine))
        return told(caught.value)

    return on_engine(url, fail)


CALLS: dict[str, Callable[[AsyncSqlTransactionStore], Coroutine[Any, Any, object]]] = {
    "add": lambda store: store.add(numbered(1, checkout_request_id=CHECKOUT_ID)),
    "get": lambda store: store.get("no-1"),
    "find": lambda store: store.find(checkout_request_id=CHECKOUT_ID),
    "replace": lambda store: store.replace(numbered(1, checkout_request_id=CHECKOUT_ID)),
    "claim_due": lambda store: store.claim_due(START, 1, LEASE, ACCOUNTS),
    "keep_callback": lambda store: store.keep_callback(kept(1)),
    "kept_callbacks": lambda store: store.kept_callbacks(checkout_request_id=CHECKOUT_ID),
    "drop_callback": lambda store: store.drop_callback("callback-1"),
    "purge_callbacks": lambda store: store.purge_callbacks(START, 1),
}


def test_missing_table_names_the_call_that_makes_it(async_url: str) -> None:
    """Each driver words it differently, and none of its words is repeated."""
    for call in CALLS.values():
        assert "a table is missing: call create_tables()" in failure_of(async_url, call)


def test_login_that_is_refused(async_server_url: str) -> None:
    """A user that is not there, or a wrong password."""
    at = sa.make_url(async_server_url).set(username="stranger", password=PASSWORD)
    said = failure_of(at.render_as_string(hide_password=False), CALLS["get"])
    assert "login refused: check the user and the password" in said


def test_database_that_is_missing(async_server_url: str) -> None:
    """Its name is wrong, or it was never made."""
    at = sa.make_url(async_server_url).set(database="none")
    said = failure_of(at.render_as_string(hide_password=False), CALLS["get"])
    assert "the database is missing: create it" in said


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg", "aiomysql"])
def test_server_that_does_not_run(driver: str) -> None:
    """The password of the URL is not told."""
    with dead_port() as port:
        url = url_for(driver, f"x://shop:{PASSWORD}@127.0.0.1:{port}/shop")
        assert "no connection: is the server running" in failure_of(url, CALLS["get"])


def test_connection_that_the_server_ended(async_server_url: str, make_engine: MakeEngine) -> None:
    """The next call has a new connection; with ``pool_pre_ping`` even the first one."""

    async def work(engine: AsyncEngine) -> None:
        store = await new_store(engine)
        await store.add(numbered(1))
        end_connections(make_engine(plain_url(async_server_url)))
        with pytest.raises(StoreError) as caught:
            await store.get("no-1")
        assert "the server ended the connection" in told(caught.value)
        assert await store.get("no-1") == numbered(1)
        if engine.dialect.driver == "aiomysql":
            return  # it cannot ping with SQLAlchemy 2.0.30
        careful = new_engine(async_server_url, pool_pre_ping=True)
        store = AsyncSqlTransactionStore(careful)
        assert await store.get("no-1") == numbered(1)
        end_connections(make_engine(plain_url(async_server_url)))
        assert await store.get("no-1") == numbered(1)
        await careful.dispose()

    on_engine(async_server_url, work)


def end_connections(admin: sa.Engine) -> None:
    """What a restart does to all other connections to this database."""
    with admin.connect() as connection:
        if admin.dialect.name == "postgresql":
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            ).all()
            return
        ids = connection.exec_driver_sql(
            "SELECT id FROM information_schema.processlist"
            " WHERE db = database() AND id <> connection_id()"
        ).scalars()
        for number in ids.all():
            connection.exec_driver_sql(f"KILL {number}")


def test_duplicate_names_its_field(async_url: str) -> None:
    """The constraint of each driver is understood."""

    async def work(engine: AsyncEngine) -> None:
        store = await new_store(engine)
        await store.add(numbered(1, checkout_request_id=CHECKOUT_ID))
        with pytest.raises(DuplicateTransaction) as caught:
            await store.add(numbered(2, checkout_request_id=CHECKOUT_ID))
        assert caught.value.field == "checkout_request_id"

    on_engine(async_url, work)


# --- imports ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["greenlet", "sqlalchemy.ext.asyncio"])
def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r"pip install 'mpesa-stk-client\[sql-async\]'"):
        runpy.run_path(mpesa_stk.stores.sql_async.__file__)
