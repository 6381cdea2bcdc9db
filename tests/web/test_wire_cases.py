"""The collected inputs that once failed, as far as they meet the payment endpoints."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from mpesa_stk import CallbackGuard, InvalidRequest, WebRequest
from support import DATA, loopback_config
from web_cases import PAYLOAD, Shop, body_of

CASES: dict[str, dict[str, Any]] = {
    case["id"]: case for case in json.loads((DATA / "wire-cases.json").read_text(encoding="utf-8"))
}
REFERENCES = [name for name, case in CASES.items() if case["kind"] == "reference"]
PROXY_CHAINS = [name for name in CASES if name.startswith("proxy-chain-")]


def test_each_kind_has_its_cases() -> None:
    """Both kinds are among the collected inputs."""
    assert REFERENCES == ["reference-long"]
    assert PROXY_CHAINS == ["proxy-chain-all-trusted"]


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.usefixtures("face")
def test_a_long_reference_over_http(name: str) -> None:
    """The prompt shows its end, the payment and the query by it keep it whole."""
    reference = CASES[name]["input"]
    shop = Shop()
    body = body_of(shop.handle(shop.checkout(reference=reference)))
    (push,) = shop.daraja.pushes
    assert len(push["AccountReference"]) == 12
    assert reference.endswith(push["AccountReference"])
    stored = shop.store.find(reference=reference)
    assert stored is not None
    assert (stored.transaction_no, stored.reference) == (body["transaction_no"], reference)


@pytest.mark.parametrize("name", REFERENCES)
def test_a_long_reference_in_python(name: str) -> None:
    """It is an error that names what to give beside it; with that, it is kept whole."""
    payments = Shop().payments
    order: dict[str, Any] = {
        "phone_number": PAYLOAD["phone_number"],
        "amount": 100,
        "reference": CASES[name]["input"],
    }
    with pytest.raises(InvalidRequest, match="prompt_reference") as caught:
        payments.checkout(**order)
    assert caught.value.field == "reference"
    paid = payments.checkout(**order, prompt_reference="2025-00001")
    assert paid.reference == order["reference"]
    with pytest.raises(InvalidRequest, match="at most 12"):
        payments.checkout(**order, prompt_reference=order["reference"])


@pytest.mark.parametrize("name", PROXY_CHAINS)
def test_a_chain_of_proxies(name: str) -> None:
    """The peer, the header and the proxies that the case names: its callback is let in."""
    read = re.fullmatch(
        r"peer (\S+), X-Forwarded-For: (\S+), trusted_proxies=(\S+), Daraja on loopback",
        CASES[name]["kind"],
    )
    assert read is not None
    peer, chain, trusted = read.groups()
    config = loopback_config("http://127.0.0.1:8090", trusted_proxies=(trusted,))
    callback = WebRequest(
        method="POST",
        path="/payments/callback/",
        headers={"X-Forwarded-For": chain},
        body=b"",
        remote_addr=peer,
    )
    CallbackGuard.from_config(config).check_callback(callback, signed=True)
