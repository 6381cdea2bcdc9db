"""``mpesa-stk reconcile``: the books beside Safaricom's records, as a shopkeeper or a script meets them."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from closing_scene import (
    ASKED,
    CLAIMED,
    CLOSING,
    LOST,
    OTHER,
    PAYMENTS,
    QUIET,
    TWINS,
    payment,
    shop_at,
    statement,
    write_statement,
)
from desk_scene import store_at
from mpesa_stk import PayBill, StkConfig, Transaction, TransactionState, cli
from mpesa_stk.commands.context import Context
from mpesa_stk.commands.findings import Books
from mpesa_stk.commands.findings_screen import show_books
from mpesa_stk.commands.payment_facts import View
from mpesa_stk.testing import SimulatedDaraja, phones, simulated_config
from support import ManualClock
from terminals import Terminal

NUMBERS = re.compile(r"722000\d{3}|733000111")


def run(*argv: str, url: str, folder: Path, **given: Any) -> int:
    """Run the command in the folder of a shop, the morning after."""
    facts: dict[str, Any] = {
        "environ": {"mpesa_database": url},
        "clock": ManualClock(start=CLOSING),
        "folder": folder,
    }
    return cli.main(["reconcile", *argv], context=Context(**(facts | given)))


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The database of a shop after a day without callbacks."""
    write_statement(tmp_path)
    return shop_at(f"sqlite:///{tmp_path / 'payments.db'}", *PAYMENTS)


def stored(url: str, payment: Transaction) -> Transaction:
    """A payment as the shop has it now."""
    with store_at(url) as store:
        found = store.get(payment.transaction_no)
    assert found is not None
    return found


