"""`SqlTokenStore` and `SqlQueryBudget`: the contract, time across processes, leases, races, secrets."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from mpesa_stk import ConfigurationError, NotSent, StoreError, Token
from mpesa_stk.payments.budget import MemoryQueryBudget, QueryPace
from mpesa_stk.stores.sql import SqlQueryBudget, SqlTokenStore, SqlTransactionStore
from mpesa_stk.testing import TokenStoreContract
from mpesa_stk.testing.token_contract import MakeTokenStore
from support import START, TOKEN, ManualClock

PATIENCE = 60.0
APP = "0123456789abcdef" * 4
PACE = QueryPace(per_minute=5.0)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A new SQLite file."""
    return f"sqlite:///{tmp_path / 'tokens.sqlite3'}"


@pytest.fixture(params=["sqlite_url", "postgres_url", "mariadb_url"])
def url(request: pytest.FixtureRequest) -> str:
    """A new empty database of each kind."""
    found: str = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    """An engine on a new database of each kind."""
    with engine_on(url) as engine:
        yield engine


@pytest.fixture
def sqlite(sqlite_url: str) -> Iterator[sa.Engine]:
    """An engine on a new SQLite file."""
    with engine_on(sqlite_url) as engine:
        yield engine


@contextmanager
def engine_on(url: str) -> Iterator[sa.Engine]:
    """An engine, disposed of at the end."""
    engine = sa.create_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


class TestSqlTokens(TokenStoreContract):
    """Each handle is a store of its own; all databases."""

    @pytest.fixture
    def make_store(self, engine: sa.Engine) -> MakeTokenStore:
        """Another store with a short lease."""
        SqlTokenStore(engine).create_tables()
        return lambda: SqlTokenStore(engine, lease=1.0)


def new_tokens(engine: sa.Engine, **options: Any) -> SqlTokenStore:
    """A store whose tables exist."""
    store = SqlTokenStore(engine, **options)
    store.create_tables()
    return store


def token(clock: ManualClock, value: str = TOKEN, lives: float = 3539.0) -> Token:
    """A token of Daraja's."""
    return Token(value=value, expires_in=3599.0, renew_at=clock.monotonic() + lives)


# --- tokens --------------------------------------------------------------------------------------------


def test_token_crosses_processes(engine: sa.Engine) -> None:
    """Monotonic seconds of one process mean nothing in another one; wall time does."""
    here, there = ManualClock(), ManualClock()
    there._monotonic = 5.0
    new_tokens(engine, clock=here).save(APP, token(here))
    found = SqlTokenStore(engine, clock=there).load(APP)
    assert found is not None
    assert (found.value, found.expires_in) == (TOKEN, 3599.0)
    assert found.renew_at == pytest.approx(5.0 + 3539.0)
    there.advance(3600)
    late = SqlTokenStore(engine, clock=there).load(APP)
    assert late is not None
    assert late.renew_at < there.monotonic()


def test_token_that_comes_too_late_replaces_no_newer_one(sqlite: sa.Engine) -> None:
    """Its fetch outlived the lease, and the next holder fetched another one meanwhile."""
    clock = ManualClock()
    store = new_tokens(sqlite, clock=clock)
    late = token(clock, "late")
    clock.advance(31)
    store.save(APP, token(clock, "newer"))
    store.save(APP, late)
    found = store.load(APP)
    assert found is not None
    assert found.value == "newer"
    store.drop(APP, found)
    store.save(APP, late)
    assert store.load(APP) is not None


def test_both_stores_share_an_engine_and_the_prefix_is_theirs(sqlite: sa.Engine) -> None:
    """Each makes its own tables; another prefix is another store."""
    clock = ManualClock()
    SqlTransactionStore(sqlite).create_tables()
    store, other = new_tokens(sqlite, clock=clock), new_tokens(sqlite, table_prefix="b_")
    SqlQueryBudget(sqlite, PACE).create_tables()
    store.save(APP, token(clock))
    assert other.load(APP) is None
    names = {name.removeprefix("mpesa_stk_") for name in sa.inspect(sqlite).get_table_names()}
    ours = {"transactions", "callbacks", "tokens", "token_flights", "query_budgets", "versions"}
    assert names == ours | {"b_tokens", "b_token_flights", "b_versions"}


@pytest.mark.parametrize("renew_at", [float("inf"), float("nan"), 1e300])
def test_token_without_an_end_is_a_store_error(sqlite: sa.Engine, renew_at: float) -> None:
    """No moment can be stored for it."""
    store = new_tokens(sqlite)
    with pytest.raises(StoreError, match=r"^renew_at holds a value that cannot be stored$"):
        store.save(APP, Token(value=TOKEN, expires_in=1.0, renew_at=renew_at))


