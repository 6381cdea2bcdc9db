"""``mpesa-stk doctor``: names that nothing reads, tunnels, firewalls, open doors, the live sandbox."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from daraja_double import answer, refusal
from doctor_runs import VARIABLES, diagnosed, offline, prescribed, text_of, troubles
from mpesa_stk import AuthenticationFailed, Environment, HttpResponse
from mpesa_stk.commands import doctor_network, doctor_settings
from mpesa_stk.config.from_env import VARIABLES as NAMES
from mpesa_stk.errors import ConfigurationError
from mpesa_stk.web.http_server import HttpServer
from mpesa_stk.web.messages import WebRequest
from support import CALLBACK_SECRET, TOKEN

DOES_NOT_EXIST = refusal("500.001.1001", "The transaction does not Exist", 500)


def remedy_of(findings: list[dict[str, str]], check: str) -> str:
    """What is to be done about one subject, last."""
    return [found["remedy"] for found in findings if found["check"] == check][-1]


# --- names that nothing reads ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "meant"),
    [
        ("MPESA_CALLBACK_SECRET", "callback_secret"),
        ("CALLBACK_SECRETS", "callback_secret"),
        ("Callback_Secret", "callback_secret"),
        ("callbackSecret", "callback_secret"),
        ("DARAJA_TILL_NUMBER", "till_number"),
        ("ALLOWED_CALLBACK_NETWORK", "allowed_callback_networks"),
        ("MPESA_TRUSTED_PROXIES", "trusted_proxies"),
        ("MPESA_QUERY_CHECK_URLS", "mpesa_query_check_url"),
    ],
)
def test_a_name_that_comes_close_to_an_optional_setting(other: str, meant: str) -> None:
    """It is said what was perhaps meant, and the value is not shown."""
    environ = {name: text for name, text in VARIABLES.items() if name != meant}
    _, findings = diagnosed(environ | {other: CALLBACK_SECRET}, "--offline")

    assert ("warning", meant) in troubles(findings)
    assert f"did you mean {meant.upper()}?" in " ".join(found["remedy"] for found in findings)


def test_a_short_name_of_the_environment() -> None:
    """Many projects call it so; a plain ENV is somebody else's."""
    environ = {name: text for name, text in VARIABLES.items() if name != "mpesa_environment"}
    _, findings = diagnosed(environ | {"MPESA_ENV": "production", "ENV": "x"}, "--offline")

    assert ("warning", "mpesa_environment") in troubles(findings)
    assert "MPESA_ENV is, which nothing reads" in text_of(findings, "mpesa_environment")


@pytest.mark.parametrize(
    "others",
    [
        {
            "ENVIRONMENT": "test",
            "HTTP_PROXYING": "1",
            "MAX_AMOUNT": "3",
            "ENV": "x",
            "PATH": "/bin",
        },
        {"CALLBACK_SECRETS": ""},
        {"MPESA_CALLBACK_SECRET": "it is set under its own name too"},
        {"CALLBACK SECRET": "x", "CALLBACK_SECRET\udc80": "x", "C" * 500: "x", "": "x"},
    ],
)
def test_names_that_are_somebody_elses(others: dict[str, str]) -> None:
    """What is far from our names, empty, or set as it should be beside is nothing to speak of."""
    assert troubles(offline(**others)) == []


@pytest.mark.parametrize(
    ("rule", "remedy"),
    [
        (
            "is not set (MPESA_CONSUMER_KEY is set: did you mean CONSUMER_KEY?)",
            "rename the variable",
        ),
        ("one has bits set: did you mean 10.0.0.0/8?", "set what is proposed"),
        ("has quotes around it, which count as a part of it", "remove the quotes"),
        ("is not set", "copy it from your app's page on Safaricom's developer portal"),
    ],
)
def test_the_remedy_fits_the_rule(rule: str, remedy: str) -> None:
    """A near miss, quotes and a proposal have remedies of their own."""
    (found,) = doctor_settings.check_refusal(ConfigurationError((("consumer_key", rule),)))
    assert (found.level, found.text, found.remedy) == ("problem", rule, remedy)


# --- a .env that nothing reads ---------------------------------------------------------------------------

DOTENV = "# Daraja\nCONSUMER_KEY='CANARYkeyAbCd'\nexport PASS_KEY=x\nMPESA_SHORTCODE = 1\nDEBUG=1\n"


def with_file(folder: Path, environ: dict[str, str]) -> list[dict[str, str]]:
    """The findings about settings, called in a folder."""
    return diagnosed(environ, "--offline", folder=folder)[1]


