"""`SqlTransactionStore` beyond the contract: tables, lost connections, other writers, what errors tell."""

from __future__ import annotations

import logging
import runpy
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
import sqlalchemy as sa

import mpesa_stk.stores.sql
from mpesa_stk import (
    ConfigurationError,
    DuplicateTransaction,
    HistoryEntry,
    StoreError,
    Transaction,
    TransactionState,
)
from mpesa_stk.payments.search import PaymentSearch
from mpesa_stk.stores.rows import row_of
from mpesa_stk.stores.sql import SqlTransactionStore
from mpesa_stk.stores.sql_tables import due_statement, old_callbacks
from processes import ended, in_fresh_interpreter
from sql_stores import (
    LEASE,
    InAutocommit,
    MakeEngine,
    begins_deferred,
    kept,
    new_store,
    numbered,
)
from support import ACCOUNTS, CHECKOUT_ID, HELPERS, START, ManualClock

TICK = timedelta(microseconds=1)
PHONE = "254718643064"


# --- tables ------------------------------------------------------------------------------------------


def test_tables_are_made_once_and_completed(url: str, make_engine: MakeEngine) -> None:
    """A second call changes nothing, and an index that is missing is made."""
    engine = make_engine(url)
    store = new_store(engine)
    store.add(numbered(1))
    table = store.metadata.tables["mpesa_stk_transactions"]
    (index,) = (index for index in table.indexes if str(index.name).endswith("_account_due_at"))
    index.drop(engine)
    store.create_tables()
    found = {index["name"] for index in sa.inspect(engine).get_indexes(table.name)}
    assert {"mpesa_stk_transactions_account_due_at", "mpesa_stk_transactions_reference"} <= found
    assert store.get("no-1") == numbered(1)


def test_workers_that_start_together_make_the_tables_together(
    url: str, make_engine: MakeEngine
) -> None:
    """None of them fails because another one was faster."""
    stores = [SqlTransactionStore(make_engine(url)) for _ in range(4)]
    barrier = threading.Barrier(len(stores))
    failures: list[StoreError] = []

    def start(store: SqlTransactionStore) -> None:
        barrier.wait(60)
        try:
            store.create_tables()
        except StoreError as error:
            failures.append(error)

    threads = [threading.Thread(target=start, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    stores[0].add(numbered(1))
    assert stores[1].get("no-1") == numbered(1)


def test_host_can_make_the_tables_by_its_own_migrations(url: str, make_engine: MakeEngine) -> None:
    """The metadata is all that is needed, and has three tables."""
    engine = make_engine(url)
    store = SqlTransactionStore(engine, table_prefix="shop_")
    assert set(store.metadata.tables) == {
        "shop_transactions",
        "shop_callbacks",
        "shop_versions",
    }
    store.metadata.create_all(engine)
    store.add(numbered(1))
    assert store.get("no-1") == numbered(1)


def test_prefixes_keep_stores_apart(url: str, make_engine: MakeEngine) -> None:
    """Two stores on one database do not see each other's payments."""
    engine = make_engine(url)
    first, second = (new_store(engine, table_prefix=prefix) for prefix in ("a_", "b_"))
    first.add(numbered(1, due_at=START))
    assert second.get("no-1") is None
    assert second.claim_due(START, 10, LEASE, ACCOUNTS) == []
    assert len(first.claim_due(START, 10, LEASE, ACCOUNTS)) == 1


def test_tables_live_in_the_schema(postgres_url: str, make_engine: MakeEngine) -> None:
    """Nothing is made in the default schema."""
    engine = make_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(sa.schema.CreateSchema("money"))
    store = new_store(engine, schema="money")
    store.create_tables()
    store.add(numbered(1, due_at=START))
    store.keep_callback(kept(1))
    assert len(store.claim_due(START, 1, LEASE, ACCOUNTS)) == 1
    assert len(store.claim_due(START + LEASE, 1, LEASE, ACCOUNTS | {"till 1"})) == 1
    assert store.purge_callbacks(START + LEASE, 1) == 1
    assert sa.inspect(engine).get_table_names() == []
    assert len(sa.inspect(engine).get_table_names(schema="money")) == 3


def test_tables_that_cannot_be_made_are_a_store_error(
    postgres_url: str, make_engine: MakeEngine
) -> None:
    """It is tried again for each index that another worker may be making; a schema must exist."""
    engine = make_engine(postgres_url)
    tried: list[str] = []

    @sa.event.listens_for(engine, "before_cursor_execute")
    def _count(_connection: object, _cursor: object, statement: str, *_details: object) -> None:
        if "CREATE TABLE" in statement:
            tried.append(statement)

    with pytest.raises(StoreError, match=r"schema is missing: .* \(ProgrammingError 3F000\)$"):
        new_store(engine, schema="none")
    assert 5 < len(tried) < 30


@pytest.mark.parametrize(
    "engine",
    [
        object(),
        sa.create_engine("mssql+pymssql://host", module=sqlite3),
        sa.create_engine("postgresql+psycopg_async://host"),
    ],
    ids=["no engine", "another database", "an asynchronous driver"],
)
def test_engines_that_cannot_work_are_refused(engine: Any) -> None:
    """No promise is made for a database that was not thought of."""
    with pytest.raises(ConfigurationError) as caught:
        SqlTransactionStore(engine)
    assert [name for name, _ in caught.value.problems] == ["engine"]


# --- what can be stored ------------------------------------------------------------------------------


def test_long_values_are_whole(url: str, make_engine: MakeEngine) -> None:
    """Texts of any length and the largest body come back as they were."""
    store = new_store(make_engine(url))
    words = "\U0001f600\u00e9 " * 40_000
    payment = numbered(1, description=words, result_desc=words, merchant_request_id=words)
    store.add(payment)
    store.keep_callback(kept(1, body=bytes(range(256)) * 257, reason=words))
    assert store.get("no-1") == payment
    assert store.kept_callbacks(checkout_request_id=CHECKOUT_ID) == [
        kept(1, body=bytes(range(256)) * 257, reason=words)
    ]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("reference", "R\0"),
        ("description", "half of a pair: \ud83d"),
        ("idempotency_key", "k" * 256),
        ("account", "a" * 65),
        ("amount", 2**63),
        ("created", datetime(2026, 11, 23)),  # noqa: DTZ001 - that is what is refused
    ],
)
def test_what_cannot_be_stored_is_a_store_error(
    sqlite_url: str, make_engine: MakeEngine, field: str, value: Any
) -> None:
    """Nothing is cut or bent; the error names the field and not the value."""
    store = new_store(make_engine(sqlite_url))
    with pytest.raises(StoreError, match=f"^{field} holds a value that cannot be stored$"):
        store.add(numbered(1, **{field: value}))
    assert store.get("no-1") is None


