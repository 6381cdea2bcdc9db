from __future__ import annotations

import base64
import copy
import os
import pickle
import traceback
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certificates import Tls
from mpesa_stk import (
    PRODUCTION,
    SANDBOX,
    CallbackUrlWarning,
    ConfigurationError,
    Environment,
    PayBill,
    StkConfig,
    Till,
    config,
)
from support import (
    CALLBACK_SECRET,
    CALLBACK_URL,
    CANARIES,
    CONSUMER_KEY,
    CONSUMER_SECRET,
    PASSKEY,
    TESTS,
    loopback_config,
    make_config,
)

SANDBOX_PASSKEY = "bfb279f9aa9bdbcf158e97dd71a467cd2e0c893059b10f78e6b72ada1ed2c919"
VISIBLE = "must be a string of visible ASCII characters"
SECONDS = "must be a number of seconds above 0, at most 86400"
LOOPBACK = "must be a public host, not this machine"

VARIABLES = {
    "consumer_key": CONSUMER_KEY,
    "consumer_secret": CONSUMER_SECRET,
    "shortcode": "600000",
    "pass_key": PASSKEY,
    "c2b_callback": CALLBACK_URL,
}


def problems_of(make: Callable[..., StkConfig], *args: Any, **settings: Any) -> dict[str, str]:
    """What the settings are refused for, by name."""
    with pytest.raises(ConfigurationError) as refusal:
        make(*args, **settings)
    problems = refusal.value.problems
    assert len(dict(problems)) == len(problems)
    return dict(problems)


# --- what is taken -----------------------------------------------------------------------------------


def test_five_settings_are_enough() -> None:
    """Everything else has a default, and nothing is sent before somebody pays."""
    settings = make_config()
    assert settings.environment == SANDBOX
    assert settings.max_amount == 250_000
    assert (settings.connect_timeout, settings.total_timeout) == (10.0, 45.0)
    assert (settings.callback_secrets, settings.proxies, settings.user_agent) == ((), None, "")


def test_white_space_around_secrets_is_dropped() -> None:
    """A passkey copied with a line end would be refused as wrong credentials by Daraja."""
    settings = make_config(
        consumer_key=f" {CONSUMER_KEY}\n",
        consumer_secret=f"\t{CONSUMER_SECRET} ",
        passkey=f"{PASSKEY}\r\n",
        callback_secrets=[f" {CALLBACK_SECRET}\n"],
    )
    assert settings == make_config(callback_secrets=(CALLBACK_SECRET,))
    assert settings.passkey == PASSKEY


def test_the_environments_are_safaricoms() -> None:
    """Sandbox and production differ in the host only."""
    assert SANDBOX.urls == {
        "token_url": "https://sandbox.safaricom.co.ke/oauth/v1/generate"
        "?grant_type=client_credentials",
        "push_url": "https://sandbox.safaricom.co.ke/mpesa/stkpush/v1/processrequest",
        "query_url": "https://sandbox.safaricom.co.ke/mpesa/stkpushquery/v1/query",
    }
    assert PRODUCTION.urls == {
        name: url.replace("sandbox", "api") for name, url in SANDBOX.urls.items()
    }
    assert (SANDBOX.name, PRODUCTION.name) == ("sandbox", "production")


def test_settings_are_frozen_and_their_collections_are_copies() -> None:
    """What was checked stays what is used."""
    proxies = {"https": "http://proxy.example.co.ke:3128"}
    secrets = [CALLBACK_SECRET]
    settings = make_config(proxies=proxies, callback_secrets=secrets)
    proxies["https"] = "http://evil.example.org"
    secrets.clear()
    assert settings.callback_secrets == (CALLBACK_SECRET,)
    assert settings.proxies == {"https": "http://proxy.example.co.ke:3128"}
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        settings.max_amount = 1  # type: ignore[misc]


def test_settings_can_be_evolved_and_are_checked_again() -> None:
    """`attrs.evolve` goes through the same rules."""
    settings = make_config(callback_secrets=(CALLBACK_SECRET,))
    assert attrs.evolve(settings, max_amount=10).max_amount == 10
    assert attrs.evolve(settings, max_amount=10).passkey == PASSKEY
    assert problems_of(attrs.evolve, settings, max_amount=0).keys() == {"max_amount"}