def test_a_dry_run_says_what_is_missing(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each kind of finding in plain words, with its sum; nothing is changed, and the exit code is 1."""
    assert run("--statement", "september-25.csv", url=url, folder=tmp_path) == 1
    out, err = capsys.readouterr()
    first, head, *lines = out.splitlines()
    assert first == ("600000, by the statement: 2026-09-25 00:00:00 EAT to 2026-09-26 00:00:00 EAT")
    assert head.split() == ["payments", "shillings", "what"]
    assert [line.split(maxsplit=2) for line in lines[:7]] == [
        ["2", "2,200", "paid, in the books and in Safaricom's record"],
        ["1", "2,400", "paid by Safaricom's record, and not yet in the books"],
        ["1", "350", "paid, and the receipt is not yet in the books"],
        ["1", "90", "the amount is another one in Safaricom's record"],
        ["1", "500", "money that fits, but nothing proves to whom it belongs"],
        ["1", "1,000", "money that nobody was asked for"],
        ["1", "4,000", "called paid in the books, but not in Safaricom's record"],
    ]
    assert "Nothing was changed. --apply writes 2 payments into the books." in out
    assert all(one.transaction_no in out for one in TWINS)
    assert not NUMBERS.search(out + err)
    assert [stored(url, one) for one in PAYMENTS] == list(PAYMENTS)


def test_apply_writes_what_is_proven(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And no more than that; a second run finds nothing new, and what a person must do stays."""
    for _ in range(2):
        assert run("--statement", "september-25.csv", "--apply", url=url, folder=tmp_path) == 1
    out = capsys.readouterr().out
    assert "paid by Safaricom's record, and now in the books" in out
    assert "Nothing was changed" not in out
    after = stored(url, LOST)
    assert (after.state, after.receipt_number) == (TransactionState.SUCCEEDED, "UIP1AA13AC")
    assert not after.reported
    assert stored(url, ASKED).receipt_number == "UIP1AA14AD"
    assert stored(url, OTHER).needs_review
    for twin in TWINS:
        assert stored(url, twin).state is TransactionState.EXPIRED
        assert stored(url, twin).needs_review
    assert stored(url, CLAIMED).paid


def test_books_that_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0, and the words that a shopkeeper waits for."""
    write_statement(tmp_path, quiet=True)
    url = shop_at(f"sqlite:///{tmp_path / 'payments.db'}", *QUIET)
    assert run("--statement", "september-25.csv", url=url, folder=tmp_path) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "Nothing is missing: the books and Safaricom agree."
    assert "2      2,200  paid, in the books and in Safaricom's record" in out
    assert err == ""


def test_a_statement_that_is_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 3: what it has is in the books, and nobody can say that nothing is missing."""
    (tmp_path / "cut.csv").write_text(statement(quiet=True)[:-30], encoding="utf-8")
    url = shop_at(f"sqlite:///{tmp_path / 'payments.db'}", QUIET[0])
    assert run("--statement", "cut.csv", url=url, folder=tmp_path) == 3
    out = capsys.readouterr().out
    assert "600000, by the statement: no period is covered" in out
    assert "Mind: " in out
    assert "Nobody can say whether something is missing" in out


def test_programs_get_every_line(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As JSON, and as CSV for a spreadsheet; payers masked."""
    assert run("--statement", "september-25.csv", "--json", url=url, folder=tmp_path) == 1
    text = capsys.readouterr().out
    (record,) = json.loads(text)["records"]
    assert record["covered"] == [
        {"from": "2026-09-25T00:00:00+03:00", "until": "2026-09-26T00:00:00+03:00"}
    ]
    assert (record["agree"], record["applied"], record["source"]) == (False, False, "statement")
    assert record["counts"] == {
        "confirmed": 2,
        "settled": 1,
        "receipt_added": 1,
        "amount_differs": 1,
        "ambiguous": 1,
        "not_asked_for": 1,
        "not_in_record": 1,
        "not_covered": 0,
    }
    lines = {line["verdict"]: line for line in record["lines"]}
    assert lines["settled"]["transaction_no"] == LOST.transaction_no
    assert lines["settled"]["receipt_number"] == "UIP1AA13AC"
    assert lines["ambiguous"]["candidates"] == [one.transaction_no for one in TWINS]
    assert not NUMBERS.search(text)

    assert run("--statement", "september-25.csv", "--csv", "day.csv", url=url, folder=tmp_path) == 1
    assert capsys.readouterr() == ("", "8 lines\n")
    text = (tmp_path / "day.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [one["verdict"] for one in rows] == [line["verdict"] for line in record["lines"]]
    assert rows[0]["when"] == "2026-09-25 09:00:18"
    assert not NUMBERS.search(text)


def test_numbers_come_with_unmask(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also the reference that a customer typed."""
    assert run("--statement", "september-25.csv", "--unmask", url=url, folder=tmp_path) == 1
    out = capsys.readouterr().out
    assert LOST.phone_number in out
    assert "0733000111" in out


def test_no_text_steers_the_terminal(tmp_path: Path) -> None:
    """A reference of the books or of the record is one line without escapes."""
    steering = "\x1b[2J\u202eINV"
    odd = payment(1, TransactionState.SUCCEEDED, 100, steering, minute=0, receipt="UIP1AA18AH")
    url = shop_at(f"sqlite:///{tmp_path / 'payments.db'}", odd)
    text = statement(quiet=True).replace("INV-301", steering)
    (tmp_path / "odd.csv").write_text(text, encoding="utf-8")
    output = Terminal()
    assert run("--statement", "odd.csv", url=url, folder=tmp_path, stdout=output) == 1
    shown = output.getvalue()
    assert "\x1b[2J" not in shown
    assert "\u202e" not in shown


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("none.csv", None, "none.csv: cannot be read (FileNotFoundError)"),
        ("notes.csv", "milk,bread\n", "notes.csv: line 1: not a statement of the portal"),
    ],
)
def test_a_file_that_is_no_statement(
    url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    text: str | None,
    line: str,
) -> None:
    """Exit code 2, and not even the good file beside it is applied."""
    if text is not None:
        (tmp_path / name).write_text(text, encoding="utf-8")
    given = ("--statement", "september-25.csv", name, "--apply")
    assert run(*given, url=url, folder=tmp_path) == 2
    assert f"mpesa-stk reconcile: {line}" in capsys.readouterr().err
    assert stored(url, LOST) == LOST


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--statement"],
        ["--pull", "--statement", "a.csv"],
        ["--pull", "--hours", "49"],
        ["--pull", "--json", "--csv", "a.csv"],
    ],
)
def test_arguments_that_cannot_work(url: str, tmp_path: Path, argv: list[str]) -> None:
    """Argparse says so and ends with 2."""
    with pytest.raises(SystemExit) as ended:
        run(*argv, url=url, folder=tmp_path)
    assert ended.value.code == 2


