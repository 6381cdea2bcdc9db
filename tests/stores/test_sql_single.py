"""Single statements on psycopg: no connection stays in autocommit, and hosts that listen hear them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from mpesa_stk import DuplicateTransaction, StoreError
from mpesa_stk.stores.sql import SqlTransactionStore
from mpesa_stk.stores.sql_single import is_direct
from sql_stores import MakeEngine, kept, new_store, numbered
from support import CHECKOUT_ID


class Cursor(psycopg.Cursor[Any]):
    """A cursor of psycopg that tells in which mode it executes, and can be interrupted."""

    seen: list[bool]
    interrupt: type[BaseException] | None

    def execute(self, *arguments: Any, **options: Any) -> Cursor:
        """Execute a statement, and perhaps be interrupted before its answer is read."""
        self.seen.append(self.connection.autocommit)
        super().execute(*arguments, **options)
        if self.interrupt is not None:
            raise self.interrupt
        return self


@pytest.fixture
def cursors() -> type[Cursor]:
    """The class of the cursors of one engine."""
    return type("Cursors", (Cursor,), {"seen": [], "interrupt": None})


@pytest.fixture
def engine(postgres_url: str, make_engine: MakeEngine, cursors: type[Cursor]) -> sa.Engine:
    """An engine with one connection."""
    options = {"connect_args": {"cursor_factory": cursors}}
    return make_engine(postgres_url, pool_size=1, max_overflow=0, **options)


@pytest.fixture
def store(engine: sa.Engine, cursors: type[Cursor]) -> SqlTransactionStore:
    """A store that has checked its tables already."""
    store = new_store(engine)
    store.add(numbered(1, checkout_request_id=CHECKOUT_ID))
    cursors.seen.clear()
    return store


def pooled(engine: sa.Engine) -> psycopg.Connection[Any]:
    """The next connection of the pool, as a host would get it."""
    connection = engine.raw_connection()
    driver: Any = connection.driver_connection
    connection.close()
    assert isinstance(driver, psycopg.Connection)
    return driver


def repeats_a_number(store: SqlTransactionStore) -> None:
    """Do what a constraint refuses."""
    with pytest.raises(DuplicateTransaction):
        store.add(numbered(1))


@pytest.mark.parametrize(
    "work",
    [
        lambda store: store.add(numbered(2)),
        lambda store: store.get("no-1"),
        lambda store: store.replace(numbered(1)),
        lambda store: store.keep_callback(kept(1)),
        lambda store: store.kept_callbacks(checkout_request_id=CHECKOUT_ID),
        lambda store: store.drop_callback("callback-1"),
        repeats_a_number,
    ],
    ids=["add", "get", "replace", "keep", "kept", "drop", "refused"],
)
def test_statement_is_in_autocommit_and_its_connection_is_not(
    engine: sa.Engine,
    store: SqlTransactionStore,
    cursors: type[Cursor],
    work: Callable[[SqlTransactionStore], object],
) -> None:
    """The pool gets it back as it was, with the isolation that the host's engine has."""
    work(store)
    assert set(cursors.seen) == {True}
    assert len(cursors.seen) == (2 if work is repeats_a_number else 1)
    driver = pooled(engine)
    assert not driver.autocommit
    assert driver.isolation_level is None


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_connection_of_an_interrupted_statement_is_not_used_again_in_autocommit(
    engine: sa.Engine,
    store: SqlTransactionStore,
    cursors: type[Cursor],
    interrupt: type[BaseException],
) -> None:
    """Ctrl-C closes it, since its answer may be on the way; an error of Python's leaves it open."""
    before = pooled(engine)
    cursors.interrupt = interrupt
    with pytest.raises(StoreError if interrupt is RuntimeError else interrupt):
        store.replace(numbered(1))
    cursors.interrupt = None
    after = pooled(engine)
    assert not after.autocommit
    assert before.closed is (interrupt is not RuntimeError)
    with engine.connect() as connection:  # a host's transaction is one
        connection.exec_driver_sql("UPDATE mpesa_stk_transactions SET amount = 7")
    stored = store.get("no-1")
    assert stored is not None
    assert stored.amount != 7


def test_new_pool_of_the_engine_is_watched_too(
    engine: sa.Engine, store: SqlTransactionStore
) -> None:
    """Hosts dispose of the pool after a fork."""
    engine.dispose()
    assert store.get("no-1") is not None
    assert not pooled(engine).autocommit


def test_pool_at_the_address_of_another_one_is_watched(
    engine: sa.Engine, store: SqlTransactionStore
) -> None:
    """SQLAlchemy knows by the address of a pool who listens to it.

    A disposed pool leaves its listeners to its successor, and its address to any pool.
    """
    listeners = engine.pool.__dict__.pop("dispatch")  # the pool is a new one at an old address
    assert SqlTransactionStore(engine).get("no-1") is not None
    assert store.get("no-1") is not None
    assert not pooled(engine).autocommit
    assert len(engine.pool.dispatch.reset) == len(listeners.reset) == 1


