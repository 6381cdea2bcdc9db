"""`process_due` under a budget of queries, and many workers on one store."""

from __future__ import annotations

import itertools
import threading
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import attrs
import pytest

from daraja_double import Answer, result
from hosts import BrokenStore, Host, LateStore, another_worker, go_to, overtaken, pending
from mpesa_stk import (
    DueReport,
    HttpResponse,
    MemoryQueryBudget,
    MemoryTransactionStore,
    Payments,
    QueryPace,
    RateLimited,
    StoreError,
    Transaction,
    TransactionState,
)
from support import ACCOUNTS, CHECKOUT_ID, ManualClock, callback, loopback_config

pytestmark = pytest.mark.usefixtures("face")

LIMITED = HttpResponse(status=429, headers={"retry-after": "600"}, body=b"")


def shop(amounts: list[int], apart: float = 0.0, **settings: Any) -> Host:
    """A host with open payments INV-1, INV-2 ..., each made so many seconds after the other."""
    host = Host(**settings)
    for number, amount in enumerate(amounts, 1):
        host.checkout(reference=f"INV-{number}", amount=amount)
        host.clock.advance(apart)
    return host


def answers_always(host: Host, code: str) -> None:
    """Let Daraja answer the same about every payment."""

    class Always(deque[Answer]):
        def popleft(self) -> HttpResponse:
            return result(host.daraja.queries[-1]["CheckoutRequestID"], code)

    host.daraja.query_script = Always()


def calls_back(host: Host, number: int, code: int = 0) -> None:
    """Let Daraja call back about the payment with that number."""
    prompt = f"ws_CO_231120260900{number:05}"
    body = callback(code, receipt=f"NLJ7R{number:05}", checkout_request_id=prompt)
    host.payments.handle_callback(body)


def asked(host: Host) -> list[str]:
    """The references that Daraja was asked about, in order."""
    found = []
    for query in host.daraja.queries:
        transaction = host.store.find(checkout_request_id=query["CheckoutRequestID"])
        assert transaction is not None
        found.append(transaction.reference)
    return found


# --- the budget --------------------------------------------------------------------------------------


def test_the_sandbox_is_asked_five_times_a_minute() -> None:
    """One query at a time, twelve seconds apart; the rest is deferred, which is no failure."""
    host = shop([400, 300, 200, 100])
    answers_always(host, "4999")
    host.clock.advance(20)
    report = host.payments.process_due()
    assert report == DueReport(claimed=4, queried=1, deferred=3)
    host.clock.advance(11.9)
    assert host.payments.process_due().queried == 0
    host.clock.advance(0.1)
    assert host.payments.process_due().queried == 1
    assert asked(host) == ["INV-1", "INV-2"]


def test_a_short_pause_is_waited_for() -> None:
    """At one query a second, a batch asks about one payment after the other until its time is up."""
    host = shop([100] * 9)
    worker = another_worker(host, MemoryQueryBudget(QueryPace(per_minute=60)))
    answers_always(host, "4999")
    host.clock.advance(20)
    report = worker.process_due(deadline=6.0)
    assert report == DueReport(claimed=9, queried=5, deferred=4)
    assert host.clock.slept == [1.0] * 4
    host.clock.advance(1)
    assert worker.process_due(deadline=25.0).queried >= 1


def test_the_oldest_are_asked_first_and_of_one_age_the_largest() -> None:
    """Whatever the order in which they are due."""
    host = shop([100, 300, 200])
    host.clock.advance(1)
    host.checkout(reference="INV-4", amount=9000)
    host.clock.advance(200)
    answers_always(host, "1032")
    for _ in range(4):
        host.payments.process_due()
        host.clock.advance(12)
    assert asked(host) == ["INV-2", "INV-3", "INV-1", "INV-4"]


def test_deferred_payment_keeps_its_place_before_younger_ones() -> None:
    """One that comes due while others wait for the budget is asked after them."""
    host = shop([100] * 3, apart=5)
    answers_always(host, "1032")
    go_to(host, "INV-1")
    for _ in range(200):
        host.payments.process_due()
        host.clock.advance(0.5)
    assert asked(host) == ["INV-1", "INV-2", "INV-3"]


def test_deferral_leaves_no_trace_but_the_time() -> None:
    """The history and `updated` stay; the payment is due when the budget allows a query."""
    host = shop([200, 100])
    answers_always(host, "4999")
    host.clock.advance(20)
    before = host.stored("INV-2")
    host.payments.process_due()
    after = host.stored("INV-2")
    wanted = attrs.evolve(
        before, due_at=host.clock.now() + timedelta(seconds=12), version=after.version
    )
    assert after == wanted