def test_strange_characters_in_darajas_words_harm_no_payment(
    url: str, make_engine: MakeEngine
) -> None:
    """PostgreSQL refuses NUL: it is stored as the sign for it, and the payment is settled."""
    store = new_store(make_engine(url))
    store.add(numbered(1))
    assert store.replace(numbered(1, result_desc="paid\0", state=TransactionState.SUCCEEDED))
    stored = store.get("no-1")
    assert stored is not None
    assert (stored.result_desc, stored.state) == ("paid\u2400", TransactionState.SUCCEEDED)


def test_an_order_that_no_database_can_hold_has_no_attempts(
    url: str, make_engine: MakeEngine
) -> None:
    """PostgreSQL refuses to look for it."""
    assert new_store(make_engine(url)).attempts("paybill 600000", "a\0b") == []


def test_search_of_more_accounts_than_one_statement_holds(
    sqlite_url: str, make_engine: MakeEngine
) -> None:
    """The pages are in order over all of them."""
    store = new_store(make_engine(sqlite_url))
    for number in range(205):
        created = START + timedelta(seconds=number * 7 % 205)
        store.add(numbered(number, account=f"paybill {number}", created=created))
    first = store.search(PaymentSearch(), cursor=None, limit=150)
    rest = store.search(PaymentSearch(), cursor=first.next_cursor, limit=150)
    moments = [one.created for one in (*first.payments, *rest.payments)]
    assert len(moments) == 205
    assert moments == sorted(moments, reverse=True)


def test_history_and_every_look_up_work(sqlite_url: str, make_engine: MakeEngine) -> None:
    """What was stored comes back with its history, by each of its values."""
    store = new_store(make_engine(sqlite_url))
    entry = HistoryEntry(at=START, event="push\0", code=None, state=TransactionState.PENDING)
    payment = numbered(
        1,
        idempotency_key="key",
        checkout_request_id=CHECKOUT_ID,
        receipt_number="NLJ7RT61SV",
        history=(entry, attrs.evolve(entry, code="\U0001f600")),
    )
    store.add(payment)
    store.add(numbered(2, created=START - LEASE))
    for field in ("idempotency_key", "checkout_request_id", "receipt_number", "reference"):
        assert store.find(**{field: getattr(payment, field)}) == payment
    assert store.find() is None
    assert store.claim_due(START + LEASE * 9, 0, LEASE, ACCOUNTS) == []
    assert store.kept_callbacks() == []
    with pytest.raises(DuplicateTransaction) as caught:
        store.replace(numbered(2, receipt_number="NLJ7RT61SV"))
    assert caught.value.field == "receipt_number"


