"""Pull and register, once for both faces. `StkClient.pull` and `StkClient.register_pull` document them."""

from __future__ import annotations

from datetime import datetime

from mpesa_stk.daraja.client_flow import ClientFlow
from mpesa_stk.daraja.retry import may_push_again
from mpesa_stk.errors import AuthenticationFailed, MpesaError
from mpesa_stk.phone import PhoneNumber
from mpesa_stk.reconcile import pull, pull_rows
from mpesa_stk.reconcile.pull import PullRegistration
from mpesa_stk.reconcile.pull_rows import PulledRows
from mpesa_stk.reconcile.statement import Statement

_PRODUCT = "pull"


async def pull_statement(flow: ClientFlow, start: datetime, end: datetime, /) -> Statement:
    """Ask page by page, until one has nothing new.

    How Daraja counts its pages is disputed. Its offset counts rows here, and rows that come again are
    dropped.
    """
    window = pull.check_window(start, end, now=flow.now())
    rows = PulledRows(window, number=flow.config.account.shortcode)
    more = True
    while more:
        try:
            page = await flow.ask(
                lambda token: pull.build_page(flow.config, window, offset=rows.offset, token=token),
                pull.read_page,
                kind="pull",
                spare=_PRODUCT,
            )
        except MpesaError as error:
            if rows.pages == 0 and isinstance(error, AuthenticationFailed):
                raise pull.not_allowed(error) from None
            if rows.pages == 0:
                raise
            rows.say(pull_rows.BROKE)
            break
        more = rows.take(page)
        if more and rows.pages == pull_rows.MOST_PAGES:
            rows.say(pull_rows.TOO_MANY_PAGES)
            break
    return rows.statement()


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
