from __future__ import annotations

import copy
import inspect
import pickle
import re
from collections.abc import Callable
from typing import Any

import pytest

import mpesa_stk
from mpesa_stk import (
    AlreadyPaid,
    AuthenticationFailed,
    CallbackRefused,
    ConfigurationError,
    DarajaError,
    DuplicateTransaction,
    GatewayBlocked,
    IdempotencyConflict,
    InvalidAmount,
    InvalidCallback,
    InvalidPhoneNumber,
    InvalidRequest,
    InvalidStatement,
    MpesaError,
    NotSent,
    OrderRefused,
    OutcomeUnknown,
    PaymentInProgress,
    PaymentUnresolved,
    RateLimited,
    StoreError,
    SubscriberBusy,
    TransportError,
    UnexpectedResponse,
    errors,
)

FACTS: dict[str, Any] = {
    "http_status": 500,
    "error_code": "500.001.1001",
    "error_message": "Wrong credentials",
    "request_id": "29115-34620561-1",
    "retry_after": 2.5,
}

EXAMPLES: tuple[tuple[MpesaError, str, dict[str, Any]], ...] = (
    (MpesaError("it failed"), "it failed", {}),
    (
        ConfigurationError((("passkey", "is wrong"), ("account", "is wrong too"))),
        "passkey: is wrong; account: is wrong too",
        {"problems": (("passkey", "is wrong"), ("account", "is wrong too"))},
    ),
    (InvalidRequest("reference", "too long"), "reference: too long", {"field": "reference"}),
    (
        InvalidPhoneNumber("phone_number", "is empty"),
        "phone_number: is empty",
        {"field": "phone_number", "rule": "is empty"},
    ),
    (InvalidAmount("amount", "too much"), "amount: too much", {"rule": "too much"}),
    *(
        (kind("no-1"), words, {"transaction_no": "no-1"})
        for kind, words in (
            (OrderRefused, "another attempt at the order is in the way"),
            (PaymentInProgress, "another attempt at the order may still be paid"),
            (
                PaymentUnresolved,
                "nobody knows whether an earlier attempt at the order was paid",
            ),
            (AlreadyPaid, "the order is paid"),
        )
    ),
    (TransportError("it broke"), "it broke", {"reason": "it broke"}),
    (NotSent("refused"), "refused", {"reason": "refused"}),
    (
        OutcomeUnknown("no answer", http_status=503),
        "no answer",
        {"reason": "no answer", "http_status": 503},
    ),
    (OutcomeUnknown("no answer"), "no answer", {"http_status": None}),
    (DarajaError("refused", **FACTS), "refused", FACTS),
    (
        DarajaError("refused", http_status=400),
        "refused",
        {**dict.fromkeys(FACTS), "http_status": 400},
    ),
    (
        AuthenticationFailed("refused", reason="credentials", **FACTS),
        "refused",
        {"reason": "credentials", **FACTS},
    ),
    (RateLimited("slow down", **FACTS), "slow down", FACTS),
    (SubscriberBusy("busy", **FACTS), "busy", FACTS),
    (
        UnexpectedResponse("odd", http_status=200, problems=("$.a: missing", "$.b: missing")),
        "odd: $.a: missing; $.b: missing",
        {"http_status": 200, "problems": ("$.a: missing", "$.b: missing")},
    ),
    (UnexpectedResponse("odd", http_status=200), "odd", {"problems": ()}),
    (
        GatewayBlocked("blocked", http_status=403, incident_id="1-2-3"),
        "blocked",
        {"http_status": 403, "incident_id": "1-2-3", "problems": ()},
    ),
    (
        InvalidCallback(("$: not JSON",)),
        "not an STK callback: $: not JSON",
        {"problems": ("$: not JSON",)},
    ),
    (
        InvalidStatement("must be a number", line=8, column="Paid In"),
        "line 8: Paid In: must be a number",
        {"problem": "must be a number", "line": 8, "column": "Paid In", "shown": None},
    ),
    (
        InvalidStatement("not a statement", line=1, shown="Name"),
        "line 1: not a statement: 'Name'",
        {"line": 1, "column": None, "shown": "Name"},
    ),
    (CallbackRefused("no token"), "callback refused: no token", {"reason": "no token"}),
    (StoreError("the store is down"), "the store is down", {}),
    (
        DuplicateTransaction("idempotency_key"),
        "idempotency_key is already in use by another transaction",
        {"field": "idempotency_key"},
    ),
    (
        IdempotencyConflict(("amount", "phone_number")),
        "idempotency key was used with another amount, phone_number",
        {"fields": ("amount", "phone_number")},
    ),
)

