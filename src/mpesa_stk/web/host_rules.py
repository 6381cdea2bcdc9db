"""The host's own rules for the endpoints: its prices, who may ask, whose an idempotency key is."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeAlias

import attrs

from mpesa_stk.errors import StoreError
from mpesa_stk.hooks import log_trouble
from mpesa_stk.payments.state import Transaction
from mpesa_stk.web.messages import Refusal, WebRequest, error_response

Action: TypeAlias = Literal["checkout", "query", "claim"]
"""What a client asks for."""
Quote: TypeAlias = "Callable[[str], int | Awaitable[int | None] | None]"
"""Returns the price of an order or a reference, in shillings, or None if there is nothing to pay."""
AccountQuote: TypeAlias = "Callable[[str, str], int | Awaitable[int | None] | None]"
"""The same for one of several accounts: it gets the full name of the account, too."""
Authorize: TypeAlias = "Callable[[WebRequest, Action, Transaction | None], bool | Awaitable[bool]]"
"""Returns whether a client may check out, see a payment, or name the receipt of one."""
KeyScope: TypeAlias = "Callable[[WebRequest], str | Awaitable[str | None] | None]"
"""Returns who a client is, so that its idempotency keys are its own."""


@attrs.frozen(kw_only=True)
class HostRules:
    """Calls the functions that the host gave to `PaymentEndpoints`.

    Attributes:
        quote: As `PaymentEndpoints` takes it, or None.
        authorize: As `PaymentEndpoints` takes it, or None.
        key_scope: As `PaymentEndpoints` takes it, or None.
        may_await: Whether the functions may be ``async def``.
    """

    quote: Quote | None
    authorize: Authorize | None
    key_scope: KeyScope | None
    may_await: bool

    async def price(self, name: str, /) -> int | None:
        """Return the price of an order or a reference, or None if there is nothing to pay.

        Raises:
            Refusal: `quote` failed, or returned no price.
            StoreError: `quote` raised it.
        """
        price = await self._call("quote", self.quote, name)
        if price is None:
            return None
        if isinstance(price, bool) or not isinstance(price, int) or price < 1:
            raise _failed("quote", TypeError("quote must return an int of 1 or more, or None"))
        return price

    async def allows(
        self, request: WebRequest, action: Action, transaction: Transaction | None, /
    ) -> bool:
        """Return whether a client may do this. Without `authorize`, everybody may.

        Raises:
            Refusal: `authorize` failed.
            StoreError: `authorize` raised it.
        """
        if self.authorize is None:
            return True
        return bool(await self._call("authorize", self.authorize, request, action, transaction))

    async def stored_key(self, request: WebRequest, key: str, /) -> str:
        """Return the idempotency key under which a client's payment is stored.

        With `key_scope` it is a hash of the scope and the client's key. All clients without a scope share
        one.

        Raises:
            Refusal: `key_scope` failed.
            StoreError: `key_scope` raised it.
        """
        if self.key_scope is None:
            return key
        scope = await self._call("key_scope", self.key_scope, request)
        if scope is not None and not isinstance(scope, str):
            raise _failed("key_scope", TypeError("key_scope must return a str or None"))
        # The length keeps two pairs with the same letters apart, and None apart from every scope.
        length = "none" if scope is None else str(len(scope))
        hashed = hashlib.sha256(f"{length}:{scope or ''}:{key}".encode("utf-8", "surrogatepass"))
        return f"scoped-{hashed.hexdigest()}"

    async def _call(self, name: str, function: Callable[..., Any] | None, /, *args: object) -> Any:  # noqa: ANN401 - the host's
        try:
            return await self._result(function(*args) if function is not None else None)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - its text is for the host, not for the internet
            raise _failed(name, error) from None

    async def _result(self, returned: Any, /) -> Any:  # noqa: ANN401 - the host's
        """Return what a function returned or, if it is an ``async def``, returns in the end.

        Raises:
            TypeError: The function did not run. What it returned would count as a yes.
        """
        if inspect.isgenerator(returned) or inspect.isasyncgen(returned):
            raise TypeError("the function did not run: it must not be a generator")
        if not inspect.isawaitable(returned):
            return returned
        if self.may_await:
            return await returned
        if inspect.iscoroutine(returned):
            returned.close()
        raise TypeError("the function did not run: it must be a plain function")


def _failed(name: str, error: Exception) -> Refusal:
    """Log the host's own error, and return an answer that does not describe it."""
    log_trouble("host_function_failed", cause=error, function=name, error=type(error).__name__)
    return Refusal(error_response(500, "internal_error", "The request could not be handled."))
