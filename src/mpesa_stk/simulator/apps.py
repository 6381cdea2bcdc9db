"""The apps of a simulated Daraja, and the merchants of each: which one a request means. Pure."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from mpesa_stk.config.account import PayBill, Till
from mpesa_stk.config.settings import StkConfig
from mpesa_stk.simulator import validation


class Merchants:
    """The merchants of one Daraja. Several may share an app, and a paybill and a till a shortcode."""

    def __init__(self, first: StkConfig, /, *others: StkConfig) -> None:
        self._all = (first, *others)
        self._of_app: dict[str, list[StkConfig]] = {}
        for merchant in self._all:
            self._of_app.setdefault(merchant.consumer_key, []).append(merchant)

    @property
    def accounts(self) -> tuple[PayBill | Till, ...]:
        """The accounts of all merchants, each once."""
        return tuple(dict.fromkeys(merchant.account for merchant in self._all))

    def account_named(self, name: str, /) -> PayBill | Till | None:
        """The account with a full name, such as ``paybill 174379``, or None."""
        return next((account for account in self.accounts if str(account) == name), None)

    def accounts_of(self, app: str, shortcode: str, /) -> list[PayBill | Till]:
        """The accounts of an app that were taken live with a shortcode."""
        accounts = dict.fromkeys(merchant.account for merchant in self._of_app[app])
        return [account for account in accounts if account.shortcode == shortcode]

    def app_of(self, credentials: bytes, /) -> str | None:
        """The consumer key of the app with these credentials, ``key:secret``, or None."""
        for app, merchants in self._of_app.items():
            expected = f"{app}:{merchants[0].consumer_secret}".encode()
            if hmac.compare_digest(credentials, expected):
                return app
        return None

    def meant_by(self, body: Mapping[str, object], /, *, app: str) -> StkConfig:
        """The merchant of an app that a body means.

        Of several merchants with its shortcode, it is the one with its passkey, and of those the one with
        its account. Without one that fits, it is the one that fits best: the caller checks it.
        """

        def fit(merchant: StkConfig) -> tuple[bool, ...]:
            shortcode = validation.digits_of(body.get("BusinessShortCode"))
            return (
                shortcode == merchant.account.shortcode,
                "Password" in body
                and "Timestamp" in body
                and validation.has_password(body, merchant),
                validation.fits_account(body, merchant),
            )

        return max(self._of_app[app], key=fit)

    def is_of(self, business: str, merchant: StkConfig, /) -> bool:
        """Whether an account, by its full name, belongs to the merchant or shares its credentials."""
        return any(
            str(one.account) == business
            and one.account.shortcode == merchant.account.shortcode
            and one.passkey == merchant.passkey
            for one in self._of_app[merchant.consumer_key]
        )
