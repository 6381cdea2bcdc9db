"""``mpesa-stk trigger``: one callback to the host's own endpoint, and what is told of the answer."""

from __future__ import annotations

import json
import random
import re
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from doctest import ELLIPSIS, OutputChecker
from pathlib import Path
from typing import Any

import attrs
import pytest

import processes
from daraja_double import ScriptedDaraja, make_client
from loopback import Act, Exchange, Received, Server, answer, answer_json, closed_port, say
from loopback import hang_up as hangs_up
from loopback import stay_silent as stays_silent
from mpesa_stk import (
    HttpRequest,
    HttpResponse,
    MemoryTransactionStore,
    MpesaError,
    OutcomeUnknown,
    PaymentConfirmed,
    PaymentEndpoints,
    Payments,
    StkClient,
    TransactionState,
    cli,
    parse_callback,
)
from mpesa_stk.commands.context import Context
from mpesa_stk.commands.posting import Answer, Receiver, exit_code
from mpesa_stk.commands.trigger import callbacks_of
from mpesa_stk.daraja.retry import RetryPolicy
from mpesa_stk.simulator import SCENARIOS, DarajaEngine, DeliveryFault
from mpesa_stk.simulator.poster import Posted
from mpesa_stk.web.http_server import HttpServer
from support import CALLBACK_SECRET, CANARIES, CHECKOUT_ID, ROOT, ManualClock, callback, make_config

PAGE = ROOT / "docs" / "how-to" / "trigger.md"
TAKEN = answer_json({"ResultCode": 0, "ResultDesc": "Accepted"})
NUMBER = "6f9619ff-8b86-4011-b42d-00c04fc964ff"
SIGNING = {"callback_secret": CALLBACK_SECRET, "shortcode": "600000"}
CALLBACK = "/payments/callback"
SHOP = "http://127.0.0.1:8000"
NAMES = tuple(SCENARIOS)
PATIENCE = 60.0
NOT_SIGNED = (
    "transaction_no: is needed to sign, since callback_secret is set; "
    "--unsigned sends without a token"
)


def run(*argv: str, environ: dict[str, str] | None = None, **given: Any) -> int:
    """Run the command with these variables and no others."""
    return cli.main(["trigger", *argv], context=Context(environ=environ or {}, **given))


@attrs.frozen
class Met:
    """A shop that was posted to."""

    url: str
    received: list[Received]


def trigger(act: Act, *argv: str, **given: Any) -> tuple[int, Met]:
    """Send to a shop that acts so; the exit code, and the shop."""
    with Server(act) as shop:
        met = Met(url=f"{shop.origin}{CALLBACK}", received=shop.received)
        return run(*argv, "--to", met.url, **given), met


# --- what is sent ---------------------------------------------------------------------------------


def test_a_payment_is_told_to_the_shop(capsys: pytest.CaptureFixture[str]) -> None:
    """The callback arrives as Daraja posts it, and the answer is told: exit code 0."""
    code, shop = trigger(
        TAKEN, "paid", "--amount", "70", "--phone", "0110 000 001", "--receipt", "NLJ7RT61SV",
        "--checkout-request-id", CHECKOUT_ID, "--merchant-request-id", "29115-1", clock=ManualClock(),
    )  # fmt: skip

    (received,) = shop.received
    result = parse_callback(received.body)
    assert code == 0
    assert (received.method, received.target) == ("POST", CALLBACK)
    assert received.headers["content-type"] == "application/json;charset=UTF-8"
    assert isinstance(result, PaymentConfirmed)
    assert (result.checkout_request_id, result.merchant_request_id) == (CHECKOUT_ID, "29115-1")
    assert result.amount == Decimal(70)
    assert result.receipt_number == "NLJ7RT61SV"
    assert result.phone_number == "254110000001"
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        "callback      paid: code 0, ws_CO_23112026090000123***",
        f"posted to     {shop.url}",
        "answer        200 in 0.00 s",
        '              {"ResultCode": 0, "ResultDesc": "Accepted"}',
    ]
    assert told.err == ""


