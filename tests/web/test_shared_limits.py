"""The limits of a fleet: counts in a real Redis, through the library limits, on both faces."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mpesa_stk
from both_faces import Face, run
from mpesa_stk import (
    ConfigurationError,
    MemoryTransactionStore,
    PaymentEndpoints,
    Rate,
    Rates,
    StoreError,
)
from mpesa_stk.web.shared_limits import AsyncSharedLimits, SharedLimits
from support import callback
from web_cases import AsyncShop, Shop, body_of, error_of

pytestmark = pytest.mark.usefixtures("face")

RATES = Rates(prompts=Rate(times=2, seconds=1000), open_prompts=Rate(times=1, seconds=100))
NOWHERE = "redis://:CANARYpassword@127.0.0.1:1/0"
Make = Callable[[], Any]


def client_of(limits: Any) -> Any:
    """The client of Redis, for tests to close: limits has no way to do that."""
    storage = limits._window.storage
    return storage.storage if isinstance(limits, SharedLimits) else storage.bridge.storage


class PerCall:
    """Limits of the asyncio face as synchronous ones. Each call has an event loop and a connection."""

    def __init__(self, make: Make) -> None:
        self._make = make

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def call(*args: Any) -> Any:
            limits = self._make()
            try:
                return await getattr(limits, name)(*args)
            finally:
                await client_of(limits).aclose()

        return lambda *args: run(call(*args))


@pytest.fixture(name="make")
def _make(redis_url: str) -> Iterator[Make]:
    """A handle of one process, of the face that is tested; all handles of a test share their counts."""
    prefix = f"test-{uuid.uuid4().hex}"
    made: list[SharedLimits] = []

    def make() -> Any:
        if Face.asyncio:
            url = f"async+{redis_url}"
            return PerCall(lambda: AsyncSharedLimits(url, rates=RATES, prefix=prefix))
        made.append(SharedLimits(redis_url, rates=RATES, prefix=prefix))
        return made[-1]

    yield make
    for limits in made:
        client_of(limits).close()


def test_two_processes_count_together(make: Make) -> None:
    """What one took, the other one must wait for. Keys and names are apart."""
    one, other = make(), make()
    assert one.wait("prompts", "a") == 0
    assert one.take("prompts", "a") == 0
    assert other.take("prompts", "a") == 0
    for handle in (one, other):
        assert 900 < handle.take("prompts", "a") <= 1000
        assert 900 < handle.wait("prompts", "a") <= 1000
    assert one.take("prompts", "b") == 0
    assert one.take("open_prompts", "a") == 0
    other.forget("prompts", "a")
    assert one.wait("prompts", "a") == 0
    assert 90 < one.wait("open_prompts", "a") <= 100


def test_a_fleet_opens_one_prompt(make: Make) -> None:
    """A phone that one process asks is not asked by another one, until any of them hears its end."""
    store = MemoryTransactionStore()
    one, other = Shop(store), Shop(store)
    for shop in (one, other):
        shop.endpoints = PaymentEndpoints(shop.payments, limits=make())
    body_of(one.handle(one.checkout()))
    refused = other.handle(other.checkout())
    assert error_of(refused, 429) == ("prompt_open", "phone_number")
    assert 90 < int(refused.headers["Retry-After"]) <= 100
    ended = callback(1032, checkout_request_id=one.checkout_id)
    body_of(other.handle(other.called_back(ended, token=one.daraja.token)))
    other.daraja.pushes.append(
        {}
    )  # the fleet has one Daraja, which gives each prompt an id of its own
    body_of(other.handle(other.checkout()))


@pytest.mark.parametrize("method", ["take", "wait", "forget"])
def test_a_redis_that_is_gone_is_a_store_error_without_its_url(method: str) -> None:
    """The endpoints then limit nothing. The error holds no password."""
    limits: Any = SharedLimits(NOWHERE)
    if Face.asyncio:
        limits = PerCall(lambda: AsyncSharedLimits(f"async+{NOWHERE}"))
    with pytest.raises(StoreError) as caught:
        getattr(limits, method)("requests", "key")
    assert "CANARY" not in f"{caught.value!r} {caught.value.__cause__!r}"
    shop = Shop(rules={"limits": limits})
    body_of(shop.handle(shop.checkout()))


@pytest.mark.parametrize("url", ["CANARYpassword@host", "nosuch://CANARYpassword@host"])
@pytest.mark.parametrize("kind", [SharedLimits, AsyncSharedLimits])
def test_a_url_that_cannot_work_is_named_and_not_repeated(kind: Any, url: str) -> None:
    """It may hold a password."""
    with pytest.raises(ConfigurationError) as caught:
        kind(url)
    assert [name for name, _ in caught.value.problems] == ["url"]
    assert "CANARY" not in str(caught.value)


def test_the_driver_of_redis_can_be_chosen(redis_url: str) -> None:
    """The options of limits are passed on."""
    with pytest.raises(ConfigurationError):
        AsyncSharedLimits(f"async+{redis_url}", implementation="no such driver", no_such_option=1)


def test_limits_may_be_awaited_by_the_endpoints(redis_url: str) -> None:
    """On an event loop, several requests share one connection pool."""
    shop = AsyncShop()

    async def use() -> list[int]:
        limits = AsyncSharedLimits(f"async+{redis_url}", rates=RATES, prefix=uuid.uuid4().hex)
        endpoints = PaymentEndpoints(shop.payments, limits=limits)
        answers = await asyncio.gather(*[endpoints.handle_async(shop.checkout()) for _ in range(5)])
        await client_of(limits).aclose()
        return sorted(answered.status for answered in answers)

    assert run(use()) == [200, 429, 429, 429, 429]


def test_synchronous_payments_have_synchronous_limits(redis_url: str) -> None:
    """They could not wait for others: that shows when the endpoints are made, not at a request."""
    limits = AsyncSharedLimits(f"async+{redis_url}")
    payments = Shop().payments
    if Face.asyncio:
        PaymentEndpoints(payments, limits=limits)
        return
    with pytest.raises(TypeError, match="synchronous"):
        PaymentEndpoints(payments, limits=limits)


def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who imports it without limits is told what to install."""
    monkeypatch.setitem(sys.modules, "limits", None)
    place = Path(mpesa_stk.__file__).parent / "web" / "shared_limits.py"
    spec = importlib.util.spec_from_file_location("without_limits", place)
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(ImportError, match=r"mpesa-stk-client\[limits\]"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
