"""``mpesa-stk simulate``: what it prints, which merchant it knows, and clients of other languages."""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import json
import queue
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from endings import ENDINGS, Ending
from loopback import closed_port
from mpesa_stk import ConfigurationError, HttpResponse, PayBill, StkClient, StkConfig, Till, cli
from mpesa_stk.commands import simulate
from mpesa_stk.commands.context import Context
from mpesa_stk.commands.shell_syntax import SYNTAXES
from mpesa_stk.config.environment import SANDBOX_PASSKEY, Environment
from mpesa_stk.simulator import FAULTS, SCENARIOS, TEST_PHONES, SimulatorServer
from mpesa_stk.web.http_server import HttpServer
from mpesa_stk.web.messages import WebRequest
from processes import command
from support import CALLBACK_SECRET, CANARIES, ROOT

PATIENCE = 60.0
PAGE = (ROOT / "docs" / "how-to" / "simulator.md").read_text(encoding="utf-8")
OWN = {
    "CONSUMER_KEY": CANARIES[0],
    "CONSUMER_SECRET": CANARIES[1],
    "SHORTCODE": "600000",
    "PASS_KEY": CANARIES[2],
    "CALLBACK_SECRET": CALLBACK_SECRET,
}
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process otherwise")
Check = Callable[[], object]


def run(wait: Check, *arguments: str, environ: Mapping[str, str] | None = None) -> int:
    """The command with such arguments, in this process, on a free port."""
    parsed = cli._parser().parse_args(["simulate", "--port", "0", *arguments])
    context = Context(command="simulate", environ=environ or {})
    return simulate.simulate(context, parsed, wait=wait)


def merchant_of(environ: Mapping[str, str]) -> StkConfig | None:
    """The merchant that these variables name."""
    return next(iter(simulate.merchants_from(Context(environ=environ))), None)


def exported(text: str) -> dict[str, str]:
    """The variables that a shop is told to set."""
    lines = [line.removeprefix("export ") for line in text.splitlines() if line[:7] == "export "]
    pairs = [line.partition("=") for line in lines]
    assert all(value[0] == value[-1] == "'" for _, _, value in pairs)
    return {name: value[1:-1] for name, _, value in pairs}


def origin_of(settings: Mapping[str, str]) -> str:
    """Where the simulator is, by the settings that it prints."""
    return settings["CHECKOUT_URL"].removesuffix("/mpesa/stkpush/v1/processrequest")


def control(origin: str, target: str, payload: object) -> Any:
    """Ask the control interface."""
    connection = http.client.HTTPConnection(origin.removeprefix("http://"), timeout=PATIENCE)
    with contextlib.closing(connection):
        method = "GET" if payload is None else "POST"
        headers = {"Content-Type": "application/json"}
        connection.request(method, target, json.dumps(payload), headers)
        return json.loads(connection.getresponse().read())


class Receiver:
    """A shop's callback endpoint."""

    def __init__(self) -> None:
        self.received: queue.Queue[Any] = queue.Queue()
        self.server = HttpServer(self._take)
        self.url = f"{self.server.origin}/payments/callback"

    def _take(self, request: WebRequest) -> HttpResponse:
        self.received.put(json.loads(request.body)["Body"]["stkCallback"])
        return HttpResponse(status=200, headers={}, body=b"{}")


# --- what it prints ----------------------------------------------------------------------------------


def test_what_it_prints_is_what_a_shop_needs(capsys: pytest.CaptureFixture[str]) -> None:
    """With the printed variables alone, a shop of this library is paid."""

    def pay() -> None:
        told = capsys.readouterr()
        assert told.err == "Simulated Daraja: no money moves. Ctrl-C ends it.\n"
        settings = exported(told.out)
        config = StkConfig.from_env(settings)
        assert config.account == PayBill("174379")
        assert config.passkey == SANDBOX_PASSKEY
        page = f"{origin_of(settings)}/"
        assert told.out.splitlines()[-1] == f"# The phone is at {page}"
        with Receiver().server as server, StkClient(config) as client:
            client.push(
                phone_number="0711000001",
                amount=1,
                reference="INV-001",
                callback_url=server.origin,
            )
        (prompt,) = control(origin_of(settings), "/_sim/state", None)["prompts"]
        assert prompt["reference"] == "INV-001"

    assert run(pay) == 0


