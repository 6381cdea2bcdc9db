"""`DjangoQueryBudget`: one allowance of status queries for all processes of a Django project."""

from __future__ import annotations

from mpesa_stk.clock import Clock
from mpesa_stk.contrib.django.models import AppBudget
from mpesa_stk.contrib.django.orm_app_rows import OrmRows
from mpesa_stk.contrib.django.orm_database import OrmDatabase
from mpesa_stk.payments.budget import QueryPace
from mpesa_stk.stores.app_rows import SharedBudget

__all__ = ["DjangoQueryBudget"]


class DjangoQueryBudget(SharedBudget):
    """A `QueryBudget` on the ORM, shared by all workers of an app."""

    def __init__(
        self, pace: QueryPace, /, using: str | None = None, *, clock: Clock | None = None
    ) -> None:
        """Make a budget. The first call connects.

        Args:
            pace: How fast each app may ask. All workers that share a database use the same.
            using: The alias of the database, or None for the one to which the host's routers write.
            clock: Waits between two tries after a deadlock.

        Raises:
            ConfigurationError: There is no such alias.
        """
        super().__init__(OrmRows(OrmDatabase(using, clock=clock), AppBudget), pace)
