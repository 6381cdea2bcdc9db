"""M-Pesa Express (STK push) for Python.

It asks for money once, and never loses a payment.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

from mpesa_stk.async_client import AsyncStkClient
from mpesa_stk.client import StkClient
from mpesa_stk.clock import AsyncClock, AsyncSystemClock, Clock, SystemClock
from mpesa_stk.config.account import PayBill, Till
from mpesa_stk.config.environment import PRODUCTION, SANDBOX, Environment
from mpesa_stk.config.settings import CallbackUrlWarning, StkConfig
from mpesa_stk.config.several import SecretsFileWarning, configs_from_env
from mpesa_stk.daraja.callbacks import parse_callback
from mpesa_stk.daraja.exchange import MAX_BODY, AsyncTransport, HttpRequest, HttpResponse, Transport
from mpesa_stk.daraja.models import (
    CallbackResult,
    PaymentConfirmed,
    PaymentFailed,
    PaymentUnproven,
    PushAccepted,
    PushRequest,
    QueryResult,
    QueryStatus,
    Token,
)
from mpesa_stk.daraja.protocol import stk_password, stk_timestamp
from mpesa_stk.daraja.results import Result, RetryAdvice, explain
from mpesa_stk.daraja.retry import RetryPolicy
from mpesa_stk.daraja.tokens import AsyncTokenStore, MemoryTokenStore, TokenStore
from mpesa_stk.errors import (
    AlreadyPaid,
    AuthenticationFailed,
    CallbackRefused,
    ConfigurationError,
    DarajaError,
    DuplicateTransaction,
    GatewayBlocked,
    IdempotencyConflict,
    InvalidAmount,
    InvalidCallback,
    InvalidPhoneNumber,
    InvalidRequest,
    InvalidStatement,
    MpesaError,
    NotSent,
    OrderRefused,
    OutcomeUnknown,
    PaymentInProgress,
    PaymentUnresolved,
    RateLimited,
    StoreError,
    SubscriberBusy,
    TransportError,
    UnexpectedResponse,
)
from mpesa_stk.hooks import Event, Hook
from mpesa_stk.payments.accounts import Accounts
from mpesa_stk.payments.alarm import CallbackNews
from mpesa_stk.payments.async_accounts import AsyncAccounts
from mpesa_stk.payments.async_payments import AsyncPayments
from mpesa_stk.payments.budget import (
    AsyncQueryBudget,
    MemoryQueryBudget,
    QueryBudget,
    QueryPace,
)
from mpesa_stk.payments.callback import CallbackOutcome, CallbackReceipt
from mpesa_stk.payments.desk import Desk
from mpesa_stk.payments.due import DueReport
from mpesa_stk.payments.orders import OrderState, OrderStatus
from mpesa_stk.payments.payments import Payments
from mpesa_stk.payments.query import PaymentStatus
from mpesa_stk.payments.reconciling import Claim, ClaimAnswer
from mpesa_stk.payments.record_report import ReconcileReport, RecordDoubt, RecordMatch
from mpesa_stk.payments.search import (
    AsyncSearchableStore,
    PaymentPage,
    PaymentSearch,
    SearchableStore,
)
from mpesa_stk.payments.state import HistoryEntry, Transaction, TransactionState
from mpesa_stk.payments.store import AsyncTransactionStore, KeptCallback, TransactionStore
from mpesa_stk.phone import PhoneNumber, normalize_phone
from mpesa_stk.reconcile.pull import PullRegistration
from mpesa_stk.reconcile.statement import RowKind, Statement, StatementRow, StatementSource
from mpesa_stk.stores.memory import AsyncMemoryTransactionStore, MemoryTransactionStore
from mpesa_stk.version import __version__ as __version__

if TYPE_CHECKING:
    from mpesa_stk.daraja.aiohttp_transport import AioHttpTransport
    from mpesa_stk.daraja.async_tokens import AsyncMemoryTokenStore
    from mpesa_stk.daraja.transport import RequestsTransport
    from mpesa_stk.reconcile.statement_file import read_statement
    from mpesa_stk.stores.threaded import (
        ThreadedQueryBudget,
        ThreadedTokenStore,
        ThreadedTransactionStore,
    )
    from mpesa_stk.web.addresses import SAFARICOM_NETWORKS
    from mpesa_stk.web.endpoints import PaymentEndpoints
    from mpesa_stk.web.guard import CallbackGuard
    from mpesa_stk.web.limits import AsyncLimits, Limits, MemoryLimits, NoLimits, Rate, Rates
    from mpesa_stk.web.messages import WebRequest, WebResponse, json_response

__all__ = [
    "MAX_BODY",
    "PRODUCTION",
    "SAFARICOM_NETWORKS",
    "SANDBOX",
    "Accounts",
    "AioHttpTransport",
    "AlreadyPaid",
    "AsyncAccounts",
    "AsyncClock",
    "AsyncLimits",
    "AsyncMemoryTokenStore",
    "AsyncMemoryTransactionStore",
    "AsyncPayments",
    "AsyncQueryBudget",
    "AsyncSearchableStore",
    "AsyncStkClient",
    "AsyncSystemClock",
    "AsyncTokenStore",
    "AsyncTransactionStore",
    "AsyncTransport",
    "AuthenticationFailed",
    "CallbackGuard",
    "CallbackNews",
    "CallbackOutcome",
    "CallbackReceipt",
    "CallbackRefused",
    "CallbackResult",
    "CallbackUrlWarning",
    "Claim",
    "ClaimAnswer",
    "Clock",
    "ConfigurationError",
    "DarajaError",
    "Desk",
    "DueReport",
    "DuplicateTransaction",
    "Environment",
    "Event",
    "GatewayBlocked",
    "HistoryEntry",
    "Hook",
    "HttpRequest",
    "HttpResponse",
    "IdempotencyConflict",
    "InvalidAmount",
    "InvalidCallback",
    "InvalidPhoneNumber",
    "InvalidRequest",
    "InvalidStatement",
    "KeptCallback",
    "Limits",
    "MemoryLimits",
    "MemoryQueryBudget",
    "MemoryTokenStore",
    "MemoryTransactionStore",
    "MpesaError",
    "NoLimits",
    "NotSent",
    "OrderRefused",
    "OrderState",
    "OrderStatus",
    "OutcomeUnknown",
    "PayBill",
    "PaymentConfirmed",
    "PaymentEndpoints",
    "PaymentFailed",
    "PaymentInProgress",
    "PaymentPage",
    "PaymentSearch",
    "PaymentStatus",
    "PaymentUnproven",
    "PaymentUnresolved",
    "Payments",
    "PhoneNumber",
    "PullRegistration",
    "PushAccepted",
    "PushRequest",
    "QueryBudget",
    "QueryPace",
    "QueryResult",
    "QueryStatus",
    "Rate",
    "RateLimited",
    "Rates",
    "ReconcileReport",
    "RecordDoubt",
    "RecordMatch",
    "RequestsTransport",
    "Result",
    "RetryAdvice",
    "RetryPolicy",
    "RowKind",
    "SearchableStore",
    "SecretsFileWarning",
    "Statement",
    "StatementRow",
    "StatementSource",
    "StkClient",
    "StkConfig",
    "StoreError",
    "SubscriberBusy",
    "SystemClock",
    "ThreadedQueryBudget",
    "ThreadedTokenStore",
    "ThreadedTransactionStore",
    "Till",
    "Token",
    "TokenStore",
    "Transaction",
    "TransactionState",
    "TransactionStore",
    "Transport",
    "TransportError",
    "UnexpectedResponse",
    "WebRequest",
    "WebResponse",
    "configs_from_env",
    "explain",
    "json_response",
    "normalize_phone",
    "parse_callback",
    "read_statement",
    "stk_password",
    "stk_timestamp",
]

logging.getLogger("mpesa_stk").addHandler(logging.NullHandler())

# requests takes longer to import than all the rest. Not every host uses asyncio, statements or endpoints.
_ON_FIRST_USE = {
    "AioHttpTransport": "mpesa_stk.daraja.aiohttp_transport",
    "AsyncLimits": "mpesa_stk.web.limits",
    "AsyncMemoryTokenStore": "mpesa_stk.daraja.async_tokens",
    "CallbackGuard": "mpesa_stk.web.guard",
    "Limits": "mpesa_stk.web.limits",
    "MemoryLimits": "mpesa_stk.web.limits",
    "NoLimits": "mpesa_stk.web.limits",
    "PaymentEndpoints": "mpesa_stk.web.endpoints",
    "Rate": "mpesa_stk.web.limits",
    "Rates": "mpesa_stk.web.limits",
    "RequestsTransport": "mpesa_stk.daraja.transport",
    "SAFARICOM_NETWORKS": "mpesa_stk.web.addresses",
    "ThreadedQueryBudget": "mpesa_stk.stores.threaded",
    "ThreadedTokenStore": "mpesa_stk.stores.threaded",
    "ThreadedTransactionStore": "mpesa_stk.stores.threaded",
    "WebRequest": "mpesa_stk.web.messages",
    "WebResponse": "mpesa_stk.web.messages",
    "json_response": "mpesa_stk.web.messages",
    "read_statement": "mpesa_stk.reconcile.statement_file",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - as Python has it
    if name in _ON_FIRST_USE:
        return getattr(importlib.import_module(_ON_FIRST_USE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
