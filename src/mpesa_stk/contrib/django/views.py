"""The endpoints as Django views, with one face under WSGI and another one under ASGI."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from asgiref.sync import markcoroutinefunction, sync_to_async
from django.db import close_old_connections, connections
from django.db.transaction import non_atomic_requests
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import REASON_BAD_ORIGIN
from django.views.csrf import csrf_failure as django_csrf_failure

from mpesa_stk.contrib.django import runtime
from mpesa_stk.contrib.django.host_functions import DjangoWebRequest
from mpesa_stk.contrib.django.mounting import APP_NAME
from mpesa_stk.daraja.exchange import MAX_BODY
from mpesa_stk.privacy import hides_locals
from mpesa_stk.stores.async_calls import Tasks
from mpesa_stk.web.messages import WebResponse, error_response

__all__ = ["callback", "csrf_failure", "is_on_loop", "payments"]

_OTHER_SITE = error_response(403, "cross_site", "Requests from other sites are refused.")
_NO_TOKEN = error_response(
    403, "no_csrf_token", "The request has no CSRF token of this page: reload it and try again."
)
_OF_OTHER_SITES = REASON_BAD_ORIGIN.partition("%")[0]


@hides_locals
def _answer(request: HttpRequest, path: str) -> HttpResponse:
    """Answer a request in this thread."""
    return _django(runtime.endpoints().handle(_web_request(request, path)))


@hides_locals
async def _answer_on_loop(request: HttpRequest, path: str) -> HttpResponse:
    """Answer a request on the event loop, or in Django's thread if the package for that is missing."""
    endpoints = runtime.async_endpoints()
    if endpoints is None:
        response: HttpResponse = await sync_to_async(_answer)(request, path)
        return response
    work = asyncio.ensure_future(endpoints.handle_async(_web_request(request, path)))
    try:
        return _django(await asyncio.shield(work))
    except asyncio.CancelledError:  # the client has hung up, and the work goes on
        _cleaning.start(_clean_up(work))
        raise


_cleaning = Tasks()


async def _clean_up(work: asyncio.Future[WebResponse]) -> None:
    """Close the connections of some work that outlives its request, as Django does after each request."""
    await asyncio.wait({work})
    await sync_to_async(close_old_connections)()


class _View:
    """A view that is asynchronous if an event loop calls it, and plain if not.

    Django asks a view whether it is a coroutine function by attributes of it. An ASGI server asks on its
    event loop, and a WSGI server where none runs. So each of them gets the attributes of the
    face that it will call.
    """

    def __init__(
        self, face: Callable[..., HttpResponse], face_on_loop: Callable[..., Any], *, name: str
    ) -> None:
        self._faces = face, face_on_loop
        self.csrf_exempt = False
        self.__name__ = self.__qualname__ = name
        self.__doc__ = face.__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - Django's
        """Answer a request, or return a coroutine that does."""
        return self._faces[is_on_loop()](*args, **kwargs)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any attribute
        """Return an attribute of the face that is asked for. Without ``_faces`` there is none yet."""
        if name.startswith("_faces"):
            raise AttributeError(name)
        return getattr(self._faces[is_on_loop()], name)


def is_on_loop() -> bool:
    """Return whether an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _view(name: str) -> _View:
    """Make a view. It is in no transaction: an intent must be stored before its push is sent."""
    view = _View(_answer, markcoroutinefunction(_answer_on_loop), name=name)
    for alias in connections:
        non_atomic_requests(using=alias)(view)
    return view


payments = _view("payments")
"""Answers checkouts, queries and claims. Django's CSRF check protects it."""
callback = _view("callback")
"""Answers Daraja, which has no CSRF token. The signature of its URL and its address are checked."""
callback.csrf_exempt = True


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Refuse a request without a CSRF token in the words of the endpoints, if it is for them.

    Other pages get Django's own answer. Name it in ``CSRF_FAILURE_VIEW``.
    """
    match = request.resolver_match
    if match is not None and match.app_name == APP_NAME:
        return _django(_OTHER_SITE if reason.startswith(_OF_OTHER_SITES) else _NO_TOKEN)
    answer: HttpResponse = django_csrf_failure(request, reason)
    return answer


def _web_request(request: HttpRequest, path: str) -> DjangoWebRequest:
    """Read a request, with at most one byte more than a body may have."""
    return DjangoWebRequest(
        method=request.method or "",
        path=f"/{path}",
        query=request.META.get("QUERY_STRING", ""),
        headers=request.headers,
        body=request.read(MAX_BODY + 1),
        remote_addr=request.META.get("REMOTE_ADDR") or None,
        original=request,
    )


def _django(answer: WebResponse) -> HttpResponse:
    return HttpResponse(answer.body, status=answer.status, headers=dict(answer.headers))