def test_a_file_of_variables_that_is_not_read(tmp_path: Path) -> None:
    """Its names that are not set are named, and how to load them; never a value."""
    (tmp_path / ".env").write_text(DOTENV, encoding="utf-8")

    findings = with_file(tmp_path, {})

    assert findings[0]["check"] == ".env"
    assert findings[0]["level"] == "warning"
    assert findings[0]["text"] == (
        "lies in this folder with CONSUMER_KEY, PASS_KEY, MPESA_SHORTCODE, but nothing reads it"
    )
    assert findings[0]["remedy"].endswith("set -a; . ./.env; set +a")


def test_a_file_of_variables_that_were_loaded(tmp_path: Path) -> None:
    """What is in the environment is not missed, however the file spells it."""
    (tmp_path / ".env").write_text(DOTENV, encoding="utf-8")
    assert troubles(with_file(tmp_path, VARIABLES)) == []


def test_a_file_that_cannot_be_read_is_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of that name, bytes that are no text, and a file that is not ours to open."""
    (tmp_path / "a" / ".env").mkdir(parents=True)
    assert troubles(with_file(tmp_path / "a", VARIABLES)) == []
    (tmp_path / ".env").write_bytes(b"\xff\xfe=\x00\nCONSUMER_KEY=" + b"x" * 100_000)
    assert troubles(with_file(tmp_path, VARIABLES)) == []

    opened = Path.open

    def closed(path: Path, *arguments: Any, **named: Any) -> Any:
        if path.name == ".env":
            raise PermissionError
        return opened(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", closed)
    assert with_file(tmp_path, {})[0]["check"] != ".env"


def test_the_folder_is_that_of_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Called as a person calls it."""
    monkeypatch.chdir(tmp_path)
    Path(".env").write_text(DOTENV, encoding="utf-8")
    assert diagnosed({}, "--offline", folder=Path())[1][0]["check"] == ".env"


# --- the database ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ('"sqlite:///p.db"', "not a usable URL (ArgumentError): write it as postgresql+psycopg://"),
        ("postgres://u:CANARY@host/db", "not a usable URL (NoSuchModuleError): write postgresql+"),
    ],
)
def test_a_database_url_that_cannot_be_used(url: str, text: str) -> None:
    """It is a problem before a command runs into it; the URL is not repeated."""
    findings = offline(mpesa_database=url)
    assert text_of(findings, "mpesa_database").startswith(text)
    assert "CANARY" not in text_of(findings, "mpesa_database")
    assert remedy_of(findings, "mpesa_database").startswith("set an SQLAlchemy URL such as")


def test_a_database_url_that_can_be_used() -> None:
    """It is not connected: the doctor may run before the database does."""
    assert troubles(offline(mpesa_database="sqlite:////no-such-folder/p.db")) == []


# --- tunnels and open doors ------------------------------------------------------------------------------

TUNNEL = "https://x.ngrok-free.app/payments/callback"
PLATFORM = "https://shop.onrender.com/payments/callback"


def test_a_platforms_router_hides_who_calls() -> None:
    """Every callback comes from it, so it has to be trusted."""
    findings = offline(c2b_callback=PLATFORM)

    assert troubles(findings) == [("warning", "trusted_proxies")]
    assert "the router and not from Safaricom" in text_of(findings, "trusted_proxies")
    assert "the platform's documentation" in remedy_of(findings, "trusted_proxies")
    assert troubles(offline(c2b_callback=PLATFORM, trusted_proxies="10.0.0.0/8")) == []


def test_a_tunnel_is_nothing_for_production() -> None:
    """Safaricom blocks some of them."""
    findings = offline(c2b_callback=TUNNEL, trusted_proxies="127.0.0.1")
    assert troubles(findings) == [("warning", "c2b_callback")]


@pytest.mark.parametrize(
    "secret",
    [
        "at-least-16-characters-of-your-own",
        "simulated-callback-secret",
        "x" * 20,
        "abcdabcdabcdabcd",
    ],
)
def test_a_secret_that_everybody_knows_is_a_problem_in_production(secret: str) -> None:
    """What is printed somewhere, or is one letter, signs nothing. The secret is not shown."""
    findings = offline(callback_secret=f"{CALLBACK_SECRET},{secret}")

    assert ("problem", "callback_secret") in troubles(findings)
    assert not any(secret in " ".join(found.values()) for found in findings)