def test_settings_keep_their_secrets() -> None:
    """Nothing that is shown holds a secret, pickle refuses, and copies are the value itself."""
    settings = make_config(
        callback_secrets=(CALLBACK_SECRET,), proxies={"https": f"http://u:{PASSKEY}@proxy:3128"}
    )
    shown = f"{settings} {settings!r} {[settings]}"
    assert not [canary for canary in CANARIES if canary in shown]
    assert copy.copy(settings) is settings
    assert copy.deepcopy([settings]) == [settings]
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="StkConfig holds secrets"):
            pickle.dumps(settings, protocol)


# --- what is refused ---------------------------------------------------------------------------------

LONE_SURROGATES = "\udcff" * 16
TOO_SHORT = "each must be printable text of at least 16 characters"
NOT_A_LIST = "must be a list or tuple of strings, newest first"
WHOLE = "must be a whole number of at least 1"
PROXIES = "must map schemes to proxy URLs such as http://proxy:3128"
NO_FILE = "must be the path of a file"
ONE_LINE = "must be one line of ASCII characters"


def rows(fields: str, rule: str, *values: Any) -> list[tuple[str, Any, str]]:
    """Each of the fields with each of the values."""
    return [(field, value, rule) for field in fields.split() for value in values]


REFUSED: list[tuple[str, Any, str]] = [
    *rows("consumer_key consumer_secret passkey", VISIBLE, None, 5, b"key", [], "", "  ", "a b"),
    *rows("consumer_key consumer_secret passkey", VISIBLE, "a\nb", "sch\u00fcssel", "\x7f"),
    *rows("consumer_key", "must not contain a colon: HTTP Basic cannot carry it", "a:b"),
    *rows("callback_url", "must be a URL", None, 5, ["https://shop.example.co.ke"]),
    *rows("callback_url", "must be https", "http://shop.example.co.ke/callback"),
    *rows("callback_url", LOOPBACK, "https://localhost/callback", "https://127.0.0.1/callback"),
    *rows("callback_url", "must be a public address", "https://10.1.2.3/", "https://[fc00::1]/"),
    *rows("callback_url", "must be a public host name", "https://127.1/", "https://shop/"),
    *rows("account", "must be a PayBill or a Till", None, "174379", PayBill),
    *rows("environment", "must be an Environment", None, "production", Environment),
    *rows("max_amount", WHOLE, 0, -1, None, 1.0, "10", []),
    ("max_amount", True, WHOLE),
    ("connect_timeout", True, SECONDS),
    ("total_timeout", True, SECONDS),
    *rows("connect_timeout total_timeout", SECONDS, 0, -1.0, None, "10", [], 86_401),
    *rows("connect_timeout total_timeout", SECONDS, float("nan"), float("inf"), 10**400),
    *rows("callback_secrets", NOT_A_LIST, CALLBACK_SECRET, None, 5, b"x" * 16),
    *rows("callback_secrets", NOT_A_LIST, {CALLBACK_SECRET}, {CALLBACK_SECRET: 1}),
    *rows("callback_secrets", TOO_SHORT, ("",), ("short",), (CALLBACK_SECRET, "short")),
    *rows("callback_secrets", TOO_SHORT, ("short", "short"), (None,), (b"x" * 16,)),
    *rows("callback_secrets", TOO_SHORT, ("x" * 15 + " ",), (LONE_SURROGATES,), ("x\x00" * 9,)),
    *rows("proxies", PROXIES, "http://proxy", 5, [], (("https", "x"),), {"https": None}, {5: "x"}),
    *rows("proxies", PROXIES, {"https": "proxy:3128"}, {"https": "http://"}, {"https": "ftp://p"}),
    *rows("proxies", PROXIES, {"https": "http://p:x"}, {"https": "http://[::1"}, {"https": ""}),
    *rows("proxies", PROXIES, {"https": "http://p r"}, {"https": "http://p:0"}),
    *rows("ca_bundle", NO_FILE, 5, b"ca.pem", "", ["ca.pem"]),
    *rows("ca_bundle", "cannot be read: No such file or directory", "/nowhere/ca.pem"),
    *rows("ca_bundle", "holds no CA certificates in PEM form", __file__, "a\x00b"),
    *rows("user_agent", ONE_LINE, None, 5, b"shop/1", "shop\r\nX: y", "d\u00fckan/1"),
]


