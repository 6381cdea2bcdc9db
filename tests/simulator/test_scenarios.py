"""The simulator's data: outcomes, faults, scenarios and the phones that play them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mpesa_stk import explain, normalize_phone
from mpesa_stk.simulator.faults import FAULTS, DeliveryFault, Fault
from mpesa_stk.simulator.scenarios import (
    OUTCOMES,
    SCENARIOS,
    TEST_PHONES,
    Pending,
    Scenario,
    Shape,
    scenario_of,
)
from support import samples

SAMPLES = {sample["id"]: sample for sample in samples()}


@pytest.mark.parametrize("name", OUTCOMES)
def test_an_outcome_is_a_code_of_the_catalogue(name: str) -> None:
    """The library knows each code as final, and only the paid one moves money."""
    outcome = OUTCOMES[name]
    known = explain(outcome.code)
    assert known.evidence != "unknown"
    assert known.final
    assert outcome.description
    assert outcome.paid == (name == "paid")


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_says_what_it_does(name: str) -> None:
    """Each fault either lets Daraja act or answers or loses something; "done" and "dropped" mean it."""
    fault = FAULTS[name]
    assert fault.executed or fault.answer is not None or fault.delivery is not DeliveryFault.NONE
    assert fault.executed == (
        name.startswith("done-")
        or name in ("token-dead", "byte-by-byte", "slow")
        or fault.form is not None
    )
    assert fault.kills_tokens == (name == "token-dead")


@pytest.mark.parametrize(
    ("name", "sample_id"),
    [
        ("token-refused-404", "stk-404-token"),
        ("subscriber-locked", "stk-500-lock"),
        ("wrong-credentials", "stk-500-credentials"),
        ("internal-error", "stk-500-internal"),
        ("busy", "stk-500-busy"),
        ("spike-arrest", "stk-500-spike"),
        ("token-refused-401", "stk-401-token"),
    ],
)
def test_a_fault_answers_in_the_words_of_the_samples(name: str, sample_id: str) -> None:
    """Status, code and text are those of a body collected from Daraja."""
    sample = SAMPLES[sample_id]
    answer = FAULTS[name].answer
    assert answer is not None

    response = answer("1c5b-1")

    body = json.loads(response.body)
    assert response.status == sample["http_status"]
    assert body["errorCode"] == sample["body"]["errorCode"]
    assert body["errorMessage"] == sample["body"]["errorMessage"]
    assert body["requestId"] == "1c5b-1"


def test_a_fault_of_your_own_does_nothing_by_default() -> None:
    """It is neither executed nor answered for, and arrives whole."""
    fault = Fault()
    assert (fault.executed, fault.answer, fault.delivery) == (False, None, DeliveryFault.NONE)


@pytest.mark.parametrize("seconds", [-1.0, 3601.0, float("nan")])
def test_a_slow_answer_comes_within_the_hour(seconds: float) -> None:
    """What cannot be waited for is refused when the fault is made."""
    with pytest.raises(ValueError, match="seconds"):
        Fault(delivery=DeliveryFault.SLOW, seconds=seconds)


def test_each_scenario_has_a_phone_of_its_own() -> None:
    """The numbers are Kenyan, all different, and lead back to the scenario."""
    assert list(TEST_PHONES) == list(SCENARIOS)
    assert len(set(TEST_PHONES.values())) == len(SCENARIOS)
    for name, phone in TEST_PHONES.items():
        assert normalize_phone(phone) == phone
        assert scenario_of(phone) is SCENARIOS[name]
    assert scenario_of("254718643064") is None


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"outcome": "paidd"}, "outcome"),
        ({"answer_after": -1.0}, "answer_after"),
        ({"answer_after": float("nan")}, "answer_after"),
        ({"answer_after": 86_401.0}, "answer_after"),
        ({"callbacks": -1}, "callbacks"),
        ({"callbacks": 11}, "callbacks"),
        ({"callbacks": 2.0}, "callbacks must be a whole number"),
        ({"callbacks": 2.5}, "callbacks must be a whole number"),
        ({"callbacks": True}, "callbacks must be a whole number"),
        ({"callback_after": -1.0}, "callback_after"),
        ({"callback_after": True}, "callback_after must be a number of seconds"),
        ({"callback_first": 1}, "callback_first must be true or false"),
        ({"shape": "round"}, "shape must be one of plain, "),
        ({"pending": "501"}, "pending must be one of 500, "),
        ({"query_outcome": "paidd"}, "query_outcome"),
        ({"queries_a_minute": 0}, "queries_a_minute"),
        ({"push_fault": "fell"}, "push_fault"),
        ({"query_fault": "fell"}, "query_fault"),
        ({"callback_first": True}, "callback_first needs"),
        (
            {"callback_first": True, "answer_after": 0.0, "callback_after": 1.0},
            "callback_first needs",
        ),
        ({"callback_first": True, "answer_after": None}, "callback_first needs"),
    ],
)
def test_a_scenario_is_checked_when_it_is_made(wrong: dict[str, Any], rule: str) -> None:
    """What cannot work is refused, and the message names it."""
    with pytest.raises(ValueError, match=rule):
        Scenario(**wrong)


def test_a_scenario_may_be_written_in_plain_texts() -> None:
    """Shapes and pending answers may be given by value, as JSON has them."""
    scenario = Scenario(shape="no-phone", pending="4999")
    assert (scenario.shape, scenario.pending) == (Shape.NO_PHONE, Pending.CODE_4999)