def test_a_merchant_of_the_environment_is_known_and_not_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its credentials work, and none of its secrets is shown."""

    def pay() -> None:
        told = capsys.readouterr()
        assert not [secret for secret in CANARIES if secret in told.out + told.err]
        settings = exported(told.out)
        assert set(settings) == {"ACCESS_TOKEN_URL", "CHECKOUT_URL", "MPESA_QUERY_CHECK_URL"}
        assert "paybill 600000" in told.out
        shop = settings | OWN | {"C2B_CALLBACK": "http://127.0.0.1:9/callback"}
        with StkClient(StkConfig.from_env(shop)) as client:
            client.push(phone_number="0711000001", amount=1, reference="INV-001")
        assert len(control(origin_of(settings), "/_sim/state", None)["prompts"]) == 1

    assert run(pay, environ=OWN | {"mpesa_environment": "production", "c2b_callback": "?"}) == 0


# --- what it prints without serving ------------------------------------------------------------------


def printed(*arguments: str, environ: Mapping[str, str] | None = None) -> int:
    """Run the command with such arguments, in an environment that names a merchant or not."""
    return cli.main(["simulate", *arguments], context=Context(environ=environ or {}))


@pytest.mark.parametrize("syntax", ["bash", "fish", "powershell", "dotenv"])
def test_the_variables_of_a_shop_are_printed_in_each_syntax(
    syntax: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line for each, nothing else, and nothing listens."""
    callback = "http://127.0.0.1:3000/callback/it+is&so"
    assert printed("--print-env", syntax, "--port", "8099", "--callback", callback) == 0

    told = capsys.readouterr()
    server = Environment.at("http://127.0.0.1:8099", name="simulator")
    variables = simulate.settings_of(server, callback=callback, known=True)
    assert told.err == ""
    assert told.out.splitlines() == [SYNTAXES[syntax](*item) for item in variables.items()]
    assert StkConfig.from_env(variables).callback_url == callback


