"""Tasks of either face that stop at every step, and are resumed, cancelled or killed from outside."""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator
from enum import Enum
from typing import Any

import attrs
import greenlet

from mpesa_stk.faces import finish


class Directive(Enum):
    """How a part goes on after a step."""

    GO = "go on"
    FAIL = "fail"


@attrs.frozen
class Step:
    """Where a task stands.

    Attributes:
        kind: ``store``, ``send``, ``answer``, ``sleep`` or ``handler``.
        name: What comes next, or has just come.
        wakes: Second of the world's clock before which a sleeping task does not go on.
    """

    kind: str
    name: str
    wakes: float = 0.0


class Cancelled(BaseException):
    """A task is cancelled. In a synchronous process, somebody pressed Ctrl+C."""


class Died(BaseException):
    """The process is gone. Its parts raise this at once, so its cleanup has no effect."""


@types.coroutine
def _yielded(step: Step) -> Generator[Step, Directive, Directive]:
    return (yield step)


async def pause(step: Step) -> Directive:
    """Stop at a step until the scheduler goes on. Works on both faces."""
    here = greenlet.getcurrent()
    if here.parent is None:
        return await _yielded(step)
    directive: Directive = here.parent.switch(step)
    return directive


class Task:
    """One call of a method, on one face."""

    def __init__(self, name: str, process: Any) -> None:
        self.name = name
        self.process = process
        self.step = Step("store", "begin")
        self.done = False
        self.cancellations = 0

    def start(self, call: Callable[[], Coroutine[Any, Any, None]], *, asynchronous: bool) -> None:
        """Make the flow that `resume` runs."""
        if asynchronous:
            flow = call()
            self._send, self._throw = flow.send, flow.throw
        else:
            body = greenlet.greenlet(lambda _: finish(call()))
            self._send = self._throw = None  # type: ignore[assignment]
            self._body = body
        self._asynchronous = asynchronous
        self._begun = False

    def resume(self, directive: Directive) -> None:
        """Run to the next step, or to the end."""
        if self._asynchronous:
            self._run(lambda: self._send(directive if self._begun else None))
        else:
            self._run(lambda: self._body.switch(directive))
        self._begun = True

    def throw(self, error: BaseException) -> None:
        """Raise an error at the step, and run to the next one."""
        if not self._begun:
            self.done = True
            if self._asynchronous:
                self._throw.__self__.close()  # type: ignore[attr-defined]
        elif self._asynchronous:
            self._run(lambda: self._throw(error))
        else:
            self._run(lambda: self._body.throw(error))

    def _run(self, go: Callable[[], Any]) -> None:
        try:
            step = go()
        except StopIteration:
            self.done = True
        except (Cancelled, Died):
            self.done = True
        else:
            if isinstance(step, Step):
                self.step = step
            else:  # a greenlet returns its result to the scheduler
                self.done = True
