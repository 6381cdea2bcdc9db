"""``mpesa-stk doctor``: every finding, and that looking for them moves no money and shows no secret."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from daraja_double import answer, refusal
from doctor_runs import VARIABLES, Shop, daraja, diagnosed, offline, prescribed, text_of, troubles
from mpesa_stk import NotSent, OutcomeUnknown, cli
from mpesa_stk.commands import doctor_settings
from mpesa_stk.commands.context import Context, resolve_host
from mpesa_stk.config.environment import SANDBOX_PASSKEY
from mpesa_stk.config.from_env import VARIABLES as NAMES
from mpesa_stk.errors import ConfigurationError
from mpesa_stk.web.http_server import HttpServer
from support import (
    CALLBACK_URL,
    CONSUMER_KEY,
    CONSUMER_SECRET,
    PASSKEY,
    ManualClock,
)

# --- settings --------------------------------------------------------------------------------------------


def test_good_settings_are_complete() -> None:
    """Nothing is wrong, and nobody is asked."""
    assert offline() == [
        {
            "level": "ok",
            "check": "settings",
            "text": "complete: paybill 600000 in production",
            "remedy": "",
        }
    ]


def test_missing_settings_are_all_named() -> None:
    """Every variable that is missing or cannot work is a problem with a remedy."""
    _, findings = diagnosed({"C2B_CALLBACK": "http://shop.example.co.ke/", "shortcode": " "})

    assert troubles(findings) == [
        ("warning", "shortcode"),
        ("problem", "consumer_key"),
        ("problem", "consumer_secret"),
        ("problem", "shortcode"),
        ("problem", "pass_key"),
        ("problem", "c2b_callback"),
    ]
    assert text_of(findings, "c2b_callback") == "must be https"


def test_every_variable_has_a_remedy() -> None:
    """No refusal of a variable ends in general words; one of anything else does."""
    assert set(NAMES.values()) <= doctor_settings.REMEDIES.keys()
    found = list(doctor_settings.check_refusal(ConfigurationError((("proxies", "must map"),))))
    assert [(one.level, one.check, one.remedy) for one in found] == [
        ("problem", "proxies", "correct it")
    ]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"pass_key": f" {PASSKEY}\n"}, ("warning", "pass_key")),
        ({"consumer_key": f'"{CONSUMER_KEY}"'}, ("problem", "consumer_key")),
        ({"consumer_secret": f"{CONSUMER_SECRET}'"}, ("problem", "consumer_secret")),
        ({"SHORTCODE": "600001"}, ("warning", "shortcode")),
        ({"pass_key": PASSKEY[:-1]}, ("warning", "pass_key")),
        ({"pass_key": "g" * 64}, ("warning", "pass_key")),
        ({"callback_secret": ""}, ("problem", "callback_secret")),
        ({"c2b_callback": "https://shop.example.co.ke/mpesa"}, ("warning", "c2b_callback")),
        ({"HTTPS_PROXY": "http://user:pw@proxy:3128"}, ("warning", "proxies")),
        (
            {"access_token_url": "https://gateway.example.co.ke/oauth/v1/generate"},
            ("warning", "mpesa_environment"),
        ),
        (
            {"mpesa_environment": "sandbox", "shortcode": "174379"},
            ("warning", "shortcode"),
        ),
        (
            {"mpesa_environment": "sandbox", "pass_key": SANDBOX_PASSKEY},
            ("warning", "pass_key"),
        ),
        ({"mpesa_environment": "sandbox"}, ("warning", "shortcode")),
        ({"shortcode": "174379"}, ("problem", "shortcode")),
    ],
)
def test_a_setting_that_looks_wrong(changes: dict[str, str], expected: tuple[str, str]) -> None:
    """Padding, quotes, doubles, odd shapes and mix-ups are one finding each."""
    assert troubles(offline(**changes)) == [expected]


@pytest.mark.parametrize("changes", [{"SHORTCODE": "600000"}, {"HTTP_PROXY": ""}])
def test_a_setting_that_only_looks_odd(changes: dict[str, str]) -> None:
    """The same value twice and an empty proxy are nothing to speak of."""
    assert troubles(offline(**changes)) == []


def test_the_public_sandbox_pair_is_fine_in_the_sandbox() -> None:
    """Shortcode and passkey that belong together are no finding."""
    pair = {"shortcode": "174379", "pass_key": SANDBOX_PASSKEY}
    assert troubles(offline(mpesa_environment="sandbox", **pair)) == []


def test_production_under_another_name() -> None:
    """A sandbox with production's addresses would move real money."""
    origin = "https://api.safaricom.co.ke"
    findings = offline(
        mpesa_environment="sandbox",
        access_token_url=f"{origin}/oauth/v1/generate",
        checkout_url=f"{origin}/mpesa/stkpush/v1/processrequest",
        mpesa_query_check_url=f"{origin}/mpesa/stkpushquery/v1/query",
    )
    assert troubles(findings) == [("problem", "mpesa_environment")]


