"""Columns that hold a payment's values exactly, in every database that Django serves."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from django.conf import settings
from django.db import models
from django.utils.timezone import make_aware

__all__ = ["ExactCharField", "ExactTextField", "MomentField", "PartialIndex"]


class _Exact:
    """Hold every text, and compare texts by their bytes.

    The default collations of MySQL and MariaDB ignore case and trailing spaces, so two ids could count
    as one. The character set of an old database may have no emoji.
    """

    def db_parameters(self, connection: Any) -> dict[str, Any]:  # noqa: ANN401 - Django has no types
        """Return the column's type in a database, with its collation."""
        parameters: dict[str, Any] = super().db_parameters(connection)  # type: ignore[misc]
        if connection.vendor == "mysql":
            mariadb = connection.mysql_is_mariadb
            parameters["collation"] = "utf8mb4_nopad_bin" if mariadb else "utf8mb4_0900_bin"
        return parameters


class ExactCharField(_Exact, models.CharField):
    """A short text that the database compares by its bytes."""

    def db_type(self, connection: Any) -> str:  # noqa: ANN401 - Django has no types
        """Return the column's type in a database.

        For a unique column that is called ``varchar``, Django would make a second index in PostgreSQL.
        """
        kind = str(super().db_type(connection))
        return kind.replace("varchar", "character varying", 1)


class ExactTextField(_Exact, models.TextField):
    """A text of any length that the database compares by its bytes."""


class MomentField(models.DateTimeField):
    """An aware time in UTC, exact to the microsecond, also if the host's ``USE_TZ`` is False.

    If the database has no type with a zone, the time is stored without one, in UTC.
    """

    def get_db_prep_value(
        self,
        value: datetime | None,
        connection: Any,  # noqa: ANN401 - Django has no types
        prepared: bool = False,  # noqa: FBT001, FBT002 - Django calls it so
    ) -> Any:  # noqa: ANN401 - as above
        """Convert a time on its way to the database."""
        if not prepared:
            value = self.get_prep_value(value)
        if value is None:
            return None
        moment = (value if value.tzinfo else make_aware(value)).astimezone(timezone.utc)
        if connection.vendor != "postgresql":
            moment = moment.replace(tzinfo=None)
        return connection.ops.adapt_datetimefield_value(moment)

    def from_db_value(
        self,
        value: datetime | None,
        _expression: object,
        connection: Any,  # noqa: ANN401 - Django has no types
    ) -> datetime | None:
        """Convert a time that was read from the database."""
        if value is None:
            return None
        if connection.vendor == "postgresql" and value.tzinfo is not None:
            return value.astimezone(timezone.utc)
        return value.replace(tzinfo=timezone.utc)

    def select_format(self, compiler: Any, sql: str, params: Any) -> tuple[str, Any]:  # noqa: ANN401
        """Select a time. Without ``USE_TZ``, PostgreSQL's driver would drop the zone."""
        if compiler.connection.vendor == "postgresql" and not settings.USE_TZ:
            sql = f"({sql} AT TIME ZONE 'UTC')"
        return sql, params


class PartialIndex(models.Index):
    """An index of the rows that match a condition, in databases that have such indexes.

    Elsewhere it holds all rows. With Django's own ``condition``, each migration on MySQL would warn.
    """

    def __init__(self, *, where: models.Q, **options: Any) -> None:  # noqa: ANN401 - those of Index
        """Make an index.

        Args:
            where: The condition.
            options: Those of `django.db.models.Index`.
        """
        super().__init__(**options)
        self.where = where

    def deconstruct(self) -> tuple[str, Any, dict[str, Any]]:
        """Return the parts of the index, for migrations."""
        path, expressions, options = super().deconstruct()
        return path, expressions, {**options, "where": self.where}

    def create_sql(
        self,
        model: type[models.Model],
        schema_editor: Any,  # noqa: ANN401 - Django has no types
        using: str = "",
        **options: Any,  # noqa: ANN401 - as above
    ) -> Any:  # noqa: ANN401 - as above
        """Return the statement that makes the index."""
        if schema_editor.connection.features.supports_partial_indexes:
            partial = models.Index(fields=self.fields, name=self.name, condition=self.where)
            return partial.create_sql(model, schema_editor, using, **options)
        return super().create_sql(model, schema_editor, using, **options)
