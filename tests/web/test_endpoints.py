"""The three endpoints, on both faces: each row of their table of statuses, each field of their answers."""

from __future__ import annotations

import json
import logging
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from both_faces import Face
from daraja_double import Answer, answer, refusal, result
from mpesa_stk import (
    HttpResponse,
    MemoryTransactionStore,
    NotSent,
    OutcomeUnknown,
    PayBill,
    StoreError,
    Transaction,
    TransactionState,
    WebRequest,
    WebResponse,
)
from support import CANARIES, callback
from web_cases import ACCEPTED, CASES, PAYLOAD, SAFARICOM, AsyncShop, Shop, body_of, error_of

pytestmark = pytest.mark.usefixtures("face")

BLOCKED = HttpResponse(
    status=403,
    headers={"content-type": "text/html"},
    body=b"<html>Incapsula incident ID: 7-8</html>",
)
BUSY = refusal("500.001.1001", "Unable to lock subscriber, a transaction is in process", 500)
LIMITED = refusal("500.003.02", "Error Occurred: Spike Arrest Violation", 429)


@pytest.mark.parametrize("name", CASES)
def test_the_endpoints_answer_each_case(name: str) -> None:
    """The shared list of cases, on the endpoints themselves."""
    shop = Shop()
    CASES[name](shop, shop.handle)


def checked_out(shop: Shop, **changes: Any) -> dict[str, Any]:
    """A good checkout."""
    return body_of(shop.handle(shop.checkout(**changes)))


def asked(shop: Shop, *planned: Answer, **payload: Any) -> dict[str, Any]:
    """A good query of the last payment by its number, with Daraja's answers to it.

    An answer by CheckoutRequestID is masked.
    """
    shop.daraja.query_script.extend(planned)
    payload = payload or {"transaction_no": shop.stored().transaction_no}
    return body_of(shop.handle(shop.post("query", payload)))


