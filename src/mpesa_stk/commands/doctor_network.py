"""Checks of `mpesa-stk doctor` that send requests: to Daraja, and to your own callback URL."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

from mpesa_stk.client import StkClient
from mpesa_stk.clock import Clock
from mpesa_stk.commands.context import Context, Resolve
from mpesa_stk.commands.doctor_settings import Finding, Level
from mpesa_stk.config.settings import StkConfig
from mpesa_stk.config.urls import host_of, is_loopback_url
from mpesa_stk.daraja.exchange import HttpRequest, HttpResponse, Transport
from mpesa_stk.daraja.retry import RetryPolicy
from mpesa_stk.errors import (
    AuthenticationFailed,
    DarajaError,
    GatewayBlocked,
    MpesaError,
    NotSent,
    OutcomeUnknown,
    RateLimited,
    TransportError,
    UnexpectedResponse,
)

# Has the shape of Daraja's ids, with a date and a phone number that cannot exist.
_MADE_UP_ID = "ws_CO_01011970000000000700000000"
_MOST_OFF = 60.0
# Has the shape of the token at the end of a signed callback URL.
_MADE_UP_TOKEN = f"00000000-0000-4000-8000-000000000000.{'0' * 32}"
# The ends of the transport's words for a time-out.
_SILENCE = ("timed out", "in time")


def check_network(context: Context, config: StkConfig, /) -> Iterator[Finding]:
    """Ask Daraja and the callback URL, and yield the findings."""
    transport = context.transport if context.transport is not None else _make_transport(config)
    watch = _Watch(transport, context.clock)
    with StkClient(
        config, transport=watch, clock=context.clock, retry=RetryPolicy(attempts=2)
    ) as client:
        yield from _check_daraja(client)
        yield _check_clock(watch.ahead)
        yield from check_callback(config, transport=transport, resolve=context.resolve)


def _make_transport(config: StkConfig) -> Transport:
    # The import of requests takes long, and other commands may not need it.
    from mpesa_stk.daraja.transport import RequestsTransport  # noqa: PLC0415

    return RequestsTransport(
        proxies=config.proxies, ca_bundle=config.ca_bundle, user_agent=config.user_agent
    )


# --- Daraja ----------------------------------------------------------------------------------------------


class _Watch:
    """A transport that compares our clock with the server's.

    Attributes:
        ahead: Seconds by which our clock is ahead, or None before an answer with a date.
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
    """Read a Date header."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _check_daraja(client: StkClient) -> Iterator[Finding]:
    """Fetch a token, and ask about a payment that cannot exist."""
    step = "token"
    try:
        client.token()
        yield Finding(level="ok", check=step, text="consumer_key and consumer_secret are accepted")
        step = "credentials"
        answer = client.query(_MADE_UP_ID)
    except MpesaError as error:
        yield _error_finding(step, error)
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


def _error_finding(step: str, error: MpesaError) -> Finding:
    """Explain an error of Daraja or of the way to it."""
    level: Level = "warning" if isinstance(error, RateLimited) else "problem"
    if isinstance(error, AuthenticationFailed):
        remedy = _CREDENTIALS.get((step, error.reason), _NOT_APPROVED)
    elif isinstance(error, DarajaError) and "merchant" in (error.error_message or "").lower():
        remedy = "set the paybill, or a till's store number and not the till's own, as shortcode"
    else:
        remedy = next(words for kind, words in _ERROR_REMEDIES if isinstance(error, kind))
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
_ERROR_REMEDIES: tuple[tuple[type[MpesaError], str], ...] = (
    (RateLimited, "wait a minute and run this again"),
    (DarajaError, "check Daraja's addresses and the shortcode against the portal"),
    (GatewayBlocked, "tell Safaricom the incident id, or send from another address"),
    (UnexpectedResponse, "check that the addresses are Daraja's own, and run this again later"),
    (NotSent, "check this machine's network; where it needs a proxy, set mpesa_proxy"),
    (OutcomeUnknown, "run this again later; check this machine's network and certificates"),
    (MpesaError, "run this again later"),
)


def _check_clock(ahead: float | None) -> Finding:
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


# --- the callback URL ------------------------------------------------------------------------------------


def check_callback(
    config: StkConfig, /, *, transport: Transport, resolve: Resolve
) -> Iterator[Finding]:
    """Check that the host name resolves, and GET the URL without credentials."""
    try:
        addresses = [ipaddress.ip_address(text) for text in resolve(host_of(config.callback_url))]
    except (OSError, ValueError):
        yield _finding("problem", "its host name does not resolve", "correct the name or its DNS")
        return
    if not is_loopback_url(config.callback_url) and not all(one.is_global for one in addresses):
        yield _finding(
            "warning",
            "its host name resolves to a private address from here",
            "make sure that the public DNS names a public one",
        )
    try:
        answer = transport.send(_request(config))
    except TransportError as error:
        silent = error.reason.endswith(_SILENCE)
        yield _finding(
            "warning" if silent else "problem",
            f"cannot be reached from here: {error.reason}",
            "this is fine if your firewall lets only Safaricom in; if not, look into the server"
            if silent
            else "check that the server runs, its firewall, and its certificate",
        )
    else:
        yield _answer_finding(answer)


def _request(config: StkConfig) -> HttpRequest:
    url = config.callback_url
    if config.callback_secrets:  # then this is the shape of the address that Daraja posts to
        url = f"{url.rstrip('/')}/{_MADE_UP_TOKEN}/"
    return HttpRequest(
        method="GET",
        url=url,
        headers={},
        connect_timeout=config.connect_timeout,
        total_timeout=config.total_timeout,
    )


def _finding(level: Level, text: str, remedy: str = "") -> Finding:
    return Finding(level=level, check="c2b_callback", text=text, remedy=remedy)


def _answer_finding(answer: HttpResponse) -> Finding:
    """Judge the endpoint by its answer to a GET. Daraja is going to POST."""
    status = answer.status
    page = _page_of(answer) if status in _PAGES else ""
    if page:
        firewall = _firewall_of(answer, page)
        what = f"a page, it seems of {firewall}" if firewall else "a web page"
        return _finding(
            "problem",
            f"answers {status} to a GET with {what}: it is not your endpoint that answers",
            "let POSTs to this address through, without a challenge"
            if firewall
            else "send this path to the endpoint, and not to the pages of your site",
        )
    level, words, remedy = _STATUSES.get(status) or _CLASSES.get(status // 100) or _OTHER
    return _finding(level, f"answers {status} to a GET: {words}", remedy)


def _page_of(answer: HttpResponse) -> str:
    """Return the beginning of a web page in lower case, or ``""`` if the answer is not a page."""
    text = answer.body[:_ENOUGH].decode("utf-8", "replace").strip().lower()
    is_page = "html" in answer.headers.get("content-type", "").lower() or text.startswith("<")
    return text if is_page else ""


def _firewall_of(answer: HttpResponse, page: str) -> str:
    """Name the firewall or tunnel that sent this page, or return ``""`` if the shop may have sent it."""
    headers = " ".join((*answer.headers, answer.headers.get("server", ""))).lower()
    challenged = "cf-mitigated" in headers or any(mark in page for mark in _CHALLENGES)
    if answer.status < _REFUSED and not challenged:
        return ""  # a shop's own page may pass a firewall, and name it
    named = (who for mark, who in _FIREWALLS.items() if mark in headers or mark in page)
    return next(named, "a firewall" if challenged else "")


# Statuses with which no endpoint sends a page. For 404, 405 and 5xx, servers send their usual pages.
_PAGES = (*range(200, 300), 403, 429)
_REFUSED = 400
_ENOUGH = 16_384
# A word in the headers or the page -> the firewall or tunnel before the shop.
_FIREWALLS: Mapping[str, str] = {
    "cloudflare": "the firewall of Cloudflare",
    "cf-mitigated": "the firewall of Cloudflare",
    "incapsula": "the firewall of Imperva",
    "akamai": "the firewall of Akamai",
    "sucuri": "the firewall of Sucuri",
    "awselb": "the firewall of AWS",
    "ngrok": "the tunnel",
}
_CHALLENGES = (
    "just a moment",
    "captcha",
    "attention required",
    "access denied",
    "you are about to visit",
)

_Verdict = tuple[Level, str, str]
_LOGIN: _Verdict = ("problem", "Daraja cannot log in", "let it in without a login")
_NOTHING: _Verdict = ("problem", "nothing is there", "correct the address or the route")
_STATUSES: Mapping[int, _Verdict] = {
    401: _LOGIN,
    407: _LOGIN,
    403: ("ok", "as it should where a guard refuses all but Safaricom's addresses", ""),
    404: _NOTHING,
    405: ("ok", "as an endpoint that takes only POST should", ""),
    410: _NOTHING,
}
_CLASSES: Mapping[int, _Verdict] = {
    2: ("ok", "it is reached", ""),
    3: (
        "problem",
        "Daraja follows no redirect, so every callback would be lost",
        "set the very address that answers, with its www and its slash",
    ),
    5: ("problem", "the server fails", "look into the server's log"),
}
_OTHER: _Verdict = ("warning", "it is reached", "make sure that a POST of JSON is taken there")
