"""The FastAPI shops that `test_web.py` measures, for uvicorn: on threads, and on the event loop.

The environment variable DARAJA_PORT says where Daraja is.
"""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from fastapi import FastAPI

from example_shops import ADAPTERS, load
from http_streams import ask
from mpesa_stk import (
    AsyncPayments,
    AsyncStkClient,
    HttpRequest,
    HttpResponse,
    MemoryTransactionStore,
    NoLimits,
    OutcomeUnknown,
    PaymentEndpoints,
    Payments,
    StkClient,
    StkConfig,
)
from mpesa_stk.stores.memory import AsyncMemoryTransactionStore
from support import loopback_config


class StreamsTransport:
    """An `AsyncTransport` for a Daraja on this machine."""

    async def send(self, request: HttpRequest, /) -> HttpResponse:
        """Send the request once."""
        url = urlsplit(request.url)
        answered = await ask(
            url.port or 80,
            f"{url.path}?{url.query}",
            request.body,
            request.headers,
            within=request.total_timeout,
        )
        if not answered.status:
            raise OutcomeUnknown("no complete answer in time")
        return HttpResponse(status=answered.status, headers=answered.headers, body=answered.body)

    async def close(self) -> None:
        """Nothing is open."""


def on_threads() -> FastAPI:
    """Synchronous payments, as the FastAPI example had them before it was asynchronous."""
    payments = Payments(StkClient(_config()), MemoryTransactionStore())
    app = FastAPI()
    app.mount("/payments", PaymentEndpoints(payments, limits=NoLimits()).asgi)
    return _with_page(app)


def on_the_loop() -> FastAPI:
    """The FastAPI example."""
    client = AsyncStkClient(_config(), transport=StreamsTransport())
    payments = AsyncPayments(client, AsyncMemoryTransactionStore())
    app: FastAPI = load(ADAPTERS["fastapi"]).create_app(
        PaymentEndpoints(payments, limits=NoLimits())
    )
    return _with_page(app)


def _config() -> StkConfig:
    # Without secrets, each of the two workers takes the callbacks of the other one's payments, too.
    return loopback_config(f"http://127.0.0.1:{os.environ['DARAJA_PORT']}")


def _with_page(app: FastAPI) -> FastAPI:
    """Add a page of the shop's own, which FastAPI runs in one of its threads."""

    @app.get("/page")
    def page() -> str:
        return "a page"

    return app
