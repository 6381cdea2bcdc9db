"""The endpoints as an OpenAPI 3.1 document. Words of the code's own tables are taken from there."""

from __future__ import annotations

from typing import Any

from mpesa_stk import MAX_BODY, TransactionState
from mpesa_stk.web import bodies
from mpesa_stk.web.messages import MAX_FIELDS

JsonObject = dict[str, Any]

# Control characters are refused; other characters that cannot be printed are, too, and no pattern shows it.
_LINE = r"^[^\x00-\x1f\x7f]*$"
_REFERENCE = r"^[^\x00-\x1f\x7f]*[A-Za-z0-9][^\x00-\x1f\x7f]*$"

# By endpoint and status: the codes of the errors. The order is that in which a request meets them.
_OF_ALL = {
    403: ["foreign_host"],
    413: ["body_too_large"],
    431: ["too_many_fields"],
    500: ["internal_error"],
    503: ["too_busy", "StoreError"],
}
_OF_BROWSERS = {
    400: ["invalid_json", "InvalidRequest"],
    403: ["foreign_host", "cross_site", "not_allowed"],
    415: ["not_json"],
    429: ["too_many_requests"],
}
_OF_NAMES = {404: ["unknown_payment"], 429: ["too_many_requests", "too_many_misses"]}
_DARAJA_REFUSED = [
    "SubscriberBusy",
    "AuthenticationFailed",
    "DarajaError",
    "GatewayBlocked",
    "UnexpectedResponse",
]
ERRORS: dict[str, dict[int, list[str]]] = {
    "checkout": _OF_ALL
    | _OF_BROWSERS
    | {
        400: ["invalid_json", "InvalidRequest", "InvalidPhoneNumber", "InvalidAmount"],
        404: ["nothing_to_pay"],
        409: [
            "wrong_amount",
            "IdempotencyConflict",
            *(kind.__name__ for kind in bodies._ORDERS),
        ],
        429: ["too_many_requests", "prompt_open", "too_many_prompts", "RateLimited"],
        502: _DARAJA_REFUSED,
        503: ["too_busy", "StoreError", "NotSent"],
    },
    "query": _OF_ALL | _OF_BROWSERS | _OF_NAMES,
    "claim": _OF_ALL | _OF_BROWSERS | _OF_NAMES,
    "callback": _OF_ALL | {400: ["InvalidCallback"], 403: ["foreign_host", "CallbackRefused"]},
}
# Codes of requests that meet no operation of the document, and of the answer within a query's answer.
ELSEWHERE = {
    404: ["not_found", "unknown_account"],
    405: ["method_not_allowed"],
    503: ["TransportError"],
}

_WORDS = {
    400: "The body is no JSON object, or a field is missing or breaks a rule.",
    403: "This client may not ask, or this callback is refused.",
    404: "There is no such payment here.",
    409: "Another payment is in the way, or the amount is not the price. No prompt was sent.",
    413: f"The body has more than {MAX_BODY} bytes.",
    415: "The body is not sent as application/json.",
    429: "Too many requests. No prompt was sent.",
    431: f"The request has more than {MAX_FIELDS} header fields.",
    500: "A bug, here or in a function of the host.",
    502: "Daraja refused the request, or its answer cannot be read. No prompt appeared.",
    503: "Nothing was sent or acknowledged. The same request may come again.",
}


def _text(description: str, **rules: Any) -> JsonObject:
    return {"type": "string", "description": description} | rules


def _maybe(description: str, **rules: Any) -> JsonObject:
    return {"type": ["string", "null"], "description": description} | rules


def _closed(properties: JsonObject, *optional: str) -> JsonObject:
    """An object of an answer, which has these fields and no others."""
    required = [name for name in properties if name not in optional]
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _ref(name: str) -> JsonObject:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(schema: JsonObject, **more: Any) -> JsonObject:
    return {"application/json": {"schema": schema} | more}


# --- what is sent --------------------------------------------------------------------------------------

