"""What a file may use: each dependency has one home, and pure files touch nothing.

The order of the files is that of `docs/explanation/architecture.md`;
`test_docs.py` holds the imports to it.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import mpesa_stk

PACKAGE = Path(mpesa_stk.__file__).parent

# Those that the dependencies are kept to.
ONLY_IN = {
    "requests": {"daraja/transport", "daraja/session", "testing/mount"},
    "urllib3": {"daraja/transport", "daraja/session", "daraja/connections"},
    "aiohttp": {"daraja/aiohttp_connections"},
    "aiohappyeyeballs": {"daraja/aiohttp_connections"},
    "certifi": {"daraja/aiohttp_connections"},
    "cattrs": {"daraja/wire"},
    "tenacity": {"daraja/retry"},
    "sqlalchemy": {
        "stores/sql_single",
        "stores/sql_database",
        "stores/sql_apps",
        "stores/sql_tables",
        "stores/sql_schema",
        "stores/sql_search",
        "stores/sql_steps",
        "stores/sql",
        "stores/sql_async",
        "commands/database",
    },
    "greenlet": {"stores/sql_async"},
    "redis": {"stores/redis"},
    "limits": {"web/shared_limits"},
    "rich": {"commands/screen"},
    "django": {
        "contrib/django/admin",
        "contrib/django/admin_callbacks",
        "contrib/django/admin_decision",
        "contrib/django/admin_export",
        "contrib/django/admin_lists",
        "contrib/django/admin_search",
        "contrib/django/apps",
        "contrib/django/cache_limits",
        "contrib/django/checks",
        "contrib/django/deployment",
        "contrib/django/host_functions",
        "contrib/django/host_settings",
        "contrib/django/management/commands/mpesa_doctor",
        "contrib/django/migrations/0001_initial",
        "contrib/django/models",
        "contrib/django/mounting",
        "contrib/django/orders_link",
        "contrib/django/orm_app_rows",
        "contrib/django/orm_claims",
        "contrib/django/orm_columns",
        "contrib/django/orm_database",
        "contrib/django/orm_search",
        "contrib/django/orm_store",
        "contrib/django/project_command",
        "contrib/django/runtime",
        "contrib/django/signals",
        "contrib/django/testing",
        "contrib/django/urls",
        "contrib/django/views",
    },
    "asgiref": {
        "contrib/django/async_parts",
        "contrib/django/host_functions",
        "contrib/django/host_settings",
        "contrib/django/views",
    },
    "shtab": {"commands/completion"},
    "openpyxl": {"reconcile/spreadsheets"},
    "xlrd": {"reconcile/spreadsheets"},
    "pytest": {
        "contrib/django/pytest_plugin",
        "testing/plugin",
        "testing/store_callbacks",
        "testing/store_contract",
        "testing/store_orders",
        "testing/search_contract",
        "testing/store_races",
        "testing/token_contract",
    },
}
RUNTIME = {"attrs", "cattrs", "certifi", "requests", "tenacity", "urllib3"}
EXTRAS = {
    "aiohttp",
    "aiohappyeyeballs",
    "asgiref",
    "django",
    "greenlet",
    "limits",
    "openpyxl",
    "pytest",
    "redis",
    "rich",
    "shtab",
    "sqlalchemy",
    "xlrd",
}

# Django looks for these names in each app.
DJANGO_NAMES = {"admin.py", "apps.py", "models.py", "urls.py", "views.py"}

# What pure files may not touch: no time, no chance, no network, no process, no log.
IMPURE = {
    "asyncio",
    "http.client",
    "http.server",
    "logging",
    "os",
    "random",
    "requests",
    "secrets",
    "selectors",
    "socket",
    "subprocess",
    "tenacity",
    "threading",
    "time",
    "urllib.request",
    "urllib3",
    "uuid",
}
PURE = [
    "config/account",
    "errors",
    "phone",
    "privacy",
    "config/strength",
    "config/urls",
    "daraja/results",
    "daraja/exchange",
    "daraja/sending",
    "daraja/outgoing",
    "daraja/models",
    "reconcile/statement",
    "reconcile/record_values",
    "reconcile/statement_rows",
    "reconcile/statement_csv",
    "reconcile/pull",
    "reconcile/pull_rows",
    "daraja/wire",
    "daraja/refusals",
    "daraja/protocol",
    "daraja/callbacks",
    "web/messages",
    "web/addresses",
    "web/answers",
    "web/request_body",
    "commands/findings",
    "commands/days",
    "commands/doctor_settings",
    "commands/exit_codes",
    "commands/options",
    "commands/review_words",
    "commands/shell_syntax",
    "payments/schedule",
    "payments/state",
    "payments/search",
    "payments/events",
    "payments/orders",
    "payments/decisions",
    "payments/effects",
    "payments/evidence",
    "payments/transaction",
    "payments/row_pairs",
    "payments/record_rows",
    "payments/record_report",
    "payments/matching",
    "payments/signing",
    "payments/alarm",
    "stores/rows",
    "stores/sql_errors",
    "simulator/access",
    "simulator/api",
    "simulator/apps",
    "simulator/books",
    "simulator/control",
    "simulator/control_ledger",
    "simulator/delivery",
    "simulator/engine",
    "simulator/faults",
    "simulator/incoming",
    "simulator/journal",
    "simulator/ledger",
    "simulator/ledger_file",
    "simulator/ledger_methods",
    "simulator/ledger_sheet",
    "simulator/outages",
    "simulator/prompt_schedule",
    "simulator/prompts",
    "simulator/pull_endpoints",
    "simulator/pull_forms",
    "simulator/pull_pages",
    "simulator/scenarios",
    "simulator/simulation",
    "simulator/validation",
    "simulator/views",
    "testing/callback_bodies",
    "testing/phones",
]
# A type in a signature is not a use: the engine is handed its randomness.
_GIVEN_RANDOMNESS = ("api", "books", "engine", "faults", "pull_endpoints", "simulation")
ALLOWED = {(f"simulator/{name}", "random") for name in _GIVEN_RANDOMNESS}


def files() -> dict[str, Path]:
    """Every file of the package by its place in the house, such as ``daraja/wire``."""
    return {
        path.relative_to(PACKAGE).with_suffix("").as_posix(): path
        for path in sorted(PACKAGE.rglob("*.py"))
    }


FILES = files()


@functools.cache
def imported(path: Path) -> list[str]:
    """The modules that a file imports, wherever in it, also for type checkers only."""
    return list(_imported(path))


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            module = str(node.module)
            for alias in node.names:
                name = f"{module}.{alias.name}"
                yield name if place_of(name) else module


def place_of(module: str) -> str | None:
    """The file that a module of this package is, as in `FILES`."""
    if module.partition(".")[0] != "mpesa_stk":
        return None
    path = "/".join(module.split(".")[1:])
    for place in (path, f"{path}/__init__".lstrip("/")):
        if place in FILES:
            return place
    return None


def inside(place: str) -> set[str]:
    """The files of the package that a file imports."""
    return {found for module in imported(FILES[place]) if (found := place_of(module))}


def outside(place: str) -> set[str]:
    """The modules of other packages that a file imports."""
    return {module for module in imported(FILES[place]) if place_of(module) is None}


def layer_of(place: str) -> str:
    """The folder of a file, or the file itself at the top."""
    return place.partition("/")[0]


def test_no_two_files_have_one_name() -> None:
    """A traceback, a tab or a search that shows only a file's name shows which file it is."""
    names = Counter(
        path.name
        for place, path in FILES.items()
        if path.stem != "__init__"
        and not (place.startswith("contrib/django/") and path.name in DJANGO_NAMES)
    )
    assert [name for name, times in names.items() if times > 1] == []


