"""The reasons why a callback was not delivered, and the advice about each. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

import attrs

from mpesa_stk.config.urls import host_of

LOST = "not posted: an outage, and it does not come later"
"""The journal's note on a callback that is lost in an outage."""
WITHHELD = (
    "not posted: the address is not that of the machine that pushed; with --public-callbacks "
    "(public_callbacks=True), callbacks go everywhere"
)
"""The journal's note on a callback that would go to another machine."""


@attrs.frozen(kw_only=True)
class Trouble:
    """The reason why a callback was not delivered.

    Attributes:
        badge: The reason in two or three words, such as ``403 refused``.
        reason: The reason as a sentence.
        advice: Sentences that say what to do.
    """

    badge: str
    reason: str
    advice: tuple[str, ...]


_ROUTE = (
    "Compare this path with the route in your application, its last slash too.",
    "The address comes from the CallBackURL of the push. With mpesa-stk it is the setting C2B_CALLBACK.",
)
_NO_LOGIN = ("Daraja cannot log in. Let this route be called without a login.",)
_LOG = ("Look into the log of your application at that time.",)
_PROXY = (
    "502, 503 and 504 often come from a proxy or tunnel. Check that your application runs behind it.",
)
_HTTP = ("For a server without a certificate, begin the CallBackURL with http://.",)

_OURS = (
    (
        "mpesa-stk lets this machine call back if ACCESS_TOKEN_URL, CHECKOUT_URL and "
        "MPESA_QUERY_CHECK_URL all lead to this machine. Otherwise add the simulator's address to "
        "ALLOWED_CALLBACK_NETWORKS."
    ),
    "If mpesa-stk is behind a proxy or tunnel, set TRUSTED_PROXIES to its address.",
    (
        "If CALLBACK_SECRET is set, the process that pushes and the process that takes the callback need "
        "the same one."
    ),
)
_CSRF = "If your own Django view takes the callback, mark the view with @csrf_exempt."

# By a text in the body of a 4xx, in lower case: badge, the reason after "Your application", and the advice.
_BODIES: Mapping[str, tuple[str, str, tuple[str, ...]]] = MappingProxyType(
    {
        "csrf": (
            "CSRF check",
            "wants a CSRF token, which Daraja does not have",
            (
                "In Django, mark the view with @csrf_exempt.",
                "In other frameworks, exempt this route from the CSRF check.",
            ),
        ),
        '"foreign_host"': (
            "foreign host",
            "does not know the host name {host}",
            (
                "Add {host} to ALLOWED_HOSTS of mpesa-stk, or use the host name that the application has.",
            ),
        ),
        '"callbackrefused"': ("refused", "refuses the callback", _OURS),
    }
)

# By HTTP status: badge, the reason after "Your application", and the advice.
_STATUSES: Mapping[int, tuple[str, str, tuple[str, ...]]] = MappingProxyType(
    {
        401: ("login needed", "asks for a login", _NO_LOGIN),
        403: ("refused", "refuses the callback", (*_OURS, _CSRF)),
        404: ("wrong path", "has no page at {path}", _ROUTE),
        405: ("no POST", "does not take POST at {path}", ("Let the route take POST.", *_ROUTE)),
        407: ("login needed", "asks for a login", _NO_LOGIN),
        410: ("wrong path", "has no page at {path}", _ROUTE),
        413: ("too large", "calls the body too large", ("Allow bodies of at least 64 KiB.",)),
        415: ("no JSON", "does not take JSON", ("Let the route take application/json.",)),
        429: (
            "too many",
            "limits requests",
            ("Exempt the callback from limits of requests. Daraja may not try again.",),
        ),
    }
)
_CLASSES: Mapping[int, tuple[str, str, tuple[str, ...]]] = MappingProxyType(
    {
        3: (
            "redirect",
            "redirects, and Daraja does not follow redirects",
            (
                "Set the CallBackURL to the address that answers.",
                "Usual causes are a missing last slash, http in place of https, and a login page.",
            ),
        ),
        4: ("not read", "does not accept the callback", _LOG),
        5: ("failed", "fails", (*_LOG, *_PROXY)),
    }
)
_OTHER = ("not 2xx", "does not say that it took the callback", ("Answer with 200.",))

