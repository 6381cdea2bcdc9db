"""``mpesa-stk worker --pull``: looks for lost payments in Safaricom's records, and closes each day."""

from __future__ import annotations

import argparse
import io
from datetime import datetime, timedelta
from typing import Any

import pytest

from hosts import BrokenStore
from mpesa_stk import (
    Accounts,
    Event,
    MemoryQueryBudget,
    MemoryTransactionStore,
    Payments,
    QueryPace,
    RateLimited,
    StoreError,
    Transaction,
    TransactionState,
    TransactionStore,
    cli,
)
from mpesa_stk.commands.context import Context
from mpesa_stk.commands.loop import StopFlag
from mpesa_stk.commands.pull_work import PullWork, pause
from mpesa_stk.commands.pulls import pull
from mpesa_stk.commands.worker import work
from mpesa_stk.testing import SimulatedDaraja, contract_values, phones

MINUTE, HOUR = 60.0, 3600.0


class Shop:
    """A shop whose callbacks do not come, and the part of its worker that pulls every minute.

    Attributes:
        daraja: Safaricom, with its ledger.
        events: What hooks were told.
    """

    def __init__(
        self,
        *,
        budget: Any = None,
        every: float = MINUTE,
        registered: bool = True,
        store: MemoryTransactionStore | None = None,
    ) -> None:
        self.daraja = SimulatedDaraja()
        if registered:
            self.daraja.register_for_pulls()
        self.daraja.outage()
        self.events: list[Event] = []
        self.payments = Payments(
            self.daraja.client(hooks=(self.events.append,)),
            MemoryTransactionStore() if store is None else store,
            clock=self.daraja.clock,
            hooks=(self.events.append,),
            jitter=lambda: 0.5,
            query_budget=budget,
        )
        self.output = io.StringIO()
        self.context = Context(command="worker", clock=self.daraja.clock, stdout=self.output)
        self.work = PullWork(self.context, every)

    def lost(self, reference: str = "INV-1") -> Transaction:
        """A payment that is paid, and of which the shop hears nothing."""
        self.daraja.next("push", "done-but-dropped")
        made = self.payments.checkout(phone_number=phones.PAID, amount=100, reference=reference)
        assert made.state is TransactionState.UNCERTAIN
        return made

    def now(self, payment: Transaction) -> Transaction:
        """A payment as it is stored now."""
        found = self.payments.get(payment.transaction_no)
        assert found is not None
        return found

    def go_on(self, seconds: float, every: float = MINUTE) -> None:
        """Work for so long."""
        for _ in range(int(seconds / every)):
            self.work(self.payments)
            self.daraja.advance(every)

    @property
    def lines(self) -> list[str]:
        """What the worker printed."""
        return self.output.getvalue().splitlines()

    @property
    def outcomes(self) -> list[str]:
        """The outcomes of the events about records, in order."""
        return [event.outcome for event in self.events if event.kind == "records"]

    @property
    def pulls(self) -> int:
        """How many pages Daraja was asked for."""
        return sum(event.kind == "pull" for event in self.events)


def test_a_lost_payment_is_found_after_three_minutes() -> None:
    """With the receipt of the record, and it is due for a report."""
    shop = Shop()
    payment = shop.lost()
    shop.go_on(3 * MINUTE)
    assert not shop.now(payment).settled
    shop.go_on(2 * MINUTE)
    found = shop.now(payment)
    assert (found.state, found.settled_by) == (TransactionState.SUCCEEDED, "record")
    assert found.receipt_number == shop.daraja.ledger()[0].receipt_number
    assert not found.reported
    assert shop.lines[-1] == ("paybill 600000: looked for 1 payment, 1 found in the records")
    assert "found" in shop.outcomes


def test_nothing_is_asked_when_nothing_is_lost() -> None:
    """But for the day that a worker closes when it starts."""
    shop = Shop()
    shop.go_on(10 * MINUTE)
    assert shop.outcomes == ["not_covered"]
    assert shop.pulls == 1


def test_many_lost_payments_are_looked_for_in_one_pull() -> None:
    """One pull for all that are due, and a second page that shows that there are no more."""
    shop = Shop()
    for number in range(20):
        shop.lost(f"INV-{number}")
        shop.daraja.advance(5 * MINUTE)  # no two prompts on a phone at a time
    before = shop.pulls
    shop.work(shop.payments)
    line = "paybill 600000: looked for 20 payments, 20 found in the records"
    assert line in shop.lines
    assert shop.pulls - before <= 4


