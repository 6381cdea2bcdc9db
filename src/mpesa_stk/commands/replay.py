"""``mpesa-stk replay``: sends stored callbacks to the host's own endpoint again, in their order."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import attrs

from mpesa_stk.clock import Clock, SystemClock
from mpesa_stk.commands import posting
from mpesa_stk.commands.parsers import BAD_ARGUMENTS, NOT_DONE, UNKNOWN, Commands
from mpesa_stk.commands.posting import Answer, Receiver
from mpesa_stk.commands.stored import numbered
from mpesa_stk.daraja.callbacks import parse_callback
from mpesa_stk.daraja.http import MAX_BODY
from mpesa_stk.daraja.models import CallbackResult, PaymentConfirmed
from mpesa_stk.daraja.wire import WireError, read_object
from mpesa_stk.errors import InvalidCallback, InvalidRequest
from mpesa_stk.secrecy import mask_checkout_id

__all__ = ["add_to", "run"]

_SIGNED_WITH = (
    "callback_secret, --account, and `token`, or `transaction_no` and `amount`, of its line"
)


def add_to(commands: Commands, /) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "replay",
        help="send stored callbacks to your own endpoint again",
        description="Sends stored callbacks to your own callback URL, one after the other, and "
        "prints a line for each. No proxy is used and no redirect is followed.",
    )
    command.add_argument(
        "file",
        metavar="FILE",
        help="callbacks, one a line, one after another or in a list, or objects with `body` and "
        "perhaps `token` or `transaction_no`; - for stdin",
    )
    posting.add_options(command)
    command.add_argument(
        "--only", metavar="N", type=_number, help="send what begins on line N alone"
    )
    command.add_argument("--raw", action="store_true", help="send what is no callback too")
    command.set_defaults(command=run)


def _number(text: str) -> int:
    if not text.isdecimal() or not text.isascii() or int(text[:9]) < 1:
        raise argparse.ArgumentTypeError("must be a number of at least 1")
    return int(text[:9])


def run(
    arguments: argparse.Namespace,
    *,
    environ: Mapping[str, str] | None = None,
    clock: Clock | None = None,
    stdin: BinaryIO | None = None,
    stdout: TextIO | None = None,
) -> int:
    """Send what the file holds; returns the exit code."""
    try:
        receiver = posting.receiver(arguments, environ)
    except InvalidRequest as error:
        print(f"mpesa-stk replay: {error}", file=sys.stderr)
        return BAD_ARGUMENTS
    try:
        opened = _opened(arguments.file, stdin)
    except (OSError, ValueError):
        # A file name may hold anything, and an OSError repeats it.
        print("mpesa-stk replay: FILE: cannot be read", file=sys.stderr)
        return BAD_ARGUMENTS
    sender = _Sender(receiver, arguments, clock or SystemClock(), stdout)
    try:
        return _send_all(opened, sender, arguments.only)
    except BrokenPipeError:
        _let_go(stdout or sys.stdout, sys.stderr)
        return NOT_DONE


def _send_all(opened: AbstractContextManager[BinaryIO], sender: _Sender, only: int | None) -> int:
    """Send each line, or one alone, and tell the total; returns the exit code."""
    try:
        with opened as file:
            for number, line in numbered(file):
                if only in (None, number):
                    sender.send(number, line)
    except KeyboardInterrupt:
        print("mpesa-stk replay: stopped: your shop may have taken the last one", file=sys.stderr)
        sender.end()
        return UNKNOWN
    if not sender.seen:
        what = "holds nothing" if only is None else f"has nothing in line {only}"
        print(f"mpesa-stk replay: FILE: {what}", file=sys.stderr)
        return BAD_ARGUMENTS
    return sender.end()


def _opened(name: str, stdin: BinaryIO | None) -> AbstractContextManager[BinaryIO]:
    """The file, to be closed; or stdin, which is left open."""
    if name == "-":
        return nullcontext(stdin or sys.stdin.buffer)
    return Path(name).open("rb")


def _let_go(*streams: TextIO) -> None:
    """Drop what is kept for a reader who left, so that the interpreter's end is quiet too."""
    for stream in streams:
        try:
            stream.flush()
        except BrokenPipeError:
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())


