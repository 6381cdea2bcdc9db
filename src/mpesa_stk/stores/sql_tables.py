"""The tables of `SqlTransactionStore`, and its statements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from mpesa_stk.stores.rows import LENGTHS, UNIQUE
from mpesa_stk.stores.sql_database import ExactText, LongBytes, LongText, Moment, make_table
from mpesa_stk.stores.sql_single import Prepared

__all__ = [
    "attempts_statement",
    "callbacks_table",
    "conflicting",
    "due_accounts",
    "due_statement",
    "kept_statements",
    "old_callbacks",
    "one_kept",
    "payments_table",
    "replacement",
    "review_index",
    "searches",
]

_CONSTRAINTS = ("idempotency_key", "checkout_request_id", "receipt_number")
"""The fields of `UNIQUE` that the table itself keeps unique. An index keeps `order_slot` unique."""


def _due_index(table: str) -> str:
    return f"{table}_account_due_at"


def review_index(table: str, /) -> str:
    """Return the name of the index of the payments that need a review."""
    return f"{table}_review"


def payments_table(metadata: sa.MetaData, prefix: str, /) -> sa.Table:
    """Make the table of payments, with one row for each payment."""
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
        _key("prompt_reference", nullable=True),
        _key("order", nullable=True),
        _key("order_slot", nullable=True),
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
            if field in _CONSTRAINTS
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
    _order_indexes(table)
    _search_indexes(table)
    return table


def _order_indexes(table: sa.Table) -> None:
    """Add the indexes of orders. Payments without an order are in neither, where a database can do so."""
    columns = table.c
    for field, unique in (("order_slot", True), ("order", False)):
        given = columns[field].is_not(None)
        sa.Index(
            f"{table.name}_{field}",
            columns.account,
            columns[field],
            unique=unique,
            postgresql_where=given,
            sqlite_where=given,
        )


def _search_indexes(table: sa.Table) -> None:
    """Add the indexes of searches, which read the payments created last first."""
    columns = table.c
    sa.Index(f"{table.name}_account", columns.account, columns.created)
    sa.Index(f"{table.name}_state", columns.account, columns.state, columns.created)
    sa.Index(f"{table.name}_phone", columns.phone_number, columns.created)
    name, reviewed = review_index(table.name), columns.needs_review.is_not(None)
    sa.Index(
        name, columns.account, columns.created, postgresql_where=reviewed, sqlite_where=reviewed
    ).ddl_if(callable_=_only_on("postgresql", "sqlite"))
    # MySQL and MariaDB have no partial indexes. NULL is a value of an index like any other.
    length = {"needs_review": 1}
    sa.Index(
        name, columns.account, columns.needs_review, mysql_length=length, mariadb_length=length
    ).ddl_if(callable_=_only_on("mysql", "mariadb"))


def _only_on(*dialects: str) -> Callable[..., bool]:
    """Return a condition: an index with it is made in these databases only."""

    def is_one(*_facts: object, dialect: sa.Dialect, **_more: object) -> bool:
        return dialect.name in dialects

    return is_one


def callbacks_table(metadata: sa.MetaData, prefix: str, /) -> sa.Table:
    """Make the table of kept callbacks, with one row for each callback."""
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
    """Make a column by whose value rows are found."""
    return sa.Column(name, ExactText(LENGTHS[name]), primary_key=primary_key, nullable=nullable)


def _short(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(LENGTHS[name]), nullable=nullable)


def due_accounts(payments: sa.Table, /) -> sa.Select[Any]:
    """Select those of the ``accounts`` that have something due ``now``."""
    columns = payments.c
    return (
        sa.select(columns.account)
        .distinct()
        .where(columns.account.in_(sa.bindparam("accounts", expanding=True)))
        .where(columns.due_at <= sa.bindparam("now"))
    )


def due_statement(
    payments: sa.Table, now: datetime, limit: int, accounts: Sequence[str], /
) -> sa.Select[Any]:
    """Select and lock rows for `claim_due`, without those that others have locked.

    SQLite has no row locks: there, only one transaction writes at a time.

    The index is in order of due time within one account. So for several accounts, the statement reads
    each account's first `limit` rows from the index, and sorts only these: by their ``turn``, which counts
    the rows of their account, and then by due time.
    """
    columns = payments.c

    def first(*read: Any, account: str) -> sa.Select[Any]:  # noqa: ANN401 - what SQLAlchemy selects
        of_account = sa.select(*read).where(columns.account == account, columns.due_at <= now)
        # A full scan of a small table would also lock rows beyond the limit.
        for dialect in ("mysql", "mariadb"):
            of_account = of_account.with_hint(
                payments, f"FORCE INDEX (`{_due_index(payments.name)}`)", dialect
            )
        return of_account.order_by(columns.due_at).limit(limit)

    if len(accounts) == 1:
        return first(payments, account=accounts[0]).with_for_update(skip_locked=True)
    read = (columns.account, columns.transaction_no, columns.due_at)
    shares = [first(*read, account=account).subquery() for account in accounts]
    found = sa.union_all(
        *(
            sa.select(share, sa.func.row_number().over(order_by=share.c.due_at).label("turn"))
            for share in shares
        )
    ).subquery("found")
    statement = (
        sa.select(payments, found.c.turn)
        .select_from(found)
        .join(
            payments,
            sa.and_(
                columns.transaction_no == found.c.transaction_no, columns.account == found.c.account
            ),
        )
        .where(columns.due_at <= now)  # another worker may have moved it since
        .order_by(found.c.turn, found.c.due_at)
        .limit(limit)
    )
    for dialect in ("mysql", "mariadb"):
        statement = statement.prefix_with("STRAIGHT_JOIN", dialect=dialect)
    return statement.with_for_update(skip_locked=True, of=payments)


def replacement(payments: sa.Table, /) -> Prepared:
    """Update all of a payment's columns, if its version is the one that was seen.

    The values are those of a row, and ``this_no`` and ``seen_version``.
    """
    columns = payments.c
    return Prepared(
        sa.update(payments)
        .where(columns.transaction_no == sa.bindparam("this_no"))
        .where(columns.version == sa.bindparam("seen_version"))
    )


def searches(payments: sa.Table, /) -> dict[tuple[str, bool], Prepared]:
    """Select the payment with a value, by the field and by whether the account is given, too.

    The values are ``value``, and ``of_account``. Of several payments, the one created last is selected.
    """
    columns, found = payments.c, dict[tuple[str, bool], Prepared]()
    for field in (*UNIQUE, "reference"):
        one = sa.select(payments).where(columns[field] == sa.bindparam("value")).limit(1)
        if field in ("reference", "idempotency_key"):
            one = one.order_by(columns.created.desc())
        found[field, False] = Prepared(one)
        found[field, True] = Prepared(one.where(columns.account == sa.bindparam("of_account")))
    return found


def attempts_statement(payments: sa.Table, /) -> Prepared:
    """Select the payments of ``of_account`` for ``of_order``, the first created first."""
    columns = payments.c
    found = (
        sa.select(payments)
        .where(columns.account == sa.bindparam("of_account"))
        .where(columns.order == sa.bindparam("of_order"))
    )
    return Prepared(found.order_by(columns.created, columns.transaction_no))


def kept_statements(callbacks: sa.Table, /) -> dict[frozenset[str], Prepared]:
    """Select the kept callbacks of the owners that are named, oldest first."""
    columns, found = callbacks.c, dict[frozenset[str], Prepared]()
    names = ("checkout_request_id", "transaction_no")
    for given in (names[:1], names[1:], names):
        owned = sa.or_(*(columns[name] == sa.bindparam(name) for name in given))
        statement = sa.select(callbacks).where(owned)
        found[frozenset(given)] = Prepared(
            statement.order_by(columns.received, columns.callback_id)
        )
    return found


def conflicting(payments: sa.Table, /) -> Prepared:
    """Select the unique values of the payments that have one of a row's.

    The values are those of the row. None is not equal to any value.
    """
    names = tuple(dict.fromkeys(sum(UNIQUE.values(), ())))
    same = (
        sa.and_(
            *(payments.c[name] == sa.bindparam(name, type_=payments.c[name].type) for name in each)
        )
        for each in UNIQUE.values()
    )
    return Prepared(sa.select(*(payments.c[name] for name in names)).where(sa.or_(*same)))


def one_kept(callbacks: sa.Table, /) -> tuple[Prepared, Prepared]:
    """Select the id of the kept callback with the id ``this_id``, and delete that callback."""
    this = callbacks.c.callback_id == sa.bindparam("this_id")
    return (
        Prepared(sa.select(callbacks.c.callback_id).where(this)),
        Prepared(sa.delete(callbacks).where(this)),
    )


def old_callbacks(callbacks: sa.Table, before: datetime, limit: int, /) -> sa.Select[Any]:
    """Select the ids of the callbacks that `purge_callbacks` forgets, oldest first."""
    old = sa.select(callbacks.c.callback_id).where(callbacks.c.received < before)
    return old.order_by(callbacks.c.received).limit(max(limit, 0))