def test_a_payment_that_was_not_paid_is_looked_for_five_times() -> None:
    """After 3 and 15 minutes, 2, 24 and 47 hours; and each day is closed once."""
    shop = Shop(every=MINUTE)
    shop.daraja.next("push", "dropped")
    shop.payments.checkout(phone_number=phones.PAID, amount=100, reference="INV-1")
    shop.go_on(60 * HOUR, every=10 * MINUTE)
    assert shop.outcomes.count("not_found") == 5
    assert len(shop.outcomes) == 5 + 3


def test_a_pull_that_fails_is_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    """After the pause: the payments of the failed pull are looked for again."""
    shop = Shop(every=15 * MINUTE)
    payment = shop.lost()
    shop.work(shop.payments)
    shop.daraja.advance(15 * MINUTE)
    shop.daraja.next("pull", *["unavailable"] * 10)
    shop.work(shop.payments)
    assert shop.outcomes[-1] == "error"
    assert "paybill 600000: Daraja gave no record: " in capsys.readouterr().err
    assert not shop.now(payment).settled
    shop.daraja.next("pull")
    shop.daraja.advance(15 * MINUTE)
    shop.work(shop.payments)
    shop.daraja.advance(15 * MINUTE)
    shop.work(shop.payments)
    assert shop.now(payment).paid


class Busy:
    """A budget whose next slots are taken."""

    def __init__(self) -> None:
        self.taken = 2

    def take(self, _app: str, _now: datetime, /) -> float:
        """Refuse while slots are taken."""
        self.taken -= 1
        return 12.0 if self.taken >= 0 else 0.0

    def throttled(self, _app: str, _now: datetime, _retry_after: float, /) -> None:
        """Nothing complains."""


def test_a_pull_waits_for_the_budget_of_its_app() -> None:
    """It does not hold up the worker: it is tried again a minute later, not a pause later."""
    shop = Shop(budget=Busy(), every=HOUR)
    shop.daraja.next("push", "done-but-dropped")
    payment = shop.payments.checkout(phone_number=phones.PAID, amount=100, reference="INV-1")
    shop.daraja.advance(4 * MINUTE)
    shop.work(shop.payments)
    assert shop.pulls == 0
    assert shop.daraja.clock.slept == []
    shop.daraja.advance(MINUTE)
    shop.work(shop.payments)
    assert shop.now(payment).paid


def test_a_person_waits_a_little_for_the_budget() -> None:
    """A command waits for some seconds, and no longer."""
    budget = MemoryQueryBudget(QueryPace(per_minute=60))
    shop = Shop(budget=budget)
    now, app = shop.daraja.clock.now(), shop.payments.client.app
    while budget.take(app, now) <= 0:
        pass
    window = (now - timedelta(hours=1), now)
    assert pull(shop.payments, *window, patience=0.0) is None
    assert pull(shop.payments, *window, patience=30.0) is not None
    assert shop.daraja.clock.slept != []


def test_a_rate_limit_slows_the_queries_of_the_app_down() -> None:
    """They share one budget."""
    budget = MemoryQueryBudget(QueryPace(per_minute=60))
    shop = Shop(budget=budget)
    shop.daraja.next("pull", *["rate-limited"] * 10)
    now = shop.daraja.clock.now()
    with pytest.raises(RateLimited):
        pull(shop.payments, now - timedelta(hours=1), now, patience=0.0)
    assert budget.take(shop.payments.client.app, shop.daraja.clock.now()) > 0


def test_a_store_that_fails_ends_the_look() -> None:
    """The worker says so, and tries again."""
    store = BrokenStore()
    shop = Shop(store=store)
    shop.lost()
    shop.daraja.advance(4 * MINUTE)
    store.broken = "replace"
    with pytest.raises(StoreError):
        shop.work(shop.payments)


def test_more_lost_payments_than_one_page() -> None:
    """They are looked for in one pull all the same."""
    store = MemoryTransactionStore()
    shop = Shop(store=store)
    for number in range(501):
        store.add(contract_values.payment(number, state=TransactionState.UNCERTAIN, due_at=None))
    shop.go_on(5 * MINUTE)
    assert "paybill 600000: looked for 501 payments, 0 found in the records" in shop.lines


