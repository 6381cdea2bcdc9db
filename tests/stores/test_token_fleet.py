"""A fleet of processes shares one token, at a Daraja where each new token kills the one before."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from daraja_double import answer, refusal
from databases import Servers
from mpesa_stk import HttpResponse
from mpesa_stk.daraja.client_flow import _app_id
from mpesa_stk.stores.sql import SqlTokenStore
from mpesa_stk.web.http_server import HttpServer
from mpesa_stk.web.messages import WebRequest
from support import HELPERS, accepted, loopback_config

pytestmark = pytest.mark.slow

WORKER = HELPERS / "token_worker.py"
WORKERS = 8
PUSHES = 50
PATIENCE = 60.0


class KillingDaraja:
    """Issues tokens and takes pushes; only the newest token lives."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._living = "none yet"
        self.issued = 0
        self.pushed = 0

    def __call__(self, request: WebRequest) -> HttpResponse:
        """Answer one request."""
        with self._lock:
            if request.method == "GET":
                self.issued += 1
                self._living = f"token-{self.issued:022}"
                return answer({"access_token": self._living, "expires_in": "3599"})
            if request.headers["authorization"] != f"Bearer {self._living}":
                return refusal("404.001.03", "Invalid Access Token", 404)
            self.pushed += 1
            return answer(accepted(f"ws_CO_{self.pushed:020}"))

    def revoke(self) -> None:
        """The token dies, and no worker is told."""
        with self._lock:
            self._living = "revoked"


class Worker:
    """A process that pushes."""

    def __init__(self, *arguments: str, threads: ThreadPoolExecutor) -> None:
        command = [sys.executable, "-W", "error", str(WORKER), *arguments]
        self._threads = threads
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def wait_until_ready(self) -> None:
        """It has its client, and sent nothing yet."""
        assert self._read().result(PATIENCE) == "ready\n"

    def ask(self, line: str) -> Future[str]:
        """Tell it what to do; its answer comes later."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._read()

    def kill(self) -> None:
        """SIGKILL: it can do nothing more, and gives nothing back."""
        self._process.kill()
        self._process.wait(PATIENCE)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def _read(self) -> Future[str]:
        assert self._process.stdout is not None
        return self._threads.submit(self._process.stdout.readline)


class Fleet:
    """Workers with one store."""

    def __init__(self, url: str, stack: ExitStack) -> None:
        self.daraja = KillingDaraja()
        self._url = url
        self._name = f"fleet_{uuid.uuid4().hex[:8]}"
        self._stack = stack
        self._origin = stack.enter_context(HttpServer(self.daraja)).origin
        self._threads = stack.enter_context(ThreadPoolExecutor(WORKERS))
        if not url.startswith("redis:"):
            engine = sqlalchemy.create_engine(url)
            SqlTokenStore(engine, table_prefix=f"{self._name}_").create_tables()
            engine.dispose()

    @property
    def app(self) -> str:
        """The app's name in the store."""
        return _app_id(loopback_config(self._origin))

    def start(self, count: int, *, lease: float) -> list[Worker]:
        """Workers that are ready, and have no token."""
        workers = []
        for _ in range(count):
            arguments = (self._url, self._name, str(lease), self._origin)
            workers.append(Worker(*arguments, threads=self._threads))
            self._stack.callback(workers[-1].kill)
        for worker in workers:
            worker.wait_until_ready()
        return workers


@pytest.fixture(name="url", params=["sqlite", "postgres", "redis"])
def _url(request: pytest.FixtureRequest, servers: Servers, tmp_path: Path) -> str:
    """Where the workers share their token."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'tokens.sqlite3'}"
    return servers.postgres_url() if request.param == "postgres" else servers.redis_url()


@pytest.fixture(name="fleet")
def _fleet(url: str) -> Iterator[Fleet]:
    """A fleet without workers; those that are started are killed at the end."""
    with ExitStack() as stack:
        yield Fleet(url, stack)


def told(answers: list[Future[str]]) -> list[Any]:
    """What the workers answered."""
    return [json.loads(future.result(PATIENCE)) for future in answers]


def test_a_fleet_makes_one_token_request(fleet: Fleet) -> None:
    """Cold: one request and no push lost. When the token dies: one more, and no push lost."""
    workers = fleet.start(WORKERS, lease=PATIENCE)
    for requests in (1, 2):
        began = time.monotonic()
        answers = told([worker.ask(f"push {PUSHES}") for worker in workers])
        assert answers == [{"pushed": PUSHES, "errors": []}] * WORKERS
        assert fleet.daraja.issued == requests
        assert fleet.daraja.pushed == requests * WORKERS * PUSHES
        assert time.monotonic() - began < PATIENCE, "somebody waited for a lease of nobody's"
        fleet.daraja.revoke()


def test_a_killed_worker_blocks_nobody_longer_than_its_lease(fleet: Fleet) -> None:
    """It dies while it holds the right to fetch; the others wait for its lease, and fetch once."""
    lease = 2.0
    holder, *others = fleet.start(3, lease=lease)
    began = time.monotonic()
    assert told([holder.ask(f"hold {fleet.app}")]) == ["held"]
    holder.kill()
    killed = time.monotonic()
    answers = told([worker.ask("push 1") for worker in others])
    done = time.monotonic()
    assert answers == [{"pushed": 1, "errors": []}] * len(others)
    assert fleet.daraja.issued == 1
    assert done - began > lease - 0.1, "nobody waited: the flight was not held"
    assert done - killed < lease + 10.0
