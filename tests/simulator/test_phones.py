"""What the simulated Daraja keeps: prompts and their schedule, tokens, and the journal."""

from __future__ import annotations

import json
import random
from datetime import timedelta
from typing import Any

import pytest

from mpesa_stk import PaymentConfirmed, StkConfig, Token, parse_callback
from mpesa_stk.daraja import protocol
from mpesa_stk.daraja.exchange import HttpRequest
from mpesa_stk.daraja.models import PushRequest
from mpesa_stk.simulator.engine import DarajaEngine, Reply
from mpesa_stk.simulator.faults import DeliveryFault, Fault
from mpesa_stk.simulator.incoming import TokenRegistry
from mpesa_stk.simulator.journal import Journal
from mpesa_stk.simulator.prompt_schedule import PromptSchedule
from mpesa_stk.simulator.prompts import CallbackDelivery, Prompt
from mpesa_stk.simulator.scenarios import OUTCOMES, SCENARIOS, TEST_PHONES, Scenario
from support import CANARIES, PASSKEY, START, ManualClock, make_config

PHONE = "254718643064"
ORIGIN = "http://127.0.0.1:8090"


class Desk:
    """An engine, asked by the library's own requests."""

    def __init__(self, **options: Any) -> None:
        self.clock = ManualClock()
        self.config: StkConfig = make_config()
        self.engine = DarajaEngine(
            self.config, clock=self.clock, randomness=random.Random(3), **options
        )

    def send(self, request: HttpRequest) -> Reply:
        """Ask the engine."""
        return self.engine.answer(request.method, request.url, request.headers, request.body)

    def token(self) -> Token:
        """A token."""
        reply = self.send(protocol.build_token(self.config))
        return protocol.read_token(reply.response, sent_at=0.0)

    def push(self, phone_number: str = PHONE, token: Token | None = None) -> Reply:
        """Push 100 shillings."""
        order = PushRequest.checked(
            phone_number=phone_number,
            amount=100,
            reference="INV-1",
            description="",
            callback_url=self.config.callback_url,
            max_amount=100,
        )
        return self.send(
            protocol.build_push(
                self.config, order, token=token or self.token(), moment=self.clock.now()
            )
        )

    def query(self, checkout_request_id: str) -> Reply:
        """Ask about a prompt."""
        return self.send(
            protocol.build_query(
                self.config,
                checkout_request_id,
                token=self.token(),
                moment=self.clock.now(),
            )
        )

    def ring(self, phone_number: str = PHONE) -> Prompt:
        """Push, and the prompt that appears."""
        assert self.push(phone_number).response.status == 200
        return self.engine.prompts.all()[-1]

    def due(self) -> list[CallbackDelivery]:
        """Every callback that is due now."""
        deliveries = []
        while (delivery := self.engine.take_due()) is not None:
            deliveries.append(delivery)
        return deliveries


@pytest.fixture
def desk() -> Desk:
    """An engine whose prompts wait for somebody."""
    return Desk(scenario=SCENARIOS["by-hand"])


# --- prompts -----------------------------------------------------------------------------------------


def test_a_prompt_holds_what_was_asked(desk: Desk) -> None:
    """Phone, amount, reference and address are the push's; it is open from now on."""
    prompt = desk.ring()

    assert (prompt.phone_number, prompt.amount, prompt.reference) == (PHONE, 100, "INV-1")
    assert prompt.callback_url == desk.config.callback_url
    assert prompt.opened == START
    assert desk.engine.prompts.is_open(prompt)
    assert "718643064" not in repr(prompt)


def test_the_right_pin_pays(desk: Desk) -> None:
    """The callback is due at once, with the receipt and the moment of the answer."""
    prompt = desk.ring()
    desk.clock.advance(7)

    desk.engine.prompts.decide(prompt.checkout_request_id, "paid")

    ended = desk.engine.prompts.all()[0]
    assert not desk.engine.prompts.is_open(ended)
    [delivery] = desk.due()
    paid = parse_callback(delivery.body)
    assert isinstance(paid, PaymentConfirmed)
    assert paid.paid_at == START + timedelta(seconds=7)
    assert paid.receipt_number == prompt.receipt_number
    assert desk.engine.prompts.next_due() is None