def test_the_address_for_callbacks_is_also_printed_by_a_server(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With it the shop is told where Daraja will post."""
    callback = "http://127.0.0.1:3000/callback"

    def look() -> None:
        assert exported(capsys.readouterr().out)["C2B_CALLBACK"] == callback

    assert run(look, "--callback", callback) == 0


def test_a_shop_of_an_own_merchant_keeps_its_credentials(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The addresses go to stdout, and what must stay as it is to stderr."""
    assert printed("--print-env", "dotenv", "--callback", "https://shop.test/x", environ=OWN) == 0

    told = capsys.readouterr()
    assert told.out.splitlines() == [
        "C2B_CALLBACK=https://shop.test/x",
        "ACCESS_TOKEN_URL=http://127.0.0.1:8090/oauth/v1/generate?grant_type=client_credentials",
        "CHECKOUT_URL=http://127.0.0.1:8090/mpesa/stkpush/v1/processrequest",
        "MPESA_QUERY_CHECK_URL=http://127.0.0.1:8090/mpesa/stkpushquery/v1/query",
    ]
    assert told.err.startswith("# Keep CONSUMER_KEY, CONSUMER_SECRET, SHORTCODE and PASS_KEY")


def test_any_free_port_cannot_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a server it is not known."""
    assert printed("--print-env", "bash", "--port", "0") == 2

    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == "mpesa-stk simulate: --print-env needs the --port of the simulator\n"


@pytest.mark.parametrize("missing", ["CONSUMER_KEY", "CONSUMER_SECRET", "SHORTCODE", "PASS_KEY"])
def test_a_merchant_must_be_named_whole(missing: str) -> None:
    """Otherwise it is the test merchant."""
    assert merchant_of(OWN) is not None
    assert merchant_of(OWN | {missing: " "}) is None
    assert merchant_of({}) is None


def test_a_till_and_either_spelling_are_read() -> None:
    """As `StkConfig.from_env` reads them."""
    variables = {name.lower(): value for name, value in OWN.items()} | {"till_number": "5123456"}
    merchant = merchant_of(variables)

    assert merchant is not None
    assert merchant.account == Till(store_number="600000", till_number="5123456")
    with pytest.raises(ConfigurationError):
        merchant_of(OWN | {"SHORTCODE": "many"})


def test_a_merchant_that_cannot_be(capsys: pytest.CaptureFixture[str]) -> None:
    """It ends with exit code 2, and nothing is served."""
    assert cli.main(["simulate"], context=Context(environ=OWN | {"SHORTCODE": "many"})) == 2

    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        "mpesa-stk simulate: shortcode: must be a string of 5 to 7 digits",
        "mpesa-stk simulate: `mpesa-stk doctor` says what to do about each setting",
    ]


def test_a_port_in_use_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Where somebody else listens, it says so and ends with exit code 1."""
    with SimulatorServer(StkConfig.from_env(OWN | {"C2B_CALLBACK": simulate._ANY_CALLBACK})) as one:
        port = one.origin.rpartition(":")[2]
        assert run(pytest.fail, "--port", port) == 1

    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"mpesa-stk simulate: cannot listen on 127.0.0.1, port {port}: ")
    assert told.err.count("\n") == 1


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_listening_for_others_is_warned_of(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An address of another machine's, which cannot be had here, is warned of all the same."""
    assert run(pytest.fail, "--host", host) == 1

    warning, error = capsys.readouterr().err.splitlines()
    assert warning == ("Warning: anybody in your network can reach this simulator and steer it.")
    assert error.startswith(f"mpesa-stk simulate: cannot listen on {host}, port 0: ")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--port=65536"], "--port: must be a number from 0 to 65535"),
        (["--port=x"], "--port: must be a number from 0 to 65535"),
        (["--host="], "--host: must be an address of this machine"),
        (["--host=ä..b"], "--host: must be an address of this machine"),
        (["--scenario=rich"], "--scenario: invalid choice: 'rich'"),
        (["--seed=-1"], "--seed: must be a number from 0 to"),
        ([f"--seed={'9' * 5000}"], "--seed: must be a number from 0 to"),
        (["--callback-tries=0"], "--callback-tries: must be a number from 1 to 10"),
        (["--token-lifetime=0"], "--token-lifetime: must be a number from 1 to 86400"),
        (["--host=a'b"], "--host: must be an address of this machine"),
        (["--callback=shop"], "--callback: must be an http or https address without quotes or $"),
        (["--callback=http://a/'"], "--callback: must be an http or https address without quotes"),
        (["--callback=http://a/$b"], "--callback: must be an http or https address without quotes"),
        (["--print-env=cmd"], "--print-env: invalid choice: 'cmd'"),
    ],
)
def test_arguments_are_checked(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A usage error that names the argument, with exit code 2."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["simulate", *arguments])

    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


# --- its options -------------------------------------------------------------------------------------


def test_the_options_reach_the_simulator(capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario, seed, tokens and tries are those that were asked for."""
    tokens: list[Any] = []
    options = ["--scenario", "by-hand", "--seed", "7", "--token-lifetime", "60"]
    options += ["--many-tokens", "--callback-tries", "2"]

    def look() -> None:
        origin = origin_of(exported(capsys.readouterr().out))
        tokens.append(token_of(origin))
        token_of(origin)
        assert control(origin, "/_sim/state", None)["scenario"]["answer_after"] is None
        pushed = push(origin, tokens[-1]["access_token"], "http://127.0.0.1:9/callback")
        assert pushed["ResponseCode"] == "0"  # the first token is good beside the second
        target = f"/_sim/prompts/{pushed['CheckoutRequestID']}"
        control(origin, f"{target}/answer", {"pin": "1234"})
        for tries in (1, 2):
            wait_for_callbacks(origin, target, tries)
            control(origin, "/_sim/clock", {"advance": 10})

    assert run(look, *options) == 0
    assert run(look, *options) == 0
    assert tokens[0] == tokens[1]
    assert tokens[0]["expires_in"] == "60"


def wait_for_callbacks(origin: str, target: str, count: int) -> None:
    """Ask until a callback was posted so often."""
    ends = time.monotonic() + PATIENCE
    while len(control(origin, target, None)["prompt"]["callbacks"]) < count:
        assert time.monotonic() < ends


def test_callbacks_leave_this_machine_only_when_told_to(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``--public-callbacks`` lets them."""
    asked: queue.Queue[str] = queue.Queue()

    class Elsewhere(http.client.HTTPConnection):
        """A connection to another machine, which nobody makes here."""

        def __init__(self, host: str, **_options: object) -> None:
            asked.put(host)
            raise ConnectionRefusedError

    monkeypatch.setattr(http.client, "HTTPSConnection", Elsewhere)

    def pay() -> None:
        origin = origin_of(exported(capsys.readouterr().out))
        token = token_of(origin)["access_token"]
        push(origin, token, "https://shop.example.co.ke/callback")
        assert asked.get(timeout=PATIENCE) == "shop.example.co.ke"

    assert run(pay, "--public-callbacks") == 0


def test_a_callback_that_fails_is_said_in_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """With the reason and the first advice, once for each callback, and without its address."""
    said: list[str] = []

    def pay() -> None:
        origin = origin_of(exported(capsys.readouterr().out))
        with closed_port() as nobody:
            pushed = push(origin, token_of(origin)["access_token"], f"{nobody}/secret-path")
            target = f"/_sim/prompts/{pushed['CheckoutRequestID']}"
            control(origin, f"{target}/answer", {"pin": "1234"})
            wait_for_callbacks(origin, target, 1)
            said.append(nobody.removeprefix("http://"))

    assert run(pay, "--scenario", "by-hand") == 0

    (place,) = said
    told = capsys.readouterr().err
    assert f"Callback failed: no server. No server listens at {place}. Start your app" in told
    assert told.count("Callback failed") == 1
    assert "secret-path" not in told


class StopsSoon(io.StringIO):
    """A terminal before which somebody presses Ctrl-C as soon as all is printed."""

    def write(self, text: str) -> int:
        """Take a text."""
        if "The phone is at" in text:
            threading.Timer(0.05, signal.raise_signal, (signal.SIGTERM,)).start()
        return super().write(text)


def test_it_serves_until_a_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal ends it with exit code 0, and the handlers are as before."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    monkeypatch.setattr(sys, "stdout", StopsSoon())

    assert cli.main(["simulate", "--port", "0"]) == 0
    assert [signal.getsignal(number) for number in numbers] == before


# --- clients of other languages ----------------------------------------------------------------------


@contextlib.contextmanager
def process() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command as a process of its own, on a free port; and its origin."""
    with command("simulate", "--port", "0") as started:
        assert started.stdout is not None
        lines: list[str] = []
        for line in started.stdout:
            lines.append(line)
            if line.startswith("# The phone"):
                break
        yield started, origin_of(exported("".join(lines)))


def ask(url: str, payload: object = None, **headers: str) -> Any:
    """Ask as ``urllib`` does by itself, whatever proxies are set."""
    body = None if payload is None else json.dumps(payload).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, body, headers)  # noqa: S310 - an address of this machine
    try:
        with opener.open(request, timeout=PATIENCE) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as refused:
        with refused:
            return json.loads(refused.read())


def signed(fields: Mapping[str, object]) -> dict[str, object]:
    """A body with shortcode, password and timestamp, made without this library."""
    timestamp = f"{datetime.now(timezone(timedelta(hours=3))):%Y%m%d%H%M%S}"
    password = base64.b64encode(f"174379{SANDBOX_PASSKEY}{timestamp}".encode()).decode()
    merchant = {"BusinessShortCode": "174379", "Password": password, "Timestamp": timestamp}
    return {**merchant, **fields}


def push(origin: str, token: str, callback_url: str) -> Any:
    """Ask a phone for money."""
    fields = {
        "TransactionType": "CustomerPayBillOnline",
        "Amount": "100",
        "PartyA": "254711000001",
        "PartyB": "174379",
        "PhoneNumber": "254711000001",
        "CallBackURL": callback_url,
        "AccountReference": "INV-001",
        "TransactionDesc": "Viatu",
    }
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    return ask(f"{origin}/mpesa/stkpush/v1/processrequest", signed(fields), **headers)


def check_callback(callback: Any, checkout_request_id: str) -> None:
    """The callback is about this payment, and proves it."""
    assert callback["CheckoutRequestID"] == checkout_request_id
    assert callback["ResultCode"] == 0
    items = {item["Name"]: item["Value"] for item in callback["CallbackMetadata"]["Item"]}
    assert items["Amount"] == 100.0
    assert len(items["MpesaReceiptNumber"]) == 10


def token_of(origin: str) -> Any:
    """Fetch a token as the test merchant."""
    basic = base64.b64encode(b"simulated-consumer-key:simulated-consumer-secret").decode()
    url = f"{origin}/oauth/v1/generate?grant_type=client_credentials"
    return ask(url, Authorization=f"Basic {basic}")


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_shop_on_urllib_is_paid(number: signal.Signals) -> None:
    """Token, push, callback and query with the standard library; then a signal ends the simulator."""
    receiver = Receiver()
    with receiver.server, process() as (started, origin):
        token = token_of(origin)["access_token"]
        pushed = push(origin, token, receiver.url)
        check_callback(receiver.received.get(timeout=PATIENCE), pushed["CheckoutRequestID"])
        asked = ask(
            f"{origin}/mpesa/stkpushquery/v1/query",
            signed({"CheckoutRequestID": pushed["CheckoutRequestID"]}),
            **{"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        started.send_signal(number)
        assert started.wait(PATIENCE) == 0
        assert started.stderr is not None
        assert started.stderr.read() == "Simulated Daraja: no money moves. Ctrl-C ends it.\n"

    assert asked["ResultCode"] == "0"


# --- the page of the documentation -------------------------------------------------------------------


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table under a heading of the page, without its head."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines[2:]]


def ending_of(ending: Ending) -> str:
    """How a payment ends, as the page has it."""
    told = ", then ".join(f"`{state.value}`" for state in ending.told)
    code = "" if ending.code in (None, "0") else f" {ending.code}"
    return told + code + (", review" if ending.review else "")


def test_the_page_tells_of_every_scenario() -> None:
    """Its name, its test phone, and how a payment ends that is played to the end in another test."""
    assert [(name, phone, ends) for name, phone, _, ends in rows("Scenarios")] == [
        (f"`{name}`", f"0{TEST_PHONES[name].removeprefix('254')}", ending_of(ENDINGS[name]))
        for name in SCENARIOS
    ]


def test_the_page_tells_of_every_fault() -> None:
    """Its name, and whether Daraja does what is asked all the same."""
    assert [(name, done) for name, _, done in rows("Faults")] == [
        (f"`{name}`", "yes" if fault.executed else "no") for name, fault in FAULTS.items()
    ]


def test_the_page_tells_of_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    """The options of the page are those of the command, with their defaults."""
    with pytest.raises(SystemExit):
        cli.main(["simulate", "--help"])
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    parsed = vars(cli._parser().parse_args(["simulate"]))
    shown = {name.strip("`"): default.strip("`") for name, default, _ in rows("The command")}

    assert set(shown) == options
    for name, default in shown.items():
        assert default == str(parsed[name[2:].replace("-", "_")] or "").replace("False", "")


def test_the_page_shows_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Except for the port, which is another one here."""

    def look() -> None:
        text = capsys.readouterr().out
        port = origin_of(exported(text)).rpartition(":")[2]
        assert f"```text\n{text.replace(port, '8090')}```" in PAGE

    assert run(look) == 0


def test_the_page_tells_of_every_request() -> None:
    """Each route of the control interface is in its table."""
    asked = {request.strip("`").partition("?")[0] for request, *_ in rows("The control interface")}
    server = SimulatorServer(simulate._test_merchant())
    server.close()
    routes = [("GET", server._control._gets[3:]), ("POST", server._control._posts)]
    known = {
        f"{method} {pattern.pattern.replace('([^/]+)', '<CheckoutRequestID>')}".replace("\\.", ".")
        for method, found in routes
        for pattern, _ in found
    }

    assert asked == known
