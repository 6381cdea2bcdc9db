"""A Flask shop: ``flask --app app run --port 8000``."""

from flask import Flask, Response, request

import mpesa_stk as stk

ORDERS = {"INV-001": 1500}  # what your database says that each order costs
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def from_env() -> stk.PaymentEndpoints:
    """The shop's payments, from the environment variables."""
    client = stk.StkClient(stk.StkConfig.from_env())
    payments = stk.Payments(client, stk.MemoryTransactionStore())
    # The price is the server's: a page that posts its own amount sells a laptop for one shilling.
    return stk.PaymentEndpoints(payments, quote=ORDERS.get)


def create_app(endpoints: stk.PaymentEndpoints | None = None) -> Flask:
    """The application; with other endpoints in tests."""
    app, handle = Flask(__name__), (endpoints or from_env()).handle

    @app.route("/payments/<path:_>", methods=METHODS)
    def payments(_: str) -> Response:
        web_request = stk.WebRequest(
            method=request.method,
            path=request.path,
            headers=dict(request.headers),
            body=request.stream.read(stk.MAX_BODY + 1),
            remote_addr=request.remote_addr,
        )
        answer = handle(web_request)
        return Response(answer.body, answer.status, dict(answer.headers))

    return app
