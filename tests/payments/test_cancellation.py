"""A task is cancelled while it waits, at each step of each method: nothing is lost, nothing is sent twice.

The flow is driven by hand, without an event loop. Every part suspends before and after its work, so that
the flow can be cancelled there, as asyncio does it. `docs/how-to/asyncio.md` has the table of these points.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, ParamSpec, TypeVar

import pytest

from both_faces import drive
from daraja_double import ScriptedDaraja, answer, result
from mpesa_stk import HttpRequest, HttpResponse, MemoryTransactionStore, Transaction
from mpesa_stk.async_client import AsyncStkClient
from mpesa_stk.clock import AwaitedClock
from mpesa_stk.daraja.tokens import AwaitedTokenStore, MemoryTokenStore
from mpesa_stk.payments.async_payments import AsyncPayments
from mpesa_stk.payments.state import TransactionState
from mpesa_stk.payments.store import AwaitedTransactionStore
from support import CALLBACK_SECRET, CHECKOUT_ID, ManualClock, accepted, callback, make_config

P = ParamSpec("P")
T = TypeVar("T")


class Cancelled(BaseException):
    """As `asyncio.CancelledError`, without asyncio."""


@types.coroutine
def step(name: str) -> Iterator[str]:
    """Suspend under this name."""
    yield name


async def stepping(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Suspend before and after a call."""
    name = function.__name__
    await step(f"before {name}")
    done = function(*args, **kwargs)
    await step(f"after {name}")
    return done


class SteppingClock(AwaitedClock):
    """A clock that suspends while it sleeps."""

    async def sleep(self, seconds: float, /) -> None:
        """Sleep."""
        await step("sleep")
        await super().sleep(seconds)


class Line:
    """Daraja, reached over a transport that suspends."""

    def __init__(self, daraja: ScriptedDaraja) -> None:
        self.daraja = daraja

    async def send(self, request: HttpRequest, /) -> HttpResponse:
        """Send."""
        kind = request.url.rstrip("/").rpartition("/")[2].partition("?")[0]
        await step(f"before {kind}")
        response = self.daraja.send(request)
        await step(f"after {kind}")
        return response

    async def close(self) -> None:
        """Nothing is open."""


class Shop:
    """A shop on asyncio, and what another process of it does afterwards."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.daraja = ScriptedDaraja()
        self.store = MemoryTransactionStore()
        self.reported: list[TransactionState] = []
        client = AsyncStkClient(
            make_config(callback_secrets=(CALLBACK_SECRET,)),
            transport=Line(self.daraja),
            clock=SteppingClock(self.clock),
            token_store=AwaitedTokenStore(MemoryTokenStore(), stepping),
        )
        self.payments = AsyncPayments(
            client,
            AwaitedTransactionStore(self.store, stepping),
            clock=SteppingClock(self.clock),
            jitter=lambda: 0.5,
        )

    def checkout(self) -> Coroutine[Any, Any, Transaction]:
        """Ask for 100 shillings."""
        return self.payments.checkout(
            phone_number="0718643064", amount=100, reference="INV-1", idempotency_key="order-1"
        )

    def report(self, transaction: Transaction) -> None:
        """The host's handler."""
        self.reported.append(transaction.state)

    @property
    def stored(self) -> Transaction | None:
        """The payment as stored."""
        return self.store.find(reference="INV-1")


def cancel(flow: Coroutine[Any, Any, Any], *, after: int, again: int | None = None) -> str | None:
    """Cancel a flow at a step, and perhaps again at a step of its cleanup. Return the step's name.

    None: the flow has fewer steps.
    """
    name = None
    for _ in range(after):
        try:
            name = flow.send(None)
        except StopIteration:
            return None
    with pytest.raises(Cancelled):
        _end(flow, again)
    return name


def _end(flow: Coroutine[Any, Any, Any], again: int | None) -> None:
    """Cancel a flow, and let it clean up."""
    flow.throw(Cancelled())
    for count in range(1000):
        if count == again:
            flow.throw(Cancelled())
        flow.send(None)


