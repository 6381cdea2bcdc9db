"""Tables say their version. Older ones are brought up, and newer ones are left alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from mpesa_stk import QueryPace, StoreError, Token
from mpesa_stk.cli import main
from mpesa_stk.commands.context import Context
from mpesa_stk.stores.rows import row_of
from mpesa_stk.stores.sql import SqlQueryBudget, SqlTokenStore, SqlTransactionStore
from mpesa_stk.stores.sql_database import Database
from mpesa_stk.stores.sql_schema import VERSION, Schema
from sql_stores import make_version_1, numbered
from support import ManualClock

MakeEngine = Callable[..., sa.Engine]
PACE = QueryPace(per_minute=60)
TABLE = "mpesa_stk_transactions"
OLDER = (
    rf"^the table {TABLE} has version 1, and this library needs {VERSION}:"
    " run mpesa-stk database upgrade$"
)


def filled(engine: sa.Engine, payments: int) -> None:
    """Put payments into tables of version 1 or 2."""
    store = SqlTransactionStore(engine)
    (table,) = (each for each in store.metadata.sorted_tables if each.name == TABLE)
    rows = [row_of(numbered(number)) for number in range(payments)]
    for row in rows:
        for name in ("order", "order_slot", "prompt_reference"):
            assert row.pop(name) is None
    with engine.begin() as connection:
        connection.execute(sa.insert(table), rows)


def say_version_2(engine: sa.Engine) -> None:
    """Let tables of version 1 say that they are of version 2, which has the same columns."""
    for store in (SqlTransactionStore(engine), SqlTokenStore(engine)):
        (main, versions) = (store.schema._main, store.schema._versions)
        with engine.begin() as connection:
            versions.create(connection, checkfirst=True)
            connection.execute(sa.insert(versions), {"name": main.name, "version": 2})


def version_of(engine: sa.Engine, name: str = TABLE) -> int:
    """What the tables say."""
    with engine.connect() as connection:
        statement = sa.text("SELECT version FROM mpesa_stk_versions WHERE name = :name")
        return int(connection.execute(statement, {"name": name}).scalar_one())


def say(engine: sa.Engine, version: int) -> None:
    """Let the tables say another version."""
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE mpesa_stk_versions SET version = :v"), {"v": version})


def test_new_tables_say_their_version(url: str, make_engine: MakeEngine) -> None:
    """Each store for itself, in one table. Making them again changes nothing."""
    engine = make_engine(url)
    stores = (SqlTransactionStore(engine), SqlTokenStore(engine), SqlQueryBudget(engine, PACE))
    for store in (*stores, *stores):
        store.create_tables()
        assert store.schema.upgrade() == (VERSION, VERSION)
    names = (TABLE, "mpesa_stk_tokens", "mpesa_stk_query_budgets")
    assert [version_of(engine, name) for name in names] == [VERSION] * 3


def test_each_method_refuses_older_tables(url: str, make_engine: MakeEngine) -> None:
    """At the first call and at each later one, and so does `create_tables`."""
    engine = make_engine(url)
    make_version_1(engine)
    store = SqlTransactionStore(engine)
    uses: tuple[Callable[[], Any], ...] = (
        lambda: store.get("no-1"),
        lambda: store.add(numbered(1)),
        store.create_tables,
        lambda: store.get("no-1"),
    )
    for use in uses:
        with pytest.raises(StoreError, match=OLDER):
            use()
    with pytest.raises(StoreError, match="mpesa_stk_tokens has version 1"):
        SqlTokenStore(engine).load("app")
    with pytest.raises(StoreError, match="mpesa_stk_query_budgets has version 1"):
        SqlQueryBudget(engine, PACE).take("app", ManualClock().now())


@pytest.mark.parametrize("before", [1, 2])
def test_an_upgrade_loses_nothing(url: str, make_engine: MakeEngine, before: int) -> None:
    """The payments are there afterwards, and the same store works on."""
    engine = make_engine(url)
    make_version_1(engine)
    filled(engine, 50)
    if before == 2:
        say_version_2(engine)
    store, tokens = SqlTransactionStore(engine), SqlTokenStore(engine)
    with pytest.raises(StoreError, match=OLDER.replace("version 1", f"version {before}")):
        store.get("no-7")
    assert store.schema.upgrade() == (before, VERSION)
    assert store.schema.upgrade() == (VERSION, VERSION)
    assert [store.get(f"no-{number}") for number in range(50)] == [
        numbered(number) for number in range(50)
    ]
    assert tokens.schema.upgrade() == (before, VERSION)
    made = {one["name"] for one in sa.inspect(engine).get_indexes(TABLE)}
    assert {f"{TABLE}_{name}" for name in ("order", "order_slot", "account", "review")} <= made
    token = Token(value="t" * 28, expires_in=3599.0, renew_at=2000.0)
    tokens.save("app", token)
    assert tokens.load("app") is not None


def test_newer_tables_are_left_alone(url: str, make_engine: MakeEngine) -> None:
    """A library that does not know them says so, and changes nothing."""
    engine = make_engine(url)
    SqlTransactionStore(engine).create_tables()
    say(engine, VERSION + 1)
    store = SqlTransactionStore(engine)
    newer = f"has version {VERSION + 1}, and this library knows {VERSION}: install a newer"
    for use in (lambda: store.get("no-1"), store.create_tables, store.schema.upgrade):
        with pytest.raises(StoreError, match=newer):
            use()
    assert version_of(engine) == VERSION + 1


def test_an_upgrade_takes_each_step_once_and_in_order(
    sqlite_url: str, make_engine: MakeEngine
) -> None:
    """From the version of the tables to the one that is needed."""
    engine = make_engine(sqlite_url)
    SqlTransactionStore(engine).create_tables()
    taken: list[int] = []

    def step(number: int) -> Callable[[sa.Connection], None]:
        def take(connection: sa.Connection) -> None:
            connection.exec_driver_sql(f"ALTER TABLE {TABLE} ADD COLUMN added_{number} INTEGER")
            taken.append(number)

        return take

    metadata = sa.MetaData()
    schema = Schema(
        Database(engine, clock=ManualClock()),
        metadata,
        sa.Table(TABLE, metadata, sa.Column("transaction_no", sa.Text, primary_key=True)),
        "mpesa_stk_",
        version=VERSION + 2,
        steps={number: step(number) for number in range(VERSION, VERSION + 3)},
    )
    assert schema.upgrade() == (VERSION, VERSION + 2)
    assert taken == [VERSION + 1, VERSION + 2]
    assert version_of(engine) == VERSION + 2
    columns = {column["name"] for column in sa.inspect(engine).get_columns(TABLE)}
    assert {f"added_{number}" for number in taken} <= columns
    assert f"added_{VERSION}" not in columns


def test_the_check_is_made_once(sqlite_url: str, make_engine: MakeEngine) -> None:
    """It costs the first call of a process, and no other."""
    engine = make_engine(sqlite_url)
    SqlTransactionStore(engine).create_tables()
    store = SqlTransactionStore(engine)
    store.get("no-1")
    asked: list[str] = []
    sa.event.listen(
        engine, "before_cursor_execute", lambda _c, _cursor, text, *_details: asked.append(text)
    )
    store.get("no-1")
    assert len(asked) == 1


def test_tables_may_be_emptied(sqlite_url: str, make_engine: MakeEngine) -> None:
    """Between two tests of a host, for example. The table of versions, too."""
    engine = make_engine(sqlite_url)
    store = SqlTransactionStore(engine)
    store.create_tables()
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM mpesa_stk_versions"))
    again = SqlTransactionStore(engine)
    again.create_tables()
    assert again.get("no-1") is None
    assert again.schema.upgrade() == (1, VERSION)
    assert version_of(engine) == VERSION


def test_tables_may_be_dropped_and_made_again(url: str, make_engine: MakeEngine) -> None:
    """The table of versions still names the ones before."""
    engine = make_engine(url)
    store = SqlTransactionStore(engine)
    store.create_tables()
    with engine.begin() as connection:
        for name in ("transactions", "callbacks"):
            connection.exec_driver_sql(f"DROP TABLE mpesa_stk_{name}")
    again = SqlTransactionStore(engine)
    again.create_tables()
    again.add(numbered(1))
    assert SqlTransactionStore(engine).get("no-1") == numbered(1)


def test_missing_tables_are_a_clear_error(sqlite_url: str, make_engine: MakeEngine) -> None:
    """As before: nothing to bring up, so the host is asked to make them."""
    store = SqlTransactionStore(make_engine(sqlite_url))
    for _ in range(2):
        with pytest.raises(StoreError, match=r"a table is missing: call create_tables\(\)"):
            store.get("no-1")
    assert store.schema.upgrade() == (None, VERSION)
    assert store.get("no-1") is None


def test_the_command_brings_tables_up(
    tmp_path: Path, make_engine: MakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says what it did, and may be run again."""
    url = f"sqlite:///{tmp_path / 'shop.sqlite3'}"
    engine = make_engine(url)
    make_version_1(engine)
    filled(engine, 3)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE mpesa_stk_query_budgets")
    assert main(["database", "upgrade", "--database", url]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"payments: version 1 -> {VERSION}",
        f"tokens: version 1 -> {VERSION}",
        f"query budget: made, version {VERSION}",
    ]
    context = Context(environ={"mpesa_database": url})
    assert main(["database", "upgrade"], context=context) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{name}: version {VERSION}, as needed" for name in ("payments", "tokens", "query budget")
    ]
    assert SqlTransactionStore(engine).get("no-2") == numbered(2)
    assert SqlQueryBudget(engine, PACE).take("app", ManualClock().now()) == 0.0


def test_the_command_says_what_is_wrong(
    tmp_path: Path, make_engine: MakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Newer tables, or no database that is named."""
    url = f"sqlite:///{tmp_path / 'shop.sqlite3'}"
    engine = make_engine(url)
    SqlTransactionStore(engine).create_tables()
    say(engine, VERSION + 1)
    assert main(["database", "upgrade", "--database", url]) == 1
    assert "install a newer mpesa-stk-client" in capsys.readouterr().err
    assert main(["database", "upgrade"], context=Context(environ={})) == 2
    assert "mpesa_database: is not set" in capsys.readouterr().err
