"""The command line and its demo, as a person at a terminal meets them."""

from __future__ import annotations

import contextlib
import http.client
import io
import itertools
import json
import runpy
import signal
import subprocess
import sys
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

import mpesa_stk
from mpesa_stk import PhoneNumber, cli
from mpesa_stk.commands import demo
from mpesa_stk.commands.demo import browser
from mpesa_stk.daraja.models import PushRequest
from mpesa_stk.simulator import SCENARIOS, TEST_PHONES, Scenario
from processes import command
from support import callback

PATIENCE = 60.0
BY_HAND = SCENARIOS["by-hand"]
WRONG_CREDENTIALS = (
    "wrong credentials: shortcode and passkey do not belong together in this environment"
)
AT_ONCE = Scenario(answer_after=0.0)
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")


def order(phone: str = "0718643064") -> PushRequest:
    """What is asked of the customer."""
    return demo.check_order(phone=phone, amount="100", reference="INV-001")


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
    assert set(threading.enumerate()) <= before  # of another test, one may have ended


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


@pytest.mark.parametrize(
    "arguments",
    [[], ["pay"], ["demo", "--outcome", "maybe"], ["demo", "--scenario", "maybe"]],
)
def test_an_unknown_argument_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """No command, and an unknown command, outcome or scenario, end with usage and code 2."""
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)

    assert ended.value.code == 2
    assert "usage: mpesa-stk" in capsys.readouterr().err


def test_a_demo_without_its_callback_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing settles in time, the open payment is shown and the exit code is 1."""
    assert demo.run(order(), scenario=Scenario(), patience=0.0) == 1

    told = capsys.readouterr()
    assert json.loads(told.out)["state"] == "PENDING"
    assert steps(told.err)[-1] == "status query says pending"


def test_a_demo_that_cannot_begin_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """What is refused before the payment is stored is one line, and the exit code is 1."""
    unchecked = PushRequest(
        phone_number=PhoneNumber("254718643064"),
        amount=0,
        reference="INV-001",
        description="",
        callback_url="",
    )

    assert demo.run(unchecked, scenario=AT_ONCE) == 1

    told = capsys.readouterr()
    assert told.out == ""
    assert steps(told.err)[-1] == "failed: amount: must be from 1 to 250000 shillings"


# --- scenarios ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "state", "code", "last"),
    [
        ("paid", "SUCCEEDED", "0", "settled and reported: SUCCEEDED, receipt "),
        ("paid-late", "SUCCEEDED", "0", "settled and reported: SUCCEEDED, receipt "),
        ("paid-after-expiry", "SUCCEEDED", "0", "settled and reported: SUCCEEDED, receipt "),
        ("ignored", "FAILED", "1037", "settled and reported: FAILED"),
        ("by-hand", "FAILED", "1037", "settled and reported: FAILED"),
        ("callback-lost", "SUCCEEDED", "0", "settled and reported: SUCCEEDED"),
        ("callback-late", "SUCCEEDED", "0", "settled and reported: SUCCEEDED, receipt "),
        ("query-says-failed", "SUCCEEDED", "0", "settled and reported: SUCCEEDED, receipt "),
        ("query-says-paid", "FAILED", "1032", "settled and reported: FAILED"),
        ("token-killed", "SUCCEEDED", "0", "settled and reported: SUCCEEDED, receipt "),
        ("rate-limited", "REJECTED", "policies.ratelimit.SpikeArrestViolation",
         "settled and reported: REJECTED"),
        ("dropped", "EXPIRED", None, "settled and reported: EXPIRED"),
        ("done-but-dropped", "SUCCEEDED", "0", "settled and reported: SUCCEEDED, receipt "),
    ],
)  # fmt: skip
def test_a_scenario_ends_as_it_must(
    capsys: pytest.CaptureFixture[str], name: str, state: str, code: str | None, last: str
) -> None:
    """Any scenario can be played; what takes minutes there takes seconds here."""
    started = time.monotonic()

    assert cli.main(["demo", "--scenario", name]) == 0

    told = capsys.readouterr()
    payment = json.loads(told.out)
    assert (payment["state"], payment["result_code"]) == (state, code)
    assert payment["reported"] is True
    assert steps(told.err)[-1].startswith(last)
    assert time.monotonic() - started < PATIENCE


def test_every_callback_of_a_scenario_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """The demo waits for those that come again."""
    assert cli.main(["demo", "--scenario", "callback-four-times"]) == 0

    told = steps(capsys.readouterr().err)
    assert sum(step.startswith("callback received: ") for step in told) == 4
    assert told.count("callback received: settled") == 1
    assert told.count("the callback is posted again") == 3


def test_a_late_callback_is_called_late(capsys: pytest.CaptureFixture[str]) -> None:
    """The timeline does not claim that the customer answered only then."""
    assert cli.main(["demo", "--scenario", "callback-late"]) == 0

    told = steps(capsys.readouterr().err)
    assert told.index("status query says paid (code 0)") < told.index(
        "the callback is posted late: paid"
    )


def test_a_test_phone_plays_its_own_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    """As in the simulator, its number decides, whatever else is asked for; nothing is waited for."""
    started = time.monotonic()

    assert cli.main(["demo", "--phone", TEST_PHONES["paid-late"], "--outcome", "cancelled"]) == 0

    assert json.loads(capsys.readouterr().out)["state"] == "SUCCEEDED"
    assert time.monotonic() - started < PATIENCE


# --- the page ----------------------------------------------------------------------------------------


def call(method: str, url: str, body: object = None, *, status: int = 200) -> Any:
    """Ask the control interface as the page does; its answer."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=PATIENCE)
    try:
        if body is None:
            connection.request(method, parts.path)
        else:
            headers = {"Content-Type": "application/json"}
            connection.request(method, parts.path, json.dumps(body), headers)
        response = connection.getresponse()
        text = response.read()
        assert response.status == status, text
        return json.loads(text) if text.startswith(b"{") else text
    finally:
        connection.close()


