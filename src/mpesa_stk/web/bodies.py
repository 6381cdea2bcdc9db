"""Read the JSON of requests, and make the JSON of answers.

The body of an error has a code, a message and a field. It never repeats the input, a secret or a stack
trace.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from datetime import timezone
from typing import Any

from mpesa_stk.daraja import wire
from mpesa_stk.daraja.exchange import MAX_BODY
from mpesa_stk.daraja.models import MAX_DESCRIPTION, MAX_REFERENCE, QueryResult, check_words
from mpesa_stk.errors import (
    AlreadyPaid,
    AuthenticationFailed,
    CallbackRefused,
    DarajaError,
    GatewayBlocked,
    IdempotencyConflict,
    InvalidCallback,
    InvalidRequest,
    MpesaError,
    NotSent,
    OrderRefused,
    PaymentInProgress,
    PaymentUnresolved,
    RateLimited,
    StoreError,
    SubscriberBusy,
    TransportError,
    UnexpectedResponse,
)
from mpesa_stk.hooks import log_trouble
from mpesa_stk.payments.reconciling import Claim, ClaimAnswer
from mpesa_stk.payments.state import Transaction, TransactionState
from mpesa_stk.privacy import mask_phone, mask_receipt
from mpesa_stk.web.limits import RateName
from mpesa_stk.web.messages import Refusal, WebRequest, WebResponse, error_response, json_response

_QUERY_ACCEPTED = "The service request has been accepted successfully"
_STILL_OPEN = "The payment is still being processed"
# Texts for payments that have ended, so that no prompt is open.
_ENDED = {
    TransactionState.SUCCEEDED: "The payment is paid",
    TransactionState.FAILED: "The payment failed",
    TransactionState.REJECTED: "The payment was refused before it reached the phone",
    TransactionState.EXPIRED: "The result of the payment is not known",
}
_ORDERS: Mapping[type[OrderRefused], str] = {
    AlreadyPaid: "The order is paid.",
    PaymentInProgress: "Another attempt at the order may still be paid; wait for its outcome.",
    PaymentUnresolved: "Nobody knows whether an earlier attempt at the order was paid.",
}
_IDEMPOTENCY_KEY = "Idempotency-Key"

# The first row that fits an error gives its status and its text. The text is ours, never Daraja's or the
# input.
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
# By the name of the rate: code, message and field.
_LIMITED: Mapping[RateName, tuple[str, str, str | None]] = {
    "requests": ("too_many_requests", "Too many requests; nothing was sent.", None),
    "misses": ("too_many_misses", "Too many payments were not found.", "checkout_request_id"),
    "open_prompts": ("prompt_open", "A prompt is open on that phone.", "phone_number"),
    "prompts": ("too_many_prompts", "That phone was asked too often.", "phone_number"),
    "prompts_of_client": ("too_many_prompts", "That phone was asked too often.", "phone_number"),
}

_CLAIMS: Mapping[ClaimAnswer, tuple[str, str]] = {
    ClaimAnswer.PAID: ("paid", "The payment is paid, with this code."),
    ClaimAnswer.OTHER_RECEIPT: ("paid_otherwise", "The payment is paid, with another code."),
    ClaimAnswer.IN_RECORD: ("found", "M-Pesa has this payment; it is being written down."),
    ClaimAnswer.OTHER_PAYMENT: ("not_this_payment", "The code is not of this payment."),
    ClaimAnswer.DOES_NOT_FIT: ("not_this_payment", "The code is not of this payment."),
    ClaimAnswer.UNKNOWN: ("unknown", "M-Pesa has not shown this code yet; keep the message."),
}


# --- reading ---------------------------------------------------------------------------------------


def check_size(request: WebRequest, /) -> None:
    """Refuse a body that is too large.

    Raises:
        Refusal: The body has more than `MAX_BODY` bytes.
    """
    if len(request.body) > MAX_BODY:
        raise Refusal(error_response(413, "body_too_large", f"At most {MAX_BODY} bytes are taken."))


def json_object(request: WebRequest, /) -> dict[str, Any]:
    """Read the body as a JSON object. Refuse forms: other sites can post them.

    Raises:
        Refusal: The body is too large, its content type is not JSON, or it is no object.
    """
    check_size(request)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal(error_response(415, "not_json", "Send application/json."))
    try:
        return wire.read_object(request.body)
    except wire.WireError:
        raise Refusal(
            error_response(400, "invalid_json", "The body is not a JSON object.")
        ) from None


def _required(payload: Mapping[str, Any], field: str) -> Any:  # noqa: ANN401 - checkout checks it
    if payload.get(field) is None:
        raise InvalidRequest(field, "is missing")
    return payload[field]


def text_of(payload: Mapping[str, Any], field: str, /) -> str:
    """Read a field that is a text of one line.

    Raises:
        InvalidRequest: The field is missing, too long, or no such text.
    """
    return check_words(field, _required(payload, field))


def checkout_of(request: WebRequest, /, *, is_quoted: bool) -> dict[str, Any]:
    """Read a checkout, and return the arguments for `Payments.checkout`.

    `checkout` checks the rest. The payment keeps its texts whole. The prompt shows as much of them as
    Daraja accepts. No field of a browser decides whether an unresolved order may be paid again.

    Args:
        request: The request.
        is_quoted: Whether the server knows the price, so that the amount may be missing.

    Raises:
        Refusal: The body is no JSON object.
        InvalidRequest: A field is missing, or a text breaks a rule.
    """
    payload = json_object(request)
    phone_number = _required(payload, "phone_number")
    amount = payload.get("amount") if is_quoted else _required(payload, "amount")
    reference, description = text_of(payload, "reference"), _description(payload)
    return {
        "phone_number": phone_number,
        "amount": amount,
        "reference": reference,
        "description": description,
        "order": None if payload.get("order") is None else text_of(payload, "order"),
        "prompt_reference": _reference_for_the_prompt(reference),
        "prompt_description": _safe(description)[:MAX_DESCRIPTION].rstrip(),
        "idempotency_key": request.headers.get(_IDEMPOTENCY_KEY.lower()),
    }


def _description(payload: Mapping[str, Any]) -> str:
    given = payload.get("description")
    return "" if given is None or given == "" else text_of(payload, "description")


def _safe(text: str) -> str:
    """Reduce a free text to the characters that Daraja accepts, with single spaces."""
    safe = "".join(c if c.isascii() and (c.isalnum() or c in " -_./") else " " for c in text)
    return " ".join(safe.split())


def _reference_for_the_prompt(reference: str) -> str:
    """Shorten a reference to its end, in which invoice numbers differ."""
    short = _safe(reference)[-MAX_REFERENCE:].lstrip(" -_./")
    if not short:
        raise InvalidRequest("reference", "must hold a letter or a digit from A to Z or 0 to 9")
    return short


# --- answering -------------------------------------------------------------------------------------


def checkout_answer(transaction: Transaction, /) -> WebResponse:
    """Answer a checkout: Daraja's five fields, the payment's number and its state."""
    facts = {"transaction_no": transaction.transaction_no, "state": transaction.state.value}
    ended = _ENDED.get(transaction.state)
    if transaction.response_description is None and ended is None:
        # The outcome of the push is not known (yet): the caller should query it, not push again.
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


def query_answer(
    local: Transaction,
    /,
    *,
    remote: QueryResult | None,
    failure: MpesaError | None,
    is_masked: bool,
) -> WebResponse:
    """Answer a query: the payment as stored, in Daraja's fields and ours.

    Args:
        local: The payment, with Daraja's answer applied.
        remote: Daraja's answer, or None if Daraja was not asked.
        failure: The error if Daraja could not be asked.
        is_masked: Whether to hide the parts of the phone number and the receipt, and the whole
            `transaction_no`, by which the next query would show both.
    """
    code, words = _outcome(local)
    body: dict[str, object] = {
        "ResponseCode": (remote and remote.response_code) or "0",
        "ResponseDescription": (remote and remote.response_description) or _QUERY_ACCEPTED,
        "MerchantRequestID": local.merchant_request_id,
        "CheckoutRequestID": local.checkout_request_id,
        "ResultCode": code,
        "ResultDesc": words,
        "local_transaction": _local_fields(local) | (_masked_fields(local) if is_masked else {}),
        "state": local.state.value,
    }
    if failure is not None:
        name, _, message = _answer_to(failure)
        body["remote_error"] = {"code": name, "message": message}
    return json_response(200, body)


def _outcome(local: Transaction) -> tuple[str | None, str | None]:
    """Return the stored code, or None if unknown or refused, and its words."""
    if local.result_code is not None and local.state is not TransactionState.REJECTED:
        return local.result_code, local.result_desc
    return None, _ENDED.get(local.state, _STILL_OPEN)


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


def _masked_fields(local: Transaction) -> dict[str, object]:
    return {
        "transaction_no": None,
        "phone_number": mask_phone(local.phone_number),
        "receipt_no": mask_receipt(local.receipt_number),
    }


def claim_answer(claim: Claim, /) -> WebResponse:
    """Answer a customer who named a receipt. No answer shows a receipt, or what another payment is."""
    answer, message = _CLAIMS[claim.answer]
    local = claim.transaction
    return json_response(
        200,
        {
            "transaction_no": local.transaction_no,
            "state": local.state.value,
            "answer": answer,
            "message": message,
        },
    )


def limited_answer(name: RateName, wait: float, /, *, asked: str) -> WebResponse:
    """Answer a request that came too often.

    Args:
        name: The name of the rate, as in `Rates`.
        wait: Seconds until it may come again.
        asked: The endpoint: ``checkout``, ``query`` or ``claim``.
    """
    code, message, field = _LIMITED[name]
    if name == "misses" and asked == "claim":
        message, field = "Too many codes were not those of the payment.", "receipt_number"
    return error_response(429, code, message, field, Retry_After=str(max(math.ceil(wait), 1)))


def wrong_amount_answer(amount: int, /) -> WebResponse:
    """Answer a checkout with another amount than the server's price."""
    return error_response(
        409, "wrong_amount", "The amount is not the price.", "amount", {"amount": amount}
    )


