"""`DjangoTransactionStore` beyond the contract: transactions of the host, lost databases, indexes."""

from __future__ import annotations

import asyncio
import threading
import unittest
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import attrs
import psycopg
import pytest
import sqlalchemy as sa
from django import db
from django.core.exceptions import SynchronousOnlyOperation
from django.core.management import call_command
from django.db import connections, transaction
from django.test import TestCase, override_settings
from django.test.utils import CaptureQueriesContext

from django_databases import ALIAS, django_alias
from example_shops import django_database, django_module, set_up_django
from mpesa_stk import (
    ConfigurationError,
    PaymentSearch,
    QueryPace,
    StoreError,
    ThreadedTransactionStore,
    TransactionState,
)
from sql_stores import kept, numbered
from support import ACCOUNTS, CHECKOUT_ID, START, ManualClock

LEASE = timedelta(seconds=60)


@pytest.fixture(name="database")
def _database(tmp_path: Path) -> Iterator[Path]:
    """The tables in SQLite, in the default database."""
    path = tmp_path / "shop.sqlite3"
    with django_database(path):
        yield path


def new_store(using: str | None = None, **options: Any) -> Any:
    """A store."""
    store = django_module("mpesa_stk.contrib.django.orm_store").DjangoTransactionStore
    return store(using, **options)


def payment_model() -> Any:
    """The table of payments."""
    return django_module("mpesa_stk.contrib.django.models").Payment


class Unlucky:
    """Raises an error before or after each of the first statements that have a word."""

    def __init__(
        self, word: str, error: BaseException, *, times: int = 1, late: bool = False
    ) -> None:
        self.word = word
        self.error = error
        self.left = times
        self.late = late

    def __call__(
        self, execute: Callable[..., Any], sql: str, values: Any, many: Any, context: Any
    ) -> Any:
        """Execute a statement, or not."""
        if not sql.startswith(self.word) or not self.left:
            return execute(sql, values, many, context)
        self.left -= 1
        if self.late:
            execute(sql, values, many, context)
        raise self.error


def rolled_back() -> db.OperationalError:
    """What Django raises if PostgreSQL rolls a transaction back because of another one."""
    error = db.OperationalError("could not serialize access")
    error.__cause__ = psycopg.errors.SerializationFailure("could not serialize access")
    return error


READS: dict[str, Callable[[Any], object]] = {
    "get": lambda store: store.get("no-1"),
    "find": lambda store: store.find(reference="INV-1"),
    "attempts": lambda store: store.attempts("paybill 600000", "1"),
    "kept_callbacks": lambda store: store.kept_callbacks(transaction_no="no-1"),
}
WRITES: dict[str, Callable[[Any], object]] = {
    "add": lambda store: store.add(numbered(1)),
    "replace": lambda store: store.replace(numbered(2)),
    "claim_due": lambda store: store.claim_due(START + LEASE, 10, LEASE, ACCOUNTS),
    "keep_callback": lambda store: store.keep_callback(kept(1)),
    "drop_callback": lambda store: store.drop_callback("callback-2"),
    "purge_callbacks": lambda store: store.purge_callbacks(START + LEASE, 10),
}


@pytest.mark.parametrize("method", READS | WRITES)
def test_store_says_so_when_the_database_is_gone(method: str, database: Path) -> None:
    """Each method raises StoreError, never returns as if nothing were there."""
    connections.close_all()
    connections.settings["default"]["NAME"] = str(database.parent / "gone" / "shop.sqlite3")
    with pytest.raises(StoreError, match=r"the file cannot be opened.*\(OperationalError\)"):
        (READS | WRITES)[method](new_store())


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("method", WRITES)
def test_store_refuses_to_write_in_somebody_elses_transaction(method: str) -> None:
    """What is written there could be rolled back after the push. The error names the ways out."""
    store = new_store()
    store.add(numbered(2, due_at=START))
    store.keep_callback(kept(2))
    with pytest.raises(ConfigurationError, match="non_atomic_requests"), transaction.atomic():
        WRITES[method](store)
    assert store.get("no-1") is None
    assert store.get("no-2") == numbered(2, due_at=START)
    assert store.kept_callbacks(checkout_request_id=CHECKOUT_ID) == [kept(2)]


