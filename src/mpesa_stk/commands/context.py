"""The context of a command: its settings, the time, and its input and output.

Commands read the process environment, the clock and the standard streams through it alone, so a test can
replace each of them.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import socket
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, TextIO

import attrs

from mpesa_stk.client import StkClient
from mpesa_stk.clock import Clock, SystemClock
from mpesa_stk.config.from_env import settings_from
from mpesa_stk.config.settings import StkConfig
from mpesa_stk.config.several import VARIABLE as ACCOUNTS
from mpesa_stk.config.several import configs_from_env
from mpesa_stk.daraja.exchange import Transport
from mpesa_stk.daraja.tokens import TokenStore
from mpesa_stk.payments.accounts import Accounts
from mpesa_stk.payments.budget import QueryBudget
from mpesa_stk.payments.payments import Payments
from mpesa_stk.payments.store import TransactionStore

Resolve = Callable[[str], Iterable[str]]
"""Returns the addresses of a host name. Raises OSError if there are none."""

_NOT_PRINTABLE = re.compile(r"[^ -~]")
_LONGEST_ANSWER = 100
# Stand for the settings that a command does not use, so that the rest can be checked. The addresses are on
# this machine, where callback secrets that are printed in the documentation are allowed.
_UNUSED = {
    "consumer_key": "unused",
    "consumer_secret": "unused",
    "shortcode": "00000",
    "pass_key": "unused",
    "c2b_callback": "https://unused.example.com/callback",
    "access_token_url": "http://127.0.0.1:9/token",
    "checkout_url": "http://127.0.0.1:9/push",
    "mpesa_query_check_url": "http://127.0.0.1:9/query",
}


class BadArgument(Exception):
    """An argument cannot work, and no request was sent. The text is printed as it is."""


def resolve_host(host: str, /) -> Iterable[str]:
    """Ask the system for the addresses of a host name."""
    return {str(found[4][0]) for found in socket.getaddrinfo(host, None)}


def one_line(text: str, /) -> str:
    """Escape each character that is not printable ASCII, so that a foreign text is safe in a terminal."""
    return _NOT_PRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


@attrs.frozen(kw_only=True)
class Project:
    """The payments of a host's project, which a command uses in place of those of the environment.

    Attributes:
        program: How a person runs commands there: the name of a command is added to it.
        store: Keeps the payments.
        payments: Returns the payments.
    """

    program: str
    store: TransactionStore
    payments: Callable[[], Payments | Accounts]


@attrs.frozen(kw_only=True)
class Context:
    """The world of one run of a command.

    Attributes:
        command: Name of the command, for messages.
        environ: The environment variables.
        clock: The time.
        transport: Sends requests to Daraja. None for HTTP as the settings say.
        resolve: Looks up host names.
        folder: The current folder.
        stdin: Input. None for that of the process.
        stdout: Output for results. None for that of the process.
        project: The host's project that runs the command, or None.
    """

    command: str = ""
    environ: Mapping[str, str] = attrs.field(factory=lambda: os.environ, repr=False)
    clock: Clock = attrs.field(factory=SystemClock)
    transport: Transport | None = None
    resolve: Resolve = resolve_host
    folder: Path = attrs.field(factory=Path)
    stdin: BinaryIO | None = None
    stdout: TextIO | None = None
    project: Project | None = None

    # --- settings ---------------------------------------------------------------------------------

    def settings(self, *, needs_callback: bool = True) -> StkConfig:
        """Read the settings from the environment, and print the warnings about them.

        Args:
            needs_callback: Whether the command sends a callback URL to Daraja. If not, ``c2b_callback``
                is not read.

        Raises:
            ConfigurationError: A setting is missing or cannot work.
        """
        environ = self.environ
        if not needs_callback:
            others = {
                name: text for name, text in environ.items() if name.lower() != "c2b_callback"
            }
            environ = others | {"c2b_callback": _UNUSED["c2b_callback"]}
        with self._shown_warnings():
            return StkConfig.from_env(environ)

    def settings_of_all(self) -> tuple[StkConfig, ...]:
        """Read the settings of all accounts, as `configs_from_env` does, and print the warnings about them.

        Raises:
            ConfigurationError: A setting of an account is missing or cannot work.
        """
        with self._shown_warnings():
            return configs_from_env(self.environ, folder=self.folder)

    def has_accounts(self) -> bool:
        """Whether the environment names several accounts, or a file of accounts."""
        return bool(self.variable(ACCOUNTS))

    @contextlib.contextmanager
    def _shown_warnings(self) -> Iterator[None]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
        for text in dict.fromkeys(str(warning.message) for warning in caught):
            self.complain(f"warning: {text}")

    def variable(self, name: str, /) -> str:
        """Return an environment variable in lower or upper case, or ``""`` if it is not set."""
        texts = (self.environ.get(spelling, "").strip() for spelling in (name, name.upper()))
        return next(filter(None, texts), "")

    def login_name(self) -> str:
        """Return the name of the person at this machine, or ``""`` if the system has none.

        Behind sudo it is the person who called sudo.
        """
        for name in ("SUDO_USER", "LOGNAME", "USER", "USERNAME"):
            if self.environ.get(name):
                return self.environ[name]
        try:
            return getpass.getuser()
        except (ImportError, KeyError, OSError):
            return ""

    def callback_secrets(self) -> tuple[str, ...]:
        """Read the setting ``callback_secret`` alone.

        Raises:
            ConfigurationError: It is set and cannot work.
        """
        secrets = {"callback_secret": self.variable("callback_secret")}
        return StkConfig.from_env(_UNUSED | secrets).callback_secrets

    def account(self) -> str | None:
        """Read the account as transactions store it, or None if the environment does not name one."""
        settings, problems = settings_from(self.environ)
        return None if problems.keys() & {"shortcode", "till_number"} else str(settings["account"])

    def client(self, config: StkConfig, /, *, token_store: TokenStore | None = None) -> StkClient:
        """Return a client with the clock and the transport of this context."""
        return StkClient(
            config, clock=self.clock, transport=self.transport, token_store=token_store
        )

    def payments(
        self,
        configs: tuple[StkConfig, ...],
        store: TransactionStore,
        /,
        *,
        token_store: TokenStore | None = None,
        query_budget: QueryBudget | None = None,
    ) -> Payments | Accounts:
        """Return the payments of one account, or those of the accounts that the environment names.

        The caller closes their connections.
        """
        if self.has_accounts():
            return Accounts(
                store,
                configs,
                clock=self.clock,
                transport=self.transport,
                token_store=token_store,
                query_budget=query_budget,
            )
        client = self.client(configs[0], token_store=token_store)
        return Payments(client, store, query_budget=query_budget)

    # --- words ------------------------------------------------------------------------------------

    def command_line(self, words: str, /) -> str:
        """Return the words to type for a command, such as ``mpesa-stk doctor`` for ``doctor``."""
        return f"{'mpesa-stk ' if self.project is None else self.project.program}{words}"

    # --- input and output -------------------------------------------------------------------------

    def open_input(self) -> BinaryIO:
        """Return stdin as bytes."""
        return self.stdin or sys.stdin.buffer

    def output(self) -> TextIO:
        """Return stdout."""
        return self.stdout or sys.stdout

    def show(self, *lines: str) -> None:
        """Print results to stdout."""
        print(*lines, sep="\n", file=self.stdout, flush=True)

    def say(self, *lines: str) -> None:
        """Print progress or advice to stderr."""
        print(*lines, sep="\n", file=sys.stderr, flush=True)

    def ask(self, question: str, /) -> str | None:
        """Ask a person at a terminal, and return the answer. None if stdin is no terminal."""
        source = self.open_input()
        if not source.isatty():
            return None
        print(question, end=" ", file=sys.stderr, flush=True)
        return source.readline(_LONGEST_ANSWER).decode(errors="replace").strip()

    def complain(self, *lines: str) -> None:
        """Print errors or warnings to stderr, each behind the name of the command."""
        name = self.command_line(self.command)
        self.say(*(f"{name}: {line}" for line in lines))

    def drop_output(self) -> None:
        """Discard unwritten output after the reader of a pipe has gone.

        Otherwise the interpreter would try to write it when it ends, and print a traceback.
        """
        for stream in (self.output(), sys.stderr):
            try:
                stream.flush()
            except BrokenPipeError:
                with Path(os.devnull).open("wb") as nowhere:
                    os.dup2(nowhere.fileno(), stream.fileno())
