"""An issuer of tokens that publishes its keys (RFC 7517) from a small HTTP server."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm


class Issuer:
    """Publishes the keys named in ``published`` at :attr:`url`, until :meth:`close`."""

    def __init__(self, *published: str) -> None:
        self.published = published
        self.asked = 0
        self._keys: dict[str, Ed25519PrivateKey] = {}
        issuer = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked += 1
                body = issuer.document()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self._server.server_port}/keys"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def _key(self, kid: str) -> Ed25519PrivateKey:
        return self._keys.setdefault(kid, Ed25519PrivateKey.generate())

    def document(self) -> bytes:
        """The key set."""
        members = [
            {**OKPAlgorithm.to_jwk(self._key(kid).public_key(), as_dict=True), "kid": kid} for kid in self.published
        ]
        return json.dumps({"keys": members}).encode()

    def token(self, kid: str) -> str:
        """A token that this key has signed."""
        return jwt.encode({"sub": "ann", "exp": time.time() + 300}, self._key(kid), "EdDSA", {"kid": kid})

    def close(self) -> None:
        """Publish nothing any more."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
