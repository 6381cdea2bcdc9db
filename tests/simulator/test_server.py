"""The simulated Daraja over real sockets: HTTP, callbacks, a clean end, and `Payments` against it."""

from __future__ import annotations

import http.client
import json
import logging
import queue
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from application import Application
from mpesa_stk import (
    CallbackOutcome,
    Clock,
    Event,
    HttpResponse,
    MemoryTransactionStore,
    Payments,
    QueryStatus,
    StkClient,
    Transaction,
    TransactionState,
)
from mpesa_stk.simulator import PIN, SCENARIOS, CallbackDelivery, Scenario, SimulatorServer
from mpesa_stk.simulator.access import callback_may_go
from mpesa_stk.simulator.changes import Changes
from mpesa_stk.web.http_server import HttpServer, _Handler
from mpesa_stk.web.messages import WebRequest
from support import CALLBACK_SECRET, START, ManualClock, loopback_config, make_config

AT_ONCE = Scenario(answer_after=0.0)
PHONE = "0718643064"
PATIENCE = 10.0
PUSH_PATH = "/mpesa/stkpush/v1/processrequest"


class Host(Application):
    """A host of the library: `Payments` on a simulator, which take the callbacks."""

    def __init__(self, daraja: SimulatorServer, *, clock: Clock | None = None) -> None:
        self.outcomes: queue.Queue[CallbackOutcome] = queue.Queue()
        self.events: list[Event] = []
        super().__init__(
            daraja,
            clock=clock,
            hooks=(self.events.append,),
            callback_secrets=(CALLBACK_SECRET,),
        )
        self.payments = Payments(self.client, MemoryTransactionStore(), clock=clock)

    def called_with(self, request: WebRequest) -> None:
        """Settle by a callback."""
        token = request.path.rstrip("/").rpartition("/")[2]
        self.outcomes.put(self.payments.handle_callback(request.body, token=token).outcome)

    def pay(self, phone_number: str = PHONE) -> Transaction:
        """Check out, wait until a callback has settled something, and return what is stored."""
        asked = self.payments.checkout(
            phone_number=phone_number, amount=100, reference="INV-001", description="School fees"
        )
        assert self.outcomes.get(timeout=PATIENCE) is CallbackOutcome.SETTLED
        stored = self.payments.store.get(asked.transaction_no)
        assert stored is not None
        return stored

    def count(self, kind: str, outcome: str = "ok") -> int:
        """How many events of a kind the client told."""
        return sum((event.kind, event.outcome) == (kind, outcome) for event in self.events)


def ask(server: HttpServer | SimulatorServer) -> closing[http.client.HTTPConnection]:
    """A plain connection to a server."""
    host = server.origin.removeprefix("http://")
    return closing(http.client.HTTPConnection(host, timeout=PATIENCE))


def echo(request: WebRequest) -> HttpResponse:
    """Answer with the request."""
    told = {
        "method": request.method,
        "target": f"{request.path}?{request.query}",
        "kind": request.headers.get("content-type"),
    }
    return HttpResponse(
        status=200, headers={"x-length": str(len(request.body))}, body=json.dumps(told).encode()
    )


class Collector:
    """A callback endpoint that only notes what arrives."""

    def __init__(self, status: int = 200, **headers: str) -> None:
        self.received: queue.Queue[tuple[str, str, bytes]] = queue.Queue()
        self._reply = HttpResponse(status=status, headers=headers, body=b"{}")
        self.server = HttpServer(self._take)

    def _take(self, request: WebRequest) -> HttpResponse:
        self.received.put(
            (request.method, f"{request.path}?{request.query}".rstrip("?"), request.body)
        )
        return self._reply


def push(daraja: SimulatorServer, callback_url: str, phone_number: str = PHONE) -> str:
    """Push with a client of its own; return the CheckoutRequestID."""
    with StkClient(loopback_config(daraja.origin)) as client:
        return client.push(
            phone_number=phone_number, amount=1, reference="INV-001", callback_url=callback_url
        ).checkout_request_id


def callback_notes(daraja: SimulatorServer, count: int) -> list[tuple[int | None, str]]:
    """Status and note of each callback in the journal, once there are so many."""
    notes: list[tuple[int | None, str]] = []
    ends = time.monotonic() + PATIENCE
    while len(notes) < count:
        assert time.monotonic() < ends
        threading.Event().wait(0.005)
        notes = [
            (entry.status, entry.note)
            for entry in daraja.journal.entries()
            if entry.kind == "callback"
        ]
    return notes


