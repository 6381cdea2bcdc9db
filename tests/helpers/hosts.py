"""A host application of the tests: payments over a scripted Daraja, with stores that fail or are late."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from both_faces import make_payments
from daraja_double import ScriptedDaraja, answer, make_client
from mpesa_stk import (
    Event,
    HttpResponse,
    MemoryTransactionStore,
    Payments,
    QueryBudget,
    StoreError,
    Transaction,
)
from mpesa_stk.payments.budget import UnlimitedQueryBudget
from support import CALLBACK_SECRET, ManualClock, accepted, callback

SIGNED: dict[str, Any] = {"callback_secrets": (CALLBACK_SECRET,)}


class Host:
    """A host application: payments over a scripted Daraja, and the events it is told."""

    def __init__(self, store: MemoryTransactionStore | None = None, **settings: Any) -> None:
        self.clock = ManualClock()
        self.daraja = ScriptedDaraja()
        self.store = store if store is not None else MemoryTransactionStore()
        self.events: list[Event] = []
        self.payments: Payments = make_payments(
            make_client(self.daraja, self.clock, **settings),
            self.store,
            clock=self.clock,
            hooks=(self.events.append,),
            jitter=lambda: 0.5,
        )

    def checkout(self, **changes: Any) -> Transaction:
        """Ask for 100 shillings."""
        wanted: dict[str, Any] = {"phone_number": "0718643064", "amount": 100, "reference": "INV-1"}
        return self.payments.checkout(**(wanted | changes))

    def stored(self, reference: str = "INV-1") -> Transaction:
        """The payment as stored."""
        transaction = self.store.find(reference=reference)
        assert transaction is not None
        return transaction

    @property
    def settled(self) -> list[str]:
        """The outcomes of the settled events, in order."""
        return [event.outcome for event in self.events if event.kind == "settled"]


class BrokenStore(MemoryTransactionStore):
    """A store whose named method fails."""

    def __init__(self, broken: str = "") -> None:
        super().__init__()
        self.broken = broken

    def __getattribute__(self, name: str) -> Any:
        if name == super().__getattribute__("__dict__").get("broken"):

            def fail(*_args: object, **_kwargs: object) -> None:
                raise StoreError("the database is down")

            return fail
        return super().__getattribute__(name)


class LateStore(BrokenStore):
    """A store that does not find kept callbacks at first."""

    hidden = True

    def kept_callbacks(self, **wanted: Any) -> Any:
        """None, or those there are."""
        return [] if self.hidden else super().kept_callbacks(**wanted)


def pending(**settings: Any) -> Host:
    """A host with one PENDING payment whose CheckoutRequestID is `CHECKOUT_ID`."""
    host = Host(**settings)
    host.daraja.push_script.append(answer(accepted()))
    host.checkout()
    return host


def another_worker(host: Host, budget: QueryBudget | None = None, **changes: Any) -> Payments:
    """A worker on the host's store, with a budget of its own, or without a limit."""
    settings: dict[str, Any] = {"clock": host.clock, "jitter": lambda: 0.5}
    settings["query_budget"] = budget or UnlimitedQueryBudget()
    worker: Payments = make_payments(host.payments.client, host.store, **(settings | changes))
    return worker


def go_to(host: Host, reference: str = "INV-1") -> None:
    """Let time pass until a payment is due."""
    due = host.stored(reference).due_at
    assert due is not None
    host.clock.advance(max((due - host.clock.now()).total_seconds(), 0.0))


def overtaken(host: Host) -> Callable[[], HttpResponse]:
    """An answer to a push that comes after the callback about it."""

    def take_and_answer() -> HttpResponse:
        host.payments.handle_callback(callback())
        return answer(accepted())

    return take_and_answer
