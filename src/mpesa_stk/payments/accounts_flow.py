"""The payments of several accounts over one store, put together once for both faces.

`Accounts` and `AsyncAccounts` document the methods.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from datetime import timedelta
from typing import Generic, Protocol, TypeVar

from mpesa_stk.clock import AsyncClock
from mpesa_stk.config.settings import StkConfig
from mpesa_stk.daraja.callbacks import parse_callback
from mpesa_stk.daraja.exchange import AsyncTransport
from mpesa_stk.daraja.models import check_checkout_id
from mpesa_stk.errors import CallbackRefused, InvalidCallback
from mpesa_stk.faces import finish
from mpesa_stk.hooks import Event, Hook, Notifier
from mpesa_stk.payments.account_book import AccountBook, ListAccounts, LoadConfig
from mpesa_stk.payments.budget import pace_for
from mpesa_stk.payments.callback import CallbackReceipt
from mpesa_stk.payments.desk import Desk
from mpesa_stk.payments.due import DueWork
from mpesa_stk.payments.payments_flow import PaymentsFlow
from mpesa_stk.payments.query import PaymentStatus
from mpesa_stk.payments.recorder import Recorder
from mpesa_stk.payments.served import AccountParts
from mpesa_stk.payments.signing import transaction_no_of
from mpesa_stk.payments.state import Transaction
from mpesa_stk.payments.store import AsyncTransactionStore

KEPT = 256
"""Most accounts whose loaded settings stay in memory."""
KEPT_FOR = 300.0
"""Seconds after which settings are loaded again."""
_NOT_OURS = "the token is not ours"


class HasFlow(Protocol):
    """`Payments` or `AsyncPayments`."""

    @property
    def flow(self) -> PaymentsFlow:
        """The methods in their awaited form."""
        ...


P = TypeVar("P", bound=HasFlow)
T = TypeVar("T")


class Shared(Generic[T]):
    """A part that accounts share, such as a transport, if their settings allow it."""

    def __init__(
        self,
        given: T | None,
        make: Callable[[StkConfig], T],
        /,
        *,
        by: Callable[[StkConfig], Hashable],
    ) -> None:
        """Share a part.

        Args:
            given: The part of all accounts, or None to make it.
            make: Makes the part of an account.
            by: Returns a key of the settings. Accounts with equal keys share a part.
        """
        self._given = given
        self._make = make
        self._by = by
        self._made: dict[Hashable, T] = {}

    def of(self, config: StkConfig, /) -> T:
        """Return the part of an account."""
        if self._given is not None:
            return self._given
        common = self._by(config)
        found = self._made.get(common)
        # If two threads make one, both get the one that is kept.
        return found if found is not None else self._made.setdefault(common, self._make(config))

    def all(self) -> list[T]:
        """Return each part once."""
        return list(self._made.values()) if self._given is None else [self._given]


def way_out(config: StkConfig, /) -> Hashable:
    """Return how an account reaches Daraja. Accounts that do so alike share a transport."""
    proxies = tuple(sorted((config.proxies or {}).items()))
    return proxies, config.ca_bundle, config.user_agent


def pace_of(config: StkConfig, /) -> Hashable:
    """Return how fast an account's app may ask. One budget has one pace, for each of its apps."""
    return pace_for(config.environment)


