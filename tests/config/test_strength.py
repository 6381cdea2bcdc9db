"""Settings that let everybody in are refused, except with a Daraja on this machine."""

from __future__ import annotations

import re
import secrets
from typing import Any

import pytest

from mpesa_stk import ConfigurationError, StkConfig
from mpesa_stk.commands.context import Context
from mpesa_stk.commands.simulate import settings_of
from mpesa_stk.config.environment import PRODUCTION, Environment
from mpesa_stk.config.strength import is_too_wide, secret_fault
from mpesa_stk.config.urls import is_host, names_this_machine
from mpesa_stk.testing import simulated_config
from support import CALLBACK_SECRET, ROOT, loopback_config, make_config

DOCS = ROOT / "docs"
HERE = "http://127.0.0.1:8090"
PRINTED = "is printed in the documentation: make up a random one"
REPEATS = "repeats a few characters: make up a random one"
EVERYBODY = "must not hold all addresses; name networks such as 10.0.0.0/8"


def problems(**changes: Any) -> dict[str, str]:
    """What is wrong with settings for the sandbox and for production, which is the same."""
    found = []
    for more in ({}, {"environment": PRODUCTION}):
        try:
            make_config(**more, **changes)
        except ConfigurationError as error:
            found.append(dict(error.problems))
        else:
            found.append({})
    assert found[0] == found[1]
    return found[0]


@pytest.mark.parametrize(
    ("secret", "fault"),
    [
        ("simulated-callback-secret", PRINTED),
        ("Simulated-Callback-Secret", PRINTED),
        ("at-least-16-characters-of-your-own", PRINTED),
        ("only-to-try-it-out", PRINTED),
        ("x" * 16, REPEATS),
        ("0123" * 8, REPEATS),
        ("secret" * 3, REPEATS),
        ("changeme" * 2, REPEATS),
        ("aaaaaaaabbbbbbbbcccc", REPEATS),
        (CALLBACK_SECRET, None),
        ("0123456789abcdef", None),
    ],
)
def test_a_secret_that_can_be_guessed_is_refused(secret: str, fault: str | None) -> None:
    """Printed by the simulator or the documentation, or a few characters again and again."""
    expected = {"callback_secrets": fault} if fault else {}
    assert problems(callback_secrets=(secret,)) == expected
    assert problems(callback_secrets=(CALLBACK_SECRET, secret)) == expected
    assert loopback_config(HERE, callback_secrets=(secret,)).callback_secrets == (secret,)


def test_a_printed_secret_is_good_enough_for_trying_things_out() -> None:
    """`serve --simulate` and `trigger` sign with the secrets that the pages show."""
    secret = "only-to-try-it-out"
    assert Context(environ={"CALLBACK_SECRET": secret}).callback_secrets() == (secret,)


def test_random_secrets_are_taken() -> None:
    """What people are told to make is never refused."""
    for make in (secrets.token_hex, secrets.token_urlsafe):
        assert {secret_fault(make(16)) for _ in range(1000)} == {None}


def test_every_secret_that_is_printed_is_known() -> None:
    """The simulator's, that of the test tools, and each one that a page shows."""
    daraja = Environment.at(HERE, name="simulator")
    printed = {settings_of(daraja, known=True)["CALLBACK_SECRET"]}
    printed |= set(simulated_config().callback_secrets)
    for page in DOCS.rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        printed |= set(re.findall(r"CALLBACK_SECRET=['\"]?([A-Za-z0-9-]{16,})", text))
        printed |= set(re.findall(r"CALLBACK_SECRET\": \"([^\"]+)\"", text))
        printed |= set(re.findall(r"callback_secrets=[(\[]\"([^\"]+)\"", text))
    assert "simulated-callback-secret" in printed
    assert {secret_fault(secret) for secret in printed} == {PRINTED}


@pytest.mark.parametrize(
    ("network", "wide"),
    [
        ("0.0.0.0/0", True),
        ("::/0", True),
        ("128.0.0.0/1", True),
        ("2000::/3", True),
        ("10.0.0.0/8", False),
        ("fc00::/7", False),
        ("196.201.212.0/22", False),
        ("::1", False),
    ],
)
def test_a_network_of_everybody_is_refused(network: str, *, wide: bool) -> None:
    """As a trusted proxy always; as the callers' network unless a signed token is demanded as well."""
    assert is_too_wide(network) is wide
    networks = ("10.1.0.0/16", network)
    for field in ("trusted_proxies", "allowed_callback_networks"):
        assert problems(**{field: networks}) == ({field: EVERYBODY} if wide else {})
        assert getattr(loopback_config(HERE, **{field: networks}), field) == networks
    signed = {"callback_secrets": (CALLBACK_SECRET,)}
    assert problems(allowed_callback_networks=networks, **signed) == {}
    assert problems(trusted_proxies=networks, **signed) == (
        {"trusted_proxies": EVERYBODY} if wide else {}
    )


def test_other_faults_of_the_same_settings_are_told_first() -> None:
    """What is no list or no network has its own rule."""
    not_networks = "must be a list or tuple of IP addresses or networks"
    assert problems(trusted_proxies="0.0.0.0/0") == {"trusted_proxies": not_networks}
    assert problems(trusted_proxies=("x", "0.0.0.0/0")) == {"trusted_proxies": not_networks}
    assert set(problems(callback_secrets="x" * 16)) == {"callback_secrets"}
    assert "at least 16" in problems(callback_secrets=("x" * 16, "x"))["callback_secrets"]


def test_a_variable_is_named() -> None:
    """From the environment, the refused secret is called as its variable is."""
    with pytest.raises(ConfigurationError) as caught:
        StkConfig.from_env({"CALLBACK_SECRET": "simulated-callback-secret"})
    assert ("callback_secret", PRINTED) in caught.value.problems
    assert "simulated-callback" not in str(caught.value)


# --- allowed hosts -----------------------------------------------------------------------------------


def test_allowed_hosts_are_read_from_the_variables() -> None:
    """A comma-separated list; surrounding white space is dropped."""
    config = StkConfig.from_env(
        {
            "consumer_key": "k",
            "consumer_secret": "s",
            "shortcode": "600000",
            "pass_key": "p",
            "c2b_callback": "https://shop.example.co.ke/cb",
            "ALLOWED_HOSTS": "shop.example, pay.example ,::1",
        }
    )
    assert config.allowed_hosts == ("shop.example", "pay.example", "::1")
    assert make_config().allowed_hosts == ()


@pytest.mark.parametrize(
    "value",
    ["shop.example", None, (5,), ("",), ("*",), ("https://shop.example",), ("shop.example:80",)],
)
def test_allowed_hosts_are_host_names(value: Any) -> None:
    """A plain string is no list; a scheme, a port or a wildcard is no host."""
    rule = "must be a list or tuple of host names, without scheme or port"
    assert problems(allowed_hosts=value) == {"allowed_hosts": rule}


@pytest.mark.parametrize("name", [".", "..", "a" * 254, "a b", "a/b", "-a", "[::1]", None])
def test_what_is_no_host(name: object) -> None:
    """Neither a name nor an address."""
    assert not is_host(name)


@pytest.mark.parametrize("host", ["", "localhost.evil.example", "127.0.0.1.evil.example", "a@::1"])
def test_names_of_others_are_not_this_machines(host: str) -> None:
    """Whatever a name begins with; and a Host that is none names nothing."""
    for listening_on in ("127.0.0.1", "0.0.0.0", "::", ""):  # noqa: S104 - nobody listens
        assert not names_this_machine(host, listening_on=listening_on)
