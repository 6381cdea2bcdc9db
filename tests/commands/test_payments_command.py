"""``mpesa-stk payments``: the desk, as a person or a script at a terminal meets it."""

from __future__ import annotations

import csv
import io
import json
import re
import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

from desk_scene import (
    DECLINED,
    DOUBTED,
    NOW,
    OLD,
    PAID,
    PAYMENTS,
    SHOES,
    SILENT,
    keep,
    shop_at,
    store_at,
)
from mpesa_stk import Transaction, TransactionState, cli
from mpesa_stk.commands.context import Context
from mpesa_stk.commands.payments_export import harmless
from mpesa_stk.payments.search import PaymentSearch
from support import ManualClock, make_transaction
from terminals import Terminal, TypedInput, without_rich

STEERING = "=1+1\x1b[2J\r\n\u202e"
PHONES = [payment.phone_number.removeprefix("+254") for payment in PAYMENTS]


def run(*argv: str, url: str, **given: Any) -> int:
    """Run an action of the desk in that shop, at noon."""
    facts: dict[str, Any] = {
        "environ": {"mpesa_database": url, "USER": "wanjiku"},
        "clock": ManualClock(start=NOW),
    }
    return cli.main(["payments", *argv], context=Context(**(facts | given)))


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The database of the shop."""
    return shop_at(f"sqlite:///{tmp_path / 'payments.db'}")


def told(capsys: pytest.CaptureFixture[str]) -> Any:
    """The one JSON document on stdout."""
    return json.loads(capsys.readouterr().out)


def numbers(document: dict[str, Any]) -> list[str]:
    """The payments of a document."""
    return [payment["transaction_no"] for payment in document["payments"]]


def stored(url: str, number: str) -> Transaction:
    """A payment as the shop has it now."""
    with store_at(url) as store:
        found = store.get(number)
    assert found is not None
    return found


def plain(output: io.StringIO) -> str:
    """What somebody reads: without the colours and the weight of letters."""
    return re.sub(r"\x1b\[[0-9;]*m", "", output.getvalue())


# --- list ------------------------------------------------------------------------------------------------


def test_the_newest_payment_comes_first(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each payment, in East Africa Time, with its number whole and its payer masked."""
    assert run("list", url=url) == 0

    out, err = capsys.readouterr()
    head, first, *_, last = out.splitlines()
    assert head.split() == [
        *("asked", "amount", "phone", "state", "receipt", "reference", "order", "transaction"),
    ]
    assert first.split()[:5] == ["2026-11-26", "11:59", "3,200", "+254718***064", "PENDING"]
    assert first.endswith(SHOES.transaction_no)
    assert last.endswith(OLD.transaction_no)
    assert err == ""


@pytest.mark.parametrize(
    ("argv", "wanted"),
    [
        (["--state", "expired"], [SILENT]),
        (["--reference", "Viatu \U0001f45f"], [SHOES]),
        (["--order", "order-77"], [SILENT]),
        (["--phone", "0722 000 111"], [DECLINED]),
        (["--phone", "254718643064"], [SHOES, PAID]),
        (["--since", "2026-11-25"], [SHOES, DOUBTED]),
        (["--until", "2026-11-23", "--since", "2026-11-23"], [DECLINED, PAID]),
        (["--account", "paybill 600000", "--state", "PENDING"], [SHOES]),
        (["--account", "600000", "--state", "PENDING"], [SHOES]),
        (["--account", "600001"], []),
    ],
)
def test_a_list_is_filtered(
    url: str, capsys: pytest.CaptureFixture[str], argv: list[str], wanted: list[Transaction]
) -> None:
    """All given filters must match, and a list of nothing is no error."""
    assert run("list", *argv, "--json", url=url) == 0
    assert numbers(told(capsys)) == [payment.transaction_no for payment in wanted]

    assert run("list", *argv, url=url) == 0
    assert (capsys.readouterr().err == "No payment matches.\n") == (not wanted)


