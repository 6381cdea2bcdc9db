"""``mpesa-stk demo``: one payment against a simulated Daraja on this machine, over real HTTP.

The timeline goes to stderr as it happens, the payment as JSON to stdout.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sys
import threading
import webbrowser
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import Enum
from functools import partial

import attrs

from mpesa_stk.client import StkClient
from mpesa_stk.clock import Clock, SystemClock
from mpesa_stk.commands.context import Context
from mpesa_stk.commands.exit_codes import DONE, NOT_DONE
from mpesa_stk.commands.options import Subparsers
from mpesa_stk.config.environment import Environment
from mpesa_stk.config.settings import StkConfig
from mpesa_stk.daraja.models import PushRequest, shillings_of
from mpesa_stk.errors import MpesaError
from mpesa_stk.hooks import Event
from mpesa_stk.payments.payments import Payments
from mpesa_stk.payments.state import Transaction, TransactionState
from mpesa_stk.simulator.merchants import fresh_merchant
from mpesa_stk.simulator.prompts import CallbackDelivery
from mpesa_stk.simulator.scenarios import (
    BY_HAND,
    OUTCOMES,
    PAID,
    PROMPT_LIFE,
    SCENARIOS,
    Scenario,
    scenario_of,
)
from mpesa_stk.simulator.server import SimulatorServer
from mpesa_stk.simulator.simulation import AdjustableClock
from mpesa_stk.stores.memory import MemoryTransactionStore
from mpesa_stk.web.http_server import HttpServer
from mpesa_stk.web.messages import WebRequest, WebResponse, json_response

_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")
_MAX_AMOUNT = 250_000
_PAGE_STAYS = 60.0
_PATIENCE = 10.0
_READING_TIME = 10.0
_EXCHANGE = 5.0
_STEP = 15.0
_MOST_STEPS = 120
_POLL = 0.01


# --- the command -------------------------------------------------------------------------------------


def add_to(commands: Subparsers, /) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "demo",
        help="play one payment against a simulated Daraja on this machine",
        description="Plays one payment, from push to report, against a simulated Daraja on this "
        "machine. Timeline on stderr, the payment as JSON on stdout.",
    )
    command.add_argument("--phone", default="0718643064", help="who pays (%(default)s)")
    command.add_argument("--amount", default="100", help="whole shillings (%(default)s)")
    command.add_argument("--reference", default="INV-001", help="shown in the prompt (%(default)s)")
    course = command.add_mutually_exclusive_group()
    course.add_argument(
        "--outcome", choices=tuple(OUTCOMES), help=f"how the customer answers ({PAID})"
    )
    course.add_argument(
        "--scenario",
        metavar="NAME",
        type=_scenario,
        help="what becomes of the push: see `mpesa-stk trigger --list`",
    )
    course.add_argument("--page", action="store_true", help="answer the prompt yourself, on a page")
    command.add_argument(
        "--no-browser", action="store_true", help="with --page: print its address, open nothing"
    )
    command.set_defaults(command=_run)


def _scenario(text: str) -> str:
    if text not in SCENARIOS:
        raise argparse.ArgumentTypeError("is no scenario: see `mpesa-stk trigger --list`")
    return text


def check_order(*, phone: str, amount: str, reference: str) -> PushRequest:
    """Check the arguments of an order.

    Raises:
        InvalidRequest: A field breaks a rule. The error names both.
    """
    return PushRequest.checked(
        phone_number=phone,
        amount=shillings_of(amount),
        reference=reference,
        description="",
        callback_url="",
        max_amount=_MAX_AMOUNT,
    )


def browser(
    *, wanted: bool, environ: Mapping[str, str], platform: str
) -> Callable[[str], object] | None:
    """The function that opens a page, or None if no window can appear.

    Without a display, `webbrowser` starts a browser that takes over the terminal.
    """
    has_display = platform in ("darwin", "win32") or any(map(environ.get, _DISPLAYS))
    return webbrowser.open if wanted and has_display else None


def _run(context: Context, arguments: argparse.Namespace, /) -> int:
    """Play one payment as the arguments say."""
    order = check_order(
        phone=arguments.phone, amount=arguments.amount, reference=arguments.reference
    )
    opens = browser(wanted=not arguments.no_browser, environ=context.environ, platform=sys.platform)
    if arguments.page:
        show = partial(_show, opens)
        return run(order, scenario=SCENARIOS[BY_HAND], show_page=show, linger=_PAGE_STAYS)
    if arguments.scenario is not None:
        return run(order, scenario=SCENARIOS[arguments.scenario], hurry=True)
    is_test_phone = scenario_of(order.phone_number.msisdn) is not None
    scenario = Scenario(outcome=arguments.outcome or PAID)
    return run(order, scenario=scenario, hurry=is_test_phone)


def _show(opens: Callable[[str], object] | None, address: str) -> None:
    """Open the page in another thread: some browsers return only when they are closed."""

    def show() -> None:
        with contextlib.suppress(webbrowser.Error):
            if opens is not None:
                opens(address)

    threading.Thread(target=show, name="mpesa-stk-page", daemon=True).start()


# --- the payment -------------------------------------------------------------------------------------


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
        order: Phone, amount and reference of the payment.
        scenario: The scenario of the push. A test phone plays its own.
        show_page: Called with the address of the page on which you answer the prompt. The demo then
            waits for the callback for the life of a prompt, and a little longer.
        hurry: Whether the clock is put forward, by half an hour at most, instead of waiting.
        patience: Longest wait for the callback, in seconds.
        linger: Seconds for which the page stays after the payment. Ctrl-C ends them.

    Returns:
        Exit code: 0 if the customer's answer was reported, otherwise 1.
    """
    time = AdjustableClock(SystemClock())
    say = _Timeline(time)
    merchant = attrs.evolve(fresh_merchant(), total_timeout=_EXCHANGE)
    scenario = scenario_of(order.phone_number.msisdn) or scenario
    if patience is None:
        patience = _PATIENCE if show_page is None else PROMPT_LIFE + _READING_TIME
    daraja = SimulatorServer(
        merchant, scenario=scenario, clock=time, on_answered=lambda one: say.posting(one, daraja)
    )
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
                daraja.advance(0.0)  # wakes it: callbacks are due now
                _wait_until(partial(_is_quiet, daraja, time.monotonic()))
                transaction = shop.look(transaction)
                if _ended(transaction, daraja, scenario) and _is_quiet(daraja, math.inf):
                    break
        except MpesaError as error:
            say(f"failed: {error}")
            return NOT_DONE
        ended = _ended(transaction, daraja, scenario)
        print(_as_json(transaction), flush=True)
        if linger:
            with contextlib.suppress(KeyboardInterrupt):
                say(f"the page stays for {linger:.0f} seconds; Ctrl-C ends it")
                SystemClock().sleep(linger)
    return DONE if ended else NOT_DONE