@pytest.mark.parametrize("text", ["\0", "\ud83d", "x" * 300])
def test_what_cannot_be_stored_is_not_found(url: str, make_engine: MakeEngine, text: str) -> None:
    """Looking for it is no error: callbacks name what they like."""
    store = new_store(make_engine(url))
    store.add(numbered(1))
    store.keep_callback(kept(1))
    store.drop_callback(text)
    assert store.get(text) is None
    assert store.find(checkout_request_id=text) is None
    assert store.kept_callbacks(checkout_request_id=text, transaction_no=text) == []
    assert store.kept_callbacks(checkout_request_id=CHECKOUT_ID) == [kept(1)]


def test_keeping_a_callback_is_one_statement(url: str, make_engine: MakeEngine) -> None:
    """The same again, and one beside a thousand others, too; nothing is looked through."""
    engine = make_engine(url)
    store = new_store(engine)
    sent: list[str] = []

    @sa.event.listens_for(engine, "before_cursor_execute")
    def _count(_connection: object, _cursor: object, statement: str, *_details: object) -> None:
        sent.extend([statement] if "mpesa_stk" in statement else [])

    for number in (1, 1, 2):
        store.keep_callback(kept(number))
    assert [statement.split()[0] for statement in sent] == ["INSERT"] * 3
    assert store.kept_callbacks(checkout_request_id=CHECKOUT_ID) == [kept(1), kept(2)]


def test_callback_that_cannot_be_kept_is_a_store_error(url: str, make_engine: MakeEngine) -> None:
    """Only an id that is there already is no error."""
    store = new_store(make_engine(url))
    with pytest.raises(StoreError, match=r"^the database failed: "):
        store.keep_callback(kept(1, reason=None))
    assert store.kept_callbacks(checkout_request_id=CHECKOUT_ID) == []


def test_purge_reads_what_is_old_by_the_index(url: str, make_engine: MakeEngine) -> None:
    """Among 5,000 kept callbacks; where none is old enough, nothing is written."""
    engine = make_engine(url)
    store = new_store(engine)
    table = store.metadata.tables["mpesa_stk_callbacks"]
    rows = [attrs.asdict(kept(number, received=START + number * TICK)) for number in range(5_000)]
    with engine.begin() as connection:
        connection.execute(sa.insert(table), rows)
    sent: list[str] = []

    @sa.event.listens_for(engine, "before_cursor_execute")
    def _count(_connection: object, _cursor: object, statement: str, *_details: object) -> None:
        sent.extend([statement.split(maxsplit=1)[0]] if "mpesa_stk" in statement else [])

    assert store.purge_callbacks(START, 100) == 0
    assert sent == ["SELECT"]
    assert store.purge_callbacks(START + 7 * TICK, 100) == 7
    assert sent == ["SELECT", "SELECT", "DELETE"]
    assert store.purge_callbacks(START + LEASE, -1) == 0
    statement = old_callbacks(table, START + 9 * TICK, 100)
    plan = "\n".join(plan_of(engine, "mpesa_stk_callbacks", statement))
    assert "mpesa_stk_callbacks_received" in plan
    for word in ("Seq Scan", "Sort", "SCAN mpesa", "TEMP B-TREE", "filesort"):
        assert word not in plan


def test_value_that_must_be_there_is_no_duplicate(url: str, make_engine: MakeEngine) -> None:
    """A constraint that refuses a row for another reason is a plain StoreError."""
    store = new_store(make_engine(url))
    with pytest.raises(StoreError, match=r"^the database failed: ") as caught:
        store.add(numbered(1, account=None))
    assert not isinstance(caught.value, DuplicateTransaction)


def test_row_of_another_version_harms_no_other_payment(
    sqlite_url: str, make_engine: MakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """A payment that cannot be read is logged by its number, and leased like the others."""
    engine = make_engine(sqlite_url)
    store = new_store(engine)
    for number in (1, 2):
        store.add(numbered(number, due_at=START + timedelta(seconds=number)))
    with engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE mpesa_stk_transactions SET state='NEW' WHERE transaction_no='no-1'")
        )
    with caplog.at_level(logging.ERROR, "mpesa_stk"):
        claimed = store.claim_due(START + LEASE, 10, LEASE, ACCOUNTS)
    assert [payment.transaction_no for payment in claimed] == ["no-2"]
    assert "payment_unreadable" in caplog.text
    assert "no-1" in caplog.text
    assert PHONE not in caplog.text
    with pytest.raises(StoreError, match=r"^a stored payment cannot be read$"):
        store.get("no-1")


