"""Tests of gateway.config.files."""

from __future__ import annotations

from pathlib import Path

from gateway.config.files import ca_file, crl_file, key_pair_file
from tests.certificates import Authority
from tests.config.keys import certificate
from tests.config.reading import Reading


class FileTests(Reading):
    """Files that the configuration names."""

    def test_authorities(self) -> None:
        """An authority's file has a certificate in PEM; no file is none."""
        path = Path(self.mktemp())
        self.refuses(ca_file, str(path), "a\0b")
        path.write_bytes(b"nothing")
        self.refuses(ca_file, str(path))
        path.write_bytes(certificate())
        self.takes(ca_file, str(path), "")

    def test_revocation_lists(self) -> None:
        """A file of lists has one."""
        path = Path(self.mktemp())
        path.write_bytes(Authority("x").revocations())
        self.takes(crl_file, str(path), "")
        path.write_bytes(certificate())
        self.refuses(crl_file, str(path))

    def test_key_pairs(self) -> None:
        """A certificate's file has its key as well; what is wrong with it is said."""
        path = Path(self.mktemp())
        path.write_bytes(certificate())
        self.takes(key_pair_file, str(path), "")
        path.write_bytes(Authority("x").pem)
        error = self.assertRaises(ValueError, key_pair_file, str(path))
        self.assertIn("this one has no private key", str(error))