# --- payments from end to end ----------------------------------------------------------------------


def test_a_payment_is_paid_over_http() -> None:
    """Push, callback, query and report of a paid payment, each over a real socket."""
    reported: list[Transaction] = []
    scenario = Scenario(answer_after=0.05)
    with SimulatorServer(make_config(), scenario=scenario) as daraja, Host(daraja) as host:
        paid = host.pay()
        remote = host.payments.client.query(paid.checkout_request_id or "")
        host.payments.process_due(on_settled=reported.append)

    assert paid.state is TransactionState.SUCCEEDED
    assert paid.settled_by == "callback"
    assert len(paid.receipt_number or "") == 10
    assert remote.status is QueryStatus.PAID
    assert [payment.receipt_number for payment in reported] == [paid.receipt_number]


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        ("cancelled", "1032"),
        ("wrong-pin", "2001"),
        ("no-funds", "1"),
        ("unreachable", "1037"),
        ("expired", "1019"),
    ],
)
def test_a_payment_fails_with_daraja_s_code(outcome: str, code: str) -> None:
    """Whatever the customer does but pay, callback and query settle the same failure."""
    scenario = Scenario(outcome=outcome, answer_after=0.0)
    with SimulatorServer(make_config(), scenario=scenario) as daraja, Host(daraja) as host:
        failed = host.pay()
        remote = host.payments.client.query(failed.checkout_request_id or "")

    assert (failed.state, failed.result_code) == (TransactionState.FAILED, code)
    assert (remote.status, remote.result_code) == (QueryStatus.FAILED, code)


def test_an_open_prompt_is_pending_and_keeps_the_phone_busy() -> None:
    """Before the customer answers, the query says PENDING and nothing is posted."""
    scenario = Scenario(answer_after=3600.0)
    with SimulatorServer(make_config(), scenario=scenario) as daraja, Host(daraja) as host:
        asked = host.payments.checkout(phone_number=PHONE, amount=1, reference="INV-001")
        status = host.payments.query(asked.checkout_request_id or "")

    assert asked.state is TransactionState.PENDING
    assert status.remote is not None
    assert status.remote.status is QueryStatus.PENDING
    assert host.outcomes.empty()


def test_scenarios_change_between_pushes() -> None:
    """`play` changes what becomes of the pushes that follow, and of no other."""
    with SimulatorServer(make_config(), scenario=AT_ONCE) as daraja, Host(daraja) as host:
        first = host.pay()
        daraja.play(Scenario(outcome="cancelled", answer_after=0.0))
        second = host.pay()

    assert first.state is TransactionState.SUCCEEDED
    assert second.state is TransactionState.FAILED


class SleepyClock(ManualClock):
    """The clock of a machine that was suspended: its monotonic seconds stood still."""

    def monotonic(self) -> float:
        """The same second, always."""
        return 1000.0


@pytest.mark.parametrize("client_clock", [ManualClock, SleepyClock])
def test_an_expired_token_is_renewed(client_clock: Callable[[], ManualClock]) -> None:
    """A second token is fetched, whether the client sees it coming or Daraja refuses the first."""
    clocks = (ManualClock(), client_clock())
    with (
        SimulatorServer(make_config(), scenario=AT_ONCE, clock=clocks[0]) as daraja,
        Host(daraja, clock=clocks[1]) as host,
    ):
        host.pay()
        for clock in clocks:
            clock.advance(3600.0)
        second = host.pay()

    assert second.state is TransactionState.SUCCEEDED
    assert host.count("token") == 2
    assert host.count("push") == 2


@pytest.fixture
def new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A host whose own time zone is New York's."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "America/New_York")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("new_york")
def test_a_host_in_new_york_sends_nairobi_s_time() -> None:
    """Timestamp and password are East Africa Time whatever the host's zone: Daraja accepts them."""
    assert time.localtime().tm_gmtoff in (-18_000, -14_400)
    clock = ManualClock()
    with (
        SimulatorServer(make_config(), scenario=AT_ONCE, clock=clock) as daraja,
        Host(daraja, clock=clock) as host,
    ):
        paid = host.pay()

    assert paid.state is TransactionState.SUCCEEDED
    assert paid.paid_at == START.replace(microsecond=0)
    nairobi = f"{START + timedelta(hours=3):%d%m%Y%H%M%S}"
    assert (paid.checkout_request_id or "").startswith(f"ws_CO_{nairobi}")


