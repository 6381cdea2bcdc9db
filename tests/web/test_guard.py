"""Who may call: callbacks from Safaricom only, checkout and query not from other sites' pages."""

from __future__ import annotations

import logging

import attrs
import pytest

from mpesa_stk import (
    SAFARICOM_NETWORKS,
    CallbackGuard,
    CallbackRefused,
    WebRequest,
)
from mpesa_stk.web.addresses import networks
from mpesa_stk.web.guard import is_cross_site
from support import CANARIES, callback, loopback_config, make_config
from web_cases import CUSTOMER, HOST, PROXY, SAFARICOM, Shop, body_of, error_of


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


@pytest.mark.usefixtures("face")
def test_a_token_that_suffices_must_be_genuine() -> None:
    """From any address, a genuine token settles the payment, and any other is refused."""
    shop = Shop(guard=CallbackGuard(token_suffices=True))
    body_of(shop.handle(shop.checkout()))
    body = callback(checkout_request_id=shop.checkout_id)
    forged = shop.called_back(body, token=shop.daraja.token[:-1] + "x", peer=CUSTOMER)
    assert error_of(shop.handle(forged), 403) == ("CallbackRefused", None)
    body_of(shop.handle(shop.called_back(peer=CUSTOMER)))
    assert shop.settled == ["succeeded"]


@pytest.mark.usefixtures("face")
def test_without_secrets_the_address_is_the_guard() -> None:
    """Where callback URLs are not signed, Safaricom's address is demanded whatever the policy."""
    shop = Shop(guard=CallbackGuard(token_suffices=True), callback_secrets=())
    body_of(shop.handle(shop.checkout()))
    body = callback(checkout_request_id=shop.checkout_id)
    refused = shop.handle(shop.called_back(body, token="", peer=CUSTOMER))
    assert error_of(refused, 403) == ("CallbackRefused", None)
    body_of(shop.handle(shop.called_back(body, token="")))
    assert shop.settled == ["succeeded"]


# --- from the settings -----------------------------------------------------------------------------


def test_the_guard_of_plain_settings_knows_safaricom_only() -> None:
    """Without settings for it, the published addresses are allowed and no proxy is trusted."""
    assert CallbackGuard.from_config(make_config()) == CallbackGuard()