def test_errors_never_hold_the_token(engine: sa.Engine) -> None:
    """Not where the table is missing, and not where the token cannot be stored."""
    clock = ManualClock()
    store = SqlTokenStore(engine, clock=clock)
    failures = [pytest.raises(StoreError) for _ in range(3)]
    with failures[0] as missing:
        store.save(APP, token(clock))
    store.create_tables()
    with failures[1] as strange:
        store.save(APP, token(clock, f"{TOKEN}\0"))
    with failures[2] as endless:
        store.save(APP, token(clock, lives=float("inf")))
    for caught in (missing, strange, endless):
        assert (caught.value.__cause__, caught.value.__context__) == (None, None)
        assert TOKEN not in "".join(traceback.format_exception(caught.value))
    assert TOKEN not in repr(store)


def test_no_frame_of_a_failing_store_holds_the_token(engine: sa.Engine) -> None:
    """Error trackers print the locals of each frame: rows that were read, and rows to be written."""
    clock = ManualClock()
    store = new_tokens(engine, clock=clock)
    store.save(APP, token(clock))

    def fail(_connection: Any, statement: Any, *_more: Any) -> None:
        if isinstance(statement, (sa.Update, sa.Insert)):
            raise sa.exc.OperationalError("x", {}, Exception(TOKEN))

    sa.event.listen(engine, "before_execute", fail)
    writes: list[Callable[[], None]] = [
        lambda: store.save(APP, token(clock, f"{TOKEN}2", lives=9999.0)),
        lambda: store.drop(APP, token(clock)),
    ]
    for write in writes:
        with pytest.raises(StoreError) as caught:
            write()
        shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        frames = [frame for frame in shown.stack if "mpesa_stk" in frame.filename]
        assert len(frames) >= 4
        for frame in frames:
            assert TOKEN not in str(frame.locals), frame


@pytest.mark.parametrize("lease", [0.0, -1.0, float("inf"), float("nan")])
def test_lease_must_be_one(sqlite: sa.Engine, lease: float) -> None:
    """Without end, a worker that dies would block the others for good."""
    with pytest.raises(ConfigurationError) as caught:
        SqlTokenStore(sqlite, lease=lease)
    assert [name for name, _ in caught.value.problems] == ["lease"]


# --- flights -------------------------------------------------------------------------------------------


def test_waiter_flies_when_the_lease_of_a_dead_holder_ends(engine: sa.Engine) -> None:
    """It looks every now and then, by pauses that are spread, and no longer than the lease."""
    clock = ManualClock()
    store = new_tokens(engine, clock=clock, jitter=iter([0.0, 1.0] * 400).__next__)
    dead = store.single_flight(APP, PATIENCE)
    dead.__enter__()
    began = clock.now()
    with store.single_flight(APP, PATIENCE):
        waited = clock.now() - began
    assert timedelta(seconds=30) <= waited < timedelta(seconds=30.2)
    assert clock.slept[:2] == [pytest.approx(0.05), pytest.approx(0.15)]


def test_waiter_flies_as_soon_as_the_flight_is_given_back(sqlite: sa.Engine) -> None:
    """Real threads: the second one is in the flight right after the first one left it."""
    store = new_tokens(sqlite, lease=60.0)
    flown = threading.Event()

    def fly() -> None:
        with store.single_flight(APP, PATIENCE):
            flown.set()

    waiter = threading.Thread(target=fly, daemon=True)
    with store.single_flight(APP, PATIENCE):
        waiter.start()
        assert not flown.is_set()
    assert flown.wait(20)
    waiter.join(20)


def test_lease_of_a_clock_that_was_wrong_does_not_count(sqlite: sa.Engine) -> None:
    """A machine that lived in the future for a while blocks nobody for that long."""
    wrong, right = ManualClock(start=START + timedelta(days=1)), ManualClock()
    ahead = new_tokens(sqlite, clock=wrong).single_flight(APP, PATIENCE)
    ahead.__enter__()
    with SqlTokenStore(sqlite, clock=right).single_flight(APP, PATIENCE):
        assert right.slept == []
    slightly_wrong = ManualClock(start=START + timedelta(seconds=29))
    slightly_ahead = SqlTokenStore(sqlite, clock=slightly_wrong).single_flight(APP, PATIENCE)
    slightly_ahead.__enter__()
    with SqlTokenStore(sqlite, clock=right).single_flight(APP, PATIENCE):
        assert 58 < sum(right.slept) < 60


def test_flight_that_ran_out_is_not_given_back(sqlite: sa.Engine) -> None:
    """The slow holder does not end the flight of the next one."""
    clock = ManualClock()
    store = new_tokens(sqlite, clock=clock)
    slow = store.single_flight(APP, PATIENCE)
    slow.__enter__()
    clock.advance(31)
    with store.single_flight(APP, PATIENCE):
        slow.__exit__(None, None, None)
        assert not store._take_off(APP, "third")
    assert store._take_off(APP, "third")


