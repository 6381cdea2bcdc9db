"""A small world of chance: workers of two accounts over one store, a Daraja, customers, and trouble.

No threads: at each step of the store, and while Daraja answers, other hands may act. So whatever can come
between two steps does come between them sooner or later, and the same seed gives the same world.
"""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import attrs

from both_faces import make_client, make_payments
from daraja_double import answer, refusal, result
from mpesa_stk import (
    HttpRequest,
    HttpResponse,
    MemoryTransactionStore,
    MpesaError,
    OutcomeUnknown,
    PayBill,
    Payments,
    StoreError,
    Transaction,
    TransactionState,
)
from mpesa_stk.daraja.retry import RetryPolicy
from mpesa_stk.payments.budget import (
    MemoryQueryBudget,
    QueryBudget,
    QueryPace,
    UnlimitedQueryBudget,
)
from mpesa_stk.payments.effects import news_of
from mpesa_stk.payments.transaction import MAX_HISTORY
from support import CALLBACK_SECRET, TOKEN, ManualClock, accepted, callback, make_config

_EAST_AFRICA = timedelta(hours=3)
_DEEPEST = 2
_LONGEST_REVIEW = 900
_PAUSES = (0.5, 1, 3, 9, 20, 60, 200, 600, 901)
_STEPS = (-3600, -60, 60, 3600, 86400)


@attrs.frozen(kw_only=True)
class Prompt:
    """What a customer sees on a phone, and what becomes of it."""

    checkout_request_id: str
    merchant_request_id: str
    account: str
    reference: str
    callback_url: str
    amount: int
    fate: str
    decided_at: float
    receipt: str


@attrs.frozen
class Post:
    """A callback on its way: `kind` is the fate of its prompt, or how it is wrong."""

    at: float
    prompt: Prompt
    kind: str


class SleepyClock(ManualClock):
    """While somebody sleeps, others act."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def sleep(self, seconds: float, /) -> None:
        """Move on, and let others act."""
        super().sleep(seconds)
        self._world.meanwhile(0.5)


class ShakyStore:
    """The shared store as one worker sees it: others act, and steps fail before or after their effect."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __getattr__(self, method: str) -> Any:
        def step(*args: Any, **wanted: Any) -> Any:
            self._world.trouble()
            done = getattr(self._world.store, method)(*args, **wanted)
            self._world.trouble()
            return done

        return step


@attrs.frozen
class Line:
    """Daraja, as the client of one account reaches it."""

    world: World
    account: str

    def send(self, request: HttpRequest, /) -> HttpResponse:
        """Answer one request."""
        if request.method == "GET":
            return answer({"access_token": TOKEN, "expires_in": "3599"})
        body = json.loads(request.body or b"")
        if "CheckoutRequestID" in body:
            return self.world.answer_query(self.account, body["CheckoutRequestID"])
        return self.world.answer_push(self.account, body)

    def close(self) -> None:
        """Nothing is open."""


