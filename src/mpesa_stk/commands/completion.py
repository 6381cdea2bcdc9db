"""``mpesa-stk completion``: the script by which a shell completes this command."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Iterator

from mpesa_stk.commands.context import BadArgument, Context
from mpesa_stk.commands.exit_codes import DONE
from mpesa_stk.commands.options import Subparsers

_SHELLS = ("bash", "zsh", "fish", "powershell")


def add_to(commands: Subparsers, /) -> None:
    """Add the command to the parser."""
    command = commands.add_parser(
        "completion",
        help="print the completion of this command for your shell",
        description="Prints a script that completes commands, options, scenarios and files. Bash: "
        'eval "$(mpesa-stk completion bash)". zsh: the same, after compinit. fish: save it in '
        "~/.config/fish/completions/mpesa-stk.fish. PowerShell: pipe it to Out-String and "
        "Invoke-Expression. Needs the extra cli.",
    )
    command.add_argument("shell", choices=_SHELLS)
    command.set_defaults(command=run)


def run(context: Context, arguments: argparse.Namespace, /) -> int:
    """Print the script."""
    if importlib.util.find_spec("shtab") is None:
        raise BadArgument("needs the package shtab: pip install 'mpesa-stk-client[cli]'")
    import shtab  # noqa: PLC0415 - the extra may not be installed

    parser: argparse.ArgumentParser = arguments.parser
    for action in _actions_of(parser):
        if action.metavar == "FILE":
            vars(action)["complete"] = shtab.FILE
    context.show(shtab.complete(parser, shell=arguments.shell).rstrip("\n"))
    return DONE


def _actions_of(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the arguments of a parser and of its commands."""
    for action in parser._actions:  # noqa: SLF001 - argparse has no public way
        yield action
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - the same
            for command in action.choices.values():
                yield from _actions_of(command)
