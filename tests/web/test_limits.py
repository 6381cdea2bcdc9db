"""The rule of limits, the counts in memory, and what the endpoints limit."""

from __future__ import annotations

import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daraja_double import answer, refusal, result
from mpesa_stk import (
    ConfigurationError,
    HttpResponse,
    MemoryLimits,
    OutcomeUnknown,
    PaymentEndpoints,
    Rate,
    Rates,
    TransactionState,
    WebRequest,
    WebResponse,
)
from mpesa_stk.web import limits as limits_file
from mpesa_stk.web import throttle
from mpesa_stk.web.limits import wait_of
from support import accepted, callback
from web_cases import CUSTOMER, PAYLOAD, PROXY, Shop, body_of, error_of

pytestmark = pytest.mark.usefixtures("face")

NEIGHBOUR = "203.0.113.8"
BUSY = refusal("500.001.1001", "Unable to lock subscriber, a transaction is in process", 500)


class Time:
    """A monotonic clock that is moved by hand."""

    now = 0.0

    def __call__(self) -> float:
        """Seconds since the start."""
        return self.now


# --- the rule ------------------------------------------------------------------------------------------


@given(
    gaps=st.lists(st.floats(0, 30), max_size=40),
    times=st.integers(1, 5),
    seconds=st.integers(1, 60),
)
def test_no_stretch_of_time_holds_more_than_the_rate(
    *, gaps: list[float], times: int, seconds: int
) -> None:
    """Whenever somebody asks, and a wait that is waited for is enough."""
    clock, rate = Time(), Rate(times=times, seconds=seconds)
    limits = MemoryLimits(rates=Rates(requests=rate), monotonic=clock)
    taken: list[float] = []
    for gap in gaps:
        clock.now += gap
        expected = limits.wait("requests", "key")
        assert limits.take("requests", "key") == expected
        if expected > 0:
            clock.now += expected
            assert limits.take("requests", "key") < 1e-6
        taken.append(clock.now)
        recent = [moment for moment in taken if moment > clock.now - seconds + 1e-6]
        assert len(recent) <= times


def test_a_rate_needs_whole_numbers_of_one_or_more() -> None:
    """One error names both."""
    with pytest.raises(ConfigurationError) as caught:
        Rate(times=0, seconds=0)
    assert [name for name, _ in caught.value.problems] == ["times", "seconds"]


def test_a_rate_of_nothing_yet_allows_it() -> None:
    """The rule itself, without counts."""
    rate = Rate(times=2, seconds=10)
    assert wait_of([], rate, 0.0) == 0.0
    assert wait_of([1.0, 2.0], rate, 3.0) == 8.0
    assert wait_of([1.0, 2.0], rate, 11.0) == 0.0


# --- the counts in memory --------------------------------------------------------------------------------


def test_keys_and_names_are_counted_apart_and_forgotten_alone() -> None:
    """What one client did does not count for another one, or for something else."""
    limits = MemoryLimits(monotonic=Time())
    assert limits.take("open_prompts", "a") == 0
    assert limits.take("open_prompts", "a") == 180
    assert limits.take("open_prompts", "b") == 0
    assert limits.take("prompts", "a") == 0
    limits.forget("open_prompts", "a")
    limits.forget("open_prompts", "never seen")
    assert limits.wait("open_prompts", "a") == 0
    assert limits.wait("open_prompts", "b") == 180


def kept(limits: MemoryLimits) -> int:
    """How many moments are in memory."""
    tables: Any = limits._tables
    return sum(len(moments) for table in tables.values() for moments in table._keys.values())


