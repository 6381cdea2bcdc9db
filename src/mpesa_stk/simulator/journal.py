"""What the simulated Daraja saw and did, in order, for the page and for tests. Pure.

Bodies are kept as they were, except for the secrets in them: passwords, tokens, and whatever else is
called a secret, a token or a pass word, as the passkey that some clients send.
"""

from __future__ import annotations

import heapq
import re
from collections import deque
from datetime import datetime
from typing import Literal

import attrs

from mpesa_stk.secrecy import masked_id_repr

__all__ = ["Entry", "Journal", "Kind"]

Kind = Literal["token", "push", "query", "other", "answer", "callback"]

_MOST_ENTRIES = 2000
_ASKED = ("query", "other")
_MOST_TEXT = 8192
_SECRETS = re.compile(r'("[^"]*(?:pass|secret|token)[^"]*"\s*:\s*)"[^"]*"', re.IGNORECASE)


@attrs.frozen(kw_only=True)
class Entry:
    """One thing that happened.

    Attributes:
        number: Counts from 1.
        at: When, aware.
        kind: A request (``token``, ``push``, ``query``, ``other``), the ``answer`` on the phone, or a
            ``callback``.
        checkout_request_id: The prompt that it is about, where there is one.
        asked: What was sent, as text: a request's or a callback's body.
        status: HTTP status of the answer, where there was one.
        answered: The answer's body, as text.
        note: What else is to be said, such as the fault that was played.
        advice: What Daraja's pages ask for instead of what was sent, a sentence each.
        token_entry: For a push and a query: the number of the entry in which their token was issued.
    """

    number: int
    at: datetime
    kind: Kind
    checkout_request_id: str | None = attrs.field(default=None, repr=masked_id_repr)
    asked: str = attrs.field(default="", repr=False)
    status: int | None = None
    answered: str = attrs.field(default="", repr=False)
    note: str = ""
    advice: tuple[str, ...] = ()
    token_entry: int | None = None


class Journal:
    """Keeps the last entries: of status queries and other requests, and of all else."""

    def __init__(self) -> None:
        # Apart, so that a shop that asks often pushes out no push and no callback.
        self._asked: deque[Entry] = deque(maxlen=_MOST_ENTRIES)
        self._told: deque[Entry] = deque(maxlen=_MOST_ENTRIES)
        self._last = 0

    @property
    def last(self) -> int:
        """The number of the newest entry; 0 before the first."""
        return self._last

    def write(  # noqa: PLR0913 - the fields of an entry
        self,
        kind: Kind,
        at: datetime,
        /,
        *,
        checkout_request_id: str | None = None,
        asked: bytes = b"",
        status: int | None = None,
        answered: bytes = b"",
        note: str = "",
        advice: tuple[str, ...] = (),
        token_entry: int | None = None,
    ) -> Entry:
        """Write an entry; secrets are masked and long texts cut."""
        self._last += 1
        entry = Entry(
            number=self._last,
            at=at,
            kind=kind,
            checkout_request_id=checkout_request_id,
            asked=_text(asked),
            status=status,
            answered=_text(answered),
            note=note,
            advice=advice,
            token_entry=token_entry,
        )
        kept = self._asked if kind in _ASKED else self._told
        kept.append(entry)
        return entry

    def entries(self, *, after: int = 0) -> list[Entry]:
        """The kept entries with a higher number, oldest first."""
        merged = heapq.merge(self._asked, self._told, key=lambda entry: entry.number)
        return [entry for entry in merged if entry.number > after]

    def timeline(self, checkout_request_id: str, /) -> list[Entry]:
        """What belongs to one prompt, from its token on, oldest first."""
        entries = self.entries()
        about = [entry for entry in entries if entry.checkout_request_id == checkout_request_id]
        tokens = {entry.token_entry for entry in about}
        return [
            entry
            for entry in entries
            if entry.checkout_request_id == checkout_request_id or entry.number in tokens
        ]


def _text(body: bytes) -> str:
    return _SECRETS.sub(r'\1"***"', body.decode("utf-8", "replace"))[:_MOST_TEXT]
