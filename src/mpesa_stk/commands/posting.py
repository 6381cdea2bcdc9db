"""Posts callbacks to a shop of any language, for `trigger` and `replay`: the address, and the answer."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator, Mapping

import attrs

from mpesa_stk.commands.context import Context, one_line
from mpesa_stk.commands.exit_codes import DONE, NOT_DONE, UNKNOWN
from mpesa_stk.commands.options import seconds
from mpesa_stk.config.account import PayBill, Till
from mpesa_stk.config.urls import daraja_url_fault
from mpesa_stk.errors import ConfigurationError, InvalidRequest
from mpesa_stk.payments.signing import signed_url
from mpesa_stk.simulator.poster import CALLBACK_TIMEOUT, Posted, post_callback

_LONGEST_WAIT = 600.0
_PATIENCE = 30.0
_NUMBER = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TOKEN = re.compile(r"[A-Za-z0-9._~-]{1,128}")
_PAYBILL = re.compile(r"paybill ([0-9]+)")
_TILL = re.compile(r"till ([0-9]+) of store ([0-9]+)")
_MOST_SHOWN = 4096
_MOST_OF_A_PLACE = 300
_SIGNED = re.compile(r"[0-9a-f-]{36}\.[0-9a-f]{32}")


def add_options(command: argparse.ArgumentParser, /) -> None:
    """Add the options of both commands."""
    command.add_argument(
        "--to", metavar="URL", help="your callback URL, http or https (C2B_CALLBACK)"
    )
    command.add_argument(
        "--account", help="who is paid, to sign with, as in 'paybill 600000' (SHORTCODE)"
    )
    command.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=seconds(_LONGEST_WAIT),
        default=_PATIENCE,
        help="to wait for an answer (%(default).0f)",
    )


# --- the address ---------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Receiver:
    """The callback endpoint of the shop.

    Attributes:
        url: The callback URL of the settings, without the token of a payment.
        secrets: Sign callback URLs. Empty if callbacks are not signed.
        account: Who is paid, as transactions store it, or None if it is not known.
    """

    url: str
    secrets: tuple[str, ...] = attrs.field(repr=False)
    account: str | None

    def at(self, token: str, /) -> str:
        """Return the address with a given token.

        Raises:
            InvalidRequest: The token cannot be a part of an address.
        """
        if not _TOKEN.fullmatch(token):
            raise InvalidRequest("token", "must be 1 to 128 letters, digits and - . _ ~")
        self._check_path()
        return f"{self.url.rstrip('/')}/{token}/"

    def signed(self, *, transaction_no: str, amount: int) -> str:
        """Return the address of one payment, as its push would have sent it to Daraja.

        Raises:
            InvalidRequest: The payment, the secret or the account is missing or cannot work.
        """
        if not _NUMBER.fullmatch(transaction_no):
            raise InvalidRequest("transaction_no", "must be a UUID in lower case")
        if not self.secrets:
            raise InvalidRequest("callback_secret", "is not set, so nothing can be signed")
        if self.account is None:
            raise InvalidRequest("account", "is needed to sign: give it, or set shortcode")
        self._check_path()
        return signed_url(
            self.url,
            self.secrets[0],
            transaction_no=transaction_no,
            amount=amount,
            account=self.account,
        )

    def _check_path(self) -> None:
        if "?" in self.url:
            raise InvalidRequest("to", "must not have a query where a token is added to its path")


def read_receiver(context: Context, arguments: argparse.Namespace, /) -> Receiver:
    """Read the endpoint from the arguments, or else from the environment.

    Raises:
        InvalidRequest: An argument is missing or cannot work.
        ConfigurationError: ``callback_secret`` cannot work.
    """
    url = arguments.to if arguments.to is not None else context.variable("c2b_callback")
    if not url:
        raise InvalidRequest("to", "is needed, since c2b_callback is not set")
    # The address is the user's, so plain http is allowed as well.
    fault = daraja_url_fault(re.sub("^http:", "https:", url, flags=re.IGNORECASE))
    if fault:
        raise InvalidRequest("to", fault.replace("https", "http or https"))
    secrets = context.callback_secrets()
    given = arguments.account
    account = context.account() if given is None else _account(given)
    return Receiver(url=url, secrets=secrets, account=account)


def _account(text: str) -> str:
    """Read an account as transactions store it."""
    paybill, till = _PAYBILL.fullmatch(text), _TILL.fullmatch(text)
    try:
        if paybill:
            return str(PayBill(paybill[1]))
        if till:
            return str(Till(till_number=till[1], store_number=till[2]))
    except ConfigurationError as error:
        raise InvalidRequest("account", str(error)) from None
    raise InvalidRequest(
        "account", "must be like 'paybill 600000' or 'till 123456 of store 600000'"
    )


# --- the answer ----------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Answer:
    """The answer to one callback, or the error in its place."""

    posted: Posted
    seconds: float

    def __str__(self) -> str:
        outcome = self.posted.error if self.posted.status is None else str(self.posted.status)
        return outcome if self.posted.timed_out else f"{outcome} in {self.seconds:.2f} s"

    @property
    def body(self) -> str:
        """The beginning of its body, safe in a terminal."""
        lines = self.posted.body[:_MOST_SHOWN].decode("utf-8", "replace").splitlines()
        return "\n".join(map(one_line, lines)).strip("\n")

    def complaints(self, *, signed_with: str) -> Iterator[str]:
        """Yield the reasons for which Daraja would not count the callback as taken, with advice.

        Args:
            signed_with: Names the options and settings that sign.
        """
        status = self.posted.status
        if self.posted.timed_out:
            yield f"{self.posted.error}: your shop may have taken it, Daraja would count it as lost"
        elif status is None:
            yield f"{self.posted.error}: it was not taken, Daraja would count it as lost"
        elif not self.posted.taken:
            hint = _HINTS.get(status) or _CLASSES.get(status // 100, "")
            hint = f"; {hint}".format(signed_with=signed_with) if hint else ""
            yield f"{status} is not 2xx: Daraja would count it as lost{hint}"
            if self.posted.location:
                place = _SIGNED.sub("<token>", one_line(self.posted.location))
                yield f"it leads to {place[:_MOST_OF_A_PLACE]}"
        if self.seconds > CALLBACK_TIMEOUT and not self.posted.timed_out:
            yield (
                f"the answer took {self.seconds:.1f} s: Daraja is said to wait for "
                f"{CALLBACK_TIMEOUT:.0f}; answer first, and do slow work in on_settled"
            )


_LOGIN = "Daraja cannot log in"
_MISSING = "nothing is there: correct the address or the route, its last slash too"
_HINTS: Mapping[int, str] = {
    401: _LOGIN,
    403: "your guard refuses this machine's address (allowed_callback_networks) or the token "
    "({signed_with}), or a CSRF check is in the way",
    404: _MISSING,
    405: "let the endpoint take POST",
    407: _LOGIN,
    410: _MISSING,
    415: "let the endpoint take application/json",
}
_CLASSES: Mapping[int, str] = {
    3: "a redirect is not followed, here as there: set the very address that answers",
    5: "your shop fails: look into its log",
}


def post(context: Context, url: str, body: bytes, /, *, timeout: float) -> Answer:
    """Post one callback, and measure how long the answer takes."""
    started = context.clock.monotonic()
    posted = post_callback(url, body, timeout=timeout)
    return Answer(posted=posted, seconds=context.clock.monotonic() - started)


def exit_code(answers: Iterable[Answer], /) -> int:
    """Return DONE if all were taken, NOT_DONE if one was refused, else UNKNOWN: one timed out."""
    kept = [answer.posted for answer in answers if not answer.posted.taken]
    if any(not posted.timed_out for posted in kept):
        return NOT_DONE
    return UNKNOWN if kept else DONE
