"""Clients of other people, as they ship, when something fails, as docs/explanation/comparison.md has it.

They are not installed with the tests: see `foreign_clients`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

import mpesa_stk
from foreign_clients import HERE, PATIENCE, Run, pay
from support import ROOT

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs" / "explanation" / "comparison.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([\w-]+)` \| ([\w.]+) \| (.+) \|$", flags=re.MULTILINE)
ROWS = {client: (version, cells.split(" | ")) for client, version, cells in ROW.findall(PAGE)}
OURS = "mpesa-stk-client"


def pushes(run: Run) -> str:
    """How often the customer's phone was asked for."""
    return "1 push" if run.pushes == 1 else f"{run.pushes} pushes"


def is_paid(run: Run) -> str:
    """Whether the push went through in the end."""
    pushed = run.told["pushed"] if run.told else {}
    code = pushed.get("ResponseCode", pushed.get("response_code"))
    return "sent again, paid" if str(code) == "0" else "fails"


def outcome(run: Run) -> str:
    """What the client says about a payment whose prompt is open."""
    if run.told is None:
        return "an error"
    return str(run.told["asked"]["status"]) if "asked" in run.told else "no query"


def measured(client: str) -> list[str]:
    """The cells of a client's row. Its payments run side by side, because clients wait between tries."""
    ways: list[Callable[[], str]] = [
        lambda: pushes(pay(client, *["internal-error"] * 5)),
        lambda: pushes(pay(client, *["dropped"] * 5)),
        lambda: is_paid(pay(client, "token-refused-404")),
        lambda: outcome(pay(client, scenario="pending-500")),
    ]
    with ThreadPoolExecutor(len(ways)) as threads:
        return [way.result(PATIENCE) for way in [threads.submit(way) for way in ways]]


@pytest.mark.parametrize("client", ROWS)
def test_a_client_fails_as_the_page_says(client: str) -> None:
    """A 500 and no answer to the push, a refused token, and a query while the prompt is open."""
    assert measured(client) == ROWS[client][1]


def test_the_versions_of_the_page_are_those_that_are_run() -> None:
    """Each client that is installed has a row with its version."""
    python = dict(
        re.findall(r"^([\w-]+)==([\w.]+)$", (HERE / "requirements.txt").read_text(), re.MULTILINE)
    )
    node = json.loads((HERE / "package.json").read_text())["dependencies"]
    pinned = python | node
    pinned[OURS] = mpesa_stk.__version__
    assert {client: version for client, (version, _) in ROWS.items()} == pinned
