"""What `mpesa-stk doctor` says of names that nothing reads, of tunnels and of open doors. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping

from mpesa_stk.commands.checks import NAMES, Finding, is_live
from mpesa_stk.config import StkConfig
from mpesa_stk.environ import REQUIRED
from mpesa_stk.strength import is_too_wide, secret_fault
from mpesa_stk.urls import host_of

__all__ = ["of_file", "of_names", "of_open_doors", "of_tunnel"]

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_SET_IN_FILE = re.compile(r"^[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=", re.MULTILINE)
_WORDS_IN_FRONT = re.compile("(?:MPESA|DARAJA|SAFARICOM|LNM|STK)+")
_ALIKE = 0.92

_TUNNELS = (
    "ngrok-free.app",
    "ngrok-free.dev",
    "ngrok.app",
    "ngrok.dev",
    "ngrok.io",
    "trycloudflare.com",
    "loca.lt",
    "lhr.life",
    "localhost.run",
    "serveo.net",
    "devtunnels.ms",
    "pinggy.link",
)
_PLATFORMS = (
    "onrender.com",
    "herokuapp.com",
    "up.railway.app",
    "fly.dev",
    "vercel.app",
    "run.app",
    "appspot.com",
    "azurewebsites.net",
    "ondigitalocean.app",
    "koyeb.app",
    "replit.app",
    "pythonanywhere.com",
)


# --- names that nothing reads ----------------------------------------------------------------------------


def of_names(environ: Mapping[str, str], /) -> Iterator[Finding]:
    """Variables that nothing reads, though their names come close to an optional setting's.

    A missing setting that is required says so itself.
    """
    for other in sorted(environ):
        meant = _meant(other)
        if meant in NAMES - set(REQUIRED) and not _is_set(environ, meant) and environ[other]:
            yield Finding(
                level="warning",
                check=meant,
                text=f"is not set, but {other} is, which nothing reads",
                remedy=f"did you mean {meant.upper()}? Rename the variable",
            )


def of_file(text: str, environ: Mapping[str, str], /) -> Iterator[Finding]:
    """Settings in a file ``.env`` of this folder that are not in the environment.

    Args:
        text: What the file holds.
        environ: The variables that are set.
    """
    found = dict.fromkeys(_SET_IN_FILE.findall(text))
    unread = [name for name in found if (meant := _meant(name)) and not _is_set(environ, meant)]
    if unread:
        yield Finding(
            level="warning",
            check=".env",
            text=f"lies in this folder with {', '.join(unread)}, but nothing reads it",
            remedy="load it into the environment first: set -a; . ./.env; set +a",
        )


def _is_set(environ: Mapping[str, str], name: str) -> bool:
    return any(environ.get(spelling, "").strip() for spelling in (name, name.upper()))


def _meant(other: str) -> str | None:
    """The variable that a name stands for or comes close to, or None."""
    if not _NAME.fullmatch(other):
        return None
    letters = re.sub("[^A-Z0-9]", "", other.upper())
    front = _WORDS_IN_FRONT.match(letters)
    known = _letters_of(NAMES, cut=front is not None)
    # Many files of environment variables shorten this one.
    known |= {"ENV": "mpesa_environment"} if front else {}
    near = difflib.get_close_matches(letters[front.end() :] if front else letters, known, 1, _ALIKE)
    return known[near[0]] if near else None


def _letters_of(names: Iterable[str], *, cut: bool) -> dict[str, str]:
    """Each name by its letters, with the words in front cut off or not."""
    by_letters = {name.replace("_", "").upper(): name for name in names}
    if not cut:
        return by_letters
    return {_WORDS_IN_FRONT.sub("", letters, 1): name for letters, name in by_letters.items()}


# --- tunnels and open doors ------------------------------------------------------------------------------


def of_tunnel(config: StkConfig, /) -> Iterator[Finding]:
    """A callback URL behind a tunnel or a platform's router."""
    host = host_of(config.callback_url)
    tunnel = host.endswith(tuple(f".{name}" for name in _TUNNELS))
    if tunnel and is_live(config):
        yield Finding(
            level="warning",
            check="c2b_callback",
            text="is a tunnel's, and Safaricom says that it blocks some of them, above all in production",
            remedy="use a host of your own",
        )
    routed = tunnel or host.endswith(tuple(f".{name}" for name in _PLATFORMS))
    if routed and not config.trusted_proxies:
        yield Finding(
            level="warning",
            check="trusted_proxies",
            text=f"is not set: behind a {'tunnel' if tunnel else 'platform router'} every callback comes "
            f"from the {'tunnel' if tunnel else 'router'} and not from Safaricom, so the endpoints "
            "refuse it",
            remedy="set it to 127.0.0.1 if the tunnel's program runs on this machine"
            if tunnel
            else "set it to the router's addresses or networks, as the platform's documentation or "
            "your server's log names them",
        )


def of_open_doors(config: StkConfig, /) -> Iterator[Finding]:
    """Secrets that everybody knows, and networks that hold everybody."""
    live = is_live(config)
    for secret in config.callback_secrets:
        fault = secret_fault(secret)
        if fault:
            yield Finding(
                level="problem" if live else "warning",
                check="callback_secret",
                text=f"one {fault}",
                remedy="set a random text of at least 16 characters, the same for all workers",
            )
    for name, networks in (
        ("allowed_callback_networks", config.allowed_callback_networks),
        ("trusted_proxies", config.trusted_proxies),
    ):
        if any(map(is_too_wide, networks)):
            # Some platforms hide the client's address. Then signed callback URLs are the guard.
            meant = name == "allowed_callback_networks" and config.callback_secrets
            yield Finding(
                level="problem" if live and not meant else "warning",
                check=name,
                text="holds addresses of everybody, so it keeps nobody out",
                remedy="name networks such as 10.0.0.0/8, or unset it",
            )