# --- sending ---------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class _Stored:
    """A stored callback, and what is known of the address that it came to."""

    body: bytes = attrs.field(repr=False)
    result: CallbackResult | None
    token: str | None = attrs.field(default=None, repr=False)
    transaction_no: str | None = None
    amount: int | None = None

    def address(self, receiver: Receiver) -> str:
        """Where to.

        Raises:
            InvalidRequest: What is stored beside it cannot work.
        """
        if self.token is not None:
            return receiver.at(self.token)
        if self.transaction_no is None:
            return receiver.url
        amount = self.amount
        if amount is None and isinstance(self.result, PaymentConfirmed):
            amount = int(self.result.amount)
        if amount is None:
            raise InvalidRequest("amount", "is needed to sign a callback that does not tell it")
        return receiver.signed(transaction_no=self.transaction_no, amount=amount)


def _read(line: bytes, *, raw: bool) -> _Stored:
    """A line's callback.

    Raises:
        InvalidRequest: It is too long, or what is stored beside it has another type.
        InvalidCallback: It is none, which `raw` allows.
    """
    if len(line) > MAX_BODY:
        raise InvalidRequest("body", "must be at most 64 KiB")
    body: bytes = line
    beside: dict[str, Any] = {}
    try:
        facts = read_object(line)
    except WireError:
        facts = {}
    if isinstance(facts.get("body"), str) and "Body" not in facts:
        body = facts["body"].encode()
        beside = {name: _beside(facts, name, kind) for name, kind in _BESIDE.items()}
    result = None
    try:
        result = parse_callback(body)
    except InvalidCallback:
        if not raw:
            raise
    return _Stored(body=body, result=result, **beside)


_BESIDE: Mapping[str, type] = {"token": str, "transaction_no": str, "amount": int}


def _beside(facts: Mapping[str, Any], name: str, kind: type) -> object:
    value = facts.get(name)
    if value is not None and type(value) is not kind:
        raise InvalidRequest(name, f"must be {'a string' if kind is str else 'a whole number'}")
    return value


class _Sender:
    """Sends one after the other, tells of each, and counts."""

    def __init__(
        self,
        receiver: Receiver,
        arguments: argparse.Namespace,
        clock: Clock,
        stdout: TextIO | None,
    ) -> None:
        self.seen = 0
        self._receiver = receiver
        self._raw: bool = arguments.raw
        self._timeout: float = arguments.timeout
        self._clock = clock
        self._stdout = stdout
        self._codes: Counter[int | None] = Counter()
        self._complained: set[str] = set()

    def send(self, number: int, line: bytes) -> None:
        """Send a line, if it can be sent."""
        self.seen += 1
        try:
            stored = _read(line, raw=self._raw)
            url = stored.address(self._receiver)
        except (InvalidRequest, InvalidCallback) as error:
            self._codes[None] += 1
            self._show(f"line {number:<5} not sent: {posting.one_line(str(error))}")
            return
        answer = posting.post(url, stored.body, clock=self._clock, timeout=self._timeout)
        self._codes[posting.exit_code([answer])] += 1
        self._show(f"line {number:<5} {_named(stored.result)}  {answer}")
        self._complain(answer)

    def _complain(self, answer: Answer) -> None:
        """Say what is wrong with an answer, once for all that are alike."""
        for text in answer.complaints(signed_with=_SIGNED_WITH):
            if text not in self._complained:
                self._complained.add(text)
                print(f"warning: {text}", file=sys.stderr)

    def end(self) -> int:
        """Tell the total; returns the exit code."""
        taken, refused, unknown = (self._codes[code] for code in (0, NOT_DONE, UNKNOWN))
        kept = self._codes[None]
        self._show(
            f"total      {taken + refused + unknown} sent: {taken} taken, {refused} not taken, "
            f"{unknown} unknown; {kept} not sent"
        )
        if refused or kept:
            return NOT_DONE
        return UNKNOWN if unknown else 0

    def _show(self, text: str) -> None:
        print(text, file=self._stdout, flush=True)


def _named(result: CallbackResult | None) -> str:
    """A callback in a few words; the end of its id, which is the payer's number, stays hidden."""
    if result is None:
        return "raw"
    masked = mask_checkout_id(result.checkout_request_id) or ""
    return f"code {posting.one_line(result.result.code):<10} {posting.one_line(masked)}"