def test_a_wrong_pin_does_not_pay(desk: Desk) -> None:
    """Any other PIN ends the prompt with 2001."""
    prompt = desk.ring()

    desk.engine.prompts.decide(prompt.checkout_request_id, "wrong-pin")

    assert desk.engine.prompts.all()[0].outcome is OUTCOMES["wrong-pin"]


def test_only_an_open_prompt_can_be_answered(desk: Desk) -> None:
    """Neither an unknown one nor one that is answered, and only with an outcome that exists."""
    prompt = desk.ring()

    with pytest.raises(LookupError, match="no open prompt"):
        desk.engine.prompts.decide("ws_CO_1", "paid")
    with pytest.raises(KeyError):
        desk.engine.prompts.decide(prompt.checkout_request_id, "paidd")
    desk.engine.prompts.decide(prompt.checkout_request_id, "no-funds")
    with pytest.raises(LookupError, match="no open prompt"):
        desk.engine.prompts.decide(prompt.checkout_request_id, "paid")
    assert desk.engine.prompts.all()[0].answer == "no-funds"


def test_an_answer_leaves_the_other_prompts_alone(desk: Desk) -> None:
    """Only its own schedule is made anew."""
    first, second = desk.ring(), desk.ring("254110000001")

    desk.engine.prompts.decide(first.checkout_request_id, "cancelled")

    assert [delivery.checkout_request_id for delivery in desk.due()] == [first.checkout_request_id]
    desk.clock.advance(60)
    assert [delivery.checkout_request_id for delivery in desk.due()] == [second.checkout_request_id]


def test_a_prompt_that_nobody_answers_runs_out(desk: Desk) -> None:
    """After a minute it ends with "No response from user.", and the phone is free."""
    prompt = desk.ring()

    desk.clock.advance(59.9)
    assert desk.engine.prompts.is_open(prompt)
    assert desk.due() == []
    desk.clock.advance(0.1)

    [delivery] = desk.due()
    assert b"No response from user." in delivery.body
    assert desk.ring().checkout_request_id != prompt.checkout_request_id


@pytest.mark.parametrize(
    ("name", "times"), [("callback-lost", 0), ("callback-twice", 2), ("callback-four-times", 4)]
)
def test_a_callback_may_come_any_number_of_times(name: str, times: int) -> None:
    """The same bytes each time; with none, only the end of the prompt is written down."""
    desk = Desk()
    desk.push(TEST_PHONES[name])

    desk.clock.advance(1)

    deliveries = desk.due()
    assert len(deliveries) == times
    assert len({delivery.body for delivery in deliveries}) <= 1
    assert [entry.note for entry in desk.engine.journal.entries() if entry.kind == "answer"] == [
        "paid"
    ]


def test_a_callback_may_come_before_the_answer() -> None:
    """It is handed over with the answer, and not once more."""
    desk = Desk()

    reply = desk.push(TEST_PHONES["callback-first"])

    [delivery] = reply.callbacks_first
    assert isinstance(parse_callback(delivery.body), PaymentConfirmed)
    assert desk.due() == []


@pytest.mark.parametrize("status", [None, 199, 300, 404, 503])
def test_a_callback_that_is_not_taken_is_posted_again(status: int | None) -> None:
    """After ten seconds, as often as the engine was told, and then no more."""
    desk = Desk(callback_tries=2)
    desk.push()
    desk.clock.advance(1)
    [first] = desk.due()

    desk.engine.note_callback(first, status=status, note="no")
    assert desk.due() == []
    desk.clock.advance(10)
    [second] = desk.due()
    desk.engine.note_callback(second, status=status)

    assert second.body == first.body
    assert desk.engine.prompts.next_due() is None


