"""`PaymentEndpoints`: checkout, query, claim and callback, for any framework. One flow, two faces."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, cast

from mpesa_stk.config.settings import StkConfig
from mpesa_stk.faces import finish
from mpesa_stk.payments.accounts import Accounts
from mpesa_stk.payments.async_accounts import AsyncAccounts
from mpesa_stk.payments.async_payments import AsyncPayments
from mpesa_stk.payments.payments import Payments
from mpesa_stk.payments.payments_flow import PaymentsFlow
from mpesa_stk.privacy import hides_locals
from mpesa_stk.web.accounts_endpoints import AccountsEndpoints
from mpesa_stk.web.capacity import Capacity
from mpesa_stk.web.endpoints_flow import EndpointsFlow
from mpesa_stk.web.guard import CallbackGuard
from mpesa_stk.web.host_rules import AccountQuote, Authorize, HostRules, KeyScope, Quote
from mpesa_stk.web.limits import AsyncLimits, Limits, MemoryLimits
from mpesa_stk.web.messages import TOO_BUSY, WebRequest, WebResponse
from mpesa_stk.web.wsgi import WsgiApp

if TYPE_CHECKING:
    from mpesa_stk.web.asgi import AsgiApp
    from mpesa_stk.web.lanes import TaskLanes

_THREADS_AT_ONCE = 16
_TASKS_AT_ONCE = 256


class PaymentEndpoints:
    """``checkout/``, ``query/``, ``claim/`` and ``callback/``, all under ``<prefix>/``.

    With `Accounts`, each account has them under ``<prefix>/<account>/``. A callback at
    ``<prefix>/callback/`` finds its account by its signed token.

    With `Payments` or `Accounts`, it is safe to share between threads: use `handle`, `wsgi` or `asgi`. With
    their asynchronous forms, the tasks of one event loop may share it: use `handle_async` or `asgi`.

    Attributes:
        payments: The payments that the endpoints change and read.
    """

    def __init__(  # noqa: PLR0913 - each has a default
        self,
        payments: Payments | AsyncPayments | Accounts | AsyncAccounts,
        /,
        *,
        guard: CallbackGuard | Callable[[StkConfig], CallbackGuard] | None = None,
        prefix: str = "/payments",
        quote: Quote | AccountQuote | None = None,
        authorize: Authorize | None = None,
        key_scope: KeyScope | None = None,
        limits: Limits | AsyncLimits | None = None,
        show_all: bool = False,
        at_once: int | None = None,
    ) -> None:
        """Make the endpoints.

        `quote`, `authorize` and `key_scope` are plain functions. With `AsyncPayments` each may be an
        ``async def``, and a plain one must not block. If one raises an exception, the answer is 500
        without its text, and no request goes to Daraja. After a `StoreError` it is 503.

        Args:
            payments: The payments that the endpoints change and read.
            guard: Rules about who may call, or a function that makes them of the settings of an account.
                Default: `CallbackGuard.from_config`.
            prefix: The common start of the paths.
            quote: Returns the price of an order, in shillings, or None if there is nothing to pay. It gets
                the ``order`` of the request, or its ``reference`` if it names no order. The amount of a
                request must be that price or missing. Without `quote`, the client decides the amount.
                With `Accounts` it gets the full name of the account as well, because two accounts may have
                orders of one name.
            authorize: Called with the request, ``"checkout"``, ``"query"`` or ``"claim"``, and for the last
                two the payment. If it returns False, the answer is 403: no request goes to
                Daraja, and no payment is shown.
            key_scope: Returns who the client is, such as the id of its session, or None. An
                ``Idempotency-Key`` then counts for that client only.
            limits: How often clients may act. Default: `MemoryLimits`. `NoLimits` turns them off. With
                `AsyncPayments`, limits that ask a database must be `AsyncLimits`.
            show_all: Whether a query by CheckoutRequestID shows the payment whole, though such an id can
                be guessed. If there is an `authorize`, every query that it allows does.
            at_once: Largest number of checkouts, queries and claims that are answered at the same time. One
                more gets 503 at once. Callbacks do not count.

                With `Payments` the default is 16, because each request holds a thread until Daraja
                answers. Give a WSGI server more threads than this, so that some are left for callbacks.

                With `AsyncPayments` the default is 256. No thread is held, but two sockets are: one to
                the client, one to Daraja. With as many callbacks beside them, a process stays below
                1,024 open files, which is the usual limit on Linux.

        Raises:
            ValueError: `at_once` is below 1.
            TypeError: The payments are synchronous, and the limits are not.
        """
        is_async = isinstance(payments, (AsyncPayments, AsyncAccounts))
        if limits is not None and inspect.iscoroutinefunction(limits.take) and not is_async:
            raise TypeError("the payments are synchronous: give them limits that are, too")
        if at_once is None:
            at_once = _TASKS_AT_ONCE if is_async else _THREADS_AT_ONCE
        self.payments = payments
        self._is_async = is_async
        self._at_once = at_once
        self._capacity = Capacity(at_once)
        several = isinstance(payments, (Accounts, AsyncAccounts))
        shared = limits or MemoryLimits(monotonic=payments.clock.monotonic)
        make_guard = _guard_maker(guard)

        def host_of(account: str) -> HostRules:
            return HostRules(
                quote=_for_account(quote, account) if several else cast("Quote | None", quote),
                authorize=authorize,
                key_scope=key_scope,
                may_await=is_async,
            )

        def of_account(flow: PaymentsFlow, prefix: str) -> EndpointsFlow:
            return EndpointsFlow(
                flow,
                guard=make_guard(flow.config),
                prefix=prefix,
                host=host_of(flow.account),
                limits=shared,
                show_all=show_all,
            )

        self._flow: EndpointsFlow | AccountsEndpoints
        if isinstance(payments, (Accounts, AsyncAccounts)):
            self._flow = AccountsEndpoints(payments.flow, make=of_account, prefix=prefix)
        else:
            self._flow = of_account(payments.flow, prefix)

    # --- for Payments --------------------------------------------------------------------------

    @property
    def wsgi(self) -> WsgiApp:
        """The endpoints as a WSGI application.

        Raises:
            TypeError: The payments are asynchronous.
        """
        self._demand_synchronous("mount asgi, or make the endpoints of Payments")
        return WsgiApp(self.handle)

    @hides_locals
    def handle(self, request: WebRequest, /) -> WebResponse:
        """Answer one request. Never raises, even for a malformed request or a bug.

        Raises:
            TypeError: The payments are asynchronous.
        """
        self._demand_synchronous("await handle_async, or mount asgi")
        if self._flow.is_callback(request.path):
            return finish(self._flow.answer(request))
        if not self._capacity.take():
            return TOO_BUSY
        try:
            return finish(self._flow.answer(request))
        finally:
            self._capacity.give_back()

    def _demand_synchronous(self, instead: str) -> None:
        if self._is_async:
            raise TypeError(f"the payments are asynchronous: {instead}")

    # --- for AsyncPayments ---------------------------------------------------------------------

    @hides_locals
    async def handle_async(self, request: WebRequest, /) -> WebResponse:
        """Answer one request on this event loop. Never raises, as `handle`.

        If the awaiting task is cancelled, for example because the client has hung up, the request is
        still handled to its end, in a separate task. So no answer of Daraja and no callback is lost.

        Raises:
            TypeError: The payments are synchronous.
        """
        return await self._lanes.answer(request)

    async def drain(self) -> None:
        """Wait until the requests in progress are answered, also those whose client has hung up.

        Await it when the server has stopped, and before you close the client. A request that is cut off
        when the event loop ends leaves its payment UNCERTAIN.

        Raises:
            TypeError: The payments are synchronous.
        """
        await self._lanes.drain()

    @cached_property
    def _lanes(self) -> TaskLanes:
        if not self._is_async:
            raise TypeError("the payments are synchronous: call handle, or mount asgi")
        from mpesa_stk.web.lanes import TaskLanes  # noqa: PLC0415 - asyncio takes long to import

        return TaskLanes(
            self._flow.answer, is_callback=self._flow.is_callback, at_once=self._at_once
        )

    # --- for both ------------------------------------------------------------------------------

    @cached_property
    def asgi(self) -> AsgiApp:
        """The endpoints as an ASGI application, which is made once.

        With `AsyncPayments` it answers on the event loop. With `Payments` it has threads.
        """
        from mpesa_stk.web.asgi import AsgiApp  # noqa: PLC0415 - asyncio takes long to import
        from mpesa_stk.web.lanes import ThreadLanes  # noqa: PLC0415 - the same

        if self._is_async:
            return AsgiApp(self.handle_async, drain=self.drain)
        lanes = ThreadLanes(self.handle, is_callback=self._flow.is_callback, at_once=self._at_once)
        return AsgiApp(lanes.answer)


def _guard_maker(
    guard: CallbackGuard | Callable[[StkConfig], CallbackGuard] | None,
) -> Callable[[StkConfig], CallbackGuard]:
    """Return the function that makes the guard of an account."""
    if guard is None:
        return CallbackGuard.from_config
    return guard if not isinstance(guard, CallbackGuard) else lambda _config: guard


def _for_account(quote: Quote | AccountQuote | None, account: str) -> Quote | None:
    """Return a quote for the orders of one of several accounts."""
    if quote is None:
        return None
    of_account = cast("AccountQuote", quote)
    return lambda name: of_account(name, account)
