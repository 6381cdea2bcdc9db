"""The contracts of stores on asynchronous ones, whose calls are tasks of one event loop."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator

import pytest
import redis.asyncio
import sqlalchemy as sa

from async_stores import LoopEngines, url_for
from databases import Servers
from mpesa_stk import MemoryTokenStore, MemoryTransactionStore
from mpesa_stk.daraja.async_tokens import AsyncMemoryTokenStore
from mpesa_stk.stores.memory import AsyncMemoryTransactionStore
from mpesa_stk.stores.redis import AsyncRedisTokenStore
from mpesa_stk.stores.sql import SqlTokenStore, SqlTransactionStore
from mpesa_stk.stores.sql_async import AsyncSqlTokenStore, AsyncSqlTransactionStore
from mpesa_stk.stores.threaded import ThreadedTokenStore, ThreadedTransactionStore
from mpesa_stk.testing import (
    BlockingTokenStore,
    BlockingTransactionStore,
    EventLoopThread,
    SearchContract,
    StoreContract,
    TokenStoreContract,
)
from mpesa_stk.testing.contract_values import MakeStore
from mpesa_stk.testing.token_contract import MakeTokenStore


@pytest.fixture(name="loop", scope="class")
def _loop() -> Iterator[EventLoopThread]:
    """An event loop for a class."""
    with EventLoopThread() as loop:
        yield loop


# --- payments ------------------------------------------------------------------------------------------


class TestAsyncMemoryStore(SearchContract, StoreContract):
    """It forgets with its process; all handles are one."""

    durable = False
    many = 500

    @pytest.fixture
    def make_store(self, loop: EventLoopThread) -> MakeStore:
        """Always the same store."""
        store = BlockingTransactionStore(AsyncMemoryTransactionStore(), loop)
        return lambda: store


class TestThreadedMemoryStore(SearchContract, StoreContract):
    """The tasks share a few threads."""

    durable = False
    many = 500

    @pytest.fixture
    def make_store(self, loop: EventLoopThread) -> Iterator[MakeStore]:
        """Always the same store."""
        store = ThreadedTransactionStore(MemoryTransactionStore(), threads=3)
        yield lambda: BlockingTransactionStore(store, loop)
        loop.run(store.close())


class AsyncSqlHandles:
    """Stores on one database, each with an engine of its own, as a process has."""

    def __init__(self, url: str, loop: EventLoopThread) -> None:
        self._url = url
        self._engines = LoopEngines(loop)
        self._free: list[AsyncSqlTransactionStore] = []
        self._lent: list[AsyncSqlTransactionStore] = []
        self._open()
        self._engines.loop.run(self._free[0].create_tables())

    def handle(self) -> BlockingTransactionStore:
        """One that no other thread has."""
        with contextlib.suppress(IndexError):
            self._lent.append(self._free.pop())
            return BlockingTransactionStore(self._lent[-1], self._engines.loop)
        self._open()
        return self.handle()

    def empty(self) -> None:
        """Forget all payments, and take all handles back for the next test."""
        self._free += self._lent
        self._lent.clear()
        self._engines.loop.run(self._empty())

    async def _empty(self) -> None:
        async with self._engines.first.begin() as connection:
            for table in self._free[0].metadata.sorted_tables:
                await connection.execute(sa.delete(table))

    def close(self) -> None:
        """Close all connections."""
        self._engines.close()

    def _open(self) -> None:
        self._free.append(AsyncSqlTransactionStore(self._engines.open(self._url, pool_size=1)))


@pytest.fixture(name="handles", scope="class")
def _handles(
    request: pytest.FixtureRequest,
    loop: EventLoopThread,
    servers: Servers,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[AsyncSqlHandles]:
    """The stores of a class."""
    driver = request.cls.driver
    if driver == "aiosqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('contract') / 'payments.sqlite3'}"
    else:
        url = servers.mariadb_url() if driver == "aiomysql" else servers.postgres_url()
    handles = AsyncSqlHandles(url_for(driver, url), loop)
    yield handles
    handles.close()


class AsyncSqlContract(SearchContract, StoreContract):
    """Each driver has one database with its tables, which is emptied after each test."""

    many = 300
    driver: str

    @pytest.fixture
    def make_store(self, handles: AsyncSqlHandles) -> Iterator[MakeStore]:
        """A store on an engine of its own."""
        yield handles.handle
        handles.empty()


@pytest.mark.slow
class TestAiosqliteStore(AsyncSqlContract):
    """SQLite, in a file."""

    driver = "aiosqlite"


class TestAsyncpgStore(AsyncSqlContract):
    """PostgreSQL."""

    driver = "asyncpg"


@pytest.mark.slow
class TestAsyncPsycopgStore(AsyncSqlContract):
    """PostgreSQL, by the driver that the synchronous stores have too."""

    driver = "psycopg"


@pytest.mark.slow
class TestAiomysqlStore(AsyncSqlContract):
    """MariaDB."""

    driver = "aiomysql"


@pytest.mark.slow
class TestThreadedSqliteStore(SearchContract, StoreContract):
    """A store without an asynchronous driver, in threads."""

    many = 300

    @pytest.fixture
    def make_store(
        self, loop: EventLoopThread, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[MakeStore]:
        """A store on an engine of its own."""
        url = f"sqlite:///{tmp_path_factory.mktemp('contract') / 'payments.sqlite3'}"
        engines: list[sa.Engine] = []
        stores: list[ThreadedTransactionStore] = []

        def make() -> BlockingTransactionStore:
            engines.append(sa.create_engine(url))
            stores.append(ThreadedTransactionStore(SqlTransactionStore(engines[-1]), threads=2))
            return BlockingTransactionStore(stores[-1], loop)

        engines.append(sa.create_engine(url))
        SqlTransactionStore(engines[0]).create_tables()
        yield make
        for store in stores:
            loop.run(store.close())
        for engine in engines:
            engine.dispose()


# --- tokens ------------------------------------------------------------------------------------------


class TestAsyncMemoryTokens(TokenStoreContract):
    """A flight of it ends with its process; all handles are one."""

    lease = None

    @pytest.fixture
    def make_store(self, loop: EventLoopThread) -> MakeTokenStore:
        """Always the same store."""
        store = BlockingTokenStore(AsyncMemoryTokenStore(), loop)
        return lambda: store


class TestThreadedTokens(TokenStoreContract):
    """More tasks wait for a flight than there are threads: none of them keeps the holder waiting."""

    lease = None

    @pytest.fixture
    def make_store(self, loop: EventLoopThread) -> Iterator[MakeTokenStore]:
        """Always the same store, with one thread."""
        store = ThreadedTokenStore(MemoryTokenStore(), threads=1)
        yield lambda: BlockingTokenStore(store, loop)
        loop.run(store.close())


class TestThreadedSqlTokens(TokenStoreContract):
    """Each handle has threads of its own, on one database."""

    @pytest.fixture
    def make_store(
        self, loop: EventLoopThread, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[MakeTokenStore]:
        """Another store with a short lease."""
        engine = sa.create_engine(f"sqlite:///{tmp_path_factory.mktemp('tokens') / 'tokens'}")
        SqlTokenStore(engine).create_tables()
        stores: list[ThreadedTokenStore] = []

        def make() -> BlockingTokenStore:
            stores.append(ThreadedTokenStore(SqlTokenStore(engine, lease=1.0), threads=2))
            return BlockingTokenStore(stores[-1], loop)

        yield make
        for store in stores:
            loop.run(store.close())
        engine.dispose()


class TestAsyncSqlTokens(TokenStoreContract):
    """Each handle is a store of its own; all drivers."""

    @pytest.fixture
    def make_store(self, loop: EventLoopThread, async_url: str) -> Iterator[MakeTokenStore]:
        """Another store with a short lease."""
        engines = LoopEngines(loop)
        engine = engines.open(async_url)
        loop.run(AsyncSqlTokenStore(engine).create_tables())
        yield lambda: BlockingTokenStore(AsyncSqlTokenStore(engine, lease=1.0), loop)
        engines.close()


class TestAsyncRedisTokens(TokenStoreContract):
    """Each handle has a client of its own, as a process has."""

    @pytest.fixture
    def make_store(self, loop: EventLoopThread, redis_url: str) -> Iterator[MakeTokenStore]:
        """A store on a new client."""
        clients: list[redis.asyncio.Redis] = []
        prefix = f"test-{uuid.uuid4().hex}:"

        def make() -> BlockingTokenStore:
            clients.append(redis.asyncio.Redis.from_url(redis_url))
            store = AsyncRedisTokenStore(clients[-1], prefix=prefix, lease=1.0)
            return BlockingTokenStore(store, loop)

        yield make
        for client in clients:
            loop.run(client.aclose())
