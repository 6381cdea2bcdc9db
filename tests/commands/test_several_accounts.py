"""The commands with several accounts: from variables with prefixes, and from a TOML file."""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
import pytest
from sqlalchemy import create_engine

from mpesa_stk import (
    Accounts,
    MemoryTransactionStore,
    PayBill,
    StkConfig,
    Transaction,
    TransactionState,
    cli,
)
from mpesa_stk.commands import simulate
from mpesa_stk.commands.context import Context
from mpesa_stk.commands.database import DatabaseUrl
from mpesa_stk.commands.loop import StopFlag
from mpesa_stk.commands.serve import serve
from mpesa_stk.commands.worker import work
from mpesa_stk.simulator import Scenario, SimulatorServer
from mpesa_stk.stores.sql import SqlTransactionStore
from support import CALLBACK_SECRET, CANARIES, make_config

LOCAL = "127.0.0.1"
PATIENCE = 60.0
NUMBERS = ("600000", "600001")
CANCELLED = Scenario(outcome="cancelled", answer_after=0.0, callbacks=0)
toml = pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib is new in Python 3.11")


def merchants() -> list[StkConfig]:
    """Two merchants, each with an app of its own."""
    return [
        make_config(
            account=PayBill(number),
            consumer_key=f"key-{number}",
            consumer_secret=f"secret-{number}",
            passkey=f"passkey-{number}",
        )
        for number in NUMBERS
    ]


def settings_of(server: SimulatorServer, config: StkConfig) -> dict[str, str]:
    """The settings of a merchant of a simulator, by their names."""
    urls = server.environment.urls
    return {
        "consumer_key": config.consumer_key,
        "consumer_secret": config.consumer_secret,
        "shortcode": config.account.shortcode,
        "pass_key": config.passkey,
        "c2b_callback": "http://127.0.0.1:9/payments/callback",
        "callback_secret": CALLBACK_SECRET,
        "access_token_url": urls["token_url"],
        "checkout_url": urls["push_url"],
        "mpesa_query_check_url": urls["query_url"],
    }


def with_prefixes(server: SimulatorServer) -> dict[str, str]:
    """The variables of both merchants."""
    variables = {"MPESA_ACCOUNTS": "FEES,LUNCH"}
    for prefix, config in zip(("FEES", "LUNCH"), merchants(), strict=True):
        variables |= {
            f"{prefix}_{name.upper()}": text for name, text in settings_of(server, config).items()
        }
    return variables


def in_a_file(server: SimulatorServer, folder: Path) -> dict[str, str]:
    """The same in a file."""
    tables = [
        f"[{label}]\n"
        + "".join(f"{name} = {json.dumps(text)}\n" for name, text in settings_of(server, c).items())
        for label, c in zip(("fees", "lunch"), merchants(), strict=True)
    ]
    path = folder / "accounts.toml"
    path.write_text("\n".join(tables), encoding="utf-8")
    path.chmod(0o600)
    return {"mpesa_accounts": "accounts.toml"}


@pytest.fixture
def daraja() -> Iterator[SimulatorServer]:
    """A Daraja whose customers cancel at once, and whose callbacks are lost."""
    with SimulatorServer(*merchants(), scenario=CANCELLED) as server:
        yield server


@contextlib.contextmanager
def sold(
    server: SimulatorServer, folder: Path
) -> Iterator[tuple[str, SqlTransactionStore, list[Transaction]]]:
    """A database with a due payment of each merchant."""
    url = f"sqlite:///{folder / 'payments.db'}"
    engine = create_engine(url)
    store = SqlTransactionStore(engine)
    store.create_tables()
    configs = [attrs.evolve(config, environment=server.environment) for config in merchants()]
    sales = []
    with Accounts(store, configs) as accounts:
        for number in NUMBERS:
            sale = accounts[number].checkout(phone_number="0718643064", amount=5, reference=number)
            assert store.replace(attrs.evolve(sale, due_at=datetime.now(timezone.utc)))
            sales.append(sale)
    yield url, store, sales
    engine.dispose()


