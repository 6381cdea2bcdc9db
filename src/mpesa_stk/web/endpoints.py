"""The three payment endpoints, from request to response, for any framework. Total: never raises.

Paths, fields and statuses are fixed. An error body names a code, a message and a field; it never
repeats the input, a secret or a stack trace.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timezone
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from mpesa_stk.daraja import wire
from mpesa_stk.daraja.http import MAX_BODY
from mpesa_stk.daraja.models import MAX_DESCRIPTION, MAX_REFERENCE, QueryResult, QueryStatus
from mpesa_stk.errors import (
    AuthenticationFailed,
    CallbackRefused,
    DarajaError,
    GatewayBlocked,
    IdempotencyConflict,
    InvalidCallback,
    InvalidRequest,
    MpesaError,
    NotSent,
    RateLimited,
    StoreError,
    SubscriberBusy,
    TransportError,
    UnexpectedResponse,
)
from mpesa_stk.hooks import Event, log_trouble
from mpesa_stk.payments.flow import Payments
from mpesa_stk.payments.state import TransactionState
from mpesa_stk.payments.transaction import Transaction
from mpesa_stk.web.addresses import address_of
from mpesa_stk.web.capacity import Capacity
from mpesa_stk.web.guard import CallbackGuard, is_cross_site
from mpesa_stk.web.http import (
    MAX_FIELDS,
    TOO_BUSY,
    TOO_MANY_FIELDS,
    WebRequest,
    WebResponse,
    error_response,
    json_response,
)
from mpesa_stk.web.wsgi import WsgiApp

if TYPE_CHECKING:
    from mpesa_stk.web.asgi import AsgiApp

__all__ = ["PaymentEndpoints"]

_MAX_FREE_TEXT = 255
_ACCEPTED = {"ResultCode": 0, "ResultDesc": "Accepted"}
_QUERY_ACCEPTED = "The service request has been accepted successfully"
_STILL_OPEN = "The payment is still being processed"
_NO_RESULT = {
    TransactionState.REJECTED: "The payment was refused before it reached the phone",
    TransactionState.EXPIRED: "The result of the payment is not known",
}
# What a checkout answers for a payment that has ended: no prompt is open.
_ENDED = {
    TransactionState.SUCCEEDED: "The payment is paid",
    TransactionState.FAILED: "The payment failed",
    **_NO_RESULT,
}
_IDEMPOTENCY_KEY = "Idempotency-Key"

# The first row that fits an error: its status, and a text of ours, never Daraja's or the input.
_ANSWERS: tuple[tuple[type[MpesaError], int, str], ...] = (
    (InvalidCallback, 400, "The body is not an STK callback."),
    (CallbackRefused, 403, "The callback is refused."),
    (IdempotencyConflict, 409, "The key was used for another payment."),
    (NotSent, 503, "Daraja cannot be reached; nothing was sent."),
    (TransportError, 503, "Daraja gave no usable answer."),
    (StoreError, 503, "The payments cannot be read or written now."),
    (RateLimited, 429, "Daraja asks to slow down."),
    (SubscriberBusy, 502, "Another prompt is open on that phone; wait a minute."),
    (AuthenticationFailed, 502, "Daraja does not accept this shop's credentials."),
    (DarajaError, 502, "Daraja refused the request."),
    (GatewayBlocked, 502, "A firewall before Daraja refused the request."),
    (UnexpectedResponse, 502, "Daraja's answer cannot be read."),
)
_RETRY_AFTER = {503: 5, 429: 60}


class _Refusal(Exception):
    """Ends a request with an answer."""

    def __init__(self, response: WebResponse) -> None:
        self.response = response
        super().__init__(response.status)


class PaymentEndpoints:
    """``<prefix>/checkout/``, ``<prefix>/query/`` and ``<prefix>/callback/``.

    Safe to share between threads.
    """

    def __init__(
        self,
        payments: Payments,
        /,
        *,
        guard: CallbackGuard | None = None,
        prefix: str = "/payments",
        at_once: int = 16,
    ) -> None:
        """Make the endpoints.

        Args:
            payments: What they act on.
            guard: Who may call; `CallbackGuard.from_config` of the client's settings by default.
            prefix: The path under which they are.
            at_once: Most checkouts and queries that are answered at the same time; one more is
                answered 503 at once. Callbacks do not count: give a WSGI server more threads than
                this, so that some are left for them.

        Raises:
            ValueError: `at_once` is below 1.
        """
        self._payments = payments
        self._guard = (
            guard if guard is not None else CallbackGuard.from_config(payments.client.config)
        )
        self._prefix = "/" + prefix.strip("/") if prefix.strip("/") else ""
        self._at_once = at_once
        self._capacity = Capacity(at_once)

    @property
    def wsgi(self) -> WsgiApp:
        """The endpoints as a WSGI application."""
        return WsgiApp(self.handle)

    @property
    def asgi(self) -> AsgiApp:
        """The endpoints as an ASGI application."""
        from mpesa_stk.web.asgi import AsgiApp  # noqa: PLC0415 - asyncio takes long to import

        return AsgiApp(self.handle, is_callback=self._is_callback, at_once=self._at_once)

    def handle(self, request: WebRequest, /) -> WebResponse:
        """Answer one request, whatever it holds."""
        if self._is_callback(request.path):
            return self._answer(request)
        if not self._capacity.take():
            return TOO_BUSY
        try:
            return self._answer(request)
        finally:
            self._capacity.give_back()

    def _is_callback(self, path: str) -> bool:
        """Whether the request is Daraja's, which never waits behind others."""
        return path.startswith(f"{self._prefix}/callback/") or path == f"{self._prefix}/callback"

    def _answer(self, request: WebRequest) -> WebResponse:
        try:
            return self._route(request)
        except _Refusal as refusal:
            return refusal.response
        except Exception as error:  # noqa: BLE001 - a bug must not show a stack trace to the internet
            return _failure(error)

    def _route(self, request: WebRequest) -> WebResponse:
        path = request.path.rstrip("/")
        endpoints: dict[str, Callable[[WebRequest], WebResponse]] = {
            f"{self._prefix}/checkout": self._checkout,
            f"{self._prefix}/query": self._query,
        }
        callback = f"{self._prefix}/callback"
        endpoint = endpoints.get(path)
        token = path[len(callback) + 1 :] if path.startswith(callback + "/") else None
        if endpoint is None and path != callback and (token is None or "/" in token):
            raise _Refusal(error_response(404, "not_found", "There is no such endpoint."))
        if request.method != "POST":
            raise _Refusal(error_response(405, "method_not_allowed", "Use POST.", Allow="POST"))
        if len(request.headers) > MAX_FIELDS:
            raise _Refusal(TOO_MANY_FIELDS)
        name = "callback" if endpoint is None else path.rpartition("/")[2]
        self._check_host(request, name)
        if endpoint is None:
            return self._callback(request, token)
        if is_cross_site(request, self._guard.allowed_origins):
            self._tell_refusal(request, name, "another site's page")
            raise _Refusal(
                error_response(403, "cross_site", "Requests from other sites are refused.")
            )
        return endpoint(request)

    def _check_host(self, request: WebRequest, endpoint: str) -> None:
        callback_url = self._payments.client.config.callback_url
        if self._guard.is_foreign_host(request, callback_url=callback_url):
            self._tell_refusal(request, endpoint, "the Host is not ours")
            raise _Refusal(
                error_response(403, "foreign_host", "The Host is none of this server's names.")
            )

    def _tell_refusal(self, request: WebRequest, endpoint: str, reason: str) -> None:
        """Tell the log and the hooks who was refused, and why; nothing else of the request."""
        client = self._guard.client_of(request) or address_of(request.remote_addr or "")
        self._payments.notify(
            Event(
                kind="refusal",
                outcome="refused",
                endpoint=endpoint,
                reason=reason,
                client_address=str(client) if client else None,
            )
        )

    # --- checkout ------------------------------------------------------------------------------

    def _checkout(self, request: WebRequest) -> WebResponse:
        payload = _json_object(request)
        reference = _text(payload, "reference")
        description = _description(payload)
        transaction = self._payments.checkout(
            phone_number=_required(payload, "phone_number"),
            amount=_required(payload, "amount"),
            reference=reference,
            description=description,
            prompt_reference=_reference_for_the_prompt(reference),
            prompt_description=_safe(description)[:MAX_DESCRIPTION].rstrip(),
            idempotency_key=request.headers.get(_IDEMPOTENCY_KEY.lower()),
        )
        facts = {
            "transaction_no": transaction.transaction_no,
            "state": transaction.state.value,
        }
        ended = _ENDED.get(transaction.state)
        if transaction.response_description is None and ended is None:
            # The push's outcome is not known (yet): ask the query, do not push again.
            return json_response(202, facts)
        paid = transaction.state is TransactionState.SUCCEEDED
        body: dict[str, object] = {
            "MerchantRequestID": transaction.merchant_request_id,
            "CheckoutRequestID": transaction.checkout_request_id,
            "ResponseCode": "0" if paid or ended is None else "1",
            "ResponseDescription": ended or transaction.response_description,
            "CustomerMessage": ended or transaction.customer_message,
        }
        return json_response(200, body | facts)

    # --- query ---------------------------------------------------------------------------------

    def _query(self, request: WebRequest) -> WebResponse:
        payload = _json_object(request)
        local = self._asked_about(payload)
        remote: QueryResult | None = None
        failure: MpesaError | None = None
        if local.checkout_request_id is not None and not local.state.settled:
            status = self._payments.query(local.checkout_request_id)
            remote, failure = status.remote, status.remote_error
            local = status.local_transaction or local
        body = _remote_fields(remote, local)
        body["local_transaction"] = _local_fields(local)
        body["state"] = local.state.value
        if failure is not None:
            code, _, message = _answer_to(failure)
            body["remote_error"] = {"code": code, "message": message}
        return json_response(200, body)

    def _asked_about(self, payload: Mapping[str, Any]) -> Transaction:
        """The payment that a query names, by either id."""
        store = self._payments.store
        if payload.get("transaction_no") is not None:
            local = store.get(_text(payload, "transaction_no"))
        else:
            local = store.find(checkout_request_id=_text(payload, "checkout_request_id"))
        if local is None:
            raise _Refusal(error_response(404, "unknown_payment", "There is no such payment here."))
        return local

    # --- callback ------------------------------------------------------------------------------

    def _callback(self, request: WebRequest, token: str | None) -> WebResponse:
        try:
            signed = bool(self._payments.client.config.callback_secrets)
            self._guard.check_callback(request, signed=signed)
            _check_size(request)
            self._payments.handle_callback(request.body, token=token)
        except CallbackRefused as error:
            self._tell_refusal(request, "callback", error.reason)
            raise
        return json_response(200, _ACCEPTED)


