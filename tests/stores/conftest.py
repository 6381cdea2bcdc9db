"""Databases of each kind for the tests of the SQL stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from async_stores import url_for
from sql_stores import MakeEngine


@pytest.fixture
def make_engine() -> Iterator[MakeEngine]:
    """Makes engines that are disposed of at the end."""
    engines: list[sa.Engine] = []

    def make(url: str, **options: Any) -> sa.Engine:
        engines.append(sa.create_engine(url, **options))
        return engines[-1]

    yield make
    for engine in engines:
        engine.dispose()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A new SQLite file."""
    return f"sqlite:///{tmp_path / 'payments.sqlite3'}"


@pytest.fixture(params=["sqlite_url", "postgres_url", "mariadb_url"])
def url(request: pytest.FixtureRequest) -> str:
    """A new empty database of each kind."""
    found: str = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["postgres_url", "mariadb_url"])
def server_url(request: pytest.FixtureRequest) -> str:
    """A new empty database of each kind that locks rows."""
    found: str = request.getfixturevalue(request.param)
    return found


DATABASES = {
    "aiosqlite": "sqlite_url",
    "asyncpg": "postgres_url",
    "psycopg": "postgres_url",
    "aiomysql": "mariadb_url",
}
# What differs between the drivers of one database, or between two databases, is seldom seen.
SLOW = [pytest.param(driver, marks=pytest.mark.slow) for driver in ("psycopg", "aiomysql")]


@pytest.fixture(params=["aiosqlite", "asyncpg", *SLOW])
def async_url(request: pytest.FixtureRequest) -> str:
    """A new empty database of each kind, with each asynchronous driver."""
    return url_for(request.param, request.getfixturevalue(DATABASES[request.param]))


@pytest.fixture(params=["asyncpg", *SLOW])
def async_server_url(request: pytest.FixtureRequest) -> str:
    """A new empty database of each kind that locks rows, with each asynchronous driver."""
    return url_for(request.param, request.getfixturevalue(DATABASES[request.param]))
