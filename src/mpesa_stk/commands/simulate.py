"""``mpesa-stk simulate``: a Daraja on this machine for shops in any language, with a phone on a page."""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable

import attrs

from mpesa_stk.commands import shell_syntax
from mpesa_stk.commands.context import BadArgument, Context, one_line
from mpesa_stk.commands.exit_codes import DONE, NOT_DONE
from mpesa_stk.commands.loop import stop_signals
from mpesa_stk.commands.options import HIGHEST_PORT, Subparsers, whole_number
from mpesa_stk.config.account import PayBill
from mpesa_stk.config.environment import SANDBOX_PASSKEY, SANDBOX_SHORTCODE, Environment
from mpesa_stk.config.from_env import VARIABLES
from mpesa_stk.config.settings import StkConfig
from mpesa_stk.config.urls import host_of, is_host, is_loopback_url, origin_of
from mpesa_stk.simulator.scenarios import SCENARIOS
from mpesa_stk.simulator.server import SimulatorServer

NO_MONEY = "Simulated Daraja: no money moves. Ctrl-C ends it."
_MOST_TRIES = 10
_DAY = 86_400
_HOUR = 3_600
_SEEDS = 2**63
# The merchant if the environment names none. These are words, not secrets.
_TEST_MERCHANT = {
    "CONSUMER_KEY": "simulated-consumer-key",
    "CONSUMER_SECRET": "simulated-consumer-secret",
    "SHORTCODE": SANDBOX_SHORTCODE,
    "PASS_KEY": SANDBOX_PASSKEY,
}
_SHOP = {
    "C2B_CALLBACK": "http://127.0.0.1:8000/payments/callback",
    "CALLBACK_SECRET": "simulated-callback-secret",
}
_NEEDED = ("consumer_key", "consumer_secret", "shortcode", "pass_key")
# Not used: each push names the address of its callback.
_ANY_CALLBACK = "https://shop.example.co.ke/payments/callback"


def add_to(commands: Subparsers, /) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "simulate",
        help="be Daraja on this machine, with a phone on a web page",
        description="Serves a simulated Daraja to shops in any language, with a page that shows the "
        "customer's phone. The merchant is that of the environment variables CONSUMER_KEY, "
        "CONSUMER_SECRET, SHORTCODE and PASS_KEY if all are set, or else a test merchant.",
    )
    command.add_argument("--host", default="127.0.0.1", type=_host, help="listen on (%(default)s)")
    command.add_argument(
        "--port",
        default=8090,
        type=whole_number(0, HIGHEST_PORT),
        help="listen on; 0 for any free one (%(default)s)",
    )
    add_options(command)
    command.add_argument(
        "--callback",
        type=_callback,
        metavar="URL",
        help="the shop's address for callbacks, as it is printed for the shop "
        f"({_SHOP['C2B_CALLBACK']})",
    )
    command.add_argument(
        "--print-env",
        choices=tuple(shell_syntax.SYNTAXES),
        metavar="SYNTAX",
        help="print the shop's variables and end: bash, fish, powershell, or dotenv for a .env file",
    )
    command.set_defaults(command=run)


def add_options(command: argparse.ArgumentParser, /) -> None:
    """Add the options that do not say on which address it listens."""
    command.add_argument(
        "--scenario",
        default="paid",
        choices=tuple(SCENARIOS),
        metavar="NAME",
        help="what becomes of pushes: by-hand to answer them on the page, or any other name of "
        "the simulator's page in the documentation (%(default)s)",
    )
    command.add_argument(
        "--seed", type=whole_number(0, _SEEDS), metavar="N", help="make tokens and receipts alike"
    )
    command.add_argument(
        "--callback-tries",
        default=1,
        type=whole_number(1, _MOST_TRIES),
        metavar="N",
        help="post a callback that is not taken up to N times (%(default)s)",
    )
    command.add_argument(
        "--token-lifetime",
        default=3599,
        type=whole_number(1, _DAY),
        metavar="S",
        help="seconds for which a token is good (%(default)s)",
    )
    command.add_argument(
        "--many-tokens", action="store_true", help="let older tokens be good beside a new one"
    )
    command.add_argument(
        "--slow-seconds",
        default=20,
        type=whole_number(0, _HOUR),
        metavar="S",
        help="how late the slow test phone and the slow fault are answered (%(default)s)",
    )
    command.add_argument(
        "--public-callbacks",
        action="store_true",
        help="post callbacks to any machine, not only to the one that pushed",
    )


def _host(text: str) -> str:
    # A URL is ASCII, and a name that cannot be looked up raises other errors than OSError.
    if not is_host(text):
        raise argparse.ArgumentTypeError("must be an address of this machine")
    return text


def _callback(text: str) -> str:
    # Some reader of a file of variables gives these characters a meaning.
    if not host_of(text) or set(text) & set("\"'`$\\"):
        raise argparse.ArgumentTypeError("must be an http or https address without quotes or $")
    return text


def run(context: Context, arguments: argparse.Namespace, /) -> int:
    """Be Daraja until a signal stops the command, or print the variables of a shop."""
    if arguments.print_env is not None:
        return _print_env(context, arguments)
    with stop_signals() as stop:
        return simulate(context, arguments, wait=stop.wait)


