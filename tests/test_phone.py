from __future__ import annotations

import pickle
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mpesa_stk import InvalidPhoneNumber, PhoneNumber, normalize_phone
from mpesa_stk.privacy import mask_phone

MSISDN = re.compile(r"254[17][0-9]{8}")
national_numbers = st.from_regex(r"[17][0-9]{8}", fullmatch=True)
typed_characters = st.text(alphabet="0123456789+ -.()254071a\u0661\n", max_size=45)

SPELLINGS = (
    "0{}",
    "{}",
    "+254{}",
    "254{}",
    "00254{}",
    "+254 {}",
    "(+254) {}",
    "(254){}",
    "+254 (0) {}",
    "+254(0){}",
    "+254  (0) {}",
    "(+254) (0) {}",
    "254 (0) {}",
    "00254-(0)-{}",
    " 0{} ",
    "(0){}",
    "0-{}",
)


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("national", ["718643064", "110000001"])
def test_every_way_to_write_a_number_gives_the_msisdn(spelling: str, national: str) -> None:
    """Whatever prefix a person types, Daraja gets 254 and nine digits."""
    assert normalize_phone(spelling.format(national)) == "254" + national


@pytest.mark.parametrize(
    "typed",
    [
        "+254 0718 643 064",
        "2540718643064",
        "254-0718643064",
        "00254 0718 643064",
        "tel:+254718643064",
        " TEL:0718-643-064\r\n",
        "\u202a+254 718 643064\u202c",
        "\u2066tel:0718643064\u2069",
        "\ufeff0718643064",
        "07186\u00ad43064",
        "+254\u00a0718\u202f643\u2009064",
        "0718\u2011643\u2013064",
        "0718\u2212643\uff0d064",
        "\t0718643064\n",
        "0718 643 064",
        "0718-643-064",
        "0718.643.064",
        "(0718) 643064",
        "+254 718 643 064",
        "+254-718-643-064",
        "+254.718.643.064",
        "00254 718 643 064",
        "  0718643064  ",
        "7 1 8 6 4 3 0 6 4",
    ],
)
def test_separators_between_digits_are_dropped(typed: str) -> None:
    """Spaces, dashes, dots, brackets and the zero after 254 carry no meaning, nor do copied marks."""
    assert normalize_phone(typed) == "254718643064"


TOO_SHORT = "is too short: nine digits must follow 0 or +254"
TOO_LONG = "is too long: nine digits must follow 0 or +254"
FOREIGN = "is not a Kenyan number (+254)"
NOT_MOBILE = "is not a mobile number: those start with 07, 01, +2547 or +2541"
CHARACTERS = "may hold only the digits 0-9, spaces, dashes, dots, brackets and a leading +"
REFUSED: list[tuple[Any, str]] = [
    ("", "is empty"),
    ("   ", "is empty"),
    ("()", "is empty"),
    ("0" * 41, "is longer than 40 characters"),
    ("0718643064" + " " * 31, "is longer than 40 characters"),
    ("a" * 5000, "is longer than 40 characters"),
    ("071864306", TOO_SHORT),
    ("7186430", TOO_SHORT),
    ("+25471864306", TOO_SHORT),
    ("254", TOO_SHORT),
    ("07186430644", TOO_LONG),
    ("+2547186430644", TOO_LONG),
    ("+25407186430644", TOO_LONG),
    ("+25400718643064", TOO_LONG),
    ("+254(0)(0)718643064", TOO_LONG),
    ("+254071864306", NOT_MOBILE),
    ("0254718643064", TOO_LONG),
    ("254254718643064", TOO_LONG),
    ("9999718643064", TOO_LONG),
    ("07254(0)12345", TOO_LONG),
    ("0201234567", NOT_MOBILE),
    ("+254201234567", NOT_MOBILE),
    ("0500123456", NOT_MOBILE),
    ("254000000000", NOT_MOBILE),
    ("+255718643064", FOREIGN),
    ("+1 718 643 0640", FOREIGN),
    ("0044718643064", FOREIGN),
    ("00718643064", FOREIGN),
    ("0718 643 O64", CHARACTERS),
    ("0718643064x", CHARACTERS),
    ("tel:", "is empty"),
    ("tel:tel:0718643064", CHARACTERS),
    ("0718643064:tel:", CHARACTERS),
    ("sip:0718643064", CHARACTERS),
    ("\u202a\u202c", "is empty"),
    ("\u202a\u202c" * 21, "is longer than 40 characters"),
    ("0718\n643064", CHARACTERS),
    ("0718\t643064", CHARACTERS),
    ("0718\x00643064", CHARACTERS),
    ("\u0660\u0667\u0661\u0668\u0666\u0664\u0663\u0660\u0666\u0664", CHARACTERS),
    ("\uff10\uff17\uff11\uff18\uff16\uff14\uff13\uff10\uff16\uff14", CHARACTERS),
    ("\u00b9\u00b2\u00b3\u00b9\u00b2\u00b3\u00b9\u00b2\u00b3", CHARACTERS),
    ("07+18643064", CHARACTERS),
    ("++254718643064", CHARACTERS),
    (None, "must be a string, not NoneType"),
    (254718643064, "must be a string, not int"),
    (b"0718643064", "must be a string, not bytes"),
    (["0718643064"], "must be a string, not list"),
]