def test_the_guard_of_settings_follows_them() -> None:
    """Networks and proxies come from the settings."""
    config = make_config(
        allowed_callback_networks=("192.0.2.0/24",),
        trusted_proxies=("10.0.0.0/8",),
        allowed_hosts=("shop.example",),
    )
    assert CallbackGuard.from_config(config) == CallbackGuard(
        allowed_networks=("192.0.2.0/24",),
        trusted_proxies=("10.0.0.0/8",),
        allowed_hosts=("shop.example",),
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_a_simulator_on_this_machine_may_call_back(host: str) -> None:
    """Where all of Daraja's addresses are loopback, callbacks come from loopback too."""
    guard = CallbackGuard.from_config(loopback_config(f"http://{host}:8800"))
    for peer in ("127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", SAFARICOM):
        assert refusal(guard, request(peer)) is None
    assert refusal(guard, request(CUSTOMER)) == FOREIGN


@pytest.mark.parametrize(
    "field", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via", "CF-Connecting-IP"]
)
def test_a_proxy_on_this_machine_is_no_simulator(field: str) -> None:
    """What nginx or a tunnel passes on comes from this machine too, but not from the simulator."""
    guard = CallbackGuard.from_config(loopback_config("http://127.0.0.1:8800"))
    passed_on = WebRequest(
        method="POST",
        path="/",
        headers={field: CUSTOMER},
        body=b"",
        remote_addr="127.0.0.1",
    )
    assert refusal(guard, passed_on) == FOREIGN


def test_a_trusted_proxy_may_pass_the_simulators_callbacks_on() -> None:
    """Behind a trusted proxy on the same machine, the simulator is let in and strangers are not."""
    config = loopback_config("http://127.0.0.1:8800", trusted_proxies=("127.0.0.1",))
    guard = CallbackGuard.from_config(config)
    for chain, reason in (
        ("127.0.0.1", None),
        ("127.0.0.1, 127.0.0.1", None),
        (CUSTOMER, FOREIGN),
        (f"127.0.0.1, {CUSTOMER}", FOREIGN),
        ("garbage", UNKNOWN),
    ):
        asked = request("127.0.0.1", X_Forwarded_For=chain, X_Real_IP="127.0.0.1")
        assert refusal(guard, asked) == reason
    assert refusal(guard, request("127.0.0.1")) == UNKNOWN


def test_a_simulator_cannot_be_claimed_from_afar() -> None:
    """With a real Daraja a chain of trusted proxies alone is not one of Safaricom's addresses."""
    guard = CallbackGuard(trusted_proxies=("127.0.0.1",))
    assert refusal(guard, request("127.0.0.1", X_Forwarded_For="127.0.0.1")) == FOREIGN


def test_one_address_of_daraja_on_this_machine_opens_nothing() -> None:
    """A loopback address among others is no simulator."""
    config = make_config()
    mixed = attrs.evolve(config.environment, token_url="http://127.0.0.1:1/oauth")
    guard = CallbackGuard.from_config(make_config(environment=mixed))
    assert refusal(guard, request("127.0.0.1")) == FOREIGN


@pytest.mark.usefixtures("face")
def test_the_endpoints_take_the_guard_of_the_settings() -> None:
    """Without a guard given, that of the client's settings stands at the door."""
    shop = Shop(allowed_callback_networks=("192.0.2.9",))
    body_of(shop.handle(shop.checkout()))
    assert shop.handle(shop.called_back()).status == 403
    assert shop.handle(shop.called_back(peer="192.0.2.9")).status == 200


@pytest.mark.parametrize(
    "field", ["allowed_networks", "trusted_proxies", "allowed_origins", "allowed_hosts"]
)
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


@pytest.mark.usefixtures("face")
def test_an_allowed_origin_may_start_a_checkout() -> None:
    """A page of an allowed origin reaches checkout and query."""
    shop = Shop(guard=CallbackGuard(allowed_origins=("https://partner.example",)))
    body = body_of(
        shop.handle(
            shop.post(
                "checkout",
                {"phone_number": "0718643064", "amount": 1, "reference": "A"},
                Origin="https://partner.example",
                Sec_Fetch_Site="cross-site",
            )
        )
    )
    assert body["CheckoutRequestID"] == shop.checkout_id


# --- our own hosts ---------------------------------------------------------------------------------

OURS = "shop.example.co.ke"


@pytest.mark.usefixtures("face")
@pytest.mark.parametrize(
    ("host", "status"),
    [
        (OURS, 200),
        (f"{OURS.upper()}.:8443", 200),
        ("pay.example", 200),
        ("PAY.example:80", 200),
        ("192.0.2.7:8000", 200),
        ("evil.example", 403),
        (f"{OURS}.evil.example", 403),
        (f"evil.example@{OURS}", 403),
        (f"{OURS},evil.example", 403),
        ("localhost", 403),
        ("", 403),
        ("[", 403),
    ],
)
def test_only_our_hosts_are_answered(host: str, status: int) -> None:
    """With `allowed_hosts`, they and the host of the callback URL pass, and no other does."""
    shop = Shop(guard=CallbackGuard(allowed_hosts=("Pay.example", "192.0.2.7")))
    send = shop.handle
    payload = {"phone_number": "0718643064", "amount": 1, "reference": "A"}
    answered = send(shop.post("checkout", payload, Host=host))
    assert answered.status == status
    if status == 403:
        assert error_of(answered, 403) == ("foreign_host", None)
        assert error_of(send(shop.post("query", {}, Host=host)), 403) == ("foreign_host", None)
        assert shop.daraja.pushes == []
        body_of(send(shop.checkout()))
        refused = send(shop.called_back(Host=host))
        assert error_of(refused, 403) == ("foreign_host", None)
        assert [event.endpoint for event in shop.events if event.kind == "refusal"] == [
            "checkout",
            "query",
            "callback",
        ]


@pytest.mark.usefixtures("face")
def test_without_allowed_hosts_each_host_is_answered() -> None:
    """Frameworks and proxies check the Host themselves, so by default nothing is refused for it."""
    shop = Shop()
    body_of(
        shop.handle(attrs.evolve(shop.checkout(), headers={"content-type": "application/json"}))
    )


@pytest.mark.parametrize(
    ("listening_on", "host", "own"),
    [
        ("127.0.0.1", "127.0.0.1:8000", True),
        ("127.0.0.1", "localhost:8000", True),
        ("127.0.0.1", "[::1]:8000", True),
        ("127.0.0.1", "192.0.2.7:8000", False),
        ("127.0.0.1", "evil.example:8000", False),
        ("127.0.0.1", f"{OURS}:443", True),
        ("0.0.0.0", "192.0.2.7:8000", True),  # noqa: S104 - nobody listens
        ("::", "[2001:db8::7]:8000", True),
        ("0.0.0.0", "evil.example:8000", False),  # noqa: S104 - nobody listens
        ("shop.lan", "Shop.lan:8000", True),
    ],
)
def test_a_server_knows_its_own_names(listening_on: str, host: str, *, own: bool) -> None:
    """Where it listens, this machine, and the host of the callback URL; if on all, any address."""
    guard = CallbackGuard(listening_on=listening_on)
    foreign = guard.is_foreign_host(request(Host=host), callback_url=f"https://{OURS}/cb")
    assert foreign is not own


@pytest.mark.parametrize("host", ["", "*", "https://shop.example", "shop.example:80", "a b", "a/b"])
def test_an_allowed_host_must_be_one(host: str) -> None:
    """A wildcard, a scheme or a port is refused when the guard is made."""
    with pytest.raises(ValueError, match="allowed_hosts"):
        CallbackGuard(allowed_hosts=(host,))


# --- the log ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("face")
def test_what_is_refused_is_told_with_a_reason_and_no_payload(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One line and one event for each refused request: who and why, nothing of what was sent."""
    shop = Shop()
    send = shop.handle
    body_of(send(shop.checkout()))
    token = shop.daraja.token
    forged = token[:-1] + ("1" if token.endswith("0") else "0")
    with caplog.at_level(logging.INFO, logger="mpesa_stk"):
        caplog.clear()
        send(shop.called_back(peer=CUSTOMER, User_Agent="CANARYagent"))
        send(attrs.evolve(shop.called_back(User_Agent="CANARYagent"), remote_addr=None))
        send(shop.called_back(peer=PROXY))
        send(shop.called_back(callback(receipt="CANARYreceipt"), token="CANARYpath"))
        send(shop.called_back(peer=PROXY, token=forged, X_Forwarded_For=SAFARICOM))
        send(shop.post("checkout", {"reference": "CANARYref"}, Origin="https://canary.example"))
    lines = [record.getMessage() for record in caplog.records]
    start, foreign = (
        "mpesa_stk.refusal outcome=refused endpoint=",
        "the_client's_address_is_not_allowed",
    )
    unknown = "the_client's_address_cannot_be_known"
    assert [line for line in lines if "mpesa_stk.callback outcome" not in line] == [
        f"{start}callback reason={foreign} client_address={CUSTOMER}",
        f"{start}callback reason={unknown}",
        f"{start}callback reason={unknown} client_address={PROXY}",
        f"{start}callback reason=no_token_in_the_callback_URL client_address={SAFARICOM}",
        f"{start}callback reason=the_token_is_not_ours client_address={SAFARICOM}",
        f"{start}checkout reason=another_site's_page client_address={CUSTOMER}",
    ]
    told = [event.client_address for event in shop.events if event.kind == "refusal"]
    assert told == [CUSTOMER, None, PROXY, SAFARICOM, SAFARICOM, CUSTOMER]
    everything = "\n".join(lines) + str([vars(record) for record in caplog.records])
    for canary in (*CANARIES, "CANARY", "canary", token, "718643064"):
        assert canary not in everything


@pytest.mark.usefixtures("face")
def test_an_address_that_is_none_is_not_told() -> None:
    """What a server gives as the peer may be a text of somebody else's; only addresses are told."""
    shop = Shop()
    shop.handle(attrs.evolve(shop.called_back(token="x"), remote_addr="CANARY\x1b[2J"))
    assert [event.client_address for event in shop.events if event.kind == "refusal"] == [None]


def test_the_guards_networks_are_values() -> None:
    """Two guards with the same networks are equal, however these were written."""
    assert CallbackGuard(trusted_proxies=networks(("10.0.0.0/8",))) == CallbackGuard(
        trusted_proxies=["10.0.0.0/8"]
    )
