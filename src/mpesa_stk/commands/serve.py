"""``mpesa-stk serve``: the three payment endpoints over HTTP, on a simulator or on Daraja itself."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import threading
from collections.abc import Callable, Iterator

import attrs

from mpesa_stk.commands import database
from mpesa_stk.commands.context import BadArgument, Context
from mpesa_stk.commands.database import DatabaseUrl
from mpesa_stk.commands.exit_codes import DONE, NOT_DONE
from mpesa_stk.commands.loop import do_batches, stop_signals
from mpesa_stk.commands.options import HIGHEST_PORT, Subparsers, whole_number
from mpesa_stk.config.from_env import REQUIRED
from mpesa_stk.config.settings import StkConfig
from mpesa_stk.config.urls import is_loopback_url, origin_of
from mpesa_stk.errors import ConfigurationError
from mpesa_stk.payments.accounts import Accounts
from mpesa_stk.payments.due import DueReport
from mpesa_stk.payments.payments import Payments
from mpesa_stk.payments.signing import signed_url
from mpesa_stk.payments.state import Transaction
from mpesa_stk.privacy import visible
from mpesa_stk.simulator.merchants import fresh_merchant
from mpesa_stk.simulator.scenarios import Scenario
from mpesa_stk.simulator.server import SimulatorServer
from mpesa_stk.stores.memory import MemoryTransactionStore
from mpesa_stk.web.endpoints import PaymentEndpoints
from mpesa_stk.web.guard import CallbackGuard
from mpesa_stk.web.http_server import HttpServer
from mpesa_stk.web.limits import NoLimits

_EVERY = 2.0
_DEADLINE = 5.0
_MOST_CONNECTIONS = 128
_NEVER = Scenario(answer_after=86_400.0)
_RISK = (
    "whoever can send from an allowed address, such as your proxy's, could report any payment as "
    "paid, and a push whose answer is lost is never matched with its callback"
)
_FORGETFUL = "Payments are kept in memory only: they are forgotten when this ends."

_CHECKOUT = {
    "phone_number": "0718643064",
    "amount": 100,
    "reference": "INV-2024-001",
    "description": "Payment for services",
}


def add_to(commands: Subparsers, /) -> None:
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
        "--port",
        default=8000,
        type=whole_number(0, HIGHEST_PORT),
        help="listen on; 0 for any free one (%(default)s)",
    )
    command.add_argument(
        "--unsigned-callbacks",
        action="store_true",
        help="serve without callback_secret, though callbacks can then be forged",
    )
    memory = command.add_mutually_exclusive_group()
    database.add_option(memory)
    memory.add_argument(
        "--forget-payments",
        action="store_true",
        help="keep payments in memory only, though all are forgotten when this ends",
    )
    command.set_defaults(command=run)


def run(context: Context, arguments: argparse.Namespace, /) -> int:
    """Serve the endpoints until a signal stops the command."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with stop_signals() as stop:
        configs = None if arguments.simulate else _settings(context)
        url = None if arguments.forget_payments else database.named(context, arguments.database)
        if configs is not None:
            _check_live(configs, url, arguments)
        elif arguments.database is not None:
            raise BadArgument("--database: payments of a simulated Daraja are kept in memory only")
        else:
            url = None
        host, port = arguments.host, arguments.port
        return serve(context, configs, host=host, port=port, wait=stop.wait, url=url)


def _settings(context: Context) -> tuple[StkConfig, ...] | None:
    """Read the settings, or return None if the environment holds no credentials at all.

    Raises:
        ConfigurationError: Some are set, but they cannot work.
    """
    try:
        return context.settings_of_all()
    except ConfigurationError as error:
        missing = {name for name, rule in error.problems if rule == "is not set"}
        if context.has_accounts() or missing < set(REQUIRED):
            raise
    context.say("No credentials are set in the environment, so Daraja is simulated.")
    return None


