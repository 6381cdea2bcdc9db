"""``mpesa-stk codes`` and ``explain``: the meaning of a code, and the history of a payment."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime

from mpesa_stk.commands import database
from mpesa_stk.commands.context import BadArgument, Context
from mpesa_stk.commands.exit_codes import DONE, NOT_DONE
from mpesa_stk.commands.options import Subparsers, add_json, add_language
from mpesa_stk.commands.payment import query_report
from mpesa_stk.commands.report import advice
from mpesa_stk.daraja.protocol import NAIROBI
from mpesa_stk.daraja.results import CATALOGUE, Language, Result, explain
from mpesa_stk.payments.events import Meaning
from mpesa_stk.payments.state import HistoryEntry, Transaction, TransactionState
from mpesa_stk.payments.store import TransactionStore
from mpesa_stk.privacy import clean_text, mask_phone

_CODE = re.compile(r"[!-~]{1,40}")
_ID = re.compile(r"[!-~]{1,128}")


def add_to(commands: Subparsers, /) -> None:
    """Add the commands to the parser."""
    codes = commands.add_parser(
        "codes",
        help="list Daraja's result codes, or explain one",
        description="Lists Daraja's result codes, or explains one. Needs no settings.",
    )
    codes.add_argument("code", metavar="CODE", nargs="?", help="for example 1032")
    add_json(codes)
    codes.set_defaults(command=run_codes)
    payment = commands.add_parser(
        "explain",
        help="explain the state of a payment",
        description="Explains in words the state of a payment, by Daraja's status query or with its "
        "history from the database of your payments.",
    )
    subject = payment.add_mutually_exclusive_group(required=True)
    subject.add_argument("checkout_request_id", metavar="CHECKOUT_REQUEST_ID", nargs="?")
    subject.add_argument(
        "--transaction",
        metavar="ID",
        help="a transaction_no, CheckoutRequestID or receipt number in the database",
    )
    database.add_option(payment)
    payment.set_defaults(command=run_explain)
    for command in (codes, payment):
        add_language(command)


# --- codes -----------------------------------------------------------------------------------------------


def run_codes(context: Context, arguments: argparse.Namespace, /) -> int:
    """List the codes, or explain one."""
    language: Language = arguments.lang
    if arguments.code is None:
        rows = [_facts(result, language) for result in CATALOGUE.values()]
        context.show(json.dumps(rows, indent=2) if arguments.json else _table())
        return DONE
    if not _CODE.fullmatch(arguments.code):
        raise BadArgument("CODE: must be 1 to 40 visible characters")
    result = explain(arguments.code)
    if arguments.json:
        context.show(json.dumps(_facts(result, language)))
    else:
        context.show(*_lines(result, language))
    return NOT_DONE if result.evidence == "unknown" else DONE


def _facts(result: Result, language: Language) -> dict[str, object]:
    return {
        "code": result.code,
        "evidence": result.evidence,
        "final": result.final,
        "retry": result.retry.value,
        "wait_seconds": result.wait_seconds,
        "meaning": result.meaning,
        "customer_message": result.message(language),
    }


def _table() -> str:
    rows = [("code", "evidence", "final", "retry", "meaning")]
    rows += [
        (row.code, row.evidence, "yes" if row.final else "no", row.retry.value, row.meaning)
        for row in CATALOGUE.values()
    ]
    widths = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:-1]]
    return "\n".join("  ".join([*map(str.ljust, row[:-1], widths), row[-1]]) for row in rows)


def _lines(result: Result, language: Language) -> tuple[str, ...]:
    return (
        f"code          {result.code}",
        f"meaning       {result.meaning}",
        f"evidence      {_EVIDENCE[result.evidence]}",
        f"final         {'yes' if result.final else 'no: a status query with it settles nothing'}",
        f"push again    {advice(result)}",
        f"customer      {result.message(language)}",
    )


_EVIDENCE: Mapping[str, str] = {
    "official": "official: Safaricom's portal states it",
    "reported": "reported: only integrators state it",
    "unknown": "unknown: it is not in the catalogue",
}


# --- explain ---------------------------------------------------------------------------------------------


def run_explain(context: Context, arguments: argparse.Namespace, /) -> int:
    """Explain the state of a payment."""
    if arguments.transaction is None:
        report = query_report(context, arguments.checkout_request_id, arguments.lang)
        return report.show(context)
    name: str = arguments.transaction
    if not _ID.fullmatch(name):
        raise BadArgument("--transaction: must be 1 to 128 visible characters")
    with database.open_store(database.needed(context, arguments.database)) as store:
        transaction = _find(store, name)
    if transaction is None:
        context.complain("--transaction: is not in this database")
        return NOT_DONE
    context.show(*explain_transaction(transaction, language=arguments.lang))
    return DONE


def _find(store: TransactionStore, name: str) -> Transaction | None:
    """Find a payment by any of the three ids that a person may have."""
    return (
        store.get(name)
        or store.find(checkout_request_id=name)
        or store.find(receipt_number=name.upper())
    )


def explain_transaction(transaction: Transaction, /, *, language: Language) -> tuple[str, ...]:
    """Explain the history of a payment, its state and the next step, line by line.

    Args:
        transaction: The payment.
        language: Language of the text for the customer.
    """
    state = transaction.state
    payer = mask_phone(transaction.phone_number)
    return (
        f"payment       {transaction.transaction_no}",
        f"asked         {transaction.amount} shillings from {payer} for {_text(transaction.reference)}",
        "",
        f"{_moment(transaction.created)}  the intent was stored",
        *map(_history_line, transaction.history),
        "",
        f"state         {state.value}: {_MEANINGS[state]}",
        *_result_lines(transaction, language),
        *_next_steps(transaction),
    )


def _history_line(entry: HistoryEntry) -> str:
    words = _EVENTS.get(entry.event) or _text(entry.event)
    if entry.code is not None:
        # The code of a refused push is an error code, and some result codes look the same.
        result = explain(entry.code)
        known = not entry.event.startswith("push") and result.evidence != "unknown"
        code = _text(entry.code)
        words += f" ({code}: {result.meaning})" if known else f" ({code})"
    return f"{_moment(entry.at)}  {words} -> {entry.state.value}"


def _result_lines(transaction: Transaction, language: Language) -> Iterator[str]:
    """Explain the result of a settled payment by its code."""
    state, code = transaction.state, transaction.result_code
    if state is TransactionState.SUCCEEDED:
        when = "" if transaction.paid_at is None else f", paid at {_moment(transaction.paid_at)}"
        receipt = "none yet: only the status query told of it, the callback may still bring one"
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
    if transaction.needs_review:
        review = _text(transaction.needs_review)
        yield f"needs review  {review}: a person must compare it with the M-Pesa statement"


def _moment(moment: datetime) -> str:
    """Return a moment in East Africa Time."""
    return f"{moment.astimezone(NAIROBI):%Y-%m-%d %H:%M:%S} EAT"


def _text(text: str | None) -> str:
    """Return a stored text as one short line that is safe in a terminal."""
    return clean_text(text) or ""


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
}