def test_a_day_on_which_nothing_is_missing() -> None:
    """Half an hour after midnight in Nairobi, in one line."""
    shop = Shop()
    payment = shop.lost()
    shop.go_on(16 * HOUR, every=10 * MINUTE)
    assert shop.now(payment).paid
    assert shop.lines[-1] == ("paybill 600000, 2026-11-23: nothing is missing, 1 payment confirmed")
    assert shop.outcomes[-1] == "agree"


def test_a_day_on_which_something_is_missing() -> None:
    """What it is, in a line for each kind, and how to see it."""
    shop = Shop()
    shop.lost()
    shop.daraja.pay_by_hand(700, reference="INV-9")
    shop.go_on(16 * HOUR, every=10 * MINUTE)
    assert shop.lines[-3:] == [
        "paybill 600000, 2026-11-23: the books and Safaricom do not agree, 1 payment confirmed",
        "  1 payment: money that nobody was asked for",
        "  see them: mpesa-stk reconcile --pull",
    ]
    assert shop.outcomes[-1] == "differ"


def test_an_account_that_is_not_registered() -> None:
    """An empty answer is never called a day on which nothing is missing."""
    shop = Shop(registered=False)
    shop.lost()
    shop.go_on(16 * HOUR, every=10 * MINUTE)
    assert shop.lines[-1].startswith(
        "paybill 600000, 2026-11-23: nobody can say whether something is missing: "
    )
    assert shop.outcomes[-1] == "not_covered"


def plain(store: TransactionStore) -> Any:
    """A store without its search."""

    class Plain:
        def __getattr__(self, name: str) -> object:
            if name == "search":
                raise AttributeError(name)
            return getattr(store, name)

    return Plain()


def test_a_store_that_cannot_search(capsys: pytest.CaptureFixture[str]) -> None:
    """Said once, and the rest of the worker goes on."""
    shop = Shop()

    payments = Payments(shop.daraja.client(), plain(shop.payments.store), clock=shop.daraja.clock)
    for _ in range(3):
        shop.work(payments)
        shop.daraja.advance(10 * MINUTE)
    assert capsys.readouterr().err.count("until the worker is started anew") == 1


def test_a_worker_pulls_between_its_batches() -> None:
    """And tells the handler of the payments that it found, with the next batch."""
    shop = Shop()
    payment = shop.lost()
    told: list[Transaction] = []
    stop = StopFlag(shop.daraja.clock)

    def tell(transaction: Transaction) -> None:
        told.append(transaction)
        stop.set()

    def source() -> Payments:
        shop.daraja.advance(MINUTE)
        return shop.payments

    assert work(shop.context, source, tell, stop=stop, every=1.0, pull_every=MINUTE) == 0
    assert [one.transaction_no for one in told] == [payment.transaction_no]
    assert told[0].paid


def test_once_and_pull_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    """Cron has another command for it."""
    given = ["worker", "--handler", "no.such:handler", "--once", "--pull", "15m"]
    assert cli.main(given, context=Context()) == 2
    assert "mpesa-stk reconcile --pull --apply" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "seconds"), [("60s", 60.0), ("1m", 60.0), ("15m", 900.0), ("24h", 86_400.0)]
)
def test_pauses(text: str, seconds: float) -> None:
    """A minute at least, a day at most."""
    assert pause(text) == seconds


@pytest.mark.parametrize("text", ["15", "", "m", "59s", "0m", "25h", "-5m", "1.5h", "15 m", "٣m"])
def test_texts_that_are_no_pauses(text: str) -> None:
    """They are said with an example."""
    with pytest.raises(argparse.ArgumentTypeError, match="15m"):
        pause(text)


def test_an_account_without_settings_stops_no_other() -> None:
    """A merchant has gone, and the payments of the others are looked for."""
    shop = Shop()
    payment = shop.lost()
    shop.daraja.advance(5 * MINUTE)
    accounts = Accounts(
        shop.payments.store,
        lambda name: shop.daraja.config if name == "paybill 600000" else None,
        accounts=lambda: {"paybill 500000", "paybill 600000"},
        clock=shop.daraja.clock,
        transport=shop.daraja,
    )
    shop.work(accounts)
    assert shop.now(payment).paid
