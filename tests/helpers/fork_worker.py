"""A process of `tests/test_forks.py` that uses a client, forks, and lets its children use the same client.

Arguments: what to do, Daraja's origin, a file of CA certificates or "", and how many rounds. It prints one
JSON object.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import requests

from mpesa_stk import (
    HttpRequest,
    MemoryTokenStore,
    RequestsTransport,
    StkClient,
    Token,
    Transport,
)
from mpesa_stk.payments.budget import MemoryQueryBudget, QueryPace
from support import START, loopback_config
from transports import InTurns

PATIENCE = 20
Child = Callable[[int], object]


def push(client: StkClient, reference: str) -> str:
    """Ask for a payment; "right", or what was got instead of the answer to it."""
    try:
        answer = client.push(phone_number="0718643064", amount=1, reference=reference)
    except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
        return f"{type(error).__name__}: {error}"
    return "right" if answer.checkout_request_id == f"ws_CO_{reference}" else "another's answer"


def forked(child: Child, number: int) -> Callable[[], int]:
    """Fork with `os.fork`; the child ends as a worker does, through all its ``with`` blocks."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(PATIENCE)
        child(number)
        raise SystemExit
    return lambda: os.waitpid(pid, 0)[1]


def of_multiprocessing(child: Child, number: int) -> Callable[[], int]:
    """Fork with `multiprocessing`."""
    process = multiprocessing.get_context("fork").Process(target=child, args=(number,))
    process.start()

    def join() -> int:
        process.join(PATIENCE)
        return -1 if process.exitcode is None else process.exitcode

    return join


FORKS = {
    "os.fork": forked,
    "multiprocessing": of_multiprocessing,
    "session": forked,
    "aiohttp": of_multiprocessing,  # whose children end without a word about the parent's event loop
}


def one_round(how: str, client: StkClient, name: str) -> list[str]:
    """Two children push at the same time; what they got, and how they ended if not well."""
    go, ready, told = os.pipe(), os.pipe(), os.pipe()

    def child(which: int) -> None:
        os.write(ready[1], b".")
        os.read(go[0], 1)
        os.write(told[1], f"{push(client, f'{name}c{which}')}\n".encode())

    joins = [FORKS[how](child, which) for which in range(2)]
    for _ in joins:
        os.read(ready[0], 1)
    os.write(go[1], b"..")
    ends = [join() for join in joins]
    found = os.read(told[0], 65_536).decode().splitlines() if not all(ends) else []
    for pipe in (go, ready, told):
        os.close(pipe[0])
        os.close(pipe[1])
    return found + [f"ended with {end}" for end in ends if end]


def in_rounds(how: str, client: StkClient, rounds: int) -> dict[str, object]:
    """The parent pushes, then its children, again and again."""
    found: list[str] = []
    for number in range(rounds):
        found.append(push(client, f"parent{number}"))
        found += one_round(how, client, f"r{number}")
    found.append(push(client, "parent"))
    return {answer: found.count(answer) for answer in set(found)}


def beside_locks(client: StkClient, store: MemoryTokenStore) -> dict[str, object]:
    """Fork while other threads hold the flight, the token store's lock and the budget's."""
    held, free = threading.Semaphore(0), threading.Event()

    class SlowText(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            held.release()
            free.wait(PATIENCE)
            return False

        __hash__ = str.__hash__

    class SlowMoment(datetime):
        def __add__(self, other: timedelta) -> Any:
            held.release()
            free.wait(PATIENCE)
            return START + other

    budget = MemoryQueryBudget(QueryPace(per_minute=60.0))
    slow = SlowMoment.fromtimestamp(START.timestamp(), tz=START.tzinfo)
    dropped = Token(value=SlowText("x"), expires_in=1.0, renew_at=0.0)
    store.save("other", Token(value="x", expires_in=1.0, renew_at=0.0))
    flight = store.single_flight(client.app, 0.0)
    flight.__enter__()
    threads = [
        threading.Thread(target=store.drop, args=("other", dropped)),
        threading.Thread(target=budget.take, args=("app", slow)),
    ]
    for thread in threads:
        thread.start()
        held.acquire(timeout=PATIENCE)
    told = os.pipe()

    def child(_which: int) -> None:
        os.write(told[1], push(client, "child").encode())
        budget.take("another", START)

    end = forked(child, 0)()
    free.set()
    for thread in threads:
        thread.join(PATIENCE)
    flight.__exit__(None, None, None)
    os.close(told[1])
    return {"child": os.read(told[0], 65_536).decode(), "end": end, "parent": push(client, "after")}


def beside_a_push(client: StkClient, origin: str, ca_bundle: str) -> dict[str, object]:
    """Fork while another thread waits for the answer to its push, which comes after the child's."""
    answers: list[str] = []
    thread = threading.Thread(target=lambda: answers.append(push(client, "slow")))
    push(client, "first")
    thread.start()
    waiting = HttpRequest(
        method="GET",
        url=f"{origin}/waiting",
        headers={},
        connect_timeout=PATIENCE,
        total_timeout=PATIENCE,
    )
    RequestsTransport(ca_bundle=ca_bundle or None).send(waiting)
    told = os.pipe()
    end = forked(lambda _which: os.write(told[1], push(client, "child").encode()), 0)()
    thread.join(PATIENCE)
    os.close(told[1])
    child = os.read(told[0], 65_536).decode()
    return {"child": child, "end": end, "thread": answers, "parent": push(client, "after")}


def main() -> None:
    """Do what the arguments say."""
    how, origin, ca_bundle, rounds = sys.argv[1:]
    config = loopback_config(origin, ca_bundle=ca_bundle or None)
    store = MemoryTokenStore()
    transport: Transport | None = None
    if how == "session":
        session = requests.Session()
        session.verify = ca_bundle or True
        transport = RequestsTransport(session=session)
    elif how == "aiohttp":
        transport = InTurns(ca_bundle=ca_bundle or None)
    with StkClient(config, token_store=store, transport=transport) as client:
        if how == "locks":
            found = beside_locks(client, store)
        elif how == "push":
            found = beside_a_push(client, origin, ca_bundle)
        else:
            found = in_rounds(how, client, int(rounds))
        print(json.dumps(found), flush=True)  # noqa: T201 - that is how workers speak


if __name__ == "__main__":
    main()
