"""Shared parts of the Django stores: one transaction for each write, and errors without parameters.

The errors of database drivers hold values of rows, which are phone numbers and tokens. So this file neither
chains nor quotes them. Its `StoreError` describes the failure in our words. It is raised outside the
``except`` block, so that it has no context.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from django import db
from django.core.exceptions import SynchronousOnlyOperation
from django.db import models, transaction

from mpesa_stk.clock import Clock, SystemClock
from mpesa_stk.errors import ConfigurationError
from mpesa_stk.stores.database_work import Done, Failure, Kind, done, was_rolled_back
from mpesa_stk.stores.sql_errors import meaning_of

__all__ = ["OrmDatabase", "alias_of"]

T = TypeVar("T")

_IDLE = 30.0
_IN_A_BLOCK = (
    "is in a transaction of yours, which could be rolled back after the customer was asked: call this"
    " outside of atomic(), and decorate the view with @transaction.non_atomic_requests if"
    " ATOMIC_REQUESTS is on"
)
_NO_AUTOCOMMIT = (
    "is not in autocommit: remove AUTOCOMMIT from its settings, and call this outside of"
    " set_autocommit(False)"
)


def alias_of(model: type[models.Model], using: str | None, /) -> str:
    """Return the alias that is named, or the one to which the host's routers write a table."""
    return using or str(db.router.db_for_write(model))


class OrmDatabase:
    """Run each piece of work on one of the host's databases, in a separate transaction."""

    def __init__(
        self,
        using: str | None,
        /,
        *,
        clock: Clock | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Make it, without connecting.

        Args:
            using: The alias of the database, or None for the one to which the host's routers write.
            clock: Waits between two tries.
            jitter: Returns a random number from 0 to 1, which varies the waits.

        Raises:
            ConfigurationError: There is no such alias.
        """
        if using is not None and using not in db.connections:
            raise ConfigurationError((("database", "must be an alias in settings.DATABASES"),))
        self._using = using
        self._clock = clock or SystemClock()
        self._jitter = jitter
        self._threads = threading.local()

    def rows(self, model: type[models.Model], /) -> Any:  # noqa: ANN401 - Django has no types
        """Return the rows of a table. Reads go where writes go: a replica may be late."""
        return model._default_manager.using(self._alias(model))  # noqa: SLF001 - Django's public name for it

    def locks_rows(self, model: type[models.Model], /) -> bool:
        """Return whether the database locks rows. SQLite locks its whole file."""
        return bool(self._connection(model).features.has_select_for_update)

    def locking(self, rows: Any, model: type[models.Model], /) -> Any:  # noqa: ANN401 - Django has no types
        """Lock the rows of a query. Leave out those that others have locked, if the database can."""
        features = self._connection(model).features
        return rows.select_for_update(skip_locked=features.has_select_for_update_skip_locked)

    def read(self, model: type[models.Model], work: Callable[[], T], /) -> T:
        """Read, and return the result.

        Raises:
            StoreError: The database failed.
        """
        return self._run(model, work)

    def write(
        self,
        model: type[models.Model],
        work: Callable[[], T],
        /,
        *,
        single: bool = True,
        refused: Callable[[], T | None] | None = None,
        unsure: Callable[[], T | None] | None = None,
    ) -> T:
        """Do some work in one transaction, commit it, and return its result.

        If the database rolls it back because of other writers, do it again.

        Args:
            model: The table.
            work: Executes statements, and returns the result.
            single: Whether the work is one statement, which the database commits by itself.
            refused: Called after a constraint violation. It returns a result, returns None to fail, or
                raises an error for the caller.
            unsure: Called if the commit may or may not have happened. It reads the rows again and
                returns the result, or None if they do not decide it.

        Raises:
            ConfigurationError: The caller is in a transaction of the host.
            StoreError: The database failed.
        """
        return self._run(
            model,
            lambda: self._in_its_own_transaction(model, work, single=single),
            refused=refused,
            unsure=unsure,
        )

    def _alias(self, model: type[models.Model]) -> str:
        return alias_of(model, self._using)

    def _connection(self, model: type[models.Model]) -> Any:  # noqa: ANN401 - Django has no types
        return db.connections[self._alias(model)]

    def _in_its_own_transaction(
        self, model: type[models.Model], work: Callable[[], T], *, single: bool
    ) -> T:
        """Do some work in a transaction that commits at its end. Within another one, raise an error.

        In the tests of a host, `django.test.TestCase` is in a transaction, and Django allows it.
        """
        connection = self._connection(model)
        if not connection.in_atomic_block:
            if not connection.get_autocommit():
                raise ConfigurationError((("database", f"{connection.alias!r} {_NO_AUTOCOMMIT}"),))
            if single:
                return work()
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(transaction.atomic(using=connection.alias, durable=True))
            except RuntimeError:
                pass
            else:
                return work()
        raise ConfigurationError((("database", f"{connection.alias!r} {_IN_A_BLOCK}"),))

    def _run(
        self,
        model: type[models.Model],
        work: Callable[[], T],
        *,
        refused: Callable[[], T | None] | None = None,
        unsure: Callable[[], T | None] | None = None,
    ) -> T:
        return done(
            lambda: self._attempt(self._connection(model), work),
            clock=self._clock,
            jitter=self._jitter,
            refused=refused,
            unsure=unsure,
        )

    def _attempt(self, connection: Any, work: Callable[[], T]) -> Done[T] | Failure:  # noqa: ANN401 - as above
        """Do the work once. Reduce an error to its meaning, its class and its code."""
        self._check_idle(connection)
        reached = False
        try:
            connection.ensure_connection()
            reached = True
            return Done(result=work())
        except (ConfigurationError, SynchronousOnlyOperation):
            raise  # the caller's mistake, with the words that help
        except Exception as error:  # noqa: BLE001 - on a broken connection drivers raise anything
            failure = Failure(
                kind=_kind(error, connection.vendor), meaning=meaning_of(error, reached=reached)
            )
        if failure.kind is Kind.UNSURE:
            _close_if_broken(connection)
        return failure

    def _check_idle(self, connection: Any) -> None:  # noqa: ANN401 - as above
        """Close a connection that the server ended while this thread did not use it.

        Django does so between requests. Workers and pools of threads have no requests.
        """
        now = self._clock.monotonic()
        if now - getattr(self._threads, "used_at", now) > _IDLE:
            _close_if_broken(connection)
        self._threads.used_at = now


def _close_if_broken(connection: Any) -> None:  # noqa: ANN401 - Django has no types
    """Close a connection that does not answer, so that the next use opens another one."""
    if connection.connection is None or connection.in_atomic_block or connection.is_usable():
        return
    with contextlib.suppress(db.Error):
        connection.close()


def _kind(error: Exception, vendor: str) -> Kind:
    locked = vendor == "sqlite" and "is locked" in str(error)
    if locked or was_rolled_back(error):
        return Kind.ROLLED_BACK
    return Kind.REFUSED if isinstance(error, db.IntegrityError) else Kind.UNSURE
