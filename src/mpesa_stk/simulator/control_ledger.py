"""The control interface for the ledger and the outages: statement, money by hand, outage switch. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from urllib.parse import parse_qs

import attrs

from mpesa_stk.config.account import PayBill, Till
from mpesa_stk.simulator.access import HEADERS, JSON_HEADERS, Refused, bad_field
from mpesa_stk.simulator.books import BadEntry
from mpesa_stk.simulator.ledger import LedgerRow
from mpesa_stk.simulator.prompts import EAT
from mpesa_stk.simulator.simulation import Simulation
from mpesa_stk.simulator.views import known_name, outage_view, row_view
from mpesa_stk.web.messages import WebResponse, json_response

_MOST_ROWS = 50
_XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_YEARS = range(2000, 3000)
_ZONE_LOST = re.compile(r" (?=[0-9]{2}:[0-9]{2}$)")

Routes = tuple[tuple[re.Pattern[str], Callable[..., WebResponse]], ...]


@attrs.frozen
class _Field:
    """A field of a body: its rule, and whether it may be missing."""

    fits: Callable[[object], bool]
    words: str
    needed: bool = False


def _is_number(value: object) -> bool:
    return isinstance(value, (int, Decimal)) and not isinstance(value, bool)


_NUMBER = _Field(_is_number, "must be a number")
_TEXT = _Field(lambda value: isinstance(value, str), "must be a string")
_TRUTH = _Field(lambda value: isinstance(value, bool), "must be true or false")
_NEEDED_NUMBER = attrs.evolve(_NUMBER, needed=True)
_NEEDED_TEXT = attrs.evolve(_TEXT, needed=True)


class LedgerControl:
    """Answer requests about the ledger and the outages.

    Attributes:
        gets: Path and handler of each GET. A handler gets the query.
        posts: The same of each POST. A handler gets the object of the body.
    """

    def __init__(self, daraja: Simulation, /) -> None:
        """Make the control interface of a simulated Daraja."""
        self._daraja = daraja
        self._accounts: dict[str, PayBill | Till] = {
            str(merchant.account): merchant.account for merchant in daraja.merchants
        }
        self.gets: Routes = (
            (re.compile(r"/_sim/statement\.csv"), self._get_csv),
            (re.compile(r"/_sim/statement\.xlsx"), self._get_xlsx),
        )
        self.posts: Routes = (
            (re.compile(r"/_sim/payments"), self._post_payment),
            (re.compile(r"/_sim/sweeps"), self._post_sweep),
            (re.compile(r"/_sim/fees"), self._post_fee),
            (re.compile(r"/_sim/reversals"), self._post_reversal),
            (re.compile(r"/_sim/outage"), self._post_outage),
        )

    def state(self) -> dict[str, object]:
        """What ``/_sim/state`` shows: the accounts, the newest rows, and the outages."""
        return {
            "accounts": list(self._accounts),
            "ledger": [row_view(row) for row in self._daraja.newest_rows(_MOST_ROWS)],
            "outage": self._outage(),
        }

    def _outage(self) -> dict[str, object]:
        return outage_view(self._daraja.current_outage, self._daraja.outages)

    # --- GET -----------------------------------------------------------------------------------------

    def _get_csv(self, query: str) -> WebResponse:
        text = self._daraja.statement_csv(self._account(_asked(query)), **_span(query))
        return _file("csv", "text/csv; charset=utf-8", text.encode("utf-8", "replace"))

    def _get_xlsx(self, query: str) -> WebResponse:
        sheet = self._daraja.statement_xlsx(self._account(_asked(query)), **_span(query))
        return _file("xlsx", _XLSX, sheet)

    # --- POST ----------------------------------------------------------------------------------------

    def _post_payment(self, asked: Mapping[str, object]) -> WebResponse:
        _check(
            asked,
            amount=_NEEDED_NUMBER,
            phone_number=_TEXT,
            reference=_TEXT,
            name=_TEXT,
            failed=_TRUTH,
            account=_TEXT,
        )
        return self._entered(asked, self._daraja.pay_by_hand)

    def _post_sweep(self, asked: Mapping[str, object]) -> WebResponse:
        _check(asked, amount=_NUMBER, account=_TEXT)
        return self._entered(asked, self._daraja.sweep)

    def _post_fee(self, asked: Mapping[str, object]) -> WebResponse:
        _check(asked, amount=_NEEDED_NUMBER, receipt_number=_TEXT, account=_TEXT)
        return self._entered(asked, self._daraja.charge_fee)

    def _post_reversal(self, asked: Mapping[str, object]) -> WebResponse:
        _check(asked, receipt_number=_NEEDED_TEXT)
        try:
            row = self._daraja.reverse(str(asked["receipt_number"]))
        except BadEntry as error:
            raise bad_field(error.field, error.rule) from None
        except LookupError as error:
            raise Refused(404, "unknown-receipt", str(error)) from None
        return _row(row)

    def _entered(self, asked: Mapping[str, object], enter: Callable[..., LedgerRow]) -> WebResponse:
        """Enter a row with the fields that are given, the amount first."""
        facts = {name: value for name, value in asked.items() if name != "amount"}
        amounts = [asked["amount"]] if "amount" in asked else []
        try:
            return _row(enter(*amounts, **facts | {"account": self._account(asked)}))
        except BadEntry as error:
            raise bad_field(error.field, error.rule) from None

    def _post_outage(self, asked: Mapping[str, object]) -> WebResponse:
        if set(asked) == {"on"}:
            _check(asked, on=_TRUTH)
            if not asked["on"]:
                self._daraja.end_outage()
            elif self._daraja.current_outage is None:
                self._daraja.outage()
        else:
            _check(asked, **{"from": _TEXT, "to": _NEEDED_TEXT})
            begins, ends = _moment(asked, "from"), _moment(asked, "to")
            try:
                self._daraja.outage(begins=begins, ends=ends)
            except ValueError as error:
                raise bad_field("to", f"cannot be: {error}") from None
        return json_response(200, {"outage": self._outage()}, **JSON_HEADERS)

    def _account(self, asked: Mapping[str, object]) -> PayBill | Till | None:
        if "account" not in asked:
            return None
        return self._accounts[known_name("account", asked["account"], self._accounts)]


def _asked(query: str) -> dict[str, str]:
    """The fields of a query for a statement."""
    asked = {name: values[-1] for name, values in parse_qs(query).items()}
    for name in asked:
        if name not in ("account", "from", "to"):
            raise bad_field(name, "is not known here: account, from and to are")
    return asked


def _span(query: str) -> dict[str, datetime | None]:
    asked = _asked(query)
    return {"begins": _moment(asked, "from"), "ends": _moment(asked, "to")}


def _file(ending: str, kind: str, content: bytes) -> WebResponse:
    headers = {
        **HEADERS,
        "Content-Type": kind,
        "Content-Disposition": f'attachment; filename="statement.{ending}"',
    }
    return WebResponse(200, headers, content)


def _row(row: LedgerRow) -> WebResponse:
    return json_response(200, {"row": row_view(row)}, **JSON_HEADERS)


def _check(asked: Mapping[str, object], /, **fields: _Field) -> None:
    """Refuse fields that are unknown, missing, or of a wrong kind."""
    for name in asked:
        if name not in fields:
            raise bad_field(name, f"is not known here: {', '.join(fields)} are")
    for name, field in fields.items():
        if name in asked and not field.fits(asked[name]):
            raise bad_field(name, field.words)
        if field.needed and name not in asked:
            raise bad_field(name, "must be given")


def _moment(asked: Mapping[str, object], name: str) -> datetime | None:
    """A time of ISO 8601, in East Africa Time unless it says another zone. None if it is not given."""
    if name not in asked:
        return None
    # A plus sign in a query is a blank. Python 3.10 does not read the Z.
    text = _ZONE_LOST.sub("+", str(asked[name])).replace("Z", "+00:00")
    try:
        moment: datetime | None = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.year not in _YEARS:
        raise bad_field(name, "must be a time such as 2026-09-25T05:00:00+03:00")
    return moment.replace(tzinfo=EAT) if moment.tzinfo is None else moment