class FailingStore(MemoryTransactionStore):
    """A store that raises this as soon as it is told to."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error
        self.fails = False

    def __getattribute__(self, name: str) -> Any:
        facts = super().__getattribute__("__dict__")
        if facts.get("fails") and name in ("add", "get", "find", "replace", "kept_callbacks"):
            raise facts["_error"]
        return super().__getattribute__(name)


# --- the table of statuses ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"phone_number": None}, "InvalidRequest", "phone_number"),
        ({"phone_number": 718643064}, "InvalidPhoneNumber", "phone_number"),
        ({"phone_number": {}}, "InvalidPhoneNumber", "phone_number"),
        ({"phone_number": "0618643064"}, "InvalidPhoneNumber", "phone_number"),
        ({"amount": "100"}, "InvalidAmount", "amount"),
        ({"amount": [100]}, "InvalidAmount", "amount"),
        ({"amount": 250_001}, "InvalidAmount", "amount"),
        ({"amount": 99.5}, "InvalidAmount", "amount"),
        ({"amount": float("nan")}, "InvalidAmount", "amount"),
        ({"amount": 10**400}, "InvalidAmount", "amount"),
        ({"reference": ""}, "InvalidRequest", "reference"),
        ({"reference": 7}, "InvalidRequest", "reference"),
        ({"reference": "x" * 256}, "InvalidRequest", "reference"),
        ({"reference": "a\nb"}, "InvalidRequest", "reference"),
        ({"reference": " - "}, "InvalidRequest", "reference"),
        ({"reference": "\u4ed8\u6b3e"}, "InvalidRequest", "reference"),
        ({"description": 7}, "InvalidRequest", "description"),
        ({"description": 0}, "InvalidRequest", "description"),
        ({"description": []}, "InvalidRequest", "description"),
        ({"description": "x" * 256}, "InvalidRequest", "description"),
        ({"description": "a\nb"}, "InvalidRequest", "description"),
        ({"description": "a\x00b"}, "InvalidRequest", "description"),
    ],
)
def test_a_bad_field_is_400_and_named(changes: dict[str, Any], code: str, field: str) -> None:
    """Each field that breaks a rule is named; nothing is stored or sent."""
    shop = Shop()
    assert error_of(shop.handle(shop.checkout(**changes)), 400) == (code, field)
    assert shop.daraja.pushes == []
    assert shop.store.find(reference="INV-2024-001") is None


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({}, "checkout_request_id"),
        ({"checkout_request_id": None}, "checkout_request_id"),
        ({"checkout_request_id": ""}, "checkout_request_id"),
        ({"checkout_request_id": 7}, "checkout_request_id"),
        ({"checkout_request_id": "x" * 256}, "checkout_request_id"),
        ({"checkout_request_id": "ws_CO_\x00"}, "checkout_request_id"),
        ({"transaction_no": ""}, "transaction_no"),
        ({"transaction_no": False}, "transaction_no"),
        ({"transaction_no": ["x"], "checkout_request_id": "ws_CO_1"}, "transaction_no"),
    ],
)
def test_a_bad_id_is_400_and_named(payload: dict[str, Any], field: str) -> None:
    """The id that a query gives is named where it cannot be one."""
    shop = Shop()
    refused = shop.handle(shop.post("query", payload))
    assert error_of(refused, 400) == ("InvalidRequest", field)


@pytest.mark.parametrize("key", ["", "k" * 256, "two words", "\u00e9"])
def test_a_bad_idempotency_key_is_400_and_named(key: str) -> None:
    """A key that cannot be one is named as the header it came in."""
    shop = Shop()
    request = shop.post("checkout", PAYLOAD, Idempotency_Key=key)
    refused = shop.handle(request)
    assert error_of(refused, 400) == ("InvalidRequest", "Idempotency-Key")
    assert shop.daraja.pushes == []


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/payments",
        "/payments/",
        "/payments/refund/",
        "/payments/checkout/now/",
        "/payments/query/x",
        "/payments/callbacks/",
        "/payments/callback/a/b/",
        "payments/checkout/",
        "//payments/checkout/",
        "/Payments/checkout/",
        "/shop/payments/checkout/",
        "/checkout/",
    ],
)
def test_an_unknown_path_is_404(path: str) -> None:
    """Whatever the method, a path that is none of ours is not found."""
    shop = Shop()
    for method in ("GET", "POST"):
        request = attrs.evolve(shop.checkout(), method=method, path=path)
        assert error_of(shop.handle(request), 404) == ("not_found", None)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "post", ""])
def test_another_method_is_405_and_told_which(method: str) -> None:
    """Every endpoint takes POST and says so."""
    shop = Shop()
    for name in ("checkout", "query", "callback", "callback/some.token"):
        request = attrs.evolve(shop.checkout(), method=method, path=f"/payments/{name}/")
        response = shop.handle(request)
        assert error_of(response, 405) == ("method_not_allowed", None)
        assert response.headers["Allow"] == "POST"


def test_64_kib_are_taken_and_one_byte_more_is_413() -> None:
    """The limit is exact."""
    shop = Shop()
    body = json.dumps(PAYLOAD).encode()
    body_of(shop.handle(shop.post("checkout", body.ljust(65_536))))
    too_large = shop.handle(shop.post("checkout", body.ljust(65_537)))
    assert error_of(too_large, 413) == ("body_too_large", None)


@pytest.mark.parametrize(
    ("planned", "status", "code", "retry_after"),
    [
        (refusal("400.002.02", "Bad Request - x", 400), 502, "DarajaError", None),
        (refusal("500.001.1001", "Wrong credentials", 500), 502, "AuthenticationFailed", None),
        (BUSY, 502, "SubscriberBusy", None),
        (BLOCKED, 502, "GatewayBlocked", None),
        (LIMITED, 429, "RateLimited", "60"),
        (attrs.evolve(LIMITED, headers={"retry-after": "17"}), 429, "RateLimited", "17"),
        (attrs.evolve(LIMITED, headers={"retry-after": "0"}), 429, "RateLimited", "60"),
        (NotSent("no connection could be made"), 503, "NotSent", "5"),
    ],
)
def test_a_push_that_did_not_happen(
    planned: Answer, status: int, code: str, retry_after: str | None
) -> None:
    """Refused, blocked, limited or not sent: each has its status, and the payment is REJECTED."""
    shop = Shop()
    shop.daraja.push_script.extend([planned] * 4)
    response = shop.handle(shop.checkout())
    assert error_of(response, status) == (code, None)
    assert response.headers.get("Retry-After") == retry_after
    assert shop.stored().state is TransactionState.REJECTED


def test_a_token_answer_that_cannot_be_read_is_502() -> None:
    """An answer before the push that is not Daraja's format is unexpected, and no push was sent."""
    shop = Shop()
    scripted = shop.daraja.send
    shop.daraja.send = (  # type: ignore[method-assign]  # the token endpoint alone changes
        lambda request: answer({"x": 1}) if request.method == "GET" else scripted(request)
    )
    response = shop.handle(shop.checkout())
    assert error_of(response, 502) == ("UnexpectedResponse", None)
    assert shop.daraja.pushes == []


