"""One worker of `tests/stores/test_token_fleet.py`: a process with a client of its own.

It obeys the lines on its standard input.
"""

from __future__ import annotations

import json
import sys

import redis
import sqlalchemy

from mpesa_stk import MpesaError, StkClient, TokenStore
from mpesa_stk.stores.redis import RedisTokenStore
from mpesa_stk.stores.sql import SqlTokenStore
from support import loopback_config


def make_store(url: str, name: str, lease: float) -> TokenStore:
    """The shared store that a URL names; `name` keeps the runs of the tests apart."""
    if url.startswith("redis:"):
        client = redis.Redis.from_url(url, socket_timeout=10)
        return RedisTokenStore(client, prefix=f"{name}:", lease=lease)
    engine = sqlalchemy.create_engine(url)
    return SqlTokenStore(engine, table_prefix=f"{name}_", lease=lease)


def push(client: StkClient, times: int) -> dict[str, object]:
    """Push that often; what went wrong is told by class."""
    errors = []
    for _ in range(times):
        try:
            client.push(phone_number="0718643064", amount=1, reference="INV-1")
        except MpesaError as error:
            errors.append(f"{type(error).__name__}: {error}")
    return {"pushed": times - len(errors), "errors": errors}


def main() -> None:
    """Say that we are ready; then do what each line asks, and answer with a line."""
    url, name, lease, origin = sys.argv[1:]
    store = make_store(url, name, float(lease))
    with StkClient(loopback_config(origin), token_store=store) as client:
        print("ready", flush=True)  # noqa: T201 - that is how workers speak
        for line in sys.stdin:
            verb, _, argument = line.strip().partition(" ")
            if verb == "hold":
                held = store.single_flight(argument, 60.0)  # kept: what nothing refers to is closed
                held.__enter__()
                answer: object = "held"
            else:
                answer = push(client, int(argument))
            print(json.dumps(answer), flush=True)  # noqa: T201 - as above


if __name__ == "__main__":
    main()
