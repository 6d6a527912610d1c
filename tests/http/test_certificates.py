"""Tests of gateway.http.certificates."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from gateway.http.certificates import DAY, CertificateDirectory, ClientAuthorities, read_files
from tests.certificates import Authority
from tests.http.tls import TAKEN, shake
from tests.logs import observed

AUTHORITY = Authority("authority")


class DirectoryCase(SynchronousTestCase):
    """A directory of certificates."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.path.mkdir()
        self.log = observed(self)
        self.tick = 0

    def write(self, name: str, data: bytes) -> None:
        """A file with this content, later than all before it."""
        file = self.path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(data)
        self.tick += 1
        os.utime(file, ns=(self.tick, self.tick))

    def certificate(self, *names: str, days: float = 1) -> bytes:
        return AUTHORITY.certificate(*names, days=days)

    def shown(self, directory: CertificateDirectory, name: str | None = None) -> str:
        """The common name of what a client gets that asks for ``name``."""
        found: Any = shake(directory, name).get_peer_certificate()
        return str(found.to_cryptography().subject.rfc4514_string()).removeprefix("CN=")


class ReadTests(DirectoryCase):
    """What is taken from the directory."""

    def test_by_name(self) -> None:
        """The certificate of the name, or of its wildcard; else the first by its file."""
        self.write("1.pem", self.certificate("first.example.com"))
        self.write("2.pem", self.certificate("second.example.com", "*.wild.example.com"))
        directory = CertificateDirectory(str(self.path))
        first, second = "first.example.com", "second.example.com"
        for name, expected in ((first, first), (second, second), ("x.wild.example.com", second), ("x", first)):
            self.assertEqual(self.shown(directory, name), expected)
        self.assertEqual(self.shown(directory), first)

    def test_same_name(self) -> None:
        """Of several for one name the one that ends last."""
        for name, days in (("1", 2), ("2", 3), ("3", 1)):
            self.write(f"{name}.pem", AUTHORITY.certificate(name, "same.example.com", days=days))
        self.assertEqual(self.shown(CertificateDirectory(str(self.path)), "same.example.com"), "2")

    def test_where_keys_are(self) -> None:
        """In a file of their own beside the certificate, also as certbot makes them; hidden files are passed over."""
        certificate, dash, key = self.certificate("beside").partition(b"-----BEGIN PRIVATE")
        self.write("a.pem", certificate)
        self.write("a.key", dash + key)
        certificate, dash, key = self.certificate("below").partition(b"-----BEGIN PRIVATE")
        self.write("below/fullchain.pem", certificate)
        self.write("below/privkey.pem", dash + key)
        self.write("below/cert.pem", certificate)
        self.write(".hidden.pem", b"")
        self.write("notes.txt", b"")
        directory = CertificateDirectory(str(self.path))
        self.assertEqual((self.shown(directory, "beside"), self.shown(directory, "below")), ("beside", "below"))
        self.assertEqual(set(directory.expiries()), {f"{self.path}/a.pem", f"{self.path}/below/fullchain.pem"})
        self.assertEqual(self.shown(CertificateDirectory(str(self.path / "below"))), "below")

    def test_chain(self) -> None:
        """The certificates behind the first are shown, too."""
        self.write("a.pem", self.certificate("a") + AUTHORITY.pem)
        shown: Any = shake(CertificateDirectory(str(self.path)), "a").get_peer_cert_chain()
        self.assertEqual(len(shown), 2)

    def refused(self, said: str) -> None:
        error = self.assertRaises(ValueError, CertificateDirectory, str(self.path))
        self.assertIn(said, str(error))

    def test_broken(self) -> None:
        """A directory or a file that cannot be used is named."""
        self.refused("has no .pem files")
        self.write("a.pem", b"")
        self.refused("a.pem has no certificate in PEM")
        self.write("a.key", b"")
        self.write("a.pem", self.certificate("a"))
        self.refused("a.pem has no private key")
        self.write("a.key", self.certificate("b"))
        self.refused("a.pem has a private key that belongs to another certificate")
        os.symlink("/nowhere/at/all", self.path / "c")
        self.path /= "c"
        self.refused("cannot be read (No such file or directory)")

    def test_weak_keys(self) -> None:
        """What OpenSSL does not take is said before clients learn it."""
        self.write("a.pem", AUTHORITY.certificate("a", bits=1024))
        self.refused("a.pem has a certificate that OpenSSL does not take")

    def test_files_that_cannot_be_read(self) -> None:
        """Which of the files it is."""
        self.write("a.pem", b"")
        good, bad = str(self.path / "a.pem"), str(self.path / "missing.key")
        for paths, said in (((bad,), "a file that"), ((good, bad), "a file missing.key that")):
            error = self.assertRaises(ValueError, read_files, *paths)
            self.assertEqual(str(error), f"has {said} cannot be read (No such file or directory)")


