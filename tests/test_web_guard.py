"""Who may call: callbacks from Safaricom only, checkout and query not from other sites' pages."""

from __future__ import annotations

import logging

import attrs
import pytest

from mpesa_stk import (
    SAFARICOM_NETWORKS,
    CallbackGuard,
    CallbackRefused,
    PaymentEndpoints,
    WebRequest,
)
from mpesa_stk.web.addresses import networks
from mpesa_stk.web.guard import is_cross_site
from support import CANARIES, callback, loopback_config, make_config
from web_cases import CUSTOMER, HOST, SAFARICOM, Shop, body_of, error_of


def request(remote_addr: str | None = SAFARICOM, **headers: str) -> WebRequest:
    """A request with header fields by name and ``_`` for ``-``."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return WebRequest(method="POST", path="/", headers=fields, body=b"", remote_addr=remote_addr)


def refusal(guard: CallbackGuard, asked: WebRequest, *, signed: bool = True) -> str | None:
    """Why a guard refuses, or None."""
    try:
        guard.check_callback(asked, signed=signed)
    except CallbackRefused as error:
        return error.reason
    return None


UNKNOWN, FOREIGN = "the client's address cannot be known", "the client's address is not allowed"


@pytest.mark.parametrize("network", SAFARICOM_NETWORKS, ids=str)
def test_every_address_of_safaricoms_may_call_back(network: object) -> None:
    """By default, each address of the list is let through, as mapped IPv4 too."""
    address = str(network).partition("/")[0]
    assert refusal(CallbackGuard(), request(address)) is None
    assert refusal(CallbackGuard(), request(f"::ffff:{address}")) is None


@pytest.mark.parametrize(
    ("peer", "reason"),
    [
        (CUSTOMER, FOREIGN),
        ("196.201.214.201", FOREIGN),
        ("127.0.0.1", FOREIGN),
        ("::1", FOREIGN),
        ("2001:db8::7", FOREIGN),
        (None, UNKNOWN),
        ("unix:", UNKNOWN),
    ],
)
def test_everybody_else_is_refused(peer: str | None, reason: str) -> None:
    """Neighbours, this machine, and who cannot be known are refused, each with its reason."""
    assert refusal(CallbackGuard(), request(peer)) == reason


def test_networks_can_be_replaced() -> None:
    """Networks of one's own take the place of Safaricom's."""
    guard = CallbackGuard(allowed_networks=("192.0.2.0/24", "2001:db8::/32"))
    assert refusal(guard, request("192.0.2.9")) is None
    assert refusal(guard, request("2001:db8::9")) is None
    assert refusal(guard, request(SAFARICOM)) == FOREIGN
    both = CallbackGuard(allowed_networks=(*SAFARICOM_NETWORKS, "192.0.2.9"))
    assert refusal(both, request(SAFARICOM)) is None
    assert refusal(both, request("192.0.2.9")) is None


def test_several_proxies_are_passed_from_the_right() -> None:
    """Only what trusted proxies say counts, however many of them there are."""
    guard = CallbackGuard(trusted_proxies=("10.0.0.0/8", "192.0.2.1"))
    chain = f"1.2.3.4, {SAFARICOM}, 10.9.9.9"
    assert refusal(guard, request("192.0.2.1", X_Forwarded_For=chain)) is None
    assert refusal(guard, request("192.0.2.2", X_Forwarded_For=chain)) == FOREIGN
    assert refusal(guard, request("10.0.0.1", X_Forwarded_For=f"{SAFARICOM}, 1.2.3.4")) == FOREIGN
    assert refusal(guard, request("10.0.0.1", X_Forwarded_For="garbage")) == UNKNOWN
    assert refusal(guard, request("10.0.0.1")) == UNKNOWN


def test_a_signed_token_suffices_only_where_that_is_wished() -> None:
    """Off by default; and where URLs are not signed, the address always counts."""
    assert CallbackGuard().token_suffices is False
    trusting = CallbackGuard(token_suffices=True)
    assert refusal(CallbackGuard(), request(CUSTOMER), signed=True) == FOREIGN
    assert refusal(trusting, request(CUSTOMER), signed=True) is None
    assert refusal(trusting, request(CUSTOMER), signed=False) == FOREIGN


def test_a_token_that_suffices_must_be_genuine() -> None:
    """From any address, a genuine token settles the payment, and any other is refused."""
    shop = Shop(guard=CallbackGuard(token_suffices=True))
    body_of(shop.endpoints.handle(shop.checkout()))
    body = callback(checkout_request_id=shop.checkout_id)
    forged = shop.called_back(body, token=shop.daraja.token[:-1] + "x", peer=CUSTOMER)
    assert error_of(shop.endpoints.handle(forged), 403) == ("CallbackRefused", None)
    body_of(shop.endpoints.handle(shop.called_back(peer=CUSTOMER)))
    assert shop.settled == ["succeeded"]


def test_without_secrets_the_address_is_the_guard() -> None:
    """Where callback URLs are not signed, Safaricom's address is demanded whatever the policy."""
    shop = Shop(guard=CallbackGuard(token_suffices=True), callback_secrets=())
    body_of(shop.endpoints.handle(shop.checkout()))
    body = callback(checkout_request_id=shop.checkout_id)
    refused = shop.endpoints.handle(shop.called_back(body, token="", peer=CUSTOMER))
    assert error_of(refused, 403) == ("CallbackRefused", None)
    body_of(shop.endpoints.handle(shop.called_back(body, token="")))
    assert shop.settled == ["succeeded"]


