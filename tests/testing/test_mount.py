"""A simulated Daraja behind requests-mock, as the library's transport and as plain requests see it."""

from __future__ import annotations

from typing import Any

import pytest
import requests
import requests_mock

from mpesa_stk import OutcomeUnknown, RequestsTransport, StkClient
from mpesa_stk.testing import SimulatedDaraja, payload, phones
from support import START


@pytest.fixture
def daraja(requests_mock: requests_mock.Mocker) -> SimulatedDaraja:
    """A Daraja that answers what is sent over requests."""
    daraja = SimulatedDaraja()
    daraja.mount(requests_mock)
    return daraja


@pytest.fixture
def client(daraja: SimulatedDaraja) -> StkClient:
    """A client that sends over requests."""
    return StkClient(daraja.config, transport=RequestsTransport(), clock=daraja.clock)


def get_token(daraja: SimulatedDaraja) -> requests.Response:
    """Ask for a token by plain requests."""
    config = daraja.config
    return requests.get(
        config.environment.token_url,
        auth=(config.consumer_key, config.consumer_secret),
        timeout=5,
    )


def test_the_transport_of_the_library_reaches_it(
    daraja: SimulatedDaraja, client: StkClient
) -> None:
    """Token, push and query, with the callback in between."""
    callbacks: list[bytes] = []
    daraja.deliver_to(lambda _, body: callbacks.append(body))

    accepted = client.push(phone_number=phones.PAID, amount=100, reference="INV-1")
    daraja.run()

    assert client.query(accepted.checkout_request_id).result_code == "0"
    assert accepted.checkout_request_id.encode() in callbacks[0]
    assert daraja.pushes == 1


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("dropped", "the connection failed before the answer was complete"),
        ("done-but-cut", "the connection failed before the answer was complete"),
        ("byte-by-byte", "no complete answer in time"),
    ],
)
def test_the_transport_meets_what_the_network_does(
    daraja: SimulatedDaraja, client: StkClient, fault: str, reason: str
) -> None:
    """What requests raises is read as it is over a real network."""
    daraja.next("push", fault)

    with pytest.raises(OutcomeUnknown, match=reason):
        client.push(phone_number="254718643064", amount=100, reference="INV-1")

    assert (daraja.clock.now() > START) == (fault == "byte-by-byte")


def test_an_answer_with_an_error_is_an_answer(daraja: SimulatedDaraja) -> None:
    """Status, headers and body of a refusal arrive as they are."""
    daraja.next("token", "blocked")
    answer = get_token(daraja)
    assert (answer.status_code, answer.headers["content-type"]) == (403, "text/html")
    assert answer.content == payload("error-blocked").body


def test_plain_requests_get_plain_answers(daraja: SimulatedDaraja) -> None:
    """A token for those who know the secret; a refusal for others and for a wrong grant type."""
    url = daraja.config.environment.token_url
    assert get_token(daraja).json()["expires_in"] == "3599"
    assert requests.get(url, auth=("a", "b"), timeout=5).status_code == 400
    bare = requests.get(url.partition("?")[0], auth=("a", "b"), timeout=5)
    assert bare.status_code == 400
    push = requests.post(daraja.config.environment.push_url, data="{}", timeout=5)
    assert push.json()["errorCode"] == "404.001.04"


@pytest.mark.parametrize("fault", ["dropped", "done-but-cut"])
def test_plain_requests_raise_their_own_error(daraja: SimulatedDaraja, fault: str) -> None:
    """Where the connection fails, it is requests' ConnectionError."""
    daraja.next("token", fault)
    with pytest.raises(requests.ConnectionError, match="before the answer was complete"):
        get_token(daraja)


def test_a_limit_for_each_read_does_not_end_an_answer_that_drips(daraja: SimulatedDaraja) -> None:
    """As with requests itself: a number of seconds holds for each read, so all of it is waited for."""
    daraja.next("token", "byte-by-byte")
    answer = get_token(daraja)
    assert (daraja.clock.now() - START).total_seconds() == len(answer.content)


@pytest.mark.parametrize("timeout", [19.5, 19, (60, 19)])
def test_a_limit_for_each_read_ends_an_answer_that_is_slow(
    daraja: SimulatedDaraja, timeout: float | tuple[float, float]
) -> None:
    """As with requests itself: without a byte for that long, it is a ReadTimeout."""
    daraja.next("token", "slow")
    with pytest.raises(requests.ReadTimeout, match="in time"):
        requests.get(daraja.config.environment.token_url, auth=("a", "b"), timeout=timeout)
    waited = timeout[1] if isinstance(timeout, tuple) else timeout
    assert (daraja.clock.now() - START).total_seconds() == waited


@pytest.mark.parametrize("timeout", [None, 20, (1, 20), (1, None)])
def test_a_slow_answer_is_waited_for(daraja: SimulatedDaraja, timeout: Any) -> None:
    """With patience enough, or with a time for connecting alone."""
    daraja.next("token", "slow")
    answer = requests.get(daraja.config.environment.token_url, auth=("a", "b"), timeout=timeout)
    assert answer.status_code == 400
    assert (daraja.clock.now() - START).total_seconds() == 20


def test_other_addresses_are_not_answered(daraja: SimulatedDaraja) -> None:
    """Only the three of Daraja are."""
    assert daraja.pushes == 0
    with pytest.raises(requests_mock.NoMockAddress):
        requests.get("https://shop.example.co.ke/", timeout=5)


def test_pulls_reach_it_over_requests(daraja: SimulatedDaraja) -> None:
    """At the two addresses beside those of the environment."""
    token = get_token(daraja).json()["access_token"]
    daraja.pay_by_hand(5)

    def pull(path: str, **fields: str) -> Any:
        origin = daraja.config.environment.query_url.partition("/mpesa/")[0]
        return requests.post(
            f"{origin}/pulltransactions/v1/{path}",
            json={"ShortCode": "600000"} | fields,
            headers={"Authorization": f"Bearer {token}"},
            timeout=5,
        ).json()

    number = {"RequestType": "Pull", "NominatedNumber": "254722000000"}
    registered = pull("register", CallBackURL="https://shop.example/pull", **number)
    span = {"StartDate": "2026-11-23 08:00:00", "EndDate": "2026-11-23 10:00:00"}
    pulled = pull("query", OffSetValue="0", **span)
    assert registered["ResponseStatus"] == "1000"
    assert len(pulled["Response"][0]) == 1
