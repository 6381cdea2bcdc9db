"""A table with one row for each app of Daraja, on Django's ORM."""

from __future__ import annotations

from django.db import models

from mpesa_stk.contrib.django.orm_database import OrmDatabase
from mpesa_stk.stores.app_rows import AppRow

__all__ = ["OrmRows"]


class OrmRows:
    """`AppRows` in the table of a model."""

    def __init__(self, database: OrmDatabase, model: type[models.Model], /) -> None:
        self._database = database
        self._model = model

    def get(self, app: str, /) -> AppRow | None:
        """Return the row of an app, or None."""
        mine = self._database.rows(self._model).filter(pk=app).values()
        rows: list[AppRow] = self._database.read(self._model, lambda: list(mine))
        return rows[0] if rows else None

    def insert(self, row: AppRow, /) -> bool:
        """Insert the first row of an app. Return False if it has one."""

        def insert() -> bool:
            self._database.rows(self._model).create(**row)
            return True

        return self._database.write(self._model, insert, refused=lambda: False)

    def update(self, app: str, seen_version: int, values: AppRow, /) -> bool:
        """Write over the version that was read. Return False if another writer was first."""
        seen = self._database.rows(self._model).filter(pk=app, version=seen_version)
        return self._database.write(self._model, lambda: bool(seen.update(**values)))
