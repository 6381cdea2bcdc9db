"""Every block of Python in the README and in ``docs/`` is run, or compiled if it cannot be."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpesa_stk import (
    AsyncMemoryTransactionStore,
    AsyncPayments,
    AsyncStkClient,
    MemoryTransactionStore,
    Payments,
    StkClient,
    StkConfig,
)
from mpesa_stk.simulator import SimulatorServer
from page_python import PAGES, ROOT, counts, run
from support import CONSUMER_KEY, CONSUMER_SECRET, PASSKEY, make_config

WITH_PYTHON = [page for page in PAGES if counts(page)]


def test_the_readme_shows_what_is_run() -> None:
    """None of its blocks is only checked."""
    shown = counts(ROOT / "README.md")
    assert shown
    assert not shown["checked"]


@pytest.fixture
def _a_daraja(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Daraja on this machine, and the environment variables that lead there."""
    with SimulatorServer(make_config()) as simulator:
        urls = simulator.environment.urls
        variables = {
            "consumer_key": CONSUMER_KEY,
            "consumer_secret": CONSUMER_SECRET,
            "shortcode": "600000",
            "pass_key": PASSKEY,
            "c2b_callback": f"{simulator.origin}/nobody-listens-here",
            "CALLBACK_SECRET": "one-of-the-pages-secrets",
            "access_token_url": urls["token_url"],
            "checkout_url": urls["push_url"],
            "mpesa_query_check_url": urls["query_url"],
        }
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield
    logging.getLogger("mpesa_stk").setLevel(logging.NOTSET)  # a page sets it


@pytest.mark.usefixtures("_a_daraja")
@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_python_of_a_page_runs(
    page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each block does what the page shows, one after the other in one namespace."""
    monkeypatch.chdir(tmp_path)
    client, awaited = StkClient(StkConfig.from_env()), AsyncStkClient(StkConfig.from_env())
    store = MemoryTransactionStore()
    names = {
        "payments": Payments(client, store),
        "async_payments": AsyncPayments(awaited, AsyncMemoryTransactionStore()),
        "store": store,
        "price_of": {"INV-1": 1500}.get,
    }
    run(page, names)
