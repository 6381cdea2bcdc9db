from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpesa_stk.config.urls import (
    banned_words,
    callback_url_fault,
    daraja_url_fault,
    host_of,
    is_loopback_url,
)

NOT_A_URL: list[tuple[Any, str]] = [
    (None, "must be a URL"),
    ("", "must be a URL"),
    (5, "must be a URL"),
    (b"https://shop.example.co.ke", "must be a URL"),
    ("https://shop.example.co.ke/ callback", "must not contain spaces"),
    (" https://shop.example.co.ke/", "must not contain spaces"),
    ("https://shop.example.co.ke/\n", "must not contain spaces"),
    ("https://shop.example.co.ke/\x00", "must not contain spaces"),
    ("https://shop.example.co.ke/\x7f", "must not contain spaces"),
    ("https://duk\u00e1.example.co.ke/", "must not contain spaces"),
    ("https://shop.example.co.ke/" + "a" * 1024, "must be at most 1024 characters"),
    ("https://[::1", "is not a valid URL"),
    ("https://[8.8.8.8]/", "is not a valid URL"),
    ("https://[v1.x]/", "is not a valid URL"),
    ("https://[::1]x/", "is not a valid URL"),
    ("https://x[::1]/", "is not a valid URL"),
    ("https://[fe80::1%25eth0]/", "is not a valid URL"),
    ("https://shop.example.co.ke:0/", "is not a valid URL"),
    ("https://shop.example.co.ke:/", "is not a valid URL"),
    ("https://shop.example.co.ke:65536/", "is not a valid URL"),
    ("https://shop.example.co.ke:-1/", "is not a valid URL"),
    ("https://shop.example.co.ke:+443/", "is not a valid URL"),
    ("https://shop.example.co.ke:4_4_3/", "is not a valid URL"),
    ("https://shop.example.co.ke:443:443/", "is not a valid URL"),
    ("https://shop.example.co.ke:https/", "is not a valid URL"),
    ("shop.example.co.ke/callback", "must be an https URL with a host"),
    ("//shop.example.co.ke/callback", "must be an https URL with a host"),
    ("https:/shop.example.co.ke/callback", "must be an https URL with a host"),
    ("https:///callback", "must be an https URL with a host"),
    ("https://:443/", "must be an https URL with a host"),
    ("ftp://shop.example.co.ke/", "must be an https URL with a host"),
    ("file:///etc/passwd", "must be an https URL with a host"),
    ("javascript:alert(1)", "must be an https URL with a host"),
    ("https://user@shop.example.co.ke/", "must not contain user info"),
    ("https://user:word@shop.example.co.ke/", "must not contain user info"),
    ("https://@shop.example.co.ke/", "must not contain user info"),
    ("https://shop.example.co.ke/#part", "must not have a fragment"),
    ("https://shop.example.co.ke/#", "must not have a fragment"),
]

PRIVATE_ADDRESSES = (
    "10.0.0.1",
    "10.255.255.255",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.10",
    "169.254.169.254",
    "100.64.0.1",
    "100.127.255.255",
    "0.0.0.0",  # noqa: S104 - nothing is bound to it
    "198.18.0.1",
    "192.0.2.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "[::]",
    "[fc00::1]",
    "[fd12:3456::1]",
    "[fe80::1]",
    "[fec0::1]",
    "[ff02::1]",
    "[2001:db8::1]",
    "[::ffff:10.0.0.1]",
    "[::ffff:192.168.1.1]",
    "[::ffff:a9fe:a9fe]",
    "[::7f00:1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
)

PRIVATE_NAMES = (
    "shop",
    "shop.",
    "intranet",
    "shop.local",
    "SHOP.LOCAL",
    "shop.local.",
    "shop.localhost",
    "localhost.",
    "shop.internal",
    "shop.lan",
    "shop.home.arpa",
    "shop.test",
    "shop.invalid",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0x7f.0x0.0x0.0x1",
    "017700000001",
    "0177.0.0.1",
    "127.1",
    "127.0.1",
    "10.1",
    "192.168.257",
    "127.0.0.1.",
    "1.2.3.4.5",
    "300.1.1.1",
    "-shop.example.co.ke",
    "shop-.example.co.ke",
    "shop..co.ke",
    "shop.example.co.ke\\.example.org",
    "shop.example.co.k3!",
    "%31%32%37.0.0.1",
    "127.0.0.1%2f.example.co.ke",
)

LOOPBACK_HOSTS = (
    "127.0.0.1",
    "127.255.255.254",
    "localhost",
    "LocalHost",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::FFFF:7F00:1]",
)


@pytest.mark.parametrize(("url", "rule"), NOT_A_URL)
def test_what_is_no_plain_web_address_is_refused_everywhere(url: Any, rule: str) -> None:
    """Neither Daraja's addresses nor callbacks may be malformed or hold more than an address."""
    assert str(daraja_url_fault(url)).startswith(rule)
    assert str(callback_url_fault(url, allow_loopback=True)).startswith(rule)
    assert not is_loopback_url(url)
    assert host_of(url) == ""


@pytest.mark.parametrize(
    "url",
    [
        "https://shop.example.co.ke",
        "https://shop.example.co.ke/payments/callback/",
        "https://SHOP.Example.Co.Ke:8443/payments/callback",
        "https://shop.example.co.ke./callback",
        "https://xn--duk-ela.example.xn--p1ai/callback",
        "https://my_shop.example.com/callback?source=daraja",
        "https://196.201.214.200/callback",
        "https://8.8.8.8:8443/callback",
        "https://[2a00:1450:4001:81b::200e]/callback",
    ],
)
def test_public_callback_urls_are_taken(url: str) -> None:
    """A public host over https works, by name or by address, with a port or a query."""
    assert callback_url_fault(url, allow_loopback=False) is None
    assert callback_url_fault(url, allow_loopback=True) is None