def test_many_threads_pay_at_once() -> None:
    """32 threads on a cold client fetch one token, push 32 times, and every payment settles."""
    phones = [f"0711{number:06}" for number in range(32)]
    with (
        SimulatorServer(make_config(), scenario=AT_ONCE) as daraja,
        Host(daraja) as host,
        ThreadPoolExecutor(len(phones)) as pool,
    ):
        numbers = {payment.transaction_no for payment in pool.map(host.pay, phones)}
        paid = [host.payments.store.get(number) for number in numbers]

    assert [payment.state for payment in paid if payment] == [TransactionState.SUCCEEDED] * 32
    assert host.count("token") == 1
    assert host.count("push") == 32


# --- callbacks ---------------------------------------------------------------------------------------


def test_a_callback_is_posted_once_and_redirects_are_not_followed() -> None:
    """A redirect loses the callback, as it does with Daraja; the next one is posted all the same."""
    collector = Collector(307, location="/elsewhere")
    with collector.server, SimulatorServer(make_config(), scenario=AT_ONCE) as daraja:
        first = push(daraja, f"{collector.server.origin}/callback?shop=1")
        method, target, body = collector.received.get(timeout=PATIENCE)
        second = push(daraja, collector.server.origin)
        _, root, other = collector.received.get(timeout=PATIENCE)

    assert (method, target, root) == ("POST", "/callback?shop=1", "/")
    assert first.encode() in body
    assert second.encode() in other
    assert collector.received.empty()