class _InProcess:
    """A transport to an engine; what is answered with a fault in its delivery is lost."""

    def __init__(self, engine: DarajaEngine) -> None:
        self.engine = engine
        self.first: list[bytes] = []

    def send(self, request: HttpRequest, /) -> HttpResponse:
        reply = self.engine.answer(request.method, request.url, request.headers, request.body)
        self.first += [delivery.body for delivery in reply.callbacks_first]
        if reply.delivery is not DeliveryFault.NONE:
            raise OutcomeUnknown("the answer was lost")
        return reply.response

    def close(self) -> None:
        """Nothing is open."""


def posted_by_daraja(name: str) -> list[bytes]:
    """The callbacks that the simulated Daraja posts about a push that plays a scenario."""
    clock = ManualClock()
    engine = DarajaEngine(
        make_config(), clock=clock, randomness=random.Random(1), scenario=SCENARIOS[name]
    )
    transport = _InProcess(engine)
    retry = RetryPolicy(jitter=lambda: 0.5)
    with StkClient(make_config(), transport=transport, clock=clock, retry=retry) as client:
        try:
            client.push(phone_number="0718643064", amount=100, reference="INV-1")
        except MpesaError as error:
            assert not callbacks_of(SCENARIOS[name]) or isinstance(error, OutcomeUnknown)  # noqa: PT017 - other scenarios raise nothing
    clock.advance(86_400)
    bodies = transport.first
    while (delivery := engine.take_due()) is not None:
        bodies.append(delivery.body)
    return bodies


def in_common(body: bytes) -> Any:
    """A callback without what differs between two payments: ids, receipt and time."""
    callback = json.loads(body)["Body"]["stkCallback"]
    del callback["MerchantRequestID"], callback["CheckoutRequestID"]
    for item in callback.get("CallbackMetadata", {}).get("Item", []):
        if item["Name"] in ("MpesaReceiptNumber", "TransactionDate"):
            item["Value"] = type(item["Value"]).__name__
    return callback


@pytest.mark.parametrize("name", NAMES)
def test_each_scenario_sends_what_daraja_would(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As many callbacks as the simulated Daraja posts, and the same; where it posts none, code 2."""
    wanted = posted_by_daraja(name)

    code, shop = trigger(TAKEN, name)

    assert [in_common(one.body) for one in shop.received] == [in_common(one) for one in wanted]
    assert code == (0 if wanted else 2)
    assert ("has no callback" in capsys.readouterr().err) is (not wanted)
    assert len({one.body for one in shop.received}) <= 1


@pytest.mark.parametrize(("name", "count"), [("callback-twice", 2), ("callback-four-times", 4)])
def test_several_callbacks_are_sent_at_once(
    name: str, count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of them are with the shop at the same moment; each answer is told."""
    together = threading.Barrier(count)

    def taken_together(exchange: Exchange) -> None:
        together.wait(10)
        TAKEN(exchange)

    code, shop = trigger(taken_together, name)

    assert code == 0
    assert len(shop.received) == count
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" in ")[0] for line in lines if line.startswith("answer")] == [
        f"answer {number}      200" for number in range(1, count + 1)
    ]


def test_the_made_up_receipt_belongs_to_the_payment(capsys: pytest.CaptureFixture[str]) -> None:
    """The same payment again has the same receipt, as Daraja's repeated callbacks do; another one not."""

    def receipt(checkout_request_id: str) -> str:
        assert run("paid", "--print", "--checkout-request-id", checkout_request_id) == 0
        result = parse_callback(capsys.readouterr().out)
        assert isinstance(result, PaymentConfirmed)
        return result.receipt_number

    assert receipt("ws_CO_1") == receipt("ws_CO_1") != receipt("ws_CO_2")


def test_print_sends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """``--print`` shows the body alone; it needs no address and no settings."""
    assert run("cancelled", "--print", "--checkout-request-id", CHECKOUT_ID) == 0

    told = capsys.readouterr()
    callback = json.loads(told.out)["Body"]["stkCallback"]
    assert (callback["CheckoutRequestID"], callback["ResultCode"]) == (CHECKOUT_ID, 1032)
    assert told.err == ""


