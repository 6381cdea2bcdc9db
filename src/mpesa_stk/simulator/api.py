"""The endpoints of the simulated Daraja: token, push, status query, and the way to the pulls. Pure.

Codes, texts and statuses are Daraja's own (docs/daraja.md, sections 1 to 4).
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Mapping
from datetime import timedelta
from urllib.parse import parse_qs

from mpesa_stk.clock import Clock
from mpesa_stk.config.settings import StkConfig
from mpesa_stk.daraja.exchange import HttpResponse
from mpesa_stk.simulator import validation
from mpesa_stk.simulator.advice import advice_on
from mpesa_stk.simulator.apps import Merchants
from mpesa_stk.simulator.books import Books, new_receipt
from mpesa_stk.simulator.faults import (
    LOCKED,
    LOCKED_CODE,
    NO_SUCH_ID,
    TOO_MANY,
    daraja_answer,
    refusal,
    request_id,
)
from mpesa_stk.simulator.incoming import IssuedToken, Request, Step, TokenRegistry
from mpesa_stk.simulator.prompt_schedule import PromptSchedule
from mpesa_stk.simulator.prompts import Prompt
from mpesa_stk.simulator.pull_endpoints import PullEndpoints
from mpesa_stk.simulator.scenarios import NOT_PERMITTED, OUTCOMES, Pending, Scenario

_ACCEPTED = "Success. Request accepted for processing"
# Three s, as Daraja spells it.
_QUERY_ACCEPTED = "The service request has been accepted successsfully"
_BEING_PROCESSED = "The transaction is being processed"
_STILL_PROCESSING = "The transaction is still under processing"
# The page shows such an answer as usual, not as an error.
_STILL_OPEN = "the prompt is still open: Daraja's usual answer until then"
# A push that does not fit the merchant's account is accepted, and then fails (docs/daraja.md, sections 5
# and 7).
_MISDIRECTED = Scenario(outcome=NOT_PERMITTED)
_TOKEN_LETTERS = string.ascii_letters + string.digits


class Endpoints:
    """Token, push, status query and pulls, for merchants and their apps.

    Attributes:
        pulls: Pull Transactions.
    """

    def __init__(  # noqa: PLR0913 - parts of the engine, all of them by name
        self,
        merchants: Merchants,
        /,
        *,
        clock: Clock,
        shop_clock: Clock,
        randomness: random.Random,
        tokens: TokenRegistry,
        prompts: PromptSchedule,
        books: Books,
        scenario_of: Callable[[str], Scenario],
    ) -> None:
        self.pulls = PullEndpoints(merchants, books=books, randomness=randomness)
        self._merchants = merchants
        self._clock = clock
        self._shop_clock = shop_clock
        self._random = randomness
        self._tokens = tokens
        self._prompts = prompts
        self._scenario_of = scenario_of
        self._last_query: dict[str, float] = {}  # by app

    def execute(self, step: Step | None, request: Request, /) -> HttpResponse:
        """Carry out a request, and answer it."""
        if step is None:
            return self._refuse(404, "404.001.01", "Resource not found")
        if step == "token":
            return self._token(request)
        issued = self._let_in(step, request)
        if isinstance(issued, HttpResponse):
            return issued
        if request.payload is None:
            return self._refuse(400, "400.002.05", "Invalid Request Payload")
        if step == "pull":
            return self.pulls.answer(request, request.payload, app=issued.app)
        return self._api_call(step, request, request.payload, issued.app)

    def _token(self, request: Request) -> HttpResponse:
        """The token endpoint."""
        if request.method != "GET":
            return self._refuse(405, "405.001", "Method Not Allowed")
        given = validation.basic_credentials(request.headers.get("authorization", ""))
        if given is None:
            return self._refuse(400, "400.008.01", "Invalid authentication type passed")
        app = self._merchants.app_of(given)
        if app is None:
            return self._refuse(400, "400.008.01", "Invalid Authentication passed")
        # Daraja does not strip white space here.
        if parse_qs(request.query).get("grant_type") != ["client_credentials"]:
            return self._refuse(400, "400.008.02", "Invalid grant type passed")
        token = self._letters(_TOKEN_LETTERS, 28)
        self._tokens.issue(token, self._clock.monotonic(), app=app, entry=request.number)
        return daraja_answer(200, {"access_token": token, "expires_in": str(self._tokens.lifetime)})

    def _let_in(self, step: Step, request: Request) -> IssuedToken | HttpResponse:
        """The token of a call, or its refusal. The checks are in Daraja's order."""
        if request.method not in ("GET", "POST"):
            return self._refuse(405, "405.001", "Method Not Allowed")
        token = validation.bearer_token(request.headers.get("authorization", ""))
        if token is None or request.method == "GET":
            return self._refuse(404, "404.001.04", "Invalid Authentication Header")
        issued = self._tokens.find(token, self._clock.monotonic())
        if issued is None:
            code = (401, "401.001") if step == "pull" else (404, "404.001.03")
            return self._refuse(*code, "Invalid Access Token")
        request.token_entry = issued.entry
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            # Daraja's answer to form-encoded bodies: it does not find the first field.
            return self._invalid("ShortCode" if step == "pull" else "BusinessShortCode")
        return issued

    def _api_call(
        self, step: Step, request: Request, payload: Mapping[str, object], app: str
    ) -> HttpResponse:
        """The push and the query."""
        rules = validation.PUSH_FIELDS if step == "push" else validation.QUERY_FIELDS
        now = self._shop_clock.now()
        merchant = self._merchants.meant_by(payload, app=app)
        request.advice = advice_on(payload, rules, config=merchant, now=now)
        refused = self._check(payload, rules, merchant)
        if refused is not None:
            return refused
        if step == "push":
            return self._push(request, payload, merchant)
        return self._query(request, payload, merchant)

    def _check(
        self,
        payload: Mapping[str, object],
        rules: Mapping[str, validation.Rule],
        merchant: StkConfig,
    ) -> HttpResponse | None:
        """The refusal of a body that breaks a rule or names a merchant of another app."""
        field = validation.invalid_field(payload, rules)
        if field is not None:
            return self._invalid(field)
        if not validation.is_plausible(payload["Timestamp"], self._shop_clock.now()):
            return self._invalid("Timestamp")
        shortcode = validation.digits_of(payload["BusinessShortCode"])
        if shortcode != merchant.account.shortcode:
            return self._refuse(500, LOCKED_CODE, "Merchant does not exist")
        if not validation.has_password(payload, merchant):
            return self._refuse(500, LOCKED_CODE, "Wrong credentials")
        return None

    def _push(
        self, request: Request, payload: Mapping[str, object], merchant: StkConfig
    ) -> HttpResponse:
        """The push endpoint, for a valid body."""
        phone_number = _text(payload, "PhoneNumber")
        if self._prompts.is_busy(phone_number):
            return self._refuse(500, LOCKED_CODE, LOCKED)
        fits = validation.fits_account(payload, merchant)
        scenario = self._scenario_of(phone_number) if fits else _MISDIRECTED
        opened = self._clock.now()
        prompt = Prompt(
            merchant_request_id=self._request_id(),
            checkout_request_id=self._prompts.free_id(phone_number),
            phone_number=phone_number,
            amount=validation.whole_of(payload["Amount"]) or 0,
            reference=_text(payload, "AccountReference"),
            callback_url=_text(payload, "CallBackURL"),
            scenario=scenario,
            opened=opened,
            ends=opened + timedelta(seconds=scenario.ends_after),
            ends_at=self._clock.monotonic() + scenario.ends_after,
            answer=scenario.answer,
            receipt_number=new_receipt(self._random),
            requester=request.client,
            business=str(merchant.account),
        )
        request.checkout_request_id = prompt.checkout_request_id
        request.callbacks_first = tuple(self._prompts.ring(prompt))
        return daraja_answer(
            200,
            {
                "MerchantRequestID": prompt.merchant_request_id,
                "CheckoutRequestID": prompt.checkout_request_id,
                "ResponseCode": "0",
                "ResponseDescription": _ACCEPTED,
                "CustomerMessage": _ACCEPTED,
            },
        )

    def _query(
        self, request: Request, payload: Mapping[str, object], merchant: StkConfig
    ) -> HttpResponse:
        """The status query, for a valid body. Another merchant's prompt is not known."""
        prompt = self._prompts.get(_text(payload, "CheckoutRequestID"))
        if prompt is None or not self._merchants.is_of(prompt.business, merchant):
            return self._refuse(500, LOCKED_CODE, NO_SUCH_ID)
        request.checkout_request_id = prompt.checkout_request_id
        if self._is_too_soon(prompt.scenario, merchant.consumer_key):
            return TOO_MANY
        if not self._prompts.is_open(prompt):
            ended = OUTCOMES[prompt.scenario.query_outcome or prompt.answer]
            return self._result(prompt, str(ended.code), ended.description)
        request.note = _STILL_OPEN
        return self._pending(prompt)

    def _pending(self, prompt: Prompt) -> HttpResponse:
        """The answer about an open prompt."""
        pending = prompt.scenario.pending
        if pending is Pending.CODE_4999:
            return self._result(prompt, "4999", _STILL_PROCESSING)
        if pending is Pending.ERROR_500:
            return refusal(prompt.checkout_request_id, 500, LOCKED_CODE, _BEING_PROCESSED)
        return self._refuse(200 if pending is Pending.NO_TEXT_200 else 500, LOCKED_CODE, "")

    def _is_too_soon(self, scenario: Scenario, app: str) -> bool:
        """Whether a query exceeds the limit. Two in quick succession do (docs/daraja.md, section 4)."""
        now = self._clock.monotonic()
        limit = scenario.queries_a_minute
        last = self._last_query.get(app)
        if limit is not None and last is not None and now - last < 60.0 / limit:
            return True
        self._last_query[app] = now
        return False

    @staticmethod
    def _result(prompt: Prompt, code: str, description: str) -> HttpResponse:
        return daraja_answer(
            200,
            {
                "ResponseCode": "0",
                "ResponseDescription": _QUERY_ACCEPTED,
                "MerchantRequestID": prompt.merchant_request_id,
                "CheckoutRequestID": prompt.checkout_request_id,
                "ResultCode": code,
                "ResultDesc": description,
            },
        )

    def _letters(self, alphabet: str, length: int) -> str:
        return "".join(self._random.choices(alphabet, k=length))

    def _request_id(self) -> str:
        return request_id(self._random)

    def _invalid(self, field: str) -> HttpResponse:
        return self._refuse(400, "400.002.02", f"Bad Request - Invalid {field}")

    def _refuse(self, status: int, code: str, message: str) -> HttpResponse:
        return refusal(self._request_id(), status, code, message)


def _text(payload: Mapping[str, object], name: str) -> str:
    """A field that has passed its rule."""
    return validation.text_of(payload[name]) or ""
