"""Differences between a request and Daraja's own pages. Pure.

Advice does not change the answer: clients in production send such bodies, and Daraja takes them
(docs/daraja.md, section 2). The journal and the page show the advice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from mpesa_stk.config.settings import StkConfig
from mpesa_stk.config.urls import banned_words, callback_url_fault, host_of
from mpesa_stk.simulator.validation import (
    CLOCK_ERROR,
    PUSH_FIELDS,
    Rule,
    fits_account,
    lateness_of,
    whole_of,
)

_LONGEST = {"AccountReference": 12, "TransactionDesc": 13}
_MOST_NAMES = 5
_LONGEST_NAME = 40
_UNSEEMLY = re.compile(r"[^ -~]+")


def advice_on(
    body: Mapping[str, object],
    fields: Mapping[str, Rule],
    /,
    *,
    config: StkConfig,
    now: datetime,
) -> tuple[str, ...]:
    """Compare a body with Daraja's pages, and return each difference as a sentence.

    Args:
        body: The body's JSON object.
        fields: The fields of the endpoint.
        config: The merchant.
        now: The time of the clients.
    """
    return (
        *_on_names(body, fields),
        *_on_blanks(body, fields),
        *_on_timestamp(body.get("Timestamp"), now),
        *(_on_push(body, config) if fields is PUSH_FIELDS else ()),
    )


def _on_names(body: Mapping[str, object], fields: Mapping[str, Rule]) -> Iterator[str]:
    for name in [name for name in body if name not in fields][:_MOST_NAMES]:
        yield f"{_UNSEEMLY.sub('?', name)[:_LONGEST_NAME]} is no field of this request"


def _on_blanks(body: Mapping[str, object], fields: Mapping[str, Rule]) -> Iterator[str]:
    for name in fields:
        value = body.get(name)
        if isinstance(value, str) and value != value.strip():
            yield f"{name} has blanks around it"


def _on_timestamp(timestamp: object, now: datetime) -> Iterator[str]:
    lateness = lateness_of(timestamp, now)
    if lateness is None:
        return
    if abs(lateness) > CLOCK_ERROR:
        behind = f"{_hours(abs(lateness))} h {'behind' if lateness > timedelta() else 'ahead of'}"
        yield f"Timestamp is {behind} East Africa Time, which most guides ask for"
    if not isinstance(timestamp, str):
        yield "Timestamp is a number; Daraja's page shows a string"


def _hours(span: timedelta) -> str:
    return f"{round(span / timedelta(hours=1), 1):g}"


def _on_push(body: Mapping[str, object], config: StkConfig) -> Iterator[str]:
    if {"TransactionType", "PartyB"} <= body.keys() and not fits_account(body, config):
        account = config.account
        yield (
            f"TransactionType and PartyB of {account} are {account.transaction_type} and "
            f"{account.party_b}; with others, Daraja accepts a push and ends it with 2028"
        )
    amount = body.get("Amount")
    if whole_of(amount) is not None and "." in str(amount):
        yield "Amount has decimal places; Daraja's page asks for a whole number"
    for name, longest in _LONGEST.items():
        text = str(body.get(name, ""))
        if len(text) > longest:
            yield f"{name} has {len(text)} characters; Daraja's page asks for {longest} at most"
    if body.get("TransactionDesc") == "":
        yield "TransactionDesc is empty; Daraja's page asks for 1 to 13 characters"
    yield from _on_callback_url(body.get("CallBackURL"))


def _on_callback_url(url: object) -> Iterator[str]:
    fault = callback_url_fault(url, allow_loopback=True)
    if fault is not None:
        yield f"CallBackURL {fault}{', in production at least' if host_of(url) else ''}"
    words = banned_words(url) if isinstance(url, str) else ()
    if words:
        yield f"CallBackURL contains {', '.join(words)}: Safaricom says that it refuses such addresses"
