"""The exit codes of every command."""

from __future__ import annotations

DONE = 0
"""Done: the payment is paid, the callback is taken, or the check found no problem."""
NOT_DONE = 1
"""Not done: the payment failed, the callback was refused, or the check found a problem."""
BAD_ARGUMENTS = 2
"""An argument or a setting cannot work, and no request was sent. argparse ends with 2 as well."""
UNKNOWN = 3
"""The outcome is not known yet. Do not ask for the money again."""