def nothing_to_pay_answer(field: str, /) -> WebResponse:
    """Answer a checkout for something that has no price: it does not exist, or no money is owed.

    Args:
        field: ``order`` or ``reference``.
    """
    return error_response(404, "nothing_to_pay", "There is nothing to pay for this.", field)


def order_answer(
    refused: OrderRefused, attempt: Transaction | None, /, *, shows_number: bool
) -> WebResponse:
    """Answer a checkout of an order that another attempt is in the way of.

    Args:
        refused: Why it was refused.
        attempt: The attempt in the way, as stored.
        shows_number: Whether the client may know its `transaction_no`.
    """
    facts = {
        "transaction_no": refused.transaction_no if shows_number else None,
        "state": attempt.state.value if attempt is not None else None,
    }
    kind = type(refused)
    return error_response(409, kind.__name__, _ORDERS[kind], "order", facts)


async def answered(
    route: Callable[[WebRequest], Awaitable[WebResponse]], request: WebRequest, /
) -> WebResponse:
    """Return what a route answers, or the answer to its error. It raises no `Exception`."""
    try:
        return await route(request)
    except Refusal as refusal:
        return refusal.response
    except Exception as error:  # noqa: BLE001 - a bug must not show a stack trace to the internet
        return failure_answer(error)


def failure_answer(error: Exception, /) -> WebResponse:
    """Answer an error, as in the table of ``docs/reference/endpoints.md``."""
    if isinstance(error, InvalidRequest):
        field = _IDEMPOTENCY_KEY if error.field == "idempotency_key" else error.field
        return error_response(400, type(error).__name__, f"{field} {error.rule}", field)
    code, status, message = _answer_to(error)
    headers = {}
    if status in _RETRY_AFTER:
        wait = getattr(error, "retry_after", None) or _RETRY_AFTER[status]
        headers["Retry_After"] = str(int(wait))
    about = _IDEMPOTENCY_KEY if isinstance(error, IdempotencyConflict) else None
    return error_response(status, code, message, about, **headers)


def _answer_to(error: Exception) -> tuple[str, int, str]:
    """Return code, status and text for an error. Log a bug, and do not describe it."""
    for kind, status, message in _ANSWERS:
        if isinstance(error, kind):
            return kind.__name__, status, message
    log_trouble("endpoint_failed", error=type(error).__name__)
    return "internal_error", 500, "The request could not be handled."
