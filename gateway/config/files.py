"""Files that the configuration names: each is read, to find mistakes before anything begins.

Every function takes what the TOML has and returns what the gateway uses, or raises ValueError with the words that
follow "must be" in the report of mistakes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator

from gateway.core.certificates import read_certificates, read_pair, read_revocations


def read_file(path: str) -> bytes:
    """The bytes of a file.

    :raises ValueError: when it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return file.read()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ValueError(f"a file that can be read ({reason})") from None


def _pem(value: str, read: Callable[[bytes], object], right: str) -> str:
    """A file that ``read`` takes, or ``""``."""
    if value:
        pem = read_file(value)
        try:
            read(pem)
        except ValueError as error:
            raise ValueError(f"{right}; this one {error}") from None
    return value


def ca_file(value: str) -> str:
    """A PEM file with at least one certificate, or ``""``."""
    return _pem(value, read_certificates, "a PEM file of certificates")


def crl_file(value: str) -> str:
    """A PEM file with at least one revocation list, or ``""``."""
    return _pem(value, read_revocations, "a PEM file of certificate revocation lists")


def key_pair_file(value: str) -> str:
    """A PEM file with a certificate, those of the authorities above it, and its key, or ``""``."""
    return _pem(value, lambda pem: read_pair(pem, pem), "a PEM file of a certificate and its private key")


CaFile = Annotated[str, AfterValidator(ca_file)]
CrlFile = Annotated[str, AfterValidator(crl_file)]
KeyPairFile = Annotated[str, AfterValidator(key_pair_file)]
