"""``mpesa-stk replay``: posts stored callbacks to the shop again, in their order."""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import attrs

from mpesa_stk.commands import posting
from mpesa_stk.commands.context import BadArgument, Context, one_line
from mpesa_stk.commands.exit_codes import DONE, NOT_DONE, UNKNOWN
from mpesa_stk.commands.options import Subparsers, whole_number
from mpesa_stk.commands.posting import Answer, Receiver
from mpesa_stk.daraja.callbacks import parse_callback
from mpesa_stk.daraja.exchange import MAX_BODY
from mpesa_stk.daraja.models import CallbackResult, PaymentConfirmed
from mpesa_stk.daraja.wire import WireError, read_object
from mpesa_stk.errors import InvalidCallback, InvalidRequest
from mpesa_stk.privacy import mask_checkout_id

_LAST_LINE = 999_999_999
_SIGNED_WITH = (
    "callback_secret, --account, and `token`, or `transaction_no` and `amount`, of its line"
)


def add_to(commands: Subparsers, /) -> None:
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
        "--only",
        metavar="N",
        type=whole_number(1, _LAST_LINE),
        help="send what begins on line N alone",
    )
    command.add_argument("--raw", action="store_true", help="send what is no callback too")
    command.set_defaults(command=run)


def run(context: Context, arguments: argparse.Namespace, /) -> int:
    """Post the callbacks of the file."""
    receiver = posting.read_receiver(context, arguments)
    only: int | None = arguments.only
    try:
        opened = _open(context, arguments.file)
    except (OSError, ValueError):
        # A file name may hold anything, and an OSError repeats it.
        raise BadArgument("FILE: cannot be read") from None
    sender = _Sender(context, receiver, arguments)
    try:
        with opened as file:
            for number, line in numbered_objects(file):
                if only in (None, number):
                    sender.send(number, line)
    except KeyboardInterrupt:
        context.complain("stopped: your shop may have taken the last one")
        sender.end()
        return UNKNOWN
    if not sender.seen:
        raise BadArgument(
            "FILE: holds nothing" if only is None else f"FILE: has nothing in line {only}"
        )
    return sender.end()


def _open(context: Context, name: str) -> AbstractContextManager[BinaryIO]:
    """Open the file. Stdin stays open at the end of the block."""
    return nullcontext(context.open_input()) if name == "-" else Path(name).open("rb")


# --- sending ---------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class _Stored:
    """A stored callback, and the parts of its address that are stored beside it."""

    body: bytes = attrs.field(repr=False)
    result: CallbackResult | None
    token: str | None = attrs.field(default=None, repr=False)
    transaction_no: str | None = None
    amount: int | None = None

    def address(self, receiver: Receiver) -> str:
        """Return the address to post to.

        Raises:
            InvalidRequest: A part of the address is missing or cannot work.
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
    """Read the callback of a line.

    Raises:
        InvalidRequest: It is too long, or a part of its address has another type.
        InvalidCallback: It is not a callback, and `raw` is not set.
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
    """Posts callbacks one after the other, prints a line for each, and counts them."""

    def __init__(self, context: Context, receiver: Receiver, arguments: argparse.Namespace) -> None:
        self.seen = 0
        self._context = context
        self._receiver = receiver
        self._raw: bool = arguments.raw
        self._timeout: float = arguments.timeout
        self._codes: Counter[int | None] = Counter()
        self._complaints: set[str] = set()

    def send(self, number: int, line: bytes) -> None:
        """Post a line, if it can be posted."""
        self.seen += 1
        try:
            stored = _read(line, raw=self._raw)
            url = stored.address(self._receiver)
        except (InvalidRequest, InvalidCallback) as error:
            self._codes[None] += 1
            self._context.show(f"line {number:<5} not sent: {one_line(str(error))}")
            return
        answer = posting.post(self._context, url, stored.body, timeout=self._timeout)
        self._codes[posting.exit_code([answer])] += 1
        self._context.show(f"line {number:<5} {_named(stored.result)}  {answer}")
        self._complain(answer)

    def _complain(self, answer: Answer) -> None:
        """Print the complaints about an answer. The same complaint is printed once."""
        for text in answer.complaints(signed_with=_SIGNED_WITH):
            if text not in self._complaints:
                self._complaints.add(text)
                self._context.say(f"warning: {text}")

    def end(self) -> int:
        """Print the total, and return the exit code."""
        taken, refused, unknown = (self._codes[code] for code in (DONE, NOT_DONE, UNKNOWN))
        kept = self._codes[None]
        self._context.show(
            f"total      {taken + refused + unknown} sent: {taken} taken, {refused} not taken, "
            f"{unknown} unknown; {kept} not sent"
        )
        if refused or kept:
            return NOT_DONE
        return UNKNOWN if unknown else DONE


