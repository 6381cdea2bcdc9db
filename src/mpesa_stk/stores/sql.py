"""`SqlTransactionStore`: payments in PostgreSQL, MySQL, MariaDB or SQLite (extra ``sql``).

Hosts import all three synchronous SQL stores from here, and the asynchronous ones from ``sql_async.py``. In
this folder only the files ``sql*.py`` import SQLAlchemy.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

try:
    import sqlalchemy as sa
except ImportError as missing:
    raise ImportError(
        "the SQL stores need SQLAlchemy: pip install 'mpesa-stk-client[sql]'"
    ) from missing

from mpesa_stk.clock import Clock, SystemClock
from mpesa_stk.payments.search import PaymentPage, PaymentSearch, place_after
from mpesa_stk.payments.state import Transaction
from mpesa_stk.payments.store import KeptCallback
from mpesa_stk.privacy import hides_locals
from mpesa_stk.stores.payment_rows import page_of_rows, readable, refuse_taken, was_replaced
from mpesa_stk.stores.rows import (
    UNIQUE,
    kept_of,
    row_of,
    row_of_kept,
    storable,
    transaction_of,
)
from mpesa_stk.stores.sql_apps import SqlQueryBudget, SqlTokenStore
from mpesa_stk.stores.sql_database import Database
from mpesa_stk.stores.sql_schema import Schema
from mpesa_stk.stores.sql_search import search_rows
from mpesa_stk.stores.sql_single import Prepared
from mpesa_stk.stores.sql_steps import payment_steps
from mpesa_stk.stores.sql_tables import (
    attempts_statement,
    callbacks_table,
    conflicting,
    due_accounts,
    due_statement,
    kept_statements,
    old_callbacks,
    one_kept,
    payments_table,
    replacement,
    searches,
)

__all__ = ["SqlQueryBudget", "SqlTokenStore", "SqlTransactionStore"]

_CHUNK = 500  # databases limit the number of parameters in a statement
_ACCOUNTS = 100  # and the number of parts: SQLite takes 500


class SqlTransactionStore:
    """A `TransactionStore` on an SQLAlchemy engine.

    Each method opens and closes its own transaction. Safe to share between threads. Processes and
    machines share the database, and each process has its own engine.

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
        clock: Clock | None = None,
    ) -> None:
        """Make a store. The first call connects.

        Args:
            engine: The host's engine. It may serve other stores and the host's own tables too.
            table_prefix: Start of the names of tables and indexes.
            schema: The schema of the tables, or None for the default one. It must exist.
            clock: Waits between two tries after a deadlock.

        Raises:
            ConfigurationError: This is no synchronous engine, or its database is not supported.
        """
        self._database = Database(
            engine, clock=clock or SystemClock(), driver_is_async=self._driver_is_async
        )
        self.metadata = sa.MetaData(schema=schema)
        self._payments = payments_table(self.metadata, table_prefix)
        self._callbacks = callbacks_table(self.metadata, table_prefix)
        self.schema = Schema(
            self._database,
            self.metadata,
            self._payments,
            table_prefix,
            steps=payment_steps(self._payments),
        )
        # Built once: to build and cache-key such a statement takes longer than to execute it.
        self._replacement = replacement(self._payments)
        self._searches = searches(self._payments)
        self._attempts = attempts_statement(self._payments)
        self._kept = kept_statements(self._callbacks)
        self._find_kept, self._drop_kept = one_kept(self._callbacks)
        self._conflicting = conflicting(self._payments)
        self._due_accounts = due_accounts(self._payments)

    def create_tables(self) -> None:
        """Create the missing tables and indexes. Existing ones stay as they are.

        Raises:
            StoreError: The database failed.
        """
        self.schema.create()

    # --- payments --------------------------------------------------------------------------------

    @hides_locals
    def add(self, transaction: Transaction, /) -> None:
        """Insert a new transaction."""
        row = row_of(transaction)
        self._database.inserted(
            self._payments,
            row,
            refused=lambda: self._refuse(row, new=True),
            unsure=lambda: self._stored_row(transaction) == row or None,
        )

    @hides_locals
    def get(self, transaction_no: str, /) -> Transaction | None:
        """Return the transaction with that number, or None."""
        return self._first("transaction_no", transaction_no)

    @hides_locals
    def find(
        self,
        *,
        checkout_request_id: str | None = None,
        receipt_number: str | None = None,
        idempotency_key: str | None = None,
        account: str | None = None,
        reference: str | None = None,
    ) -> Transaction | None:
        """Return the transaction with that value, or the last created of several."""
        wanted = {
            "reference": reference,
            "checkout_request_id": checkout_request_id,
            "receipt_number": receipt_number,
            "idempotency_key": idempotency_key,
        }
        for field, value in wanted.items():
            if value is not None:
                return self._first(field, value, account)
        return None

    @hides_locals
    def replace(self, transaction: Transaction, /) -> bool:
        """Store a changed transaction, unless another writer was first."""
        row = row_of(transaction, version=transaction.version + 1)
        seen = {"seen_version": transaction.version, "this_no": transaction.transaction_no}
        return self._database.changed(
            self._replacement,
            row | seen,
            refused=lambda: self._refuse(row, new=False),
            unsure=lambda: was_replaced(row, self._stored_row(transaction)),
        )

    @hides_locals
    def attempts(self, account: str, order: str, /) -> list[Transaction]:
        """Return all transactions of an account for an order, the first created first."""
        if not storable(account + order):
            return []
        values = {"of_account": account, "of_order": order}
        return [transaction_of(row) for row in self._database.read(self._attempts, values)]

    @hides_locals
    def search(self, search: PaymentSearch, /, *, cursor: str | None, limit: int) -> PaymentPage:
        """Return one page of the payments that are wanted, the last created first.

        If the history or state of a row cannot be read, the store logs the row and leaves it out.
        """
        after = place_after(cursor)
        if limit < 1:
            return PaymentPage(payments=(), next_cursor=None)
        rows = search_rows(self._database, self._payments, search, after, limit + 1)
        return page_of_rows(rows, limit)

    @hides_locals
    def claim_due(
        self, now: datetime, limit: int, lease: timedelta, accounts: frozenset[str], /
    ) -> list[Transaction]:
        """Claim up to `limit` due transactions of `accounts`, longest due first, accounts in turn.

        A claim sets `due_at` to ``now + lease``. If the history or state of a row cannot be read, the
        store logs the row and leaves it out, so that it does not hold up the others.
        """
        mine = sorted(filter(storable, accounts))
        if limit < 1 or not mine:
            return []
        rows = self._database.run(
            lambda connection: self._claim(connection, now, limit, lease, mine), isolated=True
        )
        return readable(rows)

    # --- kept callbacks ----------------------------------------------------------------------------

    @hides_locals
    def keep_callback(self, kept: KeptCallback, /) -> None:
        """Keep a callback, unless one with its id is kept already."""

        def is_kept() -> bool | None:
            found = self._database.read(self._find_kept, {"this_id": kept.callback_id})
            return bool(found) or None

        self._database.inserted_once(self._callbacks, row_of_kept(kept), unsure=is_kept)

    @hides_locals
    def kept_callbacks(
        self, *, checkout_request_id: str | None = None, transaction_no: str | None = None
    ) -> list[KeptCallback]:
        """Return the kept callbacks that name either value, oldest first."""
        pairs = {"checkout_request_id": checkout_request_id, "transaction_no": transaction_no}
        owners = {
            name: value for name, value in pairs.items() if value is not None and storable(value)
        }
        if not owners:
            return []
        rows = self._database.read(self._kept[frozenset(owners)], owners)
        return [kept_of(row) for row in rows]

    @hides_locals
    def drop_callback(self, callback_id: str, /) -> None:
        """Forget a kept callback."""
        if storable(callback_id):
            self._database.changed(self._drop_kept, {"this_id": callback_id})

    @hides_locals
    def purge_callbacks(self, before: datetime, limit: int, /) -> int:
        """Forget up to `limit` callbacks received before a moment, oldest first.

        Return their number.
        """
        found = self._database.read(Prepared(old_callbacks(self._callbacks, before, limit)))
        numbers = [row["callback_id"] for row in found]

        def forget(connection: sa.Connection) -> int:
            forgotten = 0
            for start in range(0, len(numbers), _CHUNK):
                these = self._callbacks.c.callback_id.in_(numbers[start : start + _CHUNK])
                forgotten += connection.execute(sa.delete(self._callbacks).where(these)).rowcount
            return forgotten

        return self._database.run(forget) if numbers else 0

    # --- how -------------------------------------------------------------------------------------

    def _first(self, field: str, value: str, account: str | None = None) -> Transaction | None:
        if not storable(value + (account or "")):
            return None  # PostgreSQL can neither store such a text nor search for it
        values = {"value": value} if account is None else {"value": value, "of_account": account}
        rows = self._database.read(self._searches[field, account is not None], values)
        return transaction_of(rows[0]) if rows else None

    def _stored_row(self, transaction: Transaction) -> dict[str, Any] | None:
        stored = self.get(transaction.transaction_no)
        return None if stored is None else row_of(stored)

    def _refuse(self, row: dict[str, Any], *, new: bool) -> None:
        """Raise DuplicateTransaction with the field whose value another payment has."""
        values = {name: row[name] for names in UNIQUE.values() for name in names}
        refuse_taken(row, self._database.read(self._conflicting, values), new=new)

    def _with_due(self, connection: sa.Connection, now: datetime, accounts: list[str]) -> list[str]:
        """Return those of many accounts that have something due.

        The statement that locks rows has a part for each account, and hundreds of parts take the database
        a tenth of a second, even if no payment is due.
        """
        found: list[str] = []
        for start in range(0, len(accounts), _CHUNK):
            values = {"now": now, "accounts": accounts[start : start + _CHUNK]}
            found += connection.scalars(self._due_accounts, values).all()
        return sorted(found)

    def _claim(
        self,
        connection: sa.Connection,
        now: datetime,
        limit: int,
        lease: timedelta,
        accounts: list[str],
    ) -> list[dict[str, Any]]:
        """Lock due rows that no worker has locked, longest due first, and move them."""
        columns, until = self._payments.c, now + lease
        locked: list[dict[str, Any]] = []
        if len(accounts) > 1:
            accounts = self._with_due(connection, now, accounts)
        for start in range(0, len(accounts), _ACCOUNTS):
            some = accounts[start : start + _ACCOUNTS]
            statement = due_statement(self._payments, now, limit, some)
            locked += map(dict, connection.execute(statement).mappings())
        # PostgreSQL sorts before it locks, but returns each row as it is once locked.
        rows = sorted(locked, key=lambda row: (row.pop("turn", 1), row["due_at"]))[:limit]
        numbers = [row["transaction_no"] for row in rows]
        for start in range(0, len(numbers), _CHUNK):
            connection.execute(
                sa.update(self._payments)
                .where(columns.transaction_no.in_(numbers[start : start + _CHUNK]))
                .values(due_at=until, version=columns.version + 1)
            )
        return [{**row, "due_at": until, "version": row["version"] + 1} for row in rows]
