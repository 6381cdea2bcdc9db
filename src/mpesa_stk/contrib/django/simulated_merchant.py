"""The merchant and the addresses of a simulated Daraja, for the setting ``simulate``."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from mpesa_stk.commands.simulate import settings_of
from mpesa_stk.config.environment import Environment
from mpesa_stk.config.urls import is_loopback_url
from mpesa_stk.contrib.django.mounting import callback_path
from mpesa_stk.errors import ConfigurationError

__all__ = ["SIMULATED", "Simulated", "simulated_texts"]

SIMULATED = {"simulate_port": "port", "simulate_shop": "shop"}
"""Setting -> the field of `Simulated`."""
_KEPT = ("mpesa_max_amount", "trusted_proxies", "allowed_hosts", "allowed_callback_networks")
_HIGHEST_PORT = 65_535


@attrs.frozen(kw_only=True)
class Simulated:
    """A simulated Daraja of this machine.

    Attributes:
        port: The port on which ``manage.py mpesa_simulate`` listens.
        shop: The address at which the shop is reached from this machine.
    """

    port: int = 8090
    shop: str = "http://127.0.0.1:8000"

    def __attrs_post_init__(self) -> None:
        problems = []
        port: object = self.port
        shop: object = self.shop
        if not isinstance(port, int) or not 0 < port <= _HIGHEST_PORT:
            problems.append(("simulate_port", "must be a port: 1 to 65535"))
        if not is_loopback_url(shop):
            rule = "must be an address of this machine, such as http://127.0.0.1:8000"
            problems.append(("simulate_shop", rule))
        if problems:
            raise ConfigurationError(tuple(problems))

    @property
    def environment(self) -> Environment:
        """The addresses of the simulator."""
        return Environment.at(f"http://127.0.0.1:{self.port}", name="simulator")


def simulated_texts(texts: Mapping[str, str], simulated: Simulated, /) -> dict[str, str]:
    """Return the settings of a simulated account, without the host's credentials and addresses."""
    kept = {name: texts[name] for name in _KEPT if name in texts}
    merchant = settings_of(simulated.environment, known=True)
    path = callback_path() or "/payments/callback/"
    own = {name.lower(): text for name, text in merchant.items()}
    return kept | own | {"c2b_callback": simulated.shop.rstrip("/") + path}
