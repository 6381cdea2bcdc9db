"""The story of a payment in words: what happened, who decided what, and the next step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter

from mpesa_stk.commands.payment_facts import View, moment
from mpesa_stk.commands.report import advice
from mpesa_stk.commands.review_words import reasons_of, words_for
from mpesa_stk.daraja.results import Language, explain
from mpesa_stk.payments.events import Meaning
from mpesa_stk.payments.state import HistoryEntry, Transaction, TransactionState
from mpesa_stk.payments.store import KeptCallback
from mpesa_stk.privacy import clean_text


def story_of(
    transaction: Transaction, kept: Iterable[KeptCallback], /, *, view: View, language: Language
) -> Iterator[str]:
    """Yield the history of a payment, its state and the next step, line by line.

    Args:
        transaction: The payment.
        kept: The callbacks that are kept for it.
        view: What is shown of personal data.
        language: Language of the text for the customer.
    """
    yield f"payment       {transaction.transaction_no}"
    yield (
        f"asked         {transaction.amount:,} shillings from {view.phone(transaction)} for "
        f"{view.text(transaction, transaction.reference)}"
    )
    yield f"account       {transaction.account}"
    if transaction.order is not None:
        yield f"order         {view.text(transaction, transaction.order)}"
    if transaction.checkout_request_id is not None:
        yield f"prompt        {view.checkout_id(transaction.checkout_request_id)}"
    yield ""
    yield f"{moment(transaction.created)}  the intent was stored"
    yield from _what_happened(transaction, kept, view)
    yield ""
    yield f"state         {transaction.state.value}: {_MEANINGS[transaction.state]}"
    yield from _result_lines(transaction, language)
    yield from _next_steps(transaction)


def _what_happened(
    transaction: Transaction, kept: Iterable[KeptCallback], view: View
) -> Iterator[str]:
    """Yield the history, and when each kept callback came."""
    told = [
        (entry.at, list(_history_lines(transaction, entry, view))) for entry in transaction.history
    ]
    for callback in kept:
        line = f"{moment(callback.received)}  a callback came and is kept: {callback.reason}"
        told.append((callback.received, [line]))
    # The clocks of two machines may differ, so a history is not always sorted by itself.
    for _, lines in sorted(told, key=itemgetter(0)):
        yield from lines


def _history_lines(transaction: Transaction, entry: HistoryEntry, view: View) -> Iterator[str]:
    words = _EVENTS.get(entry.event) or _text(entry.event)
    if entry.code is not None:
        # The code of a refused push is an error code, and some result codes look the same.
        result = explain(entry.code)
        known = not entry.event.startswith("push") and result.evidence != "unknown"
        code = _text(entry.code)
        words += f" ({code}: {result.meaning})" if known else f" ({code})"
    yield f"{moment(entry.at)}  {words} -> {entry.state.value}"
    if entry.by is not None or entry.note is not None:
        note = view.text(transaction, entry.note) or "no reason was given"
        yield f"{_INDENT}by {entry.by or 'nobody named'}: {note}"


def _result_lines(transaction: Transaction, language: Language) -> Iterator[str]:
    """Explain the result of a settled payment by its code."""
    state, code = transaction.state, transaction.result_code
    if state is TransactionState.SUCCEEDED:
        when = "" if transaction.paid_at is None else f", paid at {moment(transaction.paid_at)}"
        receipt = _NO_RECEIPT.get(str(transaction.settled_by), "none")
        if transaction.receipt_number is not None:
            receipt = _text(transaction.receipt_number) + when
        yield f"receipt       {receipt}"
        yield f"customer      {explain(0).message(language)}"
    elif state is TransactionState.FAILED and code is not None:
        result = explain(code)
        yield f"result        {_text(code)}: {result.meaning}"
        yield f"push again    {advice(result)}"
        yield f"customer      {result.message(language)}"
    elif state is TransactionState.REJECTED:
        yield (
            f"refusal       {_text(code) or 'no code'}: "
            f"{_text(transaction.result_desc) or 'no reason'}"
        )


def _next_steps(transaction: Transaction) -> Iterator[str]:
    yield f"what to do    {_NEXT_STEPS[transaction.state]}"
    if transaction.state.settled and not transaction.reported:
        yield "              your code was not told of it yet: run process_due"
    for reason in reasons_of(transaction):
        words = words_for(reason)
        yield f"needs review  {words.why}"
        yield f"              {words.step}"


def _text(text: str | None) -> str:
    """Return a text of Daraja as one short line without personal data."""
    return clean_text(text) or ""


_INDENT = " " * len("2026-11-23 09:00:00 EAT  ")

_NO_RECEIPT: Mapping[str, str] = {
    "query": "none yet: only the status query told of it, the callback may still bring one",
    "person": "none: a person found that it was paid",
}

_MEANINGS: Mapping[TransactionState, str] = {
    TransactionState.CREATED: "the intent is stored, nothing is known to be sent",
    TransactionState.UNCERTAIN: "a push was sent and its answer is unknown: a prompt may be open",
    TransactionState.PENDING: "Daraja took the push, and the customer has not answered yet",
    TransactionState.SUCCEEDED: "paid",
    TransactionState.FAILED: "not paid, for good",
    TransactionState.REJECTED: "the push reached no phone",
    TransactionState.EXPIRED: "nobody could tell in time, which does not mean that it failed",
}

_NEXT_STEPS: Mapping[TransactionState, str] = {
    TransactionState.CREATED: "do not push again; process_due finds out if its worker died",
    TransactionState.UNCERTAIN: "do not push again: wait for the callback",
    TransactionState.PENDING: "do not push again: wait for the callback, or run process_due",
    TransactionState.SUCCEEDED: "deliver, once for this payment number",
    TransactionState.FAILED: "nothing; a new payment may be offered as said above",
    TransactionState.REJECTED: "correct the cause; no prompt appeared, so trying again is safe",
    TransactionState.EXPIRED: "look into the M-Pesa statement before you ask for the money again",
}

_EVENTS: Mapping[str, str] = {
    Meaning.ACCEPTED.value: "Daraja took the push and asks the customer",
    Meaning.REFUSED.value: "the push was refused and reached no phone",
    Meaning.LOST.value: "the push was sent, and its answer was lost",
    Meaning.ORPHANED.value: "the worker that was to push it died",
    Meaning.AGAIN.value: "the same payment was asked for again",
    Meaning.RELEASED.value: "another attempt at its order began",
    Meaning.LINKED.value: "the caller proved which prompt is its own",
    Meaning.ASKING.value: "a page wanted to know, so Daraja was asked",
    Meaning.PAID.value: "the callback brought the receipt",
    Meaning.NOT_PAID.value: "the callback says that it was not paid",
    Meaning.UNPROVEN.value: "a callback claims success and proves nothing",
    Meaning.CONTRADICTED.value: "Daraja contradicts what was known, so it settled nothing",
    Meaning.QUERY_PAID.value: "the status query says that it was paid",
    Meaning.QUERY_NOT_PAID.value: "the status query says that it was not paid",
    Meaning.NOTHING_NEW.value: "nothing new could be learnt",
    Meaning.TIME_UP.value: "nobody could tell in time, so it was given up",
    Meaning.REPORTED.value: "your code was told of the outcome",
    Meaning.REPORT_FAILED.value: "your code could not be told of the outcome",
    Meaning.REVIEWED.value: "a person looked at it",
    Meaning.PERSON_PAID.value: "a person found that it was paid",
    Meaning.PERSON_NOT_PAID.value: "a person found that it was not paid",
    Meaning.RECORD_PAID.value: "Safaricom's own record shows the payment",
    Meaning.RECORD_RECEIPT.value: "Safaricom's own record has its receipt",
    Meaning.RECORD_CONTRADICTS.value: "Safaricom's own record contradicts what was known",
    Meaning.RECORD_DOUBTFUL.value: "Safaricom's own record may show it, and proves nothing",
    Meaning.CLAIMED.value: "the customer named a receipt",
    Meaning.FORGOTTEN.value: "it was forgotten who paid",
}