def test_a_store_that_is_down_is_503_everywhere() -> None:
    """Checkout, query and callback say that the store is down; nothing is sent or acknowledged."""
    store = FailingStore(StoreError("CANARYdsn"))
    shop = Shop(store)
    checked_out(shop)
    requests = [
        shop.checkout(),
        shop.post("query", {"checkout_request_id": shop.checkout_id}),
        shop.post("query", {"transaction_no": "x"}),
        shop.called_back(),
    ]
    store.fails = True
    for request in requests:
        response = shop.handle(request)
        assert error_of(response, 503) == ("StoreError", None)
        assert response.headers["Retry-After"] == "5"
        assert b"CANARY" not in response.body
    assert len(shop.daraja.pushes) == 1


def test_an_unknown_outcome_is_202() -> None:
    """A prompt that may be live is no error: the payment's number and state, and nothing else."""
    shop = Shop()
    shop.daraja.push_script.append(OutcomeUnknown("no complete answer in time"))
    request = shop.post("checkout", PAYLOAD, Idempotency_Key="order-1")
    body = body_of(shop.handle(request), 202)
    assert body == {"transaction_no": shop.stored().transaction_no, "state": "UNCERTAIN"}
    assert body_of(shop.handle(request), 202) == body
    assert len(shop.daraja.pushes) == 1


def test_a_checkout_in_flight_is_202() -> None:
    """The same key while the first push is out: its payment, which nobody knows the outcome of yet."""
    shop = Shop()
    request = shop.post("checkout", PAYLOAD, Idempotency_Key="order-1")
    meanwhile: list[WebResponse] = []

    def look() -> HttpResponse:
        meanwhile.append(shop.handle(request))
        raise OutcomeUnknown("no complete answer in time")

    shop.daraja.push_script.append(look)
    last = body_of(shop.handle(request), 202)
    assert body_of(meanwhile[0], 202) == last | {"state": "CREATED"}


def test_a_202_is_followed_by_the_query() -> None:
    """The number of a 202 can be asked about: first it is open, after its callback it is paid."""
    shop = Shop()
    shop.daraja.push_script.append(OutcomeUnknown("no complete answer in time"))
    number = body_of(shop.handle(shop.checkout()), 202)["transaction_no"]
    before = asked(shop, transaction_no=number)
    assert before["state"] == "UNCERTAIN"
    assert before["CheckoutRequestID"] is None
    assert before["ResultCode"] is None
    assert shop.daraja.queries == []
    body_of(shop.handle(shop.called_back()))
    after = asked(shop, result(shop.checkout_id, "0"), transaction_no=number)
    assert after["state"] == "SUCCEEDED"
    assert after["ResultCode"] == "0"


def test_a_rejected_payment_may_be_asked_for_again_under_its_key() -> None:
    """After a refusal, the same request with the same key pushes anew."""
    shop = Shop()
    shop.daraja.push_script.append(BUSY)
    request = shop.post("checkout", PAYLOAD, Idempotency_Key="order-1")
    assert error_of(shop.handle(request), 502) == ("SubscriberBusy", None)
    assert body_of(shop.handle(request))["ResponseCode"] == "0"


