"""The commands about payments and codes, as a person or a script at a terminal meets them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from daraja_double import Answer, ScriptedDaraja, answer, refusal, result
from mpesa_stk import NotSent, OutcomeUnknown, cli
from mpesa_stk.commands.context import Context
from mpesa_stk.daraja.results import CATALOGUE
from mpesa_stk.simulator import Scenario, SimulatorServer
from support import (
    CALLBACK_URL,
    CANARIES,
    CHECKOUT_ID,
    CONSUMER_KEY,
    CONSUMER_SECRET,
    PASSKEY,
    ManualClock,
    make_config,
)

ORDER = ["push", "--phone", "0718 643 064", "--amount", "100", "--reference", "INV-1"]
NOT_AGAIN = "do not push again"
VARIABLES = {
    "consumer_key": CONSUMER_KEY,
    "consumer_secret": CONSUMER_SECRET,
    "shortcode": "600000",
    "pass_key": PASSKEY,
    "c2b_callback": CALLBACK_URL,
}


def run(*argv: str, **given: Any) -> int:
    """Run a command with another world than the process's."""
    return cli.main(argv, context=Context(**given))


def pointing_at(daraja: SimulatorServer) -> dict[str, str]:
    """The variables that name a simulator."""
    urls = daraja.environment.urls
    return VARIABLES | {
        "access_token_url": urls["token_url"],
        "checkout_url": urls["push_url"],
        "mpesa_query_check_url": urls["query_url"],
        "c2b_callback": f"{daraja.origin}/callback",
    }


@pytest.fixture
def clock() -> ManualClock:
    """The time of client and Daraja alike."""
    return ManualClock()


@pytest.fixture
def daraja(clock: ManualClock) -> Iterator[SimulatorServer]:
    """A Daraja whose customers answer after half a minute."""
    scenario = Scenario(answer_after=30.0)
    with SimulatorServer(make_config(), clock=clock, scenario=scenario) as server:
        yield server


@pytest.fixture
def world(daraja: SimulatorServer, clock: ManualClock) -> dict[str, Any]:
    """What the commands are given to meet that Daraja."""
    return {"environ": pointing_at(daraja), "clock": clock}


def scripted(*, push: Answer | None = None, query: Answer | None = None) -> dict[str, Any]:
    """What the commands are given to meet a Daraja that says these things over and over."""
    double = ScriptedDaraja()
    double.push_script.extend([] if push is None else [push] * 10)
    double.query_script.extend([] if query is None else [query] * 20)
    return {"environ": VARIABLES, "clock": ManualClock(), "transport": double}


