"""``mpesa-stk worker``: its arguments, how it stops, and the loop that it shares with ``serve``."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import math
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import attrs
import pytest
from sqlalchemy import URL, AsyncAdaptedQueuePool, Pool, create_engine
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from hosts import BrokenStore, Host, pending
from mpesa_stk import (
    DueReport,
    MemoryTransactionStore,
    Payments,
    QueryStatus,
    StkClient,
    StoreError,
    Transaction,
    TransactionState,
    TransactionStore,
    cli,
)
from mpesa_stk.commands.context import Context
from mpesa_stk.commands.database import advice
from mpesa_stk.commands.loop import StopFlag, do_batches, stop_signals
from mpesa_stk.commands.worker import work
from mpesa_stk.simulator import Scenario, SimulatorServer
from mpesa_stk.stores.sql import SqlTransactionStore
from processes import VARIABLES, command
from support import ACCOUNTS, START, ManualClock, callback, make_config, make_transaction

PATIENCE = 60.0
CONTEXT = Context(command="worker")
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process otherwise")


def until(done: Callable[[], Any]) -> Any:
    """Wait until something is so."""
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        found = done()
        if found:
            return found
        time.sleep(0.01)
    pytest.fail("it did not come")


def settled_host() -> Host:
    """A host with one payment that its handler was not told of."""
    host = pending()
    host.payments.handle_callback(callback())
    return host


# --- the loop ----------------------------------------------------------------------------------------


class Loop:
    """Runs `do_batches` over a script of reports and errors, and writes down its pauses."""

    def __init__(self, *script: DueReport | StoreError, chance: float = 0.5) -> None:
        self._script = list(script)
        self.pauses: list[float] = []
        do_batches(self._batch, pause=self._pause, every=7.0, jitter=lambda: chance)

    def _batch(self) -> DueReport:
        step = self._script.pop(0)
        if isinstance(step, StoreError):
            raise step
        return step

    def _pause(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        return not self._script


def test_batches_follow_after_a_pause() -> None:
    """The first comes at once, and each further one after as many seconds as wanted."""
    assert Loop(DueReport(claimed=1), DueReport()).pauses == [0.0, 7.0, 7.0]


def test_a_full_batch_is_followed_at_once() -> None:
    """There may be more that is due."""
    assert Loop(DueReport(more=True), DueReport()).pauses == [0.0, 0.0, 7.0]


def test_a_store_that_fails_is_tried_ever_more_slowly(caplog: pytest.LogCaptureFixture) -> None:
    """1, 2, 4 ... 60 seconds, and from the beginning once it worked."""
    broken = [StoreError("254718643064 is locked")] * 8
    loop = Loop(*broken, DueReport(), StoreError("again"), DueReport())
    assert loop.pauses == [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 7.0, 1.0, 7.0]
    assert "due_batch_failed error=StoreError" in caplog.text
    assert "718643064" not in caplog.text


@pytest.mark.parametrize(("chance", "pause"), [(0.0, 0.9), (1.0, 1.1)])
def test_pauses_after_a_failure_are_spread(chance: float, pause: float) -> None:
    """Many workers do not come back to a database in the same moment."""
    assert Loop(StoreError("down"), chance=chance).pauses[1] == pytest.approx(pause)


def test_flag_that_is_never_set_is_waited_for_as_long_as_wanted() -> None:
    """In short naps, since a signal wakes nobody."""
    clock = ManualClock()
    stop = StopFlag(clock)
    assert not stop.wait(0.0)
    assert not stop.wait(1.0)
    assert sum(clock.slept) == pytest.approx(1.0)
    assert max(clock.slept) <= 0.2
    assert not stop.is_set()


def test_flag_that_is_set_is_not_waited_for() -> None:
    """However often it was set."""
    clock = ManualClock()
    stop = StopFlag(clock)
    stop.set()
    stop.set()
    assert stop.wait(math.inf)
    assert stop.wait(60.0)
    assert clock.slept == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_set_the_flag(number: signal.Signals) -> None:
    """They end nothing by themselves, and afterwards the handlers are as before."""
    before = signal.getsignal(number)
    with stop_signals() as stop:
        assert not stop.is_set()
        signal.raise_signal(number)
        signal.raise_signal(number)
        assert stop.wait(PATIENCE)
    assert signal.getsignal(number) is before


# --- the command, without its arguments ------------------------------------------------------------------


def test_it_tells_the_handler_and_what_it_did(capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each batch that did something; nothing of it names the customer."""
    host = settled_host()
    told: list[Transaction] = []
    stop = StopFlag(host.clock)
    assert work(CONTEXT, lambda: host.payments, told.append, stop=stop, once=True) == 0
    assert [paid.state for paid in told] == [TransactionState.SUCCEEDED]
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("claimed 1, reported 1\n", "")


