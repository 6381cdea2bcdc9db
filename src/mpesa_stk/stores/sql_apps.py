"""SQL tables that an app's workers share: token, token flight, query budget.

Each table has one row for each app. Hosts import these classes from ``stores/sql.py``.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from mpesa_stk.clock import Clock, SystemClock
from mpesa_stk.payments.budget import QueryPace
from mpesa_stk.stores.app_rows import AppRow, SharedBudget, SharedTokens
from mpesa_stk.stores.rows import LENGTHS
from mpesa_stk.stores.sql_database import Database, ExactText, Moment, make_table
from mpesa_stk.stores.sql_schema import Schema
from mpesa_stk.stores.sql_single import Prepared

__all__ = ["SqlQueryBudget", "SqlTokenStore"]


class _SqlRows:
    """`AppRows` in a table."""

    def __init__(
        self, database: Database, metadata: sa.MetaData, name: str, *columns: sa.Column[Any]
    ) -> None:
        self._database = database
        self.table = make_table(
            metadata,
            name,
            sa.Column("app", ExactText(LENGTHS["app"]), primary_key=True),
            *columns,
            sa.Column("version", sa.BigInteger, nullable=False),
        )
        # Built once, since each push reads its token.
        mine = self.table.c.app == sa.bindparam("this_app")
        self._select = Prepared(sa.select(self.table).where(mine))
        self._update = Prepared(
            sa.update(self.table)
            .where(mine)
            .where(self.table.c.version == sa.bindparam("seen_version"))
        )

    def get(self, app: str, /) -> AppRow | None:
        rows = self._database.read(self._select, {"this_app": app})
        return rows[0] if rows else None

    def insert(self, row: AppRow, /) -> bool:
        return self._database.inserted(self.table, row, refused=lambda: False)

    def update(self, app: str, seen_version: int, values: AppRow, /) -> bool:
        seen = {"this_app": app, "seen_version": seen_version}
        return self._database.changed(self._update, values | seen)


class SqlTokenStore(SharedTokens):
    """A `TokenStore` on an SQLAlchemy engine: many workers share one token.

    The token is a secret, and is stored in clear text. The clocks of the machines that share a store
    must agree to a few seconds.

    Attributes:
        metadata: The tables, for the host's own migrations.
        schema: The version of the tables.
    """

    _driver_is_async = False

    def __init__(
        self,
        engine: sa.Engine,
        /,
        *,
        table_prefix: str = "mpesa_stk_",
        schema: str | None = None,
        lease: float = 30.0,
        clock: Clock | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Make a store. The first call connects.

        Args:
            engine: The host's engine.
            table_prefix: Start of the names of the tables.
            schema: The schema of the tables, or None for the default one. It must exist.
            lease: Seconds for which one worker may fetch the token while the others wait. All workers
                that share a store use the same. A worker that dies blocks the others no longer.
            clock: Gives the time, and waits.
            jitter: Returns a random number from 0 to 1, so that waiting workers do not all look at
                the same moment.

        Raises:
            ConfigurationError: This is no synchronous engine, its database is not supported, or the
                lease is not positive.
        """
        clock = clock or SystemClock()
        database = Database(engine, clock=clock, driver_is_async=self._driver_is_async)
        self.metadata = sa.MetaData(schema=schema)
        tokens = _SqlRows(
            database,
            self.metadata,
            f"{table_prefix}tokens",
            sa.Column("value", ExactText()),
            sa.Column("expires_in", sa.Double),
            sa.Column("renew_at", Moment),
        )
        flights = _SqlRows(
            database,
            self.metadata,
            f"{table_prefix}token_flights",
            sa.Column("holder", sa.String(32)),
            sa.Column("until", Moment),
        )
        super().__init__(tokens, flights, lease=lease, clock=clock, jitter=jitter)
        self.schema = Schema(database, self.metadata, tokens.table, table_prefix)

    def create_tables(self) -> None:
        """Create the missing tables. Existing ones stay as they are.

        Raises:
            StoreError: The database failed.
        """
        self.schema.create()


class SqlQueryBudget(SharedBudget):
    """A `QueryBudget` on an SQLAlchemy engine, shared by all workers of an app.

    Attributes:
        metadata: The tables, for the host's own migrations.
        schema: The version of the tables.
    """

    _driver_is_async = False

    def __init__(
        self,
        engine: sa.Engine,
        pace: QueryPace,
        /,
        *,
        table_prefix: str = "mpesa_stk_",
        schema: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Make a budget. The first call connects.

        Args:
            engine: The host's engine.
            pace: How fast each app may ask. All workers that share a budget use the same.
            table_prefix: Start of the name of the table.
            schema: The schema of the table, or None for the default one. It must exist.
            clock: Waits between two tries after a deadlock.

        Raises:
            ConfigurationError: This is no synchronous engine, or its database is not supported.
        """
        clock = clock or SystemClock()
        database = Database(engine, clock=clock, driver_is_async=self._driver_is_async)
        self.metadata = sa.MetaData(schema=schema)
        states = _SqlRows(
            database,
            self.metadata,
            f"{table_prefix}query_budgets",
            sa.Column("next_at", Moment, nullable=False),
            sa.Column("interval_seconds", sa.Double, nullable=False),
            sa.Column("slowed_at", Moment),
        )
        super().__init__(states, pace)
        self.schema = Schema(database, self.metadata, states.table, table_prefix)

    def create_tables(self) -> None:
        """Create the table if it is missing. An existing one stays as it is.

        Raises:
            StoreError: The database failed.
        """
        self.schema.create()
