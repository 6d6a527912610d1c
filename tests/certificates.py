"""Authorities and the certificates they issue, made for one test run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Authority:
    """Issues certificates.

    :ivar pem: its own certificate.
    """

    def __init__(self, name: str) -> None:
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        own = self._start(self._name, self._key).add_extension(constraints, critical=True)
        self.pem = own.sign(self._key, SHA256()).public_bytes(Encoding.PEM)

    def certificate(
        self, host: str, *others: str, uri: str = "", unit: str = "", days: float = 1, bits: int = 0
    ) -> bytes:
        """A certificate for names or addresses, and its key, in PEM.

        :param host: the first of the names, and the common name.
        :param unit: the organizational unit.
        :param days: after which it ends; negative when it has.
        :param bits: of its key, when that is to be RSA's.
        """
        key = rsa.generate_private_key(65537, bits) if bits else ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(x509.NameOID.COMMON_NAME, host)]
        attributes += [x509.NameAttribute(x509.NameOID.ORGANIZATIONAL_UNIT_NAME, unit)] if unit else []
        names: list[x509.GeneralName] = [_name(each) for each in (host, *others)]
        names += [x509.UniformResourceIdentifier(uri)] if uri else []
        issued = self._start(x509.Name(attributes), key, days)
        issued = issued.add_extension(x509.SubjectAlternativeName(names), critical=False)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return issued.sign(self._key, SHA256()).public_bytes(Encoding.PEM) + private

    def itself(self, alternative_names: bytes = b"") -> tuple[bytes, bytes]:
        """A certificate that it issues to itself, and its key, in PEM.

        :param alternative_names: the value of that extension, which need not be well formed; ``b""`` for none.
        """
        issued = self._start(self._name, self._key)
        if alternative_names:
            kind = x509.SubjectAlternativeName.oid
            issued = issued.add_extension(x509.UnrecognizedExtension(kind, alternative_names), critical=False)
        private = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return issued.sign(self._key, SHA256()).public_bytes(Encoding.PEM), private

    def revocations(self, *certificates: bytes) -> bytes:
        """A list that revokes these, in PEM."""
        now = datetime.now(UTC)
        made = x509.CertificateRevocationListBuilder().issuer_name(self._name)
        made = made.last_update(now - timedelta(hours=1)).next_update(now + timedelta(days=1))
        for pem in certificates:
            serial = x509.load_pem_x509_certificate(pem).serial_number
            revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
            made = made.add_revoked_certificate(revoked)
        return made.sign(self._key, SHA256()).public_bytes(Encoding.PEM)

    def _start(self, subject: x509.Name, key: Key, days: float = 1) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=10))
            .not_valid_after(now + timedelta(days=days))
        )


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)
