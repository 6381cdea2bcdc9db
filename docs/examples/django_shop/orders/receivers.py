"""Mark an order as paid when the worker reports its payment."""

from django.db.models import Q
from django.dispatch import receiver

from mpesa_stk import Transaction
from mpesa_stk.contrib.django import orders_for
from mpesa_stk.contrib.django.signals import payment_settled
from orders.models import Order


@receiver(payment_settled)
def mark_paid(transaction: Transaction, **_others: object) -> None:
    """Mark the order of a paid payment.

    A payment may be reported twice: that changes nothing. The first payment of an order marks it. If a
    second one is paid too, it has the review "order paid twice".
    """
    if transaction.paid:
        mine = Q(paid_by="") | Q(paid_by=transaction.transaction_no)
        orders_for(transaction, Order).filter(mine).update(
            paid_by=transaction.transaction_no, receipt=transaction.receipt_number or ""
        )