def test_memory_is_bounded_however_many_addresses_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys that were used longest ago go first, and what is too old goes by itself."""
    monkeypatch.setattr(limits_file, "_MOST_MOMENTS", 100)
    clock = Time()
    limits = MemoryLimits(rates=Rates(requests=Rate(times=3, seconds=60)), monotonic=clock)
    for number in range(1000):
        clock.now += 0.001
        for _ in range(3):
            limits.take("requests", f"client {number}")
    assert kept(limits) <= 100
    assert limits.wait("requests", "client 999") > 0
    assert limits.wait("requests", "client 0") == 0
    clock.now += 61
    limits.take("requests", "another")
    assert kept(limits) == 1


def test_threads_take_no_more_than_there_is() -> None:
    """Sixteen threads at once."""
    limits = MemoryLimits(rates=Rates(requests=Rate(times=50, seconds=60)), monotonic=Time())
    with ThreadPoolExecutor(16) as pool:
        waits = list(pool.map(lambda _: limits.take("requests", "key"), range(400)))
    assert waits.count(0.0) == 50


# --- requests and misses of a client ---------------------------------------------------------------------


def limited(rates: Rates | None = None, **changes: Any) -> Shop:
    """A shop with limits, which go by its clock."""
    shop = Shop(**changes)
    limits = MemoryLimits(rates=rates, monotonic=shop.clock.monotonic)
    shop.endpoints = PaymentEndpoints(shop.payments, limits=limits)
    return shop


def wait_in(response: WebResponse, code: str, field: str | None = None) -> int:
    """The seconds that an answer of 429 says to wait."""
    assert error_of(response, 429) == (code, field)
    return int(response.headers["Retry-After"])


def asked(shop: Shop, name: object, **headers: str) -> WebRequest:
    """A query by CheckoutRequestID."""
    return shop.post("query", {"checkout_request_id": name}, **headers)


def test_limits_are_on_without_being_asked_for() -> None:
    """The endpoints of five lines have them, by the clock of their payments."""
    shop = Shop()
    shop.endpoints = PaymentEndpoints(shop.payments)
    body_of(shop.handle(shop.checkout()))
    assert wait_in(shop.handle(shop.checkout()), "prompt_open", "phone_number") == 180
    shop.clock.advance(181)
    body_of(shop.handle(shop.checkout()))


def test_whoever_guesses_ids_is_stopped_after_twenty() -> None:
    """40,835 guesses found one id in 19 seconds. Now a right guess looks like a wrong one."""
    shop = limited()
    number = body_of(shop.handle(shop.checkout()))["transaction_no"]
    for guess in range(20):
        error_of(shop.handle(asked(shop, f"ws_CO_{guess}")), 404)
    for name in ("ws_CO_20", shop.checkout_id):
        refused = shop.handle(asked(shop, name))
        assert wait_in(refused, "too_many_misses", "checkout_request_id") == 600
    neighbour = attrs.evolve(asked(shop, shop.checkout_id), remote_addr=NEIGHBOUR)
    shop.daraja.query_script.append(result(shop.checkout_id, "4999"))
    body_of(shop.handle(neighbour))
    # A transaction_no cannot be guessed, so the guesser's neighbours behind the same address can pay.
    body_of(shop.handle(shop.post("query", {"transaction_no": number})))
    shop.clock.advance(601)
    shop.daraja.query_script.append(result(shop.checkout_id, "4999"))
    body_of(shop.handle(asked(shop, shop.checkout_id)))


def test_what_authorize_forbids_is_a_miss_too() -> None:
    """Otherwise a 403 would tell a guesser that the id exists, as often as he likes."""
    shop = Shop(
        rules={
            "limits": MemoryLimits(rates=Rates(misses=Rate(times=2, seconds=60))),
            "authorize": lambda _request, action, _payment: action == "checkout",
        }
    )
    body_of(shop.handle(shop.checkout()))
    for _ in range(2):
        error_of(shop.handle(asked(shop, shop.checkout_id)), 403)
    refused = shop.handle(asked(shop, shop.checkout_id))
    wait_in(refused, "too_many_misses", "checkout_request_id")


def test_a_client_that_asks_too_often_is_told_to_wait() -> None:
    """Checkouts and queries count together. Other clients and callbacks do not notice."""
    shop = limited(Rates(requests=Rate(times=3, seconds=60)))
    body_of(shop.handle(shop.checkout()))
    for _ in range(2):
        error_of(shop.handle(shop.post("query", b"nonsense")), 400)
    shop.clock.advance(20)
    for request in (shop.checkout(), asked(shop, "ws_CO_1")):
        assert wait_in(shop.handle(request), "too_many_requests") == 40
    other = attrs.evolve(asked(shop, "ws_CO_1"), remote_addr=NEIGHBOUR)
    error_of(shop.handle(other), 404)
    for _ in range(5):
        body_of(shop.handle(shop.called_back(peer="196.201.214.200")))
    assert shop.settled == ["succeeded"]
    assert {event.reason for event in shop.events if event.kind == "refusal"} == {
        "too many requests"
    }
    shop.clock.advance(41)
    error_of(shop.handle(asked(shop, "ws_CO_1")), 404)


def statuses(shop: Shop, *requests: WebRequest) -> list[int]:
    """The statuses of requests."""
    return [shop.handle(request).status for request in requests]


def test_an_ipv6_client_is_its_network() -> None:
    """Whoever has one address has 2 to the power of 64 of them."""
    shop = limited(Rates(requests=Rate(times=1, seconds=60)))
    query = asked(shop, "ws_CO_1")
    peers = ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:3::1", "::ffff:203.0.113.9")
    requests = [attrs.evolve(query, remote_addr=peer) for peer in (*peers, "203.0.113.9")]
    assert statuses(shop, *requests) == [404, 429, 404, 404, 429]


def test_the_client_behind_a_proxy_is_who_the_guard_says() -> None:
    """A header of his own makes nobody a new client: neither an invented address, nor a contradiction."""
    shop = limited(Rates(requests=Rate(times=1, seconds=60)))

    def through_proxy(**headers: str) -> WebRequest:
        return attrs.evolve(asked(shop, "ws_CO_1", **headers), remote_addr=PROXY)

    assert statuses(
        shop,
        through_proxy(X_Forwarded_For="198.51.100.1"),
        through_proxy(X_Forwarded_For="198.51.100.2"),
        through_proxy(X_Forwarded_For="1.2.3.4, 198.51.100.1"),
        through_proxy(X_Forwarded_For="198.51.100.3", Forwarded="for=1.2.3.4"),
        through_proxy(X_Forwarded_For="198.51.100.3", Forwarded="for=5.6.7.8"),
        attrs.evolve(asked(shop, "ws_CO_1", X_Forwarded_For="1.2.3.4"), remote_addr=CUSTOMER),
        attrs.evolve(asked(shop, "ws_CO_1", X_Forwarded_For="5.6.7.8"), remote_addr=CUSTOMER),
    ) == [404, 404, 429, 404, 429, 404, 429]
    unknown = [attrs.evolve(asked(shop, "ws_CO_1"), remote_addr=peer) for peer in (None, "unix:")]
    assert statuses(shop, *unknown) == [404, 429]


# --- prompts on a phone ----------------------------------------------------------------------------------


def failed(shop: Shop) -> None:
    """The customer cancels the last prompt."""
    body_of(shop.handle(shop.called_back(callback(1032, checkout_request_id=shop.checkout_id))))


def test_one_prompt_at_a_time() -> None:
    """Whoever asks, and whatever for. Other phones do not notice."""
    shop = limited()
    body_of(shop.handle(shop.checkout()))
    shop.clock.advance(30)
    again = attrs.evolve(shop.checkout(reference="INV-2", amount=5), remote_addr=NEIGHBOUR)
    spelled = shop.checkout(phone_number="+254 (0) 718 643 064")
    for request in (again, spelled):
        assert wait_in(shop.handle(request), "prompt_open", "phone_number") == 150
    assert len(shop.daraja.pushes) == 1
    body_of(shop.handle(shop.checkout(phone_number="0700000001")))


def by_callback(shop: Shop) -> None:
    """Daraja reports it."""
    failed(shop)


def by_query(shop: Shop) -> None:
    """The customer's page asks."""
    shop.daraja.query_script.append(result(shop.checkout_id, "1032"))
    body_of(shop.handle(shop.post("query", {"transaction_no": shop.stored().transaction_no})))


