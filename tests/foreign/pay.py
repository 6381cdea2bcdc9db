"""A shop on somebody else's client: ``pay.py <client> <origin of the simulator> <callback address>``.

It pushes, asks for the result where the client can, and prints the answers as JSON. PYTHONPATH says where
the client is. It is run by `test_foreign_clients.py`.
"""

from __future__ import annotations

import json
import sys
from typing import Any

SANDBOX = "https://sandbox.safaricom.co.ke/"
SHORTCODE = "174379"
PASSKEY = "bfb279f9aa9bdbcf158e97dd71a467cd2e0c893059b10f78e6b72ada1ed2c919"
KEY = "simulated-consumer-key"
SECRET = "simulated-consumer-secret"
PHONE = "254711000001"
REFERENCE = "INV-2026-1"


def redirected(url: str, origin: str) -> str:
    """Where what is meant for the sandbox goes instead; nothing goes anywhere else."""
    if not url.startswith(SANDBOX):
        raise ValueError(url)
    return f"{origin}/{url.removeprefix(SANDBOX)}"


def redirect_requests(origin: str) -> None:
    """Let every adapter of requests send to the simulator, those of clients that mount their own too."""
    from requests import adapters  # noqa: PLC0415 - the client's own copy

    send = adapters.HTTPAdapter.send

    def to_simulator(adapter: Any, request: Any, *args: Any, **options: Any) -> Any:
        request.url = redirected(request.url, origin)
        return send(adapter, request, *args, **options)

    setattr(adapters.HTTPAdapter, "send", to_simulator)  # noqa: B010 - it replaces a method


def redirect_httpx(origin: str) -> None:
    """Let every client of httpx send to the simulator."""
    import httpx  # noqa: PLC0415 - the client's own copy

    send = httpx.HTTPTransport.handle_request

    def to_simulator(transport: Any, request: Any) -> Any:
        request.url = httpx.URL(redirected(str(request.url), origin))
        return send(transport, request)

    setattr(httpx.HTTPTransport, "handle_request", to_simulator)  # noqa: B010 - it replaces a method


def mpesakit(origin: str, callback: str) -> dict[str, Any]:
    """A payment by mpesakit."""
    redirect_httpx(origin)
    from mpesakit import MpesaClient  # noqa: PLC0415 - only where it is installed

    client = MpesaClient(consumer_key=KEY, consumer_secret=SECRET, environment="sandbox")
    pushed = client.stk_push(
        business_short_code=int(SHORTCODE),
        passkey=PASSKEY,
        transaction_type="CustomerPayBillOnline",
        amount=100,
        party_a=PHONE,
        party_b=SHORTCODE,
        phone_number=PHONE,
        callback_url=callback,
        account_reference=REFERENCE,
        transaction_desc="Shoes",
    ).model_dump()
    asked = client.stk_query(
        business_short_code=int(SHORTCODE),
        passkey=PASSKEY,
        checkout_request_id=pushed["CheckoutRequestID"],
    )
    return {"pushed": pushed, "asked": asked.model_dump()}


def mpesa_wrapper(origin: str, callback: str) -> dict[str, Any]:
    """A payment by mpesa-wrapper, which has no query."""
    redirect_requests(origin)
    from mpesa_wrapper.client import MpesaClient  # noqa: PLC0415 - only where it is installed

    client = MpesaClient(
        {
            "consumer_key": KEY,
            "consumer_secret": SECRET,
            "shortcode": SHORTCODE,
            "passkey": PASSKEY,
            "callback_url": callback,
            "base_url": SANDBOX.rstrip("/"),
            "auth_url": f"{SANDBOX}oauth/v1/generate?grant_type=client_credentials",
        }
    )
    pushed = client.stk_push(
        phone_number=PHONE,
        amount=100,
        account_reference="Invoice 2026-0001",
        transaction_desc="Twenty characters ok",
    )
    return {"pushed": pushed.raw}


