"""``mpesa-stk trigger``: sends the callback of a scenario to the host's own endpoint."""

from __future__ import annotations

import argparse
import hashlib
import random
import re
import string
import sys
from collections.abc import Mapping
from queue import SimpleQueue
from threading import Thread
from typing import TextIO

from mpesa_stk.clock import Clock, SystemClock
from mpesa_stk.commands import posting
from mpesa_stk.commands.parsers import BAD_ARGUMENTS, DONE, UNKNOWN, Commands
from mpesa_stk.commands.posting import Answer, Receiver
from mpesa_stk.commands.telling import Told
from mpesa_stk.daraja.models import check_checkout_id
from mpesa_stk.errors import InvalidRequest
from mpesa_stk.secrecy import mask_checkout_id
from mpesa_stk.simulator.demo import check_order
from mpesa_stk.simulator.endpoints import request_id
from mpesa_stk.simulator.faults import FAULTS
from mpesa_stk.simulator.outcomes import OUTCOMES
from mpesa_stk.simulator.phones import Phones
from mpesa_stk.simulator.prompts import Prompt, callback_body
from mpesa_stk.simulator.scenarios import SCENARIOS, Scenario

__all__ = ["add_to", "callbacks_of", "run"]

_RECEIPT = re.compile(r"[A-Za-z0-9]{5,32}")
_RECEIPT_LETTERS = string.ascii_uppercase + string.digits
_RECEIPT_LENGTH = 10
_SIGNED_WITH = "callback_secret, --transaction-no, --amount, --account"
# A refused token was not executed: the push is sent again with a new one, and the customer is asked.
_PUSHED_AGAIN = ("token-refused-404", "token-refused-401")


def add_to(commands: Commands, /) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "trigger",
        help="send a callback to your own endpoint, as Daraja would",
        description="Sends the callback of a scenario to your own callback URL and prints the "
        "answer. No proxy is used and no redirect is followed.",
    )
    subject = command.add_mutually_exclusive_group(required=True)
    subject.add_argument("scenario", metavar="SCENARIO", nargs="?", type=_scenario)
    subject.add_argument("--list", action="store_true", help="list the scenarios, and end")
    posting.add_options(command)
    command.add_argument("--checkout-request-id", metavar="ID", help="of the push (made up)")
    command.add_argument("--merchant-request-id", metavar="ID", help="of the push (made up)")
    command.add_argument("--phone", default="0718643064", help="who pays (%(default)s)")
    command.add_argument("--amount", default="100", help="whole shillings (%(default)s)")
    command.add_argument("--receipt", help="of a payment (made from the checkout request id)")
    command.add_argument(
        "--transaction-no", metavar="NO", help="sign for this payment, where callback_secret is set"
    )
    command.add_argument(
        "--unsigned", action="store_true", help="send without a token, whatever is set"
    )
    command.add_argument("--print", action="store_true", help="print the body, and send nothing")
    command.add_argument("--json", action="store_true", help="one JSON object on stdout")
    command.set_defaults(command=run)


def _scenario(text: str) -> str:
    if text not in SCENARIOS:
        raise argparse.ArgumentTypeError("is no scenario: see `mpesa-stk trigger --list`")
    return text


def callbacks_of(scenario: Scenario, /) -> int:
    """How many callbacks the push of a scenario brings; 0 too where no phone ever rings."""
    name = scenario.push_fault
    rings = name is None or FAULTS[name].executed or name in _PUSHED_AGAIN
    return scenario.callbacks if rings else 0


def run(
    arguments: argparse.Namespace,
    *,
    environ: Mapping[str, str] | None = None,
    clock: Clock | None = None,
    stdout: TextIO | None = None,
) -> int:
    """List the scenarios, or print or send the callback of one; returns the exit code."""
    if arguments.list:
        print("\n".join(_table()), file=stdout)
        return DONE
    clock = clock or SystemClock()
    scenario = SCENARIOS[arguments.scenario]
    try:
        _check_has_callback(arguments.scenario, scenario)
        prompt = _prompt(arguments, scenario, clock)
        if arguments.print:
            print(callback_body(prompt).decode(), file=stdout)
            return DONE
        receiver = posting.receiver(arguments, environ)
        url = _address(arguments, receiver, prompt)
    except InvalidRequest as error:
        print(f"mpesa-stk trigger: {error}", file=sys.stderr)
        return BAD_ARGUMENTS
    try:
        answers = _post(url, prompt, clock, arguments.timeout)
    except KeyboardInterrupt:
        print("mpesa-stk trigger: stopped: your shop may have taken it", file=sys.stderr)
        return UNKNOWN
    told = _told(arguments.scenario, prompt, receiver, answers)
    return told.show(as_json=arguments.json, stdout=stdout)


def _check_has_callback(name: str, scenario: Scenario) -> None:
    if not scenario.callbacks:
        raise InvalidRequest(
            name, "has no callback: it is lost, and only the status query tells of the payment"
        )
    if not callbacks_of(scenario):
        raise InvalidRequest(name, "has no callback: its push reaches no phone")


# --- what is sent ----------------------------------------------------------------------------------------