class RenewTests(DirectoryCase):
    """What happens when files change."""

    def setUp(self) -> None:
        super().setUp()
        self.write("a.pem", self.certificate("old", "a"))
        self.directory = CertificateDirectory(str(self.path))

    def logged(self) -> list[str]:
        return [str(event["text"]) for event in self.log if "text" in event]

    def test_nothing_new(self) -> None:
        """Files that have not changed are not read."""
        before = self.directory.serverConnectionForTLS(TAKEN).get_context()
        self.directory.renew()
        self.assertIs(self.directory.serverConnectionForTLS(TAKEN).get_context(), before)

    def test_changed(self) -> None:
        """New connections get what stands there now; one that was begun goes on with what it has."""
        begun = self.directory.serverConnectionForTLS(TAKEN).get_context()
        self.write("a.pem", self.certificate("new", "a"))
        self.write("b.pem", self.certificate("b"))
        self.directory.renew()
        self.assertEqual((self.shown(self.directory, "a"), self.shown(self.directory, "b")), ("new", "b"))
        self.assertIsNot(self.directory.serverConnectionForTLS(TAKEN).get_context(), begun)

    def test_broken(self) -> None:
        """A broken file leaves its certificate as it was, takes nothing from the others, and is logged once."""
        self.write("a.pem", b"")
        self.write("b.pem", self.certificate("b"))
        for _ in range(3):
            self.directory.renew()
        self.assertEqual((self.shown(self.directory, "a"), self.shown(self.directory, "b")), ("old", "b"))
        self.assertEqual(self.logged(), [f"{self.path}/a.pem has no certificate in PEM"])

    def test_gone(self) -> None:
        """A certificate goes with its file, but the last one stays."""
        self.write("b.pem", self.certificate("b"))
        self.directory.renew()
        (self.path / "a.pem").unlink()
        self.directory.renew()
        self.assertEqual((self.shown(self.directory, "a"), len(self.directory.expiries())), ("b", 1))
        (self.path / "b.pem").unlink()
        self.directory.renew()
        self.assertEqual(self.shown(self.directory, "a"), "b")
        self.assertEqual(self.logged(), [])

    def test_directory_gone(self) -> None:
        """Without its directory all stays as it was, and the log says so once."""
        self.path.rename(self.mktemp())
        for _ in range(3):
            self.directory.renew()
        self.assertEqual(self.shown(self.directory), "old")
        self.assertEqual(self.logged(), [f"{self.path} cannot be read (No such file or directory)"])

    def warned(self, now: float) -> list[float]:
        """Which ends the log tells of, in days."""
        self.log = observed(self)
        self.directory.warn(now)
        return [round(float(str(event["days"]))) for event in self.log]

    def test_soon_to_end(self) -> None:
        """From 14 days before a certificate ends the log says so, once a day."""
        (end,) = self.directory.expiries().values()
        days = (-15.0, -14.0, -13.5, -13.25, -12.25, 0.0, 0.5)
        warned = [self.warned(end + day * DAY) for day in days]
        self.assertEqual(warned, [[], [], [14], [], [12], [0], []])


class ClientTests(DirectoryCase):
    """Whose certificates are taken from clients."""

    def setUp(self) -> None:
        super().setUp()
        self.clients = Authority("clients")
        self.write("a.pem", self.certificate("a"))
        self.write("clients.ca", self.clients.pem)
        self.write("clients.crl", self.clients.revocations())
        self.good = self.clients.certificate("good")

    def directory(self, required: bool = False, crl: str = "clients.crl") -> CertificateDirectory:
        crl = crl and str(self.path / crl)
        return CertificateDirectory(str(self.path), ClientAuthorities(str(self.path / "clients.ca"), crl, required))

    def test_accepted(self) -> None:
        """One of a listed authority; without one, only where none is required."""
        for directory in (self.directory(), self.directory(required=True), self.directory(crl="")):
            shake(directory, "a", self.good)
        shake(self.directory(), "a")
        self.assertRaises(SSL.Error, shake, self.directory(required=True), "a")

    def test_refused(self) -> None:
        """One of anybody else, one that has ended, and one that was revoked."""
        for pem in (self.certificate("good"), self.clients.certificate("good", days=-1)):
            self.assertRaises(SSL.Error, shake, self.directory(), "a", pem)
        self.write("clients.crl", self.clients.revocations(self.good))
        self.assertRaises(SSL.Error, shake, self.directory(), "a", self.good)

    def test_an_authority_without_a_list(self) -> None:
        """Where there are lists of what is revoked, each authority needs one."""
        self.write("clients.crl", AUTHORITY.revocations())
        self.assertRaises(SSL.Error, shake, self.directory(), "a", self.good)

    def test_changed(self) -> None:
        """A new list is heeded; a broken one is logged, and the old one stays."""
        directory = self.directory()
        shake(directory, "a", self.good)
        self.write("clients.crl", self.clients.revocations(self.good))
        directory.renew()
        self.assertRaises(SSL.Error, shake, directory, "a", self.good)
        self.write("clients.crl", b"")
        directory.renew()
        self.assertRaises(SSL.Error, shake, directory, "a", self.good)
        (event,) = self.log
        self.assertEqual(event["text"], f"{self.path}/clients.crl has no revocation list in PEM")

    def test_broken(self) -> None:
        """Without them nobody can be let in."""
        self.write("clients.ca", b"")
        error = self.assertRaises(ValueError, self.directory)
        self.assertEqual(str(error), f"{self.path}/clients.ca has no certificate in PEM")