@pytest.mark.parametrize(("field", "value", "rule"), REFUSED)
def test_a_setting_that_cannot_work_is_refused(field: str, value: Any, rule: str) -> None:
    """One problem names the setting and the rule, whatever kind of value came."""
    assert problems_of(make_config, **{field: value}) == {field: rule}


@pytest.mark.parametrize("shortcode", ["174379", "12345", "1234567"])
@pytest.mark.parametrize("passkey", [SANDBOX_PASSKEY, PASSKEY, "short"])
def test_a_base64_password_is_no_passkey(shortcode: str, passkey: str) -> None:
    """What Daraja's portal shows beside the passkey is refused; the passkey itself is not."""
    password = base64.b64encode(f"{shortcode}{passkey}20210628092408".encode()).decode()
    assert problems_of(make_config, passkey=password) == {
        "passkey": "is a base64 password; the passkey is the plain text from the portal"
    }
    assert make_config(passkey=passkey).passkey == passkey


@pytest.mark.parametrize(
    "passkey", ["YWJj", "abc=", "a-b_c", base64.b64encode(b"\xff" * 30).decode()]
)
def test_other_base64_is_a_passkey(passkey: str) -> None:
    """Only text that decodes to shortcode, passkey and timestamp is a password."""
    assert make_config(passkey=passkey).passkey == passkey


def test_one_error_names_every_bad_setting() -> None:
    """Whoever corrects the settings sees all that is wrong at once."""
    names = {field.name for field in attrs.fields(StkConfig)}
    nothing: dict[str, Any] = dict.fromkeys(names)
    assert problems_of(StkConfig, **nothing).keys() == names - {"proxies", "ca_bundle"}
    nothing |= {"proxies": 5, "ca_bundle": 5}
    with pytest.raises(ConfigurationError) as refusal:
        StkConfig(**nothing)
    assert dict(refusal.value.problems).keys() == names
    for name in names:
        assert f"{name}: " in str(refusal.value)


def test_the_error_does_not_repeat_secrets() -> None:
    """Refused settings may be the right secrets in the wrong place."""
    password = base64.b64encode(f"174379{PASSKEY}20210628092408".encode()).decode()
    with pytest.raises(ConfigurationError) as refusal:
        make_config(consumer_key=f"{CONSUMER_KEY}:{CONSUMER_SECRET}", passkey=password)
    for secret in (*CANARIES, password):
        assert secret not in f"{refusal.value} {refusal.value!r} {refusal.value.problems}"


weird = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.lists(st.none() | st.text(max_size=20), max_size=2),
    st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
    st.just(object()),
)
urls = st.one_of(weird, st.sampled_from((CALLBACK_URL, "https://[::1", "http://127.0.0.1:1")))


@given(
    settings=st.fixed_dictionaries(
        {},
        optional={
            **{field.name: weird for field in attrs.fields(StkConfig)},
            "callback_url": urls,
            "environment": st.builds(
                Environment, name=weird, token_url=urls, push_url=urls, query_url=urls
            ),
        },
    )
)
def test_no_value_makes_the_checks_fail(settings: dict[str, Any]) -> None:
    """Whatever the settings, they are taken or refused with a `ConfigurationError`."""
    try:
        made = make_config(**settings)
    except ConfigurationError as refusal:
        assert refusal.problems  # noqa: PT017 - the error is optional
    else:
        assert isinstance(made.passkey, str)


# --- sandbox and production ----------------------------------------------------------------------------

LIVE_ENVIRONMENTS = [
    PRODUCTION,
    Environment.at("https://daraja-proxy.example.co.ke", name="production"),
    Environment.at("https://daraja-proxy.example.co.ke", name="Production"),
    Environment.at("https://api.safaricom.co.ke", name="ours"),
    Environment.at("https://API.Safaricom.co.ke:443", name="ours"),
    attrs.evolve(
        Environment.at("https://daraja-proxy.example.co.ke", name="ours"),
        push_url="https://api.safaricom.co.ke/mpesa/stkpush/v1/processrequest",
    ),
]


