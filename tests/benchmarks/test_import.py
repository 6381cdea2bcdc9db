"""What `import mpesa_stk` costs beside `import requests`, each in a fresh process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from measure import Line, Scoreboard, in_words, ratio, take_turns

LIMIT = 1.25
_ROUNDS = 60


def _run(code: str) -> str:
    """Run code in a fresh interpreter; raises if it fails."""
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    return done.stdout


@pytest.fixture(autouse=True)
def compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile both packages, as an installation does. A checkout may be told to write no bytecode."""
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path))
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    _run("import mpesa_stk, requests")
    assert any(tmp_path.iterdir())


def test_import(benchmark: Any, scoreboard: Scoreboard) -> None:
    """Importing the package costs little more than importing requests, which it leaves for later."""
    loaded = _run("import sys, mpesa_stk; print('requests' in sys.modules, mpesa_stk.StkClient)")
    assert loaded.startswith("False <class")

    ours, requests, bare = take_turns(
        benchmark,
        lambda: _run("import mpesa_stk"),
        lambda: _run("import requests"),
        lambda: _run("pass"),
        rounds=_ROUNDS,
    )
    found = ratio(ours, requests)
    alone = (ours.quartile - bare.quartile) / (requests.quartile - bare.quartile)
    notes = [
        f"whole processes: {in_words(ours, requests, unit=1e3, name='ms')}",
        f"start-up of a bare interpreter: {bare.quartile * 1e3:.1f} ms",
        f"ratio with that subtracted from both: {alone:.3f}",
    ]
    if found > LIMIT:
        notes += _profile()
    scoreboard.lines.append(
        Line(
            budget=f"import mpesa_stk: at most {LIMIT} x import requests",
            measured=f"{found:.3f}",
            met=found <= LIMIT,
            notes=tuple(notes),
        )
    )


def _profile() -> list[str]:
    code = (
        "import cProfile, pstats; profiler = cProfile.Profile();"
        "profiler.run('import mpesa_stk');"
        "pstats.Stats(profiler).sort_stats('tottime').print_stats(25)"
    )
    return [line for line in _run(code).splitlines() if line.strip()]