def test_engine_in_autocommit_stays_so(postgres_url: str, make_engine: MakeEngine) -> None:
    """It is the host's choice."""
    engine = make_engine(postgres_url, isolation_level="AUTOCOMMIT", pool_size=1, max_overflow=0)
    store = new_store(engine)
    store.add(numbered(1))
    assert store.get("no-1") == numbered(1)
    assert pooled(engine).autocommit


def test_lost_connection_empties_the_pool(postgres_url: str, make_engine: MakeEngine) -> None:
    """After a restart of the server one call fails, and not one for each connection."""
    engine, admin = make_engine(postgres_url, pool_size=3), make_engine(postgres_url)
    store = new_store(engine)
    store.add(numbered(1))
    for connection in [engine.connect() for _ in range(3)]:
        connection.close()
    with admin.connect() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).all()
    with pytest.raises(StoreError, match=r"ended the connection: .* \(OperationalError 57P01\)$"):
        store.get("no-1")
    assert [store.get("no-1") for _ in range(3)] == [numbered(1)] * 3


def test_pool_that_resets_nothing_is_watched_too(
    postgres_url: str, make_engine: MakeEngine
) -> None:
    """The host may have switched off the rollback of connections that come back."""
    engine = make_engine(postgres_url, pool_size=1, max_overflow=0, pool_reset_on_return=None)
    store = new_store(engine)
    store.add(numbered(1))
    assert is_direct(engine)
    assert not pooled(engine).autocommit


def test_connection_that_the_host_shares_is_left_to_sqlalchemy(
    postgres_url: str, make_engine: MakeEngine
) -> None:
    """Such a pool gives out one connection to several users at once."""
    assert not is_direct(make_engine(postgres_url, poolclass=sa.StaticPool))
    assert is_direct(make_engine(postgres_url, poolclass=sa.NullPool))


# --- hosts that listen --------------------------------------------------------------------------------


@pytest.mark.parametrize("event", ["before_cursor_execute", "after_cursor_execute"])
def test_host_that_listens_sees_each_statement(
    engine: sa.Engine, store: SqlTransactionStore, event: str
) -> None:
    """Such as a tracer that is switched on while the app runs."""
    seen: list[str] = []

    def _see(_connection: object, _cursor: object, statement: str, *_details: object) -> None:
        seen.append(statement.split(maxsplit=1)[0])

    sa.event.listen(engine, event, _see)
    store.add(numbered(2))
    store.get("no-2")
    store.replace(numbered(2))
    assert [word for word in seen if word != "SHOW"] == ["INSERT", "SELECT", "UPDATE"]
    assert not pooled(engine).autocommit


def test_host_that_listens_may_change_each_statement(
    engine: sa.Engine, store: SqlTransactionStore
) -> None:
    """Before it is compiled, too."""
    seen: list[object] = []

    @sa.event.listens_for(engine, "before_execute")
    def _see(_connection: object, clause: object, *_details: object) -> None:
        seen.append(clause)

    store.get("no-1")
    assert len(seen) == 1


def test_host_that_handles_errors_sees_them(engine: sa.Engine, store: SqlTransactionStore) -> None:
    """Also those that the store settles by itself."""
    seen: list[str] = []

    @sa.event.listens_for(engine, "handle_error")
    def _see(context: sa.ExceptionContext) -> None:
        seen.append(type(context.original_exception).__name__)

    repeats_a_number(store)
    assert seen == ["UniqueViolation"]


def test_host_that_logs_statements_logs_ours(
    engine: sa.Engine, store: SqlTransactionStore, caplog: pytest.LogCaptureFixture
) -> None:
    """By the level of SQLAlchemy's logger; `echo` is the same."""
    with caplog.at_level(logging.INFO, "sqlalchemy.engine"):
        assert not is_direct(engine)
        SqlTransactionStore(engine).get("no-1")
    assert "FROM mpesa_stk_transactions" in caplog.text
    assert store.get("no-1") is not None


def test_tables_live_where_the_host_translates_their_schema(
    postgres_url: str, make_engine: MakeEngine
) -> None:
    """SQLAlchemy writes the name of the schema into each statement."""
    plain = make_engine(postgres_url)
    with plain.begin() as connection:
        connection.execute(sa.schema.CreateSchema("money"))
    options = {"execution_options": {"schema_translate_map": {None: "money"}}}
    engine = make_engine(postgres_url, **options)
    store = new_store(engine)
    store.add(numbered(1))
    store.keep_callback(kept(1))
    assert store.get("no-1") == numbered(1)
    assert store.kept_callbacks(checkout_request_id=CHECKOUT_ID) == [kept(1)]
    assert sa.inspect(plain).get_table_names() == []
