"""What happens around the worker that dies: the stories of the crash tests, and the calls of each.

A test runs each story without a crash and compares the calls, so that no step can be forgotten.
"""

from __future__ import annotations

from crash_scene import Scene, Story

__all__ = ["STORIES"]

_BOTH = ("paid", "cancelled")
_PUSH = ("store.add", "send token", "send push", "store.replace")
_LOOK = ("store.claim_due", "store.kept_callbacks")
_QUERY = ("send token", "send query", "store.replace")
_REPORT = ("store.replace", "on_settled", "store.replace")
_END = ("store.purge_callbacks",)


def _pushed(scene: Scene) -> None:
    scene.checkout()


def _answered(scene: Scene) -> None:
    scene.checkout()
    scene.collect()


def _callback_lost(scene: Scene) -> None:
    _answered(scene)
    scene.lose()
    scene.wait_until_due()


def _settled_by_query(scene: Scene) -> None:
    _answered(scene)
    scene.settle()


def _settled_by_callback(scene: Scene) -> None:
    _answered(scene)
    scene.deliver()


def _due(scene: Scene) -> None:
    scene.checkout()
    scene.wait_until_due()


def _overdue(scene: Scene) -> None:
    scene.checkout()
    left = scene.stored().expires_at - scene.world.clock.now()
    scene.world.clock.advance(left.total_seconds())


def _orphaned(scene: Scene) -> None:
    """The worker died after its push and before the answer was written."""
    scene.die("after send push")


def _orphan_answered(scene: Scene) -> None:
    _orphaned(scene)
    scene.collect()


def _orphan_due(scene: Scene) -> None:
    _orphaned(scene)
    scene.wait_until_due()


def _callback_kept(scene: Scene) -> None:
    """The worker died after it wrote the answer, and the callback had come before."""
    scene.die("after store.replace")
    scene.wait_until_due()


def _refused(scene: Scene) -> None:
    """Another shop's prompt is open on the phone."""
    scene.world.occupy(scene.phone_number)


def _rejected(scene: Scene) -> None:
    _refused(scene)
    scene.refused_checkout()
    scene.world.clock.advance(60)


STORIES = (
    Story(name="callback comes", action="checkout", calls=_PUSH, outcomes=_BOTH),
    Story(
        name="of an order",
        action="checkout",
        calls=("store.attempts", "store.add", "store.attempts", *_PUSH[1:]),
        outcomes=_BOTH,
        ordered=True,
    ),
    Story(name="callback lost", action="checkout", calls=_PUSH, delivery="never"),
    Story(
        name="callback before the answer",
        action="checkout",
        calls=(*_PUSH[:3], "store.replace", "store.get", "store.replace"),
        outcomes=_BOTH,
        early=True,
        answer_after=0.0,
    ),
    Story(
        name="push refused",
        action="checkout",
        calls=_PUSH,
        before=_refused,
        pause=60.0,
    ),
    Story(
        name="again after a refusal",
        action="checkout",
        calls=("store.add", "store.find", "store.replace", *_PUSH[1:]),
        before=_rejected,
        uncommitted=frozenset({"store.add"}),
    ),
    Story(
        name="unsigned, callback before the answer",
        action="checkout",
        calls=(*_PUSH, "store.kept_callbacks", "store.replace", "store.drop_callback"),
        early=True,
        signed=False,
        answer_after=0.0,
    ),
    Story(
        name="open payment",
        action="handle_callback",
        calls=("store.get", "store.replace"),
        before=_answered,
        outcomes=_BOTH,
    ),
    Story(
        name="never posted again",
        action="handle_callback",
        calls=("store.get", "store.replace"),
        before=_answered,
        delivery="never",
    ),
    Story(
        name="orphan",
        action="handle_callback",
        calls=("store.get", "store.replace"),
        before=_orphan_answered,
        outcomes=_BOTH,
    ),
    Story(
        name="already settled by a query",
        action="handle_callback",
        calls=("store.get", "store.replace"),
        before=_settled_by_query,
    ),
    Story(
        name="without proof",
        action="handle_callback",
        calls=("store.get", "store.kept_callbacks", "store.keep_callback", "store.replace"),
        before=_answered,
        mangled=True,
    ),
    Story(
        name="unsigned, payment not known",
        action="handle_callback",
        calls=(
            "store.find",
            "store.kept_callbacks",
            "store.keep_callback",
            "store.find",
        ),
        before=_orphan_answered,
        signed=False,
    ),
    Story(
        name="callback lost",
        action="process_due",
        calls=(*_LOOK, *_QUERY, *_REPORT, *_END),
        before=_callback_lost,
        outcomes=_BOTH,
    ),
    Story(
        name="report",
        action="process_due",
        calls=(*_LOOK, *_REPORT, *_END),
        before=_settled_by_callback,
        outcomes=_BOTH,
    ),
    Story(
        name="phone has not answered",
        action="process_due",
        calls=(*_LOOK, *_QUERY, *_END),
        before=_due,
        answer_after=60.0,
    ),
    Story(
        name="orphan",
        action="process_due",
        calls=("store.claim_due", "store.replace", "store.kept_callbacks", "store.replace", *_END),
        before=_orphan_due,
    ),
    Story(
        name="expiry, and paid later",
        action="process_due",
        calls=(*_LOOK, *_QUERY, "store.replace", *_REPORT, *_END),
        before=_overdue,
        delivery="late",
        answer_after=2000.0,
    ),
    Story(
        name="unsigned, callback kept",
        action="process_due",
        calls=(*_LOOK, "store.replace", "store.drop_callback", *_REPORT, *_END),
        before=_callback_kept,
        early=True,
        signed=False,
        answer_after=0.0,
    ),
)
