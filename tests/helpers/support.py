"""What the tests share: a clock moved by hand, settings full of canaries, bodies as Daraja posts them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mpesa_stk import Environment, PayBill, StkConfig, Transaction
from mpesa_stk.testing import contract_values, manual_clock

HELPERS = Path(__file__).parent
TESTS = HELPERS.parent
DATA = TESTS / "data"
ROOT = TESTS.parent
"""The folders of these helpers, of all tests, of their data, and of the project."""

START = manual_clock.START
ManualClock = manual_clock.ManualClock

# Canary secrets: none of them may ever be seen outside of a request to the configured origin.
CONSUMER_KEY = "CANARYkeyAbCdEfGhIjKlMnOpQrStUv"
CONSUMER_SECRET = "CANARYsecret0123456789"
PASSKEY = "c0ffee" * 10 + "cafe"
CALLBACK_SECRET = "CANARY-callback-secret"
TOKEN = "CANARYtoken" + "t" * 17
CANARIES = (CONSUMER_KEY, CONSUMER_SECRET, PASSKEY, CALLBACK_SECRET, TOKEN)

CALLBACK_URL = "https://shop.example.co.ke/payments/callback"
CHECKOUT_ID = "ws_CO_23112026090000123718643064"
MERCHANT_ID = "29115-34620561-1"
ACCOUNTS = frozenset({"paybill 600000"})
"""The account of `make_config` and `make_transaction`, as a claim takes it."""


def make_config(**changes: Any) -> StkConfig:
    """Settings for the sandbox, with canary secrets."""
    settings: dict[str, Any] = {
        "consumer_key": CONSUMER_KEY,
        "consumer_secret": CONSUMER_SECRET,
        "passkey": PASSKEY,
        "account": PayBill("600000"),
        "callback_url": CALLBACK_URL,
    }
    return StkConfig(**(settings | changes))


def loopback_config(origin: str, **changes: Any) -> StkConfig:
    """Settings for a Daraja on this machine."""
    return make_config(
        environment=Environment.at(origin, name="loopback"),
        **({"callback_url": f"{origin}/callback"} | changes),
    )


def accepted(
    checkout_request_id: str = CHECKOUT_ID, merchant_request_id: str = MERCHANT_ID
) -> dict[str, str]:
    """Daraja's answer to a push that it takes."""
    return {
        "MerchantRequestID": merchant_request_id,
        "CheckoutRequestID": checkout_request_id,
        "ResponseCode": "0",
        "ResponseDescription": "Success. Request accepted for processing",
        "CustomerMessage": "Success. Request accepted for processing",
    }


def callback(
    code: int | str = 0,
    *,
    amount: Any = 100,
    receipt: Any = "NLJ7RT61SV",
    checkout_request_id: str = CHECKOUT_ID,
    transaction_date: Any = 20261123090013,
    **changes: Any,
) -> bytes:
    """The body of a callback; with code 0, one that proves the payment."""
    body: dict[str, Any] = {
        "MerchantRequestID": MERCHANT_ID,
        "CheckoutRequestID": checkout_request_id,
        "ResultCode": code,
        "ResultDesc": "The service request is processed successfully." if code == 0 else "No.",
    }
    if code == 0:
        items = [
            {"Name": "Amount", "Value": amount},
            {"Name": "MpesaReceiptNumber", "Value": receipt},
            {"Name": "TransactionDate", "Value": transaction_date},
            {"Name": "PhoneNumber", "Value": 254718643064},
        ]
        body["CallbackMetadata"] = {"Item": items}
    return json.dumps({"Body": {"stkCallback": body | changes}}).encode()


def samples(*groups: str) -> list[dict[str, Any]]:
    """The collected wire samples of some groups."""
    loaded = json.loads((DATA / "wire-samples.json").read_text(encoding="utf-8"))["samples"]
    return [sample for sample in loaded if not groups or sample["group"] in groups]


def claim_of(transaction: Transaction) -> dict[str, Any]:
    """The facts of a payment that its callback URL is signed over."""
    return {
        "transaction_no": transaction.transaction_no,
        "amount": transaction.amount,
        "account": transaction.account,
    }


def make_transaction(**changes: Any) -> Transaction:
    """A payment of 100 shillings whose intent was just stored."""
    return contract_values.payment(
        1, **({"transaction_no": "6f9619ff-8b86-4011-b42d-00c04fc964ff"} | changes)
    )
