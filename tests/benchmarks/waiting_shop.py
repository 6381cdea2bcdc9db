"""One process in which thousands of payments wait at once: ``waiting_shop.py <payments> <pay after>``.

One event loop serves the callbacks, does the work that is due, and waits for each payment. It prints what
it measured as JSON.
"""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import uvicorn

import mpesa_stk as stk
from support import loopback_config

HERE = Path(__file__).parent
AT_ONCE = 50  # pushes under way, as many as the simulator has places for
_LONGEST = 300.0


async def customer(payments: stk.AsyncPayments, number: int, turn: asyncio.Semaphore) -> str:
    """Ask one customer to pay, and wait."""
    async with turn:
        payment = await payments.checkout(
            phone_number=f"0729{number:06d}", amount=100, reference=f"INV-{number}"
        )
    after = await payments.outcome(payment.transaction_no, timeout=_LONGEST)
    return after.state.value if after is not None else "gone"


async def work(payments: stk.AsyncPayments) -> None:
    """Report settled payments and ask about open ones."""
    while True:
        more = False
        with suppress(stk.MpesaError):
            more = (await payments.process_due(on_settled=lambda _: None)).more
        await asyncio.sleep(0 if more else 1)


async def watch(waiting: list[int], threads: list[int], tasks: set[str]) -> None:
    """Note how many payments wait at once, and how many threads there are."""
    while True:
        waiting.append(sum(task.get_name() in tasks for task in asyncio.all_tasks()))
        threads.append(threading.active_count())
        await asyncio.sleep(0.5)


async def main(count: int, pay_after: str) -> dict[str, object]:
    """Serve, ask, wait, and measure."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    callback_url = f"http://127.0.0.1:{listener.getsockname()[1]}/payments/callback"
    daraja = subprocess.Popen(  # noqa: ASYNC220 - before anything waits
        [sys.executable, str(HERE / "waiting_daraja.py"), callback_url, pay_after],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        return await _measured(daraja, listener, callback_url, count)
    finally:
        daraja.kill()


async def _measured(
    daraja: subprocess.Popen[str], listener: socket.socket, callback_url: str, count: int
) -> dict[str, object]:
    assert daraja.stdout is not None
    config = loopback_config(daraja.stdout.readline().strip(), callback_url=callback_url)
    client = stk.AsyncStkClient(config)
    payments = stk.AsyncPayments(client, stk.AsyncMemoryTransactionStore())
    app = stk.PaymentEndpoints(payments, limits=stk.NoLimits()).asgi
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
    serving = asyncio.create_task(server.serve([listener]))
    worker = asyncio.create_task(work(payments))
    waiting: list[int] = []
    threads: list[int] = []
    began, turn = time.monotonic(), asyncio.Semaphore(AT_ONCE)
    names = {f"customer {number}" for number in range(count)}
    watcher = asyncio.create_task(watch(waiting, threads, names))
    customers = [
        asyncio.create_task(customer(payments, number, turn), name=f"customer {number}")
        for number in range(count)
    ]
    states = Counter(await asyncio.gather(*customers))
    seconds = time.monotonic() - began
    for task in (watcher, worker):
        task.cancel()
    server.should_exit = True
    await serving
    await client.close()
    return {
        "states": states,
        "seconds": round(seconds, 1),
        "waiting": max(waiting),
        "threads": max(threads),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(int(sys.argv[1]), sys.argv[2]))), flush=True)
