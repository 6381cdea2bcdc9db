"""Tells a stored transaction's history in words. Pure: from JSON bytes to lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from mpesa_stk.commands.telling import advice
from mpesa_stk.daraja.protocol import NAIROBI
from mpesa_stk.daraja.results import Language, explain
from mpesa_stk.daraja.wire import WireError, clean_text, read_object
from mpesa_stk.payments.events import Signal
from mpesa_stk.payments.state import TransactionState
from mpesa_stk.phone import mask_phone

__all__ = ["NoTransaction", "of"]

_UNSAFE = re.compile(r"[^ -~]+")
_PHONE = re.compile(r"\+?[0-9]{10,15}")
_LONGEST = 64
_TOO_MUCH = 10**9


class NoTransaction(ValueError):
    """It is not a transaction's JSON; the text says what is wrong with it."""


def of(body: bytes, /, *, language: Language) -> tuple[str, ...]:
    """Tell what happened, what it means and what to do.

    Args:
        body: A transaction as `mpesa-stk demo` prints it.
        language: Language of what the customer is told.

    Raises:
        NoTransaction: It is anything else; whatever the bytes, nothing else is raised.
    """
    try:
        facts = read_object(body)
    except WireError as error:
        problem = "; ".join(error.problems)
    else:
        return tuple(_told(facts, language))
    raise NoTransaction(f"is not a transaction's JSON: {problem}")


def _told(facts: Mapping[str, Any], language: Language) -> Iterator[str]:
    state = _state(facts, "state")
    amount = facts.get("amount")
    if type(amount) is not int or not 0 < amount < _TOO_MUCH:
        raise NoTransaction("amount: is not a number of shillings")
    number = facts.get("phone_number")
    payer = mask_phone(number) if isinstance(number, str) and _PHONE.fullmatch(number) else "?"
    reference = _text(facts, "reference") or "?"
    yield f"payment       {_short(facts, 'transaction_no')}"
    yield f"asked         {amount} shillings from {payer} for {reference}"
    yield ""
    yield f"{_moment(facts, 'created')}  the intent was stored"
    history = facts.get("history")
    if not isinstance(history, list):
        raise NoTransaction("history: is not a list")
    for number, entry in enumerate(history):
        if not isinstance(entry, dict):
            raise NoTransaction(f"history[{number}]: is not an object")
        yield _line(entry)
    yield ""
    yield f"state         {state.value}: {_MEANINGS[state]}"
    yield from _result(facts, state, language)
    yield from _duties(facts, state)


def _line(entry: Mapping[str, Any]) -> str:
    """One line of the history."""
    event, code = _text(entry, "event") or "?", _text(entry, "code")
    words = _EVENTS.get(event, event)
    if code is not None:
        # The code of a refused push is no result code: some have another meaning there.
        result = explain(code)
        known = not event.startswith("push") and result.evidence != "unknown"
        words += f" ({code}: {result.meaning})" if known else f" ({code})"
    return f"{_moment(entry, 'at')}  {words} -> {_state(entry, 'state').value}"


def _result(facts: Mapping[str, Any], state: TransactionState, language: Language) -> Iterator[str]:
    """How it ended, in Daraja's terms."""
    code = _text(facts, "result_code")
    if state is TransactionState.SUCCEEDED:
        receipt = _short(facts, "receipt_number")
        when = f", paid at {_moment(facts, 'paid_at')}" if facts.get("paid_at") else ""
        missing = "none yet: only the status query told of it, the callback may still bring one"
        yield f"receipt       {missing if receipt == '?' else receipt + when}"
        yield f"customer      {explain(0).message(language)}"
    elif state is TransactionState.FAILED and code is not None:
        result = explain(code)
        yield f"result        {code}: {result.meaning}"
        yield f"push again    {advice(result)}"
        yield f"customer      {result.message(language)}"
    elif state is TransactionState.REJECTED:
        yield f"refusal       {code or 'no code'}: {_text(facts, 'result_desc') or 'no reason'}"


