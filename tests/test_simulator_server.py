"""The simulated Daraja over real sockets: HTTP, callbacks, a clean end, and `Payments` against it."""

from __future__ import annotations

import http.client
import json
import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from types import TracebackType
from typing import Any

import pytest

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
from mpesa_stk.simulator import Scenario, SimulatorServer
from mpesa_stk.simulator.loopback import LoopbackServer, _Handler
from support import CALLBACK_SECRET, START, ManualClock, loopback_config, make_config

AT_ONCE = Scenario(answer_after=0.0)
PHONE = "0718643064"
PATIENCE = 10.0


class Host:
    """A host of the library: `Payments` on a simulator, and a callback endpoint of its own."""

    def __init__(self, daraja: SimulatorServer, *, clock: Clock | None = None) -> None:
        self.outcomes: queue.Queue[CallbackOutcome] = queue.Queue()
        self.events: list[Event] = []
        self._receiver = LoopbackServer(self._take)
        self.config = loopback_config(
            daraja.origin,
            callback_url=f"{self._receiver.origin}/payments/callback",
            callback_secrets=(CALLBACK_SECRET,),
        )
        self.client = StkClient(self.config, clock=clock, hooks=(self.events.append,))
        self.payments = Payments(self.client, MemoryTransactionStore(), clock=clock)

    def __enter__(self) -> Host:  # noqa: PYI034 - typing.Self needs Python 3.11
        self._receiver.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._receiver.close()
        self.client.close()

    def _take(
        self, _method: str, target: str, _headers: Mapping[str, str], body: bytes
    ) -> HttpResponse:
        token = target.rstrip("/").rpartition("/")[2]
        self.outcomes.put(self.payments.handle_callback(body, token=token).outcome)
        return HttpResponse(status=200, headers={}, body=b"{}")

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


def ask(server: LoopbackServer | SimulatorServer) -> closing[http.client.HTTPConnection]:
    """A plain connection to a server."""
    host = server.origin.removeprefix("http://")
    return closing(http.client.HTTPConnection(host, timeout=PATIENCE))


def echo(method: str, target: str, headers: Mapping[str, str], body: bytes) -> HttpResponse:
    """Answer with what was asked."""
    told = {"method": method, "target": target, "kind": headers.get("content-type")}
    return HttpResponse(
        status=200, headers={"x-length": str(len(body))}, body=json.dumps(told).encode()
    )


class Collector:
    """A callback endpoint that only notes what arrives."""

    def __init__(self, status: int = 200, **headers: str) -> None:
        self.received: queue.Queue[tuple[str, str, bytes]] = queue.Queue()
        self._reply = HttpResponse(status=status, headers=headers, body=b"{}")
        self.server = LoopbackServer(self._take)

    def _take(
        self, method: str, target: str, _headers: Mapping[str, str], body: bytes
    ) -> HttpResponse:
        self.received.put((method, target, body))
        return self._reply


def push(daraja: SimulatorServer, callback_url: str, phone_number: str = PHONE) -> str:
    """Push with a client of its own; return the CheckoutRequestID."""
    with StkClient(loopback_config(daraja.origin)) as client:
        return client.push(
            phone_number=phone_number, amount=1, reference="INV-001", callback_url=callback_url
        ).checkout_request_id


# --- payments from end to end ----------------------------------------------------------------------


def test_a_payment_is_paid_over_http() -> None:
    """Push, callback, query and report of a paid payment, each over a real socket."""
    reported: list[Transaction] = []
    scenario = Scenario(answer_after=0.05)
    with SimulatorServer(make_config(), scenario=scenario) as daraja, Host(daraja) as host:
        paid = host.pay()
        status = host.payments.query(paid.checkout_request_id or "")
        host.payments.process_due(on_settled=reported.append)

    assert paid.state is TransactionState.SUCCEEDED
    assert paid.settled_by == "callback"
    assert len(paid.receipt_number or "") == 10
    assert status.remote is not None
    assert status.remote.status is QueryStatus.PAID
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
        status = host.payments.query(failed.checkout_request_id or "")

    assert (failed.state, failed.result_code) == (TransactionState.FAILED, code)
    assert status.remote is not None
    assert (status.remote.status, status.remote.result_code) == (QueryStatus.FAILED, code)


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
    phones = [f"0700{number:06}" for number in range(32)]
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
    nobody = LoopbackServer(echo)
    nobody.close()
    collector = Collector()
    with collector.server, SimulatorServer(make_config(), scenario=AT_ONCE) as daraja:
        push(daraja, f"{nobody.origin}/secret")
        push(daraja, collector.server.origin)
        collector.received.get(timeout=PATIENCE)

    assert caplog.messages == [
        "mpesa_stk.simulator.callback_failed error=ConnectionRefusedError",
        "mpesa_stk.simulator.callback_posted http_status=200",
    ]


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

    assert answered.get() == "https://shop.example.co.ke/callback"
    assert answered.get() == f"{collector.server.origin}/callback"
    assert "mpesa_stk.simulator.callback_withheld reason=not_this_machine" in caplog.messages