def by_a_worker(shop: Shop) -> None:
    """Its callback is lost, and a worker asks Daraja."""
    shop.daraja.query_script.append(result(shop.checkout_id, "1032"))
    shop.clock.advance(25)
    shop.process_due()


def by_a_worker_and_seen(shop: Shop) -> None:
    """The same, and the customer's page looks."""
    by_a_worker(shop)
    body_of(shop.handle(shop.post("query", {"transaction_no": shop.stored().transaction_no})))


def by_time(shop: Shop) -> None:
    """Nobody knows, but no prompt lives so long."""
    shop.clock.advance(181)


@pytest.mark.parametrize(
    "settle", [by_callback, by_query, by_a_worker, by_a_worker_and_seen, by_time]
)
def test_a_settled_payment_frees_its_phone(settle: Any) -> None:
    """Whoever settles it: the next prompt may come at once."""
    shop = limited()
    body_of(shop.handle(shop.checkout()))
    settle(shop)
    body_of(shop.handle(shop.checkout()))
    wait_in(shop.handle(shop.checkout()), "prompt_open", "phone_number")
    assert len(shop.daraja.pushes) == 2


def test_an_old_payment_frees_no_other_prompt() -> None:
    """A stranger who asks about it again and again, or repeats its callback, opens no second prompt."""
    shop = limited()
    old = body_of(shop.handle(shop.checkout()))["transaction_no"]
    cancelled = shop.called_back(callback(1032, checkout_request_id=shop.checkout_id))
    body_of(shop.handle(cancelled))
    body_of(shop.handle(shop.checkout()))
    body_of(shop.handle(shop.post("query", {"transaction_no": old})))
    body_of(shop.handle(cancelled))
    wait_in(shop.handle(shop.checkout()), "prompt_open", "phone_number")


