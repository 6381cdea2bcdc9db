"""`AsyncAccounts`: the face of `AccountsFlow` for asyncio. It imports no asyncio itself."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from datetime import timedelta

from mpesa_stk.async_client import AsyncStkClient, aiohttp_transport
from mpesa_stk.clock import AsyncClock, AsyncSystemClock
from mpesa_stk.config.settings import StkConfig
from mpesa_stk.daraja.exchange import AsyncTransport
from mpesa_stk.daraja.retry import RetryPolicy
from mpesa_stk.daraja.tokens import AsyncTokenStore
from mpesa_stk.hooks import Hook
from mpesa_stk.payments.account_book import ListAccounts, LoadConfig
from mpesa_stk.payments.accounts_flow import KEPT, KEPT_FOR, AccountsFlow, Shared, pace_of, way_out
from mpesa_stk.payments.async_payments import AsyncPayments
from mpesa_stk.payments.budget import (
    AsyncQueryBudget,
    AwaitedQueryBudget,
    budget_for,
)
from mpesa_stk.payments.callback import CallbackReceipt
from mpesa_stk.payments.desk_faces import AsyncDeskFace
from mpesa_stk.payments.due import DueReport
from mpesa_stk.payments.handlers import any_handler, never
from mpesa_stk.payments.query import PaymentStatus
from mpesa_stk.payments.schedule import CALLBACK_RETENTION
from mpesa_stk.payments.state import Transaction
from mpesa_stk.payments.store import (
    AsyncTransactionStore,
)
from mpesa_stk.privacy import hides_locals


class AsyncAccounts(AsyncDeskFace):
    """`Accounts` for asyncio: the same methods, awaited.

    The tasks of one event loop may share it.

    Attributes:
        store: Keeps the payments.
        clock: Gives the time.
        notify: Hands an `Event` to the hooks and the log.
        flow: The methods, for `PaymentEndpoints`.
    """

    @hides_locals
    def __init__(  # noqa: PLR0913 - one argument a part, all of them by name
        self,
        store: AsyncTransactionStore,
        configs: Iterable[StkConfig] | LoadConfig,
        /,
        *,
        accounts: ListAccounts | None = None,
        clock: AsyncClock | None = None,
        hooks: tuple[Hook, ...] = (),
        jitter: Callable[[], float] = random.random,
        query_budget: AsyncQueryBudget | None = None,
        transport: AsyncTransport | None = None,
        token_store: AsyncTokenStore | None = None,
        retry: RetryPolicy | None = None,
        callback_retention: timedelta = CALLBACK_RETENTION,
        kept: int = KEPT,
        kept_for: float = KEPT_FOR,
    ) -> None:
        """Serve several accounts. The arguments are those of `Accounts`.

        Args:
            store: Stores the payments of all accounts.
            configs: The settings of each account, or a function that loads those of one. It may be an
                ``async def``. A plain function must not block.
            accounts: Lists the accounts, if `configs` is a function. It may be an ``async def``.
            clock: Gives the time.
            hooks: Receive an `Event` for each step. They must not block.
            jitter: Returns a random number from 0 to 1.
            query_budget: Limits the status queries of each app.
            transport: Carries the requests of all accounts. An `AioHttpTransport` by default.
            token_store: Keeps the token of each app.
            retry: Number of tries of a request that may be sent again, and the waits between them.
            callback_retention: How long to keep callbacks that settled no payment.
            kept: Most accounts whose loaded settings stay in memory.
            kept_for: Seconds after which settings are loaded again.

        Raises:
            ConfigurationError: An argument cannot work.
        """
        from mpesa_stk.daraja.async_tokens import (  # noqa: PLC0415 - synchronous hosts never import asyncio
            AsyncMemoryTokenStore,
        )

        self.store = store
        self.clock = clock = clock or AsyncSystemClock()
        token_store = token_store if token_store is not None else AsyncMemoryTokenStore()
        transports: Shared[AsyncTransport] = Shared(
            transport, lambda config: aiohttp_transport(config, clock), by=way_out
        )
        budgets: Shared[AsyncQueryBudget] = Shared(
            query_budget,
            lambda config: AwaitedQueryBudget(budget_for(config.environment)),
            by=pace_of,
        )

        def make(config: StkConfig) -> AsyncPayments:
            client = AsyncStkClient(
                config,
                transport=transports.of(config),
                token_store=token_store,
                clock=clock,
                retry=retry,
                hooks=hooks,
            )
            return AsyncPayments(
                client,
                store,
                clock=clock,
                hooks=hooks,
                jitter=jitter,
                query_budget=budgets.of(config),
                callback_retention=callback_retention,
            )

        self.flow = AccountsFlow(
            store,
            configs,
            accounts=accounts,
            make=make,
            transports=transports.all,
            clock=clock,
            hooks=hooks,
            jitter=jitter,
            callback_retention=callback_retention,
            kept=kept,
            kept_for=kept_for,
        )
        self.notify = self.flow.notify
        self._desk = self.flow.desk

    async def __aenter__(self) -> AsyncAccounts:  # noqa: PYI034 - typing.Self needs Python 3.11
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close idle connections."""
        await self.flow.close()

    # --- one account -----------------------------------------------------------------------------

    def __getitem__(self, name: str) -> AsyncPayments:
        """Return the payments of one account, as `Accounts.account` does.

        Raises:
            TypeError: The settings must be awaited. Await `account` instead.
        """
        return self.flow.account_now(name)

    @hides_locals
    async def account(self, name: str, /) -> AsyncPayments:
        """Return the payments of one account, as `Accounts.account` does."""
        return await self.flow.account(name)

    async def names(self) -> frozenset[str]:
        """Return the full names of all accounts, as `Accounts.names` does."""
        return await self.flow.names()

    def forget(self, account: str, /) -> None:
        """Load the settings of an account again when they are needed next, as `Accounts.forget` does."""
        self.flow.forget(account)

    # --- payments of all accounts ----------------------------------------------------------------

    @hides_locals
    async def get(self, transaction_no: str, /) -> Transaction | None:
        """Return the payment with that number, as `Accounts.get` does."""
        return await self.flow.get(transaction_no)

    @hides_locals
    async def find(self, *, checkout_request_id: str) -> Transaction | None:
        """Return the payment whose prompt has that id, as `Accounts.find` does."""
        return await self.flow.find(checkout_request_id=checkout_request_id)

    @hides_locals
    async def outcome(
        self, transaction_no: str, /, *, timeout: float = 120.0
    ) -> Transaction | None:
        """Wait until a payment is settled, as `Accounts.outcome` does."""
        return await self.flow.outcome(transaction_no, timeout=timeout)

    @hides_locals
    async def query(
        self, checkout_request_id: str, /, *, token: str | None = None
    ) -> PaymentStatus:
        """Return the status of a payment, as `Accounts.query` does."""
        return await self.flow.query(checkout_request_id, token=token)

    @hides_locals
    async def handle_callback(self, body: bytes, /, *, token: str | None = None) -> CallbackReceipt:
        """Handle a callback of any account, as `Accounts.handle_callback` does."""
        return await self.flow.handle_callback(body, token=token)

    @hides_locals
    async def process_due(
        self,
        *,
        on_settled: Callable[[Transaction], object] | None = None,
        limit: int = 100,
        deadline: float = 25.0,
        stop: Callable[[], bool] | None = None,
    ) -> DueReport:
        """Do one bounded batch of due work for all accounts, as `Accounts.process_due` does.

        `on_settled` may be a plain function, which must not block, or an ``async def``.
        """
        return await self.flow.due.process(
            on_settled=any_handler(on_settled) if on_settled is not None else None,
            limit=limit,
            deadline=deadline,
            stop=stop or never,
        )
