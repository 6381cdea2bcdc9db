"""The version of a store's tables: written when they are made, checked before they are used, brought up.

Version 1 are the tables that did not say their version. Version 2 is the same tables, with this one.
Version 3 knows orders, and has the indexes of searches. Version 4 knows the references of prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa

from mpesa_stk.errors import StoreError
from mpesa_stk.stores.sql_database import Database, ExactText, make_table

__all__ = ["VERSION", "Schema"]

VERSION = 4
"""The version of the tables that this library reads and writes."""
_UNSAID = 1
_EMPTIED = 0  # the host emptied all tables, or another store's tables were brought up
_LONGEST = 64

Step = Callable[[sa.Connection], None]

_NO_STEPS: Mapping[int, Step] = MappingProxyType({})


class Schema:
    """The tables of one store, and their version."""

    def __init__(
        self,
        database: Database,
        metadata: sa.MetaData,
        main: sa.Table,
        prefix: str,
        /,
        *,
        version: int = VERSION,
        steps: Mapping[int, Step] = _NO_STEPS,
    ) -> None:
        """Add the table of versions to a store's tables, and check it before their first use.

        Args:
            database: Runs the statements.
            metadata: All tables of the store.
            main: Its most important table, after which the store is named in the table of versions.
            prefix: Start of the names of the tables.
            version: The version that the library needs.
            steps: The steps, by the version that each reaches. For a version without a step,
                only the stored number changes. A step that is run twice must do no harm.
        """
        self._database = database
        self._metadata = metadata
        self._main = main
        self._version = version
        self._steps = steps
        self._versions = make_table(
            metadata,
            f"{prefix}versions",
            sa.Column("name", ExactText(_LONGEST), primary_key=True),
            sa.Column("version", sa.BigInteger, nullable=False),
        )
        sa.event.listen(metadata, "after_create", self._label_new)
        database.before_first_use(self.check)

    def check(self) -> bool:
        """Check that the tables have the version that the library needs.

        Returns:
            False if there are no tables. Then the first statement fails, and says so.

        Raises:
            StoreError: They have another version, or the database failed.
        """
        found = self._database.run(self._stored, writes=False, unchecked=True)
        if found is None:
            return False
        if _EMPTIED < found < self._version:
            raise StoreError(
                f"the table {self._main.name} has version {found}, and this library needs"
                f" {self._version}: run mpesa-stk database upgrade"
            )
        if found > self._version:
            raise StoreError(
                f"the table {self._main.name} has version {found}, and this library knows"
                f" {self._version}: install a newer mpesa-stk-client"
            )
        return True

    def create(self) -> None:
        """Create the missing tables and indexes.

        Raises:
            StoreError: There are tables of another version, or the database failed.
        """
        self.check()
        # In MySQL each table is committed by itself. If the table of versions came last, another worker
        # could take the new tables for old ones.
        self._database.create(self._metadata, first=self._versions)

    def upgrade(self) -> tuple[int | None, int]:
        """Bring the tables up to the version that the library needs. Missing ones are created.

        Returns:
            The version before, or None if there were no tables, and the version now.

        Raises:
            StoreError: The tables are newer than the library, or the database failed.
        """
        before = self._database.run(self._stored, writes=False, unchecked=True)
        if before == _EMPTIED:
            before = _UNSAID  # a step that is run twice does no harm
        if before is not None and before < self._version:
            self._database.run(
                lambda connection: self._bring_up(connection, before),
                unchecked=True,
                refused=lambda: True,  # another process brought them up at the same moment
            )
        self.create()
        return before, self._version

    def _stored(self, connection: sa.Connection) -> int | None:
        """Return the version of the tables, or None if there are none.

        If the table of versions does not name them, this is `_EMPTIED`.
        """
        tables = sa.inspect(connection)
        schema = self._metadata.schema
        if not tables.has_table(self._main.name, schema=schema):
            return None
        if not tables.has_table(self._versions.name, schema=schema):
            return _UNSAID
        mine = self._versions.c.name == self._main.name
        said = connection.execute(sa.select(self._versions.c.version).where(mine)).scalar()
        return _EMPTIED if said is None else int(said)

    def _bring_up(self, connection: sa.Connection, before: int) -> bool:
        for version in range(before + 1, self._version + 1):
            if version in self._steps:
                self._steps[version](connection)
        self._versions.create(connection, checkfirst=True)
        self._label(connection)
        return True

    def _label(self, connection: sa.Connection) -> None:
        """Write the version, in place of the one of tables that were dropped."""
        mine = self._versions.c.name == self._main.name
        connection.execute(sa.delete(self._versions).where(mine))
        connection.execute(
            sa.insert(self._versions), {"name": self._main.name, "version": self._version}
        )

    def _label_new(
        self,
        _metadata: sa.MetaData,
        connection: sa.Connection,
        *,
        tables: Sequence[sa.Table] = (),
        **_options: Any,  # noqa: ANN401 - SQLAlchemy passes more
    ) -> None:
        """Write the version of tables that were just made."""
        if self._main in tables:
            self._label(connection)