def states(store: SqlTransactionStore, sales: list[Transaction]) -> list[tuple[str, bool]]:
    """The states of payments, and whether they were reported."""
    found = [store.get(sale.transaction_no) for sale in sales]
    return [(one.state.value, one.reported) for one in found if one is not None]


# --- worker --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["prefixes", pytest.param("file", marks=toml)])
def test_worker_does_the_due_work_of_all_accounts(
    way: str, daraja: SimulatorServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each payment is asked about with its own credentials, and told to the one handler."""
    (tmp_path / "school_books.py").write_text("def deliver(paid): print(paid.account)\n")
    environ = with_prefixes(daraja) if way == "prefixes" else in_a_file(daraja, tmp_path)
    with sold(daraja, tmp_path) as (url, store, sales):
        context = Context(environ=environ | {"MPESA_DATABASE": url}, folder=tmp_path)
        try:
            assert (
                cli.main(["worker", "--handler", "school_books:deliver", "--once"], context=context)
                == 0
            )
        finally:
            sys.modules.pop("school_books", None)
            sys.path.remove(str(tmp_path))
        assert states(store, sales) == [("FAILED", True)] * 2
    shown = capsys.readouterr()
    assert shown.out.splitlines()[-1] == "claimed 2, queried 2, settled 2, reported 2"
    assert set(shown.out.splitlines()[:-1]) == {"paybill 600000", "paybill 600001"}
    assert not [secret for secret in CANARIES if secret in shown.out + shown.err]


def test_worker_leaves_payments_of_other_accounts_alone(
    daraja: SimulatorServer, tmp_path: Path
) -> None:
    """It serves the accounts that its environment names, and no others."""
    environ = with_prefixes(daraja) | {"MPESA_ACCOUNTS": "LUNCH"}
    (tmp_path / "school_lunch.py").write_text("def deliver(paid): pass\n")
    with sold(daraja, tmp_path) as (url, store, sales):
        context = Context(environ=environ | {"MPESA_DATABASE": url}, folder=tmp_path)
        try:
            cli.main(["worker", "--handler", "school_lunch:deliver", "--once"], context=context)
        finally:
            sys.modules.pop("school_lunch", None)
            sys.path.remove(str(tmp_path))
        assert states(store, sales) == [("PENDING", False), ("FAILED", True)]


def test_factory_of_a_worker_may_return_accounts() -> None:
    """As it may return `Payments`."""
    store = MemoryTransactionStore()
    accounts = Accounts(store, merchants())
    stop = StopFlag(accounts.clock)
    told: list[Transaction] = []
    assert work(Context(), lambda: accounts, told.append, stop=stop, once=True) == 0


def test_settings_of_an_account_that_cannot_work_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of them, with exit code 2; no payment is claimed, and Daraja is not simulated."""
    environ = {"MPESA_ACCOUNTS": "FEES", "MPESA_DATABASE": f"sqlite:///{tmp_path / 'p.db'}"}
    context = Context(environ=environ, folder=tmp_path)
    for arguments in (["worker", "--handler", "json:loads"], ["serve", "--port", "0"]):
        assert cli.main(arguments, context=context) == 2
        said = capsys.readouterr().err
        for name in ("consumer_key", "consumer_secret", "shortcode", "pass_key", "c2b_callback"):
            assert f"FEES_{name}: is not set" in said
        assert "simulated" not in said
    assert not (tmp_path / "p.db").exists()


# --- serve ---------------------------------------------------------------------------------------------


def curl(line: str) -> tuple[int, Any]:
    """Do what a printed line says."""
    url, body = urlsplit(line.split(" ")[3]), line.partition(" -d '")[2][:-1]
    connection = http.client.HTTPConnection(url.netloc, timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.request("POST", url.path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def is_failed(line: str) -> bool:
    """Whether a printed line shows a payment that failed."""
    return bool(curl(line)[1]["state"] == TransactionState.FAILED.value)


def until(done: Callable[[], object]) -> None:
    """Wait until something is so."""
    ends = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < ends
        time.sleep(0.01)


@pytest.mark.parametrize("kept", ["memory", "database"])
def test_serve_has_the_endpoints_of_each_account(
    kept: str, daraja: SimulatorServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says which accounts there are, and prints lines for the first."""
    environ: Mapping[str, str] = with_prefixes(daraja)
    context = Context(command="serve", environ=environ, folder=tmp_path)

    def pay() -> None:
        told = capsys.readouterr()
        assert "paybill 600000, paybill 600001." in told.err
        assert told.err.count("Callbacks to ") == 1
        asking, asked = (line for line in told.out.splitlines() if line[:4] == "curl")
        assert "/payments/paybill-600000/checkout/" in asking
        for number in NUMBERS:
            name = f"paybill-{number}"
            status, body = curl(asking.replace("paybill-600000", name))
            assert status == 200
            line = asked.replace("CHECKOUT_REQUEST_ID", body["CheckoutRequestID"])
            line = line.replace("paybill-600000", name)
            until(functools.partial(is_failed, line))
        assert curl(asking.replace("paybill-600000", "600009"))[0] == 404

    url = DatabaseUrl(text=f"sqlite:///{tmp_path / 'p.db'}", source="mpesa_database")
    configs = context.settings_of_all()
    database = url if kept == "database" else None
    assert serve(context, configs, host=LOCAL, port=0, wait=pay, every=0.05, url=database) == 0


def test_simulated_serve_does_not_need_the_accounts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--simulate` makes up one merchant, whatever accounts the environment names."""
    context = Context(command="serve", environ={"MPESA_ACCOUNTS": "FEES"}, folder=tmp_path)
    assert serve(context, None, host=LOCAL, port=0, wait=lambda: None) == 0
    assert "/payments/checkout/" in capsys.readouterr().out


# --- simulate and doctor -------------------------------------------------------------------------------


def test_simulator_serves_the_accounts_of_the_environment(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """They need no callback URL for that, and their secrets are not printed."""
    names = {
        f"{prefix}_{name}": text
        for prefix, number in (("FEES", "600000"), ("LUNCH", "600001"))
        for name, text in {
            "CONSUMER_KEY": CANARIES[0],
            "CONSUMER_SECRET": CANARIES[1],
            "PASS_KEY": CANARIES[2],
            "SHORTCODE": number,
        }.items()
    }
    context = Context(command="simulate", environ=names | {"MPESA_ACCOUNTS": "FEES,LUNCH"})
    parsed = cli._parser().parse_args(["simulate", "--port", "0"])
    assert simulate.simulate(context, parsed, wait=lambda: None) == 0
    told = capsys.readouterr().out
    assert "# Daraja for paybill 600000, paybill 600001, the merchants of your environment" in told
    assert "# Keep MPESA_ACCOUNTS set as it is, and set:" in told
    assert not [secret for secret in CANARIES if secret in told]


def test_doctor_checks_each_account(
    daraja: SimulatorServer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Their settings, and what Daraja says to their credentials."""
    environ = with_prefixes(daraja)
    context = Context(environ=environ, folder=tmp_path)
    cli.main(["doctor", "--offline"], context=context)
    told = capsys.readouterr().out
    assert "complete: paybill 600000 in" in told
    assert "complete: paybill 600001 in" in told
    broken = Context(environ=environ | {"LUNCH_SHORTCODE": "x"}, folder=tmp_path)
    assert cli.main(["doctor", "--offline"], context=broken) == 1
    told = capsys.readouterr().out
    assert "LUNCH_shortcode: must be a string of 5 to 7 digits -> set your paybill" in told


@toml
def test_doctor_warns_of_a_file_that_all_can_read(
    daraja: SimulatorServer, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """So do the other commands."""
    environ = in_a_file(daraja, tmp_path)
    (tmp_path / "accounts.toml").chmod(0o644)
    context = Context(environ=environ, folder=tmp_path)
    cli.main(["doctor", "--offline"], context=context)
    assert "mpesa_accounts: names a file that all users" in capsys.readouterr().out
    context.settings_of_all()
    assert "warning: mpesa_accounts names a file that all users" in capsys.readouterr().err
