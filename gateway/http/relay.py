"""One exchange: a request on its way to an instance, and the answer on its way back to the client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core.errors import GatewayError, UpstreamFailed, UpstreamTimeout
from gateway.http.request import keep
from gateway.http.tries import IDEMPOTENT, TRIES, Tries, Way
from gateway.http.upstream import Framing, UpstreamConnection

if TYPE_CHECKING:
    from gateway.http.request import Request

KEPT: Final = 64 * 1024
"""Bytes of a request's body that are kept until it is answered, in case it must be sent once more."""


class Relay(Tries):
    """Carries one request to an instance and its answer back, with back-pressure both ways.

    What fails before anything was heard may be tried once more; everything else ends in an error, or, once the answer
    has begun, in a cut connection.
    """

    __slots__ = (
        "_chunked",
        "_framing",
        "_head_seen",
        "_kept",
        "_kept_size",
        "_out",
        "_sent_all",
        "_started",
    )

    def __init__(self, way: Way, request: Request) -> None:
        super().__init__(way, request)
        self._sent_all = False
        self._head_seen = False
        self._chunked = False
        self._kept: list[bytes] | None = None
        self._out: list[bytes] = []

    # -- the way there --------------------------------------------------------------------------------------------

    def _send(self, connection: UpstreamConnection) -> None:
        self._connection = connection
        request = self._request
        self._started = self._since = request.channel.site.clock.seconds()
        connection.request(self, self._way.request_head(request, self.instance))
        if request.channel.output_full:  # which TLS says once
            self.pause()
        if self._sent_all:
            self._send_kept()
        elif request.body_complete and not request.body and not request.chunked_body:
            self._sent_all = True
        else:
            self._send_body()

    def _send_body(self) -> None:
        request = self._request
        self._chunked = request.chunked_body
        if request.method in IDEMPOTENT:
            self._kept, self._kept_size = [], 0
        request.invite_body()
        request.stream_to(self)

    def _send_kept(self) -> None:
        """The body once more, which a request without one has not."""
        pieces, self._kept = self._kept, None
        for piece in pieces or ():
            self.body_data(piece)
        self.body_end()

    def body_data(self, data: bytes) -> None:
        connection = self._connection
        if self._kept is not None:
            self._kept_size += len(data)
            if self._kept_size <= KEPT:
                keep(self._kept, data)
            else:
                self._kept = None
        if connection is not None:
            self._since = self._request.channel.site.clock.seconds()
            connection.transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)  # type: ignore[union-attr]

    def body_end(self) -> None:
        self._sent_all = True
        if self._uploading:
            self._uploaded()
        if self._chunked and self._connection is not None:
            self._connection.transport.write(b"0\r\n\r\n")  # type: ignore[union-attr]

    def pause_sending(self) -> None:
        self._request.pause_body()

    def resume_sending(self) -> None:
        self._request.resume_body()

    # -- the way back ---------------------------------------------------------------------------------------------

    def answer_head(self, status: int, reason: bytes, fields: list[tuple[bytes, bytes]], http_1_1: bool) -> Framing:
        request = self._request
        if status < 100:
            raise UpstreamFailed("The service behind this path gave an answer that is not HTTP")
        if status < 200 or status == 204:
            # RFC 9110 section 8.6: these have no length.
            fields = [field for field in fields if field[0].lower() != b"content-length"]
        if status < 200:
            # Who expected 100 has had the gateway's own.
            wanted = request.clientproto != b"HTTP/1.0" and not (status == 100 and request.expects_continue)
            if wanted and status != 101 and not request.gone:
                lines, _ = self._way.answer_lines(request, fields)
                request.channel.interim(status, reason, lines)
            return Framing.NONE
        if status >= 500 or self.instance.health.doubtful:
            self._judge(status)
        if self._retrying:
            self._retried()
        way = self._way
        request.upstream_time = request.channel.site.clock.seconds() - self._started
        lines, framing = way.answer_lines(request, fields)
        if framing is Framing.CHUNKED and not http_1_1:
            raise UpstreamFailed("The service behind this path sent an answer whose length cannot be told")
        self._head_seen = True
        self._framing = Framing.LENGTH
        if request.method == b"HEAD" or status in (204, 304):
            framing = Framing.NONE
        elif framing is not Framing.LENGTH:
            if request.clientproto == b"HTTP/1.1":
                self._framing = Framing.CHUNKED
                lines += b"Transfer-Encoding: chunked\r\n"
            else:
                request.keep_alive = False
        request.startedWriting = 1
        request.status = status
        self._out.append(request.channel.head(request, status, reason, lines))
        return framing

    def answer_body(self, data: bytes) -> None:
        self._request.sent += len(data)
        self._out.append(b"%x\r\n%b\r\n" % (len(data), data) if self._framing is Framing.CHUNKED else data)

    def answer_flush(self) -> None:
        if self._out:
            out, self._out = self._out, []
            self._request.channel.write(b"".join(out))
        if self._head_seen:
            self._since = self._request.channel.site.clock.seconds()

    def answer_end(self) -> None:
        out = self._out
        if self._framing is Framing.CHUNKED:
            out.append(b"0\r\n\r\n")
        request = self._request
        if out:
            request.channel.write(out[0] if len(out) == 1 else b"".join(out))
        if self.instance.health.doubtful:
            self.instance.health.completed()
        self._release()
        request.done()

    def answer_failed(self, error: GatewayError) -> None:
        connection, self._connection = self._connection, None
        if self._head_seen:
            self._failed("body")
            self._refuse(error)
        elif connection is not None:
            self._lost(connection, error, "" if self._reused and not connection.heard else "no_answer")

    # -- failures -------------------------------------------------------------------------------------------------

    def _judge(self, status: int) -> None:
        """Tell of an answer that says something of the instance.

        :raises UpstreamFailed: when it was bad, the instance was on trial, and another one can be asked.
        """
        instance, connection = self.instance, self._connection
        health = self._way.upstream.health
        trial = instance.health.trial is self._request
        health.answered(instance, self._request, status)
        if trial and instance.health.ejected and connection is not None and health.others(instance):
            connection.heard = False  # the gateway took the risk, not the client, who hears nothing of it
            if self._repeatable(connection):
                self._reused = True
                raise UpstreamFailed
            connection.heard = True

    def _failed(self, reason: str) -> None:
        """The instance did not answer, or not to the end; that is its fault if it had the whole request."""
        self._way.failed(reason)
        if self._sent_all:
            self._way.upstream.health.failed(self.instance, self._request)

    def _repeatable(self, connection: UpstreamConnection) -> bool:
        """Whether what was sent may be sent once more (RFC 9110 section 9.2.2)."""
        request = self._request
        return (
            not connection.heard
            and self._sent_all
            and self._tries < TRIES
            and request.method in IDEMPOTENT
            and (self._kept is not None or not request.body_received)
        )

    def _lost(self, connection: UpstreamConnection, error: GatewayError, reason: str) -> None:
        """Nothing, or half a head, was answered.

        :param reason: for the metrics; none when it was a pooled connection that was dead already.
        """
        if reason:
            self._failed(reason)
        if self._repeatable(connection) and (not reason or self._way.upstream.health.others(self.instance)):
            self._again(error, same_will_do=not reason)
            self._retry()
        else:
            self._refuse(error)

    def check(self, now: float) -> None:
        """Give up an instance that does not answer in time, and an answer that stopped coming or being read."""
        connection = self._connection
        if connection is None:
            self._waited(now)
            return
        waited = now - self._since
        if not self._head_seen:
            if waited >= self._way.first_byte_timeout:
                self._cut()
                self._lost(connection, UpstreamTimeout(), "timeout")
            elif self.instance.health.silent:
                self._move(connection)
        elif waited >= self._way.idle_timeout:
            self._way.failed("idle")
            self._release(abort=True)
            self._request.abort()

    def _move(self, connection: UpstreamConnection) -> None:
        """Wait no longer for an instance that answers nobody, where another can be asked."""
        circuit = self._circuit
        if self._repeatable(connection) and self._way.upstream.health.others(self.instance) and circuit.retries.take():
            self._cut()
            self._again(UpstreamTimeout(), same_will_do=False)
            self._retrying = True
            self._try()

    def _release(self, abort: bool = False) -> None:
        """Let go of the connection and of everything that waits for it."""
        request = self._request
        request.relay = request.sink = None
        instance = self.instance
        self._leave()
        self._finish()
        connection = self._connection
        if connection is None:
            return
        if abort or not self._sent_all:
            self._cut()
            return
        self._connection = None
        if connection.release():
            if request.channel.output_full:
                # It was paused for this client, not for the next one.
                connection.transport.resumeProducing()  # type: ignore[union-attr]
            instance.give_back(connection)

    # -- the client -----------------------------------------------------------------------------------------------

    def pause(self) -> None:
        if self._connection is not None:
            self._connection.transport.pauseProducing()  # type: ignore[union-attr]

    def resume(self) -> None:
        if self._connection is not None:
            self._since = self._request.channel.site.clock.seconds()  # it was not the instance that was slow
            self._connection.transport.resumeProducing()  # type: ignore[union-attr]

    def client_gone(self) -> None:
        connecting, self._connecting = self._connecting, None
        self._release(abort=True)
        if connecting is not None:
            connecting.cancel()

    def end(self, error: GatewayError) -> None:
        self.client_gone()
        self._request.decided_by = self._request.decided_by or "proxy"
        self._request.refuse(error)
