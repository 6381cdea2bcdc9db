"""Whose request it is: Safaricom's addresses, and the client behind proxies."""

from __future__ import annotations

import ipaddress
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mpesa_stk import SAFARICOM_NETWORKS
from mpesa_stk.web.addresses import client_address, networks
from support import DATA

OURS = networks(("10.0.0.0/8", "fd00::/8", "127.0.0.1"))


def client(remote_addr: str | None, **headers: str) -> str | None:
    """The client's address as text, with header fields by name and ``_`` for ``-``."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    found = client_address(remote_addr, fields, OURS)
    return None if found is None else str(found)


def test_the_networks_are_the_collected_addresses() -> None:
    """The 12 official addresses and the 2 of older lists, each alone, and none besides."""
    meta = json.loads((DATA / "wire-samples.json").read_text(encoding="utf-8"))["meta"]
    official = set(meta["callback_ips_official"])
    older = set(meta["callback_ips_older_lists_only"])
    assert (len(official), len(older)) == (12, 2)
    assert {str(net) for net in SAFARICOM_NETWORKS} == {f"{text}/32" for text in official | older}
    assert len(SAFARICOM_NETWORKS) == 14


def test_networks_are_read_with_and_without_a_length() -> None:
    """An address is a network of one; anything else is refused."""
    assert networks((" 10.0.0.0/8", "::1 ", "192.0.2.1")) == (
        ipaddress.ip_network("10.0.0.0/8"),
        ipaddress.ip_network("::1/128"),
        ipaddress.ip_network("192.0.2.1/32"),
    )
    for text in ("", "10.0.0.1/8", "shop.example", "10.0.0"):
        with pytest.raises(ValueError, match=r"^[^\n]+$"):
            networks((text,))


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("196.201.214.200", "196.201.214.200"),
        (" 196.201.214.200 ", "196.201.214.200"),
        ("196.201.214.200:4711", "196.201.214.200"),
        ("[196.201.214.200]:4711", "196.201.214.200"),
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("::ffff:196.201.214.200", "196.201.214.200"),
        ("[::ffff:c4c9:d6c8]:4711", "196.201.214.200"),
        (None, None),
        ("", None),
        ("unknown", None),
        ("_hidden", None),
        ("196.201.214", None),
        ("0196.201.214.200", None),
        ("196.201.214.200/32", None),
        ("196.201.214.200, 10.0.0.1", None),
        ("[2001:db8::7", "2001:db8::7"),
    ],
)
def test_the_peer_is_the_client(peer: str | None, expected: str | None) -> None:
    """Without a trusted proxy, the peer is the client, whatever any header says."""
    assert client(peer) == expected
    assert client(peer, x_forwarded_for="1.2.3.4", forwarded="for=5.6.7.8") == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("196.201.214.200", "196.201.214.200"),
        ("1.2.3.4,196.201.214.200", "196.201.214.200"),
        ("1.2.3.4, 196.201.214.200 , 10.1.1.1,10.2.2.2", "196.201.214.200"),
        ("1.2.3.4, 196.201.214.200, ::ffff:10.1.1.1, fd00::7", "196.201.214.200"),
        ("196.201.214.200:4711, 10.1.1.1:80", "196.201.214.200"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("196.201.214.200, 1.2.3.4", "1.2.3.4"),
        ("196.201.214.200, garbage, 10.1.1.1", None),
        ("196.201.214.200,", None),
        ("10.1.1.1, 10.2.2.2", "10.1.1.1"),
        ("127.0.0.1", "127.0.0.1"),
        (",".join(["10.1.1.1", *["10.2.2.2"] * 19]), "10.1.1.1"),
        (",".join(["10.1.1.1", *["10.2.2.2"] * 20]), None),
        ("garbage, 10.1.1.1", None),
        ("", None),
        (",".join(["196.201.214.200", *["10.1.1.1"] * 19]), "196.201.214.200"),
        (",".join(["196.201.214.200", *["10.1.1.1"] * 20]), None),
        ("," * 10_000, None),
    ],
)
def test_x_forwarded_for_is_read_from_the_right(header: str, expected: str | None) -> None:
    """Behind a trusted proxy, the client is the rightmost address that is no proxy of ours."""
    for peer in ("10.0.0.2", "::ffff:10.0.0.2", "[fd00::1]:99"):
        assert client(peer, x_forwarded_for=header) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("for=196.201.214.200", "196.201.214.200"),
        ("For = 196.201.214.200", None),
        ("FOR=196.201.214.200;proto=https;by=10.0.0.2", "196.201.214.200"),
        ('proto=https; for="196.201.214.200:4711" ; host="shop.example"', "196.201.214.200"),
        ('for=1.2.3.4, for="[2001:db8::7]:4711", for=10.1.1.1', "2001:db8::7"),
        ("for=196.201.214.200, by=10.0.0.2", None),
        ("for=127.0.0.1, for=10.1.1.1", "127.0.0.1"),
        ("for=unknown", None),
        ("for=_hidden", None),
        ('for=""', None),
        ("for=196.201.214.200;", None),
        ("for=196.201.214.200;for=1.2.3.4", None),
        ("xfor=196.201.214.200", None),
        ('host="a;for=196.201.214.200;x=b";for=1.2.3.4', "1.2.3.4"),
        ('host="a;for=196.201.214.200";for=1.2.3.4', "1.2.3.4"),
        ('host="a, for=196.201.214.200";for=1.2.3.4', None),
        ('for="196.201.214.200, for=1.2.3.4', "1.2.3.4"),
        ('for="\\196.201.214.200"', None),
        ("for=196.201.214.200 for=1.2.3.4", None),
        ("", None),
    ],
)
def test_forwarded_is_read_from_the_right(header: str, expected: str | None) -> None:
    """The same for RFC 7239; no quoted text passes for a parameter."""
    assert client("10.0.0.2", forwarded=header) == expected


class Cut(str):
    """A header that counts into how many parts it is cut, and is cut from the right only."""

    __slots__ = ("parts",)
    parts: int

    def rsplit(  # type: ignore[override]
        self, separator: str | None = None, most: int = -1
    ) -> list[str]:
        """Cut, and count."""
        found = super().rsplit(separator, most)
        self.parts = len(found)
        return found

    def split(self, *_: object) -> list[str]:
        """Nothing is cut from the left."""
        raise AssertionError("the whole header was cut up")


@pytest.mark.parametrize("name", ["x-forwarded-for", "forwarded"])
def test_of_a_long_chain_only_the_end_is_read(name: str) -> None:
    """A header with thousands of addresses costs no more than one with twenty-one."""
    header = Cut(",".join(["for=10.1.1.1" if name == "forwarded" else "10.1.1.1"] * 5000))
    assert client_address("10.0.0.2", {name: header}, OURS) is None
    assert header.parts == 21


def test_both_headers_must_agree() -> None:
    """Of two headers it cannot be told which the proxy wrote, so both must name the same client."""
    safaricom = "196.201.214.200"
    assert client("10.0.0.2", x_forwarded_for=safaricom, forwarded=f"for={safaricom}") == safaricom
    assert client("10.0.0.2", x_forwarded_for=safaricom, forwarded="for=1.2.3.4") is None
    assert client("10.0.0.2", x_forwarded_for="1.2.3.4", forwarded=f"for={safaricom}") is None
    assert client("10.0.0.2", x_forwarded_for=safaricom, forwarded="") is None


def test_a_proxy_that_names_nobody_is_nobody() -> None:
    """A trusted proxy without either header is not itself the client."""
    assert client("10.0.0.2") is None
    assert client("127.0.0.1", x_real_ip="196.201.214.200") is None


@given(st.text(max_size=60), st.text(max_size=60))
@example("fe80::1%eth0", "")
@example("٣.1.1.1", "for=[::1")
def test_any_text_is_an_address_or_none(left: str, right: str) -> None:
    """Whatever stands where an address should be, nothing is raised."""
    for found in (client(left), client("10.0.0.2", x_forwarded_for=left, forwarded=right)):
        if found is not None:
            ipaddress.ip_address(found)