# --- the claim -----------------------------------------------------------------------------------------


def full_table(engine: sa.Engine) -> SqlTransactionStore:
    """Of four accounts: 20,000 finished payments, and 2,500 due ones, ours the last to be due."""
    store = new_store(engine)
    payments = store.metadata.tables["mpesa_stk_transactions"]
    facts = row_of(numbered(0, due_at=None, reported=True))
    accounts = [f"paybill {600_000 + number}" for number in range(4)]
    rows = [
        facts
        | {"transaction_no": f"no-{number}", "account": accounts[number % 4]}
        | {"due_at": START - number * TICK if number % 9 == 0 else None}
        for number in range(22_500)
    ]
    with engine.begin() as connection:
        connection.execute(sa.insert(payments), rows)
    return store


def explained(engine: sa.Engine, store: SqlTransactionStore, accounts: list[str]) -> list[str]:
    """How the database finds what is due."""
    payments = store.metadata.tables["mpesa_stk_transactions"]
    return plan_of(engine, payments.name, due_statement(payments, START, 10, accounts))


def plan_of(engine: sa.Engine, table: str, statement: sa.Select[Any]) -> list[str]:
    """How the database does it, in its own words; it knows how full its table is."""
    sql = statement.compile(engine, compile_kwargs={"literal_binds": True})
    explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    analyze = "ANALYZE TABLE" if engine.dialect.name in ("mysql", "mariadb") else "ANALYZE"
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"{analyze} {table}").close()
        return [str(row) for row in connection.exec_driver_sql(f"{explain} {sql}").all()]


def test_claim_costs_what_is_due(url: str, make_engine: MakeEngine) -> None:
    """Among finished payments and others' due ones, the index finds ours.

    For one account they come in the order of the index. For several accounts the index gives the first
    payments of each, and only these few are sorted.
    """
    engine = make_engine(url)
    store = full_table(engine)
    accounts = [f"paybill {600_000 + number}" for number in range(3)]
    one, several = explained(engine, store, accounts[1:2]), explained(engine, store, accounts)
    index = "mpesa_stk_transactions_account_due_at"
    assert any(index in line for line in one)
    assert sum(index in line for line in several) >= 3
    for word in ("Seq Scan", "SCAN mpesa"):
        assert word not in "\n".join(one + several)
    for word in ("Sort", "TEMP B-TREE", "filesort"):
        assert word not in "\n".join(one)


@pytest.mark.parametrize("isolation", [None, "AUTOCOMMIT", "REPEATABLE READ", "SERIALIZABLE"])
@pytest.mark.parametrize("others", [(), ("paybill 600001",)], ids=["one account", "two accounts"])
def test_two_workers_share_what_is_due(
    server_url: str, make_engine: MakeEngine, others: tuple[str, ...], isolation: str | None
) -> None:
    """What one has locked the other skips and goes on behind it, whatever the engine's isolation."""
    options = {} if isolation is None else {"isolation_level": isolation}
    engine = make_engine(server_url, **options)
    store, other = new_store(engine), SqlTransactionStore(make_engine(server_url, **options))
    accounts = [*ACCOUNTS, *others]
    for number in range(4):
        account = accounts[number % len(accounts)]
        store.add(numbered(number, account=account, due_at=START + number * TICK))
    theirs: list[Transaction] = []

    @sa.event.listens_for(engine, "before_cursor_execute")
    def _between(_connection: object, _cursor: object, statement: str, *_details: object) -> None:
        if statement.startswith("UPDATE"):
            theirs.extend(other.claim_due(START + LEASE, 2, LEASE, frozenset(accounts)))

    ours = store.claim_due(START + LEASE, 2, LEASE, frozenset(accounts))
    assert [payment.transaction_no for payment in ours] == ["no-0", "no-1"]
    if others and engine.dialect.name == "mysql":  # it locks what it looks through to the end
        assert theirs == []
        theirs = other.claim_due(START + LEASE, 2, LEASE, frozenset(accounts))
    assert [payment.transaction_no for payment in theirs] == ["no-2", "no-3"]
    assert [store.get(payment.transaction_no) for payment in ours + theirs] == ours + theirs