def test_a_day_is_a_day_in_nairobi(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """From midnight to midnight, East Africa Time: 21:00 UTC belongs to the next day."""
    midnight = NOW.replace(hour=21)
    around = {
        str(n): make_transaction(transaction_no=str(n), created=midnight + n * timedelta(seconds=1))
        for n in (-1, 0)
    }
    keep(url, *around.values())
    assert run("list", "--json", "--since", "2026-11-27", "--until", "2026-11-27", url=url) == 0
    assert numbers(told(capsys)) == ["0"]
    assert run("list", "--json", "--since", "2026-11-26", "--until", "2026-11-26", url=url) == 0
    assert numbers(told(capsys)) == ["-1", SHOES.transaction_no]


def test_a_long_list_comes_in_pages(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A list says how to go on, --after goes on there, and --all does so by itself."""
    keep(url, *(make_transaction(transaction_no=f"many-{n}") for n in range(1_010)))
    everything = [f"many-{n}" for n in range(1_010)] + [one.transaction_no for one in PAYMENTS]

    assert run("list", "--limit", "1000", url=url) == 0
    err = capsys.readouterr().err
    assert err.startswith("There are more: --all, or --after ")

    assert run("list", "--json", "--limit", "1000", url=url) == 0
    first = told(capsys)
    assert run("list", "--json", "--after", first["next"], url=url) == 0
    second = told(capsys)
    assert second["next"] is None
    assert sorted(numbers(first) + numbers(second)) == sorted(everything)

    assert run("list", "--json", "--all", url=url) == 0
    assert numbers(told(capsys)) == numbers(first) + numbers(second)


def test_a_cursor_that_is_none(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is refused in words."""
    assert run("list", "--after", "x", url=url) == 2
    assert "cursor: must be the next_cursor of a page" in capsys.readouterr().err


def test_a_document_has_stable_fields(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Programs read these names; times have the offset of East Africa Time, and the payer is masked."""
    assert run("list", "--json", "--reference", "INV-201", url=url) == 0
    assert told(capsys) == {
        "payments": [
            {
                "transaction_no": PAID.transaction_no,
                "state": "SUCCEEDED",
                "paid": True,
                "amount": 1_500,
                "phone_number": "+254718***064",
                "receipt_number": "NLJ7RT61SV",
                "reference": "INV-201",
                "order": None,
                "description": "",
                "account": "paybill 600000",
                "created": "2026-11-23T09:00:00+03:00",
                "updated": "2026-11-23T09:00:30+03:00",
                "paid_at": "2026-11-23T09:00:18+03:00",
                "checkout_request_id": "ws_CO_23112026090000123***",
                "merchant_request_id": "29115-34620561-1",
                "result_code": "0",
                "result_desc": None,
                "settled_by": "callback",
                "needs_review": None,
                "reported": True,
            }
        ],
        "next": None,
    }


# --- find ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "by", "wanted"),
    [
        ("0722000111", "phone", [DECLINED]),
        ("+254 722 000 111", "phone", [DECLINED]),
        ("254718643064", "phone", [SHOES, PAID]),
        ("nlj7rt61sv", "receipt", [PAID]),
        ("Ada ya Shule", "reference", [DECLINED]),
        (" order-77 ", "order", [SILENT]),
        (DOUBTED.transaction_no, "transaction number", [DOUBTED]),
        (str(PAID.checkout_request_id), "CheckoutRequestID", [PAID]),
    ],
)
def test_a_payment_is_found_by_whatever_is_known(
    url: str, capsys: pytest.CaptureFixture[str], value: str, by: str, wanted: list[Transaction]
) -> None:
    """One argument, and the answer says by what it was found."""
    assert run("find", value, "--json", url=url) == 0
    document = told(capsys)
    assert numbers(document) == [payment.transaction_no for payment in wanted]
    assert {payment["found_by"] for payment in document["payments"]} == {by}

    assert run("find", value, url=url) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith(by)


def test_a_value_may_be_several_things(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A phone number that somebody took for his reference is found as both."""
    keep(url, make_transaction(reference="0722000111"))
    assert run("find", "0722000111", "--json", url=url) == 0
    document = told(capsys)
    assert [one["found_by"] for one in document["payments"]] == ["phone", "reference"]
    assert document["payments"][1]["reference"] == "0722***111"


def test_nothing_is_found(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, one line that does not repeat the value, and an empty document for programs."""
    assert run("find", "0799999999", url=url) == 1
    out, err = capsys.readouterr()
    assert (out, "0799999999" in err, len(err.splitlines())) == ("", False, 1)
    assert run("find", "x" * 200, "--json", url=url) == 1
    assert told(capsys) == {"payments": []}


@pytest.mark.parametrize("value", ["", " ", "x" * 201])
def test_a_value_that_cannot_be_one(
    url: str, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    """It is refused before the database is asked."""
    assert run("find", value, url=url) == 2
    assert capsys.readouterr().err == "mpesa-stk payments: VALUE: must be 1 to 200 characters\n"


# --- reviews ---------------------------------------------------------------------------------------------


def test_reviews_say_why_and_what_to_do(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each payment with the numbers of its reasons, each reason once in plain words, exit code 1."""
    assert run("reviews", url=url) == 1

    out = capsys.readouterr().out
    head, doubted, silent, blank, *reasons = out.splitlines()
    assert head.startswith("why   asked")
    assert (doubted.split()[0:2], silent.split()[0]) == (["1,", "2"], "3")
    assert blank == ""
    assert [line for line in reasons if line[:1].isdigit()] == [
        "1  The callback said that it failed, and Daraja's query says that it is paid.",
        "2  A callback names another amount than was asked for, so it was not taken as this payment.",
        "3  Daraja said until the end only that it is being processed, or could not be asked.",
    ]
    assert out.count("What to do: ") == 3


def test_reviews_for_programs(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The stored reason, the words and the step, and the same exit code."""
    assert run("reviews", "--json", url=url) == 1
    document = told(capsys)
    assert numbers(document) == [DOUBTED.transaction_no, SILENT.transaction_no]
    (review,) = document["payments"][1]["reviews"]
    assert review["reason"] == "Daraja never said how it ended"
    assert review["why"]
    assert review["what_to_do"]


@pytest.mark.parametrize(
    ("options", "stdout", "out", "err"),
    [
        ([], io.StringIO, "", ""),
        ([], Terminal, "", "Nothing needs a person.\n"),
        (["--json"], Terminal, '{"payments": []}\n', ""),
    ],
)
def test_no_reviews(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    stdout: Any,
    out: str,
    err: str,
) -> None:
    """Exit code 0 and no line, so that cron sends mail only if a person is needed."""
    url = f"sqlite:///{tmp_path / 'empty.db'}"
    with store_at(url) as store:
        store.create_tables()
    output = stdout()
    assert run("reviews", *options, url=url, stdout=output) == 0
    assert (output.getvalue(), capsys.readouterr().err) == (out, err)


# --- resolve ---------------------------------------------------------------------------------------------


def resolve(url: str, number: str, *options: str, **given: Any) -> int:
    """Write a decision with a reason."""
    return run("resolve", number, "--note", "seen in the statement", *options, url=url, **given)


def test_a_person_finds_the_money(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Before and after are shown; the history says who decided and why, and show tells it."""
    options = ["--paid", "--receipt", "nlk2ab34cd", "--yes"]
    assert resolve(url, SILENT.transaction_no, *options) == 0

    assert capsys.readouterr().out.splitlines() == [
        f"payment   {SILENT.transaction_no}: 250 shillings from +254712***678 for INV-202",
        "before    EXPIRED, no receipt, needs review: Daraja never said how it ended",
        "decision  paid, receipt nlk2ab34cd, by wanjiku: seen in the statement",
        "after     SUCCEEDED, receipt NLK2AB34CD, no review",
    ]
    after = stored(url, SILENT.transaction_no)
    assert (after.state, after.receipt_number) == (TransactionState.SUCCEEDED, "NLK2AB34CD")
    assert (after.history[-1].by, after.history[-1].note) == ("wanjiku", "seen in the statement")
    assert not after.reported

    assert run("show", SILENT.transaction_no, url=url) == 0
    lines = capsys.readouterr().out.splitlines()
    place = lines.index("2026-11-26 12:00:00 EAT  a person found that it was paid -> SUCCEEDED")
    assert lines[place + 1].strip() == "by wanjiku: seen in the statement"


def test_a_person_does_not_find_the_money(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--not-paid, by a name that is given."""
    options = ["--not-paid", "--by", "Amina", "--yes"]
    assert resolve(url, SILENT.transaction_no, *options) == 0
    assert capsys.readouterr().out.splitlines()[2:] == [
        "decision  not paid, by Amina: seen in the statement",
        "after     FAILED, no receipt, no review",
    ]


def test_a_review_is_closed_with_a_note(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Without an outcome the payment stays what it is."""
    assert resolve(url, DOUBTED.transaction_no, "--yes") == 0
    assert "decision  review closed, by wanjiku" in capsys.readouterr().out
    after = stored(url, DOUBTED.transaction_no)
    assert (after.state, after.needs_review) == (TransactionState.FAILED, None)


@pytest.mark.parametrize(("typed", "code"), [(b"y\n", 0), (b"Ndio\n", 0), (b"\n", 1), (b"", 1)])
def test_a_person_at_a_terminal_is_asked(
    url: str, capsys: pytest.CaptureFixture[str], typed: bytes, code: int
) -> None:
    """Only a yes changes anything, and the question comes after what is now."""
    assert resolve(url, DOUBTED.transaction_no, stdin=TypedInput(typed)) == code
    out, err = capsys.readouterr()
    assert "before    FAILED" in out
    assert err.startswith("Write this decision? [y/N] ")
    assert ("\nafter " in out) == (code == 0)
    assert (stored(url, DOUBTED.transaction_no) == DOUBTED) == (code == 1)


def test_where_nobody_can_be_asked(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A script must say --yes: exit code 2, and nothing is changed."""
    assert resolve(url, DOUBTED.transaction_no, stdin=io.BytesIO(b"y\n")) == 2
    assert "--yes: is needed" in capsys.readouterr().err
    assert stored(url, DOUBTED.transaction_no) == DOUBTED


@pytest.mark.parametrize(
    ("number", "options", "line"),
    [
        (
            PAID.transaction_no,
            ["--not-paid"],
            "outcome: the payment is paid, and a paid payment is never called unpaid",
        ),
        (SHOES.transaction_no, ["--not-paid"], "outcome: the customer may still pay"),
        (
            DOUBTED.transaction_no,
            ["--receipt", "NLK2AB34CD"],
            "receipt_number: only a paid payment",
        ),
        (DOUBTED.transaction_no, ["--paid", "--receipt", "?"], "receipt_number: must be 5 to 32"),
        (
            DOUBTED.transaction_no,
            ["--paid", "--receipt", "NLJ7RT61SV"],
            "--receipt: another payment has it: see `find`",
        ),
        (DOUBTED.transaction_no, ["--not-paid", "--receipt", "x"], "--receipt: is for a payment"),
        (DOUBTED.transaction_no, ["--by", "a\nb"], "by: must be one line"),
    ],
)
def test_a_decision_that_breaks_a_rule(
    url: str, capsys: pytest.CaptureFixture[str], number: str, options: list[str], line: str
) -> None:
    """Exit code 2, the rule in words, and the payment as it was."""
    before = stored(url, number)
    assert resolve(url, number, *options, "--yes") == 2
    assert line in capsys.readouterr().err
    assert stored(url, number) == before


def test_a_decision_about_nothing(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A number that is none ends with 1."""
    assert resolve(url, "no-such-number", "--yes") == 1
    assert "TRANSACTION_NO: is not in this database" in capsys.readouterr().err


def test_the_person_behind_sudo(url: str) -> None:
    """Not root decides, but the person who called sudo."""
    environ = {"mpesa_database": url, "USER": "root", "SUDO_USER": "amina"}
    assert resolve(url, DOUBTED.transaction_no, "--yes", environ=environ) == 0
    assert stored(url, DOUBTED.transaction_no).history[-1].by == "amina"


def test_where_no_variable_names_a_person(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's list of users does; a container may have none, and then --by is needed."""
    monkeypatch.setattr("getpass.getuser", lambda: "shop")
    environ = {"mpesa_database": url}
    assert resolve(url, DOUBTED.transaction_no, "--yes", environ=environ) == 0
    assert "by shop" in capsys.readouterr().out

    def nobody() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert resolve(url, DOUBTED.transaction_no, "--yes", environ=environ) == 2
    assert "--by: is needed, because the system has no login name" in capsys.readouterr().err


# --- export ----------------------------------------------------------------------------------------------


def exported(text: str) -> list[dict[str, str]]:
    """The rows of a file, as a spreadsheet reads them."""
    return list(csv.DictReader(io.StringIO(text, newline="")))


ALL_DAYS = ["--since", "2022-01-01", "--until", "2026-11-30"]


def test_an_accountant_gets_a_file(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nairobi times, amounts as numbers, masked phones; only its owner can read the file."""
    assert run("export", *ALL_DAYS, "--csv", "books.csv", url=url, folder=tmp_path) == 0

    assert capsys.readouterr() == ("", "6 payments\n")
    path = tmp_path / "books.csv"
    rows = exported(path.read_bytes().decode("utf-8"))
    assert len(rows) == 6
    assert rows[4] == {
        "asked_at": "2026-11-23 09:00:00",
        "paid_at": "2026-11-23 09:00:18",
        "amount": "1500",
        "receipt": "NLJ7RT61SV",
        "phone": "254718***064",
        "reference": "INV-201",
        "order": "",
        "state": "SUCCEEDED",
        "account": "paybill 600000",
        "transaction_no": PAID.transaction_no,
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.glob("books*")] == ["books.csv"]


def test_phones_come_with_unmask(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the plus, with which a spreadsheet would compute."""
    assert run("export", *ALL_DAYS, "--unmask", url=url) == 0
    assert exported(capsys.readouterr().out)[4]["phone"] == "254718643064"


def test_rows_at_a_terminal_are_not_drawn_over(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No spinner is drawn between the rows."""
    stdout = Terminal()
    environ = {"mpesa_database": url, "TERM": "xterm"}
    assert run("export", *ALL_DAYS, url=url, stdout=stdout, environ=environ) == 0
    assert len(exported(stdout.getvalue())) == 6
    assert capsys.readouterr().err == "6 payments\n"


def test_days_bound_an_export(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Both days are included."""
    assert run("export", "--since", "2026-11-24", "--until", "2026-11-25", url=url) == 0
    rows = exported(capsys.readouterr().out)
    assert [row["reference"] for row in rows] == ["INV-203", "INV-202"]


def test_a_file_for_excel(url: str, tmp_path: Path) -> None:
    """With --bom Excel reads it as UTF-8; without, no program finds three odd bytes."""
    for options, first in ([], b'"asked'), (["--bom"], b'\xef\xbb\xbf"'):
        assert run("export", *ALL_DAYS, "--csv", "b.csv", *options, url=url, folder=tmp_path) == 0
        assert (tmp_path / "b.csv").read_bytes().startswith(first)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "  =", "\t=", "\r=", "\uff1d"])
def test_no_cell_becomes_a_formula(
    url: str, capsys: pytest.CaptureFixture[str], start: str
) -> None:
    """A reference comes from outside; in the accountant's spreadsheet it stays a text."""
    text = f"{start}cmd|' /C calc'!A0"
    keep(url, make_transaction(reference=text, order=text, account=text))
    assert run("export", *ALL_DAYS, url=url) == 0
    row = next(row for row in exported(capsys.readouterr().out) if "calc" in row["reference"])
    for field in ("reference", "order", "account"):
        assert row[field] == "'" + text.replace("\t", " ").replace("\r", " ")


def test_a_harmless_text_stays_as_it_is() -> None:
    """Only the beginning of a cell counts."""
    assert harmless("INV-1 = a+b@c") == "INV-1 = a+b@c"


def test_a_file_that_cannot_be_written(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and no half of a file is left."""
    assert run("export", *ALL_DAYS, "--csv", "no/such.csv", url=url, folder=tmp_path) == 2
    assert "--csv: cannot be written (FileNotFoundError)" in capsys.readouterr().err


def test_an_export_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    """A file has its name only when it is complete."""
    (tmp_path / "books.csv").write_text("last month", encoding="utf-8")
    broken = f"sqlite:///{tmp_path / 'broken.db'}"
    assert run("export", *ALL_DAYS, "--csv", "books.csv", url=broken, folder=tmp_path) == 1
    assert (tmp_path / "books.csv").read_text(encoding="utf-8") == "last month"
    assert list(tmp_path.glob("*.part")) == []


# --- forget ----------------------------------------------------------------------------------------------


def test_old_payers_are_forgotten(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Phone and CheckoutRequestID go; amount, receipt and reference stay; others are left alone."""
    assert run("forget", "--older-than", "3y", "--dry-run", url=url) == 0
    assert capsys.readouterr().out == (
        "1 payment from before 2023-11-26 12:00:00 EAT would be forgotten\n"
    )
    assert stored(url, OLD.transaction_no) == OLD

    assert run("forget", "--older-than", "3y", "--yes", url=url) == 0
    assert capsys.readouterr().out == "1 payment forgotten\n"
    after = stored(url, OLD.transaction_no)
    assert "700000001" not in str(attrs.asdict(after))
    kept = ("amount", "receipt_number", "reference", "state", "created")
    assert [getattr(after, name) for name in kept] == [getattr(OLD, name) for name in kept]
    assert stored(url, PAID.transaction_no) == PAID

    assert run("list", "--until", "2023-01-01", url=url) == 0
    assert "forgotten" in capsys.readouterr().out
    assert run("forget", "--older-than", "3y", "--dry-run", url=url) == 0
    assert capsys.readouterr().out.startswith("0 payments")


def test_many_old_payers_are_forgotten(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """However many: page by page."""
    many = [attrs.evolve(OLD, transaction_no=f"old-{n}", receipt_number=None) for n in range(450)]
    keep(url, *(attrs.evolve(one, checkout_request_id=None) for one in many))
    assert run("forget", "--older-than", "36m", "--yes", url=url) == 0
    assert capsys.readouterr().out == "451 payments forgotten\n"


def test_unfinished_payments_are_counted(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A payment that needs a person keeps its payer until somebody looked."""
    clock = ManualClock(start=NOW + timedelta(days=30))
    assert run("forget", "--older-than", "20d", "--dry-run", url=url, clock=clock) == 0
    assert capsys.readouterr().out.splitlines() == [
        "3 payments from before 2026-12-06 12:00:00 EAT would be forgotten",
        "3 payments would stay: open, not reported, or to be reviewed",
    ]


def test_forgetting_is_asked_for(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A no leaves everything."""
    assert run("forget", "--older-than", "3y", url=url, stdin=TypedInput(b"n\n")) == 1
    err = capsys.readouterr().err
    assert "This cannot be undone.\nForget who paid? [y/N] " in err
    assert stored(url, OLD.transaction_no) == OLD


@pytest.mark.parametrize("age", ["9999y", "1d"])
def test_an_age_that_cannot_be(url: str, capsys: pytest.CaptureFixture[str], age: str) -> None:
    """Beyond the calendar, and payments that may still be open, are refused."""
    assert run("forget", "--older-than", age, "--yes", url=url) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("mpesa-stk payments: ")


# --- for all actions -------------------------------------------------------------------------------------


LOOKS = [
    ["list"],
    ["list", "--all", "--json"],
    ["find", "0718643064"],
    ["find", "0718643064", "--json"],
    ["show", PAID.transaction_no],
    ["show", PAID.transaction_no, "--json"],
    ["show", DOUBTED.transaction_no],
    ["reviews"],
    ["reviews", "--json"],
    ["export", *ALL_DAYS],
]


@pytest.mark.parametrize("argv", LOOKS, ids=" ".join)
@pytest.mark.parametrize("terminal", [True, False])
def test_phones_are_masked(url: str, argv: list[str], terminal: bool) -> None:  # noqa: FBT001 - a case
    """No payer is seen unless --unmask asks for it, also not at the end of a CheckoutRequestID."""
    for options, seen in ([], False), (["--unmask"], True):
        stdout = Terminal() if terminal else io.StringIO()
        environ = {"mpesa_database": url, "TERM": "xterm", "COLUMNS": "300"}
        run(*argv, *options, url=url, stdout=stdout, environ=environ)
        assert any(phone in plain(stdout) for phone in PHONES) == seen


@pytest.mark.parametrize("argv", LOOKS, ids=" ".join)
@pytest.mark.parametrize("stdout", [Terminal, io.StringIO])
def test_no_stored_text_steers_the_terminal(url: str, argv: list[str], stdout: Any) -> None:
    """Whatever a customer or Daraja wrote, no escape, no control character and no line break."""
    hostile = make_transaction(
        transaction_no="hostile",
        reference=STEERING,
        order=STEERING,
        description=STEERING,
        account=STEERING,
        result_desc=STEERING,
        response_description=STEERING,
        needs_review=STEERING,
        state=TransactionState.REJECTED,
        history=(
            attrs.evolve(
                PAID.history[0], event=STEERING, code=STEERING, by=STEERING, note=STEERING
            ),
        ),
    )
    keep(url, hostile)
    output = stdout()
    hostile_argv = [argv[0], "hostile", *argv[2:]] if argv[0] in ("show", "find") else argv
    environ = {"mpesa_database": url, "TERM": "xterm", "COLUMNS": "300"}
    run(*hostile_argv, url=url, stdout=output, environ=environ)
    printed = plain(output)
    assert "1+1" in printed
    assert all(line.isprintable() for line in printed.replace("\r\n", "\n").split("\n"))


def test_without_rich_the_same_is_found(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a terminal without rich the lines are those of a pipe."""
    run("reviews", url=url)
    piped = capsys.readouterr().out
    without_rich(monkeypatch)
    stdout = Terminal()
    assert run("reviews", url=url, stdout=stdout) == 1
    assert stdout.getvalue() == piped


def test_a_terminal_with_rich(url: str) -> None:
    """The same payments in a drawn table."""
    stdout = Terminal()
    environ = {"mpesa_database": url, "TERM": "xterm", "COLUMNS": "160"}
    assert run("list", url=url, stdout=stdout, environ=environ) == 0
    printed = plain(stdout)
    assert "\u2500" in printed
    assert all(payment.transaction_no in printed for payment in PAYMENTS)


def test_the_desk_of_a_server(postgres_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The same on PostgreSQL: list, find, resolve, forget."""
    url = shop_at(postgres_url)
    assert run("list", "--json", url=url) == 0
    assert numbers(told(capsys)) == [one.transaction_no for one in reversed(PAYMENTS)]
    assert run("find", "0722000111", "--json", url=url) == 0
    assert numbers(told(capsys)) == [DECLINED.transaction_no]
    assert resolve(url, SILENT.transaction_no, "--not-paid", "--yes") == 0
    assert run("forget", "--older-than", "3y", "--yes", url=url) == 0
    assert capsys.readouterr().out.endswith("1 payment forgotten\n")
    with store_at(url) as store:
        page = store.search(PaymentSearch(needs_review=True), cursor=None, limit=10)
    assert [one.transaction_no for one in page.payments] == [DOUBTED.transaction_no]


@pytest.mark.parametrize(
    "argv",
    [
        ["list", "--since", "23.11.2026"],
        ["list", "--since", "2026-02-30"],
        ["list", "--limit", "0"],
        ["list", "--state", "LOST"],
        ["export", "--since", "2026-11-01"],
        ["forget", "--older-than", "3w"],
        ["resolve", "x", "--note", "y", "--paid", "--not-paid"],
        ["resolve", "x"],
        [],
    ],
)
def test_arguments_that_cannot_work(url: str, argv: list[str]) -> None:
    """Argparse says what is wrong, and ends with 2."""
    with pytest.raises(SystemExit) as ended:
        run(*argv, url=url)
    assert ended.value.code == 2


def test_a_phone_that_is_none(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, without the number."""
    assert run("list", "--phone", "07", url=url) == 2
    assert "phone_number: is too short" in capsys.readouterr().err
