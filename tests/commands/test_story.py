"""The story of a payment, as `mpesa-stk payments show` tells it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from desk_scene import DOUBTED, PAID, shop_at
from mpesa_stk import Transaction, TransactionState, cli
from mpesa_stk.commands import story
from mpesa_stk.commands.context import Context
from mpesa_stk.commands.payment_facts import View
from mpesa_stk.commands.review_words import WORDS, words_for
from mpesa_stk.daraja.results import CATALOGUE
from mpesa_stk.payments.events import Meaning
from mpesa_stk.payments.state import HistoryEntry
from support import CHECKOUT_ID, ROOT, START, make_transaction


def run(*argv: str, **environ: str) -> int:
    """Show a payment, in another environment than the process's."""
    return cli.main(["payments", "show", *argv], context=Context(environ=environ))


def told(transaction: Transaction) -> list[str]:
    """The story of a payment without kept callbacks."""
    return list(story.story_of(transaction, (), view=View(), language="en"))


def past(event: Meaning, state: TransactionState, code: str | None = None) -> HistoryEntry:
    """A line of a history."""
    return HistoryEntry(at=START, event=event.value, code=code, state=state)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The database of the shop."""
    return shop_at(f"sqlite:///{tmp_path / 'payments.db'}")


def test_a_payment_is_told_line_by_line(capsys: pytest.CaptureFixture[str], url: str) -> None:
    """The history in words and East Africa Time, kept callbacks, the state and the next step."""
    assert run(DOUBTED.transaction_no, "--database", url) == 0

    unreached = CATALOGUE["1037"]
    wrong, paid = (
        WORDS["callback has another amount"],
        WORDS["query says paid after a callback's failure"],
    )
    assert capsys.readouterr().out.splitlines() == [
        f"payment       {DOUBTED.transaction_no}",
        "asked         60 shillings from +254110***222 for INV-203",
        "account       paybill 600000",
        "",
        "2026-11-25 09:00:00 EAT  the intent was stored",
        "2026-11-25 09:00:10 EAT  Daraja took the push and asks the customer -> PENDING",
        (
            "2026-11-25 09:00:20 EAT  the callback says that it was not paid "
            f"(1037: {unreached.meaning}) -> FAILED"
        ),
        (
            "2026-11-25 09:00:30 EAT  Daraja contradicts what was known, so it settled nothing "
            "(0: Paid.) -> FAILED"
        ),
        "2026-11-25 09:00:30 EAT  a callback came and is kept: callback has another amount",
        "",
        "state         FAILED: not paid, for good",
        f"result        1037: {unreached.meaning}",
        "push again    only once it is certain that this attempt did not go through, after 1 minute",
        f"customer      {unreached.message()}",
        "what to do    nothing; a new payment may be offered as said above",
        "              your code was not told of it yet: run process_due",
        f"needs review  {paid.why}",
        f"              {paid.step}",
        f"needs review  {wrong.why}",
        f"              {wrong.step}",
    ]


def test_a_story_for_programs(capsys: pytest.CaptureFixture[str], url: str) -> None:
    """The facts, the history and the kept callbacks, without a body."""
    assert run(DOUBTED.transaction_no, "--json", "--database", url) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["transaction_no"] == DOUBTED.transaction_no
    assert document["history"][1] == {
        "at": "2026-11-25T09:00:20+03:00",
        "event": "callback: not paid",
        "code": "1037",
        "state": "FAILED",
        "by": None,
        "note": None,
    }
    assert document["kept_callbacks"] == [
        {
            "callback_id": "5f" * 32,
            "received": "2026-11-25T09:00:30+03:00",
            "reason": "callback has another amount",
        }
    ]


def test_the_text_for_the_customer_may_be_swahili(
    capsys: pytest.CaptureFixture[str], url: str
) -> None:
    """The rest stays English."""
    assert run(PAID.transaction_no, "--lang", "sw", "--database", url) == 0
    assert f"customer      {CATALOGUE['0'].message('sw')}" in capsys.readouterr().out


@pytest.mark.parametrize("name", [PAID.transaction_no, CHECKOUT_ID, "nlj7rt61sv"])
@pytest.mark.parametrize("variable", ["mpesa_database", "MPESA_DATABASE"])
def test_a_payment_is_shown_by_its_ids(
    capsys: pytest.CaptureFixture[str], url: str, name: str, variable: str
) -> None:
    """Its number, Daraja's id or the receipt of the customer; no other setting is needed."""
    assert run(name, **{variable: url}) == 0
    assert PAID.transaction_no in capsys.readouterr().out


def test_the_option_goes_before_the_variable(url: str) -> None:
    """A person who names a database means that one."""
    environ = {"mpesa_database": "nosuchdb://host/other"}
    assert run(PAID.transaction_no, "--database", url, **environ) == 0


def test_a_payment_that_is_not_there(capsys: pytest.CaptureFixture[str], url: str) -> None:
    """Exit code 1 and one line."""
    assert run("ws_CO_other", mpesa_database=url) == 1
    said = capsys.readouterr()
    assert said == ("", "mpesa-stk payments: TRANSACTION_NO: is not in this database\n")


