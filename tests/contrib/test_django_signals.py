"""Signals about payments, and the way from an order to its payments."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from django.db import connection, models
from django.db.transaction import atomic

from django_databases import django_alias
from django_host import running
from mpesa_stk import ConfigurationError, Payments, Transaction, TransactionState
from mpesa_stk.contrib.django import order_key, orders_for, payments, payments_for, process_due
from mpesa_stk.contrib.django.models import Payment, ReviewSignal
from mpesa_stk.contrib.django.signals import deliver, payment_needs_review, payment_settled
from mpesa_stk.contrib.django.testing import simulated_daraja
from mpesa_stk.testing import SimulatedDaraja


class Order(models.Model):  # type: ignore[misc]  # Django has no types
    """An order of a host."""

    price = models.IntegerField()
    paid = models.BooleanField(default=False)

    class Meta:
        """It belongs to no app that is installed, so it has no migration."""

        app_label = "stall"

    def __str__(self) -> str:
        return str(self.pk)


class RushOrder(Order):
    """The same orders under another name."""

    class Meta:
        """A proxy."""

        app_label = "stall"
        proxy = True

    def __str__(self) -> str:
        return f"rush {self.pk}"


class Token(models.Model):  # type: ignore[misc]  # the same
    """Something with a text for its key, and a colon in it."""

    name = models.CharField(primary_key=True, max_length=9)

    class Meta:
        """As that of `Order`."""

        app_label = "stall"

    def __str__(self) -> str:
        return str(self.name)


@pytest.fixture(name="daraja")
def _daraja(tmp_path: Path) -> Iterator[SimulatedDaraja]:
    """A project with a table of orders, over a simulated Daraja."""
    with running(tmp_path), simulated_daraja() as daraja:
        with connection.schema_editor() as editor:
            editor.create_model(Order)
        yield daraja


class Receiver:
    """Writes down what it was told, and raises as often as it should."""

    def __init__(self, failures: int = 0) -> None:
        self.told: list[Transaction] = []
        self._failures = failures

    def take(self, *, transaction: Transaction, **_given: object) -> None:
        """Take a signal."""
        self.told.append(transaction)
        if len(self.told) <= self._failures:
            raise RuntimeError("the mail server is down")


@pytest.fixture(name="connected")
def _connected() -> Iterator[Callable[[Any, Receiver], Receiver]]:
    """Connects receivers until the end of the test."""
    pairs = []

    def connect(signal: Any, receiver: Receiver) -> Receiver:
        function = getattr(receiver, "take", receiver)
        signal.connect(function, weak=False)
        pairs.append((signal, function))
        return receiver

    yield connect
    for signal, function in pairs:
        signal.disconnect(function)


def mark_paid(*, transaction: Transaction, **_given: object) -> None:
    """The receiver of the documentation."""
    if transaction.paid:
        orders_for(transaction, Order).filter(paid=False).update(paid=True)


def asked(order: Order, phone: str = "0718643064") -> Transaction:
    """Ask for the money of an order."""
    shop = payments()
    assert isinstance(shop, Payments)
    return shop.checkout(
        phone_number=phone,
        amount=order.price,
        reference=f"ORDER-{order.pk}",
        order=order_key(order),
    )


# --- orders ------------------------------------------------------------------------------------------


def test_an_order_leads_to_its_payments_and_back(daraja: SimulatedDaraja) -> None:
    """`order_key` names the order, `payments_for` finds its rows, and `orders_for` finds the order."""
    order = Order.objects.create(price=100)
    first, other = asked(order), asked(Order.objects.create(price=100), "0718643065")
    daraja.run()
    assert first.order == order_key(order) == f"stall.Order:{order.pk}"
    (row,) = payments_for(order)
    assert isinstance(row, Payment)
    assert row.transaction_no == first.transaction_no
    assert list(orders_for(first, Order)) == [order]
    assert list(orders_for(other.order, Order)) != [order]


def test_a_proxy_is_the_same_order() -> None:
    """Or a customer could pay it once for each name."""
    assert order_key(RushOrder(pk=7)) == order_key(Order(pk=7)) == "stall.Order:7"


@pytest.mark.usefixtures("daraja")
def test_what_is_no_order_of_the_model_finds_none() -> None:
    """Payments without an order, of another model, or with a key that cannot be one."""
    for name in (None, "", "INV-1", "stall.Token:7", "stall.Order:", "stall.Order:seven"):
        assert not orders_for(name, Order).exists(), name


def test_a_key_may_hold_a_colon() -> None:
    """The first colon ends the model's name."""
    name = order_key(Token(name="a:b"))
    assert name == "stall.Token:a:b"
    assert "a:b" in str(orders_for(name, Token).query)


def test_an_order_without_key_has_no_name() -> None:
    """The error says to save it first."""
    with pytest.raises(ValueError, match="save the order first"):
        order_key(Order(price=1))


# --- signals -----------------------------------------------------------------------------------------