def test_callbacks_leave_this_machine_only_when_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `public_callbacks`, another machine gets its callback, over TLS where its URL says so."""
    hosts: queue.Queue[tuple[str, float]] = queue.Queue()

    def connect(host: str, *, timeout: float) -> http.client.HTTPConnection:
        hosts.put((host, timeout))
        raise ConnectionRefusedError

    monkeypatch.setattr(http.client, "HTTPSConnection", connect)
    with SimulatorServer(make_config(), scenario=AT_ONCE, public_callbacks=True) as daraja:
        push(daraja, "https://shop.example.co.ke:8443/callback")

        assert hosts.get(timeout=PATIENCE) == ("shop.example.co.ke:8443", 5.0)


# --- HTTP --------------------------------------------------------------------------------------------


def test_a_connection_is_kept_alive() -> None:
    """Two requests on one connection are both answered."""
    with LoopbackServer(echo) as server, ask(server) as connection:
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
        connection.request("HEAD", "/")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (404, b"")
        assert int(answer.getheader("content-length", "0")) > 0


def test_only_methods_are_made_up() -> None:
    """The handler has a method for every HTTP method and no other attribute out of nothing."""
    with pytest.raises(AttributeError):
        _ = _Handler.__new__(_Handler).nonsense


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Length": "65537"}, 413),
        ({"Content-Length": "-1"}, 400),
        ({"Content-Length": "1e3"}, 400),
        ({"Transfer-Encoding": "chunked"}, 411),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(headers: dict[str, str], status: int) -> None:
    """A body over 64 KiB, or of unknown length, is refused and the connection closed."""
    with LoopbackServer(echo) as server, ask(server) as connection:
        connection.putrequest("POST", "/")
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        if status == 413:
            connection.send(b"x" * 65537)
        answer = connection.getresponse()

        assert (answer.status, answer.read()) == (status, b"")
        assert answer.getheader("connection") == "close"


def test_a_body_of_64_kib_is_read() -> None:
    """The limit itself is allowed."""
    with LoopbackServer(echo) as server, ask(server) as connection:
        connection.request("POST", "/", b"x" * 65536)

        assert connection.getresponse().getheader("x-length") == "65536"


def test_a_function_that_fails_hangs_up(caplog: pytest.LogCaptureFixture) -> None:
    """What the served function raises ends the connection, is logged, and harms no other."""

    def fail(method: str, *request: Any) -> HttpResponse:
        if method == "POST":
            raise RuntimeError
        return echo(method, *request)

    with LoopbackServer(fail) as server:
        with ask(server) as connection:
            connection.request("POST", "/")
            with pytest.raises(http.client.RemoteDisconnected):
                connection.getresponse()
        with ask(server) as connection:
            connection.request("GET", "/")
            assert connection.getresponse().status == 200

    assert caplog.messages == ["mpesa_stk.simulator.connection_failed"]


def test_it_serves_a_port_of_one_s_own() -> None:
    """A port can be asked for, and origin and environment name it."""
    with LoopbackServer(echo) as any_server:
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
    assert set(threading.enumerate()) == before
    assert collector.received.empty()


def test_close_is_harmless_before_start_and_twice() -> None:
    """A server that never started closes, and one that is closed may be closed again."""
    SimulatorServer(make_config()).close()
    with SimulatorServer(make_config()) as daraja:
        daraja.close()
