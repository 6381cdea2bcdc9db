"""A shop of many orders: each scenario of the simulator, processes that die, customers who press again.

It is written as the page about orders says. At the end of the day, functions compare its books with the
prompts that were paid.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import attrs

from mpesa_stk import (
    HttpRequest,
    HttpResponse,
    MemoryTokenStore,
    MemoryTransactionStore,
    MpesaError,
    OrderState,
    OrderStatus,
    Payments,
    StkClient,
    StkConfig,
    Transaction,
)
from mpesa_stk.simulator import SCENARIOS, TEST_PHONES
from mpesa_stk.testing import SimulatedDaraja
from mpesa_stk.testing.daraja import no_chance

PRICE = 100
DEATHS = ("none", "web process after its push", "worker")
_STEPS = [10.0] * 40 + [60.0] * 40
_MOST_TRIES = 4


class Killed(BaseException):
    """The process is gone. Nothing of it runs any more, except what Python cleans up."""


class DeadStore(MemoryTransactionStore):
    """What a process that was killed sees of the store: nothing that it does arrives."""

    def __getattribute__(self, name: str) -> Any:
        raise Killed


class DyingLine:
    """The network of a web process that is killed right after its push has arrived."""

    def __init__(self, daraja: SimulatedDaraja, die: Callable[[], None]) -> None:
        self._daraja = daraja
        self._die = die

    def send(self, request: HttpRequest, /) -> HttpResponse:
        """Send, and die if a prompt appeared."""
        prompts = len(self._daraja.prompts)
        response = self._daraja.send(request)
        if len(self._daraja.prompts) > prompts:
            self._die()
            raise Killed
        return response

    def close(self) -> None:
        """Nothing is open."""


class Switch:
    """A store that a process loses when it is killed."""

    def __init__(self, store: MemoryTransactionStore) -> None:
        self._store: Any = store

    def die(self) -> None:
        """From now on nothing arrives."""
        self._store = DeadStore.__new__(DeadStore)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@attrs.define
class Sale:
    """One order, its customer, and what the books say of it."""

    order: str
    phones: list[str]
    tries: int = 0
    pressed: float = 0.0
    pressed_although_paid: int = 0
    booked: dict[str, Transaction] = attrs.Factory(dict)


class Shop:
    """A web process, a worker, a store and books, as a host writes them after the docs.

    Attributes:
        stubborn: How often a customer presses although the page says that he has paid.
    """

    stubborn = 100

    def __init__(self, death: str, *, store: Any = None, config: StkConfig | None = None) -> None:
        self.daraja = SimulatedDaraja(config)
        self.store = MemoryTransactionStore() if store is None else store
        self.death = death
        self.sales = {}
        for number, name in enumerate(SCENARIOS):
            phones = [TEST_PHONES[name], f"2547220000{number:02}"]
            self.sales[f"ORDER-{number}"] = Sale(f"ORDER-{number}", phones)
        self._tokens = MemoryTokenStore()
        self.web = self._process(self.store)
        self.daraja.deliver_to(self._take)
        self.refusals: Counter[str] = Counter()
        self.killed = 0
        self._rounds = 0

    def _process(self, store: Any, transport: Any = None) -> Payments:
        clock = self.daraja.clock
        client = StkClient(
            self.daraja.config,
            transport=transport or self.daraja,
            token_store=self._tokens,
            clock=clock,
        )
        return Payments(client, store, clock=clock, jitter=no_chance)

    def _take(self, url: str, body: bytes) -> int:
        self.web.handle_callback(body, token=url.rstrip("/").rpartition("/")[2])
        return 200

    def key_of(self, order: str) -> str:
        """The name under which payments know an order."""
        return order

    def status_of(self, order: str) -> OrderStatus:
        """What is known about an order."""
        return self.web.order(self.key_of(order))

    # --- the customer -------------------------------------------------------------------------------

    def press(self, sale: Sale, phone_number: str) -> None:
        """Press the button. The page shows the error, if there is one."""
        sale.pressed = self.daraja.clock.monotonic()
        before = self._tries(sale)
        try:
            if self.death == DEATHS[1] and sale.tries == 0:
                switch = Switch(self.store)
                self.ask(sale, phone_number, switch, DyingLine(self.daraja, switch.die))
            else:
                self.ask(sale, phone_number)
        except Killed:
            self.killed += 1
        sale.tries += self._tries(sale) - before

    def ask(self, sale: Sale, phone_number: str, store: Any = None, line: Any = None) -> None:
        """Ask for the money: in the web process, or in one with a store and a network of its own."""
        payments = self.web if store is None else self._process(store, line)
        try:
            payments.checkout(
                phone_number=phone_number, amount=PRICE, reference=sale.order, order=sale.order
            )
        except MpesaError as error:
            self.refusals[type(error).__name__] += 1

    def _tries(self, sale: Sale) -> int:
        return len(self.store.attempts(self.web.account, self.key_of(sale.order)))

    def look(self, sale: Sale) -> None:
        """Read the page. Press if there is a button, and after a while even if there is none."""
        if sale.pressed_although_paid == self.stubborn:
            return
        status = self.status_of(sale.order)
        waited = self.daraja.clock.monotonic() - sale.pressed
        if sale.tries < _MOST_TRIES and (status.may_pay or waited > 60):
            self.press(sale, sale.phones[min(sale.tries, 1)])
            sale.pressed_although_paid += status.paid

    # --- the worker ---------------------------------------------------------------------------------

    def work(self) -> None:
        """Do what is due. Some workers are killed while the host books a payment."""
        self._rounds += 1
        switch = Switch(self.store)

        def book(payment: Transaction) -> None:
            """Write the latest report of each payment into the books."""
            self.sales[payment.reference].booked[payment.transaction_no] = payment
            if self.death == DEATHS[2] and self._rounds % 2:
                switch.die()
                raise Killed

        try:
            self.do_due_work(switch, book)
        except Killed:
            self.killed += 1

    def do_due_work(self, store: Any, book: Callable[[Transaction], None]) -> None:
        """Do a batch in a process with a store of its own, and report to `book`."""
        self._process(store).process_due(on_settled=book)

    # --- the day --------------------------------------------------------------------------------------

    def open(self) -> None:
        """From the first press to the end of everything."""
        for sale in self.sales.values():
            self.press(sale, sale.phones[0])
        for seconds in _STEPS:
            self.daraja.advance(seconds)
            self.work()
            for sale in self.sales.values():
                self.look(sale)
        for _ in range(60):
            self.daraja.advance(120.0)
            self.work()
        self.daraja.raise_callback_errors()


# --- at the end of the day ---------------------------------------------------------------------------


def paid_prompts(shop: Shop) -> dict[str, list[str]]:
    """The receipts of the prompts that were paid, by order: what M-Pesa took from the customers."""
    found: dict[str, list[str]] = defaultdict(list)
    for prompt in shop.daraja.prompts:
        if prompt.outcome.paid and not shop.daraja.is_open(prompt):
            found[prompt.reference].append(prompt.receipt_number)
    return found


def wrongly_paid(shop: Shop) -> list[str]:
    """Orders that count as paid, although no prompt of them was paid and no query said so."""
    paid = paid_prompts(shop)
    return [
        sale.order
        for sale in shop.sales.values()
        if any(one.paid and one.settled_by != "query" for one in sale.booked.values())
        and not paid[sale.order]
    ]


def wrongly_unpaid(shop: Shop) -> list[str]:
    """Orders that were paid and are not booked as paid, although they do not say that nobody knows."""
    paid = paid_prompts(shop)
    return [
        sale.order
        for sale in shop.sales.values()
        if paid[sale.order]
        and not any(one.paid for one in sale.booked.values())
        and shop.status_of(sale.order).state is not OrderState.UNRESOLVED
    ]


def paid_twice_without_a_flag(shop: Shop) -> list[str]:
    """Orders with a further success that was not reported with its review and its receipt."""
    wrong = []
    for order, receipts in paid_prompts(shop).items():
        booked = [one for one in shop.sales[order].booked.values() if one.paid]
        flagged = [one for one in booked if one.needs_review == "order paid twice"]
        state = shop.status_of(order)
        is_right = (
            len(flagged) == max(len(booked) - 1, 0)
            and (len(booked) <= len(receipts) or len(booked) == 1)
            and (
                len(receipts) <= 1
                or state.paid_twice
                or any(one.needs_review for one in state.attempts)
            )
        )
        if not is_right:
            wrong.append(order)
    return wrong


def check_that_all_happened(shop: Shop) -> None:
    """Check that the day had all that can happen. Otherwise the other checks would prove nothing."""
    assert len(shop.sales) == len(SCENARIOS) >= 36
    assert {"PaymentInProgress", "AlreadyPaid"} <= set(shop.refusals)
    assert (shop.killed > 20) == (shop.death != DEATHS[0])
    states = Counter(shop.status_of(order).state for order in shop.sales)
    assert states[OrderState.PAID] >= 45
    assert set(states) <= {OrderState.PAID, OrderState.UNRESOLVED}
    assert max(sale.tries for sale in shop.sales.values()) > 1
