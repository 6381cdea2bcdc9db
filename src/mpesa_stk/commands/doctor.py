"""``mpesa-stk doctor``: checks a configuration without moving money.

It contacts the configured addresses of Daraja and the configured callback URL, and nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TextIO

import attrs

from mpesa_stk.client import StkClient
from mpesa_stk.clock import Clock, SystemClock
from mpesa_stk.commands import checks, hints, reach
from mpesa_stk.commands.checks import Finding
from mpesa_stk.commands.parsers import DONE, NOT_DONE, Commands
from mpesa_stk.config import StkConfig
from mpesa_stk.daraja.http import MAX_BODY, HttpRequest, HttpResponse, Transport
from mpesa_stk.daraja.retry import RetryPolicy
from mpesa_stk.errors import (
    AuthenticationFailed,
    ConfigurationError,
    DarajaError,
    GatewayBlocked,
    MpesaError,
    NotSent,
    OutcomeUnknown,
    RateLimited,
    UnexpectedResponse,
)

__all__ = ["add_to", "run"]

# Of the shape that Daraja gives out, with a date and a phone that cannot be.
_MADE_UP_ID = "ws_CO_01011970000000000700000000"
_MOST_OFF = 60.0


def add_to(commands: Commands, /) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "doctor",
        help="check the settings of the environment, without moving money",
        description="Checks the settings of the environment without moving money. Asks Daraja for a "
        "token and about a payment that cannot exist, and GETs your callback URL.",
    )
    command.add_argument("--offline", action="store_true", help="look at the settings only")
    command.add_argument("--json", action="store_true", help="one JSON object on stdout")
    command.set_defaults(command=run)


def run(
    arguments: argparse.Namespace,
    *,
    environ: Mapping[str, str] | None = None,
    clock: Clock | None = None,
    transport: Transport | None = None,
    resolve: reach.Resolve | None = None,
    folder: Path | None = None,
    stdout: TextIO | None = None,
) -> int:
    """Check everything; returns the exit code."""
    environ = os.environ if environ is None else environ
    findings = [*checks.of_variables(environ), *hints.of_names(environ)]
    findings += hints.of_file(_dotenv(folder or Path()), environ)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it would warn of is a finding below
            config = StkConfig.from_env(environ)
    except ConfigurationError as error:
        findings += checks.of_refusal(error)
    else:
        findings += checks.of_settings(config)
        findings += hints.of_open_doors(config)
        findings += hints.of_tunnel(config)
        findings += checks.of_proxies(environ)
        if not arguments.offline:
            findings += _asked(
                config,
                transport=transport if transport is not None else _default_transport(config),
                clock=clock if clock is not None else SystemClock(),
                resolve=resolve if resolve is not None else reach.addresses_of,
            )
    _print(findings, as_json=arguments.json, stdout=stdout)
    return NOT_DONE if any(finding.level == "problem" for finding in findings) else DONE


def _dotenv(folder: Path) -> str:
    """What the file ``.env`` of a folder holds, at least its beginning; nothing if there is none."""
    path = folder / ".env"
    try:
        if path.is_file():
            with path.open("rb") as file:
                return file.read(MAX_BODY).decode("utf-8", "replace")
    except OSError:
        pass  # somebody else's file is not ours to read
    return ""


def _print(findings: list[Finding], *, as_json: bool, stdout: TextIO | None) -> None:
    levels = [finding.level for finding in findings]
    problems, cautions = levels.count("problem"), levels.count("warning")
    if as_json:
        facts = {
            "problems": problems,
            "warnings": cautions,
            "findings": [attrs.asdict(finding) for finding in findings],
        }
        print(json.dumps(facts, indent=2), file=stdout)
        return
    for finding in findings:
        remedy = f" -> {finding.remedy}" if finding.remedy else ""
        print(f"{finding.level:<8} {finding.check}: {finding.text}{remedy}", file=stdout)
    print(f"problems: {problems}, warnings: {cautions}", file=stdout)


# --- Daraja ----------------------------------------------------------------------------------------------


def _default_transport(config: StkConfig) -> Transport:
    # Imported here: requests takes long to import, and the other commands may not need it.
    from mpesa_stk.daraja.transport import RequestsTransport  # noqa: PLC0415

    return RequestsTransport(
        proxies=config.proxies, ca_bundle=config.ca_bundle, user_agent=config.user_agent
    )


class _Watch:
    """A transport that notes how far our clock is from the server's.

    Attributes:
        ahead: Seconds; None as long as no answer named a time.
    """

    def __init__(self, transport: Transport, clock: Clock) -> None:
        self.ahead: float | None = None
        self._transport = transport
        self._clock = clock

    def send(self, request: HttpRequest, /) -> HttpResponse:
        """Send it."""
        answer = self._transport.send(request)
        moment = _date(answer.headers.get("date", ""))
        if moment is not None:
            self.ahead = (self._clock.now() - moment).total_seconds()
        return answer

    def close(self) -> None:
        """Close idle connections."""
        self._transport.close()


def _date(text: str) -> datetime | None:
    """The moment of a Date header."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _asked(
    config: StkConfig, *, transport: Transport, clock: Clock, resolve: reach.Resolve
) -> Iterator[Finding]:
    """What Daraja and the callback URL answer."""
    watch = _Watch(transport, clock)
    with StkClient(config, transport=watch, clock=clock, retry=RetryPolicy(attempts=2)) as client:
        yield from _of_daraja(client)
        yield _of_clock(watch.ahead)
        yield from reach.of_callback(config, transport=transport, resolve=resolve)


