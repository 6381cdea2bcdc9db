"""Write the answers of Pull Transactions: the registration, and a page of rows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timezone

from mpesa_stk.config.account import PayBill
from mpesa_stk.simulator.ledger import LedgerRow
from mpesa_stk.simulator.ledger_file import ORGANIZATION, amount_text
from mpesa_stk.simulator.prompts import EAT
from mpesa_stk.simulator.pull_forms import PullForm

PAGE_SIZE = 100
"""Number of rows on a page."""
_CUT_TYPE = 16


def registered(
    reference: str, shortcode: str, form: PullForm, /, *, again: bool
) -> dict[str, object]:
    """The answer to a registration.

    Args:
        reference: Id of the answer.
        shortcode: The shortcode.
        form: The form of the answer.
        again: Whether the shortcode was registered already.
    """
    gap = " " if form.spaced_keys else ""
    subject = f"Short Code  {shortcode} " if form.spaced_keys else "Shortcode"
    # The words for a shortcode that is registered already are not known.
    done = "Already Registered" if again else "Registered Successfully"
    return {
        "ResponseRefID": reference,
        f"Response{gap}Status": "1001" if again else "1000",
        "ShortCode": shortcode,
        f"Response{gap}Description": f"{subject} {done}",
    }


def page_of(
    rows: Sequence[LedgerRow], offset: int, reference: str, form: PullForm, /
) -> dict[str, object]:
    """The answer with one page of rows, of which there is at least one.

    Args:
        rows: All rows of the window.
        offset: OffSetValue.
        reference: Id of the answer.
        form: The form of the answer.
    """
    first = {"rows": offset, "page": offset * PAGE_SIZE, "repeats": 0}[form.paging]
    listed = [_row(row, form) for row in rows[first : first + PAGE_SIZE]]
    answer: dict[str, object] = {
        "ResponseRefID": reference,
        "ResponseCode": "1000",
        "ResponseMessage": "Success",
        "Response": listed if form.flat else [listed],
    }
    if form.page_fields:
        answer |= {
            "CurrentPage": first // PAGE_SIZE,
            "PageSize": PAGE_SIZE,
            "TotalPages": -(-len(rows) // PAGE_SIZE),
            "TotalRecords": len(rows),
        }
    return answer


def _row(row: LedgerRow, form: PullForm) -> dict[str, object]:
    kind = "c2b-pay-bill-debit" if isinstance(row.account, PayBill) else "c2b-buy-goods-debit"
    cells: dict[str, object] = {
        "transactionId": row.receipt_number,
        "trxDate": _date(row, form),
        "msisdn": _phone(row.phone_number, form),
        "sender": "MPESA",
        "transactiontype": kind[:_CUT_TYPE] if form.cut_types else kind,
        "billreference": row.reference,
        "amount": amount_text(row.amount) if form.short_amounts else f"{row.amount:.2f}",
        "organizationname": ORGANIZATION,
    }
    if form.capital_keys:
        return {name[0].upper() + name[1:]: value for name, value in cells.items()}
    return cells


def _date(row: LedgerRow, form: PullForm) -> str:
    moment = row.completed.astimezone(timezone.utc if form.zone == "UTC" else EAT)
    return f"{moment:%Y-%m-%dT%H:%M:%S}{'Z' if form.zone == 'UTC' else form.zone}"


def _phone(phone_number: str, form: PullForm) -> int | str:
    if form.phones == "text":
        return phone_number
    if form.phones == "masked":
        return f"{phone_number[:5]}****{phone_number[-3:]}"
    return int(phone_number[3:11] if form.phones == "cut" else phone_number)