def told_json(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The one JSON object on stdout; no secret is near it."""
    told = capsys.readouterr()
    assert not any(canary in told.out + told.err for canary in CANARIES)
    facts: dict[str, Any] = json.loads(told.out)
    return facts


# --- push ------------------------------------------------------------------------------------------------


def test_a_push_that_is_paid(capsys: pytest.CaptureFixture[str], world: dict[str, Any]) -> None:
    """Progress on stderr while the customer decides, the result on stdout, exit code 0."""
    assert run(*ORDER, **world) == 0

    told = capsys.readouterr()
    assert told.out.splitlines() == [
        "result        paid (code 0)",
        "meaning       Paid.",
        "final         yes",
        "push again    no",
        "customer      Payment received. Thank you.",
        "receipt       comes with the callback, never with the query",
    ]
    steps = [line.partition(" s  ")[2] for line in told.err.splitlines()]
    assert steps[0] == "asking 254718***064 for 100 shillings"
    assert steps[1].startswith("accepted as ws_CO_")
    assert steps[2:] == ["still open", "paid"]
    assert not any(canary in told.out + told.err for canary in CANARIES)


def test_a_push_that_is_declined(
    capsys: pytest.CaptureFixture[str], world: dict[str, Any], daraja: SimulatorServer
) -> None:
    """A declined payment ends with 1; --json prints one object, in the language asked for."""
    daraja.play(Scenario(outcome="cancelled", answer_after=1.0))

    assert run(*ORDER, "--json", "--lang", "sw", **world) == 1

    facts = told_json(capsys)
    assert facts["checkout_request_id"].startswith("ws_CO_")
    assert facts["merchant_request_id"]
    assert (facts["status"], facts["result_code"], facts["final"]) == ("FAILED", "1032", True)
    assert (facts["retry"], facts["wait_seconds"]) == ("yes", 0)
    assert facts["customer_message"] == "Umeghairi malipo. Unaweza kujaribu tena ukiwa tayari."


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_push_that_nobody_decides(
    capsys: pytest.CaptureFixture[str],
    world: dict[str, Any],
    daraja: SimulatorServer,
    options: list[str],
) -> None:
    """When the time is up nobody knows: exit code 3 and a warning, never "not paid"."""
    daraja.play(Scenario(answer_after=1000.0))

    assert run(*ORDER, *options, **world) == 3

    told = capsys.readouterr()
    assert "still open" in told.out or json.loads(told.out)["status"] == "PENDING"
    assert NOT_AGAIN in told.err


def test_a_push_without_waiting(
    capsys: pytest.CaptureFixture[str], world: dict[str, Any], clock: ManualClock
) -> None:
    """--no-wait ends when Daraja took the push, and says how to ask."""
    assert run(*ORDER, "--no-wait", **world) == 0
    assert "mpesa-stk wait ws_CO_" in capsys.readouterr().out

    clock.advance(60.0)
    assert run(*ORDER, "--no-wait", "--json", **world) == 0
    facts = told_json(capsys)
    assert facts["status"] == "ACCEPTED"
    assert facts["checkout_request_id"].startswith("ws_CO_")


def test_a_push_of_unknown_outcome(capsys: pytest.CaptureFixture[str]) -> None:
    """A lost answer is exit code 3 and "do not push again", and it was sent once."""
    given = scripted(push=OutcomeUnknown("no complete answer in time"))

    assert run(*ORDER, **given) == 3

    told = capsys.readouterr()
    assert told.out == "result        unknown: no complete answer in time\n"
    assert NOT_AGAIN in told.err
    assert len(given["transport"].pushes) == 1


@pytest.mark.parametrize(
    ("planned", "status", "error", "hint"),
    [
        (NotSent("no connection could be made"), "NOT_SENT", "NotSent", "safe to try again"),
        (
            refusal("500.001.1001", "Unable to lock subscriber", 500),
            "REFUSED",
            "SubscriberBusy",
            "wait at least a minute",
        ),
        (
            refusal("500.001.1001", "Wrong credentials", 500),
            "REFUSED",
            "AuthenticationFailed",
            "`mpesa-stk doctor` says which setting is wrong",
        ),
        (refusal("400.002.02", "Invalid Amount", 400), "REFUSED", "DarajaError", "no prompt"),
    ],
)
def test_a_push_that_reached_no_phone(
    capsys: pytest.CaptureFixture[str], planned: Any, status: str, error: str, hint: str
) -> None:
    """A refusal, and a push that never left, are exit code 1, with what to do on stderr."""
    given = scripted(push=planned)

    assert run(*ORDER, "--json", **given) == 1

    told = capsys.readouterr()
    facts = json.loads(told.out)
    assert (facts["status"], facts["error"]) == (status, error)
    assert hint in told.err


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (["--phone", "07"], "phone_number: is too short: nine digits must follow 0 or +254"),
        (["--amount", "ten"], "amount: must be a number of shillings"),
        (["--amount", "1.5"], "amount: must be whole shillings: Daraja takes no cents"),
        (["--reference", ""], "reference: must be 1 to 12 characters"),
        (["--description", "#"], "description: may hold only letters, digits, space and - _ . /"),
    ],
)
def test_a_bad_field_of_a_push_is_one_line(
    capsys: pytest.CaptureFixture[str], change: list[str], line: str
) -> None:
    """What cannot be sent is refused before anything is: its field and rule, exit code 2."""
    given = scripted()

    assert run(*ORDER, *change, **given) == 2

    told = capsys.readouterr()
    assert (told.out, told.err) == ("", f"mpesa-stk push: {line}\n")
    assert given["transport"].pushes == []


@pytest.mark.parametrize(
    "argv", [ORDER, ["query", CHECKOUT_ID], ["wait", CHECKOUT_ID], ["explain", CHECKOUT_ID]]
)
def test_settings_that_cannot_work(capsys: pytest.CaptureFixture[str], argv: list[str]) -> None:
    """One line on stderr for each bad variable, exit code 2."""
    assert run(*argv, environ=VARIABLES | {"shortcode": "x", "pass_key": ""}) == 2

    told = capsys.readouterr()
    assert told.out == ""
    *lines, last = told.err.splitlines()
    assert sorted(lines) == [
        f"mpesa-stk {argv[0]}: pass_key: is not set",
        f"mpesa-stk {argv[0]}: shortcode: must be a string of 5 to 7 digits",
    ]
    assert last == f"mpesa-stk {argv[0]}: `mpesa-stk doctor` says what to do about each setting"


@pytest.mark.parametrize("command", ["query", "wait", "explain"])
@pytest.mark.parametrize("callback_url", ["", "http://localhost:8000/callback"])
def test_asking_needs_no_callback_url(
    capsys: pytest.CaptureFixture[str], command: str, callback_url: str
) -> None:
    """The status query tells Daraja none, so one that cannot work does not matter either."""
    given = scripted(query=result(CHECKOUT_ID, "0"))
    given["environ"] = VARIABLES | {"c2b_callback": callback_url, "C2B_CALLBACK": callback_url}

    assert run(command, CHECKOUT_ID, **given) == 0

    assert "callback" not in capsys.readouterr().err
    assert "c2b_callback" in given["environ"]


def test_a_push_needs_a_callback_url(capsys: pytest.CaptureFixture[str]) -> None:
    """Without one nothing is sent, and the doctor is named."""
    given = scripted()
    given["environ"] = VARIABLES | {"c2b_callback": ""}

    assert run(*ORDER, **given) == 2

    assert capsys.readouterr().err.splitlines() == [
        "mpesa-stk push: c2b_callback: is not set",
        "mpesa-stk push: `mpesa-stk doctor` says what to do about each setting",
    ]
    assert given["transport"].pushes == []


def test_settings_that_may_not_work(capsys: pytest.CaptureFixture[str]) -> None:
    """A callback URL with a banned word is a line on stderr, and the push is sent."""
    given = scripted()
    given["environ"] = VARIABLES | {"c2b_callback": "https://shop.example.co.ke/mpesa"}

    assert run(*ORDER, "--no-wait", **given) == 0

    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith("mpesa-stk push: warning: ")
    assert "mpesa" in first.partition("warning: ")[2]


def test_an_interrupted_push(capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C while the push is under way leaves its outcome unknown, and says so."""

    def interrupt() -> Any:
        raise KeyboardInterrupt

    assert run(*ORDER, **scripted(push=interrupt)) == 3

    told = capsys.readouterr()
    assert told.out == "result        not known: interrupted\n"
    assert NOT_AGAIN in told.err


def test_an_interrupted_wait(capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C while the customer decides leaves the id in the answer."""

    def interrupt() -> Any:
        raise KeyboardInterrupt

    assert run(*ORDER, "--json", **scripted(query=interrupt)) == 3

    facts = told_json(capsys)
    assert facts["status"] == "UNKNOWN"
    assert facts["checkout_request_id"].startswith("ws_CO_")


# --- query and wait --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("planned", "code", "first", "meaning"),
    [
        (result(CHECKOUT_ID, "0"), 0, "paid (code 0)", "Paid."),
        (result(CHECKOUT_ID, "1"), 1, "not paid (code 1)", "The payer's balance is too low."),
        (result(CHECKOUT_ID, "4999"), 3, "still open (code 4999)", CATALOGUE["4999"].meaning),
        (
            refusal("500.001.1001", "The transaction is being processed", 500),
            3,
            "still open",
            CATALOGUE["4999"].meaning,
        ),
        (
            refusal("400.002.02", "Bad Request - Invalid CheckoutRequestID", 400),
            3,
            "not known",
            "Daraja does not know this id: it is wrong, too old, or was asked about too early.",
        ),
        (result(CHECKOUT_ID, "26"), 3, "not known (code 26)", CATALOGUE["26"].meaning),
        (
            answer({"ResponseCode": "1", "CheckoutRequestID": CHECKOUT_ID, "ResultCode": "0"}),
            3,
            "not known (code 0)",
            "Daraja could not be asked, or its answer proves nothing.",
        ),
    ],
)
def test_a_query_says_what_is_known(
    capsys: pytest.CaptureFixture[str], planned: Any, code: int, first: str, meaning: str
) -> None:
    """Paid is 0, not paid 1, anything else 3 with a warning: never "not paid" without proof."""
    assert run("query", CHECKOUT_ID, **scripted(query=planned)) == code

    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert lines[:2] == [f"result        {first}", f"meaning       {meaning}"]
    assert ("push again    not yet: it may still be paid" in lines) == (code == 3)
    assert (NOT_AGAIN in told.err) == (code == 3)


@pytest.mark.parametrize("argv", [["query", CHECKOUT_ID], ["wait", CHECKOUT_ID]])
def test_an_id_that_daraja_does_not_know(
    capsys: pytest.CaptureFixture[str], argv: list[str]
) -> None:
    """The live sandbox says so with HTTP 500. It proves nothing, but a program can tell it apart."""
    given = scripted(query=refusal("500.001.1001", "The transaction does not Exist", 500))

    assert run(*argv, "--json", **given) == 3

    facts = told_json(capsys)
    assert (facts["status"], facts["not_found"]) == ("UNKNOWN", True)
    assert facts["meaning"].startswith("Daraja does not know this id")


@pytest.mark.parametrize("argv", [["query", CHECKOUT_ID], ["wait", CHECKOUT_ID]])
def test_daraja_cannot_be_asked(capsys: pytest.CaptureFixture[str], argv: list[str]) -> None:
    """Credentials that are refused tell nothing of the payment: exit code 3."""
    given = scripted(query=refusal("500.001.1001", "Wrong credentials", 500))

    assert run(*argv, "--json", **given) == 3

    told = capsys.readouterr()
    facts = json.loads(told.out)
    assert (facts["status"], facts["error"]) == ("UNKNOWN", "AuthenticationFailed")
    assert facts["checkout_request_id"] == CHECKOUT_ID
    assert NOT_AGAIN in told.err


def test_waiting_is_as_long_as_asked(
    capsys: pytest.CaptureFixture[str], clock: ManualClock
) -> None:
    """--timeout bounds the wait; each answer on the way is a line on stderr."""
    given = scripted(query=result(CHECKOUT_ID, "4999")) | {"clock": clock}

    assert run("wait", CHECKOUT_ID, "--timeout", "40", **given) == 3

    assert sum(clock.slept) == pytest.approx(40.0)
    assert capsys.readouterr().err.count("still open") == len(clock.slept)


@pytest.mark.parametrize("timeout", ["soon", "-1", "nan", "inf", "86401"])
def test_a_wait_needs_a_sane_timeout(capsys: pytest.CaptureFixture[str], timeout: str) -> None:
    """Anything but 0 to 86400 seconds is a usage error."""
    with pytest.raises(SystemExit) as ended:
        run("wait", CHECKOUT_ID, f"--timeout={timeout}")

    assert ended.value.code == 2
    assert "--timeout: must be 0 to 86400 seconds" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["query", "wait", "explain"])
def test_an_id_that_cannot_be_one(capsys: pytest.CaptureFixture[str], command: str) -> None:
    """An unusable id is refused before the settings are looked at."""
    assert run(command, "two words", environ={}) == 2
    assert capsys.readouterr().err == (
        f"mpesa-stk {command}: checkout_request_id: must be 1 to 128 visible ASCII characters\n"
    )


@pytest.mark.parametrize("command", ["query", "wait", "explain"])
@pytest.mark.parametrize(
    ("given", "looks"),
    [
        ("INV-001", ""),
        ("6f9619ff-8b86-4011-b42d-00c04fc964ff", "; this looks like a transaction_no"),
        ("29115-34620561-1", "; this looks like a MerchantRequestID"),
        ("2654-4b64-97ff-b827b542881d3130", "; this looks like a MerchantRequestID"),
        ("NLJ7RT61SV", "; this looks like a receipt number"),
        ("0718643064", ""),
    ],
)
def test_an_id_of_something_else(
    capsys: pytest.CaptureFixture[str], command: str, given: str, looks: str
) -> None:
    """It is told at once, and nothing is asked: a wait for it would last two minutes."""
    assert run(command, given, environ={}) == 2
    assert capsys.readouterr().err == (
        f"mpesa-stk {command}: checkout_request_id: must begin with ws_CO_{looks}\n"
    )


def test_the_process_environment_is_the_default(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Called as a person calls it, a command reads the environment and meets a real server."""
    with SimulatorServer(make_config(), scenario=Scenario(answer_after=0.0)) as daraja:
        for name, value in pointing_at(daraja).items():
            monkeypatch.setenv(name, value)
        assert cli.main([*ORDER, "--no-wait", "--json"]) == 0
        accepted = json.loads(capsys.readouterr().out)

        assert cli.main(["query", accepted["checkout_request_id"]]) == 0
        assert cli.main(["wait", accepted["checkout_request_id"], "--timeout", "0"]) == 0
        assert cli.main(["explain", accepted["checkout_request_id"], "--lang", "sw"]) == 0

    assert "Malipo yamepokelewa. Asante." in capsys.readouterr().out


# --- codes -----------------------------------------------------------------------------------------------


def test_the_catalogue_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Every code has its line below the heading, and no settings are needed."""
    assert cli.main(["codes"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["code", "evidence", "final", "retry", "meaning"]
    assert [line.split()[0] for line in lines[1:]] == list(CATALOGUE)
    assert lines[0].index("meaning") == lines[1].index("Paid.")


def test_the_catalogue_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """A list of objects, with the customer's text in the language asked for."""
    assert cli.main(["codes", "--json", "--lang", "sw"]) == 0

    rows = json.loads(capsys.readouterr().out)
    assert [row["code"] for row in rows] == list(CATALOGUE)
    assert rows[0] == {
        "code": "0",
        "evidence": "official",
        "final": True,
        "retry": "no",
        "wait_seconds": 0,
        "meaning": "Paid.",
        "customer_message": "Malipo yamepokelewa. Asante.",
    }


def test_one_code_is_explained() -> None:
    """Meaning, evidence, whether it is final, whether to try again, what to tell the customer."""
    out = io.StringIO()

    assert run("codes", "1032", "--lang", "sw", stdout=out) == 0

    assert out.getvalue().splitlines() == [
        "code          1032",
        f"meaning       {CATALOGUE['1032'].meaning}",
        "evidence      official: Safaricom's portal states it",
        "final         yes",
        "push again    yes",
        "customer      Umeghairi malipo. Unaweza kujaribu tena ukiwa tayari.",
    ]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("4", "yes, after 24 hours"),
        ("8", "yes, after 1 hour"),
        ("17", "only once it is certain that this attempt did not go through, after 2 minutes"),
        ("2", "only with another amount"),
        ("2028", "not before the merchant's settings are corrected"),
        ("4999", "no, after 15 seconds"),
    ],
)
def test_advice_is_in_words(capsys: pytest.CaptureFixture[str], code: str, words: str) -> None:
    """Whether and when to ask again is a phrase."""
    assert cli.main(["codes", code]) == 0
    assert f"push again    {words}" in capsys.readouterr().out.splitlines()


