"""``mpesa-stk demo``: one payment against a simulated Daraja on this machine."""

from __future__ import annotations

import argparse
import contextlib
import sys
import threading
import webbrowser
from collections.abc import Callable, Mapping
from functools import partial

from mpesa_stk.commands.context import Context
from mpesa_stk.commands.exit_codes import BAD_ARGUMENTS, UNKNOWN
from mpesa_stk.commands.options import Subparsers
from mpesa_stk.errors import InvalidRequest
from mpesa_stk.simulator import demo
from mpesa_stk.simulator.outcomes import OUTCOMES, PAID
from mpesa_stk.simulator.scenarios import BY_HAND, SCENARIOS, Scenario, scenario_of

__all__ = ["add_to", "browser"]

_PAGE_STAYS = 60.0
_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")


def add_to(commands: Subparsers, /) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "demo",
        help="play one payment against a simulated Daraja on this machine",
        description="Plays one payment, from push to report, against a simulated Daraja on this "
        "machine. Timeline on stderr, the payment as JSON on stdout.",
    )
    command.add_argument("--phone", default="0718643064", help="who pays (%(default)s)")
    command.add_argument("--amount", default="100", help="whole shillings (%(default)s)")
    command.add_argument("--reference", default="INV-001", help="shown in the prompt (%(default)s)")
    what = command.add_mutually_exclusive_group()
    what.add_argument(
        "--outcome", choices=tuple(OUTCOMES), help=f"how the customer answers ({PAID})"
    )
    what.add_argument(
        "--scenario",
        metavar="NAME",
        type=_scenario,
        help="what becomes of the push: see `mpesa-stk trigger --list`",
    )
    what.add_argument("--page", action="store_true", help="answer the prompt yourself, on a page")
    command.add_argument(
        "--no-browser", action="store_true", help="with --page: print its address, open nothing"
    )
    command.set_defaults(command=_run)


def _scenario(text: str) -> str:
    if text not in SCENARIOS:
        raise argparse.ArgumentTypeError("is no scenario: see `mpesa-stk trigger --list`")
    return text


def browser(
    *, wanted: bool, environ: Mapping[str, str], platform: str
) -> Callable[[str], object] | None:
    """What opens a page, or None where that is not wanted or no window could appear.

    Without a display, `webbrowser` starts one that takes over the terminal.
    """
    has_display = platform in ("darwin", "win32") or any(map(environ.get, _DISPLAYS))
    return webbrowser.open if wanted and has_display else None


def _run(context: Context, arguments: argparse.Namespace, /) -> int:
    try:
        order = demo.check_order(
            phone=arguments.phone, amount=arguments.amount, reference=arguments.reference
        )
    except InvalidRequest as error:
        print(f"mpesa-stk demo: {error}", file=sys.stderr)
        return BAD_ARGUMENTS
    opens = browser(wanted=not arguments.no_browser, environ=context.environ, platform=sys.platform)
    try:
        if arguments.page:
            show = partial(_show, opens)
            return demo.run(order, scenario=SCENARIOS[BY_HAND], show_page=show, linger=_PAGE_STAYS)
        if arguments.scenario is not None:
            return demo.run(order, scenario=SCENARIOS[arguments.scenario], hurry=True)
        is_test_phone = scenario_of(order.phone_number.msisdn) is not None
        scenario = Scenario(outcome=arguments.outcome or PAID)
        return demo.run(order, scenario=scenario, hurry=is_test_phone)
    except KeyboardInterrupt:
        print("mpesa-stk demo: stopped", file=sys.stderr)
        return UNKNOWN


def _show(opens: Callable[[str], object] | None, address: str) -> None:
    """Open the page, beside what goes on: some browsers return only when they are closed."""

    def show() -> None:
        with contextlib.suppress(webbrowser.Error):
            if opens is not None:
                opens(address)

    threading.Thread(target=show, name="mpesa-stk-page", daemon=True).start()
