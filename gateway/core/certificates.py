"""X.509 certificates: a chain with its key and the names it is for, and whom a client's certificate names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.core.tokens import MAX_NAME, Claims

T = TypeVar("T")

SubjectKind = Literal["cn", "san-dns", "san-uri"]

_KEY: Final = re.compile(rb"-----BEGIN ((?:[A-Z]+ )*PRIVATE KEY)-----.+?-----END \1-----", re.DOTALL)

_BROKEN: Final = (
    ValueError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What reading a certificate raises."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate that its holder can prove."""

    chain: tuple[x509.Certificate, ...]
    """Its own first, then those of the authorities between it and the root."""
    key: Any
    names: tuple[str, ...]
    """The DNS names it is for, in lower case; ``*.example.com`` stands for any one label."""
    expires: float
    """Seconds since the epoch."""


def read_pair(pem: bytes, key_pem: bytes) -> KeyPair:
    """The certificates in ``pem``, and the private key in ``key_pem``, which may be the same file's text.

    :raises ValueError: saying what is wrong, in words that follow the file's name.
    """
    chain = read_certificates(pem)
    found = _KEY.search(key_pem)
    if found is None:
        raise ValueError("has no private key")
    try:
        key = load_pem_private_key(found[0], None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it is encrypted
        raise ValueError("has a private key that cannot be read; it must be in PEM, and not encrypted") from None
    leaf = chain[0]
    try:
        matches = leaf.public_key() == key.public_key()
        names = tuple(name.lower() for name in _alternative_names(leaf, x509.DNSName))
    except _BROKEN:
        raise ValueError("has a certificate that cannot be read") from None
    if not matches:
        raise ValueError("has a private key that belongs to another certificate than its first")
    return KeyPair(chain, key, names, leaf.not_valid_after_utc.timestamp())


def read_certificates(pem: bytes) -> tuple[x509.Certificate, ...]:
    """All certificates in a PEM file.

    :raises ValueError: when it has none, or one that cannot be read.
    """
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except _BROKEN:
        raise ValueError("has no certificate in PEM") from None


def read_revocations(pem: bytes) -> tuple[x509.CertificateRevocationList, ...]:
    """All revocation lists in a PEM file.

    :raises ValueError: when it has none, or one that cannot be read.
    """
    found = re.findall(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", pem, re.DOTALL)
    try:
        lists = tuple(x509.load_pem_x509_crl(each) for each in found)
    except _BROKEN:
        lists = ()
    if not lists:
        raise ValueError("has no revocation list in PEM")
    return lists


def named(table: Mapping[str, T], name: str) -> T | None:
    """What ``table`` has under a server's name, or under the wildcard for its first label (RFC 6125 section 6.4.3)."""
    name = name.lower()
    found = table.get(name)
    return table.get("*." + name.partition(".")[2]) if found is None else found


@dataclass(frozen=True)
class ClientNames:
    """Whom certificates of clients name.

    :param kind: which name is the subject: the common name, or a DNS name or a URI among the alternative ones.
    :param roles: the role of a subject.
    :param unit_roles: whether a subject without an entry there has its organizational unit as its role.
    """

    kind: SubjectKind
    roles: Mapping[str, str]
    unit_roles: bool

    def claims(self, certificate: x509.Certificate) -> Claims | None:
        """Who a verified certificate says its holder is; None when it does not have exactly one such name."""
        try:
            subject = _only(_names(certificate, self.kind))
            unit = _only(_attributes(certificate, x509.NameOID.ORGANIZATIONAL_UNIT_NAME)) if self.unit_roles else ""
        except _BROKEN:
            return None
        if not subject:
            return None
        return Claims(
            subject=subject,
            role=self.roles.get(subject, unit),
            token_id="",
            issued_at=certificate.not_valid_before_utc.timestamp(),
            expires=certificate.not_valid_after_utc.timestamp(),
        )


def _names(certificate: x509.Certificate, kind: SubjectKind) -> list[str]:
    if kind == "cn":
        return _attributes(certificate, x509.NameOID.COMMON_NAME)
    return _alternative_names(certificate, x509.DNSName if kind == "san-dns" else x509.UniformResourceIdentifier)


def _attributes(certificate: x509.Certificate, kind: x509.ObjectIdentifier) -> list[str]:
    values = (attribute.value for attribute in certificate.subject.get_attributes_for_oid(kind))
    return [value for value in values if isinstance(value, str)]


def _alternative_names(
    certificate: x509.Certificate, kind: type[x509.DNSName] | type[x509.UniformResourceIdentifier]
) -> list[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return found.value.get_values_for_type(kind)


def _only(names: list[str]) -> str:
    """The one name that is there, when it can stand in a log line, a header and a key; else ``""``."""
    return names[0] if len(names) == 1 and len(names[0]) <= MAX_NAME and names[0].isprintable() else ""