class _Timeline:
    """Print events, with the seconds since the start."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._started = self._clock.monotonic()
        self._posted: dict[str, object] = {}

    def __call__(self, text: str, /) -> None:
        elapsed = self._clock.monotonic() - self._started
        print(f"{elapsed:6.2f} s  {text}", file=sys.stderr, flush=True)

    def note(self, event: Event, /) -> None:
        """Print an event of the client. This is a `Hook`."""
        code = "" if event.code is None else f" (code {event.code})"
        plain = "status query says" if event.kind == "query" else event.kind
        self(_DONE.get((event.kind, event.outcome), f"{plain} {event.outcome}{code}"))

    def posting(self, delivery: CallbackDelivery, daraja: SimulatorServer, /) -> None:
        """Print that a callback is about to be posted."""
        name = delivery.checkout_request_id
        mine = object()
        again = self._posted.setdefault(name, mine) is not mine  # atomic: threads post at once
        prompt = next((one for one in daraja.prompts if one.checkout_request_id == name), None)
        if again or prompt is None:
            self("the callback is posted again")
        elif delivery.due_at > prompt.ends_at:
            self(f"the callback is posted late: {prompt.answer}")
        else:
            self(f"prompt answered on the phone: {prompt.answer}")


_DONE: Mapping[tuple[str, str], str] = {
    ("token", "ok"): "token fetched",
    ("push", "ok"): "push accepted, waiting for the customer",
}


class _Shop:
    """A host of the library: payments, and an endpoint for callbacks."""

    def __init__(
        self, merchant: StkConfig, environment: Environment, clock: Clock, say: _Timeline
    ) -> None:
        self._say = say
        self._receiver = HttpServer(self._receive)
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

    def __exit__(self, *_error: object) -> None:
        self._receiver.close()
        self._client.close()

    def ask(self, order: PushRequest) -> Transaction:
        """Send the push.

        Raises:
            MpesaError: The payment could not be stored.
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
        """Wait for the callback, query Daraja too, and report."""
        if transaction.state is not TransactionState.REJECTED:
            _wait_until(self._called_back.is_set, patience)
        number = transaction.checkout_request_id
        if number is not None and self._payments.query(number).remote is None:
            with contextlib.suppress(MpesaError):
                self._client.query(number)  # the payment is settled: show Daraja's view of it too
        return self.look(transaction)

    def look(self, transaction: Transaction) -> Transaction:
        """Do the work that is due, and report."""
        self._payments.process_due(on_settled=self._report)
        return self._payments.store.get(transaction.transaction_no) or transaction

    def _report(self, transaction: Transaction) -> None:
        receipt = f", receipt {transaction.receipt_number}" if transaction.receipt_number else ""
        self._say(f"settled and reported: {transaction.state.value}{receipt}")

    def _receive(self, request: WebRequest) -> WebResponse:
        """Store a callback, then acknowledge it."""
        token = request.path.rstrip("/").rpartition("/")[2]
        try:
            receipt = self._payments.handle_callback(request.body, token=token)
        except MpesaError as error:
            self._say(f"callback not taken: {error}")
            return json_response(400, {"ResultCode": 1, "ResultDesc": "Rejected"})
        self._say(f"callback received: {receipt.outcome.value}")
        self._called_back.set()
        return json_response(200, {"ResultCode": 0, "ResultDesc": "Accepted"})


def _wait_until(done: Callable[[], bool], patience: float = _PATIENCE) -> None:
    """Poll until it is done, or the seconds are over. Ctrl-C interrupts it on every system."""
    clock = SystemClock()
    ends = clock.monotonic() + patience
    while not done() and clock.monotonic() < ends:
        clock.sleep(_POLL)


def _is_quiet(daraja: SimulatorServer, by: float) -> bool:
    """Whether all callbacks that are due by a monotonic second were posted."""
    posted = sum(entry.kind == "callback" for entry in daraja.journal.entries())
    due = [one for one in daraja.prompts if one.ends_at + one.scenario.callback_after <= by]
    return posted >= sum(one.scenario.callbacks for one in due)


def _ended(transaction: Transaction, daraja: SimulatorServer, scenario: Scenario) -> bool:
    """Whether the payment is settled and reported with the customer's answer."""
    if not transaction.reported:
        return False
    if not daraja.prompts:
        # Right only for a scenario in which the push fails.
        never = (TransactionState.REJECTED, TransactionState.EXPIRED)
        return scenario.push_fault is not None and transaction.state in never
    (prompt,) = daraja.prompts
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