def open_prompt(page: str) -> str:
    """Wait for the prompt; the control interface's address of it."""
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        for prompt in call("GET", f"{page}_sim/state")["prompts"]:
            return f"{page}_sim/prompts/{prompt['checkout_request_id']}"
    raise AssertionError("no prompt came")


def answer_on(page: str, answer: dict[str, str]) -> None:
    """Wait for the prompt, and answer it."""
    call("POST", f"{open_prompt(page)}/answer", answer)


def opening(act: Callable[[str], object]) -> tuple[Callable[[str], object], list[str]]:
    """A browser whose reader does something on the page; and which addresses it opened."""
    opened: list[str] = []

    def show(address: str) -> None:
        opened.append(address)
        threading.Thread(target=act, args=(address,), daemon=True).start()

    return show, opened


@pytest.mark.parametrize(
    ("answer", "state", "code", "step"),
    [
        ({"pin": "1234"}, "SUCCEEDED", "0", "paid"),
        ({"pin": "0000"}, "FAILED", "2001", "wrong-pin"),
        ({"outcome": "cancelled"}, "FAILED", "1032", "cancelled"),
    ],
)
def test_the_reader_answers_on_the_page(
    capsys: pytest.CaptureFixture[str], answer: dict[str, str], state: str, code: str, step: str
) -> None:
    """The page is opened, the prompt waits for its reader, and the payment ends as answered: code 0."""
    show, opened = opening(lambda page: answer_on(page, answer))

    assert demo.run(order(), scenario=BY_HAND, show_page=show) == 0

    told = capsys.readouterr()
    payment = json.loads(told.out)
    assert (payment["state"], payment["result_code"]) == (state, code)
    assert f"prompt answered on the phone: {step}" in steps(told.err)
    assert steps(told.err)[1] == f"answer the prompt on this page: {opened[0]}"


