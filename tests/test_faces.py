"""A flow that never suspends runs without an event loop, and one that suspends says so."""

from __future__ import annotations

import traceback
import types
from collections.abc import Iterator

import pytest

from mpesa_stk.faces import call_here, finish


async def flow(fail: Exception | None = None) -> int:
    """Two awaits deep."""
    if fail is not None:
        raise fail
    return await call_here(max, 1, 2)


def test_a_flow_runs_to_its_end() -> None:
    """Its result is returned, and no event loop is needed."""
    assert finish(flow()) == 2


def test_an_error_passes_with_one_frame_more() -> None:
    """The traceback goes from the caller through `finish` to the line that failed."""
    error = ValueError("x")
    with pytest.raises(ValueError, match="x") as caught:
        finish(flow(error))
    frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert frames == ["test_an_error_passes_with_one_frame_more", "finish", "flow"]


def test_a_part_that_suspends_is_named_as_a_bug() -> None:
    """The flow is closed, and its cleanup ran."""
    cleaned = []

    @types.coroutine
    def wait() -> Iterator[None]:
        yield

    async def suspends() -> None:
        try:
            await wait()
        finally:
            cleaned.append(True)

    with pytest.raises(RuntimeError, match="use the asynchronous class"):
        finish(suspends())
    assert cleaned == [True]
