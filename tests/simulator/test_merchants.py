"""A simulated Daraja with several merchants: each has its credentials, and some share an app."""

from __future__ import annotations

import pytest

from mpesa_stk import (
    AuthenticationFailed,
    DarajaError,
    MpesaError,
    PayBill,
    QueryStatus,
    StkClient,
    StkConfig,
    Till,
)
from mpesa_stk.simulator import SimulatorServer
from mpesa_stk.testing import SimulatedDaraja, simulated_config

PAYBILL = simulated_config()
TILL = simulated_config(
    account=Till(store_number="600000", till_number="5000001"), passkey="passkey-of-the-till"
)
OTHER = simulated_config(
    account=PayBill("600002"),
    consumer_key="other-key",
    consumer_secret="other-secret",
    passkey="other-passkey",
)
MERCHANTS = (PAYBILL, TILL, OTHER)


def pushed(client: StkClient, phone_number: str = "0718643064") -> str:
    """The id of a prompt."""
    return client.push(phone_number=phone_number, amount=5, reference="INV-1").checkout_request_id


def test_each_merchant_is_paid_and_asked_about() -> None:
    """A prompt names the account that is paid, also of a paybill and a till with one shortcode."""
    daraja = SimulatedDaraja(*MERCHANTS)
    for number, config in enumerate(MERCHANTS):
        client = daraja.client(config)
        prompt = pushed(client, f"07186430{number:02}")
        daraja.run()
        assert client.query(prompt).status is QueryStatus.PAID
    assert [prompt.business for prompt in daraja.prompts] == [str(one.account) for one in MERCHANTS]
    assert daraja.business == "paybill 600000, till 5000001 of store 600000, paybill 600002"


def test_accounts_of_one_app_share_its_token_and_other_apps_have_their_own() -> None:
    """A new token of one app makes no token of another app invalid."""
    daraja = SimulatedDaraja(*MERCHANTS)
    clients = [daraja.client(config) for config in MERCHANTS]
    for client in (clients[2], clients[0]):
        client.token()
    pushed(clients[2])
    tokens = [entry for entry in daraja.journal.entries() if entry.kind == "token"]
    assert len(tokens) == 2
    clients[1].token()
    pushed(clients[0], "0718643065")
    tokens = [entry for entry in daraja.journal.entries() if entry.kind == "token"]
    assert len(tokens) == 4, "the token of the paybill died when the till fetched one"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"account": PayBill("600002")}, "Merchant does not exist"),
        ({"passkey": "passkey-of-nobody"}, "Wrong credentials"),
    ],
)
def test_merchant_of_another_app_is_refused(changes: dict[str, object], words: str) -> None:
    """The token of an app serves the shortcodes of that app only."""
    wrong: StkConfig = simulated_config(**changes)
    with pytest.raises(DarajaError) as refusal:
        pushed(SimulatedDaraja(*MERCHANTS).client(wrong))
    assert refusal.value.error_message == words


def test_unknown_app_gets_no_token() -> None:
    """Its key or its secret is wrong."""
    wrong = simulated_config(consumer_secret="secret-of-the-other")
    with pytest.raises(AuthenticationFailed):
        SimulatedDaraja(*MERCHANTS).client(wrong).token()


def test_prompt_of_another_merchant_is_not_known() -> None:
    """Whoever asks with other credentials learns nothing."""
    daraja = SimulatedDaraja(*MERCHANTS)
    prompt = pushed(daraja.client(PAYBILL))
    for config in (TILL, OTHER):
        answer = daraja.client(config).query(prompt, attempts=1)
        assert (answer.status, answer.not_found) == (QueryStatus.UNKNOWN, True)


def test_too_many_queries_of_one_app_do_not_slow_others() -> None:
    """Daraja counts the queries of each app."""
    daraja = SimulatedDaraja(*MERCHANTS, scenario="query-limited")
    prompts = [pushed(daraja.client(one), f"07186430{n:02}") for n, one in enumerate(MERCHANTS)]
    daraja.client(PAYBILL).query(prompts[0], attempts=1)
    daraja.client(OTHER).query(prompts[2], attempts=1)
    with pytest.raises(MpesaError):
        daraja.client(TILL).query(prompts[1], attempts=1)


def test_server_serves_several_merchants() -> None:
    """Over HTTP as inside a test."""
    with SimulatorServer(*MERCHANTS) as server:
        for merchant in MERCHANTS:
            config = simulated_config(
                account=merchant.account,
                consumer_key=merchant.consumer_key,
                consumer_secret=merchant.consumer_secret,
                passkey=merchant.passkey,
                environment=server.environment,
            )
            with StkClient(config) as client:
                assert client.token().value
        assert server.business.count(",") == 2