def test_a_callback_that_fails_does_not_hold_up_the_next(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nobody listening is logged, without the address, and the next callback goes out."""
    caplog.set_level(logging.INFO, "mpesa_stk.simulator")
    nobody = HttpServer(echo)
    nobody.close()
    collector = Collector()
    with collector.server, SimulatorServer(make_config(), scenario=AT_ONCE) as daraja:
        push(daraja, f"{nobody.origin}/secret")
        push(daraja, collector.server.origin)
        collector.received.get(timeout=PATIENCE)
        notes = callback_notes(daraja, 2)

    assert sorted(caplog.messages) == [
        "mpesa_stk.simulator.callback_failed error=nobody listens there",
        "mpesa_stk.simulator.callback_posted http_status=200",
    ]
    assert sorted(notes, key=str) == [(200, ""), (None, "nobody listens there")]


def test_a_slow_receiver_does_not_hold_up_the_others() -> None:
    """While one shop lets its callback wait, the callback of another arrives."""
    go_on = threading.Event()

    def slow(_request: WebRequest) -> HttpResponse:
        go_on.wait(PATIENCE)
        return HttpResponse(status=200, headers={}, body=b"{}")

    collector = Collector()
    with (
        collector.server,
        HttpServer(slow) as shop,
        SimulatorServer(make_config(), scenario=AT_ONCE) as daraja,
    ):
        push(daraja, shop.origin)
        push(daraja, collector.server.origin)
        collector.received.get(timeout=PATIENCE)
        assert callback_notes(daraja, 1) == [(200, "")]
        go_on.set()


def test_a_receiver_that_never_answers_is_given_up() -> None:
    """After its seconds the callback counts as not taken."""
    go_on = threading.Event()

    def stuck(_request: WebRequest) -> HttpResponse:
        go_on.wait(PATIENCE)
        return HttpResponse(status=200, headers={}, body=b"{}")

    with (
        HttpServer(stuck) as shop,
        SimulatorServer(make_config(), scenario=AT_ONCE, callback_timeout=0.1) as daraja,
    ):
        push(daraja, shop.origin)
        assert callback_notes(daraja, 1) == [(None, "no answer within 0.1 s")]
        go_on.set()


def test_a_callback_that_is_not_taken_is_posted_again_when_told_to() -> None:
    """Once by default; with `callback_tries`, again after a while, and not after a 200."""
    collector = Collector(503)
    with (
        collector.server,
        SimulatorServer(make_config(), scenario=AT_ONCE, callback_tries=2) as daraja,
    ):
        push(daraja, collector.server.origin)
        assert callback_notes(daraja, 1) == [(503, "")]
        daraja.advance(10.0)
        assert callback_notes(daraja, 2) == [(503, ""), (503, "")]
        daraja.advance(3600.0)

    assert collector.received.qsize() == 2


def test_a_quick_customer_s_callback_comes_before_the_push_is_answered() -> None:
    """The shop has the callback in hand while its own push still waits for an answer."""
    scenario = SCENARIOS["callback-first"]
    with SimulatorServer(make_config(), scenario=scenario) as daraja, Host(daraja) as host:
        asked = host.payments.checkout(phone_number=PHONE, amount=1, reference="INV-001")
        assert host.outcomes.qsize() == 1
        kinds = [entry.kind for entry in daraja.journal.entries()]

    assert asked.state is TransactionState.SUCCEEDED
    assert "callback" in kinds


def test_a_hook_that_fails_loses_no_callback(caplog: pytest.LogCaptureFixture) -> None:
    """What `on_answered` raises is logged, and the callback goes out."""

    def fail(_delivery: CallbackDelivery) -> None:
        raise RuntimeError

    collector = Collector()
    with (
        collector.server,
        SimulatorServer(make_config(), scenario=AT_ONCE, on_answered=fail) as daraja,
    ):
        push(daraja, collector.server.origin)
        collector.received.get(timeout=PATIENCE)

    assert caplog.messages[0] == "mpesa_stk.simulator.on_answered_failed error=RuntimeError"


def test_callbacks_stay_on_this_machine(caplog: pytest.LogCaptureFixture) -> None:
    """A callback for another machine is withheld and logged, and its prompt counts as answered."""
    answered: queue.Queue[str] = queue.Queue()
    collector = Collector()
    with (
        collector.server,
        SimulatorServer(
            make_config(), scenario=AT_ONCE, on_answered=lambda d: answered.put(d.url)
        ) as daraja,
    ):
        push(daraja, "https://shop.example.co.ke/callback")
        push(daraja, f"{collector.server.origin}/callback")
        collector.received.get(timeout=PATIENCE)

    assert answered.get(timeout=PATIENCE) == "https://shop.example.co.ke/callback"
    assert answered.get(timeout=PATIENCE) == f"{collector.server.origin}/callback"
    withheld = "mpesa_stk.simulator.callback_withheld reason=not_the_requesters_machine"
    assert withheld in caplog.messages


@pytest.mark.parametrize(
    ("url", "requester", "goes"),
    [
        ("http://127.0.0.1:8000/callback", "127.0.0.1", True),
        ("http://127.1.2.3/callback", "127.0.0.1", True),
        ("http://localhost:8000/callback", "::1", True),
        ("http://[::1]:8000/callback", "127.0.0.1", True),
        ("http://192.168.1.5:8000/callback", "192.168.1.5", True),
        ("http://[fe80::5]/callback", "fe80::5", True),
        ("http://[::ffff:192.168.1.5]/callback", "192.168.1.5", True),
        ("http://127.0.0.1:22/callback", "192.168.1.5", False),
        ("http://localhost:22/callback", "192.168.1.5", False),
        ("http://192.168.1.6/callback", "192.168.1.5", False),
        ("http://192.168.1.5/callback", "127.0.0.1", False),
        ("https://shop.example.co.ke/callback", "192.168.1.5", False),
        ("https://shop.example.co.ke/callback", "127.0.0.1", False),
    ],
)
def test_a_callback_goes_to_the_machine_that_pushed(url: str, requester: str, goes: bool) -> None:  # noqa: FBT001 - a table's column
    """A stranger in the network has nothing posted to this machine's own ports, or to a third one."""
    assert callback_may_go(url, requester) == goes


def test_callbacks_leave_this_machine_only_when_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `public_callbacks`, another machine gets its callback, over TLS where its URL says so."""
    hosts: queue.Queue[tuple[str, float]] = queue.Queue()

    def connect(host: str, *, timeout: float, context: object) -> http.client.HTTPConnection:
        assert context
        hosts.put((host, timeout))
        raise ConnectionRefusedError

    monkeypatch.setattr(http.client, "HTTPSConnection", connect)
    with SimulatorServer(make_config(), scenario=AT_ONCE, public_callbacks=True) as daraja:
        push(daraja, "https://shop.example.co.ke:8443/callback")

        assert hosts.get(timeout=PATIENCE) == ("shop.example.co.ke:8443", 5.0)


# --- what a test does --------------------------------------------------------------------------------


def test_the_customer_answers_when_the_test_says_so() -> None:
    """A prompt waits until `decide` or `enter_pin`, and takes one answer."""
    with (
        SimulatorServer(make_config(), scenario=SCENARIOS["by-hand"]) as daraja,
        Host(daraja) as host,
    ):
        first = host.payments.checkout(phone_number=PHONE, amount=1, reference="INV-001")
        (prompt,) = daraja.prompts
        assert daraja.is_open(prompt)
        daraja.decide(prompt.checkout_request_id, "cancelled")
        assert host.outcomes.get(timeout=PATIENCE) is CallbackOutcome.SETTLED
        with pytest.raises(LookupError):
            daraja.decide(prompt.checkout_request_id, "paid")
        second = host.payments.checkout(phone_number=PHONE, amount=1, reference="INV-001")
        daraja.enter_pin(second.checkout_request_id or "", PIN)
        assert host.outcomes.get(timeout=PATIENCE) is CallbackOutcome.SETTLED
        states = [host.payments.store.get(asked.transaction_no) for asked in (first, second)]

    assert [paid.state for paid in states if paid] == [
        TransactionState.FAILED,
        TransactionState.SUCCEEDED,
    ]


def test_a_prompt_runs_out_when_the_clock_is_put_forward() -> None:
    """A minute passes at once, and the callback says that nobody answered."""
    with (
        SimulatorServer(make_config(), scenario=SCENARIOS["by-hand"]) as daraja,
        Host(daraja) as host,
    ):
        asked = host.payments.checkout(phone_number=PHONE, amount=1, reference="INV-001")
        daraja.advance(60.0)
        assert host.outcomes.get(timeout=PATIENCE) is CallbackOutcome.SETTLED
        stored = host.payments.store.get(asked.transaction_no)

    assert stored is not None
    assert stored.result_code == "1037"


def test_faults_are_played_over_real_sockets() -> None:
    """A refused token is renewed; a push that is dropped after it was done stays open, and settles."""
    with SimulatorServer(make_config(), scenario=AT_ONCE) as daraja, Host(daraja) as host:
        daraja.next("push", "token-refused-404", "done-but-dropped")
        paid = host.pay()

    assert paid.state is TransactionState.SUCCEEDED
    assert host.count("token") == 2
    assert len(daraja.prompts) == 1
    assert [entry.note for entry in daraja.journal.entries() if entry.kind == "push"] == [
        "fault: token-refused-404",
        "fault: done-but-dropped, answer: nothing",
    ]


def test_a_slow_answer_waits_for_the_simulator_s_clock() -> None:
    """It comes once the clock was put forward so far, and the callback overtakes it."""
    clock = ManualClock()
    with (
        SimulatorServer(make_config(), scenario=AT_ONCE, clock=clock, slow_seconds=60.0) as daraja,
        Host(daraja, clock=clock) as host,
        ThreadPoolExecutor(1) as shop,
    ):
        daraja.next("push", "slow")
        pushed = shop.submit(host.payments.checkout, phone_number=PHONE, amount=1, reference="A")
        assert host.outcomes.get(timeout=PATIENCE) is CallbackOutcome.SETTLED
        daraja.advance(59.0)
        assert not pushed.done()
        daraja.advance(1.0)
        assert pushed.result(timeout=PATIENCE).state is TransactionState.SUCCEEDED

    (push,) = [entry for entry in daraja.journal.entries() if entry.kind == "push"]
    assert push.note == "fault: slow, answer: slow, 60 s"


def test_close_does_not_wait_for_a_slow_answer() -> None:
    """It is sent at once then."""
    daraja = SimulatorServer(make_config(), slow_seconds=3600.0)
    daraja.next("token", "slow")
    daraja.start()
    with ask(daraja) as connection:
        connection.request("GET", "/oauth/v1/generate")
        while not daraja.journal.entries():
            threading.Event().wait(0.005)
        daraja.close()
        assert connection.getresponse().status == 400


def test_a_shop_goes_on_when_the_clock_was_put_forward() -> None:
    """An hour later for Daraja, a push with the shop's own time is accepted and paid."""
    with SimulatorServer(make_config(), scenario=AT_ONCE) as daraja, Host(daraja) as host:
        daraja.advance(3600.0)
        assert host.pay().state is TransactionState.SUCCEEDED


def test_revoked_tokens_are_renewed() -> None:
    """As if another worker had fetched a newer one."""
    with SimulatorServer(make_config(), scenario=AT_ONCE) as daraja, Host(daraja) as host:
        host.pay()
        daraja.revoke_tokens()
        host.pay()

    assert host.count("token") == 2


def test_a_reset_forgets_all() -> None:
    """Prompts, journal, scripts and tokens are gone, and the first scenario is played again."""
    with SimulatorServer(make_config(), scenario=AT_ONCE) as daraja, Host(daraja) as host:
        host.pay()
        daraja.play("cancelled")
        daraja.next("push", "unavailable")
        daraja.reset()
        assert (daraja.prompts, daraja.journal.entries()) == ([], [])
        paid = host.pay()

    assert paid.state is TransactionState.SUCCEEDED
    assert host.count("token") == 2


def test_a_seed_repeats_ids_and_receipts() -> None:
    """Two simulators with the same randomness give out the same."""

    def receipt() -> tuple[str, str]:
        with SimulatorServer(
            make_config(), scenario=AT_ONCE, randomness=random.Random(7)
        ) as daraja:
            push(daraja, f"{daraja.origin}/callback")
            (prompt,) = daraja.prompts
        return prompt.merchant_request_id, prompt.receipt_number

    assert receipt() == receipt()


# --- the control interface and the page ----------------------------------------------------------------


def control(daraja: SimulatorServer, method: str, target: str, payload: object = None) -> Any:
    """Ask the control interface as a page or a script does."""
    with ask(daraja) as connection:
        connection.request(
            method, target, json.dumps(payload), {"Content-Type": "application/json"}
        )
        answer = connection.getresponse()
        assert answer.status == 200
        return json.loads(answer.read())


def test_a_payment_is_steered_over_http() -> None:
    """Each of the interface's requests does what the method of the same name does."""
    with SimulatorServer(make_config(), scenario=AT_ONCE) as daraja, Host(daraja) as host:
        control(daraja, "POST", "/_sim/scenario", {"name": "by-hand"})
        control(daraja, "POST", "/_sim/faults", {"step": "token", "faults": ["unavailable"]})
        asked = host.payments.checkout(phone_number=PHONE, amount=1, reference="INV-001")
        target = f"/_sim/prompts/{asked.checkout_request_id}"
        assert control(daraja, "GET", target)["prompt"]["open"]
        assert control(daraja, "POST", f"{target}/answer", {"pin": PIN})["prompt"]["paid"]
        assert host.outcomes.get(timeout=PATIENCE) is CallbackOutcome.SETTLED
        callback_notes(daraja, 1)
        state = control(daraja, "GET", "/_sim/state")
        before = control(daraja, "POST", "/_sim/clock", {"advance": 0})
        after = control(daraja, "POST", "/_sim/clock", {"advance": 86_400})
        control(daraja, "POST", "/_sim/tokens/revoke", {})
        control(daraja, "POST", "/_sim/reset", {})
        empty = control(daraja, "GET", "/_sim/log?after=0")

    assert state["business"] == daraja.business == "paybill 600000"
    assert [entry["status"] for entry in state["prompts"][0]["callbacks"]] == [200]
    assert before["now"][:10] < after["now"][:10]
    assert empty == {"entries": [], "last": 0}
    assert host.count("token") == 1


def test_the_page_is_served() -> None:
    """At the root, as HTML, with the policy that lets nothing foreign in."""
    with SimulatorServer(make_config()) as daraja, ask(daraja) as connection:
        connection.request("GET", "/")
        answer = connection.getresponse()
        page = answer.read()

    assert page.startswith(b"<!")
    assert "default-src 'none'" in (answer.getheader("content-security-policy") or "")


def test_each_file_of_the_page_is_served() -> None:
    """Those that the page names, and those that its scripts import; a file that is not there is 404."""
    waiting, served = ["/"], set()
    with SimulatorServer(make_config()) as daraja:
        while waiting:
            target = waiting.pop()
            served.add(target)
            with ask(daraja) as connection:
                connection.request("GET", target)
                answer = connection.getresponse()
                text = answer.read().decode()
            assert answer.status == 200, target
            named = re.findall(r'(?:href|src)="(/_sim/page/[^"]+)"', text)
            imported = [f"/_sim/page/{name}" for name in re.findall(r'from "\./([^"]+)"', text)]
            waiting += {*named, *imported} - served - set(waiting)
        with ask(daraja) as connection:
            connection.request("GET", "/_sim/page/missing.js")
            assert connection.getresponse().status == 404

    assert len(served) > 10


def test_a_foreign_host_sees_nothing() -> None:
    """A name that was pointed at this machine is refused, before anything is shown."""
    with SimulatorServer(make_config()) as daraja, ask(daraja) as connection:
        connection.request("GET", "/_sim/state", headers={"Host": "attacker.example"})
        assert connection.getresponse().status == 403


@pytest.mark.parametrize(
    "origin", ["https://attacker.example", "null", "", "http://127.0.0.1.attacker.example"]
)
@pytest.mark.parametrize("method", ["POST", "OPTIONS"])
def test_a_page_of_another_site_reaches_no_endpoint_of_daraja(origin: str, method: str) -> None:
    """Else a push of its own would have a callback posted to any port of this machine."""
    with SimulatorServer(make_config()) as daraja, ask(daraja) as connection:
        connection.request(method, PUSH_PATH, b"{}", {"Origin": origin})
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("access-control-allow-origin")) == (403, None)
        assert json.loads(answer.read())["error"]["code"] == "foreign-origin"
        assert daraja.journal.entries() == []


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://127.0.0.1:8000"])
def test_a_page_of_this_machine_reaches_daraja(origin: str) -> None:
    """As a shop does, which names no Origin."""
    with SimulatorServer(make_config()) as daraja, ask(daraja) as connection:
        connection.request("POST", PUSH_PATH, b"{}", {"Origin": origin})
        assert connection.getresponse().status == 404
        assert [entry.kind for entry in daraja.journal.entries()] == ["push"]


