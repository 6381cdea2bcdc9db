"""Show the orders, and one order with its form, its state and "pay again"."""

from django.db.transaction import non_atomic_requests
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from mpesa_stk.contrib.django import endpoints, order_key, payments
from orders.models import Order
from orders.paying import checkout_of, heading_of, problem_of


def all_orders(request: HttpRequest) -> HttpResponse:
    """Every order."""
    return render(request, "orders/orders.html", {"orders": Order.objects.all()})


@non_atomic_requests  # a payment is stored before its push is sent, and not after the view
def one_order(request: HttpRequest, number: str) -> HttpResponse:
    """One order. Its form asks a phone for the money."""
    order = get_object_or_404(Order, number=number)
    phone, problem, code = request.POST.get("phone_number", ""), None, 200
    if request.method == "POST":
        phone, peer = request.POST.get("phone_number", ""), request.META.get("REMOTE_ADDR")
        asked = checkout_of(
            order_key(order),
            phone,
            request.headers,
            peer,
            reference=order.number,
            path="/checkout/",
        )
        answer = endpoints().handle(asked)
        problem, code = problem_of(answer), answer.status
        if problem is None:
            return redirect(request.path)  # so that reloading the page posts nothing
    status = payments().order(order_key(order))
    shown = {
        "order": order,
        "status": status,
        "heading": heading_of(status),
        "swahili": status.message("sw"),
        "waits": not status.paid and not status.may_pay,
        "phone": phone,
        "problem": problem,
    }
    return render(request, "orders/order.html", shown, status=code)
