"""Real shells: what they make of a script, and of what somebody types."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping

import pytest

__all__ = ["INTERACTIVE", "evaluated", "path_of", "typed"]

PATIENCE = 60.0
INTERACTIVE = {
    "bash": ["--noprofile", "--norc", "-i"],
    "zsh": ["-f", "-i"],
    "fish": ["--no-config", "-i"],
}


def path_of(name: str) -> str:
    """Where a program is; skips where it is not, unless it is required."""
    path = shutil.which(name)
    if path is None and os.environ.get(f"MPESA_STK_REQUIRE_{name.upper()}") != "1":
        pytest.skip(f"needs {name}")
    assert path is not None, f"MPESA_STK_REQUIRE_{name.upper()} is set, but there is no {name}"
    return path


def surroundings(folder: str) -> dict[str, str]:
    """The environment of a shell that knows nothing of its user."""
    return {"PATH": os.environ["PATH"], "HOME": folder, "TERM": "dumb", "LANG": "C.UTF-8"}


def evaluated(shell: str, script: str, *, folder: str) -> Mapping[str, str]:
    """The environment variables of a shell after a script."""
    run = subprocess.run(  # noqa: S603 - our own script
        [path_of(shell), "-c", f"{script}\nenv -0"],
        capture_output=True,
        check=True,
        timeout=PATIENCE,
        env=surroundings(folder),
        cwd=folder,
    )
    lines = (line.partition("=") for line in run.stdout.decode().split("\0"))
    return {name: value for name, _, value in lines}


def typed(shell: str, *lines: str, until: str, folder: str) -> str:
    """What a shell shows at a terminal while somebody types, up to a text that must come."""
    # fish wants the terminal to be its own, and a process of many threads may not fork to arrange that.
    command = [path_of("setsid"), "--ctty", path_of(shell), *INTERACTIVE[shell]]
    keyboard, screen = pty.openpty()
    with subprocess.Popen(  # noqa: S603 - a shell of this machine
        command,
        stdin=screen,
        stdout=screen,
        stderr=screen,
        env=surroundings(folder),
        cwd=folder,
    ) as started:
        os.close(screen)
        try:
            for line in lines:
                os.write(keyboard, f"{line}\n".encode())
            return _shown(keyboard, until)
        finally:
            started.send_signal(signal.SIGKILL)
            os.close(keyboard)


def _shown(keyboard: int, until: str) -> str:
    shown = b""
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        if select.select([keyboard], [], [], 1.0)[0]:
            with contextlib.suppress(OSError):  # the shell has gone
                shown += os.read(keyboard, 65_536)
        if until.encode() in shown:
            return shown.decode(errors="replace")
    pytest.fail(f"{until!r} did not come, but: {shown.decode(errors='replace')}")
