"""What the commands tell of a payment, for people and for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import TextIO

import attrs

from mpesa_stk.commands.parsers import DONE, NOT_DONE, UNKNOWN
from mpesa_stk.daraja.models import QueryResult, QueryStatus
from mpesa_stk.daraja.results import Language, Result, RetryAdvice, explain
from mpesa_stk.errors import MpesaError

__all__ = ["HEADLINES", "NOT_AGAIN", "Told", "advice", "interrupted", "told_of", "trouble"]

NOT_AGAIN = "nobody can tell yet: do not push again, wait for the callback or ask again later"

HEADLINES: Mapping[QueryStatus, str] = {
    QueryStatus.PAID: "paid",
    QueryStatus.FAILED: "not paid",
    QueryStatus.PENDING: "still open",
    QueryStatus.UNKNOWN: "not known",
}


@attrs.frozen(kw_only=True)
class Told:
    """What a command found, for people and for programs.

    Attributes:
        code: Exit code.
        lines: For people, on stdout.
        facts: For programs, on stdout.
        warning: For people, on stderr in any case.
    """

    code: int
    lines: tuple[str, ...]
    facts: Mapping[str, object]
    warning: str = ""

    def show(self, *, as_json: bool = False, stdout: TextIO | None = None) -> int:
        """Print it; returns the exit code."""
        text = json.dumps(dict(self.facts)) if as_json else "\n".join(self.lines)
        print(text, file=stdout, flush=True)
        if self.warning:
            print(self.warning, file=sys.stderr)
        return self.code


def advice(result: Result, /, *, settled: bool = True) -> str:
    """Whether the customer may be asked for the same money again, in words."""
    if not settled:
        return "not yet: it may still be paid"
    after = f", after {_duration(result.wait_seconds)}" if result.wait_seconds else ""
    return _ADVICE[result.retry] + after


_ADVICE: Mapping[RetryAdvice, str] = {
    RetryAdvice.NO: "no",
    RetryAdvice.YES: "yes",
    RetryAdvice.CONFIRM: "only once it is certain that this attempt did not go through",
    RetryAdvice.OTHER_AMOUNT: "only with another amount",
    RetryAdvice.FIX_SETUP: "not before the merchant's settings are corrected",
}


def _duration(seconds: int) -> str:
    units = ((3_600, "hour"), (60, "minute"), (1, "second"))
    size, unit = next(found for found in units if seconds % found[0] == 0)
    count = seconds // size
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"


def _meaning_of(answer: QueryResult, *, settled: bool) -> Result:
    """What an answer means: by its code, if that says the same as its status."""
    result = answer.result
    if result is not None and result.final is settled:
        return result
    if answer.status is QueryStatus.PENDING:
        return explain("4999")
    if answer.not_found:
        meaning = (
            "Daraja does not know this id: it is wrong, too old, or was asked about too early."
        )
    else:
        meaning = "Daraja could not be asked, or its answer proves nothing."
    return attrs.evolve(explain(""), meaning=meaning)


def _told_of_answer(answer: QueryResult, language: Language) -> Told:
    settled = answer.status in (QueryStatus.PAID, QueryStatus.FAILED)
    result = _meaning_of(answer, settled=settled)
    paid = answer.status is QueryStatus.PAID
    code = answer.result_code
    lines = (
        f"result        {HEADLINES[answer.status]}" + ("" if code is None else f" (code {code})"),
        f"meaning       {result.meaning}",
        f"final         {'yes' if settled else 'no'}",
        f"push again    {advice(result, settled=settled)}",
        f"customer      {result.message(language)}",
        *(["receipt       comes with the callback, never with the query"] if paid else []),
    )
    return Told(
        code=DONE if paid else NOT_DONE if settled else UNKNOWN,
        lines=lines,
        facts={
            "status": answer.status.value,
            "checkout_request_id": answer.checkout_request_id,
            "merchant_request_id": answer.merchant_request_id,
            "result_code": code,
            "result_desc": answer.result_desc,
            "meaning": result.meaning,
            "final": settled,
            "not_found": answer.not_found,
            "retry": result.retry.value if settled else RetryAdvice.NO.value,
            "wait_seconds": result.wait_seconds,
            "customer_message": result.message(language),
        },
        warning="" if settled else NOT_AGAIN,
    )


def trouble(error: MpesaError, *, status: str, code: int, hint: str) -> Told:
    """What to tell where a step failed."""
    return Told(
        code=code,
        lines=(f"result        {status.lower().replace('_', ' ')}: {error}",),
        facts={
            "status": status,
            "error": type(error).__name__,
            "message": str(error),
            "http_status": getattr(error, "http_status", None),
            "error_code": getattr(error, "error_code", None),
        },
        warning=hint,
    )


def interrupted(checkout_request_id: str | None) -> Told:
    """What to tell where somebody stopped the command after the push may have left."""
    return Told(
        code=UNKNOWN,
        lines=("result        not known: interrupted",),
        facts={"status": "UNKNOWN", "checkout_request_id": checkout_request_id},
        warning=NOT_AGAIN,
    )


def told_of(
    ask: Callable[[], QueryResult], /, *, checkout_request_id: str, language: Language
) -> Told:
    """What to tell of a payment that was pushed before, whatever asking for it brings."""
    try:
        answer = ask()
    except KeyboardInterrupt:
        return interrupted(checkout_request_id)
    except MpesaError as error:
        told = trouble(error, status="UNKNOWN", code=UNKNOWN, hint=NOT_AGAIN)
        return attrs.evolve(told, facts={**told.facts, "checkout_request_id": checkout_request_id})
    return _told_of_answer(answer, language)
