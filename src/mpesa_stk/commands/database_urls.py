"""How the URL of a database is written, for one that SQLAlchemy cannot use. No part of it is repeated."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Mapping

__all__ = ["advice"]

# As people write the kind of a database -> as SQLAlchemy does.
_KINDS: Mapping[str, str] = {
    "postgres": "postgresql",
    "postgresql": "postgresql",
    "pgsql": "postgresql",
    "psql": "postgresql",
    "mysql": "mysql",
    "mariadb": "mariadb",
    "sqlite": "sqlite",
    "sqlite3": "sqlite",
}
# A kind -> its drivers that do not need asyncio, best first: name in a URL, and module.
_DRIVERS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "postgresql": (("psycopg", "psycopg"), ("psycopg2", "psycopg2"), ("pg8000", "pg8000")),
    "mysql": (("pymysql", "pymysql"), ("mysqldb", "MySQLdb")),
    "mariadb": (("pymysql", "pymysql"), ("mysqldb", "MySQLdb")),
}
_PACKAGES: Mapping[str, str] = {"psycopg": "psycopg[binary]", "pymysql": "pymysql"}
_ALIKE = 0.7


def advice(url: str, /) -> str:
    """Say how to write a URL whose kind or driver there is not."""
    written = url.partition(":")[0].partition("+")[0].lower()
    near = difflib.get_close_matches(written, _KINDS, 1, _ALIKE)
    if not near:
        return "write it as postgresql+psycopg://user@host/database, or as SQLAlchemy's pages say"
    kind = _KINDS[near[0]]
    if kind == "sqlite":
        return "write sqlite:///file.db, or sqlite:////var/lib/shop/file.db"
    drivers = _DRIVERS[kind]
    installed = [name for name, module in drivers if importlib.util.find_spec(module)]
    name = installed[0] if installed else drivers[0][0]
    written_so = f"write {kind}+{name}://..., with the rest as it is"
    return written_so if installed else f"pip install '{_PACKAGES[name]}', and {written_so}"
