"""What the tests of this folder share: certificates, as files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme

__all__: list[str] = []


class Certificates(NamedTuple):
    """Files: the authority, the server's certificate with key, the client's with key."""

    authority: trustme.CA
    ca: Path
    server: Path
    client: Path


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Of one authority, for 127.0.0.1 and joe@example.org."""
    directory = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    ca, server, client = (directory / f"{name}.pem" for name in ("ca", "server", "client"))
    authority.cert_pem.write_to_path(ca)
    authority.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(
        server
    )
    authority.issue_cert("joe@example.org").private_key_and_cert_chain_pem.write_to_path(client)
    return Certificates(authority, ca, server, client)


@pytest.fixture(scope="session")
def tls_config(certificates: Certificates) -> Callable[[str], str]:
    """A function that returns the `tls` of a server's configuration, with more in it."""

    def config(more: str = "") -> str:
        return (
            f'tls {{ cert_file: "{certificates.server}", key_file: "{certificates.server}", '
            f'ca_file: "{certificates.ca}", {more} }}'
        )

    return config
