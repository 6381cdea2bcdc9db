"""Finds prompts by words and by kind. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

import attrs

from mpesa_stk.simulator.prompts import Prompt


@attrs.frozen(kw_only=True)
class Found:
    """A prompt, and the facts by which it is found.

    Attributes:
        prompt: The prompt.
        is_open: Whether it still waits for its customer.
        undelivered: Whether its callback was tried and never taken.
    """

    prompt: Prompt
    is_open: bool
    undelivered: bool

    @property
    def is_paid(self) -> bool:
        """Whether it is over and paid."""
        return not self.is_open and self.prompt.outcome.paid

    def mentions(self, words: Sequence[str], /) -> bool:
        """Whether each of these words, in lower case, is a part of one of its facts."""
        if not words:
            return True  # without the cost of a text for each of 10,000 prompts
        text = self._text()
        return all(word in text for word in words)

    def _text(self) -> str:
        prompt = self.prompt
        facts = [
            prompt.checkout_request_id,
            prompt.merchant_request_id,
            prompt.phone_number,
            f"0{prompt.phone_number[3:]}",
            str(prompt.amount),
            prompt.reference,
            prompt.business,
        ]
        if not self.is_open:
            facts += [prompt.answer, str(prompt.outcome.code)]
        if self.is_paid:
            facts.append(prompt.receipt_number)
        return "\n".join(facts).lower()


KINDS: Mapping[str, Callable[[Found], bool]] = MappingProxyType(
    {
        "all": lambda _: True,
        "open": lambda found: found.is_open,
        "paid": lambda found: found.is_paid,
        "unpaid": lambda found: not found.is_open and not found.is_paid,
        "undelivered": lambda found: found.undelivered,
    }
)
"""The kinds of prompts that a list can show, by name."""


def search(prompts: Iterable[Found], words: str, /) -> dict[str, list[Prompt]]:
    """Find the prompts of each kind that mention all these words, in the given order.

    Digits with blanks between them, such as ``0711 000 001``, are one word.
    """
    wanted = words.lower().split()
    if wanted and all(word.isdigit() for word in wanted):
        wanted = ["".join(wanted)]
    named = [found for found in prompts if found.mentions(wanted)]
    return {name: [found.prompt for found in named if fits(found)] for name, fits in KINDS.items()}
