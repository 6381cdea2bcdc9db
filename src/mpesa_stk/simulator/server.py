"""The simulated Daraja over HTTP on this machine: answers requests and posts callbacks."""

from __future__ import annotations

import http.client
import logging
import random
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from urllib.parse import urlsplit

from mpesa_stk.clock import Clock, SystemClock
from mpesa_stk.config import StkConfig
from mpesa_stk.daraja.http import HttpResponse
from mpesa_stk.environment import Environment
from mpesa_stk.simulator.engine import DarajaEngine
from mpesa_stk.simulator.loopback import LoopbackServer
from mpesa_stk.simulator.prompts import CallbackDelivery, Scenario
from mpesa_stk.urls import is_loopback_url

__all__ = ["SimulatorServer"]

_LOGGER = logging.getLogger("mpesa_stk.simulator")
_CALLBACK_TIMEOUT = 5.0


class SimulatorServer:
    """A Daraja on this machine. Use it as a context manager, or call `start` and `close`.

    Attributes:
        origin: Its address: ``http://127.0.0.1:<port>``.
        environment: The `Environment` to put into the settings of a client.
    """

    def __init__(
        self,
        config: StkConfig,
        /,
        *,
        scenario: Scenario | None = None,
        port: int = 0,
        clock: Clock | None = None,
        randomness: random.Random | None = None,
        on_answered: Callable[[CallbackDelivery], object] | None = None,
        public_callbacks: bool = False,
    ) -> None:
        """Bind; nothing is answered before `start`.

        Args:
            config: The app's key and secret, the passkey and the account that it knows.
            scenario: What becomes of pushes; paid after a second by default.
            port: Port to listen on; 0 for any free one.
            clock: Tells the time.
            randomness: Where ids, tokens and receipts come from; the system's by default.
            on_answered: Told of each answered prompt, just before its callback is posted.
            public_callbacks: Whether callbacks are posted to other machines too.
        """
        self._clock = clock or SystemClock()
        self._engine = DarajaEngine(
            config,
            clock=self._clock,
            randomness=randomness or random.SystemRandom(),
            scenario=scenario,
        )
        self._on_answered = on_answered
        self._public_callbacks = public_callbacks
        self._changed = threading.Condition()
        self._closing = False
        self._http = LoopbackServer(self._answer, port=port)
        self._worker = threading.Thread(
            target=self._post_callbacks, name="mpesa-stk-callbacks", daemon=True
        )
        self.origin = self._http.origin
        self.environment = Environment.at(self.origin, name="simulator")

    def play(self, scenario: Scenario, /) -> None:
        """Let the pushes from now on end as a scenario says."""
        with self._changed:
            self._engine.scenario = scenario

    def start(self) -> None:
        """Begin to answer, and to post callbacks."""
        self._http.start()
        self._worker.start()

    def close(self) -> None:
        """Stop; callbacks that are not due yet are never posted."""
        with self._changed:
            self._closing = True
            self._changed.notify()
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

    def _answer(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> HttpResponse:
        with self._changed:
            response = self._engine.answer(method, target, headers, body)
            self._changed.notify()
        return response

    # --- callbacks -----------------------------------------------------------------------------

    def _post_callbacks(self) -> None:
        """Post each callback when it is due, until `close`."""
        while (delivery := self._next_delivery()) is not None:
            try:
                self._post(delivery)
            except Exception as error:  # noqa: BLE001 - whatever one callback meets, the next must go out
                _LOGGER.warning(
                    "mpesa_stk.simulator.callback_failed error=%s", type(error).__name__
                )

    def _next_delivery(self) -> CallbackDelivery | None:
        """Wait for the next callback that is due; None when closing."""
        with self._changed:
            while not self._closing:
                delivery = self._engine.take_due()
                if delivery is not None:
                    return delivery
                due = self._engine.next_due()
                self._changed.wait(None if due is None else max(due - self._clock.monotonic(), 0))
        return None

    def _post(self, delivery: CallbackDelivery) -> None:
        """Post one callback, once; redirects are not followed, as Daraja does not."""
        if self._on_answered is not None:
            self._on_answered(delivery)
        if not (self._public_callbacks or is_loopback_url(delivery.url)):
            _LOGGER.warning("mpesa_stk.simulator.callback_withheld reason=not_this_machine")
            return
        parts = urlsplit(delivery.url)
        secure = parts.scheme == "https"
        connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = connect(parts.netloc, timeout=_CALLBACK_TIMEOUT)
        try:
            connection.request(
                "POST",
                f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}",
                body=delivery.body,
                headers={"Content-Type": "application/json"},
            )
            status = connection.getresponse().status
            _LOGGER.info("mpesa_stk.simulator.callback_posted http_status=%s", status)
        finally:
            connection.close()