@pytest.mark.usefixtures("database")
def test_migration_makes_the_tables_of_the_models() -> None:
    """Django finds nothing to migrate, and the columns that must be fast or unique have an index."""
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)
    model = django_module("mpesa_stk.contrib.django.models").Payment
    with connections["default"].cursor() as cursor:
        found = connections["default"].introspection.get_constraints(cursor, model._meta.db_table)
    unique = {
        tuple(index["columns"])
        for index in found.values()
        if index["unique"] or index["primary_key"]
    }
    due = model.objects.filter(account="paybill 600000", due_at__lte=START)
    plan = due.order_by("due_at").explain()
    assert unique == {
        ("transaction_no",),
        ("idempotency_key", "account"),
        ("checkout_request_id",),
        ("receipt_number",),
        ("order_slot", "account"),
    }
    assert "mpesa_stk_due" in plan
    for word in ("SCAN", "TEMP B-TREE"):
        assert word not in plan


# --- the host's transactions -------------------------------------------------------------------------


@pytest.mark.usefixtures("database")
def test_store_refuses_to_write_without_autocommit() -> None:
    """Without it no write is committed."""
    store = new_store()
    transaction.set_autocommit(False)
    try:
        with pytest.raises(ConfigurationError, match="AUTOCOMMIT"):
            store.add(numbered(1))
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)
    assert store.get("no-1") is None


@pytest.mark.usefixtures("database")
def test_store_reads_in_somebody_elses_transaction() -> None:
    """A host's own code may look at a payment wherever it is."""
    store = new_store()
    store.add(numbered(1))
    with transaction.atomic():
        assert store.get("no-1") == numbered(1)


@pytest.mark.usefixtures("database")
def test_store_works_in_a_test_case_of_django() -> None:
    """There the whole test is a transaction, which ends with it. A block of the host is refused too."""

    class Host(TestCase):  # type: ignore[misc] # Django has no types
        def runTest(self) -> None:  # noqa: N802 - unittest calls it so
            store = new_store()
            store.add(numbered(1, due_at=START))
            with pytest.raises(db.IntegrityError), transaction.atomic():
                payment_model().objects.update(account=None)
            assert store.claim_due(START, 1, LEASE, ACCOUNTS)
            with transaction.atomic(), pytest.raises(ConfigurationError, match="atomic"):
                store.add(numbered(2))

    outcome = unittest.TextTestRunner().run(Host())
    assert not outcome.failures + outcome.errors
    assert new_store().get("no-1") is None


def test_store_needs_an_alias_of_the_settings() -> None:
    """A typing error is found at once."""
    with pytest.raises(ConfigurationError, match=r"settings\.DATABASES"):
        new_store("paymens")


class Replica:
    """A host's router, which sends reads to a database that lags behind."""

    def db_for_read(self, _model: object, **_hints: object) -> str:
        """The replica."""
        return "default"

    def db_for_write(self, _model: object, **_hints: object) -> str:
        """The primary."""
        return ALIAS


@pytest.mark.usefixtures("database")
def test_reads_go_where_writes_go(tmp_path: Path) -> None:
    """A replica that lags behind would show a payment as it was."""
    with (
        django_alias(f"sqlite:///{tmp_path / 'primary.sqlite3'}"),
        override_settings(DATABASE_ROUTERS=[Replica()]),
    ):
        store = new_store()
        store.add(numbered(1, due_at=START))
        store.keep_callback(kept(1))
        assert store.get("no-1") is not None
        assert store.claim_due(START, 1, LEASE, ACCOUNTS)
        assert len(store.search(PaymentSearch(), cursor=None, limit=5).payments) == 1
        assert store.kept_callbacks(checkout_request_id=CHECKOUT_ID) == [kept(1)]
        assert payment_model().objects.using("default").count() == 0


# --- trouble -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("database")
def test_work_that_was_rolled_back_is_done_again() -> None:
    """Another transaction was in the way. The store waits a little longer each time."""
    clock = ManualClock()
    store = new_store(clock=clock)
    with connections["default"].execute_wrapper(Unlucky("INSERT", rolled_back(), times=4)):
        store.add(numbered(1))
    assert store.get("no-1") == numbered(1)
    assert len(clock.slept) == 4


