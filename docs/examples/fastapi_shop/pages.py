"""Show the orders, and one order with its form, its state and "pay again"."""

from pathlib import Path
from urllib.parse import parse_qsl

import orders
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.templating import Jinja2Templates
from paying import checkout_of, heading_of, problem_of

from mpesa_stk import MAX_BODY, PaymentEndpoints

HERE = Path(__file__).parent


def pages_of(endpoints: PaymentEndpoints) -> APIRouter:
    """The pages, over some endpoints."""
    pages, templates = (
        APIRouter(default_response_class=Response),
        Jinja2Templates(HERE / "templates"),
    )

    async def show(
        request: Request, name: str, phone: str = "", problem: str | None = None, code: int = 200
    ) -> Response:
        order = await orders.find(name)
        if order is None:
            raise HTTPException(404)
        status = await endpoints.payments.order(name)
        shown = {"order": order, "status": status, "heading": heading_of(status)}
        shown |= {"phone": phone, "problem": problem}
        return templates.TemplateResponse(request, "order.html", shown, status_code=code)

    @pages.get("/")
    async def all_orders(request: Request) -> Response:
        shown = {"orders": await orders.all_orders()}
        return templates.TemplateResponse(request, "orders.html", shown)

    @pages.get("/orders/{name}")
    async def one_order(request: Request, name: str) -> Response:
        return await show(request, name)

    @pages.post("/orders/{name}")
    async def pay(request: Request, name: str) -> Response:
        phone = (await form_of(request)).get("phone_number", "")
        # A field that comes twice is joined, so that a client's own X-Forwarded-For hides no proxy's.
        headers = {field: ", ".join(request.headers.getlist(field)) for field in request.headers}
        peer = request.client.host if request.client else None
        asked = checkout_of(name, phone, headers, peer, reference=name)
        answer = await endpoints.handle_async(asked)
        problem = problem_of(answer)
        if problem is None:
            return RedirectResponse(
                request.url.path, 303
            )  # so that reloading the page posts nothing
        return await show(request, name, phone, problem, answer.status)

    return pages


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form, of which no more is read than the endpoints take."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            raise HTTPException(413)
    return dict(parse_qsl(body.decode(errors="replace")))
