"""FastAPI shops under a Daraja that hangs: on threads, as before, and on the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from http_streams import LOOPBACK, Answered, ask
from measure import Line, Scoreboard
from support import HELPERS, callback

HERE = Path(__file__).parent
WORKERS = 2
HUNG, HANGS = 50, 10.0
BURST, TAKES = 200, 1.0
DARAJA_WAITS = 5.0  # seconds after which a callback counts as not answered
FACES = {"on threads": "on_threads", "on the loop": "on_the_loop"}
_JSON = {"Content-Type": "application/json"}
_ORDER = {"phone_number": "0718643064", "amount": 100}


@contextlib.contextmanager
def daraja(think: float) -> Iterator[int]:
    """The port of a Daraja that takes so many seconds for a push."""
    command = [sys.executable, str(HERE / "slow_daraja.py"), str(think)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


@contextlib.contextmanager
def served(factory: str, daraja_port: int) -> Iterator[int]:
    """The port of a shop, served by uvicorn with two workers."""
    with socket.create_server((LOOPBACK, 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "--factory", f"web_app:{factory}"]
    command += ["--port", str(port), "--workers", str(WORKERS)]
    command += ["--no-proxy-headers", "--log-level", "error", "--backlog", "1024"]
    places = [str(HERE), str(HELPERS), os.environ.get("PYTHONPATH", "")]
    environ = os.environ | {
        "DARAJA_PORT": str(daraja_port),
        "PYTHONPATH": os.pathsep.join(filter(None, places)),
    }
    with subprocess.Popen(command, env=environ) as process:
        try:
            asyncio.run(answering(port))
            yield port
        finally:
            process.terminate()
            process.wait(60)


async def answering(port: int) -> None:
    """Wait until the workers are there, then use each of them often enough for both to be warm."""
    for _ in range(600):
        if (await ask(port, "/page", within=5.0)).status:
            break
        await asyncio.sleep(0.1)
    await asyncio.sleep(1.0)
    await asyncio.gather(*(ask(port, "/page") for _ in range(20)))


async def checked_out(port: int, number: int) -> Answered:
    """The answer to one checkout."""
    body = json.dumps(_ORDER | {"reference": f"INV-{number}"}).encode()
    return await ask(port, "/payments/checkout/", body, _JSON)


async def called_back(port: int, checkout_request_id: str, number: int) -> Answered:
    """The answer to a callback, for which Daraja waits a few seconds."""
    body = callback(checkout_request_id=checkout_request_id, receipt=f"NLJ{number:07}")
    return await ask(port, "/payments/callback/", body, _JSON, within=DARAJA_WAITS)


# --- pushes that hang --------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Hung:
    """What happened while pushes hung."""

    prompts: int
    refused: int
    pages: list[float]
    callbacks: list[float]

    def __str__(self) -> str:
        return (
            f"{self.prompts} of {HUNG} pushes sent, {self.refused} answered 503; "
            f"slowest page {max(self.pages) * 1e3:.0f} ms of {len(self.pages)}, "
            f"slowest callback {max(self.callbacks) * 1e3:.0f} ms of {len(self.callbacks)}"
        )


async def hang(port: int) -> Hung:
    """Let 50 pushes hang, and ask for pages and post callbacks meanwhile."""
    checkouts = [asyncio.ensure_future(checked_out(port, number)) for number in range(HUNG)]
    await asyncio.sleep(0.5)
    ends = asyncio.get_running_loop().time() + HANGS - 1.5
    pages, callbacks = await asyncio.gather(probe_pages(port, ends), probe_callbacks(port, ends))
    answers = await asyncio.gather(*checkouts)
    statuses = [answer.status for answer in answers]
    assert set(statuses) <= {200, 503}
    return Hung(
        prompts=statuses.count(200), refused=statuses.count(503), pages=pages, callbacks=callbacks
    )


async def probe_pages(port: int, ends: float) -> list[float]:
    """The seconds of each page until then."""
    taken: list[float] = []
    while asyncio.get_running_loop().time() < ends:
        answer = await ask(port, "/page", within=60.0)
        assert answer.status == 200
        taken.append(answer.seconds)
        await asyncio.sleep(0.02)
    return taken


async def probe_callbacks(port: int, ends: float) -> list[float]:
    """The seconds of each callback until then. Their payments are not known here."""
    taken: list[float] = []
    while asyncio.get_running_loop().time() < ends:
        answer = await called_back(port, f"ws_CO_unknown_{len(taken)}", len(taken))
        assert answer.status in (0, 200)
        taken.append(answer.seconds)
        await asyncio.sleep(0.02)
    return taken


# --- a burst of checkouts ----------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Burst:
    """What happened to checkouts that came at once."""

    first_tries: int
    median: float
    slowest: float
    unanswered: int

    def __str__(self) -> str:
        return (
            f"{self.first_tries} of {BURST} taken at once; until the prompt: median "
            f"{self.median:.2f} s, slowest {self.slowest:.2f} s; {self.unanswered} callbacks not "
            f"answered in {DARAJA_WAITS:.0f} s"
        )


async def burst(port: int) -> Burst:
    """Send 200 checkouts at once. Clients obey Retry-After, and Daraja calls back at once."""
    loop = asyncio.get_running_loop()

    async def one(number: int) -> tuple[int, float, bool]:
        started, tries = loop.time(), 1
        while (answer := await checked_out(port, number)).status == 503:
            await asyncio.sleep(float(answer.headers["retry-after"]))
            tries += 1
        waited = loop.time() - started
        assert answer.status == 200
        prompt = json.loads(answer.body)["CheckoutRequestID"]
        return tries, waited, (await called_back(port, prompt, number)).status == 200

    results = await asyncio.gather(*map(one, range(BURST)))
    waits = [waited for _, waited, _ in results]
    return Burst(
        first_tries=sum(tries == 1 for tries, _, _ in results),
        median=statistics.median(waits),
        slowest=max(waits),
        unanswered=sum(not answered for _, _, answered in results),
    )


# --- the benchmarks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("face", FACES)
def test_pushes_that_hang(face: str, scoreboard: Scoreboard) -> None:
    """Pages and callbacks are answered at once while 50 pushes hang."""
    with daraja(HANGS) as daraja_port, served(FACES[face], daraja_port) as port:
        found = asyncio.run(hang(port))
    scoreboard.lines.append(
        Line(
            budget=f"{face}: {HUNG} pushes hang for {HANGS:.0f} s, no page or callback takes 1 s",
            measured=f"{max(*found.pages, *found.callbacks):.2f} s",
            met=max(*found.pages, *found.callbacks) < 1.0,
            notes=(str(found),),
        )
    )


@pytest.mark.parametrize("face", FACES)
def test_a_burst_of_checkouts(face: str, scoreboard: Scoreboard) -> None:
    """Each of 200 checkouts at once gets its prompt, and each callback its answer."""
    with daraja(TAKES) as daraja_port, served(FACES[face], daraja_port) as port:
        found = asyncio.run(burst(port))
    scoreboard.lines.append(
        Line(
            budget=f"{face}: {BURST} checkouts at once, Daraja takes {TAKES:.0f} s, all called back",
            measured=f"median {found.median:.2f} s, {found.unanswered} unanswered",
            met=found.unanswered == 0,
            notes=(str(found),),
        )
    )
