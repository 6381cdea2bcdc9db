"""`SimulatedDaraja`: time, callbacks, faults, and what it tells of itself."""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from mpesa_stk import (
    MemoryTransactionStore,
    NotSent,
    OutcomeUnknown,
    PayBill,
    QueryStatus,
    StoreError,
    SubscriberBusy,
    Till,
    TransactionState,
    Transport,
)
from mpesa_stk import testing as kit
from mpesa_stk.simulator import SimulatorServer
from mpesa_stk.testing import (
    DeliveryFault,
    Fault,
    ManualClock,
    Scenario,
    SimulatedDaraja,
    phones,
    simulated_config,
)
from support import START, make_config

SUCCEEDED = TransactionState.SUCCEEDED
ORDER: dict[str, Any] = {"amount": 100, "reference": "INV-1"}


@pytest.fixture
def daraja() -> SimulatedDaraja:
    """A Daraja with its own settings and clock."""
    return SimulatedDaraja()


# --- the kit ----------------------------------------------------------------


def test_importing_the_kit_imports_no_test_library() -> None:
    """Neither pytest nor requests nor requests-mock is needed by those who do not use them."""
    code = (
        "import sys, mpesa_stk.testing; heavy = 'pytest', 'requests', 'requests_mock', 'urllib3';"
    )
    code += "print(*[name for name in heavy if name in sys.modules])"
    run = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", code], capture_output=True, check=True, text=True, timeout=60
    )
    assert run.stdout.strip() == ""


@pytest.mark.parametrize("name", kit.__all__)
def test_every_exported_name_is_there(name: str) -> None:
    """The list holds nothing that cannot be imported."""
    assert getattr(kit, name) is not None


def test_the_clock_shows_what_it_is_told() -> None:
    """It stands still, moves by both of its faces, and remembers how long it was slept on."""
    start = datetime(2027, 1, 1, tzinfo=timezone.utc)
    clock = ManualClock(start=start)
    first = clock.monotonic()

    clock.advance(1.5)
    clock.sleep(2)

    assert clock.now() == start + timedelta(seconds=3.5)
    assert clock.monotonic() - first == 3.5
    assert clock.slept == [2]
    assert ManualClock().now() == START


def test_the_settings_are_of_no_real_merchant() -> None:
    """Daraja is on this machine by another name, callbacks are signed, and any setting may be another."""
    config = simulated_config()
    assert config.environment.name == "simulated"
    assert config.environment.is_loopback
    assert config.callback_secrets
    till = Till(store_number="600000", till_number="5566778")
    assert simulated_config(account=till).account == till
    assert config.account == PayBill("600000")


# --- a payment ----------------------------------------------------------------


def test_a_paid_payment_from_push_to_report(daraja: SimulatedDaraja) -> None:
    """What a host's test of a paid payment looks like."""
    payments = daraja.payments()
    told: list[str] = []

    transaction = payments.checkout(phone_number=phones.PAID, amount=100, reference="INV-1")
    daraja.run()
    payments.process_due(on_settled=lambda settled: told.append(settled.state.value))

    assert told == ["SUCCEEDED"]
    stored = payments.store.get(transaction.transaction_no)
    assert stored is not None
    assert stored.receipt_number == daraja.prompts[0].receipt_number
    assert daraja.pushes == 1


def test_it_knows_a_merchant_of_yours() -> None:
    """With a host's own settings and store, unsigned callbacks too."""
    store = MemoryTransactionStore()
    daraja = SimulatedDaraja(make_config(), scenario="callback-twice")
    payments = daraja.payments(store)

    transaction = payments.checkout(phone_number="0718643064", amount=100, reference="INV-1")
    daraja.run()

    stored = store.get(transaction.transaction_no)
    assert stored is not None
    assert stored.state is SUCCEEDED


def test_a_client_waits_without_waiting(daraja: SimulatedDaraja) -> None:
    """`wait_for_result` sleeps on the manual clock until the prompt is answered."""
    transport: Transport = daraja
    with daraja.client() as client:
        accepted = client.push(phone_number=phones.PAID_LATE, **ORDER)
        result = client.wait_for_result(accepted.checkout_request_id)
    transport.close()

    assert result.status is QueryStatus.PAID
    assert daraja.clock.now() >= START + timedelta(seconds=90)


