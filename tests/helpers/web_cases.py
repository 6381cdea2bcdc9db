"""What the three endpoints answer, case by case, whichever face and framework stands before them.

An adapter's tests run every case, each over a shop of its own::

    @pytest.mark.parametrize("name", CASES)
    def test_adapter_answers_as_the_endpoints_do(name):
        shop = Shop()
        CASES[name](shop, send_through(shop.endpoints))

``send_through`` is the tests' own: it mounts an adapter over ``shop.endpoints`` (or ``shop.payments``)
and returns a `Send`, which turns a `WebRequest` into a call of the framework's test client and its answer
into a `WebResponse`. What it must carry over: method, path, all header fields, body, and `remote_addr` as
the address of the peer.

`Shop` has payments of the face that is tested, and `AsyncShop` always has `AsyncPayments`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from both_faces import Face, run
from daraja_double import (
    ScriptedDaraja,
    answer,
    call_in_thread,
    make_async_client,
    make_client,
)
from mpesa_stk import (
    AsyncPayments,
    CallbackGuard,
    Event,
    HttpResponse,
    MemoryTransactionStore,
    NoLimits,
    PaymentEndpoints,
    Payments,
    Transaction,
    TransactionState,
    TransactionStore,
    WebRequest,
    WebResponse,
)
from mpesa_stk.clock import AwaitedClock
from mpesa_stk.payments.store import AwaitedTransactionStore
from support import CALLBACK_SECRET, ManualClock, accepted, callback

__all__ = [
    "CASES",
    "HOST",
    "PROXY",
    "SAFARICOM",
    "AsyncShop",
    "Case",
    "Send",
    "Shop",
    "Transcript",
    "body_of",
    "error_of",
    "expected_answers",
]

HOST = "shop.example.co.ke"
SAFARICOM = "196.201.214.200"
CUSTOMER = "203.0.113.7"
PROXY = "10.0.0.2"
PAYLOAD: dict[str, Any] = {
    "phone_number": "0718643064",
    "amount": 100,
    "reference": "INV-2024-001",
    "description": "Payment for services",
}
ACCEPTED = {"ResultCode": 0, "ResultDesc": "Accepted"}


class Shop:
    """A host: payments over a scripted Daraja, signed callback URLs, and one trusted proxy network.

    Most cases ask one phone many times from one address, so there are no limits unless some are given.

    Attributes:
        clock: A `ManualClock`.
        daraja: The `ScriptedDaraja`; it accepts every push unless told otherwise.
        store: Where the payments are; in memory unless another one is given.
        events: What hooks were told.
        payments: The payments, of the face that is tested.
        endpoints: The `PaymentEndpoints` under ``/payments``.
    """

    def __init__(
        self,
        store: TransactionStore | None = None,
        *,
        guard: CallbackGuard | None = None,
        prefix: str = "/payments",
        at_once: int | None = None,
        rules: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        self.clock = ManualClock()
        self.daraja = ScriptedDaraja()
        self.store: TransactionStore = store if store is not None else MemoryTransactionStore()
        self.events: list[Event] = []
        self.prefix = prefix
        self.payments: Any = self._make_payments(
            callback_secrets=settings.pop("callback_secrets", (CALLBACK_SECRET,)),
            trusted_proxies=settings.pop("trusted_proxies", ("10.0.0.0/8",)),
            **settings,
        )
        self.endpoints = PaymentEndpoints(
            self.payments,
            guard=guard,
            prefix=prefix,
            at_once=at_once,
            **({"limits": NoLimits()} | dict(rules or {})),
        )

    def _make_payments(self, **settings: Any) -> Payments | AsyncPayments:
        told: dict[str, Any] = {"hooks": (self.events.append,), "jitter": lambda: 0.5}
        if not self._is_async():
            client = make_client(self.daraja, self.clock, **settings)
            return Payments(client, self.store, clock=self.clock, **told)
        return AsyncPayments(
            make_async_client(self.daraja, self.clock, **settings),
            AwaitedTransactionStore(self.store, call_in_thread),
            clock=AwaitedClock(self.clock),
            **told,
        )

    def _is_async(self) -> bool:
        return Face.asyncio

    def handle(self, request: WebRequest, /) -> WebResponse:
        """The endpoints' answer to a request; of the asyncio face, on an event loop of its own."""
        if isinstance(self.payments, AsyncPayments):
            return run(self.endpoints.handle_async(request))
        return self.endpoints.handle(request)

    def process_due(self) -> None:
        """Do what is due."""
        if isinstance(self.payments, AsyncPayments):
            run(self.payments.process_due())
        else:
            self.payments.process_due()

    def post(self, name: str, body: object, /, *, path: str = "", **headers: str) -> WebRequest:
        """A customer's request to ``checkout`` or ``query``; header fields by name, ``_`` for ``-``."""
        fields = {"Host": HOST, "Content-Type": "application/json"}
        fields |= {field.replace("_", "-"): value for field, value in headers.items()}
        return WebRequest(
            method="POST",
            path=path or f"{self.prefix}/{name}/",
            headers=fields,
            body=body if isinstance(body, bytes) else json.dumps(body).encode(),
            remote_addr=CUSTOMER,
        )

    def checkout(self, **changes: Any) -> WebRequest:
        """The good checkout, with some of its fields changed."""
        return self.post("checkout", PAYLOAD | changes)

    def called_back(
        self,
        body: bytes | None = None,
        *,
        token: str | None = None,
        peer: str = SAFARICOM,
        **headers: str,
    ) -> WebRequest:
        """Daraja's callback for the last push: paid, with its token, from Safaricom."""
        token = self.daraja.token if token is None else token
        content = callback(checkout_request_id=self.checkout_id) if body is None else body
        path = f"{self.prefix}/callback/{token}/" if token else f"{self.prefix}/callback/"
        return attrs.evolve(self.post("callback", content, path=path, **headers), remote_addr=peer)

    @property
    def checkout_id(self) -> str:
        """The CheckoutRequestID of the last push."""
        return f"ws_CO_231120260900{len(self.daraja.pushes):05}"

    def stored(self) -> Transaction:
        """The payment as stored."""
        transaction = self.store.find(reference=PAYLOAD["reference"])
        assert transaction is not None
        return transaction

    @property
    def settled(self) -> list[str]:
        """The outcomes of the settled events, in order."""
        return [event.outcome for event in self.events if event.kind == "settled"]


