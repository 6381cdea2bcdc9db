from __future__ import annotations

from typing import Any

import attrs
import pytest

from mpesa_stk import ConfigurationError, PayBill, PushRequest, Till, Token
from mpesa_stk.daraja.protocol import build_push
from mpesa_stk.daraja.wire import read_object
from support import CALLBACK_URL, START, TOKEN, make_config

FIVE_TO_SEVEN = "must be a string of 5 to 7 digits"
FOUR_TO_TEN = "must be a string of 4 to 10 digits"


def wire_fields(account: PayBill | Till) -> dict[str, object]:
    """What a push for this account carries."""
    request = PushRequest.checked(
        phone_number="0718643064",
        amount=1,
        reference="INV-1",
        description="",
        callback_url=CALLBACK_URL,
        max_amount=1,
    )
    token = Token(value=TOKEN, expires_in=3599.0, renew_at=0.0)
    built = build_push(make_config(account=account), request, token=token, moment=START)
    return read_object(built.body or b"")


def test_a_paybill_is_paid_under_its_own_number() -> None:
    """PartyB is the shortcode, and the type says paybill."""
    account = PayBill("600000")
    fields = wire_fields(account)
    assert fields["BusinessShortCode"] == fields["PartyB"] == 600000
    assert fields["TransactionType"] == "CustomerPayBillOnline"
    assert (account.shortcode, account.party_b) == ("600000", "600000")
    assert str(account) == "paybill 600000"


def test_a_till_is_paid_under_its_till_number() -> None:
    """BusinessShortCode is the store, PartyB the till, and the type says Buy Goods."""
    account = Till(store_number="600000", till_number="5566778")
    fields = wire_fields(account)
    assert (fields["BusinessShortCode"], fields["PartyB"]) == (600000, 5566778)
    assert fields["TransactionType"] == "CustomerBuyGoodsOnline"
    assert (account.shortcode, account.party_b) == ("600000", "5566778")
    assert str(account) == "till 5566778 of store 600000"


def test_a_leading_zero_is_not_lost_on_the_wire() -> None:
    """A number that begins with 0 travels as a string."""
    fields = wire_fields(Till(store_number="00000", till_number="0123"))
    assert (fields["BusinessShortCode"], fields["PartyB"]) == ("00000", "0123")


@pytest.mark.parametrize("digits", ["12345", "123456", "1234567"])
def test_shortcodes_have_five_to_seven_digits(digits: str) -> None:
    """Every length that Daraja's pages name is taken."""
    assert PayBill(digits).shortcode == digits
    assert Till(store_number=digits, till_number="1234").shortcode == digits


BAD: list[Any] = ["", "1234", "12345678", "17437a", " 174379", "174379\n", "\u0661" * 6]
BAD += [174379, None, True, b"174379", ["174379"]]


@pytest.mark.parametrize("number", BAD)
def test_a_bad_paybill_is_refused(number: Any) -> None:
    """Only a string of digits is a shortcode."""
    with pytest.raises(ConfigurationError) as refusal:
        PayBill(number)
    assert refusal.value.problems == (("shortcode", FIVE_TO_SEVEN),)


@pytest.mark.parametrize("number", [*BAD, "123", "1" * 11])
def test_a_bad_till_is_refused(number: Any) -> None:
    """Both numbers of a till are checked, each by its own length."""
    if number not in ("1234", "12345678"):
        with pytest.raises(ConfigurationError) as refusal:
            Till(store_number="600000", till_number=number)
        assert refusal.value.problems == (("till_number", FOUR_TO_TEN),)
    with pytest.raises(ConfigurationError) as refusal:
        Till(store_number=number, till_number="5566778")
    assert refusal.value.problems == (("store_number", FIVE_TO_SEVEN),)


def test_one_error_names_both_numbers_of_a_till() -> None:
    """Whoever corrects the settings sees all that is wrong at once."""
    with pytest.raises(ConfigurationError) as refusal:
        Till(store_number="1", till_number="x")
    assert refusal.value.problems == (
        ("store_number", FIVE_TO_SEVEN),
        ("till_number", FOUR_TO_TEN),
    )


def test_paybill_and_till_cannot_be_mixed() -> None:
    """A paybill has no till number, a till no shortcode of its own, and neither can be changed."""
    make_paybill: Any = PayBill
    make_till: Any = Till
    with pytest.raises(TypeError):
        make_paybill("600000", till_number="5566778")
    with pytest.raises(TypeError):
        make_till(shortcode="600000", till_number="5566778")
    with pytest.raises(TypeError):
        make_till("600000", "5566778")
    paybill: Any = PayBill("600000")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        paybill.shortcode = "600001"
    for account in (PayBill("600000"), Till(store_number="600000", till_number="600000")):
        assert (account.transaction_type == "CustomerPayBillOnline") == (account == paybill)
