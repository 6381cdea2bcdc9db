"""``mpesa-stk simulate``: a Daraja on this machine for shops in any language, with a phone on a page."""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Mapping

from mpesa_stk.account import PayBill
from mpesa_stk.commands.context import Context
from mpesa_stk.commands.exit_codes import BAD_ARGUMENTS, DONE, NOT_DONE
from mpesa_stk.commands.loop import stop_signals
from mpesa_stk.commands.options import Subparsers
from mpesa_stk.config import StkConfig
from mpesa_stk.environ import VARIABLES
from mpesa_stk.environment import SANDBOX_PASSKEY, SANDBOX_SHORTCODE, Environment
from mpesa_stk.errors import ConfigurationError
from mpesa_stk.simulator.scenarios import SCENARIOS
from mpesa_stk.simulator.server import SimulatorServer
from mpesa_stk.urls import is_loopback_url

__all__ = ["add_to", "merchant_from", "run", "settings_of"]

_HIGHEST_PORT = 65_535
_MOST_TRIES = 10
_DAY = 86_400
_HOUR = 3_600
_SEEDS = 2**63
# The merchant where the environment names none. These are words, not secrets.
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
# Of no use here: a simulator is told where callbacks go with each push.
_ANY_CALLBACK = "https://shop.example.co.ke/payments/callback"


def add_to(commands: Subparsers, /) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "simulate",
        help="be Daraja on this machine, with a phone on a web page",
        description="Serves a simulated Daraja to shops in any language, with a page that shows the "
        "customer's phone. The merchant is that of the environment variables CONSUMER_KEY, "
        "CONSUMER_SECRET, SHORTCODE and PASS_KEY where all are set, or else a test merchant.",
    )
    command.add_argument("--host", default="127.0.0.1", type=_host, help="listen on (%(default)s)")
    command.add_argument(
        "--port",
        default=8090,
        type=_whole(0, _HIGHEST_PORT),
        help="listen on; 0 for any free one (%(default)s)",
    )
    command.add_argument(
        "--scenario",
        default="paid",
        choices=tuple(SCENARIOS),
        metavar="NAME",
        help="what becomes of pushes: by-hand to answer them on the page, or any other name of "
        "the simulator's page in the documentation (%(default)s)",
    )
    command.add_argument(
        "--seed", type=_whole(0, _SEEDS), metavar="N", help="make tokens and receipts alike"
    )
    command.add_argument(
        "--callback-tries",
        default=1,
        type=_whole(1, _MOST_TRIES),
        metavar="N",
        help="post a callback that is not taken up to N times (%(default)s)",
    )
    command.add_argument(
        "--token-lifetime",
        default=3599,
        type=_whole(1, _DAY),
        metavar="S",
        help="seconds for which a token is good (%(default)s)",
    )
    command.add_argument(
        "--many-tokens", action="store_true", help="let older tokens be good beside a new one"
    )
    command.add_argument(
        "--slow-seconds",
        default=20,
        type=_whole(0, _HOUR),
        metavar="S",
        help="how late the slow test phone and the slow fault are answered (%(default)s)",
    )
    command.add_argument(
        "--public-callbacks",
        action="store_true",
        help="post callbacks to any machine, not only to the one that pushed",
    )
    command.set_defaults(command=_run)


def _host(text: str) -> str:
    # Beyond ASCII there is no URL to tell, and a name that cannot be looked up is no OSError.
    if not text.strip() or not text.isascii():
        raise argparse.ArgumentTypeError("must be an address of this machine")
    return text


