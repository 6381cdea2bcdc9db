"""``mpesa-stk replay``: stored callbacks to the host's own endpoint again."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopback import Act, Server, answer
from loopback import stay_silent as stays_silent
from mpesa_stk import cli
from mpesa_stk.commands.replay import numbered_objects
from mpesa_stk.daraja.exchange import MAX_BODY
from mpesa_stk.payments.signing import is_genuine
from replays import TAKEN, Replay, run
from support import (
    CALLBACK_SECRET,
    ManualClock,
    callback,
    claim_of,
    make_transaction,
    samples,
)

SIGNING = {"callback_secret": CALLBACK_SECRET, "shortcode": "600000"}
TRANSACTION = make_transaction()
TOKEN_OF_IT = f"{TRANSACTION.transaction_no}.{'a' * 32}"
PAID = callback()
CANCELLED = callback(1032, checkout_request_id="ws_CO_1")
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has other pipes")


def lines(*bodies: bytes) -> bytes:
    """A file with one body a line."""
    return b"".join(body + b"\n" for body in bodies)


def record(body: bytes, **beside: object) -> bytes:
    """A line with a body as text, and what is stored beside it."""
    return json.dumps({"body": body.decode(), **beside}).encode()


# --- what is sent ----------------------------------------------------------------------------------


def test_callbacks_are_sent_in_their_order(replay: Replay) -> None:
    """One a line, byte for byte; a line is told of each, with its id masked, and the total."""
    met = replay(lines(PAID, CANCELLED, PAID))

    assert met.bodies == [PAID, CANCELLED, PAID]
    assert met.targets == ["/cb"] * 3
    assert met.code == 0
    assert met.out == [
        "line 1     code 0          ws_CO_23112026090000123***  200 in 0.00 s",
        "line 2     code 1032       ***  200 in 0.00 s",
        "line 3     code 0          ws_CO_23112026090000123***  200 in 0.00 s",
        "total      3 sent: 3 taken, 0 not taken, 0 unknown; 0 not sent",
    ]
    assert met.err == ""


def test_one_callback_over_many_lines(replay: Replay) -> None:
    """A file that is one JSON callback, however it is laid out, is one callback."""
    pretty = json.dumps(json.loads(PAID), indent=4).encode()

    met = replay(b"\n" + pretty + b"\n")

    assert met.bodies == [pretty]
    assert met.out[0].startswith("line 2     code 0 ")


@pytest.mark.parametrize("sample", samples("callback"), ids=lambda sample: sample["id"])
def test_every_known_callback_can_be_replayed(replay: Replay, sample: dict[str, Any]) -> None:
    """The collected callbacks, those with problems too, arrive as they are stored."""
    body = sample["body"]
    raw = body if isinstance(body, str) else json.dumps(body)

    met = replay(raw.encode(), "--raw")

    assert met.bodies == [raw.strip().encode()]


INDENTED = json.dumps(json.loads(PAID), indent=2).encode()
OTHER = json.dumps(json.loads(CANCELLED), indent="\t").encode()
LONG = len(INDENTED.splitlines())
BOM = b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    ("file", "sent"),
    [
        (PAID + CANCELLED, [(1, PAID), (1, CANCELLED)]),
        (PAID + CANCELLED + b"\n" + PAID + b"\n", [(1, PAID), (1, CANCELLED), (2, PAID)]),
        (b"[" + PAID + b"," + CANCELLED + b"]", [(1, PAID), (1, CANCELLED)]),
        (b"[\n" + PAID + b",\n" + CANCELLED + b"\n]\n", [(2, PAID), (3, CANCELLED)]),
        (b"[\n" + INDENTED + b"\n,\n" + OTHER + b"\n]", [(2, INDENTED), (LONG + 3, OTHER)]),
        (BOM + INDENTED + b"\n" + OTHER + b"\n", [(1, INDENTED), (LONG + 1, OTHER)]),
        (INDENTED + OTHER, [(1, INDENTED), (LONG, OTHER)]),
        (INDENTED.replace(b"\n", b"\r\n"), [(1, INDENTED.replace(b"\n", b"\r\n"))]),
        (BOM + PAID + b"\r\n" + CANCELLED + b"\r\n", [(1, PAID), (2, CANCELLED)]),
        (PAID + b",\n" + CANCELLED + b",\n", [(1, PAID), (2, CANCELLED)]),
        (INDENTED + b" garbage\n" + PAID, [(1, INDENTED), (LONG, b"garbage"), (LONG + 1, PAID)]),
        (PAID + b" garbage\n" + PAID, [(1, PAID + b" garbage"), (2, PAID)]),
        (PAID[:40] + b"\n" + PAID, [(1, PAID[:40]), (2, PAID)]),
        (PAID + PAID[:40] + b"\n" + PAID, [(1, PAID), (1, PAID[:40]), (2, PAID)]),
        (b"[]\n{\n" + PAID, [(1, b"[]"), (2, b"{"), (3, PAID)]),
        (BOM, []),
    ],
)
def test_callbacks_however_they_were_stored(file: bytes, sent: list[tuple[int, bytes]]) -> None:
    """One after another, indented, in a list, after a byte order mark; what is broken is a line."""
    assert list(numbered_objects(io.BytesIO(file))) == sent


def test_a_long_list_on_one_line() -> None:
    """However many there are, with nothing between or in a list: a bounded piece is held."""
    for file in (PAID * 1000, b"[" + b", ".join([PAID] * 1000) + b"]"):
        assert list(numbered_objects(io.BytesIO(file))) == [(1, PAID)] * 1000


def test_what_is_nested_too_deeply_is_a_line() -> None:
    """It is told of like any other line that is no callback."""
    deep = b'{"a":' + b"[" * 60_000
    assert list(numbered_objects(io.BytesIO(deep + b"\n" + PAID))) == [(1, deep), (2, PAID)]


def test_a_callback_that_comes_is_sent_before_the_next_one_does() -> None:
    """From a pipe that stays open, as of ``tail -f``, no more is read than is needed."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as file, os.fdopen(writing, "wb", buffering=0) as shop:
        shop.write(PAID + b"\n")
        found = numbered_objects(file)
        assert next(found) == (1, PAID)
        shop.write(CANCELLED + b"\n")
        assert next(found) == (2, CANCELLED)