def test_engine_whose_listener_runs_sql_can_claim(server_url: str, make_engine: MakeEngine) -> None:
    """The host's statement begins the transaction; it has the claim's isolation already."""
    engine = make_engine(server_url, isolation_level="REPEATABLE READ")
    levels: list[str] = []

    @sa.event.listens_for(engine, "engine_connect")
    def _greet(connection: sa.Connection) -> None:
        connection.exec_driver_sql("SELECT 1")
        levels.append(connection.get_isolation_level())

    store = new_store(engine)
    store.add(numbered(1, due_at=START))
    levels.clear()
    assert len(store.claim_due(START, 1, LEASE, ACCOUNTS)) == 1
    assert store.replace(numbered(1, version=1))
    # A single statement on PostgreSQL is a transaction by itself, at the level of the server.
    single = "READ COMMITTED" if engine.dialect.name == "postgresql" else "REPEATABLE READ"
    assert levels == ["READ COMMITTED", single]


@pytest.mark.parametrize("level", ["AUTOCOMMIT", "SERIALIZABLE"])
def test_engine_with_an_isolation_of_its_own_is_refused(
    level: Any, server_url: str, make_engine: MakeEngine
) -> None:
    """SQLAlchemy would apply it after that of the store, and a write could be rolled back in silence."""
    engine = make_engine(server_url).execution_options(isolation_level=level)
    with pytest.raises(ConfigurationError, match="from create_engine, not from execution_options"):
        SqlTransactionStore(engine)


def test_host_may_set_something_for_each_transaction(
    postgres_url: str, make_engine: MakeEngine
) -> None:
    """Such as the row-level security of a tenant: a single statement begins a transaction, too."""
    engine = make_engine(postgres_url)
    seen: list[str] = []

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("SELECT set_config('app.tenant', 'till 1', true)")

    @sa.event.listens_for(engine, "after_cursor_execute")
    def _after(connection: sa.Connection, _cursor: Any, statement: str, *_details: object) -> None:
        if "mpesa_stk_transactions" in statement and not statement.startswith("SELECT pg_"):
            other: Any = connection.connection.cursor()
            other.execute("SELECT current_setting('app.tenant', true)")
            seen.append(other.fetchone()[0])
            other.close()

    store = new_store(engine)
    seen.clear()
    store.add(numbered(1))
    assert store.replace(numbered(1))
    assert set(seen) == {"till 1"}
    assert store.get("no-1") == numbered(1, version=1)


def test_claim_of_more_than_one_statement_holds(url: str, make_engine: MakeEngine) -> None:
    """More payments than fit into the parameters of one statement are all moved."""
    store = new_store(make_engine(url))
    for number in range(501):
        store.add(numbered(number, due_at=START))
    claimed = store.claim_due(START, 1000, LEASE, ACCOUNTS)
    assert len({payment.transaction_no for payment in claimed}) == 501
    assert store.claim_due(START, 1000, LEASE, ACCOUNTS) == []


# --- lost connections ----------------------------------------------------------------------------------


def nothing(_connection: sqlite3.Connection) -> None:
    """All is well."""


def lost(_connection: sqlite3.Connection) -> None:
    """The connection is gone, so the driver says."""
    raise sqlite3.OperationalError("server closed the connection unexpectedly")


class Commits:
    """What happens to the commits of a driver; by default they are done."""

    def __init__(self) -> None:
        self.before: Callable[[sqlite3.Connection], None] = nothing
        self.after: Callable[[sqlite3.Connection], None] = nothing

    def connection(self, *args: Any, **options: Any) -> sqlite3.Connection:
        """A connection of SQLite's driver; `before` and `after` raise what a driver would."""
        commits = self

        class Connection(sqlite3.Connection):
            def commit(self) -> None:
                commits.before(self)
                super().commit()
                commits.after(self)

        return Connection(*args, **options)


@pytest.fixture
def commits() -> Commits:
    """Commits that can be lost."""
    return Commits()


@pytest.fixture
def fragile(sqlite_url: str, make_engine: MakeEngine, commits: Commits) -> SqlTransactionStore:
    """A store whose commits can be lost."""
    engine = make_engine(sqlite_url, connect_args={"factory": commits.connection})
    return new_store(engine, clock=ManualClock())


@pytest.fixture
def healthy(sqlite_url: str, make_engine: MakeEngine) -> SqlTransactionStore:
    """Another worker's store on the same database."""
    return SqlTransactionStore(make_engine(sqlite_url))