# --- events ------------------------------------------------------------------------------------------


class Listener:
    """A client that listens to the events."""

    def __init__(self, daraja: SimulatorServer) -> None:
        host = daraja.origin.removeprefix("http://")
        self._connection = http.client.HTTPConnection(host, timeout=PATIENCE)
        self._connection.request("GET", "/_sim/events")
        self._answer = self._connection.getresponse()
        assert self._answer.getheader("content-type") == "text/event-stream"

    def next(self) -> Any:
        """The data of the next event; None at the end."""
        line = b""
        while line := self._answer.readline():
            if line.startswith(b"data: "):
                assert self._answer.readline() == b"\n"
                return json.loads(line[6:])
        return None

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


def test_a_change_reaches_whoever_listens() -> None:
    """At once where it stands, then each request, and each prompt that ends."""
    with (
        SimulatorServer(make_config(), scenario=SCENARIOS["by-hand"]) as daraja,
        closing(Listener(daraja)) as listener,
    ):
        assert listener.next() == {"last": 0}
        push(daraja, f"{daraja.origin}/callback")
        while listener.next()["last"] < 2:
            pass
        (prompt,) = daraja.prompts
        daraja.decide(prompt.checkout_request_id, "cancelled")
        while "callback" not in {entry.kind for entry in daraja.journal.entries()}:
            assert listener.next()
        daraja.reset()
        while listener.next() != {"last": 0}:
            pass


