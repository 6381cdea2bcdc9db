"""The page about tests of one's own: its test files run as they stand, and its tables are so."""

from __future__ import annotations

import contextlib
import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mpesa_stk import MpesaError, Transaction
from mpesa_stk.testing import TEST_PHONES, SimulatedDaraja, phones, plugin
from support import ROOT

PAGE = ROOT / "docs" / "how-to" / "testing.md"
TEXT = PAGE.read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
ROWS = re.findall(r"^\| `([A-Z0-9_]+)` \| (254\d{9}) \| .+ \| (.+) \|$", TEXT, re.MULTILINE)


def run_pytest(folder: Path, files: dict[str, str]) -> str:
    """What pytest says of some files, in a process of its own, with every warning an error."""
    for name, code in files.items():
        (folder / name).write_text(code, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    run = subprocess.run(  # noqa: S603 - our own interpreter and files
        [*command, "--rootdir", str(folder)],
        cwd=folder,
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )
    return run.stdout + run.stderr


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pytest says of the page's files, beside the Flask example that they use."""
    folder = tmp_path_factory.mktemp("shop")
    shutil.copytree(ROOT / "docs" / "examples" / "flask_shop", folder, dirs_exist_ok=True)
    return run_pytest(folder, FILES)


def test_the_tests_of_the_page_pass(outcome: str) -> None:
    """As many as the page shows, and nothing else."""
    shown = sum(code.count("\ndef test_") for code in FILES.values())
    assert shown >= 7
    assert re.search(rf"^{shown} passed in ", outcome, re.MULTILINE), outcome


def test_no_test_file_of_the_page_is_left_out() -> None:
    """Every block with a test begins with the name of its file."""
    blocks = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert sum("def test_" in block for block in blocks) == len(FILES) - 1
    assert "conftest.py" in FILES


def test_a_paid_payment_is_a_short_test() -> None:
    """The first test of the page has fewer than ten lines, imports and all."""
    first = FILES["test_payments.py"].strip().split("\n\n\n")
    assert len("\n".join(first[:2]).splitlines()) < 10


def test_the_page_names_every_fixture() -> None:
    """Those of the plugin, and no other."""
    rows = re.findall(r"^\| `(\w+)` \| [`A-Z]", TEXT, re.MULTILINE)
    assert sorted(row for row in rows if row.islower()) == sorted(plugin.__all__)
    assert inspect.getdoc(plugin)


def test_a_receiver_that_raises_fails_the_test_at_its_end(tmp_path: Path) -> None:
    """The fixture tells what no assertion has seen, unless the test dealt with it."""
    test = """
    from mpesa_stk.testing import phones

    def test_a_broken_shop(daraja, stk_client):
        daraja.deliver_to(lambda url, body: 1 / 0)
        stk_client.push(phone_number=phones.PAID, amount=100, reference="INV-1")
        daraja.run()

    def test_a_broken_shop_on_purpose(daraja, stk_client):
        test_a_broken_shop(daraja, stk_client)
        daraja.callback_errors.clear()
    """
    files = {"conftest.py": FILES["conftest.py"], "test_broken.py": inspect.cleandoc(test)}

    said = run_pytest(tmp_path, files)

    assert "2 passed, 1 error in " in said
    assert "ERROR test_broken.py::test_a_broken_shop - ZeroDivisionError" in said


# --- the table of phones ---------------------------------------------------------------------------


def test_the_page_lists_every_test_phone() -> None:
    """By its constant, with its number, in the order of the scenarios."""
    assert [number for _, number, _ in ROWS] == list(TEST_PHONES.values())
    for constant, number, _ in ROWS:
        assert getattr(phones, constant) == number


@pytest.mark.parametrize(("constant", "ends"), [(row[0], row[2]) for row in ROWS])
def test_a_payment_ends_as_the_page_says(constant: str, ends: str) -> None:
    """Played as the page describes: what the host is told, in order."""
    daraja = SimulatedDaraja()
    payments = daraja.payments()
    told: list[Transaction] = []
    with contextlib.suppress(MpesaError):
        payments.checkout(phone_number=getattr(phones, constant), amount=100, reference="INV-1")

    for _ in range(180):
        daraja.advance(10)
        payments.process_due(on_settled=told.append)

    assert " then ".join(f"`{settled.state.value}`" for settled in told) == ends