def django_daraja(origin: str, callback: str) -> dict[str, Any]:
    """A payment by django-daraja, in a site of its own; it has no query."""
    redirect_requests(origin)
    import django  # noqa: PLC0415 - the client's own copy
    from django.conf import settings  # noqa: PLC0415
    from django.core.management import call_command  # noqa: PLC0415

    settings.configure(
        INSTALLED_APPS=["django_daraja"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        USE_TZ=True,
        MPESA_ENVIRONMENT="sandbox",
        MPESA_CONSUMER_KEY=KEY,
        MPESA_CONSUMER_SECRET=SECRET,
        MPESA_EXPRESS_SHORTCODE=SHORTCODE,
        MPESA_PASSKEY=PASSKEY,
    )
    django.setup()
    call_command("migrate", verbosity=0)
    from django_daraja.mpesa.core import MpesaClient  # noqa: PLC0415

    answer = MpesaClient().stk_push(
        PHONE, 100, "Invoice 2026-0001", "Twenty characters ok", callback
    )
    return {"pushed": answer.json()}


def mainfinity(origin: str, callback: str) -> dict[str, Any]:
    """A payment by the client of mainfinity-django-mpesa, without its models."""
    redirect_requests(origin)
    from django.conf import settings  # noqa: PLC0415 - the client's own copy

    settings.configure(
        CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}},
        MPESA={"CONSUMER_KEY": KEY, "CONSUMER_SECRET": SECRET, "SHORTCODE": SHORTCODE},
        USE_TZ=True,
    )
    from django_mpesa.client import BaseDarajaClient  # noqa: PLC0415

    password = stamped_password()
    client = BaseDarajaClient()
    pushed = client.post(
        "/mpesa/stkpush/v1/processrequest",
        {
            **password,
            "TransactionType": "CustomerPayBillOnline",
            "Amount": 100,
            "PartyA": PHONE,
            "PartyB": SHORTCODE,
            "PhoneNumber": PHONE,
            "CallBackURL": callback,
            "AccountReference": REFERENCE,
            "TransactionDesc": "Shoes",
        },
    )
    asked = client.post(
        "/mpesa/stkpushquery/v1/query",
        {**password, "CheckoutRequestID": pushed["CheckoutRequestID"]},
    )
    return {"pushed": pushed, "asked": asked}


def stamped_password() -> dict[str, str]:
    """The three fields of each request, as that package's service makes them."""
    import base64  # noqa: PLC0415
    from datetime import datetime, timedelta, timezone  # noqa: PLC0415

    stamp = datetime.now(timezone(timedelta(hours=3))).strftime("%Y%m%d%H%M%S")
    password = base64.b64encode(f"{SHORTCODE}{PASSKEY}{stamp}".encode()).decode()
    return {"BusinessShortCode": SHORTCODE, "Password": password, "Timestamp": stamp}


def ours(origin: str, callback: str) -> dict[str, Any]:
    """A payment by this package, beside the others."""
    import attrs  # noqa: PLC0415

    from mpesa_stk import Environment, PayBill, StkClient, StkConfig  # noqa: PLC0415

    config = StkConfig(
        consumer_key=KEY,
        consumer_secret=SECRET,
        passkey=PASSKEY,
        account=PayBill(SHORTCODE),
        callback_url=callback,
        environment=Environment.at(origin, name="simulator"),
    )
    with StkClient(config) as client:
        pushed = client.push(phone_number=PHONE, amount=100, reference=REFERENCE)
        asked = client.query(pushed.checkout_request_id)
    return {"pushed": attrs.asdict(pushed), "asked": {"status": asked.status.value}}


if __name__ == "__main__":
    SHOPS = {
        "mainfinity-django-mpesa": mainfinity,
        "mpesa-stk-client": ours,
        "mpesakit": mpesakit,
        "mpesa-wrapper": mpesa_wrapper,
        "django-daraja": django_daraja,
    }
    json.dump(SHOPS[sys.argv[1]](*sys.argv[2:]), sys.stdout)
