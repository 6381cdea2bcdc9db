"""Each rule is written once: the two faces only hand their calls to one flow."""

from __future__ import annotations

import ast
import inspect
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mpesa_stk
from mpesa_stk.async_client import AsyncStkClient
from mpesa_stk.client import StkClient
from mpesa_stk.payments.accounts import Accounts
from mpesa_stk.payments.async_accounts import AsyncAccounts
from mpesa_stk.payments.async_payments import AsyncPayments
from mpesa_stk.payments.desk_faces import AsyncDeskFace, DeskFace
from mpesa_stk.payments.payments import Payments

PACKAGE = Path(mpesa_stk.__file__).parent
PAIRS = [
    (StkClient, AsyncStkClient),
    (Payments, AsyncPayments),
    (Accounts, AsyncAccounts),
    (DeskFace, AsyncDeskFace),
]
_DECIDES = (ast.If, ast.For, ast.While, ast.Try, ast.With, ast.IfExp, ast.Match, ast.Raise)


def methods(face: type) -> dict[str, Callable[..., Any]]:
    """The public methods of a face."""
    return {
        name: method for name, method in vars(face).items() if name[0] != "_" and callable(method)
    }


@pytest.mark.parametrize(("sync", "asynchronous"), PAIRS)
def test_both_faces_have_the_same_methods(sync: type, asynchronous: type) -> None:
    """Same names, same parameters, same defaults. Only the annotations of parts differ."""

    def shape(face: type) -> dict[str, list[Any]]:
        return {
            name: [
                (p.name, p.kind, p.default) for p in inspect.signature(method).parameters.values()
            ]
            for name, method in (methods(face) | {"__init__": face}).items()
        }

    assert shape(sync) == shape(asynchronous)


@pytest.mark.parametrize("face", [face for pair in PAIRS for face in pair])
def test_a_face_decides_nothing(face: type) -> None:
    """A method checks its arguments in the flow and hands them on, in one call."""
    for name, method in methods(face).items():
        source = inspect.unwrap(method)
        tree = ast.parse(inspect.cleandoc("\n" + inspect.getsource(source)))
        found = [type(node).__name__ for node in ast.walk(tree) if isinstance(node, _DECIDES)]
        allowed = ["IfExp"] if name == "process_due" else []  # the handler, if there is one
        assert found == allowed, name


def test_no_rule_is_defined_twice() -> None:
    """In the files of the flow, no class defines a name twice, and no two classes share a private one."""
    names = Counter[str]()
    for place in [*PACKAGE.glob("payments/*.py"), PACKAGE / "daraja/client_flow.py"]:
        for node in ast.walk(ast.parse(place.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                names[node.name] += not _is_protocol(node)
    shared = {name: times for name, times in names.items() if times > 1 and name[0] == "_"}
    assert set(shared) <= {"__getitem__", "__init__", "_notify"}, shared


def _is_protocol(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a function has no body: a method of a protocol."""
    last = node.body[-1]
    return isinstance(last, ast.Expr) and getattr(last.value, "value", None) is ...


def test_only_named_files_import_asyncio() -> None:
    """A synchronous host reads none of them."""
    found = {
        str(place.relative_to(PACKAGE).as_posix())
        for place in PACKAGE.rglob("*.py")
        for node in ast.parse(place.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Import) and any(alias.name == "asyncio" for alias in node.names)
    }
    assert found <= {
        "contrib/django/async_parts.py",  # Django itself imports it
        "contrib/django/parts.py",
        "contrib/django/views.py",
        "daraja/aiohttp_connections.py",
        "daraja/aiohttp_transport.py",
        "daraja/async_tokens.py",
        "stores/async_calls.py",
        "stores/redis.py",  # as redis itself does
        "stores/sql_async.py",
        "stores/threaded.py",
        "testing/event_loop.py",
        "web/lanes.py",
    }