# --- paths and prefixes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "start"),
    [
        ("/payments", "/payments"),
        ("payments/", "/payments"),
        ("/shop/pay/", "/shop/pay"),
        ("/", ""),
        ("", ""),
    ],
)
def test_the_prefix_is_free_and_slashes_do_not_matter(prefix: str, start: str) -> None:
    """Each endpoint is under its prefix, with a slash at the end or without."""
    shop = Shop(prefix=prefix)
    for slash in ("", "/"):
        pushed = body_of(shop.handle(shop.post("", PAYLOAD, path=f"{start}/checkout{slash}")))
        number = {"transaction_no": pushed["transaction_no"]}
        shop.daraja.query_script.append(result(pushed["CheckoutRequestID"], "4999"))
        body_of(shop.handle(shop.post("", number, path=f"{start}/query{slash}")))
        path = f"{start}/callback/{shop.daraja.token}{slash}"
        acknowledged = shop.handle(attrs.evolve(shop.called_back(), path=path))
        assert body_of(acknowledged) == ACCEPTED


def test_without_signed_urls_the_plain_callback_path_is_used() -> None:
    """Where no secrets are set, the callback has no token in its path."""
    shop = Shop(callback_secrets=())
    checked_out(shop)
    for path in ("/payments/callback/", "/payments/callback"):
        plain = attrs.evolve(shop.called_back(token=""), path=path)
        assert body_of(shop.handle(plain)) == ACCEPTED
    assert shop.settled == ["succeeded"]


def test_a_callback_of_a_payment_that_is_not_known_yet_is_kept() -> None:
    """It may come before the answer to its push. It is stored, so Daraja gets its answer."""
    shop = Shop(callback_secrets=())
    early = callback(checkout_request_id="ws_CO_early")
    assert body_of(shop.handle(shop.called_back(early, token=""))) == ACCEPTED
    (kept,) = shop.store.kept_callbacks(checkout_request_id="ws_CO_early")
    assert kept.body == early
    assert shop.settled == []


# --- the answers -------------------------------------------------------------------------------------


def test_the_callbacks_answer_is_exact() -> None:
    """The bytes that Daraja is answered with, and its fields."""
    shop = Shop()
    checked_out(shop)
    response = shop.handle(shop.called_back())
    assert response.status == 200
    assert response.body == b'{"ResultCode": 0, "ResultDesc": "Accepted"}'
    assert response.headers == {
        "Content-Type": "application/json",
        "Content-Length": "43",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }


def test_a_callback_needs_no_content_type() -> None:
    """What Daraja calls its body does not matter."""
    shop = Shop()
    checked_out(shop)
    body_of(shop.handle(shop.called_back(Content_Type="text/plain")))
    assert shop.settled == ["succeeded"]


def test_a_checkouts_answer_has_seven_texts() -> None:
    """Daraja's five fields, the payment's number and its state, each a string."""
    body = checked_out(Shop())
    assert list(body) == [
        "MerchantRequestID",
        "CheckoutRequestID",
        "ResponseCode",
        "ResponseDescription",
        "CustomerMessage",
        "transaction_no",
        "state",
    ]
    assert all(isinstance(value, str) for value in body.values())


@pytest.mark.parametrize(
    ("description", "sent"),
    [
        ("Shoes", "Shoes"),
        ("Payment for services", "Payment for s"),
        ("Payment for  services", "Payment for s"),
        ("Twelve chars and more", "Twelve chars"),
        ("Ng\u00e9ma & S\u00f6hne", "Ng ma S hne"),
        ("\u4ed8\u6b3e", "Payment"),
        ("", "Payment"),
        (None, "Payment"),
        ("x" * 255, "x" * 13),
    ],
)
def test_a_long_description_is_shortened_for_the_wire_only(
    description: str | None, sent: str
) -> None:
    """Daraja gets 13 safe characters at most, or its usual word; the payment keeps every one."""
    shop = Shop()
    checked_out(shop, description=description)
    assert [push["TransactionDesc"] for push in shop.daraja.pushes] == [sent]
    assert shop.stored().description == (description or "")


