"""Clients and payments of either face, called alike.

The fixture `face` of conftest.py says which face `make_client` and `make_payments` make. A call of the
asyncio face runs an event loop, in which each part of the flow suspends once before it works.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from mpesa_stk import (
    MemoryTokenStore,
    MemoryTransactionStore,
    Payments,
    RequestsTransport,
    RetryPolicy,
    StkClient,
    StkConfig,
    SystemClock,
    TokenStore,
    TransactionStore,
)
from mpesa_stk.async_client import AsyncStkClient
from mpesa_stk.clock import AwaitedClock, Clock
from mpesa_stk.daraja.exchange import HttpRequest, HttpResponse, Transport
from mpesa_stk.daraja.tokens import AwaitedTokenStore
from mpesa_stk.payments.account_book import LoadConfig
from mpesa_stk.payments.accounts import Accounts
from mpesa_stk.payments.async_accounts import AsyncAccounts
from mpesa_stk.payments.async_payments import AsyncPayments
from mpesa_stk.payments.budget import AwaitedQueryBudget, QueryBudget
from mpesa_stk.payments.store import AwaitedTransactionStore
from mpesa_stk.testing import SimulatedDaraja

P = ParamSpec("P")
T = TypeVar("T")


class Face:
    """Which face the helpers make. One for the whole process, as pytest runs one test at a time."""

    asyncio = False


async def suspending(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Let other tasks run, then call the function."""
    await asyncio.sleep(0)
    return function(*args, **kwargs)


class SuspendingTransport:
    """A transport that suspends before and after each request."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def send(self, request: HttpRequest, /) -> HttpResponse:
        """Send it, and let other tasks run."""
        response = await suspending(self._transport.send, request)
        await asyncio.sleep(0)
        return response

    async def close(self) -> None:
        """Close it."""
        self._transport.close()


class SuspendingClock(AwaitedClock):
    """A clock of the tests whose sleep lets other tasks run."""

    async def sleep(self, seconds: float, /) -> None:
        """Sleep by the clock."""
        await asyncio.sleep(0)
        await super().sleep(seconds)


def run(flow: Coroutine[Any, Any, T], /) -> T:
    """Run a flow in an event loop of its own, also inside of another one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, flow).result(60.0) if _in_loop() else asyncio.run(flow)


def _in_loop() -> bool:
    with contextlib.suppress(RuntimeError):
        asyncio.get_running_loop()
        return True
    return False


def drive(flow: Coroutine[Any, Any, T], /) -> T:
    """Run a flow whose parts only let others run, without an event loop. It is far quicker than `run`."""
    while True:
        try:
            flow.send(None)
        except StopIteration as end:
            done: T = end.value
            return done


class Blocking:
    """An object of the asyncio face, whose methods are called like those of the other face."""

    def __init__(self, target: object, by: Callable[..., Any] = run, **parts: object) -> None:
        self.asynchronous = target
        self._by = by
        vars(self).update(parts)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.asynchronous, name)
        if not inspect.iscoroutinefunction(value):
            return value
        return lambda *args, **kwargs: self._by(value(*args, **kwargs))

    def __getitem__(self, name: str) -> Any:
        found: Any = self.asynchronous
        return Blocking(found[name], by=self._by)

    def __enter__(self) -> Blocking:  # noqa: PYI034 - typing.Self needs Python 3.11
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def driven_payments(daraja: SimulatedDaraja) -> Any:
    """Payments of the asyncio face in a simulation, whose steps `drive` runs."""
    clock = SuspendingClock(daraja.clock)
    client = AsyncStkClient(
        daraja.config,
        transport=SuspendingTransport(daraja),
        clock=clock,
        token_store=AwaitedTokenStore(MemoryTokenStore(), suspending),
        retry=RetryPolicy(jitter=lambda: 0.5),
    )
    store = MemoryTransactionStore()
    payments = AsyncPayments(
        client,
        AwaitedTransactionStore(store, suspending),
        clock=clock,
        jitter=lambda: 0.5,
    )
    return Blocking(payments, by=drive, store=store)


def make_client(
    config: StkConfig,
    *,
    transport: Transport | None = None,
    clock: Clock | None = None,
    token_store: TokenStore | None = None,
    **parts: Any,
) -> Any:
    """A client of the face that is tested. Both send with requests, unless a transport is given."""
    clock = clock or SystemClock()
    if not Face.asyncio:
        return StkClient(config, transport=transport, clock=clock, token_store=token_store, **parts)
    if transport is None:
        transport = RequestsTransport(monotonic=clock.monotonic, user_agent=config.user_agent)
    return Blocking(
        AsyncStkClient(
            config,
            transport=SuspendingTransport(transport),
            clock=SuspendingClock(clock),
            token_store=AwaitedTokenStore(token_store, suspending) if token_store else None,
            **parts,
        )
    )


def make_payments(
    client: Any,
    store: TransactionStore,
    *,
    clock: Clock,
    query_budget: QueryBudget | None = None,
    **parts: Any,
) -> Any:
    """Payments of the face that is tested, over a client of the same face."""
    if not Face.asyncio:
        return Payments(client, store, clock=clock, query_budget=query_budget, **parts)
    budget = None if query_budget is None else AwaitedQueryBudget(query_budget, suspending)
    payments = AsyncPayments(
        client.asynchronous,
        AwaitedTransactionStore(store, suspending),
        clock=SuspendingClock(clock),
        query_budget=budget,
        **parts,
    )
    return Blocking(payments, client=client, store=store, clock=clock)


def make_accounts(
    store: TransactionStore,
    configs: Iterable[StkConfig] | LoadConfig,
    *,
    clock: Clock,
    transport: Transport,
    token_store: TokenStore | None = None,
    query_budget: QueryBudget | None = None,
    **parts: Any,
) -> Any:
    """Accounts of the face that is tested."""
    if not Face.asyncio:
        return Accounts(
            store,
            configs,
            clock=clock,
            transport=transport,
            token_store=token_store,
            query_budget=query_budget,
            **parts,
        )
    budget = None if query_budget is None else AwaitedQueryBudget(query_budget, suspending)
    accounts = AsyncAccounts(
        AwaitedTransactionStore(store, suspending),
        configs,
        clock=SuspendingClock(clock),
        transport=SuspendingTransport(transport),
        token_store=AwaitedTokenStore(token_store, suspending) if token_store else None,
        query_budget=budget,
        **parts,
    )
    return Blocking(accounts, store=store, clock=clock)