def _named(result: CallbackResult | None) -> str:
    """Name a callback by its code and its id without the end, which is the payer's number."""
    if result is None:
        return "raw"
    masked = mask_checkout_id(result.checkout_request_id) or ""
    return f"code {one_line(result.result.code):<10} {one_line(masked)}"


# --- the file --------------------------------------------------------------------------------------------

# The longest line, its end, and one byte by which a longer one is noticed.
_READ = MAX_BODY + 2
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BEFORE = re.compile(rb"\s*(?:[\[,]\s*)?(?=\{)")
_AFTER = re.compile(rb"\s*[,\]]")
_READER = json.JSONDecoder()


def numbered_objects(file: BinaryIO, /) -> Iterator[tuple[int, bytes]]:
    """Yield each JSON object of a file, and each other line that is not blank, with its line number.

    Shops keep callbacks one a line, indented one after another, appended without a separator, or as one
    JSON array. A line that is no object is yielded so that it can be reported. Of a line that is too
    long, the beginning is yielded. The file may be of any length: a bounded piece of it is read at once.
    """
    window = _Window(file)
    in_array = False
    while line := window.line():
        text = line.strip()
        if not text or _is_object(text) or (in_array and text == b"]"):
            number = window.take(len(line))
            if text and text != b"]":
                yield number, text
            continue
        start, end = _object_in(window.fill())
        if end:
            in_array = in_array or b"[" in window.bytes[:start]
            window.take(start)
            found = window.bytes[: end - start]
            yield window.take(len(found)), found
            after = _AFTER.match(window.bytes)
            window.take(after.end() if after else 0)
        else:
            yield window.take(len(line)), text
            while len(line) == _READ and not line.endswith(b"\n"):
                line = window.line()
                window.take(len(line))


class _Window:
    """The next bytes of a file, and the number of the line on which they begin."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._number = 1
        self.bytes = b""
        self.bytes = self.line().removeprefix(_BYTE_ORDER_MARK)

    def line(self) -> bytes:
        """Return the next line, or as much of it as the window holds. Reads only if it must."""
        if b"\n" not in self.bytes:
            self.bytes += self._file.readline(_READ - len(self.bytes))
        end = self.bytes.find(b"\n") + 1
        return self.bytes[:end] if end else self.bytes

    def fill(self) -> bytes:
        """Return the next bytes, as many as the window holds."""
        self.bytes += self._file.read(_READ - len(self.bytes))
        return self.bytes

    def take(self, count: int) -> int:
        """Drop so many bytes, and return the number of the line on which they began."""
        number = self._number
        self._number += self.bytes.count(b"\n", 0, count)
        self.bytes = self.bytes[count:]
        return number


def _object_in(data: bytes) -> tuple[int, int]:
    """Return the start and the end of the first object, or 0 and 0 if it is broken or text precedes it.

    An object on one line may be followed by another object alone. Otherwise the line is no callback.
    """
    before = _BEFORE.match(data)
    if before is None:
        return 0, 0
    start = before.end()
    try:
        # One character a byte, so that places in the text are places in the bytes.
        _, end = _READER.raw_decode(data.decode("latin-1"), start)
    except (ValueError, RecursionError):
        return 0, 0
    after = _AFTER.match(data, end)
    rest = data[after.end() if after else end :].partition(b"\n")[0].strip()
    if rest and not rest.startswith((b"{", b"]")) and b"\n" not in data[start:end]:
        return 0, 0
    return start, end


def _is_object(text: bytes) -> bool:
    try:
        read_object(text)
    except WireError:
        return False
    return True