def test_clients_of_one_daraja_live_with_each_other(daraja: SimulatedDaraja) -> None:
    """A new token kills the old one, and each client gets itself another."""
    first, second = daraja.client(), daraja.client()
    for number in range(4):
        client = (first, second)[number % 2]
        client.push(phone_number=f"25471864300{number}", **ORDER)

    assert len(daraja.prompts) == daraja.pushes == 4


def test_the_same_seed_gives_the_same_ids() -> None:
    """Ids and receipts are those of the seed."""

    def ids(seed: int) -> list[tuple[str, str]]:
        daraja = SimulatedDaraja(seed=seed)
        daraja.client().push(phone_number=phones.PAID, **ORDER)
        return [(prompt.merchant_request_id, prompt.receipt_number) for prompt in daraja.prompts]

    assert ids(1) == ids(1)
    assert ids(1) != ids(2)


# --- time and callbacks ----------------------------------------------------------------


def test_each_callback_comes_at_its_own_moment(daraja: SimulatedDaraja) -> None:
    """While time passes, the clock shows each one's own second; then it shows the end."""
    heard: list[datetime] = []

    def listen(_url: str, _body: bytes) -> int:
        heard.append(daraja.clock.now())
        return 200

    daraja.deliver_to(listen)
    client = daraja.client()
    for delay, phone in ((5.0, "254718643001"), (2.5, "254718643002"), (99.0, "254718643003")):
        daraja.play(Scenario(answer_after=delay))
        client.push(phone_number=phone, **ORDER)

    daraja.advance(10)

    assert heard == [START + timedelta(seconds=2.5), START + timedelta(seconds=5)]
    assert daraja.clock.now() == START + timedelta(seconds=10)
    daraja.run()
    assert heard[-1] == daraja.clock.now() == START + timedelta(seconds=99)


def test_an_overdue_callback_comes_as_soon_as_time_is_looked_at(daraja: SimulatedDaraja) -> None:
    """Where the test moved the clock itself, nothing is lost and no time is turned back."""
    payments = daraja.payments()
    payments.checkout(phone_number=phones.PAID, **ORDER)
    daraja.clock.advance(500)

    daraja.run()

    assert [entry.kind for entry in daraja.journal.entries()][-1] == "callback"
    assert daraja.clock.now() == START + timedelta(seconds=500)


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf"), 1e12])
def test_time_neither_goes_back_nor_ends(daraja: SimulatedDaraja, seconds: float) -> None:
    """Such an `advance` is refused before anything has moved or come."""
    daraja.payments().checkout(phone_number=phones.PAID, **ORDER)
    last, monotonic = daraja.journal.last, daraja.clock.monotonic()

    with pytest.raises(ValueError, match="0 or more seconds"):
        daraja.advance(seconds)

    assert (daraja.clock.now(), daraja.clock.monotonic()) == (START, monotonic)
    assert daraja.journal.last == last


def test_a_receiver_may_push_again(daraja: SimulatedDaraja) -> None:
    """Whoever takes a callback may ask something of Daraja in turn."""
    client = daraja.client()
    answers = iter(["cancelled", "paid"])

    def listen(_url: str, _body: bytes) -> int:
        daraja.play(Scenario(outcome=next(answers)))
        client.push(phone_number=f"25471864300{len(daraja.prompts)}", **ORDER)
        return 200

    daraja.deliver_to(listen)
    daraja.play("no-funds")
    client.push(phone_number="254718643000", **ORDER)
    daraja.advance(2)

    assert [prompt.answer for prompt in daraja.prompts] == ["no-funds", "cancelled", "paid"]


def test_the_status_of_a_receiver_is_written_down(daraja: SimulatedDaraja) -> None:
    """Also where it gives none, and where there is no receiver."""
    client = daraja.client()
    client.push(phone_number=phones.PAID, **ORDER)
    daraja.run()
    statuses = iter((200, 503, None))
    daraja.deliver_to(lambda _url, _body: next(statuses))
    for _ in range(3):
        client.push(phone_number=phones.PAID, **ORDER)
        daraja.run()

    entries = [entry for entry in daraja.journal.entries() if entry.kind == "callback"]
    assert [(entry.status, entry.note) for entry in entries] == [
        (None, "nobody listens"),
        (200, ""),
        (503, ""),
        (None, ""),
    ]


