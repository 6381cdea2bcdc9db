"""The example projects: each adapter answers as `PaymentEndpoints`, and the work that is due is done."""

from __future__ import annotations

import asyncio
import io
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import attrs
import pytest

from daraja_double import answer
from example_shops import (
    ADAPTERS,
    DJANGO_SHOP,
    EXAMPLES,
    call_asgi,
    load,
    through_fastapi,
    through_flask,
)
from mpesa_stk import (
    Environment,
    HttpResponse,
    MemoryTransactionStore,
    StkConfig,
    StoreError,
    Transaction,
    WebResponse,
)
from mpesa_stk.commands.simulate import settings_of
from mpesa_stk.daraja.exchange import MAX_BODY
from support import ROOT, accepted
from web_cases import (
    CASES,
    PROXY,
    SAFARICOM,
    AsyncShop,
    Send,
    Shop,
    Transcript,
    body_of,
    error_of,
    expected_answers,
)

PAGE = ROOT / "docs" / "how-to" / "frameworks.md"


@attrs.frozen
class Mounted:
    """An adapter, and the shop that it stands before."""

    shop: type[Shop]
    before: Callable[[Any], Send]


@pytest.fixture(name="mounted", params=sorted(ADAPTERS))
def _mounted(request: pytest.FixtureRequest) -> Mounted:
    """Mounts a shop behind one of the adapters. The Django app has the same cases in tests/contrib."""
    if request.param == "flask":
        return Mounted(Shop, lambda shop: through_flask(shop.endpoints))
    return Mounted(AsyncShop, lambda shop: through_fastapi(shop.endpoints))


# --- the adapters ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_adapter_answers_as_the_endpoints_do(name: str, mounted: Mounted) -> None:
    """Each case passes behind each adapter, and every status and body is that of the endpoints."""
    shop = mounted.shop()
    transcript = Transcript(mounted.before(shop))
    CASES[name](shop, transcript.send)
    assert transcript.answers == expected_answers(name)


def test_adapters_are_short(record_property: Callable[[str, object], None]) -> None:
    """Every line of the adapter's file counts, also those of the prices, and there are fewer than 45."""
    counts = {
        name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in ADAPTERS.items()
    }
    for name, lines in counts.items():
        record_property(f"lines of the {name} adapter", lines)
        print(f"{name} adapter: {lines} lines")  # noqa: T201 - shown by pytest -s
    assert max(counts.values()) < 45


def test_other_methods_and_paths_get_the_endpoints_answers(mounted: Mounted) -> None:
    """The frameworks leave 404 and 405 under /payments/ to the endpoints."""
    shop = mounted.shop()
    send = mounted.before(shop)
    for method in ("PUT", "PATCH", "DELETE", "OPTIONS"):
        request = attrs.evolve(shop.checkout(), method=method)
        assert error_of(send(request), 405) == ("method_not_allowed", None)
    unknown = shop.post("", {}, path="/payments/nothing/")
    assert error_of(send(unknown), 404) == ("not_found", None)


class Counted(io.BytesIO):
    """A body that counts how much of it was read."""

    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Read, and count."""
        data = super().read(size)
        self.taken += len(data)
        return data

    def readinto(self, buffer: Any, /) -> int:
        """Read, and count."""
        count = super().readinto(buffer)
        self.taken += count
        return count


def test_flask_reads_no_more_than_it_must() -> None:
    """Of 200 KB, one byte more than is taken at most is read."""
    shop = Shop()
    client = load(ADAPTERS["flask"]).create_app(shop.endpoints).test_client()
    body = Counted(b"x" * 200_000)
    answer = client.post(
        "/payments/checkout/",
        input_stream=body,
        content_length=200_000,
        content_type="application/json",
    )
    assert answer.status_code == 413
    assert body.taken <= MAX_BODY + 1


def test_fastapi_reads_no_more_than_it_must() -> None:
    """It stops at the part of the body that is too much."""
    shop = AsyncShop()
    app = load(ADAPTERS["fastapi"]).create_app(shop.endpoints)
    taken: list[int] = []

    def parts() -> Iterator[bytes]:
        for number in range(200):
            taken.append(number)
            yield b"x" * 1000

    answer = asyncio.run(call_asgi(app, shop.checkout(), body=parts()))
    assert error_of(answer, 413) == ("body_too_large", None)
    assert len(taken) <= MAX_BODY // 1000 + 3


def test_fastapi_joins_a_field_that_comes_twice() -> None:
    """A client's own X-Forwarded-For does not hide the one that the proxy adds."""
    shop = AsyncShop()
    app = load(ADAPTERS["fastapi"]).create_app(shop.endpoints)
    asyncio.run(call_asgi(app, shop.checkout()))
    request = shop.called_back(peer=PROXY)
    fields = [(name.encode(), value.encode()) for name, value in request.headers.items()]
    spoofed = [(b"x-forwarded-for", SAFARICOM.encode()), (b"x-forwarded-for", b"203.0.113.7")]
    refused = asyncio.run(call_asgi(app, request, fields=fields + spoofed))
    assert error_of(refused, 403) == ("CallbackRefused", None)
    honest = asyncio.run(call_asgi(app, request, fields=fields + spoofed[::-1]))
    assert body_of(honest) == {"ResultCode": 0, "ResultDesc": "Accepted"}


