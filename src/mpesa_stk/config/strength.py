"""Settings that everybody knows or that let everybody in. A leaf, pure.

A callback secret that is printed somewhere signs nothing, and a network that holds every address is no
list of addresses.
"""

from __future__ import annotations

import ipaddress
import re

__all__ = ["MIN_SECRET", "is_too_wide", "secret_fault"]

MIN_SECRET = 16
"""Characters of the shortest secret that may sign."""

# Those that the simulator prints and the documentation shows, now or once.
_PRINTED = frozenset(
    {
        "simulated-callback-secret",
        "at-least-16-characters-of-your-own",
        "only-to-try-it-out",
    }
)
_FEWEST_CHARACTERS = 5
_REPEATED = re.compile(r"(.{1,8})\1+", re.DOTALL)
# A private network is at most this wide: 10.0.0.0/8 and fc00::/7.
_WIDEST = {4: 8, 6: 7}


def secret_fault(secret: str, /) -> str | None:
    """Return what makes a callback secret easy to guess, or None.

    Args:
        secret: Of at least `MIN_SECRET` characters.
    """
    if secret.lower() in _PRINTED:
        return "is printed in the documentation: make up a random one"
    if len(set(secret)) < _FEWEST_CHARACTERS or _REPEATED.fullmatch(secret):
        return "repeats a few characters: make up a random one"
    return None


def is_too_wide(network: str, /) -> bool:
    """Return whether a network holds more than any private one, such as ``0.0.0.0/0`` or ``::/0``."""
    read = ipaddress.ip_network(network)
    return read.prefixlen < _WIDEST[read.version]
