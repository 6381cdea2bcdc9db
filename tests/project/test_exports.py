from __future__ import annotations

import ast
import functools
import importlib.metadata
import inspect
import itertools
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mpesa_stk
from processes import in_fresh_interpreter

PACKAGE = Path(mpesa_stk.__file__).parent


@functools.cache
def documented_constants() -> set[str]:
    """Module-level names of the package that are followed by a text about them."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        for first, second in itertools.pairwise(body):
            if isinstance(first, ast.Assign) and isinstance(second, ast.Expr):
                found |= {target.id for target in first.targets if isinstance(target, ast.Name)}
    return found


def has_own_docstring(value: Any) -> bool:
    """Whether a class or function says what it is, without help from its parents."""
    return bool((vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__) or "")


def public_members(kind: type) -> Iterator[tuple[str, Any]]:
    """The methods and properties that a class itself adds."""
    for name, member in vars(kind).items():
        if not name.startswith("_"):
            plain = member.fget if isinstance(member, property) else member
            plain = getattr(plain, "__func__", plain)
            if inspect.isfunction(plain):
                yield name, plain


def test_the_export_list_is_sorted() -> None:
    """Constants, then classes, then functions, each in alphabetical order and once."""
    names = mpesa_stk.__all__
    constants = [name for name in names if name.isupper()]
    functions = [name for name in names if name.islower()]
    classes = [name for name in names if name not in {*constants, *functions}]
    assert names == sorted(constants) + sorted(classes) + sorted(functions)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", mpesa_stk.__all__)
def test_every_exported_name_resolves_and_is_documented(name: str) -> None:
    """Each is there and says what it is."""
    value = getattr(mpesa_stk, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__name__ == name
        assert has_own_docstring(value)
    else:
        assert name in documented_constants()


@pytest.mark.parametrize(
    "kind",
    [value for name in mpesa_stk.__all__ if inspect.isclass(value := getattr(mpesa_stk, name))],
)
def test_every_public_method_is_documented(kind: type) -> None:
    """Whoever hovers over a call sees what it does."""
    for name, member in public_members(kind):
        assert member.__doc__, name


def test_no_type_of_another_library_is_in_a_public_signature() -> None:
    """Except the session that a host may bring, no dependency can be seen from outside."""
    for name in mpesa_stk.__all__:
        value = getattr(mpesa_stk, name)
        kinds = [value] if inspect.isclass(value) else []
        functions = [member for kind in kinds for _, member in public_members(kind)]
        functions += [kind.__init__ for kind in kinds]
        functions += [value] if inspect.isfunction(value) else []
        for function in functions:
            for argument, annotation in getattr(function, "__annotations__", {}).items():
                foreign = re.search(
                    r"\b(requests|urllib3|aiohttp|cattrs|tenacity|sqlalchemy)\b", str(annotation)
                )
                assert not foreign or (name, argument) == ("RequestsTransport", "session")


def test_importing_all_imports_all() -> None:
    """`from mpesa_stk import *` works without any extra and gives exactly the list."""
    code = "from mpesa_stk import *; print(*sorted(name for name in dir() if name[0] != '_'))"
    assert in_fresh_interpreter(code).split() == sorted(mpesa_stk.__all__)


def test_importing_is_cheap() -> None:
    """Neither the HTTP library nor anything a payment does not need is imported."""
    heavy = "requests urllib3 tenacity http.client ssl asyncio argparse importlib.metadata"
    heavy += (
        " sqlalchemy redis aiohttp mpesa_stk.daraja.transport mpesa_stk.daraja.aiohttp_transport"
    )
    heavy += " mpesa_stk.simulator mpesa_stk.testing mpesa_stk.cli"
    code = (
        f"import sys, mpesa_stk; print(*[name for name in {heavy.split()} if name in sys.modules])"
    )
    assert in_fresh_interpreter(code) == ""


def test_the_transport_is_imported_on_first_use() -> None:
    """The name is there as any other; requests comes with it."""
    code = "import sys, mpesa_stk; kind = mpesa_stk.RequestsTransport;"
    code += "print(kind.__name__, 'requests' in sys.modules)"
    assert in_fresh_interpreter(code) == "RequestsTransport True"
    from mpesa_stk.daraja.transport import RequestsTransport  # noqa: PLC0415 - what is tested

    assert mpesa_stk.RequestsTransport is RequestsTransport


def test_hosts_without_an_event_loop_import_neither_asyncio_nor_aiohttp() -> None:
    """Not even if they use the client and its transport."""
    code = "import sys; from mpesa_stk import RequestsTransport, StkClient; RequestsTransport();"
    code += "print(*{'asyncio', 'aiohttp'} & {*sys.modules})"
    assert in_fresh_interpreter(code) == ""


def test_without_aiohttp_its_transport_says_what_to_install() -> None:
    """The name can be imported without the extra, and using it names the extra."""
    code = "import sys; sys.modules['aiohttp'] = None; from mpesa_stk import AioHttpTransport\n"
    code += "try: AioHttpTransport()\nexcept ImportError as error: print(error)"
    assert in_fresh_interpreter(code) == (
        "AioHttpTransport needs the package aiohttp: pip install 'mpesa-stk-client[async]'"
    )


def test_the_version_is_the_distributions() -> None:
    """The build reads it from the package, so an installed one says the same."""
    assert mpesa_stk.__version__ == importlib.metadata.version("mpesa-stk-client")


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A typing error is told as Python tells it."""
    with pytest.raises(AttributeError, match="module 'mpesa_stk' has no attribute 'Pusher'"):
        mpesa_stk.Pusher  # noqa: B018 - looking it up is the test
    assert not hasattr(mpesa_stk, "StkPush")


def test_the_root_module_defines_nothing_else() -> None:
    """Every public attribute of the package is on the list or one of its modules."""
    others = {name for name in vars(mpesa_stk) if not name.startswith("_")} - {*mpesa_stk.__all__}
    modules = {path.stem for path in PACKAGE.iterdir()}
    assert others - modules <= {"Any", "TYPE_CHECKING", "annotations", "importlib", "logging"}


def test_the_library_logs_nothing_by_itself() -> None:
    """Its logger has a handler that is silent, and leaves levels to the host."""
    handlers = logging.getLogger("mpesa_stk").handlers
    assert [type(handler) for handler in handlers] == [logging.NullHandler]
    code = "import logging, mpesa_stk; logging.getLogger('mpesa_stk').error('x')"
    assert in_fresh_interpreter(code) == ""


def test_the_package_is_typed() -> None:
    """Type checkers of hosts read our annotations."""
    assert (PACKAGE / "py.typed").exists()
