from __future__ import annotations

import copy
import pickle
import time
from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpesa_stk import (
    HttpRequest,
    HttpResponse,
    InvalidAmount,
    InvalidPhoneNumber,
    InvalidRequest,
    PaymentConfirmed,
    PhoneNumber,
    PushAccepted,
    PushRequest,
    QueryResult,
    QueryStatus,
    Token,
    explain,
)
from mpesa_stk.daraja.models import MAX_DESCRIPTION, MAX_REFERENCE, check_checkout_id
from mpesa_stk.privacy import Unpicklable, mask_checkout_id
from support import CALLBACK_URL, CHECKOUT_ID, MERCHANT_ID, TOKEN

MAX = 250_000
FIELDS: dict[str, Any] = {
    "phone_number": "0718643064",
    "amount": 100,
    "reference": "INV-1",
    "description": "Order 7",
    "callback_url": CALLBACK_URL,
    "max_amount": MAX,
}


def refusal_of(**changes: Any) -> InvalidRequest:
    """The error for a push with some fields changed."""
    with pytest.raises(InvalidRequest) as refusal:
        PushRequest.checked(**(FIELDS | changes))
    return refusal.value


# --- amounts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount", "shillings"),
    [
        (1, 1),
        (MAX, MAX),
        (Decimal(100), 100),
        (Decimal("100.00"), 100),
        (Decimal("1E+2"), 100),
        (Decimal("250000.000"), MAX),
    ],
)
def test_whole_shillings_are_taken(amount: Any, shillings: int) -> None:
    """An int or a Decimal without cents becomes an int."""
    request = PushRequest.checked(**(FIELDS | {"amount": amount}))
    assert request.amount == shillings
    assert type(request.amount) is int


KIND = "must be an int or a whole Decimal, in shillings"
RANGE = "must be from 1 to 250000 shillings"
CENTS = "must be whole shillings: Daraja takes no cents"


@pytest.mark.parametrize(
    ("amount", "rule"),
    [
        (100.0, KIND),
        (True, KIND),
        ("100", KIND),
        (None, KIND),
        ([100], KIND),
        (1 + 0j, KIND),
        (float("nan"), KIND),
        (0, RANGE),
        (-1, RANGE),
        (MAX + 1, RANGE),
        (10**4000, RANGE),
        (Decimal(0), RANGE),
        (Decimal("-0"), RANGE),
        (Decimal("0.99"), RANGE),
        (Decimal("250000.01"), RANGE),
        (Decimal("1E+999999"), RANGE),
        (Decimal("-1E+999999"), RANGE),
        (Decimal("1E-999999"), RANGE),
        (Decimal("100.50"), CENTS),
        (Decimal("1.0000000000000000000000000000000001"), CENTS),
        (Decimal("NaN"), "must be a finite number"),
        (Decimal("sNaN"), "must be a finite number"),
        (Decimal("Infinity"), "must be a finite number"),
        (Decimal("-Infinity"), "must be a finite number"),
    ],
)
def test_other_amounts_are_refused(amount: Any, rule: str) -> None:
    """Nothing is rounded, and no number however large takes long to refuse."""
    started = time.perf_counter()
    refusal = refusal_of(amount=amount)
    assert time.perf_counter() - started < 1
    assert isinstance(refusal, InvalidAmount)
    assert (refusal.field, refusal.rule) == ("amount", rule)


@given(amount=st.integers() | st.decimals() | st.floats() | st.text(max_size=5) | st.booleans())
def test_an_amount_is_taken_whole_or_not_at_all(amount: Any) -> None:
    """What is taken equals what was asked for, to the cent."""
    try:
        request = PushRequest.checked(**(FIELDS | {"amount": amount}))
    except InvalidAmount:
        assert (
            type(amount) not in (int, Decimal)
            or not Decimal(amount).is_finite()
            or not 1 <= amount <= MAX
            or amount % 1 != 0
        )
    else:
        assert request.amount == amount
        assert 1 <= request.amount <= MAX


@given(shillings=st.integers(min_value=1, max_value=MAX), zeros=st.integers(0, 4))
def test_zeros_after_the_point_change_nothing(shillings: int, zeros: int) -> None:
    """100, 100.0 and 100.0000 are one amount."""
    amount = Decimal(f"{shillings}.{'0' * zeros}")
    assert PushRequest.checked(**(FIELDS | {"amount": amount})).amount == shillings


# --- texts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reference", ["A", "INV-1", "a_b.c/d e-1", "x" * MAX_REFERENCE])
def test_references_are_sent_as_they_are(reference: str) -> None:
    """Up to twelve safe characters, whatever they are."""
    assert PushRequest.checked(**(FIELDS | {"reference": reference})).reference == reference


@pytest.mark.parametrize("description", ["", "Order 7", "x" * MAX_DESCRIPTION])
def test_descriptions_may_be_empty(description: str) -> None:
    """Up to thirteen safe characters."""
    request = PushRequest.checked(**(FIELDS | {"description": description}))
    assert request.description == description


SAFE = "may hold only letters, digits, space and - _ . /"
UNSAFE = ("A&B", "A#1", "a@b", "caf\u00e9", "a\nb", "a\x00", "\u0661", "{}", "a\u200b", "\ud800")


