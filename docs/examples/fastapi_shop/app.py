"""A FastAPI shop: ``uvicorn --factory app:create_app --port 8000 --no-proxy-headers``."""

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool

import mpesa_stk as stk
from mpesa_stk.daraja.http import MAX_BODY

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def from_env() -> stk.PaymentEndpoints:
    """The shop's payments, from the environment variables."""
    client = stk.StkClient(stk.StkConfig.from_env())
    return stk.PaymentEndpoints(stk.Payments(client, stk.MemoryTransactionStore()))


def create_app(endpoints: stk.PaymentEndpoints | None = None) -> FastAPI:
    """The application; with other endpoints in tests."""
    app, handle = FastAPI(), (endpoints or from_env()).handle

    @app.api_route("/payments/{_:path}", methods=METHODS, include_in_schema=False)
    async def payments(request: Request) -> Response:
        body, chunks = b"", request.stream()
        while len(body) <= MAX_BODY and (chunk := await anext(chunks, b"")):
            body += chunk
        web_request = stk.WebRequest(
            method=request.method,
            path=request.scope["path"],
            headers={name: ",".join(request.headers.getlist(name)) for name in request.headers},
            body=body,
            remote_addr=request.client.host if request.client else None,
        )
        answer = await run_in_threadpool(handle, web_request)
        return Response(answer.body, answer.status, dict(answer.headers))

    return app
