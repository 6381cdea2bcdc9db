"""The settings of several accounts, from a TOML file and from variables with prefixes."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import pytest

from mpesa_stk import ConfigurationError, StkConfig, configs_from_env
from mpesa_stk.commands.doctor_settings import REMEDIES
from mpesa_stk.config import several
from support import CALLBACK_SECRET, CALLBACK_URL, CANARIES, CONSUMER_KEY, CONSUMER_SECRET, PASSKEY

SHARED = {
    "consumer_key": CONSUMER_KEY,
    "consumer_secret": CONSUMER_SECRET,
    "pass_key": PASSKEY,
    "c2b_callback": CALLBACK_URL,
}
toml = pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib is new in Python 3.11")

SCHOOL = f"""
consumer_key = "{CONSUMER_KEY}"
consumer_secret = "{CONSUMER_SECRET}"
c2b_callback = "{CALLBACK_URL}"
callback_secret = ["{CALLBACK_SECRET}", "{CALLBACK_SECRET}-2"]

[fees]
shortcode = "600000"
pass_key = "{PASSKEY}"
mpesa_max_amount = 5000

[kiosk]
shortcode = "600002"
till_number = "5000001"
pass_key = "passkey-of-the-kiosk"
callback_secret = "another-callback-secret"
"""


def read(folder: Path, text: str, *, mode: int = 0o600, **variables: Any) -> tuple[StkConfig, ...]:
    """The settings in a file."""
    path = folder / "accounts.toml"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return configs_from_env({"mpesa_accounts": "accounts.toml", **variables}, folder=folder)


def problems_of(call: Any, *arguments: Any, **named: Any) -> dict[str, str]:
    """What settings are refused for; the error shows no secret, also not in a traceback with locals."""
    with pytest.raises(ConfigurationError) as refusal:
        call(*arguments, **named)
    shown = "".join(
        traceback.TracebackException.from_exception(refusal.value, capture_locals=True).format()
    )
    ours = shown[shown.rindex("several.py") :] if "several.py" in shown else ""
    assert not [secret for secret in CANARIES if secret in ours + str(refusal.value)]
    return dict(refusal.value.problems)


def test_names_are_those_that_the_environment_has() -> None:
    """The doctor knows each of them, and a few that are not of an account."""
    assert set(several.NAMES) == REMEDIES.keys() - {"mpesa_database", "mpesa_accounts"}


def test_without_it_there_is_one_account() -> None:
    """The single-account way stays as it is."""
    (config,) = configs_from_env(SHARED | {"shortcode": "600000"})
    assert str(config.account) == "paybill 600000"


# --- prefixes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", ["FEES,LUNCH", "fees,lunch", " Fees , Lunch "])
def test_each_prefix_is_an_account(names: str) -> None:
    """What an account lacks is shared, except the number of the account."""
    variables = {
        "MPESA_ACCOUNTS": names,
        "FEES_SHORTCODE": "600000",
        "lunch_shortcode": "600002",
        "LUNCH_TILL_NUMBER": "5000001",
        "LUNCH_PASS_KEY": "passkey-of-the-lunch",
        "SHORTCODE": "600009",
    }
    fees, lunch = configs_from_env(SHARED | variables)
    assert [str(fees.account), str(lunch.account)] == [
        "paybill 600000",
        "till 5000001 of store 600002",
    ]
    assert [fees.passkey, lunch.passkey] == [PASSKEY, "passkey-of-the-lunch"]


def test_all_problems_of_all_accounts_are_in_one_error() -> None:
    """Each under the name of its variable."""
    variables = {
        "mpesa_accounts": "fees,lunch,bus,van",
        "fees_shortcode": "600000",
        "fees_c2b_callback": "http://shop.example.co.ke/callback",
        "bus_shortcode": "600003",
        "bus_mpesa_max_amount": "no",
        "van_shortcode": "600003",
    }
    assert problems_of(configs_from_env, SHARED | variables) == {
        "fees_c2b_callback": "must be https",
        "lunch_shortcode": "is not set",
        "bus_mpesa_max_amount": "must be a whole number of at least 1",
    }


def test_one_account_twice_and_two_environments_are_problems() -> None:
    """One store has one environment, since a shortcode of both would count as one account."""
    variables = {
        "mpesa_accounts": "fees,lunch,live",
        "fees_shortcode": "600000",
        "lunch_shortcode": "600000",
        "live_shortcode": "600005",
        "live_mpesa_environment": "production",
    }
    assert problems_of(configs_from_env, SHARED | variables) == {
        "lunch": "is paybill 600000, as fees is",
        "mpesa_accounts": "has accounts in several environments, which must not share one store",
    }


# --- the file ------------------------------------------------------------------------------------------


@toml
def test_each_table_is_an_account(tmp_path: Path) -> None:
    """What stands before the first table is for all, and a table overrides it."""
    fees, kiosk = read(tmp_path, SCHOOL)
    assert [str(fees.account), str(kiosk.account)] == [
        "paybill 600000",
        "till 5000001 of store 600002",
    ]
    assert (fees.max_amount, kiosk.max_amount) == (5000, 250_000)
    assert fees.callback_secrets == (CALLBACK_SECRET, f"{CALLBACK_SECRET}-2")
    assert kiosk.callback_secrets == ("another-callback-secret",)


@toml
def test_environment_gives_what_the_file_lacks(tmp_path: Path) -> None:
    """Such as the addresses of a simulator."""
    urls: dict[str, Any] = {
        name: f"http://127.0.0.1:9/{name}"
        for name in ("access_token_url", "checkout_url", "mpesa_query_check_url")
    }
    for config in read(tmp_path, SCHOOL, SHORTCODE="600009", **urls):
        assert config.environment.push_url == urls["checkout_url"]
        assert config.account.shortcode != "600009"


@toml
def test_all_problems_of_the_file_are_in_one_error(tmp_path: Path) -> None:
    """Wrong names, wrong types and wrong values, each under its table."""
    text = """
    shortcode = "600000"
    consumerkey = "x"
    [fees]
    shortcode = 600000
    passkey = "x"
    mpesa_max_amount = 1.5
    callback_secret = [1]
    nonsense_of_mine = true
    [bus]
    till_number = "12"
    """
    problems = problems_of(read, tmp_path, text, **SHARED)
    assert problems == {
        "shortcode": "must be in the table of its account",
        "consumerkey": "is not a setting: did you mean consumer_key?",
        "fees.passkey": "is not a setting: did you mean pass_key?",
        "fees.mpesa_max_amount": "must be a text, a whole number or a list of texts",
        "fees.callback_secret": "must be a text, a whole number or a list of texts",
        "fees.nonsense_of_mine": "is not a setting",
        "bus.shortcode": "is not set",
        "bus.till_number": "must be a string of 4 to 10 digits",
    }


@toml
@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "must have a table for each account, such as [fees]"),
        (f'pass_key = "{PASSKEY}\n', "is not a TOML file (at line 1, column 77)"),
        (
            f'[fees]\npass_key = "{PASSKEY}"\npass_key = 1\n',
            "is not a TOML file (at line 3, column 13)",
        ),
        ('pass_key = "\udcff"', "is not a TOML file"),
    ],
)
def test_file_that_is_no_list_of_accounts(text: str, rule: str, tmp_path: Path) -> None:
    """The error names the place and repeats nothing of the file."""
    path = tmp_path / "a.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    path.chmod(0o600)
    assert problems_of(configs_from_env, {"mpesa_accounts": "a.toml"}, folder=tmp_path) == {
        "mpesa_accounts": rule
    }


@toml
def test_file_that_is_not_there(tmp_path: Path) -> None:
    """Or that may not be read."""
    assert problems_of(configs_from_env, {"mpesa_accounts": "./none"}, folder=tmp_path) == {
        "mpesa_accounts": "cannot be read: No such file or directory"
    }


@toml
@pytest.mark.skipif(os.name != "posix", reason="other systems have other permissions")
def test_file_that_all_users_can_read_is_warned_of(tmp_path: Path) -> None:
    """It holds secrets. The group may read it: a service often runs with a group of its own."""
    with pytest.warns(several.SecretsFileWarning, match="all users of this machine can read"):
        read(tmp_path, SCHOOL, mode=0o644)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(tmp_path, SCHOOL, mode=0o640)


def test_older_python_names_the_other_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.10 has no reader of TOML."""
    monkeypatch.setattr(several, "_TOML_SINCE", (99,))
    rule = "names a TOML file, which needs Python 3.11: name prefixes such as FEES,LUNCH instead"
    assert problems_of(read, tmp_path, SCHOOL) == {"mpesa_accounts": rule}
