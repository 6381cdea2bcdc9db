"""The contract of stores: our stores keep it, and stores with faults do not."""

from __future__ import annotations

import ast
import contextlib
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
import sqlalchemy

import mpesa_stk.testing
from databases import Servers
from mpesa_stk import MemoryTransactionStore
from mpesa_stk.stores.sql import SqlTransactionStore
from mpesa_stk.testing import SearchContract, StoreContract, TokenStoreContract, contract_values
from mpesa_stk.testing.contract_values import MakeStore
from mpesa_stk.testing.store_callbacks import StoreCallbacks
from mpesa_stk.testing.store_claims import StoreClaims
from mpesa_stk.testing.store_races import StoreRaces
from support import HELPERS, ROOT

FAULTY = (HELPERS / "faulty_stores.py", HELPERS / "faulty_searches.py")


class TestMemoryStore(SearchContract, StoreContract):
    """It forgets with its process; all handles are one."""

    durable = False

    @pytest.fixture
    def make_store(self) -> MakeStore:
        """Always the same store."""
        store = MemoryTransactionStore()
        return lambda: store


class SqlHandles:
    """Stores on one database, each with an engine of its own, as a process has."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._engines: list[sqlalchemy.Engine] = []
        self._free: list[SqlTransactionStore] = []
        self._lent: list[SqlTransactionStore] = []
        self._open()
        self._free[0].create_tables()

    def handle(self) -> SqlTransactionStore:
        """One that no other thread has."""
        with contextlib.suppress(IndexError):
            self._lent.append(self._free.pop())
            return self._lent[-1]
        self._open()
        return self.handle()

    def empty(self) -> None:
        """Forget all payments, and take all handles back for the next test."""
        self._free += self._lent
        self._lent.clear()
        with self._engines[0].begin() as connection:
            for table in self._free[0].metadata.sorted_tables:
                connection.execute(sqlalchemy.delete(table))

    def close(self) -> None:
        """Close all connections."""
        for engine in self._engines:
            engine.dispose()

    def _open(self) -> None:
        engine = sqlalchemy.create_engine(self._url, pool_size=1)
        self._engines.append(engine)
        self._free.append(SqlTransactionStore(engine))


@pytest.fixture(name="handles", scope="class")
def _handles(
    request: pytest.FixtureRequest, servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SqlHandles]:
    """The database of a class."""
    handles = SqlHandles(request.cls.new_database(servers, tmp_path_factory))
    yield handles
    handles.close()


class SqlContract(SearchContract, StoreContract):
    """Each kind has one database with its tables, which is emptied after each test."""

    many = 600

    @pytest.fixture
    def make_store(self, handles: SqlHandles) -> Iterator[MakeStore]:
        """A store on an engine of its own."""
        yield handles.handle
        handles.empty()


class TestSqliteStore(SqlContract):
    """SQLite, in a file."""

    @staticmethod
    def new_database(_servers: Servers, folders: pytest.TempPathFactory) -> str:
        """A new file."""
        return f"sqlite:///{folders.mktemp('contract') / 'payments.sqlite3'}"


class TestPostgresStore(SqlContract):
    """PostgreSQL."""

    @staticmethod
    def new_database(servers: Servers, _folders: pytest.TempPathFactory) -> str:
        """A new database."""
        return servers.postgres_url()


@pytest.mark.slow
class TestMariadbStore(SqlContract):
    """MariaDB."""

    @staticmethod
    def new_database(servers: Servers, _folders: pytest.TempPathFactory) -> str:
        """A new database."""
        return servers.mariadb_url()


# --- stores with faults ------------------------------------------------------------------------------


def ends_of_the_contract() -> dict[str, dict[str, set[str]]]:
    """The tests of the contract that each faulty store passes and fails, in a process of their own."""
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "--tb=line"]
    run = subprocess.run(  # noqa: S603 - our own interpreter and code
        [*command, "--rootdir", str(ROOT), *map(str, FAULTY)],
        capture_output=True,
        check=False,
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "200"},  # long names are not cut
        text=True,
        timeout=300,
    )
    assert run.returncode == 1, run.stdout + run.stderr
    assert "error" not in run.stdout.splitlines()[-1], run.stdout
    ends: dict[str, dict[str, set[str]]] = {"PASSED": {}, "FAILED": {}}
    for end, store, test in re.findall(
        r"^(PASSED|FAILED) \S*::(\w+)::(\w+)", run.stdout, flags=re.MULTILINE
    ):
        ends[end].setdefault(store, set()).add(test)
    return ends


RACES = {
    "test_race_to_add_one_number",
    "test_race_to_add_one_key",
    "test_race_to_replace_one_version",
    "test_race_to_change_loses_no_change",
    "test_race_for_one_place",
    "test_race_for_one_receipt",
    "test_race_to_add_one_key_in_two_accounts",
    "test_race_to_claim",
    "test_race_to_claim_for_two_accounts",
    "test_race_to_claim_and_change",
}
FAULTS = {
    "TestFaultless": set[str](),
    "TestRacy": RACES,
    "TestAsyncRacy": RACES,
    "TestOverwriting": {"test_race_to_claim_and_change"},
    "TestWholeSeconds": {
        "test_attempts_are_all_of_one_order",
        "test_add_names_the_value_that_is_taken",
        "test_find_by_each_value",
        "test_find_by_reference_takes_the_last_created",
        "test_get_returns_what_was_added",
        "test_moments_are_exact",
    },
    "TestCaseless": {"test_values_are_compared_exactly"},
    "TestLate": {
        "test_accounts_take_turns",
        "test_claim_makes_an_older_replace_late",
        "test_due_at_its_exact_instant",
    },
    "TestGrabbing": {
        "test_claim_for_no_account_takes_nothing",
        "test_claim_for_several_accounts_keeps_the_order",
        "test_claim_leaves_other_accounts_alone",
        "test_race_to_claim_for_two_accounts",
    },
    "TestFiltering": {
        "test_claim_for_no_account_takes_nothing",
        "test_claim_for_several_accounts_keeps_the_order",
        "test_claim_leaves_other_accounts_alone",
        "test_race_to_claim_for_two_accounts",
    },
    "TestOneKey": {
        "test_one_key_in_two_accounts",
        "test_race_to_add_one_key_in_two_accounts",
    },
    "TestUpserting": {
        "test_claim_makes_an_older_replace_late",
        "test_race_to_claim_and_change",
        "test_race_to_replace_one_version",
        "test_replace_of_an_unknown_number_is_false",
        "test_replace_with_nothing_new_counts_too",
        "test_stale_replace_writes_nothing",
    },
    "TestLastKept": {"test_first_of_one_id_stays"},
    "TestKeptTwice": {"test_first_of_one_id_stays", "test_race_to_keep_one_callback"},
    "TestPurging": {
        "test_purge_of_more_than_one_statement_holds",
        "test_purge_takes_the_oldest_first",
    },
    "TestForgetful": {
        "test_first_of_one_id_stays",
        "test_kept_callbacks_are_there_until_dropped",
        "test_kept_callbacks_by_either_name",
        "test_purge_takes_the_oldest_first",
    },
    "TestCareless": {"test_drop_compares_the_value"},
    "TestCrowded": {"test_flights_are_one_at_a_time", "test_waiting_for_a_flight_ends"},
    "TestStubborn": {"test_lost_flight_ends_with_its_lease"},
    "TestPatient": {"test_waiting_for_a_flight_ends"},
    "TestSearching": set[str](),
    "TestTies": {"test_pages_hold_each_payment_once"},
    "TestOffset": {
        "test_a_cursor_needs_no_payment",
        "test_pages_stay_while_payments_come_and_change",
    },
    "TestCaselessSearch": {"test_texts_are_searched_exactly"},
    "TestInclusive": {"test_all_filters_must_match", "test_search_by_one_value"},
    "TestUnlimited": {"test_accounts_limit_the_search"},
}


@pytest.mark.slow
def test_contract_finds_each_fault() -> None:
    """A store with a fault fails the tests that are about it, and passes all others."""
    ends = ends_of_the_contract()
    assert {name: ends["FAILED"].get(name, set()) for name in ends["PASSED"]} == FAULTS
    assert all(len(ends["PASSED"][name] - failed) > 5 for name, failed in FAULTS.items())


# --- the contract itself -----------------------------------------------------------------------------


class TestForgottenStoreFactory:
    """Who forgets to override the fixture is told its name."""

    make_store = StoreContract.make_store

    def test_it_is_asked_for(self, request: pytest.FixtureRequest) -> None:
        """No store, no test."""
        with pytest.raises(NotImplementedError, match="make_store"):
            request.getfixturevalue("make_store")


class TestForgottenTokenStoreFactory:
    """The same for stores of tokens."""

    make_store = TokenStoreContract.make_store

    def test_it_is_asked_for(self, request: pytest.FixtureRequest) -> None:
        """No store, no test."""
        with pytest.raises(NotImplementedError, match="make_store"):
            request.getfixturevalue("make_store")


class TestStoreWithoutThreads:
    """A store without an ability skips the tests of it, with the attribute's name."""

    threads = False
    make_store = TestMemoryStore.make_store
    race = StoreContract.race

    def test_it_says_why_it_skips(self, request: pytest.FixtureRequest) -> None:
        """The races are not run."""
        with pytest.raises(pytest.skip.Exception, match="threads = False"):
            request.getfixturevalue("race")


