"""Signed callback URLs."""

from __future__ import annotations

from typing import Any

import pytest

from mpesa_stk.payments.signing import is_genuine, signed_url, transaction_no_of
from support import CALLBACK_SECRET, claim_of, make_transaction


def test_tag_is_the_first_half_of_an_hmac() -> None:
    """The tag equals one that another tool made."""
    # printf '%s' '6f9619ff-8b86-4011-b42d-00c04fc964ff|100|paybill 600000' |
    #   openssl dgst -sha256 -hmac CANARY-callback-secret | grep -o '[0-9a-f]\{64\}' | cut -c1-32
    transaction = make_transaction(transaction_no="6f9619ff-8b86-4011-b42d-00c04fc964ff")
    url = signed_url("https://shop.example/cb/", CALLBACK_SECRET, **claim_of(transaction))
    assert url == (
        "https://shop.example/cb/6f9619ff-8b86-4011-b42d-00c04fc964ff"
        ".23df2910959bce467b880b972e10eaac/"
    )


@pytest.mark.parametrize("token", ["", "x", "../..", "6f9619ff-8b86-4011-b42d-00c04fc964ff", "é.é"])
def test_text_that_is_no_token_names_no_payment(token: str) -> None:
    """Anything but number and tag is no token."""
    assert transaction_no_of(token) is None


@pytest.mark.parametrize(
    "changes", [{"amount": 101}, {"account": "paybill 600001"}, {"transaction_no": "0" * 36}]
)
def test_token_of_another_payment_is_not_genuine(changes: dict[str, Any]) -> None:
    """The tag covers number, amount and account."""
    transaction = make_transaction()
    token = signed_url("", CALLBACK_SECRET, **claim_of(transaction)).strip("/")
    assert transaction_no_of(token) == transaction.transaction_no
    assert is_genuine(token, (CALLBACK_SECRET,), **claim_of(transaction))
    assert not is_genuine(token, (CALLBACK_SECRET,), **claim_of(transaction) | changes)


def test_older_secret_still_proves_after_rotation() -> None:
    """With a newer secret in front, URLs signed with the older one are still ours."""
    transaction = make_transaction()
    token = signed_url("", CALLBACK_SECRET, **claim_of(transaction)).strip("/")
    assert is_genuine(token, ("a-newer-secret-of-ours", CALLBACK_SECRET), **claim_of(transaction))
    assert not is_genuine(token, ("a-newer-secret-of-ours",), **claim_of(transaction))
