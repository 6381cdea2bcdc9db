"""No traceback of the endpoints, the settings and the commands shows a secret, in hosts' own tools."""

from __future__ import annotations

import asyncio
import io
import itertools
import logging
import sys
from collections.abc import Callable
from typing import Any

import pytest

from mpesa_stk import (
    AsyncPayments,
    AsyncStkClient,
    CallbackUrlWarning,
    ConfigurationError,
    PaymentEndpoints,
    RetryPolicy,
    StkConfig,
    Transaction,
    WebRequest,
)
from mpesa_stk.cli import main
from mpesa_stk.clock import AwaitedClock
from mpesa_stk.daraja.exchange import AwaitedTransport
from mpesa_stk.payments.budget import AwaitedQueryBudget
from mpesa_stk.payments.store import AwaitedTransactionStore
from mpesa_stk.web.asgi import AsgiApp
from secret_scenes import MARK, PHONE, Interrupted, World, caught_from, errors_of, leaks_of
from support import CANARIES, PASSKEY

SAFARICOM = "196.201.214.200"


def pending(world: World) -> None:
    """A payment whose prompt is open, long enough to be asked about."""
    world.checkout()
    world.clock.advance(30.0)


def request_of(world: World, name: str, body: bytes) -> WebRequest:
    """A request to one of the endpoints; the callback's has its token."""
    token = f"{world.daraja.token}/" if name == "callback" else ""
    return WebRequest(
        method="POST",
        path=f"/payments/{name}/{token}",
        headers={"Content-Type": "application/json", "Cookie": MARK},
        body=body,
        remote_addr=SAFARICOM,
    )


REQUESTS: dict[str, Callable[[World], WebRequest]] = {
    "checkout": lambda world: request_of(
        world,
        "checkout",
        f'{{"phone_number": "{PHONE}", "amount": 100, "reference": "INV-2"}}'.encode(),
    ),
    "query": lambda world: request_of(
        world, "query", f'{{"checkout_request_id": "{world.checkout_id}"}}'.encode()
    ),
    "callback": lambda world: request_of(world, "callback", world.callback()),
}


def awaited(world: World) -> AsyncPayments:
    """Asynchronous payments over the parts of a world."""
    parts: dict[str, Any] = world.parts
    client = AsyncStkClient(
        world.payments.client.config,
        transport=AwaitedTransport(parts["transport"]),
        clock=AwaitedClock(world.clock),
        retry=RetryPolicy(attempts=2, jitter=lambda: 0.5),
    )
    return AsyncPayments(
        client,
        AwaitedTransactionStore(parts["store"]),
        clock=AwaitedClock(world.clock),
        jitter=lambda: 0.5,
        query_budget=AwaitedQueryBudget(parts["budget"]),
    )


def answer_awaited(world: World, request: WebRequest) -> object:
    """The answer of asynchronous endpoints, on an event loop of its own."""
    return asyncio.run(PaymentEndpoints(awaited(world)).handle_async(request))


HANDLES: dict[str, Callable[[World, WebRequest], object]] = {
    "sync": lambda world, request: PaymentEndpoints(world.payments).handle(request),
    "async": answer_awaited,
}


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("part", ["store", "transport", "budget"])
@pytest.mark.parametrize("handle", HANDLES)
def test_no_interrupted_request_shows_a_secret(name: str, part: str, handle: str) -> None:
    """A time limit of the server's strikes at each call; any other error is answered, not raised."""
    for world, caught in errors_of(
        World,
        pending,
        lambda world: HANDLES[handle](world, REQUESTS[name](world)),
        part,
        Interrupted(),
    ):
        assert isinstance(caught, Interrupted)
        assert not world.leaks(caught)


class HungUp(io.BytesIO):
    """A body whose client hung up."""

    def read(self, *_args: Any) -> bytes:
        """Read nothing."""
        raise OSError("the client hung up")


def environ_of(world: World) -> dict[str, Any]:
    """A WSGI environ whose body cannot be read."""
    return {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": f"/payments/callback/{world.daraja.token}/",
        "CONTENT_LENGTH": "9",
        "HTTP_COOKIE": MARK,
        "wsgi.input": HungUp(),
    }