class AccountsFlow(Generic[P]):
    """Payments of several accounts over one store.

    Attributes:
        notify: Hands an `Event` to the hooks and the log.
        due: Does the work that is due for all accounts.
        desk: Does the work of a person with the payments of all accounts.
    """

    def __init__(  # noqa: PLR0913 - the parts of both faces, most of them by name
        self,
        store: AsyncTransactionStore,
        configs: Iterable[StkConfig] | LoadConfig,
        /,
        *,
        accounts: ListAccounts | None,
        make: Callable[[StkConfig], P],
        transports: Callable[[], Iterable[AsyncTransport]],
        clock: AsyncClock,
        hooks: tuple[Hook, ...],
        jitter: Callable[[], float],
        callback_retention: timedelta,
        kept: int,
        kept_for: float,
    ) -> None:
        self.notify = Notifier(tuple(hooks))
        self._store = store
        self._make = make
        self._transports = transports
        self._book = AccountBook(
            configs, accounts, make=self._made, clock=clock, kept=kept, kept_for=kept_for
        )
        recorder = Recorder(store=store, clock=clock, notify=self.notify, jitter=jitter)
        self.desk = Desk(store, clock=clock, notify=self.notify, accounts=self.names)
        self.due = DueWork(recorder=recorder, accounts=self, callback_retention=callback_retention)

    def _made(self, config: StkConfig) -> P:
        payments = self._make(config)
        payments.flow.parts.callbacks.know_others(self._is_signed)
        return payments

    async def _is_signed(self, account: str) -> bool:
        """Return whether the callbacks of an account are signed, or whether that cannot be known."""
        payments = await self._book.find(account)
        return payments is None or bool(payments.flow.config.callback_secrets)

    async def close(self) -> None:
        """Close idle connections."""
        for transport in self._transports():
            await transport.close()

    # --- the accounts ----------------------------------------------------------------------------

    async def account(self, name: str, /) -> P:
        """Return the payments of an account, as `Accounts.account` documents."""
        return await self._book.named(name)

    def account_now(self, name: str, /) -> P:
        """Return the payments of an account, without waiting.

        Raises:
            TypeError: Its settings must be awaited.
        """
        try:
            return finish(self.account(name))
        except RuntimeError:
            raise TypeError("the settings must be awaited: await accounts.account(name)") from None

    def forget(self, account: str, /) -> None:
        """Load the settings of an account again, as `Accounts.forget` documents."""
        self._book.forget(account)

    async def names(self) -> frozenset[str]:
        """Return the full names of all accounts, for `DueWork` too."""
        return await self._book.names()

    async def parts_of(self, account: str, /) -> AccountParts | None:
        """Return the parts of an account, for `DueWork`."""
        payments = await self._book.find(account)
        return None if payments is None else payments.flow.parts

    @property
    def longest_exchange(self) -> float:
        """The most seconds that a query of any account may take, for `DueWork`."""
        return self._book.longest_exchange

    async def owner_of(self, transaction_no: str, /) -> P | None:
        """Return the payments to which a payment belongs, or None if its account is not served."""
        transaction = await self._store.get(transaction_no)
        return None if transaction is None else await self._book.find(transaction.account)

    async def _if_served(self, transaction: Transaction | None) -> Transaction | None:
        """Return a payment of a served account, and None for any other."""
        if transaction is None or await self._book.find(transaction.account) is None:
            return None
        return transaction

    # --- payments of all accounts ----------------------------------------------------------------

    async def get(self, transaction_no: str, /) -> Transaction | None:
        """Return the payment with that number, as `Accounts.get` documents."""
        return await self._if_served(await self._store.get(transaction_no))

    async def find(self, *, checkout_request_id: str) -> Transaction | None:
        """Return the payment whose prompt has that id, as `Accounts.find` documents."""
        found = await self._store.find(checkout_request_id=checkout_request_id)
        return await self._if_served(found)

    async def outcome(self, transaction_no: str, /, *, timeout: float) -> Transaction | None:
        """Wait until a payment is settled, as `Accounts.outcome` documents."""
        owner = await self.owner_of(transaction_no)
        if owner is None:
            return None
        return await owner.flow.outcome(transaction_no, timeout=timeout)

    async def query(self, checkout_request_id: str, /, *, token: str | None) -> PaymentStatus:
        """Return the status of a payment, as `Accounts.query` documents."""
        check_checkout_id(checkout_request_id)
        known = await self._store.find(checkout_request_id=checkout_request_id)
        if known is None and token is not None:
            known = await self._named_by(token)
            if known is None:
                raise CallbackRefused(_NOT_OURS)
        owner = None if known is None else await self._book.find(known.account)
        if owner is None:
            return PaymentStatus()
        return await owner.flow.query(checkout_request_id, token=token, idempotency_key=None)

    # --- callbacks -------------------------------------------------------------------------------

    async def handle_callback(self, body: bytes, /, *, token: str | None) -> CallbackReceipt:
        """Handle a callback, as `Accounts.handle_callback` documents."""
        owner = await self.receiver_of(body, token=token)
        return await owner.flow.handle_callback(body, token=token)

    async def receiver_of(self, body: bytes, /, *, token: str | None) -> P:
        """Return the payments of the account that a callback is for. They check its token.

        Raises:
            CallbackRefused: No account can be found, or its callbacks are signed and this one is not.
            InvalidCallback: Only the body can say the account, and it is not a callback.
            StoreError: The store failed.
        """
        try:
            return await self._signed_receiver(token) or await self._unsigned_receiver(body)
        except (CallbackRefused, InvalidCallback) as error:
            self.notify(Event(kind="callback", outcome="refused", error=type(error).__name__))
            raise

    async def _named_by(self, token: str | None) -> Transaction | None:
        """Return the payment that a token names. Whether the token is genuine is not checked."""
        number = transaction_no_of(token or "")
        return None if number is None else await self._store.get(number)

    async def _signed_receiver(self, token: str | None) -> P | None:
        """Return the account that a token names, if its callbacks are signed."""
        named = await self._named_by(token)
        if named is None:
            return None
        owner = await self._book.find(named.account)
        if owner is None:
            raise CallbackRefused("the account of the payment is not served here")
        return owner if owner.flow.config.callback_secrets else None

    async def _unsigned_receiver(self, body: bytes) -> P:
        """Return the account whose payment a body names, if its callbacks are not signed.

        If the payment is not known yet, an account without secrets keeps the callback.
        """
        result = parse_callback(body)
        known = await self._store.find(checkout_request_id=result.checkout_request_id)
        name = self._book.unsigned if known is None else known.account
        owner = None if name is None else await self._book.find(name)
        if owner is None or owner.flow.config.callback_secrets:
            raise CallbackRefused("no token in the callback URL")
        return owner
