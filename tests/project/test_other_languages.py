"""The examples for other languages: a shop in Node, and the containers of the simulator and the shop."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from mpesa_stk.commands import simulate
from mpesa_stk.commands.shell_syntax import SYNTAXES
from mpesa_stk.simulator import TEST_PHONES, SimulatorServer
from processes import ended, free_port
from shells import path_of
from support import ROOT

EXAMPLES = ROOT / "docs" / "examples"
SHOP = EXAMPLES / "node_shop"
PATIENCE = 60.0

pytestmark = pytest.mark.slow


@contextlib.contextmanager
def running(*command: str, environ: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A process with such an environment and no other, killed at the end."""
    with (
        subprocess.Popen(  # noqa: S603 - our own examples
            command,
            env={"PATH": os.environ["PATH"], **environ},
            stdout=subprocess.PIPE,
            text=True,
        ) as started,
        ended(started),
    ):
        yield started


def port_of(started: subprocess.Popen[str], text: str) -> str:
    """The port in the first line of a process that has a text."""
    assert started.stdout is not None
    for line in started.stdout:
        if text in line:
            found = re.search(r"(\d+)/?\s*$", line)
            assert found is not None
            return found[1]
    pytest.fail(f"it ended without a line with {text!r}")


def ask(url: str, body: object = None) -> tuple[int, Any]:
    """Ask a server of this machine."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    data = None if body is None else json.dumps(body).encode()
    try:
        with opener.open(urllib.request.Request(url, data), timeout=PATIENCE) as answer:  # noqa: S310
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, json.loads(refused.read())


def becomes(url: str, **wanted: object) -> Any:
    """Look at an order until it is as it should be."""
    ends = time.monotonic() + PATIENCE
    while True:
        _, order = ask(url)
        if order.items() >= wanted.items():
            return order
        assert time.monotonic() < ends, order


@pytest.fixture(name="daraja")
def a_daraja() -> Iterator[SimulatorServer]:
    """The simulator of the command, on a free port."""
    with SimulatorServer(simulate._test_merchant(), slow_seconds=0.0) as daraja:
        yield daraja


@pytest.fixture(name="shop")
def a_shop(daraja: SimulatorServer, tmp_path: Path) -> Iterator[str]:
    """The origin of the shop, which reads its settings from a file, as its page says."""
    port = str(free_port())
    callback = f"http://127.0.0.1:{port}/payments/callback"
    settings = simulate.settings_of(daraja.environment, callback=callback, known=True)
    lines = [SYNTAXES["dotenv"](*item) for item in (settings | {"PORT": port}).items()]
    (tmp_path / ".env").write_text("\n".join(lines), encoding="utf-8")
    command = (path_of("node"), f"--env-file={tmp_path / '.env'}", str(SHOP / "shop.mjs"))
    with running(*command, environ={}) as started:
        assert port_of(started, "listens") == port
        yield f"http://127.0.0.1:{port}"


def test_an_order_is_paid_once(shop: str, daraja: SimulatorServer) -> None:
    """The amount is the shop's, the callback brings the receipt, and the order is not for sale again."""
    order = f"{shop}/orders/INV-001"
    pushed = ask(f"{order}/pay", {"phone": TEST_PHONES["paid"], "amount": 1})
    assert pushed == (200, {"state": "asked"})

    # The shop may know from its question first. The receipt comes with the callback.
    (prompt,) = daraja.prompts
    paid = becomes(order, state="paid", receipts=[prompt.receipt_number])

    assert prompt.amount == paid["price"] == 1500
    assert ask(f"{order}/pay", {"phone": TEST_PHONES["paid"]}) == (409, {"state": "paid"})
    assert len(daraja.prompts) == 1


