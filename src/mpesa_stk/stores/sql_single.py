"""Execute one statement that is a transaction by itself: compiled once, and straight on psycopg.

For each statement SQLAlchemy works longer than PostgreSQL and psycopg together, for the host's event
handlers, logs and options. So if the host uses none of these, and the driver is psycopg without asyncio,
the statement goes from the pool's connection to psycopg. In all other cases SQLAlchemy executes it.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs
import sqlalchemy as sa

__all__ = ["Prepared", "alone", "is_alone", "is_direct", "watch_pool"]

_ALONE = "mpesa_stk_alone"

_Convert = Callable[[Any], Any]


# --- statements -----------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class _Compiled:
    """The text of a statement, its own values, and converters for those of the caller."""

    text: str
    defaults: Mapping[str, Any]
    converts: tuple[tuple[str, _Convert], ...]


class Prepared:
    """A statement of a store. A store has one engine, so the statement is compiled once."""

    def __init__(self, statement: sa.Select[Any] | sa.UpdateBase, /) -> None:
        self._statement = statement
        self._compiled: dict[tuple[str, ...], _Compiled] = {}
        self._columns: tuple[tuple[str, _Convert | None], ...] = ()

    def rows(self, connection: sa.Connection, values: Mapping[str, Any], /) -> list[dict[str, Any]]:
        """Execute a query, and return its rows."""
        if not is_alone(connection):
            result = connection.execute(self._statement, values)
            names = tuple(result.keys())
            return [dict(zip(names, row, strict=True)) for row in result]
        cursor = self._executed(connection, values)
        found = cursor.fetchall()
        if found and not self._columns:
            self._columns = self._described(connection.dialect, cursor.description)
        return [
            {
                name: value if convert is None else convert(value)
                for (name, convert), value in zip(self._columns, row, strict=True)
            }
            for row in found
        ]

    def count(self, connection: sa.Connection, values: Mapping[str, Any], /) -> int:
        """Execute a write, and return the number of rows that it changed."""
        if not is_alone(connection):
            return connection.execute(self._statement, values).rowcount
        changed: int = self._executed(connection, values).rowcount
        return changed

    def _executed(self, connection: sa.Connection, values: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a cursor of psycopg
        """Execute the statement on psycopg, and return the cursor.

        Errors are SQLAlchemy's, and have its effects: if the connection is lost, the pool is emptied.
        """
        dialect, pooled = connection.dialect, connection.connection
        compiled = self._compiled_for(dialect, tuple(values))
        given = {**compiled.defaults, **values}
        for name, convert in compiled.converts:
            given[name] = convert(given[name])
        cursor = pooled.cursor()
        errors = dialect.loaded_dbapi.Error
        try:
            cursor.execute(compiled.text, given)
        except errors as error:
            cause = error
        except Exception:
            raise
        except BaseException as error:  # Ctrl-C: the answer may be on its way
            connection.invalidate(error)
            raise
        else:
            return cursor
        if dialect.is_disconnect(cause, pooled, None):
            # On the closed connection this fails at once. Then SQLAlchemy empties the pool.
            with contextlib.suppress(sa.exc.DBAPIError):
                connection.exec_driver_sql("SELECT 1")
        raise sa.exc.DBAPIError.instance(
            None, None, cause, errors, hide_parameters=True, dialect=dialect
        )

    def _compiled_for(self, dialect: sa.Dialect, names: tuple[str, ...]) -> _Compiled:
        """Return the statement for values with these names."""
        if names not in self._compiled:
            compiled: Any = self._statement.compile(dialect=dialect, column_keys=list(names))
            converts = (
                (name, bind.type.dialect_impl(dialect).bind_processor(dialect))
                for bind, name in compiled.bind_names.items()
            )
            self._compiled[names] = _Compiled(
                text=str(compiled),
                defaults={
                    name: value for name, value in compiled.params.items() if name not in names
                },
                converts=tuple(each for each in converts if each[1] is not None),
            )
        return self._compiled[names]

    def _described(
        self,
        dialect: sa.Dialect,
        description: Any,  # noqa: ANN401 - a sequence, whose items each driver has its own class for
    ) -> tuple[tuple[str, _Convert | None], ...]:
        """Return the names of the columns, each with the converter of its values."""
        columns: Any = self._statement.exported_columns
        return tuple(
            (column.name, column.type.dialect_impl(dialect).result_processor(dialect, found[1]))
            for column, found in zip(columns, description, strict=True)
        )


# --- connections ----------------------------------------------------------------------------------------


def is_direct(engine: sa.Engine, /) -> bool:
    """Return whether a statement may go to psycopg without SQLAlchemy.

    SQLAlchemy has no public name for "somebody handles events". If it changes its own name, the answer
    is no.
    """
    return (
        engine.dialect.driver == "psycopg"
        and not engine.dialect.is_async
        # In other pools, the host may use the same connection at this moment.
        and isinstance(engine.pool, (sa.QueuePool, sa.NullPool))
        and not engine.get_execution_options()
        and not getattr(engine, "_has_events", True)
        and not getattr(engine.dialect, "_has_events", True)
        # SQLAlchemy 2.0 gives this one to the class only when somebody handles events of all connections.
        and not getattr(sa.Connection, "_has_events", False)
        and not engine.logger.isEnabledFor(logging.INFO)
    )


def watch_pool(engine: sa.Engine, /) -> None:
    """Make sure that no connection is in autocommit of ours when it is back in the engine's pool.

    SQLAlchemy adds a handler only once. Its `contains` may know the handler of an older pool that was at
    the same address.
    """
    sa.event.listen(engine.pool, "reset", _end_autocommit)


@contextlib.contextmanager
def alone(engine: sa.Engine, /) -> Iterator[sa.Connection]:
    """Connect for one statement, which psycopg executes in autocommit.

    SQLAlchemy's own way into autocommit and back takes as long as the statement.
    """
    with engine.connect() as connection:
        driver: Any = connection.connection.dbapi_connection
        # The host's engine may be in autocommit, and stays so. The note comes before the change.
        connection.info[_ALONE] = not driver.autocommit
        driver.autocommit = True
        yield connection


def is_alone(connection: sa.Connection, /) -> bool:
    """Return whether `alone` made the connection."""
    return _ALONE in connection.info


def _end_autocommit(driver: Any, record: Any, _state: object) -> None:  # noqa: ANN401 - SQLAlchemy passes them
    """End our autocommit. If that fails, SQLAlchemy closes the connection instead of keeping it."""
    if record.info.get(_ALONE):
        driver.autocommit = False
    record.info.pop(_ALONE, None)