@pytest.mark.usefixtures("database")
def test_work_that_is_rolled_back_again_and_again_fails() -> None:
    """After five tries the caller decides."""
    store = new_store(clock=ManualClock())
    with (
        connections["default"].execute_wrapper(Unlucky("INSERT", rolled_back(), times=9)),
        pytest.raises(StoreError, match="other writers were in the way, again and again"),
    ):
        store.add(numbered(1))
    assert store.get("no-1") is None


def test_locked_file_is_tried_again(tmp_path: Path) -> None:
    """SQLite's writers wait for each other. If one holds the file for too long, the error says so."""
    path = tmp_path / "shop.sqlite3"
    clock = ManualClock()
    with django_alias(f"sqlite:///{path}", OPTIONS={"timeout": 0}):
        store = new_store(ALIAS, clock=clock)
        engine = sa.create_engine(f"sqlite:///{path}")
        with closing(engine.raw_connection()) as other:
            other.cursor().execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError, match="the database is locked"):
                store.add(numbered(1))
        store.add(numbered(1))
        engine.dispose()
    assert len(clock.slept) == 4


LOST = db.OperationalError("server closed the connection unexpectedly")
AGAIN = {
    "add": lambda store: store.add(numbered(1)),
    "replace": lambda store: store.replace(numbered(2, amount=7)),
    "keep_callback": lambda store: store.keep_callback(kept(1)),
}


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("method", AGAIN)
def test_lost_answer_of_a_write_is_looked_up(method: str) -> None:
    """The connection was lost after the write was done. The store reads the row, and goes on."""
    store = new_store()
    store.add(numbered(2))
    lost = Unlucky("UPDATE" if method == "replace" else "INSERT", LOST, late=True)
    with connections["default"].execute_wrapper(lost):
        assert AGAIN[method](store) is (True if method == "replace" else None)
    assert not lost.left


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("method", AGAIN)
def test_lost_write_is_an_error(method: str) -> None:
    """The row is not there, and may still come."""
    store = new_store()
    store.add(numbered(2))
    lost = Unlucky("UPDATE" if method == "replace" else "INSERT", LOST)
    with (
        connections["default"].execute_wrapper(lost),
        pytest.raises(StoreError, match="the server ended the connection"),
    ):
        AGAIN[method](store)
    assert not lost.left


@pytest.mark.usefixtures("database")
def test_lost_replace_of_a_payment_that_is_gone_is_an_error() -> None:
    """Nothing says whether it was written."""
    store = new_store()
    with (
        connections["default"].execute_wrapper(Unlucky("UPDATE", LOST)),
        pytest.raises(StoreError),
    ):
        store.replace(numbered(2))


@pytest.mark.usefixtures("database")
def test_constraint_that_is_none_of_ours_is_an_error() -> None:
    """A host's own constraint refuses the row. No field is named as taken."""
    store = new_store()
    with (
        connections["default"].execute_wrapper(Unlucky("INSERT", db.IntegrityError("CHECK"))),
        pytest.raises(StoreError, match="IntegrityError"),
    ):
        store.add(numbered(1, order="7", order_slot="live:7"))


