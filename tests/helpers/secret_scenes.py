"""Payments in which something fails, and a search of all that hosts' tools show of the error.

The frames of the tests are rendered too. So none of them has a local with a secret in it, while it
calls the library.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any

from daraja_double import ScriptedDaraja, answer, refusal
from mpesa_stk import (
    MemoryQueryBudget,
    MemoryTransactionStore,
    Payments,
    QueryPace,
    RetryPolicy,
    StkClient,
    stk_password,
    stk_timestamp,
)
from renderers import shown_by_all
from support import (
    CALLBACK_SECRET,
    CANARIES,
    CONSUMER_KEY,
    CONSUMER_SECRET,
    PASSKEY,
    START,
    ManualClock,
    accepted,
    callback,
    make_config,
)

__all__ = [
    "MARK",
    "PHONE",
    "FailsAt",
    "Interrupted",
    "Use",
    "World",
    "caught_from",
    "errors_of",
    "leaks_of",
    "order",
]

PHONE = "0790123456"  # that of no example in a docstring, since source lines are shown too
MARK = "CANARYbody"
"""Stands in the raw bodies of callbacks."""
_PASSWORD = stk_password("600000", PASSKEY, stk_timestamp(START))[:40]
_BASIC = base64.b64encode(f"{CONSUMER_KEY}:{CONSUMER_SECRET}".encode()).decode()
# The last nine digits are in each form of the number, and at the end of each CheckoutRequestID.
_SECRETS = (*CANARIES, MARK, PHONE[1:], _PASSWORD, _BASIC)


class Interrupted(BaseException):
    """What a host's signal handler raises, such as a time limit."""


class FailsAt:
    """Stands before a store, a transport or a budget, and fails at one of its calls."""

    def __init__(self, inner: object) -> None:
        self._inner = inner
        self.left = -1
        self.error: BaseException = RuntimeError("a bug")

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self._inner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                raise self.error
            return inner(*args, **kwargs)

        return call


def order(**changes: Any) -> dict[str, Any]:
    """What a checkout asks for."""
    return {"phone_number": PHONE, "amount": 100, "reference": "INV-1"} | changes


class World:
    """A shop whose store, transport and budget can be made to fail.

    Attributes:
        parts: Each of them by name.
    """

    def __init__(self, store: object | None = None, **settings: Any) -> None:
        self.clock = ManualClock()
        self.daraja = ScriptedDaraja()
        pending = refusal("500.001.1001", "The transaction is being processed", 500)
        self.daraja.query_script.extend([pending] * 9)
        self.number = 0
        self.parts = {
            "store": FailsAt(store if store is not None else MemoryTransactionStore()),
            "transport": FailsAt(self.daraja),
            "budget": FailsAt(MemoryQueryBudget(QueryPace(per_minute=600.0))),
        }
        client = StkClient(
            make_config(**({"callback_secrets": (CALLBACK_SECRET,)} | settings)),
            transport=self.parts["transport"],
            clock=self.clock,
            retry=RetryPolicy(attempts=2, jitter=lambda: 0.5),
        )
        self.payments = Payments(
            client,
            self.parts["store"],
            clock=self.clock,
            jitter=lambda: 0.5,
            query_budget=self.parts["budget"],
        )

    def checkout(self, **changes: Any) -> object:
        """Ask for a payment; its CheckoutRequestID ends in the payer's digits."""
        self.number += 1
        self.daraja.push_script.append(answer(accepted(self.checkout_id)))
        return self.payments.checkout(**order(**changes))

    @property
    def checkout_id(self) -> str:
        """The id of the last prompt."""
        return f"ws_CO_231120260900{self.number:05}{PHONE[1:]}"

    def callback(self, code: int = 0, **changes: Any) -> bytes:
        """The callback of the last prompt, from the payer."""
        body = callback(code, checkout_request_id=self.checkout_id, Extra=MARK, **changes)
        return body.replace(b"718643064", PHONE[1:].encode())

    def leaks(self, error: BaseException) -> set[str]:
        """The tools that show a secret."""
        signed = {push["CallBackURL"].rstrip("/")[-32:] for push in self.daraja.pushes}
        return leaks_of(error, *signed)


def leaks_of(error: BaseException, *more: str) -> set[str]:
    """The tools that show a secret of an error, each with the secret."""
    return {
        f"{tool}: {secret}"
        for tool, shown in shown_by_all(error).items()
        for secret in (*_SECRETS, *more)
        if secret in shown
    }


Use = Callable[[World], object]


def errors_of(
    make: Callable[[], World], prepare: Use, use: Use, part: str, error: BaseException
) -> Iterator[tuple[World, BaseException]]:
    """Each error that comes out if one part fails at its first call, at its second, and so on."""
    for number in range(1, 100):
        world = make()
        prepare(world)
        faulty = world.parts[part]
        faulty.left, faulty.error = number, error
        caught = caught_from(use, world)
        if caught is not None:
            yield world, caught
        if faulty.left > 0:
            return


def caught_from(use: Use, world: World) -> BaseException | None:
    """What a use raises."""
    try:
        use(world)
    except BaseException as error:  # noqa: BLE001 - `Interrupted` is none of Exception
        return error
    return None