def test_list_shows_every_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each scenario: its name, how many callbacks, and what they say."""
    assert run("--list") == 0

    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines[1:]}
    assert tuple(rows) == NAMES
    assert rows["paid"][:3] == ["1", "0", "The"]
    assert rows["cancelled"] == ["1", "1032", "Request", "cancelled", "by", "user"]
    assert rows["callback-four-times"][0] == "4"
    assert rows["callback-lost"] == rows["busy"] == ["none", "-", "-"]


# --- a shop that is real --------------------------------------------------------------------------


@pytest.fixture
def daraja() -> ScriptedDaraja:
    """Takes every push, and posts nothing itself."""
    return ScriptedDaraja()


@pytest.fixture
def payments(daraja: ScriptedDaraja) -> Payments:
    """A shop's payments, with signed callback URLs."""
    client = make_client(
        daraja,
        ManualClock(),
        callback_secrets=(CALLBACK_SECRET,),
        allowed_callback_networks=("127.0.0.1",),
    )
    return Payments(client, MemoryTransactionStore())


@pytest.fixture
def shop(payments: Payments) -> Iterator[str]:
    """The callback URL of that shop, served by the package's own endpoints."""
    with HttpServer(PaymentEndpoints(payments).handle) as server:
        yield f"{server.origin}{CALLBACK}"


@pytest.mark.parametrize(
    ("scenario", "state", "how_often"),
    [
        ("paid", TransactionState.SUCCEEDED, 1),
        ("callback-four-times", TransactionState.SUCCEEDED, 1),
        ("masked-phone", TransactionState.SUCCEEDED, 1),
        ("wrong-pin", TransactionState.FAILED, 1),
    ],
)
def test_a_payment_of_a_real_shop_is_settled(
    payments: Payments, shop: str, scenario: str, state: TransactionState, how_often: int
) -> None:
    """With its number, amount and id a signed callback settles a payment, once."""
    payment = payments.checkout(phone_number="0718643064", amount=70, reference="INV-1")

    code = run(
        scenario, "--transaction-no", payment.transaction_no, "--amount", "70",
        "--checkout-request-id", payment.checkout_request_id or "",
        "--merchant-request-id", payment.merchant_request_id or "",
        environ=SIGNING | {"c2b_callback": shop},
    )  # fmt: skip

    assert code == 0
    settled = payments.store.get(payment.transaction_no)
    assert settled is not None
    assert settled.state is state
    told: list[Any] = []
    payments.process_due(on_settled=told.append)
    assert len(told) == how_often


