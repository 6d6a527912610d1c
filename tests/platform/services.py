"""The platform's three services as small stand-ins: ``python -m tests.platform.services NAME PORT``."""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from collections.abc import Iterable
from typing import Any

import jwt
import txredisapi
from autobahn.twisted.resource import WebSocketResource
from autobahn.twisted.websocket import WebSocketServerFactory
from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from tests.platform.echo import Echo


def answer(request: Any, value: Any, status: int = 200) -> bytes:
    """A JSON answer."""
    request.setResponseCode(status)
    request.setHeader(b"content-type", b"application/json")
    return json.dumps(value).encode() + b"\n"


class Leaf(Resource):
    """Answers at its place and everything below."""

    isLeaf = True


class Health(Leaf):
    """What probes ask."""

    def render_GET(self, request: Any) -> bytes:
        return answer(request, {"status": "ok"})


class Login(Leaf):
    """POST {"user": ..., "role": ...} gives a token for an hour."""

    def render_POST(self, request: Any) -> bytes:
        try:
            asked = json.loads(request.content.read())
            user, role = str(asked["user"]), str(asked["role"])
        except (ValueError, KeyError, TypeError):
            return answer(request, {"error": 'send {"user": ..., "role": ...}'}, 400)
        now = int(time.time())
        claims = {"sub": user, "role": role, "jti": uuid.uuid4().hex, "iat": now, "exp": now + 3600}
        return answer(request, {"token": jwt.encode(claims, os.environ["JWT_SECRET"], "HS256")})


class Logout(Leaf):
    """POST with a bearer token revokes it."""

    def __init__(self) -> None:
        super().__init__()
        host, _, port = os.environ["REDIS_URL"].split("/")[2].partition(":")
        self._redis = txredisapi.lazyConnection(host, int(port))

    def render_POST(self, request: Any) -> Any:
        encoded = (request.getHeader("authorization") or "").removeprefix("Bearer ")
        try:
            claims = jwt.decode(encoded, os.environ["JWT_SECRET"], ["HS256"])
        except jwt.PyJWTError:
            return answer(request, {"error": "send the token to revoke"}, 401)
        left = max(1, int(claims["exp"] - time.time()))
        done = self._redis.set(f"blacklist:{claims['jti']}", "1", expire=left)
        done.addCallback(lambda _: (request.write(answer(request, {"revoked": claims["jti"]})), request.finish()))
        return NOT_DONE_YET


class Mirror(Leaf):
    """Tells what arrived."""

    def render(self, request: Any) -> bytes:
        fields = {name.decode(): values[-1].decode() for name, values in request.requestHeaders.getAllRawHeaders()}
        fields.pop("Authorization", None)
        return answer(request, {"method": request.method.decode(), "path": request.uri.decode(), "headers": fields})


def stream(request: Any, values: Iterable[Any], interval: float) -> int:
    """Send each value as one server-sent event, ``interval`` seconds apart, until the client leaves."""
    request.setHeader(b"content-type", b"text/event-stream")
    left = iter(values)

    def send() -> None:
        try:
            request.write(b"data: %b\n\n" % json.dumps(next(left)).encode())
        except StopIteration:
            loop.stop()
            request.finish()

    loop = task.LoopingCall(send)
    request.notifyFinish().addErrback(lambda _: loop.stop() if loop.running else None)
    loop.start(interval)
    return NOT_DONE_YET


class Events(Leaf):
    """GET ?count=5&interval=1: so many server-sent events, so many seconds apart."""

    def render_GET(self, request: Any) -> int:
        count, interval = (
            float(request.args.get(name, [of])[0]) for name, of in ((b"count", b"5"), (b"interval", b"1"))
        )
        return stream(request, (f"event {number}" for number in range(1, int(count) + 1)), interval)


class Mcp(Resource):
    """POST: one JSON-RPC message, as in MCP's Streamable HTTP; the tool ``count`` answers as a stream."""

    def getChild(self, path: bytes, request: Any) -> Resource:
        return self if path == b"" else super().getChild(path, request)

    def render_POST(self, request: Any) -> Any:
        try:
            asked = json.loads(request.content.read())
            method, number = asked["method"], asked.get("id")
        except (ValueError, KeyError, TypeError):
            problem = {"code": -32700, "message": "send one JSON-RPC message"}
            return answer(request, {"jsonrpc": "2.0", "id": None, "error": problem}, 400)
        if method == "tools/list":
            tools = [{"name": "count", "inputSchema": {"type": "object"}}]
            return answer(request, {"jsonrpc": "2.0", "id": number, "result": {"tools": tools}})
        if method == "tools/call":
            notes = [
                {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": step, "total": 3}}
                for step in (1, 2, 3)
            ]
            result = {"content": [{"type": "text", "text": "counted to 3"}]}
            return stream(request, [*notes, {"jsonrpc": "2.0", "id": number, "result": result}], 0.2)
        problem = {"code": -32601, "message": f"no method {method}"}
        return answer(request, {"jsonrpc": "2.0", "id": number, "error": problem}, 404)


def tree(name: str) -> Resource:
    """The resources of the service ``name``: auth, core or mcp."""
    root, api = Resource(), Resource()
    root.putChild(b"health", Health())
    root.putChild(b"api", api)
    if name == "auth":
        root.putChild(b"login", Login())
        root.putChild(b"logout", Logout())
    elif name == "core":
        api.putChild(b"users", Mirror())
        api.putChild(b"credits", Mirror())
    else:
        sockets, mcp = Resource(), Mcp()
        factory = WebSocketServerFactory()
        factory.protocol = Echo
        sockets.putChild(b"echo", WebSocketResource(factory))
        mcp.putChild(b"events", Events())
        api.putChild(b"ws", sockets)
        api.putChild(b"mcp", mcp)
    return root


async def serve(reactor: Any, name: str, port: str) -> None:
    """Serve on a port of the loopback until a signal comes; a port that is taken ends the process."""
    await TCP4ServerEndpoint(reactor, int(port), interface="127.0.0.1").listen(Site(tree(name)))
    await Deferred()


if __name__ == "__main__":
    task.react(lambda reactor, *arguments: Deferred.fromCoroutine(serve(reactor, *arguments)), sys.argv[1:])
