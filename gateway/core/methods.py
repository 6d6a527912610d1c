"""Methods that the gateway does not serve, in whichever version of HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.core.errors import GatewayError, MethodNotAllowed, NotImplementedHere

_OTHER_PROTOCOLS: Final = (
    *(b"SOURCE", b"ANNOUNCE", b"DESCRIBE", b"SETUP", b"PLAY", b"PAUSE", b"RECORD", b"REDIRECT", b"TEARDOWN", b"FLUSH"),
    *(b"GET_PARAMETER", b"SET_PARAMETER", b"PRI"),
)
"""Of Icecast, RTSP and the preface of HTTP/2: servers that speak these, too, take such a request for theirs."""

REFUSED: Final[Mapping[bytes, type[GatewayError]]] = {
    b"TRACE": MethodNotAllowed,
    **dict.fromkeys((b"CONNECT", *_OTHER_PROTOCOLS), NotImplementedHere),
}
"""What they are answered with."""