# --- reading ---------------------------------------------------------------------------------------


def _check_size(request: WebRequest) -> None:
    if len(request.body) > MAX_BODY:
        raise _Refusal(
            error_response(413, "body_too_large", f"At most {MAX_BODY} bytes are taken.")
        )


def _json_object(request: WebRequest) -> dict[str, Any]:
    """The body as a JSON object; a form, which another site could post, is none."""
    _check_size(request)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise _Refusal(error_response(415, "not_json", "Send application/json."))
    try:
        return wire.read_object(request.body)
    except wire.WireError:
        raise _Refusal(
            error_response(400, "invalid_json", "The body is not a JSON object.")
        ) from None


def _required(payload: Mapping[str, Any], field: str) -> Any:  # noqa: ANN401 - checkout checks it
    if payload.get(field) is None:
        raise InvalidRequest(field, "is missing")
    return payload[field]


def _text(payload: Mapping[str, Any], field: str) -> str:
    value = _required(payload, field)
    fits = isinstance(value, str) and 1 <= len(value) <= _MAX_FREE_TEXT and value.isprintable()
    if not fits:
        rule = f"must be a string of 1 to {_MAX_FREE_TEXT} printable characters"
        raise InvalidRequest(field, rule)
    return str(value)


def _description(payload: Mapping[str, Any]) -> str:
    given = payload.get("description")
    return "" if given is None or given == "" else _text(payload, "description")


