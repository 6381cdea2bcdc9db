"""`SqlTransactionStore`: payments in PostgreSQL, MySQL, MariaDB or SQLite (extra ``sql``).

Hosts import all three SQL stores from here. SQLAlchemy is imported in the files ``payments/sql*.py`` only.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import attrs

try:
    import sqlalchemy as sa
except ImportError as missing:
    raise ImportError(
        "the SQL stores need SQLAlchemy: pip install 'mpesa-stk-client[sql]'"
    ) from missing

from mpesa_stk.clock import Clock, SystemClock
from mpesa_stk.errors import DuplicateTransaction, StoreError
from mpesa_stk.hooks import log_trouble
from mpesa_stk.payments.rows import (
    LENGTHS,
    UNIQUE,
    Row,
    kept_of,
    row_of,
    row_of_kept,
    storable,
    transaction_of,
)
from mpesa_stk.payments.sql_apps import SqlQueryBudget, SqlTokenStore
from mpesa_stk.payments.sql_database import (
    Database,
    ExactText,
    LongBytes,
    LongText,
    Moment,
    make_table,
)
from mpesa_stk.payments.store import KeptCallback
from mpesa_stk.payments.transaction import Transaction

__all__ = [
    "SqlQueryBudget",
    "SqlTokenStore",
    "SqlTransactionStore",
    "due_statement",
    "old_callbacks",
]

_CHUNK = 500  # a statement has a bounded number of parameters
_ACCOUNTS = 100  # and of parts: SQLite takes 500


class SqlTransactionStore:
    """A `TransactionStore` on an SQLAlchemy engine.

    Each verb opens and closes a transaction of its own. Safe to share between threads; processes and
    machines share the database, each with an engine of its own.

    Attributes:
        metadata: The tables, for the host's own migrations.
    """

    def __init__(
        self,
        engine: sa.Engine,
        /,
        *,
        table_prefix: str = "mpesa_stk_",
        schema: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Make a store; nothing is connected yet.

        Args:
            engine: The host's engine. It may serve other stores and the host's own tables too.
            table_prefix: What the names of the tables and indexes begin with.
            schema: The schema of the tables, or None for the default one. It must exist.
            clock: Waits between two tries after a deadlock.

        Raises:
            ConfigurationError: The engine is none, or its database is not supported.
        """
        self._database = Database(engine, clock=clock or SystemClock())
        self.metadata = sa.MetaData(schema=schema)
        self._payments = _payments_table(self.metadata, table_prefix)
        self._callbacks = _callbacks_table(self.metadata, table_prefix)

    def create_tables(self) -> None:
        """Create the tables and indexes that are missing; it changes none that exist.

        Raises:
            StoreError: The database failed.
        """
        self._database.create(self.metadata)

    # --- payments --------------------------------------------------------------------------------

    def add(self, transaction: Transaction, /) -> None:
        """Insert a new transaction."""
        row = row_of(transaction)
        self._database.inserted(
            self._payments,
            row,
            refused=lambda: self._refuse(row, new=True),
            unsure=lambda: self._stored_row(transaction) == row or None,
        )

    def get(self, transaction_no: str, /) -> Transaction | None:
        """The transaction with that number."""
        return self._first("transaction_no", transaction_no)

    def find(
        self,
        *,
        checkout_request_id: str | None = None,
        receipt_number: str | None = None,
        idempotency_key: str | None = None,
        account: str | None = None,
        reference: str | None = None,
    ) -> Transaction | None:
        """The transaction with that value; of several, the one created last."""
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

    def replace(self, transaction: Transaction, /) -> bool:
        """Store a changed transaction if nobody changed it meanwhile."""
        row = row_of(attrs.evolve(transaction, version=transaction.version + 1))
        columns = self._payments.c
        statement = (
            sa.update(self._payments)
            .where(columns.transaction_no == row["transaction_no"])
            .where(columns.version == transaction.version)
            .values({name: value for name, value in row.items() if name != "transaction_no"})
        )
        return self._database.changed(
            statement,
            refused=lambda: self._refuse(row, new=False),
            unsure=lambda: self._was_replaced(transaction, row),
        )

    def claim_due(
        self, now: datetime, limit: int, lease: timedelta, accounts: frozenset[str], /
    ) -> list[Transaction]:
        """Take up to `limit` due transactions of `accounts`; move each `due_at` to ``now + lease``.

        A row whose history or state cannot be read is logged and left out: it harms no other payment.
        """
        mine = sorted(filter(storable, accounts))
        if limit < 1 or not mine:
            return []
        rows = self._database.run(
            lambda connection: self._claim(connection, now, limit, lease, mine), isolated=True
        )
        claimed = []
        for row in rows:
            try:
                claimed.append(transaction_of(row))
            except StoreError:
                log_trouble("payment_unreadable", transaction_no=row["transaction_no"])
        return claimed

    # --- kept callbacks ----------------------------------------------------------------------------

    def keep_callback(self, kept: KeptCallback, /) -> None:
        """Keep a callback; if its id is kept already, nothing changes."""

        def is_kept() -> bool | None:
            same = self._callbacks.c.callback_id == kept.callback_id
            found = self._database.read(sa.select(self._callbacks.c.callback_id).where(same))
            return bool(found) or None

        self._database.inserted_once(self._callbacks, row_of_kept(kept), unsure=is_kept)

    def kept_callbacks(
        self, *, checkout_request_id: str | None = None, transaction_no: str | None = None
    ) -> list[KeptCallback]:
        """The kept callbacks that name either value, oldest first."""
        columns = self._callbacks.c
        pairs = (
            (columns.checkout_request_id, checkout_request_id),
            (columns.transaction_no, transaction_no),
        )
        owners = [
            column == value for column, value in pairs if value is not None and storable(value)
        ]
        if not owners:
            return []
        statement = sa.select(self._callbacks).where(sa.or_(*owners))
        rows = self._database.read(statement.order_by(columns.received, columns.callback_id))
        return [kept_of(row) for row in rows]

    def drop_callback(self, callback_id: str, /) -> None:
        """Forget a kept callback."""
        if storable(callback_id):
            this = self._callbacks.c.callback_id == callback_id
            self._database.changed(sa.delete(self._callbacks).where(this))

    def purge_callbacks(self, before: datetime, limit: int, /) -> int:
        """Forget up to `limit` kept callbacks received before that moment, the oldest first."""
        found = self._database.read(old_callbacks(self._callbacks, before, limit))
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
            return None  # PostgreSQL can neither hold it nor look for it
        columns = self._payments.c
        statement = sa.select(self._payments).where(columns[field] == value).limit(1)
        if account is not None:
            statement = statement.where(columns.account == account)
        if field in ("reference", "idempotency_key"):
            statement = statement.order_by(columns.created.desc())
        rows = self._database.read(statement)
        return transaction_of(rows[0]) if rows else None

    def _stored_row(self, transaction: Transaction) -> Row | None:
        stored = self.get(transaction.transaction_no)
        return None if stored is None else row_of(stored)

    def _was_replaced(self, before: Transaction, row: Row) -> bool | None:
        """Whether the connection was lost after the commit; None where that cannot be told.

        Only one writer can have made the next version. Where that version is not ours, ours was not
        written; where it is not there yet, ours may still be under way.
        """
        stored = self._stored_row(before)
        if stored is None or stored["version"] != row["version"]:
            return None
        return stored == row

    def _refuse(self, row: Row, *, new: bool) -> None:
        """Name the value that another payment has; each database says it in words of its own."""
        columns = self._payments.c
        given = {field: names for field, names in UNIQUE.items() if row[field] is not None}
        same = [
            sa.and_(*(columns[name] == row[name] for name in names)) for names in given.values()
        ]
        read = [columns[name] for name in dict.fromkeys(sum(UNIQUE.values(), ()))]
        found = self._database.read(sa.select(*read).where(sa.or_(*same)))
        for field, names in given.items():
            for other in found:
                ours = not new and other["transaction_no"] == row["transaction_no"]
                if not ours and all(other[name] == row[name] for name in names):
                    raise DuplicateTransaction(field)

    def _claim(
        self,
        connection: sa.Connection,
        now: datetime,
        limit: int,
        lease: timedelta,
        accounts: list[str],
    ) -> list[Row]:
        """Lock the rows that nobody else has locked, and move them; longest due first."""
        columns, until = self._payments.c, now + lease
        locked: list[Any] = []
        for start in range(0, len(accounts), _ACCOUNTS):
            some = accounts[start : start + _ACCOUNTS]
            statement = due_statement(self._payments, now, limit, some)
            locked += connection.execute(statement).mappings().all()
        # PostgreSQL sorts before it locks, and gives each row as it is when it is locked.
        rows = sorted(locked, key=lambda row: row["due_at"])[:limit]
        numbers = [row["transaction_no"] for row in rows]
        for start in range(0, len(numbers), _CHUNK):
            connection.execute(
                sa.update(self._payments)
                .where(columns.transaction_no.in_(numbers[start : start + _CHUNK]))
                .values(due_at=until, version=columns.version + 1)
            )
        return [Row(row, due_at=until, version=row["version"] + 1) for row in rows]


