"""`SimulatedDaraja`: the simulator's engine in this process, for hosts' own tests.

No sockets, no threads, no waiting: time is a `ManualClock`, and a callback is a function call.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mpesa_stk.account import PayBill
from mpesa_stk.client import StkClient
from mpesa_stk.config import StkConfig
from mpesa_stk.daraja.http import HttpRequest, HttpResponse
from mpesa_stk.daraja.retry import RetryPolicy
from mpesa_stk.daraja.tokens import TokenStore
from mpesa_stk.environment import Environment
from mpesa_stk.errors import OutcomeUnknown
from mpesa_stk.hooks import Hook
from mpesa_stk.payments.flow import Payments
from mpesa_stk.payments.memory import MemoryTransactionStore
from mpesa_stk.payments.store import TransactionStore
from mpesa_stk.simulator.endpoints import Step
from mpesa_stk.simulator.engine import SLOW_SECONDS, DarajaEngine
from mpesa_stk.simulator.faults import Fault, Manner
from mpesa_stk.simulator.journal import Journal
from mpesa_stk.simulator.prompts import CallbackDelivery, Prompt
from mpesa_stk.simulator.scenarios import SCENARIOS, Scenario
from mpesa_stk.simulator.shifted import FURTHEST
from mpesa_stk.testing.clock import ManualClock

if TYPE_CHECKING:
    from mpesa_stk.testing.mount import RequestsMocker

__all__ = ["Receiver", "SimulatedDaraja", "simulated_config"]

Receiver = Callable[[str, bytes], int | None]
"""Takes a callback, as address and body; gives the HTTP status, or None where there is no answer."""

# Nobody listens there, should a test send over the network by mistake.
_NOWHERE = "http://127.0.0.1:9"
_TAKEN = 200
_TOKEN_REFUSED = b'"404.001.03"'


def simulated_config(**changes: Any) -> StkConfig:  # noqa: ANN401 - the settings of StkConfig
    """The settings of a merchant that exists in tests only.

    The environment is called ``simulated`` and lies on this machine, so that nothing can leave it.

    Args:
        changes: Settings of `StkConfig` that shall be others.
    """
    settings: dict[str, Any] = {
        "consumer_key": "simulated-consumer-key",
        "consumer_secret": "simulated-consumer-secret",
        "passkey": "simulated-passkey",
        "account": PayBill("600000"),
        "callback_url": "https://shop.example.co.ke/payments/callback",
        "callback_secrets": ("simulated-callback-secret",),
        "environment": Environment.at(_NOWHERE, name="simulated"),
    }
    return StkConfig(**(settings | changes))


class SimulatedDaraja:
    """A Daraja in this process; it is the `Transport` of the clients that it makes.

    Safe to share between threads. A callback is handed over in the thread that moves the time, or that
    pushes where the callback comes before the answer.

    Attributes:
        config: The settings of the one merchant that it knows.
        clock: Its time.
        callback_errors: What receivers of callbacks raised; such a callback counts as not taken. See
            `raise_callback_errors`.
    """

    def __init__(
        self,
        config: StkConfig | None = None,
        *,
        clock: ManualClock | None = None,
        seed: int = 0,
        scenario: Scenario | str | None = None,
        slow_seconds: float = SLOW_SECONDS,
    ) -> None:
        """Make a Daraja.

        Args:
            config: The settings that it knows; `simulated_config` by default.
            clock: Its time; shared by the clients and payments that it makes.
            seed: Ids, tokens and receipts are the same for the same seed.
            scenario: What becomes of pushes, or the name of it; paid after a second by default.
            slow_seconds: How late a slow answer is.

        Raises:
            KeyError: There is no scenario of that name.
        """
        self.config = simulated_config() if config is None else config
        self.clock = ManualClock() if clock is None else clock
        self.callback_errors: list[Exception] = []
        self._lock = threading.Lock()
        self._receiver: Receiver | None = None
        self._pushes = 0
        self._engine = DarajaEngine(
            self.config,
            clock=self.clock,
            randomness=random.Random(seed),  # noqa: S311 - the same in each run, on purpose
            scenario=None if scenario is None else _scenario(scenario),
            slow_seconds=slow_seconds,
        )

    # --- who talks to it -----------------------------------------------------------------------

    def client(
        self,
        *,
        token_store: TokenStore | None = None,
        retry: RetryPolicy | None = None,
        hooks: tuple[Hook, ...] = (),
    ) -> StkClient:
        """A client of this Daraja and on its time.

        Args:
            token_store: As for `StkClient`.
            retry: As for `StkClient`; by default the usual policy without chance.
            hooks: As for `StkClient`.
        """
        return StkClient(
            self.config,
            transport=self,
            token_store=token_store,
            clock=self.clock,
            retry=RetryPolicy(jitter=_no_chance) if retry is None else retry,
            hooks=hooks,
        )

    def payments(
        self,
        store: TransactionStore | None = None,
        *,
        client: StkClient | None = None,
        hooks: tuple[Hook, ...] = (),
    ) -> Payments:
        """Payments over this Daraja; from now on the callbacks are handed to them.

        Args:
            store: Remembers the payments; in memory by default.
            client: One that `client` made; a new one by default.
            hooks: As for `Payments`.
        """
        payments = Payments(
            self.client() if client is None else client,
            MemoryTransactionStore() if store is None else store,
            clock=self.clock,
            hooks=hooks,
            jitter=_no_chance,
        )
        self.deliver_to(_receiver_of(payments))
        return payments

    def deliver_to(self, receiver: Receiver, /) -> None:
        """Hand the callbacks to a function of yours from now on, such as one that posts to your endpoint.

        Args:
            receiver: Takes address and body; returns the HTTP status, or None for no answer.
        """
        self._receiver = receiver

    def mount(self, mocker: RequestsMocker, /) -> None:
        """Answer what is sent over requests, by means of requests-mock.

        Args:
            mocker: requests-mock's fixture, `Mocker` or `Adapter`.
        """
        # Imported here: it imports requests, which tests without it do not need.
        from mpesa_stk.testing.mount import register  # noqa: PLC0415

        register(mocker, self.config.environment.urls.values(), self._exchange)

    # --- what becomes of requests -------------------------------------------------------------------

    def play(self, scenario: Scenario | str, /) -> None:
        """Let the pushes from now on go as a scenario says. A test phone plays its own.

        Args:
            scenario: The scenario, or a name of `SCENARIOS`.

        Raises:
            KeyError: There is no scenario of that name.
        """
        chosen = _scenario(scenario)
        with self._lock:
            self._engine.scenario = chosen

    def next(self, step: Step, /, *faults: str | Fault) -> None:
        """Script what happens to the next requests of a step, one fault each.

        Args:
            step: ``token``, ``push`` or ``query``.
            faults: Names of `FAULTS`, or faults of your own.

        Raises:
            KeyError: There is no such step or fault; nothing is scripted then.
        """
        with self._lock:
            self._engine.next(step, *faults)

    def revoke_tokens(self) -> None:
        """Let every token that was given out be refused, as if a newer one had been issued elsewhere."""
        with self._lock:
            self._engine.revoke_tokens()

    def decide(self, checkout_request_id: str, answer: str, /) -> None:
        """Let the customer answer an open prompt now; the callback comes when the scenario says.

        Args:
            checkout_request_id: The prompt.
            answer: A name of `OUTCOMES`.

        Raises:
            KeyError: There is no such outcome.
            LookupError: There is no such open prompt.
        """
        with self._lock:
            decided = self._engine.decide(checkout_request_id, answer)
        self._after_answer(decided=decided)

    def enter_pin(self, checkout_request_id: str, pin: str, /) -> None:
        """Type a PIN into an open prompt: `PIN` pays, any other is wrong.

        Raises:
            LookupError: There is no such open prompt.
        """
        with self._lock:
            decided = self._engine.enter_pin(checkout_request_id, pin)
        self._after_answer(decided=decided)

    def _after_answer(self, *, decided: bool) -> None:
        if not decided:
            raise LookupError("no open prompt has this CheckoutRequestID")
        self.advance(0.0)

    # --- time ------------------------------------------------------------------------------------

    def advance(self, seconds: float, /) -> None:
        """Let time pass; each callback is handed over at its own moment.

        Args:
            seconds: How long, at least 0.

        Raises:
            ValueError: Time would go back, or on by more than ten years at once; nothing has moved.
        """
        if not 0 <= seconds <= FURTHEST:
            raise ValueError("must be 0 or more seconds, and ten years at most")
        ends = self.clock.monotonic() + seconds
        while (delivery := self._next_callback(ends)) is not None:
            self._deliver(delivery)

    def run(self) -> None:
        """Let time pass until nothing more happens by itself."""
        while (due := self._next_due()) is not None:
            self.advance(max(due - self.clock.monotonic(), 0.0))

    def _next_due(self) -> float | None:
        with self._lock:
            return self._engine.next_due()

    def _next_callback(self, ends: float) -> CallbackDelivery | None:
        """Move on to the next callback and take it, or move on to the end."""
        with self._lock:
            while (delivery := self._engine.take_due()) is None:
                due = self._engine.next_due()
                if due is None or due > ends:
                    self._move_to(ends)
                    return None
                self._move_to(due)
        return delivery

    def _move_to(self, moment: float) -> None:
        self.clock.advance(max(moment - self.clock.monotonic(), 0.0))

    def _deliver(self, delivery: CallbackDelivery) -> None:
        """Hand a callback over, without the lock: its receiver may ask something of this Daraja."""
        status, note = None, "nobody listens"
        if self._receiver is not None:
            try:
                status, note = self._receiver(delivery.url, delivery.body), ""
            except Exception as error:  # noqa: BLE001 - the host's receiver may raise anything, and not into a push
                self.callback_errors.append(error)
                note = type(error).__name__
        with self._lock:
            self._engine.note_callback(delivery, status=status, note=note)

    # --- what happened ---------------------------------------------------------------------------

    @property
    def prompts(self) -> list[Prompt]:
        """The prompts that appeared, oldest first; beyond 10,000, those that ended first are forgotten."""
        with self._lock:
            return self._engine.prompts()

    @property
    def journal(self) -> Journal:
        """What happened, in order."""
        return self._engine.journal

    @property
    def pushes(self) -> int:
        """How many pushes reached Daraja; those that its gateway refused for their token did not."""
        return self._pushes

    def raise_callback_errors(self) -> None:
        """Raise the first of `callback_errors`, if there is one. The fixture ``daraja`` does at its end."""
        if self.callback_errors:
            raise self.callback_errors[0]

    # --- requests --------------------------------------------------------------------------------

    def send(self, request: HttpRequest, /) -> HttpResponse:
        """Answer one request, as a `Transport`.

        Raises:
            OutcomeUnknown: The answer was lost on its way, or took too long.
        """
        limit = request.total_timeout
        try:
            return self._exchange(
                request.method, request.url, request.headers, request.body, limit, limit
            )
        except OSError as error:
            reason = str(error)
        raise OutcomeUnknown(reason)

    def close(self) -> None:
        """Nothing is open."""

    def _exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        limit: float,
        silence: float,
    ) -> HttpResponse:
        """Answer one request; raises as a socket does where the answer does not arrive.

        Args:
            method: HTTP method.
            url: Address.
            headers: Header fields.
            body: Body.
            limit: Seconds that the client has for the whole exchange.
            silence: Seconds for which it waits without a byte.
        """
        with self._lock:
            reply = self._engine.answer(method, url, headers, body)
            is_push = url.lower() == self.config.environment.push_url.lower()
            self._pushes += is_push and _TOKEN_REFUSED not in reply.response.body
        for delivery in reply.callbacks_first:
            self._deliver(delivery)
        if reply.manner in (Manner.NOTHING, Manner.HALF):
            raise ConnectionResetError("the connection failed before the answer was complete")
        if reply.manner is Manner.DRIP:
            self._wait(float(len(reply.response.body)), limit)
        elif reply.manner is Manner.SLOW:
            self._wait(reply.seconds, min(limit, silence))
        return reply.response

    def _wait(self, seconds: float, limit: float) -> None:
        """Let the time pass that an answer takes, as far as the client waits for it."""
        self.advance(min(seconds, limit))
        if seconds > limit:
            raise TimeoutError("no complete answer in time")


def _scenario(scenario: Scenario | str) -> Scenario:
    return SCENARIOS[scenario] if isinstance(scenario, str) else scenario


def _receiver_of(payments: Payments) -> Receiver:
    def take(url: str, body: bytes) -> int:
        payments.handle_callback(body, token=url.rstrip("/").rpartition("/")[2])
        return _TAKEN

    return take


def _no_chance() -> float:
    """What takes the place of a random number."""
    return 0.5
