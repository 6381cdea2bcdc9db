"""Search payments: what is wanted, pages, cursors, and the optional protocols of stores. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Protocol, cast

import attrs

from mpesa_stk.errors import ConfigurationError, InvalidRequest
from mpesa_stk.payments.state import FORGOTTEN_PHONE, Transaction, TransactionState
from mpesa_stk.phone import PhoneNumber
from mpesa_stk.privacy import masked_id_repr, masked_phone_repr

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
_LONGEST_CURSOR = 1024
_LONGEST_NUMBER = 255
_EXACT = ("receipt_number", "reference", "order", "checkout_request_id", "state")


# --- what is wanted, and what is found ------------------------------------------------------------------


def _e164(number: str | PhoneNumber | None) -> str | None:
    """Return a phone number as stored payments have it."""
    if number is None:
        return None
    return (number if isinstance(number, PhoneNumber) else PhoneNumber.parse(number)).e164


def _aware(
    _search: object, field: attrs.Attribute[datetime | None], moment: datetime | None
) -> None:
    """Refuse a moment without a time zone."""
    if moment is not None and moment.tzinfo is None:
        raise InvalidRequest(field.name, "must be a datetime with a time zone")


@attrs.frozen(kw_only=True)
class PaymentSearch:
    """The payments that are wanted. All given values must match. Texts are compared exactly.

    Attributes:
        accounts: Only payments of these accounts. None means all.
        phone_number: Who pays, E.164. It may be given in every form that `normalize_phone` accepts.
        receipt_number: M-Pesa's receipt.
        reference: The caller's reference.
        order: What is being paid.
        checkout_request_id: Daraja's id of the prompt.
        state: `TransactionState`.
        created_from: Created at this moment or later.
        created_before: Created before this moment.
        needs_review: Whether only payments that a person must look at are wanted.
        not_forgotten: Whether only payments that `Desk.forget` did not anonymise are wanted.

    Raises:
        InvalidPhoneNumber: The phone number is none.
        InvalidRequest: A moment has no time zone.
    """

    accounts: frozenset[str] | None = None
    phone_number: str | None = attrs.field(default=None, converter=_e164, repr=masked_phone_repr)
    receipt_number: str | None = None
    reference: str | None = None
    order: str | None = None
    checkout_request_id: str | None = attrs.field(default=None, repr=masked_id_repr)
    state: TransactionState | None = None
    created_from: datetime | None = attrs.field(default=None, validator=_aware)
    created_before: datetime | None = attrs.field(default=None, validator=_aware)
    needs_review: bool = False
    not_forgotten: bool = False


@attrs.frozen(kw_only=True)
class PaymentPage:
    """One page of the payments that were found, the last created first.

    Attributes:
        payments: The payments of this page.
        next_cursor: Continues the search after this page. None if there are no more.
    """

    payments: tuple[Transaction, ...]
    next_cursor: str | None


class SearchableStore(Protocol):
    """A `TransactionStore` that can search. The protocol is optional."""

    def search(self, search: PaymentSearch, /, *, cursor: str | None, limit: int) -> PaymentPage:
        """Return one page of the payments that are wanted.

        The payment created last comes first. Payments that were created at the same moment are in the
        descending order of their `transaction_no`. Payments that are added or changed between two pages
        move no others: none comes twice, and none is left out.

        Args:
            search: The payments that are wanted.
            cursor: The `next_cursor` of the page before, or None for the first page.
            limit: The most payments of the page. If it is less than 1, the page is empty and the last.

        Raises:
            InvalidRequest: This is no cursor of a page.
            StoreError: The database failed.
        """
        ...


class AsyncSearchableStore(Protocol):
    """A `SearchableStore` whose method is awaited."""

    async def search(
        self, search: PaymentSearch, /, *, cursor: str | None, limit: int
    ) -> PaymentPage:
        """Return one page of the payments that are wanted, the last created first."""
        ...


def searchable(store: object, /) -> SearchableStore:
    """Return the store, if it can search.

    Raises:
        ConfigurationError: It has no method `search`.
    """
    _check_searchable(store)
    return cast("SearchableStore", store)


def async_searchable(store: object, /) -> AsyncSearchableStore:
    """Return the asynchronous store, if it can search.

    Raises:
        ConfigurationError: It has no method `search`.
    """
    _check_searchable(store)
    return cast("AsyncSearchableStore", store)


def _check_searchable(store: object) -> None:
    if not callable(getattr(store, "search", None)):
        problem = f"{type(store).__name__} cannot search: it has no method search (SearchableStore)"
        raise ConfigurationError((("store", problem),))


# --- for authors of stores ------------------------------------------------------------------------------


def matches(search: PaymentSearch, payment: Transaction, /) -> bool:
    """Return whether a payment is one of those that are wanted."""
    wanted = search.phone_number
    return (
        (search.accounts is None or payment.account in search.accounts)
        and (wanted is None or payment.phone_number == wanted)
        and all(getattr(search, name) in (None, getattr(payment, name)) for name in _EXACT)
        and (search.created_from is None or payment.created >= search.created_from)
        and (search.created_before is None or payment.created < search.created_before)
        and not (search.needs_review and payment.needs_review is None)
        and not (search.not_forgotten and payment.phone_number == FORGOTTEN_PHONE)
    )


Place = tuple[datetime, str]
"""The place of a payment in the order of a search: when it was created, and its number."""


def place_of(payment: Transaction, /) -> Place:
    """Return the place of a payment. A search returns the greatest first."""
    return payment.created, payment.transaction_no


def page_of(found: Sequence[Transaction], limit: int, /) -> PaymentPage:
    """Make a page of the payments that a store found, in order.

    Args:
        found: Up to ``limit + 1`` payments. If there is one more than the limit, another page follows.
        limit: The most payments of the page.
    """
    payments = tuple(found[: max(limit, 0)])
    more = payments and len(found) > len(payments)
    return PaymentPage(
        payments=payments, next_cursor=cursor_at(place_of(payments[-1])) if more else None
    )


def cursor_at(place: Place, /) -> str:
    """Return the cursor that continues a search after a place."""
    created, number = place
    text = json.dumps([(created - _EPOCH) // _MICROSECOND, number], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def place_after(cursor: str | None, /) -> Place | None:
    """Return the place that a cursor names. Only payments with lesser places follow.

    Raises:
        InvalidRequest: This is no cursor of a page.
    """
    if cursor is None:
        return None
    try:
        if len(cursor) <= _LONGEST_CURSOR:
            padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
            place = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
            microseconds, number = place
            if type(microseconds) is int and _is_number(number):
                return _EPOCH + microseconds * _MICROSECOND, number
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        pass
    raise InvalidRequest("cursor", "must be the next_cursor of a page, unchanged")


def _is_number(number: object) -> bool:
    """Return whether a value may be the `transaction_no` of a payment."""
    return isinstance(number, str) and len(number) <= _LONGEST_NUMBER and number.isprintable()