def test_a_callback_before_the_answer_to_the_push_frees_the_phone() -> None:
    """The payment is settled when the checkout returns."""
    shop = limited()

    def call_back_first() -> HttpResponse:
        failed(shop)
        return answer(accepted(shop.checkout_id))

    shop.daraja.push_script.append(call_back_first)
    body_of(shop.handle(shop.checkout()))
    body_of(shop.handle(shop.checkout()))


def paid(shop: Shop) -> None:
    """The customer pays the last prompt."""
    receipt = f"NLJ7RT6{len(shop.daraja.pushes):03}"
    body = callback(checkout_request_id=shop.checkout_id, receipt=receipt)
    body_of(shop.handle(shop.called_back(body)))


def prompts(shop: Shop, *peers: str) -> None:
    """One failed prompt for each peer."""
    for peer in peers:
        body_of(shop.handle(attrs.evolve(shop.checkout(), remote_addr=peer)))
        failed(shop)


def test_five_prompts_an_hour_whoever_asks() -> None:
    """The sixth is refused from every address, and another phone is asked."""
    shop = limited()
    prompts(shop, *(f"198.51.100.{number}" for number in range(5)))
    shop.clock.advance(600)
    sixth = attrs.evolve(shop.checkout(), remote_addr=NEIGHBOUR)
    assert wait_in(shop.handle(sixth), "too_many_prompts", "phone_number") == 3000
    assert len(shop.daraja.pushes) == 5
    body_of(shop.handle(shop.checkout(phone_number="0700000001")))
    shop.clock.advance(3001)
    body_of(shop.handle(sixth))


def test_a_stranger_at_one_address_locks_no_phone_out() -> None:
    """He gets four of the five prompts. The last one is for the customer, who pays, again and again."""
    shop = limited()
    prompts(shop, *[NEIGHBOUR] * 4)
    stranger = attrs.evolve(shop.checkout(), remote_addr=NEIGHBOUR)
    for _ in range(10):
        wait_in(shop.handle(stranger), "too_many_prompts", "phone_number")
        body_of(shop.handle(shop.checkout()))
        paid(shop)
        shop.clock.advance(10)


def test_refused_requests_do_not_lengthen_the_wait() -> None:
    """Whoever keeps trying keeps nobody out for longer."""
    shop = limited()
    prompts(shop, *[CUSTOMER] * 4)
    for _ in range(59):
        shop.clock.advance(60)
        wait_in(shop.handle(shop.checkout()), "too_many_prompts", "phone_number")
    shop.clock.advance(61)
    body_of(shop.handle(shop.checkout()))


def test_paid_prompts_do_not_count() -> None:
    """A customer who pays ten tickets within the hour gets ten prompts."""
    shop = limited()
    for _ in range(10):
        body_of(shop.handle(shop.checkout()))
        paid(shop)
    assert len(shop.daraja.pushes) == 10


def test_a_prompt_that_never_appeared_does_not_count() -> None:
    """A shop whose pushes are refused locks none of its customers out."""
    shop = limited()
    shop.daraja.push_script.extend([BUSY] * 6)
    for _ in range(6):
        error_of(shop.handle(shop.checkout()), 502)
    error_of(shop.handle(shop.checkout(reference="\u4ed8")), 400)
    body_of(shop.handle(shop.checkout()))


