"""A client that was used before a fork, in real children over real sockets: nothing is shared."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from certificates import Tls
from loopback import PATIENCE, Exchange, Server, answer_json
from mpesa_stk.forks import PerProcess
from support import HELPERS, TOKEN, accepted

WORKER = HELPERS / "fork_worker.py"
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def daraja(exchange: Exchange) -> None:
    """Daraja that names each payment by its reference, so that a mixed-up answer shows."""
    if exchange.received.method == "GET":
        answer_json({"access_token": TOKEN, "expires_in": 3599})(exchange)
        return
    reference = json.loads(exchange.received.body)["AccountReference"]
    answer_json(accepted(f"ws_CO_{reference}"))(exchange)


@contextmanager
def origin_and_bundle(tls: Tls | None) -> Iterator[tuple[Server, str]]:
    """Daraja over plain HTTP or TLS, and the certificates by which it is trusted."""
    with Server(daraja, tls=tls.server() if tls else None) as server:
        yield server, str(tls.bundle) if tls else ""


def run(how: str, server: Server, bundle: str, rounds: int = 1) -> dict[str, Any]:
    """What the worker found."""
    # Later Pythons warn of a fork beside threads, which is what is tested.
    python = [sys.executable, "-W", "error", "-W", "ignore:This process"]
    done = subprocess.run(  # noqa: S603 - our own arguments
        [*python, WORKER, how, server.origin, bundle, str(rounds)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@needs_fork
@pytest.mark.parametrize(
    ("how", "rounds"),
    [
        ("os.fork", 5),
        ("multiprocessing", 5),
        pytest.param("os.fork", 50, marks=pytest.mark.slow),
    ],
)
def test_children_over_tls_get_their_own_answers(how: str, rounds: int, tls: Tls) -> None:
    """Each round the parent used the client, two children push at once, and all answers are right."""
    pushes = 3 * rounds + 1
    with origin_and_bundle(tls) as (server, bundle):
        assert run(how, server, bundle, rounds=rounds) == {"right": pushes}

        assert server.count("GET") == 1, "children begin with the parent's token"
        assert server.count("POST") == pushes


@needs_fork
@pytest.mark.parametrize("how", ["os.fork", "multiprocessing"])
def test_children_over_plain_http_get_their_own_answers(how: str) -> None:
    """The same without TLS, where a shared connection mixes answers up without a sign of it."""
    with origin_and_bundle(None) as (server, bundle):
        assert run(how, server, bundle, rounds=5) == {"right": 16}


@needs_fork
def test_the_pools_of_a_host_session_are_not_shared(tls: Tls) -> None:
    """A session of the host's gets new pools in the child; its certificates stay."""
    with origin_and_bundle(tls) as (server, bundle):
        assert run("session", server, bundle, rounds=5) == {"right": 16}


@needs_fork
@pytest.mark.parametrize("secure", [False, True])
def test_the_connections_of_an_event_loop_are_not_shared(secure: bool, tls: Tls) -> None:  # noqa: FBT001 - a table of two
    """A child makes a loop and connections of its own, and the parent's stay as they are."""
    with origin_and_bundle(tls if secure else None) as (server, bundle):
        assert run("aiohttp", server, bundle, rounds=5) == {"right": 16}
        assert server.connections == 11, "the parent keeps its connection, and each child opens one"


@needs_fork
def test_locks_that_were_held_at_the_fork_block_no_child(tls: Tls) -> None:
    """The flight, the token store's lock and the budget's are held by threads that a child lacks."""
    with origin_and_bundle(tls) as (server, bundle):
        found = run("locks", server, bundle)

    assert found == {"child": "right", "end": 0, "parent": "right"}


class Meeting:
    """Daraja that answers the slow push only when the child's came, and tells when it waits."""

    def __init__(self) -> None:
        self._slow, self._child = threading.Event(), threading.Event()

    def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        if exchange.received.target == "/waiting":
            assert self._slow.wait(PATIENCE)
            answer_json({})(exchange)
            return
        if b'"slow"' in exchange.received.body:
            self._slow.set()
            assert self._child.wait(PATIENCE)
        elif b'"child"' in exchange.received.body:
            self._child.set()
        daraja(exchange)


@needs_fork
@pytest.mark.parametrize("secure", [False, True])
def test_a_push_under_way_at_the_fork_gets_its_answer(secure: bool, tls: Tls) -> None:  # noqa: FBT001 - a table of two
    """The child pushes and ends meanwhile; the connection that waits is not touched by it."""
    with Server(Meeting(), tls=tls.server() if secure else None) as server:
        found = run("push", server, str(tls.bundle) if secure else "")

    assert found == {"child": "right", "end": 0, "thread": ["right"], "parent": "right"}


# --- the value itself ----------------------------------------------------------------------------------


def test_each_process_makes_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one is given or made at once; a child makes one, and lets the parent's go."""
    made: list[object] = []

    def make() -> object:
        made.append(object())
        return made[-1]

    mine = PerProcess(make)
    given = PerProcess(make, first=made[0])
    assert mine() is given() is made[0]
    monkeypatch.setattr(os, "getpid", lambda: -1)
    child = mine()
    assert child is mine() is made[1]
    assert list(mine._made.values()) == [child]


def test_threads_of_a_new_child_get_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that come at once may both make one; both use the first."""
    both = threading.Barrier(2)
    values = iter(range(10))

    def make() -> int:
        if values_wait.is_set():
            both.wait(5.0)
        return next(values)

    values_wait = threading.Event()
    value = PerProcess(make)
    values_wait.set()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(value())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5.0)

    assert len(found) == 2
    assert found[0] == found[1] != 0