@pytest.mark.parametrize("status", [200, 204])
def test_a_callback_that_is_taken_is_not_posted_again(status: int) -> None:
    """Any status of success is taken for a yes."""
    desk = Desk(callback_tries=2)
    desk.push()
    desk.clock.advance(1)

    desk.engine.note_callback(desk.due()[0], status=status)

    assert desk.engine.prompts.next_due() is None


# --- queries -----------------------------------------------------------------------------------------


def test_queries_may_be_limited() -> None:
    """Five a minute are answered, evenly spread; the others get 429."""
    desk = Desk()
    prompt = desk.ring(TEST_PHONES["query-limited"])

    statuses = []
    for wait in (1, 11, 1, 12):
        desk.clock.advance(wait)
        statuses.append(desk.query(prompt.checkout_request_id).response.status)

    assert statuses == [200, 429, 200, 200]


def test_an_open_prompt_may_be_told_of_as_4999() -> None:
    """Where the scenario says so, a pending query is a result, not an error."""
    desk = Desk()
    prompt = desk.ring(TEST_PHONES["pending-4999"])

    answer = desk.query(prompt.checkout_request_id).response

    assert (answer.status, json.loads(answer.body)["ResultCode"]) == (200, "4999")


@pytest.mark.parametrize(
    ("name", "status"), [("pending-no-text", 500), ("pending-no-text-200", 200)]
)
def test_an_open_prompt_may_be_told_of_without_a_word(name: str, status: int) -> None:
    """As the live API does: the code of "being processed", and an empty text, under either status."""
    desk = Desk()
    prompt = desk.ring(TEST_PHONES[name])

    answer = desk.query(prompt.checkout_request_id).response

    told = json.loads(answer.body)
    assert (answer.status, told["errorCode"]) == (status, "500.001.1001")
    assert told["errorMessage"] == ""
    desk.clock.advance(45)
    settled = desk.query(prompt.checkout_request_id).response
    assert json.loads(settled.body)["ResultCode"] == "0"


def test_a_fresh_id_may_not_exist_yet() -> None:
    """The first query about it is answered so, and the second one with the result."""
    desk = Desk()
    prompt = desk.ring(TEST_PHONES["query-too-early"])
    desk.clock.advance(1)

    first, second = (desk.query(prompt.checkout_request_id).response for _ in range(2))

    assert first.status == 500
    assert json.loads(first.body)["errorMessage"] == "The transaction does not Exist"
    assert json.loads(second.body)["ResultCode"] == "0"


def test_a_query_may_contradict_the_callback() -> None:
    """It tells another outcome than the phone's, of an ended prompt only."""
    desk = Desk()
    prompt = desk.ring(TEST_PHONES["query-says-paid"])
    assert desk.query(prompt.checkout_request_id).response.status == 500

    desk.clock.advance(1)

    answer = json.loads(desk.query(prompt.checkout_request_id).response.body)
    assert answer["ResultCode"] == "0"
    assert b'"ResultCode":1032' in desk.due()[0].body


# --- faults ------------------------------------------------------------------------------------------


def test_a_scripted_fault_is_used_up() -> None:
    """One fault for one request, in order, by name or of one's own; then all is well."""
    desk = Desk()
    token = desk.token()
    desk.engine.script("push", "dropped", Fault(delivery=DeliveryFault.HALF), "busy")

    replies = [desk.push(token=token) for _ in range(4)]

    assert [reply.delivery.value for reply in replies] == ["nothing", "half", "none", "none"]
    assert [reply.response.status for reply in replies] == [503, 503, 500, 200]
    assert len(desk.engine.prompts.all()) == 1


def test_a_fault_that_does_not_exist_cannot_be_scripted() -> None:
    """Neither can one for a step that does not exist."""
    desk = Desk()
    with pytest.raises(KeyError):
        desk.engine.script("push", "fell")
    with pytest.raises(KeyError):
        desk.engine.script("refund", "busy")  # type: ignore[arg-type]  # what is tested


def test_a_list_with_a_wrong_fault_scripts_nothing() -> None:
    """What stands before the wrong name is not played either."""
    desk = Desk()
    with pytest.raises(KeyError):
        desk.engine.script("push", "dropped", "tpyo")
    assert desk.push().response.status == 200


