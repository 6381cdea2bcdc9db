"""``mpesa-stk codes`` and ``explain``: the meaning of a code, and of Daraja's answer about a push."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping

from mpesa_stk.commands.context import BadArgument, Context
from mpesa_stk.commands.exit_codes import DONE, NOT_DONE
from mpesa_stk.commands.options import Subparsers, add_json, add_language
from mpesa_stk.commands.payment import query_report
from mpesa_stk.commands.report import advice
from mpesa_stk.daraja.results import CATALOGUE, Language, Result, explain

_CODE = re.compile(r"[!-~]{1,40}")


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
        help="explain the state of a push",
        description="Explains in words the state of a push, by Daraja's status query.",
    )
    payment.add_argument("checkout_request_id", metavar="CHECKOUT_REQUEST_ID")
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
    """Explain the state of a push."""
    report = query_report(context, arguments.checkout_request_id, arguments.lang)
    return report.show(context)