def test_stopped_callbacks_are_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    """The loop looks once a minute, says in words what is new, and works on."""
    host = Host()
    made = {"state": TransactionState.SUCCEEDED, "settled_by": "query", "due_at": None}
    for number in range(5):
        host.store.add(make_transaction(transaction_no=f"no-{number}", **made))
    stop = StopFlag(host.clock)

    def source() -> Payments:
        host.clock.advance(61.0)
        if host.clock.now() > START + timedelta(minutes=30):
            stop.set()
        elif host.clock.now() > START + timedelta(minutes=20):
            made.update(settled_by="callback")
            if host.store.get("no-5") is None:
                host.store.add(make_transaction(transaction_no="no-5", **made))
        return host.payments

    context = attrs.evolve(CONTEXT, clock=host.clock)
    assert work(context, source, lambda _: None, stop=stop, every=1.0) == 0

    assert capsys.readouterr().err.splitlines()[1:] == [
        (
            "mpesa-stk worker: callbacks have stopped: Daraja says how the last payments ended, and "
            "posted nothing about them"
        ),
        "mpesa-stk worker: see that your callback URL answers: `mpesa-stk doctor`",
        "mpesa-stk worker: callbacks come again",
    ]


class CannotSearch(MemoryTransactionStore):
    """A host's own store, which may leave search out."""

    search = None  # type: ignore[assignment]


def test_a_store_that_cannot_search_is_not_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    """There is no alarm then, and the work is done all the same."""
    host = Host(CannotSearch())
    host.store.add(make_transaction(state=TransactionState.FAILED, due_at=host.clock.now()))
    stop = StopFlag(host.clock)
    told: list[Transaction] = []

    def source() -> Payments:
        if told:
            stop.set()
        host.clock.advance(61.0)
        return host.payments

    context = attrs.evolve(CONTEXT, clock=host.clock)
    assert work(context, source, told.append, stop=stop, every=1.0) == 0
    assert len(told) == 1
    assert "search" not in capsys.readouterr().err


def test_once_goes_on_while_there_is_more(capsys: pytest.CaptureFixture[str]) -> None:
    """Full batches, until one is not full."""
    host = Host()
    for number in range(5):
        host.store.add(
            make_transaction(
                transaction_no=str(number), state=TransactionState.FAILED, due_at=host.clock.now()
            )
        )
    told: list[str] = []
    stop = StopFlag(host.clock)
    handler = lambda paid: told.append(paid.transaction_no)  # noqa: E731
    assert work(CONTEXT, lambda: host.payments, handler, stop=stop, limit=2, once=True) == 0
    assert sorted(told) == ["0", "1", "2", "3", "4"]
    assert capsys.readouterr().out.count("claimed 2, reported 2\n") == 2


def test_it_stops_after_the_payment_in_hand() -> None:
    """The rest of the batch is due for other workers at once."""
    host = Host()
    for number in range(5):
        host.store.add(
            make_transaction(
                transaction_no=str(number), state=TransactionState.FAILED, due_at=host.clock.now()
            )
        )
    stop = StopFlag(host.clock)
    told: list[Transaction] = []

    def tell(transaction: Transaction) -> None:
        told.append(transaction)
        stop.set()

    assert work(CONTEXT, lambda: host.payments, tell, stop=stop, limit=5) == 0
    assert len(told) == 1
    assert len(host.store.claim_due(host.clock.now(), 10, timedelta(seconds=60), ACCOUNTS)) == 4