_TRANSACTION_NO = _text("The payment's number.", minLength=1, maxLength=255, pattern=_LINE)
_CHECKOUT_REQUEST = {
    "type": "object",
    "required": ["phone_number", "amount", "reference"],
    "properties": {
        "phone_number": _text(
            "Who pays. Spaces, dashes, dots and brackets between the digits are read, too.",
            pattern=r"^(\+?254|0)?[17][0-9]{8}$",
        ),
        "amount": {
            "type": "integer",
            "description": "Whole shillings, at most `max_amount` of the settings. It may be missing if "
            "the server knows the price.",
            "minimum": 1,
            "maximum": 250_000,
        },
        "reference": _text(
            "The prompt shows the last 12 characters.",
            minLength=1,
            maxLength=255,
            pattern=_REFERENCE,
        ),
        "description": _maybe("The prompt may show it.", maxLength=255, pattern=_LINE),
        "order": _maybe("What is being paid.", minLength=1, maxLength=128, pattern=_LINE),
    },
}
_QUERY_REQUEST = {
    "description": "If both are given, `transaction_no` counts.",
    "anyOf": [
        {
            "type": "object",
            "required": ["transaction_no"],
            "properties": {"transaction_no": _TRANSACTION_NO},
        },
        {
            "type": "object",
            "required": ["checkout_request_id"],
            "properties": {
                "checkout_request_id": _text(
                    "Daraja's id.", minLength=1, maxLength=255, pattern=_LINE
                )
            },
        },
    ],
}
_CLAIM_REQUEST = {
    "type": "object",
    "required": ["transaction_no", "receipt_number"],
    "properties": {
        "transaction_no": _TRANSACTION_NO,
        "receipt_number": _text(
            "The code of the message.", minLength=1, maxLength=255, pattern=_LINE
        ),
    },
}
_CALLBACK = {
    "type": "object",
    "description": "A body as Daraja posts it. docs/daraja.md, section 6, has the fields.",
    "required": ["Body"],
    "properties": {
        "Body": {
            "type": "object",
            "required": ["stkCallback"],
            "properties": {
                "stkCallback": {
                    "type": "object",
                    "required": ["CheckoutRequestID"],
                    "properties": {
                        "CheckoutRequestID": {"type": "string", "pattern": "^[!-~]{1,64}$"},
                        "ResultCode": {
                            "description": "A number or a text. A code that cannot be read is neither "
                            "a success nor a failure."
                        },
                    },
                }
            },
        }
    },
}

# --- what is answered ----------------------------------------------------------------------------------

_STATE = {"type": "string", "enum": [state.value for state in TransactionState]}
_NUMBER = _text("The payment's number.")
_SCHEMAS: JsonObject = {
    "CheckoutRequest": _CHECKOUT_REQUEST,
    "QueryRequest": _QUERY_REQUEST,
    "ClaimRequest": _CLAIM_REQUEST,
    "StkCallback": _CALLBACK,
    "State": _STATE | {"description": "docs/reference/transactions.md explains the states."},
    "CheckoutAnswer": _closed(
        {
            "MerchantRequestID": _maybe("Null if Daraja never gave one."),
            "CheckoutRequestID": _maybe("Null if Daraja never gave one."),
            "ResponseCode": _text("Other than `0`: no prompt is open."),
            "ResponseDescription": _maybe("Daraja's words, or ours if the payment has ended."),
            "CustomerMessage": _maybe("The same for the customer."),
            "transaction_no": _NUMBER,
            "state": _ref("State"),
        }
    ),
    "OpenAnswer": _closed({"transaction_no": _NUMBER, "state": _ref("State")}),
    "LocalTransaction": _closed(
        {
            "transaction_no": _maybe("Null in the answer to a query by CheckoutRequestID."),
            "phone_number": _text("With its plus. A query by CheckoutRequestID masks it."),
            "amount": _text("Shillings.", pattern="^[0-9]+$"),
            "status": _text("`0` paid, `1` anything else.", enum=["0", "1"]),
            "receipt_no": _maybe("M-Pesa's receipt, which only a callback or a record brings."),
            "created": _text("UTC.", format="date-time"),
        }
    ),
    "QueryAnswer": _closed(
        {
            "ResponseCode": _text("Daraja's."),
            "ResponseDescription": _text("Daraja's."),
            "MerchantRequestID": _maybe("Null if the push was never answered."),
            "CheckoutRequestID": _maybe("Null if the push was never answered."),
            "ResultCode": _maybe("Null while it is not known, and for a refused push."),
            "ResultDesc": _maybe("Daraja's words, or ours."),
            "local_transaction": _ref("LocalTransaction"),
            "state": _ref("State"),
            "remote_error": _closed(
                {
                    "code": _text(
                        "Why Daraja could not be asked.",
                        enum=[*dict.fromkeys(kind.__name__ for kind, _, _ in bodies._ANSWERS)],
                    ),
                    "message": _text("The same for people."),
                }
            ),
        },
        "remote_error",
    ),
    "ClaimAnswer": _closed(
        {
            "transaction_no": _NUMBER,
            "state": _ref("State"),
            "answer": {
                "type": "string",
                "enum": sorted({answer for answer, _ in bodies._CLAIMS.values()}),
            },
            "message": _text("For the customer."),
        }
    ),
    "CallbackAnswer": _closed(
        {
            "ResultCode": {"type": "integer", "const": 0},
            "ResultDesc": {"type": "string", "const": "Accepted"},
        }
    ),
}
_RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds to wait.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    }
}


