"""The pages of the example shops without a server: a customer's requests, a simulated Daraja, a worker."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import attrs
from django.test import Client, override_settings

from example_shops import ADAPTERS, call_asgi, django_database, django_module, load, set_up_django
from mpesa_stk import MAX_BODY, Clock, MemoryLimits, PaymentEndpoints, Payments, WebRequest
from mpesa_stk.testing import AsyncSimulatedDaraja, SimulatedDaraja

HOST = "shop.example.co.ke"
CUSTOMER = "203.0.113.7"
SAFARICOM = "196.201.214.200"
_FORM = "application/x-www-form-urlencoded"


@attrs.frozen
class Page:
    """A page as the customer's browser gets it."""

    status: int
    text: str

    def words(self, name: str) -> str:
        """What can be read in the part with an id, or nothing if there is no such part."""
        _, _, rest = self.text.partition(f'id="{name}"')
        part = re.split('id="(?:state|problem|next)"|</main>', rest.partition(">")[2])[0]
        return " ".join(re.sub("<[^>]*>?", " ", part).split())

    @property
    def waits(self) -> bool:
        """Whether it looks again by itself: with JavaScript, and without."""
        marked = 'data-waits="yes"' in self.text
        assert marked == ('<noscript><meta http-equiv="refresh"' in self.text)
        return marked


class FlaskPages:
    """The pages of the Flask shop."""

    def __init__(self) -> None:
        self.daraja = SimulatedDaraja()
        module = load(ADAPTERS["flask"])
        self.orders: Any = module.orders
        self.payments: Payments = self.daraja.payments()
        self.endpoints = PaymentEndpoints(self.payments, quote=self.orders.price_of)
        self._client = module.create_app(self.endpoints).test_client()
        self.daraja.deliver_to(
            lambda url, body: self._send("POST", urlsplit(url).path, body, SAFARICOM).status
        )

    def get(self, path: str) -> Page:
        """Get a page."""
        return self._send("GET", path)

    def post(self, path: str, /, **fields: str) -> Page:
        """Post a form, and follow where the answer leads."""
        page = self._send("POST", path, urlencode(fields).encode())
        return self.get(path) if page.status == 303 else page

    def _send(self, method: str, path: str, body: bytes = b"", peer: str = CUSTOMER) -> Page:
        answer = self._client.open(
            path,
            method=method,
            headers={"Host": HOST, "Content-Type": _FORM},
            data=body,
            environ_overrides={"REMOTE_ADDR": peer},
        )
        return Page(answer.status_code, answer.text)

    def advance(self, seconds: float) -> None:
        """Let time pass, so that customers answer."""
        self.daraja.advance(seconds)
        self.daraja.raise_callback_errors()

    def work(self) -> None:
        """Do what the worker does."""
        self.payments.process_due(on_settled=self.orders.mark_paid)

    def report(self, transaction_no: str) -> None:
        """Report a payment once more."""
        self.orders.mark_paid(self.payments.get(transaction_no))

    def sold(self) -> list[Mapping[str, Any]]:
        """The shop's own table."""
        rows: list[Mapping[str, Any]] = self.orders.all_orders()
        return rows


class FastApiPages:
    """The pages of the FastAPI shop."""

    def __init__(self) -> None:
        self._awaited = AsyncSimulatedDaraja()
        self.daraja = self._awaited.daraja
        module = load(ADAPTERS["fastapi"])
        self.orders: Any = module.orders
        asyncio.run(self.orders.create_tables())
        self.payments = self._awaited.payments()
        self.endpoints = PaymentEndpoints(self.payments, quote=self.orders.price_of)
        self._app = module.create_app(self.endpoints)

        async def take(url: str, body: bytes) -> int:
            return (await self._answer("POST", urlsplit(url).path, body, SAFARICOM)).status

        self.daraja.deliver_to(take)

    def get(self, path: str) -> Page:
        """Get a page."""
        return self._send("GET", path)

    def post(self, path: str, /, **fields: str) -> Page:
        """Post a form, and follow where the answer leads."""
        page = self._send("POST", path, urlencode(fields).encode())
        return self.get(path) if page.status == 303 else page

    def post_too_much(self, path: str) -> int:
        """Post more than the shop reads, and give the status."""
        return self._send("POST", path, b"x" * (MAX_BODY + 1)).status

    def _send(self, method: str, path: str, body: bytes = b"") -> Page:
        return asyncio.run(self._answer(method, path, body, CUSTOMER))

    async def _answer(self, method: str, path: str, body: bytes, peer: str) -> Page:
        request = WebRequest(
            method=method,
            path=path,
            headers={"host": HOST, "content-type": _FORM},
            body=body,
            remote_addr=peer,
        )
        answer = await call_asgi(self._app, request)
        return Page(answer.status, answer.body.decode())

    def advance(self, seconds: float) -> None:
        """Let time pass, so that customers answer."""
        asyncio.run(self._awaited.advance(seconds))
        self.daraja.raise_callback_errors()

    def work(self) -> None:
        """Do what the worker does."""
        asyncio.run(self.payments.process_due(on_settled=self.orders.mark_paid))

    def report(self, transaction_no: str) -> None:
        """Report a payment once more."""

        async def again() -> None:
            await self.orders.mark_paid(await self.payments.get(transaction_no))

        asyncio.run(again())

    def sold(self) -> list[Mapping[str, Any]]:
        """The shop's own table."""
        rows: list[Mapping[str, Any]] = asyncio.run(self.orders.all_orders())
        return rows


