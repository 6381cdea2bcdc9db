"""The endpoints as Django views: plain under WSGI, asynchronous under ASGI."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import django
import pytest
from django.core.asgi import get_asgi_application
from django.http import HttpRequest as DjangoRequest
from django.test import AsyncClient, Client
from django.urls import reverse

import django_host
from django_host import PRICES, behind, running
from loopback import PATIENCE
from mpesa_stk import (
    HttpRequest,
    HttpResponse,
    PayBill,
    Transaction,
    TransactionState,
    WebRequest,
)
from mpesa_stk.clock import AwaitedClock
from mpesa_stk.contrib.django import runtime, views
from mpesa_stk.contrib.django.host_settings import HostSettings
from mpesa_stk.contrib.django.orm_store import DjangoTransactionStore
from mpesa_stk.contrib.django.parts import Parts
from mpesa_stk.contrib.django.testing import simulated_daraja
from mpesa_stk.testing import SimulatedDaraja, simulated_config
from web_cases import CASES, Send, Shop, Transcript, body_of, error_of, expected_answers

CHECKOUT = {"phone_number": "0718643064", "order": "INV-1", "reference": "INV-1"}
PAYABLE = CHECKOUT | {"amount": 100}
SCOPE = {
    "type": "http",
    "method": "POST",
    "path": "/payments/checkout/",
    "headers": [(b"host", b"testserver"), (b"content-type", b"application/json")],
    "query_string": b"",
    "client": ("203.0.113.7", 50_000),
}
ONE = simulated_config(callback_url="https://shop.example.co.ke/payments/callback")
FACES = {"wsgi": django_host.with_threads, "asgi": django_host.on_loop}


@pytest.fixture(name="project")
def _project(tmp_path: Path) -> Iterator[None]:
    """A project with a database."""
    with running(tmp_path):
        yield


@pytest.fixture(name="connect", params=FACES)
def _connect(request: pytest.FixtureRequest, project: None) -> Callable[[], Send]:  # noqa: ARG001
    """Connects to the project as each kind of server does."""
    return FACES[request.param]


@pytest.fixture(name="daraja")
def _daraja(project: None) -> Iterator[SimulatedDaraja]:  # noqa: ARG001
    """A simulated Daraja behind the project."""
    with simulated_daraja() as daraja:
        yield daraja


def request_of(path: str, body: object, **headers: str) -> WebRequest:
    """A customer's request."""
    return Shop().post("", body, path=path, **headers)


# --- the answers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_views_answer_as_the_endpoints_do(name: str, connect: Callable[[], Send]) -> None:
    """Each case passes under WSGI and ASGI, and every status and body is that of the endpoints."""
    shop = Shop(DjangoTransactionStore())
    with behind(shop):
        transcript = Transcript(connect())
        CASES[name](shop, transcript.send)
    assert transcript.answers == expected_answers(name)


def test_a_customer_pays(daraja: SimulatedDaraja, connect: Callable[[], Send]) -> None:
    """Checkout, callback and query work with nothing but an entry in the URLs."""
    send = connect()
    number = body_of(send(request_of("/payments/checkout/", PAYABLE)))["transaction_no"]
    daraja.run()
    answer = body_of(send(request_of("/payments/query/", {"transaction_no": number})))
    assert answer["state"] == "SUCCEEDED"
    claim = {"transaction_no": number, "receipt_number": "NOT0THIS00"}
    assert send(request_of("/payments/claim/", claim)).status in (200, 409, 422)


# --- the URLs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["checkout", "query", "claim", "callback"])
def test_endpoints_have_names(name: str) -> None:
    """A template finds each address by its name, wherever the project has put it."""
    with running():
        assert reverse(f"mpesa_stk:{name}") == f"/payments/{name}/"


def test_other_pages_under_the_same_path_are_the_hosts() -> None:
    """The endpoints take no path but their own, so the host's page behind them is found."""
    with running():
        assert Client().get("/payments/done/").content == b"Pay"
        assert Client().get("/payments/nothing/").status_code == 404


@pytest.mark.usefixtures("project")
def test_several_accounts_have_their_names_in_the_path(connect: Callable[[], Send]) -> None:
    """With several accounts, each has its endpoints, and one callback address serves all."""
    other = simulated_config(
        consumer_key="another-consumer-key",
        account=PayBill("600001"),
        callback_url=ONE.callback_url,
    )
    with simulated_daraja(ONE, other) as daraja:
        send = connect()
        paid = body_of(send(request_of("/payments/paybill-600001/checkout/", PAYABLE)))
        daraja.run()
        query = {"transaction_no": paid["transaction_no"]}
        answer = body_of(send(request_of("/payments/600001/query", query)))
        assert answer["state"] == "SUCCEEDED"
        assert send(request_of("/payments/checkout/", PAYABLE)).status == 404


