"""Tests of `StoreContract` about kept callbacks: evidence stays whole until it is dropped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from mpesa_stk.daraja.exchange import MAX_BODY
from mpesa_stk.payments.store import KeptCallback, TransactionStore
from mpesa_stk.testing.contract_values import START, TICK, MakeStore, kept_callback, number_of

__all__ = ["StoreCallbacks"]

_WORKERS = 8
_MANY = 1_100


class StoreCallbacks:
    """Test how a store keeps, finds, drops and purges callbacks.

    `StoreContract` includes these tests.
    """

    @pytest.mark.parametrize(
        "body",
        [b"", bytes(range(256)), b"\xff\xfe\x00", b"{}" * (MAX_BODY // 2)],
        ids=["empty", "every byte", "no text", "longest"],
    )
    def test_kept_body_is_exact(self, store: TransactionStore, body: bytes) -> None:
        """The store returns each callback with exactly the bytes that it was given."""
        kept = kept_callback(1, body=body, reason="hakuna malipo \u2013 \U0001f914")
        store.keep_callback(kept)
        assert store.kept_callbacks(checkout_request_id="ws_CO_1") == [kept], (
            "a kept callback comes back equal: body, reason, moment and names"
        )

    def test_kept_callbacks_are_there_until_dropped(self, store: TransactionStore) -> None:
        """Reading keeps all callbacks, dropping removes one, and dropping twice is no error."""
        for ordinal in (1, 2):
            store.keep_callback(kept_callback(ordinal))
        for _ in range(2):
            found = store.kept_callbacks(checkout_request_id="ws_CO_1")
            assert found == [kept_callback(1), kept_callback(2)], "reading must drop nothing"
        for _ in range(2):
            store.drop_callback(kept_callback(1).callback_id)
            found = store.kept_callbacks(checkout_request_id="ws_CO_1")
            assert found == [kept_callback(2)], "one is dropped, the other stays"

    def test_kept_callbacks_by_either_name(self, store: TransactionStore) -> None:
        """The store finds callbacks that name the prompt, the payment or both, each once, in order."""
        number = number_of(7)
        both = kept_callback(1, transaction_no=number)
        prompt = kept_callback(2)
        signed = kept_callback(3, checkout_request_id="ws_CO_2", transaction_no=number)
        other = kept_callback(4, checkout_request_id="ws_co_1", transaction_no=number_of(8))
        for kept in (other, signed, prompt, both):
            store.keep_callback(kept)
        assert store.kept_callbacks(checkout_request_id="ws_CO_1") == [both, prompt], "by prompt"
        assert store.kept_callbacks(transaction_no=number) == [both, signed], "by payment"
        found = store.kept_callbacks(checkout_request_id="ws_CO_1", transaction_no=number)
        assert found == [both, prompt, signed], "by either: each once, in order of receipt"
        assert store.kept_callbacks(transaction_no=number_of(9)) == [], "nobody named this payment"

    def test_callback_that_names_no_prompt(self, store: TransactionStore) -> None:
        """A body that cannot be read names only the payment, and None finds no callback."""
        number = number_of(7)
        unreadable = kept_callback(1, checkout_request_id=None, transaction_no=number)
        nameless = kept_callback(2, checkout_request_id=None)
        for kept in (unreadable, nameless, kept_callback(3)):
            store.keep_callback(kept)
        assert store.kept_callbacks(transaction_no=number) == [unreadable], "by payment"
        found = store.kept_callbacks(checkout_request_id="ws_CO_1", transaction_no=number_of(8))
        assert found == [kept_callback(3)], "by prompt"
        for name in ("", "None"):
            assert store.kept_callbacks(checkout_request_id=name) == [], "no callback names this"

    def test_first_of_one_id_stays(self, store: TransactionStore) -> None:
        """Keeping a callback_id again has no effect and no error, and similar ids are distinct."""
        first, similar = kept_callback(1), "f" * 64
        store.keep_callback(first)
        store.keep_callback(first)
        later: dict[str, Any] = {
            "body": b"{}",
            "received": START + 9 * TICK,
            "transaction_no": number_of(7),
        }
        store.keep_callback(attrs.evolve(first, reason="came again", **later))
        assert store.kept_callbacks(checkout_request_id="ws_CO_1") == [first], "the first one stays"
        assert store.kept_callbacks(transaction_no=number_of(7)) == [], "nothing of the other one"
        for callback_id in (similar, similar[:-1] + "e"):
            store.keep_callback(attrs.evolve(first, callback_id=callback_id))
        found = {kept.callback_id for kept in store.kept_callbacks(checkout_request_id="ws_CO_1")}
        assert found == {first.callback_id, similar, similar[:-1] + "e"}, "ids are compared whole"
        store.drop_callback(first.callback_id)
        store.keep_callback(attrs.evolve(first, reason="came again"))
        kept = store.kept_callbacks(checkout_request_id="ws_CO_1")
        assert attrs.evolve(first, reason="came again") in kept, "one that was dropped may be kept"

    def test_purge_takes_the_oldest_first(self, store: TransactionStore) -> None:
        """A purge forgets only older callbacks, at most `limit`, and returns their number."""
        for ordinal in (4, 1, 3, 5, 2):
            store.keep_callback(kept_callback(ordinal))
        left = [kept_callback(ordinal) for ordinal in range(1, 6)]
        steps = [(0, 10), (5, 0), (5, 3), (5, 3), (5, 3), (6, 9)]
        for before, limit in steps:
            old = [kept for kept in left if kept.received < START + before * TICK][:limit]
            count = store.purge_callbacks(START + before * TICK, limit)
            assert count == len(old), "it returns how many callbacks were forgotten"
            left = [kept for kept in left if kept not in old]
            found = store.kept_callbacks(checkout_request_id="ws_CO_1")
            assert found == left, "the oldest before the moment are forgotten, and no others"

    def test_purge_of_more_than_one_statement_holds(self, store: TransactionStore) -> None:
        """One purge can forget more than a thousand callbacks, with and without names."""
        names: list[dict[str, Any]] = [
            {},
            {"transaction_no": number_of(1)},
            {"checkout_request_id": None},
        ]
        stored = [kept_callback(n, **names[n % 3]) for n in range(_MANY)]
        for kept in stored:
            store.keep_callback(kept)
        before = stored[-50].received
        counts = [store.purge_callbacks(before, 2 * _MANY) for _ in range(2)]
        assert counts == [_MANY - 50, 0], "all that are old enough, and then none"
        left = [kept for kept in stored[-50:] if kept.checkout_request_id is not None]
        found = store.kept_callbacks(checkout_request_id="ws_CO_1", transaction_no=number_of(1))
        assert found == left, "what came later stays"

    def test_race_to_keep_one_callback(
        self, make_store: MakeStore, race: Callable[..., list[Any]]
    ) -> None:
        """All concurrent calls of `keep_callback` with one id succeed, and one callback is kept."""
        kept = [kept_callback(1, reason=str(n)) for n in range(_WORKERS)]
        race(*(_keeper(one) for one in kept))
        found = make_store().kept_callbacks(checkout_request_id="ws_CO_1")
        assert len(found) == 1, "one callback is kept once"
        assert found[0] in kept, "what is kept is a mixture"


def _keeper(kept: KeptCallback) -> Callable[[TransactionStore], None]:
    return lambda store: store.keep_callback(kept)
