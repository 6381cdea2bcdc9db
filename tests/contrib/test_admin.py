"""The admin: who sees what, what a search finds, decisions, exports, and no count of a whole table."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
from django.db import connections
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext

from django_admin import PHONE, admin_client, admin_host, fill, in_review, new_store, paid
from example_shops import django_module
from mpesa_stk import Event, StoreError, TransactionState
from mpesa_stk.commands.payments_export import HEADINGS
from mpesa_stk.commands.review_words import WORDS
from support import START

LIST = "/admin/mpesa_stk/payment/"
CALLBACKS = "/admin/mpesa_stk/keptcallback/"
NUMBER = "00000000-0000-4000-8000-000000000005"
PAID = "00000000-0000-4000-8000-000000000001"
PAGE, RESOLVE = f"{LIST}{NUMBER}/change/", f"{LIST}{NUMBER}/resolve/"
EXPORT = f"{LIST}export/"
CALLBACK = f"{CALLBACKS}{'c' * 64}/change/"
MASKED = "+254718***064"
VIEWS = ("view_payment", "view_keptcallback")
ALL = (*VIEWS, "resolve_payment", "export_payments", "see_phone")


@pytest.fixture(autouse=True)
def _host(tmp_path: Path) -> Iterator[None]:
    """A host with the payments of a day."""
    with admin_host(tmp_path / "shop.sqlite3"):
        fill(new_store())
        yield


def text_of(client: Client, address: str, **given: str) -> str:
    """The page at an address."""
    answer = client.get(address, given)
    assert answer.status_code == 200
    return str(answer.content.decode())


def numbers(client: Client, **given: str) -> list[str]:
    """The last digits of the payments that the list shows."""
    return re.findall(
        r"payment/0{8}-0000-4000-8000-0{11}(\d)/change/", text_of(client, LIST, **given)
    )


def payment_model() -> Any:
    """The table of payments."""
    return django_module("mpesa_stk.contrib.django.models").Payment


# --- who may do what ---------------------------------------------------------------------------------


@pytest.mark.parametrize("address", [LIST, PAGE, RESOLVE, EXPORT, CALLBACKS, CALLBACK])
def test_without_permissions_nothing_is_seen(address: str) -> None:
    """A member of the staff without a permission is refused, and a stranger has to log in."""
    assert admin_client().get(address).status_code == 403
    stranger = Client().get(address)
    assert (stranger.status_code, stranger["Location"][:14]) == (302, "/admin/login/?")


def test_who_may_look_may_not_decide_or_export() -> None:
    """Each is a permission of its own, and the page does not offer what is refused."""
    client = admin_client(*VIEWS)
    assert "Decide" not in text_of(client, PAGE)
    assert "Export" not in text_of(client, LIST)
    assert client.get(RESOLVE).status_code == 403
    assert client.post(RESOLVE, {"note": "x"}).status_code == 403
    assert client.get(EXPORT).status_code == 403
    assert "Decide" in text_of(admin_client(*ALL, name="otieno"), PAGE)


def test_who_may_export_needs_to_look_too() -> None:
    """An export shows what the list shows."""
    assert admin_client("export_payments").get(EXPORT).status_code == 403


@pytest.mark.parametrize("address", [f"{LIST}add/", f"{LIST}{NUMBER}/delete/", f"{CALLBACKS}add/"])
def test_nothing_is_added_or_deleted_by_hand(address: str) -> None:
    """Not even by a superuser."""
    assert admin_client(superuser=True).get(address).status_code == 403


def test_nothing_is_changed_by_hand() -> None:
    """The page of a payment has no form, and a post to it changes nothing."""
    client = admin_client(superuser=True)
    before = new_store().get(NUMBER)
    page = client.post(PAGE, {"state": "SUCCEEDED", "amount": "1"}).content.decode()
    assert 'name="state"' not in page
    assert new_store().get(NUMBER) == before


@pytest.mark.parametrize("address", [LIST, PAGE, RESOLVE, CALLBACKS, CALLBACK, EXPORT])
def test_phones_are_masked_unless_a_user_may_see_them(address: str) -> None:
    """Also in ids that end in the number, in references and in the bodies of callbacks."""
    store = new_store()
    store.add(paid(7, START, reference=PHONE[1:], order="0718643064"))
    looks = [permission for permission in ALL if permission != "see_phone"]

    def shown(*permissions: str) -> str:
        answer = admin_client(*permissions, name=str(len(permissions))).get(address)
        body = b"".join(answer.streaming_content) if answer.streaming else answer.content
        return str(body.decode())

    assert PHONE[4:] not in shown(*looks)
    assert PHONE[4:] in shown(*ALL)


# --- the list ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("INV-3", "3"),
        (" order-2 ", "2"),
        ("skn7rt61s4", "4"),
        ("ws_CO_23112026090000001718643064", "1"),
        (NUMBER, "5"),
        ("0718 643064", "654321"),
        ("INV", ""),
        ("0722000000", ""),
    ],
)
def test_search_finds_what_a_customer_knows(typed: str, found: str) -> None:
    """Whole values only, so that each search is quick. The last created comes first."""
    assert "".join(numbers(admin_client(*VIEWS), q=typed)) == found


def test_search_finds_nothing_by_what_no_database_holds() -> None:
    """PostgreSQL would raise an error. Django's form refuses it, and its autocomplete does not."""
    find = django_module("mpesa_stk.contrib.django.admin_search").numbers_for
    assert find("\0", payment_model().objects) == []