def test_proxies_are_named_without_their_addresses() -> None:
    """A proxy's address may hold a password; only the variables' names are shown."""
    findings = offline(http_proxy="http://user:pw@proxy:3128", ALL_PROXY="socks5://proxy")
    assert text_of(findings, "proxies").startswith("http_proxy and ALL_PROXY set, but not used")


# --- a Daraja and a shop on this machine -----------------------------------------------------------------


def test_a_healthy_set_up(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    world: dict[str, str],
    shop: Shop,
) -> None:
    """Called as a person calls it: every check is fine, no push was sent, exit code 0."""
    for name, value in world.items():
        monkeypatch.setenv(name, value)
    for proxy in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(proxy, raising=False)
        monkeypatch.delenv(proxy.upper(), raising=False)

    assert cli.main(["doctor"]) == 0

    told = capsys.readouterr()
    assert told.out.splitlines() == [
        "ok       settings: complete: paybill 600000 in sandbox",
        "ok       token: consumer_key and consumer_secret are accepted",
        "ok       credentials: shortcode and pass_key are accepted",
        "ok       clock: agrees with Daraja's",
        "ok       c2b_callback: answers 405 to a GET: as an endpoint that takes only POST should",
        "problems: 0, warnings: 0",
    ]
    assert told.err == ""
    [(method, target, headers)] = shop.asked
    assert method == "GET"
    assert target.startswith("/payments/callback/00000000-0000-4000-8000-000000000000.")
    assert target.endswith("/")
    assert "authorization" not in headers


def test_a_problem_is_one_line_with_its_remedy(world: dict[str, str]) -> None:
    """Level, subject, finding and remedy stand on one line, and the count at the end."""
    out = io.StringIO()

    assert (
        cli.main(["doctor"], context=Context(environ=world | {"pass_key": "0" * 64}, stdout=out))
        == 1
    )

    lines = out.getvalue().splitlines()
    assert lines[2] == (
        "problem  credentials: wrong credentials: shortcode and passkey do not belong together in "
        "this environment -> set the passkey that belongs to this shortcode here, whole"
    )
    assert lines[-1] == "problems: 1, warnings: 0"


@pytest.mark.parametrize(
    ("changes", "check", "words"),
    [
        ({"consumer_secret": "another"}, "token", "consumer key or consumer secret is wrong"),
        ({"pass_key": "0" * 64}, "credentials", "wrong credentials"),
        ({"shortcode": "600001"}, "credentials", "Merchant does not exist"),
    ],
)
def test_credentials_that_daraja_refuses(
    world: dict[str, str], changes: dict[str, str], check: str, words: str
) -> None:
    """A wrong secret, passkey or shortcode is the one problem that is found."""
    _, findings = diagnosed(world | changes)

    assert troubles(findings) == [("problem", check)]
    assert words in text_of(findings, check)


