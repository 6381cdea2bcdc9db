"""The shop's own orders and the library's payments, in one SQLite file."""

import functools
import os

import sqlalchemy as sa

import mpesa_stk as stk
from mpesa_stk.stores.sql import SqlTokenStore, SqlTransactionStore

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
def database() -> sa.Engine:
    """The file with all tables; the first call makes it."""
    engine = sa.create_engine(f"sqlite:///{FILE}")
    with engine.begin() as connection:
        connection.execute(sa.text(TABLE))
        connection.execute(sa.text(ADD), SOLD)
    return engine


@functools.cache
def payments() -> stk.Payments:
    """The shop's payments, from the environment variables; for the pages and for the worker."""
    store, tokens = SqlTransactionStore(database()), SqlTokenStore(database())
    store.create_tables()
    tokens.create_tables()
    return stk.Payments(stk.StkClient(stk.StkConfig.from_env(), token_store=tokens), store)


def all_orders() -> list[sa.RowMapping]:
    """Every order."""
    with database().connect() as connection:
        return list(connection.execute(sa.text("SELECT * FROM orders ORDER BY name")).mappings())


def find(name: str) -> sa.RowMapping | None:
    """The order with a name."""
    with database().connect() as connection:
        found = connection.execute(
            sa.text("SELECT * FROM orders WHERE name = :name"), {"name": name}
        )
        return found.mappings().first()


def price_of(name: str) -> int | None:
    """What an order costs, in shillings."""
    order = find(name)
    return None if order is None else order["price"]


def mark_paid(payment: stk.Transaction) -> None:
    """Mark the order of a payment as paid. The worker may report a payment twice: that does no harm."""
    if payment.paid:
        facts = {
            "name": payment.order,
            "payment": payment.transaction_no,
            "receipt": payment.receipt_number,
        }
        with database().begin() as connection:
            connection.execute(sa.text(MARK), facts)
