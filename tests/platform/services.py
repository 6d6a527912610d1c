"""The platform's three services as small stand-ins: ``python -m tests.platform.services NAME PORT``."""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from typing import Any

import jwt
import txredisapi
from autobahn.twisted.resource import WebSocketResource
from autobahn.twisted.websocket import WebSocketServerFactory
from twisted.internet import reactor, task
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


class Events(Leaf):
    """Server-sent events, one a second, five in all."""

    def render_GET(self, request: Any) -> int:
        request.setHeader(b"content-type", b"text/event-stream")
        left = iter(range(1, 6))

        def send() -> None:
            number = next(left, None)
            if number is None:
                loop.stop()
                request.finish()
            else:
                request.write(b"data: event %d\n\n" % number)

        loop = task.LoopingCall(send)
        gone = request.notifyFinish()
        gone.addErrback(lambda _: loop.stop() if loop.running else None)
        loop.start(1)
        return NOT_DONE_YET


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
        sockets, mcp = Resource(), Resource()
        factory = WebSocketServerFactory()
        factory.protocol = Echo
        sockets.putChild(b"echo", WebSocketResource(factory))
        mcp.putChild(b"events", Events())
        api.putChild(b"ws", sockets)
        api.putChild(b"mcp", mcp)
    return root


if __name__ == "__main__":
    reactor.listenTCP(int(sys.argv[2]), Site(tree(sys.argv[1])), interface="127.0.0.1")  # type: ignore[attr-defined]
    reactor.run()  # type: ignore[attr-defined]
