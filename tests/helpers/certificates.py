"""Certificates of a CA that only the tests know, for servers on this machine."""

from __future__ import annotations

import ssl
from datetime import datetime, timezone
from pathlib import Path

import pytest
import trustme

__all__ = ["Tls"]


class Tls:
    """A CA, the file by which a client trusts it, and servers' contexts.

    Attributes:
        bundle: The CA's certificate in a PEM file.
    """

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self.bundle = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.bundle))

    def server(self, *names: str, old: bool = False) -> ssl.SSLContext:
        """A server's context for these names, this machine's address by default; perhaps out of date."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        until = datetime(2001, 1, 1, tzinfo=timezone.utc) if old else None
        start = datetime(2000, 1, 1, tzinfo=timezone.utc) if old else None
        leaf = self._ca.issue_cert(*(names or ("127.0.0.1",)), not_before=start, not_after=until)
        leaf.configure_cert(context)
        return context


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """The CA of the tests."""
    return Tls(tmp_path_factory.mktemp("tls"))