def test_a_grant_type_in_the_wrong_place(world: dict[str, str]) -> None:
    """Any other refusal is told in Daraja's words."""
    url = world["access_token_url"].replace("client_credentials", "password")

    _, findings = diagnosed(world | {"access_token_url": url})

    assert troubles(findings) == [("problem", "token")]
    assert "Invalid grant type passed" in text_of(findings, "token")


@pytest.mark.parametrize(
    ("status", "level", "words"),
    [
        (200, "ok", "it is reached"),
        (301, "problem", "follows no redirect"),
        (308, "problem", "follows no redirect"),
        (400, "warning", "it is reached"),
        (401, "problem", "cannot log in"),
        (403, "ok", "guard"),
        (404, "problem", "nothing is there"),
        (405, "ok", "takes only POST"),
        (410, "problem", "nothing is there"),
        (503, "problem", "the server fails"),
    ],
)
def test_what_the_callback_url_answers(
    world: dict[str, str], shop: Shop, status: int, level: str, words: str
) -> None:
    """Each status of a GET has its meaning; a redirect is seen and not followed."""
    shop.status = status

    _, findings = diagnosed(world)

    assert findings[-1]["level"] == level
    assert words in findings[-1]["text"]
    assert len(shop.asked) == 1


def test_without_a_callback_secret_the_very_url_is_asked(world: dict[str, str], shop: Shop) -> None:
    """Daraja then posts to the address as it is set."""
    _, findings = diagnosed(world | {"callback_secret": ""})

    assert troubles(findings) == [("warning", "callback_secret")]
    assert [target for _, target, _ in shop.asked] == ["/payments/callback"]


def test_an_unreachable_callback_url(world: dict[str, str]) -> None:
    """Nobody listens there: a problem, with what it could be."""
    closed = HttpServer(Shop())
    closed.close()

    _, findings = diagnosed(world | {"c2b_callback": f"{closed.origin}/callback"})

    assert troubles(findings) == [("problem", "c2b_callback")]
    assert "no connection could be made" in findings[-1]["text"]


def test_a_callback_url_without_tls(world: dict[str, str]) -> None:
    """An https address at which no TLS is spoken is a problem."""
    url = world["c2b_callback"].replace("http:", "https:")

    _, findings = diagnosed(world | {"c2b_callback": url})

    assert troubles(findings) == [("problem", "c2b_callback")]
    assert "cannot be reached from here" in findings[-1]["text"]


@pytest.mark.parametrize(("off", "words"), [(300, "300 s ahead"), (-300, "300 s behind")])
def test_a_clock_that_is_off(off: float, words: str) -> None:
    """More than a minute from Daraja's Date is a problem: the time is a part of the password."""
    clock = ManualClock()
    clock.advance(off)

    _, findings = diagnosed(VARIABLES, clock=clock, **daraja())

    assert troubles(findings) == [("problem", "clock")]
    assert words in text_of(findings, "clock")


# --- answers that no simulator gives ---------------------------------------------------------------------


def test_a_healthy_production() -> None:
    """All is well where all answers are as they should be."""
    assert troubles(prescribed()) == []


@pytest.mark.parametrize("date", ["", "yesterday", "Mon, 23 Nov 2026 09:00:00 +99999999", "1 Jan"])
def test_an_answer_without_a_time(date: str) -> None:
    """Without a readable Date the clock is not judged."""
    assert troubles(prescribed(date=date)) == [("warning", "clock")]


def test_a_date_without_a_zone() -> None:
    """HTTP's dates are in GMT, whether they say so or not."""
    assert troubles(prescribed(date="Mon, 23 Nov 2026 06:00:30 -0000")) == []


PAGE = b"<html>Request unsuccessful. Incapsula incident ID: 123-456</html>"


