"""A tutorial as its reader follows it: files that are saved, and lines that are typed into a shell."""

from __future__ import annotations

import contextlib
import fcntl
import os
import queue
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

PATIENCE = 280.0
_STEP = re.compile(
    r"^(?:(?P<how>Save this as|Add this to the end of) `(?P<file>[^`]+)`:\n\n)?"
    r"(?:<!--[^\n]*-->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_DONE = "the line has ended with"
# A line that holds its terminal until it is stopped.
_HOLDS = re.compile(r"manage\.py runserver")


@attrs.frozen
class Step:
    """A file that is saved, or lines that are typed."""

    file: str = ""
    is_added: bool = False
    text: str = ""

    @property
    def lines(self) -> tuple[str, ...]:
        """What is typed."""
        return () if self.file else tuple(self.text.splitlines())


def steps_of(page: Path) -> list[Step]:
    """What a tutorial lets its reader do, in its order. Blocks that only show something are left out."""
    return [
        Step(found["file"] or "", is_added="Add" in (found["how"] or ""), text=found["text"])
        for found in _STEP.finditer(page.read_text(encoding="utf-8"))
        if found["file"] or found["language"] == "sh"
    ]


class Terminal:
    """A shell into which lines are typed, one after the other, in a folder that the first lines make."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self.folder = folder
        self.output = ""
        self._shell = subprocess.Popen(
            ["bash"],  # noqa: S607 - the reader's own
            cwd=folder,
            env=dict(environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._said: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._shell.stdout is not None
        with self._shell.stdout as said:
            for line in said:
                self._said.put(line)

    def do(self, step: Step) -> str:
        """Save a file, or type lines that do not fail; gives what the lines print."""
        if step.file:
            path = self.folder / step.file
            before = path.read_text(encoding="utf-8") if step.is_added else ""
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(before + step.text, encoding="utf-8")
        return "".join(self._type(line) for line in step.lines)

    def _type(self, line: str) -> str:
        assert self._shell.stdin is not None
        holds = _HOLDS.search(line) is not None
        self._shell.stdin.write(line if holds else f"{line}\necho {_DONE} $? in $PWD")
        self._shell.stdin.write("\n")
        self._shell.stdin.flush()
        return "" if holds else self._wait_for_end(line)

    def _wait_for_end(self, line: str) -> str:
        begun, end = len(self.output), time.monotonic() + PATIENCE
        while (left := end - time.monotonic()) > 0:
            said = self._said.get(timeout=left)
            if _DONE in said:
                code, _, folder = said.strip().rpartition(f"{_DONE} ")[2].partition(" in ")
                assert code == "0", f"{line}: {code}\n{self.output}"
                self.folder = Path(folder)
                return self.output[begun:]
            self.output += said
        raise AssertionError(f"{line}: does not end\n{self.output}")

    def close(self) -> None:
        """End the shell, and all that was started in it."""
        assert self._shell.stdin is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._shell.pid, signal.SIGKILL)
        self._shell.wait(10)
        self._reader.join(10)
        with contextlib.suppress(BrokenPipeError):
            self._shell.stdin.close()


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Use the ports of the tutorials alone, since the tests of several may run beside each other."""
    with (Path(tempfile.gettempdir()) / "mpesa-stk-tutorials.lock").open("w") as lock:
        end = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            assert time.monotonic() < end, "the test of another tutorial does not end"
            time.sleep(0.2)
        yield
