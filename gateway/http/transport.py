"""TCP transports that try the socket first: Twisted's own buffer every write and wait for the next poll."""

from __future__ import annotations

from twisted.internet import tcp
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import ClientFactory


class _SendFirst(tcp.Connection):
    """A Twisted connection whose ``write`` sends at once when nothing is queued, and queues what is left."""

    def write(self, data: bytes) -> None:
        """Send ``data``, or the part of it that the socket takes, and buffer the rest as Twisted does."""
        if (
            self.connected
            and not self._tempDataBuffer
            and not self.dataBuffer
            and not self.disconnecting
            and not self._writeDisconnecting
        ):
            try:
                sent = self.socket.send(data)
            except OSError:
                # Full: the rest is queued. Broken: the reactor will find that out, and tell the protocol from a
                # clean stack.
                sent = 0
            if sent == len(data):
                return
            data = data[sent:]
        super().write(data)


class ServerTransport(_SendFirst, tcp.Server):
    """An accepted connection; set as a listening port's ``transport``."""


class ClientTransport(_SendFirst, tcp.Client):
    """An outgoing connection."""


class _Connector(tcp.Connector):
    def _makeTransport(self) -> tcp.Client:
        return ClientTransport(self.host, self.port, self.bindAddress, self, self.reactor)


def connect_tcp(reactor: IReactorTime, host: str, port: int, factory: ClientFactory, timeout: float) -> tcp.Connector:
    """As ``reactor.connectTCP``, with a transport that sends first.

    :param host: an IP address.
    :param timeout: seconds until the attempt fails.
    """
    connector = _Connector(host, port, factory, timeout, None, reactor)
    connector.connect()
    return connector
