"""The statements of whole payments through a driver alone, each in autocommit: the floor of the stores."""

from __future__ import annotations

import itertools
import re
from typing import Any

import sqlalchemy as sa

PAYMENTS = 100  # one batch of reports


def raw_connection(url: str) -> Any:
    """Connect as a store does, in autocommit, and give the driver's own connection."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    pooled = engine.raw_connection()
    connection = pooled.driver_connection
    pooled.detach()
    return connection


class Raw:
    """Checkout, callback and report of payments, as statements."""

    def __init__(self, url: str, table: sa.Table) -> None:
        self._connection = raw_connection(url)
        self._place = ":{}".format if url.startswith("sqlite") else "%({})s".format
        self._table = table.name
        columns = [column.name for column in table.c]
        quote = sa.make_url(url).get_dialect()().identifier_preparer.quote
        names = ", ".join(map(quote, columns))
        places = ", ".join(map(self._place, columns))
        changes = ", ".join(
            f"{quote(name)} = {self._place(name)}" for name in columns if name != "transaction_no"
        )
        self._insert = f"INSERT INTO {table.name} ({names}) VALUES ({places})"
        self._update = self._sql(
            f"UPDATE TABLE SET {changes} WHERE transaction_no = <transaction_no>"
            " AND version = <seen>"
        )
        self._select = self._sql(
            f"SELECT {names} FROM TABLE WHERE transaction_no = <transaction_no>"
        )
        self._kept = self._sql(
            "SELECT * FROM TABLE WHERE checkout_request_id = <checkout_request_id>"
            " OR transaction_no = <transaction_no> ORDER BY received"
        ).replace("transactions", "callbacks")
        self._due = self._sql(
            f"SELECT {names} FROM TABLE WHERE account = <account> AND due_at <= <created>"
            f" ORDER BY due_at LIMIT {PAYMENTS}"
        )
        self._claim = self._sql(
            "UPDATE TABLE SET due_at = <expires_at>, version = version + 1"
            " WHERE account = <account> AND due_at <= <created>"
        )
        cursor = self._run(self._sql("SELECT * FROM TABLE LIMIT 1"), {})
        self._row = dict(
            zip((each[0] for each in cursor.description), cursor.fetchone(), strict=True)
        )
        self._numbers = itertools.count()

    def __call__(self) -> None:
        """One round."""
        rows = [self._checkout() for _ in range(PAYMENTS)]
        for row in rows:
            assert len(self._run(self._select, row).fetchall()) == 1
            self._write(row, due_at=row["created"])
        assert len(self._run(self._due, self._row).fetchall()) == PAYMENTS
        assert self._run(self._claim, self._row).rowcount == PAYMENTS
        for row in rows:
            row["version"] += 1
            self._run(self._kept, row).fetchall()
            self._write(row, due_at=row["expires_at"])
            self._write(row, due_at=None, reported=True)

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def _sql(self, text: str) -> str:
        """Write the parameters as the driver takes them."""
        placed = re.sub("<([a-z_]+)>", lambda found: self._place(found[1]), text)
        return placed.replace("TABLE", self._table)

    def _run(self, statement: str, values: dict[str, Any]) -> Any:
        cursor = self._connection.cursor()
        cursor.execute(statement, values)
        return cursor

    def _checkout(self) -> dict[str, Any]:
        name = f"raw-{next(self._numbers)}"
        new = dict.fromkeys(("transaction_no", "idempotency_key", "receipt_number"), name)
        row = self._row | new | {"version": 0, "checkout_request_id": None, "due_at": None}
        self._run(self._insert, row)
        self._write(row, checkout_request_id=name)
        return row

    def _write(self, row: dict[str, Any], **changes: Any) -> None:
        row |= changes | {"seen": row["version"], "version": row["version"] + 1}
        assert self._run(self._update, row).rowcount == 1