def test_filters_and_dates(monkeypatch: pytest.MonkeyPatch) -> None:
    """By review, state, account and day. The filter of accounts is there if there are several."""
    client = admin_client(*VIEWS)
    assert numbers(client) == list("654321")
    assert "By account" not in text_of(client, LIST)
    new_store().add(paid(7, START - timedelta(days=400), account="till 5000001 (6000001)"))
    assert "By account" in text_of(client, LIST)
    with monkeypatch.context() as patch:
        patch.setattr("mpesa_stk.contrib.django.admin_lists.MOST_ACCOUNTS", 1)
        assert "By account" not in text_of(client, LIST)
    assert numbers(client, in_review__exact="1") == ["5"]
    assert numbers(client, state__exact="FAILED") == ["6"]
    assert numbers(client, account="till 5000001 (6000001)") == ["7"]
    assert numbers(client, created__year="2025") == ["7"]
    assert numbers(client, created__year="2026", created__month="11", created__day="22") == []


def test_dates_lead_from_years_to_days() -> None:
    """Years, months and days from the first payment to the last, without a look at each row."""
    client, store = admin_client(*VIEWS), new_store()
    store.add(paid(7, START - timedelta(days=400)))
    store.add(paid(8, START - timedelta(days=20)))
    page = text_of(client, LIST)
    assert "?created__year=2025" in page
    assert "?created__year=2026" in page
    page = text_of(client, LIST, created__year="2026")
    assert "created__month=11" in page
    assert "created__month=12" not in page
    page = text_of(client, LIST, created__year="2026", created__month="11")
    assert [f"created__day={day}&" in page for day in (2, 3, 23, 24)] == [False, True, True, False]
    page = text_of(client, LIST, created__year="2024")
    assert "created__month" not in page
    store.add(paid(9, START.replace(month=12, day=31)))
    page = text_of(client, LIST, created__year="2026")
    assert "created__month=12" in page


def test_the_list_says_how_many_need_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line leads to them, and is not there on their own list or if there are none."""
    client, store = admin_client(*VIEWS), new_store()
    assert "1 payment needs a person" in text_of(client, LIST)
    assert "needs a person" not in text_of(client, LIST, in_review__exact="1")
    store.add(in_review(7, START))
    assert "2 payments need a person" in text_of(client, LIST)
    monkeypatch.setattr("mpesa_stk.contrib.django.admin._MOST_REVIEWS", 2)
    assert "2 payments or more need a person" in text_of(client, LIST)
    payment_model().objects.update(in_review=False)
    assert "a person" not in text_of(client, LIST)


def test_the_list_offers_all_only_where_it_hides_some() -> None:
    """Behind a search or a filter, the whole list is one click away."""
    client = admin_client(*VIEWS)
    assert "Show all" not in text_of(client, LIST)
    assert "Show all" in text_of(client, LIST, q="INV-1")
    assert "Show all" in text_of(client, LIST, state__exact="FAILED")


def test_many_rows_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages end at a limit, and say so."""
    client = admin_client(*VIEWS)
    assert "for older ones" not in text_of(client, LIST)
    monkeypatch.setattr("mpesa_stk.contrib.django.admin_lists.MOST_LISTED", 4)
    page = text_of(client, LIST)
    assert "The pages hold the last 4." in page


