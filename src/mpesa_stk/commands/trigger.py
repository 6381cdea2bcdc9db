"""``mpesa-stk trigger``: posts the callback of a scenario to the shop."""

from __future__ import annotations

import argparse
import hashlib
import random
import re
import string
from queue import SimpleQueue
from threading import Thread

from mpesa_stk.commands import posting
from mpesa_stk.commands.context import BadArgument, Context
from mpesa_stk.commands.demo import check_order
from mpesa_stk.commands.exit_codes import DONE, UNKNOWN
from mpesa_stk.commands.options import Subparsers, add_json
from mpesa_stk.commands.posting import Answer, Receiver
from mpesa_stk.commands.report import Report
from mpesa_stk.daraja.models import check_checkout_id
from mpesa_stk.errors import InvalidRequest
from mpesa_stk.privacy import mask_checkout_id
from mpesa_stk.simulator.faults import FAULTS, request_id
from mpesa_stk.simulator.prompts import Prompt, callback_body, checkout_id
from mpesa_stk.simulator.scenarios import OUTCOMES, SCENARIOS, Scenario

_RECEIPT = re.compile(r"[A-Za-z0-9]{5,32}")
_RECEIPT_LETTERS = string.ascii_uppercase + string.digits
_RECEIPT_LENGTH = 10
_SIGNED_WITH = "callback_secret, --transaction-no, --amount, --account"
# A refused token was not executed: the push is sent again with a new one, and the customer is asked.
_PUSHED_AGAIN = ("token-refused-404", "token-refused-401")


def add_to(commands: Subparsers, /) -> None:
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
    add_json(command)
    command.set_defaults(command=run)


def _scenario(text: str) -> str:
    if text not in SCENARIOS:
        raise argparse.ArgumentTypeError("is no scenario: see `mpesa-stk trigger --list`")
    return text


def callbacks_of(scenario: Scenario, /) -> int:
    """Return how many callbacks follow a push: 0 as well if the push reaches no phone."""
    name = scenario.push_fault
    rings = name is None or FAULTS[name].executed or name in _PUSHED_AGAIN
    return scenario.callbacks if rings else 0


def run(context: Context, arguments: argparse.Namespace, /) -> int:
    """List the scenarios, or print or post the callback of one."""
    if arguments.list:
        context.show(*_table())
        return DONE
    scenario = SCENARIOS[arguments.scenario]
    _check_has_callback(arguments.scenario, scenario)
    prompt = _prompt(context, arguments, scenario)
    if arguments.print:
        context.show(callback_body(prompt).decode())
        return DONE
    receiver = posting.read_receiver(context, arguments)
    url = _address(arguments, receiver, prompt)
    try:
        answers = _post(context, url, prompt, arguments.timeout)
    except KeyboardInterrupt:
        context.complain("stopped: your shop may have taken it")
        return UNKNOWN
    report = _report(arguments.scenario, prompt, receiver, answers)
    return report.show(context, as_json=arguments.json)


def _check_has_callback(name: str, scenario: Scenario) -> None:
    if not scenario.callbacks:
        raise BadArgument(
            f"{name}: has no callback: it is lost, and only the status query tells of the payment"
        )
    if not callbacks_of(scenario):
        raise BadArgument(f"{name}: has no callback: its push reaches no phone")


# --- the callback ----------------------------------------------------------------------------------------


def _prompt(context: Context, arguments: argparse.Namespace, scenario: Scenario) -> Prompt:
    """Return the prompt of the callback, answered now.

    Raises:
        InvalidRequest: An argument breaks a rule.
    """
    order = check_order(phone=arguments.phone, amount=arguments.amount, reference="TRIGGER")
    phone_number = order.phone_number.msisdn
    checkout_request_id = arguments.checkout_request_id
    if checkout_request_id is None:
        checkout_request_id = checkout_id(context.clock.now(), phone_number)
    check_checkout_id(checkout_request_id)
    merchant_request_id = arguments.merchant_request_id
    if merchant_request_id is None:
        merchant_request_id = request_id(random.SystemRandom())
    now = context.clock.now()
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
        ends_at=context.clock.monotonic(),
        answer=scenario.answer,
        receipt_number=_receipt(arguments.receipt, checkout_request_id),
    )


def _merchant_id(given: str) -> str:
    try:
        return check_checkout_id(given)
    except InvalidRequest as error:
        raise InvalidRequest("merchant_request_id", error.rule) from None


def _receipt(given: str | None, checkout_request_id: str) -> str:
    """Return the receipt. A made-up one depends on the payment alone, so that a repeat has the same."""
    if given is None:
        digest = hashlib.sha256(checkout_request_id.encode()).digest()[:_RECEIPT_LENGTH]
        return "".join(_RECEIPT_LETTERS[byte % len(_RECEIPT_LETTERS)] for byte in digest)
    if not _RECEIPT.fullmatch(given):
        raise InvalidRequest("receipt", "must be 5 to 32 letters and digits")
    return given


def _address(arguments: argparse.Namespace, receiver: Receiver, prompt: Prompt) -> str:
    """Return the address, with a token if the arguments or the settings ask for one."""
    number = arguments.transaction_no
    if arguments.unsigned or (number is None and not receiver.secrets):
        return receiver.url
    if number is None:
        rule = "is needed to sign, since callback_secret is set; --unsigned sends without a token"
        raise InvalidRequest("transaction_no", rule)
    return receiver.signed(transaction_no=number, amount=prompt.amount)


def _post(context: Context, url: str, prompt: Prompt, timeout: float) -> list[Answer]:
    """Post the callback as often as the scenario says, all at the same time."""
    body, count = callback_body(prompt), prompt.scenario.callbacks

    def post() -> Answer:
        return posting.post(context, url, body, timeout=timeout)

    if count == 1:
        return [post()]
    # A pool would wait for its threads after Ctrl-C, and so would the end of the interpreter.
    answers: SimpleQueue[Answer] = SimpleQueue()
    for _ in range(count):
        Thread(target=lambda: answers.put(post()), daemon=True).start()
    return [answers.get() for _ in range(count)]


# --- output ----------------------------------------------------------------------------------------------


def _table() -> list[str]:
    rows = [f"{'scenario':<20}  callbacks  {'code':<10}  what the callback says"]
    for name, scenario in SCENARIOS.items():
        count = callbacks_of(scenario)
        if count:
            outcome = OUTCOMES[scenario.answer]
            rows.append(f"{name:<20}  {count:<9}  {outcome.code:<10}  {outcome.description}")
        else:
            rows.append(f"{name:<20}  {'none':<9}  {'-':<10}  -")
    return rows


def _report(scenario: str, prompt: Prompt, receiver: Receiver, answers: list[Answer]) -> Report:
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
    return Report(
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