@pytest.mark.parametrize(
    ("reference", "sent"),
    [
        ("INV-1", "INV-1"),
        ("INV-2024-001", "INV-2024-001"),
        ("ACC-SINV-2025-00001", "V-2025-00001"),
        ("INV/2025/00012", "V/2025/00012"),
        ("#1042", "1042"),
        ("Order #1042", "Order 1042"),
        ("SALES-INVOICE-7-2025", "VOICE-7-2025"),
        ("ABC-D/12345678901", "12345678901"),
        ("x" * 254 + "y", "x" * 11 + "y"),
    ],
)
def test_a_long_reference_is_shortened_for_the_wire_only(reference: str, sent: str) -> None:
    """Daraja gets the last 12 characters that it takes; the payment keeps every one."""
    shop = Shop()
    checked_out(shop, reference=reference)
    assert [push["AccountReference"] for push in shop.daraja.pushes] == [sent]
    found = shop.store.find(reference=reference)
    assert found is not None
    assert found.reference == reference


def test_references_that_end_alike_conflict_under_one_key() -> None:
    """The key's payload is the whole reference, not what Daraja is sent of it."""
    shop = Shop()
    for reference, status in (("A-SINV-2025-00001", 200), ("B-SINV-2025-00001", 409)):
        payload = PAYLOAD | {"reference": reference}
        request = shop.post("checkout", payload, Idempotency_Key="order-1")
        body_of(shop.handle(request), status)


def test_descriptions_that_differ_behind_the_13th_character_conflict() -> None:
    """The key's payload is the whole description, not what Daraja is sent of it."""
    shop = Shop()
    for description, status in (("Payment for shoes", 200), ("Payment for services", 409)):
        payload = PAYLOAD | {"description": description}
        request = shop.post("checkout", payload, Idempotency_Key="order-1")
        body_of(shop.handle(request), status)


def test_unknown_fields_are_ignored() -> None:
    """A field of no meaning here changes nothing."""
    shop = Shop()
    assert checked_out(shop, currency="KES", transaction_no="x")["ResponseCode"] == "0"


def test_a_pending_payment_has_no_result_and_says_so() -> None:
    """200, a ResultCode of null, and a text; the local payment beside it."""
    shop = Shop()
    number = checked_out(shop)["transaction_no"]
    pending = refusal("500.001.1001", "The transaction is being processed", 500)
    body = asked(shop, pending)
    assert body == {
        "ResponseCode": "0",
        "ResponseDescription": "The service request has been accepted successfully",
        "MerchantRequestID": "29115-34620561-1",
        "CheckoutRequestID": shop.checkout_id,
        "ResultCode": None,
        "ResultDesc": "The payment is still being processed",
        "local_transaction": {
            "transaction_no": number,
            "phone_number": "+254718643064",
            "amount": "100",
            "status": "1",
            "receipt_no": None,
            "created": "2026-11-23T06:00:00Z",
        },
        "state": "PENDING",
    }
    assert asked(shop, result(shop.checkout_id, "4999"))["ResultCode"] is None


def test_a_query_settles_what_is_final() -> None:
    """Daraja's final word is answered and stored; a receipt only a callback brings."""
    shop = Shop()
    checked_out(shop)
    body = asked(shop, result(shop.checkout_id, "1032", "Request cancelled by user"))
    assert (body["ResultCode"], body["ResultDesc"]) == ("1032", "Request cancelled by user")
    assert body["state"] == "FAILED"
    assert body["local_transaction"]["status"] == "1"
    assert shop.settled == ["failed"]


def test_a_stored_result_is_not_taken_back_by_a_later_query() -> None:
    """Where Daraja's query contradicts a paid payment, the answer stays paid."""
    shop = Shop()
    checked_out(shop)
    body_of(shop.handle(shop.called_back()))
    for code in ("1032", "4999"):
        body = asked(shop, result(shop.checkout_id, code, "Request cancelled by user"))
        assert body["ResultCode"] == "0"
        assert body["state"] == "SUCCEEDED"
        assert body["local_transaction"]["status"] == "0"


