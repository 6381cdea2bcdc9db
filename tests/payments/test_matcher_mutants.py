"""The matcher's tests notice each broken rule.

The slow tests try every twelfth mutant. With ``MPESA_STK_ALL_MUTANTS=1`` they try all, which takes minutes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import mpesa_stk
from matcher_mutants import MUTANTS, TESTS
from support import ROOT

PACKAGE = Path(mpesa_stk.__file__).parent
_PATIENCE = 300.0
_ALL = os.environ.get("MPESA_STK_ALL_MUTANTS") == "1"


def mutated(mutant: tuple[str, str, str]) -> str:
    """The text of the mutant's file."""
    place, old, new = mutant
    text = (PACKAGE / place).read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{place} has {text.count(old)} times: {old}"
    return text.replace(old, new)


def test_each_mutant_changes_a_line_that_is_there() -> None:
    """A rule that moved takes its mutants along."""
    for mutant in MUTANTS:
        assert mutated(mutant) != (PACKAGE / mutant[0]).read_text(encoding="utf-8")
    assert len(set(MUTANTS)) == len(MUTANTS) >= 100


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS[:: 1 if _ALL else 12])
def test_a_mutant_is_killed(mutant: tuple[str, str, str], tmp_path: Path) -> None:
    """One test of the matcher fails with it."""
    copy = tmp_path / "mpesa_stk"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / mutant[0]).write_text(mutated(mutant), encoding="utf-8")
    environ = os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(  # noqa: S603 - our own tests
        [
            sys.executable,
            "-m",
            "pytest",
            "-x",
            "-q",
            "-n",
            "0",
            "-p",
            "no:cacheprovider",
            "-k",
            "not asyncio",
            TESTS[mutant[0]],
        ],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=False,
    )
    assert done.returncode == 1, f"SURVIVED: {mutant}"
