"""What values that hold secrets have in common. A leaf: imports nothing of the package."""

from __future__ import annotations

from typing import Any, NoReturn, TypeVar

import attrs

__all__ = ["Hidden", "HoldsSecrets", "mask_checkout_id"]

Kept = TypeVar("Kept", bound="HoldsSecrets")


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


@attrs.frozen
class Hidden(HoldsSecrets):
    """A secret text in a row or a local, where tools that print tracebacks would show it."""

    text: str = attrs.field(repr=False)


def mask_checkout_id(checkout_request_id: str | None, /) -> str | None:
    """Hide the end of a CheckoutRequestID, which is the payer's number (facts, section 0)."""
    if checkout_request_id is None:
        return None
    return checkout_request_id[: -len("712345678")] + "***"


def masked_id_repr(checkout_request_id: str | None, /) -> str:
    """Repr of a field that holds a CheckoutRequestID."""
    return repr(mask_checkout_id(checkout_request_id))
