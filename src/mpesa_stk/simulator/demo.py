"""The demo: one payment from push to report on this machine, over real HTTP.

The timeline goes to stderr as it happens, the payment as JSON to stdout.
"""

from __future__ import annotations

import contextlib
import json
import math
import secrets
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from functools import partial
from types import TracebackType

import attrs

from mpesa_stk.account import PayBill
from mpesa_stk.client import StkClient
from mpesa_stk.clock import Clock, SystemClock
from mpesa_stk.config import StkConfig
from mpesa_stk.daraja.http import HttpResponse
from mpesa_stk.daraja.models import PushRequest, shillings_of
from mpesa_stk.environment import Environment
from mpesa_stk.errors import MpesaError
from mpesa_stk.hooks import Event
from mpesa_stk.payments.flow import Payments
from mpesa_stk.payments.memory import MemoryTransactionStore
from mpesa_stk.payments.transaction import Transaction, TransactionState
from mpesa_stk.simulator.loopback import LoopbackServer
from mpesa_stk.simulator.phones import PROMPT_LIFE
from mpesa_stk.simulator.prompts import CallbackDelivery, Prompt
from mpesa_stk.simulator.scenarios import Scenario, scenario_of
from mpesa_stk.simulator.server import SimulatorServer
from mpesa_stk.simulator.shifted import ShiftedClock

__all__ = ["check_order", "fresh_merchant", "run"]

_MAX_AMOUNT = 250_000
_PATIENCE = 10.0
_READING_TIME = 10.0
_EXCHANGE = 5.0
_STEP = 15.0
_MOST_STEPS = 120
_POLL = 0.01
_NOWHERE = "http://127.0.0.1:9"


def check_order(*, phone: str, amount: str, reference: str) -> PushRequest:
    """Check what was typed.

    Raises:
        InvalidRequest: A field breaks a rule; the error names both.
    """
    return PushRequest.checked(
        phone_number=phone,
        amount=shillings_of(amount),
        reference=reference,
        description="",
        callback_url="",
        max_amount=_MAX_AMOUNT,
    )


def run(
    order: PushRequest,
    /,
    *,
    scenario: Scenario,
    show_page: Callable[[str], object] | None = None,
    hurry: bool = False,
    patience: float | None = None,
    linger: float = 0.0,
) -> int:
    """Play one payment.

    Args:
        order: Who pays, how much, for what.
        scenario: What becomes of the push, unless the phone is a test phone, which plays its own.
        show_page: Told the address of the page on which the prompt can be answered; then the callback
            is waited for as long as the prompt lives, and a little longer.
        hurry: Whether the clock is put forward, half an hour at most, in place of waiting.
        patience: Seconds to wait for the callback at most.
        linger: Seconds for which the page stays after the payment, for its reader; Ctrl-C ends them.

    Returns:
        Exit code: 0 if what was reported is what the customer did, 1 if not.
    """
    time = ShiftedClock(SystemClock())
    say = _Timeline(time)
    merchant = attrs.evolve(fresh_merchant(), total_timeout=_EXCHANGE)
    scenario = scenario_of(order.phone_number.msisdn) or scenario
    if patience is None:
        patience = _PATIENCE if show_page is None else PROMPT_LIFE + _READING_TIME
    told: dict[str, object] = {}

    def posting(delivery: CallbackDelivery) -> None:
        say(_on_its_way(delivery, daraja.prompts(), told))

    daraja = SimulatorServer(merchant, scenario=scenario, clock=time, on_answered=posting)
    with daraja, _Shop(merchant, daraja.environment, time, say) as shop:
        say(f"simulated Daraja listens on {daraja.origin}")
        if show_page is not None:
            say(f"answer the prompt on this page: {daraja.origin}/")
            show_page(f"{daraja.origin}/")
        try:
            transaction = shop.ask(order)
            if not hurry:
                transaction = shop.follow(transaction, patience)
            for _ in range(_MOST_STEPS if hurry else 0):
                time.advance(_STEP)
                daraja.advance(0.0)  # wakes it: what is due by now is posted
                _wait_until(partial(_is_quiet, daraja, time.monotonic()))
                transaction = shop.look(transaction)
                if _ended(transaction, daraja.prompts(), scenario) and _is_quiet(daraja, math.inf):
                    break
        except MpesaError as error:
            say(f"failed: {error}")
            return 1
        ended = _ended(transaction, daraja.prompts(), scenario)
        print(_as_json(transaction), flush=True)
        if linger:
            _stay(say, linger)
    return 0 if ended else 1