def _check_live(
    configs: tuple[StkConfig, ...], url: DatabaseUrl | None, arguments: argparse.Namespace
) -> None:
    """Refuse to take money with unsigned callbacks or without a database, unless the arguments allow it.

    If Daraja is on this machine it is a simulator, and no money moves.

    Raises:
        ConfigurationError: It is refused.
    """
    if configs[0].environment.is_loopback:
        return
    problems = []
    signed = all(config.callback_secrets for config in configs)
    if not signed and not arguments.unsigned_callbacks:
        rule = (
            f"is not set: {_RISK}. Set a random text of at least 16 characters, or say "
            "--unsigned-callbacks"
        )
        problems.append(("callback_secret", rule))
    if url is None and not arguments.forget_payments:
        rule = (
            "is not set: payments would be forgotten when this ends, though customers still pay "
            "them. Set it or give --database, or say --forget-payments"
        )
        problems.append((database.VARIABLE, rule))
    if problems:
        raise ConfigurationError(tuple(problems))


def serve(
    context: Context,
    configs: tuple[StkConfig, ...] | None,
    /,
    *,
    host: str,
    port: int,
    wait: Callable[[], object],
    every: float = _EVERY,
    url: DatabaseUrl | None = None,
) -> int:
    """Serve the endpoints until `wait` returns, then finish the requests in flight.

    Args:
        context: The world of the command.
        configs: The settings of each account, or None to simulate Daraja.
        host: Address to listen on.
        port: Port to listen on. 0 for any free one.
        wait: Called when the endpoints are served. Returns when the command is to stop.
        every: Seconds between two batches of due work, for payments in memory.
        url: The database of the payments. None to keep them in memory.

    Returns:
        Exit code: 0, or 1 if the address cannot be had.

    Raises:
        BadArgument: Daraja cannot be simulated for such a host, or the database cannot be opened.
        ConfigurationError: Daraja is simulated, and ``callback_secret`` cannot work.
        StoreError: The database failed.
    """
    simulated = configs is None
    settings = (_merchant(context, host),) if configs is None else configs
    try:
        server = HttpServer(
            lambda request: endpoints.handle(request),  # noqa: PLW0108 - made below, with the port
            host=host,
            port=port,
            keep_alive=False,
            most=_MOST_CONNECTIONS,
        )
    except OSError as error:
        context.complain(f"cannot listen on {host}, port {port}: {error.strerror or error}")
        return NOT_DONE
    with contextlib.ExitStack() as stack:
        stack.callback(server.close)
        daraja = stack.enter_context(SimulatorServer(settings[0])) if simulated else None
        payments: Payments | Accounts
        if daraja is not None:
            merchant = attrs.evolve(
                settings[0],
                environment=daraja.environment,
                callback_url=f"{server.origin}/payments/callback",
            )
            payments = Payments(
                stack.enter_context(context.client(merchant)), MemoryTransactionStore()
            )
            examples = [*_examples(server.origin), *_callback_example(payments, daraja), ""]
        else:
            payments = _open_payments(context, settings, url, stack)
            several = isinstance(payments, Accounts)
            examples = [*_examples(server.origin, _name(settings[0]) if several else ""), ""]
        # Browsers reach this server directly, and the name of another site may lead to it.
        # On a simulator no money moves, so its endpoints show all, and a test may ask as often as it likes.
        is_test = simulated or all(each.environment.is_loopback for each in settings)
        endpoints = PaymentEndpoints(
            payments,
            guard=lambda config: attrs.evolve(CallbackGuard.from_config(config), listening_on=host),
            limits=NoLimits() if is_test else None,
            show_all=is_test,
        )
        if url is None:
            stack.enter_context(_do_due_work(context, payments, every))
        server.start()
        stack.callback(server.close)
        phone = None if daraja is None else daraja.origin
        _introduce(context, settings, server.origin, phone=phone)
        context.say(_FORGETFUL if url is None else _kept_in(url))
        context.show(f"Serving on {server.origin}\n", *examples)
        wait()
        context.say("Stopping: requests in flight are finished.")
    return DONE


def _merchant(context: Context, host: str) -> StkConfig:
    """Return the merchant of a simulated Daraja; raises as `serve` does."""
    if not is_loopback_url(origin_of(host, 1)):
        rule = "must be an address of this machine alone, 0.0.0.0 or ::, to simulate Daraja"
        raise BadArgument(f"host: {rule}")
    merchant, secrets = fresh_merchant(), context.callback_secrets()
    if not secrets:
        return merchant
    context.say(f"Callbacks are signed with callback_secret, for {merchant.account}.")
    return attrs.evolve(merchant, callback_secrets=secrets)


