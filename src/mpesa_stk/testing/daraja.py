"""`SimulatedDaraja`: a simulated Daraja inside a test.

It uses no sockets or threads and does not wait. Time is a `ManualClock`, and a callback is a function call.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from mpesa_stk.client import StkClient
from mpesa_stk.config.account import PayBill
from mpesa_stk.config.environment import Environment
from mpesa_stk.config.settings import StkConfig
from mpesa_stk.daraja.exchange import HttpRequest, HttpResponse
from mpesa_stk.daraja.retry import RetryPolicy
from mpesa_stk.daraja.tokens import TokenStore
from mpesa_stk.errors import OutcomeUnknown
from mpesa_stk.faces import finish
from mpesa_stk.hooks import Hook
from mpesa_stk.payments.payments import Payments
from mpesa_stk.payments.store import TransactionStore
from mpesa_stk.simulator.engine import PULL_PATHS, SLOW_SECONDS
from mpesa_stk.simulator.faults import DeliveryFault
from mpesa_stk.simulator.prompts import CallbackDelivery
from mpesa_stk.simulator.scenarios import Scenario
from mpesa_stk.simulator.simulation import FURTHEST, Simulation
from mpesa_stk.stores.memory import MemoryTransactionStore
from mpesa_stk.testing.manual_clock import ManualClock

if TYPE_CHECKING:
    from mpesa_stk.testing.mount import RequestsMocker

Receiver = Callable[[str, bytes], int | Awaitable[int | None] | None]
"""Takes the address and the body of a callback, and returns the HTTP status, or None for no answer.

One for `AsyncSimulatedDaraja` may be an ``async def``.
"""

# No server listens at this address, so a test that uses the network by mistake fails.
_NOWHERE = "http://127.0.0.1:9"
TAKEN = 200
_TOKEN_REFUSED = b'"Invalid Access Token"'


def simulated_config(**changes: Any) -> StkConfig:  # noqa: ANN401 - the settings of StkConfig
    """Return the settings of a made-up merchant.

    The environment is called ``simulated`` and is on this machine, so that no request can leave it.

    Args:
        changes: Settings of `StkConfig` that replace the made-up ones.
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


