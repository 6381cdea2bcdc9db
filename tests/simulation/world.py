"""The world of one seed: processes, tasks, trouble, and the log of what really happened."""

from __future__ import annotations

import math
import random
import uuid
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import attrs
from tests.simulation.daraja import Daraja, Post
from tests.simulation.orders import Attempt, Witness
from tests.simulation.parts import Clock, Flights, Line, Process, Synchronous, Tokens
from tests.simulation.scheduler import Cancelled, Died, Directive, Step, Task, pause

from mpesa_stk import (
    AsyncPayments,
    AsyncStkClient,
    HttpRequest,
    HttpResponse,
    MemoryTokenStore,
    MemoryTransactionStore,
    MpesaError,
    PayBill,
    Payments,
    RetryPolicy,
    StkClient,
    StoreError,
    Transaction,
    TransactionState,
    TransactionStore,
)
from mpesa_stk.faces import finish
from mpesa_stk.payments.budget import (
    AwaitedQueryBudget,
    MemoryQueryBudget,
    QueryBudget,
    QueryPace,
    UnlimitedQueryBudget,
)
from mpesa_stk.payments.store import AwaitedTransactionStore
from mpesa_stk.testing import ManualClock
from support import CALLBACK_SECRET, make_config

ACCOUNTS = ("600000", "600001")
_PAUSES = (0.2, 1, 4, 12, 30, 90, 400, 1000)
_SLOW = (2, 20, 40)
_STEPS = (-7200, -90, -5, 5, 90, 7200, 90_000)


@attrs.define(kw_only=True)
class Report:
    """One call of the host's handler.

    Attributes:
        transaction: The payment that was reported.
        account: The account of the worker.
        began: Second at which the handler was called.
        ended: Second at which it ended, in whatever way.
        finished: Whether it returned.
    """

    transaction: Transaction
    account: str
    began: float
    ended: float = math.inf
    finished: bool = False


@attrs.frozen(kw_only=True)
class Rates:
    """How often each kind of trouble comes, drawn by the seed."""

    store: float
    cancel: float
    death: float
    network: float
    clock: float
    revoke: float
    daraja: float
    handler: float
    lie: float
    again: float

    @classmethod
    def drawn(cls, chance: random.Random) -> Rates:
        """The rates of one world."""
        pick = chance.choice
        return cls(
            store=pick([0, 0.01, 0.05]),
            cancel=pick([0, 0.005, 0.02]),
            death=pick([0, 0.002, 0.01]),
            network=pick([0, 0.02, 0.1]),
            clock=pick([0, 0, 0.01]),
            revoke=pick([0, 0.01]),
            daraja=pick([0, 0.3, 1.0]),
            handler=pick([0, 0.1, 0.3]),
            lie=pick([0.06, 0.06, 0.5]),
            again=pick([2.0, 2.0, 10.0]),
        )


