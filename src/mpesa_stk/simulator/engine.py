"""A Daraja as a pure state machine: request in, answer out, callbacks when their time comes.

No sockets, no threads; time and randomness are handed in. Total: whatever bytes arrive, an answer
comes back. Codes, texts and statuses are those of the collected wire facts, sections 1 to 6.
"""

from __future__ import annotations

import heapq
import hmac
import json
import random
import string
from collections.abc import Mapping
from datetime import datetime, timedelta
from urllib.parse import parse_qs, urlsplit

from mpesa_stk.clock import Clock
from mpesa_stk.config import StkConfig
from mpesa_stk.daraja import wire
from mpesa_stk.daraja.http import HttpResponse
from mpesa_stk.simulator import validation
from mpesa_stk.simulator.prompts import (
    EAT,
    OUTCOMES,
    CallbackDelivery,
    Prompt,
    Scenario,
    callback_body,
)

__all__ = ["DarajaEngine"]

_TOKEN_PATH = "/oauth/v1/generate"  # noqa: S105 - a path
_PUSH_PATH = "/mpesa/stkpush/v1/processrequest"
_QUERY_PATH = "/mpesa/stkpushquery/v1/query"
_BUSY = "500.001.1001"
_LOCKED = (
    "Unable to lock subscriber, a transaction is already in process for the current subscriber"
)
_ACCEPTED = "Success. Request accepted for processing"
# Three s, as Daraja spells it.
_QUERY_ACCEPTED = "The service request has been accepted successsfully"


