"""The payments and the endpoints of this process, made once from the host's settings.

Django settings belong to the process, and so does what is made from them: it is the only state that the
library keeps in a module. A forked child makes its own. A test that overrides a setting makes them anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from threading import Lock

from django.core.signals import setting_changed

from mpesa_stk.clock import Clock, SystemClock
from mpesa_stk.contrib.django.host_settings import (
    SETTING,
    HostSettings,
    named_database,
    read_settings,
)
from mpesa_stk.contrib.django.models import Payment
from mpesa_stk.contrib.django.orm_database import alias_of
from mpesa_stk.contrib.django.parts import Parts
from mpesa_stk.forks import PerProcess
from mpesa_stk.payments.accounts import Accounts
from mpesa_stk.payments.async_accounts import AsyncAccounts
from mpesa_stk.payments.async_payments import AsyncPayments
from mpesa_stk.payments.payments import Payments
from mpesa_stk.web.endpoints import PaymentEndpoints

__all__ = [
    "alias",
    "async_endpoints",
    "async_payments",
    "clock",
    "endpoints",
    "host_settings",
    "payments",
    "replaced",
    "reset",
]

_READ = frozenset({SETTING, "BASE_DIR", "CACHES", "DATABASES", "DEBUG", "ROOT_URLCONF"})


class _Holder:
    """The parts of one process, and the lock under which they are made."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.parts: Parts | None = None

    def get(self, make: Callable[[], Parts]) -> Parts:
        with self._lock:
            if self.parts is None:
                self.parts = make()
            return self.parts


_holder = PerProcess(_Holder)


def _parts() -> Parts:
    return _holder().get(lambda: Parts(read_settings()))


def payments() -> Payments | Accounts:
    """Return the payments of this process, for code that blocks.

    They are `Accounts` if the settings name several accounts.

    Raises:
        ConfigurationError: One error that names every setting that is missing or cannot work.
    """
    return _parts().payments()


def async_payments() -> AsyncPayments | AsyncAccounts:
    """Return the payments of this process for the running event loop.

    Raises:
        ConfigurationError: As for `payments`.
    """
    return _parts().async_payments()


def endpoints() -> PaymentEndpoints:
    """Return the endpoints over `payments`, whose paths begin with ``/checkout/`` and the like."""
    return _parts().endpoints()


def async_endpoints() -> PaymentEndpoints | None:
    """Return the endpoints over `async_payments`, or None if aiohttp is not installed."""
    return _parts().async_endpoints()


def host_settings() -> HostSettings:
    """Return the settings from which the payments are made.

    Raises:
        ConfigurationError: As for `payments`.
    """
    return _parts().settings


def clock() -> Clock:
    """Return the clock of the payments, if they are made. Otherwise that of the machine."""
    parts = _holder().parts
    return SystemClock() if parts is None else parts.clock


def alias() -> str:
    """Return the alias of the database in which the payments are."""
    parts = _holder().parts
    named = named_database() if parts is None else parts.settings.database
    return alias_of(Payment, named)


def reset() -> None:
    """Make the payments anew when they are needed next, and close the connections of the present ones."""
    holder = _holder()
    parts, holder.parts = holder.parts, None
    if parts is not None:
        parts.close()


@contextlib.contextmanager
def replaced(parts: Parts, /) -> Iterator[None]:
    """Use other parts until the block ends, for tests."""
    holder = _holder()
    before, holder.parts = holder.parts, parts
    try:
        yield
    finally:
        holder.parts = before


def _forget(*, setting: str, **_given: object) -> None:
    if setting in _READ:
        reset()


setting_changed.connect(_forget, dispatch_uid="mpesa_stk.runtime")
