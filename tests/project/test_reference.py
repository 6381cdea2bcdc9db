"""The reference says what the code says. ``python tests/helpers/reference_pages.py`` makes it anew."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path

import attrs
import pytest

import mpesa_stk
import mpesa_stk.contrib.django
import mpesa_stk.testing
import openapi_file
from mpesa_stk import StkConfig
from mpesa_stk.config.from_env import REQUIRED, VARIABLES, settings_from
from mpesa_stk.web import bodies
from reference_pages import REFERENCE, VARIABLE_MEANINGS, files, rules, summary

WEB = Path(bodies.__file__).parent


@pytest.mark.parametrize("name", sorted(files()))
def test_a_generated_page_is_as_the_code_makes_it(name: str) -> None:
    """Names, errors, codes, settings, commands, states and the endpoints' OpenAPI document."""
    current = (REFERENCE / name).read_text(encoding="utf-8")
    assert current == files()[name], "run: python tests/helpers/reference_pages.py"


def test_every_export_has_a_summary() -> None:
    """No export is without a word."""
    assert all(summary(name) for name in mpesa_stk.__all__)


def test_dir_is_complete() -> None:
    """A shell completes every public name, the ones that are imported on first use too."""
    assert {*mpesa_stk.__all__, "__version__"} <= set(dir(mpesa_stk))


def test_every_public_name_is_documented_once() -> None:
    """Each export has one directive, by which Sphinx takes its docstring."""
    pages = [*(REFERENCE / "api").glob("*.md"), REFERENCE / "errors.md"]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    name = r"mpesa_stk(?:\.testing|\.contrib\.django)?\.\w+"
    found = re.findall(rf"^\.\. auto\w+:: ({name})$", text, flags=re.MULTILINE)
    exports = [f"mpesa_stk.{name}" for name in mpesa_stk.__all__]
    exports += [f"mpesa_stk.testing.{name}" for name in mpesa_stk.testing.__all__]
    exports += [f"mpesa_stk.contrib.django.{name}" for name in mpesa_stk.contrib.django.__all__]
    modules = {"mpesa_stk.testing.phones"}  # it has a table of its own
    assert sorted(found) == sorted(set(exports) - modules)


# --- settings ------------------------------------------------------------------------------------------


class _Noted(Mapping[str, str]):
    """An environment in which nothing is set, and which notes what is looked for."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        raise KeyError(name)

    def __iter__(self):  # type: ignore[no-untyped-def]  # noqa: ANN204 - empty
        return iter(())

    def __len__(self) -> int:
        return 0


def test_the_page_has_every_variable_that_is_read() -> None:
    """The settings of an account, and the two variables of the commands."""
    environ = _Noted()
    settings_from(environ)
    read = {name.lower() for name in environ.names}
    assert set(VARIABLE_MEANINGS) == read | {"mpesa_accounts", "mpesa_database"}
    assert set(REQUIRED) | set(VARIABLES.values()) <= set(VARIABLE_MEANINGS)


def test_every_setting_has_its_rule() -> None:
    """The error about settings of a wrong type names each of them."""
    assert rules().keys() == {field.name for field in attrs.fields(StkConfig)}


# --- the endpoints -------------------------------------------------------------------------------------


def _codes_of_the_code() -> set[tuple[int, str]]:
    """Every status and code of an error that the endpoints' files can answer with."""
    found = {(status, kind.__name__) for kind, status, _ in bodies._ANSWERS}
    found |= {(429, code) for code, _, _ in bodies._LIMITED.values()}
    found |= {(409, kind.__name__) for kind in bodies._ORDERS}
    found |= {(400, kind) for kind in ("InvalidRequest", "InvalidPhoneNumber", "InvalidAmount")}
    found.add((500, "internal_error"))
    for file in WEB.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "error_response":
                status, code = node.args[:2]
                if isinstance(status, ast.Constant) and isinstance(code, ast.Constant):
                    found.add((status.value, code.value))  # type: ignore[arg-type]
    return found


def test_the_document_has_every_code_of_an_error() -> None:
    """Each status and code of the code is an answer of an operation, or of a request that meets none."""
    tables = [*openapi_file.ERRORS.values(), openapi_file.ELSEWHERE]
    listed = {
        (status, code) for table in tables for status, codes in table.items() for code in codes
    }
    assert listed == _codes_of_the_code()


def test_the_page_of_the_endpoints_has_every_code_of_an_error() -> None:
    """Its table of statuses has the codes of the code."""
    text = (REFERENCE / "endpoints.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d{3}) \| (`[^|]+`) \|", text, flags=re.MULTILINE)
    listed = {(int(status), code) for status, cell in rows for code in re.findall(r"`(\w+)`", cell)}
    assert listed == _codes_of_the_code()
