"""The signed callbacks of `data/wire-cases.json`, through `Payments.handle_callback`: none is lost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from daraja_double import result
from hosts import SIGNED, pending
from mpesa_stk import CallbackOutcome, TransactionState
from support import CHECKOUT_ID, DATA, callback

CASES: list[dict[str, Any]] = [
    case
    for case in json.loads((DATA / "wire-cases.json").read_text(encoding="utf-8"))
    if case["kind"].startswith("callback with a genuine token")
]
BODIES = {
    "signed-callback-bom": b"\xef\xbb\xbf" + callback(),
    "signed-callback-latin1": callback(ResultDesc="caf?").replace(b"?", b"\xe9"),
    "signed-callback-garbage": b"<html>502</html>",
}


def body_of(case: dict[str, Any]) -> bytes:
    """The good callback with the change that a case names."""
    if isinstance(case["input"], str):
        return BODIES[case["id"]]
    good = json.loads(callback())
    for field, value in case["input"].items():
        if value == "<remove>":
            del good["Body"]["stkCallback"][field]
        else:
            good["Body"]["stkCallback"][field] = value
    return json.dumps(good).encode()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_signed_callback_is_read_or_kept(case: dict[str, Any]) -> None:
    """It settles the payment, or it is kept raw, flagged, and the payment is asked about at once."""
    host = pending(**SIGNED)
    receipt = host.payments.handle_callback(body_of(case), token=host.daraja.token)
    if case["expect"].startswith("read"):
        assert receipt.outcome is CallbackOutcome.SETTLED
        assert host.stored().state is TransactionState.SUCCEEDED
        assert host.stored().receipt_number == "NLJ7RT61SV"
        return
    assert receipt.outcome is CallbackOutcome.KEPT
    (kept,) = host.store.kept_callbacks(transaction_no=host.stored().transaction_no)
    assert kept.body == body_of(case)
    assert host.stored().needs_review == "callback cannot be read"
    host.daraja.query_script.append(result(CHECKOUT_ID, "0"))
    assert host.payments.process_due(on_settled=lambda _: None).reported == 1
    assert host.stored().state is TransactionState.SUCCEEDED