def test_a_cancelled_payment_may_be_tried_again(shop: str, daraja: SimulatorServer) -> None:
    """And a payment whose callback is lost is found by a question."""
    order = f"{shop}/orders/INV-002"
    ask(f"{order}/pay", {"phone": TEST_PHONES["cancelled"]})
    becomes(order, state="failed")
    ask(f"{order}/pay", {"phone": TEST_PHONES["callback-lost"]})
    assert becomes(order, state="paid")["receipts"] == []
    assert len(daraja.prompts) == 2


def test_a_lost_answer_is_not_asked_for_again(shop: str, daraja: SimulatorServer) -> None:
    """The phone may ring, so the shop waits, and the callback says how it ended."""
    order = f"{shop}/orders/INV-001"
    daraja.next("push", "done-but-dropped")
    assert ask(f"{order}/pay", {"phone": TEST_PHONES["by-hand"]}) == (200, {"state": "unknown"})
    assert ask(f"{order}/pay", {"phone": TEST_PHONES["paid"]}) == (409, {"state": "unknown"})
    (prompt,) = daraja.prompts
    daraja.enter_pin(prompt.checkout_request_id, "1234")
    becomes(order, state="paid")


def test_a_refused_push_and_a_made_up_callback(shop: str, daraja: SimulatorServer) -> None:
    """The first may be tried again, and the second changes nothing."""
    order = f"{shop}/orders/INV-001"
    daraja.next("token", "unavailable")
    assert ask(f"{order}/pay", {"phone": TEST_PHONES["paid"]})[0] == 502
    forged = {"Body": {"stkCallback": {"ResultCode": 0, "CallbackMetadata": {"Item": []}}}}
    assert ask(f"{shop}/payments/callback/guess", forged)[0] == 404
    assert ask(f"{shop}/payments/callback", forged)[0] == 404
    assert ask(order)[1] == {"price": 1500, "state": "refused", "receipts": []}
    assert ask(f"{order}/pay", {"phone": "0711000001"})[0] == 400
    assert ask(f"{order}/pay", {"phone": TEST_PHONES["paid"]}) == (200, {"state": "asked"})


# --- the containers ----------------------------------------------------------------------------------


def test_the_containers_are_what_the_examples_are() -> None:
    """Their commands pay: the installed simulator with its check, and the shop with its variables."""
    services = yaml.safe_load((EXAMPLES / "compose.yaml").read_text(encoding="utf-8"))["services"]
    daraja, shop = services["daraja"], services["shop"]
    *shell, script = daraja["command"]
    install, _, serve = script.partition(" && ")
    assert shell == ["sh", "-c"]
    assert install.startswith("pip install ")
    assert install.split()[-1] == "mpesa-stk-client"
    # The installed command, beside this interpreter.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with running(*shell, f"{serve} --port 0", environ={"PATH": path}) as started:
        port = port_of(started, "The phone is at")
        assert daraja["ports"] == ["127.0.0.1:8090:8090"]
        kind, *check = [
            part.replace(":8090/", f":{port}/") for part in daraja["healthcheck"]["test"]
        ]
        assert kind == "CMD"
        subprocess.run(check, check=True, timeout=PATIENCE, env={"PATH": path})  # noqa: S603 - the check

        # In its container the shop is found by the names of the services, and here at this machine.
        assert shop["volumes"] == ["./node_shop:/shop:ro"]
        assert shop["ports"] == ["127.0.0.1:3000:3000"]
        own = str(free_port())
        here = {"daraja:8090": f"127.0.0.1:{port}", "shop:3000": f"127.0.0.1:{own}"}
        environ = {"PORT": own}
        for name, value in shop["environment"].items():
            host = value.partition("://")[2].partition("/")[0]
            environ[name] = value.replace(host, here[host]) if host else value
        script = shop["command"][1].replace("/shop/", f"{SHOP}/")
        with running(path_of("node"), script, environ=environ) as selling:
            assert port_of(selling, "listens") == own
            order = f"http://127.0.0.1:{own}/orders/INV-001"
            ask(f"{order}/pay", {"phone": TEST_PHONES["paid"]})
            becomes(order, state="paid")
