"""Daraja as a pure state machine: a request in, an answer out, and callbacks at their time.

There are no sockets and no threads. Time and randomness are arguments. Any bytes get an answer.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from urllib.parse import urlsplit

import attrs

from mpesa_stk.clock import Clock
from mpesa_stk.config.account import PayBill, Till
from mpesa_stk.config.settings import StkConfig
from mpesa_stk.daraja.exchange import HttpResponse
from mpesa_stk.simulator.api import Endpoints
from mpesa_stk.simulator.apps import Merchants
from mpesa_stk.simulator.books import Books
from mpesa_stk.simulator.callback_trouble import LOST
from mpesa_stk.simulator.faults import FAULTS, DeliveryFault, Fault, request_id
from mpesa_stk.simulator.incoming import Request, Step, TokenRegistry
from mpesa_stk.simulator.journal import Journal
from mpesa_stk.simulator.outages import Outages
from mpesa_stk.simulator.prompt_schedule import PromptSchedule
from mpesa_stk.simulator.prompts import CallbackDelivery
from mpesa_stk.simulator.pull_forms import PullForm
from mpesa_stk.simulator.scenarios import Scenario, scenario_of
from mpesa_stk.simulator.scripts import Scripts, name_of
from mpesa_stk.simulator.validation import text_of

SLOW_SECONDS = 20.0
"""Delay of a slow answer: a client that waits for 30 seconds still receives it."""

PULL_PATHS = ("/pulltransactions/v1/register", "/pulltransactions/v1/query")
"""Paths of Pull Transactions."""

_STEPS: Mapping[str, Step] = {
    "/oauth/v1/generate": "token",
    "/mpesa/stkpush/v1/processrequest": "push",
    "/mpesa/stkpushquery/v1/query": "query",
    **dict.fromkeys(PULL_PATHS, "pull"),
}
_NOT_SENT = HttpResponse(status=503, headers={}, body=b"")


@attrs.frozen(kw_only=True)
class Reply:
    """An answer, and its delivery.

    Attributes:
        response: The answer.
        delivery: The fault in its delivery.
        seconds: Seconds to wait before it is sent.
        callbacks_first: Callbacks to post before it is sent.
    """

    response: HttpResponse
    delivery: DeliveryFault = DeliveryFault.NONE
    seconds: float = 0.0
    callbacks_first: tuple[CallbackDelivery, ...] = ()


class DarajaEngine:
    """Answer as Daraja does, for its merchants and their apps. Not safe to share between threads.

    `Simulation` is the class that is: it holds the lock, and has the methods for tests and for the page.

    Attributes:
        scenario: The scenario of the next pushes. A test phone plays its own.
        journal: The events so far. It is read under the lock that `__init__` is given.
        prompts: The prompts and their schedule.
        tokens: The issued tokens.
        books: Safaricom's ledger. Call `enter_prompts` before you read it.
        outages: The spans of time in which no callback is delivered.
        scripts: The faults that are scripted.
    """

    def __init__(  # noqa: PLR0913 - settings, most of them with a default
        self,
        config: StkConfig,
        /,
        *others: StkConfig,
        clock: Clock,
        shop_clock: Clock | None = None,
        randomness: random.Random,
        scenario: Scenario | None = None,
        token_lifetime: int = 3599,
        one_token: bool = True,
        callback_tries: int = 1,
        slow_seconds: float = SLOW_SECONDS,
        lock: AbstractContextManager[object] | None = None,
    ) -> None:
        """Make an engine.

        Args:
            config: The app's key and secret, the passkey and the account.
            others: The same of further merchants. Several may share an app.
            clock: The time. The engine never sleeps on it.
            shop_clock: The time of the clients, which decides whether a Timestamp is fresh and dates
                callbacks. Default: `clock`.
            randomness: Source of ids, tokens and receipts.
            scenario: The scenario of pushes. Default: paid after a second.
            token_lifetime: Seconds for which a token is valid.
            one_token: Whether a new token makes the older ones invalid, as Daraja's pages say.
            callback_tries: Largest number of posts of a callback that the receiver does not take.
            slow_seconds: Delay of a slow answer, if the fault does not name one.
            lock: Protects the journal.
        """
        self.scenario = scenario or Scenario()
        self.journal = Journal(lock)
        self.tokens = TokenRegistry(lifetime=token_lifetime, one_at_a_time=one_token)
        self.prompts = PromptSchedule(clock, shop_clock=shop_clock, callback_tries=callback_tries)
        self._slow_seconds = slow_seconds
        self._clock = clock
        self._random = randomness
        merchants = Merchants(config, *others)
        self.outages = Outages(clock)
        self.books = Books(
            merchants,
            shop_clock=shop_clock or clock,
            randomness=randomness,
            prompts=self.prompts,
        )
        self._endpoints = Endpoints(
            merchants,
            clock=clock,
            shop_clock=shop_clock or clock,
            randomness=randomness,
            tokens=self.tokens,
            prompts=self.prompts,
            books=self.books,
            scenario_of=self._scenario,
        )
        self.scripts = Scripts()
        self._refused_once: set[str] = (
            set()
        )  # phones whose token was refused, as their scenario says

    def script(self, step: Step, /, *faults: str | Fault) -> None:
        """Give the next requests of a step one fault each, as in `Simulation.next`."""
        self.scripts.add(step, *faults)

    def register_pull(self, account: PayBill | Till, /) -> None:
        """Register an account for pulls, as its merchant once did."""
        self._endpoints.pulls.register(account)

    # --- callbacks -------------------------------------------------------------------------------

    def take_due(self) -> CallbackDelivery | None:
        """Remove and return the earliest callback, or None if no callback is due yet."""
        self.books.enter_prompts()
        while (due := self.prompts.take_due()) is not None:
            if isinstance(due, CallbackDelivery):
                if not self._is_lost(due):
                    return due
                continue
            self.journal.write(
                "answer",
                self._clock.now(),
                checkout_request_id=due.checkout_request_id,
                note=due.answer,
            )
        return None

    def _is_lost(self, delivery: CallbackDelivery) -> bool:
        """Whether a callback is lost in an outage, which is recorded."""
        late = max(self._clock.monotonic() - delivery.due_at, 0.0)
        if self.outages.at(self._clock.now() - timedelta(seconds=late)) is None:
            return False
        self.journal.write(
            "callback",
            self._clock.now(),
            checkout_request_id=delivery.checkout_request_id,
            asked=delivery.body,
            note=LOST,
        )
        return True

    def note_callback(
        self,
        delivery: CallbackDelivery,
        /,
        *,
        status: int | None,
        note: str = "",
        answered: bytes = b"",
    ) -> None:
        """Record the answer to a callback, and schedule it again if the receiver did not take it.

        Args:
            delivery: The callback.
            status: HTTP status of the answer, or None without an answer.
            note: The failure, in a few words.
            answered: Body of the answer.
        """
        self.journal.write(
            "callback",
            self._clock.now(),
            checkout_request_id=delivery.checkout_request_id,
            asked=delivery.body,
            status=status,
            answered=answered,
            note=note,
        )
        if status is None or not 200 <= status < 300:  # noqa: PLR2004 - HTTP's success
            self.prompts.try_again(delivery)

    # --- requests --------------------------------------------------------------------------------

    def answer(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        /,
        *,
        client: str = "",
    ) -> Reply:
        """Answer one request.

        Args:
            method: HTTP method.
            url: Absolute address, or path and query.
            headers: Header fields, names in any case.
            body: Body, or None.
            client: Address of the client, or empty without a network.
        """
        self.books.enter_prompts()
        path, query = _target(url)
        request = Request(
            method=method,
            path=path,
            query=query,
            headers={name.lower(): value for name, value in headers.items()},
            body=body or b"",
            client=client,
            number=self.journal.last + 1,
        )
        step = _STEPS.get(path)
        fault = None if step is None else self._fault(step, request)
        reply = self._play(step, request, fault or Fault(executed=True))
        sent = reply.delivery is not DeliveryFault.NOTHING
        self.journal.write(
            step or "other",
            self._clock.now(),
            checkout_request_id=request.checkout_request_id,
            asked=request.body,
            status=reply.response.status if sent else None,
            answered=reply.response.body if sent else b"",
            note=request.note if fault is None else self._note_on(fault),
            advice=request.advice,
            token_entry=request.token_entry,
        )
        return reply

    def _play(self, step: Step | None, request: Request, fault: Fault) -> Reply:
        """Carry out a request unless the fault prevents it, and answer as the fault says."""
        if fault.kills_tokens:
            self.tokens.revoke_all()
        request.form = fault.form or PullForm()
        response = self._endpoints.execute(step, request) if fault.executed else _NOT_SENT
        if fault.answer is not None:
            response = fault.answer(request_id(self._random))
        return Reply(
            response=response,
            delivery=fault.delivery,
            seconds=self._delay(fault),
            callbacks_first=tuple(
                delivery for delivery in request.callbacks_first if not self._is_lost(delivery)
            ),
        )

    def _delay(self, fault: Fault) -> float:
        if fault.delivery is not DeliveryFault.SLOW:
            return 0.0
        return self._slow_seconds if fault.seconds is None else fault.seconds

    def _fault(self, step: Step, request: Request) -> Fault | None:
        """The scripted fault of a request, or else the fault that its phone plays."""
        if request.method != ("GET" if step == "token" else "POST"):
            return None  # it is refused anyway, and must not use up a fault
        scripted = self.scripts.take(step)
        if scripted is not None:
            return scripted
        payload = request.payload or {}
        if step == "push":
            return self._push_fault(text_of(payload.get("PhoneNumber")) or "")
        if step == "query":
            return self._query_fault(text_of(payload.get("CheckoutRequestID")) or "")
        return None

    def _push_fault(self, phone_number: str) -> Fault | None:
        """A phone's fault: of every push, but of every other push if it refuses the token."""
        name = self._scenario(phone_number).push_fault
        if name is None:
            return None
        fault = FAULTS[name]
        if fault.passes and phone_number in self._refused_once:
            self._refused_once.remove(phone_number)
            return None
        if fault.passes:
            self._refused_once.add(phone_number)
        return fault

    def _query_fault(self, checkout_request_id: str) -> Fault | None:
        """A phone's fault of the first query of a prompt."""
        prompt = self.prompts.get(checkout_request_id)
        name = None if prompt is None else prompt.scenario.query_fault
        if name is None or not self.prompts.is_first_query(checkout_request_id):
            return None
        return FAULTS[name]

    def _scenario(self, phone_number: str) -> Scenario:
        return scenario_of(phone_number) or self.scenario

    def _note_on(self, fault: Fault) -> str:
        """The journal's note on a fault."""
        name = name_of(fault)
        names = [f"fault: {name}"] if name else []
        if fault.delivery is not DeliveryFault.NONE:
            late = fault.delivery is DeliveryFault.SLOW
            delay = f", {self._delay(fault):g} s" if late else ""
            names.append(f"answer: {fault.delivery.value}{delay}")
        return ", ".join(names)


def _target(url: str) -> tuple[str, str]:
    """Path and query of an address. Both are empty if it is malformed."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", ""
    return parts.path, parts.query