def test_a_receiver_that_raises_does_not_disturb_the_push(daraja: SimulatedDaraja) -> None:
    """Its error is kept until it is asked for, and the callback counts as not taken."""

    def fall(_url: str, _body: bytes) -> int:
        raise StoreError("the store is down")

    daraja.raise_callback_errors()
    daraja.deliver_to(fall)

    daraja.client().push(phone_number=phones.CALLBACK_FIRST, **ORDER)

    assert [type(error) for error in daraja.callback_errors] == [StoreError]
    [entry] = [entry for entry in daraja.journal.entries() if entry.kind == "callback"]
    assert (entry.status, entry.note) == (None, "StoreError")
    with pytest.raises(StoreError, match="the store is down"):
        daraja.raise_callback_errors()


# --- prompts, faults and tokens ----------------------------------------------------------------


def test_a_prompt_can_be_answered_by_hand(daraja: SimulatedDaraja) -> None:
    """By outcome or by PIN, and only while it is open; its callback follows at once."""
    payments = daraja.payments()
    daraja.play("by-hand")
    first = payments.checkout(phone_number="254718643001", **ORDER)
    second = payments.checkout(phone_number="254718643002", **ORDER)

    daraja.decide(str(first.checkout_request_id), "cancelled")
    daraja.enter_pin(str(second.checkout_request_id), kit.PIN)

    states = [payments.store.get(each.transaction_no) for each in (first, second)]
    assert [each and each.state.value for each in states] == ["FAILED", "SUCCEEDED"]
    with pytest.raises(LookupError, match="no open prompt"):
        daraja.decide(str(first.checkout_request_id), "paid")
    with pytest.raises(LookupError, match="no open prompt"):
        daraja.enter_pin("ws_CO_1", kit.PIN)
    with pytest.raises(KeyError, match="paidd"):
        daraja.decide(str(first.checkout_request_id), "paidd")


@pytest.mark.parametrize(
    "method", ["play", "next", "revoke_tokens", "prompts", "journal", "is_open", "enter_pin"]
)
def test_the_methods_are_those_of_the_server(method: str) -> None:
    """A test that moves from one to the other meets the same results."""
    assert getattr(SimulatedDaraja, method) is getattr(SimulatorServer, method)


