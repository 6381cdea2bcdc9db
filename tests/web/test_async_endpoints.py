"""Asynchronous endpoints: their methods, clients that hang up, servers that stop."""

from __future__ import annotations

import asyncio
import textwrap
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import pytest

from daraja_double import answer
from mpesa_stk import (
    HttpResponse,
    MemoryTransactionStore,
    PaymentEndpoints,
    Transaction,
    TransactionState,
    WebRequest,
)
from processes import in_fresh_interpreter
from support import accepted
from web_cases import ACCEPTED, AsyncShop, Shop, body_of, error_of

PATIENCE = 10.0
Message = MutableMapping[str, Any]
Serve = Callable[[AsyncShop, WebRequest], Awaitable[None]]


class Gate:
    """Holds a call in its thread, and says that it has come."""

    def __init__(self) -> None:
        self.reached, self.go = threading.Event(), threading.Event()

    def hold(self) -> None:
        """Wait until the gate opens."""
        self.reached.set()
        assert self.go.wait(PATIENCE)

    async def arrived(self) -> None:
        """Wait until a call has come."""
        assert await asyncio.to_thread(self.reached.wait, PATIENCE)


class SlowWrites(MemoryTransactionStore):
    """A store that holds each write of a payment, once it is told to."""

    gate: Gate | None = None

    def replace(self, transaction: Transaction, /) -> bool:
        """Write a payment."""
        if self.gate is not None:
            self.gate.hold()
        return super().replace(transaction)


def held_push(shop: AsyncShop) -> Gate:
    """Daraja holds the next push."""
    gate = Gate()

    def push() -> HttpResponse:
        gate.hold()
        return answer(accepted(shop.checkout_id))

    shop.daraja.push_script.append(push)
    return gate


async def by_handle(shop: AsyncShop, request: WebRequest) -> None:
    """Let the endpoints themselves answer."""
    await shop.endpoints.handle_async(request)


async def by_asgi(shop: AsyncShop, request: WebRequest) -> None:
    """Let the ASGI application answer."""

    async def receive() -> Message:
        return {"type": "http.request", "body": request.body}

    async def send(_message: Message) -> None:
        raise OSError("nobody is there")

    scope = {
        "type": "http",
        "method": request.method,
        "path": request.path,
        "headers": [(name.encode(), value.encode()) for name, value in request.headers.items()],
        "client": (request.remote_addr, 4711),
    }
    await shop.endpoints.asgi(scope, receive, send)


async def hung_up(gate: Gate, serve: Awaitable[None]) -> None:
    """Cancel a request at the gate, as some servers and middleware do if its client hangs up."""
    task = asyncio.ensure_future(serve)
    await gate.arrived()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("serve", [by_handle, by_asgi])
def test_a_checkout_whose_client_hangs_up_is_finished(serve: Serve) -> None:
    """Daraja's answer is stored, so that the payment can be asked about. Its place is taken until then."""
    shop = AsyncShop(at_once=1)
    gate = held_push(shop)

    async def main() -> None:
        await hung_up(gate, serve(shop, shop.checkout()))
        refused = await shop.endpoints.handle_async(shop.checkout())
        assert error_of(refused, 503) == ("too_busy", None)
        gate.go.set()
        await asyncio.wait_for(shop.endpoints.drain(), PATIENCE)
        body_of(await shop.endpoints.handle_async(shop.post("query", {"transaction_no": "x"})), 404)

    asyncio.run(main())
    assert shop.stored().state is TransactionState.PENDING
    assert shop.stored().checkout_request_id == shop.checkout_id
    assert len(shop.daraja.pushes) == 1


@pytest.mark.parametrize("serve", [by_handle, by_asgi])
def test_a_callback_whose_client_hangs_up_is_handled(serve: Serve) -> None:
    """Daraja may not post it again, so it settles its payment although nobody waits for the answer."""
    store, gate = SlowWrites(), Gate()
    shop = AsyncShop(store)
    body_of(shop.handle(shop.checkout()))
    store.gate = gate

    async def main() -> None:
        await hung_up(gate, serve(shop, shop.called_back()))
        gate.go.set()
        await asyncio.wait_for(shop.endpoints.drain(), PATIENCE)

    asyncio.run(main())
    assert shop.settled == ["succeeded"]
    assert shop.stored().receipt_number == "NLJ7RT61SV"


def test_a_server_that_stops_waits_for_the_requests_in_progress() -> None:
    """The end of the lifespan is acknowledged when the checkout is stored, not before."""
    shop = AsyncShop()
    gate = held_push(shop)
    stored: list[TransactionState] = []

    async def main() -> None:
        await hung_up(gate, by_handle(shop, shop.checkout()))
        asyncio.get_running_loop().call_later(0.01, gate.go.set)

        async def receive() -> Message:
            return {"type": "lifespan.shutdown"}

        async def send(message: Message) -> None:
            assert message == {"type": "lifespan.shutdown.complete"}
            stored.append(shop.stored().state)

        await asyncio.wait_for(shop.endpoints.asgi({"type": "lifespan"}, receive, send), PATIENCE)

    asyncio.run(main())
    assert stored == [TransactionState.PENDING]


