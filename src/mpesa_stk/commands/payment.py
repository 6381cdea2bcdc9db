"""``mpesa-stk push``, ``query`` and ``wait``: one payment, with the settings of the environment."""

from __future__ import annotations

import argparse
import os
import re
import sys
import warnings
from collections.abc import Mapping
from typing import TextIO

from mpesa_stk.client import StkClient
from mpesa_stk.clock import Clock, SystemClock
from mpesa_stk.commands.parsers import (
    BAD_ARGUMENTS,
    DONE,
    NOT_DONE,
    SEE_DOCTOR,
    UNKNOWN,
    Commands,
)
from mpesa_stk.commands.telling import (
    HEADLINES,
    NOT_AGAIN,
    Told,
    interrupted,
    told_of,
    trouble,
)
from mpesa_stk.config import StkConfig
from mpesa_stk.daraja.http import Transport
from mpesa_stk.daraja.models import (
    PushAccepted,
    PushRequest,
    QueryResult,
    check_checkout_id,
    shillings_of,
)
from mpesa_stk.daraja.results import Language
from mpesa_stk.errors import (
    AuthenticationFailed,
    ConfigurationError,
    InvalidRequest,
    MpesaError,
    NotSent,
    OutcomeUnknown,
    SubscriberBusy,
)

__all__ = ["add_language", "add_to", "read_settings", "run_ask", "run_push"]

_LONGEST_WAIT = 86_400.0
_WAIT_FOR_PUSH = 120.0
# Nobody is told of it: the status query names no callback URL.
_UNUSED_URL = "https://unused.example.com/callback"
_ID_START = "ws_CO_"
# What people take for a CheckoutRequestID (facts, sections 3 and 6).
_OTHER_IDS = (
    (re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE), "a transaction_no"),
    (re.compile(r"[0-9a-f]+(?:-[0-9a-f]+)+", re.IGNORECASE), "a MerchantRequestID"),
    (re.compile(r"(?=.*[A-Z])[A-Z0-9]{10}"), "a receipt number"),
)


def add_to(commands: Commands, /) -> None:
    """Add the commands to the parser."""
    push = commands.add_parser(
        "push",
        help="ask a phone to pay, and wait for the answer",
        description="Sends one push and waits until the customer has decided.",
    )
    push.add_argument("--phone", required=True, help="who pays, in any usual form")
    push.add_argument("--amount", required=True, help="whole shillings")
    push.add_argument("--reference", required=True, help="shown in the prompt, 1 to 12 characters")
    push.add_argument("--description", default="", help="up to 13 characters")
    push.add_argument("--no-wait", action="store_true", help="end when Daraja took the push")
    query = commands.add_parser(
        "query",
        help="ask once what became of a push",
        description="Asks Daraja's status query once.",
    )
    wait = commands.add_parser(
        "wait",
        help="ask until a push is paid or has failed",
        description="Asks Daraja's status query every 15 to 20 seconds until it knows.",
    )
    for command in (query, wait):
        command.add_argument("checkout_request_id", metavar="CHECKOUT_REQUEST_ID")
    wait.add_argument(
        "--timeout", type=_seconds, default=_WAIT_FOR_PUSH, help="seconds at most (%(default).0f)"
    )
    query.set_defaults(command=run_ask, name="query", timeout=None)
    wait.set_defaults(command=run_ask, name="wait")
    push.set_defaults(command=run_push)
    for command in (push, query, wait):
        add_language(command)
        command.add_argument("--json", action="store_true", help="one JSON object on stdout")


def add_language(command: argparse.ArgumentParser, /) -> None:
    """Add the option for the language of what the customer is told."""
    command.add_argument(
        "--lang", choices=("en", "sw"), default="en", help="language of the customer's text"
    )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= _LONGEST_WAIT:
        raise argparse.ArgumentTypeError(f"must be 0 to {_LONGEST_WAIT:.0f} seconds")
    return seconds


# --- the commands ------------------------------------------------------------------------------------


def run_push(
    arguments: argparse.Namespace,
    *,
    environ: Mapping[str, str] | None = None,
    clock: Clock | None = None,
    transport: Transport | None = None,
    stdout: TextIO | None = None,
) -> int:
    """Send one push; returns the exit code."""
    config = read_settings(environ, command="push")
    if config is None:
        return BAD_ARGUMENTS
    with StkClient(config, clock=clock, transport=transport) as client:
        try:
            request = client.check_push(
                phone_number=arguments.phone,
                amount=shillings_of(arguments.amount),
                reference=arguments.reference,
                description=arguments.description,
            )
        except InvalidRequest as error:
            return _refuse(error, command="push")
        told = _push(client, request, arguments, _Progress(clock or SystemClock()))
    return told.show(as_json=arguments.json, stdout=stdout)


