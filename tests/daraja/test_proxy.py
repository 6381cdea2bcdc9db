"""Behind a proxy that opens TLS, as companies have them: the settings alone make everything work."""

from __future__ import annotations

import base64
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from certificates import Tls
from loopback import Exchange, Server, answer, answer_json, upgrade_to_tls
from mpesa_stk import NotSent, StkClient, StkConfig, cli
from mpesa_stk.commands.context import Context
from support import (
    CALLBACK_URL,
    CHECKOUT_ID,
    CONSUMER_KEY,
    CONSUMER_SECRET,
    PASSKEY,
    TOKEN,
    accepted,
)
from transports import MakeTransport

PASSWORD = "CANARYproxypassword"
UNKNOWN_ID = {
    "requestId": "r-1",
    "errorCode": "400.002.02",
    "errorMessage": "Bad Request - Invalid CheckoutRequestID",
}


class InspectingProxy:
    """Opens the TLS of each host with a certificate of its own CA, and plays what stands behind it."""

    def __init__(self, tls: Tls) -> None:
        self.hosts: list[str] = []
        self._tls = tls

    def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        received = exchange.received
        if received.method == "CONNECT":
            host, _, port = received.target.partition(":")
            assert port == "443"
            assert "proxy-authorization" in received.headers
            self.hosts.append(host)
            upgrade_to_tls(self._tls.server(host))(exchange)
        elif received.target.startswith("/oauth"):
            answer_json({"access_token": TOKEN, "expires_in": "3599"})(exchange)
        elif received.target.startswith("/mpesa/stkpush/"):
            answer_json(accepted())(exchange)
        elif received.target.startswith("/mpesa/"):
            answer_json(UNKNOWN_ID, 400)(exchange)
        else:
            answer(405)(exchange)


@pytest.fixture
def inspector(tls: Tls) -> InspectingProxy:
    """What the proxy does."""
    return InspectingProxy(tls)


@pytest.fixture
def variables(tls: Tls, inspector: InspectingProxy) -> Iterator[dict[str, str]]:
    """The sandbox's settings, with the proxy and its CA."""
    with Server(inspector) as proxy:
        yield {
            "consumer_key": CONSUMER_KEY,
            "consumer_secret": CONSUMER_SECRET,
            "shortcode": "600000",
            "pass_key": PASSKEY,
            "c2b_callback": CALLBACK_URL,
            "callback_secret": "CANARY-callback-secret",
            "mpesa_proxy": proxy.origin.replace("//", f"//user:{PASSWORD}@"),
            "mpesa_ca_bundle": str(tls.bundle),
        }


def run(*words: str, **options: Any) -> tuple[int, str]:
    """A command's exit code and what it printed."""
    out = io.StringIO()
    return cli.main(words, context=Context(stdout=out, **options)), out.getvalue()


def test_doctor_reaches_daraja_and_the_callback_url(
    variables: dict[str, str], inspector: InspectingProxy
) -> None:
    """Its own look at the callback URL goes the same way, and no password is printed."""
    code, told = run(
        "doctor", "--json", environ=variables, resolve=lambda _host: ["196.201.214.200"]
    )
    found = {finding["check"]: finding["level"] for finding in json.loads(told)["findings"]}

    assert found.items() >= {"token": "ok", "credentials": "ok", "c2b_callback": "ok"}.items()
    assert set(inspector.hosts) == {"sandbox.safaricom.co.ke", "shop.example.co.ke"}
    assert code in (0, 1)  # the proxy tells no time, which is a finding of its own
    assert PASSWORD not in told


def test_push_works(
    variables: dict[str, str],
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As any other command that talks to Daraja; nobody is told the password, not even by urllib3."""
    words = [
        "--phone",
        "0718643064",
        "--amount",
        "1",
        "--reference",
        "INV-1",
        "--no-wait",
        "--json",
    ]
    with caplog.at_level(logging.DEBUG):
        code, told = run("push", *words, environ=variables)

    assert (code, json.loads(told)["checkout_request_id"]) == (0, CHECKOUT_ID)
    shown = told + capsys.readouterr().err + caplog.text
    basic = base64.b64encode(f"user:{PASSWORD}".encode()).decode()
    assert "safaricom" in shown
    assert not [secret for secret in (PASSWORD, basic) if secret in shown]


def make_client(make_transport: MakeTransport, variables: dict[str, str]) -> StkClient:
    """A client with a transport that has the same settings."""
    config = StkConfig.from_env(variables)
    transport = make_transport(proxies=config.proxies, ca_bundle=config.ca_bundle)
    return StkClient(config, transport=transport)


def test_each_transport_works(
    make_transport: MakeTransport,
    variables: dict[str, str],
    inspector: InspectingProxy,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A token and a push go through the proxy, and no log has its password."""
    with caplog.at_level(logging.DEBUG), make_client(make_transport, variables) as client:
        pushed = client.push(phone_number="0718643064", amount=1, reference="INV-1")

    assert pushed.checkout_request_id == CHECKOUT_ID
    assert set(inspector.hosts) == {"sandbox.safaricom.co.ke"}
    basic = base64.b64encode(f"user:{PASSWORD}".encode()).decode()
    assert not [secret for secret in (PASSWORD, basic, TOKEN) if secret in caplog.text]


def test_without_its_ca_nothing_is_sent(
    make_transport: MakeTransport, variables: dict[str, str], inspector: InspectingProxy
) -> None:
    """The error names the certificate; neither it nor the client shows the proxy's password."""
    del variables["mpesa_ca_bundle"]
    with make_client(make_transport, variables) as client:
        with pytest.raises(NotSent, match="certificate is not trusted") as caught:
            client.token()
        shown = (caught.value, vars(caught.value), client, vars(client), client.config)

    assert PASSWORD not in repr(shown)
    assert set(inspector.hosts) == {"sandbox.safaricom.co.ke"}
