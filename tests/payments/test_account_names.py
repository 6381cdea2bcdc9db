"""Accounts by their names: full and short ones, unknown and ambiguous ones, loaded and forgotten ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from both_faces import Blocking, Face, make_accounts
from daraja_double import ScriptedDaraja
from mpesa_stk import (
    Accounts,
    AsyncAccounts,
    AsyncMemoryTransactionStore,
    ConfigurationError,
    InvalidRequest,
    MemoryTransactionStore,
    PayBill,
    StkConfig,
    StoreError,
    Till,
)
from support import CALLBACK_SECRET, CANARIES, ManualClock, make_config

pytestmark = pytest.mark.usefixtures("face")

FEES, LUNCH = make_config(account=PayBill("600000")), make_config(account=PayBill("600001"))
KIOSK = make_config(account=Till(store_number="600002", till_number="5000001"))
CORNER = make_config(account=Till(store_number="600000", till_number="5000002"))
NAMES = {str(config.account): config for config in (FEES, LUNCH, KIOSK, CORNER)}


def accounts_of(configs: Any, **parts: Any) -> Any:
    """Accounts that send nothing."""
    settings: dict[str, Any] = {"clock": ManualClock(), "transport": ScriptedDaraja()} | parts
    return make_accounts(MemoryTransactionStore(), configs, **settings)


class Merchants:
    """A table of merchants, and what was read from it."""

    def __init__(self, *configs: StkConfig) -> None:
        self.configs = {str(config.account): config for config in configs}
        self.loaded: list[str] = []
        self.listed = 0

    def load(self, account: str) -> Any:
        """The settings of an account, awaited in the asynchronous face."""
        self.loaded.append(account)
        found = self.configs.get(account)
        return _soon(found) if Face.asyncio else found

    def names(self) -> Any:
        """The names of all accounts, the same."""
        self.listed += 1
        return _soon(list(self.configs)) if Face.asyncio else list(self.configs)


async def _soon(value: object) -> object:
    await asyncio.sleep(0)
    return value


def merchants(number: int) -> Merchants:
    """Merchants 600000, 600001, ..."""
    return Merchants(*(make_config(account=PayBill(str(600_000 + n))) for n in range(number)))


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("paybill 600001", LUNCH),
        ("600001", LUNCH),
        ("till 5000001 of store 600002", KIOSK),
        ("5000001", KIOSK),
        ("600002", KIOSK),
        ("5000002", CORNER),
        ("paybill 600000", FEES),
    ],
)
@pytest.mark.parametrize("loaded", [False, True])
def test_account_is_found_by_every_name(name: str, config: StkConfig, *, loaded: bool) -> None:
    """By its shortcode, till number, store number or full name, with loaded and given settings."""
    table = Merchants(*NAMES.values())
    accounts = (
        accounts_of(table.load, accounts=table.names) if loaded else accounts_of(NAMES.values())
    )
    assert accounts.account(name).account == str(config.account)


def test_account_of_given_settings_is_an_item() -> None:
    """`accounts["600001"]` is the same object each time."""
    accounts = accounts_of([FEES, LUNCH])
    assert accounts["600001"].account == "paybill 600001"
    assert accounts.account("600001") is accounts.account("paybill 600001")


@pytest.mark.parametrize("loaded", [False, True])
def test_ambiguous_name_is_an_error_that_names_the_candidates(*, loaded: bool) -> None:
    """A paybill and the store of a till may have one number."""
    table = Merchants(*NAMES.values())
    accounts = (
        accounts_of(table.load, accounts=table.names) if loaded else accounts_of(NAMES.values())
    )
    with pytest.raises(InvalidRequest) as refusal:
        accounts.account("600000")
    assert refusal.value.field == "account"
    assert refusal.value.rule == (
        "names several accounts: paybill 600000, till 5000002 of store 600000"
    )


@pytest.mark.parametrize("name", ["600009", "paybill 600009", "", "x" * 1000, "till 1 of store 2"])
@pytest.mark.parametrize("loaded", [False, True])
def test_unknown_name_is_an_error_that_does_not_repeat_it(name: str, *, loaded: bool) -> None:
    """It may come from a URL."""
    table = Merchants(*NAMES.values())
    accounts = (
        accounts_of(table.load, accounts=table.names) if loaded else accounts_of(NAMES.values())
    )
    with pytest.raises(InvalidRequest, match=r"^account: is not served here$"):
        accounts.account(name)


def test_names_are_those_of_all() -> None:
    """Given or listed."""
    table = Merchants(*NAMES.values())
    for accounts in (accounts_of(NAMES.values()), accounts_of(table.load, accounts=table.names)):
        assert accounts.names() == frozenset(NAMES)


def test_without_a_list_full_names_and_paybills_are_found() -> None:
    """A till's full name has two numbers, which one number cannot give."""
    accounts = accounts_of(Merchants(*NAMES.values()).load)
    assert accounts.account("600001").account == "paybill 600001"
    assert accounts.account("till 5000001 of store 600002").account == str(KIOSK.account)
    with pytest.raises(InvalidRequest, match="is not served here"):
        accounts.account("5000001")
    with pytest.raises(ConfigurationError, match=r"^accounts: must list the full names"):
        accounts.process_due()


@pytest.mark.parametrize(
    ("configs", "parts", "problem"),
    [
        ([], {}, "configs: must have at least one account"),
        ([FEES, LUNCH, FEES], {}, "configs: has paybill 600000 twice"),
        ([FEES], {"accounts": lambda: ()}, "accounts: is needed only if configs is a function"),
        (Merchants().load, {"kept": 0}, "kept: must be at least 1"),
    ],
)
def test_arguments_that_cannot_work_are_refused(
    configs: Any, parts: dict[str, Any], problem: str
) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigurationError) as refusal:
        accounts_of(configs, **parts)
    assert str(refusal.value) == problem


