"""Clients and payments in an event loop: tasks share a token, a payment, and a loop without blocking it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Coroutine
from typing import Any

import pytest

from both_faces import SuspendingClock, SuspendingTransport, suspending
from daraja_double import ScriptedDaraja, answer, refusal, result
from mpesa_stk import (
    AuthenticationFailed,
    Event,
    HttpRequest,
    HttpResponse,
    MemoryTransactionStore,
    NotSent,
    QueryResult,
    RetryPolicy,
    Token,
    Transaction,
    TransactionState,
)
from mpesa_stk.async_client import AsyncStkClient
from mpesa_stk.clock import AsyncSystemClock
from mpesa_stk.daraja.async_tokens import AsyncMemoryTokenStore
from mpesa_stk.payments.async_payments import AsyncPayments
from mpesa_stk.payments.store import AwaitedTransactionStore
from support import CHECKOUT_ID, ManualClock, accepted, callback, make_config

PUSH: dict[str, Any] = {"phone_number": "0718643064", "amount": 100, "reference": "INV-1"}


class Counting(ScriptedDaraja):
    """Counts the requests for tokens, and refuses as many as it is told."""

    def __init__(self, refused: int = 0) -> None:
        super().__init__()
        self.tokens = 0
        self.refused = refused

    def send(self, request: HttpRequest, /) -> HttpResponse:
        """Answer one request."""
        if request.method == "GET":
            self.tokens += 1
            if self.tokens <= self.refused:
                return refusal("500.001.1001", "Wrong credentials", 500)
        return super().send(request)


class Shop:
    """A shop on asyncio over a scripted Daraja."""

    def __init__(self, daraja: ScriptedDaraja | None = None) -> None:
        self.daraja = daraja or ScriptedDaraja()
        self.manual = ManualClock()
        self.clock = SuspendingClock(self.manual)
        self.store = MemoryTransactionStore()
        self.events: list[Event] = []
        self.client = AsyncStkClient(
            make_config(),
            transport=SuspendingTransport(self.daraja),
            clock=self.clock,
            retry=RetryPolicy(jitter=lambda: 0.5),
        )
        self.payments = AsyncPayments(
            self.client,
            AwaitedTransactionStore(self.store, suspending),
            clock=self.clock,
            hooks=(self.events.append,),
            jitter=lambda: 0.5,
        )

    @property
    def stored(self) -> Transaction:
        """The payment as stored."""
        stored = self.store.find(reference="INV-1")
        assert stored is not None
        return stored


def run(test: Coroutine[Any, Any, None]) -> None:
    """Run a test in an event loop, for seconds at most."""
    asyncio.run(asyncio.wait_for(test, 20.0))


def test_tasks_on_a_cold_client_fetch_one_token() -> None:
    """32 pushes at once: one token request, 32 pushes."""

    async def test() -> None:
        daraja = Counting()
        shop = Shop(daraja)
        await asyncio.gather(*(shop.client.push(**PUSH) for _ in range(32)))
        assert (daraja.tokens, len(daraja.pushes)) == (1, 32)

    run(test())


def test_tasks_share_the_failure_of_one_fetch() -> None:
    """Wrong credentials cost one request, not one for each task that waits."""

    async def test() -> None:
        daraja = Counting(refused=99)
        shop = Shop(daraja)
        answers = await asyncio.gather(
            *(shop.client.push(**PUSH) for _ in range(8)), return_exceptions=True
        )
        assert [type(each) for each in answers] == [AuthenticationFailed] * 8
        assert daraja.tokens == 1

    run(test())


def test_tasks_with_one_key_push_once() -> None:
    """All get the same payment."""

    async def test() -> None:
        shop = Shop()
        payments = await asyncio.gather(
            *(shop.payments.checkout(**PUSH, idempotency_key="order-1") for _ in range(20))
        )
        assert len({payment.transaction_no for payment in payments}) == 1
        assert len(shop.daraja.pushes) == 1

    run(test())


def test_callbacks_of_one_payment_at_once_settle_it_once() -> None:
    """One task settles it, the others bring no news."""

    async def test() -> None:
        shop = Shop()
        shop.daraja.push_script.append(answer(accepted()))
        await shop.payments.checkout(**PUSH)
        await asyncio.gather(*(shop.payments.handle_callback(callback()) for _ in range(20)))
        assert [event.outcome for event in shop.events if event.kind == "settled"] == ["succeeded"]

    run(test())


def test_workers_report_a_payment_once() -> None:
    """The handler may be an ``async def``. It is awaited before the payment counts as reported."""

    async def test() -> None:
        shop = Shop()
        shop.daraja.push_script.append(answer(accepted()))
        await shop.payments.checkout(**PUSH)
        await shop.payments.handle_callback(callback())
        reported = []

        async def report(transaction: Transaction) -> None:
            await asyncio.sleep(0)
            reported.append(transaction.state)

        done = await asyncio.gather(
            *(shop.payments.process_due(on_settled=report) for _ in range(5))
        )
        assert reported == [TransactionState.SUCCEEDED]
        assert sum(each.reported for each in done) == 1

    run(test())


def test_an_asynchronous_handler_that_fails_is_called_again() -> None:
    """As a plain one."""

    async def test() -> None:
        shop = Shop()
        shop.daraja.push_script.append(answer(accepted()))
        await shop.payments.checkout(**PUSH)
        await shop.payments.handle_callback(callback())

        async def fail(_transaction: Transaction) -> None:
            await asyncio.sleep(0)
            raise ValueError("the mail server is down")

        assert (await shop.payments.process_due(on_settled=fail)).report_failed == 1
        shop.manual.advance(60)
        assert (await shop.payments.process_due(on_settled=lambda _: None)).reported == 1

    run(test())


def test_a_result_is_waited_for_without_blocking_the_loop() -> None:
    """Two tasks wait for two results. Each poll of one lets the other go on."""

    async def test() -> None:
        shop = Shop()
        shop.daraja.query_script.extend([result("ws_CO_1", "0")] * 2)
        polls: list[QueryResult] = []
        results = await asyncio.gather(
            *(
                shop.client.wait_for_result(f"ws_CO_{number}", on_poll=polls.append)
                for number in (1, 1)
            )
        )
        assert len(polls) == len(results) == 2

    run(test())


def test_an_outcome_is_waited_for_without_asking_daraja() -> None:
    """The task wakes up after the callback, and Daraja is not asked."""

    async def test() -> None:
        shop = Shop()
        shop.daraja.push_script.append(answer(accepted()))
        payment = await shop.payments.checkout(**PUSH)
        assert await shop.payments.outcome("no such payment") is None
        still = await shop.payments.outcome(payment.transaction_no, timeout=5.0)
        assert still is not None
        assert not still.settled
        waiting = asyncio.create_task(shop.payments.outcome(payment.transaction_no))
        await asyncio.sleep(0)
        await shop.payments.handle_callback(callback())
        settled = await waiting
        assert settled is not None
        assert settled.paid
        assert shop.daraja.queries == []

    run(test())


def test_a_refused_checkout_raises() -> None:
    """With the number of the stored payment, as in the other face."""

    async def test() -> None:
        shop = Shop()
        shop.daraja.push_script.append(refusal("400.002.02", "Bad Request - Invalid Amount", 400))
        with pytest.raises(Exception, match="Bad Request") as caught:
            await shop.payments.checkout(**PUSH)
        assert vars(caught.value)["transaction_no"] == shop.stored.transaction_no
        assert shop.stored.state is TransactionState.REJECTED

    run(test())


def test_a_client_is_a_context_manager() -> None:
    """It closes its transport."""
    closed = []

    class Transport(SuspendingTransport):
        async def close(self) -> None:
            closed.append(True)

    async def test() -> None:
        transport = Transport(ScriptedDaraja())
        async with AsyncStkClient(make_config(), transport=transport) as client:
            assert (await client.token()).value
            request = client.check_push(**PUSH)
            assert (await client.send_push(request)).checkout_request_id
        assert closed == [True]

    run(test())


# --- the token store ---------------------------------------------------------------------------------


def test_a_flight_that_is_held_too_long_is_given_up() -> None:
    """Who has no time left looks once. A free flight is taken even then."""

    async def test() -> None:
        store = AsyncMemoryTokenStore()
        async with store.single_flight("app", 0.0):
            for timeout in (0.0, -1.0, 0.001):
                with pytest.raises(NotSent):
                    async with store.single_flight("app", timeout):
                        pytest.fail("the flight is held")
        async with store.single_flight("app", 0.0):
            pass

    run(test())


def test_a_task_that_is_cancelled_while_it_waits_hands_its_turn_on() -> None:
    """Also if it is cancelled at the moment when its turn comes."""

    async def hold(store: AsyncMemoryTokenStore, order: list[str], name: str) -> None:
        async with store.single_flight("app", 5.0):
            order.append(name)

    async def test() -> None:
        store, order = AsyncMemoryTokenStore(), list[str]()
        async with store.single_flight("app", 5.0):
            tasks = [asyncio.create_task(hold(store, order, name)) for name in "abc"]
            await asyncio.sleep(0)
            tasks[0].cancel()
            await asyncio.wait(tasks[:1])
        tasks[1].cancel()  # its turn has come, and it does not run yet
        await asyncio.wait(tasks)
        assert order == ["c"]
        async with store.single_flight("app", 0.0):
            pass

    run(test())


def test_a_token_store_serves_one_loop_after_the_other() -> None:
    """A notebook runs many loops, and the token is fetched once."""
    store = AsyncMemoryTokenStore()
    token = Token(value="one", expires_in=3599.0, renew_at=9e9)

    async def test(known: Token | None) -> None:
        async with store.single_flight("app", 0.0):
            assert await store.load("app") == known
            await store.save("app", token)

    run(test(None))
    run(test(token))
    asyncio.run(store.drop("app", token))
    assert asyncio.run(store.load("app")) is None


def test_the_clock_of_the_machine_lets_other_tasks_run() -> None:
    """It tells the time, and sleeps on the loop."""

    async def test() -> None:
        clock = AsyncSystemClock()
        started = clock.monotonic()
        others = asyncio.create_task(asyncio.sleep(0))
        await clock.sleep(0.001)
        assert others.done()
        assert clock.monotonic() > started
        assert clock.now().tzinfo is not None

    run(test())


def test_synchronous_hosts_never_import_asyncio() -> None:
    """Not for a push that is retried, either."""
    script = """
