"""The journal of the simulated Daraja, for the page and for tests. Pure.

Bodies are kept, but their secrets are masked: the values of fields with "pass", "secret" or "token" in
their name. Some clients send their passkey.
"""

from __future__ import annotations

import heapq
import re
from collections import deque
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Literal

import attrs

from mpesa_stk.privacy import masked_id_repr

Kind = Literal["token", "push", "query", "pull", "other", "answer", "callback"]

_MOST_ENTRIES = 2000
_QUERIES = ("query", "pull", "other")
_MOST_TEXT = 8192
_SECRETS = re.compile(r'("[^"]*(?:pass|secret|token)[^"]*"\s*:\s*)"[^"]*"', re.IGNORECASE)


@attrs.frozen(kw_only=True)
class Entry:
    """One event.

    Attributes:
        number: Counts from 1.
        at: Its time, aware.
        kind: A request (``token``, ``push``, ``query``, ``pull``, ``other``), the ``answer`` on the phone,
            or a ``callback``.
        checkout_request_id: Id of its prompt, if it has one.
        asked: Body of the request or callback, as text.
        status: HTTP status of the answer, if there was one.
        answered: Body of the answer, as text.
        note: A remark, such as the name of the fault.
        advice: Differences between the request and Daraja's pages, a sentence each.
        token_entry: For a push, a query and a pull: number of the entry in which their token was issued.
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

    @property
    def taken(self) -> bool:
        """Whether it is a callback that your application took: it answered with a 2xx."""
        answered = self.kind == "callback" and self.status is not None
        return answered and 200 <= (self.status or 0) < 300  # noqa: PLR2004 - HTTP's success


class Journal:
    """Keep the last entries. Safe to read in any thread."""

    def __init__(self, lock: AbstractContextManager[object] | None = None, /) -> None:
        """Start an empty journal.

        Args:
            lock: Held while entries are read. The writer holds it too.
        """
        self._lock = lock or nullcontext()
        # Two queues, so that frequent status queries do not push out pushes and callbacks.
        self._queries: deque[Entry] = deque(maxlen=_MOST_ENTRIES)
        self._others: deque[Entry] = deque(maxlen=_MOST_ENTRIES)
        self._last = 0

    @property
    def forgot_until(self) -> datetime | None:
        """The time before which callbacks may be forgotten, or None if all are kept."""
        with self._lock:
            is_full = len(self._others) == _MOST_ENTRIES
            return self._others[0].at if is_full else None

    @property
    def last(self) -> int:
        """The number of the newest entry, or 0 before the first."""
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
        """Add an entry. Secrets are masked, long texts are cut."""
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
        kept = self._queries if kind in _QUERIES else self._others
        kept.append(entry)
        return entry

    def entries(self, *, after: int = 0) -> list[Entry]:
        """The kept entries with a higher number, oldest first."""
        with self._lock:
            merged = heapq.merge(self._queries, self._others, key=lambda entry: entry.number)
            return [entry for entry in merged if entry.number > after]

    def timeline(self, checkout_request_id: str, /) -> list[Entry]:
        """The entries of one prompt and of its tokens, oldest first."""
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