def _error(status: int, codes: list[str]) -> JsonObject:
    """The answer of one status, with the codes that it may have."""
    fields: JsonObject = {
        "code": {"type": "string", "enum": codes},
        "message": _text("For people. It never repeats the request."),
        "field": _maybe("The field that is wrong."),
    }
    further: tuple[str, ...] = ()
    if "wrong_amount" in codes:
        fields |= {
            "amount": {"type": "integer", "description": "`wrong_amount`: the price."},
            "transaction_no": _maybe("The attempt in the way, if the client may know it."),
            "state": {"anyOf": [_ref("State"), {"type": "null"}]},
        }
        further = ("amount", "transaction_no", "state")
    answer = {
        "description": _WORDS[status],
        "content": _json(_closed({"error": _closed(fields, *further)})),
    }
    return answer | ({"headers": _RETRY_AFTER} if status in (429, 503) else {})


def _done(description: str, schema: str, **more: Any) -> JsonObject:
    return {"description": description, "content": _json(_ref(schema))} | more


def _operation(
    name: str, request: str, summary: str, answers: dict[int, JsonObject], **more: Any
) -> JsonObject:
    errors = {status: _error(status, codes) for status, codes in ERRORS[name].items()}
    responses = {str(status): answer for status, answer in sorted((answers | errors).items())}
    body = {"required": True, "content": _json(_ref(request))}
    return {"summary": summary, "requestBody": body, "responses": responses} | more


def document() -> JsonObject:
    """The whole document."""
    key = {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Names the attempt. A repeated request never asks the customer twice.",
        "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
    }
    ask = {
        "query": {
            "operationId": "query",
            "requestBody": {"transaction_no": "$response.body#/transaction_no"},
        },
        "claim": {
            "operationId": "claim",
            "requestBody": {
                "transaction_no": "$response.body#/transaction_no",
                "receipt_number": "UIPDS807K6",
            },
        },
    }
    checkout = _operation(
        "checkout",
        "CheckoutRequest",
        "Ask a phone to pay",
        {
            200: _done(
                "Daraja took the push, or this is the key's payment.",
                "CheckoutAnswer",
                links=ask,
            ),
            202: _done("The push's outcome is not known: ask the query.", "OpenAnswer", links=ask),
        },
        operationId="checkout",
        parameters=[key],
    )
    query = _operation(
        "query",
        "QueryRequest",
        "Ask what became of a payment",
        {
            200: _done(
                "The payment as it is stored, after a look at Daraja if it is open.", "QueryAnswer"
            )
        },
        operationId="query",
    )
    claim = _operation(
        "claim",
        "ClaimRequest",
        "Name the code of M-Pesa's message",
        {200: _done("What is known of the code. Nothing is settled by it.", "ClaimAnswer")},
        operationId="claim",
    )
    taken = {200: _done("The callback is stored.", "CallbackAnswer")}
    callback = _operation(
        "callback", "StkCallback", "Daraja's callback", taken, operationId="callback"
    )
    token = {
        "name": "token",
        "in": "path",
        "required": True,
        "description": "Of a signed callback URL.",
        "schema": {"type": "string", "pattern": "^[^/]+$"},
    }
    signed = _operation(
        "callback",
        "StkCallback",
        "Daraja's callback, at a signed address",
        taken,
        operationId="signed_callback",
        parameters=[token],
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mpesa-stk payment endpoints",
            "version": "1",
            "description": "What PaymentEndpoints answers. The prefix /payments is its default.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "paths": {
            "/payments/checkout/": {"post": checkout},
            "/payments/query/": {"post": query},
            "/payments/claim/": {"post": claim},
            "/payments/callback/": {"post": callback},
            "/payments/callback/{token}/": {"post": signed},
        },
        "components": {"schemas": _SCHEMAS},
    }
