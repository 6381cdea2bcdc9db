"""`Simulation`: one simulated Daraja behind one lock, and the methods for tests and for the page."""

from __future__ import annotations

import random
from abc import abstractmethod
from datetime import datetime, timedelta
from functools import partial

from mpesa_stk.clock import Clock
from mpesa_stk.config.settings import StkConfig
from mpesa_stk.simulator.changes import Changes
from mpesa_stk.simulator.engine import SLOW_SECONDS, DarajaEngine
from mpesa_stk.simulator.faults import Fault
from mpesa_stk.simulator.incoming import Step
from mpesa_stk.simulator.journal import Journal
from mpesa_stk.simulator.ledger_methods import LedgerMethods
from mpesa_stk.simulator.prompts import Prompt
from mpesa_stk.simulator.scenarios import PAID, PIN, SCENARIOS, WRONG_PIN, Scenario

FURTHEST = 10 * 366 * 86_400.0
"""Longest time that a clock can be put forward: ten years."""


class AdjustableClock:
    """Another clock, put forward by some seconds. One thread at a time may call `advance`."""

    def __init__(self, clock: Clock, /) -> None:
        """Show the time of another clock.

        Args:
            clock: The other clock.
        """
        self._clock = clock
        self._ahead = 0.0

    def now(self) -> datetime:
        """The time that it shows, in UTC."""
        return self._clock.now() + timedelta(seconds=self._ahead)

    def monotonic(self) -> float:
        """Seconds since some start."""
        return self._clock.monotonic() + self._ahead

    def sleep(self, seconds: float, /) -> None:
        """Wait for that many seconds."""
        self._clock.sleep(seconds)

    def advance(self, seconds: float, /) -> None:
        """Put it forward.

        Args:
            seconds: Number of seconds, at least 0.

        Raises:
            ValueError: It would go back, or be more than `FURTHEST` ahead.
        """
        if not 0 <= seconds <= FURTHEST - self._ahead:
            raise ValueError("must be 0 or more seconds, and ten years in all at most")
        self._ahead += seconds


class Simulation(LedgerMethods):
    """One simulated Daraja. Safe to share between threads.

    `SimulatorServer` serves it over HTTP. `mpesa_stk.testing.SimulatedDaraja` is one inside a test.

    Attributes:
        config: The settings of its first merchant.
        merchants: Those of all its merchants, the first one included.
        business: The accounts that are paid, such as ``paybill 174379``.
    """

    def __init__(  # noqa: PLR0913 - one argument a setting, all of them by name
        self,
        config: StkConfig,
        /,
        *others: StkConfig,
        clock: Clock,
        shop_clock: Clock | None = None,
        randomness: random.Random,
        scenario: Scenario | str | None = None,
        slow_seconds: float = SLOW_SECONDS,
        token_lifetime: int = 3599,
        one_token: bool = True,
        callback_tries: int = 1,
    ) -> None:
        self.config = config
        self.merchants = (config, *others)
        self.business = ", ".join(str(merchant.account) for merchant in self.merchants)
        self._changes = Changes()
        self._new_engine = partial(
            DarajaEngine,
            *self.merchants,
            clock=clock,
            shop_clock=shop_clock,
            randomness=randomness,
            scenario=None if scenario is None else _scenario(scenario),
            token_lifetime=token_lifetime,
            one_token=one_token,
            callback_tries=callback_tries,
            slow_seconds=slow_seconds,
            lock=self._changes,
        )
        self._first_scenario = scenario or PAID
        self._played = self._first_scenario
        self._engine = self._new_engine()

    # --- requests and time -----------------------------------------------------------------------

    def play(self, scenario: Scenario | str, /) -> None:
        """Play a scenario for the pushes from now on. A test phone plays its own.

        Args:
            scenario: The scenario, or a name of `SCENARIOS`.

        Raises:
            KeyError: `SCENARIOS` has no such name.
        """
        played = _scenario(scenario)
        with self._changes:
            self._engine.scenario = played
            self._played = scenario
            self._changes.notify()

    def next(self, step: Step, /, *faults: str | Fault) -> None:
        """Give the next requests of a step one fault each.

        Args:
            step: ``token``, ``push``, ``query`` or ``pull``.
            faults: Names of `FAULTS`, or faults of your own.

        Raises:
            KeyError: There is no such step or fault. No fault is scripted then.
        """
        with self._changes:
            self._engine.script(step, *faults)
            self._changes.notify()

    @property
    def scripted(self) -> dict[Step, list[str]]:
        """The names of the faults that are scripted and not met yet, by their step."""
        with self._changes:
            return self._engine.scripts.names()

    def clear_scripts(self) -> None:
        """Drop the faults that are scripted."""
        with self._changes:
            self._engine.scripts.clear()
            self._changes.notify()

    def revoke_tokens(self) -> None:
        """Make all issued tokens invalid, as a newer token elsewhere does."""
        with self._changes:
            self._engine.tokens.revoke_all()
            self._changes.notify()

    @abstractmethod
    def advance(self, seconds: float, /) -> None:
        """Put the time forward, and post the callbacks that become due.

        Args:
            seconds: Number of seconds, at least 0.

        Raises:
            ValueError: The time would go back, or forward by more than ten years.
        """

    def reset(self) -> None:
        """Forget prompts, ledger, outages, journal, scripts and tokens. Play the first scenario again."""
        with self._changes:
            self._engine = self._new_engine()
            self._played = self._first_scenario
            self._changes.notify()

    # --- prompts ---------------------------------------------------------------------------------

    @property
    def scenario(self) -> Scenario:
        """The scenario of the next pushes."""
        with self._changes:
            return self._engine.scenario

    @property
    def scenario_name(self) -> str | None:
        """The name of the scenario of the next pushes, or None for one of your own."""
        with self._changes:
            played = self._played
        if isinstance(played, str):
            return played
        return next((name for name, known in SCENARIOS.items() if known == played), None)

    @property
    def callbacks_to_come(self) -> dict[str, datetime]:
        """The time of the next callback of each prompt that has one to come, by its id."""
        with self._changes:
            return self._engine.prompts.callbacks_to_come()

    @property
    def prompts(self) -> list[Prompt]:
        """The prompts, oldest first. Beyond 10,000, those that ended first are forgotten."""
        with self._changes:
            return self._engine.prompts.all()

    @property
    def journal(self) -> Journal:
        """The events so far, in order."""
        with self._changes:
            return self._engine.journal

    def is_open(self, prompt: Prompt, /) -> bool:
        """Whether a prompt still waits for its customer."""
        with self._changes:
            return self._engine.prompts.is_open(prompt)

    def decide(self, checkout_request_id: str, answer: str, /) -> None:
        """Let the customer answer an open prompt now. The callback comes when the scenario says.

        Args:
            checkout_request_id: Id of the prompt.
            answer: A name of `OUTCOMES`.

        Raises:
            KeyError: `OUTCOMES` has no such name.
            LookupError: No open prompt has this id.
        """
        with self._changes:
            self._engine.prompts.decide(checkout_request_id, answer)
            self._changes.notify()

    def enter_pin(self, checkout_request_id: str, pin: str, /) -> None:
        """Type a PIN into an open prompt: `PIN` pays, any other is wrong.

        Raises:
            LookupError: No open prompt has this id.
        """
        self.decide(checkout_request_id, PAID if pin == PIN else WRONG_PIN)


def _scenario(scenario: Scenario | str) -> Scenario:
    return SCENARIOS[scenario] if isinstance(scenario, str) else scenario
