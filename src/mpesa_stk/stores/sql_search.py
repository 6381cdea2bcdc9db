"""The statements of `SqlTransactionStore.search`, each of which reads an index in the order of the page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from mpesa_stk.payments.search import PaymentSearch, Place
from mpesa_stk.payments.state import FORGOTTEN_PHONE
from mpesa_stk.stores.rows import storable
from mpesa_stk.stores.sql_database import Database
from mpesa_stk.stores.sql_tables import review_index

__all__ = ["search_rows"]

_EXACT = ("phone_number", "receipt_number", "reference", "order", "checkout_request_id", "state")
_OF_ANY_ACCOUNT = ("phone_number", "receipt_number", "reference", "checkout_request_id")
"""The fields whose indexes do not begin with the account."""
_ACCOUNTS = 100  # databases limit the number of parts of a statement: SQLite takes 500


def search_rows(
    database: Database,
    payments: sa.Table,
    search: PaymentSearch,
    after: Place | None,
    limit: int,
    /,
) -> list[dict[str, Any]]:
    """Return up to `limit` rows of the payments that are wanted, the last created first.

    The other indexes are in the order of the page within one account. So each account's first rows are
    read, and only these are sorted.

    Raises:
        StoreError: The database failed.
    """
    texts = [value for field in _EXACT if isinstance(value := getattr(search, field), str)]
    if not all(map(storable, texts)):
        return []  # PostgreSQL can neither store such a text nor search for it
    accounts = None if search.accounts is None else sorted(filter(storable, search.accounts))
    if any(getattr(search, field) for field in _OF_ANY_ACCOUNT):
        return _read(database, _narrow(payments, search, after, limit, accounts))
    if accounts is None:
        accounts = [row["account"] for row in _read(database, _accounts(payments))]
    rows: list[dict[str, Any]] = []
    for start in range(0, len(accounts), _ACCOUNTS):
        some = accounts[start : start + _ACCOUNTS]
        rows += _read(database, _of_accounts(payments, search, after, limit, some))
    if len(accounts) > _ACCOUNTS:
        rows.sort(key=lambda row: (row["created"], row["transaction_no"]), reverse=True)
    return rows[:limit]


def _read(database: Database, statement: sa.Select[Any]) -> list[dict[str, Any]]:
    def work(connection: sa.Connection) -> list[dict[str, Any]]:
        return [dict(row) for row in connection.execute(statement).mappings()]

    return database.run(work, writes=False, single=True)


def _narrow(
    payments: sa.Table,
    search: PaymentSearch,
    after: Place | None,
    limit: int,
    accounts: list[str] | None,
) -> sa.Select[Any]:
    """Select by a value that few payments have."""
    statement = sa.select(payments).where(*_conditions(payments, search, after))
    if accounts is not None:
        statement = statement.where(payments.c.account.in_(accounts))
    return _in_order(statement, payments.c).limit(limit)


def _of_accounts(
    payments: sa.Table, search: PaymentSearch, after: Place | None, limit: int, accounts: list[str]
) -> sa.Select[Any]:
    """Select the first rows of some accounts."""
    columns = payments.c

    def first(*read: Any, account: str) -> sa.Select[Any]:  # noqa: ANN401 - what SQLAlchemy selects
        of_account = sa.select(*read).where(
            columns.account == account, *_conditions(payments, search, after)
        )
        if search.needs_review:
            # The optimizer would read an index that is in order, up to its end if there are few reviews.
            for dialect in ("mysql", "mariadb"):
                hint = f"FORCE INDEX (`{review_index(payments.name)}`)"
                of_account = of_account.with_hint(payments, hint, dialect)
        return _in_order(of_account, columns).limit(limit)

    if len(accounts) == 1:
        return first(payments, account=accounts[0])
    read = (columns.transaction_no, columns.created)
    shares = [sa.select(first(*read, account=account).subquery()) for account in accounts]
    found = sa.union_all(*shares).subquery("found")
    statement = (
        sa.select(payments)
        .select_from(found)
        .join(payments, columns.transaction_no == found.c.transaction_no)
    )
    return _in_order(statement, found.c).limit(limit)


def _in_order(statement: sa.Select[Any], columns: Any) -> sa.Select[Any]:  # noqa: ANN401 - as above
    return statement.order_by(columns.created.desc(), columns.transaction_no.desc())


def _conditions(
    payments: sa.Table, search: PaymentSearch, after: Place | None
) -> Iterator[sa.ColumnElement[bool]]:
    """Return what the wanted payments have, apart from their accounts."""
    columns = payments.c
    for field in _EXACT:
        value = getattr(search, field)
        if value is not None:
            yield columns[field] == getattr(value, "value", value)  # a state is an Enum
    if search.created_from is not None:
        yield columns.created >= search.created_from
    if search.created_before is not None:
        yield columns.created < search.created_before
    if search.needs_review:
        yield columns.needs_review.is_not(None)
    if search.not_forgotten:
        yield columns.phone_number != FORGOTTEN_PHONE
    if after is not None:
        created, number = after
        yield columns.created <= created
        yield sa.or_(columns.created < created, columns.transaction_no < number)


def _accounts(payments: sa.Table) -> sa.Select[Any]:
    """Select the accounts that have payments. It reads one entry of an index for each account."""
    account = payments.c.account
    least = sa.select(sa.func.min(account).label("account")).cte("accounts", recursive=True)
    following = sa.select(sa.func.min(account)).where(account > least.c.account).scalar_subquery()
    least = least.union_all(sa.select(following).where(least.c.account.is_not(None)))
    return sa.select(least.c.account).where(least.c.account.is_not(None))