@pytest.mark.parametrize(("timeout", "pauses"), [(0.25, [0.1, 0.1, 0.05]), (0.0, []), (-1.0, [])])
def test_waiting_for_a_flight_ends_by_the_clock(
    engine: sa.Engine, timeout: float, pauses: list[float]
) -> None:
    """It looks a last time when the time is up, and sleeps no longer."""
    clock = ManualClock()
    store = new_tokens(engine, clock=clock, jitter=lambda: 0.5)
    with (
        store.single_flight(APP, 0.0),
        pytest.raises(NotSent, match="other workers could not get a token in time"),
        store.single_flight(APP, timeout),
    ):
        pytest.fail("two were in one flight")
    assert clock.slept == pytest.approx(pauses)


def test_lost_database_does_not_hide_what_the_flight_did(sqlite: sa.Engine) -> None:
    """The flight ends as it would have; the lease runs out by itself."""
    store = new_tokens(sqlite)
    with store.single_flight(APP, PATIENCE):
        store.metadata.drop_all(sqlite)
    with pytest.raises(StoreError), store.single_flight(APP, PATIENCE):
        pytest.fail("there is no flight without a table")


def test_nothing_is_open_while_the_token_is_fetched(sqlite: sa.Engine) -> None:
    """No connection is out of the pool during a flight."""
    store = new_tokens(sqlite)
    pool: Any = sqlite.pool
    with store.single_flight(APP, PATIENCE):
        assert pool.checkedout() == 0


# --- the query budget ------------------------------------------------------------------------------------


def test_budget_is_that_of_the_memory_one(engine: sa.Engine) -> None:
    """The same questions get the same answers, whichever of two workers asks."""
    one, two = SqlQueryBudget(engine, PACE), SqlQueryBudget(engine, PACE)
    one.create_tables()
    memory = MemoryQueryBudget(PACE)
    for second in range(0, 400, 7):
        now = START + timedelta(seconds=second, microseconds=second)
        if second % 70 == 0:
            two.throttled(APP, now, 20.0)
            memory.throttled(APP, now, 20.0)
        assert one.take(APP, now) == memory.take(APP, now)
        assert two.take(APP, now) == memory.take(APP, now)
    assert two.take("another app", START) == 0.0


def test_one_of_many_may_ask(engine: sa.Engine) -> None:
    """Threads behind a barrier, a budget each: one query is granted."""
    SqlQueryBudget(engine, PACE).create_tables()
    barrier = threading.Barrier(4)
    waits: list[float] = []

    def ask() -> None:
        budget = SqlQueryBudget(engine, PACE)
        barrier.wait(60)
        waits.append(budget.take(APP, START))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(waits) == [0.0, 12.0, 12.0, 12.0]


def test_writer_that_is_never_first_gives_up(postgres_url: str) -> None:
    """Each time it has read the row, somebody else changes it."""
    faster: list[None] = []
    with engine_on(postgres_url) as engine, engine_on(postgres_url) as other:
        budget = SqlQueryBudget(engine, PACE)
        budget.create_tables()
        assert budget.take(APP, START) == 0.0

        @sa.event.listens_for(engine, "after_cursor_execute")
        def _somebody(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            if statement.startswith("SELECT"):
                faster.append(None)
                with other.begin() as connection:
                    connection.exec_driver_sql(
                        "UPDATE mpesa_stk_query_budgets SET version = version + 1"
                    )

        with pytest.raises(StoreError, match=r"^other writers were first too many times$"):
            budget.take(APP, START + timedelta(minutes=1))
    assert len(faster) == 50


# --- tables for MySQL ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "collation"),
    [("mysql", "utf8mb4_0900_bin"), ("mariadb", "utf8mb4_nopad_bin")],
)
def test_ids_are_compared_by_their_bytes(sqlite: sa.Engine, name: str, collation: str) -> None:
    """MySQL and MariaDB have one collation each that ignores neither case nor trailing spaces."""
    dialect = sa.create_mock_engine(f"{name}+pymysql://", lambda *_: None).dialect
    ids = {"transaction_no", "idempotency_key", "checkout_request_id", "receipt_number"}
    ids |= {"account", "reference", "prompt_reference", "order", "order_slot", "callback_id"}
    ids |= {"app", "value", "name"}
    for metadata in (SqlTransactionStore(sqlite).metadata, SqlTokenStore(sqlite).metadata):
        for table in metadata.sorted_tables:
            for column in table.c:
                ddl = str(sa.schema.CreateColumn(column).compile(dialect=dialect))
                assert (collation in ddl) == (column.name in ids), ddl
                assert "DATETIME" not in ddl or "DATETIME(6)" in ddl
            assert "CHARSET=utf8mb4" in str(sa.schema.CreateTable(table).compile(dialect=dialect))
