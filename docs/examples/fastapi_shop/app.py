"""A FastAPI shop: ``uvicorn --factory app:create_app --port 8000 --no-proxy-headers``."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI

import mpesa_stk as stk

ORDERS = {"INV-001": 1500}  # what your database says that each order costs


async def work(payments: stk.AsyncPayments, every: float = 10.0) -> None:
    """Report settled payments to `print` and ask about open ones, again and again."""
    while True:
        with suppress(stk.StoreError):  # the next round tries again
            await payments.process_due(on_settled=print)
        await asyncio.sleep(every)


def create_app(endpoints: stk.PaymentEndpoints | None = None) -> FastAPI:
    """The application; with other endpoints in tests."""
    if endpoints is None:
        client = stk.AsyncStkClient(stk.StkConfig.from_env())
        payments = stk.AsyncPayments(client, stk.AsyncMemoryTransactionStore())
        # The price is the server's: a page that posts its own amount sells a laptop for one shilling.
        endpoints = stk.PaymentEndpoints(payments, quote=ORDERS.get)
    payments = endpoints.payments

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, object]]:
        worker = asyncio.create_task(work(payments))
        yield {"payments": payments}  # for pages of the shop: request.state.payments
        worker.cancel()  # what it has in hand is due again later
        await asyncio.wait([worker])
        await endpoints.drain()  # clients that have hung up leave checkouts behind
        await payments.client.close()

    app = FastAPI(lifespan=lifespan)
    app.mount("/payments", endpoints.asgi)
    return app