# By the poster's words, and the notes above: badge, reason, advice.
_SILENT: Mapping[str, tuple[str, str, tuple[str, ...]]] = MappingProxyType(
    {
        "nobody listens there": (
            "no server",
            "No server listens at {place}.",
            (
                "Start your application, and compare its address and port with {place}.",
                (
                    "The address comes from the CallBackURL of the push. With mpesa-stk it is the setting "
                    "C2B_CALLBACK."
                ),
                (
                    "If your application runs in a container, use the address of the container, and start "
                    "the simulator with --public-callbacks."
                ),
            ),
        ),
        "its host name is not known": (
            "unknown host",
            "The host name of {place} is not known on this machine.",
            (
                "Correct the host name in the CallBackURL.",
                "On this machine, use 127.0.0.1 and the port of your application.",
            ),
        ),
        "its certificate is not trusted": (
            "certificate",
            "The certificate of {place} is not trusted.",
            ("Use a certificate that this machine trusts.", *_HTTP),
        ),
        "TLS failed": ("no https", "{place} does not speak https.", _HTTP),
        "it hung up without an answer": (
            "hung up",
            "The server at {place} closed the connection without an answer.",
            (*_LOG, "If this port speaks https, begin the CallBackURL with https://."),
        ),
        "it cannot be reached": (
            "unreachable",
            "{place} cannot be reached from this machine.",
            ("Check the address, the network and the firewall.",),
        ),
        "its answer is not HTTP": (
            "not HTTP",
            "The answer of {place} is not HTTP.",
            ("Compare the port with that of your application.",),
        ),
        "its address cannot be used": (
            "bad address",
            "The CallBackURL is not an address that can be called.",
            ("Use an address such as http://127.0.0.1:8000/payments/callback.",),
        ),
        WITHHELD: (
            "not sent",
            "The callback was not sent, because {place} is not the machine that pushed.",
            (
                (
                    "For an application on this machine, use a CallBackURL such as "
                    "http://127.0.0.1:8000/payments/callback."
                ),
                (
                    "For another machine, a container or a tunnel, start the simulator with "
                    "--public-callbacks."
                ),
            ),
        ),
        LOST: (
            "lost in outage",
            "The callback was lost, because an outage was on.",
            ("End the outage to have the next callbacks delivered.",),
        ),
    }
)
_TOO_LATE = (
    "timed out",
    "{place} gave {note}.",
    (
        "Answer first, and do slow work afterwards.",
        "A development server with one thread cannot take the callback while it works on another request.",
    ),
)
_UNKNOWN = ("no answer", "There was no answer: {note}.", _LOG)


def trouble_of(*, status: int | None, note: str, url: str, answered: str = "") -> Trouble:
    """Explain why a callback was not delivered.

    Args:
        status: HTTP status of the answer, or None without an answer.
        note: The journal's note on the callback.
        url: Address of the callback.
        answered: Body of the answer.
    """
    facts = {
        "place": _place_of(url),
        "path": _path_of(url),
        "host": host_of(url),
        "note": note,
    }
    if status is None:
        late = _TOO_LATE if note.startswith("no answer within") else _UNKNOWN
        badge, reason, advice = _SILENT.get(note, late)
    else:
        word, does, advice = _answer(status, answered.lower())
        badge, reason = f"{status} {word}", f"Your application answered {status}: it {does}."
        if 300 <= status < 400 and note:  # noqa: PLR2004 - HTTP's redirects
            advice = (*advice, f"In this case, {note}.".replace("{", "{{").replace("}", "}}"))
    return Trouble(
        badge=badge,
        reason=reason.format(**facts),
        advice=tuple(sentence.format(**facts) for sentence in advice),
    )


def _answer(status: int, body: str) -> tuple[str, str, tuple[str, ...]]:
    """The badge, the reason and the advice about an answer that is not 2xx."""
    if 400 <= status < 500:  # noqa: PLR2004 - HTTP's errors of the client
        for text, known in _BODIES.items():
            if text in body:
                return known
    return _STATUSES.get(status) or _CLASSES.get(status // 100, _OTHER)


def _place_of(url: str) -> str:
    """Host and port of an address, without a name and password."""
    host = host_of(url)
    if not host:
        return "this address"
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _path_of(url: str) -> str:
    return (urlsplit(url).path or "/") if host_of(url) else "this address"
