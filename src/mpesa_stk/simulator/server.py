"""The simulated Daraja over HTTP: answer requests, post callbacks, show the page."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from threading import Thread

from mpesa_stk.clock import Clock, SystemClock
from mpesa_stk.config.environment import Environment
from mpesa_stk.config.settings import StkConfig
from mpesa_stk.simulator.access import FOREIGN_PAGE, callback_may_go, is_foreign_page
from mpesa_stk.simulator.callback_trouble import WITHHELD, Trouble, trouble_of
from mpesa_stk.simulator.control import Control
from mpesa_stk.simulator.delivery import FaultyDelivery
from mpesa_stk.simulator.engine import SLOW_SECONDS, DarajaEngine
from mpesa_stk.simulator.faults import DeliveryFault
from mpesa_stk.simulator.poster import CALLBACK_TIMEOUT, Posted, post_callback
from mpesa_stk.simulator.prompts import CallbackDelivery
from mpesa_stk.simulator.scenarios import Scenario
from mpesa_stk.simulator.simulation import AdjustableClock, Simulation
from mpesa_stk.web.answers import Delivery, Response
from mpesa_stk.web.http_server import HttpServer
from mpesa_stk.web.messages import WebRequest

_LOGGER = logging.getLogger("mpesa_stk.simulator")
# A slow receiver delays the callbacks of others only if it holds all of these.
_POSTED_AT_ONCE = 8


class SimulatorServer(Simulation):
    """A Daraja on this machine. Use it as a context manager, or call `start` and `close`.

    Attributes:
        origin: Its address for this machine: ``http://127.0.0.1:<port>``. The page is there.
        environment: The `Environment` for the settings of a client.
    """

    def __init__(  # noqa: PLR0913 - one argument a setting, all of them by name
        self,
        config: StkConfig,
        /,
        *others: StkConfig,
        scenario: Scenario | str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Clock | None = None,
        randomness: random.Random | None = None,
        on_answered: Callable[[CallbackDelivery], object] | None = None,
        on_trouble: Callable[[Trouble], object] | None = None,
        public_callbacks: bool = False,
        callback_tries: int = 1,
        callback_timeout: float = CALLBACK_TIMEOUT,
        token_lifetime: int = 3599,
        one_token: bool = True,
        drip_pause: float = 1.0,
        slow_seconds: float = SLOW_SECONDS,
    ) -> None:
        """Bind the port. Requests are answered after `start`.

        Args:
            config: The app's key and secret, the passkey and the account.
            others: The same of further merchants. Several may share an app.
            scenario: The scenario of pushes. Default: paid after a second.
            host: Address to listen on. Every machine that can reach it can control the simulator.
            port: Port to listen on, or 0 for any free one.
            clock:  The time. `advance` puts the simulator's time ahead of it.
            randomness: Source of ids, tokens and receipts. Default: the system's.
            on_answered: Called for each callback, just before it is posted.
            on_trouble: Called with the reason for each callback that was not delivered.
            public_callbacks: Whether callbacks go to any machine, not only to the one that pushed.
            callback_tries: Largest number of posts of a callback that the receiver does not take.
            callback_timeout: Seconds that a receiver has to answer.
            token_lifetime: Seconds for which a token is valid.
            one_token: Whether a new token makes the older ones invalid.
            drip_pause: Seconds before each byte of an answer that is sent byte by byte.
            slow_seconds: Delay of a slow answer.

        Raises:
            OSError: The address is not available.
        """
        clock = clock or SystemClock()
        self._clock = AdjustableClock(clock)
        super().__init__(
            config,
            *others,
            clock=self._clock,
            shop_clock=clock,  # `advance` does not move the shop's clock
            randomness=randomness or random.SystemRandom(),
            scenario=scenario,
            slow_seconds=slow_seconds,
            token_lifetime=token_lifetime,
            one_token=one_token,
            callback_tries=callback_tries,
        )
        self._on_answered = on_answered
        self._on_trouble = on_trouble or (lambda _trouble: None)
        self._public_callbacks = public_callbacks
        self._callback_timeout = callback_timeout
        self._drip_pause = drip_pause
        self._control = Control(
            self,
            host=host,
            now=self._clock.now,
            page=_page,
            events=lambda: self._changes.events(lambda: f'{{"last": {self.journal.last}}}'),
        )
        self._http = HttpServer(self._answer, host=host, port=port)
        self._worker = Thread(target=self._work, name="mpesa-stk-callbacks", daemon=True)
        self.origin = self._http.origin
        self.environment = Environment.at(self.origin, name="simulator")

    def start(self) -> None:
        """Begin to answer requests, and to post callbacks."""
        self._http.start()
        self._worker.start()

    def close(self) -> None:
        """Stop, after the callbacks that are being posted. Later ones are never posted."""
        self._changes.end()
        if self._worker.is_alive():
            self._worker.join()
        self._http.close()

    def __enter__(self) -> SimulatorServer:  # noqa: PYI034 - typing.Self needs Python 3.11
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def advance(self, seconds: float, /) -> None:
        """Put the simulator's clock forward, and post the callbacks that become due.

        Args:
            seconds: Number of seconds, at least 0.

        Raises:
            ValueError: The clock would go back, or be more than ten years ahead.
        """
        with self._changes:
            self._clock.advance(seconds)
            self._changes.notify()

    # --- requests ----------------------------------------------------------------------------------

    def _answer(self, request: WebRequest) -> Response | Delivery:
        if Control.is_for(request.path):
            with self._changes:
                return self._control.answer(request)
        if is_foreign_page(request.headers):
            # Its push could have a callback posted to any port of this machine.
            return FOREIGN_PAGE
        with self._changes:
            engine = self._engine
            reply = engine.answer(
                request.method,
                f"{request.path}?{request.query}",
                request.headers,
                request.body,
                client=request.remote_addr or "",
            )
            self._changes.notify()
        for delivery in reply.callbacks_first:
            self._post(engine, delivery)
        if reply.delivery is DeliveryFault.NONE:
            return reply.response
        self._hold_back(reply.seconds)
        return FaultyDelivery(
            response=reply.response, fault=reply.delivery, drip_pause=self._drip_pause
        )

    def _hold_back(self, seconds: float) -> None:
        """Wait by the simulator's clock, but not beyond `close`."""
        due = self._clock.monotonic() + seconds
        with self._changes:
            while not self._changes.ended and (left := due - self._clock.monotonic()) > 0:
                self._changes.wait(left)

    # --- callbacks ---------------------------------------------------------------------------------

    def _work(self) -> None:
        """Post each callback when it is due, until `close`."""
        with ThreadPoolExecutor(_POSTED_AT_ONCE, "mpesa-stk-callback") as pool:
            while (due := self._next_due()) is not None:
                pool.submit(self._post, *due)
            pool.shutdown(cancel_futures=True)

    def _next_due(self) -> tuple[DarajaEngine, CallbackDelivery] | None:
        """Wait for the next callback that is due, or None when closing."""
        with self._changes:
            while not self._changes.ended:
                last = self._engine.journal.last
                delivery = self._engine.take_due()
                if self._engine.journal.last != last:
                    self._changes.notify()  # a prompt ended
                if delivery is not None:
                    return self._engine, delivery
                due = self._engine.prompts.next_due()
                self._changes.wait(None if due is None else max(due - self._clock.monotonic(), 0))
        return None

    def _post(self, engine: DarajaEngine, delivery: CallbackDelivery) -> None:
        """Post one callback, and record the answer."""
        try:
            if self._on_answered is not None:
                self._on_answered(delivery)
        except Exception as error:  # noqa: BLE001 - the host's function may raise anything, and the callback must go out
            _LOGGER.warning("mpesa_stk.simulator.on_answered_failed error=%s", type(error).__name__)
        if not (self._public_callbacks or callback_may_go(delivery.url, delivery.requester)):
            _LOGGER.warning(
                "mpesa_stk.simulator.callback_withheld reason=not_the_requesters_machine"
            )
            posted = Posted(error=WITHHELD)
        else:
            posted = post_callback(delivery.url, delivery.body, timeout=self._callback_timeout)
            if posted.status is None:
                _LOGGER.warning("mpesa_stk.simulator.callback_failed error=%s", posted.error)
            else:
                _LOGGER.info("mpesa_stk.simulator.callback_posted http_status=%s", posted.status)
        note = posted.error or (f"it leads to {posted.location}" if posted.location else "")
        with self._changes:
            engine.note_callback(delivery, status=posted.status, note=note, answered=posted.body)
            self._changes.notify()
        if not posted.taken:
            body = posted.body.decode("utf-8", "replace")
            self._on_trouble(
                trouble_of(status=posted.status, note=note, url=delivery.url, answered=body)
            )


def _page(name: str) -> bytes | None:
    """A file of the page, or None if it has no such file."""
    file = files("mpesa_stk.simulator").joinpath("page", name)
    return file.read_bytes() if file.is_file() else None
