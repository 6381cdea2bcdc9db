"""The six promises, checked against what really happened."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime

from tests.simulation.daraja import OTHER_ID, Post, Prompt, code_of
from tests.simulation.world import Report, World

from mpesa_stk import Transaction, TransactionState
from mpesa_stk.payments.effects import news_of
from mpesa_stk.payments.events import Meaning
from mpesa_stk.payments.transaction import MAX_HISTORY
from support import CANARIES

_WORDS = (Meaning.PAID.value, Meaning.NOT_PAID.value)
_PAID, _FAILED = TransactionState.SUCCEEDED, TransactionState.FAILED
_EXPIRED = TransactionState.EXPIRED
# A little less than the lease of a report, since time passes between two steps.
_LEASE = 95.0


def broken_promises(world: World) -> list[str]:
    """What went wrong in a world that has run to its end."""
    return [
        *_prompted_once(world),
        *_reports(world),
        *_ends(world),
        *_paid_means_paid(world),
        *_evidence(world),
        *_lost(world),
        *_secrets(world),
        *world.witness.second_prompts,
        *world.witness.paid_twice(),
    ]


# --- I1 ----------------------------------------------------------------------------------------------


def _prompted_once(world: World) -> Iterator[str]:
    """At most one prompt for one key."""
    for key, times in world.daraja.shown.items():
        if times > 1:
            yield f"I1: {key} was prompted {times} times"
        stored = world.payment_of(key)
        if stored is not None and stored.state is TransactionState.REJECTED:
            yield f"I1: {key} was prompted, and counts as never sent"


# --- I2 ----------------------------------------------------------------------------------------------


def _reports(world: World) -> Iterator[str]:
    """Each report is of a settled payment of the worker's account, and un-pays nothing."""
    by_payment: dict[str, list[Report]] = defaultdict(list)
    for report in world.reports:
        paid, before = report.transaction, by_payment[report.transaction.transaction_no]
        name = paid.idempotency_key
        if not paid.state.settled:
            yield f"I2: {name} was reported while it was open"
        if paid.account != f"paybill {report.account}":
            yield f"I2: {name} was reported by another account"
        if paid.state is not _PAID and any(each.transaction.state is _PAID for each in before):
            yield f"I2: {name} was un-paid: {paid.state.value}"
        if paid.state is _PAID and any(_may_come_later(each, report, world) for each in before):
            yield f"I2: {name} was reported as paid while an older report was under way"
        before.append(report)


def _may_come_later(older: Report, newer: Report, world: World) -> bool:
    """Whether an older report says less, and may reach the host's books after the newer one.

    After the lease of a report, and when clocks were set, the host has to compare by itself.
    """
    if world.stepped or older.transaction.state is _PAID:
        return False
    return newer.began < min(older.ended, older.began + _LEASE)


def _ends(world: World) -> Iterator[str]:
    """Each payment settles, and a report that the host took shows what is stored."""
    for stored in world.payments():
        done = [
            each.transaction
            for each in world.reports
            if each.finished and each.transaction.transaction_no == stored.transaction_no
        ]
        if not (stored.state.settled and stored.reported):
            yield f"I2: {stored.idempotency_key} does not come to an end: {stored.state.value}"
        elif stored.state is _EXPIRED and _ended(stored) < stored.expires_at:
            yield f"I2: {stored.idempotency_key} was given up before its time"
        elif all(news_of(each) != news_of(stored) for each in done):
            yield f"I2: the news of {stored.idempotency_key} was never reported"


def _ended(expired: Transaction) -> datetime:
    """When an EXPIRED payment was given up."""
    entries = [entry for entry in expired.history if entry.event == Meaning.TIME_UP.value]
    return entries[-1].at  # the clock may have been set back since the first


# --- I3 ----------------------------------------------------------------------------------------------


def _paid_means_paid(world: World) -> Iterator[str]:
    """Paid means that the customer paid this amount, or that Daraja's query said so."""
    for stored in world.payments():
        prompts = [
            each for each in world.daraja.prompts.values() if each.key == stored.idempotency_key
        ]
        if stored.state is _PAID:
            said = any(each.checkout_request_id in world.daraja.said_paid for each in prompts)
            paid = any(each.paid and each.amount == stored.amount for each in prompts)
            if not said and not paid:
                yield f"I3: {stored.idempotency_key} counts as paid, and nobody paid"
        receipts = {each.receipt for each in prompts if each.paid}
        if stored.receipt_number is not None and stored.receipt_number not in receipts:
            yield f"I3: {stored.idempotency_key} has the receipt {stored.receipt_number}"


