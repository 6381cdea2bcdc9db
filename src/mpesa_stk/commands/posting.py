"""What `trigger` and `replay` share: where callbacks are posted, and what is told of the answers."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timezone

import attrs

from mpesa_stk.account import PayBill, Till
from mpesa_stk.clock import Clock
from mpesa_stk.commands.parsers import DONE, NOT_DONE, UNKNOWN
from mpesa_stk.environ import settings_from
from mpesa_stk.errors import ConfigurationError, InvalidRequest
from mpesa_stk.payments.signing import signed_url
from mpesa_stk.payments.transaction import Transaction
from mpesa_stk.simulator.demo import fresh_merchant
from mpesa_stk.simulator.poster import CALLBACK_TIMEOUT, Posted, post_callback
from mpesa_stk.urls import daraja_url_fault

__all__ = [
    "Answer",
    "Receiver",
    "add_options",
    "exit_code",
    "one_line",
    "post",
    "receiver",
    "secrets_of",
]

_LONGEST_WAIT = 600.0
_PATIENCE = 30.0
_NUMBER = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TOKEN = re.compile(r"[A-Za-z0-9._~-]{1,128}")
_PAYBILL = re.compile(r"paybill ([0-9]+)")
_TILL = re.compile(r"till ([0-9]+) of store ([0-9]+)")
_UNSAFE = re.compile(r"[^ -~]")
_MOMENT = datetime(2000, 1, 1, tzinfo=timezone.utc)
_MOST_SHOWN = 4096
_MOST_OF_A_PLACE = 300
_SIGNED = re.compile(r"[0-9a-f-]{36}\.[0-9a-f]{32}")


def add_options(command: argparse.ArgumentParser, /) -> None:
    """Add what both commands take."""
    command.add_argument(
        "--to", metavar="URL", help="your callback URL, http or https (C2B_CALLBACK)"
    )
    command.add_argument(
        "--account", help="who is paid, to sign with, as in 'paybill 600000' (SHORTCODE)"
    )
    command.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_seconds,
        default=_PATIENCE,
        help="to wait for an answer (%(default).0f)",
    )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= _LONGEST_WAIT:
        raise argparse.ArgumentTypeError(f"must be above 0, at most {_LONGEST_WAIT:.0f} seconds")
    return seconds


# --- where to ------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Receiver:
    """The host's own callback endpoint.

    Attributes:
        url: The callback URL of the settings, before a payment's token is added to it.
        secrets: What signs; empty where callbacks are not signed.
        account: Who is paid, as transactions have it; None where nothing says it.
    """

    url: str
    secrets: tuple[str, ...] = attrs.field(repr=False)
    account: str | None

    def at(self, token: str, /) -> str:
        """The address with a token that is known.

        Raises:
            InvalidRequest: It cannot be a part of an address.
        """
        if not _TOKEN.fullmatch(token):
            raise InvalidRequest("token", "must be 1 to 128 letters, digits and - . _ ~")
        self._check_path()
        return f"{self.url.rstrip('/')}/{token}/"

    def signed(self, *, transaction_no: str, amount: int) -> str:
        """The address of one payment, as its push would have told it to Daraja.

        Raises:
            InvalidRequest: What is needed to sign is missing, or cannot work.
        """
        if not _NUMBER.fullmatch(transaction_no):
            raise InvalidRequest("transaction_no", "must be a UUID in lower case")
        if not self.secrets:
            raise InvalidRequest("callback_secret", "is not set, so nothing can be signed")
        if self.account is None:
            raise InvalidRequest("account", "is needed to sign: give it, or set shortcode")
        self._check_path()
        claim = Transaction(
            transaction_no=transaction_no,
            account=self.account,
            amount=amount,
            # The rest is not signed.
            phone_number="",
            reference="",
            created=_MOMENT,
            updated=_MOMENT,
            expires_at=_MOMENT,
            due_at=None,
        )
        return signed_url(self.url, claim, self.secrets[0])

    def _check_path(self) -> None:
        if "?" in self.url:
            raise InvalidRequest("to", "must not have a query where a token is added to its path")


def receiver(arguments: argparse.Namespace, environ: Mapping[str, str] | None, /) -> Receiver:
    """Where the arguments and the environment say that callbacks go.

    Raises:
        InvalidRequest: They cannot work.
    """
    environ = os.environ if environ is None else environ
    settings, problems = settings_from(environ)
    url = arguments.to if arguments.to is not None else settings["callback_url"]
    if not url:
        raise InvalidRequest("to", "is needed, since c2b_callback is not set")
    # The address is the user's own: plain http is as good as https.
    fault = daraja_url_fault(re.sub("^http:", "https:", url, flags=re.IGNORECASE))
    if fault:
        raise InvalidRequest("to", fault.replace("https", "http or https"))
    try:
        secrets = _checked(settings["callback_secrets"])
    except ConfigurationError as error:
        raise InvalidRequest(*error.problems[0]) from None
    account = None if problems.keys() & {"shortcode", "till_number"} else str(settings["account"])
    if arguments.account is not None:
        account = _account(arguments.account)
    return Receiver(url=url, secrets=secrets, account=account)


def secrets_of(environ: Mapping[str, str], /) -> tuple[str, ...]:
    """What ``callback_secret`` holds; nothing where it is not set.

    Raises:
        ConfigurationError: It cannot work.
    """
    return _checked(settings_from(environ)[0]["callback_secrets"])


def _checked(given: tuple[str, ...]) -> tuple[str, ...]:
    """The secrets, if they can work; raises as `secrets_of` does."""
    try:
        return attrs.evolve(fresh_merchant(), callback_secrets=given).callback_secrets
    except ConfigurationError as error:
        raise ConfigurationError((("callback_secret", error.problems[0][1]),)) from None


def _account(text: str) -> str:
    """The account as transactions have it."""
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


# --- what is told --------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Answer:
    """What became of one callback, and how long it took."""

    posted: Posted
    seconds: float

    def __str__(self) -> str:
        outcome = self.posted.error if self.posted.status is None else str(self.posted.status)
        return outcome if self.posted.timed_out else f"{outcome} in {self.seconds:.2f} s"

    @property
    def body(self) -> str:
        """The beginning of its body, fit for a terminal."""
        lines = self.posted.body[:_MOST_SHOWN].decode("utf-8", "replace").splitlines()
        return "\n".join(map(one_line, lines)).strip("\n")

    def complaints(self, *, signed_with: str) -> Iterator[str]:
        """What Daraja would make of it, and what to do.

        Args:
            signed_with: Names what the user gave, or did not give, to sign with.
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


def one_line(text: str, /) -> str:
    """A text from outside, fit for one line of a terminal."""
    return _UNSAFE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


def post(url: str, body: bytes, /, *, clock: Clock, timeout: float) -> Answer:
    """Post one callback and measure it."""
    started = clock.monotonic()
    posted = post_callback(url, body, timeout=timeout)
    return Answer(posted=posted, seconds=clock.monotonic() - started)


def exit_code(answers: Iterable[Answer], /) -> int:
    """Done if all were taken; not done if one was not; unknown if the time was up for one."""
    kept = [answer.posted for answer in answers if not answer.posted.taken]
    if any(not posted.timed_out for posted in kept):
        return NOT_DONE
    return UNKNOWN if kept else DONE