@pytest.mark.parametrize("place", [place for place in FILES if layer_of(place) == "simulator"])
def test_the_simulator_does_not_know_of_payments(place: str) -> None:
    """It is a Daraja, so it shares no rule of payments with the code that is tested against it."""
    assert "payments" not in {layer_of(other) for other in inside(place)}


@pytest.mark.parametrize("library", ONLY_IN)
def test_each_dependency_has_one_place(library: str) -> None:
    """A library that is replaced one day is replaced in one file."""
    users = {
        place
        for place in FILES
        if any(module.partition(".")[0] == library for module in outside(place))
    }
    assert users == {place for place in ONLY_IN[library] if place in FILES}


def test_nothing_undeclared_is_imported() -> None:
    """Besides the standard library, only what the package asks for."""
    for place in FILES:
        roots = {module.partition(".")[0] for module in outside(place)}
        assert roots <= set(sys.stdlib_module_names) | RUNTIME | EXTRAS, place


def test_pure_files_touch_nothing() -> None:
    """They compute; time, chance and network are handed to them."""
    assert [
        f"{place} imports {module}"
        for place in PURE
        for module in outside(place)
        for name in {module, module.partition(".")[0], module.rpartition(".")[0]} & IMPURE
        if (place, name) not in ALLOWED
    ] == []


def begins_as_all_do(place: str) -> bool:
    """Whether a file has a docstring and, before any code, postpones annotations."""
    tree = ast.parse(FILES[place].read_text(encoding="utf-8"))
    first = tree.body[1] if len(tree.body) > 1 else None
    postpones = isinstance(first, ast.ImportFrom) and first.module == "__future__"
    return bool(ast.get_docstring(tree)) and (first is None or postpones)


def test_all_files_postpone_annotations() -> None:
    """Every file that holds code begins the same way, on every version of Python."""
    assert [place for place in FILES if not begins_as_all_do(place)] == []