class AsyncShop(Shop):
    """A host with `AsyncPayments`, whichever face is tested."""

    def _is_async(self) -> bool:
        return True


Send = Callable[[WebRequest], WebResponse]
"""Carries a request through an adapter."""

Case = Callable[[Shop, Send], None]
"""Sends requests and checks the answers."""


def body_of(response: WebResponse, status: int = 200) -> dict[str, Any]:
    """The JSON object that an answer of that status holds."""
    assert response.status == status, response.body
    fields = {name.lower(): value for name, value in response.headers.items()}
    assert fields["content-type"] == "application/json"
    body = json.loads(response.body)
    assert isinstance(body, dict)
    return body


def error_of(response: WebResponse, status: int) -> tuple[str, str | None]:
    """The code and the field of an error answer."""
    body = body_of(response, status)
    assert set(body) == {"error"}
    error = body["error"]
    assert set(error) == {"code", "message", "field"}
    assert isinstance(error["message"], str)
    assert 0 < len(error["message"]) < 200
    return error["code"], error["field"]


# --- checkout --------------------------------------------------------------------------------------


def good_checkout(shop: Shop, send: Send) -> None:
    """Daraja's five fields and the payment's number; the long description is kept whole."""
    body = body_of(send(shop.checkout()))
    stored = shop.stored()
    facts = {"transaction_no": stored.transaction_no, "state": "PENDING"}
    assert body == accepted(shop.checkout_id) | facts
    assert stored.state is TransactionState.PENDING
    assert stored.description == "Payment for services"
    assert [push["TransactionDesc"] for push in shop.daraja.pushes] == ["Payment for s"]


def without_trailing_slash(shop: Shop, send: Send) -> None:
    """A path without its last slash is the same endpoint."""
    body = body_of(send(shop.post("", PAYLOAD, path=f"{shop.prefix}/checkout")))
    assert body["CheckoutRequestID"] == shop.checkout_id


def long_reference(shop: Shop, send: Send) -> None:
    """The prompt shows the end of a long reference; the payment keeps it whole."""
    body_of(send(shop.checkout(reference="ACC-SINV-2025-00001")))
    assert [push["AccountReference"] for push in shop.daraja.pushes] == ["V-2025-00001"]
    assert shop.store.find(reference="ACC-SINV-2025-00001") is not None