@pytest.mark.parametrize("host", PRIVATE_ADDRESSES)
def test_private_addresses_are_refused_for_callbacks(host: str) -> None:
    """Daraja cannot reach a private network, and must not be pointed at its own either."""
    for url in (f"https://{host}/callback", f"https://{host}:8443/callback"):
        assert callback_url_fault(url, allow_loopback=True) == "must be a public address"


@pytest.mark.parametrize("host", PRIVATE_NAMES)
def test_names_that_are_not_public_are_refused_for_callbacks(host: str) -> None:
    """Neither single labels, nor local suffixes, nor other spellings of an IPv4 address."""
    fault = callback_url_fault(f"https://{host}/callback", allow_loopback=True)
    assert fault == "must be a public host name"


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", LOOPBACK_HOSTS)
def test_loopback_works_for_callbacks_only_with_a_simulator(host: str, scheme: str) -> None:
    """This machine is reachable only for a Daraja on this machine."""
    url = f"{scheme}://{host}:8000/callback"
    fault = callback_url_fault(url, allow_loopback=False)
    assert fault == "must be a public host, not this machine"
    assert callback_url_fault(url, allow_loopback=True) is None
    assert is_loopback_url(url)


def test_plain_http_is_refused_for_callbacks() -> None:
    """A receipt in clear text can be read and changed on its way."""
    url = "http://shop.example.co.ke/callback"
    assert callback_url_fault(url, allow_loopback=False) == "must be https"
    assert callback_url_fault(url, allow_loopback=True) == "must be https"


@pytest.mark.parametrize("query", ["?", "?a=b"])
def test_a_signed_callback_url_has_no_query(query: str) -> None:
    """A token is added to the path, so nothing may follow the path."""
    url = f"https://shop.example.co.ke/callback{query}"
    for loopback in (True, False):
        fault = callback_url_fault(url, allow_loopback=loopback, extended=True)
        assert fault == "must not have a query when callback_secrets are set"
        assert callback_url_fault(url, allow_loopback=loopback) is None
    plain = "https://shop.example.co.ke/callback"
    assert callback_url_fault(plain, allow_loopback=False, extended=True) is None


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("https://api.safaricom.co.ke/oauth/v1/generate?grant_type=client_credentials", None),
        ("https://10.0.0.5:8443/daraja", None),
        ("https://daraja-proxy/push", None),
        ("http://127.0.0.1:8000/push", None),
        ("http://[::1]:8000/push", None),
        ("http://localhost/push", None),
        ("http://api.safaricom.co.ke/push", "must be https"),
        ("http://10.0.0.5/push", "must be https"),
        ("http://localhost.example.com/push", "must be https"),
        ("http://127.0.0.1.example.com/push", "must be https"),
        ("http://127.1/push", "must be https"),
    ],
)
def test_darajas_own_addresses_are_https(url: str, fault: str | None) -> None:
    """Any https host may be Daraja or stand before it; http is for this machine only."""
    assert daraja_url_fault(url) == fault


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://api.safaricom.co.ke/push", "api.safaricom.co.ke"),
        ("https://API.Safaricom.Co.Ke.:443/push", "api.safaricom.co.ke"),
        ("https://api.safaricom.co.ke.example.org/", "api.safaricom.co.ke.example.org"),
        ("https://example.org/?to=api.safaricom.co.ke", "example.org"),
        ("http://[::1]:80/", "::1"),
    ],
)
def test_the_host_is_compared_without_case_port_or_final_dot(url: str, host: str) -> None:
    """All spellings of a host are one host, and no other part of a URL counts."""
    assert host_of(url) == host


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://shop.example.co.ke/payments/callback", ()),
        ("https://shop.example.co.ke/MPESA/callback", ("mpesa",)),
        ("https://safaricom.example.co.ke/query", ("safaricom", "query")),
        ("https://shop.example.co.ke/exec.exe?cmd=sql", ("exec", "exe", "cmd", "sql")),
        ("https://shop.example.co.ke/mysqlite", ("sql",)),
    ],
)
def test_words_that_safaricom_refuses_are_found(url: str, words: tuple[str, ...]) -> None:
    """Case does not matter, nor where in the URL a word stands."""
    assert banned_words(url) == words


hosts = st.one_of(
    st.sampled_from((*PRIVATE_ADDRESSES, *PRIVATE_NAMES, *LOOPBACK_HOSTS, "shop.example.co.ke")),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map("[{}]".format),
    st.text(max_size=20),
)


@given(
    url=st.one_of(
        st.text(max_size=60),
        st.builds(
            "{}://{}{}".format,
            st.sampled_from(["https", "http", "HTTPS", "ftp"]),
            hosts,
            st.text(alphabet=":/?#@[]0a.%\\", max_size=8),
        ),
    )
)
def test_every_text_gets_a_verdict(url: str) -> None:
    """No text makes the checks fail, and what is taken for a callback is https and public."""
    verdict = callback_url_fault(url, allow_loopback=False)
    assert (verdict is None) <= (daraja_url_fault(url) is None)
    assert (verdict is None) <= (not is_loopback_url(url) and url.lower().startswith("https://"))
    assert bool(host_of(url)) >= is_loopback_url(url)
