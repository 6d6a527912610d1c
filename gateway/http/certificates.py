"""The certificates of a TLS listener: read from a directory, and read again when their files change."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Generic, NamedTuple, TypeVar

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.logger import Logger
from zope.interface import implementer

from gateway.core.certificates import KeyPair, named, read_certificates, read_pair, read_revocations
from gateway.http.tls import ClientPolicy, accept, make_context

T = TypeVar("T")

DAY: Final = 86400.0
SOON: Final = 14.0
"""Days before a certificate's end from which on the log warns of it."""

_CERTBOT: Final = ("fullchain.pem", "privkey.pem")


def read_files(*paths: str) -> list[bytes]:
    """The bytes of each file.

    :raises ValueError: when one cannot be read; says so in words that follow the name of the first.
    """
    found = []
    for path in paths:
        try:
            with open(path, "rb") as file:
                found.append(file.read())
        except OSError as error:
            which = "" if path == paths[0] else f" {os.path.basename(path)}"
            raise ValueError(f"has a file{which} that cannot be read ({error.strerror})") from None
    return found


class FromFiles(Generic[T]):
    """A value that is read from files, and anew when they have changed.

    :param read: reads it; raises ValueError when they are broken.
    :ivar value: what was read last; None before.
    """

    def __init__(self, paths: Sequence[str], read: Callable[[], T]) -> None:
        self._paths = paths
        self._read = read
        self._seen: Any = None
        self.value: T | None = None

    def renew(self) -> bool:
        """Read the files if they have changed since they were last looked at; whether there is something new.

        :raises ValueError: when they are broken, once for each change; what was read before stays.
        """
        seen = [_stamp(path) for path in self._paths]
        if seen == self._seen:
            return False
        self._seen = seen
        self.value = self._read()
        return True


def _stamp(path: str) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except OSError:
        return ()
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def pair_files(directory: str) -> dict[str, tuple[str, str]]:
    """Where each certificate and its key are, by the name of the certificate's file within the directory.

    The key of ``NAME.pem`` is in ``NAME.key``, or in ``NAME.pem`` itself where there is none. This directory or one in
    it may also be of the kind that certbot makes, with ``fullchain.pem`` and ``privkey.pem``.

    :raises OSError: when the directory cannot be read.
    """
    own = _certbot(directory)
    if own is not None:
        return {_CERTBOT[0]: own}
    found = {}
    for entry in os.listdir(directory):
        path = os.path.join(directory, entry)
        if entry.startswith("."):
            continue
        if entry.endswith(".pem") and os.path.isfile(path):
            found[entry] = (path, path.removesuffix(".pem") + ".key")
        elif (within := _certbot(path)) is not None:
            found[f"{entry}/{_CERTBOT[0]}"] = within
    return found


def _certbot(directory: str) -> tuple[str, str] | None:
    chain, key = (os.path.join(directory, name) for name in _CERTBOT)
    return (chain, key) if os.path.isfile(chain) and os.path.isfile(key) else None


def read_usable(pem: str, key: str) -> KeyPair:
    """A certificate that OpenSSL takes; its key is in ``pem``, too, where there is no file ``key``.

    :raises ValueError: saying what is wrong, in words that follow the file's name.
    """
    pair = read_pair(*read_files(pem, key if os.path.exists(key) else pem))
    make_context(pair, lambda name: None, None)
    return pair


class ClientAuthorities:
    """Who issues certificates to clients, and what they have revoked, in files.

    :param ca_file: certificates in PEM.
    :param crl_file: revocation lists in PEM, or ``""``.
    :param required: whether a client without a certificate is refused.
    """

    def __init__(self, ca_file: str, crl_file: str, required: bool) -> None:
        self._ca_file = ca_file
        self._crl_file = crl_file
        self._required = required
        self._files = FromFiles([path for path in (ca_file, crl_file) if path], self._read)

    @property
    def policy(self) -> ClientPolicy | None:
        """What was read last."""
        return self._files.value

    def renew(self) -> bool:
        """Read the files if they have changed.

        :raises ValueError: when they are broken; names the file.
        """
        return self._files.renew()

    def _read(self) -> ClientPolicy:
        file = self._ca_file
        try:
            authorities = read_certificates(*read_files(file))
            file = self._crl_file
            revoked = read_revocations(*read_files(file)) if file else ()
        except ValueError as error:
            raise ValueError(f"{file} {error}") from None
        return ClientPolicy(authorities, revoked, self._required)