def simulate(
    context: Context, arguments: argparse.Namespace, /, *, wait: Callable[[], object]
) -> int:
    """Be Daraja until `wait` returns.

    Args:
        context: The world of the command.
        arguments: The command's arguments.
        wait: Called when Daraja is served. Returns when the command is to stop.

    Returns:
        Exit code: 0, or 1 if the address cannot be had.

    Raises:
        ConfigurationError: The environment names a merchant that cannot work.
    """
    merchants = merchants_from(context)
    if not is_loopback_url(_url_of(arguments.host)):
        context.say("Warning: anybody in your network can reach this simulator and steer it.")
    server = open_server(context, arguments, *(merchants or (_test_merchant(),)))
    if server is None:
        return NOT_DONE
    with server:
        context.say(NO_MONEY)
        _introduce(context, server, arguments, known=not merchants)
        wait()
    return DONE


def open_server(
    context: Context, arguments: argparse.Namespace, /, *merchants: StkConfig
) -> SimulatorServer | None:
    """Make the simulator that the arguments describe. Complain and return None if it cannot listen."""
    try:
        return SimulatorServer(
            *merchants,
            scenario=arguments.scenario,
            host=arguments.host,
            port=arguments.port,
            randomness=_randomness(arguments.seed),
            public_callbacks=arguments.public_callbacks,
            callback_tries=arguments.callback_tries,
            token_lifetime=arguments.token_lifetime,
            one_token=not arguments.many_tokens,
            slow_seconds=arguments.slow_seconds,
            on_trouble=lambda trouble: context.say(
                one_line(f"Callback failed: {trouble.badge}. {trouble.reason} {trouble.advice[0]}")
            ),
        )
    except OSError as error:
        where = f"{arguments.host}, port {arguments.port}"
        context.complain(f"cannot listen on {where}: {error.strerror or error}")
        return None


def _randomness(seed: int | None) -> random.Random | None:
    return None if seed is None else random.Random(seed)  # noqa: S311 - made-up ids


def _url_of(host: str) -> str:
    return f"http://[{host}]" if ":" in host else f"http://{host}"


# --- the merchant ------------------------------------------------------------------------------------


def merchants_from(context: Context, /) -> tuple[StkConfig, ...]:
    """Return the merchants of the environment, or none if a part of its only one is not set.

    Raises:
        ConfigurationError: A merchant cannot work.
    """
    if context.has_accounts():
        named = {} if context.variable("c2b_callback") else {"c2b_callback": _ANY_CALLBACK}
        return attrs.evolve(context, environ={**context.environ, **named}).settings_of_all()
    names = (*_NEEDED, "till_number")
    named = {name: value for name in names if (value := context.variable(name))}
    if not set(_NEEDED) <= set(named):
        return ()
    return (StkConfig.from_env(named | {"c2b_callback": _ANY_CALLBACK}),)


def _test_merchant() -> StkConfig:
    return StkConfig(
        consumer_key=_TEST_MERCHANT["CONSUMER_KEY"],
        consumer_secret=_TEST_MERCHANT["CONSUMER_SECRET"],
        passkey=SANDBOX_PASSKEY,
        account=PayBill(SANDBOX_SHORTCODE),
        callback_url=_ANY_CALLBACK,
    )


# --- output: the settings to stdout, the rest to stderr -----------------------------------------------


def settings_of(
    environment: Environment, /, *, callback: str | None = None, known: bool
) -> dict[str, str]:
    """Return the variables that a shop needs, with the credentials of the test merchant.

    Args:
        environment: The addresses of the simulator.
        callback: The shop's address for callbacks, if it is known.
        known: Whether the merchant is the test merchant. Credentials of another one are not returned.
    """
    given = {} if callback is None else {"C2B_CALLBACK": callback}
    addresses = {VARIABLES[field].upper(): url for field, url in environment.urls.items()}
    return (_TEST_MERCHANT | _SHOP if known else {}) | given | addresses


def _print_env(context: Context, arguments: argparse.Namespace) -> int:
    if arguments.port == 0:
        raise BadArgument("--print-env needs the --port of the simulator")
    merchants = merchants_from(context)
    if merchants:
        context.say(_keep(context))
    environment = Environment.at(origin_of(arguments.host, arguments.port), name="simulator")
    variables = settings_of(environment, callback=arguments.callback, known=not merchants)
    line_of = shell_syntax.SYNTAXES[arguments.print_env]
    context.show(*(line_of(name, value) for name, value in variables.items()))
    return DONE


def _keep(context: Context) -> str:
    """Return which variables a shop of the environment's merchants keeps."""
    if context.has_accounts():
        return "# Keep MPESA_ACCOUNTS set as it is, and set:"
    return "# Keep CONSUMER_KEY, CONSUMER_SECRET, SHORTCODE and PASS_KEY set as they are, and set:"


def _introduce(
    context: Context, server: SimulatorServer, arguments: argparse.Namespace, *, known: bool
) -> None:
    whose = "the test merchant" if known else "the merchant of your environment variables"
    if context.has_accounts():
        whose = "the merchants of your environment variables"
    ends = f"pushes end as in the scenario {arguments.scenario}"
    context.show(f"# Daraja for {server.business}, {whose}; {ends}.")
    if not known:
        context.show(_keep(context))
    variables = settings_of(server.environment, callback=arguments.callback, known=known)
    context.show(*(shell_syntax.bash(name, value) for name, value in variables.items()))
    context.show(f"# The phone is at {server.origin}/")
