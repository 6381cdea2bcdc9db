"""Show the orders, and one order with its form, its state and "pay again"."""

import orders
from flask import Blueprint, abort, redirect, render_template, request
from flask.typing import ResponseReturnValue
from paying import checkout_of, heading_of, problem_of

from mpesa_stk import PaymentEndpoints


def pages_of(endpoints: PaymentEndpoints) -> Blueprint:
    """The pages, over some endpoints."""
    pages = Blueprint("pages", __name__)

    def show(name: str, phone: str = "", problem: str | None = None) -> str:
        order = orders.find(name) or abort(404)
        status = endpoints.payments.order(name)
        shown = {"order": order, "status": status, "heading": heading_of(status)}
        return render_template("order.html", **shown, phone=phone, problem=problem)

    @pages.get("/")
    def all_orders() -> str:
        return render_template("orders.html", orders=orders.all_orders())

    @pages.get("/orders/<name>")
    def one_order(name: str) -> str:
        return show(name)

    @pages.post("/orders/<name>")
    def pay(name: str) -> ResponseReturnValue:
        phone = request.form.get("phone_number", "")
        asked = checkout_of(name, phone, request.headers, request.remote_addr, reference=name)
        answer = endpoints.handle(asked)
        problem = problem_of(answer)
        if problem is None:
            return redirect(request.path, 303)  # so that reloading the page posts nothing
        return show(name, phone, problem), answer.status

    return pages
