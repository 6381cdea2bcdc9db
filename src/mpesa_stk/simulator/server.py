"""The simulated Daraja over HTTP on this machine: answers requests, posts callbacks, shows the page."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from importlib.resources import files
from threading import Thread
from types import TracebackType

from mpesa_stk.clock import Clock, SystemClock
from mpesa_stk.config import StkConfig
from mpesa_stk.daraja.http import HttpResponse
from mpesa_stk.environment import Environment
from mpesa_stk.simulator.access import HEADERS, callback_may_go, is_foreign_page
from mpesa_stk.simulator.answers import Sent, Stream
from mpesa_stk.simulator.changes import Changes
from mpesa_stk.simulator.control import Control
from mpesa_stk.simulator.endpoints import Step
from mpesa_stk.simulator.engine import SLOW_SECONDS, DarajaEngine
from mpesa_stk.simulator.faults import Fault
from mpesa_stk.simulator.journal import Entry
from mpesa_stk.simulator.loopback import LoopbackServer
from mpesa_stk.simulator.poster import CALLBACK_TIMEOUT, post_callback
from mpesa_stk.simulator.prompts import CallbackDelivery, Prompt
from mpesa_stk.simulator.scenarios import SCENARIOS, Scenario
from mpesa_stk.simulator.shifted import ShiftedClock

__all__ = ["SimulatorServer"]

_LOGGER = logging.getLogger("mpesa_stk.simulator")
# So that a receiver that is slow keeps the callbacks of others waiting only if it is asked so often.
_POSTED_AT_ONCE = 8
_WITHHELD = (
    "not posted: the address is not that of the machine that pushed; with --public-callbacks "
    "(public_callbacks=True), callbacks go everywhere"
)
_FOREIGN_PAGE = HttpResponse(
    status=403,
    headers={**HEADERS, "content-type": "application/json"},
    body=b'{"error": {"code": "foreign-origin", '
    b'"message": "web pages of other sites are not let in", "field": null}}',
)


class SimulatorServer:
    """A Daraja on this machine. Use it as a context manager, or call `start` and `close`.

    Its methods may be called by any thread, at any time.

    Attributes:
        origin: Its address on this machine: ``http://127.0.0.1:<port>``. The page is there.
        environment: The `Environment` to put into the settings of a client.
        business: Who is paid, such as ``paybill 174379``.
    """

    def __init__(  # noqa: PLR0913 - one argument a setting, all of them by name
        self,
        config: StkConfig,
        /,
        *,
        scenario: Scenario | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Clock | None = None,
        randomness: random.Random | None = None,
        on_answered: Callable[[CallbackDelivery], object] | None = None,
        public_callbacks: bool = False,
        callback_tries: int = 1,
        callback_timeout: float = CALLBACK_TIMEOUT,
        token_lifetime: int = 3599,
        one_token: bool = True,
        drip_pause: float = 1.0,
        slow_seconds: float = SLOW_SECONDS,
    ) -> None:
        """Bind; nothing is answered before `start`.

        Args:
            config: The app's key and secret, the passkey and the account that it knows.
            scenario: What becomes of pushes; paid after a second by default.
            host: Address to listen on. Whoever reaches it can steer the simulator.
            port: Port to listen on; 0 for any free one.
            clock: Tells the time; `advance` puts the simulator's time ahead of it.
            randomness: Where ids, tokens and receipts come from; the system's by default.
            on_answered: Told of each answered prompt, just before its callback is posted.
            public_callbacks: Whether callbacks are posted to any machine, not only to the one that pushed.
            callback_tries: How often a callback that is not taken is posted at most.
            callback_timeout: Seconds that a receiver has to answer.
            token_lifetime: Seconds for which a token is good.
            one_token: Whether a new token kills the old one.
            drip_pause: Seconds before each byte of an answer that comes byte by byte.
            slow_seconds: How late a slow answer is.

        Raises:
            OSError: The address cannot be had.
        """
        clock = clock or SystemClock()
        self._clock = ShiftedClock(clock)
        randomness = randomness or random.SystemRandom()
        self._new_engine = partial(
            DarajaEngine,
            config,
            clock=self._clock,
            shop_clock=clock,  # nobody puts the shop's clock forward
            randomness=randomness,
            scenario=scenario,
            token_lifetime=token_lifetime,
            one_token=one_token,
            callback_tries=callback_tries,
            slow_seconds=slow_seconds,
        )
        self._engine = self._new_engine()
        self._on_answered = on_answered
        self._public_callbacks = public_callbacks
        self._callback_timeout = callback_timeout
        self._changes = Changes()
        self._control = Control(
            _Steered(self), host=host, page=_page, events=lambda: self._changes.events(self._news)
        )
        self._http = LoopbackServer(self._answer, host=host, port=port, drip_pause=drip_pause)
        self._worker = Thread(target=self._work, name="mpesa-stk-callbacks", daemon=True)
        self.business = str(config.account)
        self.origin = self._http.origin
        self.environment = Environment.at(self.origin, name="simulator")

    # --- its life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to answer, and to post callbacks."""
        self._http.start()
        self._worker.start()

    def close(self) -> None:
        """Stop; a callback that is under way is waited for, one that is not due is never posted."""
        self._changes.end()
        if self._worker.is_alive():
            self._worker.join()
        self._http.close()

    def __enter__(self) -> SimulatorServer:  # noqa: PYI034 - typing.Self needs Python 3.11
        self.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    # --- what a test does --------------------------------------------------------------------------

    def play(self, scenario: str | Scenario, /) -> None:
        """Let the pushes from now on end as a scenario says; test phones play their own all the same.

        Args:
            scenario: A name of `SCENARIOS`, or a scenario of your own.

        Raises:
            KeyError: There is no such scenario.
        """
        played = SCENARIOS[scenario] if isinstance(scenario, str) else scenario
        with self._changes:
            self._engine.scenario = played
            self._changes.tell()

    def next(self, step: Step, /, *faults: str | Fault) -> None:
        """Script what happens to the next requests of a step: see `DarajaEngine.next`."""
        with self._changes:
            self._engine.next(step, *faults)
            self._changes.tell()

    def decide(self, checkout_request_id: str, answer: str, /) -> bool:
        """Let the customer answer an open prompt now: see `DarajaEngine.decide`."""
        with self._changes:
            decided = self._engine.decide(checkout_request_id, answer)
            self._changes.tell()
        return decided

    def enter_pin(self, checkout_request_id: str, pin: str, /) -> bool:
        """Type a PIN into an open prompt: see `DarajaEngine.enter_pin`."""
        with self._changes:
            decided = self._engine.enter_pin(checkout_request_id, pin)
            self._changes.tell()
        return decided

    def advance(self, seconds: float, /) -> None:
        """Put the simulator's clock forward; callbacks that come due are posted.

        Args:
            seconds: By how much, at least 0.

        Raises:
            ValueError: It would go back, or be more than ten years ahead.
        """
        with self._changes:
            self._clock.advance(seconds)
            self._changes.tell()

    def revoke_tokens(self) -> None:
        """Let every token that was given out be refused."""
        with self._changes:
            self._engine.revoke_tokens()
            self._changes.tell()

    def reset(self) -> None:
        """Forget prompts, journal, scripts and tokens; play the scenario of the start again."""
        with self._changes:
            self._engine = self._new_engine()
            self._changes.tell()

    def prompts(self) -> Sequence[Prompt]:
        """The kept prompts, oldest first; beyond 10,000, those that ended first are forgotten."""
        with self._changes:
            return self._engine.prompts()

    def is_open(self, prompt: Prompt, /) -> bool:
        """Whether a prompt still waits for its customer."""
        with self._changes:
            return self._engine.is_open(prompt)

    def journal(self, *, after: int = 0) -> Sequence[Entry]:
        """What happened: the kept entries with a higher number, oldest first."""
        with self._changes:
            return self._engine.journal.entries(after=after)

    # --- requests ----------------------------------------------------------------------------------

    def _answer(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> HttpResponse | Sent | Stream:
        if Control.is_for(target):
            with self._changes:
                answer = self._control.answer(method, target, headers, body)
                if method == "POST":
                    self._changes.tell()
            return answer
        if is_foreign_page(headers):
            # Its push could have a callback posted to any port of this machine.
            return _FOREIGN_PAGE
        with self._changes:
            engine = self._engine
            reply = engine.answer(method, target, headers, body)
            self._changes.tell()
        for delivery in reply.callbacks_first:
            self._post(engine, delivery)
        self._hold_back(reply.seconds)
        return Sent(response=reply.response, manner=reply.manner)

    def _hold_back(self, seconds: float) -> None:
        """Wait with an answer, by the simulator's clock, until `close` at most."""
        if not seconds:
            return
        due = self._clock.monotonic() + seconds
        with self._changes:
            while not self._changes.ended and (left := due - self._clock.monotonic()) > 0:
                self._changes.wait(left)

    def _news(self) -> str:
        return f'{{"last": {self._engine.journal.last}}}'

    # --- callbacks ---------------------------------------------------------------------------------

    def _work(self) -> None:
        """Post each callback when it is due, until `close`."""
        with ThreadPoolExecutor(_POSTED_AT_ONCE, "mpesa-stk-callback") as pool:
            while (due := self._next_due()) is not None:
                pool.submit(self._post, *due)
            pool.shutdown(cancel_futures=True)

    def _next_due(self) -> tuple[DarajaEngine, CallbackDelivery] | None:
        """Wait for the next callback that is due; None when closing."""
        with self._changes:
            while not self._changes.ended:
                last = self._engine.journal.last
                delivery = self._engine.take_due()
                if self._engine.journal.last != last:
                    self._changes.tell()  # a prompt ended
                if delivery is not None:
                    return self._engine, delivery
                due = self._engine.next_due()
                self._changes.wait(None if due is None else max(due - self._clock.monotonic(), 0))
        return None

    def _post(self, engine: DarajaEngine, delivery: CallbackDelivery) -> None:
        """Post one callback, once, and write down what became of it."""
        try:
            if self._on_answered is not None:
                self._on_answered(delivery)
        except Exception as error:  # noqa: BLE001 - whatever the host's function meets, the callback must go out
            _LOGGER.warning("mpesa_stk.simulator.on_answered_failed error=%s", type(error).__name__)
        if not (self._public_callbacks or callback_may_go(delivery.url, delivery.requester)):
            _LOGGER.warning(
                "mpesa_stk.simulator.callback_withheld reason=not_the_requesters_machine"
            )
            status, note = None, _WITHHELD
        else:
            posted = post_callback(delivery.url, delivery.body, timeout=self._callback_timeout)
            status, note = posted.status, posted.error
            if status is None:
                _LOGGER.warning("mpesa_stk.simulator.callback_failed error=%s", note)
            else:
                _LOGGER.info("mpesa_stk.simulator.callback_posted http_status=%s", status)
        with self._changes:
            engine.note_callback(delivery, status=status, note=note)
            self._changes.tell()


class _Steered:
    """The server as the control interface steers it."""

    def __init__(self, server: SimulatorServer) -> None:
        self._server = server
        self.advance = server.advance
        self.reset = server.reset

    @property
    def engine(self) -> DarajaEngine:
        return self._server._engine  # noqa: SLF001 - of this file

    @property
    def business(self) -> str:
        return self._server.business

    def now(self) -> datetime:
        return self._server._clock.now()  # noqa: SLF001 - of this file


def _page() -> bytes:
    return files("mpesa_stk.simulator").joinpath("page.html").read_bytes()
