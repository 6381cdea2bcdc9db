"""`AsyncStkClient`: token, push, status query and pull, awaited. It imports no asyncio itself."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from mpesa_stk.clock import AsyncClock, AsyncSystemClock
from mpesa_stk.config.settings import StkConfig
from mpesa_stk.daraja.client_flow import ClientFlow
from mpesa_stk.daraja.exchange import AsyncTransport
from mpesa_stk.daraja.models import PushAccepted, PushRequest, QueryResult, Token
from mpesa_stk.daraja.retry import RetryPolicy
from mpesa_stk.daraja.tokens import (
    AsyncTokenStore,
)
from mpesa_stk.hooks import Hook
from mpesa_stk.phone import PhoneNumber
from mpesa_stk.privacy import hides_locals
from mpesa_stk.reconcile.pull import PullRegistration
from mpesa_stk.reconcile.pull_flow import pull_statement, register_pull
from mpesa_stk.reconcile.statement import Statement

if TYPE_CHECKING:
    from mpesa_stk.daraja.aiohttp_transport import AioHttpTransport


class AsyncStkClient:
    """`StkClient` for asyncio: the same methods, awaited.

    Share it between the tasks of one event loop. Use it as an asynchronous context manager, or await
    `close`. If a task is cancelled while it pushes, the push may have left.

    Attributes:
        config: The settings.
        app: A hash that names the app in shared stores without showing its key.
        flow: The calls, for `AsyncPayments`.
    """

    def __init__(
        self,
        config: StkConfig,
        /,
        *,
        transport: AsyncTransport | None = None,
        token_store: AsyncTokenStore | None = None,
        clock: AsyncClock | None = None,
        retry: RetryPolicy | None = None,
        hooks: tuple[Hook, ...] = (),
    ) -> None:
        """Make a client. It sends no request yet.

        Args:
            config: The settings.
            transport: Carries the requests. An `AioHttpTransport` by default.
            token_store: Keeps the token. Share one between workers. In memory by default.
            clock: The clock to read and to sleep by. The machine's clock by default.
            retry: Number of tries of a request that may be sent again, and the waits between them.
            hooks: Called with an `Event` for each token, push, query and page of a pull. It must not block.
        """
        from mpesa_stk.daraja.async_tokens import (  # noqa: PLC0415 - synchronous hosts never import asyncio
            AsyncMemoryTokenStore,
        )

        clock = clock if clock is not None else AsyncSystemClock()
        self.flow = ClientFlow(
            config,
            transport=transport if transport is not None else aiohttp_transport(config, clock),
            token_store=token_store if token_store is not None else AsyncMemoryTokenStore(),
            clock=clock,
            retry=retry,
            hooks=hooks,
        )
        self.config = config
        self.app = self.flow.app

    async def __aenter__(self) -> AsyncStkClient:  # noqa: PYI034 - typing.Self needs Python 3.11
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close idle connections."""
        await self.flow.close()

    @hides_locals
    async def token(self) -> Token:
        """Return the bearer token, as `StkClient.token` does."""
        return await self.flow.token()

    @hides_locals
    async def push(
        self,
        *,
        phone_number: str | PhoneNumber,
        amount: int | Decimal,
        reference: str,
        description: str = "",
        callback_url: str | None = None,
    ) -> PushAccepted:
        """Ask a phone to pay. Arguments, result and errors are those of `StkClient.push`."""
        request = self.flow.check_push(
            phone_number=phone_number,
            amount=amount,
            reference=reference,
            description=description,
            callback_url=callback_url,
        )
        return await self.flow.send_push(request)

    @hides_locals
    def check_push(
        self,
        *,
        phone_number: str | PhoneNumber,
        amount: int | Decimal,
        reference: str,
        description: str = "",
        callback_url: str | None = None,
    ) -> PushRequest:
        """Check a push without sending it. Arguments and errors are those of `StkClient.push`."""
        return self.flow.check_push(
            phone_number=phone_number,
            amount=amount,
            reference=reference,
            description=description,
            callback_url=callback_url,
        )

    @hides_locals
    async def send_push(
        self, request: PushRequest, /, *, leave_by: float | None = None
    ) -> PushAccepted:
        """Send a checked push, as `StkClient.send_push` does."""
        return await self.flow.send_push(request, leave_by=leave_by)

    @hides_locals
    async def query(
        self,
        checkout_request_id: str,
        /,
        *,
        timeout: float | None = None,
        attempts: int | None = None,
    ) -> QueryResult:
        """Ask Daraja for the state of a push, as `StkClient.query` does."""
        return await self.flow.query(checkout_request_id, timeout=timeout, attempts=attempts)

    @hides_locals
    async def wait_for_result(
        self,
        checkout_request_id: str,
        /,
        *,
        timeout: float = 120.0,
        on_poll: Callable[[QueryResult], None] | None = None,
    ) -> QueryResult:
        """Ask until the payment is PAID or FAILED, or the time is up, as `StkClient` does."""
        return await self.flow.wait_for_result(
            checkout_request_id, timeout=timeout, on_poll=on_poll
        )

    @hides_locals
    async def pull(self, start: datetime, end: datetime, /) -> Statement:
        """Ask for the payments of a window, as `StkClient.pull` does."""
        return await pull_statement(self.flow, start, end)

    @hides_locals
    async def register_pull(
        self, *, nominated_number: str | PhoneNumber, callback_url: str
    ) -> PullRegistration:
        """Register the account for `pull`, as `StkClient.register_pull` does."""
        return await register_pull(
            self.flow, nominated_number=nominated_number, callback_url=callback_url
        )


def aiohttp_transport(config: StkConfig, clock: AsyncClock, /) -> AioHttpTransport:
    """Make the transport of an asynchronous client that is given none."""
    from mpesa_stk.daraja.aiohttp_transport import AioHttpTransport  # noqa: PLC0415 - an extra

    return AioHttpTransport(
        proxies=config.proxies,
        ca_bundle=config.ca_bundle,
        user_agent=config.user_agent,
        monotonic=clock.monotonic,
    )