@pytest.mark.slow
def test_many_open_payments_are_all_asked_in_the_end() -> None:
    """300 of them at five queries a minute: each in its turn, none is given up unasked."""
    host = shop([100] * 300)
    answers_always(host, "4999")
    moments: list[datetime] = []
    claims = 0
    for _ in range(2000):
        report = DueReport(more=True)
        while report.more:
            report = host.payments.process_due(on_settled=lambda _: None)
            claims += report.claimed
            moments += [host.clock.now()] * report.queried
        host.clock.advance(3)
    stored = [host.stored(f"INV-{number}") for number in range(1, 301)]
    assert {payment.state for payment in stored} == {TransactionState.EXPIRED}
    gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert min(gaps) >= timedelta(seconds=12)
    late = asked(host)[-225:]
    assert Counter(late).most_common(1)[0][1] == 1
    assert claims < 60 * len(moments)


def test_no_budget_puts_the_expiry_off() -> None:
    """A payment that Daraja was not asked about at its end stays open until it was."""
    host = shop([200, 100])
    answers_always(host, "4999")
    host.clock.advance(900)
    report = host.payments.process_due()
    assert (report.queried, report.deferred, report.expired) == (1, 1, 1)
    assert host.stored("INV-2").state is TransactionState.PENDING
    host.clock.advance(12)
    assert host.payments.process_due().expired == 1


def test_kept_callbacks_need_no_budget() -> None:
    """Evidence that lies in the store settles a payment while nobody may ask."""
    store = LateStore()
    host = Host(store)

    host.checkout(reference="INV-0")
    host.daraja.push_script.append(overtaken(host))
    host.checkout()
    store.hidden = False
    host.clock.advance(20)
    answers_always(host, "4999")
    report = host.payments.process_due(on_settled=lambda _: None)
    assert report == DueReport(claimed=2, queried=1, settled=1, reported=1)
    assert host.stored().receipt_number == "NLJ7RT61SV"


def test_too_many_queries_for_daraja_stop_all_workers() -> None:
    """One refusal, and nobody who shares the budget asks until Daraja allows it."""
    host = shop([100] * 3)
    budget = MemoryQueryBudget(QueryPace(per_minute=6000))
    workers = [another_worker(host, budget) for _ in range(2)]
    host.clock.advance(20)
    host.daraja.query_script.append(LIMITED)
    report = workers[0].process_due()
    assert report == DueReport(claimed=3, queried=1, failed=1, throttled=1, deferred=2)
    host.clock.advance(590)
    workers[1].process_due()
    assert len(host.daraja.queries) == 1
    answers_always(host, "4999")
    host.clock.advance(60)
    assert sum(worker.process_due().queried for worker in workers) >= 1


def test_questions_of_pages_count_in_the_budget() -> None:
    """`query` asks within the same budget, and its refusal slows `process_due` down."""
    host = shop([100, 100])
    answers_always(host, "4999")
    host.clock.advance(20)
    assert host.payments.query("ws_CO_23112026090000001").remote is not None
    assert host.payments.query("ws_CO_23112026090000002").remote is None
    assert host.payments.process_due() == DueReport(claimed=1, deferred=1)
    host.clock.advance(12)
    host.daraja.query_script = deque([LIMITED])
    status = host.payments.query("ws_CO_23112026090000001")
    assert isinstance(status.remote_error, RateLimited)
    host.clock.advance(12)
    report = host.payments.process_due()
    assert (report.queried, report.deferred) == (0, 1)


def test_a_daraja_on_this_machine_is_asked_without_limit() -> None:
    """A simulator has no quota."""
    loopback = loopback_config("http://127.0.0.1:8080")
    host = shop([100] * 5, environment=loopback.environment, callback_url=loopback.callback_url)
    answers_always(host, "1032")
    host.clock.advance(20)
    assert host.payments.process_due().queried == 5


class BrokenBudget:
    """A budget whose database is down."""

    def take(self, _app: str, _now: datetime, /) -> float:
        """Fail."""
        raise StoreError("the database is down")

    def throttled(self, _app: str, _now: datetime, _retry_after: float, /) -> None:
        """Fail."""
        raise StoreError("the database is down")