@pytest.mark.parametrize(
    ("changes", "level", "check", "words"),
    [
        ({"token": NotSent("connecting timed out")}, "problem", "token", "mpesa_proxy"),
        ({"token": OutcomeUnknown("no answer")}, "problem", "token", "certificates"),
        ({"token": answer(b"hello")}, "problem", "token", "addresses are Daraja's own"),
        ({"token": answer(PAGE, 403)}, "problem", "token", "incident id"),
        ({"query": answer(b"", 429)}, "warning", "credentials", "wait a minute"),
        (
            {"query": refusal("401.003.01", "no apiproduct match found", 401)},
            "problem",
            "credentials",
            "enabled and approved",
        ),
        (
            {"query": refusal("404.001.03", "Invalid Access Token", 404)},
            "problem",
            "credentials",
            "enabled and approved",
        ),
        (
            {"query": refusal("500.001.1001", "Merchant does not exist", 500)},
            "problem",
            "credentials",
            "store number",
        ),
        (
            {"query": refusal("404.001.01", "Resource not found", 404)},
            "problem",
            "credentials",
            "check Daraja's addresses",
        ),
        (
            {"query": refusal("500.001.1001", "The transaction is being processed", 500)},
            "warning",
            "credentials",
            "mpesa_query_check_url",
        ),
    ],
)
def test_each_trouble_with_daraja_has_its_remedy(
    changes: dict[str, Any], level: str, check: str, words: str
) -> None:
    """Network, firewall, limits, approval and addresses are told apart."""
    findings = [found for found in prescribed(**changes) if found["check"] == check]

    assert findings[-1]["level"] == level
    assert words in findings[-1]["remedy"]


def test_a_firewall_is_told_with_its_incident() -> None:
    """Safaricom's support asks for the id of the incident."""
    assert "(incident 123-456)" in text_of(prescribed(token=answer(PAGE, 403)), "token")


def unresolved(_host: str) -> list[str]:
    """A resolver that finds nothing."""
    raise OSError


def too_long(_host: str) -> list[str]:
    """A resolver that cannot even ask."""
    raise UnicodeError


@pytest.mark.parametrize("resolve", [unresolved, too_long])
def test_a_callback_host_that_does_not_resolve(resolve: Callable[[str], list[str]]) -> None:
    """Then Safaricom cannot find it either, and it is not asked."""
    given = daraja(callback=AssertionError()) | {"resolve": resolve, "clock": ManualClock()}

    _, findings = diagnosed(VARIABLES, **given)

    assert troubles(findings) == [("problem", "c2b_callback")]


def test_a_callback_host_with_a_private_address() -> None:
    """What resolves to a private address here may not be reached from outside."""
    given = daraja() | {"resolve": lambda _: ["41.90.0.1", "10.0.0.7"], "clock": ManualClock()}

    _, findings = diagnosed(VARIABLES, **given)

    assert troubles(findings) == [("warning", "c2b_callback")]


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (NotSent("no connection could be made"), "problem"),
        (OutcomeUnknown("the connection failed before the answer was complete"), "problem"),
        (NotSent("connecting timed out"), "warning"),
        (OutcomeUnknown("no complete answer in time"), "warning"),
    ],
)
def test_a_silent_callback_url_may_be_fine(error: Exception, level: str) -> None:
    """A firewall that lets only Safaricom in looks like silence; a refusal does not."""
    findings = prescribed(callback=error)

    assert troubles(findings) == [(level, "c2b_callback")]
    assert str(error) in findings[-1]["text"]


def test_names_are_resolved_by_the_system() -> None:
    """An address is its own; no server is asked for it."""
    assert list(resolve_host("127.0.0.1")) == ["127.0.0.1"]


def test_nothing_is_ever_pushed() -> None:
    """Daraja is asked for a token and about an id of 1970, and the shop is sent no credentials."""
    given = daraja()

    diagnosed(VARIABLES, clock=ManualClock(), **given)

    token, query, callback = given["transport"].asked
    assert (token.method, query.method, callback.method) == ("GET", "POST", "GET")
    assert token.url.startswith("https://api.safaricom.co.ke/oauth/v1/generate?")
    assert query.url == "https://api.safaricom.co.ke/mpesa/stkpushquery/v1/query"
    assert json.loads(query.body)["CheckoutRequestID"].startswith("ws_CO_01011970")
    assert callback.url.startswith(f"{CALLBACK_URL}/")
    assert callback.headers == {}
