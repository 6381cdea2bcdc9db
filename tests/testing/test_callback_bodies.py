"""The builder of callbacks, the canned payloads, and the test phones by name."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest

from mpesa_stk import (
    InvalidPhoneNumber,
    PaymentConfirmed,
    PaymentFailed,
    PaymentUnproven,
    PushAccepted,
    Transaction,
    TransactionState,
    parse_callback,
)
from mpesa_stk.daraja import protocol
from mpesa_stk.daraja.exchange import HttpResponse
from mpesa_stk.payments.signing import is_genuine
from mpesa_stk.simulator.scenarios import TEST_PHONES
from mpesa_stk.testing import (
    OUTCOMES,
    PAYLOADS,
    Shape,
    SimulatedDaraja,
    failed_callback,
    paid_callback,
    payload,
    phones,
    signed_path,
    signed_token,
    simulated_config,
    unproven_callback,
)
from support import CHECKOUT_ID, MERCHANT_ID, START, claim_of, make_transaction

PENDING = make_transaction(checkout_request_id=CHECKOUT_ID, merchant_request_id="m-1")


# --- paid ----------------------------------------------------------------------------------------


def paid(*args: Any, **options: Any) -> PaymentConfirmed:
    """A callback that proves a payment, read."""
    result = parse_callback(paid_callback(*args, **options))
    assert isinstance(result, PaymentConfirmed)
    return result


def test_a_paid_callback_is_about_its_transaction() -> None:
    """Ids, amount and payer are the transaction's."""
    result = paid(PENDING)

    assert result.checkout_request_id == CHECKOUT_ID
    assert result.merchant_request_id == "m-1"
    assert result.amount == 100
    assert result.phone_number == "254718643064"
    assert result.paid_at == PENDING.updated
    assert paid_callback(PENDING) == paid_callback(PENDING)


def test_a_paid_callback_may_say_anything_else() -> None:
    """Each item can be given."""
    result = paid(
        PENDING,
        amount=Decimal("99.50"),
        receipt_number="NLJ7RT61SV",
        phone_number="254708374149",
        paid_at=datetime(2026, 1, 1, 12, tzinfo=timezone.utc),
    )

    assert (result.amount, result.receipt_number) == (Decimal("99.50"), "NLJ7RT61SV")
    assert result.phone_number == "254708374149"
    assert result.paid_at == datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


def test_a_paid_callback_may_be_about_ids_alone() -> None:
    """The answer to a push, or a CheckoutRequestID; the amount must then be given."""
    accepted = PushAccepted(
        merchant_request_id="m-2",
        checkout_request_id="ws_CO_2",
        response_code="0",
        response_description="",
        customer_message="",
    )

    assert paid(accepted, amount=7).merchant_request_id == "m-2"
    assert paid("ws_CO_1", amount=7).checkout_request_id == "ws_CO_1"
    assert paid("ws_CO_1", amount=7).paid_at == START
    assert paid("ws_CO_1", amount=7).receipt_number != paid("ws_CO_2", amount=7).receipt_number
    with pytest.raises(ValueError, match="amount must be given"):
        paid_callback("ws_CO_1")


@pytest.mark.parametrize(
    ("shape", "phone_number"),
    [
        (Shape.PLAIN, "254718643064"),
        (Shape.MASKED_PHONE, "254718***064"),
        (Shape.NO_PHONE, None),
        (Shape.BARE_BALANCE, "254718643064"),
        (Shape.STRING_AMOUNT, "254718643064"),
    ],
)
def test_a_paid_callback_may_be_written_in_any_shape(
    shape: Shape, phone_number: str | None
) -> None:
    """All of them prove the payment."""
    result = paid(PENDING, shape=shape)
    assert (result.amount, result.phone_number) == (Decimal(100), phone_number)


def test_a_paid_callback_takes_a_phone_number_as_people_type_it() -> None:
    """It is written as Daraja writes it; one that is masked, or none at all, is refused."""
    assert paid(PENDING, phone_number="0718643064").phone_number == "254718643064"
    assert paid(PENDING, phone_number="+254 718 643 064").phone_number == "254718643064"
    for wrong in ("254718***064", "twelve"):
        with pytest.raises(InvalidPhoneNumber):
            paid_callback(PENDING, phone_number=wrong)


# --- unproven and failed -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("without", "problems"),
    [
        (("MpesaReceiptNumber",), 1),
        (("Amount",), 1),
        (("Amount", "MpesaReceiptNumber"), 2),
        (("Amount", "MpesaReceiptNumber", "PhoneNumber", "TransactionDate"), 2),
    ],
)
def test_an_unproven_callback_lacks_what_it_is_told(
    without: tuple[str, ...], problems: int
) -> None:
    """It says paid, and each missing item of the proof is a problem."""
    result = parse_callback(unproven_callback(PENDING, without=without))
    assert isinstance(result, PaymentUnproven)
    assert result.result.code == "0"
    assert len(result.problems) == problems


def test_an_unproven_callback_must_lack_some_proof() -> None:
    """What would prove the payment all the same is refused."""
    with pytest.raises(ValueError, match="Amount, MpesaReceiptNumber"):
        unproven_callback(PENDING, without=("PhoneNumber",))


@pytest.mark.parametrize("outcome", [name for name in OUTCOMES if name != "paid"])
def test_a_failed_callback_has_the_words_of_its_outcome(outcome: str) -> None:
    """By the outcome's name or by its code."""
    expected = OUTCOMES[outcome]
    named = parse_callback(failed_callback(PENDING, outcome=outcome))
    coded = parse_callback(failed_callback(PENDING, outcome=expected.code))

    assert isinstance(named, PaymentFailed)
    assert named.result.code == coded.result.code == str(expected.code)
    assert named.result_desc == expected.description
    assert named.checkout_request_id == CHECKOUT_ID