@pytest.mark.parametrize("environment", LIVE_ENVIRONMENTS)
def test_the_public_sandbox_values_are_refused_in_production(environment: Environment) -> None:
    """By name and by host: such pushes would be accepted and no phone would ring."""
    shortcode = "is the public sandbox shortcode; production needs your own"
    passkey = "is the public sandbox passkey; production needs your own"
    till = Till(store_number="174379", till_number="5566778")
    for account in (PayBill("174379"), till):
        assert problems_of(make_config, environment=environment, account=account) == {
            "shortcode": shortcode
        }
    assert problems_of(make_config, environment=environment, passkey=f" {SANDBOX_PASSKEY}\n") == {
        "passkey": passkey
    }
    assert problems_of(
        make_config, environment=environment, passkey=SANDBOX_PASSKEY, account=PayBill("174379")
    ) == {"shortcode": shortcode, "passkey": passkey}
    assert make_config(environment=environment).environment == environment


def test_the_public_sandbox_values_are_taken_in_the_sandbox() -> None:
    """They are the only ones that work there."""
    settings = make_config(account=PayBill("174379"), passkey=SANDBOX_PASSKEY)
    assert settings.account.shortcode == "174379"


@pytest.mark.parametrize("field", ["token_url", "push_url", "query_url"])
@pytest.mark.parametrize(("base", "other"), [(SANDBOX, PRODUCTION), (PRODUCTION, SANDBOX)])
def test_sandbox_and_production_are_not_mixed(
    base: Environment, other: Environment, field: str
) -> None:
    """A token of the one is refused by the other."""
    mixed = attrs.evolve(base, **{field: other.urls[field]})
    assert problems_of(make_config, environment=mixed) == {
        "environment": "mixes sandbox and production addresses"
    }


@pytest.mark.parametrize("field", ["token_url", "push_url", "query_url"])
@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("http://sandbox.safaricom.co.ke/x", "must be https"),
        ("http://192.168.1.5/x", "must be https"),
        ("https://user:word@sandbox.safaricom.co.ke/x", "must not contain user info"),
        ("https://sandbox.safaricom.co.ke/x#y", "must not have a fragment"),
        (None, "must be a URL"),
    ],
)
def test_each_of_darajas_addresses_is_checked(field: str, url: Any, rule: str) -> None:
    """Credentials go to https hosts only, or to this machine."""
    environment = attrs.evolve(SANDBOX, **{field: url})
    assert problems_of(make_config, environment=environment) == {field: rule}


@pytest.mark.parametrize("origin", ["http://127.0.0.1:8000", "http://localhost:1", "http://[::1]"])
def test_a_simulator_on_this_machine_needs_no_switch(origin: str) -> None:
    """Where all of Daraja's addresses are loopback, so may the callback URL be."""
    settings = loopback_config(origin)
    assert settings.callback_url == f"{origin}/callback"
    assert loopback_config(origin, callback_url=CALLBACK_URL).callback_url == CALLBACK_URL


@pytest.mark.parametrize("field", ["token_url", "push_url", "query_url"])
def test_loopback_callbacks_need_all_of_daraja_on_this_machine(field: str) -> None:
    """One address elsewhere means that the real Daraja would be given a useless callback URL."""
    here = Environment.at("http://127.0.0.1:8000", name="loopback")
    partly = attrs.evolve(here, **{field: SANDBOX.urls[field]})
    url = "http://127.0.0.1:8000/callback"
    assert problems_of(make_config, environment=partly, callback_url=url) == {
        "callback_url": LOOPBACK
    }


@pytest.mark.parametrize("field", ["allowed_callback_networks", "trusted_proxies"])
@pytest.mark.parametrize("value", ["10.0.0.0/8", ("::1", "x"), ("1.2.3.4/33",), (5,), None, ("",)])
def test_networks_that_are_none_are_refused(field: str, value: Any) -> None:
    """A plain string is no list."""
    rule = "must be a list or tuple of IP addresses or networks"
    assert problems_of(make_config, **{field: value}) == {field: rule}


@pytest.mark.parametrize("field", ["allowed_callback_networks", "trusted_proxies"])
@pytest.mark.parametrize(
    ("given", "bits", "meant"),
    [
        ("10.0.0.1/8", 8, "10.0.0.0/8"),
        ("10.0.0.1/255.0.0.0", 8, "10.0.0.0/8"),
        ("2001:db8::1/64", 64, "2001:db8::/64"),
    ],
)
def test_a_network_with_the_address_of_a_host_is_corrected(
    field: str, given: str, bits: int, meant: str
) -> None:
    """It could mean the host or its network, so the error says what to write for the network."""
    rule = f"one has bits set behind the first {bits}, which name a host: did you mean {meant}?"
    assert problems_of(make_config, **{field: ("::1", given)}) == {field: rule}


