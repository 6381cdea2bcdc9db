"""A FastAPI shop: ``uvicorn --factory app:create_app --port 8000 --no-proxy-headers``."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import orders
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from pages import HERE, pages_of

import mpesa_stk as stk


async def work(payments: stk.AsyncPayments, every: float = 2.0) -> None:
    """Mark the orders of paid payments and ask about open ones, again and again."""
    while True:
        with suppress(stk.StoreError):  # the next round tries again
            await payments.process_due(on_settled=orders.mark_paid)
        await asyncio.sleep(every)


def create_app(endpoints: stk.PaymentEndpoints | None = None) -> FastAPI:
    """The application; with other endpoints in tests."""
    # The price is the server's: a page that posts its own amount sells a laptop for one shilling.
    endpoints = endpoints or stk.PaymentEndpoints(orders.payments(), quote=orders.price_of)
    payments = endpoints.payments

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, object]]:
        await orders.create_tables()
        worker = asyncio.create_task(work(payments))
        yield {"payments": payments}  # for pages of the shop: request.state.payments
        worker.cancel()  # what it has in hand is due again later
        await asyncio.wait([worker])
        await endpoints.drain()  # clients that have hung up leave checkouts behind
        await payments.client.close()

    app = FastAPI(lifespan=lifespan)
    app.mount("/payments", endpoints.asgi)
    app.mount("/static", StaticFiles(directory=HERE / "static"))
    app.include_router(pages_of(endpoints))
    return app
