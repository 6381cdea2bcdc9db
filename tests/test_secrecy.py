"""The locals of frames are cleared where an error leaves the package, and nothing else is."""

from __future__ import annotations

import inspect
import traceback

import pytest

from mpesa_stk.privacy import hides_locals
from support import PASSKEY, TOKEN

NOTHING: dict[str, str] = {}


def locals_of(error: BaseException) -> dict[str, dict[str, str] | None]:
    """The locals of each frame of a traceback, by the name of its function."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    return {frame.name: frame.locals for frame in shown.stack}


def below(secret: str) -> str:
    """Fails while another error is handled, with a cause."""
    try:
        return NOTHING["x"]
    except KeyError as error:
        raise LookupError(len(secret)) from error


@hides_locals
def door(secret: str, *, fails: bool = True) -> str:
    """A public function."""
    doubled = secret * 2
    return below(doubled) if fails else doubled


def test_frames_stay_without_their_locals() -> None:
    """Files and lines are shown as ever, so that a bug can be found."""
    with pytest.raises(LookupError) as caught:
        door(TOKEN)
    frames = locals_of(caught.value)
    assert list(frames)[-2:] == ["door", "below"]
    assert not frames["door"]
    assert not frames["below"]
    assert caught.value.__cause__ is not None
    assert not locals_of(caught.value.__cause__)["below"]
    assert TOKEN not in str(frames)


def test_an_error_that_the_host_handles_keeps_its_locals() -> None:
    """It is the host's own; what it was doing is worth knowing."""

    def of_the_host(order: str) -> None:
        raise ValueError(len(order))

    def handle() -> None:
        try:
            of_the_host("order 7")
        except ValueError:
            door(TOKEN)

    with pytest.raises(LookupError) as caught:
        handle()
    assert caught.value.__cause__ is not None
    context = caught.value.__cause__.__context__
    assert isinstance(context, ValueError)
    assert locals_of(context)["of_the_host"] == {"order": "'order 7'"}


def test_the_same_error_once_more_is_cleared_too() -> None:
    """A transport of the host's may raise the very error that is being handled."""
    one = ValueError("x")

    @hides_locals
    def raise_it(_secret: str) -> None:
        raise one

    def twice() -> None:
        try:
            raise one
        except ValueError:
            raise_it(PASSKEY)

    with pytest.raises(ValueError, match="x") as caught:
        twice()
    assert PASSKEY not in str(locals_of(caught.value))


def test_a_decorated_function_looks_as_before() -> None:
    """Its name, its text and its signature, and what it returns."""
    assert door(TOKEN, fails=False) == TOKEN * 2
    assert door.__name__ == "door"
    assert door.__doc__ == "A public function."
    assert str(inspect.signature(door)) == "(secret: 'str', *, fails: 'bool' = True) -> 'str'"
