"""Describe in words what failed in a database, and what to do about it. Pure.

The text of an error is never quoted: it may hold a phone number, or the URL with its password.
"""

from __future__ import annotations

__all__ = ["code_of", "meaning_of"]

_NO_CONNECTION = (
    "no connection: is the server running, and are host, port, name and password right?"
)

# Each row holds a meaning, its codes, and parts of its text. Codes of PostgreSQL are SQLSTATE, codes of
# MySQL and MariaDB are numbers. The text counts if there is no code: SQLite has none, and psycopg has none
# when it cannot connect.
_MEANINGS: tuple[tuple[str, tuple[str | int, ...], tuple[str, ...]], ...] = (
    (
        "a table is missing: call create_tables(), or run your migrations",
        ("42P01", 1146),
        ("no such table",),
    ),
    (
        "a column is missing: the table was made by another version, and needs a migration",
        ("42703", 1054),
        ("no such column", "has no column named"),
    ),
    ("the schema is missing: create it, and then the tables in it", ("3F000",), ()),
    (
        "permission denied: grant this user SELECT, INSERT, UPDATE and DELETE on the tables",
        ("42501", 1044, 1142, 1143, 1227),
        ("permission denied",),
    ),
    (
        "login refused: check the user and the password in the URL, and what the server lets in",
        ("28P01", "28000", 1045, 1698),
        ("authentication failed", "pg_hba.conf", 'role "', "no password supplied"),
    ),
    (
        "the database is missing: create it, or correct its name in the URL",
        ("3D000", 1049),
        ('database "',),
    ),
    (
        "the database is read-only: is it a replica, or a file that this user may not write?",
        ("25006", 1290, 1792, 1836),
        ("readonly database",),
    ),
    (
        "the database is locked: another writer held it for too long",
        ("55P03", 1205),
        ("is locked",),
    ),
    ("the disk is full", ("53100", 1021, 1114), ("disk is full",)),
    (
        "too many connections: use smaller pools, or a pooler",
        ("53300", 1040, 1203, 1226),
        ("too many clients", "connection slots"),
    ),
    (
        "no connection of the engine's pool became free: make the pool larger",
        (),
        ("QueuePool limit",),
    ),
    (
        "the file cannot be opened: does its folder exist, and may this user write in it?",
        (),
        ("unable to open database file",),
    ),
    ("the file is no SQLite database, or is damaged", (), ("not a database", "malformed")),
    ("the disk failed", ("58030",), ("disk I/O error",)),
    (
        "the statement took too long, and the database stopped it",
        ("57014", 1317, 1969, 3024),
        (),
    ),
    (
        "the server ended the connection: it may have been restarted",
        ("57P01", "57P02", "57P03", "08003", 2006, 2013, 4031),
        ("server closed the connection", "connection is lost", "connection is closed"),
    ),
    (_NO_CONNECTION, ("08000", "08001", "08004", "08006", 2002, 2003, 2005), ()),
    (
        "other writers were in the way, again and again",
        ("40001", "40P01", 1213, 1020),
        (),
    ),
    (
        "a value does not fit into its column: the table was made by another version",
        ("22001", 1406),
        (),
    ),
    (
        "a constraint of the table refused the row",
        ("23502", "23503", "23505", "23514", 1048, 1062, 1364, 1452, 4025),
        ("constraint failed",),
    ),
)


def code_of(error: Exception, /) -> str | int | None:
    """Return the database's code: SQLSTATE in PostgreSQL, a number in MySQL, or None."""
    cause = _cause_of(error)
    number = next(iter(getattr(cause, "args", ())), None)
    if type(number) is int:  # this comes first, because PyMySQL's SQLSTATE says less
        return number
    return getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)


def meaning_of(error: Exception, /, *, reached: bool) -> str:
    """Return the meaning of an error in words, with its class and code.

    Args:
        error: An error of SQLAlchemy, Django or the driver.
        reached: Whether there was a connection before the error.
    """
    code = code_of(error)
    name = type(error).__name__ if code is None else f"{type(error).__name__} {code}"
    text = str(_cause_of(error) or error) if code is None else ""
    for meaning, codes, parts in _MEANINGS:
        if code in codes or any(part in text for part in parts):
            return f"{meaning} ({name})"
    return name if reached else f"{_NO_CONNECTION} ({name})"


def _cause_of(error: Exception) -> BaseException | None:
    """Return the error of the driver. SQLAlchemy has it in ``orig``, and Django as the cause."""
    return getattr(error, "orig", None) or error.__cause__
