"""`AsyncSimulatedDaraja`: a simulated Daraja for tests with asyncio. No sockets, no waiting."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from mpesa_stk.async_client import AsyncStkClient
from mpesa_stk.clock import AwaitedClock
from mpesa_stk.config.settings import StkConfig
from mpesa_stk.daraja.exchange import HttpRequest, HttpResponse
from mpesa_stk.daraja.retry import RetryPolicy
from mpesa_stk.daraja.tokens import AsyncTokenStore
from mpesa_stk.hooks import Hook
from mpesa_stk.payments.async_payments import AsyncPayments
from mpesa_stk.payments.store import AsyncTransactionStore
from mpesa_stk.stores.memory import AsyncMemoryTransactionStore
from mpesa_stk.testing.daraja import TAKEN, SimulatedDaraja, no_chance


class AsyncSimulatedDaraja:
    """A `SimulatedDaraja`, awaited. It is the `AsyncTransport` of the clients that it makes.

    Attributes:
        daraja: The `SimulatedDaraja`. Use it to play scenarios, to script faults and to look at prompts.
        clock: Its time, as an `AsyncClock`. To sleep is to let its time pass.
    """

    def __init__(self, daraja: SimulatedDaraja | None = None, /) -> None:
        """Make an awaited form of a simulated Daraja.

        Args:
            daraja: The simulated Daraja. By default a new one.
        """
        self.daraja = SimulatedDaraja() if daraja is None else daraja
        self.clock = _Clock(self.daraja)

    def client(
        self,
        config: StkConfig | None = None,
        *,
        token_store: AsyncTokenStore | None = None,
        retry: RetryPolicy | None = None,
        hooks: tuple[Hook, ...] = (),
    ) -> AsyncStkClient:
        """Make a client of this Daraja. The arguments are those of `SimulatedDaraja.client`."""
        return AsyncStkClient(
            self.daraja.config if config is None else config,
            transport=self,
            token_store=token_store,
            clock=self.clock,
            retry=RetryPolicy(jitter=no_chance) if retry is None else retry,
            hooks=hooks,
        )

    def payments(
        self,
        store: AsyncTransactionStore | None = None,
        *,
        client: AsyncStkClient | None = None,
        hooks: tuple[Hook, ...] = (),
    ) -> AsyncPayments:
        """Make payments over this Daraja. From now on they receive the callbacks.

        The arguments are those of `SimulatedDaraja.payments`.
        """
        payments = AsyncPayments(
            self.client() if client is None else client,
            AsyncMemoryTransactionStore() if store is None else store,
            clock=self.clock,
            hooks=hooks,
            jitter=no_chance,
        )
        self.daraja.deliver_to(_receiver_of(payments))
        return payments

    async def decide(self, checkout_request_id: str, answer: str, /) -> None:
        """Let the customer answer, as `SimulatedDaraja.decide` does."""
        await self.daraja.decide_flow(checkout_request_id, answer)

    async def advance(self, seconds: float, /) -> None:
        """Let time pass, and deliver each callback at its own time."""
        await self.daraja.advance_flow(seconds)

    async def run(self) -> None:
        """Let time pass until no prompt and no callback is due any more."""
        await self.daraja.run_flow()

    async def send(self, request: HttpRequest, /) -> HttpResponse:
        """Answer one request, as an `AsyncTransport`."""
        return await self.daraja.send_flow(request)

    async def close(self) -> None:
        """Do nothing: there are no connections."""


class _Clock(AwaitedClock):
    """The clock of a simulated Daraja. To sleep is to let the time of the simulation pass."""

    def __init__(self, daraja: SimulatedDaraja) -> None:
        super().__init__(daraja.clock)
        self._daraja = daraja

    async def sleep(self, seconds: float, /) -> None:
        """Let this time pass, and deliver the callbacks of that time."""
        self._daraja.clock.slept.append(seconds)
        await self._daraja.advance_flow(seconds)


def _receiver_of(payments: AsyncPayments) -> Callable[[str, bytes], Awaitable[int]]:
    async def take(url: str, body: bytes) -> int:
        await payments.handle_callback(body, token=url.rstrip("/").rpartition("/")[2])
        return TAKEN

    return take