def test_a_fault_waits_for_a_request_that_counts() -> None:
    """One by a method that the step does not have gets its refusal, and leaves the fault."""
    desk = Desk()
    token = desk.token()
    desk.engine.script("push", "busy")
    desk.engine.script("token", "unavailable")
    push, fetch = f"{ORIGIN}/mpesa/stkpush/v1/processrequest", f"{ORIGIN}/oauth/v1/generate"

    assert desk.engine.answer("OPTIONS", push, {}, None).response.status == 405
    assert desk.engine.answer("GET", push, {}, None).response.status == 404
    assert desk.engine.answer("POST", fetch, {}, None).response.status == 405

    assert b"busy" in desk.push(token=token).response.body
    assert desk.send(protocol.build_token(desk.config)).response.status == 503


def test_a_phone_plays_its_fault_for_every_push() -> None:
    """Whoever pushes again meets it again."""
    desk = Desk()
    phone = TEST_PHONES["busy"]
    assert [desk.push(phone).response.status for _ in range(3)] == [500, 500, 500]


def test_a_phone_lets_a_token_be_refused_once_a_payment() -> None:
    """The second try goes through; the one after that is a first try again."""
    desk = Desk()
    phone = TEST_PHONES["token-refused-404"]

    statuses = []
    for _ in range(4):
        statuses.append(desk.push(phone).response.status)
        desk.clock.advance(1)

    assert statuses == [404, 200, 404, 200]


def test_a_query_plays_its_fault_at_its_first_try() -> None:
    """A query about an unknown prompt plays none."""
    desk = Desk()
    prompt = desk.ring(TEST_PHONES["query-refused"])
    desk.clock.advance(1)

    statuses = [desk.query(prompt.checkout_request_id).response.status for _ in range(4)]

    assert statuses == [429, 200, 200, 200]
    assert desk.query("ws_CO_1").response.status == 500


# --- tokens ------------------------------------------------------------------------------------------


def test_a_new_token_kills_the_old_one() -> None:
    """Unless the engine was told otherwise."""
    for one_token, status in ((True, 404), (False, 200)):
        desk = Desk(one_token=one_token)
        old = desk.token()
        desk.token()
        assert desk.push(token=old).response.status == status


def test_tokens_can_be_revoked() -> None:
    """All of them are refused, and the next one is good."""
    desk = Desk(one_token=False)
    tokens = [desk.token(), desk.token()]

    desk.engine.tokens.revoke_all()

    assert [desk.push(token=token).response.status for token in tokens] == [404, 404]
    assert desk.push().response.status == 200


def test_expired_tokens_are_forgotten() -> None:
    """A token is good up to its last second; what is over is dropped when another is issued."""
    tokens = TokenRegistry(lifetime=10, one_at_a_time=False)
    tokens.issue("a", 0.0, app="shop", entry=1)
    tokens.issue("b", 9.0, app="shop", entry=2)
    found = tokens.find("a", 9.9)
    assert found is not None
    assert found.entry == 1
    assert tokens.find("a", 10.0) is None

    tokens.issue("c", 12.0, app="shop", entry=3)

    found = tokens.find("b", 12.0)
    assert found is not None
    assert found.entry == 2
    assert tokens.find("a", 9.9) is None


# --- the journal -------------------------------------------------------------------------------------


def test_the_journal_tells_the_story_of_a_prompt() -> None:
    """Its token, push, query, answer and callback, in order, and nothing of another prompt."""
    desk = Desk()
    prompt = desk.ring()
    other = desk.ring("254110000001")
    desk.query(prompt.checkout_request_id)
    desk.clock.advance(1)
    for delivery in desk.due():
        desk.engine.note_callback(delivery, status=200, note="fine")

    timeline = desk.engine.journal.timeline(prompt.checkout_request_id)

    kinds = [entry.kind for entry in timeline]
    assert kinds == ["token", "push", "token", "query", "answer", "callback"]
    assert [entry.number for entry in timeline] == sorted(entry.number for entry in timeline)
    assert timeline[-1].at == START + timedelta(seconds=1)
    assert (timeline[-1].status, timeline[-1].note) == (200, "fine")
    assert json.loads(timeline[1].answered)["CheckoutRequestID"] == prompt.checkout_request_id
    assert not any(other.checkout_request_id in entry.asked for entry in timeline)


