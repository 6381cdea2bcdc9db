"""Find secrets that everybody knows and networks that let everybody in.

A signature made with a published secret proves no sender. A network that holds every address restricts no
sender. This file is a leaf, and pure.
"""

from __future__ import annotations

import ipaddress
import re

MIN_SECRET = 16
"""Fewest characters of a secret that may sign."""

# Secrets that the simulator prints and that the documentation shows or once showed.
_PRINTED = frozenset(
    {
        "simulated-callback-secret",
        "at-least-16-characters-of-your-own",
        "only-to-try-it-out",
    }
)
_FEWEST_CHARACTERS = 5
_REPEATED = re.compile(r"(.{1,8})\1+", re.DOTALL)
# Prefix lengths of the widest private networks: 10.0.0.0/8 and fc00::/7.
_WIDEST = {4: 8, 6: 7}


def secret_fault(secret: str, /) -> str | None:
    """Return why a callback secret is easy to guess, or None.

    Args:
        secret: A text of at least `MIN_SECRET` characters.
    """
    if secret.lower() in _PRINTED:
        return "is printed in the documentation: make up a random one"
    if len(set(secret)) < _FEWEST_CHARACTERS or _REPEATED.fullmatch(secret):
        return "repeats a few characters: make up a random one"
    return None


def is_too_wide(network: str, /) -> bool:
    """Return whether a network is wider than any private one.

    Examples are ``0.0.0.0/0`` and ``::/0``.
    """
    read = ipaddress.ip_network(network)
    return read.prefixlen < _WIDEST[read.version]
