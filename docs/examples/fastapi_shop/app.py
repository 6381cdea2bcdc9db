"""A FastAPI shop: ``uvicorn --factory app:create_app --port 8000 --no-proxy-headers``."""

from fastapi import FastAPI

import mpesa_stk as stk


def from_env() -> stk.PaymentEndpoints:
    """The shop's payments, from the environment variables."""
    client = stk.StkClient(stk.StkConfig.from_env())
    return stk.PaymentEndpoints(stk.Payments(client, stk.MemoryTransactionStore()))


def create_app(endpoints: stk.PaymentEndpoints | None = None) -> FastAPI:
    """The application; with other endpoints in tests."""
    app = FastAPI()
    # Not a route of the shop's own: the application keeps threads free for callbacks.
    app.mount("/payments", (endpoints or from_env()).asgi)
    return app