def _prompt(arguments: argparse.Namespace, scenario: Scenario, clock: Clock) -> Prompt:
    """The prompt that the callback is about, answered now.

    Raises:
        InvalidRequest: An argument breaks a rule.
    """
    order = check_order(phone=arguments.phone, amount=arguments.amount, reference="TRIGGER")
    phones = Phones(clock, callback_tries=1)
    phone_number = order.phone_number.msisdn
    checkout_request_id = arguments.checkout_request_id
    if checkout_request_id is None:
        checkout_request_id = phones.free_id(phone_number)
    check_checkout_id(checkout_request_id)
    merchant_request_id = arguments.merchant_request_id
    if merchant_request_id is None:
        merchant_request_id = request_id(random.SystemRandom())
    now = clock.now()
    return Prompt(
        merchant_request_id=_merchant_id(merchant_request_id),
        checkout_request_id=checkout_request_id,
        phone_number=phone_number,
        amount=order.amount,
        reference=order.reference,
        callback_url="",
        scenario=scenario,
        opened=now,
        ends=now,
        ends_at=clock.monotonic(),
        answer=phones.ends_of(scenario)[2],
        receipt_number=_receipt(arguments.receipt, checkout_request_id),
    )


def _merchant_id(given: str) -> str:
    try:
        return check_checkout_id(given)
    except InvalidRequest as error:
        raise InvalidRequest("merchant_request_id", error.rule) from None


def _receipt(given: str | None, checkout_request_id: str) -> str:
    """The receipt; a made-up one is the same for the same payment, as it is for a repeated callback."""
    if given is None:
        digest = hashlib.sha256(checkout_request_id.encode()).digest()[:_RECEIPT_LENGTH]
        return "".join(_RECEIPT_LETTERS[byte % len(_RECEIPT_LETTERS)] for byte in digest)
    if not _RECEIPT.fullmatch(given):
        raise InvalidRequest("receipt", "must be 5 to 32 letters and digits")
    return given


def _address(arguments: argparse.Namespace, receiver: Receiver, prompt: Prompt) -> str:
    """Where to: with a token, as soon as something says that one is wanted."""
    number = arguments.transaction_no
    if arguments.unsigned or (number is None and not receiver.secrets):
        return receiver.url
    if number is None:
        rule = "is needed to sign, since callback_secret is set; --unsigned sends without a token"
        raise InvalidRequest("transaction_no", rule)
    return receiver.signed(transaction_no=number, amount=prompt.amount)


def _post(url: str, prompt: Prompt, clock: Clock, timeout: float) -> list[Answer]:
    """Post the callback as often as the scenario says, all at the same time."""
    body, count = callback_body(prompt), prompt.scenario.callbacks

    def post() -> Answer:
        return posting.post(url, body, clock=clock, timeout=timeout)

    if count == 1:
        return [post()]
    # No pool: its end, and the interpreter's, would wait for the answers after Ctrl-C.
    answers: SimpleQueue[Answer] = SimpleQueue()
    for _ in range(count):
        Thread(target=lambda: answers.put(post()), daemon=True).start()
    return [answers.get() for _ in range(count)]


# --- what is told ----------------------------------------------------------------------------------------


def _table() -> list[str]:
    rows = [f"{'scenario':<20}  callbacks  {'code':<10}  what the callback says"]
    phones = Phones(SystemClock(), callback_tries=1)
    for name, scenario in SCENARIOS.items():
        count = callbacks_of(scenario)
        if count:
            outcome = OUTCOMES[phones.ends_of(scenario)[2]]
            rows.append(f"{name:<20}  {count:<9}  {outcome.code:<10}  {outcome.description}")
        else:
            rows.append(f"{name:<20}  {'none':<9}  {'-':<10}  -")
    return rows


def _told(scenario: str, prompt: Prompt, receiver: Receiver, answers: list[Answer]) -> Told:
    complaints = [
        text for answer in answers for text in answer.complaints(signed_with=_SIGNED_WITH)
    ]
    masked = mask_checkout_id(prompt.checkout_request_id)
    lines = [
        f"callback      {scenario}: code {prompt.outcome.code}, {masked}",
        f"posted to     {receiver.url}",
    ]
    for number, answer in enumerate(answers, start=1):
        name = "answer" if len(answers) == 1 else f"answer {number}"
        lines.append(f"{name:<13} {answer}")
        lines += [f"{'':13} {line}" for line in answer.body.splitlines()]
    return Told(
        code=posting.exit_code(answers),
        lines=tuple(lines),
        facts={
            "scenario": scenario,
            "url": receiver.url,
            "checkout_request_id": prompt.checkout_request_id,
            "merchant_request_id": prompt.merchant_request_id,
            "result_code": str(prompt.outcome.code),
            "taken": all(answer.posted.taken for answer in answers),
            "answers": [
                {
                    "status": answer.posted.status,
                    "error": answer.posted.error,
                    "seconds": round(answer.seconds, 3),
                    "body": answer.body,
                }
                for answer in answers
            ],
        },
        warning="\n".join(f"warning: {text}" for text in dict.fromkeys(complaints)),
    )
