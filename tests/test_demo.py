"""The command line and its demo, as a person at a terminal meets them."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
import threading
from functools import partial
from typing import Any

import pytest

import mpesa_stk
from mpesa_stk import HttpResponse, cli
from mpesa_stk.simulator import DarajaEngine, Scenario, demo

NOT_ALLOWED = HttpResponse(
    status=400,
    headers={"content-type": "application/json"},
    body=b'{"errorCode": "400.008.01", "errorMessage": "Invalid Authentication passed"}',
)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A customer who answers at once."""
    monkeypatch.setattr(demo, "Scenario", partial(Scenario, answer_after=0.0))


def steps(timeline: str) -> list[str]:
    """The timeline's lines without their seconds."""
    return [line.partition(" s  ")[2] for line in timeline.splitlines()]


def test_the_demo_shows_a_payment(capsys: pytest.CaptureFixture[str]) -> None:
    """Timeline on stderr, the settled payment as JSON on stdout, exit code 0, no thread left."""
    before = set(threading.enumerate())

    code = cli.main(["demo", "--phone", "+254 110 000 001", "--amount", "70", "--reference", "A1"])

    told = capsys.readouterr()
    payment = json.loads(told.out)
    assert code == 0
    assert payment["state"] == "SUCCEEDED"
    assert payment["phone_number"] == "+254110000001"
    assert (payment["amount"], payment["reference"]) == (70, "A1")
    assert payment["reported"] is True
    assert payment["history"][0]["event"] == "push accepted"
    assert told.out.startswith('{\n  "transaction_no"')
    assert steps(told.err)[1:] == [
        "token fetched",
        "push accepted, waiting for the customer",
        "prompt answered on the phone: paid",
        "callback received: settled",
        "status query says paid (code 0)",
        f"settled and reported: SUCCEEDED, receipt {payment['receipt_number']}",
    ]
    assert set(threading.enumerate()) == before


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("outcome", "code"), [("cancelled", "1032"), ("wrong-pin", "2001"), ("expired", "1019")]
)
def test_the_demo_shows_a_payment_that_fails(
    capsys: pytest.CaptureFixture[str], outcome: str, code: str
) -> None:
    """A failure that was asked for is a success of the demo."""
    assert cli.main(["demo", "--outcome", outcome]) == 0

    told = capsys.readouterr()
    payment = json.loads(told.out)
    assert (payment["state"], payment["result_code"]) == ("FAILED", code)
    assert steps(told.err)[-1] == "settled and reported: FAILED"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["--phone", "07"],
            "phone_number: is too short: nine digits must follow 0 or +254",
        ),
        (["--amount", "ten"], "amount: must be a number of shillings"),
        (["--amount", "0"], "amount: must be from 1 to 250000 shillings"),
        (["--amount", "1.50"], "amount: must be whole shillings: Daraja takes no cents"),
        (["--amount", "nan"], "amount: must be a finite number"),
        (["--reference", ""], "reference: must be 1 to 12 characters"),
        (["--reference", "INV-000000001"], "reference: must be at most 12 characters"),
    ],
)
def test_a_bad_argument_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    """A value that cannot work is refused before anything starts: its field, its rule, code 2."""
    assert cli.main(["demo", *arguments]) == 2

    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == f"mpesa-stk demo: {line}\n"


@pytest.mark.parametrize("arguments", [[], ["pay"], ["demo", "--outcome", "maybe"]])
def test_an_unknown_argument_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """No command, an unknown one and an unknown outcome end with usage and code 2."""
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)

    assert ended.value.code == 2
    assert "usage: mpesa-stk" in capsys.readouterr().err


def test_a_demo_without_its_callback_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing settles in time, the open payment is shown and the exit code is 1."""
    order = demo.check_order(phone="0718643064", amount="1", reference="INV-001")

    assert demo.run(order, outcome="paid", patience=0.0) == 1

    told = capsys.readouterr()
    assert json.loads(told.out)["state"] == "PENDING"
    assert steps(told.err)[-1] == "status query says pending"


def test_a_demo_whose_push_is_refused_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the library raises is a line of the timeline, and the exit code is 1."""
    monkeypatch.setattr(DarajaEngine, "answer", lambda *_request: NOT_ALLOWED)

    assert cli.main(["demo"]) == 1

    told = capsys.readouterr()
    assert told.out == ""
    assert steps(told.err)[1:] == [
        "token refused (code 400.008.01)",
        "push refused (code 400.008.01)",
        "failed: consumer key or consumer secret is wrong",
    ]


@pytest.mark.usefixtures("quick")
def test_the_demo_refuses_a_forged_callback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A callback without its payment's token settles nothing, and the timeline says so."""
    receive = demo._Shop._receive

    def forge(shop: Any, method: str, _target: str, *rest: Any) -> HttpResponse:
        refused = receive(shop, method, "/payments/callback/forged/", *rest)
        shop._called_back.set()
        return refused

    monkeypatch.setattr(demo._Shop, "_receive", forge)

    assert cli.main(["demo"]) == 1

    told = capsys.readouterr()
    assert "callback not taken: callback refused: no token in the callback URL" in steps(told.err)


@pytest.mark.usefixtures("quick")
def test_a_success_without_a_receipt_is_not_as_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A payment that only the query knows of is SUCCEEDED, but the demo wanted the callback too."""

    def lose(shop: Any, *_request: Any) -> HttpResponse:
        shop._called_back.set()
        return NOT_ALLOWED

    monkeypatch.setattr(demo._Shop, "_receive", lose)

    assert cli.main(["demo"]) == 1

    told = capsys.readouterr()
    assert json.loads(told.out)["receipt_number"] is None
    assert steps(told.err)[-1] == "settled and reported: SUCCEEDED"


def test_the_module_runs_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``python -m mpesa_stk --version`` tells the version and ends with 0."""
    monkeypatch.setattr(sys, "argv", ["mpesa-stk", "--version"])

    with pytest.raises(SystemExit) as ended:
        runpy.run_module("mpesa_stk", run_name="__main__")

    assert ended.value.code == 0
    assert capsys.readouterr().out == f"mpesa-stk {mpesa_stk.__version__}\n"


def test_importing_the_package_imports_no_simulator() -> None:
    """``import mpesa_stk`` loads neither the simulator nor the command."""
    program = (
        "import sys, mpesa_stk\n"
        "print({'mpesa_stk.cli', 'mpesa_stk.simulator', 'http.server'} & sys.modules.keys())"
    )

    done = subprocess.run(  # noqa: S603 - this very interpreter with a constant program
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    )

    assert done.stdout == "set()\n"