class World:
    """Everything of one seed. `faults` says which promises were broken."""

    def __init__(self, seed: int) -> None:
        self.chance = chance = random.Random(seed)
        self.faults: list[str] = []
        self.store = MemoryTransactionStore()
        self.clock = SleepyClock(self)
        self.prompts: dict[str, Prompt] = {}
        self.told: dict[str, list[Transaction]] = defaultdict(list)
        self._signed = chance.random() < 0.5
        self._failing = chance.choice([0.0, 0.01, 0.05])
        self._crowd = chance.choice([0.0, 0.1, 0.3])
        self._steps_of_clock = chance.choice([0.0, 0.0, 0.2])
        self._most_keys = chance.choice([1, 1, 2, 8])
        self._calm = False
        self._depth = 0
        self._orders: list[tuple[str, str, int]] = []
        self._pushed: Counter[tuple[str, str]] = Counter()
        self._posts: list[Post] = []
        self._sent: list[tuple[Post, bytes]] = []
        self._taken: list[tuple[Post, bytes]] = []
        self._page: Callable[[], None] | None = None
        self._asked: dict[str, float] = {}
        pace = chance.choice([None, 60.0, 5.0])
        self.workers = [
            worker for code in ("600000", "600001") for worker in self._hired(code, pace)
        ]

    def _hired(self, code: str, pace: float | None) -> list[Payments]:
        budget: QueryBudget = UnlimitedQueryBudget()
        if pace is not None:
            budget = MemoryQueryBudget(QueryPace(per_minute=pace))
        secrets = (CALLBACK_SECRET,) if self._signed else ()
        config = make_config(account=PayBill(code), callback_secrets=secrets)
        retry = RetryPolicy(jitter=lambda: 0.5)
        line = Line(self, str(config.account))
        return [
            make_payments(
                make_client(config, transport=line, clock=self.clock, retry=retry),
                ShakyStore(self),
                clock=self.clock,
                jitter=self.chance.random,
                query_budget=budget,
            )
            for _ in range(2)
        ]

    # --- chance ----------------------------------------------------------------------------------

    def happens(self, probability: float) -> bool:
        """Whether something happens now."""
        return not self._calm and self.chance.random() < probability

    def trouble(self) -> None:
        """Let others act, and perhaps fail."""
        self.meanwhile(self._crowd)
        if self.happens(self._failing):
            raise StoreError("trouble")

    def meanwhile(self, probability: float) -> None:
        """Perhaps others act now."""
        if self._depth >= _DEEPEST or not self.happens(probability):
            return
        page, self._page = self._page, None
        self._depth += 1
        try:
            for _ in range(self.chance.choice([1, 1, 2, 4, 6])):
                self.act()
        finally:
            self._depth -= 1
            self._page = page

    def act(self) -> None:
        """Something happens."""
        passing = 6.0 if self._depth == 0 else 1.0
        acts: list[tuple[Callable[[], None], float]] = [
            (self.order, 2.0),
            (self.order_again, 2.0),
            (self.post, 5.0),
            (self.work, 5.0),
            (self.look, 3.0),
            (lambda: self.clock.advance(self.chance.choice(_PAUSES)), passing),
            (lambda: self.clock.step(self.chance.choice(_STEPS)), self._steps_of_clock),
            (self.forge, 0.7),
        ]
        self.chance.choices([do for do, _ in acts], [weight for _, weight in acts])[0]()

    # --- Daraja ----------------------------------------------------------------------------------

    def answer_push(self, account: str, body: dict[str, Any]) -> HttpResponse:
        """Prompt a customer, or refuse; answer, or do not."""
        ways = (
            ["take_slot"] * 6 + ["refused"] * 3 + ["lost", "not there", "overtaken", "503", "slow"]
        )
        way = self.chance.choice(ways)
        if way == "refused":
            return refusal("400.002.02", "Bad Request - Invalid Amount", 400)
        if way == "not there":
            raise OutcomeUnknown("no answer")
        prompt = self._prompted(account, body)
        if way == "overtaken":
            self._deliver(Post(0, prompt, prompt.fate))
        self.meanwhile(2 * self._crowd)
        if way == "slow":
            self.clock.advance(self.chance.choice([5, 20, 40]))
        if way == "lost":
            raise OutcomeUnknown("no answer")
        if way == "503":
            return answer({}, 503)
        return answer(accepted(prompt.checkout_request_id, prompt.merchant_request_id))

    def _prompted(self, account: str, body: dict[str, Any]) -> Prompt:
        number = len(self.prompts) + 1
        order = (account, body["AccountReference"])
        self._pushed[order] += 1
        if self._pushed[order] > 1:
            self.faults.append(f"I1: {order} was prompted twice")
        decided_at = self.clock.monotonic() + self.chance.choice([0, 3, 20, 50])
        prompt = Prompt(
            checkout_request_id=f"ws_CO_{number:05}",
            merchant_request_id=f"1-2-{number}",
            account=account,
            reference=body["AccountReference"],
            callback_url=body["CallBackURL"],
            amount=int(body["Amount"]),
            fate=self.chance.choice(["paid", "paid", "1032", "1037", "unproven"]),
            decided_at=decided_at,
            receipt=f"NLJ7R{number:05}",
        )
        self.prompts[prompt.checkout_request_id] = prompt
        for _ in range(self.chance.choice([0, 1, 1, 1, 2])):
            late = self.chance.choice([0, 1, 1, 5, 300, 2000, 100_000])
            self._posts.append(Post(decided_at + late, prompt, prompt.fate))
        if self.chance.random() < 0.15:
            wrong = self.chance.choice(["1032", "amount", "receipt", "unreadable", "unproven"])
            self._posts.append(Post(decided_at + self.chance.choice([0, 5, 1000]), prompt, wrong))
        return prompt

    def answer_query(self, account: str, checkout_request_id: str) -> HttpResponse:
        """Say how a prompt ended, or not."""
        prompt = self.prompts[checkout_request_id]
        if prompt.account != account:
            self.faults.append(f"{account} asked about a payment of {prompt.account}")
        if self._page is not None:
            self._page()
        self.meanwhile(self._crowd)
        if self.happens(0.2):
            return self.chance.choice(
                [
                    answer({}, 500),
                    refusal("500.003.02", "Spike Arrest", 429),
                    refusal("500.001.1001", "The transaction does not Exist", 500),
                ]
            )
        if self.clock.monotonic() < prompt.decided_at or self.happens(0.1):
            return refusal("500.001.1001", "The transaction is being processed", 500)
        code = "0" if prompt.fate in ("paid", "unproven") else prompt.fate
        return result(checkout_request_id, code)

    def _body(self, post: Post) -> bytes:
        prompt = post.prompt
        named = {
            "checkout_request_id": prompt.checkout_request_id,
            "MerchantRequestID": prompt.merchant_request_id,
        }
        if post.kind == "unreadable":
            return b"\xff<html>"
        if post.kind == "unproven":
            return callback(CallbackMetadata=None, **named)
        if post.kind.isdigit():
            return callback(int(post.kind), **named)
        facts = {
            "Amount": prompt.amount + (post.kind == "amount"),
            "MpesaReceiptNumber": "OTHER12345" if post.kind == "receipt" else prompt.receipt,
            "TransactionDate": int((self.clock.now() + _EAST_AFRICA).strftime("%Y%m%d%H%M%S")),
        }
        items = [{"Name": name, "Value": value} for name, value in facts.items()]
        return callback(CallbackMetadata={"Item": items}, **named)

    def _deliver(self, post: Post) -> None:
        body, token = self._body(post), None
        if self._signed:
            token = post.prompt.callback_url.rstrip("/").rpartition("/")[2]
        self._sent.append((post, body))
        try:
            self.chance.choice(self.workers).handle_callback(body, token=token)
        except MpesaError:
            return
        self._taken.append((post, body))

    # --- the hands -------------------------------------------------------------------------------

    def order(self) -> None:
        """A new order."""
        if len(self._orders) < self._most_keys:
            key = f"k{len(self._orders)}"
            account = self.chance.choice(self.workers).account
            self._orders.append((account, key, 100 + len(self._orders)))
            self._checkout(*self._orders[-1])

    def order_again(self) -> None:
        """The same order once more."""
        if self._orders:
            self._checkout(*self.chance.choice(self._orders))

    def _checkout(self, account: str, key: str, amount: int) -> None:
        worker = self.chance.choice([one for one in self.workers if one.account == account])
        try:
            worker.checkout(
                phone_number="0718643064", amount=amount, reference=key, idempotency_key=key
            )
        except MpesaError:
            return

    def post(self) -> None:
        """A callback arrives, perhaps twice."""
        ready = [post for post in self._posts if post.at <= self.clock.monotonic()]
        if ready:
            post = self.chance.choice(ready)
            self._posts.remove(post)
            for _ in range(self.chance.choice([1, 1, 1, 2])):
                self._deliver(post)

    def forge(self) -> None:
        """Somebody makes a callback up."""
        known = self.chance.choice([*self.prompts, "ws_CO_unknown"])
        body = callback(amount=7, receipt="EVIL123456", checkout_request_id=known)
        try:
            self.chance.choice(self.workers).handle_callback(body, token="made-up")
        except MpesaError:
            return
        if self._signed:
            self.faults.append("a callback without a genuine token was taken")

    def look(self) -> None:
        """A page asks about a payment, again and again."""
        known = [one for one in self.prompts if self.store.find(checkout_request_id=one)]
        if not known:
            return
        wanted, worker = self.chance.choice(known), self.chance.choice(self.workers)
        for _ in range(self.chance.choice([1, 1, 2, 6])):
            began = self.clock.monotonic()
            self._page = lambda began=began: self._note_question(wanted, began)
            try:
                worker.query(wanted)
            except MpesaError:
                pass
            finally:
                self._page = None
            self.clock.advance(self.chance.choice([0.1, 1, 2, 5]))

    def _note_question(self, checkout_request_id: str, began: float) -> None:
        """Pages ask once in ten seconds; one that was held up, or whose clock jumps, is not counted."""
        if self._steps_of_clock or began != self.clock.monotonic():
            return
        if began - self._asked.get(checkout_request_id, -10.0) < 9.99:
            self.faults.append(f"pages asked twice in ten seconds about {checkout_request_id}")
        self._asked[checkout_request_id] = began

    def work(self) -> None:
        """A worker does what is due; its handler may be slow, and may raise."""
        worker = self.chance.choice(self.workers)
        try:
            worker.process_due(
                on_settled=lambda paid: self._hear(worker, paid),
                limit=self.chance.choice([1, 3, 100]),
            )
        except StoreError:
            return

    def _hear(self, worker: Payments, paid: Transaction) -> None:
        before = self.told[paid.transaction_no]
        if paid.account != worker.account:
            self.faults.append("a payment of another account was reported")
        if not paid.state.settled:
            self.faults.append("I2: an open payment was reported")
        self._check_not_unpaid(before, paid)
        before.append(paid)
        began = self.clock.monotonic()
        self.meanwhile(0.5)
        self.clock.advance(self.chance.choice([0, 0, 0, 8]))
        self.meanwhile(self._crowd)
        if self.clock.monotonic() - began < 95 and not self._steps_of_clock:
            self._check_not_unpaid(before, paid)  # others may have told of a success meanwhile
        if self.happens(0.1):
            raise RuntimeError("the handler does not work")

    def _check_not_unpaid(self, before: list[Transaction], paid: Transaction) -> None:
        was_paid = bool(before) and before[-1].state is TransactionState.SUCCEEDED
        if was_paid and paid.state is not TransactionState.SUCCEEDED:
            self.faults.append(f"I2: {paid.reference} was un-paid: {paid.state.value}")

    # --- the promises ----------------------------------------------------------------------------

    def stored(self) -> list[Transaction]:
        """All payments."""
        found = (
            self.store.find(reference=key, account=account) for account, key, _ in self._orders
        )
        return [payment for payment in found if payment is not None]

    def check(self) -> None:
        """What holds at each moment."""
        for payment in self.stored():
            done = payment.state.settled and payment.reported
            if (payment.due_at is None) is not done:
                self.faults.append(f"{payment.reference} is forgotten, or due for ever")
            if len(payment.history) > MAX_HISTORY:
                self.faults.append(f"the history of {payment.reference} grows")
            if len(payment.needs_review or "") > _LONGEST_REVIEW:
                self.faults.append(f"the review of {payment.reference} grows")
            if payment.state is TransactionState.SUCCEEDED and not self._is_paid(payment):
                self.faults.append(f"I3: {payment.reference} succeeded without proof")

    def _is_paid(self, payment: Transaction) -> bool:
        prompt = self.prompts.get(payment.checkout_request_id or "")
        fates = {post.kind for post, _ in self._sent if post.prompt is prompt}
        return prompt is not None and bool({prompt.fate, *fates} & {"paid", "unproven", "receipt"})

    def end(self) -> None:
        """Let all trouble end, and all work be done."""
        self._calm = True
        for post in sorted(self._posts, key=lambda post: post.at):
            self.clock.advance(max(post.at - self.clock.monotonic(), 0.0))
            self._deliver(post)
        for _ in range(1000):
            due = [payment.due_at for payment in self.stored() if payment.due_at is not None]
            if not due:
                break
            self.clock.advance(max((min(due) - self.clock.now()).total_seconds(), 0.0) + 0.001)
            for worker in self.workers:
                worker.process_due(on_settled=lambda paid, by=worker: self._hear(by, paid))  # type: ignore[misc]
            self.check()
        else:
            self.faults.append("there is always something due")
        self._check_reports()
        self._check_evidence()

    def _check_reports(self) -> None:
        for payment in self.stored():
            told = self.told[payment.transaction_no]
            if not told or news_of(told[-1]) != news_of(payment):
                self.faults.append(
                    f"I2: the last report of {payment.reference} is not what is stored"
                )

    def _check_evidence(self) -> None:
        for post, body in self._taken:
            prompt = post.prompt
            payment = self.store.find(reference=prompt.reference, account=prompt.account)
            kept = self.store.kept_callbacks(
                checkout_request_id=prompt.checkout_request_id,
                transaction_no=payment.transaction_no if payment else None,
            )
            is_kept = body in [one.body for one in kept]
            applied = payment is not None and payment.receipt_number == prompt.receipt
            flagged = payment is not None and payment.needs_review is not None
            if post.kind == "paid" and not applied and not (is_kept and (flagged or not payment)):
                self.faults.append(f"I4: the proof of {prompt} was lost")
            if post.kind in ("amount", "unproven", "unreadable") and not is_kept:
                self.faults.append(f"I4: the {post.kind} callback of {prompt} was lost")
