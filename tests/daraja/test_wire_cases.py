"""Inputs of real life that once were read wrongly, each replayed with what it must mean.

The cases stand in ``data/wire-cases.json``. Each kind of case is replayed in one test file.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
import requests_mock as requests_mock_module

from mpesa_stk import (
    SANDBOX,
    AuthenticationFailed,
    ConfigurationError,
    DarajaError,
    InvalidCallback,
    MemoryTransactionStore,
    OutcomeUnknown,
    PaymentConfirmed,
    PaymentFailed,
    Payments,
    QueryStatus,
    RetryPolicy,
    StkClient,
    StkConfig,
    TransactionState,
    explain,
    normalize_phone,
    parse_callback,
)
from support import CALLBACK_URL, CHECKOUT_ID, DATA, TOKEN, ManualClock, callback, make_config

HERE = "daraja/test_wire_cases.py"
CASES: dict[str, dict[str, Any]] = {
    case["id"]: case for case in json.loads((DATA / "wire-cases.json").read_text(encoding="utf-8"))
}
# Kind -> the test file that replays it.
REPLAYED_IN = {
    "query answer": HERE,
    "push answer": HERE,
    "token answer": HERE,
    "callback": HERE,
    "phone": HERE,
    "environment": HERE,
    # Read here; what a payment makes of them is replayed there.
    "callback with a genuine token": "payments/test_wire_cases.py",
    "callback with a genuine token: the good one with this change": "payments/test_wire_cases.py",
    "reference": "web/test_wire_cases.py",
    "peer 127.0.0.1, X-Forwarded-For: 127.0.0.1, trusted_proxies=127.0.0.1, Daraja on loopback": (
        "web/test_wire_cases.py"
    ),
    "what the own callback URL answers to doctor": "commands/test_wire_cases.py",
    "callback URL": "commands/test_wire_cases.py",
    "replay file": "commands/test_wire_cases.py",
}
TOKEN_URL, PUSH_URL, QUERY_URL = SANDBOX.urls.values()
Mocker = requests_mock_module.Mocker


def cases(kind: str) -> list[str]:
    """The ids of the cases of a kind, for the parameters of a test."""
    return [name for name, case in CASES.items() if case["kind"].startswith(kind)]


def answer_of(name: str) -> dict[str, Any]:
    """The HTTP answer of a case, as requests-mock wants it."""
    given = CASES[name]["input"]
    text = given["text"] if "text" in given else json.dumps(given["body"])
    raw = text.replace("<the one asked for>", CHECKOUT_ID).encode()
    return {"status_code": given["http"], "content": raw}


def sent(mock: Mocker, url: str) -> int:
    """How many requests went to an address."""
    return sum(request.url == url for request in mock.request_history)


@pytest.fixture
def client(requests_mock: Mocker) -> StkClient:
    """A client whose token is in order, on a clock moved by hand."""
    bearer = {"access_token": TOKEN, "expires_in": "3599"}
    requests_mock.get(TOKEN_URL, json=bearer)
    return StkClient(make_config(), clock=ManualClock(), retry=RetryPolicy(jitter=lambda: 0.5))


# --- the collection ----------------------------------------------------------------------------------


def test_every_kind_of_case_is_replayed() -> None:
    """A case of a kind that no file replays fails here, and so does a kind without a case."""
    assert {case["kind"] for case in CASES.values()} == REPLAYED_IN.keys()
    for name in set(REPLAYED_IN.values()):
        text = DATA.parent.joinpath(name).read_text(encoding="utf-8")
        assert "wire-cases.json" in text, f"{name} replays nothing"


def test_each_case_is_listed_once() -> None:
    """Ids are unique, and every case of a kind that is replayed here has its expectation."""
    listed = json.loads((DATA / "wire-cases.json").read_text(encoding="utf-8"))
    assert max(Counter(case["id"] for case in listed).values()) == 1
    for kind, expected in (
        ("query answer", QUERIES.keys()),
        ("push answer", PUSHES.keys()),
        ("callback", CALLBACKS.keys()),
        ("environment", ENVIRONMENTS.keys()),
    ):
        found = set(cases(kind)) - set(cases("callback URL"))
        assert found == set(expected)


# --- answers of Daraja -------------------------------------------------------------------------------

# Status, code, and whether Daraja says that it does not know the id.
QUERIES: dict[str, tuple[QueryStatus, str | None, bool]] = {
    "query-does-not-exist": (QueryStatus.UNKNOWN, None, True),
    "query-in-flight-200-empty": (QueryStatus.UNKNOWN, None, False),
    "query-500-empty-text": (QueryStatus.UNKNOWN, None, False),
    "query-500-no-text": (QueryStatus.UNKNOWN, None, False),
    "query-E3008": (QueryStatus.FAILED, "E3008", False),
}


@pytest.mark.parametrize("name", cases("query answer"))
def test_query_answers(name: str, client: StkClient, requests_mock: Mocker) -> None:
    """Each is an answer, after one request."""
    requests_mock.post(QUERY_URL, **answer_of(name))

    result = client.query(CHECKOUT_ID)

    assert (result.status, result.result_code, result.not_found) == QUERIES[name]
    assert sent(requests_mock, QUERY_URL) == 1


UNCERTAIN, REJECTED = TransactionState.UNCERTAIN, TransactionState.REJECTED
# State of the payment, and how many pushes two checkouts with the same key make.
PUSHES = {
    "push-1001-empty": (UNCERTAIN, 1),
    "push-1001-processing": (UNCERTAIN, 1),
    "push-1001-internal": (UNCERTAIN, 1),
    "push-1001-timeout": (UNCERTAIN, 1),
    "push-1001-no-text": (UNCERTAIN, 1),
    "push-504": (UNCERTAIN, 1),
    "push-408-fault": (UNCERTAIN, 1),
    "push-busy": (UNCERTAIN, 1),
    "push-merchant": (REJECTED, 2),
    "push-remarks": (REJECTED, 2),
    "push-401-plain": (REJECTED, 4),
    "push-bom": (TransactionState.PENDING, 1),
}


@pytest.mark.parametrize("name", cases("push answer"))
def test_push_answers(name: str, client: StkClient, requests_mock: Mocker) -> None:
    """What is not proven to be refused is pushed once, however often the same key is used."""
    requests_mock.post(PUSH_URL, **answer_of(name))
    store = MemoryTransactionStore()
    payments = Payments(client, store)
    states = []
    for _ in range(2):
        try:
            transaction = payments.checkout(
                phone_number="0718643064", amount=100, reference="INV-1", idempotency_key="order-1"
            )
        except DarajaError as error:
            stored = store.get(error.transaction_no or "")
            assert stored is not None
            states.append(stored.state)
        else:
            states.append(transaction.state)

    assert (*set(states), sent(requests_mock, PUSH_URL)) == PUSHES[name]


@pytest.mark.parametrize("name", [name for name in PUSHES if PUSHES[name][0] is UNCERTAIN])
def test_push_answers_without_proof(name: str, client: StkClient, requests_mock: Mocker) -> None:
    """Without `Payments`, the error says that the outcome is unknown."""
    requests_mock.post(PUSH_URL, **answer_of(name))

    with pytest.raises(OutcomeUnknown):
        client.push(phone_number="0718643064", amount=100, reference="INV-1")


def test_invalid_remarks_are_the_description(client: StkClient, requests_mock: Mocker) -> None:
    """Daraja names a field that no request has; the error says which one it means."""
    requests_mock.post(PUSH_URL, **answer_of("push-remarks"))

    with pytest.raises(DarajaError, match="Remarks is the description"):
        client.push(phone_number="0718643064", amount=100, reference="INV-1")


def test_a_token_refused_in_plain_text(client: StkClient, requests_mock: Mocker) -> None:
    """It is renewed once, and the push is sent again: Daraja did not execute the first."""
    good = {
        "MerchantRequestID": "m",
        "CheckoutRequestID": CHECKOUT_ID,
        "ResponseCode": "0",
    }
    requests_mock.post(PUSH_URL, [answer_of("push-401-plain"), {"json": good}])

    accepted = client.push(phone_number="0718643064", amount=100, reference="INV-1")

    assert accepted.checkout_request_id == CHECKOUT_ID
    assert (sent(requests_mock, TOKEN_URL), sent(requests_mock, PUSH_URL)) == (2, 2)


@pytest.mark.parametrize("name", cases("token answer"))
def test_token_answers(name: str, client: StkClient, requests_mock: Mocker) -> None:
    """An empty no is about the credentials; asking again does not help."""
    requests_mock.get(TOKEN_URL, **answer_of(name))

    with pytest.raises(AuthenticationFailed, match=r"key .*secret .*environment") as caught:
        client.token()

    assert caught.value.reason == "credentials"
    assert sent(requests_mock, TOKEN_URL) == 1


# --- callbacks ---------------------------------------------------------------------------------------

PAID = (PaymentConfirmed, "0")
CALLBACKS: dict[str, tuple[type, str]] = {
    "callback-1031": (PaymentFailed, "1031"),
    "callback-E3008": (PaymentFailed, "E3008"),
    "signed-callback-resultdesc-null": PAID,
    "signed-callback-resultdesc-missing": PAID,
    "signed-callback-merchant-missing": PAID,
    "signed-callback-merchant-null": PAID,
    "signed-callback-code-0.0": PAID,
    "signed-callback-code-space-0": PAID,
    "signed-callback-bom": PAID,
    "signed-callback-latin1": (InvalidCallback, ""),
    "signed-callback-garbage": (InvalidCallback, ""),
}


def body_of(name: str) -> bytes:
    """The body of a callback, or the good one with what the case changes."""
    given = CASES[name]["input"]
    if name == "signed-callback-bom":
        return b"\xef\xbb\xbf" + callback()
    if name == "signed-callback-latin1":
        return callback().replace(b"successfully", b"successfull\xe9")
    if isinstance(given, str):
        return given.encode()
    if "Body" in given:
        return json.dumps(given).encode()
    good = json.loads(callback())
    good["Body"]["stkCallback"] |= given
    inside = good["Body"]["stkCallback"]
    for field in [field for field, value in inside.items() if value == "<remove>"]:
        del inside[field]
    return json.dumps(good).encode()


@pytest.mark.parametrize("name", CALLBACKS)
def test_callbacks(name: str) -> None:
    """What nothing depends on does not spoil a callback; an unreadable one is its own error."""
    try:
        result = parse_callback(body_of(name))
    except InvalidCallback:
        found: tuple[type, str] = (InvalidCallback, "")
    else:
        found = (type(result), result.result.code)

    assert found == CALLBACKS[name]


@pytest.mark.parametrize("code", ["1031", "E3008"])
def test_codes_that_were_not_known(code: str) -> None:
    """They are final, reported, and told to customers in both languages."""
    result = explain(code)

    assert (result.final, result.evidence) == (True, "reported")
    assert result.message("en") != result.message("sw")
    assert "could not confirm" not in result.message("en")


def test_1031_is_told_as_1032_is() -> None:
    """Both are a customer's no."""
    assert explain(1031).message() == explain(1032).message()


