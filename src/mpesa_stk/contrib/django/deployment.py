"""What is wrong with a project that runs in several processes behind a proxy, and what it is reached by."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Warning  # noqa: A004 - Django's name
from django.db import connections
from django.http.request import validate_host
from django.urls import Resolver404, get_script_prefix, resolve

from mpesa_stk.config.urls import host_of
from mpesa_stk.contrib.django.host_settings import SETTING, HostSettings
from mpesa_stk.contrib.django.models import Payment
from mpesa_stk.contrib.django.orm_database import alias_of

__all__ = ["found", "leads_to_callback"]

_OF_ONE_PROCESS = ("locmem.LocMemCache", "dummy.DummyCache")


def leads_to_callback(url: str, /) -> bool:
    """Return whether the path of an address is that of the callback endpoint."""
    from mpesa_stk.contrib.django import views  # noqa: PLC0415 - it makes views, which need the settings

    path, prefix = urlsplit(url).path, get_script_prefix()
    if not path.startswith(prefix):
        return False
    try:
        return bool(resolve(f"/{path[len(prefix) :]}").func is views.callback)
    except Resolver404:
        return False


def found(host: HostSettings, /) -> Iterator[CheckMessage]:
    """Yield what is wrong if the project is deployed as it is."""
    yield from _of_hosts(host)
    yield from _of_processes(host)
    yield from _of_proxies(host)


def _of_hosts(host: HostSettings) -> Iterator[CheckMessage]:
    names = dict.fromkeys(host_of(config.callback_url) for config in host.configs)
    for name in names:
        if not validate_host(name, settings.ALLOWED_HOSTS):
            yield Warning(
                f"ALLOWED_HOSTS lacks {name}, the host of your callback URL: Django answers 400 to "
                "Daraja's callbacks.",
                hint=f"Add {name!r} to ALLOWED_HOSTS.",
                id="mpesa_stk.W005",
            )


def _of_processes(host: HostSettings) -> Iterator[CheckMessage]:
    """Yield a warning for each part that a process has for itself although all should share it."""
    if host.limits is None and host.cache is None:
        yield Warning(
            "Each process counts for itself how often clients ask, so they may ask more often than "
            "the rates allow.",
            hint=f"Name an alias of a shared cache, such as Redis, as {SETTING}['cache'].",
            id="mpesa_stk.W008",
        )
    elif host.limits is None and settings.CACHES[host.cache]["BACKEND"].endswith(_OF_ONE_PROCESS):
        yield Warning(
            f"The cache {host.cache!r}, which counts how often clients ask, belongs to one process.",
            hint="Use a cache that processes share: Redis, Memcached or the database.",
            id="mpesa_stk.W008",
        )
    database = connections[alias_of(Payment, host.database)]
    name = str(database.settings_dict["NAME"])
    if database.vendor == "sqlite" and (name == ":memory:" or "mode=memory" in name):
        yield Warning(
            "The database is in memory: payments are lost when the process ends, though customers still "
            "pay them, and no process shares its token with another one.",
            hint="Use a database in a file or on a server.",
            id="mpesa_stk.W009",
        )


def _of_proxies(host: HostSettings) -> Iterator[CheckMessage]:
    header = settings.SECURE_PROXY_SSL_HEADER
    is_behind_one = bool(header) or settings.USE_X_FORWARDED_HOST
    trusted = [config.trusted_proxies for config in host.configs]
    if is_behind_one and not all(trusted):
        yield Warning(
            "Django believes the header fields of a proxy, and the payments know no proxy: every "
            "callback seems to come from the proxy, and is refused.",
            hint=f"Set {SETTING}['trusted_proxies'] to the addresses of your proxy.",
            id="mpesa_stk.W010",
        )
    if any(trusted) and settings.SECURE_SSL_REDIRECT and not header:
        yield Warning(
            "SECURE_SSL_REDIRECT redirects every request that a proxy hands on by http, and Daraja "
            "follows no redirect, so callbacks are lost.",
            hint="Set SECURE_PROXY_SSL_HEADER to the field in which your proxy says https.",
            id="mpesa_stk.W011",
        )