def statements(client: Client, address: str) -> list[str]:
    """The statements of a page, without those about the user."""
    with CaptureQueriesContext(connections["default"]) as captured:
        assert client.get(address).status_code == 200
    return [each["sql"] for each in captured if "mpesa_stk_" in each["sql"]]


def test_a_page_takes_as_many_statements_for_many_rows_as_for_few() -> None:
    """No row has a statement of its own, and no statement counts or sorts the table."""
    client, store = admin_client(*ALL), new_store()
    few = {address: len(statements(client, address)) for address in (LIST, CALLBACKS, PAGE)}
    for number in range(10, 40):
        store.add(paid(number, START + number * timedelta(minutes=1)))
    for address, count in few.items():
        assert len(statements(client, address)) == count
    assert few == {LIST: 8, CALLBACKS: 2, PAGE: 2}
    for statement in statements(client, LIST):
        with connections["default"].cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {statement}")
            plan = " ".join(str(row[3]) for row in cursor.fetchall())
        assert "TEMP B-TREE FOR ORDER BY" not in plan, statement


# --- one payment -------------------------------------------------------------------------------------


def test_the_page_tells_the_story_of_a_payment() -> None:
    """What happened, why a person must look, what is kept, and the facts."""
    page = text_of(admin_client(*VIEWS), PAGE)
    for words in (
        "2,450 shillings from +254718***064 for INV-5",
        "the push was sent, and its answer was lost (HTTP 503)",
        "a callback came and is kept: no payment has this checkout_request_id yet",
        "Look for the payment in the M-Pesa statement.",
        "EXPIRED: nobody could tell in time",
        "<dt>given up at</dt><dd>2026-11-23 09:56:00 EAT</dd>",
        "<dt>reported</dt><dd>yes</dd>",
    ):
        assert words in page
    assert "needs review" not in page


def test_the_page_of_a_paid_payment_shows_the_receipt() -> None:
    """No review is shown where there is none."""
    page = text_of(admin_client(*VIEWS), f"{LIST}{PAID}/change/")
    assert "SKN7RT61S1" in page
    assert "ws_CO_231120260900***" in page.replace("00001***", "***")
    assert "mpesa-why" not in page


def test_no_words_of_the_command_line_are_left() -> None:
    """A person in the admin has no options to type."""
    client, store = admin_client(*ALL), new_store()
    for reason in WORDS:
        reviewed = attrs.evolve(store.get(NUMBER), needs_review=reason)
        assert store.replace(reviewed)
        for address in (PAGE, RESOLVE):
            page = text_of(client, address)
            assert "mpesa-why" in page
            assert "--" not in page.partition("mpesa-why")[2].partition("<form")[0].replace(
                "<!--", ""
            ).replace("-->", "")


def test_a_payment_that_cannot_be_read_has_a_page() -> None:
    """Its facts are shown, nobody decides about it, and an export leaves it out."""
    payment_model().objects.filter(pk=NUMBER).update(history="x")
    client = admin_client(*ALL)
    page = text_of(client, PAGE)
    assert "Another version of the library wrote this payment" in page
    assert "INV-5" in page
    assert "Decide" not in page
    assert text_of(client, RESOLVE)
    assert len(rows_of(client)) == 5


@pytest.mark.parametrize(
    "address", [f"{LIST}x/change/", f"{LIST}x/resolve/", f"{CALLBACKS}x/change/"]
)
def test_an_unknown_number_leads_back(address: str) -> None:
    """As everywhere in the admin."""
    assert admin_client(*ALL).get(address)["Location"] == "/admin/"


# --- decisions ---------------------------------------------------------------------------------------


