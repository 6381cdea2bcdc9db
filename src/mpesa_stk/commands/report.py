"""The report of a command about a payment, in words for people and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import attrs

from mpesa_stk.commands.context import Context
from mpesa_stk.commands.exit_codes import DONE, NOT_DONE, UNKNOWN
from mpesa_stk.daraja.models import QueryResult, QueryStatus
from mpesa_stk.daraja.results import Language, Result, RetryAdvice, explain
from mpesa_stk.errors import MpesaError

NOT_AGAIN = "nobody can tell yet: do not push again, wait for the callback or ask again later"

HEADLINES: Mapping[QueryStatus, str] = {
    QueryStatus.PAID: "paid",
    QueryStatus.FAILED: "not paid",
    QueryStatus.PENDING: "still open",
    QueryStatus.UNKNOWN: "not known",
}


@attrs.frozen(kw_only=True)
class Report:
    """The outcome of a command.

    Attributes:
        code: Exit code.
        lines: Printed to stdout for people.
        facts: Printed to stdout for programs.
        warning: Printed to stderr in both cases.
    """

    code: int
    lines: tuple[str, ...]
    facts: Mapping[str, object]
    warning: str = ""

    def show(self, context: Context, /, *, as_json: bool = False) -> int:
        """Print it, and return the exit code.

        The exit code stays the same if the reader of the output has gone: 1 would mean "not paid".
        """
        try:
            if as_json:
                context.show(json.dumps(dict(self.facts)))
            else:
                context.show(*self.lines)
            if self.warning:
                context.say(self.warning)
        except BrokenPipeError:
            context.drop_output()
        return self.code


def advice(result: Result, /, *, settled: bool = True) -> str:
    """Say in words whether and when the customer may be asked for the same money again."""
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


def report_on(
    ask: Callable[[], QueryResult], /, *, checkout_request_id: str, language: Language
) -> Report:
    """Ask Daraja about a push, and report the answer, an error or Ctrl-C."""
    try:
        answer = ask()
    except KeyboardInterrupt:
        return interruption_report(checkout_request_id)
    except MpesaError as error:
        report = error_report(error, status="UNKNOWN", code=UNKNOWN, hint=NOT_AGAIN)
        facts = {**report.facts, "checkout_request_id": checkout_request_id}
        return attrs.evolve(report, facts=facts)
    return _answer_report(answer, language)


def _answer_report(answer: QueryResult, language: Language) -> Report:
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
    return Report(
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


def _meaning_of(answer: QueryResult, *, settled: bool) -> Result:
    """Return the meaning of an answer's code, if the code says the same as the answer's status."""
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


def error_report(error: MpesaError, /, *, status: str, code: int, hint: str) -> Report:
    """Report a step that failed."""
    return Report(
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


def interruption_report(checkout_request_id: str | None, /) -> Report:
    """Report Ctrl-C after the push may have left."""
    return Report(
        code=UNKNOWN,
        lines=("result        not known: interrupted",),
        facts={"status": "UNKNOWN", "checkout_request_id": checkout_request_id},
        warning=NOT_AGAIN,
    )