@pytest.mark.parametrize(
    ("field", "text", "rule"),
    [
        ("reference", "", "must be 1 to 12 characters"),
        ("reference", "   ", "must be 1 to 12 characters"),
        ("reference", "x" * 13, "must be at most 12 characters"),
        ("reference", None, "must be a string"),
        ("reference", 5, "must be a string"),
        ("reference", b"INV", "must be a string"),
        ("description", "x" * 14, "must be at most 13 characters"),
        ("description", None, "must be a string"),
        *((field, text, SAFE) for field in ("reference", "description") for text in UNSAFE),
    ],
)
def test_other_texts_are_refused_and_never_cut(field: str, text: Any, rule: str) -> None:
    """A reference that was cut would no longer name the order."""
    refusal = refusal_of(**{field: text})
    assert (refusal.field, refusal.rule) == (field, rule)
    assert len(str(text)) < 2 or str(text) not in str(refusal).replace(SAFE, "")


@given(reference=st.text(max_size=14), description=st.text(max_size=15))
def test_texts_are_unchanged_or_refused(reference: str, description: str) -> None:
    """What the customer sees in the prompt is what the host wrote."""
    try:
        request = PushRequest.checked(
            **(FIELDS | {"reference": reference, "description": description})
        )
    except InvalidRequest as refusal:
        assert refusal.field in ("reference", "description")  # noqa: PT017 - it is optional
    else:
        assert (request.reference, request.description) == (reference, description)
        assert f"{reference}{description}".isascii()


# --- phone numbers and ids -----------------------------------------------------------------------------


def test_a_number_may_be_text_or_value() -> None:
    """Both ways give the same request."""
    phone = PhoneNumber.parse("+254718643064")
    request = PushRequest.checked(**(FIELDS | {"phone_number": phone}))
    assert request == PushRequest.checked(**FIELDS)
    assert request.phone_number is phone


@pytest.mark.parametrize("phone_number", ["0201234567", None, 254718643064, b"0718643064"])
def test_a_bad_number_is_refused(phone_number: Any) -> None:
    """The error is the phone number's own."""
    assert isinstance(refusal_of(phone_number=phone_number), InvalidPhoneNumber)


@pytest.mark.parametrize("checkout_id", [CHECKOUT_ID, "x", "x" * 128])
def test_checkout_ids_are_visible_text(checkout_id: str) -> None:
    """Any id that Daraja may have made can be asked about."""
    assert check_checkout_id(checkout_id) == checkout_id


@pytest.mark.parametrize("checkout_id", ["", "x" * 129, "a b", "a\n", "\u00e9", None, 5, b"ws"])
def test_what_cannot_be_a_checkout_id_is_refused(checkout_id: Any) -> None:
    """It is refused before anything is sent."""
    with pytest.raises(InvalidRequest) as refusal:
        check_checkout_id(checkout_id)
    assert refusal.value.field == "checkout_request_id"


# --- values ------------------------------------------------------------------------------------------

SECRET_VALUES = [
    Token(value=TOKEN, expires_in=3599.0, renew_at=1.0),
    HttpRequest(
        method="POST",
        url="https://api.safaricom.co.ke/x",
        headers={"Authorization": f"Bearer {TOKEN}"},
        body=TOKEN.encode(),
        connect_timeout=1.0,
        total_timeout=1.0,
    ),
    HttpResponse(status=200, headers={"x": TOKEN}, body=TOKEN.encode()),
]


@pytest.mark.parametrize("value", SECRET_VALUES)
def test_values_with_secrets_are_not_shown_or_pickled(value: Unpicklable) -> None:
    """Their repr is silent, pickle refuses at every protocol, and a copy is the value itself."""
    assert TOKEN not in f"{value} {value!r} {[value]}"
    assert copy.copy(value) is value
    assert copy.deepcopy([value])[0] is value
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="holds secrets and is not pickled"):
            pickle.dumps(value, protocol)


def test_answers_mask_the_payers_digits() -> None:
    """A CheckoutRequestID ends in the payer's number, so reprs leave the end out."""
    accepted = PushAccepted(
        merchant_request_id=MERCHANT_ID,
        checkout_request_id=CHECKOUT_ID,
        response_code="0",
        response_description="",
        customer_message="",
    )
    unknown = QueryResult(status=QueryStatus.UNKNOWN, checkout_request_id=CHECKOUT_ID)
    paid = PaymentConfirmed(
        checkout_request_id=CHECKOUT_ID,
        merchant_request_id=MERCHANT_ID,
        result=explain(0),
        result_desc="",
        receipt_number="NLJ7RT61SV",
        amount=Decimal(1),
        paid_at=None,
        phone_number="254718643064",
    )
    request = PushRequest.checked(**FIELDS)
    for value in (accepted, unknown, paid, request):
        assert "718643064" not in repr(value)
        assert "8643" not in repr(value)
    assert "254718***064" in repr(paid)
    assert "phone_number=None" in repr(attrs.evolve(paid, phone_number=None))


def test_callback_urls_are_not_shown() -> None:
    """A signed callback URL is as good as a key to one payment."""
    assert CALLBACK_URL not in repr(PushRequest.checked(**FIELDS))


@pytest.mark.parametrize(
    ("checkout_id", "masked"),
    [(CHECKOUT_ID, "ws_CO_23112026090000123***"), ("short", "***"), ("", "***"), (None, None)],
)
def test_masking_an_id_hides_its_end(checkout_id: str | None, masked: str | None) -> None:
    """Nine characters go, however short the id."""
    assert mask_checkout_id(checkout_id) == masked


def test_a_query_result_explains_its_code() -> None:
    """Where Daraja named a code, its meaning is at hand."""
    result = QueryResult(status=QueryStatus.FAILED, checkout_request_id="x", result_code="1032")
    assert result.result is explain(1032)
    assert attrs.evolve(result, result_code=None).result is None
    assert QueryStatus.FAILED == "FAILED"
