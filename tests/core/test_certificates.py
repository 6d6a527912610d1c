"""Tests of gateway.core.certificates."""

from __future__ import annotations

from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.core.certificates import (
    ClientNames,
    SubjectKind,
    named,
    read_certificates,
    read_pair,
    read_revocations,
)
from tests.certificates import Authority

AUTHORITY = Authority("authority")
PEM = AUTHORITY.certificate("A.example.com", "*.b.example.com", "192.0.2.1")
CERTIFICATE, KEY = (PEM[: PEM.index(b"-----BEGIN PRIV")], PEM[PEM.index(b"-----BEGIN PRIV") :])


class PairTests(SynchronousTestCase):
    """A certificate and its key."""

    def test_read(self) -> None:
        """The chain in its order, the names in lower case, and the end."""
        pair = read_pair(CERTIFICATE + AUTHORITY.pem, KEY)
        self.assertEqual(pair.chain[0].public_key(), pair.key.public_key())
        self.assertEqual(len(pair.chain), 2)
        self.assertEqual(pair.names, ("a.example.com", "*.b.example.com"))
        self.assertEqual(pair.expires, pair.chain[0].not_valid_after_utc.timestamp())

    def test_without_names(self) -> None:
        """One without alternative names is for no name."""
        root, key = AUTHORITY.itself()
        self.assertEqual(read_pair(root, key).names, ())

    def test_broken(self) -> None:
        """What is wrong is said."""
        encrypted = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"
        other = Authority("other").certificate("a.example.com")
        for certificate, key, said in (
            (KEY, KEY, "no certificate"),
            (CERTIFICATE.replace(b"M", b"N"), KEY, "no certificate"),
            (CERTIFICATE, CERTIFICATE, "no private key"),
            (CERTIFICATE, encrypted, "cannot be read"),
            (CERTIFICATE, other, "belongs to another certificate"),
            (AUTHORITY.pem + CERTIFICATE, KEY, "belongs to another certificate"),
        ):
            error = self.assertRaises(ValueError, read_pair, certificate, key)
            self.assertIn(said, str(error))

    def test_unreadable_names(self) -> None:
        """A certificate whose extensions are broken cannot be used."""
        pem, key = AUTHORITY.itself(alternative_names=b"\x30\x05\x82\x50x")
        error = self.assertRaises(ValueError, read_pair, pem, key)
        self.assertIn("a certificate that cannot be read", str(error))

    @given(st.binary(max_size=64))
    def test_anything(self, data: bytes) -> None:
        """Whatever stands there, it is read or refused."""
        framed = b"-----BEGIN CERTIFICATE-----\n" + data + b"\n-----END CERTIFICATE-----\n"
        for pem in (data, framed, framed.replace(b"CERTIFICATE", b"PRIVATE KEY"), CERTIFICATE + framed):
            for read in (read_certificates, read_revocations, lambda pem: read_pair(CERTIFICATE, pem)):
                try:
                    read(pem)
                except ValueError as error:
                    self.assertTrue(str(error))


class RevocationTests(SynchronousTestCase):
    """Lists of what is revoked."""

    def test_read(self) -> None:
        """All lists of a file."""
        lists = read_revocations(AUTHORITY.revocations(PEM) + Authority("other").revocations())
        self.assertEqual([len(each) for each in lists], [1, 0])

    def test_none(self) -> None:
        """A file without one, or with a broken one, is a mistake."""
        self.assertRaises(ValueError, read_revocations, PEM)
        self.assertRaises(ValueError, read_revocations, AUTHORITY.revocations().replace(b"M", b"N"))


class NameTests(SynchronousTestCase):
    """What is found for a server's name."""

    def test_named(self) -> None:
        """Its own entry first, then the wildcard's, which stands for one label."""
        table = {"a.example.com": 1, "*.example.com": 2}
        names = ("a.example.com", "A.EXAMPLE.com", "b.example.com", "b.a.example.com", "example.com", "com", "")
        self.assertEqual([named(table, name) for name in names], [1, 1, 2, None, None, None, None])


class ClientTests(SynchronousTestCase):
    """Whom certificates of clients name."""

    def claims(self, pem: bytes, kind: SubjectKind, unit_roles: bool = False) -> tuple[str, str] | None:
        """Subject and role."""
        names = ClientNames(kind, {"machine": "service"}, unit_roles)
        claims = names.claims(x509.load_pem_x509_certificate(pem))
        return None if claims is None else (claims.subject, claims.role)

    def test_kinds(self) -> None:
        """The common name, or the one DNS name or URI."""
        pem = AUTHORITY.certificate("machine", uri="spiffe://example.com/machine")
        expected = {"cn": ("machine", "service"), "san-dns": ("machine", "service")}
        expected["san-uri"] = ("spiffe://example.com/machine", "")
        kinds: tuple[SubjectKind, ...] = ("cn", "san-dns", "san-uri")
        self.assertEqual({kind: self.claims(pem, kind) for kind in kinds}, expected)

    def test_not_one(self) -> None:
        """Without such a name, or with several, it names nobody."""
        pem = AUTHORITY.certificate("machine", "other")
        self.assertIsNone(self.claims(pem, "san-dns"))
        self.assertIsNone(self.claims(pem, "san-uri"))
        self.assertIsNone(self.claims(AUTHORITY.pem, "san-dns"))

    def test_names_that_break_lines(self) -> None:
        """A name that could break out of a log line or a header names nobody."""
        self.assertIsNone(self.claims(AUTHORITY.certificate("machine\r\nX-User-Role: admin", uri="x:y"), "cn"))

    def test_longest_name(self) -> None:
        """255 characters are a name, more are none."""
        for length, name in ((255, True), (256, False), (300, False)):
            claims = self.claims(AUTHORITY.certificate("machine", uri="x:".ljust(length, "y")), "san-uri")
            self.assertIs(claims is not None, name, length)

    def test_unit(self) -> None:
        """Where the configuration says so, the unit is the role of who is not listed."""
        other, machine = (AUTHORITY.certificate(name, unit="reader") for name in ("other", "machine"))
        self.assertEqual(self.claims(other, "cn", unit_roles=True), ("other", "reader"))
        self.assertEqual(self.claims(machine, "cn", unit_roles=True), ("machine", "service"))
        self.assertEqual(self.claims(other, "cn"), ("other", ""))

    def test_times(self) -> None:
        """It was issued when it begins to hold, and is good until it ends; it cannot be revoked as a token."""
        certificate = x509.load_pem_x509_certificate(PEM)
        claims = ClientNames("cn", {}, False).claims(certificate)
        assert claims is not None
        self.assertEqual(claims.expires - claims.issued_at, 11 * 86400)
        self.assertEqual(claims.token_id, "")

    def test_unreadable(self) -> None:
        """One whose extensions are broken names nobody."""
        pem, _ = AUTHORITY.itself(alternative_names=b"\x30\x05\x82\x50x")
        self.assertIsNone(self.claims(pem, "san-dns"))