def due_statement(
    payments: sa.Table, now: datetime, limit: int, accounts: Sequence[str], /
) -> sa.Select[Any]:
    """What `claim_due` locks. Rows that another worker has locked are skipped, not waited for.

    SQLite has no row locks: there the whole transaction is alone.

    The index is in order of due time within one account. So of several accounts, each account's
    first `limit` rows are read from it, and only these are sorted.
    """
    columns = payments.c

    def first(*read: Any, account: str) -> sa.Select[Any]:  # noqa: ANN401 - what SQLAlchemy selects
        of_account = sa.select(*read).where(columns.account == account, columns.due_at <= now)
        # Reading a small table from end to end would lock rows behind the limit.
        for dialect in ("mysql", "mariadb"):
            of_account = of_account.with_hint(
                payments, f"FORCE INDEX (`{_due_index(payments.name)}`)", dialect
            )
        return of_account.order_by(columns.due_at).limit(limit)

    if len(accounts) == 1:
        return first(payments, account=accounts[0]).with_for_update(skip_locked=True)
    read = (columns.account, columns.transaction_no, columns.due_at)
    shares = [sa.select(first(*read, account=account).subquery()) for account in accounts]
    found = sa.union_all(*shares).subquery("found")
    statement = (
        sa.select(payments)
        .select_from(found)
        .join(
            payments,
            sa.and_(
                columns.transaction_no == found.c.transaction_no, columns.account == found.c.account
            ),
        )
        .where(columns.due_at <= now)  # another worker may have moved it since
        .order_by(found.c.due_at)
        .limit(limit)
    )
    for dialect in ("mysql", "mariadb"):
        statement = statement.prefix_with("STRAIGHT_JOIN", dialect=dialect)
    return statement.with_for_update(skip_locked=True, of=payments)


