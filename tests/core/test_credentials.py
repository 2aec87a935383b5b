"""Credentials files: what is found in them, and who else can read them."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from objstore.core.credentials import read_credentials
from tests.security.keys import Key, Operator

SEED = Key("user", bytes(32)).seed
CREDS = Operator().credentials(seed=SEED)
JWT = CREDS.splitlines()[1]


def write(path: Path, content: str, mode: int = 0o600) -> str:
    path.write_text(content)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize(
    ("content", "jwt", "seed"),
    [
        (CREDS, JWT, SEED),
        (CREDS.replace("\n", "\r\n"), JWT, SEED),
        (CREDS.replace("------END", "-----END"), JWT, SEED),
        (CREDS.split("\n\n")[0], JWT, ""),
        (SEED, "", SEED),
        (f"# a key\n  {SEED}  \n", "", SEED),
        (f"-----BEGIN USER NKEY SEED-----\n{SEED}\n------END USER NKEY SEED------", "", SEED),
    ],
    ids=["creds", "CRLF", "dashes", "bearer", "seed", "commented seed", "decorated seed"],
)
def test_what_a_file_holds(content: str, jwt: str, seed: str, tmp_path: Path) -> None:
    """In the forms in which the tools write it."""
    assert read_credentials(write(tmp_path / "file", content)) == (jwt, seed)


@pytest.mark.parametrize("content", ["", "hello", "-----BEGIN NATS USER JWT-----", SEED[:-1]])
def test_file_without_credentials(content: str, tmp_path: Path) -> None:
    """The message names the file and not its content."""
    path = write(tmp_path / "file", content)
    with pytest.raises(ValueError, match="neither") as caught:
        read_credentials(path)
    assert path in str(caught.value)
    assert not content or content not in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    """As of any file."""
    with pytest.raises(FileNotFoundError):
        read_credentials(str(tmp_path / "missing"))


@given(content=st.binary(max_size=200))
def test_any_file_is_understood_or_refused(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever is in it."""
    path = tmp_path_factory.getbasetemp() / "any"
    path.touch(mode=0o600)
    path.write_bytes(content)
    with pytest.raises(ValueError):
        read_credentials(str(path))


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700, 0o640, 0o604, 0o644])
def test_file_that_others_can_read_is_warned_of(
    mode: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once; and it works all the same."""
    path = write(tmp_path / "file", CREDS, mode)
    for _ in range(2):
        read_credentials(path)
    warned = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warned) == (1 if mode & 0o044 else 0)
    assert all(path in record.getMessage() for record in warned)


def test_credentials_do_not_show_themselves(tmp_path: Path) -> None:
    """Not in a traceback's variables either."""
    credentials = read_credentials(write(tmp_path / "file", CREDS))
    assert SEED not in repr(credentials) and JWT not in repr(credentials)