def test_networks_are_read_from_the_variables() -> None:
    """Both lists are comma-separated."""
    config = StkConfig.from_env(
        VARIABLES
        | {"trusted_proxies": "10.0.0.0/8, ::1", "ALLOWED_CALLBACK_NETWORKS": "196.201.214.200"}
    )
    assert config.trusted_proxies == ("10.0.0.0/8", "::1")
    assert config.allowed_callback_networks == ("196.201.214.200",)


def test_proxy_and_ca_bundle_are_read_from_the_variables(tls: Tls) -> None:
    """Daraja is reached over https, so the one proxy is for that."""
    proxy = "http://user:CANARYpassword@proxy.example:3128"
    config = StkConfig.from_env(
        VARIABLES | {"MPESA_PROXY": proxy, "mpesa_ca_bundle": str(tls.bundle)}
    )
    assert config.proxies == {"https": proxy}
    assert config.ca_bundle == str(tls.bundle)
    assert "CANARY" not in repr(config)
    assert (plain := StkConfig.from_env(VARIABLES)).proxies is None
    assert plain.ca_bundle is None


@pytest.mark.parametrize(
    "scheme", ["http", "https", "socks4", "socks4a", "socks5", "socks5h", "HTTP"]
)
def test_proxies_of_each_kind(scheme: str) -> None:
    """With or without a port and a password."""
    for rest in ("proxy.example", "[::1]:3128", "user:p%40ss@10.0.0.1:8080/"):
        proxies = {"https": f"{scheme}://{rest}"}
        assert make_config(proxies=proxies).proxies == proxies


@pytest.mark.parametrize(
    ("variables", "problems"),
    [
        ({"mpesa_proxy": f"proxy {PASSKEY}"}, {"mpesa_proxy": PROXIES}),
        (
            {"mpesa_ca_bundle": "/nowhere/ca.pem"},
            {"mpesa_ca_bundle": "cannot be read: No such file or directory"},
        ),
        ({"mpesa_proxy": 5}, {"mpesa_proxy": "must be a string"}),
    ],
)
def test_problems_of_the_way_out_are_named_by_their_variables(
    variables: dict[str, str], problems: dict[str, str]
) -> None:
    """The name is the one that the reader set, and the value is not repeated."""
    assert problems_of(StkConfig.from_env, VARIABLES | variables) == problems


def test_a_ca_bundle_that_may_not_be_read_is_refused(tls: Tls, tmp_path: Path) -> None:
    """A folder can be opened by nobody as a file, and is no bundle either."""
    assert problems_of(make_config, ca_bundle=str(tmp_path)).keys() == {"ca_bundle"}
    assert make_config(ca_bundle=str(tls.bundle)).ca_bundle == str(tls.bundle)


@pytest.mark.parametrize("query", ["?", "?shop=1"])
def test_a_callback_url_has_a_query_only_without_signing(query: str) -> None:
    """The signed token is added to the path."""
    url = CALLBACK_URL + query
    assert make_config(callback_url=url).callback_url == url
    assert problems_of(make_config, callback_url=url, callback_secrets=[CALLBACK_SECRET]) == {
        "callback_url": "must not have a query when callback_secrets are set"
    }


# --- words that Safaricom refuses ------------------------------------------------------------------------


def settings_with_banned_words() -> dict[str, Any]:
    """Settings whose callback URL holds two of them."""
    return {
        "consumer_key": CONSUMER_KEY,
        "consumer_secret": CONSUMER_SECRET,
        "passkey": PASSKEY,
        "account": PayBill("600000"),
        "callback_url": "https://shop.example.co.ke/mpesa/query",
    }


WORDS = "callback_url contains mpesa, query, which Safaricom may refuse"


