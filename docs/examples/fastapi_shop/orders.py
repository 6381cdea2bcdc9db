"""The shop's own orders and the library's payments, in one SQLite file."""

import functools
import os

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

import mpesa_stk as stk
from mpesa_stk.stores.sql_async import AsyncSqlTokenStore, AsyncSqlTransactionStore

FILE = os.environ.get("SHOP_DATABASE", "shop.sqlite3")
TABLE = """CREATE TABLE IF NOT EXISTS orders (
    name TEXT PRIMARY KEY, title TEXT NOT NULL, price INTEGER NOT NULL, paid_by TEXT, receipt TEXT
)"""
ADD = "INSERT OR IGNORE INTO orders (name, title, price) VALUES (:name, :title, :price)"
SOLD = [
    {"name": "INV-001", "title": "Leather shoes", "price": 1500},
    {"name": "INV-002", "title": "Kiondo basket", "price": 850},
    {"name": "INV-003", "title": "Coffee from Nyeri, 500 g", "price": 600},
]
# The first payment of an order marks it. The report of a second one changes nothing here, and that
# payment has the review "order paid twice".
MARK = """UPDATE orders SET paid_by = :payment, receipt = :receipt
    WHERE name = :name AND (paid_by IS NULL OR paid_by = :payment)"""


@functools.cache
def database() -> AsyncEngine:
    """The file with all tables. A connection to a file costs little, so none is kept."""
    return create_async_engine(f"sqlite+aiosqlite:///{FILE}", poolclass=sa.NullPool)


@functools.cache
def payments() -> stk.AsyncPayments:
    """The shop's payments, from the environment variables."""
    tokens = AsyncSqlTokenStore(database())
    client = stk.AsyncStkClient(stk.StkConfig.from_env(), token_store=tokens)
    return stk.AsyncPayments(client, AsyncSqlTransactionStore(database()))


async def create_tables() -> None:
    """Make the tables that are missing."""
    await AsyncSqlTransactionStore(database()).create_tables()
    await AsyncSqlTokenStore(database()).create_tables()
    async with database().begin() as connection:
        await connection.execute(sa.text(TABLE))
        await connection.execute(sa.text(ADD), SOLD)


async def all_orders() -> list[sa.RowMapping]:
    """Every order."""
    async with database().connect() as connection:
        found = await connection.execute(sa.text("SELECT * FROM orders ORDER BY name"))
        return list(found.mappings())


async def find(name: str) -> sa.RowMapping | None:
    """The order with a name."""
    async with database().connect() as connection:
        query = sa.text("SELECT * FROM orders WHERE name = :name")
        return (await connection.execute(query, {"name": name})).mappings().first()


async def price_of(name: str) -> int | None:
    """What an order costs, in shillings."""
    order = await find(name)
    return None if order is None else order["price"]


async def mark_paid(payment: stk.Transaction) -> None:
    """Mark the order of a payment as paid. The worker may report a payment twice: that does no harm."""
    if payment.paid:
        facts = {
            "name": payment.order,
            "payment": payment.transaction_no,
            "receipt": payment.receipt_number,
        }
        async with database().begin() as connection:
            await connection.execute(sa.text(MARK), facts)
