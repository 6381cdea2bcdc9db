"""A Flask shop: ``flask --app app run --port 8000``."""

import orders
from flask import Flask, Response, request
from pages import pages_of

import mpesa_stk as stk

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def from_env() -> stk.PaymentEndpoints:
    """The shop's payments, from the environment variables."""
    # The price is the server's: a page that posts its own amount sells a laptop for one shilling.
    return stk.PaymentEndpoints(orders.payments(), quote=orders.price_of)


def create_app(endpoints: stk.PaymentEndpoints | None = None) -> Flask:
    """The application; with other endpoints in tests."""
    app, endpoints = Flask(__name__), endpoints or from_env()
    app.register_blueprint(pages_of(endpoints))

    @app.route("/payments/<path:_>", methods=METHODS)
    def payments(_: str) -> Response:
        web_request = stk.WebRequest(
            method=request.method,
            path=request.path,
            headers=dict(request.headers),
            body=request.stream.read(stk.MAX_BODY + 1),
            remote_addr=request.remote_addr,
        )
        answer = endpoints.handle(web_request)
        return Response(answer.body, answer.status, dict(answer.headers))

    return app