def test_banned_words_warn_at_the_line_that_made_the_settings() -> None:
    """They work today for many, so they warn under a category of their own and are taken."""
    settings = settings_with_banned_words()
    with pytest.warns(CallbackUrlWarning) as caught:
        assert StkConfig(**settings).callback_url.endswith("query")  # the line
    (warning,) = caught
    assert str(warning.message) == WORDS
    assert warning.filename == __file__
    line = test_banned_words_warn_at_the_line_that_made_the_settings.__code__.co_firstlineno + 4
    assert warning.lineno == line


def test_banned_words_in_variables_warn_at_the_line_that_read_them() -> None:
    """The warning does not point into the library."""
    variables = VARIABLES | {"c2b_callback": "https://shop.example.co.ke/mpesa/query"}
    with pytest.warns(CallbackUrlWarning, match=WORDS) as caught:
        StkConfig.from_env(variables)
    (warning,) = caught
    assert warning.filename == __file__
    assert issubclass(CallbackUrlWarning, UserWarning)


def test_a_script_without_callers_is_warned_too() -> None:
    """Frames run out at the outermost one, however the module was started."""
    with pytest.warns(CallbackUrlWarning, match=WORDS):
        exec(  # noqa: S102 - makes code whose globals carry the name of the library's module
            "StkConfig(**settings)",
            {
                "__name__": config.__name__,
                "StkConfig": StkConfig,
                "settings": settings_with_banned_words(),
            },
        )


def test_the_warning_can_be_silenced_by_its_category() -> None:
    """A host for which such URLs work switches it off with one filter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CallbackUrlWarning)
        StkConfig(**settings_with_banned_words())


# --- the process environment -----------------------------------------------------------------------------


@pytest.mark.parametrize("spelled", [str.lower, str.upper])
def test_variables_are_read_in_lower_and_upper_case(spelled: Callable[[str], str]) -> None:
    """The exact names of the interface, in either case."""
    variables = {
        **VARIABLES,
        "till_number": "5566778",
        "mpesa_environment": "Production",
        "mpesa_max_amount": "70000",
        "callback_secret": f" {CALLBACK_SECRET} ,, older-callback-secret ",
    }
    settings = StkConfig.from_env({spelled(name): value for name, value in variables.items()})
    assert settings == make_config(
        account=Till(store_number="600000", till_number="5566778"),
        environment=PRODUCTION,
        max_amount=70_000,
        callback_secrets=(CALLBACK_SECRET, "older-callback-secret"),
    )


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """`StkConfig.from_env()` is the only place that reads it."""
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name.upper(), f" {value}\n")
    assert StkConfig.from_env() == make_config()
    for name in VARIABLES:
        monkeypatch.delenv(name.upper())
    assert problems_of(StkConfig.from_env) == dict.fromkeys(VARIABLES, "is not set")


def test_lower_case_wins_and_an_empty_variable_counts_as_none() -> None:
    """Blank variables, as compose files make them, fall through to the other spelling."""
    variables = VARIABLES | {"SHORTCODE": "700000", "pass_key": " ", "PASS_KEY": PASSKEY}
    variables |= {"till_number": "", "mpesa_environment": " ", "callback_secret": ""}
    assert StkConfig.from_env(variables) == make_config()


def test_missing_variables_are_all_named_once() -> None:
    """One error, and a variable that is not set is not called malformed as well."""
    assert problems_of(StkConfig.from_env, {}) == dict.fromkeys(VARIABLES, "is not set")
    assert problems_of(StkConfig.from_env, {"till_number": "5566778"}) == dict.fromkeys(
        VARIABLES, "is not set"
    )
    for name in VARIABLES:
        rest = {other: value for other, value in VARIABLES.items() if other != name}
        assert problems_of(StkConfig.from_env, rest) == {name: "is not set"}


def test_unusable_variables_are_named_as_variables() -> None:
    """The error speaks of what the reader can change."""
    variables = {
        "consumer_key": "a b",
        "consumer_secret": "a b",
        "shortcode": "12",
        "till_number": "x",
        "pass_key": "a b",
        "c2b_callback": "http://shop.example.co.ke",
        "mpesa_environment": "test",
        "mpesa_max_amount": "1e5",
        "callback_secret": "short",
        "access_token_url": "http://shop.example.co.ke",
        "checkout_url": "ftp://shop.example.co.ke",
        "mpesa_query_check_url": "x",
    }
    problems = problems_of(StkConfig.from_env, variables)
    assert problems.keys() == variables.keys()
    assert problems["shortcode"] == "must be a string of 5 to 7 digits"
    assert problems["till_number"] == "must be a string of 4 to 10 digits"
    assert problems["mpesa_environment"] == "must be sandbox or production"


@pytest.mark.parametrize("ceiling", ["0", "-1", "1.5", "ten", "1_000", "\u0661", "1" * 10])
def test_a_ceiling_that_is_no_number_is_refused(ceiling: str) -> None:
    """Plain digits, at least 1."""
    variables = VARIABLES | {"mpesa_max_amount": ceiling}
    assert problems_of(StkConfig.from_env, variables) == {"mpesa_max_amount": WHOLE}


def test_single_addresses_can_be_replaced() -> None:
    """Each of the three has a variable of its own; the others stay Safaricom's."""
    replaced = {
        "access_token_url": ("token_url", "https://proxy.example.co.ke/token"),
        "checkout_url": ("push_url", "https://proxy.example.co.ke/push"),
        "mpesa_query_check_url": ("query_url", "https://proxy.example.co.ke/query"),
    }
    for name, (field, url) in replaced.items():
        settings = StkConfig.from_env(VARIABLES | {name: url})
        assert settings.environment == attrs.evolve(SANDBOX, **{field: url})


