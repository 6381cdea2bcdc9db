from __future__ import annotations

import ast
import doctest
import re

import pytest

from mpesa_stk.simulator import SimulatorServer
from support import CONSUMER_KEY, CONSUMER_SECRET, PASSKEY, ROOT, make_config

README = ROOT / "README.md"
FENCED = re.compile(r"^```python\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(name="simulator")
def simulator_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> SimulatorServer:
    """A Daraja on this machine, and the environment variables that lead there."""
    simulator = SimulatorServer(make_config())
    urls = simulator.environment.urls
    variables = {
        "consumer_key": CONSUMER_KEY,
        "consumer_secret": CONSUMER_SECRET,
        "shortcode": "600000",
        "pass_key": PASSKEY,
        "c2b_callback": f"{simulator.origin}/nobody-listens-here",
        "access_token_url": urls["token_url"],
        "checkout_url": urls["push_url"],
        "mpesa_query_check_url": urls["query_url"],
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return simulator


def test_the_examples_do_what_they_say(simulator: SimulatorServer) -> None:
    """Every line of README.md that starts with >>> is run, and there is at least one."""
    text = README.read_text(encoding="utf-8")
    session = doctest.DocTestParser().get_doctest(text, {}, README.name, str(README), 0)
    assert session.examples, "README.md shows no example"
    complaints: list[str] = []
    with simulator:
        doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(
            session, out=complaints.append
        )
    assert not complaints, "".join(complaints)


def test_the_python_in_it_is_python() -> None:
    """Every block that claims to be Python parses, with or without prompts."""
    blocks = FENCED.findall(README.read_text(encoding="utf-8"))
    assert blocks, "README.md shows no Python"
    for block in blocks:
        examples = doctest.DocTestParser().get_examples(block)
        ast.parse("".join(example.source for example in examples) or block)