def test_the_journal_holds_no_secret() -> None:
    """Passwords and tokens are masked in what was asked and answered."""
    desk = Desk()
    token = desk.token()
    desk.push(token=token)

    desk.engine.answer("POST", "/other", {}, f'{{"Passkey" : "{PASSKEY}"}}'.encode())

    texts = [entry.asked + entry.answered for entry in desk.engine.journal.entries()]

    assert any('"Password": "***"' in text or '"Password":"***"' in text for text in texts)
    assert any('"access_token": "***"' in text for text in texts)
    for secret in (*CANARIES, PASSKEY, token.value):
        assert not any(secret in text for text in texts)


def test_the_journal_says_how_an_answer_travelled() -> None:
    """What is no path of Daraja's is kept too."""
    desk = Desk()
    desk.engine.script("token", "done-but-cut")
    desk.send(protocol.build_token(desk.config))
    desk.engine.answer("GET", "/other", {}, None)

    assert [(entry.kind, entry.note) for entry in desk.engine.journal.entries()] == [
        ("token", "fault: done-but-cut, answer: half"),
        ("other", ""),
    ]


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [("slow", 7.5), (Fault(executed=True, delivery=DeliveryFault.SLOW, seconds=3.0), 3.0)],
)
def test_a_slow_answer_is_as_late_as_it_is_told_to_be(fault: str | Fault, seconds: float) -> None:
    """By the fault's own seconds, or else by the engine's; the answer is the one that is due."""
    desk = Desk(slow_seconds=7.5)
    desk.engine.script("token", fault)

    reply = desk.send(protocol.build_token(desk.config))

    assert (reply.seconds, reply.response.status) == (seconds, 200)
    assert desk.engine.journal.entries()[-1].note.endswith(f"answer: slow, {seconds:g} s")
    assert desk.send(protocol.build_token(desk.config)).seconds == 0.0


def test_the_journal_is_bounded() -> None:
    """It keeps the last 2000 entries, and 8192 characters of a text; the numbers go on."""
    journal = Journal()
    for _ in range(2001):
        journal.write("other", START, asked=b"\xff" * 9000)

    assert journal.last == 2001
    assert [entry.number for entry in journal.entries(after=1999)] == [2000, 2001]
    assert len(journal.entries()) == 2000
    assert len(journal.entries()[0].asked) == 8192


def test_a_shop_that_polls_pushes_nothing_else_out_of_the_journal() -> None:
    """Queries and unknown requests have 2000 places of their own; the order stays."""
    journal = Journal()
    journal.write("token", START)
    journal.write("push", START, checkout_request_id="ws_CO_1", token_entry=1)
    for _ in range(2000):
        journal.write("query", START, checkout_request_id="ws_CO_1")
    journal.write("callback", START, checkout_request_id="ws_CO_1")
    journal.write("other", START)

    numbers = [entry.number for entry in journal.entries()]
    assert numbers == [1, 2, *range(4, 2005)]
    assert [entry.number for entry in journal.timeline("ws_CO_1")] == numbers[:-1]


# --- the bound of prompts ----------------------------------------------------------------------------


def put_on(phones: PromptSchedule, clock: ManualClock, number: int, **scenario: Any) -> Prompt:
    """A prompt on the phone of that number, opened and shown now."""
    played = Scenario(**({"answer_after": 0.0, "callbacks": 0} | scenario))
    phone_number = f"2547{number:08}"
    prompt = Prompt(
        merchant_request_id="m",
        checkout_request_id=phones.free_id(phone_number),
        phone_number=phone_number,
        amount=1,
        reference="INV-1",
        callback_url="http://127.0.0.1:9/",
        scenario=played,
        opened=clock.now(),
        ends=clock.now() + timedelta(seconds=played.ends_after),
        ends_at=clock.monotonic() + played.ends_after,
        answer=played.answer,
        receipt_number="R",
    )
    phones.ring(prompt)
    return prompt


