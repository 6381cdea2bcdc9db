"""A Django project with the app `mpesa_stk.contrib.django`: its URLs, its settings and its database."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings

from daraja_double import ThreadedTransport
from example_shops import call_asgi, django_answer, django_database, set_up_django
from mpesa_stk import NoLimits, WebRequest, WebResponse
from mpesa_stk.clock import AwaitedClock
from web_cases import HOST, Send, Shop

set_up_django()

from django.urls import include, path  # noqa: E402 - the settings come first
from django.views.decorators.csrf import ensure_csrf_cookie  # noqa: E402

from mpesa_stk.contrib.django import runtime  # noqa: E402 - the same
from mpesa_stk.contrib.django.host_settings import HostSettings  # noqa: E402 - the same
from mpesa_stk.contrib.django.parts import Parts  # noqa: E402 - the same

__all__ = [
    "CREDENTIALS",
    "PRICES",
    "behind",
    "on_loop",
    "quote",
    "running",
    "urlpatterns",
    "with_threads",
    "without_csrf",
]

CREDENTIALS = {
    "consumer_key": "a-consumer-key",
    "consumer_secret": "a-consumer-secret",
    "shortcode": "600000",
    "pass_key": "a" * 64,
    "c2b_callback": f"https://{HOST}/payments/callback/",
    "callback_secret": "a-secret-of-this-shop",
}
PRICES = {"INV-1": 100, "INV-2": 250}


def quote(order: str) -> int | None:
    """What an order costs."""
    return PRICES.get(order)


def _page(_request: HttpRequest) -> HttpResponse:
    """The page with the pay button."""
    return HttpResponse("Pay")


page = ensure_csrf_cookie(_page)


urlpatterns = [
    path("", page),
    path("payments/", include("mpesa_stk.contrib.django.urls")),
    path("payments/done/", page),
]


@contextlib.contextmanager
def running(folder: Path | None = None, **settings: Any) -> Iterator[None]:
    """Give the process the settings of a project, and its tables if there is a folder for them."""
    mine: dict[str, Any] = {
        "ROOT_URLCONF": "django_host",
        "ALLOWED_HOSTS": [HOST, "testserver"],
        "CSRF_TRUSTED_ORIGINS": [f"https://{HOST}"],
        "CSRF_FAILURE_VIEW": "mpesa_stk.contrib.django.views.csrf_failure",
        "MPESA_STK": CREDENTIALS,
    }
    with contextlib.ExitStack() as stack:
        if folder is not None:
            stack.enter_context(django_database(folder / "host.sqlite3"))
        stack.enter_context(override_settings(**(mine | settings)))
        yield


# --- requests ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def behind(shop: Shop) -> Iterator[None]:
    """Put the payments of a shop of the tests behind the app, over the same Daraja, clock and hooks."""
    parts = Parts(
        HostSettings(
            configs=(shop.payments.client.config,), hooks=(shop.events.append,), limits=NoLimits()
        ),
        transport=shop.daraja,
        async_transport=ThreadedTransport(shop.daraja),
        clock=shop.clock,
        async_clock=AwaitedClock(shop.clock),
        jitter=lambda: 0.5,
    )
    with runtime.replaced(parts):
        yield


def with_threads() -> Send:
    """Carry requests as a WSGI server does; those of customers with the page's CSRF token."""
    client = Client(enforce_csrf_checks=True)
    client.get("/", headers={"Host": HOST})
    token = client.cookies["csrftoken"].value

    def send(request: WebRequest) -> WebResponse:
        csrf = {} if "/callback" in request.path else {"X-CSRFToken": token}
        return django_answer(client, request, **csrf)

    return send


def without_csrf() -> Any:
    """Let checkouts need no token: a test is no browser."""
    middleware = [name for name in settings.MIDDLEWARE if "Csrf" not in name]
    return override_settings(MIDDLEWARE=middleware)


def on_loop() -> Send:
    """Carry requests as an ASGI server does, each on an event loop of its own."""
    client = Client()
    client.get("/", headers={"Host": HOST})
    token = client.cookies["csrftoken"].value
    app = get_asgi_application()

    def send(request: WebRequest) -> WebResponse:
        headers = dict(request.headers)
        if "/callback" not in request.path:
            headers |= {"x-csrftoken": token, "cookie": f"csrftoken={token}"}
        return asyncio.run(call_asgi(app, attrs.evolve(request, headers=headers)))

    return send
