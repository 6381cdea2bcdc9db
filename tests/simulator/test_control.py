"""The control interface over the engine, without a network: each route, each refusal, who is let in."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from datetime import timezone
from typing import Any
from urllib.parse import quote

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpesa_stk import HttpRequest, HttpResponse, StkClient
from mpesa_stk.daraja.protocol import build_token
from mpesa_stk.simulator import FAULTS, OUTCOMES, SCENARIOS, DarajaEngine, Scenario
from mpesa_stk.simulator.access import Refused, check_access
from mpesa_stk.simulator.control import Control
from mpesa_stk.simulator.delivery import Stream
from mpesa_stk.simulator.simulation import FURTHEST, AdjustableClock, Simulation
from mpesa_stk.simulator.views import time_view
from mpesa_stk.web.messages import WebRequest, WebResponse
from support import CANARIES, START, ManualClock, make_config

PAGE = {"page.html": b"<!doctype html>", "page.css": b"p {}", "main.js": b"let a = 1;"}
LOCAL = {"host": "127.0.0.1:8090"}
JSON = LOCAL | {"content-type": "application/json; charset=utf-8"}
EVERYWHERE = "0.0.0.0"  # noqa: S104 - only a word here
BY_HAND = SCENARIOS["by-hand"]


def request_for(
    method: str, target: str, headers: Mapping[str, str], body: bytes = b""
) -> WebRequest:
    """A request as the server makes it."""
    path, _, query = target.partition("?")
    return WebRequest(method=method, path=path, query=query, headers=headers, body=body)


class Daraja(Simulation):
    """A simulated Daraja with a clock that is moved by hand."""

    def __init__(self, scenario: Scenario = BY_HAND, host: str = "127.0.0.1") -> None:
        self.clock = AdjustableClock(ManualClock())
        super().__init__(
            make_config(), clock=self.clock, randomness=random.Random(1), scenario=scenario
        )
        self.client = StkClient(self.config, transport=self, clock=self.clock)
        self.control = Control(
            self, host=host, now=self.clock.now, page=PAGE.get, events=self._events
        )

    @property
    def engine(self) -> DarajaEngine:
        """The engine; another one after `reset`."""
        return self._engine

    def advance(self, seconds: float, /) -> None:
        """Put the clock forward."""
        self.clock.advance(seconds)

    def _events(self) -> Iterator[bytes]:
        yield b"event: changed\n\n"

    # --- what a shop does ------------------------------------------------------------------------

    def push(self, phone_number: str = "254718643064", reference: str = "INV-001") -> str:
        """Ask a phone for money; return the CheckoutRequestID."""
        return self.client.push(
            phone_number=phone_number, amount=100, reference=reference
        ).checkout_request_id

    def send(self, request: HttpRequest, /) -> HttpResponse:
        """Carry a request of the client; this is its `Transport`."""
        answer = self.engine.answer(request.method, request.url, request.headers, request.body)
        return answer.response

    def close(self) -> None:
        """Nothing is open."""

    def run(self) -> None:
        """Do what is due; every callback is taken."""
        while (delivery := self.engine.take_due()) is not None:
            self.engine.note_callback(delivery, status=200)

    # --- what the page does ----------------------------------------------------------------------

    def ask(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes = b""
    ) -> WebResponse:
        """Ask the control interface; the answer is no stream."""
        answer = self.control.answer(request_for(method, target, headers, body))
        assert isinstance(answer, WebResponse)
        return answer

    def get(self, target: str) -> Any:
        """What a GET shows."""
        answer = self.ask("GET", target, LOCAL)
        assert answer.status == 200
        return json.loads(answer.body)

    def post(self, target: str, payload: object, status: int = 200) -> Any:
        """What a POST is answered."""
        answer = self.ask("POST", target, JSON, json.dumps(payload).encode())
        assert answer.status == status
        assert answer.headers["Content-Type"] == "application/json"
        return json.loads(answer.body)


# --- what is shown -----------------------------------------------------------------------------------


def test_the_state_of_a_fresh_simulator() -> None:
    """What the page needs, before anything has happened."""
    state = Daraja().get("/_sim/state")

    assert state == {
        "now": "2026-11-23T06:00:00.000Z",
        "business": "paybill 600000",
        "pin": "1234",
        "scenario": {
            "outcome": "paid",
            "answer_after": None,
            "callbacks": 1,
            "callback_after": 0.0,
            "callback_first": False,
            "shape": "plain",
            "pending": "500",
            "query_outcome": None,
            "queries_a_minute": None,
            "push_fault": None,
            "query_fault": None,
        },
        "scenario_name": "by-hand",
        "scripted": {},
        "scenarios": list(SCENARIOS),
        "outcomes": list(OUTCOMES),
        "faults": list(FAULTS),
        "last": 0,
        "refusal": None,
        "prompts": [],
        "accounts": ["paybill 600000"],
        "ledger": [],
        "outage": {"on": False, "all": []},
    }


def test_the_state_shows_a_prompt_from_its_opening_to_its_callback() -> None:
    """While it is open, nobody learns how it is going to end; then all is told."""
    daraja = Daraja(Scenario(answer_after=13.0, callback_after=2.0))
    checkout_request_id = daraja.push()
    (before,) = daraja.get("/_sim/state")["prompts"]
    daraja.advance(13.0)
    daraja.run()
    (answered,) = daraja.get("/_sim/state")["prompts"]
    daraja.advance(2.0)
    daraja.run()
    (after,) = daraja.get("/_sim/state")["prompts"]

    assert before == {
        "checkout_request_id": checkout_request_id,
        "merchant_request_id": before["merchant_request_id"],
        "phone_number": "254718643064",
        "business": "paybill 600000",
        "amount": 100,
        "reference": "INV-001",
        "opened": "2026-11-23T06:00:00.000Z",
        "ends": "2026-11-23T06:00:13.000Z",
        "open": True,
        "answer": None,
        "paid": False,
        "result_code": None,
        "result_desc": None,
        "receipt_number": None,
        "callback_url": daraja.config.callback_url,
        "callbacks": [],
        "callback": {"state": "open", "times": 0, "next_at": None, "trouble": None},
    }
    assert answered == before | {
        "open": False,
        "answer": "paid",
        "paid": True,
        "result_code": 0,
        "result_desc": "The service request is processed successfully.",
        "receipt_number": answered["receipt_number"],
        "callback": before["callback"] | {"state": "due", "next_at": "2026-11-23T06:00:15.000Z"},
    }
    assert len(answered["receipt_number"]) == 10
    assert after == answered | {
        "callbacks": [{"at": "2026-11-23T06:00:15.000Z", "status": 200, "note": ""}],
        "callback": before["callback"] | {"state": "delivered", "times": 1},
    }


def test_a_prompt_that_was_not_paid_has_no_receipt() -> None:
    """Its code and text are told, and no receipt."""
    daraja = Daraja(SCENARIOS["cancelled"])
    daraja.push()
    daraja.advance(1.0)
    (prompt,) = daraja.get("/_sim/state")["prompts"]

    assert (prompt["answer"], prompt["paid"]) == ("cancelled", False)
    assert (prompt["result_code"], prompt["receipt_number"]) == (1032, None)


def test_the_state_shows_the_newest_two_hundred_prompts() -> None:
    """Newest last; the page stays quick after a load test."""
    daraja = Daraja(Scenario(answer_after=0.0, callbacks=0))
    ids = [daraja.push(f"254711{number:06}") for number in range(201)]
    shown = [prompt["checkout_request_id"] for prompt in daraja.get("/_sim/state")["prompts"]]

    assert shown == ids[1:]
    assert daraja.get(f"/_sim/prompts/{ids[0]}")["prompt"]["checkout_request_id"] == ids[0]


def test_a_prompt_is_shown_with_its_timeline() -> None:
    """From its token to its callback, with the exact JSON, and without a secret."""
    daraja = Daraja(Scenario(answer_after=0.0))
    checkout_request_id = daraja.push()
    daraja.push("254711000001")
    daraja.run()
    shown = daraja.get(f"/_sim/prompts/{quote(checkout_request_id)}")

    assert shown["prompt"] == daraja.get("/_sim/state")["prompts"][0]
    kinds = [entry["kind"] for entry in shown["timeline"]]
    assert kinds[:2] == ["token", "push"]
    assert kinds[-1] == "callback"
    push = shown["timeline"][1]
    assert json.loads(push["asked"])["PhoneNumber"] == 254718643064
    assert json.loads(push["answered"])["CheckoutRequestID"] == checkout_request_id
    assert set(push) == {"number", "at", "kind", "asked", "status", "answered", "note", "advice"}
    assert not [secret for secret in CANARIES if secret in json.dumps(shown)]


def test_the_log_goes_on_where_it_was_left() -> None:
    """Entries after a number, with the prompt that each is about."""
    daraja = Daraja()
    checkout_request_id = daraja.push()
    whole = daraja.get("/_sim/log")
    rest = daraja.get("/_sim/log?after=1")

    assert whole["last"] == rest["last"] == whole["entries"][-1]["number"]
    assert rest["entries"] == whole["entries"][1:]
    assert rest["entries"][0]["checkout_request_id"] == checkout_request_id
    assert daraja.get("/_sim/log?after=99999")["entries"] == []


def test_the_events_are_a_stream() -> None:
    """Of the content type that browsers expect."""
    daraja = Daraja()
    answer = daraja.control.answer(request_for("GET", "/_sim/events", LOCAL))

    assert isinstance(answer, Stream)
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert list(answer.chunks) == [b"event: changed\n\n"]


@pytest.mark.parametrize(
    ("target", "name", "kind"),
    [
        ("/", "page.html", "text/html"),
        ("/_sim/page/page.css", "page.css", "text/css"),
        ("/_sim/page/main.js", "main.js", "text/javascript"),
    ],
)
def test_the_page_is_some_files(target: str, name: str, kind: str) -> None:
    """Each has its content type, and none is kept by the browser, which may meet a newer simulator."""
    answer = Daraja().ask("GET", target, LOCAL)

    assert (answer.status, answer.body) == (200, PAGE[name])
    assert answer.headers["Content-Type"] == f"{kind}; charset=utf-8"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"


def test_the_page_runs_its_own_scripts_alone() -> None:
    """The policy lets in files of this server, and no text as script, style or markup."""
    answer = Daraja().ask("GET", "/", LOCAL)

    policy = dict(
        part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; ")
    )
    assert policy.pop("img-src") == "data:"
    assert {policy.pop(name) for name in ("script-src", "style-src", "connect-src")} == {"'self'"}
    assert policy.pop("require-trusted-types-for") == "'script'"
    assert set(policy.values()) == {"'none'"}
    assert {"default-src", "base-uri", "form-action", "frame-ancestors"} <= set(policy)


@pytest.mark.parametrize(
    "name", ["other.js", "page.html", "..%2Fserver.py", "a/b.js", "A.js", ".js"]
)
def test_the_page_has_no_other_files(name: str) -> None:
    """Only the names of its own files are found."""
    assert Daraja().ask("GET", f"/_sim/page/{name}", LOCAL).status == 404


def test_there_is_no_icon() -> None:
    """Browsers ask for one all the same, and hear that it is empty."""
    answer = Daraja().ask("GET", "/favicon.ico", LOCAL)

    assert (answer.status, answer.body) == (204, b"")


def test_times_are_utc() -> None:
    """ISO 8601 with a Z, whatever zone the moment has."""
    assert time_view(START) == "2026-11-23T06:00:00.000Z"
    assert time_view(START.astimezone(timezone.max)) == "2026-11-23T06:00:00.000Z"


# --- what is done ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "answer", "code"),
    [
        ({"pin": "1234"}, "paid", 0),
        ({"pin": "0000"}, "wrong-pin", 2001),
        *(({"outcome": name}, name, outcome.code) for name, outcome in OUTCOMES.items()),
    ],
)
def test_the_customer_answers(asked: object, answer: str, code: int | str) -> None:
    """By PIN or by the name of an outcome; the prompt comes back as it ended."""
    daraja = Daraja()
    checkout_request_id = daraja.push()
    prompt = daraja.post(f"/_sim/prompts/{checkout_request_id}/answer", asked)["prompt"]

    assert prompt["checkout_request_id"] == checkout_request_id
    assert (prompt["open"], prompt["answer"], prompt["result_code"]) == (False, answer, code)
    assert prompt["paid"] is (code == 0)


def test_a_prompt_is_answered_once() -> None:
    """The second answer comes too late, and so does one to a prompt that ran out."""
    daraja = Daraja()
    first = daraja.push()
    daraja.post(f"/_sim/prompts/{first}/answer", {"outcome": "cancelled"})
    second = daraja.push()
    daraja.advance(61.0)

    for checkout_request_id in (first, second):
        target = f"/_sim/prompts/{checkout_request_id}/answer"
        error = daraja.post(target, {"pin": "1234"}, 409)["error"]
        assert error["code"] == "not-open"


@pytest.mark.parametrize("target", ["/_sim/prompts/ws_CO_1", "/_sim/prompts/%2F%00%ff"])
def test_an_unknown_prompt_is_not_found(target: str) -> None:
    """Neither shown nor answered."""
    daraja = Daraja()
    shown = json.loads(daraja.ask("GET", target, LOCAL).body)
    answered = daraja.post(f"{target}/answer", {"pin": "1234"}, 404)

    assert shown == answered
    assert shown["error"]["code"] == "unknown-prompt"


def test_a_scenario_is_played_by_name() -> None:
    """From the next push on."""
    daraja = Daraja()
    shown = daraja.post("/_sim/scenario", {"name": "callback-twice"})["scenario"]

    assert daraja.engine.scenario == SCENARIOS["callback-twice"]
    assert shown["callbacks"] == 2


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_that_is_shown_can_be_played(name: str) -> None:
    """What the state shows of a scenario is what describes it."""
    daraja = Daraja(SCENARIOS[name])
    shown = daraja.get("/_sim/state")["scenario"]
    daraja.engine.scenario = Scenario(outcome="expired")
    again = daraja.post("/_sim/scenario", {"scenario": shown})["scenario"]

    assert again == shown
    assert daraja.engine.scenario == SCENARIOS[name]


def test_a_scenario_of_one_s_own_may_leave_fields_out() -> None:
    """The rest is as by default; numbers may be whole or not."""
    daraja = Daraja()
    daraja.post("/_sim/scenario", {"scenario": {"answer_after": 2.5, "callback_after": 3}})

    assert daraja.engine.scenario == Scenario(answer_after=2.5, callback_after=3)


def test_faults_are_scripted() -> None:
    """One for each of the next requests of the step."""
    daraja = Daraja()
    faults = ["unavailable", "dropped"]
    told = daraja.post("/_sim/faults", {"step": "token", "faults": faults})
    request = build_token(daraja.config)
    statuses = [
        daraja.engine.answer(request.method, request.url, request.headers, request.body)
        for _ in range(3)
    ]

    assert told == {"step": "token", "scripted": 2}
    assert [reply.delivery.value for reply in statuses] == ["none", "nothing", "none"]
    assert [reply.response.status for reply in statuses][::2] == [503, 200]


def test_a_slow_fault_is_as_late_as_asked() -> None:
    """``seconds`` holds for the slow ones of the list; without it, they are as late as by default."""
    daraja = Daraja()
    faults = ["slow", "unavailable"]
    daraja.post("/_sim/faults", {"step": "token", "faults": faults, "seconds": 1.5})
    daraja.post("/_sim/faults", {"step": "token", "faults": ["slow"]})
    request = build_token(daraja.config)
    replies = [
        daraja.engine.answer(request.method, request.url, request.headers, request.body)
        for _ in range(3)
    ]

    assert [reply.seconds for reply in replies] == [1.5, 0.0, 20.0]


def test_the_clock_is_put_forward() -> None:
    """By whole seconds or parts of them."""
    daraja = Daraja()

    assert daraja.post("/_sim/clock", {"advance": 60}) == {"now": "2026-11-23T06:01:00.000Z"}
    assert daraja.post("/_sim/clock", {"advance": 0.5}) == {"now": "2026-11-23T06:01:00.500Z"}
    error = daraja.post("/_sim/clock", {"advance": FURTHEST}, 400)["error"]
    assert error["field"] == "advance"
    assert "ten years" in error["message"]


def test_tokens_are_revoked_and_all_is_forgotten() -> None:
    """Both are one POST of an empty object."""
    daraja = Daraja()
    daraja.push()
    assert daraja.post("/_sim/tokens/revoke", {}) == {}
    daraja.post("/_sim/scenario", {"name": "cancelled"})
    assert daraja.post("/_sim/reset", {}) == {}

    state = daraja.get("/_sim/state")
    assert (state["last"], state["prompts"]) == (0, [])
    assert state["scenario"]["answer_after"] is None
    assert state["scenario_name"] == "by-hand"
    assert daraja.get("/_sim/log") == {"entries": [], "last": 0}


def test_the_advice_on_a_request_is_shown() -> None:
    """In the log and in the timeline of the prompt."""
    daraja = Daraja()
    checkout_request_id = daraja.client.push(
        phone_number="254718643064",
        amount=100,
        reference="INV-001",
        callback_url="https://shop.example.co.ke/mpesa",
    ).checkout_request_id

    advised = ["CallBackURL contains mpesa: Safaricom says that it refuses such addresses"]
    assert daraja.get("/_sim/log")["entries"][-1]["advice"] == advised
    shown = daraja.get(f"/_sim/prompts/{quote(checkout_request_id)}")
    assert [entry["advice"] for entry in shown["timeline"]] == [[], advised]


# --- what cannot be done -----------------------------------------------------------------------------


ANSWER = "/_sim/prompts/{}/answer"


@pytest.mark.parametrize(
    ("target", "payload", "field"),
    [
        (ANSWER, {}, "pin or outcome"),
        (ANSWER, {"pin": "1234", "outcome": "paid"}, "pin or outcome"),
        (ANSWER, {"PIN": "1234"}, "pin or outcome"),
        (ANSWER, {"pin": 1234}, "pin"),
        (ANSWER, {"pin": "12345"}, "pin"),
        (ANSWER, {"pin": "١٢٣٤"}, "pin"),
        (ANSWER, {"outcome": "rich"}, "outcome"),
        (ANSWER, {"outcome": ["paid"]}, "outcome"),
        ("/_sim/scenario", {"name": "nothing"}, "name"),
        ("/_sim/scenario", {"name": None}, "name"),
        ("/_sim/scenario", {"scenario": "paid"}, "scenario"),
        ("/_sim/scenario", {"scenario": {"colour": "red"}}, "scenario.colour"),
        ("/_sim/scenario", {"scenario": {"outcome": "rich"}}, "scenario.outcome"),
        ("/_sim/scenario", {"scenario": {"answer_after": -1}}, "scenario.answer_after"),
        ("/_sim/scenario", {"scenario": {"answer_after": "1"}}, "scenario.answer_after"),
        ("/_sim/scenario", {"scenario": {"callbacks": 1.0}}, "scenario.callbacks"),
        ("/_sim/scenario", {"scenario": {"callbacks": 11}}, "scenario.callbacks"),
        ("/_sim/scenario", {"scenario": {"callbacks": True}}, "scenario.callbacks"),
        ("/_sim/scenario", {"scenario": {"callback_after": None}}, "scenario.callback_after"),
        ("/_sim/scenario", {"scenario": {"callback_after": 86401}}, "scenario.callback_after"),
        ("/_sim/scenario", {"scenario": {"callback_first": 1}}, "scenario.callback_first"),
        ("/_sim/scenario", {"scenario": {"callback_first": True}}, "scenario.callback_first"),
        ("/_sim/scenario", {"scenario": {"shape": "round"}}, "scenario.shape"),
        ("/_sim/scenario", {"scenario": {"pending": 500}}, "scenario.pending"),
        ("/_sim/scenario", {"scenario": {"query_outcome": ""}}, "scenario.query_outcome"),
        ("/_sim/scenario", {"scenario": {"queries_a_minute": 0}}, "scenario.queries_a_minute"),
        ("/_sim/scenario", {"scenario": {"queries_a_minute": 10**30}}, "scenario.queries_a_minute"),
        ("/_sim/scenario", {"scenario": {"push_fault": "none"}}, "scenario.push_fault"),
        ("/_sim/scenario", {"scenario": {"query_fault": {}}}, "scenario.query_fault"),
        ("/_sim/faults", {"step": "push"}, "step and faults"),
        ("/_sim/faults", {"step": "refund", "faults": ["dropped"]}, "step"),
        ("/_sim/faults", {"step": "push", "faults": []}, "faults"),
        ("/_sim/faults", {"step": "push", "faults": ["dropped"] * 101}, "faults"),
        ("/_sim/faults", {"step": "push", "faults": "dropped"}, "faults"),
        ("/_sim/faults", {"step": "push", "faults": ["dropped", "none"]}, "faults"),
        ("/_sim/faults", {"step": "push", "faults": [["dropped"]]}, "faults"),
        ("/_sim/faults", {"step": "push", "faults": ["slow"], "seconds": -1}, "seconds"),
        ("/_sim/faults", {"step": "push", "faults": ["slow"], "seconds": "1"}, "seconds"),
        ("/_sim/faults", {"step": "push", "faults": ["slow"], "second": 1}, "step and faults"),
        ("/_sim/clock", {"advance": -1}, "advance"),
        ("/_sim/clock", {"advance": "1"}, "advance"),
        ("/_sim/clock", {"advance": True}, "advance"),
        ("/_sim/clock", {"advance": float("nan")}, "advance"),
        ("/_sim/clock", {"advance": float("inf")}, "advance"),
        ("/_sim/clock", {"advance": 10**400}, "advance"),
        ("/_sim/tokens/revoke", {"all": True}, "all"),
        ("/_sim/reset", {"hard": True}, "hard"),
        ("/_sim/reset", [], "body"),
    ],
)
def test_a_field_that_cannot_be_used_is_named(target: str, payload: object, field: str) -> None:
    """400, with the field and its rule, and nothing is changed."""
    daraja = Daraja()
    target = target.format(daraja.push())
    before = daraja.get("/_sim/state")
    error = daraja.post(target, payload, 400)["error"]

    assert (error["code"], error["field"]) == ("bad-field", field)
    assert error["message"].startswith(f"{field} ")
    assert daraja.get("/_sim/state") == before


@pytest.mark.parametrize("after", ["-1", "x", "1e3", "9" * 16, "%D9%A1"])
def test_a_log_begins_at_a_number(after: str) -> None:
    """Anything else is named."""
    answer = Daraja().ask("GET", f"/_sim/log?after={after}", LOCAL)

    assert answer.status == 400
    assert json.loads(answer.body)["error"]["field"] == "after"


@pytest.mark.parametrize(
    ("method", "target", "status", "code"),
    [
        ("GET", "/_sim", 404, "not-found"),
        ("GET", "/_sim/", 404, "not-found"),
        ("POST", "/_sim/prompts//answer", 404, "not-found"),
        ("GET", "/_sim/prompts/a/b", 404, "not-found"),
        ("POST", "/_sim/state", 405, "method-not-allowed"),
        ("DELETE", "/_sim/prompts/a", 405, "method-not-allowed"),
        ("HEAD", "/", 405, "method-not-allowed"),
        ("GET", "/_sim/reset", 405, "method-not-allowed"),
        ("OPTIONS", "/_sim/reset", 405, "method-not-allowed"),
    ],
)
def test_what_is_not_there(method: str, target: str, status: int, code: str) -> None:
    """404 for an address, 405 for a method, each with words."""
    answer = Daraja().ask(method, target, JSON, b"{}")

    assert answer.status == status
    assert json.loads(answer.body)["error"]["code"] == code


@pytest.mark.parametrize(
    ("target", "is_control"),
    [
        ("/", True),
        ("/_sim", True),
        ("/_sim/state", True),
        ("/favicon.ico", True),
        ("/_simulate", False),
        ("/oauth/v1/generate?grant_type=client_credentials", False),
        ("http://127.0.0.1/_sim/state", False),
        ("*", False),
    ],
)
def test_daraja_s_own_addresses_are_not_touched(target: str, is_control: bool) -> None:  # noqa: FBT001 - a table's column
    """Everything else is the engine's to answer."""
    assert Control.is_for(target.partition("?")[0]) is is_control


