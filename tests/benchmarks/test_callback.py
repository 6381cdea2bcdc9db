"""What `parse_callback` costs beside `json.loads` and reading the fields."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from measure import Line, Scoreboard, in_words, profile, ratio, take_turns
from mpesa_stk import PaymentConfirmed, parse_callback
from support import samples

LIMIT = 2.0


def _official() -> bytes:
    """Safaricom's own sample of a success, byte for byte."""
    (sample,) = [sample for sample in samples() if sample["id"] == "cb-success-official"]
    return str(sample["body_raw"]).encode()


def test_callback(benchmark: Any, scoreboard: Scoreboard) -> None:
    """Reading a callback with every check costs about as much again as decoding its JSON."""
    body = _official()

    def parse() -> object:
        return parse_callback(body)

    def by_name() -> tuple[object, ...]:
        callback = json.loads(body)["Body"]["stkCallback"]
        items = {item["Name"]: item["Value"] for item in callback["CallbackMetadata"]["Item"]}
        return (
            callback["CheckoutRequestID"],
            callback["MerchantRequestID"],
            callback["ResultCode"],
            callback["ResultDesc"],
            items["Amount"],
            items["MpesaReceiptNumber"],
            items["TransactionDate"],
            items["PhoneNumber"],
        )

    result = parse()
    assert isinstance(result, PaymentConfirmed)
    assert (result.receipt_number, result.amount) == ("NLJ7RT61SV", Decimal("1.00"))
    assert by_name()[5] == result.receipt_number

    ours, floor, decoding = take_turns(
        benchmark, parse, by_name, lambda: json.loads(body), rounds=300, calls=200
    )
    found = ratio(ours, floor)
    notes = [in_words(ours, floor), f"against json.loads alone: {ratio(ours, decoding):.3f}"]
    if found > LIMIT:
        notes += profile(parse, calls=20_000)
    scoreboard.lines.append(
        Line(
            budget=f"parse_callback: at most {LIMIT} x json.loads and access by name",
            measured=f"{found:.3f}",
            met=found <= LIMIT,
            notes=tuple(notes),
        )
    )
