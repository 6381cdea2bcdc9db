"""Make the payments and the endpoints of a process from the host's settings."""

from __future__ import annotations

import asyncio
import importlib.util
import random
import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

from mpesa_stk.async_client import AsyncStkClient
from mpesa_stk.client import StkClient
from mpesa_stk.clock import AsyncClock, AsyncSystemClock, Clock, SystemClock
from mpesa_stk.contrib.django.async_parts import AwaitedLimits, DjangoCalls
from mpesa_stk.contrib.django.cache_limits import CacheLimits
from mpesa_stk.contrib.django.host_functions import awaited, given_django_request, plain, priced
from mpesa_stk.contrib.django.host_settings import HostSettings
from mpesa_stk.contrib.django.orm_budget import DjangoQueryBudget
from mpesa_stk.contrib.django.orm_store import DjangoTransactionStore
from mpesa_stk.contrib.django.orm_tokens import DjangoTokenStore
from mpesa_stk.daraja.exchange import AsyncTransport, Transport
from mpesa_stk.payments.accounts import Accounts
from mpesa_stk.payments.async_accounts import AsyncAccounts
from mpesa_stk.payments.async_payments import AsyncPayments
from mpesa_stk.payments.budget import AwaitedQueryBudget, UnlimitedQueryBudget, pace_for
from mpesa_stk.payments.payments import Payments
from mpesa_stk.payments.store import AwaitedTransactionStore
from mpesa_stk.stores.async_calls import PolledTokenStore
from mpesa_stk.web.endpoints import PaymentEndpoints
from mpesa_stk.web.limits import AsyncLimits, Limits, MemoryLimits, NoLimits

__all__ = ["Parts"]