# --- who is let in -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "listening_on"),
    [
        ("127.0.0.1:8090", "127.0.0.1"),
        ("127.0.0.1", EVERYWHERE),
        ("localhost:9000", EVERYWHERE),
        ("LOCALHOST", "127.0.0.1"),
        ("[::1]:8090", "::1"),
        ("192.168.1.5:8090", "192.168.1.5"),
        ("192.168.1.5:8090", EVERYWHERE),
        ("[2001:db8::5]:8090", "::"),
        ("box.lan:8090", "Box.lan"),
    ],
)
def test_whoever_names_this_machine_is_let_in(host: str, listening_on: str) -> None:
    """By a loopback name, by where it listens, or by any address where it listens on all."""
    check_access({"host": host}, listening_on=listening_on)
    check_access({"host": host, "origin": f"http://{host}"}, listening_on=listening_on)


@pytest.mark.parametrize(
    ("host", "listening_on"),
    [
        ("attacker.example:8090", "127.0.0.1"),
        ("attacker.example:8090", EVERYWHERE),
        ("127.0.0.1.attacker.example", "127.0.0.1"),
        ("localhost.attacker.example", EVERYWHERE),
        ("192.168.1.5:8090", "127.0.0.1"),
        ("box.lan", EVERYWHERE),
        ("", "127.0.0.1"),
        ("", ""),
        ("a@127.0.0.1", "127.0.0.1"),
    ],
)
def test_a_name_that_was_only_pointed_here_is_refused(host: str, listening_on: str) -> None:
    """Somebody else's DNS may name this machine's address: that makes it no name of ours."""
    with pytest.raises(Refused) as caught:
        check_access({"host": host}, listening_on=listening_on)

    assert (caught.value.status, caught.value.code) == (403, "foreign-host")