def test_fastapi_serves_others_while_a_push_is_under_way() -> None:
    """A checkout that waits for Daraja does not hold up the event loop."""
    shop = AsyncShop()
    app = load(ADAPTERS["fastapi"]).create_app(shop.endpoints)
    pushing, answered = threading.Event(), threading.Event()
    in_time: list[bool] = []

    def slow() -> HttpResponse:
        pushing.set()
        in_time.append(answered.wait(10))
        return HttpResponse(status=429, headers={}, body=b"")

    shop.daraja.push_script.append(slow)

    async def both() -> WebResponse:
        checkout = asyncio.create_task(call_asgi(app, shop.checkout()))
        await asyncio.to_thread(pushing.wait, 10)
        other = await call_asgi(app, shop.post("query", {"transaction_no": "no-such"}))
        answered.set()
        assert (await checkout).status == 429
        return other

    assert error_of(asyncio.run(both()), 404) == ("unknown_payment", None)
    assert in_time == [True]


async def reported(shop: AsyncShop) -> None:
    """Wait until the shop has reported its payment."""
    for _ in range(1000):
        if shop.stored().reported:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nothing was reported in ten seconds")


def test_fastapi_does_what_is_due_while_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """It reports a settled payment, although the store fails at first, and the page's route sees it."""
    shop = AsyncShop(FailsFirst())
    body_of(shop.handle(shop.checkout()))
    body_of(shop.handle(shop.called_back()))
    module = load(ADAPTERS["fastapi"])
    monkeypatch.setattr(module.work, "__defaults__", (0.001,))
    app = module.create_app(shop.endpoints)

    app.include_router(recipe("APIRouter")["router"])
    number = shop.stored().transaction_no

    async def live() -> None:
        async with app.router.lifespan_context(app) as state:
            await asyncio.wait_for(reported(shop), 10)
            for asked, paid in ((number, b"true"), ("no-such", b"false")):
                page = attrs.evolve(shop.checkout(), method="GET", path=f"/paid/{asked}")
                assert (await call_asgi(app, page, state=state)).body == paid

    asyncio.run(live())


def test_fastapi_stops_when_the_checkouts_in_progress_are_stored() -> None:
    """A client that hangs up and a server that stops cut no checkout off, and the client is closed last."""
    shop = AsyncShop()
    pushing, go = threading.Event(), threading.Event()
    closed: list[str] = []

    def slow() -> HttpResponse:
        pushing.set()
        assert go.wait(10)
        return answer(accepted(shop.checkout_id))

    async def close() -> None:
        closed.append(shop.stored().state.value)

    shop.daraja.push_script.append(slow)
    shop.payments.client.close = close
    app = load(ADAPTERS["fastapi"]).create_app(shop.endpoints)

    async def live() -> None:
        async with app.router.lifespan_context(app):
            checkout = asyncio.create_task(call_asgi(app, shop.checkout()))
            await asyncio.to_thread(pushing.wait, 10)
            checkout.cancel()
            await asyncio.wait([checkout], timeout=10)
            asyncio.get_running_loop().call_later(0.01, go.set)

    asyncio.run(live())
    assert closed == ["PENDING"]


