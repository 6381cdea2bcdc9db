"""The tokens that the simulated Daraja gave out. Pure; time is handed in."""

from __future__ import annotations

__all__ = ["IssuedTokens"]


class IssuedTokens:
    """Knows which tokens are good.

    A new token kills the old one, as Daraja's own pages say (facts, section 1), unless told otherwise.
    """

    def __init__(self, *, lifetime: int, one_at_a_time: bool) -> None:
        self.lifetime = lifetime
        self._one_at_a_time = one_at_a_time
        self._tokens: dict[str, tuple[float, int]] = {}

    def issue(self, token: str, now: float, entry: int, /) -> None:
        """Make a token good from now on.

        Args:
            token: The token.
            now: The monotonic second.
            entry: The number of its entry in the journal.
        """
        kept = {} if self._one_at_a_time else self._tokens
        self._tokens = {known: fact for known, fact in kept.items() if fact[0] > now}
        self._tokens[token] = (now + self.lifetime, entry)

    def entry_of(self, token: str, now: float, /) -> int | None:
        """The journal's number of a token that is good now; None for any other."""
        ends, entry = self._tokens.get(token, (now, 0))
        return entry if ends > now else None

    def revoke_all(self) -> None:
        """Let every token be refused from now on."""
        self._tokens.clear()