def test_commit_that_was_done_counts_as_done(
    fragile: SqlTransactionStore, commits: Commits
) -> None:
    """The answer was lost, and the stored rows tell that the work was done."""
    commits.after = lost
    fragile.add(numbered(1))
    assert fragile.replace(numbered(1, result_code="1032"))
    fragile.keep_callback(kept(1))
    stored = fragile.get("no-1")
    assert stored is not None
    assert (stored.result_code, stored.version) == ("1032", 1)
    assert fragile.kept_callbacks(checkout_request_id=CHECKOUT_ID) == [kept(1)]


def test_commit_that_was_not_done_is_a_store_error(
    fragile: SqlTransactionStore, commits: Commits
) -> None:
    """It may still be under way: nobody says that it was done, and nobody that it was not."""
    fragile.add(numbered(1))
    commits.before = lost
    for work in (
        lambda: fragile.add(numbered(2)),
        lambda: fragile.replace(numbered(1, result_code="1032")),
        lambda: fragile.keep_callback(kept(1)),
        lambda: fragile.drop_callback("callback-1"),
        lambda: fragile.claim_due(START + LEASE * 9, 10, LEASE, ACCOUNTS),
    ):
        with pytest.raises(StoreError, match=r"ended the connection: .* \(OperationalError\)$"):
            work()
    commits.before = nothing
    assert fragile.get("no-1") == numbered(1)
    assert fragile.get("no-2") is None


def test_lost_commit_of_a_payment_that_is_changed_already_is_not_decided(
    fragile: SqlTransactionStore, healthy: SqlTransactionStore, commits: Commits
) -> None:
    """What is stored is not what was written: the caller must look again."""

    def changed_and_lost(connection: sqlite3.Connection) -> None:
        assert healthy.replace(numbered(1))
        lost(connection)

    commits.after = changed_and_lost
    with pytest.raises(StoreError):
        fragile.add(numbered(1))
    commits.after = nothing

    def changed_twice_and_lost(connection: sqlite3.Connection) -> None:
        assert healthy.replace(numbered(1, version=2))
        lost(connection)

    commits.after = changed_twice_and_lost
    with pytest.raises(StoreError):
        fragile.replace(numbered(1, version=1, result_code="1032"))


def test_lost_commit_that_another_writer_beat_is_lost(
    fragile: SqlTransactionStore, healthy: SqlTransactionStore, commits: Commits
) -> None:
    """Only one writer makes the next version, and it was not this one."""
    fragile.add(numbered(1))

    def beaten(connection: sqlite3.Connection) -> None:
        connection.rollback()
        assert healthy.replace(numbered(1, result_code="0"))
        lost(connection)

    commits.before = beaten
    assert fragile.replace(numbered(1, result_code="1032")) is False
    stored = healthy.get("no-1")
    assert stored is not None
    assert stored.result_code == "0"


def test_connection_that_the_server_closed_is_a_store_error(
    postgres_url: str, make_engine: MakeEngine
) -> None:
    """The next call has a new connection; with ``pool_pre_ping`` even the first one."""
    engine, admin = make_engine(postgres_url), make_engine(postgres_url)
    store = new_store(engine)
    store.add(numbered(1))
    close_connections(admin)
    with pytest.raises(StoreError, match=r"ended the connection: .* \(OperationalError 57P01\)$"):
        store.get("no-1")
    assert store.get("no-1") == numbered(1)
    careful = SqlTransactionStore(make_engine(postgres_url, pool_pre_ping=True))
    assert careful.get("no-1") == numbered(1)
    close_connections(admin)
    assert careful.get("no-1") == numbered(1)


@pytest.mark.parametrize(
    ("event", "method"),
    [
        ("before_cursor_execute", lambda store: store.replace(numbered(1))),
        ("commit", lambda store: store.claim_due(START, 1, LEASE, ACCOUNTS)),
    ],
)
def test_connection_that_is_closed_before_the_commit(
    postgres_url: str,
    make_engine: MakeEngine,
    event: str,
    method: Callable[[SqlTransactionStore], object],
) -> None:
    """Nothing was written, which cannot be told from a commit that is still under way."""
    engine, admin = make_engine(postgres_url), make_engine(postgres_url)
    store = new_store(engine)
    store.add(numbered(1, due_at=START))
    sa.event.listen(engine, event, lambda *_details: close_connections(admin), once=True)
    with pytest.raises(StoreError, match=r"ended the connection: .* \(OperationalError 57P01\)$"):
        method(store)
    assert store.get("no-1") == numbered(1, due_at=START)


def close_connections(admin: sa.Engine) -> None:
    """What a restart of PostgreSQL does to all other connections to this database."""
    with admin.connect() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).all()


