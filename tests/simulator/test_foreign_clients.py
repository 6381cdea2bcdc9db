"""Clients of other people, as they ship, against the simulator: their payments are paid.

They are not installed with the tests. `.ci/run` installs them into folders of their own and names those in
``MPESA_STK_FOREIGN_NODE`` and ``MPESA_STK_FOREIGN_PYTHON``; without the variable, a test is skipped.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mpesa_stk import HttpResponse
from mpesa_stk.commands.simulate import _test_merchant
from mpesa_stk.simulator import Entry, Scenario, SimulatorServer
from mpesa_stk.web.http_server import HttpServer
from mpesa_stk.web.messages import WebRequest
from support import TESTS

HERE = TESTS / "foreign"
PATIENCE = 60.0
UTC = "Timestamp is 3 h behind East Africa Time, which most guides ask for"
LONG_REFERENCE = "AccountReference has 17 characters; Daraja's page asks for 12 at most"
LONG_DESCRIPTION = "TransactionDesc has 20 characters; Daraja's page asks for 13 at most"


def folder_of(language: str) -> Path:
    """Where the clients of a language are installed."""
    variable = f"MPESA_STK_FOREIGN_{language}"
    if variable not in os.environ:
        pytest.skip(f"needs clients of other people: {variable} names no folder with them")
    return Path(os.environ[variable])


def node_command(client: str) -> tuple[list[str], dict[str, str]]:
    """What runs a client of Node's, and its environment."""
    folder = folder_of("NODE") / "node_modules"
    assert (folder / client).is_dir()
    node = shutil.which("node")
    assert node is not None, "MPESA_STK_FOREIGN_NODE is set, but there is no node"
    return [node, str(HERE / "pay.cjs"), client], {"NODE_PATH": str(folder)}


def python_command(client: str) -> tuple[list[str], dict[str, str]]:
    """What runs a client of Python's, and its environment."""
    folder = folder_of("PYTHON")
    assert (folder / client.replace("-", "_")).is_dir()
    return [sys.executable, str(HERE / "pay.py"), client], {"PYTHONPATH": str(folder)}


def pay(command: list[str], environ: dict[str, str]) -> tuple[Any, Any, list[Entry]]:
    """What the client was answered, the callback, and what the simulator saw."""
    received: queue.Queue[Any] = queue.Queue()

    def take(request: WebRequest) -> HttpResponse:
        received.put(json.loads(request.body)["Body"]["stkCallback"])
        return HttpResponse(status=200, headers={}, body=b"{}")

    shop = HttpServer(take)
    scenario = Scenario(answer_after=0.0)
    with shop, SimulatorServer(_test_merchant(), scenario=scenario) as daraja:
        run = subprocess.run(  # noqa: S603 - our own scripts
            [*command, daraja.origin, f"{shop.origin}/payments/callback"],
            env=environ | {"TZ": "UTC", "NO_PROXY": "127.0.0.1"},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        return (
            json.loads(run.stdout),
            received.get(timeout=PATIENCE),
            list(daraja.journal.entries()),
        )


@pytest.mark.parametrize(
    ("client", "advised"),
    [
        (
            "mpesa-api",
            ("TransactionType has blanks around it", UTC, LONG_REFERENCE, LONG_DESCRIPTION),
        ),
        ("mpesa-node", (UTC, LONG_REFERENCE, LONG_DESCRIPTION)),
    ],
)
def test_a_client_of_node_s_is_paid(client: str, advised: tuple[str, ...]) -> None:
    """The two that are downloaded most: token, push, callback and query, and what is advised."""
    told, callback, journal = pay(*node_command(client))

    assert str(told["pushed"]["ResponseCode"]) == "0"
    assert str(told["asked"]["ResultCode"]) == "0"
    assert callback["CheckoutRequestID"] == told["pushed"]["CheckoutRequestID"]
    assert callback["ResultCode"] == 0
    assert [entry.advice for entry in journal if entry.kind == "push"] == [advised]


@pytest.mark.parametrize(
    ("client", "advised"),
    [
        ("mpesakit", ("Passkey is no field of this request", UTC)),
        ("mpesa-wrapper", (UTC, LONG_REFERENCE, LONG_DESCRIPTION)),
        ("django-daraja", (UTC, LONG_REFERENCE, LONG_DESCRIPTION)),
    ],
)
def test_a_client_of_python_s_is_paid(client: str, advised: tuple[str, ...]) -> None:
    """Over requests and over httpx, on a host whose clock shows UTC; the passkey is masked."""
    told, callback, journal = pay(*python_command(client))

    assert str(told["pushed"]["ResponseCode"]) == "0"
    assert str(told.get("asked", {"ResultCode": 0})["ResultCode"]) == "0"
    assert callback["CheckoutRequestID"] == told["pushed"]["CheckoutRequestID"]
    assert callback["ResultCode"] == 0
    assert [entry.advice for entry in journal if entry.kind == "push"] == [advised]
    assert not any(_test_merchant().passkey in entry.asked for entry in journal)
