"""``mpesa-stk serve``: the endpoints over real HTTP, the examples it prints, and how it stops."""

from __future__ import annotations

import http.client
import io
import json
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
import pytest
from sqlalchemy import create_engine

from loopback import Act, Exchange, Server, answer_json, closed_port
from mpesa_stk import TransactionState, cli
from mpesa_stk.commands.context import Context
from mpesa_stk.commands.database import DatabaseUrl
from mpesa_stk.commands.serve import _introduce, serve, settled_line
from mpesa_stk.config.urls import origin_of
from mpesa_stk.simulator import TEST_PHONES, Scenario, SimulatorServer
from mpesa_stk.stores.sql import SqlTransactionStore
from mpesa_stk.web.http_server import HttpServer
from mpesa_stk.web.messages import WebResponse
from processes import VARIABLES, command
from support import (
    CALLBACK_SECRET,
    CANARIES,
    ROOT,
    TOKEN,
    accepted,
    loopback_config,
    make_config,
    make_transaction,
)

LOCAL = "127.0.0.1"
CONTEXT = Context(command="serve")
PATIENCE = 60.0
DOCTOR = "mpesa-stk serve: `mpesa-stk doctor` says what to do about each setting"
CHECKOUT = {
    "phone_number": "0718643064",
    "amount": 100,
    "reference": "INV-2024-001",
    "description": "Payment for services",
}
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process otherwise")


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings in the environment, except those that a test puts there."""
    for name in (*VARIABLES, "callback_secret", "mpesa_database"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def post(url: str, body: bytes, **headers: str) -> tuple[int, Any]:
    """POST a body; the status of the answer, and its JSON."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=PATIENCE)
    try:
        fields = {"Content-Type": "application/json"} | headers
        connection.request("POST", parts.path, body=body, headers=fields)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def curl(line: str) -> tuple[int, Any]:
    """Do what a printed line says."""
    command, x, method, url, h, header, d, body = shlex.split(line)
    assert (command, x, method, h, d) == ("curl", "-X", "POST", "-H", "-d")
    assert header == "Content-Type: application/json"
    return post(url, body.encode())


def checkout(origin: str) -> tuple[int, Any]:
    """Ask for the money of the example."""
    return post(f"{origin}/payments/checkout/", json.dumps(CHECKOUT).encode())


def asked_until(line: str, done: Callable[[Any], object]) -> dict[str, Any]:
    """Ask by a printed line until the answer is as wanted."""
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        status, body = curl(line)
        assert status == 200
        if done(body):
            found: dict[str, Any] = body
            return found
    pytest.fail("the answer did not come")


def origin_in(lines: Iterable[str]) -> str:
    """The address that it says it serves on."""
    return next(line.split()[-1] for line in lines if line.startswith("Serving on "))


def is_refused(origin: str) -> bool:
    """Whether nobody listens there."""
    parts = urlsplit(origin)
    try:
        address = (str(parts.hostname), parts.port or 0)
        socket.create_connection(address, timeout=PATIENCE).close()
    except ConnectionRefusedError:
        return True
    except ConnectionError:
        pass  # it was just closing
    return False


def paid_when_closed(before: Callable[[], object], origin: Callable[[], str]) -> Act:
    """A Daraja that takes a push only once the server that asked takes no more connections."""

    def act(exchange: Exchange) -> None:
        before()
        ends = time.monotonic() + PATIENCE
        while not is_refused(origin()):
            assert time.monotonic() < ends
            exchange.ending.wait(0.01)
        answer_json(accepted())(exchange)

    return act


# --- with a simulated Daraja -------------------------------------------------------------------------


