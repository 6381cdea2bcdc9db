"""The shop's own table. The tables of payments belong to the app `mpesa_stk.contrib.django`."""

from django.db import models

from mpesa_stk.contrib.django import orders_for


class Order(models.Model):
    """An order of one thing. It is paid when a payment has marked it."""

    number = models.CharField(max_length=12, unique=True)
    title = models.CharField(max_length=80)
    price = models.PositiveIntegerField(help_text="Shillings")
    paid_by = models.CharField(max_length=36, blank=True, editable=False)
    receipt = models.CharField(max_length=128, blank=True, editable=False)

    class Meta:
        """The oldest order comes first."""

        ordering = ("number",)

    def __str__(self) -> str:
        return f"{self.number}: {self.title}"


def price_of(order: str) -> int | None:
    """The price of the order that a payment is for. A price that a page posts must be the same."""
    return orders_for(order, Order).values_list("price", flat=True).first()