def test_the_flask_shop_is_made_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings that `mpesa-stk simulate` prints are those that it starts with."""
    daraja = Environment.at("http://127.0.0.1:8090", name="simulator")
    for name, value in settings_of(daraja, known=True).items():
        monkeypatch.setenv(name, value)
    config = StkConfig.from_env()
    flask = load(ADAPTERS["flask"])
    flask.create_app()
    assert flask.from_env().payments.client.config == config
    flask.orders.database().dispose()


def test_the_fastapi_shop_is_made_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for its asynchronous payments."""
    daraja = Environment.at("http://127.0.0.1:8090", name="simulator")
    for name, value in settings_of(daraja, known=True).items():
        monkeypatch.setenv(name, value)
    app = load(ADAPTERS["fastapi"]).create_app()

    async def live() -> StkConfig:
        async with app.router.lifespan_context(app) as state:
            config: StkConfig = state["payments"].client.config
            return config

    assert asyncio.run(live()) == StkConfig.from_env()


@contextmanager
def own_endpoints(name: str) -> Iterator[Send]:
    """The endpoints that an example makes for itself."""
    module = load(ADAPTERS[name])
    if name == "fastapi":
        asyncio.run(module.orders.create_tables())
        app = module.create_app()
        yield lambda request: asyncio.run(call_asgi(app, request))
    else:
        yield through_flask(module.from_env())
        module.orders.database().dispose()


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_no_shop_sells_a_laptop_for_one_shilling(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each example knows the price itself, and says it to a page that has another one."""
    daraja = Environment.at("http://127.0.0.1:8090", name="simulator")
    for variable, value in settings_of(daraja, known=True).items():
        monkeypatch.setenv(variable, value)
    shop = Shop()
    with own_endpoints(name) as send:
        for named in ("order", "reference"):
            request = shop.checkout(**{"reference": "INV-001", named: "INV-001", "amount": 1})
            assert body_of(send(request), 409)["error"]["amount"] == 1500
        unknown = shop.checkout(reference="INV-404", amount=1)
        assert error_of(send(unknown), 404) == ("nothing_to_pay", "reference")


# --- the work that is due ----------------------------------------------------------------------------


def recipe(word: str) -> dict[str, Any]:
    """What the page's block of code with that word defines."""
    blocks = re.findall(
        r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    (code,) = [block for block in blocks if word in block]
    defined: dict[str, Any] = {}
    exec(compile(code, str(PAGE), "exec"), defined)  # noqa: S102 - our own page
    return defined


class FailsFirst(MemoryTransactionStore):
    """A store that cannot be reached at first."""

    failed = False

    def claim_due(
        self, now: datetime, limit: int, lease: timedelta, accounts: frozenset[str], /
    ) -> list[Transaction]:
        """Fail once, then do it."""
        if not self.failed:
            self.failed = True
            raise StoreError("the database is down")
        return super().claim_due(now, limit, lease, accounts)


def test_recipe_for_a_thread_works_until_it_is_stopped() -> None:
    """The thread reports a settled payment, survives a store that fails, and ends when told."""
    shop = Shop(FailsFirst())
    body_of(shop.endpoints.handle(shop.checkout()))
    body_of(shop.endpoints.handle(shop.called_back()))
    told = threading.Event()
    stop = threading.Event()
    work = recipe("threading")["work"]
    arguments = (shop.payments, lambda _: told.set(), stop, 0.001)
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    thread.start()
    assert told.wait(10)
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    assert shop.stored().reported


def test_recipe_for_a_thread_starts_one() -> None:
    """`start` gives back the event that stops the thread."""
    shop = Shop()
    before = threading.active_count()
    stop = recipe("threading")["start"](shop.payments, print)
    (thread,) = [t for t in threading.enumerate() if "(work)" in t.name]
    stop.set()
    thread.join(10)
    assert threading.active_count() == before


def test_the_page_counts_the_lines_as_they_are() -> None:
    """The page's table has the adapters' line counts."""
    page = PAGE.read_text(encoding="utf-8")
    for path in ADAPTERS.values():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert f"](../examples/{path.relative_to(EXAMPLES)}) | {lines} |" in page


def test_each_project_says_how_it_is_run() -> None:
    """Every project has a README with commands in it, whose links lead somewhere."""
    for project in (EXAMPLES / "flask_shop", EXAMPLES / "fastapi_shop", DJANGO_SHOP):
        text = (project / "README.md").read_text(encoding="utf-8")
        assert "```sh" in text
        for link in re.findall(r"\]\(([^)#]+)", text):
            assert (project / link).exists()
