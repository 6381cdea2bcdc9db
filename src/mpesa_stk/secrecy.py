"""What values and calls that hold secrets have in common. A leaf: imports nothing of the package."""

from __future__ import annotations

import functools
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn, ParamSpec, TypeVar

__all__ = ["HoldsSecrets", "clear_locals", "hides_locals", "mask_checkout_id"]

Kept = TypeVar("Kept", bound="HoldsSecrets")
P = ParamSpec("P")
T = TypeVar("T")


# --- tracebacks -----------------------------------------------------------------------------------


def hides_locals(call: Callable[P, T], /) -> Callable[P, T]:
    """Decorate a function of the public interface: its errors show no locals of the calls below it.

    Many tools print a traceback with the locals of each frame, and ours hold secrets and phone numbers.
    """

    @functools.wraps(call)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        handled = sys.exc_info()[1]
        try:
            return call(*args, **kwargs)
        except BaseException as error:
            clear_locals(error, handled)
            del args, kwargs, handled
            raise

    return guarded


def clear_locals(error: BaseException, handled: BaseException | None = None, /) -> None:
    """Clear the locals of all frames that have ended, of an error and of those that led to it.

    Args:
        error: The error, at the place where it leaves the package.
        handled: The host's own error, if the package was called while it was handled; it is left as it is.
    """
    seen = {id(handled)} - {id(error)}
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            traceback.clear_frames(each.__traceback__)
            waiting += [each.__cause__, each.__context__]


# --- values ---------------------------------------------------------------------------------------


class HoldsSecrets:
    """Base of frozen values that may not be pickled; a copy of one is the value itself."""

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} holds secrets and is not pickled: make it in each process"
        )

    def __copy__(self: Kept) -> Kept:  # noqa: PYI019 - typing.Self needs Python 3.11
        return self

    def __deepcopy__(self: Kept, _memo: dict[int, Any]) -> Kept:  # noqa: PYI019 - as above
        return self


def mask_checkout_id(checkout_request_id: str | None, /) -> str | None:
    """Hide the end of a CheckoutRequestID, which is the payer's number (facts, section 0)."""
    if checkout_request_id is None:
        return None
    return checkout_request_id[: -len("712345678")] + "***"


def masked_id_repr(checkout_request_id: str | None, /) -> str:
    """Repr of a field that holds a CheckoutRequestID."""
    return repr(mask_checkout_id(checkout_request_id))