def _whole(lowest: int, highest: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        digits = text.isascii() and text.isdecimal() and len(text) <= len(str(highest))
        if not digits or not lowest <= int(text) <= highest:
            raise argparse.ArgumentTypeError(f"must be a number from {lowest} to {highest}")
        return int(text)

    return read


def _run(context: Context, arguments: argparse.Namespace, /) -> int:
    with stop_signals() as stop:
        return run(arguments, environ=context.environ, wait=stop.wait)


def run(
    arguments: argparse.Namespace, /, *, environ: Mapping[str, str], wait: Callable[[], object]
) -> int:
    """Be Daraja until told to stop.

    Args:
        arguments: The command's arguments.
        environ: The environment variables.
        wait: Called once all is served; returns when it is time to stop.

    Returns:
        Exit code: 0, 1 where the address cannot be had, or 2 where the variables cannot work.
    """
    try:
        merchant = merchant_from(environ)
    except ConfigurationError as error:
        _say(f"mpesa-stk simulate: {error}")
        return BAD_ARGUMENTS
    if not is_loopback_url(_url_of(arguments.host)):
        _say("Warning: anybody in your network can reach this simulator and steer it.")
    try:
        server = SimulatorServer(
            merchant or _test_merchant(),
            scenario=SCENARIOS[arguments.scenario],
            host=arguments.host,
            port=arguments.port,
            randomness=_randomness(arguments.seed),
            public_callbacks=arguments.public_callbacks,
            callback_tries=arguments.callback_tries,
            token_lifetime=arguments.token_lifetime,
            one_token=not arguments.many_tokens,
            slow_seconds=arguments.slow_seconds,
        )
    except OSError as error:
        reason = error.strerror or error
        _say(
            f"mpesa-stk simulate: cannot listen on {arguments.host}, port {arguments.port}: {reason}"
        )
        return NOT_DONE
    with server:
        _say("Simulated Daraja: no money moves. Ctrl-C ends it.")
        _introduce(server, arguments.scenario, known=merchant is None)
        wait()
    return DONE


def _randomness(seed: int | None) -> random.Random | None:
    return None if seed is None else random.Random(seed)  # noqa: S311 - made-up ids


def _url_of(host: str) -> str:
    return f"http://[{host}]" if ":" in host else f"http://{host}"


# --- the merchant ------------------------------------------------------------------------------------


def merchant_from(environ: Mapping[str, str], /) -> StkConfig | None:
    """The merchant that the environment names, or None where it does not name all of one.

    Raises:
        ConfigurationError: It names one that cannot be.
    """
    named = {
        name: value
        for name in (*_NEEDED, "till_number")
        if (value := (environ.get(name) or environ.get(name.upper()) or "").strip())
    }
    if not set(_NEEDED) <= set(named):
        return None
    return StkConfig.from_env(named | {"c2b_callback": _ANY_CALLBACK})


def _test_merchant() -> StkConfig:
    return StkConfig(
        consumer_key=_TEST_MERCHANT["CONSUMER_KEY"],
        consumer_secret=_TEST_MERCHANT["CONSUMER_SECRET"],
        passkey=SANDBOX_PASSKEY,
        account=PayBill(SANDBOX_SHORTCODE),
        callback_url=_ANY_CALLBACK,
    )


# --- what is printed: what to set to stdout, the rest to stderr ---------------------------------------


def settings_of(environment: Environment, /, *, known: bool) -> dict[str, str]:
    """The variables that a shop needs, beside its own credentials where those are in use.

    Args:
        environment: Where the simulator is.
        known: Whether the merchant is the test merchant, whose credentials are no secret.
    """
    addresses = {VARIABLES[field].upper(): url for field, url in environment.urls.items()}
    return (_TEST_MERCHANT | _SHOP if known else {}) | addresses


def _introduce(server: SimulatorServer, scenario: str, *, known: bool) -> None:
    whose = "the test merchant" if known else "the merchant of your environment variables"
    _show(f"# Daraja for {server.business}, {whose}; pushes end as in the scenario {scenario}.")
    if not known:
        _show(
            "# Keep CONSUMER_KEY, CONSUMER_SECRET, SHORTCODE and PASS_KEY set as they are, and set:"
        )
    for name, value in settings_of(server.environment, known=known).items():
        _show(f"export {name}='{value}'")
    _show(f"# The phone is at {server.origin}/")


def _show(line: str) -> None:
    print(line, flush=True)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
