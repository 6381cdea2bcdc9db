"""The stores of the Django app keep the contracts on each kind of database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connections

from databases import Servers
from django_databases import ALIAS, django_alias, emptied
from example_shops import django_module
from mpesa_stk import TransactionStore
from mpesa_stk.testing import SearchContract, StoreContract, TokenStoreContract
from mpesa_stk.testing.contract_values import MakeStore
from mpesa_stk.testing.token_contract import MakeTokenStore


@pytest.fixture(name="database", scope="class")
def _database(
    request: pytest.FixtureRequest, servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """The migrated database of a class."""
    with django_alias(request.cls.new_database(servers, tmp_path_factory)):
        yield


class OnSqlite:
    """SQLite, in a file."""

    @staticmethod
    def new_database(_servers: Servers, folders: pytest.TempPathFactory) -> str:
        """A new file."""
        return f"sqlite:///{folders.mktemp('contract') / 'payments.sqlite3'}"


class OnPostgres:
    """PostgreSQL."""

    @staticmethod
    def new_database(servers: Servers, _folders: pytest.TempPathFactory) -> str:
        """A new database."""
        return servers.postgres_url()


class OnMariadb:
    """MariaDB."""

    @staticmethod
    def new_database(servers: Servers, _folders: pytest.TempPathFactory) -> str:
        """A new database."""
        return servers.mariadb_url()


class Contract(SearchContract, StoreContract):
    """Each kind has one database, which is emptied after each test."""

    many = 600

    @pytest.fixture
    def make_store(self, database: None) -> Iterator[MakeStore]:  # noqa: ARG002 - it is there
        """A store on the database of the class. Django keeps a connection for each thread."""
        store = django_module("mpesa_stk.contrib.django.orm_store").DjangoTransactionStore
        with emptied():
            yield lambda: store(ALIAS)

    def close_store(self, _store: TransactionStore, /) -> None:
        """Close the connections of this thread."""
        connections.close_all()


class TestSqliteStore(OnSqlite, Contract):
    """Payments in SQLite."""


@pytest.mark.slow
class TestPostgresStore(OnPostgres, Contract):
    """Payments in PostgreSQL."""


@pytest.mark.slow
class TestMariadbStore(OnMariadb, Contract):
    """Payments in MariaDB."""


class TokenContract(TokenStoreContract):
    """The tokens of all handles are in one database, which is emptied after each test."""

    @pytest.fixture
    def make_store(self, database: None) -> Iterator[MakeTokenStore]:  # noqa: ARG002 - it is there
        """A store on the database of the class."""
        store = django_module("mpesa_stk.contrib.django.orm_tokens").DjangoTokenStore
        with emptied():
            yield lambda: store(ALIAS, lease=self.lease)

    def close_thread(self) -> None:
        """Close the connections of this thread."""
        connections.close_all()


class TestSqliteTokens(OnSqlite, TokenContract):
    """Tokens in SQLite."""


@pytest.mark.slow
class TestPostgresTokens(OnPostgres, TokenContract):
    """Tokens in PostgreSQL."""


@pytest.mark.slow
class TestMariadbTokens(OnMariadb, TokenContract):
    """Tokens in MariaDB."""