def _duties(facts: Mapping[str, Any], state: TransactionState) -> Iterator[str]:
    """What is left to do."""
    yield f"what to do    {_DUTIES[state]}"
    if state.settled and facts.get("reported") is not True:
        yield "              your code was not told of it yet: run process_due"
    review = _text(facts, "needs_review")
    if review:
        yield f"needs review  {review}: a person must compare it with the M-Pesa statement"


_MEANINGS: Mapping[TransactionState, str] = {
    TransactionState.CREATED: "the intent is stored, nothing is known to be sent",
    TransactionState.UNCERTAIN: "a push was sent and its answer is unknown: a prompt may be open",
    TransactionState.PENDING: "Daraja took the push, and the customer has not answered yet",
    TransactionState.SUCCEEDED: "paid",
    TransactionState.FAILED: "not paid, for good",
    TransactionState.REJECTED: "the push reached no phone",
    TransactionState.EXPIRED: "nobody could tell in time, which does not mean that it failed",
}

_DUTIES: Mapping[TransactionState, str] = {
    TransactionState.CREATED: "do not push again; process_due finds out if its worker died",
    TransactionState.UNCERTAIN: "do not push again: wait for the callback",
    TransactionState.PENDING: "do not push again: wait for the callback, or run process_due",
    TransactionState.SUCCEEDED: "deliver, once for this payment number",
    TransactionState.FAILED: "nothing; a new payment may be offered as said above",
    TransactionState.REJECTED: "correct the cause; no prompt appeared, so trying again is safe",
    TransactionState.EXPIRED: "look into the M-Pesa statement before you ask for the money again",
}

_EVENTS: Mapping[str, str] = {
    Signal.ACCEPTED.value: "Daraja took the push and asks the customer",
    Signal.REFUSED.value: "the push was refused and reached no phone",
    Signal.LOST.value: "the push was sent, and its answer was lost",
    Signal.ORPHANED.value: "the worker that was to push it died",
    Signal.AGAIN.value: "the same payment was asked for again",
    Signal.LINKED.value: "the caller proved which prompt is its own",
    Signal.ASKING.value: "a page wanted to know, so Daraja was asked",
    Signal.PAID.value: "the callback brought the receipt",
    Signal.NOT_PAID.value: "the callback says that it was not paid",
    Signal.UNPROVEN.value: "a callback claims success and proves nothing",
    Signal.CONTRADICTED.value: "Daraja contradicts what was known, so it settled nothing",
    Signal.QUERY_PAID.value: "the status query says that it was paid",
    Signal.QUERY_NOT_PAID.value: "the status query says that it was not paid",
    Signal.NOTHING_NEW.value: "nothing new could be learnt",
    Signal.TIME_UP.value: "nobody could tell in time, so it was given up",
    Signal.REPORTED.value: "your code was told of the outcome",
    Signal.REPORT_FAILED.value: "your code could not be told of the outcome",
}


# --- reading --------------------------------------------------------------------------------------------


def _state(facts: Mapping[str, Any], name: str) -> TransactionState:
    try:
        return TransactionState(facts.get(name))
    except ValueError:
        raise NoTransaction(f"{name}: is not a state of a transaction") from None


def _moment(facts: Mapping[str, Any], name: str) -> str:
    """A moment in East Africa Time."""
    text = str(facts.get(name))
    moment = None
    try:
        # Python 3.10 does not read the Z.
        moment = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)
        shown = f"{moment.astimezone(NAIROBI):%Y-%m-%d %H:%M:%S} EAT"
    except (ValueError, OverflowError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise NoTransaction(f"{name}: is not a date with a time and a zone")
    return shown


def _text(facts: Mapping[str, Any], name: str) -> str | None:
    """A text that may be shown: one line, bounded."""
    return clean_text(facts.get(name))


def _short(facts: Mapping[str, Any], name: str) -> str:
    """An id that may be shown whole."""
    value = facts.get(name)
    return _UNSAFE.sub(" ", value)[:_LONGEST] if isinstance(value, str) and value else "?"