class _Timeline:
    """Prints what happens, with the seconds since the start."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._started = self._clock.monotonic()

    def __call__(self, text: str, /) -> None:
        elapsed = self._clock.monotonic() - self._started
        print(f"{elapsed:6.2f} s  {text}", file=sys.stderr, flush=True)

    def note(self, event: Event, /) -> None:
        """Print an event of the client; this is a `Hook`."""
        code = "" if event.code is None else f" (code {event.code})"
        plain = "status query says" if event.kind == "query" else event.kind
        self(_DONE.get((event.kind, event.outcome), f"{plain} {event.outcome}{code}"))


_DONE: Mapping[tuple[str, str], str] = {
    ("token", "ok"): "token fetched",
    ("push", "ok"): "push accepted, waiting for the customer",
}


def _on_its_way(
    delivery: CallbackDelivery, prompts: Sequence[Prompt], told: dict[str, object]
) -> str:
    """What to tell where a callback is about to be posted."""
    name = delivery.checkout_request_id
    mine = object()
    again = told.setdefault(name, mine) is not mine  # atomic: several are posted at once
    prompt = next((one for one in prompts if one.checkout_request_id == name), None)
    if again or prompt is None:
        return "the callback is posted again"
    if delivery.due_at > prompt.ends_at:
        return f"the callback is posted late: {prompt.answer}"
    return f"prompt answered on the phone: {prompt.answer}"


def _wait_until(done: Callable[[], bool], patience: float = _PATIENCE) -> None:
    """Wait for something, for so many real seconds at most; Ctrl-C is heard on every system."""
    clock = SystemClock()
    ends = clock.monotonic() + patience
    while not done() and clock.monotonic() < ends:
        clock.sleep(_POLL)


def _stay(say: _Timeline, seconds: float) -> None:
    """Let the servers run on for so long; Ctrl-C ends it, and changes nothing of the payment."""
    with contextlib.suppress(KeyboardInterrupt):
        say(f"the page stays for {seconds:.0f} seconds; Ctrl-C ends it")
        SystemClock().sleep(seconds)


class _Shop:
    """What a host of the library is: payments, and an endpoint that takes callbacks."""

    def __init__(
        self, merchant: StkConfig, environment: Environment, clock: Clock, say: _Timeline
    ) -> None:
        self._say = say
        self._receiver = LoopbackServer(self._receive)
        config = attrs.evolve(
            merchant,
            environment=environment,
            callback_url=f"{self._receiver.origin}/payments/callback",
        )
        self._client = StkClient(config, hooks=(say.note,), clock=clock)
        self._payments = Payments(self._client, MemoryTransactionStore(), clock=clock)
        self._called_back = threading.Event()

    def __enter__(self) -> _Shop:  # noqa: PYI034 - typing.Self needs Python 3.11
        self._receiver.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._receiver.close()
        self._client.close()

    def ask(self, order: PushRequest) -> Transaction:
        """Ask for the money.

        Raises:
            MpesaError: The payment could not even be stored.
        """
        try:
            return self._payments.checkout(
                phone_number=order.phone_number, amount=order.amount, reference=order.reference
            )
        except MpesaError as error:
            stored = self._payments.store.get(error.transaction_no or "")
            if stored is None:
                raise
            self._say(f"no prompt appeared: {error}")
            return stored

    def follow(self, transaction: Transaction, patience: float) -> Transaction:
        """Wait for the callback, ask Daraja too, report."""
        if transaction.state is not TransactionState.REJECTED:
            _wait_until(self._called_back.is_set, patience)
        number = transaction.checkout_request_id
        if number is not None and self._payments.query(number).remote is None:
            with contextlib.suppress(MpesaError):
                self._client.query(number)  # a settled payment: only to show Daraja's view of it
        return self.look(transaction)

    def look(self, transaction: Transaction) -> Transaction:
        """Do what is due, and report."""
        self._payments.process_due(on_settled=self._report)
        return self._payments.store.get(transaction.transaction_no) or transaction

    def _report(self, transaction: Transaction) -> None:
        receipt = f", receipt {transaction.receipt_number}" if transaction.receipt_number else ""
        self._say(f"settled and reported: {transaction.state.value}{receipt}")

    def _receive(
        self, _method: str, target: str, _headers: Mapping[str, str], body: bytes
    ) -> HttpResponse:
        """Take a callback; it is stored before it is acknowledged."""
        token = target.rstrip("/").rpartition("/")[2]
        try:
            receipt = self._payments.handle_callback(body, token=token)
        except MpesaError as error:
            self._say(f"callback not taken: {error}")
            return _reply(400, {"ResultCode": 1, "ResultDesc": "Rejected"})
        self._say(f"callback received: {receipt.outcome.value}")
        self._called_back.set()
        return _reply(200, {"ResultCode": 0, "ResultDesc": "Accepted"})


def _reply(status: int, payload: Mapping[str, object]) -> HttpResponse:
    return HttpResponse(
        status=status,
        headers={"content-type": "application/json"},
        body=json.dumps(payload).encode(),
    )


def fresh_merchant() -> StkConfig:
    """A merchant that exists for one demo; its addresses are set once the servers have ports."""
    return StkConfig(
        consumer_key=secrets.token_hex(16),
        consumer_secret=secrets.token_hex(16),
        passkey=secrets.token_hex(32),
        account=PayBill("600000"),
        callback_url="https://shop.example.co.ke/payments/callback",
        callback_secrets=(secrets.token_hex(16),),
        environment=Environment.at(_NOWHERE, name="simulator"),
    )


def _is_quiet(daraja: SimulatorServer, by: float) -> bool:
    """Whether each callback that is due by a monotonic second was posted."""
    posted = sum(entry.kind == "callback" for entry in daraja.journal())
    due = [one for one in daraja.prompts() if one.ends_at + one.scenario.callback_after <= by]
    return posted >= sum(one.scenario.callbacks for one in due)


def _ended(transaction: Transaction, prompts: Sequence[Prompt], scenario: Scenario) -> bool:
    """Whether the payment is settled and reported as the customer answered."""
    if not transaction.reported:
        return False
    if not prompts:
        # Nobody was asked, which is right only where the push was to fail.
        never = (TransactionState.REJECTED, TransactionState.EXPIRED)
        return scenario.push_fault is not None and transaction.state in never
    (prompt,) = prompts
    if transaction.result_code != str(prompt.outcome.code):
        return False
    if not prompt.outcome.paid:
        return transaction.state is TransactionState.FAILED
    receipt = prompt.receipt_number if scenario.callbacks else None
    return transaction.state is TransactionState.SUCCEEDED and transaction.receipt_number == receipt


def _as_json(transaction: Transaction) -> str:
    return json.dumps(attrs.asdict(transaction, value_serializer=_plain), indent=2)


def _plain(_owner: object, _field: object, value: object) -> object:
    """A value as JSON can hold it."""
    if isinstance(value, datetime):
        return value.isoformat()
    return value.value if isinstance(value, Enum) else value