def test_a_secret_that_everybody_knows_is_a_warning_on_this_machine(world: dict[str, str]) -> None:
    """No money moves there."""
    environ = world | {"callback_secret": "simulated-callback-secret"}
    assert troubles(diagnosed(environ, "--offline")[1]) == [("warning", "callback_secret")]


@pytest.mark.parametrize("name", ["trusted_proxies", "allowed_callback_networks"])
@pytest.mark.parametrize("networks", ["0.0.0.0/0", "10.0.0.0/8, ::/0"])
def test_networks_that_hold_everybody(world: dict[str, str], name: str, networks: str) -> None:
    """A problem in production, where nothing else guards; a warning on this machine."""
    unsigned = {name: networks, "callback_secret": ""}
    assert ("problem", name) in troubles(offline(**unsigned))
    assert ("warning", name) in troubles(diagnosed(world | unsigned, "--offline")[1])


def test_signed_callbacks_may_come_from_anywhere() -> None:
    """Some platforms hide the client's address: then it is meant, and only a warning."""
    findings = offline(allowed_callback_networks="0.0.0.0/0")
    assert troubles(findings) == [("warning", "allowed_callback_networks")]


# --- what answers at the callback URL --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "headers", "text", "words"),
    [
        (403, {"server": "AkamaiGHost"}, "<html>no</html>", "the firewall of Akamai"),
        (403, {"content-type": "text/html"}, "Attention required!", "a firewall"),
        (429, {"content-type": "text/html", "x-iinfo": "1"}, "Incapsula", "firewall of Imperva"),
        (200, {"cf-mitigated": "challenge"}, "<html></html>", "the firewall of Cloudflare"),
        (200, {}, "<!doctype html><p>You are about to visit ngrok", "the tunnel"),
        (200, {"server": "cloudflare"}, "<html>our shop</html>", "a web page"),
        (403, {"content-type": "text/html"}, "CSRF", "a web page"),
    ],
)
def test_a_page_is_not_the_endpoint(
    status: int, headers: dict[str, str], text: str, words: str
) -> None:
    """A firewall's page or a site's own one answers in place of the endpoint: a problem."""
    found = doctor_network._answer_finding(
        HttpResponse(status=status, headers=headers, body=text.encode())
    )

    assert found.level == "problem"
    assert words in found.text
    assert "not your endpoint" in found.text
    assert found.remedy


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (403, {"content-type": "application/json", "server": "cloudflare"}, b'{"ResultCode": 1}'),
        (405, {"content-type": "text/html"}, b"<h1>Method Not Allowed</h1>"),
        (200, {"content-type": "application/json"}, b"{}"),
        (204, {}, b""),
    ],
)
def test_an_endpoint_behind_a_firewall(status: int, headers: dict[str, str], body: bytes) -> None:
    """JSON, no body, or a framework's page about the method: it is reached."""
    assert (
        doctor_network._answer_finding(
            HttpResponse(status=status, headers=headers, body=body)
        ).level
        == "ok"
    )


# --- Daraja as it is -------------------------------------------------------------------------------------


def test_the_live_sandbox_does_not_know_the_made_up_id() -> None:
    """It says so with HTTP 500, as of September 2026: the credentials are accepted, all is well."""
    findings = prescribed(query=DOES_NOT_EXIST)

    assert troubles(findings) == []
    assert text_of(findings, "credentials") == "shortcode and pass_key are accepted"


def test_a_sandbox_that_answers_as_the_live_one_does(world: dict[str, str]) -> None:
    """Over real HTTP: no problem and no warning is found, and it was asked once."""
    asked: list[str] = []

    def live(request: WebRequest) -> HttpResponse:
        asked.append(f"{request.method} {request.path}")
        if request.method == "GET":
            return answer({"access_token": TOKEN, "expires_in": "3599"})
        return DOES_NOT_EXIST

    with HttpServer(live) as daraja:
        urls = Environment.at(daraja.origin, name="sandbox").urls
        here = {NAMES[field]: url for field, url in urls.items()}
        code, findings = diagnosed(world | here)

    assert (code, troubles(findings)) == (0, [])
    assert asked == ["GET /oauth/v1/generate", "POST /mpesa/stkpushquery/v1/query"]


def test_a_token_refused_without_a_word() -> None:
    """An HTTP 400 with an empty body has no code and no text; key, secret and environment are named."""
    error = AuthenticationFailed("consumer key or secret", http_status=400, reason="credentials")

    found = doctor_network._error_finding("token", error)

    assert (found.level, found.check) == ("problem", "token")
    assert found.remedy == (
        "copy consumer_key and consumer_secret anew from one app, the one of this environment: sandbox "
        "and production have different ones"
    )
