"""The WebSockets that are open, and what they may do."""

from __future__ import annotations

from typing import Any

from gateway.config import Settings
from gateway.resources.bridges import Bridges


def make_bridges(settings: Settings, reactor: Any) -> Bridges:
    """Where open WebSockets belong, with the limits of ``[websocket]`` and those of slow readers."""
    of, server = settings.websocket, settings.server
    return Bridges(reactor, of.max_message, of.idle_ping, of.max_messages, server.send_timeout, server.min_rate)