def test_addresses_tell_the_environment_where_no_variable_does() -> None:
    """Production's own addresses mean production, even if only one of them is given."""
    live = VARIABLES | {"checkout_url": PRODUCTION.push_url.replace("api", "API")}
    settings = StkConfig.from_env(live)
    assert attrs.evolve(settings.environment, push_url=PRODUCTION.push_url) == PRODUCTION
    assert problems_of(StkConfig.from_env, live | {"shortcode": "174379"}).keys() == {"shortcode"}


def test_variables_do_not_mix_sandbox_and_production() -> None:
    """Neither through the name nor through single addresses."""
    mixes = [
        {"mpesa_environment": "sandbox", "checkout_url": PRODUCTION.push_url},
        {"mpesa_environment": "production", "checkout_url": SANDBOX.push_url},
        {"access_token_url": SANDBOX.token_url, "checkout_url": PRODUCTION.push_url},
    ]
    for mix in mixes:
        assert problems_of(StkConfig.from_env, VARIABLES | mix) == {
            "mpesa_environment": "mixes sandbox and production addresses"
        }


def test_a_simulator_is_configured_by_its_addresses_alone() -> None:
    """Http and a loopback callback URL are taken where all three addresses are loopback."""
    here = "http://127.0.0.1:8000"
    addresses = {
        "access_token_url": f"{here}/oauth/v1/generate",
        "checkout_url": f"{here}/mpesa/stkpush/v1/processrequest",
        "mpesa_query_check_url": f"{here}/mpesa/stkpushquery/v1/query",
    }
    variables = VARIABLES | {"c2b_callback": f"{here}/callback"}
    assert StkConfig.from_env(variables | addresses).callback_url == f"{here}/callback"
    del addresses["checkout_url"]
    assert problems_of(StkConfig.from_env, variables | addresses) == {"c2b_callback": LOOPBACK}
    elsewhere = {"checkout_url": "http://192.168.1.5:8000/push"}
    assert problems_of(StkConfig.from_env, VARIABLES | elsewhere) == {
        "checkout_url": "must be https"
    }


QUOTES = "has quotes around it, which count as a part of it: remove them"


@pytest.mark.parametrize("value", ['"x"', "'x'", '"x', "x'", " `x` ", '""'])
@pytest.mark.parametrize(
    "name", [*VARIABLES, "callback_secret", "till_number", "mpesa_environment", "trusted_proxies"]
)
def test_values_in_quotes_are_refused(name: str, value: str) -> None:
    """A .env file read by a shell drops quotes, and one read by Docker keeps them."""
    assert problems_of(StkConfig.from_env, VARIABLES | {name: value})[name] == QUOTES


