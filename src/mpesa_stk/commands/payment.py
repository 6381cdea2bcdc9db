"""``mpesa-stk push``, ``query`` and ``wait``: one payment, with the settings of the environment."""

from __future__ import annotations

import argparse
import re

from mpesa_stk.client import StkClient
from mpesa_stk.commands.context import Context
from mpesa_stk.commands.exit_codes import DONE, NOT_DONE, UNKNOWN
from mpesa_stk.commands.options import Subparsers, add_json, add_language, seconds
from mpesa_stk.commands.report import (
    HEADLINES,
    NOT_AGAIN,
    Report,
    error_report,
    interruption_report,
    report_on,
)
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
    InvalidRequest,
    MpesaError,
    NotSent,
    OutcomeUnknown,
    SubscriberBusy,
)

_LONGEST_WAIT = 86_400.0
_WAIT_FOR_PUSH = 120.0
_ID_START = "ws_CO_"
# Ids that people mistake for a CheckoutRequestID (docs/daraja.md, sections 3 and 6).
_OTHER_IDS = (
    (re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE), "a transaction_no"),
    (re.compile(r"[0-9a-f]+(?:-[0-9a-f]+)+", re.IGNORECASE), "a MerchantRequestID"),
    (re.compile(r"(?=.*[A-Z])[A-Z0-9]{10}"), "a receipt number"),
)


def add_to(commands: Subparsers, /) -> None:
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
        "--timeout",
        type=seconds(_LONGEST_WAIT, zero=True),
        default=_WAIT_FOR_PUSH,
        help="seconds at most (%(default).0f)",
    )
    push.set_defaults(command=run_push)
    query.set_defaults(command=run_query)
    wait.set_defaults(command=run_wait)
    for command in (push, query, wait):
        add_language(command)
        add_json(command)


# --- the commands ------------------------------------------------------------------------------------


def run_push(context: Context, arguments: argparse.Namespace, /) -> int:
    """Send one push, and wait for its outcome."""
    with context.client(context.settings()) as client:
        request = client.check_push(
            phone_number=arguments.phone,
            amount=shillings_of(arguments.amount),
            reference=arguments.reference,
            description=arguments.description,
        )
        report = _push(client, request, arguments, _Progress(context))
    return report.show(context, as_json=arguments.json)


def run_query(context: Context, arguments: argparse.Namespace, /) -> int:
    """Ask Daraja once about a push."""
    report = query_report(context, arguments.checkout_request_id, arguments.lang)
    return report.show(context, as_json=arguments.json)


def query_report(context: Context, given: str, language: Language, /) -> Report:
    """Ask Daraja once about a push, and report the answer."""
    checkout_request_id = _checked_id(given)
    with context.client(context.settings(needs_callback=False)) as client:
        return report_on(
            lambda: client.query(checkout_request_id),
            checkout_request_id=checkout_request_id,
            language=language,
        )


def run_wait(context: Context, arguments: argparse.Namespace, /) -> int:
    """Ask Daraja about a push until it is paid or has failed, or until the time is over."""
    checkout_request_id = _checked_id(arguments.checkout_request_id)
    with context.client(context.settings(needs_callback=False)) as client:
        progress = _Progress(context)
        report = _wait(client, checkout_request_id, arguments.timeout, arguments.lang, progress)
    return report.show(context, as_json=arguments.json)


def _checked_id(text: str) -> str:
    """Check that a text can be a CheckoutRequestID, before Daraja is asked.

    Raises:
        InvalidRequest: It cannot.
    """
    if check_checkout_id(text).startswith(_ID_START):
        return text
    looks = next(
        (f"; this looks like {name}" for shape, name in _OTHER_IDS if shape.fullmatch(text)), ""
    )
    raise InvalidRequest("checkout_request_id", f"must begin with {_ID_START}{looks}")


# --- the steps ---------------------------------------------------------------------------------------


class _Progress:
    """Prints each step to stderr, with the seconds since the start."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._started = context.clock.monotonic()

    def __call__(self, text: str, /) -> None:
        elapsed = self._context.clock.monotonic() - self._started
        try:
            self._context.say(f"{elapsed:4.0f} s  {text}")
        except BrokenPipeError:
            self._context.drop_output()  # the push is under way: its outcome is still reported

    def note(self, answer: QueryResult, /) -> None:
        """Print the status that Daraja's query answered."""
        self(HEADLINES[answer.status])


def _push(
    client: StkClient, request: PushRequest, arguments: argparse.Namespace, progress: _Progress
) -> Report:
    progress(f"asking {request.phone_number.masked} for {request.amount} shillings")
    try:
        accepted = client.send_push(request)
    except KeyboardInterrupt:
        return interruption_report(None)
    except OutcomeUnknown as error:
        return error_report(error, status="UNKNOWN", code=UNKNOWN, hint=NOT_AGAIN)
    except MpesaError as error:
        status = "NOT_SENT" if isinstance(error, NotSent) else "REFUSED"
        return error_report(error, status=status, code=NOT_DONE, hint=_hint(error))
    if arguments.no_wait:
        return _acceptance_report(accepted)
    progress(f"accepted as {accepted.checkout_request_id}, waiting for the customer")
    return _wait(client, accepted.checkout_request_id, _WAIT_FOR_PUSH, arguments.lang, progress)


def _wait(
    client: StkClient,
    checkout_request_id: str,
    timeout: float,
    language: Language,
    progress: _Progress,
) -> Report:
    return report_on(
        lambda: client.wait_for_result(checkout_request_id, timeout=timeout, on_poll=progress.note),
        checkout_request_id=checkout_request_id,
        language=language,
    )


def _acceptance_report(accepted: PushAccepted) -> Report:
    return Report(
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
    """Advise on a push that reached no phone."""
    if isinstance(error, NotSent):
        return "nothing left this machine: it is safe to try again"
    if isinstance(error, SubscriberBusy):
        return "wait at least a minute, and see first whether the open prompt is yours"
    if isinstance(error, AuthenticationFailed):
        return "`mpesa-stk doctor` says which setting is wrong"
    return "no prompt appeared"
