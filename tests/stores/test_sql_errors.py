"""What a `StoreError` of the SQL stores says: what failed, and what to do; never a value or a password."""

from __future__ import annotations

import os
import socket
import sqlite3
import stat
import traceback
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from mpesa_stk import ConfigurationError, DuplicateTransaction, QueryPace, StoreError
from mpesa_stk.stores.sql import SqlQueryBudget, SqlTokenStore, SqlTransactionStore
from mpesa_stk.stores.sql_errors import meaning_of
from sql_stores import LEASE, MakeEngine, kept, new_store
from support import ACCOUNTS, CHECKOUT_ID, START, make_transaction

PASSWORD = "CANARY-database-password"
PHONE = "718643064"
PACE = QueryPace(per_minute=60)


def told(work: Callable[[], object]) -> str:
    """What the StoreError says; neither it nor its traceback holds the password or the payer."""
    with pytest.raises(StoreError) as caught:
        work()
    error = caught.value
    assert (error.__cause__, error.__context__) == (None, None)
    # As renderers do that show the locals of each frame; the first one is the test's own.
    frames = traceback.TracebackException.from_exception(error, capture_locals=True)
    del frames.stack[:2]
    shown = "".join(frames.format())
    assert PASSWORD not in shown
    assert PHONE not in shown
    said = str(error)
    assert said.startswith("the database failed: ")
    return said


# --- on real databases -------------------------------------------------------------------------------


def test_missing_table_names_the_call_that_makes_it(url: str, make_engine: MakeEngine) -> None:
    """Reading and writing say the same."""
    store = SqlTransactionStore(make_engine(url))
    works: tuple[Callable[[], object], ...] = (
        lambda: store.get("no-1"),
        lambda: store.add(make_transaction()),
        lambda: store.claim_due(START, 1, LEASE, ACCOUNTS),
        lambda: store.replace(make_transaction(checkout_request_id=CHECKOUT_ID)),
        lambda: store.keep_callback(kept(1, body=PHONE.encode())),
    )
    for work in works:
        assert "a table is missing: call create_tables(), or run your migrations" in told(work)


