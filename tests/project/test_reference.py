"""`docs/reference/names.md` names every export. Run this file with ``--write`` to make the page anew."""

from __future__ import annotations

import inspect
import sys

import mpesa_stk
from support import ROOT

PAGE = ROOT / "docs" / "reference" / "names.md"
# Values have no docstring of their own.
VALUES = {
    "CallbackResult": "`PaymentConfirmed`, `PaymentFailed` or `PaymentUnproven`.",
    "MAX_BODY": "The most bytes of a body that are read, 65,536.",
    "PRODUCTION": "The `Environment` in which money moves.",
    "SAFARICOM_NETWORKS": "The addresses from which Safaricom calls back.",
    "SANDBOX": "The `Environment` for trying things out.",
}
HEAD = """# Public names

`from mpesa_stk import NAME` gives each of these. A name that is not listed here, in `mpesa_stk.testing` or
in `mpesa_stk.stores` may change at any time. The docstring of a name says more, as in
`python -m pydoc mpesa_stk.Payments`.

| name | |
|---|---|
"""


def summary(name: str) -> str:
    """The first sentence of a docstring, for a table."""
    if name in VALUES:
        return VALUES[name]
    first, _, _ = (inspect.getdoc(getattr(mpesa_stk, name)) or "").partition("\n\n")
    return " ".join(first.split()).replace("``", "`").replace("|", "or")


def rendered() -> str:
    """The page as it should be."""
    return HEAD + "".join(f"| `{name}` | {summary(name)} |\n" for name in mpesa_stk.__all__)


def test_the_page_names_every_export() -> None:
    """It is made from the code, so that no export is without a word."""
    assert all(summary(name) for name in mpesa_stk.__all__)
    assert PAGE.read_text(encoding="utf-8") == rendered()


def test_dir_is_complete() -> None:
    """A shell completes every public name, the ones that are imported on first use too."""
    assert {*mpesa_stk.__all__, "__version__"} <= set(dir(mpesa_stk))


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python tests/project/test_reference.py --write")
    PAGE.write_text(rendered(), encoding="utf-8")