def test_a_store_that_fails_does_not_end_it(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """It goes on once the store is back; each failure is told in words, with the pause."""
    store = BrokenStore()
    host = pending(store=store)
    host.payments.handle_callback(callback())
    store.broken = "claim_due"

    class Repaired(ManualClock):
        def sleep(self, seconds: float, /) -> None:
            super().sleep(seconds)
            if self.monotonic() > 1010:
                store.broken = ""

    stop = StopFlag(Repaired())
    assert work(CONTEXT, lambda: host.payments, lambda _: stop.set(), stop=stop) == 0
    assert host.stored().reported
    failures = caplog.text.count("due_batch_failed")
    assert failures > 2
    said = capsys.readouterr().err.splitlines()
    told = [
        line for line in said if "the store failed: the database is down; trying again in" in line
    ]
    assert len(told) == failures


def test_handler_that_calls_exit_does_not_end_it() -> None:
    """It counts as a failed report, like anything else that a handler raises."""
    host = settled_host()

    def leave(_transaction: Transaction) -> None:
        sys.exit(3)

    assert work(CONTEXT, lambda: host.payments, leave, stop=StopFlag(host.clock), once=True) == 0
    assert host.stored().history[-1].event == "report failed"


# --- its arguments ------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory that is not importable yet, and settings in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    for name in (*VARIABLES, "mpesa_database"):
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(name, raising=False)
    for name, text in VARIABLES.items():
        monkeypatch.setenv(name, text)
    return tmp_path


@contextlib.contextmanager
def module(folder: Path, name: str, text: str) -> Iterator[None]:
    """A module of the host's in a folder."""
    (folder / f"{name}.py").write_text(text, encoding="utf-8")
    try:
        yield
    finally:
        sys.modules.pop(name, None)


def worker(*arguments: str) -> int:
    """Call the command as the shell does."""
    return cli.main(["worker", *arguments])


GOOD = "def deliver(paid): ...\ndef nothing(): return 3\ndef broken(): raise OSError('no disk')\n"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--handler", "shop_a"], "'shop_a' is not of the form package.module:function"),
        (["--handler", ":deliver"], "':deliver' is not of the form"),
        (["--handler", "no_such:deliver"], "cannot import 'no_such': ModuleNotFoundError"),
        (["--handler", "bad_b:deliver"], "cannot import 'bad_b': ZeroDivisionError"),
        (["--handler", "shop_a:missing"], "'shop_a' has no function 'missing'"),
        (["--handler", "shop_a:deliver.missing"], "'shop_a' has no function 'deliver.missing'"),
        (["--handler", "shop_a:__doc__"], "'shop_a' has no function '__doc__'"),
        (["--handler", "shop_a:later"], "'shop_a:later' is no plain function"),
        (["--handler", "shop_a:pieces"], "'shop_a:pieces' is no plain function"),
    ],
)
def test_handler_that_is_not_there_is_told_before_anything_is_claimed(
    arguments: list[str], text: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, a clear message, and not even the database is made."""
    more = "async def later(transaction): pass\ndef pieces(transaction): yield\n"
    with module(folder, "shop_a", GOOD + more), module(folder, "bad_b", "1 / 0\n"):
        assert worker(*arguments, "--database", "sqlite:///payments.db", "--once") == 2
    assert text in capsys.readouterr().err
    assert not (folder / "payments.db").exists()


@pytest.mark.parametrize(
    ("factory", "text"),
    [
        ("shop_c:nothing", "the factory of --payments returned a int"),
        ("shop_c:broken", "the factory of --payments failed: OSError: no disk"),
        ("shop_c:unset", "consumer_key"),
        ("shop_d:payments", "cannot import 'shop_d'"),
    ],
)
def test_factory_that_does_not_work_is_told(
    factory: str, text: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 and a clear message."""
    more = "from mpesa_stk import StkConfig\ndef unset(): StkConfig.from_env({})\n"
    with module(folder, "shop_c", GOOD + more):
        assert worker("--handler", "shop_c:deliver", "--payments", factory, "--once") == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("no url CANARY", "not a usable URL (ArgumentError)"),
        ("postgresql://u:CANARY@host:port/db", "not a usable URL (ValueError)"),
        ("nosuchdb://u:CANARY@host/db", "not a usable URL (NoSuchModuleError)"),
        ("oracle+oracledb://u:CANARY@host/db", "its driver is not installed"),
        ("postgres://u:CANARY@host/db", "write postgresql+psycopg://..., with the rest as it is"),
        ("POSTGRES://u:CANARY@host/db", "write postgresql+psycopg://..., with the rest as it is"),
        ("postgresql+pyscopg://u:CANARY@host/db", "write postgresql+psycopg://..."),
        ("postgresql+asyncpg://u:CANARY@host/db", "write postgresql+psycopg://..."),
        ("postgress://u:CANARY@host/db", "write postgresql+psycopg://..."),
        ("mysql://u:CANARY@host/db", "write mysql+pymysql://..., with the rest as it is"),
        ("mariadb+mysqlconnector://u:CANARY@host/db", "write mariadb+pymysql://..."),
        ("sqlite3:///CANARY.db", "write sqlite:///file.db"),
    ],
)
def test_database_that_cannot_work_is_told_without_its_password(
    url: str, text: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and the URL stays where it came from."""
    with module(folder, "shop_e", GOOD):
        assert worker("--handler", "shop_e:deliver", "--database", url, "--once") == 2
    said = capsys.readouterr().err
    assert text in said
    assert "CANARY" not in said


class ForAsyncioOnly(SQLiteDialect_pysqlite):
    """A driver such as asyncpg or aiosqlite."""

    driver = "waiting"
    is_async = True
    supports_statement_cache = True

    @classmethod
    def get_pool_class(cls, _url: URL) -> type[Pool]:
        """As those drivers have it."""
        return AsyncAdaptedQueuePool


def test_driver_for_asyncio_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A shop's own URL may name one: it would fail at each batch."""
    registry.register("sqlite.waiting", __name__, "ForAsyncioOnly")
    with module(folder, "shop_l", GOOD):
        arguments = ("--handler", "shop_l:deliver", "--database", "sqlite+waiting:///p.db")
        assert worker(*arguments) == 2
    said = capsys.readouterr().err
    assert "its driver is for asyncio only: write sqlite:///file.db" in said


def test_drivers_that_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The URL that works once it is; of a kind that nobody knows, how a URL is written at all."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert advice("postgres://x") == (
        "pip install 'psycopg[binary]', and write postgresql+psycopg://..., with the rest as it is"
    )
    assert advice("mysql://x").startswith("pip install 'pymysql', and write mysql+pymysql://...")
    assert advice("nosuch://x").startswith("write it as postgresql+psycopg://user@host/database")


