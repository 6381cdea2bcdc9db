"""The accounts whose payments are followed: one, or several with their own clients and budgets."""

from __future__ import annotations

from typing import Protocol

import attrs

from mpesa_stk.daraja.client_flow import ClientFlow
from mpesa_stk.payments.budget import AsyncQueryBudget
from mpesa_stk.payments.callback import CallbackHandler


@attrs.frozen(kw_only=True)
class AccountParts:
    """The parts with which the payments of one account are followed.

    Attributes:
        client: Asks Daraja with the credentials of the account.
        budget: Limits the queries of the account's app.
        callbacks: Applies the kept callbacks of its payments.
    """

    client: ClientFlow
    budget: AsyncQueryBudget
    callbacks: CallbackHandler


class ServedAccounts(Protocol):
    """The accounts whose payments a `DueWork` follows."""

    async def names(self) -> frozenset[str]:
        """Return the full names of the accounts."""
        ...

    async def parts_of(self, account: str, /) -> AccountParts | None:
        """Return the parts of an account, or None if its settings are not found."""
        ...

    @property
    def longest_exchange(self) -> float:
        """The most seconds that a query of any account may take."""
        ...


@attrs.frozen(kw_only=True)
class OneAccount:
    """`ServedAccounts` that are only one."""

    name: str
    parts: AccountParts

    async def names(self) -> frozenset[str]:
        """Return the name of the account."""
        return frozenset({self.name})

    async def parts_of(self, _account: str, /) -> AccountParts:
        """Return its parts."""
        return self.parts

    @property
    def longest_exchange(self) -> float:
        """The most seconds that a query may take."""
        return self.parts.client.config.total_timeout