def test_the_printed_examples_work_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """Checkout answers Daraja's fields, the query tells of the payment, the callback is accepted."""
    before = set(threading.enumerate())

    def type_them() -> None:
        told = capsys.readouterr()
        assert "no money moves" in told.err
        assert re.search(
            r"^The customer's phone is at http://127\.0\.0\.1:\d+/$", told.err, re.MULTILINE
        )
        assert "kept in memory only" in told.err
        asking, query, report = (line for line in told.out.splitlines() if line[:4] == "curl")
        assert f"{origin_in(told.out.splitlines())}/payments/checkout/" in asking

        status, answer = curl(asking)
        assert status == 200
        assert {name: answer[name] for name in list(accepted())[2:]} == {
            "ResponseCode": "0",
            "ResponseDescription": "Success. Request accepted for processing",
            "CustomerMessage": "Success. Request accepted for processing",
        }
        assert answer["MerchantRequestID"]

        assert curl(query)[0] == 404
        query = query.replace("CHECKOUT_REQUEST_ID", answer["CheckoutRequestID"])
        found = asked_until(query, lambda body: body["local_transaction"]["receipt_no"])
        assert (found["ResponseCode"], found["ResultCode"]) == ("0", "0")
        local = found["local_transaction"]
        assert (local["phone_number"], local["amount"]) == ("+254718643064", "100")
        assert (local["status"], local["transaction_no"]) == ("0", answer["transaction_no"])

        assert curl(report) == (200, {"ResultCode": 0, "ResultDesc": "Accepted"})

    assert serve(CONTEXT, None, host=LOCAL, port=0, wait=type_them, every=0.05) == 0

    told = capsys.readouterr()
    settled = sorted(told.out.splitlines())
    # A query may settle the payment, and be told of, just before the callback brings its receipt.
    assert [line.partition(", ")[0] for line in settled] == [
        "SUCCEEDED: KES 1",
        "SUCCEEDED: KES 100",
    ]
    assert "718643064" not in told.out
    assert told.err == "Stopping: requests in flight are finished.\n"
    assert set(threading.enumerate()) <= before  # of another test, one may have ended


@pytest.mark.parametrize("scenario", ["paid", "cancelled"])
def test_a_callback_can_be_triggered(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, scenario: str
) -> None:
    """With the same callback_secret `trigger` settles a payment of the simulated shop: 200."""
    monkeypatch.setenv("callback_secret", f"{CALLBACK_SECRET}, and-an-older-one-of-before")
    phone_number = TEST_PHONES["by-hand"]
    asked = CHECKOUT | {"phone_number": phone_number}

    def trigger_it() -> None:
        told = capsys.readouterr()
        assert "Callbacks are signed with callback_secret, for paybill 600000." in told.err
        assert CALLBACK_SECRET not in told.out + told.err
        origin = origin_in(told.out.splitlines())
        status, answer = post(f"{origin}/payments/checkout/", json.dumps(asked).encode())
        assert status == 200
        argv = ["trigger", scenario, "--to", f"{origin}/payments/callback"]
        argv += ["--transaction-no", answer["transaction_no"], "--account", "paybill 600000"]
        argv += ["--checkout-request-id", answer["CheckoutRequestID"]]
        argv += ["--merchant-request-id", answer["MerchantRequestID"]]
        argv += ["--phone", phone_number]
        assert cli.main(argv) == 0
        assert cli.main([*argv, "--amount", "99"]) == 1

    assert serve(CONTEXT, None, host=LOCAL, port=0, wait=trigger_it, every=0.05) == 0
    told = capsys.readouterr().out
    assert ("SUCCEEDED" if scenario == "paid" else "FAILED") + ": KES 100, " in told


def test_a_large_body_gets_its_answer(capsys: pytest.CaptureFixture[str]) -> None:
    """200 KB are refused with a 413 that the client can read, though the body was not taken."""

    def send() -> None:
        origin = origin_in(capsys.readouterr().out.splitlines())
        status, refused = post(f"{origin}/payments/callback/", b"x" * 200_000)
        assert (status, refused["error"]["code"]) == (413, "body_too_large")

    assert serve(CONTEXT, None, host=LOCAL, port=0, wait=send) == 0