def bad_phone(shop: Shop, send: Send) -> None:
    """A number that cannot be one is named, and nothing is sent."""
    answered = error_of(send(shop.checkout(phone_number="12345")), 400)
    assert answered == ("InvalidPhoneNumber", "phone_number")
    assert shop.daraja.pushes == []


def bad_amount(shop: Shop, send: Send) -> None:
    """An amount that is no whole number of shillings is named, and nothing is sent."""
    for amount in (0, -1, 1.5, True, "free", 10**9):
        assert error_of(send(shop.checkout(amount=amount)), 400) == ("InvalidAmount", "amount")
    assert shop.daraja.pushes == []


def missing_field(shop: Shop, send: Send) -> None:
    """A field that is missing is named."""
    for field in ("phone_number", "amount", "reference"):
        assert error_of(send(shop.checkout(**{field: None})), 400) == ("InvalidRequest", field)
    assert shop.daraja.pushes == []


def no_json(shop: Shop, send: Send) -> None:
    """A body that is no JSON object is refused."""
    for name in ("checkout", "query"):
        for body in (b"", b"phone_number=0718643064", b"[]", b"{", b"\xff", b'{"a": 1, "a": 2}'):
            assert error_of(send(shop.post(name, body)), 400) == ("invalid_json", None)


def wrong_content_type(shop: Shop, send: Send) -> None:
    """JSON that calls itself something else, as another site's form could post it, is refused."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonx"):
        for name in ("checkout", "query"):
            refused = send(shop.post(name, PAYLOAD, Content_Type=kind))
            assert error_of(refused, 415) == ("not_json", None)
    body_of(send(shop.post("checkout", PAYLOAD, Content_Type="Application/JSON; charset=utf-8")))


def large_body(shop: Shop, send: Send) -> None:
    """200 KB are refused, at every endpoint."""
    body_of(send(shop.checkout()))
    large = json.dumps(PAYLOAD | {"padding": "x" * 200_000}).encode()
    for request in (
        shop.post("checkout", large),
        shop.post("query", large),
        shop.called_back(large),
    ):
        assert error_of(send(request), 413) == ("body_too_large", None)
    assert len(shop.daraja.pushes) == 1


def cross_site(shop: Shop, send: Send) -> None:
    """A browser that acts for another site's page is refused; one of our own pages is not."""
    theirs: list[dict[str, str]] = [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": f"https://{HOST}", "Sec_Fetch_Site": "cross-site"},
    ]
    for headers in theirs:
        for name in ("checkout", "query"):
            assert error_of(send(shop.post(name, PAYLOAD, **headers)), 403) == ("cross_site", None)
    assert shop.daraja.pushes == []
    ours: list[dict[str, str]] = [
        {"Sec_Fetch_Site": "same-origin", "Origin": f"https://{HOST}"},
        {"Origin": f"https://{HOST}"},
    ]
    for headers in ours:
        body_of(send(shop.post("checkout", PAYLOAD, **headers)))


def wrong_method(shop: Shop, send: Send) -> None:
    """Anything but POST is told so."""
    response = send(attrs.evolve(shop.post("checkout", b""), method="GET"))
    assert error_of(response, 405) == ("method_not_allowed", None)
    assert {name.lower(): value for name, value in response.headers.items()}["allow"] == "POST"


def same_key_twice(shop: Shop, send: Send) -> None:
    """The same key with the same payload answers the same, and asks the customer once."""
    request = shop.post("checkout", PAYLOAD, Idempotency_Key="order-1")
    assert body_of(send(request)) == body_of(send(request))
    assert len(shop.daraja.pushes) == 1


def same_key_other_payload(shop: Shop, send: Send) -> None:
    """The same key with another payload is a conflict, and nothing is sent."""
    body_of(send(shop.post("checkout", PAYLOAD, Idempotency_Key="order-1")))
    other = shop.post("checkout", PAYLOAD | {"amount": 101}, Idempotency_Key="order-1")
    assert error_of(send(other), 409) == ("IdempotencyConflict", "Idempotency-Key")
    assert len(shop.daraja.pushes) == 1


# --- callback --------------------------------------------------------------------------------------


