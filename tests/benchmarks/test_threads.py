"""32 threads on a client that has no token and no connection yet."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from measure import Line, Scoreboard, in_words, take_turns
from mpesa_stk import StkClient
from support import loopback_config

THREADS = 32
_ROUNDS = 12
_WARMUP = 3


def _together(call: Callable[[], object]) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        for answer in [pool.submit(call) for _ in range(THREADS)]:
            answer.result(60)


def test_threads(
    benchmark: Any, scoreboard: Scoreboard, slow_server: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A burst of threads fetches one token, sends one push each, and nobody warns of anything.

    Python warnings are errors in every test; urllib3 logs the one about connections.
    """
    config = loopback_config(slow_server)
    warned: list[str] = []

    def burst() -> None:
        caplog.clear()
        with StkClient(config) as client:
            _together(lambda: client.push(phone_number="0718643064", amount=1, reference="INV-1"))
        warned.extend(text for _, level, text in caplog.record_tuples if level >= logging.WARNING)

    def floor() -> None:
        with requests.Session() as session:
            session.get(f"{slow_server}/floor").json()
            _together(lambda: session.post(f"{slow_server}/floor", json={}).json())

    ours, plain = take_turns(benchmark, burst, floor, rounds=_ROUNDS, warmup=_WARMUP)
    counts = requests.get(f"{slow_server}/counts", timeout=5).json()
    bursts = _ROUNDS + _WARMUP
    assert counts["oauth"] == bursts
    assert counts["mpesa"] == bursts * THREADS
    assert warned == []
    scoreboard.lines.append(
        Line(
            budget=f"{THREADS} threads, cold client: 1 token, {THREADS} pushes, no warning",
            measured=f"1, {THREADS}, none",
            met=True,
            notes=(
                f"a burst, with 50 ms for each answer: {in_words(ours, plain, unit=1e3, name='ms')}",
                "the floor is a requests.Session with as many threads and one request before",
            ),
        )
    )
