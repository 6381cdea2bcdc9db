"""`Accounts`: the payments of several accounts over one store. `async_accounts.py` has the other face."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from datetime import timedelta

from mpesa_stk.client import StkClient, requests_transport
from mpesa_stk.clock import AwaitedClock, Clock, SystemClock
from mpesa_stk.config.settings import StkConfig
from mpesa_stk.daraja.exchange import AwaitedTransport, Transport
from mpesa_stk.daraja.retry import RetryPolicy
from mpesa_stk.daraja.tokens import MemoryTokenStore, TokenStore
from mpesa_stk.faces import finish
from mpesa_stk.hooks import Hook
from mpesa_stk.payments.account_book import ListAccounts, LoadConfig
from mpesa_stk.payments.accounts_flow import KEPT, KEPT_FOR, AccountsFlow, Shared, pace_of, way_out
from mpesa_stk.payments.budget import (
    QueryBudget,
    budget_for,
)
from mpesa_stk.payments.callback import CallbackReceipt
from mpesa_stk.payments.desk_faces import DeskFace
from mpesa_stk.payments.due import DueReport
from mpesa_stk.payments.handlers import never, plain_handler
from mpesa_stk.payments.payments import Payments
from mpesa_stk.payments.query import PaymentStatus
from mpesa_stk.payments.schedule import CALLBACK_RETENTION
from mpesa_stk.payments.state import Transaction
from mpesa_stk.payments.store import (
    AwaitedTransactionStore,
    TransactionStore,
)
from mpesa_stk.privacy import hides_locals


class Accounts(DeskFace):
    """Payments of several accounts over one store: ``accounts["600000"]`` is the `Payments` of one.

    All accounts share their connections and one token store. Accounts of one app (consumer key) share its
    token and its budget of queries. Daraja is asked about each payment with the credentials of its account.

    Threads may share it, and it may be used after a fork. Use it as a context manager, or call `close`.

    Attributes:
        store: Keeps the payments.
        clock: Gives the time.
        notify: Hands an `Event` to the hooks and the log.
        flow: The methods in their awaited form, for `PaymentEndpoints`. Its parts never suspend.
    """

    @hides_locals
    def __init__(  # noqa: PLR0913 - one argument a part, all of them by name
        self,
        store: TransactionStore,
        configs: Iterable[StkConfig] | LoadConfig,
        /,
        *,
        accounts: ListAccounts | None = None,
        clock: Clock | None = None,
        hooks: tuple[Hook, ...] = (),
        jitter: Callable[[], float] = random.random,
        query_budget: QueryBudget | None = None,
        transport: Transport | None = None,
        token_store: TokenStore | None = None,
        retry: RetryPolicy | None = None,
        callback_retention: timedelta = CALLBACK_RETENTION,
        kept: int = KEPT,
        kept_for: float = KEPT_FOR,
    ) -> None:
        """Serve several accounts. It sends no request yet.

        Args:
            store: Stores the payments of all accounts.
            configs: The settings of each account. Or a function that gets the full name of an account, such
                as ``"paybill 600000"``, and returns its settings, or None if there is no such account.
            accounts: If `configs` is a function: returns the full names of all accounts. `process_due`
                needs it, and short names are found by it. It is called before each batch and at each
                look-up by a short name.
            clock: Gives the time. By default the system's clock.
            hooks: Receive an `Event` for each token, push, query, callback and settled payment.
            jitter: Returns a random number from 0 to 1, which varies the times of queries and repeated
                reports.
            query_budget: Limits the status queries of each app. By default it is a budget in this process,
                at the pace of each account's environment. Several processes need one that they share.
            transport: Carries the requests of all accounts. By default a `RequestsTransport`, or several if
                the accounts have different proxies, CA certificates or user agents.
            token_store: Keeps the token of each app. Share one between processes. In memory by default.
            retry: Number of tries of a request that may be sent again, and the waits between them.
            callback_retention: How long to keep callbacks that settled no payment, at least two days.
            kept: If `configs` is a function: most accounts whose settings stay in memory. The least
                recently used ones are dropped first. What is in use goes on working.
            kept_for: If `configs` is a function: seconds after which settings are loaded again.

        Raises:
            ConfigurationError: Two settings are for one account, no settings are given, or another
                argument cannot work.
        """
        self.store = store
        self.clock = clock = clock or SystemClock()
        token_store = token_store if token_store is not None else MemoryTokenStore()
        transports: Shared[Transport] = Shared(
            transport, lambda config: requests_transport(config, clock), by=way_out
        )
        budgets = Shared(query_budget, lambda config: budget_for(config.environment), by=pace_of)

        def make(config: StkConfig) -> Payments:
            client = StkClient(
                config,
                transport=transports.of(config),
                token_store=token_store,
                clock=clock,
                retry=retry,
                hooks=hooks,
            )
            return Payments(
                client,
                store,
                clock=clock,
                hooks=hooks,
                jitter=jitter,
                query_budget=budgets.of(config),
                callback_retention=callback_retention,
            )

        self.flow = AccountsFlow(
            AwaitedTransactionStore(store),
            configs,
            accounts=accounts,
            make=make,
            transports=lambda: map(AwaitedTransport, transports.all()),
            clock=AwaitedClock(clock),
            hooks=hooks,
            jitter=jitter,
            callback_retention=callback_retention,
            kept=kept,
            kept_for=kept_for,
        )
        self.notify = self.flow.notify
        self._desk = self.flow.desk

    def __enter__(self) -> Accounts:  # noqa: PYI034 - typing.Self needs Python 3.11
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close idle connections."""
        finish(self.flow.close())

    # --- one account -----------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Payments:
        """Return the payments of one account, as `account` does."""
        return self.account(name)

    @hides_locals
    def account(self, name: str, /) -> Payments:
        """Return the payments of one account.

        Args:
            name: Its full name, such as ``"paybill 600000"``, or its shortcode, till number or store
                number.

        Raises:
            InvalidRequest: No account has this name, or several do. Then the error names them.
            ConfigurationError: The loaded settings are those of another account.
            StoreError: The function that loads the settings or lists the accounts failed.
        """
        return finish(self.flow.account(name))

    def names(self) -> frozenset[str]:
        """Return the full names of all accounts.

        Raises:
            ConfigurationError: `configs` is a function, and `accounts` was not given.
            StoreError: The function that lists the accounts failed.
        """
        return finish(self.flow.names())

    def forget(self, account: str, /) -> None:
        """Load the settings of an account again when they are needed next.

        Call it in each process when a merchant has changed them. It has no effect on settings that were
        given as values.

        Args:
            account: The full name of the account.
        """
        self.flow.forget(account)

    # --- payments of all accounts ----------------------------------------------------------------

    @hides_locals
    def get(self, transaction_no: str, /) -> Transaction | None:
        """Return the payment with that number as stored, or None. Its account must be served here.

        Raises:
            StoreError: The store failed.
        """
        return finish(self.flow.get(transaction_no))

    @hides_locals
    def find(self, *, checkout_request_id: str) -> Transaction | None:
        """Return the payment whose prompt has that id as stored, or None. Its account must be served here.

        Raises:
            StoreError: The store failed.
        """
        return finish(self.flow.find(checkout_request_id=checkout_request_id))

    @hides_locals
    def outcome(self, transaction_no: str, /, *, timeout: float = 120.0) -> Transaction | None:
        """Wait until a payment is settled, as `Payments.outcome` does.

        Args:
            transaction_no: The number of the payment.
            timeout: Seconds to wait at most.

        Returns:
            The payment as stored, or None if there is no such payment of an account that is served here.

        Raises:
            StoreError: The store failed.
        """
        return finish(self.flow.outcome(transaction_no, timeout=timeout))

    @hides_locals
    def query(self, checkout_request_id: str, /, *, token: str | None = None) -> PaymentStatus:
        """Return the status of a payment, with the credentials of its account.

        Daraja is not asked about an id that no payment has, unless the token says whose it is.

        Args:
            checkout_request_id: Daraja's id of the prompt.
            token: The last path segment of the signed callback URL, as for `Payments.query`.

        Raises:
            InvalidRequest: The id breaks a rule.
            CallbackRefused: The token is not ours.
            StoreError: The store failed.
        """
        return finish(self.flow.query(checkout_request_id, token=token))

    @hides_locals
    def handle_callback(self, body: bytes, /, *, token: str | None = None) -> CallbackReceipt:
        """Handle a callback of any account, as `Payments.handle_callback` does.

        The token says which payment it is for, and so which account. Without a token, the id of the prompt
        says it, and the account must be one without ``callback_secrets``. If no payment has that id yet,
        the callback is kept if the settings of such an account were given as values, and refused if not.

        Args:
            body: The raw body.
            token: The last path segment of the signed callback URL.

        Raises:
            CallbackRefused: The token is missing or not ours, its account is not served here, or too many
                callbacks are kept for this payment. The callback was not stored.
            InvalidCallback: The body is not a callback, and no token proves that it is Daraja's.
            StoreError: The callback could not be stored. Answer 5xx, never 200.
        """
        return finish(self.flow.handle_callback(body, token=token))

    @hides_locals
    def process_due(
        self,
        *,
        on_settled: Callable[[Transaction], object] | None = None,
        limit: int = 100,
        deadline: float = 25.0,
        stop: Callable[[], bool] | None = None,
    ) -> DueReport:
        """Do one bounded batch of due work for all accounts, as `Payments.process_due` does.

        The accounts take turns, so that one with many due payments does not keep the others waiting. Each
        app has its own budget of queries. Payments of accounts that are not served here are left alone.

        Args:
            on_settled: Receives each settled payment, as for `Payments.process_due`. Its `account` says
                who was paid.
            limit: The most payments to take.
            deadline: Seconds after which the batch begins no further payment.
            stop: Called before each payment. If it returns True, the batch begins no further payment.

        Returns:
            The counts of the batch.

        Raises:
            ConfigurationError: `configs` is a function, and `accounts` was not given.
            StoreError: The accounts could not be listed, or the store failed when the batch claimed due
                payments.
            BaseException: `on_settled` raised it, and it is no `Exception`.
        """
        return finish(
            self.flow.due.process(
                on_settled=plain_handler(on_settled) if on_settled is not None else None,
                limit=limit,
                deadline=deadline,
                stop=stop or never,
            )
        )
