"""`DjangoTokenStore`: one access token for all processes of a Django project."""

from __future__ import annotations

import random
from collections.abc import Callable

from mpesa_stk.clock import Clock
from mpesa_stk.contrib.django.models import AppToken, AppTokenFlight
from mpesa_stk.contrib.django.orm_app_rows import OrmRows
from mpesa_stk.contrib.django.orm_database import OrmDatabase
from mpesa_stk.stores.app_rows import SharedTokens

__all__ = ["DjangoTokenStore"]


class DjangoTokenStore(SharedTokens):
    """A `TokenStore` on the ORM: many workers share one token.

    The token is a secret, and is stored in clear text. The clocks of the machines that share a database
    must agree to a few seconds.
    """

    def __init__(
        self,
        using: str | None = None,
        *,
        lease: float = 30.0,
        clock: Clock | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Make a store. The first call connects.

        Args:
            using: The alias of the database, or None for the one to which the host's routers write.
            lease: Seconds for which one worker may fetch the token while the others wait. All workers
                that share a database use the same. A worker that dies blocks the others no longer.
            clock: Gives the time, and waits.
            jitter: Returns a random number from 0 to 1, so that waiting workers do not all look at
                the same moment.

        Raises:
            ConfigurationError: There is no such alias, or the lease is not positive.
        """
        database = OrmDatabase(using, clock=clock)
        tokens, flights = OrmRows(database, AppToken), OrmRows(database, AppTokenFlight)
        super().__init__(tokens, flights, lease=lease, clock=clock, jitter=jitter)
