"""A Daraja as a pure state machine: request in, answer out, callbacks when their time comes.

No sockets, no threads; time and randomness are handed in. Total: whatever bytes arrive, an answer
comes back. Codes, texts and statuses are those of the collected wire facts, sections 1 to 6 and 8b.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping
from urllib.parse import urlsplit

import attrs

from mpesa_stk.clock import Clock
from mpesa_stk.config import StkConfig
from mpesa_stk.daraja.http import HttpResponse
from mpesa_stk.simulator.endpoints import Endpoints, Request, Step, request_id
from mpesa_stk.simulator.faults import FAULTS, Fault, Manner
from mpesa_stk.simulator.issued import IssuedTokens
from mpesa_stk.simulator.journal import Journal
from mpesa_stk.simulator.outcomes import OUTCOMES, PAID, WRONG_PIN
from mpesa_stk.simulator.phones import Ended, Phones
from mpesa_stk.simulator.prompts import CallbackDelivery, Prompt
from mpesa_stk.simulator.scenarios import Scenario, scenario_of
from mpesa_stk.simulator.validation import text_of

__all__ = ["PIN", "SLOW_SECONDS", "DarajaEngine", "Reply"]

PIN = "1234"
"""The PIN of every simulated customer."""
SLOW_SECONDS = 20.0
"""How late a slow answer is: late enough to be felt, and in time for a client that waits for 30 seconds."""

_STEPS: Mapping[str, Step] = {
    "/oauth/v1/generate": "token",
    "/mpesa/stkpush/v1/processrequest": "push",
    "/mpesa/stkpushquery/v1/query": "query",
}
_NOT_SENT = HttpResponse(status=503, headers={}, body=b"")


@attrs.frozen(kw_only=True)
class Reply:
    """An answer, and how it travels.

    Attributes:
        response: The answer.
        manner: How it travels.
        seconds: How late it is sent.
        callbacks_first: Callbacks to be posted before it is sent.
    """

    response: HttpResponse
    manner: Manner = Manner.WHOLE
    seconds: float = 0.0
    callbacks_first: tuple[CallbackDelivery, ...] = ()


class DarajaEngine:
    """Answers as Daraja does for one app and one merchant. Not safe to share between threads.

    Attributes:
        scenario: What becomes of the pushes that are accepted from now on. A test phone plays its own.
        journal: What happened.
    """

    def __init__(  # noqa: PLR0913 - settings, each with a default but the first three
        self,
        config: StkConfig,
        /,
        *,
        clock: Clock,
        shop_clock: Clock | None = None,
        randomness: random.Random,
        scenario: Scenario | None = None,
        token_lifetime: int = 3599,
        one_token: bool = True,
        callback_tries: int = 1,
        slow_seconds: float = SLOW_SECONDS,
    ) -> None:
        """Make an engine that knows one merchant.

        Args:
            config: The app's key and secret, the passkey and the account.
            clock: Tells the time; never slept on.
            shop_clock: Tells the time of those who ask, by which a Timestamp is fresh and no callback
                is from the future; the same by default.
            randomness: Where ids, tokens and receipts come from.
            scenario: What becomes of pushes; paid after a second by default.
            token_lifetime: Seconds for which a token is good.
            one_token: Whether a new token kills the old one, as Daraja's own pages say.
            callback_tries: How often a callback that is not taken is posted at most.
            slow_seconds: How late a slow answer is, where the fault does not say.
        """
        self.scenario = scenario or Scenario()
        self.journal = Journal()
        self._slow_seconds = slow_seconds
        self._clock = clock
        self._random = randomness
        self._tokens = IssuedTokens(lifetime=token_lifetime, one_at_a_time=one_token)
        self._phones = Phones(clock, shop_clock=shop_clock, callback_tries=callback_tries)
        self._endpoints = Endpoints(
            config,
            clock=clock,
            shop_clock=shop_clock or clock,
            randomness=randomness,
            tokens=self._tokens,
            phones=self._phones,
            scenario_of=self._scenario,
        )
        self._scripts: dict[Step, deque[Fault]] = {step: deque() for step in _STEPS.values()}
        self._met: set[str] = set()  # phones whose token was refused, and that may try again

    # --- what a test, the page or a worker does --------------------------------------------------

    def next(self, step: Step, /, *faults: str | Fault) -> None:
        """Script what happens to the next requests of a step, one fault each.

        Args:
            step: ``token``, ``push`` or ``query``.
            faults: Names of `FAULTS`, or faults of your own.

        Raises:
            KeyError: There is no such step or fault; nothing is scripted then.
        """
        script = self._scripts[step]
        script.extend([FAULTS[fault] if isinstance(fault, str) else fault for fault in faults])

    def revoke_tokens(self) -> None:
        """Let every token that was given out be refused, as if a newer one had been issued elsewhere."""
        self._tokens.revoke_all()

    def prompts(self) -> list[Prompt]:
        """The kept prompts, oldest first: see `Phones`."""
        return self._phones.prompts()

    def is_open(self, prompt: Prompt, /) -> bool:
        """Whether a prompt still waits for its customer."""
        return self._phones.is_open(prompt)

    def decide(self, checkout_request_id: str, answer: str, /) -> bool:
        """Let the customer answer an open prompt now.

        Args:
            checkout_request_id: The prompt.
            answer: A name of `OUTCOMES`.

        Returns:
            False if there is no such open prompt.

        Raises:
            KeyError: There is no such outcome.
        """
        if answer not in OUTCOMES:
            raise KeyError(answer)
        prompt = self._phones.get(checkout_request_id)
        if prompt is None or not self._phones.is_open(prompt):
            return False
        self._phones.decide(prompt, answer)
        return True

    def enter_pin(self, checkout_request_id: str, pin: str, /) -> bool:
        """Type a PIN into an open prompt: `PIN` pays, any other is wrong.

        Returns:
            False if there is no such open prompt.
        """
        return self.decide(checkout_request_id, PAID if pin == PIN else WRONG_PIN)

    def next_due(self) -> float | None:
        """The monotonic second at which the next thing happens by itself, or None."""
        return self._phones.next_due()

    def take_due(self) -> CallbackDelivery | None:
        """Hand over the callback that is due longest, once; None where none is due yet."""
        while (due := self._phones.take_due()) is not None:
            if isinstance(due, CallbackDelivery):
                return due
            self._note_end(due)
        return None

    def note_callback(
        self, delivery: CallbackDelivery, /, *, status: int | None, note: str = ""
    ) -> None:
        """Write down what became of a callback; one that was not taken may be tried again.

        Args:
            delivery: The callback.
            status: HTTP status of the answer, or None where there was none.
            note: What went wrong, in a few words.
        """
        self.journal.write(
            "callback",
            self._clock.now(),
            checkout_request_id=delivery.checkout_request_id,
            asked=delivery.body,
            status=status,
            note=note,
        )
        if status is None or not 200 <= status < 300:  # noqa: PLR2004 - HTTP's success
            self._phones.try_again(delivery)

    def _note_end(self, ended: Ended) -> None:
        self.journal.write(
            "answer",
            self._clock.now(),
            checkout_request_id=ended.checkout_request_id,
            note=ended.answer,
        )

    # --- requests --------------------------------------------------------------------------------

    def answer(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, /
    ) -> Reply:
        """Answer one request.

        Args:
            method: HTTP method.
            url: Absolute address or request target.
            headers: Header fields, names in any case, and the client's address under `CLIENT`.
            body: Body, or None.
        """
        path, query = _target(url)
        request = Request(
            method=method,
            query=query,
            headers={name.lower(): value for name, value in headers.items()},
            body=body or b"",
            number=self.journal.last + 1,
        )
        step = _STEPS.get(path)
        fault = None if step is None else self._fault(step, request)
        reply = self._play(step, request, fault or Fault(executed=True))
        sent = reply.manner is not Manner.NOTHING
        self.journal.write(
            step or "other",
            self._clock.now(),
            checkout_request_id=request.checkout_request_id,
            asked=request.body,
            status=reply.response.status if sent else None,
            answered=reply.response.body if sent else b"",
            note="" if fault is None else self._story(fault),
            advice=request.advice,
            token_entry=request.token_entry,
        )
        return reply

    def _play(self, step: Step | None, request: Request, fault: Fault) -> Reply:
        """Do what is asked, unless the fault prevents it, and answer as the fault says."""
        if fault.kills_tokens:
            self._tokens.revoke_all()
        response = self._endpoints.execute(step, request) if fault.executed else _NOT_SENT
        if fault.answer is not None:
            response = fault.answer(request_id(self._random))
        return Reply(
            response=response,
            manner=fault.manner,
            seconds=self._lateness(fault),
            callbacks_first=request.callbacks_first,
        )

    def _lateness(self, fault: Fault) -> float:
        """How late the answer is sent."""
        if fault.manner is not Manner.SLOW:
            return 0.0
        return self._slow_seconds if fault.seconds is None else fault.seconds

    def _fault(self, step: Step, request: Request) -> Fault | None:
        """What is scripted for this request, or played by its phone."""
        if request.method != ("GET" if step == "token" else "POST"):
            return None  # refused without a fault, which is kept for one that counts
        if self._scripts[step]:
            return self._scripts[step].popleft()
        payload = request.payload or {}
        if step == "push":
            return self._push_fault(text_of(payload.get("PhoneNumber")) or "")
        if step == "query":
            return self._query_fault(text_of(payload.get("CheckoutRequestID")) or "")
        return None

    def _push_fault(self, phone_number: str) -> Fault | None:
        """What a phone plays for every push, but a refused token at the first try only."""
        name = self._scenario(phone_number).push_fault
        if name is None:
            return None
        fault = FAULTS[name]
        if fault.passes and phone_number in self._met:
            self._met.remove(phone_number)
            return None
        if fault.passes:
            self._met.add(phone_number)
        return fault

    def _query_fault(self, checkout_request_id: str) -> Fault | None:
        """What a prompt's phone plays for the first query about it."""
        prompt = self._phones.get(checkout_request_id)
        name = None if prompt is None else prompt.scenario.query_fault
        if name is None or not self._phones.is_first_query(checkout_request_id):
            return None
        return FAULTS[name]

    def _scenario(self, phone_number: str) -> Scenario:
        return scenario_of(phone_number) or self.scenario

    def _story(self, fault: Fault) -> str:
        """What a fault did, for the journal."""
        names = [f"fault: {name}" for name, known in FAULTS.items() if known is fault]
        late = f", {self._lateness(fault):g} s" if fault.manner is Manner.SLOW else ""
        travelled = [] if fault.manner is Manner.WHOLE else [f"answer: {fault.manner.value}{late}"]
        return ", ".join(names + travelled)


def _target(url: str) -> tuple[str, str]:
    """Path and query of an address; nothing where it is none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", ""
    return parts.path, parts.query
