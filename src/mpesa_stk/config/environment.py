"""Daraja's addresses: the sandbox, production, or addresses that you name. Pure."""

from __future__ import annotations

import attrs

from mpesa_stk.config.urls import is_loopback_url

# Safaricom prints these in its public documentation (docs/daraja.md, section 2).
SANDBOX_SHORTCODE = "174379"
SANDBOX_PASSKEY = "bfb279f9aa9bdbcf158e97dd71a467cd2e0c893059b10f78e6b72ada1ed2c919"
SANDBOX_HOST = "sandbox.safaricom.co.ke"
PRODUCTION_HOST = "api.safaricom.co.ke"


@attrs.frozen(kw_only=True)
class Environment:
    """The addresses of one Daraja.

    Attributes:
        name: ``sandbox``, ``production`` or a name that you choose.
        token_url: Address of the token endpoint.
        push_url: Address of the push endpoint.
        query_url: Address of the status query endpoint.
    """

    name: str
    token_url: str
    push_url: str
    query_url: str

    @classmethod
    def at(cls, origin: str, /, *, name: str) -> Environment:
        """Make an environment of Daraja's three paths under an origin.

        Args:
            origin: For example ``https://api.safaricom.co.ke``.
            name: Name of the environment.
        """
        return cls(
            name=name,
            token_url=f"{origin}/oauth/v1/generate?grant_type=client_credentials",
            push_url=f"{origin}/mpesa/stkpush/v1/processrequest",
            query_url=f"{origin}/mpesa/stkpushquery/v1/query",
        )

    @property
    def urls(self) -> dict[str, str]:
        """The three addresses by field name."""
        return {
            "token_url": self.token_url,
            "push_url": self.push_url,
            "query_url": self.query_url,
        }

    @property
    def is_loopback(self) -> bool:
        """Whether all three addresses are on this machine, as for a simulator."""
        return all(map(is_loopback_url, self.urls.values()))


SANDBOX = Environment.at(f"https://{SANDBOX_HOST}", name="sandbox")
"""Safaricom's sandbox. A push to a real phone there can move real money for a day."""

PRODUCTION = Environment.at(f"https://{PRODUCTION_HOST}", name="production")
"""The real Daraja."""
