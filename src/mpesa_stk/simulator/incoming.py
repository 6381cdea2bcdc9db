"""A request to the simulated Daraja, and the tokens that it issued. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs

from mpesa_stk.daraja import wire
from mpesa_stk.simulator.prompts import CallbackDelivery
from mpesa_stk.simulator.pull_forms import PullForm

Step = Literal["token", "push", "query", "pull"]


@attrs.frozen(kw_only=True)
class IssuedToken:
    """The facts about a token.

    Attributes:
        ends: Monotonic second from which it is not valid.
        app: Consumer key of its app.
        entry: Number of its entry in the journal.
    """

    ends: float
    app: str = attrs.field(repr=False)
    entry: int


class TokenRegistry:
    """Keep the issued tokens of all apps.

    A new token makes the older ones of its app invalid, as Daraja's own pages say (docs/daraja.md,
    section 1).
    """

    def __init__(self, *, lifetime: int, one_at_a_time: bool) -> None:
        """Start without tokens.

        Args:
            lifetime: Seconds for which a token is valid.
            one_at_a_time: Whether a new token makes the older ones of its app invalid.
        """
        self.lifetime = lifetime
        self._one_at_a_time = one_at_a_time
        self._tokens: dict[str, IssuedToken] = {}

    def issue(self, token: str, now: float, /, *, app: str, entry: int) -> None:
        """Make a token valid.

        Args:
            token: The token.
            now: The monotonic second.
            app: Consumer key of its app.
            entry: Number of its entry in the journal.
        """
        self._tokens = {
            known: fact
            for known, fact in self._tokens.items()
            if fact.ends > now and not (self._one_at_a_time and fact.app == app)
        }
        self._tokens[token] = IssuedToken(ends=now + self.lifetime, app=app, entry=entry)

    def find(self, token: str, now: float, /) -> IssuedToken | None:
        """The facts about a valid token, or None."""
        found = self._tokens.get(token)
        return found if found is not None and found.ends > now else None

    def revoke_all(self) -> None:
        """Make all tokens invalid."""
        self._tokens.clear()


@attrs.define(kw_only=True)
class Request:
    """A request, and the facts that its handling adds.

    Attributes:
        method: HTTP method.
        path: Path of the address.
        query: Query of the address.
        headers: Header fields, names in lower case.
        body: Body.
        client: Address of the client, or empty without a network.
        number: Its number in the journal.
        payload: The body's JSON object, or None if the body is not one.
        token_entry: The journal's number of its token.
        checkout_request_id: Id of the prompt that it opened or queried.
        callbacks_first: Callbacks that come before its answer.
        advice: Differences between its body and Daraja's pages, a sentence each.
        form: The form of its answer, if it is a pull.
        note: A remark for the journal.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    client: str
    number: int
    payload: Mapping[str, object] | None = attrs.field(init=False)
    token_entry: int | None = None
    checkout_request_id: str | None = None
    callbacks_first: tuple[CallbackDelivery, ...] = ()
    advice: tuple[str, ...] = ()
    form: PullForm = attrs.field(factory=PullForm)
    note: str = ""

    def __attrs_post_init__(self) -> None:
        try:
            self.payload = wire.read_object(self.body)
        except wire.WireError:
            self.payload = None