def test_database_that_is_not_there_is_a_store_error(
    tmp_path: Path, make_engine: MakeEngine
) -> None:
    """Each method says so, and asks once."""
    tried: list[object] = []
    engine = make_engine(f"sqlite:///{tmp_path / 'none' / 'file'}")
    sa.event.listen(engine, "do_connect", lambda *_details: tried.append(None))
    store = SqlTransactionStore(engine)
    methods: list[Callable[[], object]] = [
        store.create_tables,
        lambda: store.add(numbered(1)),
        lambda: store.get("no-1"),
        lambda: store.find(reference="INV-1"),
        lambda: store.replace(numbered(1)),
        lambda: store.claim_due(START, 1, LEASE, ACCOUNTS),
        lambda: store.keep_callback(kept(1)),
        lambda: store.kept_callbacks(transaction_no="no-1"),
        lambda: store.drop_callback("callback-1"),
        lambda: store.purge_callbacks(START, 1),
    ]
    for method in methods:
        with pytest.raises(StoreError, match=r"file cannot be opened: .* \(OperationalError\)$"):
            method()
    assert len(tried) == len(methods)


def test_errors_hold_nothing_of_the_payment(url: str, make_engine: MakeEngine) -> None:
    """SQLAlchemy prints the parameters, so nothing of its error is kept."""
    store = SqlTransactionStore(make_engine(url))
    works: tuple[Callable[[], object], ...] = (
        lambda: store.add(numbered(1, checkout_request_id=CHECKOUT_ID)),
        lambda: store.find(checkout_request_id=CHECKOUT_ID),
        lambda: store.keep_callback(kept(1)),
    )
    for work in works:
        with pytest.raises(StoreError) as caught:
            work()
        assert (caught.value.__cause__, caught.value.__context__) == (None, None)
        told = "".join(traceback.format_exception(caught.value))
        assert PHONE[3:] not in told
        assert "no-1" not in told


def test_error_of_a_broken_driver_is_a_store_error(
    fragile: SqlTransactionStore, commits: Commits
) -> None:
    """Drivers raise errors of their own making on broken connections."""

    def broken(_connection: sqlite3.Connection) -> None:
        raise AttributeError("'NoneType' object has no attribute 'settimeout'")

    commits.before = broken
    with pytest.raises(StoreError, match=r"^the database failed: AttributeError$"):
        fragile.add(numbered(1))


# --- other writers -------------------------------------------------------------------------------------


class Deadlocks:
    """Rolls back some commits, as MySQL does with the victim of a deadlock."""

    def __init__(self, times: int, number: int = 1213) -> None:
        self.left = times
        self.number = number

    def __call__(self, connection: sqlite3.Connection) -> None:
        """A commit."""
        if self.left:
            self.left -= 1
            connection.rollback()
            error = sqlite3.OperationalError(self.number, "Deadlock found when trying to get lock")
            error.sqlstate = "HY000"  # type: ignore[attr-defined] # as PyMySQL has it
            raise error


@pytest.mark.parametrize("number", [1213, 1020], ids=["deadlock", "changed since read"])
def test_deadlock_is_tried_again(
    sqlite_url: str, make_engine: MakeEngine, commits: Commits, number: int
) -> None:
    """The work was rolled back for sure; the pauses grow."""
    clock = ManualClock()
    engine = make_engine(sqlite_url, connect_args={"factory": commits.connection})
    store = new_store(engine, clock=clock)
    commits.before = Deadlocks(4, number)
    store.add(numbered(1))
    assert store.get("no-1") == numbered(1)
    assert len(clock.slept) == 4
    assert all(0 <= pause < 0.05 * number for number, pause in enumerate(clock.slept, start=1))


def test_deadlock_that_does_not_end_is_a_store_error(
    fragile: SqlTransactionStore, commits: Commits
) -> None:
    """There is a last try."""
    commits.before = Deadlocks(5)
    with pytest.raises(
        StoreError, match=r"other writers were in the way, .* \(OperationalError 1213\)$"
    ):
        fragile.add(numbered(1))
    assert fragile.get("no-1") is None


def test_serialization_failure_is_tried_again(server_url: str, make_engine: MakeEngine) -> None:
    """The host's own statement held the row; PostgreSQL rolls back the one that waited for it."""
    engine = make_engine(server_url, isolation_level="REPEATABLE READ")
    store, admin = new_store(engine), make_engine(server_url)
    store.add(numbered(1))
    results: list[bool] = []
    with admin.begin() as connection:
        connection.exec_driver_sql("UPDATE mpesa_stk_transactions SET needs_review = NULL")
        writer = threading.Thread(
            target=lambda: results.append(store.replace(numbered(1, result_code="1032")))
        )
        writer.start()
        wait_for_lock(admin)
    writer.join(60)
    assert results == [True]
    stored = store.get("no-1")
    assert stored is not None
    assert (stored.result_code, stored.version) == ("1032", 1)


