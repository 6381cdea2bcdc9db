"""Clients of other people, as they ship: how they are run against the simulator.

`.ci/run` installs them into folders, and names those in ``MPESA_STK_FOREIGN_NODE`` and
``MPESA_STK_FOREIGN_PYTHON``. Without the variable, a test is skipped.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

from mpesa_stk import HttpResponse
from mpesa_stk.commands.simulate import _test_merchant
from mpesa_stk.simulator import Entry, Scenario, SimulatorServer
from mpesa_stk.web.http_server import HttpServer
from mpesa_stk.web.messages import WebRequest
from support import TESTS

__all__ = ["HERE", "PATIENCE", "Run", "command_of", "pay"]

HERE = TESTS / "foreign"
PATIENCE = 60.0
NODE = ("mpesa-api", "mpesa-node")
MODULES = {"mainfinity-django-mpesa": "django_mpesa", "mpesa-stk-client": ""}


@attrs.frozen(kw_only=True)
class Run:
    """A payment by a client.

    Attributes:
        told: What the client was answered, or None if it raised an error.
        error: The last line of its standard error.
        callback: The callback that its shop got, or None.
        journal: What the simulator saw.
    """

    told: Any
    error: str
    callback: Any
    journal: list[Entry]

    @property
    def pushes(self) -> int:
        """How many requests for a push arrived."""
        return sum(entry.kind == "push" for entry in self.journal)


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
    assert (folder / MODULES.get(client, client.replace("-", "_"))).is_dir()
    return [sys.executable, str(HERE / "pay.py"), client], {"PYTHONPATH": str(folder)}


def command_of(client: str) -> tuple[list[str], dict[str, str]]:
    """What runs a client, and its environment."""
    return node_command(client) if client in NODE else python_command(client)


def pay(client: str, *faults: str, scenario: Scenario | str | None = None) -> Run:
    """Let a client push and ask.

    Args:
        client: The name of its distribution.
        faults: What its next pushes meet.
        scenario: How the customer answers. Default: pays at once.
    """
    received: queue.Queue[Any] = queue.Queue()

    def take(request: WebRequest) -> HttpResponse:
        received.put(json.loads(request.body)["Body"]["stkCallback"])
        return HttpResponse(status=200, headers={}, body=b"{}")

    command, environ = command_of(client)
    shop = HttpServer(take)
    played = Scenario(answer_after=0.0) if scenario is None else scenario
    with shop, SimulatorServer(_test_merchant(), scenario=played) as daraja:
        daraja.next("push", *faults)
        arguments: Sequence[str] = (*command, daraja.origin, f"{shop.origin}/payments/callback")
        run = subprocess.run(  # noqa: S603 - our own scripts
            arguments,
            env=environ | {"TZ": "UTC", "NO_PROXY": "127.0.0.1"},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        is_paid = run.returncode == 0 and not faults and scenario is None
        callback = received.get(timeout=PATIENCE) if is_paid else None
        return Run(
            told=json.loads(run.stdout) if run.returncode == 0 else None,
            error=run.stderr.strip().rpartition("\n")[2],
            callback=callback,
            journal=list(daraja.journal.entries()),
        )
