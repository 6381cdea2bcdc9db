"""The payment endpoints, from request to response, once for both faces.

Their paths, fields and statuses are fixed. `PaymentEndpoints` documents them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from mpesa_stk.daraja.models import QueryResult
from mpesa_stk.errors import CallbackRefused, MpesaError, OrderRefused
from mpesa_stk.hooks import Event
from mpesa_stk.payments.callback import CallbackOutcome
from mpesa_stk.payments.payments_flow import PaymentsFlow
from mpesa_stk.payments.state import Transaction
from mpesa_stk.privacy import hides_locals
from mpesa_stk.web import bodies
from mpesa_stk.web.addresses import Address, address_of
from mpesa_stk.web.guard import CallbackGuard, is_cross_site
from mpesa_stk.web.host_rules import Action, HostRules
from mpesa_stk.web.limits import AsyncLimits, Limits
from mpesa_stk.web.messages import (
    MAX_FIELDS,
    TOO_MANY_FIELDS,
    Refusal,
    WebRequest,
    WebResponse,
    error_response,
    json_response,
)
from mpesa_stk.web.throttle import Client, Limited, Throttle
from mpesa_stk.web.web_checkout import WebCheckout
from mpesa_stk.web.web_claim import WebClaim

_UNKNOWN_PAYMENT = error_response(404, "unknown_payment", "There is no such payment here.")
_ACCEPTED = {"ResultCode": 0, "ResultDesc": "Accepted"}


def with_slash(prefix: str, /) -> str:
    """Return a prefix with one slash before it and none behind it, or ``""`` if it is empty."""
    return "/" + prefix.strip("/") if prefix.strip("/") else ""


class EndpointsFlow:
    """Answers requests under one prefix."""

    def __init__(
        self,
        payments: PaymentsFlow,
        /,
        *,
        guard: CallbackGuard,
        prefix: str,
        host: HostRules,
        limits: Limits | AsyncLimits,
        show_all: bool,
    ) -> None:
        self._payments = payments
        self._guard = guard
        self._host = host
        self._throttle = Throttle(limits, get=payments.get)
        self._web_checkout = WebCheckout(payments, host=host, throttle=self._throttle)
        self._web_claim = WebClaim(payments, throttle=self._throttle)
        # Whoever `authorize` lets in may see a payment whole.
        self._shows_all = show_all or host.authorize is not None
        self._prefix = with_slash(prefix)

    def is_callback(self, path: str) -> bool:
        """Return whether Daraja calls this path. Its requests never wait for others."""
        return path.startswith(f"{self._prefix}/callback/") or path == f"{self._prefix}/callback"

    @hides_locals
    async def answer(self, request: WebRequest, /) -> WebResponse:
        """Answer one request. It raises no `Exception`, even for a malformed request or a bug."""
        return await bodies.answered(self._route, request)

    async def _route(self, request: WebRequest) -> WebResponse:
        path = request.path.rstrip("/")
        endpoints: dict[str, Callable[[WebRequest], Awaitable[WebResponse]]] = {
            f"{self._prefix}/checkout": self._checkout,
            f"{self._prefix}/query": self._query,
            f"{self._prefix}/claim": self._claim,
        }
        callback = f"{self._prefix}/callback"
        endpoint = endpoints.get(path)
        token = path[len(callback) + 1 :] if path.startswith(callback + "/") else None
        if endpoint is None and path != callback and (token is None or "/" in token):
            raise Refusal(error_response(404, "not_found", "There is no such endpoint."))
        if request.method != "POST":
            raise Refusal(error_response(405, "method_not_allowed", "Use POST.", Allow="POST"))
        if len(request.headers) > MAX_FIELDS:
            raise Refusal(TOO_MANY_FIELDS)
        name = "callback" if endpoint is None else path.rpartition("/")[2]
        self._check_host(request, name)
        if endpoint is None:
            return await self._callback(request, token)
        if is_cross_site(request, self._guard.allowed_origins):
            self._tell_refusal(request, name, "another site's page")
            raise Refusal(
                error_response(403, "cross_site", "Requests from other sites are refused.")
            )
        try:
            await self._throttle.admit(self._client_of(request))
            return await endpoint(request)
        except Limited as limited:
            self._tell_refusal(request, name, f"too many {limited.name}")
            return bodies.limited_answer(limited.name, limited.wait, asked=name)

    def _check_host(self, request: WebRequest, endpoint: str) -> None:
        callback_url = self._payments.config.callback_url
        if self._guard.is_foreign_host(request, callback_url=callback_url):
            self._tell_refusal(request, endpoint, "the Host is not ours")
            raise Refusal(
                error_response(403, "foreign_host", "The Host is none of this server's names.")
            )

    def _tell_refusal(self, request: WebRequest, endpoint: str, reason: str) -> None:
        """Report only the client and the reason of a refusal to the log and hooks."""
        client = self._client_of(request)
        self._payments.notify(
            Event(
                kind="refusal",
                outcome="refused",
                endpoint=endpoint,
                reason=reason,
                client_address=str(client) if client else None,
            )
        )

    def _client_of(self, request: WebRequest) -> Address | None:
        """Return who sent a request. If a proxy does not say for certain, that is the proxy."""
        return self._guard.client_of(request) or address_of(request.remote_addr or "")

    async def _authorize(
        self, request: WebRequest, action: Action, transaction: Transaction | None
    ) -> None:
        if await self._host.allows(request, action, transaction):
            return
        self._tell_refusal(request, action, "authorize said no")
        raise Refusal(error_response(403, "not_allowed", "You may not do this."))

    # --- checkout ------------------------------------------------------------------------------

    async def _checkout(self, request: WebRequest) -> WebResponse:
        checkout = bodies.checkout_of(request, is_quoted=self._host.quote is not None)
        await self._authorize(request, "checkout", None)
        client = self._client_of(request)
        try:
            return bodies.checkout_answer(await self._web_checkout.run(request, checkout, client))
        except OrderRefused as refused:
            return await self._web_checkout.obstacle(refused, checkout)

    # --- query ---------------------------------------------------------------------------------

    async def _query(self, request: WebRequest) -> WebResponse:
        payload = bodies.json_object(request)
        client = self._client_of(request)
        by_number = payload.get("transaction_no") is not None
        local = await self._asked_about(payload, client)
        try:
            await self._authorize(request, "query", local)
        except Refusal:
            await self._throttle.missed(client)  # a guess that hit
            raise
        remote: QueryResult | None = None
        failure: MpesaError | None = None
        if local.checkout_request_id is not None and not local.state.settled:
            status = await self._payments.query(
                local.checkout_request_id, token=None, idempotency_key=None
            )
            remote, failure = status.remote, status.remote_error
            before, local = local, status.local_transaction or local
            await self._throttle.settled(local, just_now=local.settled and not before.settled)
        else:
            await self._throttle.settled(local, just_now=False)
        masked = not (by_number or self._shows_all)
        return bodies.query_answer(local, remote=remote, failure=failure, is_masked=masked)

    async def _asked_about(self, payload: Mapping[str, Any], client: Client) -> Transaction:
        """Return the payment of our account that a query names by either id.

        Only a CheckoutRequestID can be guessed, so a client that missed too often can still ask by number.
        """
        payments = self._payments
        if payload.get("transaction_no") is not None:
            local = await payments.get(bodies.text_of(payload, "transaction_no"))
        else:
            name = bodies.text_of(payload, "checkout_request_id")
            await self._throttle.admit_guess(client)
            local = await payments.find(checkout_request_id=name)
        if local is None:
            await self._throttle.missed(client)
            raise Refusal(_UNKNOWN_PAYMENT)
        return local

    # --- claim ---------------------------------------------------------------------------------

    async def _claim(self, request: WebRequest) -> WebResponse:
        payload = bodies.json_object(request)
        number = bodies.text_of(payload, "transaction_no")
        receipt = bodies.text_of(payload, "receipt_number")
        client = self._client_of(request)
        await self._throttle.admit_guess(client)
        local = await self._payments.get(number)
        if local is None:
            await self._throttle.missed(client)
            raise Refusal(_UNKNOWN_PAYMENT)
        try:
            await self._authorize(request, "claim", local)
        except Refusal:
            await self._throttle.missed(client)
            raise
        return bodies.claim_answer(await self._web_claim.run(local, receipt, client))

    # --- callback ------------------------------------------------------------------------------

    async def _callback(self, request: WebRequest, token: str | None) -> WebResponse:
        try:
            signed = bool(self._payments.config.callback_secrets)
            self._guard.check_callback(request, signed=signed)
            bodies.check_size(request)
            receipt = await self._payments.handle_callback(request.body, token=token)
        except CallbackRefused as error:
            self._tell_refusal(request, "callback", error.reason)
            raise
        if receipt.transaction is not None:
            just_now = receipt.outcome is CallbackOutcome.SETTLED
            await self._throttle.settled(receipt.transaction, just_now=just_now)
        return json_response(200, _ACCEPTED)