# --- what people type --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", cases("phone"))
def test_phones(name: str) -> None:
    """Numbers as they are copied from phones, spreadsheets and contact cards."""
    assert normalize_phone(CASES[name]["input"]) == CASES[name]["expect"]


GOOD = {
    "CONSUMER_KEY": "kkkkkkkk",
    "CONSUMER_SECRET": "ssssssss",
    "SHORTCODE": "600000",
    "PASS_KEY": "pppppppp",
    "C2B_CALLBACK": CALLBACK_URL,
}
# Variables beside or instead of the good ones; the one that is wrong; what the error says of it.
ENVIRONMENTS: dict[str, tuple[dict[str, str], str, tuple[str, ...]]] = {
    "env-near-miss": (
        {"MPESA_CONSUMER_KEY": "k", "CONSUMER_KEY": ""},
        "consumer_key",
        ("MPESA_CONSUMER_KEY is set: did you mean CONSUMER_KEY?",),
    ),
    "env-quotes": ({"CONSUMER_KEY": '"kkkkkkkk"'}, "consumer_key", ("quotes",)),
    "env-network-bits": ({"trusted_proxies": "10.0.0.1/8"}, "trusted_proxies", ("8", "10.0.0.0/8")),
}


@pytest.mark.parametrize("name", cases("environment"))
def test_environments(name: str) -> None:
    """The error says what to write instead."""
    variables, wrong, words = ENVIRONMENTS[name]

    with pytest.raises(ConfigurationError) as caught:
        StkConfig.from_env(GOOD | variables)

    ((field, rule),) = caught.value.problems
    assert field == wrong
    assert all(word in rule for word in words)