# --- from the settings -----------------------------------------------------------------------------


def test_the_guard_of_plain_settings_knows_safaricom_only() -> None:
    """Without settings for it, the published addresses are allowed and no proxy is trusted."""
    assert CallbackGuard.from_config(make_config()) == CallbackGuard()


def test_the_guard_of_settings_follows_them() -> None:
    """Networks and proxies come from the settings."""
    config = make_config(
        allowed_callback_networks=("192.0.2.0/24",), trusted_proxies=("10.0.0.0/8",)
    )
    assert CallbackGuard.from_config(config) == CallbackGuard(
        allowed_networks=("192.0.2.0/24",), trusted_proxies=("10.0.0.0/8",)
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_a_simulator_on_this_machine_may_call_back(host: str) -> None:
    """Where all of Daraja's addresses are loopback, callbacks come from loopback too."""
    guard = CallbackGuard.from_config(loopback_config(f"http://{host}:8800"))
    for peer in ("127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", SAFARICOM):
        assert refusal(guard, request(peer)) is None
    assert refusal(guard, request(CUSTOMER)) == FOREIGN


def test_one_address_of_daraja_on_this_machine_opens_nothing() -> None:
    """A loopback address among others is no simulator."""
    config = make_config()
    mixed = attrs.evolve(config.environment, token_url="http://127.0.0.1:1/oauth")
    guard = CallbackGuard.from_config(make_config(environment=mixed))
    assert refusal(guard, request("127.0.0.1")) == FOREIGN


def test_the_endpoints_take_the_guard_of_the_settings() -> None:
    """Without a guard given, that of the client's settings stands at the door."""
    shop = Shop(allowed_callback_networks=("192.0.2.9",))
    endpoints = PaymentEndpoints(shop.payments)
    body_of(endpoints.handle(shop.checkout()))
    assert endpoints.handle(shop.called_back()).status == 403
    assert endpoints.handle(shop.called_back(peer="192.0.2.9")).status == 200


@pytest.mark.parametrize("field", ["allowed_networks", "trusted_proxies", "allowed_origins"])
def test_a_text_is_not_taken_for_a_list(field: str) -> None:
    """One string in place of a list is a mistake, not a list of letters."""
    with pytest.raises(TypeError, match="not one string"):
        CallbackGuard(**{field: "10.0.0.1"})  # type: ignore[arg-type]  # that is the mistake


# --- other sites -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "cross"),
    [
        ({}, False),
        ({"Host": HOST}, False),
        ({"Sec_Fetch_Site": "same-origin"}, False),
        ({"Sec_Fetch_Site": "none"}, False),
        ({"Sec_Fetch_Site": "same-site"}, True),
        ({"Sec_Fetch_Site": "cross-site"}, True),
        ({"Sec_Fetch_Site": ""}, True),
        ({"Sec_Fetch_Site": "same-origin,cross-site"}, True),
        ({"Sec_Fetch_Site": "cross-site", "Origin": f"https://{HOST}", "Host": HOST}, True),
        ({"Sec_Fetch_Site": "same-origin", "Origin": "https://other.example"}, False),
        ({"Origin": f"https://{HOST}", "Host": HOST}, False),
        ({"Origin": f"http://{HOST}:8000", "Host": f"{HOST.upper()}:8000"}, False),
        ({"Origin": f"https://{HOST}:8000", "Host": HOST}, True),
        ({"Origin": f"https://{HOST}.evil.example", "Host": HOST}, True),
        ({"Origin": "null", "Host": HOST}, True),
        ({"Origin": "", "Host": HOST}, True),
        ({"Origin": "null"}, True),
        ({"Origin": "https://", "Host": ""}, True),
        ({"Origin": "https://[", "Host": "["}, True),
        ({"Origin": "https://partner.example", "Host": HOST}, False),
        ({"Origin": "https://PARTNER.example", "Sec_Fetch_Site": "cross-site"}, False),
        ({"Origin": "http://partner.example", "Sec_Fetch_Site": "cross-site"}, True),
        ({"Origin": "https://partner.example.evil", "Sec_Fetch_Site": "cross-site"}, True),
        ({"Origin": "https://partner", "Sec_Fetch_Site": "cross-site"}, True),
    ],
)
def test_other_sites_are_told_from_our_own(headers: dict[str, str], *, cross: bool) -> None:
    """By Fetch Metadata, else by Origin against Host; origins that are allowed pass."""
    guard = CallbackGuard(allowed_origins=("https://Partner.example/",))
    assert is_cross_site(request(CUSTOMER, **headers), guard.allowed_origins) is cross


