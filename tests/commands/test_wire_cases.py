"""Inputs that once failed, for the commands: callback URLs and their answers, and files to replay."""

from __future__ import annotations

import json
from typing import Any

import pytest

from doctor_runs import offline, prescribed, troubles
from mpesa_stk import HttpResponse
from replays import Replay
from support import DATA, callback


def cases(kind: str) -> list[Any]:
    """The collected inputs of one kind."""
    loaded = json.loads((DATA / "wire-cases.json").read_text(encoding="utf-8"))
    return [pytest.param(case, id=case["id"]) for case in loaded if case["kind"] == kind]


@pytest.mark.parametrize("case", cases("what the own callback URL answers to doctor"))
def test_what_the_own_callback_url_answers(case: dict[str, Any]) -> None:
    """A firewall's challenge and a home page are problems that are named."""
    given = case["input"]
    answer = HttpResponse(
        status=given["http"], headers=given["headers"], body=given["text"].encode()
    )

    findings = prescribed(callback=answer)

    assert troubles(findings) == [("problem", "c2b_callback")]
    assert "it is not your endpoint that answers" in findings[-1]["text"]
    named = "a web page" if "home-page" in case["id"] else "the firewall of Cloudflare"
    assert named in findings[-1]["text"]


@pytest.mark.parametrize("case", cases("callback URL"))
def test_a_callback_url(case: dict[str, Any]) -> None:
    """Behind a tunnel the doctor warns, and says how to set trusted_proxies."""
    url, _, condition = case["input"].partition(" ")
    assert condition == "without trusted_proxies"

    findings = offline(c2b_callback=url)

    (found,) = [one for one in findings if one["check"] == "trusted_proxies"]
    assert found["level"] == "warning"
    assert "behind a tunnel every callback comes from the tunnel" in found["text"]
    assert "set it to 127.0.0.1" in found["remedy"]


def stored(described: str, first: bytes, second: bytes) -> bytes:
    """The file that a case describes."""
    if "with nothing between" in described:
        return first + second
    if described == "[{...},{...}]":
        return b"[" + first + b"," + second + b"]"
    assert described == "two indented objects, one after another, a byte order mark first"
    return b"\xef\xbb\xbf" + first + b"\n" + second + b"\n"


@pytest.mark.parametrize("case", cases("replay file"))
def test_a_file_to_replay(case: dict[str, Any], replay: Replay) -> None:
    """Both callbacks of each file are posted."""
    assert case["expect"] == "both posted"
    indent = 2 if "indented" in case["input"] else None
    bodies = [
        json.dumps(json.loads(body), indent=indent).encode()
        for body in (callback(), callback(1032, checkout_request_id="ws_CO_1"))
    ]

    met = replay(stored(case["input"], *bodies))

    assert (met.code, met.bodies) == (0, bodies)


def test_no_case_is_left_out() -> None:
    """Each kind of the collection that concerns the commands has cases."""
    kinds = ("what the own callback URL answers to doctor", "callback URL", "replay file")
    assert [len(cases(kind)) for kind in kinds] == [3, 1, 3]