def end_connections(alias: str) -> None:
    """End all connections to a PostgreSQL database but one that does so."""
    name = connections[alias].settings_dict
    url = sa.URL.create(
        "postgresql+psycopg", name["USER"], None, None, None, name["NAME"], {"host": name["HOST"]}
    )
    engine = sa.create_engine(url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_broken_connection_is_replaced(postgres_url: str) -> None:
    """A worker has no requests between which Django would look at its connection.

    After a pause the store looks itself. Without one the caller gets an error, and the next call works.
    """
    clock = ManualClock()
    with django_alias(postgres_url):
        store = new_store(ALIAS, clock=clock)
        store.add(numbered(1))
        end_connections(ALIAS)
        clock.advance(60)
        assert store.get("no-1") == numbered(1)
        end_connections(ALIAS)
        with pytest.raises(StoreError, match="the server ended the connection"):
            store.get("no-1")
        assert store.get("no-1") == numbered(1)


@pytest.mark.usefixtures("database")
def test_row_that_cannot_be_read_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged and left out. Its due time moves, or each batch would begin with it."""
    store = new_store()
    for number in (1, 2):
        store.add(numbered(number, due_at=START))
    payment_model().objects.filter(pk="no-1").update(history="x")
    assert [one.transaction_no for one in store.claim_due(START, 9, LEASE, ACCOUNTS)] == ["no-2"]
    assert store.claim_due(START, 9, LEASE, ACCOUNTS) == []
    found = store.search(PaymentSearch(), cursor=None, limit=9).payments
    assert [one.transaction_no for one in found] == ["no-2"]
    assert "payment_unreadable" in caplog.text


@pytest.mark.usefixtures("database")
def test_values_that_no_database_holds_are_not_there() -> None:
    """They are not looked for, since PostgreSQL and its driver would raise errors of their own."""
    store = new_store()
    for text in ("\0", "\ud800"):
        assert store.get(text) is None
        assert store.find(reference="INV-1", account=text) is None
        assert store.attempts("paybill 600000", text) == []
        assert store.kept_callbacks(transaction_no=text) == []
        store.drop_callback(text)
    assert store.find() is None
    assert store.search(PaymentSearch(), cursor=None, limit=0).payments == ()


# --- times -------------------------------------------------------------------------------------------


@pytest.fixture(name="url", params=["sqlite", "postgres_url", "mariadb_url"])
def _url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new database of each kind."""
    set_up_django()
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'times.sqlite3'}"
    url: str = request.getfixturevalue(request.param)
    return url


@pytest.mark.parametrize("use_tz", [True, False])
def test_times_are_exact_with_the_hosts_time_zone(url: str, *, use_tz: bool) -> None:
    """Two instants that a clock in Berlin calls alike stay two, and Django's filters find them."""
    east_africa = timezone(timedelta(hours=3))
    berlin = ZoneInfo("Europe/Berlin")
    options = {"TIME_ZONE": "Europe/Berlin"} if use_tz and "postgresql" not in url else {}
    hour = timedelta(hours=1)
    autumn = START.replace(month=10, day=25, hour=0, minute=30)
    with override_settings(USE_TZ=use_tz, TIME_ZONE="Europe/Berlin"), django_alias(url, **options):
        store = new_store(ALIAS)
        for number, created in enumerate([autumn, autumn + hour]):
            store.add(numbered(number, created=created, due_at=created.astimezone(east_africa)))
            found = store.get(f"no-{number}")
            assert (found.created, found.due_at) == (created, created)
            assert found.due_at.utcoffset() == timedelta(0)
        assert len(store.claim_due(autumn, 9, LEASE, ACCOUNTS)) == 1
        rows = payment_model().objects.using(ALIAS)
        before = (autumn + 3 * hour).astimezone(berlin)
        assert rows.filter(created__lt=before).count() == 2
        assert rows.get(pk="no-0").created == autumn
        if not use_tz:
            naive = before.replace(tzinfo=None)
            assert rows.filter(created__lt=naive, paid_at=None).count() == 2


# --- event loops -------------------------------------------------------------------------------------


def test_store_works_on_an_event_loop(postgres_url: str) -> None:
    """In threads it does. Called directly, it says Django's words about threads."""
    both = threading.Barrier(2)

    def leave() -> None:
        both.wait(10)  # one for each thread
        connections.close_all()

    async def use(store: Any) -> None:
        threaded = ThreadedTransactionStore(store, threads=2)
        await threaded.add(numbered(1, due_at=START))
        assert await threaded.get("no-1") == numbered(1, due_at=START)
        assert len(await threaded.claim_due(START, 9, LEASE, ACCOUNTS)) == 1
        with pytest.raises(SynchronousOnlyOperation, match="sync_to_async"):
            store.get("no-1")
        await asyncio.gather(*(threaded._call(leave) for _ in range(2)))
        await threaded.close()

    with django_alias(postgres_url):
        connections.close_all()
        asyncio.run(use(new_store(ALIAS)))


# --- statements --------------------------------------------------------------------------------------


def statements(use: Callable[[], object]) -> list[str]:
    """The first words of the statements of a use."""
    with CaptureQueriesContext(connections["default"]) as captured:
        use()
    return [query["sql"].split()[0] for query in captured]