def test_an_unknown_code_is_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    """A code that is in no list ends with 1, in words and as JSON."""
    assert cli.main(["codes", "31337"]) == 1
    assert "evidence      unknown: it is not in the catalogue" in capsys.readouterr().out

    assert cli.main(["codes", "31337", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["evidence"] == "unknown"


@pytest.mark.parametrize("code", ["", "two words", "\x1b[2J", "9" * 41])
def test_a_code_that_cannot_be_one(capsys: pytest.CaptureFixture[str], code: str) -> None:
    """What no code looks like is refused, and not printed."""
    assert cli.main(["codes", code]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == "mpesa-stk codes: CODE: must be 1 to 40 visible characters\n"


# --- errors that every command handles in the same way ----------------------------------------------------


class Gone(io.StringIO):
    """A pipe whose reader has gone."""

    def write(self, _text: str) -> int:
        """Fail as a pipe does."""
        raise BrokenPipeError


@pytest.mark.parametrize(("code", "ends"), [("0", 0), ("1", 1), ("4999", 3)])
def test_an_outcome_counts_though_its_reader_has_gone(code: str, ends: int) -> None:
    """1 would mean "not paid", whatever Daraja says."""
    given = scripted(query=result(CHECKOUT_ID, code))
    assert run("query", CHECKOUT_ID, stdout=Gone(), **given) == ends


def test_a_push_goes_on_though_the_reader_of_its_progress_has_gone(
    monkeypatch: pytest.MonkeyPatch, world: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """The push is waited for, and its outcome printed."""
    monkeypatch.setattr("sys.stderr", Gone())
    assert run(*ORDER, **world) == 0
    assert capsys.readouterr().out.startswith("result        paid (code 0)\n")


def test_output_without_a_reader_is_not_done() -> None:
    """A list that was cut off ends with 1, without a traceback."""
    assert run("codes", stdout=Gone()) == 1


def test_ctrl_c_ends_any_command(capsys: pytest.CaptureFixture[str]) -> None:
    """One line and exit code 3, also before the first request."""

    class Stopped(ManualClock):
        def monotonic(self) -> float:
            raise KeyboardInterrupt

    assert run("wait", CHECKOUT_ID, **scripted() | {"clock": Stopped()}) == 3
    assert capsys.readouterr() == ("", "mpesa-stk wait: stopped\n")