def replay_of_a_failed_payment(shop: Shop, send: Send) -> None:
    """The key of a payment that has failed: nothing is sent, and it does not read like a yes."""
    request = shop.post("checkout", PAYLOAD, Idempotency_Key="order-1")
    first = body_of(send(request))
    body_of(send(shop.called_back(callback(1032, checkout_request_id=shop.checkout_id))))
    assert body_of(send(request)) == first | {
        "ResponseCode": "1",
        "ResponseDescription": "The payment failed",
        "CustomerMessage": "The payment failed",
        "state": "FAILED",
    }
    assert len(shop.daraja.pushes) == 1


def good_callback(shop: Shop, send: Send) -> None:
    """A callback with its token from Safaricom settles the payment; the answer is Daraja's."""
    body_of(send(shop.checkout()))
    assert body_of(send(shop.called_back())) == ACCEPTED
    assert shop.stored().state is TransactionState.SUCCEEDED
    assert shop.stored().receipt_number == "NLJ7RT61SV"
    assert shop.settled == ["succeeded"]


def callback_through_the_proxy(shop: Shop, send: Send) -> None:
    """A trusted proxy's word on the client's address counts."""
    body_of(send(shop.checkout()))
    request = shop.called_back(peer=PROXY, X_Forwarded_For=f"1.2.3.4, {SAFARICOM}")
    assert body_of(send(request)) == ACCEPTED
    assert shop.settled == ["succeeded"]


def callback_bad_token(shop: Shop, send: Send) -> None:
    """A callback whose token is missing or not ours is refused."""
    body_of(send(shop.checkout()))
    body = callback(checkout_request_id=shop.checkout_id)
    number, _, tag = shop.daraja.token.partition(".")
    for token in ("", "nonsense", f"{number}.{'0' * 32}", f"{'0' * 36}.{tag}"):
        refused = send(shop.called_back(body, token=token))
        assert error_of(refused, 403) == ("CallbackRefused", None)
    assert shop.settled == []


def callback_foreign_address(shop: Shop, send: Send) -> None:
    """A callback from anywhere else is refused, though its token is genuine."""
    body_of(send(shop.checkout()))
    refused = send(shop.called_back(peer=CUSTOMER))
    assert error_of(refused, 403) == ("CallbackRefused", None)
    assert shop.settled == []


def callback_spoofed_forwarded(shop: Shop, send: Send) -> None:
    """Nobody becomes Safaricom by a header of his own, with or without the proxy between."""
    body_of(send(shop.checkout()))
    spoofed: list[dict[str, str]] = [
        {"peer": CUSTOMER, "X_Forwarded_For": SAFARICOM},
        {"peer": CUSTOMER, "Forwarded": f"for={SAFARICOM}"},
        {"peer": PROXY, "X_Forwarded_For": f"{SAFARICOM}, {CUSTOMER}"},
        {"peer": PROXY, "Forwarded": f"for={SAFARICOM}, for={CUSTOMER}"},
        {"peer": PROXY, "X_Forwarded_For": CUSTOMER, "Forwarded": f"for={SAFARICOM}"},
        {"peer": PROXY},
    ]
    for headers in spoofed:
        refused = send(shop.called_back(**headers))  # type: ignore[arg-type]  # peer among them
        assert error_of(refused, 403) == ("CallbackRefused", None)
    assert shop.settled == []


def callback_duplicate(shop: Shop, send: Send) -> None:
    """The same callback again is acknowledged, and settles nothing anew."""
    body_of(send(shop.checkout()))
    for _ in range(3):
        assert body_of(send(shop.called_back())) == ACCEPTED
    assert shop.settled == ["succeeded"]


def callback_before_the_push_answer(shop: Shop, send: Send) -> None:
    """A callback that is faster than the answer to its push, sent from within the push, settles."""
    acknowledged: list[dict[str, Any]] = []

    def call_back_first() -> HttpResponse:
        acknowledged.append(body_of(send(shop.called_back())))
        return answer(accepted(shop.checkout_id))

    shop.daraja.push_script.append(call_back_first)
    body = body_of(send(shop.checkout()))
    assert body["CheckoutRequestID"] == shop.checkout_id
    assert acknowledged == [ACCEPTED]
    assert shop.stored().state is TransactionState.SUCCEEDED
    assert shop.settled == ["succeeded"]