class DjangoPages:
    """The pages of the Django shop, with its tables and the limits of a server."""

    def __init__(self, daraja: SimulatedDaraja) -> None:
        self.daraja = daraja
        self.orders: Any = django_module("orders.models").Order.objects
        self._signals: Any = django_module("mpesa_stk.contrib.django.signals")
        self._client = Client(enforce_csrf_checks=True)

    def get(self, path: str) -> Page:
        """Get a page."""
        return self._page(self._client.get(path, headers={"Host": HOST}, REMOTE_ADDR=CUSTOMER))

    def post(self, path: str, /, **fields: str) -> Page:
        """Post a form with the token of its page, and follow where the answer leads."""
        self.get("/orders/INV-001")
        fields["csrfmiddlewaretoken"] = self._client.cookies["csrftoken"].value
        answer = self._client.post(path, fields, headers={"Host": HOST}, REMOTE_ADDR=CUSTOMER)
        return self.get(path) if answer.status_code == 302 else self._page(answer)

    def key_of(self, number: str) -> str:
        """The name under which payments know an order."""
        key: str = django_module("mpesa_stk.contrib.django").order_key(
            self.orders.get(number=number)
        )
        return key

    def ask(self, checkout: Mapping[str, Any]) -> tuple[int, str]:
        """Post a checkout as a script of a page does; gives the status and the code of its error."""
        self.get("/orders/INV-001")
        answer = self._client.post(
            "/payments/checkout/",
            checkout,
            content_type="application/json",
            headers={"Host": HOST, "X-CSRFToken": self._client.cookies["csrftoken"].value},
        )
        return answer.status_code, answer.json()["error"]["code"]

    def _page(self, answer: Any) -> Page:
        return Page(answer.status_code, answer.content.decode())

    def advance(self, seconds: float) -> None:
        """Let time pass, so that customers answer."""
        self.daraja.advance(seconds)
        self.daraja.raise_callback_errors()

    def work(self) -> None:
        """Do what the worker does."""
        self._signals.process_due()

    def report(self, transaction_no: str) -> None:
        """Report a payment once more."""
        runtime = django_module("mpesa_stk.contrib.django.runtime")
        self._signals.deliver(runtime.payments().get(transaction_no))

    def sold(self) -> list[Mapping[str, Any]]:
        """The shop's own table."""
        return [
            {"paid_by": order.paid_by or None, "receipt": order.receipt or None}
            for order in self.orders.all()
        ]


@contextmanager
def django_pages(folder: Path) -> Iterator[DjangoPages]:
    """Open the Django shop over a simulated Daraja, until the block ends."""
    set_up_django()
    from mpesa_stk.contrib.django.testing import simulated_daraja  # noqa: PLC0415 - Django is set up

    clocks: list[Clock] = []
    # The clock is made after the settings are read.
    limits = MemoryLimits(monotonic=lambda: clocks[0].monotonic())  # noqa: PLW0108
    with (
        django_database(folder / "django.sqlite3"),
        override_settings(
            ALLOWED_HOSTS=[HOST, "testserver"],
            MPESA_STK={"quote": "orders.models.price_of", "limits": limits},
        ),
        simulated_daraja() as daraja,
    ):
        clocks.append(daraja.clock)
        yield DjangoPages(daraja)
