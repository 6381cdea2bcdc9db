"""`DjangoTransactionStore` beyond the contract: transactions of the host, lost databases, indexes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections, transaction

from example_shops import django_database, django_module
from mpesa_stk import ConfigurationError, StoreError
from sql_stores import kept, numbered
from support import ACCOUNTS, START

LEASE = timedelta(seconds=60)


@pytest.fixture(name="database")
def _database(tmp_path: Path) -> Iterator[Path]:
    """The tables in SQLite, in the default database."""
    path = tmp_path / "shop.sqlite3"
    with django_database(path):
        yield path


def new_store(*using: str) -> Any:
    """A store."""
    return django_module("mpesa_stk.contrib.django.orm_store").DjangoTransactionStore(*using)


READS: dict[str, Callable[[Any], object]] = {
    "get": lambda store: store.get("no-1"),
    "find": lambda store: store.find(reference="INV-1"),
    "attempts": lambda store: store.attempts("paybill 600000", "1"),
    "kept_callbacks": lambda store: store.kept_callbacks(transaction_no="no-1"),
}
WRITES: dict[str, Callable[[Any], object]] = {
    "add": lambda store: store.add(numbered(1)),
    "replace": lambda store: store.replace(numbered(2)),
    "claim_due": lambda store: store.claim_due(START + LEASE, 10, LEASE, ACCOUNTS),
    "keep_callback": lambda store: store.keep_callback(kept(1)),
    "drop_callback": lambda store: store.drop_callback("callback-2"),
    "purge_callbacks": lambda store: store.purge_callbacks(START + LEASE, 10),
}


@pytest.mark.parametrize("method", READS | WRITES)
def test_store_says_so_when_the_database_is_gone(method: str, database: Path) -> None:
    """Each method raises StoreError, never returns as if nothing were there."""
    connections.close_all()
    connections.settings["default"]["NAME"] = str(database.parent / "gone" / "shop.sqlite3")
    with pytest.raises(StoreError, match=r"the file cannot be opened.*\(OperationalError\)"):
        (READS | WRITES)[method](new_store())


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("method", WRITES)
def test_store_refuses_to_write_in_somebody_elses_transaction(method: str) -> None:
    """What is written there could be rolled back after the push. The error names the ways out."""
    store = new_store()
    store.add(numbered(2, due_at=START))
    store.keep_callback(kept(2))
    with pytest.raises(ConfigurationError, match="non_atomic_requests"), transaction.atomic():
        WRITES[method](store)
    assert store.get("no-2") == numbered(2, due_at=START)
    assert store.kept_callbacks(checkout_request_id="ws_CO_1") == []


@pytest.mark.usefixtures("database")
def test_migration_makes_the_tables_of_the_models() -> None:
    """Django finds nothing to migrate, and the columns that must be fast or unique have an index."""
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)
    model = django_module("mpesa_stk.contrib.django.models").Payment
    with connections["default"].cursor() as cursor:
        found = connections["default"].introspection.get_constraints(cursor, model._meta.db_table)
    unique = {
        tuple(index["columns"])
        for index in found.values()
        if index["unique"] or index["primary_key"]
    }
    due = model.objects.filter(account="paybill 600000", due_at__lte=START)
    plan = due.order_by("due_at").explain()
    assert unique == {
        ("transaction_no",),
        ("idempotency_key", "account"),
        ("checkout_request_id",),
        ("receipt_number",),
        ("order_slot", "account"),
    }
    assert "mpesa_stk_due" in plan
    for word in ("SCAN", "TEMP B-TREE"):
        assert word not in plan