# --- I4 ----------------------------------------------------------------------------------------------


def _evidence(world: World) -> Iterator[str]:
    """A genuine callback is acknowledged or can come again, and is applied or kept."""
    for post in world.refused:
        if post.kind not in ("forged", "stolen URL"):
            yield f"I4: callback {post.number} ({post.kind}) was refused"
    for post, body in world.acknowledged:
        stored = world.payment_of(post.prompt.key)
        name = f"callback {post.number} ({post.kind}) about {post.prompt.key}"
        if post.kind == "forged":
            yield f"I3: {name} was acknowledged"
        elif stored is None:
            yield f"I4: the payment of {name} is gone"
        else:
            kept = body in _kept_for(world, post, stored)
            if not kept and not _applied(post, stored):
                yield f"I4: {name} is neither kept nor applied"
            if (
                _proves(post)
                and not _is_paid_by(post, stored)
                and not (kept and _disturbed(world, post))
            ):
                yield f"I4: {name} proves the payment, which is {stored.state.value}"


def _proves(post: Post) -> bool:
    """Whether this callback alone proves that its payment was paid."""
    return post.kind == "true" and post.prompt.paid


def _disturbed(world: World, post: Post) -> bool:
    """Whether a genuine callback may have to wait for a person.

    The shop's clock was set, so its date is outside of the payment's life. Or somebody who knows the URL of
    one payment named the CheckoutRequestID of this one there, before anything else did.
    """
    stolen = [each for each in world.delivered if each.kind == "stolen URL"]
    return world.stepped or any(post.prompt in (each.prompt, each.about) for each in stolen)


def _is_paid_by(post: Post, stored: Transaction) -> bool:
    return stored.state is _PAID and stored.receipt_number == post.prompt.receipt


def _applied(post: Post, stored: Transaction) -> bool:
    """Whether a callback may be dropped, because it was taken at its word, as the history shows."""
    if post.kind in ("amount", "unproven", "unreadable"):
        return False
    if post.kind in ("other id", "stolen URL"):  # it named the id first, and so became the truth
        named = OTHER_ID if post.kind == "other id" else post.about.checkout_request_id
        return stored.checkout_request_id == named
    return len(stored.history) == MAX_HISTORY or any(
        entry.event in _WORDS and entry.code == code_of(post) for entry in stored.history
    )


def _kept_for(world: World, post: Post, stored: Transaction) -> list[bytes]:
    """The bodies that are kept about a payment."""
    ids = {post.about.checkout_request_id, OTHER_ID}
    kept = world.store.kept_callbacks(transaction_no=stored.transaction_no)
    for each in ids:
        kept += world.store.kept_callbacks(checkout_request_id=each)
    return [each.body for each in kept]


def _lost(world: World) -> Iterator[str]:
    """A payment that was paid is stored, and ends unpaid only by Daraja's own word or for a review."""
    for prompt in world.daraja.prompts.values():
        stored = world.payment_of(prompt.key)
        if stored is None:
            yield f"I4: {prompt.key} was prompted, and no payment is stored"
        elif prompt.paid and not _misled(world, prompt) and _is_given_up(stored):
            yield f"I4: {prompt.key} was paid, and is {stored.state.value} without a review"


def _is_given_up(stored: Transaction) -> bool:
    """Whether a payment ended unpaid, and asks no person to look at it."""
    return stored.state is not _PAID and (stored.state is _FAILED or not stored.needs_review)


def _misled(world: World, prompt: Prompt) -> bool:
    """Whether Daraja said that a paid prompt was not paid."""
    contrary = any(
        post.prompt is prompt and post.kind in ("contrary", "stolen URL")
        for post in world.delivered
    )
    return contrary or prompt.checkout_request_id in world.daraja.said_failed


# --- I5 ----------------------------------------------------------------------------------------------


def _secrets(world: World) -> Iterator[str]:
    """No secret and no whole phone number stands in a repr, or in an error."""
    shown = " ".join([*map(repr, world.payments()), *world.errors])
    for secret in (*CANARIES, *world.daraja.tokens, "254718643064"):
        if secret in shown:
            yield f"I5: {secret[:6]}... is shown"
