"""No traceback of a Django store shows a secret, whichever statement fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django import db
from django.db import connections

from example_shops import django_database, django_module
from mpesa_stk import StoreError
from secret_scenes import MARK, PHONE, Interrupted, leaks_of
from store_uses import APP, KEPT, PAYMENT, TOKEN_USES, USES, caught_by, new_token
from support import TOKEN, ManualClock

FAILURES: dict[str, Callable[[], BaseException]] = {
    "operational": lambda: db.OperationalError(MARK, TOKEN, PHONE),
    "integrity": lambda: db.IntegrityError(MARK, TOKEN, PHONE),
    "interrupted": Interrupted,
}


@pytest.fixture(autouse=True)
def _database(tmp_path: Path) -> Iterator[None]:
    """The tables in SQLite, in the default database."""
    with django_database(tmp_path / "shop.sqlite3"):
        yield


class Failing:
    """Fails at one of the statements with parameters."""

    def __init__(self, make: Callable[[], BaseException]) -> None:
        self.left = -1
        self._make = make

    def __call__(
        self, execute: Callable[..., Any], sql: str, values: Any, many: Any, context: Any
    ) -> Any:
        """Execute a statement, or fail with its values in the error, as drivers do."""
        if values:
            self.left -= 1
            if self.left == 0:
                error = self._make()
                raise error from (Exception(values) if isinstance(error, db.Error) else None)
        return execute(sql, values, many, context)


def check(store: object, uses: dict[str, Callable[[Any], object]], failing: Failing) -> None:
    """Fail at each statement of each use."""
    seen = 0
    with connections["default"].execute_wrapper(failing):
        for use in uses.values():
            for number in range(1, 20):
                failing.left = number
                error = caught_by(use, store)
                if failing.left > 0:
                    break
                if error is not None:
                    seen += 1
                    assert isinstance(error, (StoreError, Interrupted))
                    assert not leaks_of(error)
    assert seen >= len(uses) - 2


@pytest.mark.slow
@pytest.mark.parametrize("failure", FAILURES)
def test_no_failing_statement_shows_a_payment(failure: str) -> None:
    """Neither by its parameters nor by rows that were read."""
    store = django_module("mpesa_stk.contrib.django.orm_store").DjangoTransactionStore()
    store.add(PAYMENT)
    store.keep_callback(KEPT)
    check(store, USES, Failing(FAILURES[failure]))


@pytest.mark.slow
@pytest.mark.parametrize("failure", FAILURES)
def test_no_failing_statement_shows_a_token(failure: str) -> None:
    """The same for the tokens of a fleet."""
    tokens = django_module("mpesa_stk.contrib.django.orm_tokens")
    store = tokens.DjangoTokenStore(clock=ManualClock())
    store.save(APP, new_token())
    check(store, TOKEN_USES, Failing(FAILURES[failure]))


def test_no_row_that_cannot_be_read_is_shown() -> None:
    """It was written by another version, or by hand."""
    store = django_module("mpesa_stk.contrib.django.orm_store").DjangoTransactionStore()
    store.add(PAYMENT)
    django_module("mpesa_stk.contrib.django.models").Payment.objects.update(state="x")
    error = caught_by(USES["find"], store)
    assert isinstance(error, StoreError)
    assert not leaks_of(error)
