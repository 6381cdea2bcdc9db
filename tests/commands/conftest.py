"""What the commands meet in their tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from doctor_runs import VARIABLES, Shop
from mpesa_stk.simulator import SimulatorServer
from mpesa_stk.web.http_server import HttpServer
from replays import Replay
from support import make_config


@pytest.fixture
def shop() -> Shop:
    """What answers at the callback URL."""
    return Shop()


@pytest.fixture
def world(shop: Shop) -> Iterator[dict[str, str]]:
    """The variables of a healthy set-up on this machine."""
    with SimulatorServer(make_config()) as daraja, HttpServer(shop) as receiver:
        urls = daraja.environment.urls
        yield VARIABLES | {
            "mpesa_environment": "sandbox",
            "access_token_url": urls["token_url"],
            "checkout_url": urls["push_url"],
            "mpesa_query_check_url": urls["query_url"],
            "c2b_callback": f"{receiver.origin}/payments/callback",
        }


@pytest.fixture
def replay(capsys: pytest.CaptureFixture[str]) -> Replay:
    """Replays a file."""
    return Replay(capsys)