def test_settings_that_are_missing_are_told(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2, and their names."""
    monkeypatch.delenv("pass_key")
    with module(folder, "shop_f", GOOD):
        assert worker("--handler", "shop_f:deliver", "--database", "sqlite:///p.db") == 2
    said = capsys.readouterr().err
    assert "pass_key: is not set" in said
    assert said.endswith("`mpesa-stk doctor` says what to do about each setting\n")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--handler", "a:b", "--database", "x", "--payments", "a:b"],
        ["--handler", "a:b", "--payments", "a:b", "--every", "0"],
        ["--handler", "a:b", "--payments", "a:b", "--every", "soon"],
        ["--handler", "a:b", "--payments", "a:b", "--every", "inf"],
        ["--handler", "a:b", "--payments", "a:b", "--limit", "0"],
        ["--handler", "a:b", "--payments", "a:b", "--limit", "many"],
    ],
)
def test_arguments_that_cannot_work_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """By the parser, with exit code 2."""
    with pytest.raises(SystemExit) as caught:
        worker(*arguments)
    assert caught.value.code == 2
    assert "usage: mpesa-stk worker" in capsys.readouterr().err


def test_payments_must_be_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --database, --payments and the variable there is no work to do: exit code 2."""
    with module(folder, "shop_m", GOOD):
        assert worker("--handler", "shop_m:deliver") == 2
    assert capsys.readouterr().err == (
        "mpesa-stk worker: mpesa_database: is not set, and --database is not given\n"
    )


def test_without_sqlalchemy_it_says_what_to_install(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra is named, in place of a traceback."""
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with module(folder, "shop_g", GOOD):
        assert worker("--handler", "shop_g:deliver", "--database", "sqlite:///p.db") == 2
    assert "pip install 'mpesa-stk-client[sql]'" in capsys.readouterr().err


HOST = """
from datetime import datetime, timezone
from mpesa_stk import MemoryTransactionStore, Payments, StkClient, StkConfig, TransactionState
from support import make_transaction

told = []

def payments():
    store = MemoryTransactionStore()
    now = datetime.now(timezone.utc)
    store.add(make_transaction(state=TransactionState.FAILED, due_at=now))
    return Payments(StkClient(StkConfig.from_env()), store)
"""


def test_payments_of_a_factory(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The host's own store serves; the handler's module may need what the factory's has set up."""
    handler = "import sys\ndeliver = sys.modules['host_h'].told.append\n"
    arguments = ("--handler", "shop_h:deliver", "--payments", "host_h:payments", "--once")
    with module(folder, "host_h", HOST), module(folder, "shop_h", handler):
        assert worker(*arguments) == 0
        assert [paid.reference for paid in sys.modules["host_h"].told] == ["INV-1"]
    assert capsys.readouterr().out == "claimed 1, reported 1\n"


BROKEN = """
from mpesa_stk import Payments, StkClient, StkConfig
from hosts import BrokenStore

def payments():
    return Payments(StkClient(StkConfig.from_env()), BrokenStore("claim_due"))
"""


def test_once_with_a_store_that_fails_is_not_done(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cron sees the exit code."""
    arguments = ("--handler", "shop_n:deliver", "--payments", "host_n:payments", "--once")
    with module(folder, "host_n", BROKEN), module(folder, "shop_n", GOOD):
        assert worker(*arguments) == 1
    assert capsys.readouterr().err.splitlines() == [
        "mpesa-stk worker: the store failed: the database is down",
        "mpesa-stk worker: see that the database runs, and that its user may use the tables",
    ]


SETS_UP_LOGGING = """
import logging.config

logging.config.dictConfig({
    "version": 1,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"mpesa_stk": {"handlers": ["console"], "level": "WARNING"}},
})
"""


@posix
@pytest.mark.parametrize("before", ["", SETS_UP_LOGGING])
def test_no_line_is_printed_twice(tmp_path: Path, before: str) -> None:
    """Not the failure of a handler either, whether or not the host shows the log itself."""
    failing = "def deliver(paid): 1 / 0\n"
    (tmp_path / "host.py").write_text(before + HOST + failing, encoding="utf-8")
    paths = os.pathsep.join([*filter(None, sys.path), str(tmp_path)])
    variables = VARIABLES | {"PYTHONPATH": paths}
    arguments = ("--handler", "host:deliver", "--payments", "host:payments", "--once")
    with command("worker", *arguments, variables=variables, folder=tmp_path) as started:
        out, err = started.communicate(timeout=PATIENCE)

    assert (started.returncode, out) == (0, "claimed 1, report_failed 1\n")
    lines = err.splitlines()
    assert sum("mpesa_stk.report_failed" in line for line in lines) == 1
    assert lines.count("Traceback (most recent call last):") == 1


def test_the_log_of_the_host_is_left_alone(folder: Path) -> None:
    """Where its logger has a handler, no other one is added anywhere."""
    ours, root = logging.getLogger("mpesa_stk"), logging.getLogger()
    handler = logging.StreamHandler()
    before, root.handlers = root.handlers, []
    ours.addHandler(handler)
    try:
        with module(folder, "host_k", HOST), module(folder, "shop_k", GOOD):
            worker("--handler", "shop_k:deliver", "--payments", "host_k:payments", "--once")
        assert root.handlers == []
    finally:
        root.handlers = before
        ours.removeHandler(handler)


# --- with a database ------------------------------------------------------------------------------------

TELLING = """
import time
from pathlib import Path

def deliver(paid):
    with open("told", "a") as told:
        told.write(f"{paid.reference} {paid.state.value}\\n")
    while Path("wait").exists():
        time.sleep(0.01)
"""


@contextlib.contextmanager
def sql_store(folder: Path) -> Iterator[SqlTransactionStore]:
    """The database that the command is given."""
    engine = create_engine(f"sqlite:///{folder / 'p.db'}")
    store = SqlTransactionStore(engine)
    store.create_tables()
    try:
        yield store
    finally:
        engine.dispose()


def settled_payments(store: TransactionStore, *references: str) -> None:
    """Store payments whose outcome nobody was told of yet."""
    now = datetime.now(timezone.utc)
    for number, reference in enumerate(references):
        store.add(
            make_transaction(
                transaction_no=str(uuid.uuid4()),
                reference=reference,
                state=TransactionState.FAILED,
                due_at=now - timedelta(seconds=60 - number),
            )
        )


def test_a_new_database_gets_its_tables(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is due in it, and nothing is said; nor when the tables are there already."""
    arguments = ("--handler", "shop_i:deliver", "--database", "sqlite:///p.db", "--once")
    with module(folder, "shop_i", TELLING):
        assert worker(*arguments) == 0
        assert worker(*arguments, "--every", "0.5", "--limit", "3") == 0
    assert capsys.readouterr() == ("", "")
    assert (folder / "p.db").stat().st_size > 0


def test_the_database_may_come_from_the_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then its URL is not among the arguments, which other users of the machine can see."""
    monkeypatch.setenv("MPESA_DATABASE", "sqlite:///p.db")
    with sql_store(folder) as store:
        settled_payments(store, "INV-1")
    with module(folder, "shop_o", TELLING):
        assert worker("--handler", "shop_o:deliver", "--once") == 0
    assert (folder / "told").read_text(encoding="utf-8") == "INV-1 FAILED\n"


def test_open_payment_is_followed_to_its_report(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pushed by one process, asked about and told by the command, with the token that both share."""
    config = make_config()
    with (
        SimulatorServer(config, scenario=Scenario(outcome="cancelled", answer_after=0.0)) as daraja,
        sql_store(folder) as store,
        StkClient(
            attrs.evolve(
                config,
                environment=daraja.environment,
                callback_url="http://127.0.0.1:9/callback",
            )
        ) as client,
    ):
        monkeypatch.setenv("access_token_url", daraja.environment.token_url)
        monkeypatch.setenv("checkout_url", daraja.environment.push_url)
        monkeypatch.setenv("mpesa_query_check_url", daraja.environment.query_url)
        monkeypatch.setenv("c2b_callback", "http://127.0.0.1:9/callback")
        pushed = Payments(client, store).checkout(
            phone_number="0718643064", amount=100, reference="INV-1"
        )
        until(lambda: client.query(str(pushed.checkout_request_id)).status is QueryStatus.FAILED)
        assert store.replace(attrs.evolve(pushed, due_at=datetime.now(timezone.utc)))
        with module(folder, "shop_j", TELLING):
            arguments = ("--handler", "shop_j:deliver", "--database", "sqlite:///p.db", "--once")
            assert worker(*arguments) == 0
    assert (folder / "told").read_text(encoding="utf-8") == "INV-1 FAILED\n"


def process(folder: Path, *arguments: str) -> AbstractContextManager[subprocess.Popen[str]]:
    """The command, which does not find modules where it is called."""
    return command("worker", *arguments, variables=VARIABLES, folder=folder, isolated=True)


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_finishes_the_payment_in_hand(tmp_path: Path, number: signal.Signals) -> None:
    """Told to stop within the handler, twice, it ends with exit code 0 after that one payment."""
    (tmp_path / "shop.py").write_text(TELLING, encoding="utf-8")
    (tmp_path / "wait").touch()
    with sql_store(tmp_path) as store:
        settled_payments(store, "INV-1", "INV-2", "INV-3")
        arguments = ("--handler", "shop:deliver", "--database", "sqlite:///p.db")
        with process(tmp_path, *arguments) as started:
            until((tmp_path / "told").exists)
            started.send_signal(number)
            started.send_signal(number)
            (tmp_path / "wait").unlink()
            out, err = started.communicate(timeout=PATIENCE)
        assert started.returncode == 0
        assert (tmp_path / "told").read_text(encoding="utf-8") == "INV-1 FAILED\n"
        assert out == "claimed 3, reported 1, left 2\n"
        assert "Traceback" not in err
        first = store.find(reference="INV-1")
        assert first is not None
        assert first.reported
        now = datetime.now(timezone.utc)
        assert len(store.claim_due(now, 10, timedelta(seconds=60), ACCOUNTS)) == 2


@posix
@pytest.mark.slow
def test_many_processes_tell_each_payment_once(tmp_path: Path) -> None:
    """Three of them on one database, with batches of three."""
    (tmp_path / "shop.py").write_text(TELLING, encoding="utf-8")
    references = [f"INV-{number:02}" for number in range(30)]
    with sql_store(tmp_path) as store:
        settled_payments(store, *references)
    arguments = ("--handler", "shop:deliver", "--database", "sqlite:///p.db", "--limit", "3")
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(process(tmp_path, *arguments, "--once")) for _ in range(3)]
        ends = [one.communicate(timeout=PATIENCE) for one in started]
        assert [one.returncode for one in started] == [0, 0, 0], ends
    told = (tmp_path / "told").read_text(encoding="utf-8").splitlines()
    assert sorted(told) == [f"{reference} FAILED" for reference in references]
