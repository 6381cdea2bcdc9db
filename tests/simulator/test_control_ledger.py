"""The control interface for ledger and outages: each route, each refusal, and what the page is shown."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from mpesa_stk import StkClient, Till
from mpesa_stk.simulator import Scenario, SimulatorServer
from mpesa_stk.simulator.control import Control
from mpesa_stk.testing import SimulatedDaraja, simulated_config
from mpesa_stk.web.messages import WebRequest, WebResponse
from support import START

PATIENCE = 10.0
TILL = Till(store_number="600001", till_number="5566778")
LOCAL = {"host": "127.0.0.1:8090", "content-type": "application/json"}


class Bench:
    """A paybill and a till, and what a script does with them."""

    def __init__(self) -> None:
        till = simulated_config(account=TILL, consumer_key="other", passkey="other-passkey")
        self.daraja = SimulatedDaraja(simulated_config(), till)
        self.control = Control(
            self.daraja,
            host="127.0.0.1",
            now=self.daraja.clock.now,
            page=lambda _name: None,
            events=lambda: iter(()),
        )

    def ask(self, method: str, target: str, payload: object = None) -> WebResponse:
        """Ask the control interface; the answer is no stream."""
        path, _, query = target.partition("?")
        body = json.dumps(payload).encode()
        answer = self.control.answer(
            WebRequest(method=method, path=path, query=query, headers=LOCAL, body=body)
        )
        assert isinstance(answer, WebResponse)
        return answer

    def post(self, target: str, payload: object, status: int = 200) -> Any:
        """What a POST is answered."""
        answer = self.ask("POST", target, payload)
        assert answer.status == status, answer.body
        return json.loads(answer.body)

    @property
    def state(self) -> Any:
        """What the page is shown."""
        return json.loads(self.ask("GET", "/_sim/state").body)


def test_a_payment_by_hand_is_entered_and_shown() -> None:
    """With all that the ledger knows of it; amounts are texts."""
    bench = Bench()
    row = bench.post(
        "/_sim/payments",
        {"amount": 50.5, "phone_number": "0718643064", "reference": "RENT", "name": "A. NAME"},
    )["row"]
    (entered,) = bench.daraja.ledger()
    assert row == {
        "number": 1,
        "account": "paybill 600000",
        "kind": "payment",
        "receipt_number": entered.receipt_number,
        "completed": "2026-11-23T06:00:00.000Z",
        "amount": "50.50",
        "balance": "50.50",
        "failed": False,
        "phone_number": "254718643064",
        "name": "A. NAME",
        "reference": "RENT",
        "linked_to": "",
        "checkout_request_id": None,
    }
    assert bench.state["ledger"] == [row]
    assert bench.state["accounts"] == ["paybill 600000", "till 5566778 of store 600001"]


def test_money_goes_out_of_the_account_that_is_named() -> None:
    """A fee, a reversal and a sweep of a till, and a payment that fails."""
    bench = Bench()
    till = {"account": str(TILL)}
    paid = bench.post("/_sim/payments", {"amount": 30} | till)["row"]["receipt_number"]
    bench.post("/_sim/payments", {"amount": 5, "failed": True} | till)
    bench.post("/_sim/payments", {"amount": 70} | till)
    bench.post("/_sim/fees", {"amount": 1, "receipt_number": paid} | till)
    bench.post("/_sim/reversals", {"receipt_number": paid})
    bench.post("/_sim/sweeps", {"amount": 9} | till)
    bench.post("/_sim/sweeps", till)
    assert [(row.kind, str(row.balance)) for row in bench.daraja.ledger(TILL)] == [
        ("payment", "30"),
        ("payment", "30"),
        ("payment", "100"),
        ("fee", "99"),
        ("reversal", "69"),
        ("sweep", "60"),
        ("sweep", "0"),
    ]
    assert bench.daraja.ledger() == []
    assert bench.post("/_sim/reversals", {"receipt_number": paid}, 404)["error"]["code"] == (
        "unknown-receipt"
    )


def test_the_statement_is_a_file() -> None:
    """Of the first account and of today, or of the account and the span that are named."""
    bench = Bench()
    bench.daraja.pay_by_hand(5)
    bench.daraja.pay_by_hand(7, account=TILL)
    answer = bench.ask("GET", "/_sim/statement.csv")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="statement.csv"'
    assert answer.body.decode() == bench.daraja.statement_csv()
    sheet = bench.ask("GET", "/_sim/statement.xlsx")
    assert sheet.body == bench.daraja.statement_xlsx()
    assert sheet.headers["Content-Disposition"] == 'attachment; filename="statement.xlsx"'
    span = "from=2026-11-23T08:00:00&to=2026-11-23T09:00:00%2B03:00"
    named = bench.ask("GET", f"/_sim/statement.csv?account=till+5566778+of+store+600001&{span}")
    assert "From,23-11-2026 08:00:00,To,23-11-2026 09:00:00" in named.body.decode()
    assert ",7.0," in named.body.decode()


@pytest.mark.parametrize(
    "moment", ["2026-11-23T09:00:00", "2026-11-23T09:00:00+03:00", "2026-11-23T06:00:00Z"]
)
def test_a_time_may_be_written_in_several_ways(moment: str) -> None:
    """In East Africa Time, with a zone whose plus was read as a blank, or in UTC."""
    bench = Bench()
    text = bench.ask("GET", f"/_sim/statement.csv?from={moment}").body.decode()
    assert "From,23-11-2026 09:00:00,To,23-11-2026 23:59:59" in text


def test_an_outage_is_switched_and_planned() -> None:
    """On and off, as often as somebody says so, and from when to when."""
    bench = Bench()
    on = {"on": True, "all": [{"from": "2026-11-23T06:00:00.000Z", "to": None}]}
    assert bench.post("/_sim/outage", {"on": True}) == {"outage": on}
    assert bench.post("/_sim/outage", {"on": True}) == {"outage": on}
    bench.daraja.clock.advance(60)
    assert bench.state["outage"] == on
    off = bench.post("/_sim/outage", {"on": False})["outage"]
    assert off == {
        "on": False,
        "all": [{"from": "2026-11-23T06:00:00.000Z", "to": "2026-11-23T06:01:00.000Z"}],
    }
    planned = {"from": "2026-11-23T12:00:00", "to": "2026-11-23T15:30:00"}
    told = bench.post("/_sim/outage", planned)["outage"]
    assert told["all"][1] == {"from": "2026-11-23T09:00:00.000Z", "to": "2026-11-23T12:30:00.000Z"}
    bench.post("/_sim/outage", {"to": "2026-11-23T10:00:00"})
    assert bench.daraja.current_outage is not None


@pytest.mark.parametrize(
    ("target", "payload", "field"),
    [
        ("/_sim/payments", {}, "amount"),
        ("/_sim/payments", {"amount": "5"}, "amount"),
        ("/_sim/payments", {"amount": True}, "amount"),
        ("/_sim/payments", {"amount": 0}, "amount"),
        ("/_sim/payments", {"amount": 0.001}, "amount"),
        ("/_sim/payments", {"amount": 10**400}, "amount"),
        ("/_sim/payments", {"amount": 5, "phone_number": 5}, "phone_number"),
        ("/_sim/payments", {"amount": 5, "phone_number": "5"}, "phone_number"),
        ("/_sim/payments", {"amount": 5, "failed": "yes"}, "failed"),
        ("/_sim/payments", {"amount": 5, "account": "till 1"}, "account"),
        ("/_sim/payments", {"amount": 5, "account": str(TILL), "reference": "A"}, "reference"),
        ("/_sim/payments", {"amount": 5, "payer": "A"}, "payer"),
        ("/_sim/sweeps", {}, "amount"),
        ("/_sim/sweeps", {"amount": 5}, "amount"),
        ("/_sim/fees", {"receipt_number": "A"}, "amount"),
        ("/_sim/reversals", {}, "receipt_number"),
        ("/_sim/outage", {}, "to"),
        ("/_sim/outage", {"on": 1}, "on"),
        ("/_sim/outage", {"on": True, "to": "2026-11-23T15:30:00"}, "on"),
        ("/_sim/outage", {"to": "tomorrow"}, "to"),
        ("/_sim/outage", {"to": "9999-12-31T23:59:59Z"}, "to"),
        ("/_sim/outage", {"to": "2026-11-23T08:00:00"}, "to"),
        ("/_sim/outage", {"from": 5, "to": "2026-11-23T15:30:00"}, "from"),
    ],
)
def test_a_field_that_cannot_be_used_is_named(target: str, payload: object, field: str) -> None:
    """400, with the field and its rule, and nothing is changed."""
    bench = Bench()
    before = bench.state
    error = bench.post(target, payload, 400)["error"]
    assert (error["code"], error["field"]) == ("bad-field", field)
    assert error["message"].startswith(f"{field} ")
    assert bench.state == before


@pytest.mark.parametrize(
    ("query", "field"), [("account=nobody", "account"), ("from=x", "from"), ("day=1", "day")]
)
def test_a_statement_of_nothing_is_refused(query: str, field: str) -> None:
    """400, with the field."""
    answer = Bench().ask("GET", f"/_sim/statement.csv?{query}")
    assert answer.status == 400
    assert json.loads(answer.body)["error"]["field"] == field


def test_a_reversal_needs_the_money() -> None:
    """After a sweep there is none."""
    bench = Bench()
    paid = bench.daraja.pay_by_hand(5)
    bench.daraja.sweep()
    error = bench.post("/_sim/reversals", {"receipt_number": paid.receipt_number}, 400)["error"]
    assert error["field"] == "amount"


def test_the_newest_rows_are_shown() -> None:
    """Fifty of them, the newest first, whichever account they are of."""
    bench = Bench()
    for number in range(60):
        bench.daraja.pay_by_hand(1, account=TILL if number % 2 else None)
    assert [row["number"] for row in bench.state["ledger"]] == list(range(60, 10, -1))


@given(
    reference=st.text(max_size=20),
    name=st.text(max_size=20),
    query=st.text(max_size=30),
    amount=st.decimals(allow_nan=False, allow_infinity=False) | st.integers(),
)
def test_whatever_is_entered_can_be_read(
    reference: str, name: str, query: str, amount: object
) -> None:
    """No text and no number breaks the statement or the page."""
    bench = Bench()
    body = {"amount": float(str(amount)), "reference": reference, "name": name}
    assert bench.ask("POST", "/_sim/payments", body).status in (200, 400)
    bench.post("/_sim/payments", {"amount": 5, "reference": reference, "name": "A"})
    assert bench.ask("GET", "/_sim/statement.csv").status == 200
    assert bench.ask("GET", "/_sim/statement.xlsx").status == 200
    assert bench.ask("GET", f"/_sim/statement.csv?from={query}").status in (200, 400)
    assert bench.state["now"].startswith(f"{START:%Y-%m-%d}")


def test_a_server_plays_an_outage_and_keeps_the_ledger() -> None:
    """Over HTTP: a script pays, switches, and reads the statement and the pull."""
    config = simulated_config()
    with SimulatorServer(config, scenario=Scenario(answer_after=0.0)) as server:

        def post(path: str, payload: object, token: str = "") -> Any:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            answer = requests.post(
                f"{server.origin}{path}", json=payload, headers=headers, timeout=PATIENCE
            )
            assert answer.status_code == 200, answer.text
            return answer.json()

        post("/_sim/outage", {"on": True})
        with StkClient(attrs.evolve(config, environment=server.environment)) as client:
            client.push(phone_number="0718643064", amount=100, reference="INV-1")
            token = client.token().value
        post("/_sim/payments", {"amount": 30})
        server.register_for_pulls()
        span = {"StartDate": "2000-01-01 00:00:00", "EndDate": "2999-01-01 00:00:00"}
        pulled = post(
            "/pulltransactions/v1/query",
            {"ShortCode": "600000", "OffSetValue": 0} | span,
            token,
        )
        statement = requests.get(f"{server.origin}/_sim/statement.csv", timeout=PATIENCE).text
    receipts = [row.receipt_number for row in server.ledger()]
    assert len(receipts) == 2
    assert [row["transactionId"] for row in pulled["Response"][0]] == receipts
    assert all(receipt in statement for receipt in receipts)
    # No callback went out.
    assert not [one for one in server.journal.entries() if one.kind == "callback" and one.status]