@pytest.mark.parametrize(
    "origin",
    ["http://attacker.example", "null", "http://127.0.0.1:8091", "https://127.0.0.1:8090", ""],
)
def test_pages_of_other_sites_are_refused(origin: str) -> None:
    """Whatever they ask for, and although they name this machine."""
    for method in ("GET", "POST"):
        answer = Daraja().ask(method, "/_sim/state", JSON | {"origin": origin}, b"{}")
        assert answer.status == 403
        assert json.loads(answer.body)["error"]["code"] == "foreign-origin"


def test_a_request_without_a_host_is_refused() -> None:
    """HTTP/1.1 demands one, and every browser sends one."""
    assert Daraja().ask("GET", "/", {}).status == 403


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_forms_are_refused(kind: str) -> None:
    """A browser sends these anywhere without asking; JSON it does not."""
    daraja = Daraja()
    answer = daraja.ask("POST", "/_sim/reset", LOCAL | {"content-type": kind}, b"{}")

    assert answer.status == 415
    assert json.loads(answer.body)["error"]["code"] == "not-json"


# --- whatever comes ----------------------------------------------------------------------------------

TARGETS = st.sampled_from(
    [
        "/",
        "/_sim/state",
        "/_sim/log",
        "/_sim/log?after=",
        "/_sim/names",
        "/_sim/page/",
        "/_sim/prompts",
        "/_sim/prompts?find=",
        "/_sim/prompts/ws_CO_1",
        "/_sim/prompts/ws_CO_1/answer",
        "/_sim/scenario",
        "/_sim/faults",
        "/_sim/faults/clear",
        "/_sim/clock",
        "/_sim/tokens/revoke",
        "/_sim/reset",
        "/_sim/payments",
        "/_sim/sweeps",
        "/_sim/fees",
        "/_sim/reversals",
        "/_sim/outage",
    ]
)
NAMES = st.sampled_from(
    [
        "pin",
        "outcome",
        "name",
        "scenario",
        "step",
        "faults",
        "advance",
        "amount",
        "on",
        "from",
        "to",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(), inner, max_size=3)
    ),
    max_leaves=8,
)
BODIES = st.binary(max_size=200) | st.dictionaries(NAMES, VALUES, max_size=3).map(
    lambda value: json.dumps(value).encode()
)


