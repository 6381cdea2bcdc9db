"""Pull and register, once for both faces. `StkClient.pull` and `StkClient.register_pull` document them."""

from __future__ import annotations

from datetime import datetime

from mpesa_stk.daraja.client_flow import ClientFlow
from mpesa_stk.daraja.retry import may_push_again
from mpesa_stk.errors import AuthenticationFailed, MpesaError
from mpesa_stk.phone import PhoneNumber
from mpesa_stk.reconcile import pull, pull_rows
from mpesa_stk.reconcile.pull import PullRegistration, PullWindow
from mpesa_stk.reconcile.pull_rows import PulledRows
from mpesa_stk.reconcile.statement import Statement

_PRODUCT = "pull"


async def pull_statement(flow: ClientFlow, start: datetime, end: datetime, /) -> Statement:
    """Ask page by page, until one has no new row.

    How Daraja counts its pages is disputed (docs/daraja.md, section 11). The offset counts rows at first.
    If the page behind the rows is empty, Daraja may count pages. Then the second page is asked for by its
    number.
    """
    window = pull.check_window(start, end, now=flow.now())
    rows = PulledRows(window, number=flow.config.account.shortcode)
    while await _take_page(flow, window, rows, offset=rows.offset):
        pass
    number = 1
    while rows.may_have_more and await _take_page(flow, window, rows, offset=number, again=True):
        number += 1
    return rows.statement()


async def _take_page(
    flow: ClientFlow, window: PullWindow, rows: PulledRows, /, *, offset: int, again: bool = False
) -> bool:
    """Ask for a page, and take its rows. Return whether another one may follow.

    Args:
        flow: Asks Daraja.
        window: What is asked for.
        rows: The rows so far.
        offset: Where the page begins.
        again: Whether the page may hold rows that came already.

    Raises:
        MpesaError: The first page cannot be had.
    """
    try:
        page = await flow.ask(
            lambda token: pull.build_page(flow.config, window, offset=offset, token=token),
            pull.read_page,
            kind="pull",
            spare=_PRODUCT,
        )
    except MpesaError as error:
        if rows.pages > 0:
            rows.say(pull_rows.BROKE)
            return False
        if isinstance(error, AuthenticationFailed):
            raise pull.not_allowed(error) from None
        raise
    more = rows.take(page, again=again)
    if more and rows.pages == pull_rows.MOST_PAGES:
        rows.say(pull_rows.TOO_MANY_PAGES)
        return False
    return more


async def register_pull(
    flow: ClientFlow, /, *, nominated_number: str | PhoneNumber, callback_url: str
) -> PullRegistration:
    """Register the account. It is tried again only if it was not sent."""
    nominated = pull.check_nominated(nominated_number)
    flow.check_callback_url(callback_url)
    try:
        return await flow.ask(
            lambda token: pull.build_registration(
                flow.config, nominated=nominated, callback_url=callback_url, token=token
            ),
            pull.read_registration,
            kind="pull_registration",
            spare=_PRODUCT,
            again=may_push_again,
        )
    except AuthenticationFailed as error:
        raise pull.not_allowed(error) from None
