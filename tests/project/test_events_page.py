"""docs/how-to/events.md: its snippets for logging show what happens, and show it once."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys

from mpesa_stk.hooks import log_trouble
from support import ROOT

PAGE = ROOT / "docs" / "how-to" / "events.md"
SECTION = PAGE.read_text(encoding="utf-8").split("\n### See it\n")[1]
PLAIN, DJANGO, AS_JSON = re.findall(r"^```python\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)[
    :3
]
HAPPENS = """
import logging
from mpesa_stk.hooks import Event, Notifier, log_trouble
Notifier(())(Event(kind="push", outcome="ok", code="0"))
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("mpesa_stk").exception("mpesa_stk.report_failed")
"""


def shown(code: str) -> str:
    """What a process of its own shows on stderr."""
    run = subprocess.run(  # noqa: S603 - our own interpreter and the code of the page
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    )
    assert run.stdout == ""
    return run.stderr


def check_is_shown_once(told: str) -> None:
    """The event, and the traceback of a handler, each once."""
    assert re.search(
        r"^\d{4}-\d\d-\d\d \S+ INFO mpesa_stk\.push outcome=ok code=0$", told, re.MULTILINE
    )
    assert told.count("mpesa_stk.push") == 1
    assert told.count("mpesa_stk.report_failed") == 1
    assert told.count("ZeroDivisionError: division by zero") == 1


def test_without_logging_nothing_is_shown() -> None:
    """That is why the page has these snippets."""
    assert shown(HAPPENS) == ""


def test_the_snippet_for_plain_logging() -> None:
    """Each line once, with its traceback."""
    check_is_shown_once(shown(PLAIN + HAPPENS))


def test_the_snippet_for_django() -> None:
    """Each line once, also where the root logger has a handler."""
    set_up = "\nimport django\nfrom django.conf import settings\n"
    set_up += "settings.configure(LOGGING=LOGGING)\ndjango.setup()\n"
    check_is_shown_once(shown(DJANGO + set_up + HAPPENS))
    check_is_shown_once(shown(PLAIN + DJANGO + set_up + HAPPENS))


def test_the_snippet_for_json() -> None:
    """The fields of an event; the message of a line that is none; a traceback below."""
    given: dict[str, type[logging.Formatter]] = {}
    exec(AS_JSON, given)  # noqa: S102 - the page's own code
    formatter = given["JsonLines"]()
    seen: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(formatter.format(record))

    handler, logger = Handler(), logging.getLogger("mpesa_stk")
    logger.addHandler(handler)
    try:
        log_trouble("report_failed", error="ZeroDivisionError")
        try:
            int("x")
        except ValueError:
            logger.exception("plain")
    finally:
        logger.removeHandler(handler)

    assert json.loads(seen[0]) == {
        "level": "ERROR",
        "name": "report_failed",
        "error": "ZeroDivisionError",
    }
    first, *rest = seen[1].splitlines()
    assert json.loads(first) == {"level": "ERROR", "message": "plain"}
    assert rest[0].startswith("Traceback")