def take_all(phones: PromptSchedule) -> list[CallbackDelivery]:
    """All that is due now; the callbacks of it."""
    taken = []
    while (due := phones.take_due()) is not None:
        taken += [due] if isinstance(due, CallbackDelivery) else []
    return taken


def fill(phones: PromptSchedule, clock: ManualClock) -> None:
    """As many prompts as are kept, the newest all answered just now."""
    for number in range(10_000 - len(phones.all())):
        put_on(phones, clock, 1000 + number)
    take_all(phones)


def test_prompts_that_are_long_over_make_room() -> None:
    """Beyond 10,000 the oldest goes, with all that is known of its phone and of queries about it."""
    clock = ManualClock()
    phones = PromptSchedule(clock, callback_tries=1)
    first = put_on(phones, clock, 1)
    second = put_on(phones, clock, 1)
    assert phones.is_first_query(first.checkout_request_id)
    assert not phones.is_first_query(first.checkout_request_id)
    take_all(phones)
    clock.advance(60)
    fill(phones, clock)

    third = put_on(phones, clock, 2)
    assert len(phones.all()) == 10_000
    assert (phones.all()[0], phones.all()[-1]) == (second, third)
    assert phones.is_first_query(first.checkout_request_id)
    put_on(phones, clock, 3)
    assert phones.get(second.checkout_request_id) is None
    assert not phones.is_busy(second.phone_number)
    put_on(phones, clock, 4)  # the oldest that is left has only just ended
    assert len(phones.all()) == 10_001


def test_a_prompt_stays_while_something_is_to_come() -> None:
    """An open one, one whose callback is late, and one whose callback is tried again."""
    clock = ManualClock()
    phones = PromptSchedule(clock, callback_tries=2)
    kept = [
        put_on(phones, clock, 1, answer_after=3600.0),
        put_on(phones, clock, 2, callbacks=1, callback_after=3600.0),
        put_on(phones, clock, 3, callbacks=1),
    ]
    (delivery,) = take_all(phones)
    clock.advance(60)
    phones.try_again(delivery)
    fill(phones, clock)

    put_on(phones, clock, 4)
    assert phones.all()[:3] == kept
    clock.advance(60)
    assert len(take_all(phones)) == 1
    clock.advance(60)
    for number in range(5, 10_005):
        put_on(phones, clock, number)
    assert phones.all()[:2] == kept[:2]
    assert phones.get(kept[2].checkout_request_id) is None


def test_a_prompt_that_was_over_twice_is_forgotten_once() -> None:
    """Its callback was tried again before there was need for room."""
    clock = ManualClock()
    phones = PromptSchedule(clock, callback_tries=2)
    put_on(phones, clock, 1, callbacks=1)
    (delivery,) = take_all(phones)
    phones.try_again(delivery)
    clock.advance(60)
    take_all(phones)
    fill(phones, clock)

    put_on(phones, clock, 2)
    put_on(phones, clock, 3)

    assert len(phones.all()) == 10_001
    assert not phones.is_busy("254700000001")


def test_the_same_seed_tells_the_same_story() -> None:
    """Two runs write the same journal, byte for byte; another seed writes another."""

    def story(seed: int) -> list[Any]:
        desk = Desk()
        desk.engine = DarajaEngine(
            desk.config, clock=desk.clock, randomness=random.Random(seed), scenario=Scenario()
        )
        for name in ("paid", "busy", "callback-twice", "callback-first"):
            desk.push(TEST_PHONES[name])
            desk.clock.advance(2)
            for delivery in desk.due():
                desk.engine.note_callback(delivery, status=200)
        return desk.engine.journal.entries()

    assert story(1) == story(1)
    assert story(1) != story(2)