def decide(client: Client, **typed: str) -> Any:
    """Post the form of a decision."""
    return client.post(RESOLVE, {"outcome": "", "receipt_number": "", "note": "", **typed})


def test_a_decision_settles_the_payment() -> None:
    """With the receipt of the statement. The history names who decided, and why."""
    client = admin_client(*ALL)
    answer = decide(client, outcome="paid", receipt_number=" skn7rt61x9 ", note="In the statement")
    assert (answer.status_code, answer["Location"]) == (302, PAGE)
    after = new_store().get(NUMBER)
    assert (after.state, after.receipt_number) == (TransactionState.SUCCEEDED, "SKN7RT61X9")
    assert (after.needs_review, after.reported) == (None, False)
    assert (after.history[-1].by, after.history[-1].note) == ("amina", "In the statement")
    assert "by amina: In the statement" in text_of(client, PAGE)
    history = text_of(client, f"{LIST}{NUMBER}/history/")
    assert "Paid: the M-Pesa statement shows the money" in history
    assert "In the statement" not in history


def test_a_decision_reaches_the_hooks_of_the_host() -> None:
    """As each event does. Without credentials there are none, and a desk needs none."""
    seen: list[Event] = []
    simulated = {"simulate": True, "hooks": [seen.append]}
    with override_settings(DEBUG=True, MPESA_STK=simulated):
        decide(admin_client(*ALL), outcome="not-paid", note="Not in it")
    assert [(event.kind, event.transaction_no) for event in seen] == [("settled", NUMBER)]


@pytest.mark.parametrize(
    ("outcome", "state"), [("", TransactionState.EXPIRED), ("not-paid", TransactionState.FAILED)]
)
def test_a_decision_closes_the_review(outcome: str, state: TransactionState) -> None:
    """With a note alone the state stays."""
    assert decide(admin_client(*ALL), outcome=outcome, note="Not in it").status_code == 302
    after = new_store().get(NUMBER)
    assert (after.state, after.needs_review) == (state, None)
    assert not payment_model().objects.get(pk=NUMBER).in_review


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ({"outcome": "paid"}, "This field is required"),
        ({"outcome": "x", "note": "n"}, "Select a valid choice"),
        ({"receipt_number": "SKN7RT61X9", "note": "n"}, "only a paid payment has a receipt"),
        ({"outcome": "paid", "receipt_number": "?", "note": "n"}, "5 to 32 letters and digits"),
        ({"outcome": "paid", "receipt_number": "SKN7RT61S1", "note": "n"}, "another payment has"),
    ],
)
def test_a_decision_that_breaks_a_rule_is_not_written(typed: dict[str, str], words: str) -> None:
    """The form says what to correct, and the payment stays as it is."""
    before = new_store().get(NUMBER)
    answer = decide(admin_client(*ALL), **typed)
    assert answer.status_code == 200
    assert words in answer.content.decode()
    assert new_store().get(NUMBER) == before


def test_a_paid_payment_is_not_called_unpaid() -> None:
    """The rule is that of `Payments.resolve`."""
    answer = admin_client(*ALL).post(
        f"{LIST}{PAID}/resolve/", {"outcome": "not-paid", "note": "a refund"}
    )
    assert "a paid payment is never called unpaid" in answer.content.decode()


def test_a_user_whose_name_is_no_line_cannot_decide() -> None:
    """The history must say who decided."""
    answer = decide(admin_client(*ALL, name="a\nb"), note="n")
    assert "must be one line of 1 to 64 printable characters" in answer.content.decode()


class Fails:
    """Fails at each write of a payment."""

    def __call__(self, execute: Any, sql: str, *rest: Any) -> Any:
        """Execute a statement, unless it writes."""
        if sql.startswith('UPDATE "mpesa_stk_payment"'):
            raise StoreError("the disk is full")
        return execute(sql, *rest)


def test_a_decision_that_may_not_be_written_says_so() -> None:
    """The database failed."""
    client = admin_client(*ALL)
    with connections["default"].execute_wrapper(Fails()):
        page = decide(client, note="n").content.decode()
    assert "It may not be written" in page