@given(
    method=st.sampled_from(["GET", "POST"]), target=TARGETS, tail=st.text(max_size=20), body=BODIES
)
def test_whatever_is_asked_is_answered(method: str, target: str, tail: str, body: bytes) -> None:
    """Below 500, as JSON or as the page, and the state can still be shown."""
    daraja = Daraja()
    answer = daraja.control.answer(request_for(method, target + tail, JSON, body))

    assert isinstance(answer, WebResponse)
    assert answer.status < 500
    assert answer.body in PAGE.values() or isinstance(json.loads(answer.body), dict)
    assert daraja.get("/_sim/state")["pin"] == "1234"


@given(
    fields=st.dictionaries(st.sampled_from(sorted(attrs.fields_dict(Scenario))), VALUES, max_size=4)
)
def test_a_scenario_that_is_taken_can_be_played(fields: dict[str, object]) -> None:
    """Whatever passes the rules does no harm to the push, the query and the callback after it."""
    daraja = Daraja()
    answer = daraja.ask("POST", "/_sim/scenario", JSON, json.dumps({"scenario": fields}).encode())
    assert answer.status in (200, 400)
    daraja.engine.scenario = attrs.evolve(daraja.engine.scenario, push_fault=None)
    daraja.push()
    daraja.advance(200_000.0)
    daraja.run()


# --- the clock ---------------------------------------------------------------------------------------


def test_a_shifted_clock_goes_on_with_the_other() -> None:
    """Ahead by what it was put forward, in both of its times; it sleeps as the other does."""
    manual = ManualClock()
    clock = AdjustableClock(manual)
    clock.advance(10.0)
    manual.advance(5.0)
    clock.sleep(1.0)

    assert (clock.now() - START).total_seconds() == 16.0
    assert clock.monotonic() == ManualClock().monotonic() + 16.0
    assert manual.slept == [1.0]


@pytest.mark.parametrize("seconds", [-0.1, FURTHEST + 1, float("nan"), float("inf")])
def test_a_shifted_clock_goes_neither_back_nor_too_far(seconds: float) -> None:
    """Dates end some day, and monotonic seconds only ever grow."""
    clock = AdjustableClock(ManualClock())
    with pytest.raises(ValueError, match="ten years"):
        clock.advance(seconds)

    assert clock.now() == START