def test_a_failed_callback_may_have_a_code_that_nobody_knows() -> None:
    """It is written as it was given."""
    body = json.loads(failed_callback("ws_CO_1", outcome=9999))["Body"]["stkCallback"]
    assert (body["ResultCode"], body["ResultDesc"]) == (9999, "Failed.")
    assert body["MerchantRequestID"] == MERCHANT_ID


@pytest.mark.parametrize("outcome", ["paid", 0, "0"])
def test_a_failed_callback_cannot_be_paid(outcome: str | int) -> None:
    """That is another builder's business."""
    with pytest.raises(ValueError, match="this outcome is paid"):
        failed_callback(PENDING, outcome=outcome)


@pytest.mark.parametrize("outcome", ["canceled", "", "cancelled ", "10.5", -1, True, "SFC-1"])
def test_a_failed_callback_is_of_a_known_name_or_of_a_code(outcome: str | int) -> None:
    """A slip of the pen makes no code that nobody would ever see."""
    with pytest.raises(ValueError, match="a name of OUTCOMES or a ResultCode"):
        failed_callback(PENDING, outcome=outcome)


def test_a_failed_callback_may_have_a_code_of_letters() -> None:
    """Daraja writes some codes that way."""
    body = json.loads(failed_callback(PENDING, outcome="SFC_IC0004"))["Body"]["stkCallback"]
    assert body["ResultCode"] == "SFC_IC0004"


# --- signed callback URLs ------------------------------------------------------------------------------


def test_a_token_belongs_to_its_transaction() -> None:
    """It is genuine by the newest secret, and the path is the callback URL's with it."""
    config = simulated_config(callback_secrets=("the newest of two", "the oldest of two"))
    token = signed_token(PENDING, config)

    assert is_genuine(token, ("the newest of two",), **claim_of(PENDING))
    assert signed_path(PENDING, config) == f"/payments/callback/{token}/"


def test_without_secrets_nothing_is_signed() -> None:
    """Asking for a signed path is then a mistake."""
    with pytest.raises(ValueError, match="callback_secrets"):
        signed_path(PENDING, simulated_config(callback_secrets=()))


@pytest.mark.parametrize(
    ("fault", "before"), [(None, "PENDING"), ("done-but-dropped", "UNCERTAIN")]
)
def test_payments_take_a_callback_that_was_built(fault: str | None, before: str) -> None:
    """Also where the push's answer, and so its id, was never learnt."""
    daraja = SimulatedDaraja(scenario="callback-lost")
    payments = daraja.payments()
    if fault is not None:
        daraja.next("push", fault)
    transaction = payments.checkout(phone_number="0718643064", amount=100, reference="INV-1")
    assert transaction.state.value == before

    receipt = payments.handle_callback(
        paid_callback(transaction), token=signed_token(transaction, daraja.config)
    )

    settled = receipt.transaction
    assert isinstance(settled, Transaction)
    assert settled.state is TransactionState.SUCCEEDED
    assert str(settled.checkout_request_id).endswith("718643064")


# --- canned payloads -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_payload_is_the_same_each_time(name: str) -> None:
    """The same bytes, a status for answers, and JSON but for pages and empty bodies."""
    first = payload(name)
    assert first == payload(name)
    assert (first.status is None) == name.startswith("callback-")
    if name not in ("error-unavailable", "error-blocked", "error-empty", "error-empty-400"):
        assert isinstance(first.json, dict)


@pytest.mark.parametrize("name", OUTCOMES)
def test_the_payloads_of_an_outcome_agree(name: str) -> None:
    """Callback and query of one outcome tell the same code, of one prompt."""
    told = parse_callback(payload(f"callback-{name}").body)
    asked = payload(f"query-{name}").json
    assert told.result.code == asked["ResultCode"] == str(OUTCOMES[name].code)
    assert told.checkout_request_id == asked["CheckoutRequestID"]


def test_the_payloads_are_what_the_library_reads() -> None:
    """The token is one, the push is accepted, and the other shapes of a callback prove a payment."""
    token, push = payload("token"), payload("push-accepted")
    answer = HttpResponse(status=200, headers=token.headers, body=token.body)
    assert protocol.read_token(answer, sent_at=0.0).expires_in == 3599
    answer = HttpResponse(status=200, headers=push.headers, body=push.body)
    assert protocol.read_push(answer).response_code == "0"
    for shape in ("masked-phone", "no-phone", "bare-balance", "string-amount"):
        assert isinstance(parse_callback(payload(f"callback-{shape}").body), PaymentConfirmed)
    assert payload("query-pending-500").status == 500
    assert payload("query-pending-4999").json["ResultCode"] == "4999"
    assert payload("query-unknown-id").json["errorMessage"] == "The transaction does not Exist"


@pytest.mark.parametrize("name", ["", "paid", "callback-", "query-payd"])
def test_there_is_no_other_payload(name: str) -> None:
    """A name that is not on the list is a KeyError."""
    with pytest.raises(KeyError):
        payload(name)


# --- phones ------------------------------------------------------------------------------------------


def test_each_test_phone_has_its_name() -> None:
    """The constants are the scenarios' names in capitals, and complete."""
    named = {name: getattr(phones, name) for name in vars(phones) if name.isupper()}
    del named["TEST_PHONES"]
    assert named == {name.upper().replace("-", "_"): phone for name, phone in TEST_PHONES.items()}
