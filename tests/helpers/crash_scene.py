"""One payment of the crash tests from its beginning to its end, and what must be true of it then.

A `Story` says what came before the worker that dies, and what comes after. Imports the worker and the
world, nothing of pytest.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Literal

import attrs

from crash_worker import AMOUNT, WRITES, Order, Place, act, shop
from crash_world import Arrival, World
from mpesa_stk import (
    MpesaError,
    OrderRefused,
    OrderState,
    PaymentConfirmed,
    PaymentEndpoints,
    Payments,
    PaymentUnproven,
    Transaction,
    TransactionState,
    TransactionStore,
    WebRequest,
    parse_callback,
)
from mpesa_stk.payments.events import Meaning
from mpesa_stk.simulator import Scenario
from support import ACCOUNTS

__all__ = ["TAKEN", "Scene", "Story", "post"]

TAKEN = 200
_MOST_ROUNDS = 40
_OTHER = "254722000001"
_S = TransactionState


@attrs.frozen(kw_only=True)
class Story:
    """What happens to one payment.

    Attributes:
        name: What is special about it.
        action: What the worker does that is killed: a name of `Order`.
        calls: What that takes, in this order: store methods, exchanges with Daraja, the host's handler.
        before: What came before.
        outcomes: How the phone answers.
        delivery: When the callback is taken: before the work that is due, after all of it, or never.
        early: Whether the callback comes before the answer to the push.
        mangled: Whether the callback that arrives has lost its proof.
        signed: Whether callback URLs are signed.
        ordered: Whether the payment is an attempt at an order.
        answer_after: Seconds from the push until the phone answers.
        pause: Seconds before the host asks again.
        uncommitted: Of the calls, those that the database refuses.
    """

    name: str
    action: str
    calls: tuple[str, ...]
    before: Callable[[Scene], None] = lambda _scene: None
    outcomes: tuple[str, ...] = ("paid",)
    delivery: Literal["soon", "late", "never"] = "soon"
    early: bool = False
    mangled: bool = False
    signed: bool = True
    ordered: bool = False
    answer_after: float = 15.0
    pause: float = 0.0
    uncommitted: frozenset[str] = frozenset()

    @property
    def label(self) -> str:
        """The story in words."""
        return f"{self.action}, {self.name}"

    @property
    def points(self) -> Iterator[str]:
        """The steps at which the worker can die, each with a name of its own."""
        seen: Counter[str] = Counter()
        for call in self.calls:
            stages = ["before", "inside", "after"]
            if call in self.uncommitted:
                stages = ["before"]
            elif call == "store.purge_callbacks" or call.partition(".")[2] not in WRITES:
                stages.remove("inside")  # no callback of a story is old enough to be purged
            for point in (f"{stage} {call}" for stage in stages):
                seen[point] += 1
                yield point if seen[point] == 1 else f"{point} {seen[point]}"


class Scene:
    """A story as it is played.

    Attributes:
        told: What the host's handler was told, by all workers: number and state.
        posted: The callbacks that reached the shop's address.
        acknowledged: The callbacks that were answered with 200.
    """

    def __init__(
        self,
        world: World,
        store: TransactionStore,
        story: Story,
        *,
        outcome: str,
        killer: Callable[[Scene, Order, str], None],
    ) -> None:
        self.world = world
        self._killer = killer
        self.store = store
        self.story = story
        number = world.begin(Scenario(outcome=outcome, answer_after=story.answer_after))
        self.paying = outcome == "paid"
        self.phone_number = f"2547{10_000_000 + number}"
        self.key = f"order-{number}"
        self.order_name = f"ORDER-{number}" if story.ordered else None
        self.place = Place(
            environment=world.environment,
            callback_url=world.callback_url,
            signed=story.signed,
        )
        self.told: list[tuple[str, TransactionState]] = []
        self.posted: list[bytes] = []
        self.acknowledged: list[bytes] = []
        self._waiting: list[Arrival] = []
        self._arrived = 0
        self._payments = shop(self.place, store, world.clock)
        if story.early:
            world.on_accepted = self._take_early

    # --- what happens -------------------------------------------------------------------------------

    def payment(self) -> Transaction | None:
        """The payment as stored."""
        return self.store.find(idempotency_key=self.key)

    def stored(self) -> Transaction:
        """The payment, which exists."""
        payment = self.payment()
        assert payment is not None
        return payment

    def order(self) -> Order:
        """What the worker of the story does."""
        order = self._order(self.story.action)
        if self.story.action != "handle_callback":
            return order
        return attrs.evolve(order, body=self._waiting[0].body, token=self._waiting[0].token)

    def ended(self, status: int) -> None:
        """The worker of the story is done or dead: Daraja gets its answer, if it waits for one."""
        if self.story.action == "handle_callback":
            self._answer(self._waiting[0], status)

    def checkout(self) -> None:
        """Ask the customer to pay, in a worker that lives."""
        act(self._payments, self._order("checkout"), self.tell)

    def refused_checkout(self) -> None:
        """The same, where Daraja says no."""
        with contextlib.suppress(MpesaError):
            self.checkout()
        assert self.stored().state is _S.REJECTED

    def die(self, point: str) -> None:
        """Ask the customer to pay, in a worker that is killed at a point."""
        self._killer(self, self._order("checkout"), point)

    def _order(self, action: str) -> Order:
        return Order(
            action=action, phone_number=self.phone_number, key=self.key, order=self.order_name
        )

    def tell(self, transaction: Transaction) -> None:
        """The host's handler."""
        self.told.append((transaction.transaction_no, transaction.state))

    def collect(self) -> None:
        """Let the phone answer, and wait for the callback."""
        while self._arrived < len(self.world.prompts):
            self.world.clock.advance(self.story.answer_after)
            arrival = self.world.arrival()
            self._arrived += 1
            if self.story.mangled:
                arrival = attrs.evolve(arrival, body=_without_proof(arrival.body))
            self.posted.append(arrival.body)
            self._waiting.append(arrival)

    def deliver(self) -> None:
        """Take the callbacks that wait, in a worker that lives."""
        for arrival in list(self._waiting):
            self._take(arrival, self._payments)

    def lose(self) -> None:
        """The callbacks that wait never come again."""
        for arrival in list(self._waiting):
            self._answer(arrival, 503)
        self._waiting.clear()

    def wait_until_due(self) -> None:
        """Let time pass until the payment is due."""
        due_at = self.stored().due_at
        assert due_at is not None
        self.world.clock.advance(max((due_at - self.world.clock.now()).total_seconds(), 0.0))

    def settle(self) -> None:
        """Do what is due, whenever it is, until nothing is."""
        for _ in range(_MOST_ROUNDS):
            if self.stored().due_at is None:
                return
            self.wait_until_due()
            self._payments.process_due(on_settled=self.tell)

    def recover(self) -> None:
        """Life goes on after the crash: the host asks again, callbacks come, due work is done."""
        self.world.clock.advance(self.story.pause)
        self._press_again()
        self.checkout()
        if self.story.delivery == "late":
            self.settle()
        self.follow_up()

    def _press_again(self) -> None:
        """The customer pays the same order in another way. If it reaches a phone, `_asked_twice` tells.

        If the first attempt was not pushed, another one may be.
        """
        payment = self.payment()
        if self.order_name is None or payment is None or payment.state is _S.REJECTED:
            return
        order = attrs.evolve(self._order("checkout"), key=f"{self.key}-again", phone_number=_OTHER)
        with contextlib.suppress(OrderRefused):
            act(self._payments, order, self.tell)

    def follow_up(self) -> None:
        """The callbacks of all prompts come, and due work is done."""
        self.collect()
        if self.story.delivery == "never":
            self.lose()
        self.deliver()
        self.settle()

    def close(self) -> None:
        """Let nobody wait."""
        self.lose()
        self._payments.client.close()

    def _take_early(self) -> None:
        """The callback overtakes the answer to the push; another worker takes it."""
        self.collect()
        worker = shop(self.place, self.store, self.world.clock)
        self._take(self._waiting[0], worker)
        worker.client.close()

    def _take(self, arrival: Arrival, worker: Payments) -> None:
        self._answer(arrival, post(worker, arrival.body, arrival.token))

    def _answer(self, arrival: Arrival, status: int) -> None:
        arrival.verdict.put(status)
        if status == TAKEN:
            self.acknowledged.append(arrival.body)
            self._waiting.remove(arrival)

    # --- what must be true at the end ------------------------------------------------------------------

    def violations(self) -> list[str]:
        """Every invariant that does not hold, in words."""
        payment = self.payment()
        if payment is None:
            return ["the payment is lost"]
        broken = [
            *self._asked_twice(payment),
            *self._told_wrongly(payment),
            *self._wrong_outcome(payment),
            *self._lost_evidence(payment),
            *self._paid_again(payment),
        ]
        far = self.world.clock.now() + timedelta(days=3650)
        if payment.due_at is not None or self.store.claim_due(
            far, 10, timedelta(seconds=1), ACCOUNTS
        ):
            broken.append("something is due for ever")
        return broken

    def _asked_twice(self, payment: Transaction) -> Iterator[str]:
        """I1: at most one prompt, and no push whose outcome was unknown is sent again."""
        if len(self.world.prompts) > 1:
            yield f"I1: {len(self.world.prompts)} prompts"
        if self.world.pushes > 1 + self.world.refused:
            yield f"I1: {self.world.pushes} pushes, {self.world.refused} of them refused"
        for prompt in self.world.prompts:
            ours = payment.transaction_no in prompt.callback_url or not self.story.signed
            if not ours:
                yield "I1: a prompt of another payment"

    def _told_wrongly(self, payment: Transaction) -> Iterator[str]:
        """I2: told at least once, under one number, and a success is never taken back."""
        states = [state for _, state in self.told]
        if not states or states[-1] is not payment.state or not payment.reported:
            yield f"I2: {payment.state.value} is not reported; told {states}"
        if {number for number, _ in self.told} - {payment.transaction_no}:
            yield "I2: told of another payment"
        if _S.SUCCEEDED in states and set(states[states.index(_S.SUCCEEDED) :]) != {_S.SUCCEEDED}:
            yield f"I2: a success was taken back: {states}"

    def _wrong_outcome(self, payment: Transaction) -> Iterator[str]:
        """I3: paid exactly where the phone paid, with the amount and the receipt of the callback."""
        wanted = self._outcomes(payment)
        if payment.state not in wanted:
            yield f"I3: {payment.state.value} instead of {sorted(one.value for one in wanted)}"
        if payment.amount != AMOUNT:
            yield "I3: another amount"
        # A callback that was stored by a worker that died is not acknowledged, and may come no more.
        receipts = _receipts(self._about_us(payment)) or _receipts(self.posted) | {None}
        if payment.receipt_number not in receipts:
            yield f"I3: receipt {payment.receipt_number} instead of {receipts}"
        unheard = bool(self.world.prompts) and not self._heard(payment)
        if payment.state is _S.EXPIRED and unheard and payment.needs_review is None:
            yield "I3: given up without a review"

    def _outcomes(self, payment: Transaction) -> set[TransactionState]:
        """How the payment may end."""
        if not self.world.prompts or not self._heard(payment):
            return {_S.EXPIRED}
        if self.paying:
            return {_S.SUCCEEDED}
        return {_S.FAILED, _S.EXPIRED} if self.story.delivery == "late" else {_S.FAILED}

    def _heard(self, payment: Transaction) -> bool:
        """Whether the shop could learn the outcome: by a callback or by asking for the prompt's id.

        The documented limit: neither came where the push's answer and its callback were both lost.
        """
        could_ask = any(entry.state is _S.PENDING for entry in payment.history)
        return could_ask or bool(self._about_us(payment)) or payment.settled_by == "callback"

    def _about_us(self, payment: Transaction) -> list[bytes]:
        """The callbacks that prove which payment they belong to."""
        known = self.story.signed or payment.checkout_request_id is not None
        return self.acknowledged if known else []

    def _paid_again(self, payment: Transaction) -> Iterator[str]:
        """I6: an order that was paid can be paid no more, and has one attempt."""
        if self.order_name is None:
            return
        status = self._payments.order(self.order_name)
        if [one.transaction_no for one in status.attempts] != [payment.transaction_no]:
            yield f"I6: {len(status.attempts)} attempts"
        if payment.paid and status.state is not OrderState.PAID:
            yield f"I6: the order counts as {status.state.value}"

    def _lost_evidence(self, payment: Transaction) -> Iterator[str]:
        """I4: whatever was acknowledged is in the payment or kept."""
        for body in self.acknowledged:
            said = parse_callback(body)
            kept = self.store.kept_callbacks(
                checkout_request_id=said.checkout_request_id,
                transaction_no=payment.transaction_no,
            )
            written = {(entry.event, entry.code) for entry in payment.history}
            if isinstance(said, PaymentConfirmed):
                noted = payment.receipt_number == said.receipt_number
            else:
                noted = (Meaning.NOT_PAID.value, said.result.code) in written
                noted = noted and not isinstance(said, PaymentUnproven)
            if not noted and body not in [one.body for one in kept]:
                yield "I4: an acknowledged callback is lost"


def post(worker: Payments, body: bytes, token: str | None) -> int:
    """Post a callback to a worker's endpoint; the status that it answers."""
    request = WebRequest(
        method="POST",
        path=f"/payments/callback/{token or ''}",
        headers={"content-type": "application/json"},
        body=body,
        remote_addr="127.0.0.1",
    )
    return PaymentEndpoints(worker).handle(request).status


def _receipts(bodies: list[bytes]) -> set[str | None]:
    """The receipts that callbacks prove."""
    said = [parse_callback(body) for body in bodies]
    return {one.receipt_number for one in said if isinstance(one, PaymentConfirmed)}


def _without_proof(body: bytes) -> bytes:
    """A callback whose items are gone."""
    return body.partition(b',"CallbackMetadata"')[0] + b"}}}"