@pytest.mark.usefixtures("database")
def test_each_step_of_a_payment_takes_one_statement() -> None:
    """One statement is a transaction by itself. Only a claim reads before it writes."""
    store = new_store()
    one = numbered(1, due_at=START)
    assert statements(lambda: store.add(one)) == ["INSERT"]
    assert statements(lambda: store.get("no-1")) == ["SELECT"]
    assert statements(lambda: store.replace(attrs.evolve(one, amount=7))) == ["UPDATE"]
    assert statements(lambda: store.keep_callback(kept(1))) == ["INSERT"]
    assert statements(lambda: store.kept_callbacks(transaction_no="no-1")) == ["SELECT"]
    assert statements(lambda: store.drop_callback("callback-1")) == ["BEGIN", "DELETE", "COMMIT"]
    claim = ["BEGIN", "UPDATE", "SELECT", "UPDATE", "COMMIT"]  # the first one takes SQLite's lock
    assert statements(lambda: store.claim_due(START, 9, LEASE, ACCOUNTS)) == claim
    assert statements(lambda: store.claim_due(START, 9, LEASE, frozenset())) == []
    assert statements(lambda: store.purge_callbacks(START, 9)) == ["SELECT"]


@pytest.mark.usefixtures("database")
def test_a_token_and_a_query_take_few_statements() -> None:
    """Each push reads its token, and each query takes its slot."""
    tokens = django_module("mpesa_stk.contrib.django.orm_tokens").DjangoTokenStore()
    budgets = django_module("mpesa_stk.contrib.django.orm_budget")
    budget = budgets.DjangoQueryBudget(QueryPace(per_minute=60))
    assert statements(lambda: tokens.load("app")) == ["SELECT"]
    assert statements(lambda: budget.take("app", START)) == ["SELECT", "INSERT"]
    assert statements(lambda: budget.take("app", START + LEASE)) == ["SELECT", "UPDATE"]
    assert budget.take("app", START + LEASE) > 0
    budget.throttled("app", START + LEASE, 90.0)
    assert budget.take("app", START + LEASE) == pytest.approx(90.0)


SEARCHES = {
    "all": PaymentSearch(),
    "one account": PaymentSearch(accounts=ACCOUNTS),
    "a rare state": PaymentSearch(accounts=ACCOUNTS, state=TransactionState.UNCERTAIN),
    "a rare state of all": PaymentSearch(state=TransactionState.UNCERTAIN),
    "reviews": PaymentSearch(accounts=ACCOUNTS, needs_review=True),
    "phone": PaymentSearch(phone_number="0718643064"),
}


def test_claims_and_searches_beside_many_settled_payments(postgres_url: str) -> None:
    """PostgreSQL reads an index from its end that matters, and no table."""
    with django_alias(postgres_url):
        store, rows = new_store(ALIAS), payment_model().objects.using(ALIAS)
        store.add(numbered(0, state=TransactionState.SUCCEEDED, due_at=None))
        (whole,) = rows.values()
        rows.bulk_create(
            payment_model()(
                **{
                    **whole,
                    "transaction_no": f"no-{number}",
                    "created": START - number * timedelta(seconds=1),
                    "phone_number": f"+2547{number:08}",
                }
            )
            for number in range(1, 1500)
        )
        with connections[ALIAS].cursor() as cursor:
            cursor.execute("ANALYZE mpesa_stk_payment")
        uses = {name: _search(store, wanted) for name, wanted in SEARCHES.items()}
        uses["claim"] = lambda: store.claim_due(START, 100, LEASE, ACCOUNTS)
        for name, use in uses.items():
            with CaptureQueriesContext(connections[ALIAS]) as captured:
                use()
            (statement,) = [each["sql"] for each in captured if each["sql"].startswith("SELECT")]
            with connections[ALIAS].cursor() as cursor:
                cursor.execute(f"EXPLAIN {statement}")
                plan = "\n".join(line for (line,) in cursor.fetchall())
            assert "Seq Scan" not in plan, f"{name}: {plan}"


def _search(store: Any, wanted: PaymentSearch) -> Callable[[], object]:
    return lambda: store.search(wanted, cursor=None, limit=20)
