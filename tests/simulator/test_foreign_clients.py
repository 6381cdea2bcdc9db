"""Clients of other people, as they ship, against the simulator: their payments are paid.

They are not installed with the tests: see `foreign_clients`.
"""

from __future__ import annotations

import pytest

from foreign_clients import pay
from mpesa_stk.commands.simulate import _test_merchant

UTC = "Timestamp is 3 h behind East Africa Time, which most guides ask for"
LONG_REFERENCE = "AccountReference has 17 characters; Daraja's page asks for 12 at most"
LONG_DESCRIPTION = "TransactionDesc has 20 characters; Daraja's page asks for 13 at most"


@pytest.mark.parametrize(
    ("client", "advised"),
    [
        (
            "mpesa-api",
            ("TransactionType has blanks around it", UTC, LONG_REFERENCE, LONG_DESCRIPTION),
        ),
        ("mpesa-node", (UTC, LONG_REFERENCE, LONG_DESCRIPTION)),
    ],
)
def test_a_client_of_node_s_is_paid(client: str, advised: tuple[str, ...]) -> None:
    """The two that are downloaded most: token, push, callback and query, and what is advised."""
    run = pay(client)
    assert run.told is not None, run.error
    told, callback, journal = run.told, run.callback, run.journal

    assert str(told["pushed"]["ResponseCode"]) == "0"
    assert str(told["asked"]["ResultCode"]) == "0"
    assert callback["CheckoutRequestID"] == told["pushed"]["CheckoutRequestID"]
    assert callback["ResultCode"] == 0
    assert [entry.advice for entry in journal if entry.kind == "push"] == [advised]


@pytest.mark.parametrize(
    ("client", "advised"),
    [
        ("mpesakit", ("Passkey is no field of this request", UTC)),
        ("mpesa-wrapper", (UTC, LONG_REFERENCE, LONG_DESCRIPTION)),
        ("django-daraja", (UTC, LONG_REFERENCE, LONG_DESCRIPTION)),
    ],
)
def test_a_client_of_python_s_is_paid(client: str, advised: tuple[str, ...]) -> None:
    """Over requests and over httpx, on a host whose clock shows UTC; the passkey is masked."""
    run = pay(client)
    assert run.told is not None, run.error
    told, callback, journal = run.told, run.callback, run.journal

    assert str(told["pushed"]["ResponseCode"]) == "0"
    assert str(told.get("asked", {"ResultCode": 0})["ResultCode"]) == "0"
    assert callback["CheckoutRequestID"] == told["pushed"]["CheckoutRequestID"]
    assert callback["ResultCode"] == 0
    assert [entry.advice for entry in journal if entry.kind == "push"] == [advised]
    assert not any(_test_merchant().passkey in entry.asked for entry in journal)
