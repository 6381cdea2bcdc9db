"""The demo: one payment from push to report on this machine, over real HTTP, in about two seconds.

The timeline goes to stderr as it happens, the payment as JSON to stdout.
"""

from __future__ import annotations

import json
import secrets
import sys
import threading
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from types import TracebackType

import attrs

from mpesa_stk.account import PayBill
from mpesa_stk.client import StkClient
from mpesa_stk.clock import SystemClock
from mpesa_stk.config import StkConfig
from mpesa_stk.daraja.http import HttpResponse
from mpesa_stk.daraja.models import PushRequest, shillings_of
from mpesa_stk.environment import Environment
from mpesa_stk.errors import MpesaError
from mpesa_stk.hooks import Event
from mpesa_stk.payments.flow import Payments
from mpesa_stk.payments.memory import MemoryTransactionStore
from mpesa_stk.payments.transaction import Transaction, TransactionState
from mpesa_stk.simulator.loopback import LoopbackServer
from mpesa_stk.simulator.prompts import OUTCOMES, Scenario
from mpesa_stk.simulator.server import SimulatorServer

__all__ = ["check_order", "fresh_merchant", "run"]

_MAX_AMOUNT = 250_000
_PATIENCE = 10.0


def check_order(*, phone: str, amount: str, reference: str) -> PushRequest:
    """Check what was typed.

    Raises:
        InvalidRequest: A field breaks a rule; the error names both.
    """
    return PushRequest.checked(
        phone_number=phone,
        amount=shillings_of(amount),
        reference=reference,
        description="",
        callback_url="",
        max_amount=_MAX_AMOUNT,
    )


def run(order: PushRequest, /, *, outcome: str, patience: float = _PATIENCE) -> int:
    """Play one payment.

    Args:
        order: Who pays, how much, for what.
        outcome: How the customer answers: a name of `OUTCOMES`.
        patience: Seconds to wait for the callback at most.

    Returns:
        Exit code: 0 if the payment ended as asked, 1 if not.
    """
    say = _Timeline()
    merchant = fresh_merchant()
    try:
        with (
            SimulatorServer(
                merchant,
                scenario=Scenario(outcome=outcome),
                on_answered=lambda _: say(f"prompt answered on the phone: {outcome}"),
            ) as daraja,
            _Shop(merchant, daraja.environment, say) as shop,
        ):
            say(f"simulated Daraja listens on {daraja.origin}")
            transaction = shop.sell(order, patience)
    except MpesaError as error:
        say(f"failed: {error}")
        return 1
    print(_as_json(transaction))
    return 0 if _ended_as(transaction, outcome) else 1


class _Timeline:
    """Prints what happens, with the seconds since the start."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self._started = self._clock.monotonic()

    def __call__(self, text: str, /) -> None:
        elapsed = self._clock.monotonic() - self._started
        print(f"{elapsed:6.2f} s  {text}", file=sys.stderr, flush=True)

    def note(self, event: Event, /) -> None:
        """Print an event of the client; this is a `Hook`."""
        code = "" if event.code is None else f" (code {event.code})"
        plain = "status query says" if event.kind == "query" else event.kind
        self(_DONE.get((event.kind, event.outcome), f"{plain} {event.outcome}{code}"))


_DONE: Mapping[tuple[str, str], str] = {
    ("token", "ok"): "token fetched",
    ("push", "ok"): "push accepted, waiting for the customer",
}


class _Shop:
    """What a host of the library is: payments, and an endpoint that takes callbacks."""

    def __init__(self, merchant: StkConfig, environment: Environment, say: _Timeline) -> None:
        self._say = say
        self._receiver = LoopbackServer(self._receive)
        config = attrs.evolve(
            merchant,
            environment=environment,
            callback_url=f"{self._receiver.origin}/payments/callback",
        )
        self._client = StkClient(config, hooks=(say.note,))
        self._payments = Payments(self._client, MemoryTransactionStore())
        self._called_back = threading.Event()

    def __enter__(self) -> _Shop:  # noqa: PYI034 - typing.Self needs Python 3.11
        self._receiver.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._receiver.close()
        self._client.close()

    def sell(self, order: PushRequest, patience: float) -> Transaction:
        """Ask for the money, wait for the callback, ask Daraja too, report."""
        transaction = self._payments.checkout(
            phone_number=order.phone_number, amount=order.amount, reference=order.reference
        )
        self._called_back.wait(patience)
        self._payments.query(transaction.checkout_request_id or "")
        self._payments.process_due(on_settled=self._report)
        return self._payments.store.get(transaction.transaction_no) or transaction

    def _report(self, transaction: Transaction) -> None:
        receipt = f", receipt {transaction.receipt_number}" if transaction.receipt_number else ""
        self._say(f"settled and reported: {transaction.state.value}{receipt}")

    def _receive(
        self, _method: str, target: str, _headers: Mapping[str, str], body: bytes
    ) -> HttpResponse:
        """Take a callback; it is stored before it is acknowledged."""
        token = target.rstrip("/").rpartition("/")[2]
        try:
            receipt = self._payments.handle_callback(body, token=token)
        except MpesaError as error:
            self._say(f"callback not taken: {error}")
            return _reply(400, {"ResultCode": 1, "ResultDesc": "Rejected"})
        self._say(f"callback received: {receipt.outcome.value}")
        self._called_back.set()
        return _reply(200, {"ResultCode": 0, "ResultDesc": "Accepted"})


def _reply(status: int, payload: Mapping[str, object]) -> HttpResponse:
    return HttpResponse(
        status=status,
        headers={"content-type": "application/json"},
        body=json.dumps(payload).encode(),
    )


def fresh_merchant() -> StkConfig:
    """A merchant that exists for one demo; its addresses are set once the servers have ports."""
    return StkConfig(
        consumer_key=secrets.token_hex(16),
        consumer_secret=secrets.token_hex(16),
        passkey=secrets.token_hex(32),
        account=PayBill("600000"),
        callback_url="https://shop.example.co.ke/payments/callback",
        callback_secrets=(secrets.token_hex(16),),
    )


def _ended_as(transaction: Transaction, outcome: str) -> bool:
    """Whether the payment is settled and reported as the customer answered."""
    wanted = OUTCOMES[outcome]
    if not transaction.reported or transaction.result_code != str(wanted.code):
        return False
    if wanted.paid:
        return transaction.state is TransactionState.SUCCEEDED and bool(transaction.receipt_number)
    return transaction.state is TransactionState.FAILED


def _as_json(transaction: Transaction) -> str:
    return json.dumps(attrs.asdict(transaction, value_serializer=_plain), indent=2)


def _plain(_owner: object, _field: object, value: object) -> object:
    """A value as JSON can hold it."""
    if isinstance(value, datetime):
        return value.isoformat()
    return value.value if isinstance(value, Enum) else value