def test_a_prompt_that_is_forgotten_is_not_as_answered(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where the reader resets the simulator, nobody can tell: the payment stays open, exit code 1."""

    def forget(page: str) -> None:
        open_prompt(page)
        call("POST", f"{page}_sim/reset", {})

    show, _ = opening(forget)

    assert demo.run(order(), scenario=BY_HAND, show_page=show, patience=1.0) == 1
    assert json.loads(capsys.readouterr().out)["state"] == "PENDING"


def test_a_demo_whose_push_is_refused_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """A refusal that was not asked for is told and reported, and the exit code is 1."""

    def break_it(page: str) -> None:
        call("POST", f"{page}_sim/faults", {"step": "push", "faults": ["wrong-credentials"]})

    assert demo.run(order(), scenario=AT_ONCE, show_page=break_it) == 1

    told = capsys.readouterr()
    assert json.loads(told.out)["state"] == "REJECTED"
    assert steps(told.err)[2:] == [
        "token fetched",
        "push refused (code 500.001.1001)",
        f"no prompt appeared: {WRONG_CREDENTIALS}",
        "settled and reported: REJECTED",
    ]


def test_the_demo_refuses_a_forged_callback(capsys: pytest.CaptureFixture[str]) -> None:
    """A callback without its payment's token settles nothing, and the timeline says so."""

    def forge(page: str) -> None:
        prompt = call("GET", open_prompt(page))["prompt"]
        url = prompt["callback_url"].rstrip("/").rpartition("/")[0] + "/forged/"
        call("POST", url, json.loads(callback()), status=400)
        answer_on(page, {"outcome": "cancelled"})

    show, _ = opening(forge)

    assert demo.run(order(), scenario=BY_HAND, show_page=show) == 0

    told = capsys.readouterr()
    assert json.loads(told.out)["state"] == "FAILED"
    assert "callback not taken: callback refused: no token in the callback URL" in steps(told.err)


def test_a_success_without_a_receipt_is_not_as_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """A payment that only the query knows of is SUCCEEDED, but the demo wanted the callback too."""

    def lose_callbacks(page: str) -> None:
        call("POST", f"{page}_sim/scenario", {"scenario": {"answer_after": 0.0, "callbacks": 0}})

    code = demo.run(order(), scenario=AT_ONCE, show_page=lose_callbacks, patience=0.2)

    told = capsys.readouterr()
    assert code == 1
    assert json.loads(told.out)["receipt_number"] is None
    assert steps(told.err)[-1] == "settled and reported: SUCCEEDED"


class StopsReading(io.StringIO):
    """A terminal whose user presses Ctrl-C as soon as the page would only stay for its reader."""

    def write(self, text: str) -> int:
        """Take a text."""
        count = super().write(text)
        if "the page stays for" in text:
            signal.raise_signal(signal.SIGINT)
        return count


@pytest.mark.parametrize(("answer", "code"), [({"pin": "1234"}, 0), (None, 1)])
def test_ctrl_c_while_the_page_stays_changes_nothing(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    answer: dict[str, str] | None,
    code: int,
) -> None:
    """The payment is told before, and its exit code is kept; no thread is left."""
    monkeypatch.setattr(sys, "stderr", StopsReading())
    show, _ = opening(lambda page: answer_on(page, answer) if answer else None)
    patience = PATIENCE if answer else 0.0
    before = set(threading.enumerate())

    ended = demo.run(order(), scenario=BY_HAND, show_page=show, patience=patience, linger=600.0)

    assert ended == code
    assert json.loads(capsys.readouterr().out)["state"] == ("SUCCEEDED" if answer else "PENDING")
    assert set(threading.enumerate()) <= before  # of another test, one may have ended


def test_the_page_stays_as_long_as_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    """Then the demo ends by itself."""
    show, _ = opening(lambda page: answer_on(page, {"outcome": "cancelled"}))

    assert demo.run(order(), scenario=BY_HAND, show_page=show, linger=0.01) == 0

    told = steps(capsys.readouterr().err)
    assert told[-1] == "the page stays for 0 seconds; Ctrl-C ends it"


def test_the_command_opens_the_page(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's browser shows it; one that fails, or returns late, holds nothing up."""
    monkeypatch.setattr(sys, "stderr", StopsReading())

    def shows_and_fails(page: str) -> None:
        answer_on(page, {"pin": "1234"})
        raise webbrowser.Error

    monkeypatch.setattr(webbrowser, "open", shows_and_fails)
    monkeypatch.setenv("DISPLAY", ":0")

    assert cli.main(["demo", "--page"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "SUCCEEDED"


def test_no_browser_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """``--no-browser`` only tells the address."""
    terminal = StopsReading()
    monkeypatch.setattr(sys, "stderr", terminal)
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setenv("DISPLAY", ":0")
    before = set(threading.enumerate())

    assert cli.main(["demo", "--page", "--no-browser", "--phone", TEST_PHONES["paid"]]) == 0

    assert set(threading.enumerate()) <= before  # of another test, one may have ended
    assert opened == []
    told = steps(terminal.getvalue())
    assert told[1].startswith("answer the prompt on this page: http://127.0.0.1:")


@posix
def test_ctrl_c_stops_everything(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while the prompt is open leaves no server and no thread: exit code 3."""

    def interrupt(page: str) -> None:
        open_prompt(page)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(webbrowser, "open", interrupt)
    monkeypatch.setenv("DISPLAY", ":0")
    before = set(threading.enumerate())

    assert cli.main(["demo", "--page"]) == 3

    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.endswith("mpesa-stk demo: stopped\n")
    left = {thread for thread in threading.enumerate() if thread.name != "mpesa-stk-page"}
    assert left <= before


@posix
def test_the_page_can_be_answered_from_another_process() -> None:
    """``demo --page`` tells the payment while the page still shows it; Ctrl-C ends it with code 0."""
    with demo_process("--page", "--no-browser") as (process, page):
        assert b"<html" in call("GET", page)
        answer_on(page, {"pin": "1234"})
        assert process.stdout is not None
        assert process.stderr is not None
        out = "".join(itertools.takewhile(lambda line: line != "}\n", process.stdout))
        assert any("the page stays for 60 seconds" in line for line in process.stderr)
        (prompt,) = call("GET", f"{page}_sim/state")["prompts"]
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=PATIENCE)

    assert process.returncode == 0
    assert json.loads(out + "}")["state"] == "SUCCEEDED"
    assert prompt["answer"] == "paid"
    assert rest == ""
    assert "Traceback" not in err


@posix
def test_ctrl_c_ends_the_waiting() -> None:
    """Ctrl-C while the prompt is open: one line, no traceback, no payment, exit code 3."""
    with demo_process("--page", "--no-browser") as (process, page):
        open_prompt(page)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)

    assert process.returncode == 3
    assert out == ""
    assert err.endswith("mpesa-stk demo: stopped\n")
    assert "Traceback" not in err


@contextlib.contextmanager
def demo_process(*argv: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The demo as a process, and the address of its page."""
    with command("demo", *argv) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "answer the prompt on this page: " in line:
                yield process, line.split()[-1]
                return
        pytest.fail("it tells no address")


def test_page_and_outcome_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    """Who answers, the reader or the demo, is decided once."""
    for argv in (["--page", "--outcome", "paid"], ["--page", "--scenario", "paid"]):
        with pytest.raises(SystemExit) as ended:
            cli.main(["demo", *argv])
        assert ended.value.code == 2
        assert "not allowed with argument" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wanted", "environ", "platform", "opens"),
    [
        (True, {"DISPLAY": ":0"}, "linux", True),
        (True, {"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        (True, {}, "linux", False),
        (True, {"DISPLAY": ""}, "linux", False),
        (True, {}, "darwin", True),
        (True, {}, "win32", True),
        (False, {"DISPLAY": ":0"}, "linux", False),
    ],
)
def test_a_browser_opens_where_a_window_can_appear(
    *, wanted: bool, environ: dict[str, str], platform: str, opens: bool
) -> None:
    """Not where it is not wanted, and not where it would take over the terminal."""
    found = browser(wanted=wanted, environ=environ, platform=platform)
    assert (found is webbrowser.open) is opens
    assert (found is None) is not opens


# --- the module --------------------------------------------------------------------------------------


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
        [sys.executable, "-c", program],
        capture_output=True,
        check=True,
        text=True,
        timeout=PATIENCE,
    )

    assert done.stdout == "set()\n"