def _open_payments(
    context: Context,
    configs: tuple[StkConfig, ...],
    url: DatabaseUrl | None,
    stack: contextlib.ExitStack,
) -> Payments | Accounts:
    """Open the payments until the stack is closed: in the database, or else in memory."""
    if url is not None:
        return stack.enter_context(database.open_payments(context, url, configs)).ready()
    payments = context.payments(configs, MemoryTransactionStore())
    stack.enter_context(contextlib.closing(database.connections_of(payments)))
    return payments


def _name(config: StkConfig) -> str:
    """Return the full name of an account as a part of a path."""
    return str(config.account).replace(" ", "-")


@contextlib.contextmanager
def _do_due_work(context: Context, payments: Payments | Accounts, every: float) -> Iterator[None]:
    """Do due work in a thread until the block ends, and once more then.

    Payments in a database are left to `worker`, since a report to stdout would keep them from its handler.
    """
    ended = threading.Event()

    def batch() -> DueReport:
        return payments.process_due(
            on_settled=lambda paid: context.show(settled_line(paid)), deadline=_DEADLINE
        )

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


# --- output: results and examples to stdout, the rest to stderr --------------------------------------


def settled_line(transaction: Transaction, /) -> str:
    """Describe a settled payment in one line that does not name the customer."""
    proof = f"code {visible(transaction.result_code)}"
    if transaction.receipt_number:
        proof = f"receipt {visible(transaction.receipt_number)}"
    return (
        f"{transaction.state.value}: KES {transaction.amount}, {proof}, "
        f"transaction_no {transaction.transaction_no}"
    )


def _introduce(
    context: Context, configs: tuple[StkConfig, ...], origin: str, *, phone: str | None
) -> None:
    if phone is not None:
        context.say(
            "Simulated Daraja: every customer pays after a second, and no money moves.",
            f"The customer's phone is at {phone}/",
        )
        return
    accounts = ", ".join(str(config.account) for config in configs)
    environment, own = configs[0].environment, f"{origin}/payments/callback"
    if environment.is_loopback:
        context.say(f"Daraja: a simulator on this machine, {accounts}. No money moves.")
    else:
        context.say(f"Daraja: {environment.name}, {accounts}.")
    for url in dict.fromkeys(config.callback_url for config in configs):
        if url.rstrip("/") == own:
            context.say(f"Callbacks come to {own}.")
        else:
            context.say(f"Callbacks to {url} must arrive at {own}.")
    context.say(
        "Whoever reaches checkout can ask any phone for money: let your own machines only.",
    )
    if not all(config.callback_secrets for config in configs):
        context.say(f"Callbacks are not signed: {_RISK}.")


def _kept_in(url: DatabaseUrl) -> str:
    return (
        f"Payments are kept in the database of {url.source}. Run `mpesa-stk worker` on it too: it asks "
        "about open payments and calls your handler for settled ones."
    )


def _examples(origin: str, account: str = "") -> list[str]:
    """Return lines that a person can type to try checkout and query, of an account if there are several."""
    query = {"checkout_request_id": "CHECKOUT_REQUEST_ID"}
    start = f"{origin}/payments/{account}/" if account else f"{origin}/payments/"
    return [
        "# Ask a customer to pay:",
        _curl(f"{start}checkout/", _CHECKOUT),
        "# Ask about it; CHECKOUT_REQUEST_ID stands for the CheckoutRequestID of that answer:",
        _curl(f"{start}query/", query),
    ]


def _callback_example(payments: Payments, daraja: SimulatorServer) -> list[str]:
    """Return the callback of a payment whose simulated customer does not answer."""
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
    url = signed_url(
        config.callback_url,
        config.callback_secrets[0],
        transaction_no=sample.transaction_no,
        amount=sample.amount,
        account=sample.account,
    )
    return [
        "# Be Daraja, and report that another customer paid:",
        _curl(url, {"Body": {"stkCallback": callback}}),
    ]


def _curl(url: str, payload: object) -> str:
    body = json.dumps(payload)
    return f"curl -X POST {url} -H \"Content-Type: application/json\" -d '{body}'"
