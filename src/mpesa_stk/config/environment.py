"""Daraja's addresses: the sandbox, production, or addresses that you name. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit

import attrs

from mpesa_stk.config.urls import is_loopback_url

# Safaricom prints these in its public documentation (docs/daraja.md, section 2).
SANDBOX_SHORTCODE = "174379"
SANDBOX_PASSKEY = "bfb279f9aa9bdbcf158e97dd71a467cd2e0c893059b10f78e6b72ada1ed2c919"
SANDBOX_HOST = "sandbox.safaricom.co.ke"
PRODUCTION_HOST = "api.safaricom.co.ke"
_QUERY_PATH = "/mpesa/stkpushquery/v1/query"


@attrs.frozen(kw_only=True)
class Environment:
    """The addresses of one Daraja.

    Attributes:
        name: ``sandbox``, ``production`` or a name that you choose.
        token_url: Address of the token endpoint.
        push_url: Address of the push endpoint.
        query_url: Address of the status query endpoint. The addresses for pulls are at its origin.
    """

    name: str
    token_url: str
    push_url: str
    query_url: str

    @classmethod
    def at(cls, origin: str, /, *, name: str) -> Environment:
        """Make an environment of Daraja's paths under an origin.

        Args:
            origin: For example ``https://api.safaricom.co.ke``.
            name: Name of the environment.
        """
        return cls(
            name=name,
            token_url=f"{origin}/oauth/v1/generate?grant_type=client_credentials",
            push_url=f"{origin}/mpesa/stkpush/v1/processrequest",
            query_url=origin + _QUERY_PATH,
        )

    @property
    def pull_query_url(self) -> str:
        """Address of Pull Transactions, at the origin of the status query."""
        return self._beside_the_query("/pulltransactions/v1/query")

    @property
    def pull_register_url(self) -> str:
        """Address at which an account is registered for pulls, at the same origin."""
        return self._beside_the_query("/pulltransactions/v1/register")

    def _beside_the_query(self, path: str) -> str:
        """Return the address of a path, behind the same gateway as the status query."""
        if self.query_url.endswith(_QUERY_PATH):
            return self.query_url.removesuffix(_QUERY_PATH) + path
        parts = urlsplit(self.query_url)
        return f"{parts.scheme}://{parts.netloc}{path}"

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