def test_missing_column_is_a_table_of_another_version(url: str, make_engine: MakeEngine) -> None:
    """`create_tables` would not help: it changes no table."""
    engine = make_engine(url)
    store = new_store(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE mpesa_stk_transactions DROP COLUMN settled_by")
    for work in (lambda: store.get("no-1"), lambda: store.add(make_transaction())):
        assert "a column is missing: the table was made by another version" in told(work)


def test_user_without_rights_is_told_which_to_grant(
    server_url: str, make_engine: MakeEngine
) -> None:
    """The user may read, and may not write."""
    engine = make_engine(server_url)
    new_store(engine)
    guest = f"guest_{uuid.uuid4().hex[:8]}"
    postgres = engine.dialect.name == "postgresql"
    user = guest if postgres else f"{guest}@127.0.0.1"
    create = f"CREATE ROLE {guest} LOGIN" if postgres else f"CREATE USER {user}"
    word = "PASSWORD" if postgres else "IDENTIFIED BY"
    with engine.begin() as connection:
        connection.exec_driver_sql(f"{create} {word} '{PASSWORD}'")
        for table in ("transactions", "versions"):
            connection.exec_driver_sql(f"GRANT SELECT ON mpesa_stk_{table} TO {user}")
    at = sa.make_url(server_url).set(username=guest, password=PASSWORD)
    store = SqlTransactionStore(make_engine(at.render_as_string(hide_password=False)))
    assert store.get("no-1") is None
    assert "permission denied: grant this user SELECT" in told(
        lambda: store.add(make_transaction())
    )


def test_login_that_is_refused(server_url: str, make_engine: MakeEngine) -> None:
    """A user that is not there, or a wrong password."""
    at = sa.make_url(server_url).set(username="stranger", password=PASSWORD)
    store = SqlTransactionStore(make_engine(at.render_as_string(hide_password=False)))
    assert "login refused: check the user and the password" in told(lambda: store.get("no-1"))


def test_database_that_is_missing(server_url: str, make_engine: MakeEngine) -> None:
    """Its name is wrong, or it was never made."""
    at = sa.make_url(server_url).set(database="none").render_as_string(hide_password=False)
    store = SqlTransactionStore(make_engine(at))
    assert "the database is missing: create it" in told(lambda: store.get("no-1"))


@pytest.mark.parametrize("driver", ["postgresql+psycopg", "mysql+pymysql"])
def test_server_that_does_not_run(driver: str, make_engine: MakeEngine) -> None:
    """The password of the URL is not told."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        engine = make_engine(f"{driver}://shop:{PASSWORD}@127.0.0.1:{port}/shop")
        store = SqlTransactionStore(engine)
        assert "no connection: is the server running" in told(lambda: store.get("no-1"))


def test_database_that_may_only_be_read(url: str, make_engine: MakeEngine) -> None:
    """As a replica is."""
    engine = make_engine(url)
    store = new_store(engine)
    only_read = {
        "postgresql": "SET default_transaction_read_only = on",
        "sqlite": "PRAGMA query_only = on",
    }.get(engine.dialect.name, "SET SESSION TRANSACTION READ ONLY")

    @sa.event.listens_for(engine, "checkout")
    def _checkout(connection: object, _record: object, _proxy: object) -> None:
        cursor = connection.cursor()  # type: ignore[attr-defined]
        cursor.execute(only_read)
        cursor.close()
        connection.commit()  # type: ignore[attr-defined]

    assert "the database is read-only" in told(lambda: store.add(make_transaction()))


def test_disk_that_is_full(sqlite_url: str, make_engine: MakeEngine) -> None:
    """A file that may not grow says what a full disk says."""
    engine = make_engine(sqlite_url)
    store = new_store(engine)

    @sa.event.listens_for(engine, "checkout")
    def _checkout(connection: object, _record: object, _proxy: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")  # type: ignore[attr-defined]

    long = make_transaction(description="x" * 100_000)
    assert "the disk is full (OperationalError)" in told(lambda: store.add(long))


def test_file_that_is_no_database(tmp_path: Path, make_engine: MakeEngine) -> None:
    """It is left as it is."""
    path = tmp_path / "notes.txt"
    path.write_text("Nunua maziwa.\n" * 100)
    store = SqlTransactionStore(make_engine(f"sqlite:///{path}"))
    assert "the file is no SQLite database, or is damaged" in told(lambda: store.get("no-1"))
    assert path.read_text().startswith("Nunua")


def test_pool_that_is_used_up(sqlite_url: str, make_engine: MakeEngine) -> None:
    """Somebody holds the only connection of the engine."""
    engine = make_engine(sqlite_url, pool_size=1, max_overflow=0, pool_timeout=0.01)
    store = new_store(engine)
    with engine.connect():
        said = told(lambda: store.get("no-1"))
    assert "no connection of the engine's pool became free" in said


def test_values_that_cannot_be_stored_are_not_shown(
    sqlite_url: str, make_engine: MakeEngine
) -> None:
    """Not in the locals of a frame either: not the value itself, and not its neighbours."""
    store = new_store(make_engine(sqlite_url))
    with pytest.raises(StoreError) as caught:
        store.add(make_transaction(description="\0 CANARY", checkout_request_id=CHECKOUT_ID))
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    shown = "".join(frames.format())
    assert PHONE not in shown
    assert "description holds a value that cannot be stored" in shown


def test_duplicate_shows_no_row(sqlite_url: str, make_engine: MakeEngine) -> None:
    """Not the one that was refused, and not the one that has the value."""
    store = new_store(make_engine(sqlite_url))
    store.add(make_transaction(checkout_request_id=CHECKOUT_ID))
    with pytest.raises(DuplicateTransaction) as caught:
        store.add(make_transaction(transaction_no="no-2", checkout_request_id=CHECKOUT_ID))
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert PHONE not in "".join(frames.format())


# --- what cannot be had in a test ----------------------------------------------------------------------


class Refused(Exception):
    """What a driver raises."""

    sqlstate: str | None = None


def of_postgres(sqlstate: str) -> Exception:
    """An error of psycopg."""
    refused = Refused("the payer 254718643064")
    refused.sqlstate = sqlstate
    return sa.exc.OperationalError("SELECT", {}, refused)


def of_mysql(number: int) -> Exception:
    """An error of PyMySQL."""
    return sa.exc.OperationalError("SELECT", {}, Refused(number, "the payer 254718643064"))


def of_sqlite(text: str) -> Exception:
    """An error of SQLite."""
    return sa.exc.OperationalError("SELECT", {}, sqlite3.OperationalError(text))


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (of_postgres("55P03"), "the database is locked"),
        (of_mysql(1205), "the database is locked"),
        (of_sqlite("database is locked"), "the database is locked"),
        (of_postgres("53100"), "the disk is full"),
        (of_mysql(1114), "the disk is full"),
        (of_postgres("53300"), "too many connections"),
        (of_mysql(1040), "too many connections"),
        (of_postgres("57014"), "the statement took too long"),
        (of_mysql(2013), "the server ended the connection"),
        (of_postgres("22001"), "a value does not fit into its column"),
        (of_postgres("08006"), "no connection"),
        (of_sqlite("disk I/O error"), "the disk failed"),
        (of_postgres("XX000"), "OperationalError XX000"),
        (of_sqlite("what is this"), "OperationalError"),
        (AttributeError("'NoneType' object has no attribute 'send'"), "AttributeError"),
    ],
)
def test_meaning_of_an_error(error: Exception, meaning: str) -> None:
    """The words come first, the class and the code last; nothing of the error's own text is quoted."""
    said = meaning_of(error, reached=True)
    assert said.startswith(meaning)
    assert type(error).__name__ in said
    assert PHONE not in said
    assert "payer" not in said


# --- names of tables -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prefix", ["a`b_", 'a"b_', "a b_", "1_", "a-b_", "p" * 32, "\u017f_", "a;--"]
)
def test_prefix_that_is_no_identifier_is_refused(
    sqlite_url: str, make_engine: MakeEngine, prefix: str
) -> None:
    """Every SQL store says so when it is made; quotes could end the index's name in a hint."""
    engine = make_engine(sqlite_url)
    stores: tuple[Callable[[], object], ...] = (
        lambda: SqlTransactionStore(engine, table_prefix=prefix),
        lambda: SqlTokenStore(engine, table_prefix=prefix),
        lambda: SqlQueryBudget(engine, PACE, table_prefix=prefix),
    )
    for make in stores:
        with pytest.raises(ConfigurationError) as caught:
            make()
        assert [name for name, _ in caught.value.problems] == ["table_prefix"]