@pytest.mark.parametrize(
    ("failing", "code"),
    [
        (LIMITED, "RateLimited"),
        (BLOCKED, "GatewayBlocked"),
        (NotSent("CANARY"), "NotSent"),
        (OutcomeUnknown("CANARY"), "TransportError"),
        (answer(b"CANARY"), "UnexpectedResponse"),
        (refusal("400.002.02", "Bad Request - CANARY", 400), "DarajaError"),
    ],
)
def test_when_daraja_cannot_be_asked_the_local_payment_is_answered(
    failing: Answer, code: str
) -> None:
    """200 with what is stored, and why Daraja's view is missing, in words of ours."""
    shop = Shop()
    number = checked_out(shop)["transaction_no"]
    body = asked(shop, *[failing] * 4)
    error = body["remote_error"]
    assert set(error) == {"code", "message"}
    assert error["code"] == code
    assert "CANARY" not in json.dumps(body)
    assert body["ResultCode"] is None
    assert body["state"] == "PENDING"
    assert body["local_transaction"]["transaction_no"] == number


def test_a_payment_is_found_by_its_number_too() -> None:
    """Either id names the payment; the number wins where both are given."""
    shop = Shop()
    first = checked_out(shop)
    second = checked_out(shop, reference="INV-2")
    for payload, wanted in (
        ({"checkout_request_id": first["CheckoutRequestID"]}, first),
        ({"transaction_no": second["transaction_no"]}, second),
        (
            {
                "transaction_no": second["transaction_no"],
                "checkout_request_id": first["CheckoutRequestID"],
            },
            second,
        ),
        ({"transaction_no": None, "checkout_request_id": first["CheckoutRequestID"]}, first),
    ):
        body = asked(shop, result("x", "4999"), **payload)
        assert body["CheckoutRequestID"] == wanted["CheckoutRequestID"]
        by_number = payload.get("transaction_no")
        assert body["local_transaction"]["transaction_no"] == by_number


def test_a_payment_of_another_account_is_not_found() -> None:
    """Several accounts may share a store; an endpoint answers for its own alone."""
    shop = Shop()
    foreign = Shop(shop.store, account=PayBill("600001"))
    pushed = checked_out(foreign, reference="INV-9")
    for payload in (
        {"transaction_no": pushed["transaction_no"]},
        {"checkout_request_id": pushed["CheckoutRequestID"]},
    ):
        refused = shop.handle(shop.post("query", payload))
        assert error_of(refused, 404) == ("unknown_payment", None)
    assert shop.daraja.queries == foreign.daraja.queries == []


def test_a_refused_payment_says_that_it_was_refused() -> None:
    """A payment that never reached the phone has no result; its text says why."""
    shop = Shop()
    shop.daraja.push_script.append(BUSY)
    error_of(shop.handle(shop.checkout()), 502)
    body = asked(shop, transaction_no=shop.stored().transaction_no)
    assert body["state"] == "REJECTED"
    assert body["ResultCode"] is None
    assert body["ResultDesc"] == "The payment was refused before it reached the phone"
    assert shop.daraja.queries == []


def test_an_expired_payment_says_that_nobody_knows() -> None:
    """A payment that nobody could tell about has no result, until Daraja's query has one."""
    shop = Shop()
    checked_out(shop)
    shop.clock.advance(3600)
    shop.daraja.query_script.append(result(shop.checkout_id, "4999"))
    shop.process_due()
    body = asked(shop, result(shop.checkout_id, "4999"))
    assert body["state"] == "EXPIRED"
    assert body["ResultCode"] is None
    assert body["ResultDesc"] == "The result of the payment is not known"
    assert len(shop.daraja.queries) == 1


@pytest.mark.parametrize(
    ("code", "state", "status"), [(0, "SUCCEEDED", "0"), (1032, "FAILED", "1")]
)
def test_a_settled_payment_is_answered_from_the_store(code: int, state: str, status: str) -> None:
    """All fields, no error, and Daraja is not asked however often somebody looks."""
    shop = Shop()
    pushed = checked_out(shop)
    body_of(shop.handle(shop.called_back(callback(code, checkout_request_id=shop.checkout_id))))
    payloads = [
        {"checkout_request_id": shop.checkout_id},
        {"transaction_no": pushed["transaction_no"]},
    ]
    for payload in payloads * 2:
        body = asked(shop, **payload)
        assert body.pop("local_transaction")["status"] == status
        words = "The service request is processed successfully." if code == 0 else "No."
        assert body == {
            "ResponseCode": "0",
            "ResponseDescription": "The service request has been accepted successfully",
            "MerchantRequestID": pushed["MerchantRequestID"],
            "CheckoutRequestID": shop.checkout_id,
            "ResultCode": str(code),
            "ResultDesc": words,
            "state": state,
        }
    assert shop.daraja.queries == []


