"""The forms that answers of Pull Transactions were seen to have, as data. Pure.

The forms come from Safaricom's portal and from captures (docs/how-to/simulator.md, section
"Pull Transactions").
"""

from __future__ import annotations

from typing import Literal

import attrs


@attrs.frozen(kw_only=True)
class PullForm:
    """The form of one answer of Pull Transactions.

    Attributes:
        paging: How OffSetValue is read: as a number of ``rows``, as a ``page`` index, or not at all, so
            that the first page ``repeats``.
        zone: The text behind Nairobi's digits in trxDate: ``+03:00``, ``Z`` or empty. Or ``UTC``: the
            digits of UTC, and a ``Z``.
        phones: The form of msisdn: a ``number``, a ``text``, ``masked``, or ``cut`` to eight digits.
        short_amounts: Whether an amount has one decimal place, as in ``2697.0``.
        cut_types: Whether transactiontype is cut to 16 characters.
        flat: Whether the rows stand in one list, not in a list within a list.
        page_fields: Whether the fields about pages are given.
        spaced_keys: Whether keys of the answer to a registration have a space, as in ``Response Status``.
        capital_keys: Whether the keys of rows begin with a capital.
    """

    paging: Literal["rows", "page", "repeats"] = "rows"
    zone: Literal["+03:00", "Z", "", "UTC"] = "+03:00"
    phones: Literal["number", "text", "masked", "cut"] = "number"
    short_amounts: bool = False
    cut_types: bool = False
    flat: bool = False
    page_fields: bool = False
    spaced_keys: bool = False
    capital_keys: bool = False