def test_budget_that_fails_stops_no_report() -> None:
    """Settled payments are told all the same; nobody is asked about blindly."""
    host = shop([100, 100])
    calls_back(host, 1)
    host.clock.advance(20)
    worker = another_worker(host, BrokenBudget())
    report = worker.process_due(on_settled=lambda _: None)
    assert report == DueReport(claimed=2, reported=1, failed=1)
    assert host.daraja.queries == []


# --- the batch ---------------------------------------------------------------------------------------


def test_settled_payments_come_before_open_ones() -> None:
    """What is known is told before what is not known is asked for."""
    host = shop([100, 100])
    answers_always(host, "4999")
    host.clock.advance(20)
    calls_back(host, 2)
    seen: list[int] = []
    host.payments.process_due(on_settled=lambda _: seen.append(len(host.daraja.queries)))
    assert seen == [0]
    assert asked(host) == ["INV-1"]


@pytest.mark.parametrize(("limit", "more"), [(1, True), (2, True), (3, False)])
def test_a_full_batch_says_that_there_is_more(limit: int, *, more: bool) -> None:
    """Whoever does batches in a loop need not pause after it."""
    host = shop([100, 100])
    answers_always(host, "4999")
    host.clock.advance(20)
    assert host.payments.process_due(limit=limit).more is more


def test_a_batch_that_nobody_can_be_told_of_is_not_more() -> None:
    """It is due again at once, so that a loop without a handler would never pause."""
    host = pending()
    host.payments.handle_callback(callback())
    assert not host.payments.process_due(limit=1).more
    assert not host.payments.process_due(limit=0).more


def test_stopped_batch_gives_the_rest_back_at_once() -> None:
    """The payment in hand is finished; other workers need not wait for the lease."""
    host = shop([100] * 3)
    for number in (1, 2, 3):
        calls_back(host, number)
    told: list[str] = []
    report = host.payments.process_due(
        on_settled=lambda paid: told.append(paid.reference), stop=lambda: bool(told)
    )
    assert report == DueReport(claimed=3, reported=1, left=2)
    assert another_worker(host).process_due(on_settled=lambda _: None).reported == 2


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_handler_that_ends_the_worker_is_put_off_and_harms_no_other(error: BaseException) -> None:
    """It ends this worker, as it wants; the next one gets the other payments at once, and not it."""
    host = shop([100] * 3)
    for number in (1, 2, 3):
        calls_back(host, number, 1032)

    def end(_transaction: Transaction) -> None:
        raise error

    with pytest.raises(type(error)):
        host.payments.process_due(on_settled=end)
    told: list[str] = []
    report = host.payments.process_due(on_settled=lambda paid: told.append(paid.reference))
    assert report == DueReport(claimed=2, reported=2)
    host.clock.advance(30)
    host.payments.process_due(on_settled=lambda paid: told.append(paid.reference))
    assert told[2] not in told[:2]


def test_what_ends_the_worker_is_raised_though_the_store_fails() -> None:
    """A broken store hides no wish to stop."""
    store = BrokenStore()
    host = pending(store=store)
    host.payments.handle_callback(callback())

    def end(_transaction: Transaction) -> None:
        store.broken = "replace"
        raise SystemExit

    with pytest.raises(SystemExit):
        host.payments.process_due(on_settled=end)


def test_store_that_fails_when_leases_are_given_back_is_no_error() -> None:
    """They run out by themselves."""
    store = BrokenStore()
    host = pending(store=store)
    host.payments.handle_callback(callback())
    store.broken = "replace"
    assert host.payments.process_due() == DueReport(claimed=1, unreported=1)


# --- many workers ------------------------------------------------------------------------------------


def test_payment_that_settles_in_a_batch_stays_with_its_worker() -> None:
    """It is due for everybody from the moment it settles; it is told by one all the same."""
    host = pending()
    host.clock.advance(20)
    host.daraja.query_script.append(result(CHECKOUT_ID, "0"))
    told: list[str] = []
    others: list[DueReport] = []

    def tell(transaction: Transaction) -> None:
        told.append(transaction.transaction_no)
        others.append(another_worker(host).process_due(on_settled=tell))

    assert host.payments.process_due(on_settled=tell).reported == 1
    assert len(told) == 1
    assert others == [DueReport()]


def test_payment_that_another_worker_told_meanwhile_is_not_told_again() -> None:
    """Its callback came while we asked, and another worker was faster."""
    host = pending()
    host.clock.advance(20)
    told: list[str] = []

    def others_first() -> HttpResponse:
        host.payments.handle_callback(callback())
        worker = another_worker(host)
        assert worker.process_due(on_settled=lambda _: told.append("theirs")).reported == 1
        return result(CHECKOUT_ID, "0")

    host.daraja.query_script.append(others_first)
    report = host.payments.process_due(on_settled=lambda _: told.append("ours"))
    assert told == ["theirs"]
    assert (report.reported, report.failed) == (0, 0)