# --- the same key again ------------------------------------------------------------------------------


def test_a_replay_says_what_became_of_the_payment() -> None:
    """Open, paid: Daraja's fields with a ResponseCode of 0, and the state of now."""
    shop = Shop()
    request = shop.post("checkout", PAYLOAD, Idempotency_Key="order-1")
    first = body_of(shop.handle(request))
    assert body_of(shop.handle(request)) == first
    body_of(shop.handle(shop.called_back()))
    assert body_of(shop.handle(request)) == first | {
        "ResponseDescription": "The payment is paid",
        "CustomerMessage": "The payment is paid",
        "state": "SUCCEEDED",
    }
    assert len(shop.daraja.pushes) == 1


def test_a_replay_of_an_expired_payment_is_no_acceptance() -> None:
    """With Daraja's answer to the push or without, the ResponseCode says that no prompt is open."""
    for planned in ([], [OutcomeUnknown("no complete answer in time")]):
        shop = Shop()
        shop.daraja.push_script.extend(planned)
        request = shop.post("checkout", PAYLOAD, Idempotency_Key="order-1")
        shop.handle(request)
        shop.clock.advance(3600)
        shop.daraja.query_script.append(result(shop.checkout_id, "4999"))
        shop.process_due()
        body = body_of(shop.handle(request))
        stored = shop.stored()
        assert body == {
            "MerchantRequestID": stored.merchant_request_id,
            "CheckoutRequestID": stored.checkout_request_id,
            "ResponseCode": "1",
            "ResponseDescription": "The result of the payment is not known",
            "CustomerMessage": "The result of the payment is not known",
            "transaction_no": stored.transaction_no,
            "state": "EXPIRED",
        }
        assert len(shop.daraja.pushes) == 1


def test_a_replay_of_a_rejected_payment_is_no_acceptance() -> None:
    """A refused push whose callback came all the same is not pushed again, and says so."""
    shop = Shop()
    shop.daraja.push_script.append(BUSY)
    request = shop.post("checkout", PAYLOAD, Idempotency_Key="order-1")
    error_of(shop.handle(request), 502)
    doubtful = callback(amount=7, checkout_request_id="ws_CO_other")
    body_of(shop.handle(shop.called_back(doubtful)))
    body = body_of(shop.handle(request))
    assert (body["ResponseCode"], body["state"]) == ("1", "REJECTED")
    assert body["ResponseDescription"] == "The payment was refused before it reached the phone"
    assert len(shop.daraja.pushes) == 1


# --- totality and silence ----------------------------------------------------------------------------

SHARED = {False: Shop(), True: AsyncShop()}
_PATHS = st.sampled_from(
    ["checkout", "query", "callback", "callback/x", "callback/" + "0" * 69, ""]
)
_NAMES = st.sampled_from(
    [
        "Content-Type",
        "Idempotency-Key",
        "X-Forwarded-For",
        "Forwarded",
        "Origin",
        "Host",
        "Sec-Fetch-Site",
    ]
)
_VALUES = st.text(max_size=40) | st.sampled_from(
    ["application/json", SAFARICOM, "https://a.example"]
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*PAYLOAD, "checkout_request_id", "Body", "x"]), inner)
    ),
    max_leaves=8,
)
_BODIES = st.binary(max_size=60) | _JSON.map(lambda value: json.dumps(value).encode())


