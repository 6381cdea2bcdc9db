"""Runs of ``mpesa-stk replay``, and the shop that they post to."""

from __future__ import annotations

import io
from typing import Any

import attrs
import pytest

from loopback import Act, Received, Server, answer_json
from mpesa_stk import cli
from mpesa_stk.commands.context import Context
from support import CANARIES, ManualClock

TAKEN = answer_json({"ResultCode": 0, "ResultDesc": "Accepted"})


def run(*argv: str, file: bytes = b"", environ: dict[str, str] | None = None, **given: Any) -> int:
    """Run the command on a file that comes by stdin, with these variables and no others."""
    stdin = io.BytesIO(file)
    context = Context(environ=environ or {}, stdin=stdin, **given)
    code = cli.main(["replay", "-", *argv], context=context)
    assert not stdin.closed
    return code


@attrs.frozen
class Replayed:
    """What became of a file."""

    code: int
    received: list[Received]
    out: list[str]
    err: str

    @property
    def bodies(self) -> list[bytes]:
        """What arrived, in its order."""
        return [one.body for one in self.received]

    @property
    def targets(self) -> list[str]:
        """Where it arrived."""
        return [one.target for one in self.received]


class Replay:
    """Replays a file to a shop, and collects what is told of it."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(
        self, file: bytes, *argv: str, script: tuple[Act, ...] = (TAKEN,), **given: Any
    ) -> Replayed:
        """Replay."""
        with Server(*script) as shop:
            given.setdefault("clock", ManualClock())
            code = run("--to", f"{shop.origin}/cb", *argv, file=file, **given)
        told = self._capsys.readouterr()
        assert not any(canary in told.out + told.err for canary in CANARIES)
        return Replayed(code, shop.received, told.out.splitlines(), told.err)