# --- the host's functions ----------------------------------------------------------------------------


async def awaited_quote(order: str) -> int | None:
    """A price that is awaited."""
    await asyncio.sleep(0)
    return PRICES.get(order)


def decimal_quote(order: str) -> Decimal | None:
    """A price as a `DecimalField` has it."""
    return Decimal(PRICES[order]).quantize(Decimal("0.01")) if order in PRICES else None


async def awaited_decimal_quote(order: str) -> Decimal | None:
    """The same, awaited."""
    return decimal_quote(order)


def quote_with_cents(_order: str) -> Decimal:
    """A price that nobody can pay by M-Pesa."""
    return Decimal("99.50")


def stored_quote(order: str) -> int | None:
    """A price that a query of the database finds."""
    return None if DjangoTransactionStore().get(order) else PRICES.get(order)


QUOTES = ["django_host.quote", awaited_quote, decimal_quote, awaited_decimal_quote, stored_quote]


@pytest.mark.parametrize("quote", QUOTES)
def test_the_price_is_the_hosts(quote: object, connect: Callable[[], Send]) -> None:
    """A function of any kind says the price, under both kinds of server."""
    with running(MPESA_STK={"quote": quote}), simulated_daraja():
        send = connect()
        other = request_of("/payments/checkout/", CHECKOUT | {"amount": 1})
        assert send(other).status == 409
        assert body_of(send(request_of("/payments/checkout/", CHECKOUT)))["state"] == "PENDING"
    stored = DjangoTransactionStore().find(reference="INV-1")
    assert stored is not None
    assert stored.amount == 100


def test_a_price_with_cents_is_an_error_of_the_host(connect: Callable[[], Send]) -> None:
    """A price that cannot be paid is not rounded, and nothing is sent."""
    with running(MPESA_STK={"quote": quote_with_cents}), simulated_daraja() as daraja:
        assert error_of(connect()(request_of("/payments/checkout/", CHECKOUT)), 500) == (
            "internal_error",
            None,
        )
        assert daraja.pushes == 0


def members_only(request: DjangoRequest, action: str, payment: Transaction | None) -> bool:
    """Let in whoever has the cookie, which Django has read."""
    assert payment is None or action == "query"
    return bool(request.COOKIES.get("member") == "yes")


def scope_of(request: DjangoRequest) -> str | None:
    """Who a client is."""
    member: str | None = request.COOKIES.get("member")
    return member


def test_authorize_gets_djangos_request(connect: Callable[[], Send]) -> None:
    """`authorize` and `key_scope` see what Django knows of the client, such as cookies and user."""
    given = {"authorize": members_only, "key_scope": scope_of}
    body = PAYABLE | {"idempotency_key": "one"}
    with running(MPESA_STK=given), simulated_daraja():
        send = connect()
        assert error_of(send(request_of("/payments/checkout/", body)), 403) == ("not_allowed", None)
    with running(MPESA_STK={"key_scope": scope_of}), simulated_daraja():
        assert body_of(connect()(request_of("/payments/checkout/", body)))["state"] == "PENDING"
    with running(MPESA_STK=given), simulated_daraja():
        client = Client()
        client.cookies["member"] = "yes"
        other = CHECKOUT | {"amount": 5, "order": "INV-9"}
        assert client.post("/payments/checkout/", other, "application/json").status_code == 200


class OneCheckout:
    """Limits that allow one prompt for all phones together."""

    def __init__(self) -> None:
        self.forgotten: list[str] = []
        self._prompts = 0

    def take(self, name: str, _key: str, /) -> float:
        """Count prompts."""
        self._prompts += name == "open_prompts"
        return 30.0 if name == "open_prompts" and self._prompts > 1 else 0.0

    def wait(self, _name: str, _key: str, /) -> float:
        """Allow it."""
        return 0.0

    def forget(self, name: str, _key: str, /) -> None:
        """Write it down."""
        self.forgotten.append(name)


def test_limits_of_the_host_hold(connect: Callable[[], Send]) -> None:
    """Plain limits work under both kinds of server, and learn of what no longer counts."""
    limits = OneCheckout()
    with running(MPESA_STK={"limits": limits}), simulated_daraja() as daraja:
        send = connect()
        body_of(send(request_of("/payments/checkout/", PAYABLE)))
        daraja.run()
        again = PAYABLE | {"order": "INV-2", "phone_number": "0718643065"}
        assert send(request_of("/payments/checkout/", again)).status == 429
    assert "open_prompts" in limits.forgotten