def test_files_of_one_account_are_one_record(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same day twice changes nothing of what is found."""
    write_statement(tmp_path, name="again.csv")
    names = ("september-25.csv", "again.csv")
    assert run("--statement", *names, "--json", url=url, folder=tmp_path) == 1
    (record,) = json.loads(capsys.readouterr().out)["records"]
    assert record["counts"]["settled"] == 1


def test_a_statement_of_a_foreign_account(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 before anything is changed, with its number."""
    foreign = statement().replace("Short Code:,600000", "Short Code:,700000")
    (tmp_path / "foreign.csv").write_text(foreign, encoding="utf-8")
    given = ("--statement", "september-25.csv", "foreign.csv", "--apply")
    assert run(*given, url=url, folder=tmp_path) == 2
    assert "--statement: that of 700000 is of an account" in capsys.readouterr().err
    assert stored(url, LOST) == LOST


def test_a_statement_without_a_number(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody says of which account it is."""
    bare = statement().replace("Short Code:,600000\n", "")
    (tmp_path / "bare.csv").write_text(bare, encoding="utf-8")
    assert run("--statement", "bare.csv", url=url, folder=tmp_path) == 2
    assert "bare.csv: does not say of which account it is" in capsys.readouterr().err
    assert run("--statement", "bare.csv", "--account", "600000", url=url, folder=tmp_path) == 1
    assert capsys.readouterr().out.startswith("600000, by the statement: 2026-09-25")


# --- pulls -----------------------------------------------------------------------------------------------


CONFIGS = tuple(
    simulated_config(
        account=PayBill(number),
        consumer_key=f"key-{number}",
        passkey=f"passkey-{number}",
        callback_secrets=(f"callback-secret-{number}",),
    )
    for number in ("600000", "600001")
)


def variables(config: StkConfig, prefix: str) -> dict[str, str]:
    """The settings of an account, as the environment has them."""
    settings = {
        "consumer_key": config.consumer_key,
        "consumer_secret": config.consumer_secret,
        "shortcode": config.account.shortcode,
        "pass_key": config.passkey,
        "c2b_callback": config.callback_url,
        "callback_secret": config.callback_secrets[0],
        "access_token_url": config.environment.token_url,
        "checkout_url": config.environment.push_url,
        "mpesa_query_check_url": config.environment.query_url,
    }
    return {f"{prefix}_{name.upper()}": text for name, text in settings.items()}


class School:
    """Two accounts over one database, each with a payment of which the school heard nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder / 'school.db'}"
        self.daraja = SimulatedDaraja(*CONFIGS, clock=ManualClock(start=CLOSING))
        self.daraja.outage()
        with store_at(self.url) as store:
            store.create_tables()
            for config in CONFIGS:
                self.daraja.register_for_pulls(config.account)
                self.daraja.next("push", "done-but-dropped")
                self.daraja.payments(store, client=self.daraja.client(config)).checkout(
                    phone_number=phones.PAID, amount=900, reference="TERM-1"
                )
                self.daraja.advance(120.0)

    def reconcile(self, *argv: str) -> int:
        """Pull and compare."""
        environ = {"MPESA_ACCOUNTS": "FEES,LUNCH", "mpesa_database": self.url}
        for prefix, config in zip(("FEES", "LUNCH"), CONFIGS, strict=True):
            environ |= variables(config, prefix)
        context = Context(
            environ=environ, clock=self.daraja.clock, transport=self.daraja, folder=self.folder
        )
        return cli.main(["reconcile", "--pull", *argv], context=context)


def test_all_accounts_are_pulled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each with its own keys; both are settled, and then nothing is missing."""
    school = School(tmp_path)
    assert school.reconcile("--hours", "2") == 1
    assert capsys.readouterr().out.count("--apply writes 1 payment into the books") == 2
    assert school.reconcile("--apply") == 0
    out = capsys.readouterr().out
    assert "paybill 600000, by what Daraja answered: 2026-09-24 08:04:00 EAT to " in out
    assert out.count("Nothing is missing: the books and Safaricom agree.") == 2


def test_an_account_that_cannot_be_asked_stops_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other one is settled, it is said why the first is not, and the exit code is 3."""
    school = School(tmp_path)
    school.daraja.next("pull", *["pull-no-product"] * 2)
    assert school.reconcile("--apply", "--json") == 3
    first, second = json.loads(capsys.readouterr().out)["records"]
    assert (first["account"], first["covered"], first["agree"]) == ("paybill 600000", [], False)
    assert first["problems"][0].startswith("Daraja gave no record: AuthenticationFailed: ")
    assert (second["account"], second["agree"]) == ("paybill 600001", True)
    assert second["counts"]["settled"] == 1


def test_long_work_says_how_far_it_is(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a line on stderr every few seconds, so that nobody thinks that it hangs."""

    class Slow(ManualClock):
        """A clock on which each look takes three seconds."""

        def monotonic(self) -> float:
            self.advance(3.0)
            return super().monotonic()

    clock = Slow(start=CLOSING)
    given = ("--statement", "september-25.csv", "--apply", "--json")
    assert run(*given, url=url, folder=tmp_path, clock=clock) == 1
    assert "payments compared: 13" in capsys.readouterr().err


def test_books_in_which_nothing_was_found() -> None:
    """No table is drawn, and the answer stands all the same."""
    output = io.StringIO()
    books = Books(name="paybill 600000", source="pull")
    show_books(Context(command="reconcile", stdout=output), books, View())
    assert "paybill 600000" in output.getvalue()


def test_a_payer_whom_the_record_shows_whole() -> None:
    """It is masked like one of the books, unless somebody asks for it."""
    assert "712345" not in View().record_phone("254712345678")
    assert View(unmask=True).record_phone("254712345678") == "254712345678"
