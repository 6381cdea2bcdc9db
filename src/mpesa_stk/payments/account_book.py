"""Find accounts by their names, and keep the objects that were made of their settings.

An account has a full name, as payments store it, and short ones: the shortcode of a paybill, the till
number and the store number of a till.
"""

from __future__ import annotations

import inspect
import re
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Generic, TypeVar

import attrs

from mpesa_stk.clock import AsyncClock
from mpesa_stk.config.account import short_names
from mpesa_stk.config.settings import StkConfig
from mpesa_stk.errors import ConfigurationError, InvalidRequest, MpesaError, StoreError
from mpesa_stk.forks import PerProcess
from mpesa_stk.hooks import log_trouble

T = TypeVar("T")

LoadConfig = Callable[[str], StkConfig | Awaitable[StkConfig | None] | None]
"""Returns the settings of an account, given by its full name, or None. `AsyncAccounts` may await it."""
ListAccounts = Callable[[], Iterable[str] | Awaitable[Iterable[str]]]
"""Returns the full names of all accounts that are served. `AsyncAccounts` may await it."""

_SHORTCODE = re.compile(r"[0-9]{5,7}")
_LONGEST_EXCHANGE = 45.0


def unknown_account() -> InvalidRequest:
    """Return the error for an account that is not served."""
    return InvalidRequest("account", "is not served here")


@attrs.frozen(kw_only=True)
class _Made(Generic[T]):
    """An object that was made of an account's settings.

    Attributes:
        value: The object.
        until: Monotonic second until which it is used.
        longest_exchange: Seconds that one exchange with Daraja may take.
    """

    value: T
    until: float
    longest_exchange: float


class AccountBook(Generic[T]):
    """The accounts that are served, each with the object that was made of its settings.

    If the settings are loaded when they are needed, the least recently used ones are dropped from memory.
    A caller may go on using the object of a dropped account, because the book does not close it.
    """

    def __init__(
        self,
        configs: Iterable[StkConfig] | LoadConfig,
        accounts: ListAccounts | None,
        /,
        *,
        make: Callable[[StkConfig], T],
        clock: AsyncClock,
        kept: int,
        kept_for: float,
    ) -> None:
        """Make a book.

        Args:
            configs: The settings, or a function that loads those of one account.
            accounts: Lists the accounts, if the settings are loaded.
            make: Makes the object of the settings of an account.
            clock: Measures the age of the objects.
            kept: Most accounts that are kept, if the settings are loaded.
            kept_for: Seconds after which settings are loaded again.

        Raises:
            ConfigurationError: An account is named twice, no account is given, or a number is too small.
        """
        self._load = configs if callable(configs) else None
        self._list = accounts
        self._make = make
        self._clock = clock
        self._kept = kept
        self._kept_for = kept_for
        self._lock = PerProcess(threading.Lock)
        self._made: OrderedDict[str, _Made[T]] = OrderedDict()
        self.unsigned: str | None = None
        """An account that is given and whose callbacks are not signed, if there is one."""
        if not callable(configs):
            self._add_all(tuple(configs))
        problems = self._problems(callable(configs))
        if problems:
            raise ConfigurationError(problems)

    def _problems(self, loads: bool) -> tuple[tuple[str, str], ...]:  # noqa: FBT001 - private
        if not loads and self._list is not None:
            return (("accounts", "is needed only if configs is a function"),)
        if self._kept < 1:
            return (("kept", "must be at least 1"),)
        return ()

    def _add_all(self, configs: tuple[StkConfig, ...]) -> None:
        names = [str(config.account) for config in configs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice or not names:
            rule = f"has {', '.join(twice)} twice" if twice else "must have at least one account"
            raise ConfigurationError((("configs", rule),))
        for name, config in zip(names, configs, strict=True):
            self._made[name] = self._new(config, until=float("inf"))
            if not config.callback_secrets:
                self.unsigned = name

    def _new(self, config: StkConfig, *, until: float) -> _Made[T]:
        return _Made(value=self._make(config), until=until, longest_exchange=config.total_timeout)

    # --- by full name ----------------------------------------------------------------------------

    async def names(self) -> frozenset[str]:
        """Return the full names of all accounts.

        Raises:
            ConfigurationError: The settings are loaded, and `accounts` was not given.
            StoreError: The function that lists the accounts failed.
        """
        if self._load is None:
            return frozenset(self._made)
        if self._list is None:
            rule = "must list the full names of the accounts, since configs is a function"
            raise ConfigurationError((("accounts", rule),))
        return frozenset(await _called("accounts_not_listed", self._list))

    async def find(self, account: str, /) -> T | None:
        """Return the object that was made of the settings of an account, or None if there are none.

        Raises:
            ConfigurationError: The loaded settings are those of another account.
            StoreError: The function that loads the settings failed.
        """
        now = self._clock.monotonic()
        with self._lock():
            made = self._made.get(account)
            if made is not None and now < made.until:
                self._made.move_to_end(account)
                return made.value
        if self._load is None:
            return None
        config = await _called("account_not_loaded", self._load, account)
        if config is None:
            self.forget(account)
            return None
        if str(config.account) != account:
            raise ConfigurationError((("configs", "returned the settings of another account"),))
        made = self._new(config, until=now + self._kept_for)
        with self._lock():
            self._made[account] = made
            self._made.move_to_end(account)
            while len(self._made) > self._kept:
                self._made.popitem(last=False)
        return made.value

    def forget(self, account: str, /) -> None:
        """Drop an account from memory, so that its settings are loaded again.

        Settings that were given as values stay.
        """
        if self._load is not None:
            with self._lock():
                self._made.pop(account, None)

    @property
    def longest_exchange(self) -> float:
        """The most seconds of one exchange with Daraja, of the accounts in memory and the default."""
        with self._lock():
            return max(
                [_LONGEST_EXCHANGE, *(made.longest_exchange for made in self._made.values())]
            )

    # --- by any name -----------------------------------------------------------------------------

    async def named(self, name: str, /) -> T:
        """Return the object that was made for the account with a full or short name.

        Raises:
            InvalidRequest: No account has this name, or several do. Then the error names them.
            ConfigurationError: The loaded settings are those of another account.
            StoreError: A function that loads the settings or lists the accounts failed.
        """
        found = await self.find(await self._full_name(name))
        if found is None:
            raise unknown_account()
        return found

    async def _full_name(self, name: str) -> str:
        """Return the full name of the account with a name, which may not be known."""
        if short_names(name):
            return name
        if self._load is not None and self._list is None:
            # Without a list, only a paybill's full name can be made of its short one.
            return f"paybill {name}" if _SHORTCODE.fullmatch(name) else name
        candidates = sorted(one for one in await self.names() if name in short_names(one))
        if len(candidates) > 1:
            raise InvalidRequest("account", f"names several accounts: {', '.join(candidates)}")
        return candidates[0] if candidates else name


async def _called(trouble: str, call: Callable[..., Any], *arguments: str) -> Any:  # noqa: ANN401 - the host's function returns it
    """Call a function of the host, and await its result if that can be awaited.

    Raises:
        StoreError: The function raised an `Exception` that is not an `MpesaError`. It is logged.
    """
    try:
        found = call(*arguments)
        return await found if inspect.isawaitable(found) else found
    except MpesaError:
        raise
    except Exception as error:  # noqa: BLE001 - the host's function may raise anything
        log_trouble(trouble, cause=error)
    raise StoreError("the settings of the accounts cannot be read")