class _Made(NamedTuple):
    """A context, and what it was made of."""

    pair: KeyPair
    policy: ClientPolicy | None
    context: SSL.Context


@implementer(IOpenSSLServerConnectionCreator)
class CertificateDirectory:
    """Picks the certificate for each connection by the name that its client asks for.

    A client that names no server, or one that no certificate is for, gets the first by its file's name. Where several
    are for one name, the one that ends last is used. A certificate whose files break stays as it was, and one whose
    files are gone goes, except the last. Connections keep the one they began with.

    :param clients: who issues certificates to clients; None when they are not asked for any.
    :raises ValueError: when there is no certificate, or one that cannot be used; says why.
    """

    _log = Logger()

    def __init__(self, path: str, clients: ClientAuthorities | None = None) -> None:
        self._path = path
        self._clients = clients
        self._files: dict[str, FromFiles[KeyPair]] = {}
        self._made: dict[str, _Made] = {}
        self._by_name: dict[str, SSL.Context] = {}
        self._warned: dict[str, float] = {}
        self._broken = self._take()
        if self._broken:
            raise ValueError("; ".join(self._broken))

    def serverConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        """The connection for a new client; the name it asks for is heard, and its certificate chosen, later."""
        return accept(self._made[min(self._made)].context, protocol)

    def renew(self) -> None:
        """Take what has changed; what is wrong with it is logged once."""
        broken = self._take()
        for text in broken:
            if text not in self._broken:
                self._log.error("Certificates could not be renewed, those before stay in use: {text}", text=text)
        self._broken = broken

    def expiries(self) -> dict[str, float]:
        """When each certificate ends, in seconds since the epoch, by its file's path."""
        return {os.path.join(self._path, name): made.pair.expires for name, made in self._made.items()}

    def warn(self, now: float) -> None:
        """Log which certificates end soon, each once a day.

        :param now: seconds since the epoch.
        """
        ends = {path: (expires - now) / DAY for path, expires in self.expiries().items()}
        soon = {path: days for path, days in ends.items() if days < SOON}
        self._warned = {path: when for path, when in self._warned.items() if path in soon}
        for path, days in soon.items():
            if now - self._warned.get(path, 0.0) >= DAY:
                self._warned[path] = now
                text = "The certificate in {path} ends in {days:.1f} days" if days > 0 else "{path} has ended"
                self._log.warn(text, path=path, days=days)

    def _select(self, name: str) -> SSL.Context | None:
        return named(self._by_name, name)

    def _take(self) -> list[str]:
        """Take what has changed; returns what is broken."""
        broken: list[str] = []
        policy = None
        if self._clients is not None:
            try:
                self._clients.renew()
            except ValueError as error:
                broken.append(str(error))
            policy = self._clients.policy
            if policy is None:
                return broken
        try:
            found = pair_files(self._path)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            return [*broken, f"{self._path} cannot be read ({getattr(error, 'strerror', None) or error})"]
        for name, files in found.items():
            watched = self._files.setdefault(name, FromFiles(files, partial(read_usable, *files)))
            try:
                watched.renew()
            except ValueError as error:
                broken.append(f"{os.path.join(self._path, name)} {error}")
            pair, made = watched.value, self._made.get(name)
            if pair is not None and (made is None or made.pair is not pair or made.policy is not policy):
                self._made[name] = _Made(pair, policy, make_context(pair, self._select, policy))
        self._forget(self._files.keys() - found.keys())
        if not self._made and not broken:
            broken.append(f"{self._path} has no .pem files")
        by_name: dict[str, SSL.Context] = {}
        for made in sorted(self._made.values(), key=lambda made: made.pair.expires):
            by_name |= dict.fromkeys(made.pair.names, made.context)
        self._by_name = by_name
        return broken

    def _forget(self, gone: set[str]) -> None:
        if self._made.keys() - gone:
            for name in gone:
                del self._files[name]
                self._made.pop(name, None)