def test_payment_that_another_worker_holds_is_left_to_it() -> None:
    """Our query outlived the lease; whoever has the payment now tells of it."""
    host = pending()
    host.clock.advance(20)

    def slow() -> HttpResponse:
        host.clock.advance(500)
        host.payments.handle_callback(callback())
        assert len(host.store.claim_due(host.clock.now(), 1, timedelta(seconds=60), ACCOUNTS)) == 1
        return result(CHECKOUT_ID, "0")

    host.daraja.query_script.append(slow)
    told: list[str] = []
    report = host.payments.process_due(on_settled=lambda paid: told.append(paid.state))
    assert told == []
    assert (report.left, report.failed) == (1, 0)
    host.clock.advance(60)
    host.payments.process_due(on_settled=lambda paid: told.append(paid.state))
    assert told == [TransactionState.SUCCEEDED]


@pytest.mark.parametrize("taken", [True, False])
def test_worker_that_slept_past_its_lease_looks_whether_it_is_still_its_own(*, taken: bool) -> None:
    """It tells of the payment only if nobody took it meanwhile."""
    host = pending()
    host.payments.handle_callback(callback())
    clock = ManualClock(start=host.clock.now())
    told: list[Transaction] = []

    def sleep() -> bool:
        clock.step(500)  # the machine slept, and its monotonic time stood still
        if taken:
            assert len(host.store.claim_due(clock.now(), 1, timedelta(seconds=60), ACCOUNTS)) == 1
        return False

    worker = another_worker(host, clock=clock)
    report = worker.process_due(on_settled=told.append, stop=sleep)
    assert (report.reported, report.left, len(told)) == ((0, 1, 0) if taken else (1, 0, 1))


class Overtaken(MemoryTransactionStore):
    """A store in which somebody else is faster as soon as a payment has settled."""

    act: Any = None

    def replace(self, transaction: Transaction, /) -> bool:
        """Store a changed transaction, after another writer did."""
        if transaction.state.settled and self.act is not None:
            stored = self.get(transaction.transaction_no)
            assert stored is not None
            if stored.state.settled:
                self.act(stored)
        return super().replace(transaction)


def test_worker_that_is_overtaken_while_it_takes_its_payment_looks_again() -> None:
    """A receipt came between: the payment is told with it."""
    store = Overtaken()
    host = pending(store=store)
    host.clock.advance(20)
    host.daraja.query_script.append(result(CHECKOUT_ID, "0"))

    def receipt(_stored: Transaction) -> None:
        store.act = None
        host.payments.handle_callback(callback())

    store.act = receipt
    told: list[Transaction] = []
    assert host.payments.process_due(on_settled=told.append).reported == 1
    assert [paid.receipt_number for paid in told] == ["NLJ7RT61SV"]


def test_worker_that_is_always_overtaken_gives_up() -> None:
    """It counts as failed, and is told by whoever takes it next."""
    store = Overtaken()
    host = pending(store=store)
    host.clock.advance(20)
    host.daraja.query_script.append(result(CHECKOUT_ID, "0"))

    def touch(stored: Transaction) -> None:
        assert MemoryTransactionStore.replace(store, stored)

    store.act = touch
    told: list[Transaction] = []
    report = host.payments.process_due(on_settled=told.append)
    assert (report.settled, report.reported, report.failed) == (1, 0, 1)
    store.act = None
    assert host.payments.process_due(on_settled=told.append).reported == 1


def test_threads_tell_each_payment_once() -> None:
    """Eight workers race for 300 payments, open and settled ones; nobody is told twice."""
    host = shop([100] * 300)
    answers_always(host, "1032")
    lock = threading.Lock()
    told: Counter[str] = Counter()
    host.clock.advance(20)
    for number in range(1, 151):
        calls_back(host, number)

    def tell(transaction: Transaction) -> None:
        with lock:
            told[transaction.transaction_no] += 1

    barrier = threading.Barrier(8)

    def work(worker: Payments) -> None:
        barrier.wait(10)
        while worker.process_due(on_settled=tell, limit=7).claimed:
            pass

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [another_worker(host) for _ in range(8)]))
    assert len(told) == 300
    assert set(told.values()) == {1}