def test_an_event_loop_that_ends_leaves_the_payment_uncertain() -> None:
    """If nobody drains, the checkout is cancelled: its payment says that a prompt may be live."""
    shop = AsyncShop()
    gate = held_push(shop)

    async def main() -> None:
        await hung_up(gate, by_handle(shop, shop.checkout()))

    asyncio.run(main())
    gate.go.set()
    assert shop.stored().state is TransactionState.UNCERTAIN
    body_of(shop.handle(shop.called_back()))
    assert shop.settled == ["succeeded"]


def test_a_client_that_hangs_up_early_sends_nothing() -> None:
    """If it goes before its request is read, there is no checkout."""
    shop = AsyncShop()

    async def receive() -> Message:
        await asyncio.sleep(PATIENCE)
        raise AssertionError("the request was cancelled before")

    async def send(_message: Message) -> None:
        raise AssertionError("there is no answer")

    async def main() -> None:
        scope = {"type": "http", "method": "POST", "path": "/payments/checkout/", "headers": []}
        task = asyncio.ensure_future(shop.endpoints.asgi(scope, receive, send))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(shop.endpoints.drain(), PATIENCE)

    asyncio.run(main())
    assert shop.daraja.pushes == []


def test_drain_waits_for_requests_that_come_meanwhile() -> None:
    """A request that begins while it waits is waited for, too."""
    shop = AsyncShop()
    first, second = held_push(shop), held_push(shop)

    async def main() -> None:
        checkouts = [asyncio.ensure_future(by_handle(shop, shop.checkout()))]
        await first.arrived()
        drained = asyncio.ensure_future(shop.endpoints.drain())
        checkouts.append(asyncio.ensure_future(by_handle(shop, shop.checkout())))
        await second.arrived()
        first.go.set()
        await asyncio.wait(checkouts[:1], timeout=PATIENCE)
        for _ in range(9):  # so often that a task that had nothing to wait for would be done
            await asyncio.sleep(0)
        assert not drained.done()
        second.go.set()
        await asyncio.wait_for(drained, PATIENCE)
        assert all(checkout.done() for checkout in checkouts)

    asyncio.run(main())
    assert len(shop.daraja.pushes) == 2
    assert body_of(shop.handle(shop.called_back())) == ACCEPTED


# --- both kinds of payments --------------------------------------------------------------------------


def test_the_applications_are_made_of_the_endpoints() -> None:
    """Both properties give an application; that of ASGI is one, however often it is asked for."""
    endpoints: PaymentEndpoints = Shop().endpoints
    assert callable(endpoints.wsgi)
    for made in (endpoints, AsyncShop().endpoints):
        assert callable(made.asgi)
        assert made.asgi is made.asgi


def test_asynchronous_payments_are_refused_where_nothing_is_awaited() -> None:
    """The error names what to use in place of it, and no push is sent."""
    shop = AsyncShop()
    with pytest.raises(TypeError, match="are asynchronous: await handle_async, or mount asgi"):
        shop.endpoints.handle(shop.checkout())
    with pytest.raises(TypeError, match="mount asgi, or make the endpoints of Payments"):
        _ = shop.endpoints.wsgi
    assert shop.daraja.pushes == []


def test_synchronous_payments_are_refused_where_they_would_block_the_loop() -> None:
    """The same the other way round."""
    shop = Shop()
    for use in (shop.endpoints.handle_async(shop.checkout()), shop.endpoints.drain()):
        with pytest.raises(TypeError, match="are synchronous: call handle, or mount asgi"):
            asyncio.run(use)
    assert shop.daraja.pushes == []


def test_synchronous_endpoints_import_no_asyncio() -> None:
    """A whole payment over WSGI's `handle` needs no event loop."""
    code = """
        import sys
        from mpesa_stk import MemoryTransactionStore, PaymentEndpoints, Payments, WebRequest
        from mpesa_stk import StkClient, StkConfig, PayBill, NotSent, RetryPolicy
        class Down:
            def send(self, request):
                raise NotSent("no network here")
            def close(self):
                pass
        config = StkConfig(
            consumer_key="key", consumer_secret="secret", passkey="passkey",
            account=PayBill("600000"), callback_url="https://shop.example/payments/callback",
        )
        client = StkClient(config, transport=Down(), retry=RetryPolicy(attempts=1))
        payments = Payments(client, MemoryTransactionStore())
        endpoints = PaymentEndpoints(payments)
        body = b'{"phone_number": "0718643064", "amount": 1, "reference": "A"}'
        request = WebRequest(
            method="POST", path="/payments/checkout/",
            headers={"Content-Type": "application/json"}, body=body,
        )
        print(endpoints.handle(request).status, callable(endpoints.wsgi), "asyncio" in sys.modules)
    """
    assert in_fresh_interpreter(textwrap.dedent(code)) == "503 True False"
