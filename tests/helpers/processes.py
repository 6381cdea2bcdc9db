"""`mpesa-stk` as a process of its own, whatever settings this machine's environment holds."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from support import CALLBACK_URL, CANARIES

VARIABLES = {
    "consumer_key": CANARIES[0],
    "consumer_secret": CANARIES[1],
    "shortcode": "600000",
    "pass_key": CANARIES[2],
    "c2b_callback": CALLBACK_URL,
}
_UNSET = {*VARIABLES, "callback_secret", "mpesa_database"}
_PATIENCE = 120.0


def free_port() -> int:
    """A port on which no program listens now, for one that must know its port before it starts."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def ended(*started: subprocess.Popen[str], within: float = _PATIENCE) -> Iterator[None]:
    """Kill processes at the end of the block, or after some seconds: then no reader waits for ever."""

    def kill() -> None:
        for process in started:
            process.kill()

    timer = threading.Timer(within, kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join(_PATIENCE)
        kill()
        for process in started:
            process.wait(_PATIENCE)


@contextlib.contextmanager
def command(
    *arguments: str,
    variables: Mapping[str, str] | None = None,
    folder: Path | None = None,
    isolated: bool = False,
) -> Iterator[subprocess.Popen[str]]:
    """Start the command; it is killed at the end, if it has not ended by itself.

    Args:
        arguments: Its arguments.
        variables: The settings that its environment holds, and no others.
        folder: Where it is started.
        isolated: Whether it does not find modules there, as the command of an installed package.
    """
    environ = {name: text for name, text in os.environ.items() if name.lower() not in _UNSET}
    python = [sys.executable, "-I"] if isolated else [sys.executable]
    with (
        subprocess.Popen(  # noqa: S603 - this very interpreter
            [*python, "-m", "mpesa_stk", *arguments],
            cwd=folder,
            env=environ | dict(variables or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as started,
        ended(started),
    ):
        yield started


def in_fresh_interpreter(code: str) -> str:
    """What some code prints, run where nothing has been imported yet."""
    run = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert not run.stderr
    return run.stdout.strip()