@given(
    method=st.sampled_from(["POST", "GET"]) | st.text(max_size=6),
    path=st.text(max_size=30) | _PATHS.map(lambda name: f"/payments/{name}/"),
    headers=st.dictionaries(_NAMES | st.text(max_size=10), _VALUES, max_size=4),
    body=_BODIES,
    remote_addr=st.none() | st.text(max_size=30) | st.sampled_from([SAFARICOM, "10.0.0.2"]),
    is_json=st.booleans(),
)
def test_every_request_has_an_answer(
    *,
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes,
    remote_addr: str | None,
    is_json: bool,
) -> None:
    """Whatever comes, it is answered with JSON, never with a 5xx, and nothing is raised."""
    if is_json:
        headers = headers | {"content-type": "application/json"}
    request = WebRequest(
        method=method, path=path, headers=headers, body=body, remote_addr=remote_addr
    )
    response = SHARED[Face.asyncio].handle(request)
    assert response.status < 500
    assert response.headers["Content-Length"] == str(len(response.body))
    assert len(response.body) < 1000
    assert isinstance(json.loads(response.body), dict)


@pytest.mark.parametrize("error", [RuntimeError("CANARYbug"), KeyError("CANARYbug"), MemoryError()])
def test_a_bug_is_500_and_says_nothing(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """An exception that nobody expects shows no text and no stack trace; the log names its class."""
    store = FailingStore(error)
    shop = Shop(store)
    checked_out(shop)
    requests = [
        shop.checkout(),
        shop.post("query", {"transaction_no": "x"}),
        shop.called_back(),
    ]
    store.fails = True
    with caplog.at_level(logging.INFO, logger="mpesa_stk"):
        caplog.clear()
        for request in requests:
            response = shop.handle(request)
            assert error_of(response, 500) == ("internal_error", None)
            for word in (b"CANARY", b"Traceback", type(error).__name__.encode()):
                assert word not in response.body
    assert [record.getMessage() for record in caplog.records] == [
        f"mpesa_stk.endpoint_failed error={type(error).__name__}"
    ] * 3


def test_error_bodies_repeat_nothing_that_came_in() -> None:
    """No error body holds the input, however large, or a secret."""
    shop = Shop()
    checked_out(shop)
    canary = "CANARYinput"
    huge = canary + "x" * 60_000
    refused = [
        shop.checkout(phone_number=canary),
        shop.checkout(phone_number=huge),
        shop.checkout(amount=canary),
        shop.checkout(reference=huge),
        shop.checkout(description=huge),
        shop.post("checkout", huge.encode()),
        shop.post("checkout", PAYLOAD, Idempotency_Key=huge),
        shop.post("checkout", PAYLOAD, Content_Type=canary),
        shop.post("checkout", PAYLOAD, Origin=f"https://{canary}"),
        shop.post("query", {"checkout_request_id": huge}),
        shop.post("query", {"transaction_no": canary}),
        shop.post("query", PAYLOAD, path=f"/payments/{huge}/"),
        attrs.evolve(shop.checkout(), method=canary),
        shop.called_back(huge.encode(), token=canary),
        shop.called_back(token=huge),
        attrs.evolve(shop.called_back(), remote_addr=canary),
    ]
    for request in refused:
        response = shop.handle(request)
        assert 400 <= response.status < 500
        assert len(response.body) < 250
        for word in (canary, *CANARIES):
            assert word.encode() not in response.body


def test_error_bodies_repeat_nothing_of_darajas() -> None:
    """Daraja's words, which may hold anything, are not passed on with its refusals."""
    shop = Shop()
    shop.daraja.push_script.append(refusal("400.002.02", "Bad Request - CANARYwords", 400))
    assert b"CANARY" not in shop.handle(shop.checkout()).body


def test_a_requests_repr_shows_no_body_and_no_headers() -> None:
    """What is logged by mistake holds no payload and no token."""
    shop = Shop()
    request = shop.post("query", b"CANARYbody", path="/payments/CANARYpath", X="CANARYheader")
    assert "CANARY" not in repr(request)
    assert "CANARY" not in repr(WebResponse(200, {}, b"CANARYbody"))


def test_each_payment_is_a_transaction_of_its_own() -> None:
    """Without a key, the same request twice asks twice."""
    shop = Shop()
    numbers = {checked_out(shop)["transaction_no"] for _ in range(2)}
    stored: list[Transaction | None] = [shop.store.get(number) for number in numbers]
    assert len(numbers) == 2
    assert None not in stored
