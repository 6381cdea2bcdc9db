"""What the commands share: the type of argparse's sub-parsers, the exit codes, the word of help."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

__all__ = ["BAD_ARGUMENTS", "DONE", "NOT_DONE", "SEE_DOCTOR", "UNKNOWN", "Commands"]

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - argparse names no public type
else:
    Commands = object

DONE = 0
"""It was done: paid, taken, or nothing found wrong."""
NOT_DONE = 1
"""It was not: declined, refused, or something found wrong."""
BAD_ARGUMENTS = 2
"""The arguments or the settings cannot work; nothing was sent."""
UNKNOWN = 3
"""Nobody can tell yet: do not ask for the money again."""

SEE_DOCTOR = "`mpesa-stk doctor` says what to do about each setting"
"""What to do where settings cannot work."""