def points(prepare: Callable[[Shop], Callable[[], Coroutine[Any, Any, Any]]]) -> Iterator[Any]:
    """Each step of a method, as (its name, the shop after the cancellation)."""
    for again in (None, 0):
        for after in range(1, 1000):
            shop = Shop()
            flow = prepare(shop)()
            name = cancel(flow, after=after, again=again)
            if name is None:
                break
            yield name, shop
        else:
            raise AssertionError("the flow does not end")


def a_day_later(shop: Shop) -> None:
    """Let another worker do what is due, until nothing is."""
    for _ in range(60):
        shop.clock.advance(1800)
        shop.daraja.query_script.append(result(CHECKOUT_ID, "1037", "DS timeout"))
        drive(shop.payments.process_due(on_settled=shop.report))


def _checkout(shop: Shop) -> Callable[[], Coroutine[Any, Any, Any]]:
    shop.daraja.push_script.append(answer(accepted()))
    return shop.checkout


def _pending(shop: Shop) -> None:
    drive(_checkout(shop)())
    shop.clock.advance(30)


def _callback(shop: Shop) -> Callable[[], Coroutine[Any, Any, Any]]:
    _pending(shop)
    return lambda: shop.payments.handle_callback(callback(), token=shop.daraja.token)


def _query(shop: Shop) -> Callable[[], Coroutine[Any, Any, Any]]:
    _pending(shop)
    shop.daraja.query_script.append(result(CHECKOUT_ID, "0"))
    return lambda: shop.payments.query(CHECKOUT_ID)


def _due(shop: Shop) -> Callable[[], Coroutine[Any, Any, Any]]:
    _pending(shop)
    shop.daraja.query_script.append(result(CHECKOUT_ID, "0"))
    return lambda: shop.payments.process_due(on_settled=shop.report)


def test_a_cancelled_checkout_is_stored_before_it_can_be_paid() -> None:
    """Wherever it is cancelled: a prompt that went out has a payment, and the key sends no second one."""
    seen = set()
    for name, shop in points(_checkout):
        seen.add(name)
        stored = shop.stored
        assert stored is not None or shop.daraja.pushes == [], name
        if shop.daraja.pushes:
            receipt = drive(shop.payments.handle_callback(callback(), token=shop.daraja.token))
            assert receipt.transaction is not None
            assert receipt.transaction.state is TransactionState.SUCCEEDED, name
        again = drive(shop.checkout())
        assert len(shop.daraja.pushes) <= 1, name
        assert shop.stored == again, name
        a_day_later(shop)
        assert len(shop.daraja.pushes) <= 1, name
        assert shop.stored is not None
        assert len(shop.reported) == 1, name
        assert shop.reported[0] is shop.stored.state, name
    assert seen >= {"before add", "after add", "before processrequest", "after processrequest"}


@pytest.mark.parametrize("prepare", [_callback, _query, _due])
def test_a_cancelled_method_is_done_later(
    prepare: Callable[[Shop], Callable[[], Coroutine[Any, Any, Any]]],
) -> None:
    """The payment is settled by whoever comes next, and is reported at least once."""
    seen = set()
    for name, shop in points(prepare):
        seen.add(name)
        drive(shop.payments.handle_callback(callback(), token=shop.daraja.token))
        a_day_later(shop)
        assert shop.stored is not None
        assert shop.stored.state is TransactionState.SUCCEEDED, name
        assert shop.reported, name
        assert set(shop.reported) == {TransactionState.SUCCEEDED}, name
        assert len(shop.daraja.pushes) == 1
    assert "before replace" in seen


STORED = {
    "before add": None,
    "after add": TransactionState.CREATED,
    "before load": TransactionState.UNCERTAIN,
    "after generate": TransactionState.UNCERTAIN,
    "before processrequest": TransactionState.UNCERTAIN,
    "after processrequest": TransactionState.UNCERTAIN,
    "before replace": TransactionState.PENDING,
    "after replace": TransactionState.PENDING,
}


@pytest.mark.parametrize("name", STORED)
def test_what_is_stored_after_a_cancelled_checkout(name: str) -> None:
    """The table of `docs/how-to/asyncio.md`."""
    for after in range(1, 100):
        shop = Shop()
        found = cancel(_checkout(shop)(), after=after)
        if found == name:
            assert (shop.stored and shop.stored.state) == STORED[name]
            return
    pytest.fail("there is no such step")
