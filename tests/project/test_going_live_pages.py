"""docs/going-live: doctor says what the page shows, and each page stands in the index.

``PYTHONPATH=src:tests/helpers python tests/project/test_going_live_pages.py --write`` writes the
output anew.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import sys

from mpesa_stk import CallbackUrlWarning, StkConfig, cli
from mpesa_stk.commands.context import Context
from page_blocks import blocks
from support import ROOT

FOLDER = ROOT / "docs" / "going-live"
PAGE = FOLDER / "doctor.md"
CONSOLE = re.compile(r"^```console\n\$ mpesa-stk (.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def exported() -> dict[str, str]:
    """The variables of the page's first block with several."""
    (exports,) = [block for block in blocks(PAGE, "sh") if block.startswith("export ")]
    words = shlex.split(exports.replace("export ", ""))
    return dict(word.split("=", 1) for word in words)


def played(page: str) -> str:
    """The page with the output of its command written anew."""

    def play(shown: re.Match[str]) -> str:
        screen = io.StringIO()
        context = Context(environ=exported(), stdout=screen)
        with contextlib.redirect_stderr(screen):
            cli.main(shlex.split(shown[1]), context=context)
        return f"```console\n$ mpesa-stk {shown[1]}\n{screen.getvalue()}```"

    return CONSOLE.sub(play, page)


def test_doctor_says_what_the_page_shows() -> None:
    """With the variables of the page: one problem and one warning."""
    page = PAGE.read_text("utf-8")
    assert CONSOLE.search(page)
    assert played(page) == page, "run: python tests/project/test_going_live_pages.py --write"


def test_each_page_stands_in_the_index() -> None:
    """In the hidden list of the site, and as a link."""
    index = (FOLDER / "index.md").read_text("utf-8")
    pages = {page.stem for page in FOLDER.glob("*.md")} - {"index"}
    listed = index.partition(":maxdepth: 1")[2].partition("```")[0].split()
    assert sorted(listed) == sorted(pages)
    assert [page for page in pages if f"]({page}.md)" not in index] == []


def test_the_callback_url_of_the_page_is_taken_without_a_warning() -> None:
    """That of the page of callback URLs; the one of doctor's page is warned about."""
    text = (FOLDER / "callback-url.md").read_text("utf-8")
    (url,) = re.findall(r"^export C2B_CALLBACK=(\S+)$", text, flags=re.MULTILINE)
    StkConfig.from_env(exported() | {"C2B_CALLBACK": url})
    with contextlib.suppress(CallbackUrlWarning):
        StkConfig.from_env(exported())
        raise AssertionError


if __name__ == "__main__" and "--write" in sys.argv:
    PAGE.write_text(played(PAGE.read_text("utf-8")), encoding="utf-8")
