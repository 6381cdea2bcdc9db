"""Databases of each kind for the tests of the SQL stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

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