class SimulatedDaraja(Simulation):
    """A Daraja in this process. It is the `Transport` of the clients that it makes.

    Safe to share between threads. A callback is delivered in the thread that moves the time, or in the
    thread that pushes if the callback comes before the answer.

    Attributes:
        config: The settings of its first merchant.
        merchants: Those of all its merchants, the first one included.
        clock: Its time.
        callback_errors: Errors that receivers of callbacks raised. Such a callback counts as not
            accepted. See `raise_callback_errors`.
    """

    def __init__(
        self,
        config: StkConfig | None = None,
        *others: StkConfig,
        clock: ManualClock | None = None,
        seed: int = 0,
        scenario: Scenario | str | None = None,
        slow_seconds: float = SLOW_SECONDS,
    ) -> None:
        """Make a Daraja.

        Args:
            config: The settings of its merchant. Default: `simulated_config`.
            others: The settings of further merchants. Several may share an app.
            clock: Its time, shared by the clients and payments that it makes.
            seed: The same seed makes the same ids, tokens and receipts.
            scenario: The scenario of pushes, or its name. Default: paid after a second.
            slow_seconds: Delay of a slow answer.

        Raises:
            KeyError: `SCENARIOS` has no such name.
        """
        self.clock = ManualClock() if clock is None else clock
        self.callback_errors: list[Exception] = []
        self._receiver: Receiver | None = None
        self._pushes = 0
        super().__init__(
            simulated_config() if config is None else config,
            *others,
            clock=self.clock,
            randomness=random.Random(seed),  # noqa: S311 - the same in each run, on purpose
            scenario=scenario,
            slow_seconds=slow_seconds,
        )

    # --- clients and receivers -----------------------------------------------------------------

    def client(
        self,
        config: StkConfig | None = None,
        *,
        token_store: TokenStore | None = None,
        retry: RetryPolicy | None = None,
        hooks: tuple[Hook, ...] = (),
    ) -> StkClient:
        """Make a client of this Daraja, with the same clock.

        Args:
            config: The settings of one of its merchants. Default: the first.
            token_store: As for `StkClient`.
            retry: As for `StkClient`. Default: the usual policy, without randomness.
            hooks: As for `StkClient`.
        """
        return StkClient(
            self.config if config is None else config,
            transport=self,
            token_store=token_store,
            clock=self.clock,
            retry=RetryPolicy(jitter=no_chance) if retry is None else retry,
            hooks=hooks,
        )

    def payments(
        self,
        store: TransactionStore | None = None,
        *,
        client: StkClient | None = None,
        hooks: tuple[Hook, ...] = (),
    ) -> Payments:
        """Make payments over this Daraja. From now on they receive the callbacks.

        Args:
            store: Store of the payments. Default: in memory.
            client: A client from `client`. Default: a new one.
            hooks: As for `Payments`.
        """
        payments = Payments(
            self.client() if client is None else client,
            MemoryTransactionStore() if store is None else store,
            clock=self.clock,
            hooks=hooks,
            jitter=no_chance,
        )
        self.deliver_to(_receiver_of(payments))
        return payments

    def deliver_to(self, receiver: Receiver, /) -> None:
        """Deliver each callback from now on by calling a function.

        Args:
            receiver: Takes address and body, and returns the HTTP status, or None for no answer. It
                may post the callback to your endpoint.
        """
        self._receiver = receiver

    def mount(self, mocker: RequestsMocker, /) -> None:
        """Answer the requests of the library requests, with requests-mock.

        Args:
            mocker: requests-mock's fixture, `Mocker` or `Adapter`.
        """
        # Imported here, because it imports requests, which other tests do not need.
        from mpesa_stk.testing.mount import register  # noqa: PLC0415

        def exchange(*request: Any) -> HttpResponse:  # noqa: ANN401 - as _exchange has it
            return finish(self._exchange(*request))

        addresses = self.config.environment.urls
        pulls = [urljoin(addresses["query_url"], path) for path in PULL_PATHS]
        register(mocker, [*addresses.values(), *pulls], exchange)

    # --- time ------------------------------------------------------------------------------------

    def decide(self, checkout_request_id: str, answer: str, /) -> None:
        """Let the customer answer, as in `Simulation.decide`, and deliver due callbacks."""
        finish(self.decide_flow(checkout_request_id, answer))

    async def decide_flow(self, checkout_request_id: str, answer: str, /) -> None:
        """Let the customer answer, as `decide` documents."""
        super().decide(checkout_request_id, answer)
        await self.advance_flow(0.0)

    def reset(self) -> None:
        """Forget prompts, ledger, outages, journal, scripts, tokens, errors. Play the first scenario."""
        super().reset()
        self._pushes = 0
        self.callback_errors.clear()

    def advance(self, seconds: float, /) -> None:
        """Let time pass, and deliver each callback at its own time.

        Args:
            seconds: Number of seconds, at least 0.

        Raises:
            ValueError: Time would go back, or forward by more than ten years. It has not moved.
        """
        finish(self.advance_flow(seconds))

    def run(self) -> None:
        """Let time pass until no prompt and no callback is due any more."""
        finish(self.run_flow())

    async def advance_flow(self, seconds: float, /) -> None:
        """Let time pass, as `advance` documents."""
        if not 0 <= seconds <= FURTHEST:
            raise ValueError("must be 0 or more seconds, and ten years at most")
        ends = self.clock.monotonic() + seconds
        while (delivery := self._next_callback(ends)) is not None:
            await self._deliver(delivery)

    async def run_flow(self) -> None:
        """Let time pass, as `run` documents."""
        while (due := self._next_due()) is not None:
            await self.advance_flow(max(due - self.clock.monotonic(), 0.0))

    def _next_due(self) -> float | None:
        with self._changes:
            return self._engine.prompts.next_due()

    def _next_callback(self, ends: float) -> CallbackDelivery | None:
        """Move the time to the next callback and return it, or move the time to the end."""
        with self._changes:
            while (delivery := self._engine.take_due()) is None:
                due = self._engine.prompts.next_due()
                if due is None or due > ends:
                    self._move_to(ends)
                    return None
                self._move_to(due)
        return delivery

    def _move_to(self, moment: float) -> None:
        self.clock.advance(max(moment - self.clock.monotonic(), 0.0))

    async def _deliver(self, delivery: CallbackDelivery) -> None:
        """Deliver a callback without the lock: its receiver may call this Daraja."""
        status, note = None, "nobody listens"
        if self._receiver is not None:
            try:
                answer = self._receiver(delivery.url, delivery.body)
                status, note = await answer if isinstance(answer, Awaitable) else answer, ""
            except Exception as error:  # noqa: BLE001 - the host's receiver may raise anything, and not into a push
                self.callback_errors.append(error)
                note = type(error).__name__
        with self._changes:
            self._engine.note_callback(delivery, status=status, note=note)

    # --- results ---------------------------------------------------------------------------------

    @property
    def pushes(self) -> int:
        """Number of pushes that reached Daraja, without those with a refused token."""
        return self._pushes

    def raise_callback_errors(self) -> None:
        """Raise the first of `callback_errors`, if any.

        The fixture ``daraja`` calls this method at its end.
        """
        if self.callback_errors:
            raise self.callback_errors[0]

    # --- requests --------------------------------------------------------------------------------

    def send(self, request: HttpRequest, /) -> HttpResponse:
        """Answer one request, as a `Transport`.

        Raises:
            OutcomeUnknown: The answer was lost, or took too long.
        """
        return finish(self.send_flow(request))

    async def send_flow(self, request: HttpRequest, /) -> HttpResponse:
        """Answer one request, as `send` documents."""
        limit = request.total_timeout
        try:
            return await self._exchange(
                request.method, request.url, request.headers, request.body, limit, limit
            )
        except OSError as error:
            reason = str(error)
        raise OutcomeUnknown(reason)

    def close(self) -> None:
        """Do nothing: there are no connections."""

    async def _exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        limit: float,
        silence: float,
    ) -> HttpResponse:
        """Answer one request, or raise as a socket does if the answer does not arrive.

        Args:
            method: HTTP method.
            url: Address.
            headers: Header fields.
            body: Body.
            limit: Seconds that the client has for the whole exchange.
            silence: Seconds for which it waits for the next byte.
        """
        with self._changes:
            reply = self._engine.answer(method, url, headers, body)
            is_push = url.lower() == self.config.environment.push_url.lower()
            self._pushes += is_push and _TOKEN_REFUSED not in reply.response.body
        for delivery in reply.callbacks_first:
            await self._deliver(delivery)
        if reply.delivery in (DeliveryFault.NOTHING, DeliveryFault.HALF):
            raise ConnectionResetError("the connection failed before the answer was complete")
        if reply.delivery is DeliveryFault.DRIP:
            await self._wait(float(len(reply.response.body)), limit)
        elif reply.delivery is DeliveryFault.SLOW:
            await self._wait(reply.seconds, min(limit, silence))
        return reply.response

    async def _wait(self, seconds: float, limit: float) -> None:
        """Let the time of an answer pass, but not beyond the limit of the client."""
        await self.advance_flow(min(seconds, limit))
        if seconds > limit:
            raise TimeoutError("no complete answer in time")


def _receiver_of(payments: Payments) -> Receiver:
    def take(url: str, body: bytes) -> int:
        payments.handle_callback(body, token=url.rstrip("/").rpartition("/")[2])
        return TAKEN

    return take


def no_chance() -> float:
    """Return the same number each time, instead of a random one."""
    return 0.5