def test_a_prompt_that_may_have_appeared_counts() -> None:
    """Its phone may be ringing."""
    shop = limited()
    shop.daraja.push_script.append(OutcomeUnknown("no complete answer in time"))
    body_of(shop.handle(shop.checkout()), 202)
    wait_in(shop.handle(shop.checkout()), "prompt_open", "phone_number")


def test_the_same_key_again_is_no_new_prompt() -> None:
    """A live payment is returned, though its phone may not be asked again."""
    shop = limited()
    prompts(shop, *[CUSTOMER] * 3)
    request = shop.post("checkout", PAYLOAD, Idempotency_Key="a-random-key")
    first = body_of(shop.handle(request))
    for _ in range(20):
        assert body_of(shop.handle(request)) == first
    failed(shop)
    assert body_of(shop.handle(request))["state"] == "FAILED"
    wait_in(shop.handle(shop.checkout()), "too_many_prompts", "phone_number")
    assert len(shop.daraja.pushes) == 4


def test_the_key_of_a_refused_push_is_a_new_prompt() -> None:
    """It may be pushed again, so it waits for the phone's open prompt like any other."""
    shop = limited()
    shop.daraja.push_script.append(BUSY)
    request = shop.post("checkout", PAYLOAD, Idempotency_Key="a-random-key")
    error_of(shop.handle(request), 502)
    body_of(shop.handle(shop.checkout()))
    wait_in(shop.handle(request), "prompt_open", "phone_number")
    failed(shop)
    body_of(shop.handle(request))


def test_many_requests_at_once_send_one_prompt() -> None:
    """The place of a phone is taken before the push, while its answer is out too."""
    shop = limited(at_once=64)
    pushing, go = threading.Event(), threading.Event()

    def slow() -> HttpResponse:
        pushing.set()
        assert go.wait(10)
        return answer(accepted(shop.checkout_id))

    shop.daraja.push_script.append(slow)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(shop.handle, shop.checkout())
        assert pushing.wait(10)
        others = [pool.submit(shop.handle, shop.checkout()) for _ in range(7)]
        for other in others:
            wait_in(other.result(10), "prompt_open", "phone_number")
        go.set()
        body_of(first.result(10))
    assert len(shop.daraja.pushes) == 1
    assert shop.stored().state is TransactionState.PENDING


class BrokenLimits:
    """Limits whose database is down."""

    def take(self, *_args: object) -> float:
        """Fail."""
        raise OSError("CANARYredis")

    wait = forget = take


def test_limits_that_fail_stop_no_payment(caplog: pytest.LogCaptureFixture) -> None:
    """Money is safe without them. The log says so, without the text of the error."""
    shop = Shop(rules={"limits": BrokenLimits()})
    with caplog.at_level(logging.ERROR, logger="mpesa_stk"):
        body_of(shop.handle(shop.checkout()))
        body_of(shop.handle(shop.called_back()))
    assert shop.stored().state is TransactionState.SUCCEEDED
    assert "limits_failed rate=requests error=OSError" in caplog.text
    assert "CANARY" not in caplog.text


class Seen(MemoryLimits):
    """Limits that write down their keys."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: list[str] = []

    def take(self, name: Any, key: str, /) -> float:
        """Count."""
        self.keys.append(key)
        return super().take(name, key)


def test_keys_hold_no_number_and_no_address() -> None:
    """A store of counts learns nothing about customers."""
    seen = Seen()
    shop = Shop(rules={"limits": seen})
    body_of(shop.handle(shop.checkout()))
    error_of(shop.handle(asked(shop, "ws_CO_1")), 404)
    assert len(seen.keys) == 6
    text = json.dumps(seen.keys)
    assert "718643064" not in text
    assert CUSTOMER not in text


def test_the_memory_of_open_prompts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The phone that was asked longest ago is forgotten. Its place then frees by time, not by a worker."""
    monkeypatch.setattr(throttle, "_MOST_HOLDERS", 1)
    shop = limited()
    body_of(shop.handle(shop.checkout()))
    by_a_worker(shop)
    body_of(shop.handle(shop.checkout(phone_number="0700000001", reference="INV-2")))
    assert wait_in(shop.handle(shop.checkout()), "prompt_open", "phone_number") == 155
