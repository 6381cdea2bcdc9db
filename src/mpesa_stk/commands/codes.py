"""``mpesa-stk codes`` and ``explain``: what a code means, and what became of a payment."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, TextIO

from mpesa_stk.clock import Clock
from mpesa_stk.commands import payment, story
from mpesa_stk.commands.parsers import BAD_ARGUMENTS, DONE, NOT_DONE, Commands
from mpesa_stk.commands.telling import advice
from mpesa_stk.daraja.http import MAX_BODY, Transport
from mpesa_stk.daraja.results import CATALOGUE, Language, Result, explain

__all__ = ["add_to", "run_codes", "run_explain"]

_CODE = re.compile(r"[!-~]{1,40}")


def add_to(commands: Commands, /) -> None:
    """Add the commands to the parser."""
    codes = commands.add_parser(
        "codes",
        help="list Daraja's result codes, or explain one",
        description="Lists Daraja's result codes, or explains one. Needs no settings.",
    )
    codes.add_argument("code", metavar="CODE", nargs="?", help="for example 1032")
    codes.add_argument("--json", action="store_true", help="JSON on stdout")
    codes.set_defaults(command=run_codes)
    story_of = commands.add_parser(
        "explain",
        help="tell what happened to a payment",
        description="Tells in words what happened to a payment: by Daraja's status query, or from "
        "a transaction's JSON as `mpesa-stk demo` prints it.",
    )
    subject = story_of.add_mutually_exclusive_group(required=True)
    subject.add_argument("checkout_request_id", metavar="CHECKOUT_REQUEST_ID", nargs="?")
    subject.add_argument("--transaction", metavar="FILE", help="a file, or - for stdin")
    story_of.set_defaults(command=run_explain, name="explain", timeout=None, json=False)
    for command in (codes, story_of):
        payment.add_language(command)


def run_codes(arguments: argparse.Namespace, *, stdout: TextIO | None = None) -> int:
    """List the codes or explain one; returns the exit code."""
    language: Language = arguments.lang
    if arguments.code is None:
        rows = [_facts(result, language) for result in CATALOGUE.values()]
        text = json.dumps(rows, indent=2) if arguments.json else _table()
        print(text, file=stdout)
        return DONE
    if not _CODE.fullmatch(arguments.code):
        print("mpesa-stk codes: CODE: must be 1 to 40 visible characters", file=sys.stderr)
        return BAD_ARGUMENTS
    result = explain(arguments.code)
    if arguments.json:
        print(json.dumps(_facts(result, language)), file=stdout)
    else:
        print("\n".join(_lines(result, language)), file=stdout)
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


# --- what happened to a payment --------------------------------------------------------------------------


def run_explain(
    arguments: argparse.Namespace,
    *,
    environ: Mapping[str, str] | None = None,
    clock: Clock | None = None,
    transport: Transport | None = None,
    stdin: BinaryIO | None = None,
    stdout: TextIO | None = None,
) -> int:
    """Tell what happened to a payment; returns the exit code."""
    if arguments.transaction is None:
        return payment.run_ask(
            arguments, environ=environ, clock=clock, transport=transport, stdout=stdout
        )
    try:
        lines = story.of(_read(arguments.transaction, stdin), language=arguments.lang)
    except (OSError, ValueError) as error:
        # A file name may hold anything, and an OSError repeats it.
        why = error if isinstance(error, story.NoTransaction) else "cannot be read"
        print(f"mpesa-stk explain: --transaction: {why}", file=sys.stderr)
        return BAD_ARGUMENTS
    print("\n".join(lines), file=stdout)
    return DONE


def _read(name: str, stdin: BinaryIO | None) -> bytes:
    """The file's bytes; one more than a transaction may have, so that a larger one is noticed."""
    if name == "-":
        return (stdin or sys.stdin.buffer).read(MAX_BODY + 1)
    with Path(name).open("rb") as file:
        return file.read(MAX_BODY + 1)