import sys
from mpesa_stk import SANDBOX, HttpResponse, MemoryTransactionStore, NotSent, PayBill, Payments
from mpesa_stk import RequestsTransport, StkClient, StkConfig, SystemClock
class Transport:
    tries = 0
    def send(self, request):
        self.tries += 1
        if self.tries < 3:
            raise NotSent("refused")
        body = b'{"access_token": "' + b"t" * 28 + b'", "expires_in": "3599"}'
        return HttpResponse(status=200, headers={}, body=body)
    def close(self): pass
class NoSleep(SystemClock):
    def sleep(self, seconds): pass
config = StkConfig(consumer_key="k" * 20, consumer_secret="s" * 20, passkey="p" * 20,
    account=PayBill("600000"), callback_url="https://shop.example.co.ke/callback", environment=SANDBOX)
client = StkClient(config, transport=Transport(), clock=NoSleep())
client.token()
Payments(client, MemoryTransactionStore()).process_due()
RequestsTransport()
assert "asyncio" not in sys.modules
"""
    subprocess.run(  # noqa: S603 - our own script
        [sys.executable, "-c", script], check=True, timeout=60
    )


def test_a_synchronous_client_works_inside_a_running_loop() -> None:
    """A notebook has one."""

    async def test() -> None:
        from daraja_double import make_client  # noqa: PLC0415 - the face is that of this test

        client = make_client(ScriptedDaraja(), ManualClock())
        assert client.push(**PUSH).checkout_request_id

    run(test())


def test_the_stored_id_is_the_one_of_the_answer() -> None:
    """As a check of the helpers above."""

    async def test() -> None:
        shop = Shop()
        shop.daraja.push_script.append(answer(accepted()))
        await shop.payments.checkout(**PUSH)
        found = await shop.payments.find(checkout_request_id=CHECKOUT_ID)
        assert found == shop.stored == await shop.payments.get(shop.stored.transaction_no)

    run(test())