def scope_of(world: World) -> dict[str, Any]:
    """An ASGI scope of the same."""
    return {
        "type": "http",
        "method": "POST",
        "path": f"/payments/callback/{world.daraja.token}/",
        "headers": [(b"cookie", MARK.encode())],
    }


async def hung_up() -> Any:
    """What a server's `receive` may raise."""
    raise OSError("the client hung up")


async def nothing(_message: Any) -> None:
    """Send nothing."""


def test_no_request_that_breaks_off_is_shown() -> None:
    """By WSGI or ASGI: neither the token in the path nor the header fields."""
    world = World()
    pending(world)
    endpoints = PaymentEndpoints(world.payments)
    apps = (endpoints.asgi, PaymentEndpoints(awaited(world)).asgi)
    uses: list[Callable[[World], object]] = [
        lambda world: endpoints.wsgi(environ_of(world), print),
    ]
    for app, changes in itertools.product(apps, ({}, {"type": "other"})):

        def use(world: World, app: AsgiApp = app, changes: Any = changes) -> None:
            asyncio.run(app(scope_of(world) | changes, hung_up, nothing))

        uses.append(use)
    for each in uses:
        caught = caught_from(each, world)
        assert isinstance(caught, (OSError, ValueError))
        assert not world.leaks(caught)


class Looking(logging.Handler):
    """Shows the errors of log records where they are logged, while all frames are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.leaks: list[set[str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Look at one."""
        if record.exc_info and record.exc_info[1]:
            self.leaks.append(leaks_of(record.exc_info[1]))


def test_the_error_of_a_handler_is_logged_without_secrets() -> None:
    """It is logged with its traceback, which begins in a frame of the library."""

    def fail(payment: Transaction) -> None:
        raise RuntimeError(payment.transaction_no)

    world = World()
    pending(world)
    world.payments.handle_callback(world.callback(), token=world.daraja.token)
    looking = Looking()
    logger = logging.getLogger("mpesa_stk")
    logger.addHandler(looking)
    try:
        assert world.payments.process_due(on_settled=fail).report_failed == 1
    finally:
        logger.removeHandler(looking)
    assert looking.leaks == [set()]


def environment(**changes: str) -> dict[str, str]:
    """The variables of a shop, full of canaries."""
    return {
        "CONSUMER_KEY": CANARIES[0],
        "CONSUMER_SECRET": CANARIES[1],
        "PASS_KEY": CANARIES[2],
        "CALLBACK_SECRET": CANARIES[3],
        "SHORTCODE": "600000",
        "C2B_CALLBACK": "https://shop.example.co.ke/callback",
    } | changes


@pytest.mark.parametrize(
    "changes",
    [
        {"SHORTCODE": "x"},
        {"C2B_CALLBACK": f"https://u:{PASSKEY}@shop.example.co.ke/"},
        {"MPESA_PROXY": PASSKEY},
        {"CONSUMER_KEY": ""},
        {"C2B_CALLBACK": "https://shop.example.co.ke/mpesa"},  # a warning, which is an error here
    ],
)
def test_no_refused_variable_is_shown(changes: dict[str, str]) -> None:
    """Neither the refused one nor the others."""
    hidden = environment(**changes)
    try:
        StkConfig.from_env(hidden)
    except (ConfigurationError, CallbackUrlWarning) as refused:
        error = refused
    del hidden, changes
    assert not leaks_of(error)


@pytest.mark.parametrize(
    "arguments",
    [("push", "--phone", "{phone}", "--amount", "1", "--reference", "A"), ("doctor", "--offline")],
    ids=["push", "doctor"],
)
def test_no_command_that_crashes_shows_a_secret(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its output is closed, so that it cannot tell anything."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    closed = io.StringIO()
    closed.close()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", closed)
        patch.setattr(sys, "stderr", closed)
        error = caught_from(
            lambda _: main([text.format(phone=PHONE) for text in arguments]), World()
        )
    assert isinstance(error, ValueError)
    del name, value
    assert not leaks_of(error)