def test_a_decision_is_stored_at_once_with_atomic_requests() -> None:
    """A host's ATOMIC_REQUESTS does not wrap it."""
    settings = connections.settings["default"]
    try:
        settings["ATOMIC_REQUESTS"] = True
        assert decide(admin_client(*ALL), note="seen").status_code == 302
    finally:
        settings["ATOMIC_REQUESTS"] = False
    assert new_store().get(NUMBER).needs_review is None


def test_the_pages_stay_on_the_admin_site_of_the_host() -> None:
    """A project may have a site beside Django's own, with its own address."""
    client = admin_client(*ALL)
    for address in (LIST, PAGE, RESOLVE, CALLBACKS, CALLBACK):
        page = text_of(client, address.replace("/admin/", "/desk/"))
        assert 'href="/desk/mpesa_stk/' in page
        assert 'href="/admin/' not in page


# --- the export --------------------------------------------------------------------------------------


def rows_of(client: Client, **given: str) -> list[list[str]]:
    """The rows of an export below the headings."""
    answer = client.get(EXPORT, given)
    assert answer["Content-Disposition"] == 'attachment; filename="payments.csv"'
    text = b"".join(answer.streaming_content).decode()
    assert text[0] == "\ufeff"
    headings, *rows = csv.reader(io.StringIO(text[1:]))
    assert tuple(headings) == HEADINGS
    return rows


def test_an_export_holds_what_the_list_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """All pages of it, with its filters and its search, read in parts."""
    client = admin_client(*VIEWS, "export_payments")
    monkeypatch.setattr("mpesa_stk.contrib.django.admin_export._AT_ONCE", 2)
    with CaptureQueriesContext(connections["default"]) as captured:
        rows = rows_of(client)
    assert [row[-1][-1] for row in rows] == list("654321")
    assert rows[-1][:5] == [
        "2026-11-23 09:07:00",
        "2026-11-23 09:07:18",
        "1500",
        "SKN7RT61S1",
        "254718***064",
    ]
    assert sum(each["sql"].endswith("LIMIT 2") for each in captured) == 4
    assert [row[-1][-1] for row in rows_of(client, state__exact="FAILED")] == ["6"]
    assert [row[-1][-1] for row in rows_of(client, q="INV-3")] == ["3"]


def test_an_export_holds_no_formula() -> None:
    """A reference comes from outside, and a spreadsheet computes what begins like a formula."""
    new_store().add(paid(7, START + timedelta(days=1), reference="=HYPERLINK(1)"))
    (row, *_) = rows_of(admin_client(*ALL))
    assert row[5] == "'=HYPERLINK(1)"


def test_an_export_with_a_wrong_filter_leads_back() -> None:
    """As the list itself does."""
    answer = admin_client(*ALL).get(EXPORT, {"state__exacto": "x"})
    assert answer["Location"] == f"{LIST}?e=1"


# --- kept callbacks ----------------------------------------------------------------------------------


def test_kept_callbacks_lead_to_their_payment() -> None:
    """The list and the page say why a callback is kept."""
    client = admin_client(*VIEWS)
    store = new_store()
    (kept,) = store.kept_callbacks(transaction_no=NUMBER)
    store.keep_callback(attrs.evolve(kept, callback_id="d" * 64, transaction_no=None))
    for address in (CALLBACKS, CALLBACK):
        page = text_of(client, address)
        assert "no payment has this checkout_request_id yet" in page
        assert PAGE in page
    assert PAGE not in text_of(client, f"{CALLBACKS}{'d' * 64}/change/")


def test_rows_have_names() -> None:
    """Wherever Django prints a row."""
    for model in django_module("django.apps").apps.get_app_config("mpesa_stk").get_models():
        assert str(model(pk="x")) == "x"


def test_the_admin_reads_the_database_of_the_payments() -> None:
    """The setting names it."""
    store_alias = django_module("mpesa_stk.contrib.django.admin_lists").store_alias
    for given, alias in (({"database": "a"}, "a"), ({"DATABASE": "b"}, "b"), ({}, "default")):
        with override_settings(MPESA_STK=given):
            assert store_alias(payment_model()) == alias