# --- loaded settings -----------------------------------------------------------------------------------


def test_settings_are_loaded_once_until_they_are_old() -> None:
    """A change of a merchant is seen after `kept_for`, or when the host says so."""
    table, clock = merchants(1), ManualClock()
    accounts = accounts_of(table.load, clock=clock, kept_for=60.0)
    first = accounts.account("600000")
    clock.advance(59.9)
    assert accounts.account("600000") is first
    assert len(table.loaded) == 1
    clock.advance(0.1)
    assert accounts.account("600000") is not first
    accounts.forget("paybill 600000")
    accounts.account("600000")
    assert table.loaded == ["paybill 600000"] * 3


def test_merchant_that_is_gone_is_not_served() -> None:
    """Its settings are forgotten when they are old."""
    table, clock = merchants(2), ManualClock()
    accounts = accounts_of(table.load, clock=clock, kept_for=60.0)
    accounts.account("600000")
    del table.configs["paybill 600000"]
    clock.advance(60)
    with pytest.raises(InvalidRequest):
        accounts.account("600000")


def test_least_recently_used_settings_are_dropped_first() -> None:
    """At most `kept` of them are in memory."""
    table = merchants(4)
    accounts = accounts_of(table.load, kept=2)
    for name in ("600000", "600001", "600000", "600002", "600000", "600001"):
        accounts.account(name)
    assert [name.split()[1] for name in table.loaded] == ["600000", "600001", "600002", "600001"]


def test_dropped_account_goes_on_working() -> None:
    """Somebody still checks out with it, and its connections stay open."""
    closed: list[str] = []
    daraja = ScriptedDaraja()
    daraja.close = lambda: closed.append("closed")  # type: ignore[method-assign]
    accounts = accounts_of(merchants(3).load, kept=1, transport=daraja)
    held = accounts.account("600000")
    for name in ("600001", "600002"):
        accounts.account(name)
    checkout: Callable[..., Any] = _blocking(held).checkout
    assert checkout(phone_number="0718643064", amount=5, reference="INV-1").checkout_request_id
    assert closed == []
    accounts.close()
    assert closed == ["closed"]


def _blocking(payments: Any) -> Any:
    return Blocking(payments) if Face.asyncio else payments


def test_settings_of_another_account_are_refused() -> None:
    """A loader that mixes merchants up would send money to the wrong one."""
    accounts = accounts_of(lambda _account: LUNCH)
    with pytest.raises(ConfigurationError, match="returned the settings of another account"):
        accounts.account("paybill 600000")


@pytest.mark.parametrize("broken", ["load", "names"])
def test_database_of_merchants_that_fails_is_an_error_of_the_store(
    broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The endpoints answer 503 then, and a worker tries again."""

    def fail(*_account: str) -> Any:
        raise OSError("the database of merchants is down")

    table = merchants(1)
    setattr(table, broken, fail)
    accounts = accounts_of(table.load, accounts=table.names)
    with pytest.raises(StoreError, match="the settings of the accounts cannot be read"):
        accounts.account("600000")
    assert "the database of merchants is down" in caplog.text


def test_error_of_ours_passes_through_the_loader() -> None:
    """Such as settings that cannot work."""

    def load(_account: str) -> StkConfig:
        return make_config(account=PayBill("x"))

    with pytest.raises(ConfigurationError, match="shortcode"):
        accounts_of(load).account("paybill 600000")


def test_given_settings_cannot_be_forgotten() -> None:
    """There is nothing to load them again."""
    accounts = accounts_of([FEES, LUNCH])
    first = accounts.account("600001")
    accounts.forget("paybill 600001")
    assert accounts.account("600001") is first


def test_accounts_that_reach_daraja_alike_share_connections() -> None:
    """One transport for them, and another one for an account behind a proxy."""
    proxied = make_config(account=PayBill("600003"), proxies={"https": "http://proxy.example:3128"})
    configs = [FEES, LUNCH, proxied]

    def transports(accounts: Any) -> list[int]:
        flows = [accounts[config.account.shortcode].client.flow for config in configs]
        kept = [getattr(flow._transport, "_transport", flow._transport) for flow in flows]
        return [kept.index(one) for one in kept]

    async def awaited() -> list[int]:
        async with AsyncAccounts(AsyncMemoryTransactionStore(), configs) as accounts:
            return transports(accounts)

    with Accounts(MemoryTransactionStore(), configs) as accounts:
        assert transports(accounts) == [0, 0, 2]
    assert asyncio.run(awaited()) == [0, 0, 2]


def test_settings_that_must_be_awaited_are_no_item() -> None:
    """`accounts["600000"]` cannot wait, and says what to do."""

    async def load(_account: str) -> StkConfig:
        await asyncio.sleep(0)
        return FEES

    accounts = AsyncAccounts(AsyncMemoryTransactionStore(), load)
    with pytest.raises(TypeError, match=r"await accounts\.account"):
        accounts["600000"]


def test_secrets_are_in_no_repr() -> None:
    """Of accounts, or of what is in them."""
    config = make_config(callback_secrets=(CALLBACK_SECRET,))
    accounts: Iterable[object] = vars(Accounts(MemoryTransactionStore(), [config])).values()
    shown = " ".join(map(repr, accounts))
    assert not [secret for secret in CANARIES if secret in shown]