@pytest.mark.parametrize(
    ("argv", "environ", "line"),
    [
        (["x"], {}, "mpesa_database: is not set, and --database is not given"),
        (
            ["two words"],
            {"mpesa_database": "sqlite:///p.db"},
            "TRANSACTION_NO: must be 1 to 128 visible characters",
        ),
        (
            ["x"],
            {"mpesa_database": "postgres://u:CANARY@host/db"},
            "mpesa_database: not a usable URL (NoSuchModuleError): write postgresql+psycopg://...",
        ),
        (
            ["x", "--database", "no url CANARY"],
            {},
            "--database: not a usable URL (ArgumentError): write it as postgresql+psycopg://user@host",
        ),
    ],
)
def test_a_database_that_cannot_be_opened(
    capsys: pytest.CaptureFixture[str], argv: list[str], environ: dict[str, str], line: str
) -> None:
    """Exit code 2 and a line that names the option or the variable, without the password."""
    assert run(*argv, **environ) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"mpesa-stk payments: {line}")
    assert "CANARY" not in said


def test_a_database_without_tables(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Looking makes no tables, so missing ones are an error of the store: exit code 1."""
    url = f"sqlite:///{tmp_path / 'empty.db'}"
    assert run("x", "--database", url) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("mpesa-stk payments: the store failed: ")
    assert "a table is missing" in first
    assert second.endswith("see that the database runs, and that its user may use the tables")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "what to do    do not push again; process_due finds out if its worker died"),
        (
            {"state": TransactionState.UNCERTAIN},
            "what to do    do not push again: wait for the callback",
        ),
        ({"state": TransactionState.FAILED}, "state         FAILED: not paid, for good"),
        (
            {"state": TransactionState.EXPIRED},
            "what to do    look into the M-Pesa statement before you ask for the money again",
        ),
        (
            {
                "state": TransactionState.SUCCEEDED,
                "receipt_number": "NLJ7RT61SV",
                "reported": True,
            },
            "receipt       NLJ7RT61SV",
        ),
        (
            {
                "state": TransactionState.SUCCEEDED,
                "receipt_number": "NLJ7RT61SV",
                "paid_at": START,
            },
            "receipt       NLJ7RT61SV, paid at 2026-11-23 09:00:00 EAT",
        ),
        (
            {"state": TransactionState.SUCCEEDED, "settled_by": "query"},
            (
                "receipt       none yet: only the status query told of it, the callback may still "
                "bring one"
            ),
        ),
        (
            {
                "state": TransactionState.REJECTED,
                "result_code": "500.001.1001",
                "result_desc": "no such shop",
            },
            "refusal       500.001.1001: no such shop",
        ),
        ({"state": TransactionState.REJECTED}, "refusal       no code: no reason"),
        (
            {"history": (past(Meaning.REFUSED, TransactionState.REJECTED, "500.001.1001"),)},
            (
                "2026-11-23 09:00:00 EAT  the push was refused and reached no phone (500.001.1001) "
                "-> REJECTED"
            ),
        ),
        (
            {
                "history": (
                    HistoryEntry(at=START, event="new\x1b[2J", state=TransactionState.CREATED),
                )
            },
            "2026-11-23 09:00:00 EAT  new [2J -> CREATED",
        ),
        (
            {"state": TransactionState.SUCCEEDED, "settled_by": "person"},
            "receipt       none: a person found that it was paid",
        ),
    ],
)
def test_the_explanation_of_a_payment(changes: dict[str, Any], line: str) -> None:
    """Each state has its meaning and its next step, and no text can steer the terminal."""
    lines = told(make_transaction(**changes))
    assert line in lines
    assert all(text.isascii() and (text.isprintable() or not text) for text in lines)


def test_a_decision_is_told_with_its_person_and_reason() -> None:
    """Also one whose reason was forgotten with the payer."""
    entry = attrs.evolve(past(Meaning.REVIEWED, TransactionState.FAILED), by="Amina", note="sawa")
    lines = told(make_transaction(history=(entry, attrs.evolve(entry, note=None))))
    assert [line.strip() for line in lines if "by Amina" in line] == [
        "by Amina: sawa",
        "by Amina: no reason was given",
    ]


def test_every_event_has_words() -> None:
    """No line of a history has to be read as a constant."""
    assert story._EVENTS.keys() == {signal.value for signal in Meaning}
    assert story._MEANINGS.keys() == story._NEXT_STEPS.keys() == set(TransactionState)


def test_every_reason_for_a_review_has_words() -> None:
    """Each reason that the page on transactions lists is explained, and an unknown one too."""
    page = (ROOT / "docs" / "reference" / "transactions.md").read_text(encoding="utf-8")
    table = page.split("\n## `needs_review`\n")[1].split("\n## ")[0]
    reasons = [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")]
    assert len(reasons) >= 13
    assert [reason for reason in reasons if words_for(reason).why == reason] == []
    assert words_for("something new\n").why == "something new "


def test_a_phone_in_a_text_is_masked() -> None:
    """Some shops take the phone number for the reference; other numbers stay."""
    view, payment = View(), make_transaction()
    for text, shown in (
        ("0718643064", "0718***064"),
        ("718643064", "***"),
        ("kwa +254722000111 leo", "kwa +254722***111 leo"),
        ("mwanafunzi 722000111", "mwanafunzi 722000111"),
        ("INV-20261123090013", "INV-20261123090013"),
    ):
        assert view.text(payment, text) == shown
        assert View(unmask=True).text(payment, text) == text
