"""The pages: each call of `mpesa-stk` is one that the command takes, and each named test exists."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import pytest

import mpesa_stk
from mpesa_stk import cli

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").is_file())
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
LANGUAGES = {"", "sh", "console", "text", "ini"}
INLINE = re.compile(r"`mpesa-stk ([a-z-]+)((?: [^`\n]*)?)`")
CALL = re.compile(r"(?:^|\s|/)(mpesa-stk [a-z].*)$")
PARSER = cli._parser()
DJANGO = Path(mpesa_stk.__file__).parent / "contrib" / "django" / "management" / "commands"
AFTER = {"&", "|", "&&", ";", ">", "|&", "2>&1", ">>"}


def blocks_of(text: str) -> list[str]:
    """The calls in the blocks of a page. A call may go on in the next line."""
    shown = [block for language, block in BLOCK.findall(text) if language in LANGUAGES]
    blocks = [re.sub(r"\\\n\s*", "", block) for block in shown]
    lines = [line.partition(" #")[0].rstrip() for block in blocks for line in block.splitlines()]
    calls = [call[1] for line in lines if (call := CALL.search(line))]
    return [call for call in calls if "..." not in call and ": " not in call]


def arguments_of(call: str) -> list[str]:
    """The arguments up to the end of the command."""
    words = shlex.split(call)[1:]
    ends = [number for number, word in enumerate(words) if word in AFTER]
    return words[: ends[0]] if ends else words


def options_of(parser: argparse.ArgumentParser) -> dict[str, set[str]]:
    """The options of each command, those of its own commands included."""
    found: dict[str, set[str]] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                inner = options_of(command)
                found[name] = set(command._option_string_actions).union(*inner.values())
                found |= {f"{name} {below}": options for below, options in inner.items()}
    return found


KNOWN = options_of(PARSER)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_command_takes_each_call(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In blocks, with all its arguments."""
    refused = []
    for call in blocks_of(page.read_text(encoding="utf-8")):
        try:
            PARSER.parse_args(arguments_of(call))
        except SystemExit:
            refused.append((call, capsys.readouterr().err))
    assert refused == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_command_has_what_a_sentence_names(page: Path) -> None:
    """In sentences, the command and its options: the rest may be left out there."""
    unknown = []
    for command, rest in INLINE.findall(page.read_text(encoding="utf-8")):
        options = set(re.findall(r"(?<=\s)--?[a-z][\w-]*", rest))
        if command not in KNOWN or options - KNOWN[command]:
            unknown.append(f"{command}{rest}")
    assert unknown == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_files_that_exist(page: Path) -> None:
    """Files and folders of the tests, the evidence that pages lead to."""
    named = set(re.findall(r"(?<![\w/])tests/[\w/-]+(?:\.\w+)?", page.read_text(encoding="utf-8")))
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_django_has_the_commands_of_a_page(page: Path) -> None:
    """Those of this package, which begin with its name."""
    named = set(re.findall(r"manage\.py (mpesa_\w+)", page.read_text(encoding="utf-8")))
    assert named <= {path.stem for path in DJANGO.glob("mpesa_*.py")}


def test_calls_are_found() -> None:
    """Over two lines, behind a prompt, and before a comment or another program."""
    page = "```sh\nmpesa-stk demo \\\n  --page\n$ .venv/bin/mpesa-stk doctor # checks\n```\n"
    assert blocks_of(page) == ["mpesa-stk demo --page", "mpesa-stk doctor"]
    assert arguments_of("mpesa-stk codes 1 | head") == ["codes", "1"]
