"""The list of prompts that the page searches, and the names in its menus."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from mpesa_stk import MpesaError
from mpesa_stk.simulator import FAULTS, OUTCOMES, SCENARIOS, TEST_PHONES, DeliveryFault, Fault
from mpesa_stk.simulator.control import Control
from mpesa_stk.simulator.words import FAULT_WORDS, OUTCOME_WORDS, SCENARIO_WORDS
from mpesa_stk.testing import SimulatedDaraja
from mpesa_stk.web.messages import WebRequest, WebResponse
from support import ROOT

LOCAL = {"host": "127.0.0.1:8090", "content-type": "application/json"}
PAGE = (ROOT / "docs" / "how-to" / "simulator.md").read_text(encoding="utf-8")


class Desk:
    """A simulated Daraja with its control interface."""

    def __init__(self, answer: Callable[[str, bytes], int] = lambda _url, _body: 200) -> None:
        self.daraja = SimulatedDaraja(scenario="by-hand")
        self.daraja.deliver_to(answer)
        self.client = self.daraja.client()
        self.control = Control(
            self.daraja,
            host="127.0.0.1",
            now=self.daraja.clock.now,
            page=lambda _name: None,
            events=lambda: iter(()),
        )

    def ask(self, method: str, target: str, payload: object = None) -> Any:
        """The JSON that the control interface answers."""
        path, _, query = target.partition("?")
        body = b"" if payload is None else json.dumps(payload).encode()
        request = WebRequest(method=method, path=path, query=query, headers=LOCAL, body=body)
        answer = self.control.answer(request)
        assert isinstance(answer, WebResponse)
        return json.loads(answer.body)

    def push(self, phone: str, reference: str, outcome: str = "", amount: int = 100) -> str:
        """Ask a phone for money, and let its customer answer."""
        pushed = self.client.push(phone_number=phone, amount=amount, reference=reference)
        if outcome:
            self.daraja.decide(pushed.checkout_request_id, outcome)
            self.daraja.advance(0.0)
        return pushed.checkout_request_id

    def push_refused(self, phone: str, reference: str) -> None:
        """A payment whose callback the shop refuses."""
        pushed = self.client.push(
            phone_number=phone,
            amount=100,
            reference=reference,
            callback_url="http://127.0.0.1:8000/refused",
        )
        self.daraja.decide(pushed.checkout_request_id, "paid")
        self.daraja.advance(0.0)


def shop(url: str, _body: bytes) -> int:
    """A shop that refuses the callbacks of one path."""
    return 403 if url.endswith("/refused") else 200


@pytest.fixture
def desk() -> Desk:
    """Four payments: one paid, one cancelled, one paid whose callback is refused, one open."""
    desk = Desk(shop)
    desk.push("0711000001", "SHOES", "paid", amount=2450)
    desk.push("0711000002", "INV-7", "cancelled")
    desk.push_refused("0711000003", "RENT-11")
    desk.push("0722000004", "INV-9")
    return desk


def references(listed: Any) -> list[str]:
    """The references of a list of prompts."""
    return [prompt["reference"] for prompt in listed["prompts"]]


def test_the_list_has_all_prompts_newest_first(desk: Desk) -> None:
    """With the number of each kind."""
    listed = desk.ask("GET", "/_sim/prompts")

    assert references(listed) == ["INV-9", "RENT-11", "INV-7", "SHOES"]
    assert listed["counts"] == {"all": 4, "open": 1, "paid": 2, "unpaid": 1, "undelivered": 1}
    assert listed["prompts"][1] == desk.ask("GET", "/_sim/state")["prompts"][2]


@pytest.mark.parametrize(
    ("show", "found"),
    [
        ("open", ["INV-9"]),
        ("paid", ["RENT-11", "SHOES"]),
        ("unpaid", ["INV-7"]),
        ("undelivered", ["RENT-11"]),
    ],
)
def test_the_list_shows_one_kind(desk: Desk, show: str, found: list[str]) -> None:
    """An open prompt is neither paid nor not paid."""
    assert references(desk.ask("GET", f"/_sim/prompts?show={show}")) == found


@pytest.mark.parametrize(
    ("find", "found"),
    [
        ("inv", ["INV-9", "INV-7"]),
        ("0711%20000%20002", ["INV-7"]),
        ("0711%20002", []),
        ("254722", ["INV-9"]),
        ("2450", ["SHOES"]),
        ("CANCELLED+inv", ["INV-7"]),
        ("1032", ["INV-7"]),
        ("ws_CO", ["INV-9", "RENT-11", "INV-7", "SHOES"]),
        ("no-response", []),  # the way in which the open prompt would end is not known yet
        ("%3Cb%3E", []),
    ],
)
def test_the_list_finds_words(desk: Desk, find: str, found: list[str]) -> None:
    """Each word is a part of some fact of the prompt, in any case of letters."""
    listed = desk.ask("GET", f"/_sim/prompts?find={find}")

    assert references(listed) == found
    assert listed["counts"]["all"] == len(found)


def test_the_list_finds_a_receipt_of_a_paid_prompt_alone(desk: Desk) -> None:
    """A receipt exists from the payment on."""
    receipts = {prompt.reference: prompt.receipt_number for prompt in desk.daraja.prompts}

    assert references(desk.ask("GET", f"/_sim/prompts?find={receipts['SHOES'].lower()}")) == [
        "SHOES"
    ]
    assert references(desk.ask("GET", f"/_sim/prompts?find={receipts['INV-9']}")) == []


def test_the_list_has_as_many_as_asked_for(desk: Desk) -> None:
    """The counts stay those of all."""
    listed = desk.ask("GET", "/_sim/prompts?most=2")

    assert references(listed) == ["INV-9", "RENT-11"]
    assert listed["counts"]["all"] == 4


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("show=gone", "show"),
        ("most=0", "most"),
        ("most=201", "most"),
        ("most=x", "most"),
        ("page=2", "page"),
    ],
)
def test_a_list_that_cannot_be_is_refused(desk: Desk, query: str, field: str) -> None:
    """The field is named."""
    assert desk.ask("GET", f"/_sim/prompts?{query}")["error"]["field"] == field


def test_a_callback_that_was_refused_says_why(desk: Desk) -> None:
    """Its state has the trouble, and the prompt by itself has the advice."""
    (prompt,) = desk.ask("GET", "/_sim/prompts?show=undelivered")["prompts"]

    assert (prompt["callback"]["state"], prompt["callback"]["times"]) == ("failed", 1)
    assert prompt["callback"]["trouble"]["badge"] == "403 refused"
    shown = desk.ask("GET", f"/_sim/prompts/{prompt['checkout_request_id']}")
    assert "ALLOWED_CALLBACK_NETWORKS" in shown["advice"][0]
    assert shown["prompt"] == prompt


def test_a_prompt_has_words_for_its_customer_when_it_is_over(desk: Desk) -> None:
    """In English and in Swahili, as `explain` has them."""
    ids = {prompt.reference: prompt.checkout_request_id for prompt in desk.daraja.prompts}

    assert desk.ask("GET", f"/_sim/prompts/{ids['INV-9']}")["messages"] is None
    messages = desk.ask("GET", f"/_sim/prompts/{ids['SHOES']}")["messages"]
    assert messages == {
        "en": "Payment received. Thank you.",
        "sw": "Malipo yamepokelewa. Asante.",
    }


def test_callbacks_are_forgotten_after_two_thousand_entries() -> None:
    """Of a payment that long ago, the page does not say that its callback is on its way."""
    desk = Desk()
    first = desk.push("0711000001", "FIRST", "paid")

    def state() -> object:
        return desk.ask("GET", f"/_sim/prompts/{first}")["prompt"]["callback"]["state"]

    assert state() == "delivered"
    for _ in range(2000):
        desk.daraja.journal.write("token", desk.daraja.clock.now())
    assert state() == "forgotten"


# --- what is scripted, and what is played --------------------------------------------------------------


def test_the_state_shows_what_is_scripted_until_it_is_met() -> None:
    """By step and in order; a fault of the tester's own has no name."""
    desk = Desk()
    desk.ask("POST", "/_sim/faults", {"step": "push", "faults": ["busy", "dropped"]})
    desk.daraja.next("pull", Fault(delivery=DeliveryFault.NOTHING))
    assert desk.ask("GET", "/_sim/state")["scripted"] == {
        "push": ["busy", "dropped"],
        "pull": ["other"],
    }

    assert desk.ask("POST", "/_sim/faults/clear", {}) == {}
    assert desk.ask("GET", "/_sim/state")["scripted"] == {}
    assert desk.push("0711000001", "INV-1")