def test_blank_lines_are_nothing(replay: Replay) -> None:
    """They are counted as lines, and neither sent nor told of."""
    met = replay(b"\n" + PAID + b"\r\n \n\n" + CANCELLED)

    assert met.bodies == [PAID, CANCELLED]
    assert [line[:7] for line in met.out] == ["line 2 ", "line 5 ", "total  "]


def test_a_file_by_its_name(replay: Replay, tmp_path: Path) -> None:
    """The file may have a name."""
    file = tmp_path / "callbacks.jsonl"
    file.write_bytes(lines(PAID, CANCELLED))
    with Server(TAKEN) as shop:
        arguments = ["replay", str(file), "--to", shop.origin]
        assert cli.main(arguments) == 0
    assert [one.body for one in shop.received] == [PAID, CANCELLED]
    assert replay(PAID).code == 0


def test_stdin_is_the_process_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    """``mpesa-stk trigger paid --print | mpesa-stk replay -`` works."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(PAID)))
    with Server(TAKEN) as shop:
        assert cli.main(["replay", "-", "--to", shop.origin]) == 0
    assert [one.body for one in shop.received] == [PAID]


@pytest.mark.parametrize(("number", "sent"), [("1", [PAID]), ("3", [CANCELLED])])
def test_only_one_line(replay: Replay, number: str, sent: list[bytes]) -> None:
    """``--only`` sends the line of that number and looks at no other."""
    met = replay(lines(PAID, b"garbage", CANCELLED), "--only", number)

    assert (met.code, met.bodies) == (0, sent)
    assert met.out[-1] == "total      1 sent: 1 taken, 0 not taken, 0 unknown; 0 not sent"


# --- tokens ----------------------------------------------------------------------------------------


def test_a_stored_token_is_used_again(replay: Replay) -> None:
    """A line may carry the body as text and the last path segment that it came to."""
    met = replay(lines(record(PAID, token=TOKEN_OF_IT), record(CANCELLED, token=None)))

    assert met.bodies == [PAID, CANCELLED]
    assert met.targets == [f"/cb/{TOKEN_OF_IT}/", "/cb"]


@pytest.mark.parametrize(
    ("body", "beside"), [(PAID, {}), (CANCELLED, {"amount": 100}), (PAID, {"amount": 100})]
)
def test_a_payment_is_signed_for(replay: Replay, body: bytes, beside: dict[str, Any]) -> None:
    """With a payment's number, the token is made anew, over the amount that is known."""
    line = record(body, transaction_no=TRANSACTION.transaction_no, **beside)

    met = replay(line, environ=SIGNING)

    token = met.targets[0].removeprefix("/cb/").removesuffix("/")
    assert met.code == 0
    assert is_genuine(token, (CALLBACK_SECRET,), **claim_of(TRANSACTION))


