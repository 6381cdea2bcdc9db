"""The whole day of `tests/payments/test_whole_shop.py` in the Django shop: its pages, store and worker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
from django.test import Client, override_settings

from example_shops import django_database, django_module, set_up_django
from mpesa_stk import NoLimits, Transaction
from mpesa_stk.testing import simulated_config
from mpesa_stk.testing.daraja import no_chance
from whole_shop import (
    DEATHS,
    PRICE,
    Sale,
    Shop,
    check_that_all_happened,
    paid_twice_without_a_flag,
    wrongly_paid,
    wrongly_unpaid,
)

set_up_django()

from mpesa_stk.contrib.django import order_key, runtime  # noqa: E402 - the settings come first
from mpesa_stk.contrib.django.host_settings import HostSettings  # noqa: E402 - the same
from mpesa_stk.contrib.django.orm_store import DjangoTransactionStore  # noqa: E402 - the same
from mpesa_stk.contrib.django.parts import Parts  # noqa: E402 - the same
from mpesa_stk.contrib.django.signals import payment_settled, process_due  # noqa: E402 - the same

pytestmark = pytest.mark.slow

HOST = "shop.example.co.ke"
_HOST = {"Host": HOST}


class DjangoShop(Shop):
    """The Django shop. Each of its processes has parts of its own over one database."""

    stubborn = 1

    def __init__(self, death: str) -> None:
        self.orders = django_module("orders.models").Order.objects
        self._paying = django_module("orders.paying")
        self._client = Client()
        config = simulated_config(callback_url=f"https://{HOST}/payments/callback/")
        super().__init__(death, store=DjangoTransactionStore(), config=config)
        self.orders.all().delete()
        self._keys = {}
        for order in self.sales:
            row = self.orders.create(number=order, title="A thing", price=PRICE)
            self._keys[order] = order_key(row)

    def _parts(self, store: Any = None, line: Any = None) -> Parts:
        parts = Parts(
            HostSettings(
                configs=(self.daraja.config,),
                quote=django_module("orders.models").price_of,
                limits=NoLimits(),
            ),
            transport=line or self.daraja,
            clock=self.daraja.clock,
            jitter=no_chance,
        )
        parts.store = cast("DjangoTransactionStore", store or self.store)
        return parts

    def _take(self, url: str, body: bytes) -> int:
        path = urlsplit(url).path
        with runtime.replaced(self._parts()):
            answer = self._client.generic("POST", path, body, "application/json", headers=_HOST)
        return int(answer.status_code)

    def key_of(self, order: str) -> str:
        """The name under which payments know an order."""
        return self._keys[order]

    def ask(self, sale: Sale, phone_number: str, store: Any = None, line: Any = None) -> None:
        """Fill in the form of the order's page."""
        form = {"phone_number": phone_number}
        with runtime.replaced(self._parts(store, line)):
            answer = self._client.post(f"/orders/{sale.order}", form, headers=_HOST)
        if answer.status_code != 302:
            page = answer.content.decode()
            problems = self._paying.PROBLEMS.items()
            self.refusals[next((code for code, text in problems if text in page), "other")] += 1

    def do_due_work(self, store: Any, book: Callable[[Transaction], None]) -> None:
        """Do a batch as `manage.py mpesa_worker` does. The shop's own receiver comes before `book`."""

        def receiver(transaction: Transaction, **_others: object) -> None:
            book(transaction)

        payment_settled.connect(receiver)
        try:
            with runtime.replaced(self._parts(store)):
                process_due()
        finally:
            payment_settled.disconnect(receiver)


@pytest.mark.parametrize("death", DEATHS)
def test_the_django_shop_is_right_at_the_end_of_the_day(death: str, tmp_path: Path) -> None:
    """Nobody is wrongly paid or unpaid, or pays twice without a flag, and each order is marked so."""
    with django_database(tmp_path / "shop.sqlite3"), override_settings(ALLOWED_HOSTS=[HOST]):
        shop = DjangoShop(death)
        shop.open()
        check_that_all_happened(shop)
        assert wrongly_paid(shop) == []
        assert wrongly_unpaid(shop) == []
        assert paid_twice_without_a_flag(shop) == []
        marked = dict(shop.orders.values_list("number", "paid_by"))
        assert marked == {order: _first_paid(sale) for order, sale in shop.sales.items()}


def _first_paid(sale: Sale) -> str:
    """The payment that has the place of the paid one."""
    paid = [one for one in sale.booked.values() if one.paid]
    return next((one.transaction_no for one in paid if one.needs_review != "order paid twice"), "")