class Parts:
    """The payments and the endpoints of one process. Each is made when it is first used.

    Threads may share them. Each event loop has asynchronous ones for itself.

    Attributes:
        settings: The settings from which they are made.
        clock: The time.
        store: Keeps the payments, in the host's database.
    """

    def __init__(
        self,
        settings: HostSettings,
        /,
        *,
        transport: Transport | None = None,
        async_transport: AsyncTransport | None = None,
        clock: Clock | None = None,
        async_clock: AsyncClock | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Take the settings. Payments and connections are made at their first use.

        Args:
            settings: The settings of the host.
            transport: Carries requests to Daraja. None for HTTP.
            async_transport: The same on an event loop. None for HTTP through aiohttp.
            clock: The time.
            async_clock: The time on an event loop.
            jitter: Returns a random number from 0 to 1.
        """
        self.settings = settings
        self._transport = transport
        self._async_transport = async_transport
        self.clock = clock or SystemClock()
        self._async_clock = async_clock or AsyncSystemClock()
        self._jitter = jitter
        self._lock = threading.RLock()
        self._of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _OfLoop] = WeakKeyDictionary()
        self.store = DjangoTransactionStore(settings.database)
        self._tokens = DjangoTokenStore(settings.database)
        pace = pace_for(settings.configs[0].environment)  # all accounts are in one environment
        self._budget = (
            UnlimitedQueryBudget() if pace is None else DjangoQueryBudget(pace, settings.database)
        )

    def payments(self) -> Payments | Accounts:
        """Return the payments for code that blocks."""
        with self._lock:
            return self._payments

    def endpoints(self) -> PaymentEndpoints:
        """Return the endpoints for code that blocks."""
        with self._lock:
            return self._endpoints

    def async_payments(self) -> AsyncPayments | AsyncAccounts:
        """Return the payments for the running event loop."""
        return self._of_loop().payments

    def async_endpoints(self) -> PaymentEndpoints | None:
        """Return the endpoints for the running event loop, or None if the package for that is missing."""
        if self._async_transport is None and importlib.util.find_spec("aiohttp") is None:
            return None
        return self._of_loop().endpoints

    def close(self) -> None:
        """Close the connections of the payments for code that blocks, if there are any."""
        payments = self.__dict__.get("_payments")
        if payments is not None:
            (payments if isinstance(payments, Accounts) else payments.client).close()

    # --- for code that blocks ----------------------------------------------------------------------

    @cached_property
    def _payments(self) -> Payments | Accounts:
        host = self.settings
        if host.several:
            return Accounts(
                self.store,
                host.configs,
                clock=self.clock,
                hooks=host.hooks,
                jitter=self._jitter,
                query_budget=self._budget,
                transport=self._transport,
                token_store=self._tokens,
            )
        client = StkClient(
            host.configs[0],
            transport=self._transport,
            token_store=self._tokens,
            clock=self.clock,
            hooks=host.hooks,
        )
        return Payments(
            client,
            self.store,
            clock=self.clock,
            hooks=host.hooks,
            jitter=self._jitter,
            query_budget=self._budget,
        )

    @cached_property
    def _endpoints(self) -> PaymentEndpoints:
        return _endpoints_of(self.settings, self._payments, limits=self._limits, as_face=plain)

    @cached_property
    def _limits(self) -> Limits:
        """The limits of both faces. With a simulator no money moves, so a test may ask often."""
        host = self.settings
        if host.limits is not None:
            return host.limits
        if all(config.environment.is_loopback for config in host.configs):
            return NoLimits()
        if host.cache is not None:
            return CacheLimits(host.cache)
        return MemoryLimits(monotonic=self.clock.monotonic)

    # --- for an event loop ---------------------------------------------------------------------------

    def _of_loop(self) -> _OfLoop:
        loop = asyncio.get_running_loop()
        with self._lock:
            found = self._of_loops.get(loop)
            if found is None:
                found = self._of_loops[loop] = _OfLoop(self._make_async(), self)
            return found

    def _make_async(self) -> AsyncPayments | AsyncAccounts:
        host, calls = self.settings, DjangoCalls()
        store = AwaitedTransactionStore(self.store, calls)
        tokens = PolledTokenStore(self._tokens, calls, clock=self._async_clock)
        budget = AwaitedQueryBudget(self._budget, calls)
        if host.several:
            return AsyncAccounts(
                store,
                host.configs,
                clock=self._async_clock,
                hooks=host.hooks,
                jitter=self._jitter,
                query_budget=budget,
                transport=self._async_transport,
                token_store=tokens,
            )
        client = AsyncStkClient(
            host.configs[0],
            transport=self._async_transport,
            token_store=tokens,
            clock=self._async_clock,
            hooks=host.hooks,
        )
        return AsyncPayments(
            client,
            store,
            clock=self._async_clock,
            hooks=host.hooks,
            jitter=self._jitter,
            query_budget=budget,
        )

    def async_limits(self) -> Limits | AsyncLimits:
        """Return the limits for an event loop. Counts in memory do not block it."""
        with self._lock:
            limits = self._limits
        if isinstance(limits, (MemoryLimits, NoLimits)):
            return limits
        return AwaitedLimits(limits)


class _OfLoop:
    """The payments and the endpoints of one event loop."""

    def __init__(self, payments: AsyncPayments | AsyncAccounts, parts: Parts) -> None:
        self.payments = payments
        self.endpoints = _endpoints_of(
            parts.settings, payments, limits=parts.async_limits(), as_face=awaited
        )


def _endpoints_of(
    host: HostSettings,
    payments: Payments | Accounts | AsyncPayments | AsyncAccounts,
    *,
    limits: Limits | AsyncLimits,
    as_face: Callable[[Callable[..., Any]], Callable[..., Any]],
) -> PaymentEndpoints:
    """Make endpoints. The view gives them paths without the place where the host has them."""
    quote, authorize, key_scope = host.quote, host.authorize, host.key_scope
    return PaymentEndpoints(
        payments,
        guard=host.guard,
        prefix="",
        quote=None if quote is None else as_face(priced(quote)),
        authorize=None if authorize is None else given_django_request(as_face(authorize)),
        key_scope=None if key_scope is None else given_django_request(as_face(key_scope)),
        limits=limits,
    )
