"""Keep secrets out of reprs, logs, pickles and tracebacks (I5). A leaf.

Personal data counts as secret here. This file has masks for phone numbers and CheckoutRequestIDs, and
cleaners for texts from outside. It also has a base class for values that must not be pickled, and a
decorator that hides locals from tracebacks.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, ParamSpec, TypeVar, cast

Kept = TypeVar("Kept", bound="Unpicklable")
P = ParamSpec("P")
T = TypeVar("T")

_MAX_TEXT = 200
_UNSAFE = re.compile(r"[^ -~]+")
# Tokens, passwords and passkeys are long runs without spaces. Phone numbers are nine digits or more,
# perhaps written in groups.
_SECRET_LIKE = re.compile(r"[A-Za-z0-9+/=_-]{24,}|[0-9](?:[ ()-]{0,2}[0-9]){8,}")
_NOT_VISIBLE = re.compile(r"[^!-~]+")
_LONGEST_WORD = 128


# --- tracebacks -----------------------------------------------------------------------------------


def hides_locals(call: Callable[P, T], /) -> Callable[P, T]:
    """Decorate a public function so that its errors show no locals of inner calls.

    Many tools print a traceback with the locals of each frame. Our locals hold secrets and phone numbers.
    """
    if inspect.iscoroutinefunction(call):
        return cast("Callable[P, T]", _hides_locals_of_flow(call))

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


def _hides_locals_of_flow(
    call: Callable[P, Coroutine[Any, Any, T]], /
) -> Callable[P, Coroutine[Any, Any, T]]:
    """Do the same for an ``async def``."""

    @functools.wraps(call)
    async def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        handled = sys.exc_info()[1]
        try:
            return await call(*args, **kwargs)
        except BaseException as error:
            clear_locals(error, handled)
            del args, kwargs, handled
            raise

    return guarded


def clear_locals(error: BaseException, handled: BaseException | None = None, /) -> None:
    """Clear the locals of an error's finished frames.

    This includes the frames of the errors that led to it.

    Args:
        error: The error, as it leaves the package.
        handled: The host's own error, if the host called the package while handling it. It is not changed.
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


class Unpicklable:
    """Base of frozen values that must not be pickled.

    A copy of such a value is the value itself.
    """

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} holds secrets and is not pickled: make it in each process"
        )

    def __copy__(self: Kept) -> Kept:  # noqa: PYI019 - typing.Self needs Python 3.11
        return self

    def __deepcopy__(self: Kept, _memo: dict[int, Any]) -> Kept:  # noqa: PYI019 - as above
        return self


# --- masks ----------------------------------------------------------------------------------------


def mask_checkout_id(checkout_request_id: str | None, /) -> str | None:
    """Hide the end of a CheckoutRequestID.

    The end is the payer's number (docs/daraja.md, section 0).
    """
    if checkout_request_id is None:
        return None
    return checkout_request_id[: -len("712345678")] + "***"


def masked_id_repr(checkout_request_id: str | None, /) -> str:
    """Return the repr of a field that holds a CheckoutRequestID."""
    return repr(mask_checkout_id(checkout_request_id))


def mask_phone(number: str | None, /) -> str | None:
    """Hide the middle of a number: ``"254718643064"`` becomes ``"254718***064"``."""
    if number is None:
        return None
    return f"{number[:-6]}***{number[-3:]}" if len(number) > len("712345678") else "***"


def mask_receipt(receipt_number: str | None, /) -> str | None:
    """Hide all of a receipt but its end: ``"NLJ7RT61SV"`` becomes ``"***1SV"``."""
    return None if receipt_number is None else f"***{receipt_number[-3:]}"


def masked_phone_repr(number: str | None, /) -> str:
    """Return the repr of a field that holds a phone number."""
    return repr(mask_phone(number))


# --- texts from outside ---------------------------------------------------------------------------


def clean_text(text: object, /) -> str | None:
    """Make a text from outside fit for errors and logs.

    The result is one line, bounded, without long secrets.

    Returns:
        The cleaned text, or None if the value is not a text.
    """
    if not isinstance(text, str):
        return None
    # The text is cut last: a secret that is cut in two would no longer look like a secret.
    return _SECRET_LIKE.sub("[...]", _UNSAFE.sub(" ", text))[:_MAX_TEXT]


def visible(value: object, /) -> str:
    """Return a value as one word of visible characters, for a log or a terminal.

    Daraja's ids and codes may hold any characters, even line breaks and terminal escapes.
    """
    return _NOT_VISIBLE.sub("_", str(value))[:_LONGEST_WORD]


def printable(text: str, /) -> str:
    """Return a stored text as one line that cannot steer a terminal.

    Letters of all languages and emoji stay. Control characters, line breaks, marks that turn the direction
    of the text, and characters that no font shows become spaces.
    """
    return "".join(character if character.isprintable() else " " for character in text)
