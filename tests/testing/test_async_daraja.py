"""The simulated Daraja on an event loop: prompts, callbacks and waiting without a single real second."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from mpesa_stk import AsyncPayments, AsyncStkClient, OutcomeUnknown
from mpesa_stk.payments.store import AwaitedTransactionStore
from mpesa_stk.stores.memory import MemoryTransactionStore
from mpesa_stk.testing import AsyncSimulatedDaraja, SimulatedDaraja, phones

pytest_plugins = ["mpesa_stk.testing.plugin"]


def run(test: Coroutine[Any, Any, None]) -> None:
    """Run a test in an event loop."""
    asyncio.run(asyncio.wait_for(test, 20.0))


def test_a_customer_pays_while_the_shop_waits(
    async_daraja: AsyncSimulatedDaraja, async_payments: AsyncPayments
) -> None:
    """`outcome` sleeps by the simulation's clock, so the callback comes meanwhile."""

    async def test() -> None:
        payment = await async_payments.checkout(
            phone_number=phones.PAID, amount=100, reference="INV-1"
        )
        after = await async_payments.outcome(payment.transaction_no)
        assert after is not None
        assert after.paid
        assert after.receipt_number
        assert async_daraja.daraja.clock.slept

    run(test())


def test_a_client_waits_for_a_result(async_stk_client: AsyncStkClient) -> None:
    """By the status query."""

    async def test() -> None:
        accepted = await async_stk_client.push(
            phone_number=phones.CANCELLED, amount=100, reference="INV-1"
        )
        result = await async_stk_client.wait_for_result(accepted.checkout_request_id)
        assert result.result_code == "1032"
        await async_stk_client.close()

    run(test())


async def _yielding(function: Any, /, *args: Any, **kwargs: Any) -> Any:
    await asyncio.sleep(0)
    return function(*args, **kwargs)


def test_a_store_that_waits_is_awaited() -> None:
    """Callbacks reach payments whose store suspends, and the customer is played by hand."""

    async def test() -> None:
        daraja = AsyncSimulatedDaraja()
        store = AwaitedTransactionStore(MemoryTransactionStore(), _yielding)
        payments = daraja.payments(store)
        payment = await payments.checkout(
            phone_number=phones.BY_HAND, amount=100, reference="INV-1"
        )
        assert payment.checkout_request_id is not None
        await daraja.decide(payment.checkout_request_id, "paid")
        await daraja.advance(5)
        await daraja.run()
        after = await payments.get(payment.transaction_no)
        assert after is not None
        assert after.paid
        daraja.daraja.raise_callback_errors()

    run(test())


def test_a_lost_answer_is_unknown(async_daraja: AsyncSimulatedDaraja) -> None:
    """As over the other face."""

    async def test() -> None:
        async_daraja.daraja.next("push", "dropped")
        client = async_daraja.client()
        with pytest.raises(OutcomeUnknown):
            await client.push(phone_number=phones.PAID, amount=100, reference="INV-1")

    run(test())


def test_the_synchronous_form_says_why_an_awaited_receiver_fails(daraja: SimulatedDaraja) -> None:
    """The error of the receiver is kept, and names the asynchronous class."""

    async def receive(_url: str, _body: bytes) -> int:
        await asyncio.sleep(0)
        return 200

    payments = daraja.payments()
    payments.checkout(phone_number=phones.PAID, amount=100, reference="INV-1")
    daraja.deliver_to(receive)
    with pytest.raises(RuntimeError, match="use the asynchronous class"):
        daraja.run()