def test_a_reset_forgets_all(daraja: SimulatedDaraja) -> None:
    """Prompts, journal, scripts, tokens, counts and errors; the first scenario is played again."""
    daraja.deliver_to(lambda _url, _body: 1 // 0)
    daraja.play("cancelled")
    daraja.client().push(phone_number=phones.CALLBACK_FIRST, **ORDER)
    daraja.next("token", "dropped")

    daraja.reset()

    assert (daraja.pushes, daraja.prompts, daraja.journal.entries()) == (0, [], [])
    assert daraja.callback_errors == []
    assert daraja.scenario == kit.Scenario()
    assert daraja.client().push(phone_number=phones.PAID, **ORDER).checkout_request_id


def test_a_second_prompt_needs_a_free_phone(daraja: SimulatedDaraja) -> None:
    """As with Daraja, one prompt at a time."""
    client = daraja.client()
    client.push(phone_number=phones.BY_HAND, **ORDER)
    with pytest.raises(SubscriberBusy):
        client.push(phone_number=phones.BY_HAND, **ORDER)


@pytest.mark.parametrize("fault", ["dropped", "done-but-dropped", "done-but-cut"])
def test_an_answer_that_is_lost_leaves_the_outcome_unknown(
    daraja: SimulatedDaraja, fault: str
) -> None:
    """Whether or not Daraja did what was asked."""
    daraja.next("push", fault)

    with pytest.raises(OutcomeUnknown, match="before the answer was complete"):
        daraja.client().push(phone_number="254718643064", **ORDER)

    assert len(daraja.prompts) == fault.startswith("done")
    assert daraja.pushes == 1


def test_an_answer_that_is_whole_counts_though_the_connection_is_reset(
    daraja: SimulatedDaraja,
) -> None:
    """All of it had arrived."""
    daraja.next("push", "done-then-reset")
    assert daraja.client().push(phone_number="254718643064", **ORDER).response_code == "0"


def test_an_answer_that_drips_takes_all_the_time_there_is() -> None:
    """The client gives up at its own limit; the callback, due meanwhile, came meanwhile."""
    daraja = SimulatedDaraja(simulated_config(total_timeout=30.0))
    payments = daraja.payments()
    daraja.next("push", "byte-by-byte")

    transaction = payments.checkout(phone_number="254718643064", **ORDER)

    assert daraja.clock.now() == START + timedelta(seconds=30)
    assert transaction.state is SUCCEEDED


def test_an_answer_that_drips_may_be_in_time() -> None:
    """With patience enough, each byte is waited for."""
    daraja = SimulatedDaraja(simulated_config(total_timeout=600.0))
    daraja.next("push", "byte-by-byte")

    daraja.client().push(phone_number="254718643064", **ORDER)

    [pushed] = [entry for entry in daraja.journal.entries() if entry.kind == "push"]
    assert daraja.clock.now() == START + timedelta(seconds=len(pushed.answered))


def test_a_slow_answer_takes_its_time() -> None:
    """The client waits for it; the callback, due meanwhile, came meanwhile."""
    daraja = SimulatedDaraja(slow_seconds=12.0)
    payments = daraja.payments()

    transaction = payments.checkout(phone_number=phones.SLOW, **ORDER)

    assert daraja.clock.now() == START + timedelta(seconds=12)
    assert transaction.state is SUCCEEDED


def test_an_answer_can_be_slower_than_the_client_waits() -> None:
    """It gives up at its own limit, and the outcome is unknown, although the customer has paid."""
    daraja = SimulatedDaraja(simulated_config(total_timeout=30.0))
    daraja.next("push", Fault(executed=True, delivery=DeliveryFault.SLOW, seconds=31.0))

    with pytest.raises(OutcomeUnknown, match="in time"):
        daraja.client().push(phone_number="254718643064", **ORDER)

    assert daraja.clock.now() == START + timedelta(seconds=30)
    assert [prompt.answer for prompt in daraja.prompts] == ["paid"]


def test_tokens_can_be_revoked(daraja: SimulatedDaraja) -> None:
    """The client gets a new one; the push that was refused for its token is not counted."""
    client = daraja.client()
    client.token()
    daraja.revoke_tokens()

    client.push(phone_number=phones.PAID, **ORDER)

    kinds = [entry.kind for entry in daraja.journal.entries()]
    assert kinds == ["token", "push", "token", "push"]
    assert daraja.pushes == 1


def test_without_a_token_nothing_is_sent(daraja: SimulatedDaraja) -> None:
    """Where the token endpoint stays silent, no push is tried."""
    daraja.next("token", *["dropped"] * 10)
    with pytest.raises(NotSent):
        daraja.client().push(phone_number=phones.PAID, **ORDER)
    assert daraja.pushes == 0


def test_what_does_not_exist_cannot_be_played(daraja: SimulatedDaraja) -> None:
    """Names are checked when they are given."""
    with pytest.raises(KeyError):
        daraja.play("payd")
    with pytest.raises(KeyError):
        SimulatedDaraja(scenario="payd")
    with pytest.raises(KeyError):
        daraja.next("push", "fell")


# --- threads ----------------------------------------------------------------


def test_threads_may_push_while_time_passes(daraja: SimulatedDaraja) -> None:
    """Eight shops at once: every payment ends, none is asked for twice, no callback is lost."""
    payments = daraja.payments()
    ready = threading.Barrier(8)

    def sell(number: int) -> None:
        ready.wait(10)
        for turn in range(10):
            payments.checkout(phone_number=f"2547186{number}{turn:04}", **ORDER)
            daraja.advance(0.5)

    threads = [threading.Thread(target=sell, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    daraja.run()

    told: list[str] = []
    payments.process_due(on_settled=lambda settled: told.append(settled.state.value))
    assert told == ["SUCCEEDED"] * 80
    assert len(daraja.prompts) == daraja.pushes == 80
    assert daraja.callback_errors == []