class World:
    """Everything of one seed.

    Attributes:
        log: One line for each thing that happened.
        faults: The troubles in order. Those whose place is in `skip` do not happen.
    """

    def __init__(
        self,
        seed: int,
        *,
        asynchronous: bool = True,
        store: TransactionStore | None = None,
        steps: int = 600,
        skip: frozenset[int] = frozenset(),
    ) -> None:
        self.seed = seed
        self.chance = chance = random.Random(seed)
        self.asynchronous = asynchronous
        self.rates = Rates.drawn(chance)
        self.clock = ManualClock()
        self.store = MemoryTransactionStore() if store is None else store
        self.daraja = Daraja(chance, self.clock, self._daraja_happens)
        self.log: list[str] = []
        self.faults: list[str] = []
        self.reports: list[Report] = []
        self.refused: list[Post] = []
        self.errors: list[str] = []
        self.delivered: list[Post] = []
        self.acknowledged: list[tuple[Post, bytes]] = []
        self.attempts: list[Attempt] = []
        self.witness = Witness(self.store, self.attempts)
        self._running: Task | None = None
        self.broken: list[str] = []
        self._steps = steps
        self._skip = skip
        self._calm = False
        self.stepped = False
        self._tasks: list[Task] = []
        self._tokens, self._flights = MemoryTokenStore(), Flights()
        pace = chance.choice([None, 60.0])
        self._budget: QueryBudget = UnlimitedQueryBudget()
        if pace is not None:
            self._budget = MemoryQueryBudget(QueryPace(per_minute=pace))
        self._orders = chance.choice([0, 0, 1, 2])
        if self._orders:  # only a Daraja that misleads lets an order be paid twice
            self.rates = attrs.evolve(self.rates, daraja=1.0, lie=0.5)
        self._most_attempts = 8 if self._orders else chance.choice([1, 2, 6])
        self._made = 0
        self._processes = [self._started(account) for account in ACCOUNTS for _ in range(2)]

    # --- processes ---------------------------------------------------------------------------------

    def _started(self, account: str) -> tuple[Process, Any]:
        """Start a process of an account."""
        self._made += 1
        process = Process(f"process {self._made} of {account}", self.clock)
        process.saw = lambda method, args: self.witness.saw(self._running, method, args)
        config = make_config(account=PayBill(account), callback_secrets=(CALLBACK_SECRET,))
        parts: dict[str, Any] = {
            "transport": Line(process, self._answered),
            "token_store": Tokens(process, self._tokens, self._flights),
            "clock": Clock(process),
            "retry": RetryPolicy(jitter=self.chance.random),
        }
        work: dict[str, Any] = {
            "clock": Clock(process),
            "jitter": self.chance.random,
            "query_budget": AwaitedQueryBudget(self._budget, process.call),
        }
        store: Any = AwaitedTransactionStore(self.store, process.call)
        if self.asynchronous:
            return process, AsyncPayments(AsyncStkClient(config, **parts), store, **work)
        for name in ("transport", "token_store", "clock"):
            parts[name] = Synchronous(parts[name])
        for name in ("clock", "query_budget"):
            work[name] = Synchronous(work[name])
        return process, Payments(StkClient(config, **parts), Synchronous(store), **work)

    def _some(self, account: str | None = None) -> tuple[Process, Any]:
        """A living process, of an account or of any."""
        name = None if account is None else f"paybill {account}"
        wanted = [each for each in self._processes if name in (None, each[1].account)]
        return self.chance.choice(wanted)

    def _die(self, process: Process) -> None:
        """Kill a process with all of its tasks, and start another in its place."""
        process.dead = True
        for task in list(self._tasks):
            if task.process is process:
                task.throw(Died())
        place = next(n for n, (each, _) in enumerate(self._processes) if each is process)
        self._processes[place] = self._started(
            self._processes[place][1].account.removeprefix("paybill ")
        )

    # --- chance ------------------------------------------------------------------------------------

    def happens(self, kind: str, rate: float) -> bool:
        """Whether a trouble comes now. It is noted as a fault, unless it is skipped."""
        if self.chance.random() >= rate or self._calm:
            return False
        self.faults.append(kind)
        if len(self.faults) - 1 in self._skip:
            return False
        self.note(f"FAULT {len(self.faults) - 1}: {kind}")
        return True

    def _daraja_happens(self, kind: str) -> bool:
        rate = {"query: lie": self.rates.lie, "query: stammer": 0.15, "query: trouble": 0.2}.get(
            kind, 0.15
        )
        return self.happens(kind, self.rates.daraja * (1.0 if kind.startswith("push") else rate))

    def _answered(self, request: HttpRequest) -> tuple[HttpResponse, float]:
        """Daraja's answer, and the second at which it arrives. The true callback may overtake a lie."""
        lies = len(self.daraja.lies)
        prompts = len(self.daraja.prompts)
        response = self.daraja.answer(request)
        if len(self.daraja.prompts) > prompts:
            self.witness.prompted(self._running, list(self.daraja.prompts.values())[-1].key)
        overtaken = len(self.daraja.lies) > lies and self.chance.random() < 0.5
        if overtaken:
            self._take_posts_about(self.daraja.lies[-1].key)
        slow = overtaken or self.happens("slow answer", self.rates.network)
        return response, self.clock.monotonic() + (self.chance.choice(_SLOW) if slow else 0.0)

    def note(self, line: str) -> None:
        """Write what happened."""
        self.log.append(f"{self.clock.monotonic() - 1000:10.1f}  {line}")

    # --- the run -----------------------------------------------------------------------------------

    def run(self) -> None:
        """Let the seed choose, step by step. Then let everything come to its end, without trouble."""
        numbers = random.Random(self.seed)
        with _seeded_numbers(numbers):
            for _ in range(self._steps):
                self._act()
            self._calm = True
            self._end()

    def _act(self) -> None:
        """One step of one task, or a new task, or time passes."""
        if self.chance.random() < 0.12 or not self._tasks:
            self._begin_something()
        if self.happens("clock step", self.rates.clock):
            seconds = self.chance.choice(_STEPS)
            self.stepped = True
            self.clock.step(seconds)
            self.note(f"the clock is set by {seconds} s")
        if self.happens("tokens revoked", self.rates.revoke):
            self.daraja.revoke()
        awake = [task for task in self._tasks if task.step.wakes <= self.clock.monotonic()]
        if not awake or self.chance.random() < 0.04:
            self.clock.advance(self.chance.choice(_PAUSES))
            return
        self._go_on(self.chance.choice(awake))

    def _go_on(self, task: Task) -> None:
        self._running = task
        step, where = task.step, f"{task.name} in {task.process.name} at {task.step.name}"
        rates = self.rates
        if self.happens(f"{where} dies", rates.death):
            self._die(task.process)
        elif self.happens(f"{where} is cancelled", rates.cancel):
            task.throw(Cancelled())
        elif (
            (step.kind == "store" and self.happens(f"{where} fails", rates.store))
            or (step.kind in ("send", "answer") and self.happens(f"{where} is lost", rates.network))
            or (step.kind == "handler" and self.happens(f"{where} raises", rates.handler))
        ):
            task.resume(Directive.FAIL)
        else:
            self.note(where)
            task.resume(Directive.GO)
        self._tasks = [each for each in self._tasks if not each.done]

    def _end(self) -> None:
        """Finish all tasks, deliver what is posted, and work until no payment is due."""
        self._drain()
        for post in sorted(self.daraja.posts, key=lambda post: post.at):
            self._spawn_callback(post)
        self.daraja.posts.clear()
        self._drain()
        for _ in range(200):
            for account in ACCOUNTS:
                self._spawn_work(account)
            self._drain()
            if not self._open_work():
                break
            self.clock.advance(1801.0)

    def _drain(self) -> None:
        for _ in range(200_000):
            if not self._tasks:
                return
            awake = [task for task in self._tasks if task.step.wakes <= self.clock.monotonic()]
            if awake:
                self._go_on(self.chance.choice(awake))
            else:
                wakes = min(task.step.wakes for task in self._tasks)
                self.clock.advance(max(wakes - self.clock.monotonic(), 0.001))
        raise AssertionError("the tasks do not end")

    def _open_work(self) -> bool:
        return any(not (each.state.settled and each.reported) for each in self.payments())

    def payments(self) -> list[Transaction]:
        """All payments as stored."""
        found = (self.payment_of(each.key) for each in self.attempts)
        return [each for each in found if each is not None]

    def payment_of(self, key: str) -> Transaction | None:
        """The payment of a key as stored."""
        account = self._attempt_of(key).account
        return self.store.find(idempotency_key=key, account=f"paybill {account}")

    def _attempt_of(self, key: str) -> Attempt:
        return next(each for each in self.attempts if each.key == key)

    # --- hands -------------------------------------------------------------------------------------

    def _begin_something(self) -> None:
        due = [post for post in self.daraja.posts if post.at <= self.clock.monotonic()]
        ways: list[tuple[Callable[[], None], float]] = [
            (self._order, 2.0),
            (self._order_again, self.rates.again),
            (lambda: self._take_post(due), 6.0 if due else 0.0),
            (lambda: self._spawn_work(self.chance.choice(ACCOUNTS)), 4.0),
            (self._look, 2.0),
            (self._forge, 0.5),
            (self._decide, 1.0),
        ]
        self.chance.choices([do for do, _ in ways], [weight for _, weight in ways])[0]()

    def _spawn(
        self,
        name: str,
        process: Process,
        call: Callable[[], Any],
        after: Callable[[MpesaError | None], None] | None = None,
    ) -> None:
        """Start a task. Errors of the library end it; others are bugs."""

        async def body() -> None:
            try:
                done = call()
                if isinstance(done, Coroutine):
                    await done
            except MpesaError as error:
                self.note(f"{name}: {type(error).__name__}")
                self.errors.append(f"{error!r} {error}")
                failure: MpesaError | None = error
            else:
                failure = None
            if after is not None:
                after(failure)

        task = Task(name, process)
        self._running = task
        task.start(body, asynchronous=self.asynchronous)
        self._tasks.append(task)

    def _order(self) -> None:
        number = len(self.attempts)
        if number < self._most_attempts:
            chance = self.chance
            attempt = Attempt(
                # In worlds with orders, one customer after the other tries to pay the same thing.
                account=ACCOUNTS[0] if self._orders else chance.choice(ACCOUNTS),
                key=f"K{number}",
                amount=100 + number,
                order=f"ORDER-{chance.randrange(self._orders)}" if self._orders else None,
                at_risk=chance.random() < 0.5,
            )
            self.attempts.append(attempt)
            self._spawn_checkout(attempt)

    def _order_again(self) -> None:
        if self.attempts:
            self._spawn_checkout(self.chance.choice(self.attempts))

    def _spawn_checkout(self, attempt: Attempt) -> None:
        process, payments = self._some(attempt.account)

        def call() -> Any:
            return payments.checkout(
                phone_number="0718643064",
                amount=attempt.amount,
                reference=attempt.key,
                idempotency_key=attempt.key,
                order=attempt.order,
                unresolved_ok=attempt.at_risk,
            )

        self._spawn(f"checkout {attempt.key}", process, call)

    def _take_post(self, due: list[Post]) -> None:
        post = self.chance.choice(due)
        self.daraja.posts.remove(post)
        if not self.happens("callback lost", 0.1 * self.rates.daraja):
            for _ in range(self.chance.choice([1, 1, 1, 2])):
                self._spawn_callback(post)

    def _may_be_paid(self, reported: Transaction) -> bool:
        """Whether proof is still to come that a payment was paid, which is reported as unpaid."""
        return reported.state is not TransactionState.SUCCEEDED and any(
            post.prompt.paid and post.prompt.key == reported.idempotency_key
            for post in self.daraja.posts
        )

    def _take_posts_about(self, key: str) -> None:
        """Deliver what is to come about a payment now. Then another worker looks at it."""
        account = self._attempt_of(key).account
        for post in [each for each in self.daraja.posts if each.prompt.key == key]:
            self.daraja.posts.remove(post)
            self._spawn_callback(post, then=lambda: self._spawn_work(account))

    def _spawn_callback(self, post: Post, then: Callable[[], None] = lambda: None) -> None:
        process, payments = self._some()
        self.delivered.append(post)
        body = self.daraja.body_of(post)
        name = f"callback {post.number} ({post.kind}) about {post.prompt.key}"

        def after(failure: MpesaError | None) -> None:
            if failure is None:
                self.note(f"{name}: acknowledged")
                self.acknowledged.append((post, body))
            elif not isinstance(failure, StoreError):
                self.refused.append(post)
            then()

        def call() -> Any:
            return payments.handle_callback(body, token=post.token)

        self._spawn(name, process, call, after)

    def _forge(self) -> None:
        post = self.daraja.forge()
        if post is not None:
            self._spawn_callback(post)

    def _look(self) -> None:
        if self.daraja.prompts:
            wanted = self.chance.choice(list(self.daraja.prompts))
            process, payments = self._some()
            self._spawn(f"query {wanted}", process, lambda: payments.query(wanted))

    def _decide(self) -> None:
        """A person looks a doubtful payment up in the statement, which is right, and decides."""
        doubtful = [
            each
            for each in self.payments()
            if each.needs_review or each.state is TransactionState.EXPIRED
        ]
        if not doubtful:
            return
        payment = self.chance.choice(doubtful)
        prompts = [p for p in self.daraja.prompts.values() if p.key == payment.idempotency_key]
        if any(prompt.decided_at > self.clock.monotonic() for prompt in prompts):
            return
        receipts = [prompt.receipt for prompt in prompts if prompt.paid]
        decision: dict[str, Any] = {"outcome": TransactionState.FAILED, "receipt_number": None}
        if receipts:
            decision = {"outcome": TransactionState.SUCCEEDED, "receipt_number": receipts[0]}
        process, payments = self._some(payment.account.removeprefix("paybill "))
        self._spawn(
            f"person about {payment.idempotency_key}",
            process,
            lambda: payments.resolve(payment.transaction_no, note="looked up", by="A", **decision),
        )

    def _spawn_work(self, account: str) -> None:
        process, payments = self._some(account)
        handler: Callable[[Transaction], Any] = (
            self._handler(account) if self.asynchronous else self._synchronous(account)
        )
        limit = self.chance.choice([1, 3, 100])
        self._spawn("work", process, lambda: payments.process_due(on_settled=handler, limit=limit))

    def _handler(self, account: str) -> Callable[[Transaction], Coroutine[Any, Any, None]]:
        async def handle(transaction: Transaction) -> None:
            report = Report(transaction=transaction, began=self.clock.monotonic(), account=account)
            self.reports.append(report)
            self.note(f"REPORT {transaction.idempotency_key} {transaction.state.value} begins")
            crossed = self._may_be_paid(transaction) and self.happens(
                "callback during a report", 3 * self.rates.handler
            )
            if crossed:
                self._take_posts_about(str(transaction.idempotency_key))
            long = crossed or self.happens("handler hangs", self.rates.handler / 4)
            wakes = self.clock.monotonic() + (self.chance.choice([20, 80, 150]) if long else 0.0)
            try:
                if await pause(Step("handler", "handler", wakes)) is Directive.FAIL:
                    raise RuntimeError("the handler does not work")
                report.finished = True
            finally:
                report.ended = self.clock.monotonic()

        return handle

    def _synchronous(self, account: str) -> Callable[[Transaction], None]:
        handle = self._handler(account)
        return lambda transaction: finish(handle(transaction))


@contextmanager
def _seeded_numbers(numbers: random.Random) -> Iterator[None]:
    """Let transaction numbers come from the seed, so that a run can be played again."""

    def uuid4() -> uuid.UUID:
        return uuid.UUID(int=numbers.getrandbits(128), version=4)

    with mock.patch("uuid.uuid4", uuid4):
        yield