def callback_no_callback(shop: Shop, send: Send) -> None:
    """A body that cannot be read is kept and acknowledged if its token is genuine, and else refused."""
    transaction_no = body_of(send(shop.checkout()))["transaction_no"]
    for body in (b"", b"{}", b"[1]"):
        accepted = send(shop.called_back(body))
        assert body_of(accepted) == {"ResultCode": 0, "ResultDesc": "Accepted"}
        refused = send(shop.called_back(body, token="x"))
        assert error_of(refused, 403) == ("CallbackRefused", None)
    assert len(shop.store.kept_callbacks(transaction_no=transaction_no)) == 3


# --- query -----------------------------------------------------------------------------------------


def query_unknown(shop: Shop, send: Send) -> None:
    """An id that is not known is answered without asking Daraja."""
    for payload in ({"checkout_request_id": "ws_CO_1"}, {"transaction_no": "no-such"}):
        assert error_of(send(shop.post("query", payload)), 404) == ("unknown_payment", None)
    assert shop.daraja.queries == []


def good_query(shop: Shop, send: Send) -> None:
    """A paid payment, answered from the store: Daraja's fields, ours beside them, whole by its number."""
    pushed = body_of(send(shop.checkout()))
    body_of(send(shop.called_back()))
    body = body_of(send(shop.post("query", {"transaction_no": pushed["transaction_no"]})))
    assert shop.daraja.queries == []
    local = body.pop("local_transaction")
    assert body == {
        "ResponseCode": "0",
        "ResponseDescription": "The service request has been accepted successfully",
        "MerchantRequestID": pushed["MerchantRequestID"],
        "CheckoutRequestID": shop.checkout_id,
        "ResultCode": "0",
        "ResultDesc": "The service request is processed successfully.",
        "state": "SUCCEEDED",
    }
    assert local == {
        "transaction_no": pushed["transaction_no"],
        "phone_number": "+254718643064",
        "amount": "100",
        "status": "0",
        "receipt_no": "NLJ7RT61SV",
        "created": "2026-11-23T06:00:00Z",
    }


def query_by_an_id_that_can_be_guessed(shop: Shop, send: Send) -> None:
    """The same by its CheckoutRequestID: nobody learns who paid, the receipt, or the number to ask by."""
    body_of(send(shop.checkout()))
    body_of(send(shop.called_back()))
    body = body_of(send(shop.post("query", {"checkout_request_id": shop.checkout_id})))
    assert (body["state"], body["ResultCode"]) == ("SUCCEEDED", "0")
    assert body["local_transaction"] == {
        "transaction_no": None,
        "phone_number": "+254718***064",
        "amount": "100",
        "status": "0",
        "receipt_no": "***1SV",
        "created": "2026-11-23T06:00:00Z",
    }


CASES: dict[str, Case] = {
    case.__name__: case
    for case in (
        good_checkout,
        without_trailing_slash,
        long_reference,
        bad_phone,
        bad_amount,
        missing_field,
        no_json,
        wrong_content_type,
        large_body,
        cross_site,
        wrong_method,
        same_key_twice,
        same_key_other_payload,
        replay_of_a_failed_payment,
        good_callback,
        callback_through_the_proxy,
        callback_bad_token,
        callback_foreign_address,
        callback_spoofed_forwarded,
        callback_duplicate,
        callback_before_the_push_answer,
        callback_no_callback,
        query_unknown,
        good_query,
        query_by_an_id_that_can_be_guessed,
    )
}
"""Every case by its name."""


# --- an adapter beside the endpoints ---------------------------------------------------------------------

_GENERATED = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Transcript:
    """Carries requests and writes down the answers, without what differs from run to run."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.answers: list[tuple[int, Any]] = []

    def send(self, request: WebRequest) -> WebResponse:
        """Carry one request."""
        response = self._send(request)
        body = json.loads(_GENERATED.sub("<transaction_no>", response.body.decode()))
        self.answers.append((response.status, body))
        return response


def expected_answers(name: str) -> list[tuple[int, Any]]:
    """What `PaymentEndpoints` itself answers in a case."""
    shop = Shop()
    transcript = Transcript(shop.endpoints.handle)
    CASES[name](shop, transcript.send)
    return transcript.answers
