"""A Daraja with customers: what really happened to each push, and what Daraja says about it."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import attrs

from daraja_double import answer, refusal, result
from mpesa_stk import HttpRequest, HttpResponse, OutcomeUnknown
from mpesa_stk.testing import ManualClock
from support import START, accepted, callback

_EAST_AFRICA = timedelta(hours=3)
_LIVES = (0, 2, 8, 20, 45, 70)
_LATE = (0, 0, 1, 5, 40, 400, 2_000, 100_000)
_SILENT = 2_000  # the callbacks come after the payment expired
OTHER_ID = "ws_CO_999999"
_PAGE = b"<html><body>Service Unavailable</body></html>"
_WAYS = {
    "taken": 12,
    "refused": 3,
    "busy": 1,
    "lost": 1,
    "not there": 1,
    "503": 1,
    "page": 1,
    "system busy": 1,
    "empty": 1,
    "429": 1,
}


# Answers after which no prompt appears, and answers that say nothing about the prompt that did appear.
_REFUSALS = {
    "refused": ("400.002.02", "Bad Request - Invalid Amount", 400),
    "busy": ("500.001.1001", "Unable to lock subscriber, a transaction is in process", 500),
    "429": ("500.003.02", "Spike Arrest Violation", 429),
}
_BUT_SHOWN = {
    "503": answer({}, 503),
    "empty": answer(b"", 200),
    "page": HttpResponse(status=503, headers={"content-type": "text/html"}, body=_PAGE),
    "system busy": refusal("500.001.1001", "System is busy. Please try again.", 500),
}


@attrs.frozen(kw_only=True)
class Prompt:
    """What a customer saw on a phone, and what the customer did."""

    checkout_request_id: str
    merchant_request_id: str
    key: str
    callback_url: str
    amount: int
    fate: str
    decided_at: float
    receipt: str

    @property
    def paid(self) -> bool:
        """Whether money moved."""
        return self.fate == "paid"

    @property
    def token(self) -> str:
        """The signed token of its callback URL."""
        return urlsplit(self.callback_url).path.rstrip("/").rpartition("/")[2]


@attrs.frozen(kw_only=True)
class Post:
    """A callback on its way.

    Attributes:
        number: Its place among all.
        at: Second at which it comes.
        prompt: The prompt whose URL it is posted to.
        about: The prompt that its body names.
        kind: ``true``, or how it is wrong.
        token: The token of its URL.
    """

    number: int
    at: float
    prompt: Prompt
    about: Prompt
    kind: str
    token: str


def code_of(post: Post) -> str:
    """The result code that a callback names. Some kinds say the contrary of the truth."""
    contrary = post.kind in ("contrary", "forged", "stolen URL")
    if post.about.paid:
        return "1032" if contrary else "0"
    return "0" if contrary else post.about.fate


class Daraja:
    """Answers requests, shows prompts, posts callbacks, and forgets tokens."""

    def __init__(
        self, chance: random.Random, clock: ManualClock, count: Callable[[str], bool]
    ) -> None:
        self.chance = chance
        self.clock = clock
        self._began = clock.monotonic()
        self._happens = count
        self.prompts: dict[str, Prompt] = {}
        self.posts: list[Post] = []
        self.said_paid: set[str] = set()
        self.said_failed: set[str] = set()
        self.lies: list[Prompt] = []
        self._silent: set[str] = set()
        self.tokens: list[str] = []
        self._valid: set[str] = set()
        self._posted = 0
        self.shown: Counter[str] = Counter()

    def answer(self, request: HttpRequest) -> HttpResponse:
        """Answer one request."""
        if request.method == "GET":
            return self._token()
        if request.headers["Authorization"].removeprefix("Bearer ") not in self._valid:
            return refusal("404.001.03", "Invalid Access Token", 404)
        body = json.loads(request.body or b"")
        if "CheckoutRequestID" in body:
            return self._query(body["CheckoutRequestID"])
        return self._push(body)

    def revoke(self) -> None:
        """Forget every token."""
        self._valid.clear()

    def _token(self) -> HttpResponse:
        value = f"simulatedtoken{len(self.tokens):014d}"
        self.tokens.append(value)
        self._valid = {value}  # a new token kills the old one
        return answer({"access_token": value, "expires_in": "3599"})

    # --- pushes ------------------------------------------------------------------------------------

    def _push(self, body: dict[str, Any]) -> HttpResponse:
        way = self.chance.choices(list(_WAYS), list(_WAYS.values()))[0]
        if way != "taken" and not self._happens(f"push: {way}"):
            way = "taken"
        if way in _REFUSALS:
            return refusal(*_REFUSALS[way])
        if way == "not there":
            raise OutcomeUnknown("no complete answer in time")
        prompt = self._show(body)
        if way == "lost":
            raise OutcomeUnknown("no complete answer in time")
        if way in _BUT_SHOWN:
            return _BUT_SHOWN[way]
        return answer(accepted(prompt.checkout_request_id, prompt.merchant_request_id))

    def _show(self, body: dict[str, Any]) -> Prompt:
        number = len(self.prompts) + 1
        prompt = Prompt(
            checkout_request_id=f"ws_CO_{number:06d}",
            merchant_request_id=f"1-2-{number}",
            key=body["AccountReference"],
            callback_url=body["CallBackURL"],
            amount=int(body["Amount"]),
            fate=self.chance.choice(["paid", "paid", "paid", "1032", "1037", "2001"]),
            decided_at=self.clock.monotonic() + self.chance.choice(_LIVES),
            receipt=f"NLJ7R{number:05d}",
        )
        self.prompts[prompt.checkout_request_id] = prompt
        if self._happens("query: never an outcome"):
            self._silent.add(prompt.checkout_request_id)
        self.shown[prompt.key] += 1
        for _ in range(self.chance.choice([0, 1, 1, 1, 1, 2, 3])):
            self._post(prompt, "true")
        if self._happens("callback: wrong"):
            kinds = ["unreadable", "unproven", "other id"]
            kinds += ["contrary", "amount"] if prompt.paid else []
            self._post(prompt, self.chance.choice(kinds))
        return prompt

    def _post(self, prompt: Prompt, kind: str, token: str | None = None) -> Post:
        self._posted += 1
        silent = prompt.checkout_request_id in self._silent
        at = prompt.decided_at + (_SILENT if silent else self.chance.choice(_LATE))
        post = Post(
            number=self._posted,
            at=at,
            prompt=prompt,
            about=prompt,
            kind=kind,
            token=prompt.token if token is None else token,
        )
        self.posts.append(post)
        return post

    def forge(self) -> Post | None:
        """Somebody without the secret makes a callback up, or uses the URL of another payment."""
        if not self.prompts:
            return None
        prompt = self.chance.choice(list(self.prompts.values()))
        other = self.chance.choice(list(self.prompts.values()))
        if other is not prompt and self.chance.random() < 0.5:
            post = self._post(other, "stolen URL")
        else:
            last = "0" if prompt.token[-1] != "0" else "1"
            unknown = f"00000000-0000-4000-8000-000000000000.{prompt.token.rpartition('.')[2]}"
            tokens = ["", "made-up", prompt.token[:-1] + last, unknown]
            post = self._post(prompt, "forged", self.chance.choice(tokens))
        self.posts.remove(post)
        return attrs.evolve(post, about=prompt)

    def body_of(self, post: Post) -> bytes:
        """The bytes that are posted."""
        prompt = post.about
        named: dict[str, Any] = {
            "checkout_request_id": prompt.checkout_request_id,
            "MerchantRequestID": prompt.merchant_request_id,
        }
        if post.kind == "unreadable":
            return b"\xff<html>" + str(post.number).encode()
        if post.kind == "unproven":
            return callback(CallbackMetadata=None, **named)
        if post.kind == "other id":
            named["checkout_request_id"] = OTHER_ID
        code = code_of(post)
        if code != "0":
            return callback(int(code), **named)
        # Safaricom's clock is right. That of the shop may be set.
        moment = START + timedelta(seconds=self.clock.monotonic() - self._began) + _EAST_AFRICA
        facts = {
            "Amount": prompt.amount + (post.kind == "amount"),
            "MpesaReceiptNumber": prompt.receipt if prompt.paid else f"EVIL{post.number:06d}",
            "TransactionDate": int(moment.strftime("%Y%m%d%H%M%S")),
        }
        items = [{"Name": name, "Value": value} for name, value in facts.items()]
        return callback(CallbackMetadata={"Item": items}, **named)

    # --- queries -----------------------------------------------------------------------------------

    def _query(self, checkout_request_id: str) -> HttpResponse:
        if self._happens("query: trouble"):
            return self.chance.choice(
                [
                    answer({}, 500),
                    answer(b"<html>", 200),
                    refusal("500.003.02", "Spike Arrest Violation", 429),
                ]
            )
        prompt = self.prompts.get(checkout_request_id)
        if prompt is None or self._happens("query: not known"):
            self.said_failed.add(checkout_request_id)
            return refusal("500.001.1001", "The transaction does not Exist", 500)
        early = self.clock.monotonic() < prompt.decided_at
        if early or checkout_request_id in self._silent or self._happens("query: stammer"):
            return refusal("500.001.1001", "The transaction is being processed", 500)
        code = "0" if prompt.paid else prompt.fate
        if self._happens("query: lie"):
            code = "1037" if prompt.paid else "0"
            self.lies.append(prompt)
        (self.said_paid if code == "0" else self.said_failed).add(checkout_request_id)
        return result(checkout_request_id, code)