def test_a_hundred_listeners_hear_it_and_keep_nobody_waiting() -> None:
    """Each hears of a change; `close` ends all of them, and their threads."""
    before = set(threading.enumerate())
    daraja = SimulatorServer(make_config())
    daraja.start()
    listeners = [Listener(daraja) for _ in range(100)]
    assert [listener.next() for listener in listeners] == [{"last": 0}] * 100
    daraja.play("cancelled")
    assert [listener.next() for listener in listeners] == [{"last": 0}] * 100
    started = time.monotonic()
    daraja.close()

    assert time.monotonic() - started < 5.0
    assert [listener.next() for listener in listeners] == [None] * 100
    assert set(threading.enumerate()) <= before  # of another test, one may have ended
    for listener in listeners:
        listener.close()


def test_a_quiet_stream_says_that_it_is_still_there() -> None:
    """A comment line after some seconds without a change, and nothing in between."""
    clock = ManualClock()
    changes = Changes(heartbeat=15.0, look=0.001, clock=clock)
    events = changes.events(lambda: "{}")
    assert next(events) == b"event: changed\ndata: {}\n\n"
    assert next(events) == b""
    clock.advance(14.9)
    assert next(events) == b""
    clock.advance(0.1)
    assert next(events) == b": nothing new\n\n"
    assert next(events) == b""
    changes.notify()
    assert next(events) == b"event: changed\ndata: {}\n\n"
    changes.end()
    assert list(events) == []
    assert changes.ended