def run_ask(
    arguments: argparse.Namespace,
    *,
    environ: Mapping[str, str] | None = None,
    clock: Clock | None = None,
    transport: Transport | None = None,
    stdout: TextIO | None = None,
) -> int:
    """Ask once, or until somebody knows or the time is up; returns the exit code."""
    try:
        checkout_request_id = _checkout_id(arguments.checkout_request_id)
    except InvalidRequest as error:
        return _refuse(error, command=arguments.name)
    config = read_settings(environ, command=arguments.name, calls_back=False)
    if config is None:
        return BAD_ARGUMENTS
    with StkClient(config, clock=clock, transport=transport) as client:
        if arguments.timeout is None:
            told = told_of(
                lambda: client.query(checkout_request_id),
                checkout_request_id=checkout_request_id,
                language=arguments.lang,
            )
        else:
            progress = _Progress(clock or SystemClock())
            told = _wait(client, checkout_request_id, arguments.timeout, arguments.lang, progress)
    return told.show(as_json=arguments.json, stdout=stdout)


def _checkout_id(text: str) -> str:
    """Check that this can be a CheckoutRequestID, before anything is asked or waited for.

    Raises:
        InvalidRequest: It cannot.
    """
    if check_checkout_id(text).startswith(_ID_START):
        return text
    looks = next(
        (f"; this looks like {name}" for shape, name in _OTHER_IDS if shape.fullmatch(text)), ""
    )
    raise InvalidRequest("checkout_request_id", f"must begin with {_ID_START}{looks}")


def read_settings(
    environ: Mapping[str, str] | None, /, *, command: str, calls_back: bool = True
) -> StkConfig | None:
    """Read the settings of the environment.

    Args:
        environ: The variables; those of the process by default.
        command: Name of the command, for what is said on stderr.
        calls_back: Whether Daraja is told a callback URL. If not, none is needed.

    Returns:
        The settings, or None if they cannot work, which is then said on stderr.
    """
    if not calls_back:
        given = os.environ if environ is None else environ
        others = {name: text for name, text in given.items() if name.lower() != "c2b_callback"}
        environ = others | {"c2b_callback": _UNUSED_URL}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            config = StkConfig.from_env(environ)
        except ConfigurationError as error:
            for name, rule in error.problems:
                print(f"mpesa-stk {command}: {name}: {rule}", file=sys.stderr)
            print(f"mpesa-stk {command}: {SEE_DOCTOR}", file=sys.stderr)
            return None
    for warning in caught:
        print(f"mpesa-stk {command}: warning: {warning.message}", file=sys.stderr)
    return config


def _refuse(error: InvalidRequest, *, command: str) -> int:
    print(f"mpesa-stk {command}: {error}", file=sys.stderr)
    return BAD_ARGUMENTS


# --- what happens --------------------------------------------------------------------------------------


class _Progress:
    """Says on stderr what happens, with the seconds since the start."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._started = clock.monotonic()

    def __call__(self, text: str, /) -> None:
        elapsed = self._clock.monotonic() - self._started
        print(f"{elapsed:4.0f} s  {text}", file=sys.stderr, flush=True)

    def note(self, answer: QueryResult, /) -> None:
        """Say what the status query answered."""
        self(HEADLINES[answer.status])


def _push(
    client: StkClient, request: PushRequest, arguments: argparse.Namespace, progress: _Progress
) -> Told:
    progress(f"asking {request.phone_number.masked} for {request.amount} shillings")
    try:
        accepted = client.send_push(request)
    except KeyboardInterrupt:
        return interrupted(None)
    except OutcomeUnknown as error:
        return trouble(error, status="UNKNOWN", code=UNKNOWN, hint=NOT_AGAIN)
    except MpesaError as error:
        status = "NOT_SENT" if isinstance(error, NotSent) else "REFUSED"
        return trouble(error, status=status, code=NOT_DONE, hint=_hint(error))
    if arguments.no_wait:
        return _told_of_acceptance(accepted)
    progress(f"accepted as {accepted.checkout_request_id}, waiting for the customer")
    return _wait(client, accepted.checkout_request_id, _WAIT_FOR_PUSH, arguments.lang, progress)


def _wait(
    client: StkClient,
    checkout_request_id: str,
    timeout: float,
    language: Language,
    progress: _Progress,
) -> Told:
    return told_of(
        lambda: client.wait_for_result(checkout_request_id, timeout=timeout, on_poll=progress.note),
        checkout_request_id=checkout_request_id,
        language=language,
    )


def _told_of_acceptance(accepted: PushAccepted) -> Told:
    return Told(
        code=DONE,
        lines=(
            "result        accepted: Daraja took the push, which does not prove that a prompt appeared",
            f"ask with      mpesa-stk wait {accepted.checkout_request_id}",
        ),
        facts={
            "status": "ACCEPTED",
            "checkout_request_id": accepted.checkout_request_id,
            "merchant_request_id": accepted.merchant_request_id,
            "response_description": accepted.response_description,
        },
    )


def _hint(error: MpesaError) -> str:
    """What to do about a push that reached no phone."""
    if isinstance(error, NotSent):
        return "nothing left this machine: it is safe to try again"
    if isinstance(error, SubscriberBusy):
        return "wait at least a minute, and see first whether the open prompt is yours"
    if isinstance(error, AuthenticationFailed):
        return "`mpesa-stk doctor` says which setting is wrong"
    return "no prompt appeared"