def test_the_state_names_the_scenario_in_force() -> None:
    """Also one that equals another one; one of the tester's own has no name."""
    desk = Desk()

    def in_force() -> object:
        return desk.ask("GET", "/_sim/state")["scenario_name"]

    assert in_force() == "by-hand"
    desk.ask("POST", "/_sim/scenario", {"name": "token-expires-early"})
    assert in_force() == "token-expires-early"
    desk.ask("POST", "/_sim/scenario", {"scenario": {"answer_after": 5}})
    assert in_force() is None
    desk.ask("POST", "/_sim/scenario", {"scenario": {"outcome": "cancelled"}})
    assert in_force() == "cancelled"
    desk.ask("POST", "/_sim/reset", {})
    assert in_force() == "by-hand"


def test_the_state_names_the_last_refusal() -> None:
    """Of a push or a token, with Daraja's code and text, until a later one is accepted."""
    desk = Desk()

    def refusal() -> Any:
        return desk.ask("GET", "/_sim/state")["refusal"]

    for step, fault in (("push", "busy"), ("push", "empty"), ("token", "blocked")):
        desk.daraja.revoke_tokens()
        desk.daraja.next(step, fault)  # type: ignore[arg-type]
        with pytest.raises(MpesaError), desk.daraja.client() as client:
            client.push(phone_number="0711000001", amount=100, reference="INV-1")
        assert (refusal()["kind"], refusal()["note"]) == (step, f"fault: {fault}")
    assert (refusal()["status"], refusal()["message"]) == (403, "")
    desk.daraja.next("push", "busy")
    with pytest.raises(MpesaError):
        desk.push("0711000001", "INV-1")
    assert refusal()["message"] == "500.003.02 System is busy. Please try again in few minutes."
    desk.push("0711000001", "INV-1")
    assert refusal() is None


