"""``mpesa-stk serve``: the three payment endpoints over HTTP, on a simulator or on Daraja itself."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator

import attrs

from mpesa_stk.client import StkClient
from mpesa_stk.commands.due_loop import do_batches
from mpesa_stk.commands.parsers import BAD_ARGUMENTS, DONE, NOT_DONE, Commands
from mpesa_stk.commands.posting import secrets_of
from mpesa_stk.commands.server import PaymentServer
from mpesa_stk.commands.signals import stop_signals
from mpesa_stk.config import StkConfig
from mpesa_stk.environ import REQUIRED
from mpesa_stk.errors import ConfigurationError
from mpesa_stk.hooks import visible
from mpesa_stk.payments.due import DueReport
from mpesa_stk.payments.flow import Payments
from mpesa_stk.payments.memory import MemoryTransactionStore
from mpesa_stk.payments.signing import signed_url
from mpesa_stk.payments.transaction import Transaction
from mpesa_stk.simulator.demo import fresh_merchant
from mpesa_stk.simulator.scenarios import Scenario
from mpesa_stk.simulator.server import SimulatorServer
from mpesa_stk.urls import is_loopback_url, origin_of
from mpesa_stk.web.endpoints import PaymentEndpoints
from mpesa_stk.web.guard import CallbackGuard

__all__ = ["add_to", "run"]

_HIGHEST_PORT = 65_535
_EVERY = 2.0
_DEADLINE = 5.0
_NEVER = Scenario(answer_after=86_400.0)
_RISK = (
    "whoever can send from an allowed address, such as your proxy's, could report any payment as "
    "paid, and a push whose answer is lost is never matched with its callback"
)

_CHECKOUT = {
    "phone_number": "0718643064",
    "amount": 100,
    "reference": "INV-2024-001",
    "description": "Payment for services",
}


def add_to(commands: Commands, /) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "serve",
        help="serve the checkout, query and callback endpoints",
        description="Serves the checkout, query and callback endpoints: against Daraja as the "
        "environment variables say, or against a simulated one where none of them is set.",
    )
    command.add_argument(
        "--simulate",
        action="store_true",
        help="use a simulated Daraja, whatever credentials are set",
    )
    command.add_argument("--host", default="127.0.0.1", help="listen on (%(default)s)")
    command.add_argument(
        "--port", default=8000, type=_port, help="listen on; 0 for any free one (%(default)s)"
    )
    command.add_argument(
        "--unsigned-callbacks",
        action="store_true",
        help="serve without callback_secret, though callbacks can then be forged",
    )
    command.set_defaults(command=_run)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > _HIGHEST_PORT:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to {_HIGHEST_PORT}")
    return int(text)


def _run(arguments: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with stop_signals() as wish:
        try:
            config = None if arguments.simulate else _settings()
            if not arguments.unsigned_callbacks:
                _demand_signing(config)
            return run(
                config,
                host=arguments.host,
                port=arguments.port,
                wait=wish.wait,
                callback_secrets=() if config else secrets_of(os.environ),
            )
        except ConfigurationError as error:
            _say(f"mpesa-stk serve: {error}")
            return BAD_ARGUMENTS


def _settings() -> StkConfig | None:
    """The settings of the environment variables, or None where no credentials are set at all.

    Raises:
        ConfigurationError: Some are set, but they cannot work.
    """
    try:
        return StkConfig.from_env()
    except ConfigurationError as error:
        if {name for name, rule in error.problems if rule == "is not set"} < set(REQUIRED):
            raise
    _say("No credentials are set in the environment, so Daraja is simulated.")
    return None


def _demand_signing(config: StkConfig | None) -> None:
    """Refuse to take money by unsigned callbacks, unless that was asked for.

    Raises:
        ConfigurationError: Daraja is elsewhere, and no secret is set.
    """
    if config is None or config.callback_secrets or config.environment.is_loopback:
        return
    rule = (
        f"is not set: {_RISK}. Set a random text of at least 16 characters, or say "
        "--unsigned-callbacks"
    )
    raise ConfigurationError((("callback_secret", rule),))


def run(
    config: StkConfig | None,
    /,
    *,
    host: str,
    port: int,
    wait: Callable[[], object],
    every: float = _EVERY,
    callback_secrets: tuple[str, ...] = (),
) -> int:
    """Serve the endpoints until told to stop, then finish the requests in flight.

    Args:
        config: The settings, or None to simulate Daraja.
        host: Address to listen on.
        port: Port to listen on; 0 for any free one.
        wait: Called once all is served; returns when it is time to stop.
        every: Seconds between two looks at what is due.
        callback_secrets: What signs callback URLs where Daraja is simulated; made up if not given.

    Returns:
        Exit code: 0, or 1 where the address cannot be had.

    Raises:
        ConfigurationError: Daraja cannot be simulated for such a host.
    """
    if config is None and not is_loopback_url(origin_of(host, 1)):
        rule = "must be an address of this machine alone, 0.0.0.0 or ::, to simulate Daraja"
        raise ConfigurationError((("host", rule),))
    try:
        server = PaymentServer(host, port)
    except OSError as error:
        _say(f"mpesa-stk serve: cannot listen on {host}, port {port}: {error.strerror or error}")
        return NOT_DONE
    with contextlib.ExitStack() as stack:
        stack.enter_context(server)
        daraja = None
        if config is None:
            merchant = fresh_merchant()
            if callback_secrets:
                merchant = attrs.evolve(merchant, callback_secrets=callback_secrets)
            daraja = stack.enter_context(SimulatorServer(merchant))
            config = attrs.evolve(
                merchant,
                environment=daraja.environment,
                callback_url=f"{server.origin}/payments/callback",
            )
        client = stack.enter_context(StkClient(config))
        payments = Payments(client, MemoryTransactionStore())
        examples = _examples(server.origin, payments, daraja)
        # Browsers reach it directly: a page of another site could have its own name lead here.
        guard = attrs.evolve(CallbackGuard.from_config(config), listening_on=host)
        server.set_app(PaymentEndpoints(payments, guard=guard).wsgi)
        stack.enter_context(_following(payments, every))
        server.start()
        stack.callback(server.stop)
        _introduce(config, server.origin, simulated=daraja is not None)
        if callback_secrets:
            _say(f"Callbacks are signed with callback_secret, for {config.account}.")
        _show(f"Serving on {server.origin}\n", *examples)
        wait()
        _say("Stopping: requests in flight are finished.")
    return DONE


@contextlib.contextmanager
def _following(payments: Payments, every: float) -> Iterator[None]:
    """Do what is due, again and again in a thread, and once more at the end."""
    ended = threading.Event()

    def batch() -> DueReport:
        return payments.process_due(on_settled=_tell, deadline=_DEADLINE)

    def follow() -> None:
        do_batches(batch, pause=ended.wait, every=every)
        batch()

    thread = threading.Thread(target=follow, name="mpesa-stk-due", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


# --- what is printed: results and examples to stdout, the rest to stderr ----------------------------


def _tell(transaction: Transaction) -> None:
    """A settled payment on one line: nothing of it names the customer."""
    proof = f"code {visible(transaction.result_code)}"
    if transaction.receipt_number:
        proof = f"receipt {visible(transaction.receipt_number)}"
    _show(
        f"{transaction.state.value}: KES {transaction.amount}, {proof}, "
        f"transaction_no {transaction.transaction_no}"
    )


def _introduce(config: StkConfig, origin: str, *, simulated: bool) -> None:
    if simulated:
        _say("Simulated Daraja: every customer pays after a second, and no money moves.")
    else:
        _say(
            f"Daraja: {config.environment.name}, {config.account}.",
            f"Callbacks to {config.callback_url} must arrive at {origin}/payments/callback.",
            "Whoever reaches checkout can ask any phone for money: let your own machines only.",
        )
        if not config.callback_secrets:
            _say(f"Callbacks are not signed: {_RISK}.")
    _say("Payments are kept in memory only: they are forgotten when this ends.")


def _examples(origin: str, payments: Payments, daraja: SimulatorServer | None) -> list[str]:
    """What to type, to try each endpoint."""
    query = {"checkout_request_id": "CHECKOUT_REQUEST_ID"}
    lines = [
        "# Ask a customer to pay:",
        _curl(f"{origin}/payments/checkout/", _CHECKOUT),
        "# Ask about it; CHECKOUT_REQUEST_ID stands for the CheckoutRequestID of that answer:",
        _curl(f"{origin}/payments/query/", query),
    ]
    if daraja is not None:
        lines += [
            "# Be Daraja, and report that another customer paid:",
            _callback_example(payments, daraja),
        ]
    return [*lines, ""]


def _callback_example(payments: Payments, daraja: SimulatorServer) -> str:
    """The callback of a payment whose customer does not answer by himself."""
    daraja.play(_NEVER)
    sample = payments.checkout(phone_number="0110000001", amount=1, reference="EXAMPLE")
    daraja.play(Scenario())
    items = {"Amount": sample.amount, "MpesaReceiptNumber": "EXAMPLE001"}
    callback = {
        "MerchantRequestID": sample.merchant_request_id,
        "CheckoutRequestID": sample.checkout_request_id,
        "ResultCode": 0,
        "ResultDesc": "The service request is processed successfully.",
        "CallbackMetadata": {
            "Item": [{"Name": name, "Value": value} for name, value in items.items()]
        },
    }
    config = payments.client.config
    url = signed_url(config.callback_url, sample, config.callback_secrets[0])
    return _curl(url, {"Body": {"stkCallback": callback}})


def _curl(url: str, payload: object) -> str:
    body = json.dumps(payload)
    return f"curl -X POST {url} -H \"Content-Type: application/json\" -d '{body}'"


def _show(*lines: str) -> None:
    print(*lines, sep="\n", flush=True)


def _say(*lines: str) -> None:
    print(*lines, sep="\n", file=sys.stderr, flush=True)
