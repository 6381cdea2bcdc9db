"""Worker processes of the scale benchmarks, as seen from the process that measures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, final

import attrs

from support import HELPERS

_START = 0.02


@attrs.frozen(kw_only=True)
class Window:
    """What a payment took in one window.

    Attributes:
        seconds: By the clock, all workers together.
        processor: Seconds of the workers' processor time; the database server's is not in it.
    """

    seconds: float
    processor: float


@final
class Fleet:
    """Some worker processes on some databases; ended at the end of the block."""

    def __init__(self, size: int, urls: list[str]) -> None:
        command = [sys.executable, str(Path(__file__).with_name("scale_worker.py"))]
        places = [str(HELPERS), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        environ = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, places))}
        self._workers = [
            subprocess.Popen(
                [*command, f"W{number}", *urls],
                env=environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in range(size)
        ]

    def __enter__(self) -> Fleet:
        for worker in self._workers:
            assert _heard(worker) == "ready"
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        for worker in self._workers:
            worker.kill()
            worker.communicate(timeout=60)

    def window(self, size: int, database: int, verb: str, seconds: float) -> Window:
        """Let some of the workers do one thing at the same time."""
        begins = time.monotonic() + _START
        order = ["window", database, verb, begins, begins + seconds]
        shares = self._ask(size, order)
        done = sum(done for done, _, _ in shares)
        assert done, f"no worker got to do one {verb}"
        return Window(
            seconds=1 / sum(done / taken for done, taken, _ in shares),
            processor=sum(processor for _, _, processor in shares) / done,
        )

    def follow(self, database: int, batches: int) -> list[int]:
        """Let one worker follow open payments; its resident bytes after each batch."""
        (resident,) = self._ask(1, ["follow", database, batches])
        return [int(size) for size in resident]

    def _ask(self, size: int, order: list[Any]) -> list[Any]:
        for worker in self._workers[:size]:
            assert worker.stdin is not None
            worker.stdin.write(json.dumps(order) + "\n")
            worker.stdin.flush()
        return [_heard(worker) for worker in self._workers[:size]]


def _heard(worker: subprocess.Popen[str]) -> Any:
    assert worker.stdout is not None
    line = worker.stdout.readline()
    assert line, "a worker died"
    return json.loads(line)