@pytest.mark.parametrize(
    ("line", "environ", "why"),
    [
        (record(PAID, token=7), {}, "token: must be a string"),
        (record(PAID, token="../x"), {}, "token: must be 1 to 128 letters, digits and - . _ ~"),
        (record(PAID, transaction_no=7), SIGNING, "transaction_no: must be a string"),
        (record(PAID, transaction_no="7"), SIGNING, "transaction_no: must be a UUID in lower case"),
        (
            record(PAID, transaction_no=TRANSACTION.transaction_no),
            {},
            "callback_secret: is not set, so nothing can be signed",
        ),
        (
            record(CANCELLED, transaction_no=TRANSACTION.transaction_no),
            SIGNING,
            "amount: is needed to sign a callback that does not tell it",
        ),
        (
            record(CANCELLED, transaction_no=TRANSACTION.transaction_no, amount=True),
            SIGNING,
            "amount: must be a whole number",
        ),
    ],
)
def test_a_line_that_cannot_be_addressed(
    replay: Replay, line: bytes, environ: dict[str, str], why: str
) -> None:
    """It is told with its number, and not sent; the others are."""
    met = replay(lines(line, PAID), environ=environ)

    assert (met.code, met.bodies) == (1, [PAID])
    assert met.out[0] == f"line 1     not sent: {why}"


# --- what is no callback -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"garbage", "not an STK callback: $: not JSON"),
        (b"[]", "not an STK callback: $: not an object"),
        (b'{"Body": {}}', "not an STK callback: $.Body.stkCallback: missing or not an object"),
        (b'{"body": 7}', "not an STK callback: $.Body: missing or not an object"),
        (record(b"{}"), "not an STK callback: $.Body: missing or not an object"),
        (b"\xff\xfe", "not an STK callback: $: not valid UTF-8 text"),
    ],
)
def test_what_is_no_callback_is_not_sent(replay: Replay, line: bytes, why: str) -> None:
    """It is told with its number; with ``--raw`` it is sent as it is."""
    met = replay(lines(PAID, line, PAID))
    assert (met.code, met.bodies) == (1, [PAID, PAID])
    assert met.out[1] == f"line 2     not sent: {why}"
    assert met.out[3] == "total      2 sent: 2 taken, 0 not taken, 0 unknown; 1 not sent"

    met = replay(lines(PAID, line, PAID), "--raw")
    assert met.code == 0
    assert met.bodies == [PAID, b"{}" if line == record(b"{}") else line, PAID]
    assert met.out[1] == "line 2     raw  200 in 0.00 s"


