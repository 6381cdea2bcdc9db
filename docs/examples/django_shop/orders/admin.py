"""The orders in the admin, each with a link to its payments."""

from urllib.parse import urlencode

from django.contrib import admin
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from mpesa_stk.contrib.django import order_key
from orders.models import Order


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    """Orders. Only a payment marks one as paid."""

    list_display = ("number", "title", "price", "is_paid", "payments")
    readonly_fields = ("paid_by", "receipt", "payments")

    @admin.display(boolean=True, description="paid")
    def is_paid(self, order: Order) -> bool:
        """Whether a payment has marked it."""
        return bool(order.paid_by)

    @admin.display(description="payments")
    def payments(self, order: Order) -> SafeString:
        """A link to all payments of the order."""
        if order.pk is None:
            return SafeString("-")
        page = reverse("admin:mpesa_stk_payment_changelist")
        query = urlencode({"q": order_key(order)})
        return format_html('<a href="{}?{}">Payments</a>', page, query)