@pytest.mark.parametrize(
    "module",
    [
        contract_values.__name__,
        *(part.__module__ for part in (StoreCallbacks, StoreClaims, StoreContract, StoreRaces)),
        SearchContract.__module__,
        TokenStoreContract.__module__,
    ],
)
def test_every_assert_of_the_contracts_says_what_is_wrong(module: str) -> None:
    """Also where asserts are not rewritten, the author of a store learns what is asked for."""
    source = inspect.getsource(sys.modules[module])
    asserts = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assert)]
    assert asserts
    assert [node.lineno for node in asserts if node.msg is None] == []


def test_contracts_are_not_collected_themselves() -> None:
    """Their names do not begin with Test."""
    assert not [name for name in mpesa_stk.testing.__all__ if name.startswith("Test")]


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A typing error is told as Python tells it."""
    with pytest.raises(AttributeError, match="no attribute 'StoreContact'"):
        mpesa_stk.testing.StoreContact  # noqa: B018 - looking it up is the test


def test_pytest_is_needed_by_the_contracts_only() -> None:
    """`import mpesa_stk.testing` works in an environment without pytest."""
    code = "import sys, mpesa_stk.testing; print('pytest' in sys.modules)"
    run = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", code], capture_output=True, check=True, text=True, timeout=60
    )
    assert run.stdout.strip() == "False"
