"""The one tree of refusals: each class knows its HTTP status, its code and its WebSocket close code."""

from __future__ import annotations

import json
from typing import ClassVar


class GatewayError(Exception):
    """Something the gateway answers itself, in the standard error format.

    :param message: what the client reads; the class's own ``message`` when not given.
    :param fields: header lines this answer needs besides the usual ones, each ``b"Name: value\\r\\n"``; the class's own
        when not given.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "INTERNAL_ERROR"
    message: str = "The gateway failed to answer this request"
    fields: tuple[bytes, ...] = ()
    close_code: ClassVar[int] = 1011
    """The WebSocket close code (RFC 6455 section 7.4.1) that says the same on an open socket."""
    closes: ClassVar[bool] = False
    """Whether the connection cannot be trusted, or read, any further."""

    def __init__(self, message: str = "", fields: tuple[bytes, ...] = ()) -> None:
        self.message = message or self.message
        self.fields = fields or self.fields
        super().__init__(self.message)

    def body(self, request_id: str) -> bytes:
        """The standard error format: ``{"code", "message", "requestId"}``, as UTF-8 JSON."""
        return json.dumps(
            {"code": self.code, "message": self.message, "requestId": request_id}, separators=(",", ":")
        ).encode()


class BadRequest(GatewayError):
    """The message cannot be understood, or could be understood in two ways (RFC 9112 section 2.2)."""

    status, code, close_code, closes = 400, "BAD_REQUEST", 1002, True
    message = "The request is malformed"


class Unauthorized(GatewayError):
    """No valid credentials (RFC 9110 section 15.5.2); ``fields`` carries WWW-Authenticate."""

    status, code, close_code = 401, "UNAUTHORIZED", 1008
    message = "A valid access token is required"


class Forbidden(GatewayError):
    status, code, close_code = 403, "FORBIDDEN", 1008
    message = "You may not do this"


class Banned(Forbidden):
    """``fields`` carries Retry-After where the ban ends by itself."""

    code = "BANNED"
    message = "This address is banned"


class NotFound(GatewayError):
    status, code, close_code = 404, "NOT_FOUND", 1008
    message = "There is nothing at this path"


class MethodNotAllowed(GatewayError):
    """``fields`` carries Allow where the methods are known (RFC 9110 section 15.5.6)."""

    status, code, close_code = 405, "METHOD_NOT_ALLOWED", 1008
    message = "This method is not allowed here"


class RequestTimeout(GatewayError):
    status, code, close_code, closes = 408, "REQUEST_TIMEOUT", 1008, True
    message = "The request did not arrive in time"


class BodyTooLarge(GatewayError):
    status, code, close_code, closes = 413, "BODY_TOO_LARGE", 1009, True
    message = "The request body is too large"


class TargetTooLong(GatewayError):
    status, code, close_code, closes = 414, "URI_TOO_LONG", 1009, True
    message = "The request target is too long"


class UpgradeRequired(GatewayError):
    """A plain request on a WebSocket route (RFC 9110 section 15.5.22); ``fields`` carries Upgrade."""

    status, code, close_code = 426, "UPGRADE_REQUIRED", 1002
    message = "This path speaks WebSocket only"


class RateLimited(GatewayError):
    """Over the limit; ``fields`` carries Retry-After and the RateLimit fields."""

    status, code, close_code = 429, "RATE_LIMIT_EXCEEDED", 1013
    message = "Too many requests, try again later"


class HeadTooLarge(GatewayError):
    status, code, close_code, closes = 431, "HEADERS_TOO_LARGE", 1009, True
    message = "The request header section is too large"


class NotImplementedHere(GatewayError):
    """A method or transfer coding the gateway does not speak (RFC 9112 section 6.1)."""

    status, code, close_code, closes = 501, "NOT_IMPLEMENTED", 1002, True
    message = "The gateway does not support this"


class UpstreamFailed(GatewayError):
    """The upstream could not be reached, or what it answered was not HTTP (RFC 9110 section 15.6.3)."""

    status, code, close_code = 502, "UPSTREAM_UNAVAILABLE", 1013
    message = "The service behind this path cannot be reached"


class Unavailable(GatewayError):
    """The gateway, or what it depends on, cannot take this request now (RFC 9110 section 15.6.4)."""

    status, code, close_code = 503, "SERVICE_UNAVAILABLE", 1013
    message = "The service cannot take this request now, try again later"
    fields = (b"Retry-After: 1\r\n",)


class UpstreamTimeout(GatewayError):
    status, code, close_code = 504, "UPSTREAM_TIMEOUT", 1013
    message = "The service behind this path did not answer in time"


class HTTPVersionNotSupported(GatewayError):
    status, code, close_code, closes = 505, "HTTP_VERSION_NOT_SUPPORTED", 1002, True
    message = "The gateway speaks HTTP/1.0 and HTTP/1.1"