Copier = Callable[[MpesaError], MpesaError]
COPIERS: list[Copier] = [copy.copy, copy.deepcopy]


def through_pickle(protocol: int) -> Copier:
    """A copier that goes through one protocol of pickle."""
    return lambda error: pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - our own bytes


COPIERS += [through_pickle(protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]


def error_classes() -> list[type[Any]]:
    """Every error class that the module defines."""
    values: list[Any] = list(vars(errors).values())
    return [each for each in values if inspect.isclass(each) and issubclass(each, Exception)]


def test_every_error_class_has_an_example() -> None:
    """The tests below leave none out."""
    assert {type(error) for error, _, _ in EXAMPLES} == set(error_classes())


@pytest.mark.parametrize(("error", "text", "facts"), EXAMPLES)
def test_an_error_carries_its_facts(error: MpesaError, text: str, facts: dict[str, Any]) -> None:
    """The text is for people, the attributes are for programs."""
    assert str(error) == text
    assert {name: getattr(error, name) for name in facts} == facts
    assert error.transaction_no == facts.get("transaction_no")


@pytest.mark.parametrize("copier", COPIERS)
def test_an_error_survives_pickle_and_copy(copier: Copier) -> None:
    """Task queues and process pools hand errors of each kind on without losing a fact."""
    for original, _, _ in EXAMPLES:
        error = copy.copy(original)
        error.transaction_no = "6f9619ff-8b86-4011-b42d-00c04fc964ff"
        copied = copier(error)
        assert copied is not error
        assert type(copied) is type(error)
        assert (str(copied), copied.args) == (str(error), error.args)
        assert vars(copied) == vars(error)
        assert copied.transaction_no == "6f9619ff-8b86-4011-b42d-00c04fc964ff"
        assert repr(copied) == repr(error)


@pytest.mark.parametrize("copier", COPIERS)
def test_notes_survive_and_are_not_shared(copier: Copier) -> None:
    """A note that one thread adds to its copy does not turn up in another's."""
    error: Any = NotSent("refused")
    error.__notes__ = ["while paying order 7"]  # what `add_note` of Python 3.11 makes
    copied: Any = copier(error)
    assert copied.__notes__ == ["while paying order 7"]
    copied.__notes__.append("in a worker")
    assert error.__notes__ == ["while paying order 7"]


def test_a_hosts_own_subclass_survives_too() -> None:
    """Whatever its `__init__` asks for, it is not called again."""
    copied = copy.copy(HostsOwn("7", reason="timeout"))
    assert (type(copied), copied.order, copied.reason) == (HostsOwn, "7", "timeout")


class HostsOwn(TransportError):
    """An error that a host derives."""

    def __init__(self, order: str, *, reason: str) -> None:
        super().__init__(reason)
        self.order = order


def test_one_class_catches_all() -> None:
    """`MpesaError` is the root, and it is no error of Python's own kinds."""
    for kind in error_classes():
        assert issubclass(kind, MpesaError)
        assert not issubclass(kind, (OSError, ValueError, RuntimeError, LookupError))


def test_what_may_be_sent_again_is_told_by_class() -> None:
    """A host's `except` clauses can follow the tree: no unsure outcome hides under a sure one."""
    assert not issubclass(OutcomeUnknown, NotSent)
    assert not issubclass(NotSent, OutcomeUnknown)
    assert not issubclass(UnexpectedResponse, (DarajaError, TransportError))


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    """The drawing names exactly the classes, each under its parent."""
    drawn: dict[str, str] = {}
    parents: list[str] = []
    for line in str(errors.__doc__).splitlines():
        match = re.match(r"^    ([ │]*(?:├── |└── )?)([A-Z]\w+)\b", line)
        if match:
            depth = len(match[1]) // len("├── ")
            parents[depth:] = [match[2]]
            drawn[match[2]] = parents[depth - 1] if depth else "Exception"
    assert drawn == {kind.__name__: kind.__bases__[0].__name__ for kind in error_classes()}


def test_the_package_exports_the_tree() -> None:
    """A host catches every error by its name in `mpesa_stk`."""
    assert {kind.__name__ for kind in error_classes()} <= set(mpesa_stk.__all__)


@pytest.mark.parametrize("kind", error_classes())
def test_every_error_says_what_it_means(kind: type[MpesaError]) -> None:
    """Each class has a docstring of its own, and documents the facts that it adds."""
    assert kind.__doc__
    init = vars(kind).get("__init__")
    names = (
        set(inspect.signature(init).parameters) - {"self", "message", "facts"} if init else set()
    )
    inherited = set(str(kind.__bases__[0].__doc__).split("Attributes:")[-1].split())
    for name in names:
        assert f"{name}:" in kind.__doc__ or f"{name}:" in inherited