class DarajaEngine:
    """Answers as Daraja does for one app and one merchant. Not safe to share between threads.

    Attributes:
        scenario: What becomes of the pushes that are accepted from now on.
    """

    def __init__(
        self,
        config: StkConfig,
        /,
        *,
        clock: Clock,
        randomness: random.Random,
        scenario: Scenario | None = None,
        token_lifetime: int = 3599,
    ) -> None:
        """Make an engine that knows one merchant.

        Args:
            config: The app's key and secret, the passkey and the account.
            clock: Tells the time; never slept on.
            randomness: Where ids, tokens and receipts come from.
            scenario: What becomes of pushes; paid after a second by default.
            token_lifetime: Seconds for which a token is good.
        """
        self.scenario = scenario or Scenario()
        self._config = config
        self._clock = clock
        self._random = randomness
        self._token_lifetime = token_lifetime
        self._tokens: dict[str, float] = {}
        self._prompts: dict[str, Prompt] = {}
        self._last_prompt: dict[str, Prompt] = {}
        self._waiting: list[tuple[float, int, CallbackDelivery]] = []
        self._accepted = 0

    # --- callbacks -----------------------------------------------------------------------------

    def next_due(self) -> float | None:
        """The monotonic second at which the next callback is due, or None."""
        return self._waiting[0][0] if self._waiting else None

    def take_due(self) -> CallbackDelivery | None:
        """Hand over the callback that is due longest, once; None where none is due yet."""
        due = self.next_due()
        if due is None or due > self._clock.monotonic():
            return None
        return heapq.heappop(self._waiting)[2]

    # --- requests --------------------------------------------------------------------------------

    def answer(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, /
    ) -> HttpResponse:
        """Answer one request.

        Args:
            method: HTTP method.
            url: Absolute address or request target.
            headers: Header fields, names in any case.
            body: Body, or None.
        """
        try:
            parts = urlsplit(url)
        except ValueError:
            return self._refuse(404, "404.001.01", "Resource not found")
        fields = {name.lower(): value for name, value in headers.items()}
        if parts.path == _TOKEN_PATH:
            return self._token(method, parts.query, fields.get("authorization", ""))
        if parts.path in (_PUSH_PATH, _QUERY_PATH):
            return self._api_call(method, parts.path, fields, body or b"")
        return self._refuse(404, "404.001.01", "Resource not found")

    def _token(self, method: str, query: str, authorization: str) -> HttpResponse:
        """The token endpoint."""
        if method != "GET":
            return self._refuse(405, "405.001", "Method Not Allowed")
        given = validation.basic_credentials(authorization)
        if given is None:
            return self._refuse(400, "400.008.01", "Invalid authentication type passed")
        expected = f"{self._config.consumer_key}:{self._config.consumer_secret}".encode()
        if not hmac.compare_digest(given, expected):
            return self._refuse(400, "400.008.01", "Invalid Authentication passed")
        # White space around it counts, as it does for Daraja.
        if parse_qs(query).get("grant_type") != ["client_credentials"]:
            return self._refuse(400, "400.008.02", "Invalid grant type passed")
        now = self._clock.monotonic()
        self._tokens = {token: ends for token, ends in self._tokens.items() if ends > now}
        token = self._letters(string.ascii_letters + string.digits, 28)
        self._tokens[token] = now + self._token_lifetime
        return _json(200, {"access_token": token, "expires_in": str(self._token_lifetime)})

    def _api_call(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> HttpResponse:
        """The push and the query: what both check, in Daraja's order."""
        if method not in ("GET", "POST"):
            return self._refuse(405, "405.001", "Method Not Allowed")
        token = validation.bearer_token(headers.get("authorization", ""))
        if token is None or method == "GET":
            return self._refuse(404, "404.001.04", "Invalid Authentication Header")
        if self._tokens.get(token, 0.0) <= self._clock.monotonic():
            return self._refuse(404, "404.001.03", "Invalid Access Token")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            # Form-encoded bodies get this answer: Daraja finds no first field in them.
            return self._invalid("BusinessShortCode")
        try:
            payload = wire.read_object(body)
        except wire.WireError:
            return self._refuse(400, "400.002.05", "Invalid Request Payload")
        rules = validation.PUSH_FIELDS if path == _PUSH_PATH else validation.QUERY_FIELDS
        refusal = self._check(payload, rules)
        if refusal is not None:
            return refusal
        return self._push(payload) if path == _PUSH_PATH else self._query(payload)

    def _check(
        self, payload: Mapping[str, object], rules: Mapping[str, validation.Rule]
    ) -> HttpResponse | None:
        """The refusal of a body that breaks a rule or names another merchant."""
        if validation.unknown_fields(payload, rules):
            return self._refuse(400, "400.002.05", "Invalid Request Payload")
        field = validation.invalid_field(payload, rules)
        if field is not None:
            return self._invalid(field)
        if not validation.is_fresh(str(payload["Timestamp"]), self._clock.now()):
            return self._invalid("Timestamp")
        shortcode = validation.digits_of(payload["BusinessShortCode"])
        if shortcode != self._config.account.shortcode:
            return self._refuse(500, _BUSY, "Merchant does not exist")
        if not validation.has_password(payload, self._config):
            return self._refuse(500, _BUSY, "Wrong credentials")
        return None

    def _push(self, payload: Mapping[str, object]) -> HttpResponse:
        """The push endpoint, once the body is sound."""
        field = validation.foreign_account_field(payload, self._config)
        if field is not None:
            return self._invalid(field)
        phone_number = str(payload["PhoneNumber"])
        last = self._last_prompt.get(phone_number)
        if last is not None and self._is_open(last):
            return self._refuse(500, _BUSY, _LOCKED)
        prompt = self._open_prompt(
            phone_number, int(str(payload["Amount"])), str(payload["CallBackURL"])
        )
        return _json(
            200,
            {
                "MerchantRequestID": prompt.merchant_request_id,
                "CheckoutRequestID": prompt.checkout_request_id,
                "ResponseCode": "0",
                "ResponseDescription": _ACCEPTED,
                "CustomerMessage": _ACCEPTED,
            },
        )

    def _query(self, payload: Mapping[str, object]) -> HttpResponse:
        """The status query, once the body is sound."""
        checkout_request_id = str(payload["CheckoutRequestID"])
        prompt = self._prompts.get(checkout_request_id)
        if prompt is None:
            return self._invalid("CheckoutRequestID")
        if self._is_open(prompt):
            return self._refuse(
                500, _BUSY, "The transaction is being processed", request_id=checkout_request_id
            )
        return _json(
            200,
            {
                "ResponseCode": "0",
                "ResponseDescription": _QUERY_ACCEPTED,
                "MerchantRequestID": prompt.merchant_request_id,
                "CheckoutRequestID": checkout_request_id,
                "ResultCode": str(prompt.outcome.code),
                "ResultDesc": prompt.outcome.description,
            },
        )

    # --- prompts -----------------------------------------------------------------------------------

    def _is_open(self, prompt: Prompt) -> bool:
        return prompt.ends_at > self._clock.monotonic()

    def _open_prompt(self, phone_number: str, amount: int, callback_url: str) -> Prompt:
        """Make a phone ring, and put the callback of its answer on the schedule."""
        now = self._clock.now()
        delay = self.scenario.answer_after
        prompt = Prompt(
            merchant_request_id=self._request_id(),
            checkout_request_id=self._checkout_id(now, phone_number),
            phone_number=phone_number,
            amount=amount,
            callback_url=callback_url,
            outcome=OUTCOMES[self.scenario.outcome],
            ends=now + timedelta(seconds=delay),
            ends_at=self._clock.monotonic() + delay,
            receipt_number=self._letters(string.ascii_uppercase + string.digits, 10),
        )
        self._prompts[prompt.checkout_request_id] = prompt
        self._last_prompt[phone_number] = prompt
        self._accepted += 1
        delivery = CallbackDelivery(
            due_at=prompt.ends_at, url=callback_url, body=callback_body(prompt)
        )
        heapq.heappush(self._waiting, (delivery.due_at, self._accepted, delivery))
        return prompt

    def _checkout_id(self, now: datetime, phone_number: str) -> str:
        """``ws_CO_DDMMYYYYHHMMSSmmm`` and the phone's nine digits, never the same twice."""
        moment = now.astimezone(EAT)
        while True:
            stamp = f"{moment:%d%m%Y%H%M%S}{moment.microsecond // 1000:03}"
            checkout_request_id = f"ws_CO_{stamp}{phone_number[3:]}"
            if checkout_request_id not in self._prompts:
                return checkout_request_id
            moment += timedelta(milliseconds=1)

    # --- answers -----------------------------------------------------------------------------------

    def _letters(self, alphabet: str, length: int) -> str:
        return "".join(self._random.choices(alphabet, k=length))

    def _request_id(self) -> str:
        """An id as in ``1c5b-4ba8-815c-ac45c57a3db01495926``."""
        parts = [self._letters("0123456789abcdef", length) for length in (4, 4, 4, 12)]
        return "-".join(parts) + self._letters(string.digits, 7)

    def _invalid(self, field: str) -> HttpResponse:
        return self._refuse(400, "400.002.02", f"Bad Request - Invalid {field}")

    def _refuse(
        self, status: int, code: str, message: str, *, request_id: str | None = None
    ) -> HttpResponse:
        """Daraja's error body."""
        return _json(
            status,
            {
                "requestId": request_id or self._request_id(),
                "errorCode": code,
                "errorMessage": message,
            },
        )


def _json(status: int, payload: Mapping[str, str]) -> HttpResponse:
    return HttpResponse(
        status=status,
        headers={"content-type": "application/json"},
        body=json.dumps(payload).encode(),
    )