def test_a_line_that_is_too_long(replay: Replay) -> None:
    """More than 64 KiB are refused, first line or not, with ``--raw`` too; what follows is sent."""
    long = b'{"x": "' + b"y" * MAX_BODY + b'"}'
    longer = b"z" * (5 * MAX_BODY)

    met = replay(lines(long, PAID, longer, longer + longer, CANCELLED), "--raw")

    assert (met.code, met.bodies) == (1, [PAID, CANCELLED])
    refused = "not sent: body: must be at most 64 KiB"
    assert [line for line in met.out if "not sent:" in line] == [
        f"line {number}     {refused}" for number in (1, 3, 4)
    ]


def test_the_longest_line(replay: Replay) -> None:
    """64 KiB exactly are sent."""
    longest = b"z" * MAX_BODY
    met = replay(lines(longest, longest) + longest, "--raw")
    assert met.bodies == [longest] * 3


class _Endless(io.RawIOBase):
    """A file of one endless line, which counts how much is asked for at a time."""

    def __init__(self, length: int) -> None:
        self.left = length
        self.most = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.most = max(self.most, len(buffer))
        count = min(len(buffer), self.left)
        buffer[:count] = b"x" * count
        self.left -= count
        return count


def test_no_file_fills_the_memory() -> None:
    """However long a line is, a bounded piece of it is held."""
    endless = _Endless(20 * MAX_BODY)
    file: BinaryIO = io.BufferedReader(endless)

    (found,) = numbered_objects(file)

    assert found[0] == 1
    assert len(found[1]) == MAX_BODY + 2
    assert endless.left == 0
    assert endless.most <= max(MAX_BODY + 2, io.DEFAULT_BUFFER_SIZE)


@given(st.lists(st.binary(max_size=40), max_size=6), st.sampled_from([b"\n", b"\r\n"]))
def test_each_line_comes_with_its_number(parts: list[bytes], end: bytes) -> None:
    """Whatever the bytes: the lines that are not blank, as they are, with their numbers."""
    file = end.join(parts)
    wanted = [
        (number, line.strip())
        for number, line in enumerate(file.removeprefix(BOM).split(b"\n"), start=1)
        if line.strip()
    ]
    assert list(numbered_objects(io.BytesIO(file))) == wanted


# --- answers ---------------------------------------------------------------------------------------


def test_what_is_not_taken(replay: Replay) -> None:
    """Exit code 1; the total counts it; what is alike is warned of once."""
    met = replay(lines(PAID, PAID, CANCELLED), script=(answer(500), answer(500), TAKEN))

    assert met.code == 1
    assert met.out[0].endswith("  500 in 0.00 s")
    assert met.out[3] == "total      3 sent: 1 taken, 2 not taken, 0 unknown; 0 not sent"
    assert met.err == (
        "warning: 500 is not 2xx: Daraja would count it as lost; your shop fails: look into its log\n"
    )


def test_a_refused_token_is_explained_in_words_of_this_command(replay: Replay) -> None:
    """The hint to a 403 names what signs here, and no option that there is not."""
    met = replay(PAID, script=(answer(403),))

    assert met.code == 1
    assert "or the token (callback_secret, --account, and `token`, or `transaction_no`" in met.err
    assert "--transaction-no" not in met.err
    assert "--amount" not in met.err


@posix
@pytest.mark.parametrize("script", [(TAKEN,), (answer(500), TAKEN)])
def test_a_reader_who_left_ends_it(
    capsys: pytest.CaptureFixture[str], script: tuple[Act, ...]
) -> None:
    """Where stdout is closed nothing more is sent: exit code 1, and nothing is kept to be written."""
    reading, writing = os.pipe()
    os.close(reading)
    with Server(*script) as shop, os.fdopen(writing, "w") as stdout:
        code = run("--to", shop.origin, file=lines(PAID, CANCELLED), stdout=stdout)

    assert (code, len(shop.received)) == (1, 1)
    assert capsys.readouterr().err == ""