@pytest.mark.parametrize(
    "origin",
    ["*", "null", "", "partner.example", "https://", "https://a/b", "https://*", "ftp://a.example"],
)
def test_an_allowed_origin_must_be_one(origin: str) -> None:
    """A wildcard, ``null`` or a path is refused when the guard is made."""
    with pytest.raises(ValueError, match="allowed_origins"):
        CallbackGuard(allowed_origins=(origin,))


@pytest.mark.parametrize("origin", ["http://localhost:3000", "https://[::1]:8443"])
def test_an_allowed_origin_may_have_a_port(origin: str) -> None:
    """A host with a port is an origin, and so is an address in brackets."""
    assert CallbackGuard(allowed_origins=[origin]).allowed_origins == (origin,)


def test_an_allowed_origin_may_start_a_checkout() -> None:
    """A page of an allowed origin reaches checkout and query."""
    shop = Shop(guard=CallbackGuard(allowed_origins=("https://partner.example",)))
    body = body_of(
        shop.endpoints.handle(
            shop.post(
                "checkout",
                {"phone_number": "0718643064", "amount": 1, "reference": "A"},
                Origin="https://partner.example",
                Sec_Fetch_Site="cross-site",
            )
        )
    )
    assert body["CheckoutRequestID"] == shop.checkout_id


# --- the log ---------------------------------------------------------------------------------------


def test_what_is_refused_is_logged_with_a_reason_and_no_payload(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One line for each refused request; nothing of its body, address, headers or secrets."""
    shop = Shop()
    send = shop.endpoints.handle
    body_of(send(shop.checkout()))
    token = shop.daraja.token
    forged = token[:-1] + ("1" if token.endswith("0") else "0")
    with caplog.at_level(logging.INFO, logger="mpesa_stk"):
        caplog.clear()
        send(shop.called_back(peer=CUSTOMER, User_Agent="CANARYagent"))
        send(attrs.evolve(shop.called_back(User_Agent="CANARYagent"), remote_addr=None))
        send(shop.called_back(callback(receipt="CANARYreceipt"), token="CANARYpath"))
        send(shop.called_back(callback(receipt="CANARYreceipt"), token=forged))
        send(shop.post("checkout", {"reference": "CANARYref"}, Origin="https://canary.example"))
    lines = [record.getMessage() for record in caplog.records]
    assert [line for line in lines if "mpesa_stk.callback outcome" not in line] == [
        "mpesa_stk.callback_refused reason=the_client's_address_is_not_allowed",
        "mpesa_stk.callback_refused reason=the_client's_address_cannot_be_known",
        "mpesa_stk.callback_refused reason=no_token_in_the_callback_URL",
        "mpesa_stk.callback_refused reason=the_token_is_not_ours",
        "mpesa_stk.cross_site_refused endpoint=checkout",
    ]
    everything = "\n".join(lines) + str([vars(record) for record in caplog.records])
    for canary in (*CANARIES, "CANARY", "canary", CUSTOMER, token, "718643064"):
        assert canary not in everything


def test_the_guards_networks_are_values() -> None:
    """Two guards with the same networks are equal, however these were written."""
    assert CallbackGuard(trusted_proxies=networks(("10.0.0.0/8",))) == CallbackGuard(
        trusted_proxies=["10.0.0.0/8"]
    )