def _of_daraja(client: StkClient) -> Iterator[Finding]:
    """Fetch a token, and ask about a payment that cannot exist."""
    step = "token"
    try:
        client.token()
        yield Finding(level="ok", check=step, text="consumer_key and consumer_secret are accepted")
        step = "credentials"
        answer = client.query(_MADE_UP_ID)
    except MpesaError as error:
        yield _of_error(step, error)
        return
    if answer.not_found:
        yield Finding(level="ok", check=step, text="shortcode and pass_key are accepted")
        return
    yield Finding(
        level="warning",
        check=step,
        text="Daraja did not say that it does not know a made-up CheckoutRequestID",
        remedy="check that mpesa_query_check_url is Daraja's own address, and run this again",
    )


def _of_error(step: str, error: MpesaError) -> Finding:
    """What is wrong where Daraja could not be asked, or refused."""
    level: checks.Level = "warning" if isinstance(error, RateLimited) else "problem"
    if isinstance(error, AuthenticationFailed):
        remedy = _CREDENTIALS.get((step, error.reason), _NOT_APPROVED)
    elif isinstance(error, DarajaError) and "merchant" in (error.error_message or "").lower():
        remedy = "set the paybill, or a till's store number and not the till's own, as shortcode"
    else:
        remedy = next(words for kind, words in _REMEDIES if isinstance(error, kind))
    incident = getattr(error, "incident_id", None)
    text = f"{error} (incident {incident})" if incident else str(error)
    return Finding(level=level, check=step, text=text, remedy=remedy)


_NOT_APPROVED = (
    "have M-Pesa Express enabled and approved for this app (a token from before stays without it for "
    "up to an hour), and take all addresses from one environment"
)
_CREDENTIALS: Mapping[tuple[str, str], str] = {
    (
        "token",
        "credentials",
    ): "copy consumer_key and consumer_secret anew from one app, the one of this "
    "environment: sandbox and production have different ones",
    ("credentials", "credentials"): "set the passkey that belongs to this shortcode here, whole",
}
_REMEDIES: tuple[tuple[type[MpesaError], str], ...] = (
    (RateLimited, "wait a minute and run this again"),
    (DarajaError, "check Daraja's addresses and the shortcode against the portal"),
    (GatewayBlocked, "tell Safaricom the incident id, or send from another address"),
    (UnexpectedResponse, "check that the addresses are Daraja's own, and run this again later"),
    (NotSent, "check this machine's network; where it needs a proxy, set mpesa_proxy"),
    (OutcomeUnknown, "run this again later; check this machine's network and certificates"),
    (MpesaError, "run this again later"),
)


def _of_clock(ahead: float | None) -> Finding:
    if ahead is None:
        return Finding(
            level="warning",
            check="clock",
            text="Daraja named no time to compare this machine's clock with",
            remedy="run this again once Daraja answers",
        )
    if abs(ahead) > _MOST_OFF:
        return Finding(
            level="problem",
            check="clock",
            text=f"this machine's clock is {abs(ahead):.0f} s {'ahead' if ahead > 0 else 'behind'}, "
            "and the time is a part of each password",
            remedy="set the clock, and keep it right with NTP",
        )
    return Finding(level="ok", check="clock", text="agrees with Daraja's")