@pytest.mark.parametrize(
    ("other", "name"),
    [
        ("MPESA_CONSUMER_KEY", "consumer_key"),
        ("mpesa_consumer_key", "consumer_key"),
        ("Consumer_Key", "consumer_key"),
        ("DARAJA_CONSUMER_SECRET", "consumer_secret"),
        ("CONSUMERSECRET", "consumer_secret"),
        ("BUSINESS_SHORTCODE", "shortcode"),
        ("BUSINESS_SHORT_CODE", "shortcode"),
        ("MPESA_EXPRESS_SHORTCODE", "shortcode"),
        ("MPESA_PAYBILL", "shortcode"),
        ("PASSKEY", "pass_key"),
        ("LIPA_NA_MPESA_PASSKEY", "pass_key"),
        ("MPESA_SANDBOX_PASS_KEY", "pass_key"),
        ("CALLBACK_URL", "c2b_callback"),
        ("MPESA_STK_CALLBACK_URL", "c2b_callback"),
        ("MPESA_CALLBACK", "c2b_callback"),
    ],
)
def test_the_name_of_another_package_is_recognised(other: str, name: str) -> None:
    """The error says which variable is set, and which one is read; never what is in it."""
    variables = {each: value for each, value in VARIABLES.items() if each != name}
    found = problems_of(StkConfig.from_env, variables | {other: CONSUMER_SECRET})
    assert found == {name: f"is not set ({other} is set: did you mean {name.upper()}?)"}


@pytest.mark.parametrize(
    "others",
    [
        {"SLACK_CALLBACK_URL": "x"},
        {"STRIPE_CONSUMER_KEY": "x"},
        {"MPESA_CONSUMER_KEYS": "x"},
        {"MPESA_CONSUMER_KEY": " "},
        {"MPESA_CONSUMER_KEY": 5},
        {5: "x"},
    ],
)
def test_other_variables_are_no_near_miss(others: Any) -> None:
    """Other services have keys and callbacks too, and what is empty is not set."""
    assert problems_of(StkConfig.from_env, others) == dict.fromkeys(VARIABLES, "is not set")


@pytest.mark.parametrize("environ", [5, "consumer_key", [("consumer_key", "x")]])
def test_what_is_no_mapping_is_refused(environ: Any) -> None:
    """The caller passed the wrong thing."""
    assert problems_of(StkConfig.from_env, environ) == {"environ": "must map names to texts"}


@pytest.mark.parametrize("value", [5, b"174379", ["174379"], True])
@pytest.mark.parametrize("name", [*VARIABLES, "till_number", "callback_secret"])
def test_a_variable_that_is_no_text_is_refused(name: str, value: Any) -> None:
    """A number where text belongs is not left out in silence: the paybill might be paid instead."""
    problems = problems_of(StkConfig.from_env, VARIABLES | {name: value})
    assert problems == {name: "must be a string"}


@pytest.mark.parametrize(
    "refuse",
    [
        lambda variables: StkConfig.from_env(variables | {"mpesa_max_amount": "0"}),
        lambda variables: StkConfig.from_env(variables | {"callback_secret": f"{PASSKEY},x"}),
        lambda _variables: make_config(max_amount=0),
        lambda _variables: make_config(callback_secrets=CALLBACK_SECRET),
        lambda _variables: make_config(callback_url=f"https://u:{PASSKEY}@shop.example.co.ke"),
        lambda _variables: make_config(proxies={"https": f"http://u:{PASSKEY}@proxy", "x": 5}),
    ],
)
def test_a_traceback_with_locals_shows_no_secret(
    refuse: Callable[[Mapping[str, str]], object],
) -> None:
    """No frame of the library keeps the refused settings while the error passes through it."""
    with pytest.raises(ConfigurationError) as refusal:
        refuse(VARIABLES)
    shown = traceback.TracebackException.from_exception(refusal.value, capture_locals=True)
    frames = [frame for frame in shown.stack if not frame.filename.startswith(str(TESTS))]
    assert frames
    for frame in frames:
        assert not [canary for canary in CANARIES if canary in str(frame.locals)]
    assert refusal.value.__context__ is None


def test_the_real_environment_is_not_shown_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """`os.environ` prints all that it holds."""
    monkeypatch.setenv("CONSUMER_SECRET", CONSUMER_SECRET)
    with pytest.raises(ConfigurationError) as refusal:
        StkConfig.from_env(os.environ)
    shown = traceback.TracebackException.from_exception(refusal.value, capture_locals=True)
    inside = [frame for frame in shown.stack if not frame.filename.startswith(str(TESTS))]
    assert CONSUMER_SECRET not in str([frame.locals for frame in inside])
