"""The adapter: Django's request in, Django's response out."""

from django.db.transaction import non_atomic_requests
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import ensure_csrf_cookie

from mpesa_stk import MAX_BODY, WebRequest, WebResponse, json_response
from shop import payments as shop

OTHER_SITE = {"code": "cross_site", "message": "Requests from other sites are refused."}


@non_atomic_requests  # a payment must be stored before its push is sent, not after the view
def payments(request: HttpRequest) -> HttpResponse:
    """Checkout, query and callback."""
    web_request = WebRequest(
        method=request.method,
        path=request.path_info,
        headers=request.headers,
        body=request.read(MAX_BODY + 1),
        remote_addr=request.META.get("REMOTE_ADDR"),
    )
    return _django(shop.endpoints().handle(web_request))


def csrf_failure(_request: HttpRequest, reason: str = "") -> HttpResponse:  # noqa: ARG001
    """Django's refusal, in the words of the payment endpoints."""
    return _django(json_response(403, {"error": OTHER_SITE | {"field": None}}))


def _django(answer: WebResponse) -> HttpResponse:
    return HttpResponse(answer.body, status=answer.status, headers=dict(answer.headers))


page = ensure_csrf_cookie(lambda _request: HttpResponse("The page with the pay button."))
