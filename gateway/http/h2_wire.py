"""The h2 library as it reads the frames of clients, and the one frame it would not write."""

from __future__ import annotations

from typing import Final

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes, Settings

STREAMS: Final = 100
"""Streams that are open at once; fewer would slow pages down, and clients begin with as many before they are told."""

WINDOW: Final = 65535
"""Bytes of each body that come before they are taken; the protocol's own default. The connection's has room for all."""

TABLE: Final = 4096
"""Bytes of what the compression of answers may remember, whatever the client allows; the protocol's own default."""

FIELD_OVERHEAD: Final = 32
"""Bytes that each field of a head counts for besides its own (RFC 9113 section 6.5.2)."""

LAST_REQUESTS: Final = b"\0\0\x08\x07\0\0\0\0\0\x7f\xff\xff\xff\0\0\0\0"
"""GOAWAY that refuses no stream: the client is to open no more (RFC 9113 section 6.8). After the library's own GOAWAY
it reads nothing more of the streams that are open."""


def release(wire: H2Connection) -> None:
    """Let go of a connection that has ended: it knows its own methods, and would stay until garbage is collected."""
    wire._frame_dispatch_table = {}


def make_wire(announced: int) -> H2Connection:
    """The library, without its own judgement of heads: it would end the connection for what is wrong with one request.

    :param announced: bytes of a header list; a client that sends twice as much ends the connection.
    """
    wire = H2Connection(
        H2Configuration(
            client_side=False,
            validate_inbound_headers=False,
            normalize_inbound_headers=False,
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
    )
    settings = {
        SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS,
        SettingCodes.MAX_HEADER_LIST_SIZE: announced,
    }
    wire.local_settings = Settings(client=False, initial_values=settings)
    wire.decoder.max_header_list_size = announced * 2
    return wire