def test_a_query_of_an_open_prompt_is_noted_as_usual() -> None:
    """So that its HTTP 500 does not look like a failure of the shop."""
    desk = Desk()
    checkout_request_id = desk.push("0711000001", "INV-1")
    desk.client.query(checkout_request_id)
    timeline = desk.ask("GET", f"/_sim/prompts/{checkout_request_id}")["timeline"]

    assert timeline[-1]["status"] == 500
    assert timeline[-1]["note"].startswith("the prompt is still open")


# --- words ---------------------------------------------------------------------------------------------


def test_the_menus_have_every_name_once() -> None:
    """With words, and scenarios with their test phone."""
    names = Desk().ask("GET", "/_sim/names")

    menus = {
        "scenarios": SCENARIOS,
        "faults": FAULTS,
        "outcomes": OUTCOMES,
        "steps": ("token", "push", "query", "pull"),
    }
    for menu, known in menus.items():
        listed = [entry for group in names[menu] for entry in group["names"]]
        assert sorted(entry["name"] for entry in listed) == sorted(known)
        assert all(entry["words"] for entry in listed)
    phones = {
        entry["name"]: entry["phone"] for group in names["scenarios"] for entry in group["names"]
    }
    assert phones == dict(TEST_PHONES)
    assert list(OUTCOME_WORDS) == list(OUTCOMES)


def test_the_words_are_those_of_the_documentation() -> None:
    """The tables of scenarios and faults say the same as the menus."""
    scenarios = re.findall(r"^\| `([a-z0-9-]+)` \| 07\d{8} \| (.+?) \| .+ \|$", PAGE, re.MULTILINE)
    faults = re.findall(r"^\| `([a-z0-9-]+)` \| (.+) \| (?:yes|no) \|$", PAGE, re.MULTILINE)

    for rows, groups in ((scenarios, SCENARIO_WORDS), (faults, FAULT_WORDS)):
        said = {name: words for group in groups.values() for name, words in group.items()}
        assert said == {name: words.replace("`", "") for name, words in rows}
