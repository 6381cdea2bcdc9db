"""Databases of each kind for Django, under an alias beside the default one of the example shop."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pymysql
import sqlalchemy
from django.apps import apps
from django.core.management import call_command
from django.db import connections

from example_shops import set_up_django

__all__ = ["ALIAS", "django_alias", "emptied"]

ALIAS = "contract"
_ENGINES = {"postgresql": "postgresql", "mysql": "mysql", "sqlite": "sqlite3"}


def _settings_of(url: str) -> dict[str, Any]:
    """Django's settings of a database that has an SQLAlchemy URL."""
    parts = sqlalchemy.make_url(url)
    kind = parts.get_backend_name()
    options: dict[str, Any] = {}
    if kind == "mysql":
        # Django asks for mysqlclient, which must be compiled. PyMySQL does as much for these tests.
        pymysql.version_info = (2, 2, 7, "final", 0)
        pymysql.install_as_MySQLdb()
        options = {"charset": "utf8mb4"}  # the default since Django 5.2
    if kind == "sqlite":
        options = {"timeout": 20}
    return {
        "ENGINE": f"django.db.backends.{_ENGINES[kind]}",
        "NAME": parts.database,
        "HOST": parts.host or parts.query.get("host", ""),
        "PORT": str(parts.port or ""),
        "USER": parts.username or "",
        "PASSWORD": parts.password or "",
        "OPTIONS": options,
    }


@contextmanager
def django_alias(url: str, alias: str = ALIAS, **options: Any) -> Iterator[str]:
    """The tables in a database with an SQLAlchemy URL, under an alias."""
    set_up_django()
    default = connections.settings["default"]
    connections.settings[alias] = {**default, **_settings_of(url), **options}
    try:
        call_command("migrate", database=alias, verbosity=0)
        yield alias
    finally:
        connections.close_all()
        with contextlib.suppress(AttributeError):
            del connections[alias]
        del connections.settings[alias]


@contextmanager
def emptied(alias: str = ALIAS) -> Iterator[None]:
    """At the end, delete what is in the tables."""
    try:
        yield
    finally:
        with connections[alias].cursor() as cursor:
            for model in apps.get_app_config("mpesa_stk").get_models():
                cursor.execute(f"DELETE FROM {model._meta.db_table}")  # noqa: S608 - our tables
