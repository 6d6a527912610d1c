"""Server endpoints as the file spells them, taken apart: what is spoken on a connection, and where it comes in."""

from __future__ import annotations

import re
from typing import Annotated, Final, NamedTuple

from pydantic import AfterValidator
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IStreamServerEndpointStringParser
from twisted.plugin import getPlugins

from gateway.http.certificates import CertificateDirectory

_PORT_FIRST = re.compile(r"(?:tcp|tcp6|ssl):([^:]*)")
_SYSTEMD = re.compile(r"systemd:domain=(?:INET6?|UNIX):(?:index=\d+|name=[^:]+)")
_NO_LISTENERS: Final = frozenset(("stdio", "autobahn"))
_COLON = re.compile(r"(?<!\\):")
_WITHIN = ("tcp:", "tcp6:", "unix:", "systemd:")


class ServerEndpoint(NamedTuple):
    """``haproxy:tls:DIRECTORY:443``, in its parts."""

    proxied: bool
    """Whether connections begin with a PROXY header."""
    certificates: str
    """The directory that has the certificates; ``""`` where the gateway does not speak TLS itself."""
    twisted: str
    """What listens, as Twisted spells it."""


def take_apart(text: str) -> ServerEndpoint:
    """The parts of an endpoint string.

    Behind the directory of ``tls:`` stands a port with its options, as Twisted has it, or a whole other endpoint.
    """
    inner = text.removeprefix("haproxy:")
    proxied = inner != text
    if not inner.startswith("tls:"):
        return ServerEndpoint(proxied, "", inner)
    directory, *rest = _COLON.split(inner.removeprefix("tls:"), maxsplit=1)
    where = rest[0] if rest else "443"
    directory = re.sub(r"\\(.)", r"\1", directory.removeprefix("path="))
    return ServerEndpoint(proxied, directory, where if where.startswith(_WITHIN) else f"tcp6:{where}")


def endpoint(value: str) -> str:
    """A server endpoint of a known kind, with arguments that kind understands, as it is.

    It is built, so that the files of ``ssl:`` and ``tls:`` are read, but nothing listens. What systemd hands in is
    only there under systemd, so of ``systemd:`` the spelling alone is looked at.

    :raises ValueError: with the words that follow "must be" in the report of mistakes.
    """
    proxied, directory, inner = take_apart(value)
    kind, _, arguments = inner.partition(":")
    kinds = {"tcp", "ssl", "unix", *(str(parser.prefix) for parser in getPlugins(IStreamServerEndpointStringParser))}
    kinds -= _NO_LISTENERS | {"haproxy"}
    if not arguments or kind not in kinds:
        raise ValueError(f'an endpoint such as "tcp:3000"; known kinds: {", ".join(sorted(kinds | {"haproxy"}))}')
    if proxied and kind == "ssl":
        raise ValueError("haproxy:tls:DIRECTORY:443, since TLS begins behind the PROXY header")
    if directory or value.removeprefix("haproxy:").startswith("tls:"):
        _certificates(directory)
    if kind == "systemd":
        if _SYSTEMD.fullmatch(inner) is None:
            raise ValueError("systemd:domain=INET (or INET6, UNIX), then :index=0 or :name=NAME")
        return value
    port = _PORT_FIRST.match(inner)
    if port and (re.fullmatch(r"\d{1,5}", port[1], re.ASCII) is None or int(port[1]) > 65535):
        raise ValueError(f"{kind}: followed by a port, 0 to 65535")
    try:
        serverFromString(None, inner)  # kept for listening, which does not happen here
    except Exception as error:  # each kind of endpoint raises its own: TypeError, OSError, OpenSSL's ...
        raise ValueError(f"an endpoint of kind {kind} that can be made; Twisted says {_said(error)}") from None
    return value


def _certificates(directory: str) -> None:
    try:
        CertificateDirectory(directory)
    except ValueError as error:
        raise ValueError(f"tls: followed by a directory of certificates with their keys: {error}") from None


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def endpoint_or_none(value: str) -> str:
    """A server endpoint, or ``""``."""
    return value and endpoint(value)


Endpoint = Annotated[str, AfterValidator(endpoint)]
OptionalEndpoint = Annotated[str, AfterValidator(endpoint_or_none)]