@pytest.mark.parametrize(
    "argv",
    [
        ("--unsigned",),
        ("--transaction-no", NUMBER, "--amount", "1"),
        ("--account", "paybill 600001"),
    ],
)
def test_a_forged_callback_is_refused(
    payments: Payments, shop: str, argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a token, or with one for another payment or account, the shop says 403: exit code 1."""
    payment = payments.checkout(phone_number="0718643064", amount=70, reference="INV-1")
    known = ("--transaction-no", payment.transaction_no, "--amount", "70")

    assert run("paid", *known, *argv, "--to", shop, environ=SIGNING) == 1

    told = capsys.readouterr()
    assert "answer        403" in told.out
    assert "warning: 403 is not 2xx: Daraja would count it as lost; your guard refuses" in told.err
    assert "(callback_secret, --transaction-no, --amount, --account)" in told.err
    still_open = payments.store.get(payment.transaction_no)
    assert still_open is not None
    assert still_open.state is TransactionState.PENDING


def test_a_till_signs_too(payments: Payments) -> None:
    """The account may be a till, from the variables or the option: the token is the same."""
    variables = SIGNING | {"till_number": "123456"}
    with Server(TAKEN) as receiver:
        to = ("--to", receiver.origin, "--transaction-no", NUMBER)
        assert run("paid", *to, environ=variables) == 0
        option = ("--account", "till 123456 of store 600000")
        assert run("paid", *to, *option, environ=SIGNING) == 0
        assert run("paid", *to, environ=SIGNING) == 0

    of_variables, of_option, of_paybill = (one.target for one in receiver.received)
    assert of_variables == of_option != of_paybill
    assert of_variables.startswith(f"/{NUMBER}.")
    assert payments.client.config.callback_secrets == (CALLBACK_SECRET,)


# --- answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("act", "code", "line", "warning"),
    [
        (answer(204), 0, "204 in ", ""),
        (answer(200, b"<p>thanks"), 0, "200 in ", ""),
        (answer(401), 1, "401 in ", "Daraja cannot log in"),
        (answer(404, b"no such page"), 1, "404 in ", "nothing is there"),
        (answer(405), 1, "405 in ", "let the endpoint take POST"),
        (answer(418), 1, "418 in ", "418 is not 2xx: Daraja would count it as lost"),
        (answer(500), 1, "500 in ", "look into its log"),
        (hangs_up, 1, "it hung up without an answer in ", "it was not taken"),
        (say(b"hello\r\n\r\n"), 1, "its answer is not HTTP in ", "it was not taken"),
    ],
)
def test_each_answer_is_told(
    act: Act, code: int, line: str, warning: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status and time on stdout; on stderr what Daraja makes of anything but a 2xx."""
    assert trigger(act, "paid")[0] == code

    told = capsys.readouterr()
    assert told.out.splitlines()[2].removeprefix("answer        ").startswith(line)
    assert warning in told.err
    assert bool(warning) is bool(told.err)


def test_nobody_listens(capsys: pytest.CaptureFixture[str]) -> None:
    """A shop that does not run is exit code 1."""
    with closed_port() as origin:
        assert run("paid", "--to", origin) == 1
    assert "warning: nobody listens there: it was not taken" in capsys.readouterr().err


def test_silence_is_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    """A shop that does not answer in time may have taken it: exit code 3."""
    code, _ = trigger(stays_silent, "paid", "--timeout", "0.2")

    told = capsys.readouterr()
    assert code == 3
    assert "answer        no answer within 0.2 s\n" in told.out
    assert told.err == (
        "warning: no answer within 0.2 s: your shop may have taken it, "
        "Daraja would count it as lost\n"
    )


def test_a_slow_answer_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    """More than five seconds are too many for Daraja, however well it ends."""
    clock = ManualClock()

    def takes_its_time(exchange: Exchange) -> None:
        clock.advance(6.5)
        TAKEN(exchange)

    assert trigger(takes_its_time, "paid", clock=clock)[0] == 0

    told = capsys.readouterr()
    assert "answer        200 in 6.50 s\n" in told.out
    assert told.err.startswith("warning: the answer took 6.5 s: Daraja is said to wait for 5;")


def test_a_redirect_is_not_followed(capsys: pytest.CaptureFixture[str]) -> None:
    """A redirect is told with the place that it leads to, without the payment's token."""
    with Server(TAKEN) as elsewhere:
        place = f"{elsewhere.origin}/{NUMBER}.{'a' * 32}/\x1b[2J"
        code, shop = trigger(answer(307, location=place), "paid")

        assert (code, len(shop.received), len(elsewhere.received)) == (1, 1, 0)
        warnings = capsys.readouterr().err.splitlines()
        told = f"warning: it leads to {elsewhere.origin}/<token>/\\x1b[2J"
    assert "a redirect is not followed" in warnings[0]
    assert warnings[1] == told


@pytest.mark.usefixtures("proxies")
def test_proxies_of_the_environment_are_not_used() -> None:
    """The callback goes straight to the address."""
    code, shop = trigger(TAKEN, "paid")
    assert (code, len(shop.received)) == (0, 1)


@pytest.fixture
def proxies(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Variables that name a proxy where nobody listens."""
    with closed_port() as origin:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, origin)
        yield


def test_what_a_body_holds_cannot_hurt_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters and other alphabets are escaped, and a long body is cut."""
    body = b"\x1b[2Jred\r\nsecond \xff line\xe2\x80\xae\n" + b"x" * 10_000
    trigger(answer(200, body), "paid")

    out = capsys.readouterr().out
    assert "\n              \\x1b[2Jred\n              second \\ufffd line\\u202e\n" in out
    assert out.isascii()
    assert len(out) < 4600


@pytest.mark.parametrize(
    ("name", "act"), [("paid", TAKEN), ("callback-twice", answer(500, b'"\xf0\x9f\x92\xa5"'))]
)
def test_json_is_one_object(name: str, act: Act, capsys: pytest.CaptureFixture[str]) -> None:
    """``--json`` tells programs the same."""
    code, shop = trigger(act, name, "--json", "--checkout-request-id", CHECKOUT_ID)

    facts = json.loads(capsys.readouterr().out)
    answers = facts.pop("answers")
    body = json.loads(shop.received[0].body)["Body"]["stkCallback"]
    assert facts == {
        "scenario": name,
        "url": shop.url,
        "checkout_request_id": CHECKOUT_ID,
        "merchant_request_id": body["MerchantRequestID"],
        "result_code": "0",
        "taken": code == 0,
    }
    assert [one["status"] for one in answers] == [200 if code == 0 else 500] * len(shop.received)
    assert all(set(one) == {"status", "error", "seconds", "body"} for one in answers)


def test_ctrl_c_says_that_it_may_have_been_taken(capsys: pytest.CaptureFixture[str]) -> None:
    """Stopped while it waits: one line, exit code 3."""

    class Stopped(ManualClock):
        def monotonic(self) -> float:
            if receiver.received:
                raise KeyboardInterrupt
            return super().monotonic()

    with Server(TAKEN) as receiver:
        assert run("paid", "--to", receiver.origin, clock=Stopped()) == 3
    assert "stopped: your shop may have taken it" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
@pytest.mark.parametrize("name", ["paid", "callback-twice"])
def test_ctrl_c_does_not_wait_for_a_shop_that_hangs(name: str) -> None:
    """It ends at once, however many callbacks are on their way: exit code 3, no traceback."""
    with Server(stays_silent) as shop:
        arguments = ("trigger", name, "--unsigned", "--timeout", "600", "--to", shop.origin)
        with processes.command(*arguments) as process:
            ends = time.monotonic() + PATIENCE
            while shop.count("POST") < callbacks_of(SCENARIOS[name]):
                assert time.monotonic() < ends
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=PATIENCE)

    assert process.returncode == 3
    assert (out, err) == ("", "mpesa-stk trigger: stopped: your shop may have taken it\n")


# --- the page ----------------------------------------------------------------------------------------

SHOWN = re.compile(
    r"^```text\n\$ mpesa-stk ((?:[^\n]*\\\n)*[^\n]*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL
)
EXAMPLES = SHOWN.findall(PAGE.read_text(encoding="utf-8"))
MOVED = answer(301, location=CALLBACK)


@pytest.mark.parametrize(("command", "shown"), EXAMPLES, ids=[one[0] for one in EXAMPLES])
def test_the_page_shows_what_happens(
    command: str,
    shown: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each command of docs/how-to/trigger.md prints what the page says, whatever time the answers took."""
    monkeypatch.chdir(tmp_path)
    other = callback(1032, checkout_request_id="ws_CO_23112026090007412718643064")
    Path("callbacks.jsonl").write_bytes(b"\n".join([callback(), other, b"garbage"]))
    environ = SIGNING if "--transaction-no" in command else {}
    with Server(MOVED if "old-address" in command else TAKEN) as shop:
        origin = shop.origin
        typed = command.replace("\\\n", " ").replace(SHOP, origin)
        cli.main(shlex.split(typed), context=Context(environ=environ, clock=ManualClock()))

    told = capsys.readouterr()
    printed = re.sub(r"in \d+\.\d\d s", "in 0.00 s", told.out + told.err).replace(origin, SHOP)
    wanted = re.sub(r"in \d+\.\d\d s", "in 0.00 s", shown)
    assert OutputChecker().check_output(wanted, printed, ELLIPSIS), printed


def test_the_page_has_examples() -> None:
    """Of both commands, and of each option a mention."""
    assert {command.split()[0] for command, _ in EXAMPLES} == {"trigger", "replay"}
    text = PAGE.read_text(encoding="utf-8")
    for argv in (["trigger", "paid"], ["replay", "-"]):
        options = vars(cli._parser().parse_args(argv)).keys() - {
            "command",
            "name",
            "parser",
            "scenario",
            "file",
            "list",
        }
        assert [name for name in options if f"`--{name.replace('_', '-')}" not in text] == []


# --- arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "environ", "line"),
    [
        ((), {}, "to: is needed, since c2b_callback is not set"),
        (("--to", ""), {}, "to: is needed, since c2b_callback is not set"),
        (("--to", "ftp://shop.example/"), {}, "to: must be an http or https URL with a host"),
        (("--to", "http://"), {}, "to: must be an http or https URL with a host"),
        (("--to", "http://a:b@shop.example/"), {}, "to: must not contain user info"),
        (("--to", "http://shop.example/ x"), {},
         "to: must not contain spaces, control characters or non-ASCII characters"),
        (("--phone", "07"), {}, "phone_number: is too short: nine digits must follow 0 or +254"),
        (("--amount", "1.5"), {}, "amount: must be whole shillings: Daraja takes no cents"),
        (("--checkout-request-id", "a b"), {},
         "checkout_request_id: must be 1 to 128 visible ASCII characters"),
        (("--merchant-request-id", ""), {},
         "merchant_request_id: must be 1 to 128 visible ASCII characters"),
        (("--receipt", 'A"},{"'), {}, "receipt: must be 5 to 32 letters and digits"),
        (("--to", "http://shop.example/cb"), SIGNING,
         NOT_SIGNED),
        (("--to", "http://shop.example/cb", "--transaction-no", "7"), SIGNING,
         "transaction_no: must be a UUID in lower case"),
        (("--to", "http://shop.example/cb", "--transaction-no", NUMBER), {},
         "callback_secret: is not set, so nothing can be signed"),
        (("--to", "http://shop.example/cb", "--transaction-no", NUMBER),
         {"callback_secret": CALLBACK_SECRET},
         "account: is needed to sign: give it, or set shortcode"),
        (("--to", "http://shop.example/cb?a=b", "--transaction-no", NUMBER), SIGNING,
         "to: must not have a query where a token is added to its path"),
        (("--to", "http://shop.example/cb", "--account", "600000"), {},
         "account: must be like 'paybill 600000' or 'till 123456 of store 600000'"),
        (("--to", "http://shop.example/cb", "--account", "paybill 1"), {},
         "account: shortcode: must be a string of 5 to 7 digits"),
    ],
)  # fmt: skip
def test_a_bad_argument_is_one_line(
    argv: tuple[str, ...], environ: dict[str, str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot work is refused before anything is sent: exit code 2, and no secret is repeated."""
    assert run("paid", *argv, environ=environ) == 2

    told = capsys.readouterr()
    assert (told.out, told.err) == ("", f"mpesa-stk trigger: {line}\n")
    assert not any(canary in told.err for canary in CANARIES)


def test_a_callback_secret_that_cannot_work(capsys: pytest.CaptureFixture[str]) -> None:
    """It is a setting, so the doctor is named too; the secret is not repeated."""
    assert run("paid", "--to", "http://shop.example/cb", environ={"callback_secret": "short"}) == 2

    assert capsys.readouterr().err.splitlines() == [
        "mpesa-stk trigger: callback_secret: each must be printable text of at least 16 characters",
        "mpesa-stk trigger: `mpesa-stk doctor` says what to do about each setting",
    ]


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["nonsense"],
        ["paid", "--list"],
        ["paid", "--timeout", "0"],
        ["paid", "--timeout", "nan"],
        ["paid", "--timeout", "soon"],
    ],
)
def test_a_wrong_use_is_a_usage_error(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """No scenario, an unknown one, both subjects at once, or no time: usage and code 2."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["trigger", *argv])

    assert ended.value.code == 2
    assert "usage: mpesa-stk trigger" in capsys.readouterr().err


def test_the_receiver_keeps_its_secrets() -> None:
    """A repr shows neither the secrets nor a payment's token."""
    receiver = Receiver(url="http://shop.example/", secrets=(CALLBACK_SECRET,), account=None)
    assert CALLBACK_SECRET not in repr(receiver)


@pytest.mark.parametrize(
    ("statuses", "code"),
    [([200], 0), ([200, 500], 1), ([200, 0], 3), ([0, 500], 1), ([], 0)],
)
def test_exit_codes_of_several(statuses: list[int], code: int) -> None:
    """One that was not taken outweighs one that is not known, which outweighs those taken."""
    answers = [
        Answer(posted=Posted(status=status or None, timed_out=not status), seconds=0.0)
        for status in statuses
    ]
    assert exit_code(answers) == code