def test_a_settled_payment_marks_its_order_paid(
    daraja: SimulatedDaraja, connected: Callable[[Any, Any], Any]
) -> None:
    """The worker sends the signal, and the receiver of the documentation changes the order once."""
    connected(payment_settled, mark_paid)
    order = Order.objects.create(price=100)
    asked(order)
    daraja.run()
    assert process_due().reported == 1
    order.refresh_from_db()
    assert order.paid
    assert process_due().claimed == 0


def test_receivers_learn_the_payment_and_its_database(
    daraja: SimulatedDaraja, connected: Callable[[Any, Any], Any]
) -> None:
    """The sender is the model, and the payment is the one that is stored."""
    told: list[dict[str, Any]] = []
    connected(payment_settled, lambda **given: told.append(given))
    asked(Order.objects.create(price=100))
    daraja.run()
    process_due()
    (given,) = told
    assert given["sender"] is Payment
    assert given["using"] == "default"
    assert given["transaction"].paid


def test_a_receiver_that_fails_is_told_again(
    daraja: SimulatedDaraja, connected: Callable[[Any, Receiver], Receiver]
) -> None:
    """The others are told nevertheless, and the payment counts as reported when all have succeeded."""
    failing = connected(payment_settled, Receiver(failures=1))
    other = connected(payment_settled, Receiver())
    number = asked(Order.objects.create(price=100)).transaction_no
    daraja.run()
    assert process_due().report_failed == 1
    assert not Payment.objects.get(pk=number).reported
    daraja.clock.advance(3600)
    assert process_due().reported == 1
    assert len(failing.told) == len(other.told) == 2


def reviewed(reason: str, alias: str = "default") -> Transaction:
    """A settled payment with a review."""
    transaction: Transaction = Payment.objects.using(alias).latest("pk").transaction
    return attrs.evolve(transaction, needs_review=reason)


def test_a_review_is_sent_once(
    daraja: SimulatedDaraja, connected: Callable[[Any, Receiver], Receiver]
) -> None:
    """News that is not about the review, such as a receipt, sends only the other signal."""
    settled = connected(payment_settled, Receiver())
    review = connected(payment_needs_review, Receiver())
    asked(Order.objects.create(price=100))
    daraja.run()
    process_due()
    assert review.told == []
    deliver(reviewed("order paid twice"))
    deliver(reviewed("order paid twice"))
    assert len(review.told) == 1
    assert len(settled.told) == 3
    deliver(reviewed("order paid twice; the amounts differ"))
    assert len(review.told) == 2


def test_a_review_is_sent_again_if_its_receiver_failed(
    daraja: SimulatedDaraja, connected: Callable[[Any, Receiver], Receiver]
) -> None:
    """At least once: what a receiver of the other signal does makes no difference."""
    connected(payment_settled, Receiver(failures=2))
    review = connected(payment_needs_review, Receiver(failures=1))
    asked(Order.objects.create(price=100))
    daraja.run()
    for _ in range(3):
        with pytest.raises(RuntimeError, match="mail server"):
            deliver(reviewed("order paid twice"))
        if len(review.told) == 2:
            break
    deliver(reviewed("order paid twice"))
    assert len(review.told) == 2
    assert ReviewSignal.objects.latest("pk").reasons == "order paid twice"


def test_a_payment_without_outcome_sends_a_review(
    daraja: SimulatedDaraja, connected: Callable[[Any, Receiver], Receiver]
) -> None:
    """From end to end: a push whose outcome stays unknown ends as EXPIRED, and a person must look."""
    review = connected(payment_needs_review, Receiver())
    daraja.play("dropped")
    asked(Order.objects.create(price=100))
    for _ in range(30):
        daraja.clock.advance(60)
        process_due()
    (payment,) = review.told
    assert payment.state is TransactionState.EXPIRED
    assert payment.needs_review


def test_work_in_a_transaction_of_the_host_is_refused(daraja: SimulatedDaraja) -> None:
    """The error names the way out, because what was reported could be rolled back."""
    asked(Order.objects.create(price=100))
    daraja.run()
    with atomic(), pytest.raises(ConfigurationError, match="non_atomic_requests"):
        process_due()


def test_payments_may_be_in_a_database_of_their_own(
    tmp_path: Path, connected: Callable[[Any, Any], Any]
) -> None:
    """Endpoints, worker, signals and the way from an order use the alias that the settings name."""
    told: list[dict[str, Any]] = []
    connected(payment_settled, lambda **given: told.append(given))
    with (
        django_alias(f"sqlite:///{tmp_path / 'payments.sqlite3'}") as alias,
        running(MPESA_STK={"database": alias}),
        simulated_daraja() as daraja,
    ):
        order = Order(pk=7, price=100)
        asked(order)
        daraja.run()
        process_due()
        deliver(reviewed("order paid twice", alias))
        assert payments_for(order).latest("pk").state == "SUCCEEDED"
        assert payments_for(order).db == alias
        assert ReviewSignal.objects.using(alias).count() == 1
    assert [given["using"] for given in told] == [alias, alias]


def test_a_signal_about_a_review_has_a_name() -> None:
    """The shell shows which payment it is about."""
    assert str(ReviewSignal(transaction_no="a-number")) == "a-number"
