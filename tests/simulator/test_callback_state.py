"""What the page says of a callback: its state, and the trouble with its advice."""

from __future__ import annotations

from datetime import timedelta

import attrs
import pytest

from mpesa_stk.simulator.callback_state import CallbackState, callback_state
from mpesa_stk.simulator.callback_trouble import LOST, WITHHELD, trouble_of
from mpesa_stk.simulator.journal import Entry
from mpesa_stk.simulator.poster import _WORDS
from mpesa_stk.simulator.prompts import Prompt
from mpesa_stk.simulator.scenarios import SCENARIOS
from support import START

URL = "http://127.0.0.1:8000/payments/callback"
PROMPT = Prompt(
    merchant_request_id="m-1",
    checkout_request_id="ws_CO_1",
    phone_number="254711000001",
    amount=100,
    reference="INV-001",
    callback_url=URL,
    scenario=SCENARIOS["paid"],
    opened=START,
    ends=START + timedelta(seconds=1),
    ends_at=1.0,
    answer="paid",
    receipt_number="ABCDEFGHIJ",
)
LATER = START + timedelta(seconds=30)


def tried(status: int | None, note: str = "", answered: str = "") -> Entry:
    """A callback in the journal."""
    return Entry(number=1, at=LATER, kind="callback", status=status, note=note, answered=answered)


def state_of(*callbacks: Entry, prompt: Prompt = PROMPT, **facts: object) -> CallbackState:
    """The state of a callback half a minute after the push."""
    known: dict[str, object] = {"is_open": False, "next_at": None, "forgot_until": None}
    return callback_state(prompt, callbacks=callbacks, now=LATER, **known | facts)  # type: ignore[arg-type]


# --- the state -----------------------------------------------------------------------------------------


def test_a_callback_has_a_state_from_its_prompt_to_its_delivery() -> None:
    """Nothing is said of it while the prompt is open; then it is due, sent, and delivered."""
    due = LATER + timedelta(seconds=1)

    assert state_of(is_open=True, next_at=due).name == "open"
    assert state_of(next_at=due) == CallbackState(name="due", next_at=due)
    assert state_of(next_at=LATER).name == "sent"
    assert state_of().name == "sent"
    assert state_of(tried(200), tried(204)) == CallbackState(name="delivered", times=2)


def test_a_callback_that_one_try_delivered_is_delivered() -> None:
    """Whether other tries failed before it or after it."""
    assert state_of(tried(500), tried(200), tried(None, "TLS failed")).name == "delivered"


def test_a_callback_that_no_try_delivered_failed() -> None:
    """With the trouble of the last try, and the time of the next one."""
    again = LATER + timedelta(seconds=10)
    failed = state_of(tried(500), tried(403), next_at=again)

    assert (failed.name, failed.times, failed.next_at) == ("failed", 2, again)
    assert failed.trouble is not None
    assert failed.trouble.badge == "403 refused"


def test_a_callback_that_never_comes_is_not_waited_for() -> None:
    """Because the scenario has none, or because the journal no longer has it."""
    silent = attrs.evolve(PROMPT, scenario=SCENARIOS["callback-lost"])

    assert state_of(prompt=silent).name == "none"
    assert state_of(forgot_until=LATER).name == "forgotten"
    assert state_of(forgot_until=START).name == "sent"


# --- the trouble ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "badge", "advice"),
    [
        (301, "301 redirect", "last slash"),
        (400, "400 not read", "log of your application"),
        (401, "401 login needed", "without a login"),
        (403, "403 refused", "ALLOWED_CALLBACK_NETWORKS"),
        (404, "404 wrong path", "route in your application"),
        (405, "405 no POST", "take POST"),
        (407, "407 login needed", "without a login"),
        (410, "410 wrong path", "C2B_CALLBACK"),
        (413, "413 too large", "64 KiB"),
        (415, "415 no JSON", "application/json"),
        (429, "429 too many", "Exempt"),
        (500, "500 failed", "log of your application"),
        (502, "502 failed", "proxy or tunnel"),
        (700, "700 not 2xx", "Answer with 200"),
    ],
)
def test_an_answer_that_is_not_2xx_has_its_advice(status: int, badge: str, advice: str) -> None:
    """The badge has the status, the reason names it, the advice says what to do."""
    trouble = trouble_of(status=status, note="", url=URL)

    assert trouble.badge == badge
    assert trouble.reason.startswith(f"Your application answered {status}: it ")
    assert advice in " ".join(trouble.advice)