# --- HTTP --------------------------------------------------------------------------------------------


def test_a_connection_is_kept_alive() -> None:
    """Two requests on one connection are both answered."""
    with HttpServer(echo) as server, ask(server) as connection:
        connection.request("GET", "/a?b=c")
        first = json.loads(connection.getresponse().read())
        sock = connection.sock
        connection.request("POST", "/d", b"body", {"Content-Type": "text/plain"})
        answer = connection.getresponse()

        assert connection.sock is sock
        assert first == {"method": "GET", "target": "/a?b=c", "kind": None}
        assert answer.getheader("x-length") == "4"
        assert json.loads(answer.read())["kind"] == "text/plain"


def test_every_method_reaches_the_engine() -> None:
    """An unusual method gets Daraja's own 405, and a HEAD no body."""
    with SimulatorServer(make_config()) as daraja, ask(daraja) as connection:
        connection.request("PROPFIND", "/mpesa/stkpush/v1/processrequest")
        answer = connection.getresponse()
        assert answer.status == 405
        assert json.loads(answer.read())["errorCode"] == "405.001"
        connection.request("HEAD", "/nothing")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (404, b"")
        assert int(answer.getheader("content-length", "0")) > 0


def test_only_methods_are_made_up() -> None:
    """The handler has a method for every HTTP method and no other attribute out of nothing."""
    with pytest.raises(AttributeError):
        _ = _Handler.__new__(_Handler).nonsense