@pytest.mark.parametrize(("typed", "rule"), REFUSED)
def test_anything_else_is_refused_with_its_rule(typed: Any, rule: str) -> None:
    """The error names the rule that is broken and never repeats the number."""
    with pytest.raises(InvalidPhoneNumber) as refusal:
        normalize_phone(typed)
    assert (refusal.value.field, refusal.value.rule) == ("phone_number", rule)
    if len(re.sub("[^0-9]", "", str(typed))) > 4:  # shorter ones are in the rules themselves
        assert str(typed).strip() not in str(refusal.value)


@given(national=national_numbers)
def test_all_spellings_of_a_number_agree(national: str) -> None:
    """One subscriber is one MSISDN, however the number is typed."""
    assert {normalize_phone(each.format(national)) for each in SPELLINGS} == {"254" + national}


@given(typed=typed_characters | st.text(max_size=45))
@example("07254(0)12345")
@example("+254(0)(0)712345678")
@example("0(0)712345678")
def test_any_text_gives_its_own_digits_or_is_refused(typed: str) -> None:
    """No digit is made up or left out, but for the prefix and the `(0)` after it."""
    try:
        msisdn = normalize_phone(typed)
    except InvalidPhoneNumber as refusal:
        digits = re.sub("[^0-9]", "", typed)
        assert len(digits) < 5 or digits not in str(refusal)  # noqa: PT017 - the error is optional
        return
    assert MSISDN.fullmatch(msisdn)
    digits = re.sub(r"^(?:00254|254)0?|^0", "", re.sub("[^0-9]", "", typed))
    assert "254" + digits == msisdn


@given(national=national_numbers)
def test_an_msisdn_stays_as_it_is(national: str) -> None:
    """Normalising twice changes nothing."""
    msisdn = normalize_phone("0" + national)
    assert normalize_phone(msisdn) == msisdn


@pytest.mark.parametrize("prefix", ["1", "12", "123", "07", "0", "5", "+1", "255"])
def test_a_number_is_never_its_last_nine_digits(prefix: str) -> None:
    """Digits before the number are never cut off to make it fit."""
    with pytest.raises(InvalidPhoneNumber):
        normalize_phone(prefix + "0718643064")


def test_a_phone_number_shows_its_forms() -> None:
    """The value offers every form that hosts print or store."""
    phone = PhoneNumber.parse("0718 643 064")
    assert phone.msisdn == "254718643064"
    assert phone.e164 == "+254718643064"
    assert phone.local == "0718643064"
    assert phone.masked == "254718***064"


def test_a_phone_number_is_masked_where_it_is_shown() -> None:
    """Neither repr nor str nor formatting tells the whole number."""
    phone = PhoneNumber.parse("0718643064")
    assert repr(phone) == "PhoneNumber(msisdn='254718***064')"
    assert "643" not in f"{phone} {[phone]}"


def test_a_phone_number_is_a_value() -> None:
    """Equal numbers are equal, hash the same and survive pickle."""
    phone = PhoneNumber.parse("+254718643064")
    assert phone == PhoneNumber("254718643064")
    assert len({phone, PhoneNumber.parse("0718643064")}) == 1
    assert pickle.loads(pickle.dumps(phone)) == phone  # noqa: S301 - our own bytes


@pytest.mark.parametrize("msisdn", ["0718643064", "+254718643064", "254 718643064", "254"])
def test_a_phone_number_is_made_from_an_msisdn_only(msisdn: str) -> None:
    """The plain constructor takes what `parse` makes, and nothing that would need work."""
    with pytest.raises(InvalidPhoneNumber):
        PhoneNumber(msisdn)


@pytest.mark.parametrize(
    ("number", "masked"),
    [
        ("254718643064", "254718***064"),
        ("+254718643064", "+254718***064"),
        ("254708***430", "254708***430"),
        ("718643064", "***"),
        ("", "***"),
        (None, None),
    ],
)
def test_masking_hides_the_middle(number: str | None, masked: str | None) -> None:
    """A mask keeps what support needs to recognise a number; a short one shows nothing."""
    assert mask_phone(number) == masked