@pytest.mark.parametrize(
    ("status", "answered", "badge", "advice", "other"),
    [
        (403, "<h1>CSRF verification failed.</h1>", "403 CSRF check", "@csrf_exempt", "NETWORKS"),
        (400, "The CSRF token is missing.", "400 CSRF check", "exempt this route", "log of"),
        (403, '{"error": {"code": "CallbackRefused"}}', "403 refused", "CALLBACK_SECRET", "csrf"),
        (403, '{"error": {"code": "foreign_host"}}', "403 foreign host", "ALLOWED_HOSTS", "csrf"),
        (500, "CSRF", "500 failed", "log of your application", "csrf"),
    ],
)
def test_the_body_of_a_refusal_narrows_the_advice(
    status: int, answered: str, badge: str, advice: str, other: str
) -> None:
    """Django's page, another framework's, and the three refusals of mpesa-stk have words of their own."""
    failed = state_of(tried(status, answered=answered)).trouble

    assert failed is not None
    assert failed.badge == badge
    assert advice in " ".join(failed.advice)
    assert other not in " ".join(failed.advice)


@pytest.mark.parametrize("note", [*dict.fromkeys(words for _, words in _WORDS), WITHHELD, LOST])
def test_a_callback_without_an_answer_has_its_advice(note: str) -> None:
    """Each reason that the poster, the server and the engine give is known."""
    trouble = trouble_of(status=None, note=note, url=URL)

    assert trouble.badge != "no answer"
    assert trouble.advice
    assert "{" not in trouble.reason + "".join(trouble.advice)


def test_the_address_is_named() -> None:
    """Host and port if nobody listens, the path if there is no such path."""
    refused = trouble_of(status=None, note="nobody listens there", url=URL)
    missing = trouble_of(status=404, note="", url="https://shop.example:8443/pay")

    assert refused.reason == "No server listens at 127.0.0.1:8000."
    assert "--public-callbacks" in refused.advice[-1]
    assert missing.reason == "Your application answered 404: it has no page at /pay."


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://shop.example/x", "shop.example:443"),
        ("https://user:secret@shop.example/x", "this address"),
        ("http://shop.example", "shop.example:80"),
        ("http://[::1]:8000/x", "[::1]:8000"),
        ("nonsense", "this address"),
    ],
)
def test_the_place_of_any_address_has_a_name(url: str, place: str) -> None:
    """Without what is secret in the address; an address that is none is called so."""
    assert place in trouble_of(status=None, note="it cannot be reached", url=url).reason
    assert "secret" not in trouble_of(status=404, note="", url=url).reason


def test_a_late_answer_and_an_unknown_reason_are_said() -> None:
    """A timeout has its advice; words that nobody knows are shown as they are."""
    late = trouble_of(status=None, note="no answer within 5 s", url=URL)
    unknown = trouble_of(status=None, note="ZeroDivisionError {x}", url=URL)

    assert late.badge == "timed out"
    assert "one thread" in late.advice[-1]
    assert unknown.reason == "There was no answer: ZeroDivisionError {x}."


def test_a_redirect_says_where_it_leads() -> None:
    """Braces in the place are only text."""
    trouble = trouble_of(status=302, note="it leads to /login?{next}", url=URL)

    assert trouble.advice[-1] == "In this case, it leads to /login?{next}."
