"""Names in docstrings and signatures become links to the page that documents them.

Docstrings name things in backticks, and signatures name the private module of a class. Both mean the
public name.
"""

from __future__ import annotations

import re

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

import mpesa_stk
import mpesa_stk.testing

# The lookbehind and the lookahead leave roles and links as they are.
_COLON = "\ue000"
_QUOTED = re.compile(r"(?<![`:\w])`{1,2}([^`\n]+)`{1,2}(?![`_\w])")
# Other projects document these under another name than their classes have.
ELSEWHERE = {
    "concurrent.futures._base.Future": "concurrent.futures.Future",
    "django.db.models.base.Model": "django.db.models.Model",
    "models.Model": "django.db.models.Model",
    "models.QuerySet": "django.db.models.query.QuerySet",
    "requests.sessions.Session": "requests.Session",
    "sqlalchemy.engine.base.Engine": "sqlalchemy.engine.Engine",
    "sqlalchemy.ext.asyncio.engine.AsyncEngine": "sqlalchemy.ext.asyncio.AsyncEngine",
    "sqlalchemy.sql.schema.MetaData": "sqlalchemy.schema.MetaData",
}
# Types that signatures name and no page documents.
PLAIN = {
    "AccountQuote",
    "AsgiApp",
    "Authorize",
    "BadScenario",
    "ImproperlyConfigured",
    "KeyScope",
    "Payment",
    "Quote",
    "RequestsMocker",
}
PUBLIC = {name: f"mpesa_stk.testing.{name}" for name in mpesa_stk.testing.__all__}
PUBLIC |= {name: f"mpesa_stk.{name}" for name in mpesa_stk.__all__}


def _linked(match: re.Match[str]) -> str:
    """A public name as a link, and everything else as code."""
    text = match[1]
    first, _, rest = text.partition(".")
    if first in PUBLIC and re.fullmatch(r"\w*", rest):
        return f":py:obj:`{text} <{'.'.join(filter(None, (PUBLIC[first], rest)))}>`"
    return f"``{text}``"


def keep_colons(
    _app: Sphinx, what: str, _name: str, _obj: object, _options: object, lines: list[str]
) -> None:
    """Hide colons that napoleon would take for the end of a type, which these docstrings never name."""
    returns = False
    for number, line in enumerate(lines):
        if re.fullmatch(r"\s*[A-Z]\w+:", line):
            returns = line.strip() == "Returns:"
        elif returns or (what in ("attribute", "data", "property") and number == 0):
            lines[number] = line.replace(":", _COLON)


def link_quoted(
    _app: Sphinx, _what: str, _name: str, _obj: object, _options: object, lines: list[str]
) -> None:
    """Rewrite what stands in backticks in a docstring, in place."""
    lines[:] = [_QUOTED.sub(_linked, line.replace(_COLON, ":")) for line in lines]


def find_public(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, shown: nodes.TextElement
) -> nodes.Node | None:
    """Where a name of a private module is documented, or its text if it is documented nowhere."""
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"] = ELSEWHERE.get(node["reftarget"], node["reftarget"])
    last = target.rpartition(".")[2]
    if last in PUBLIC:
        return env.get_domain("py").resolve_xref(
            env, node["refdoc"], app.builder, "obj", PUBLIC[last], node, shown
        )
    return shown if target.startswith("mpesa_stk.") or last in PLAIN else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", keep_colons, priority=400)  # napoleon has 500
    app.connect("autodoc-process-docstring", link_quoted, priority=600)
    app.connect("missing-reference", find_public, priority=400)  # before intersphinx
    return {"parallel_read_safe": True, "parallel_write_safe": True}
