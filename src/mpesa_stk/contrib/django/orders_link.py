"""From an order of the host to its payments, and back.

A payment has a text as its order. `order_key` makes one of a model's instance, such as ``shop.Order:17``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from django.core.exceptions import ValidationError
from django.db import models

from mpesa_stk.contrib.django import runtime
from mpesa_stk.payments.state import Transaction

if TYPE_CHECKING:
    from mpesa_stk.contrib.django.models import Payment

__all__ = ["order_key", "orders_for", "payments_for"]

Instance = TypeVar("Instance", bound=models.Model)


def order_key(instance: models.Model, /) -> str:
    """Return the name under which payments know this order: ``<app>.<Model>:<primary key>``.

    A proxy model has the name of its model.

    Raises:
        ValueError: The instance is not saved, so it has no primary key.
    """
    if instance.pk is None:
        raise ValueError("save the order first: it has no primary key yet")
    return f"{_label(type(instance))}:{instance.pk}"


def payments_for(instance: models.Model, /) -> models.QuerySet[Payment]:
    """Return the rows of all payments for this order, the last created first.

    Raises:
        ValueError: The instance is not saved.
    """
    from mpesa_stk.contrib.django.models import Payment  # noqa: PLC0415 - Django must be set up first

    rows: models.QuerySet[Payment] = Payment.objects.using(runtime.alias())
    return rows.filter(order=order_key(instance)).order_by("-created")


def orders_for(order: str | Transaction | None, model: type[Instance], /) -> models.QuerySet[Any]:
    """Return a queryset with the one order of this model that a payment is for.

    It is empty if the payment is for something else. Use it in `quote` and in receivers of signals.

    Args:
        order: The payment, or its order.
        model: The model of the host's orders.
    """
    name = order.order if isinstance(order, Transaction) else order
    label, _, key = (name or "").partition(":")
    rows = model._default_manager  # noqa: SLF001 - Django's public name for it
    if label != _label(model):
        return rows.none()
    try:
        return rows.filter(pk=model._meta.pk.to_python(key))  # noqa: SLF001 - public, too
    except ValidationError:
        return rows.none()


def _label(model: type[models.Model]) -> str:
    concrete = model._meta.concrete_model or model  # noqa: SLF001 - public, too
    return str(concrete._meta.label)  # noqa: SLF001 - public, too
