"""Tests as a Django host writes them, which other tests run."""

from __future__ import annotations

from typing import Any

from django.test import Client, TestCase

from django_host import running  # noqa: F401 - it sets Django up
from mpesa_stk.contrib.django import payments, process_due
from mpesa_stk.contrib.django.models import Payment
from mpesa_stk.contrib.django.testing import SimulatedDarajaMixin

BODY: dict[str, Any] = {"phone_number": "0718643064", "amount": 100, "reference": "INV-1"}


class PaymentTests(SimulatedDarajaMixin, TestCase):  # type: ignore[misc]  # Django has no types
    """The tests of a host. Django rolls back what each of them stores."""

    def test_payment(self) -> None:
        """The button, the phone, the callback and the worker, in the transaction of a `TestCase`."""
        answer = Client().post("/payments/checkout/", BODY, "application/json")
        self.assertEqual(answer.json()["state"], "PENDING")  # noqa: PT009 - Django's test runner
        self.daraja.run()
        self.assertEqual(process_due().reported, 1)  # noqa: PT009 - the same
        self.assertEqual(Payment.objects.latest("pk").state, "SUCCEEDED")  # noqa: PT009 - the same

    def test_nothing_is_left(self) -> None:
        """The payment of the other test is not here."""
        self.assertFalse(Payment.objects.exists())  # noqa: PT009 - the same


class CancelledTests(SimulatedDarajaMixin, TestCase):  # type: ignore[misc]  # Django has no types
    """Tests of a customer who does not want to pay."""

    scenario = "cancelled"

    def test_payment(self) -> None:
        """He cancels."""
        shop = payments()
        shop.checkout(**BODY)  # type: ignore[union-attr]
        self.daraja.run()
        self.assertEqual(Payment.objects.latest("pk").state, "FAILED")  # noqa: PT009 - the same


class BrokenTests(SimulatedDarajaMixin, TestCase):  # type: ignore[misc]  # Django has no types
    """Tests of a project whose URLs lack the endpoints."""

    def test_payment(self) -> None:
        """It is never run."""