def _safe(text: str) -> str:
    """A free text in the characters that Daraja takes, with single spaces."""
    safe = "".join(c if c.isascii() and (c.isalnum() or c in " -_./") else " " for c in text)
    return " ".join(safe.split())


def _reference_for_the_prompt(reference: str) -> str:
    """A reference as Daraja takes it: its end, which tells invoices apart."""
    short = _safe(reference)[-MAX_REFERENCE:].lstrip(" -_./")
    if not short:
        raise InvalidRequest("reference", "must hold a letter or a digit from A to Z or 0 to 9")
    return short


# --- answering -------------------------------------------------------------------------------------


def _remote_fields(remote: QueryResult | None, local: Transaction) -> dict[str, object]:
    """The fields as Daraja names them; the result is null while nobody can tell."""
    code, words = _outcome(remote, local)
    return {
        "ResponseCode": (remote and remote.response_code) or "0",
        "ResponseDescription": (remote and remote.response_description) or _QUERY_ACCEPTED,
        "MerchantRequestID": local.merchant_request_id,
        "CheckoutRequestID": local.checkout_request_id,
        "ResultCode": code,
        "ResultDesc": words,
    }


def _outcome(remote: QueryResult | None, local: Transaction) -> tuple[str | None, str | None]:
    """The outcome as stored, which no later query takes back; else Daraja's final word; else null."""
    if local.result_code is not None and local.state is not TransactionState.REJECTED:
        return local.result_code, local.result_desc
    if remote is not None and remote.status in (QueryStatus.PAID, QueryStatus.FAILED):
        return remote.result_code, remote.result_desc
    return None, _NO_RESULT.get(local.state, _STILL_OPEN)


