"""The upgrade of a database with a million payments: how long it takes, and that nothing is lost.

It brings tables of version 1 up to the version of the library, whichever that is. It fails the run if a row
or a value is lost.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from databases import Servers
from measure import Line, Scoreboard
from mpesa_stk import StoreError
from mpesa_stk.cli import main
from mpesa_stk.stores.sql import SqlTransactionStore
from mpesa_stk.stores.sql_schema import VERSION
from scale_data import LONG_AGO
from support import ACCOUNTS
from upgrade_data import engine_of, held_by, old_database

SETTLED = 1_000_000
DUE = 5_000
CALLBACKS = 5_000
_VERSIONS = "mpesa_stk_versions"


@pytest.fixture(params=["PostgreSQL", "MariaDB", "SQLite"])
def database(
    request: pytest.FixtureRequest, servers: Servers, tmp_path: Path
) -> Iterator[tuple[str, str]]:
    """A kind of database, and the URL of an empty one."""
    file = tmp_path / "shop.sqlite3"
    urls = {"PostgreSQL": servers.postgres_url, "MariaDB": servers.mariadb_url}
    yield request.param, urls.get(request.param, lambda: f"sqlite:///{file}")()
    file.unlink(missing_ok=True)  # a gigabyte


def test_an_upgrade_of_a_million_payments(
    scoreboard: Scoreboard, database: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Each row and each value of the old columns is there afterwards, and the store works on them."""
    kind, url = database
    columns = old_database(url, settled=SETTLED, due=DUE, callbacks=CALLBACKS)
    before = held_by(url, columns)
    refusals = {"no table of versions": _refusal(url)}
    began = time.perf_counter()
    assert main(["database", "upgrade", "--database", url]) == 0
    seconds = time.perf_counter() - began
    said = capsys.readouterr().out.splitlines()
    again = time.perf_counter()
    assert main(["database", "upgrade", "--database", url]) == 0
    again = time.perf_counter() - again
    capsys.readouterr()
    after = held_by(url, columns)
    _the_store_works(url)
    for name, version in (("older tables", 1), ("newer tables", VERSION + 1)):
        _say(url, version)
        refusals[name] = _refusal(url)
    rows = ", ".join(f"{held.rows:,} in {table}" for table, held in before.items())
    scoreboard.lines.append(
        Line(
            budget=f"{kind}: an upgrade from version 1 to {VERSION} loses nothing",
            measured=f"{seconds:.2f} s",
            met=before == after,
            notes=(
                f"rows: {rows}; a second upgrade: {again:.2f} s",
                *said,
                *(f"{name}: {text}" for name, text in refusals.items()),
            ),
        )
    )
    assert after == before
    assert [held.rows for held in before.values()] == [SETTLED + DUE, CALLBACKS]


def _refusal(url: str) -> str:
    """What a store says to tables of another version."""
    engine = engine_of(url)
    with pytest.raises(StoreError) as refused:
        SqlTransactionStore(engine).get("no-1")
    engine.dispose()
    return str(refused.value)


def _say(url: str, version: int) -> None:
    """Let the tables say another version."""
    engine = engine_of(url)
    with engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE {_VERSIONS} SET version = :v"), {"v": version})
    engine.dispose()


def _the_store_works(url: str) -> None:
    """It finds a settled payment, the due ones and a kept callback."""
    engine = engine_of(url)
    store = SqlTransactionStore(engine)
    settled = store.find(receipt_number="R000000007")
    assert settled is not None
    assert settled.paid
    lease = timedelta(minutes=2)
    claimed = store.claim_due(LONG_AGO + timedelta(days=1), DUE + 1, lease, frozenset(ACCOUNTS))
    assert len(claimed) == DUE
    assert len(store.kept_callbacks(checkout_request_id="ws_CO_7")) == 1
    engine.dispose()