def old_callbacks(callbacks: sa.Table, before: datetime, limit: int, /) -> sa.Select[Any]:
    """What `purge_callbacks` forgets."""
    old = sa.select(callbacks.c.callback_id).where(callbacks.c.received < before)
    return old.order_by(callbacks.c.received).limit(max(limit, 0))


def _due_index(table: str) -> str:
    return f"{table}_account_due_at"


# --- tables --------------------------------------------------------------------------------------------


def _payments_table(metadata: sa.MetaData, prefix: str) -> sa.Table:
    name = f"{prefix}transactions"
    table = make_table(
        metadata,
        name,
        _key("transaction_no", primary_key=True),
        _key("idempotency_key", nullable=True),
        _key("account"),
        _short("phone_number"),
        sa.Column("amount", sa.BigInteger, nullable=False),
        _key("reference"),
        sa.Column("description", LongText(), nullable=False),
        _short("state"),
        *(
            sa.Column(field, Moment, nullable=False)
            for field in ("created", "updated", "expires_at")
        ),
        sa.Column("due_at", Moment),
        sa.Column("merchant_request_id", LongText()),
        _key("checkout_request_id", nullable=True),
        sa.Column("response_description", LongText()),
        sa.Column("customer_message", LongText()),
        _short("result_code", nullable=True),
        sa.Column("result_desc", LongText()),
        _key("receipt_number", nullable=True),
        sa.Column("paid_at", Moment),
        _short("settled_by", nullable=True),
        sa.Column("needs_review", LongText()),
        sa.Column("reported", sa.Boolean, nullable=False),
        sa.Column("history", LongText(), nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        *(
            sa.UniqueConstraint(*names, name=f"{name}_{field}")
            for field, names in UNIQUE.items()
            if field != "transaction_no"
        ),
    )
    scheduled = table.c.due_at.is_not(None)
    sa.Index(
        _due_index(name),
        table.c.account,
        table.c.due_at,
        postgresql_where=scheduled,
        sqlite_where=scheduled,
    )
    sa.Index(f"{name}_reference", table.c.reference, table.c.created)
    return table


def _callbacks_table(metadata: sa.MetaData, prefix: str) -> sa.Table:
    name = f"{prefix}callbacks"
    table = make_table(
        metadata,
        name,
        _key("callback_id", primary_key=True),
        sa.Column("body", LongBytes(), nullable=False),
        sa.Column("reason", LongText(), nullable=False),
        sa.Column("received", Moment, nullable=False),
        _key("checkout_request_id", nullable=True),
        _key("transaction_no", nullable=True),
    )
    for field in ("checkout_request_id", "transaction_no", "received"):
        sa.Index(f"{name}_{field}", table.c[field])
    return table


def _key(name: str, *, primary_key: bool = False, nullable: bool = False) -> sa.Column[str]:
    """A value that rows are found by."""
    return sa.Column(name, ExactText(LENGTHS[name]), primary_key=primary_key, nullable=nullable)


def _short(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(LENGTHS[name]), nullable=nullable)