# --- Django around it --------------------------------------------------------------------------------


@pytest.mark.usefixtures("daraja")
def test_checkout_needs_the_csrf_token() -> None:
    """Without the page's token Django refuses a checkout in the words of the endpoints."""
    client = Client(enforce_csrf_checks=True)
    answer = client.post("/payments/checkout/", PAYABLE, "application/json")
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "no_csrf_token"


def test_other_pages_keep_djangos_answer_to_a_missing_token() -> None:
    """The host's pages and its pages of errors are not ours."""
    with running():
        answer = Client(enforce_csrf_checks=True).post("/", {"a": "b"})
    assert answer.status_code == 403
    assert b"CSRF verification failed" in answer.content


class LateDaraja:
    """A transport whose pushes are answered when a test says so."""

    def __init__(self, daraja: SimulatedDaraja) -> None:
        self._daraja = daraja
        self.began, self.may_end = asyncio.Event(), asyncio.Event()

    async def send(self, message: HttpRequest, /) -> HttpResponse:
        """Answer one request."""
        if message.url.endswith("processrequest"):
            self.began.set()
            await asyncio.wait_for(self.may_end.wait(), PATIENCE)
        return await self._daraja.send_flow(message)

    async def close(self) -> None:
        """Do nothing."""


@pytest.mark.usefixtures("project")
def test_a_client_that_hangs_up_loses_no_answer_of_daraja() -> None:
    """The push goes on without its request, its answer is stored, and the connection is closed."""
    daraja = SimulatedDaraja(ONE)

    async def hang_up() -> list[object]:
        late = LateDaraja(daraja)
        parts = Parts(
            HostSettings(configs=(ONE,)),
            async_transport=late,
            clock=daraja.clock,
            async_clock=AwaitedClock(daraja.clock),
        )
        body = json.dumps(PAYABLE).encode()
        messages = iter([{"type": "http.request", "body": body}])

        async def receive() -> dict[str, Any]:
            for message in messages:
                return message
            await asyncio.wait_for(late.began.wait(), PATIENCE)
            return {"type": "http.disconnect"}

        sent: list[object] = []

        async def send(message: object) -> None:
            sent.append(message)

        with runtime.replaced(parts):
            request = asyncio.ensure_future(get_asgi_application()(SCOPE, receive, send))
            await asyncio.wait_for(late.began.wait(), PATIENCE)
            await asyncio.wait({request}, timeout=0.2)  # Django 5 ends it now, and older ones later
            late.may_end.set()
            while others := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(others, timeout=10)
        return sent

    with django_host.without_csrf():
        sent = asyncio.run(hang_up())
    stored = DjangoTransactionStore().find(reference="INV-1")
    assert stored is not None
    assert stored.state is TransactionState.PENDING
    assert bool(sent) is (django.VERSION < (5,))


def test_a_view_can_be_copied() -> None:
    """Some middleware copies the views that it wraps."""
    assert copy.copy(views.callback).csrf_exempt
    assert not copy.copy(views.payments).csrf_exempt
    assert copy.copy(views.payments).__name__ == "payments"


@pytest.mark.parametrize("atomic", [False, True])
def test_atomic_requests_do_not_hold_back_the_intent(
    atomic: bool,  # noqa: FBT001
    daraja: SimulatedDaraja,
    connect: Callable[[], Send],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The views are in no transaction, whatever ATOMIC_REQUESTS says."""
    from django.db import connections  # noqa: PLC0415 - of the project

    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", atomic)
    assert body_of(connect()(request_of("/payments/checkout/", PAYABLE)))["state"] == "PENDING"
    assert daraja.pushes == 1


@pytest.mark.usefixtures("daraja")
def test_without_aiohttp_an_event_loop_has_djangos_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The extra ``async`` is not needed under ASGI."""
    monkeypatch.setattr(runtime, "async_endpoints", lambda: None)
    answer = django_host.on_loop()(request_of("/payments/checkout/", PAYABLE))
    assert body_of(answer)["state"] == "PENDING"


def test_tests_of_hosts_on_an_event_loop_see_the_payment(daraja: SimulatedDaraja) -> None:
    """`AsyncClient` checks out, and the callback of that event loop reaches the project."""

    async def pay() -> str:
        client = AsyncClient()
        await client.post("/payments/checkout/", PAYABLE, "application/json")
        await daraja.run_flow()
        answer = await client.get("/payments/query/")
        return str(answer.content)

    assert "Use POST" in asyncio.run(pay())
    stored = DjangoTransactionStore().find(reference="INV-1")
    assert stored is not None
    assert stored.paid