@pytest.mark.parametrize(
    ("headers", "status", "message"),
    [
        ({"Content-Length": "65537"}, 413, "65536 bytes at most"),
        ({"Content-Length": "-1"}, 400, "needs one whole Content-Length"),
        ({"Content-Length": "1e3"}, 400, "needs one whole Content-Length"),
        ({"Transfer-Encoding": "gzip, chunked"}, 501, "is chunked"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(
    headers: dict[str, str], status: int, message: str
) -> None:
    """A body over 64 KiB, or of unknown length, is refused in words and the connection closed."""
    with HttpServer(echo) as server, ask(server) as connection:
        connection.putrequest("POST", "/")
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        if status == 413:
            connection.send(b"x" * 65537)
        answer = connection.getresponse()

        assert answer.status == status
        assert message in json.loads(answer.read())["error"]["message"]
        assert answer.getheader("connection") == "close"


def test_a_body_of_64_kib_is_read() -> None:
    """The limit itself is allowed."""
    with HttpServer(echo) as server, ask(server) as connection:
        connection.request("POST", "/", b"x" * 65536)

        assert connection.getresponse().getheader("x-length") == "65536"


def test_a_function_that_fails_hangs_up(caplog: pytest.LogCaptureFixture) -> None:
    """What the served function raises ends the connection, is logged, and harms no other."""

    def fail(request: WebRequest) -> HttpResponse:
        if request.method == "POST":
            raise RuntimeError
        return echo(request)

    with HttpServer(fail) as server:
        with ask(server) as connection:
            connection.request("POST", "/")
            with pytest.raises(http.client.RemoteDisconnected):
                connection.getresponse()
        with ask(server) as connection:
            connection.request("GET", "/")
            assert connection.getresponse().status == 200

    assert caplog.messages == ["mpesa_stk.server.connection_failed"]


def test_it_serves_a_port_of_one_s_own() -> None:
    """A port can be asked for, and origin and environment name it."""
    with HttpServer(echo) as any_server:
        free = int(any_server.origin.rpartition(":")[2])
    with SimulatorServer(make_config(), port=free, randomness=random.Random(1)) as daraja:
        assert daraja.origin == f"http://127.0.0.1:{free}"
        assert daraja.environment.name == "simulator"
        assert daraja.environment.push_url == f"{daraja.origin}/mpesa/stkpush/v1/processrequest"


# --- the end -----------------------------------------------------------------------------------------


def test_close_ends_every_thread() -> None:
    """Idle connections and callbacks that are not due keep nothing alive, and wait for nothing."""
    before = set(threading.enumerate())
    collector = Collector()
    daraja = SimulatorServer(make_config(), scenario=Scenario(answer_after=3600.0))
    daraja.start()
    with collector.server, ask(daraja) as connection:
        push(daraja, collector.server.origin)
        connection.request("GET", "/")
        connection.getresponse().read()
        started = time.monotonic()

        daraja.close()

        assert time.monotonic() - started < 5.0
        assert connection.sock.recv(1) == b""
    assert set(threading.enumerate()) <= before  # of another test, one may have ended
    assert collector.received.empty()


def test_close_is_harmless_before_start_and_twice() -> None:
    """A server that never started closes, and one that is closed may be closed again."""
    SimulatorServer(make_config()).close()
    with SimulatorServer(make_config()) as daraja:
        daraja.close()
