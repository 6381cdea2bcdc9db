"""The OpenAPI document of the endpoints, held against the endpoints while they run."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from mpesa_stk import (
    CallbackGuard,
    MemoryTransactionStore,
    NoLimits,
    PaymentEndpoints,
    WebRequest,
    WebResponse,
)
from mpesa_stk.testing import SimulatedDaraja, simulated_config
from mpesa_stk.web.http_server import HttpServer
from support import ROOT

DOCUMENT = ROOT / "docs" / "reference" / "openapi.json"
# A well-formed request can be refused: the phone has a prompt, the key another payment, or the payment of a
# callback another token. Characters that
# cannot be printed are refused, too, and no pattern of the document shows them all.
SETTINGS = """\
seed = 1
warnings = false
[checks]
positive_data_acceptance.expected-statuses = ["2xx", "400", "403", "404", "409", "502"]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "502"]
"""


@pytest.mark.slow
def test_the_endpoints_do_what_their_document_says(tmp_path: Path) -> None:
    """Schemathesis sends what the document allows and what it does not; each answer is as it says."""
    daraja = SimulatedDaraja(simulated_config(callback_secrets=()))
    endpoints = PaymentEndpoints(
        daraja.payments(MemoryTransactionStore()),
        limits=NoLimits(),
        guard=CallbackGuard(allowed_networks=("127.0.0.1",)),
    )
    seen: Counter[tuple[str, int]] = Counter()

    def handle(request: WebRequest) -> WebResponse:
        answer = endpoints.handle(request)
        name = re.match("/payments/([a-z]+)/", request.path)
        seen[name[1] if name else "", answer.status] += 1
        return answer

    (tmp_path / "schemathesis.toml").write_text(SETTINGS, encoding="utf-8")
    with HttpServer(handle) as server:
        command = [
            "run",
            str(DOCUMENT),
            "--url",
            server.origin,
            "--max-examples",
            "20",
            "--no-color",
        ]
        done = subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "schemathesis.cli", *command],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    # The answers are not only refusals: each operation also did its work.
    assert {name for name, status in seen if status == 200} == {
        "checkout",
        "query",
        "claim",
        "callback",
    }
    print(done.stdout[done.stdout.index("Test cases:") :], sorted(seen.items()))  # noqa: T201