def test_a_page_of_another_site_cannot_have_its_name_lead_here(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """DNS rebinding: the browser says same-origin, but the Host is a stranger's. No phone rings."""

    def ask() -> None:
        origin = origin_in(capsys.readouterr().out.splitlines())
        port = urlsplit(origin).port
        own = {"Sec-Fetch-Site": "same-origin"}
        body = json.dumps(CHECKOUT).encode()
        for path in ("checkout", "query", "callback"):
            url = f"{origin}/payments/{path}/"
            foreign = own | {
                "Host": f"evil.example:{port}",
                "Origin": f"http://evil.example:{port}",
            }
            status, told = post(url, body, **foreign)
            assert (status, told["error"]["code"]) == (403, "foreign_host")
        for number, host in enumerate((f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}")):
            order = json.dumps(CHECKOUT | {"phone_number": f"071864301{number}"}).encode()
            assert post(f"{origin}/payments/checkout/", order, Host=host, **own)[0] == 200

    assert serve(CONTEXT, None, host=LOCAL, port=0, wait=ask) == 0
    assert "mpesa_stk" not in capsys.readouterr().out


def test_the_host_of_the_callback_url_is_served(capsys: pytest.CaptureFixture[str]) -> None:
    """Through a tunnel or a proxy, the Host is that of c2b_callback, or one of allowed_hosts."""
    config = make_config(allowed_hosts=("pay.example",), callback_secrets=(CALLBACK_SECRET,))

    def ask() -> None:
        told = capsys.readouterr()
        assert "not signed" not in told.err
        origin = origin_in(told.out.splitlines())
        query = json.dumps({"transaction_no": "x"}).encode()
        for host, status in (
            ("shop.example.co.ke", 404),
            ("pay.example", 404),
            ("evil.example", 403),
        ):
            assert post(f"{origin}/payments/query/", query, Host=host)[0] == status

    assert serve(CONTEXT, (config,), host=LOCAL, port=0, wait=ask) == 0


class StopsSoon(io.StringIO):
    """A terminal whose user stops the command once it says where it serves."""

    def write(self, text: str) -> int:
        """Take a text."""
        if "Serving on" in text:
            threading.Timer(0.05, signal.raise_signal, (signal.SIGTERM,)).start()
        return super().write(text)


def test_the_command_serves_until_a_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal ends it with exit code 0, and the handlers are as before."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    terminal = StopsSoon()
    monkeypatch.setattr(sys, "stdout", terminal)

    assert cli.main(["serve", "--simulate", "--port", "0"]) == 0

    assert origin_in(terminal.getvalue().splitlines()).startswith("http://127.0.0.1:")
    assert [signal.getsignal(number) for number in numbers] == before


# --- with a Daraja of the settings -------------------------------------------------------------------


def test_it_serves_the_daraja_of_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    """It says what is asked and where callbacks go; a payment that fails is told with its code."""
    config = make_config()
    at_once = Scenario(outcome="cancelled", answer_after=0.0)

    def pay() -> None:
        told = capsys.readouterr()
        assert "Daraja: a simulator on this machine, paybill 600000. No money moves." in told.err
        assert f"Callbacks to {nobody}/callback must arrive at" in told.err
        asking, query = (line for line in told.out.splitlines() if line[:4] == "curl")
        checkout_request_id = curl(asking)[1]["CheckoutRequestID"]
        query = query.replace("CHECKOUT_REQUEST_ID", checkout_request_id)
        asked_until(query, lambda body: body["ResultCode"] == "1032")

    with closed_port() as nobody, SimulatorServer(config, scenario=at_once) as daraja:
        local = attrs.evolve(
            config, environment=daraja.environment, callback_url=f"{nobody}/callback"
        )
        assert serve(CONTEXT, (local,), host=LOCAL, port=0, wait=pay) == 0

    told = capsys.readouterr().out
    assert told.startswith("FAILED: KES 100, code 1032, transaction_no ")
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (
            "https://shop.example.co.ke",
            "Callbacks come to https://shop.example.co.ke/payments/callback.",
        ),
        ("http://127.0.0.1:8000", "must arrive at http://127.0.0.1:8000/payments/callback."),
    ],
)
def test_it_says_where_callbacks_go(
    own: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """And that Daraja is Safaricom's own, unless it is a simulator."""
    config = attrs.evolve(
        make_config(), callback_url="https://shop.example.co.ke/payments/callback/"
    )
    _introduce(CONTEXT, (config,), own, phone=None)

    told = capsys.readouterr().err
    assert said in told
    assert "Daraja: sandbox, paybill 600000." in told


def test_payments_in_a_database_outlive_the_command(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A second run knows the payment and the token of the first, and leaves the report to a worker."""
    url = DatabaseUrl(text=f"sqlite:///{tmp_path / 'p.db'}", source="mpesa_database")
    asked: list[str] = []

    def pay() -> None:
        told = capsys.readouterr()
        assert (
            "Payments are kept in the database of mpesa_database. Run `mpesa-stk worker`"
            in told.err
        )
        asking, query = (line for line in told.out.splitlines() if line[:4] == "curl")
        asked.append(curl(asking)[1]["CheckoutRequestID"])
        query = query.replace("CHECKOUT_REQUEST_ID", asked[0])
        asked_until(query, lambda body: body["ResultCode"] == "1032")

    def look() -> None:
        origin = origin_in(capsys.readouterr().out.splitlines())
        body = json.dumps({"checkout_request_id": asked[0]}).encode()
        assert post(f"{origin}/payments/query/", body)[1]["state"] == "FAILED"
        assert checkout(origin)[0] == 200

    config, at_once = make_config(), Scenario(outcome="cancelled", answer_after=0.0)
    with closed_port() as nobody, SimulatorServer(config, scenario=at_once) as daraja:
        local = attrs.evolve(
            config, environment=daraja.environment, callback_url=f"{nobody}/callback"
        )
        for step in (pay, look):
            assert serve(CONTEXT, (local,), host=LOCAL, port=0, wait=step, every=0.01, url=url) == 0
        assert [entry.kind for entry in daraja.journal.entries()].count("token") == 1

    engine = create_engine(url.text)
    kept = SqlTransactionStore(engine).find(checkout_request_id=asked[0])
    engine.dispose()
    assert kept is not None
    assert (kept.state, kept.reported) == (TransactionState.FAILED, False)


def test_a_live_server_shows_no_payer_to_who_guesses_an_id(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Only a simulated one shows all. The live one stops the guesses, too."""
    url = DatabaseUrl(text=f"sqlite:///{tmp_path / 'p.db'}", source="mpesa_database")
    engine = create_engine(url.text)
    store = SqlTransactionStore(engine)
    store.create_tables()
    paid = make_transaction(
        state=TransactionState.SUCCEEDED,
        checkout_request_id="ws_CO_1",
        receipt_number="NLJ7RT61SV",
        due_at=None,
    )
    store.add(paid)
    engine.dispose()

    def guess() -> None:
        query = f"{origin_in(capsys.readouterr().out.splitlines())}/payments/query/"
        found = post(query, b'{"checkout_request_id": "ws_CO_1"}')[1]["local_transaction"]
        assert (found["transaction_no"], found["receipt_no"]) == (None, "***1SV")
        statuses = [post(query, b'{"checkout_request_id": "x"}')[0] for _ in range(21)]
        assert statuses == [404] * 20 + [429]

    config = make_config(callback_secrets=(CALLBACK_SECRET,))
    assert serve(CONTEXT, (config,), host=LOCAL, port=0, wait=guess, url=url) == 0


def test_stopping_finishes_the_request_in_flight(capsys: pytest.CaptureFixture[str]) -> None:
    """A checkout that waits for Daraja is answered, though the server is closed to others by then."""
    pushed = threading.Event()
    answers: list[tuple[int, Any]] = []
    origins: list[str] = []
    asking = threading.Thread(target=lambda: answers.append(checkout(origins[0])))

    def ask() -> None:
        origins.append(origin_in(capsys.readouterr().out.splitlines()))
        asking.start()
        assert pushed.wait(PATIENCE)

    token = answer_json({"access_token": TOKEN, "expires_in": "3599"})
    with Server(token, paid_when_closed(pushed.set, lambda: origins[0])) as daraja:
        assert serve(CONTEXT, (loopback_config(daraja.origin),), host=LOCAL, port=0, wait=ask) == 0
    asking.join(PATIENCE)

    [(status, body)] = answers
    assert status == 200
    assert body.items() >= accepted().items()


def test_what_is_printed_of_a_result_is_visible() -> None:
    """A code or a receipt cannot steer the terminal, wherever it came from."""
    failed = make_transaction(state=TransactionState.FAILED, result_code="1\x1b[2J\n0")
    paid = make_transaction(state=TransactionState.SUCCEEDED, receipt_number="NLJ\x1b]0;x\x07")
    shown = [settled_line(failed), settled_line(paid)]
    assert all(line.isascii() and line.isprintable() for line in shown)
    assert shown[0].startswith("FAILED: KES 100, code 1_[2J_0, ")


# --- as a process ------------------------------------------------------------------------------------


def process(*arguments: str, **variables: str) -> AbstractContextManager[subprocess.Popen[str]]:
    """The command on a free port."""
    return command("serve", "--port", "0", *arguments, variables=variables)


def printed(started: subprocess.Popen[str]) -> list[str]:
    """What it prints until it serves: the address, and the examples up to an empty line."""
    stdout = started.stdout
    assert stdout is not None
    first = [stdout.readline().rstrip("\n") for _ in range(2)]
    return first + list(iter(lambda: stdout.readline().rstrip("\n"), ""))


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_without_credentials_simulates(number: signal.Signals) -> None:
    """It says so, its examples work, and SIGTERM or Ctrl-C end it with exit code 0."""
    with process() as started:
        lines = printed(started)
        assert checkout(origin_in(lines))[0] == 200
        started.send_signal(number)
        out, err = started.communicate(timeout=PATIENCE)

    assert started.returncode == 0
    assert err.startswith("No credentials are set in the environment, so Daraja is simulated.\n")
    assert "Traceback" not in out + err


@posix
def test_a_process_finishes_its_requests_when_told_to_stop() -> None:
    """SIGTERM, twice, while a checkout waits for Daraja: it is answered, then the process ends."""
    lines: list[str] = []

    def terminate() -> None:
        started.send_signal(signal.SIGTERM)
        started.send_signal(signal.SIGTERM)

    token = answer_json({"access_token": TOKEN, "expires_in": "3599"})
    with Server(token, paid_when_closed(terminate, lambda: origin_in(lines))) as daraja:
        settings = VARIABLES | {
            "access_token_url": f"{daraja.origin}/token",
            "checkout_url": f"{daraja.origin}/push",
            "mpesa_query_check_url": f"{daraja.origin}/query",
        }
        with process(**settings) as started:
            lines += printed(started)
            status, body = checkout(origin_in(lines))
            out, err = started.communicate(timeout=PATIENCE)

    assert status == 200
    assert body.items() >= accepted().items()
    assert started.returncode == 0
    assert err.endswith("Stopping: requests in flight are finished.\n")
    assert not any(canary in out + err for canary in CANARIES)


# --- what cannot work ----------------------------------------------------------------------------------


def test_some_credentials_are_not_enough(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With some of the variables set, those that are missing are named, and nothing is simulated."""
    monkeypatch.setenv("CONSUMER_KEY", CANARIES[0])
    monkeypatch.setenv("shortcode", "600000")

    assert cli.main(["serve", "--port", "0"]) == 2

    assert capsys.readouterr().err.splitlines() == [
        "mpesa-stk serve: consumer_secret: is not set",
        "mpesa-stk serve: pass_key: is not set",
        "mpesa-stk serve: c2b_callback: is not set",
        DOCTOR,
    ]


def test_unsigned_callbacks_must_be_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With live settings and no callback_secret it says what that risks, and serves nothing."""
    for name, text in VARIABLES.items():
        monkeypatch.setenv(name, text)

    assert cli.main(["serve", "--port", "0", "--forget-payments"]) == 2

    told = capsys.readouterr()
    assert told.out == ""
    unsigned, doctor = told.err.splitlines()
    assert unsigned.startswith("mpesa-stk serve: callback_secret: is not set: ")
    assert "could report any payment as paid" in unsigned
    assert unsigned.endswith("or say --unsigned-callbacks")
    assert doctor == DOCTOR

    assert serve(CONTEXT, (make_config(),), host=LOCAL, port=0, wait=lambda: None) == 0

    assert "Callbacks are not signed: " in capsys.readouterr().err


def test_live_payments_need_a_database(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In memory they would be forgotten, so somebody must ask for that in so many words."""
    for name, text in VARIABLES.items():
        monkeypatch.setenv(name, text)

    assert cli.main(["serve", "--port", "0", "--unsigned-callbacks"]) == 2

    told = capsys.readouterr()
    assert told.out == ""
    forgotten, doctor = told.err.splitlines()
    assert forgotten.startswith("mpesa-stk serve: mpesa_database: is not set: payments would be")
    assert forgotten.endswith("Set it or give --database, or say --forget-payments")
    assert doctor == DOCTOR

    monkeypatch.setenv("mpesa_database", f"sqlite:///{tmp_path / 'no-such-folder' / 'p.db'}")
    assert cli.main(["serve", "--port", "0", "--unsigned-callbacks"]) == 1
    assert "mpesa-stk serve: the store failed: " in capsys.readouterr().err


def test_simulated_payments_stay_in_memory(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No money that is not real gets into the database of a shop."""
    url = f"sqlite:///{tmp_path / 'p.db'}"
    assert cli.main(["serve", "--simulate", "--port", "0", "--database", url]) == 2
    assert capsys.readouterr().err == (
        "mpesa-stk serve: --database: payments of a simulated Daraja are kept in memory only\n"
    )

    monkeypatch.setenv("mpesa_database", url)
    monkeypatch.setattr(sys, "stdout", StopsSoon())
    assert cli.main(["serve", "--simulate", "--port", "0"]) == 0
    assert "kept in memory only" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_daraja_on_this_machine_needs_neither(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`mpesa-stk simulate` moves no money, so neither a secret nor a database is asked for."""
    names = ("access_token_url", "checkout_url", "mpesa_query_check_url")
    for name, text in (VARIABLES | dict.fromkeys(names, "http://127.0.0.1:9/daraja")).items():
        monkeypatch.setenv(name, text)
    monkeypatch.setattr(sys, "stdout", StopsSoon())

    assert cli.main(["serve", "--port", "0"]) == 0

    assert "kept in memory only" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["--simulate"], []])
def test_a_callback_secret_that_cannot_work(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, argv: list[str]
) -> None:
    """It is refused for a simulated Daraja as for the other: exit code 2, and it is not repeated."""
    monkeypatch.setenv("CALLBACK_SECRET", "short")

    assert cli.main(["serve", "--port", "0", *argv]) == 2

    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines()[-2:] == [
        "mpesa-stk serve: callback_secret: each must be printable text of at least 16 characters",
        DOCTOR,
    ]


@posix
def test_a_process_signs_with_the_secret_of_its_environment() -> None:
    """``serve --simulate`` reads callback_secret, and no other setting."""
    with process("--simulate", callback_secret=CALLBACK_SECRET) as started:
        lines = printed(started)
        assert checkout(origin_in(lines))[0] == 200
        started.send_signal(signal.SIGTERM)
        out, err = started.communicate(timeout=PATIENCE)

    assert started.returncode == 0
    assert "Callbacks are signed with callback_secret, for paybill 600000." in err
    assert CALLBACK_SECRET not in "".join(lines) + out + err


def test_a_simulated_daraja_stays_on_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    """It posts callbacks to this machine only, so another address to listen on is refused."""
    assert cli.main(["serve", "--host", "192.0.2.1"]) == 2

    assert capsys.readouterr().err == (
        "No credentials are set in the environment, so Daraja is simulated.\n"
        "mpesa-stk serve: host: must be an address of this machine alone, 0.0.0.0 or ::, "
        "to simulate Daraja\n"
    )


def test_a_port_in_use_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where somebody else listens, it says so on one line and ends with exit code 1."""
    for name, text in VARIABLES.items():
        monkeypatch.setenv(name, text)
    with HttpServer(lambda _request: WebResponse(200, {}, b"")) as other:
        port = other.origin.rpartition(":")[2]

        assert cli.main(["serve", "--port", port, "--unsigned-callbacks", "--forget-payments"]) == 1

    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"mpesa-stk serve: cannot listen on 127.0.0.1, port {port}: ")
    assert told.err.count("\n") == 1


@pytest.mark.parametrize("port", ["65536", "-1", "http", ""])
def test_a_port_is_a_number(capsys: pytest.CaptureFixture[str], port: str) -> None:
    """What is no port is a usage error."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["serve", f"--port={port}"])

    assert ended.value.code == 2
    assert "argument --port: must be a number from 0 to 65535" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),  # noqa: S104 - nobody listens
        ("::", "http://[::1]:80"),
        ("::1", "http://[::1]:80"),
        ("192.0.2.1", "http://192.0.2.1:80"),
    ],
)
def test_an_address_can_be_typed(host: str, origin: str) -> None:
    """A server that listens everywhere is reached at this machine's own address."""
    assert origin_of(host, 80) == origin


# --- the page ----------------------------------------------------------------------------------------


def test_the_page_shows_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """The lines to type of the documentation are those that the command prints."""
    page = (ROOT / "docs" / "how-to" / "serve.md").read_text(encoding="utf-8")

    assert serve(CONTEXT, None, host=LOCAL, port=0, wait=lambda: None) == 0

    lines = capsys.readouterr().out.splitlines()
    origin = origin_in(lines)
    for line in [line for line in lines if line.startswith("curl")][:2]:
        assert line.replace(origin, "http://127.0.0.1:8000") in page.splitlines()
