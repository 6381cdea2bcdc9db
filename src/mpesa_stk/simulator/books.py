"""Enter into Safaricom's ledger what happens: paid prompts, payments by hand, money that goes out. Pure."""

from __future__ import annotations

import random
import re
import string
from datetime import datetime
from decimal import Decimal

import attrs

from mpesa_stk.clock import Clock
from mpesa_stk.config.account import PayBill, Till
from mpesa_stk.simulator.apps import Merchants
from mpesa_stk.simulator.ledger import Ledger, LedgerRow, Movement
from mpesa_stk.simulator.prompt_schedule import PromptSchedule

MOST_SHILLINGS = 100_000_000
"""Largest amount of one payment by hand, or of one movement out."""
PAYER = "254711000000"
"""Phone of a payment by hand if none is given. It is made up."""
PAYER_NAME = "A. CUSTOMER"
_LONGEST_TEXT = 255
_RECEIPT_LETTERS = string.ascii_uppercase + string.digits
_PHONE = re.compile(r"(?:254|0)([17][0-9]{8})")


def new_receipt(randomness: random.Random, /) -> str:
    """A receipt number: ten letters and digits."""
    return "".join(randomness.choices(_RECEIPT_LETTERS, k=10))


@attrs.frozen
class BadEntry(ValueError):
    """An entry into the ledger breaks a rule.

    Attributes:
        field: Name of the argument.
        rule: The rule, such as ``must be more than 0``.
    """

    field: str
    rule: str

    def __str__(self) -> str:
        return f"{self.field} {self.rule}"


class Books:
    """Enter into the ledger. Times are those of the clients, as in callbacks.

    Attributes:
        ledger: The ledger.
    """

    def __init__(
        self,
        merchants: Merchants,
        /,
        *,
        shop_clock: Clock,
        randomness: random.Random,
        prompts: PromptSchedule,
    ) -> None:
        self.ledger = Ledger(merchants.accounts)
        self._merchants = merchants
        self._shop_clock = shop_clock
        self._random = randomness
        self._prompts = prompts

    def now(self) -> datetime:
        """The time of the ledger."""
        return self._shop_clock.now()

    def enter_prompts(self) -> None:
        """Enter the prompts that were paid since the last call."""
        for prompt in self._prompts.take_ended():
            account = self._merchants.account_named(prompt.business)
            if account is None or not prompt.outcome.paid:
                continue
            # A callback is never dated ahead of the shop's clock, and its row says the same time.
            now = self.now()
            self.ledger.add(
                account,
                "payment",
                receipt_number=prompt.receipt_number,
                initiated=min(prompt.opened, now),
                completed=min(prompt.ends, now),
                amount=Decimal(prompt.amount),
                phone_number=prompt.phone_number,
                name=PAYER_NAME,
                reference=prompt.reference if isinstance(account, PayBill) else "",
                checkout_request_id=prompt.checkout_request_id,
            )

    def pay(
        self,
        account: PayBill | Till,
        /,
        *,
        amount: Decimal | int,
        phone_number: str,
        reference: str,
        name: str,
        failed: bool,
    ) -> LedgerRow:
        """Enter a payment by hand, which no prompt asked for.

        Raises:
            BadEntry: An argument breaks its rule.
        """
        phone = _PHONE.fullmatch(phone_number)
        if phone is None:
            raise BadEntry("phone_number", "must be a mobile number such as 0711000000")
        if reference and isinstance(account, Till):
            raise BadEntry("reference", "must be empty: a till takes none")
        for field, text in (("reference", reference), ("name", name)):
            if len(text) > _LONGEST_TEXT:
                raise BadEntry(field, f"must have at most {_LONGEST_TEXT} characters")
        self.enter_prompts()
        return self._add(
            account,
            "payment",
            _shillings(amount),
            failed=failed,
            phone_number=f"254{phone[1]}",
            name=name,
            reference=reference,
        )

    def sweep(self, account: PayBill | Till, amount: Decimal | int | None, /) -> LedgerRow:
        """Enter a sweep of money to a bank: of an amount, or of the whole balance.

        Raises:
            BadEntry: The amount breaks its rule, or the balance is lower.
        """
        self.enter_prompts()
        whole = self.ledger.balance(account) if amount is None else amount
        return self._take_out(account, "sweep", whole)

    def charge(
        self, account: PayBill | Till, amount: Decimal | int, /, *, linked_to: str
    ) -> LedgerRow:
        """Enter a fee.

        Raises:
            BadEntry: The amount breaks its rule, or the balance is lower.
        """
        self.enter_prompts()
        return self._take_out(account, "fee", amount, linked_to=linked_to)

    def reverse(self, receipt_number: str, /) -> LedgerRow:
        """Enter the reversal of a payment.

        Raises:
            LookupError: No kept payment has this receipt, or it was reversed already.
            BadEntry: The balance is lower.
        """
        self.enter_prompts()
        payment = self.ledger.payment(receipt_number)
        if payment is None:
            raise LookupError("no payment with this receipt can be reversed")
        return self._take_out(
            payment.account,
            "reversal",
            payment.amount,
            linked_to=receipt_number,
            phone_number=payment.phone_number,
            name=payment.name,
        )

    def _take_out(
        self,
        account: PayBill | Till,
        kind: Movement,
        amount: Decimal | int,
        /,
        **facts: str,
    ) -> LedgerRow:
        shillings = _shillings(amount)
        if shillings > self.ledger.balance(account):
            raise BadEntry("amount", "must not be more than the balance")
        return self._add(account, kind, -shillings, failed=False, **facts)

    def _add(
        self,
        account: PayBill | Till,
        kind: Movement,
        amount: Decimal,
        /,
        *,
        failed: bool,
        **facts: str,
    ) -> LedgerRow:
        now = self.now()
        return self.ledger.add(
            account,
            kind,
            receipt_number=new_receipt(self._random),
            initiated=now,
            completed=now,
            amount=amount,
            failed=failed,
            **facts,
        )


def _shillings(amount: Decimal | int) -> Decimal:
    """An amount in whole cents, or a refusal."""
    shillings = Decimal(amount)
    if not (shillings.is_finite() and 0 < shillings <= MOST_SHILLINGS):
        raise BadEntry("amount", f"must be more than 0, and {MOST_SHILLINGS} at most")
    if shillings != round(shillings, 2):
        raise BadEntry("amount", "must have two decimal places at most")
    return shillings
