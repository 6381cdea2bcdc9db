"""No traceback of a payment shows a secret, whatever fails, in the tools that hosts use.

They print the locals of each frame: sentry-sdk, structlog, rich, and Django's page for a server error.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from mpesa_stk import (
    CallbackRefused,
    InvalidCallback,
    InvalidRequest,
    NotSent,
    OutcomeUnknown,
    StoreError,
    parse_callback,
)
from renderers import shown_by_all
from secret_scenes import MARK, PHONE, Interrupted, Use, World, caught_from, errors_of, order
from support import callback


def nothing(_world: World) -> None:
    """No payment yet."""


def pending(world: World) -> None:
    """A payment whose prompt is open, long enough to be asked about."""
    world.checkout(idempotency_key="order-1")
    world.clock.advance(30.0)


def settled(world: World) -> None:
    """A payment that is paid, and was not reported."""
    pending(world)
    called_back(world)


def called_back(world: World, code: int = 0, **changes: Any) -> object:
    """The callback of the last push, with its token."""
    return world.payments.handle_callback(world.callback(code, **changes), token=world.daraja.token)


def unreadable(world: World) -> object:
    """A callback whose body cannot be read, with a token that is genuine."""
    return world.payments.handle_callback(f"<html>{MARK}".encode(), token=world.daraja.token)


def due(world: World) -> object:
    """The work that is due, with a handler that takes every report."""
    world.clock.advance(600.0)
    return world.payments.process_due(on_settled=lambda _payment: None)


def by_hand(world: World) -> object:
    """A query by somebody who proves an id that is not stored with the token."""
    world.clock.advance(30.0)
    return world.payments.query(f"{world.checkout_id}9", token=world.daraja.token)


USES: dict[str, tuple[Use, Use]] = {
    "checkout": (nothing, World.checkout),
    "checkout again": (pending, lambda world: world.checkout(idempotency_key="order-1")),
    "query": (pending, lambda world: world.payments.query(world.checkout_id)),
    "query with a token": (pending, by_hand),
    "find": (pending, lambda world: world.payments.find(checkout_request_id=world.checkout_id)),
    "callback": (pending, called_back),
    "callback of a failure": (pending, lambda world: called_back(world, 1032)),
    "callback that contradicts": (pending, lambda world: called_back(world, amount=1)),
    "callback that cannot be read": (pending, unreadable),
    "due query": (pending, due),
    "due report": (settled, due),
}
ERRORS = {
    "store": (StoreError("down"), Interrupted()),
    "transport": (NotSent("x"), OutcomeUnknown("x"), RuntimeError("a bug"), Interrupted()),
    "budget": (RuntimeError("a bug"),),
}
FAULTS = [(part, error) for part, errors in ERRORS.items() for error in errors]


@pytest.mark.parametrize(
    ("part", "error"), FAULTS, ids=[f"{part}: {type(error).__name__}" for part, error in FAULTS]
)
def test_no_failing_part_shows_a_secret(part: str, error: BaseException) -> None:
    """Each method fails at each call that it makes of the store, the transport and the budget."""
    shown = [
        (name, type(caught).__name__, leak)
        for name, (prepare, use) in USES.items()
        for world, caught in errors_of(World, prepare, use, part, copy.copy(error))
        for leak in sorted(world.leaks(caught))
    ]
    assert not shown


def test_each_tool_shows_the_locals_of_each_frame() -> None:
    """Else the test above would show nothing."""

    def inner(shown: str) -> None:
        raise KeyError(len(shown))

    def outer(shown: str) -> None:
        try:
            inner(shown[::-1])
        except KeyError as error:
            held = {"in a dict": [shown.upper()]}
            raise ValueError(len(held)) from error

    word = "".join(sorted("gfedcba"))  # a literal would be shown as a line of the source
    with pytest.raises(ValueError, match="1") as caught:
        outer(word)
    for shown in shown_by_all(caught.value).values():
        assert word[::-1] in shown
        assert word.upper() in shown


def test_each_method_was_made_to_fail() -> None:
    """Else the test above would show nothing."""
    failed = {
        name: sum(1 for _ in errors_of(World, prepare, use, "store", RuntimeError("a bug")))
        for name, (prepare, use) in USES.items()
    }
    assert min(failed.values()) >= 1
    assert sum(failed.values()) >= 2 * len(USES)


REFUSED: dict[str, tuple[Use, type[Exception]]] = {
    "phone number": (
        lambda world: world.payments.checkout(**order(phone_number=f"{PHONE}00")),
        InvalidRequest,
    ),
    "amount": (lambda world: world.checkout(amount=0), InvalidRequest),
    "key": (lambda world: world.checkout(idempotency_key=""), InvalidRequest),
    "checkout id": (
        lambda world: world.payments.query(f"{world.checkout_id} "),
        InvalidRequest,
    ),
    "token": (
        lambda world: world.payments.handle_callback(callback(), token=f"{world.daraja.token}0"),
        CallbackRefused,
    ),
    "token of a query": (
        lambda world: world.payments.query(world.checkout_id, token=f"{world.daraja.token}0"),
        CallbackRefused,
    ),
}


NO_CALLBACKS: tuple[bytes, ...] = (
    f"<html>{MARK}".encode(),
    callback()[:-1] + MARK.encode(),
    json.dumps({"Body": MARK}).encode(),
    callback(CheckoutRequestID=[MARK]),
)


@pytest.mark.parametrize(("use", "kind"), REFUSED.values(), ids=REFUSED.keys())
def test_no_refused_argument_is_shown(use: Use, kind: type[Exception]) -> None:
    """What breaks a rule is in none of the frames of the library."""
    world = World()
    pending(world)
    caught = caught_from(use, world)
    assert isinstance(caught, kind)
    assert not world.leaks(caught)


def taking(take: Callable[[bytes], object], number: int) -> Use:
    """Takes one of the bodies above."""
    return lambda _world: take(NO_CALLBACKS[number])


def test_no_refused_body_is_shown() -> None:
    """Of a callback that is none, without callback secrets and by hand."""
    world = World(callback_secrets=())
    for take in (world.payments.handle_callback, parse_callback):
        for number in range(len(NO_CALLBACKS)):
            caught = caught_from(taking(take, number), world)
            assert isinstance(caught, InvalidCallback)
            assert not world.leaks(caught)