def wait_for_lock(admin: sa.Engine) -> None:
    """Wait until somebody waits for a row."""
    waiting = {
        "postgresql": "SELECT count(*) FROM pg_locks WHERE NOT granted",
        "mysql": "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'",
    }[admin.dialect.name]
    deadline = time.monotonic() + 60
    while True:
        with admin.connect() as connection:
            if connection.exec_driver_sql(waiting).scalar_one():
                return
        assert time.monotonic() < deadline
        time.sleep(0.02)


# --- SQLite ----------------------------------------------------------------------------------------------


WORKER = """
import sys
from datetime import timedelta
import sqlalchemy as sa
sys.path.insert(0, sys.argv[2])
from mpesa_stk.stores.sql import SqlTransactionStore
from support import ACCOUNTS, START, make_transaction
store = SqlTransactionStore(sa.create_engine(sys.argv[1]))
for number in range(40):
    store.add(make_transaction(transaction_no=f"{sys.argv[3]}-{number}", due_at=START))
    for payment in store.claim_due(START, 2, timedelta(hours=1), ACCOUNTS):
        print(payment.transaction_no)
"""


@pytest.mark.slow
def test_many_processes_share_a_file(sqlite_url: str, make_engine: MakeEngine) -> None:
    """None finds the database locked, and each payment is claimed once."""
    store = new_store(make_engine(sqlite_url))
    tests = str(HELPERS)
    workers = [
        subprocess.Popen(  # noqa: S603 - our own interpreter and code
            [sys.executable, "-W", "error", "-c", WORKER, sqlite_url, tests, str(number)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    with ended(*workers):
        claims = [worker.communicate(timeout=120)[0].split() for worker in workers]
    claimed = [line for claim in claims for line in claim]
    assert [worker.returncode for worker in workers] == [0] * 4
    claimed += [payment.transaction_no for payment in store.claim_due(START, 1000, LEASE, ACCOUNTS)]
    assert sorted(claimed) == sorted(
        f"{worker}-{number}" for worker in range(4) for number in range(40)
    )


@pytest.mark.parametrize("kind", ["plain", "autocommit", "driver", "recipe", "patient"])
def test_sqlite_writers_take_the_lock_first(
    sqlite_url: str, make_engine: MakeEngine, kind: str
) -> None:
    """However the host's engine begins transactions: a writer waits for the lock, and has it alone."""
    options: dict[str, dict[str, Any]] = {
        "autocommit": {"isolation_level": "AUTOCOMMIT"},
        "driver": {"connect_args": {"factory": InAutocommit}},
        "patient": {"connect_args": {"timeout": 45}},
    }
    engine = make_engine(sqlite_url, **options.get(kind, {}))
    if kind == "recipe":
        begins_deferred(engine)
    store = new_store(engine)
    store.add(numbered(1, due_at=START))
    seen: list[str] = []
    waits: list[int] = []

    @sa.event.listens_for(engine, "before_cursor_execute")
    def _inside(
        connection: sa.Connection, _cursor: object, statement: str, *_details: object
    ) -> None:
        if statement.startswith("UPDATE"):
            other = sqlite3.connect(str(engine.url.database), timeout=0)
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("BEGIN IMMEDIATE")
            other.close()
            seen.append(statement)
            driver: Any = connection.connection.dbapi_connection
            waits.extend(driver.execute("PRAGMA busy_timeout").fetchone())

    assert len(store.claim_due(START, 1, LEASE, ACCOUNTS)) == 1
    assert store.replace(numbered(1, version=1))
    assert len(seen) == 2
    assert waits == [45_000 if kind == "patient" else 30_000] * 2
    reopened = SqlTransactionStore(make_engine(sqlite_url)).get("no-1")
    assert reopened is not None
    assert reopened.version == 2


# --- imports ---------------------------------------------------------------------------------------------


def test_sqlalchemy_is_loaded_by_those_who_ask_for_it() -> None:
    """A host without the extra imports everything else."""
    code = "import sys, mpesa_stk; print('sqlalchemy' in sys.modules)"
    assert in_fresh_interpreter(code) == "False"


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(ImportError) as caught:
        runpy.run_path(mpesa_stk.stores.sql.__file__)
    told = "the SQL stores need SQLAlchemy: pip install 'mpesa-stk-client[sql]'"
    assert str(caught.value) == told
