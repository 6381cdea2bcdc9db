"""Settings of the whole suite: property tests draw the same examples on every run; servers; signals.

``-n logical`` starts two workers for each processor. A run of ``-m "not slow"`` says at its end what it
left out.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Generator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from both_faces import Face

# As a store's author does: a failed assert of the contracts shows its values.
pytest.register_assert_rewrite(
    "mpesa_stk.testing.contract_values",
    "mpesa_stk.testing.store_callbacks",
    "mpesa_stk.testing.store_claims",
    "mpesa_stk.testing.search_contract",
    "mpesa_stk.testing.store_orders",
    "mpesa_stk.testing.store_contract",
    "mpesa_stk.testing.store_races",
    "mpesa_stk.testing.token_contract",
)
pytest_plugins = ["certificates", "databases", "transports"]

# `nohup` and some CI start the suite with these ignored; child processes would inherit that, too.
for _number, _usual in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGTERM, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _usual)

# Coverage measures the workers of pytest-xdist by this variable, and needs none of what they start.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)

settings.register_profile(
    "mpesa-stk",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow],  # a busy machine is no fault of the code
)
# For further Pythons: each would try the same examples again.
settings.register_profile("few", settings.get_profile("mpesa-stk"), max_examples=20)
settings.load_profile("mpesa-stk")


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """Start twice as many workers as there are processors.

    About 40 % of a run is waiting for processes and sockets. On two processors, the tests that are not
    slow took 96 s with two workers, and 76 s with four.
    """
    workers = yield
    # A number that somebody has set for pytest-xdist is meant as it is.
    return workers if os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS") else 2 * workers


def pytest_collection_finish() -> None:
    """Let the garbage collector look at what the tests make, and not each time at all collected tests."""
    gc.collect()
    gc.freeze()


# --- what a short run left out -------------------------------------------------------------------------

_LEFT_OUT = pytest.StashKey[int]()


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Count the slow tests that are left out, in the process that runs the others."""
    for item in items:
        if item.get_closest_marker("slow"):
            item.config.stash[_LEFT_OUT] = item.config.stash.get(_LEFT_OUT, 0) + 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist hands its count over."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["left_out"] = session.config.stash.get(_LEFT_OUT, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Each worker leaves out the same tests."""
    node.config.stash[_LEFT_OUT] = getattr(node, "workeroutput", {}).get("left_out", 0)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say what was left out, and how it is run."""
    left_out = config.stash.get(_LEFT_OUT, 0)
    if left_out and "not slow" in config.getoption("markexpr"):
        terminalreporter.section("left out")
        (what,) = (line for line in config.getini("markers") if line.startswith("slow:"))
        terminalreporter.write_line(f"{left_out} {what.replace(':', ' tests:')}")
        terminalreporter.write_line("They run with: python -m pytest -n logical -m slow")


# --- both faces ------------------------------------------------------------------------------------------


@pytest.fixture(params=["sync", "asyncio"])
def face(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let a test run once for each face of clients and payments."""
    monkeypatch.setattr(Face, "asyncio", request.param == "asyncio")
    return str(request.param)
