"""What is limited: requests and misses of a client, prompts on a phone.

Counts go by hashes, so that a store of counts shows no address and no phone number. A person who tries all
numbers can still find one, so protect a shared store like the payments.
"""

from __future__ import annotations

import hashlib
import inspect
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import attrs

from mpesa_stk.errors import MpesaError
from mpesa_stk.hooks import log_trouble
from mpesa_stk.payments.state import Transaction
from mpesa_stk.phone import PhoneNumber
from mpesa_stk.web.addresses import Address
from mpesa_stk.web.limits import AsyncLimits, Limits, RateName

_MOST_HOLDERS = 10_000
_NETWORK_BITS = 64

Client: TypeAlias = "Address | None"
"""Who sent a request, or None if that is not known."""
_Method: TypeAlias = "Callable[[RateName, str], float | Awaitable[float | None] | None]"


class Limited(Exception):
    """Something came too often.

    Attributes:
        name: The name of the rate that it exceeds.
        wait: Seconds until it may come again.
    """

    def __init__(self, name: RateName, wait: float) -> None:
        self.name = name
        self.wait = wait
        super().__init__(name)


@attrs.frozen
class _Holder:
    """The last prompt of a phone that this process sent: its payment, and who asked for it."""

    transaction_no: str
    pair: str


class Throttle:
    """Applies limits to requests and prompts. If a count cannot be had, its limit does not apply."""

    def __init__(
        self,
        limits: Limits | AsyncLimits,
        /,
        *,
        get: Callable[[str], Awaitable[Transaction | None]],
    ) -> None:
        """Make a throttle.

        Args:
            limits: Count.
            get: Returns the stored payment with a `transaction_no`.
        """
        self._limits = limits
        self._get = get
        self._holders: OrderedDict[str, _Holder] = OrderedDict()

    # --- clients -------------------------------------------------------------------------------

    async def admit(self, client: Client, /) -> None:
        """Count a request of a client.

        Raises:
            Limited: It is one too many.
        """
        _demand("requests", await self._take("requests", _of_client(client)))

    async def admit_guess(self, client: Client, /) -> None:
        """Let a client ask by an id that can be guessed.

        Raises:
            Limited: It missed too often.
        """
        _demand("misses", await self._wait("misses", _of_client(client)))

    async def missed(self, client: Client, /) -> None:
        """Count that a client asked for something that it may not see, or that does not exist."""
        await self._take("misses", _of_client(client))

    # --- prompts -------------------------------------------------------------------------------

    async def prompt(
        self,
        phone: PhoneNumber,
        client: Client,
        send: Callable[[], Awaitable[Transaction]],
        /,
    ) -> Transaction:
        """Send a prompt, if the phone may be asked now.

        Only one request at a time gets past the open prompt of a phone, so the other two counts are exact
        though they are read before and written after it. A prompt that never appeared is not counted.

        Args:
            phone: Who is asked.
            client: Who asks.
            send: Sends the prompt. It raises `MpesaError` if no prompt appeared.

        Raises:
            Limited: The phone was asked too often, or a prompt is open on it.
        """
        phone_key = _of_phone(phone.e164)
        pair = _key("pair", phone_key, _of_client(client))
        counted: tuple[tuple[RateName, str], ...] = (
            ("prompts", phone_key),
            ("prompts_of_client", pair),
        )
        for name, key in counted:
            _demand(name, await self._wait(name, key))
        await self._open(phone_key)
        try:
            transaction = await send()
        except MpesaError:
            await self._forget("open_prompts", phone_key)
            raise
        if not transaction.paid:
            for name, key in counted:
                await self._take(name, key)
        self._hold(phone_key, _Holder(transaction.transaction_no, pair))
        await self.settled(transaction, just_now=False)
        return transaction

    async def _open(self, phone_key: str) -> None:
        """Take the place of the phone's open prompt.

        A worker may have settled the payment that has it. So the store is asked, too.
        """
        wait = await self._take("open_prompts", phone_key)
        holder = self._holders.get(phone_key) if wait > 0 else None
        held = await self._get(holder.transaction_no) if holder is not None else None
        if held is not None and held.settled:
            await self.settled(held, just_now=False)
            wait = await self._take("open_prompts", phone_key)
        _demand("open_prompts", wait)

    async def settled(self, transaction: Transaction, /, *, just_now: bool) -> None:
        """Free the phone of a settled payment. If it was paid, forget how often the phone was asked.

        An old payment does not free the phone, because another prompt may be open on it.

        Args:
            transaction: A payment.
            just_now: Whether this request settled it.
        """
        if not transaction.settled:
            return
        phone_key = _of_phone(transaction.phone_number)
        holder = self._holders.get(phone_key)
        holds = holder is not None and holder.transaction_no == transaction.transaction_no
        if not holds and not just_now:
            return
        await self._forget("open_prompts", phone_key)
        if transaction.paid:
            await self._forget("prompts", phone_key)
        if holder is not None and holds:
            self._holders.pop(phone_key, None)
            if transaction.paid:
                await self._forget("prompts_of_client", holder.pair)

    def _hold(self, phone_key: str, holder: _Holder) -> None:
        self._holders[phone_key] = holder
        self._holders.move_to_end(phone_key)
        if len(self._holders) > _MOST_HOLDERS:
            self._holders.popitem(last=False)

    # --- counts --------------------------------------------------------------------------------

    async def _take(self, name: RateName, key: str) -> float:
        return await _counted(self._limits.take, name, key) or 0.0

    async def _wait(self, name: RateName, key: str) -> float:
        return await _counted(self._limits.wait, name, key) or 0.0

    async def _forget(self, name: RateName, key: str) -> None:
        await _counted(self._limits.forget, name, key)


async def _counted(method: _Method, name: RateName, key: str) -> float | None:
    """Call a method of limits, of either face. Its failure stops no payment."""
    try:
        returned = method(name, key)
        return await returned if inspect.isawaitable(returned) else returned
    except Exception as error:  # noqa: BLE001 - the host may have written it
        log_trouble("limits_failed", rate=name, error=type(error).__name__)
        return None


def _demand(name: RateName, wait: float) -> None:
    if wait > 0:
        raise Limited(name, wait)


def _of_phone(number: str) -> str:
    return _key("phone", number)


def _of_client(client: Client) -> str:
    """Return the key of a client. The owner of an IPv6 address has all of its network."""
    if client is not None and client.version > 4:  # noqa: PLR2004 - versions of IP
        return _key("client", str(int(client) >> (client.max_prefixlen - _NETWORK_BITS)))
    return _key("client", str(client))


def _key(kind: str, *parts: str) -> str:
    return hashlib.sha256("\0".join((kind, *parts)).encode()).hexdigest()[:32]