def _local_fields(local: Transaction) -> dict[str, object]:
    created = local.created.astimezone(timezone.utc)
    return {
        "transaction_no": local.transaction_no,
        "phone_number": local.phone_number,
        "amount": str(local.amount),
        "status": local.status_code,
        "receipt_no": local.receipt_number,
        "created": created.isoformat().replace("+00:00", "Z"),
    }


def _failure(error: Exception) -> WebResponse:
    """The answer to an error (the table of the endpoints' page)."""
    if isinstance(error, InvalidRequest):
        field = _IDEMPOTENCY_KEY if error.field == "idempotency_key" else error.field
        return error_response(400, type(error).__name__, f"{field} {error.rule}", field)
    code, status, message = _answer_to(error)
    headers = {}
    if status in _RETRY_AFTER:
        wait = getattr(error, "retry_after", None) or _RETRY_AFTER[status]
        headers["Retry_After"] = str(int(wait))
    about = _IDEMPOTENCY_KEY if status == HTTPStatus.CONFLICT else None
    return error_response(status, code, message, about, **headers)


def _answer_to(error: Exception) -> tuple[str, int, str]:
    """Code, status and text for an error; a bug is logged and says nothing of itself."""
    for kind, status, message in _ANSWERS:
        if isinstance(error, kind):
            return kind.__name__, status, message
    log_trouble("endpoint_failed", error=type(error).__name__)
    return "internal_error", 500, "The request could not be handled."