@posix
@pytest.mark.parametrize("left", [("stdout",), ("stderr",), ("stdout", "stderr")])
def test_a_process_whose_reader_left_is_quiet(tmp_path: Path, left: tuple[str, ...]) -> None:
    """``mpesa-stk replay ... | head -1`` ends without a traceback, with ``2>&1`` too."""
    file = tmp_path / "callbacks.jsonl"
    file.write_bytes(lines(PAID, CANCELLED))
    environ = {name: text for name, text in os.environ.items() if name != "PYTHONUNBUFFERED"}
    reading, writing = os.pipe()
    os.close(reading)
    try:
        with Server(answer(500)) as shop:
            command = [sys.executable, "-m", "mpesa_stk", "replay", str(file), "--to", shop.origin]
            done = subprocess.run(  # noqa: S603 - this very interpreter
                command,
                env=environ,
                stdout=writing if "stdout" in left else subprocess.PIPE,
                stderr=writing if "stderr" in left else subprocess.PIPE,
                check=False,
                timeout=20,
            )
    finally:
        os.close(writing)

    assert (done.returncode, len(shop.received)) == (1, 1)
    assert not done.stderr


def test_what_is_unknown(replay: Replay) -> None:
    """Silence is exit code 3, and the next one is sent all the same."""
    met = replay(lines(PAID, CANCELLED), "--timeout", "0.2", script=(stays_silent, TAKEN))

    assert met.code == 3
    assert met.out[0].endswith("  no answer within 0.2 s")
    assert met.out[2] == "total      2 sent: 1 taken, 0 not taken, 1 unknown; 0 not sent"


def test_ctrl_c_tells_the_total(capsys: pytest.CaptureFixture[str]) -> None:
    """Stopped while one is on its way: the total of those before, exit code 3."""

    class Stopped(ManualClock):
        def monotonic(self) -> float:
            if len(shop.received) == 2:
                raise KeyboardInterrupt
            return super().monotonic()

    with Server(TAKEN) as shop:
        code = run("--to", shop.origin, file=lines(PAID, PAID, PAID), clock=Stopped())

    told = capsys.readouterr()
    assert (code, len(shop.received)) == (3, 2)
    assert told.out.endswith("total      1 sent: 1 taken, 0 not taken, 0 unknown; 0 not sent\n")
    assert "stopped: your shop may have taken the last one" in told.err


def test_what_a_callback_holds_cannot_hurt_a_terminal(replay: Replay) -> None:
    """A code from outside is shown without what a terminal would obey."""
    met = replay(callback("\x1b[2J", checkout_request_id="ws_CO_712345678"))
    assert met.code == 0
    assert met.out[0].startswith("line 1     code -2J        ws_CO_***  200")


# --- arguments -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "argv", "line"),
    [
        (b"", (), "FILE: holds nothing"),
        (b" \n\n", (), "FILE: holds nothing"),
        (PAID, ("--only", "2"), "FILE: has nothing in line 2"),
        (PAID, ("--to", "shop.example"), "to: must be an http or https URL with a host"),
    ],
)
def test_nothing_to_send_is_one_line(
    replay: Replay, file: bytes, argv: tuple[str, ...], line: str
) -> None:
    """What cannot work is exit code 2."""
    met = replay(file, *argv)
    assert (met.code, met.received, met.out) == (2, [], [])
    assert met.err == f"mpesa-stk replay: {line}\n"


@pytest.mark.parametrize("name", ["missing.json", "", "nul\0byte"])
def test_a_file_that_cannot_be_read(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    """A file that is missing, a folder or no file name at all is one line."""
    assert cli.main(["replay", str(tmp_path / name), "--to", "http://127.0.0.1:1/"]) == 2
    assert capsys.readouterr().err == "mpesa-stk replay: FILE: cannot be read\n"


@pytest.mark.parametrize("number", ["0", "-1", "x", "1.5", "²"])
def test_a_line_number_is_a_number(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Anything but a number from 1 is a usage error."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["replay", "-", "--only", number])

    assert ended.value.code == 2
    assert "usage: mpesa-stk replay" in capsys.readouterr().err