@pytest.mark.parametrize("prefix", ["", "_", "Shop2_", "p" * 30])
def test_prefixes_that_work(url: str, make_engine: MakeEngine, prefix: str) -> None:
    """The longest one, capitals, and none at all."""
    engine = make_engine(url)
    store = new_store(engine, table_prefix=prefix)
    store.add(make_transaction(due_at=START))
    assert len(store.claim_due(START, 1, LEASE, ACCOUNTS)) == 1
    SqlTokenStore(engine, table_prefix=prefix).create_tables()
    SqlQueryBudget(engine, PACE, table_prefix=prefix).create_tables()


# --- SQLite files --------------------------------------------------------------------------------------


@pytest.fixture
def lax() -> object:
    """A process that lets everybody read what it makes."""
    before = os.umask(0o000)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, str]:
    """The permissions of the files in a folder."""
    return {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in folder.iterdir()}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
@pytest.mark.usefixtures("lax")
@pytest.mark.parametrize(
    "kind", [SqlTransactionStore, SqlTokenStore, lambda engine: SqlQueryBudget(engine, PACE)]
)
def test_new_sqlite_file_is_its_owners(
    tmp_path: Path, make_engine: MakeEngine, kind: Callable[[sa.Engine], SqlTransactionStore]
) -> None:
    """Its journals, too; making further stores on the engine adds nothing to it."""
    engine = make_engine(f"sqlite:///{tmp_path / 'new.sqlite3'}")
    for _ in range(3):
        kind(engine).create_tables()
    assert len(engine.dialect.dispatch.do_connect) == 1
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        connection.exec_driver_sql("CREATE TABLE own (id INTEGER)")
        connection.commit()
        assert set(modes(tmp_path)) == {"new.sqlite3", "new.sqlite3-wal", "new.sqlite3-shm"}
        assert set(modes(tmp_path).values()) == {"0o600"}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
@pytest.mark.usefixtures("lax")
def test_new_sqlite_file_of_an_engine_at_the_address_of_another_one(
    tmp_path: Path, make_engine: MakeEngine
) -> None:
    """SQLAlchemy knows by the address of an engine who listens to it, and may know of an older engine."""
    engine = make_engine(f"sqlite:///{tmp_path / 'new.sqlite3'}")
    SqlTransactionStore(engine)
    listeners = engine.dialect.__dict__.pop("dispatch")  # those of the older engine live on
    new_store(engine)
    assert set(modes(tmp_path).values()) == {"0o600"}
    assert len(listeners.do_connect) == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
@pytest.mark.usefixtures("lax")
def test_sqlite_file_that_exists_keeps_its_mode(tmp_path: Path, make_engine: MakeEngine) -> None:
    """A host that shares its file with a group goes on doing so."""
    path = tmp_path / "shared.sqlite3"
    sqlite3.connect(path).close()
    path.touch()
    path.chmod(0o660)
    new_store(make_engine(f"sqlite:///{path}")).add(make_transaction())
    assert modes(tmp_path) == {"shared.sqlite3": "0o660"}


@pytest.mark.parametrize(
    "at", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"]
)
def test_database_that_is_no_path_makes_no_file(
    at: str, make_engine: MakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In memory, or named by a URI."""
    monkeypatch.chdir(tmp_path)
    store = new_store(make_engine(at, poolclass=sa.StaticPool))
    store.add(make_transaction())
    assert store.get(make_transaction().transaction_no) is not None
    assert modes(tmp_path) == {}
