"""Tests of gateway.config.loading, with what it is made of: source, schema, checks and mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.config import SECURITY_HEADERS, ConfigError, Instance, Settings, load
from gateway.config.schema import Route
from tests.certificates import Authority
from tests.config.keys import public_pem

SECRET = "correct-horse-battery-staple-0123"
PARTS = """
[[upstreams]]
name = "core"
instances = ["http://core:3002"]
[[routes]]
prefix = "/api/users"
upstream = "core"
"""
WRONG = ["server.listen[0]", "server.trusted_proxies", "tls.ca_file"]
GOOD = '[jwt]\nsecret = "${JWT_SECRET}"\n' + PARTS


class _Loading(SynchronousTestCase):
    def load(self, text: str | bytes, **environ: str) -> Settings:
        """The settings of a file with this text."""
        path = Path(self.mktemp())
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load(str(path), {"JWT_SECRET": SECRET, **environ})

    def mistakes(self, text: str | bytes, **environ: str) -> list[str]:
        """What is said about a file, a line a mistake, without the file's name."""
        error = self.assertRaises(ConfigError, self.load, text, **environ)
        said = str(error)
        self.assertNotIn(SECRET, said)
        return [line.partition("temp")[2].removeprefix(": ") for line in said.split("\n")]

    def file(self, content: bytes) -> str:
        path = Path(self.mktemp()).absolute()
        path.write_bytes(content)
        return str(path)


class FileTests(_Loading):
    """The file itself."""

    def test_good(self) -> None:
        """What is written is read, and the rest has its default."""
        loaded = self.load(GOOD + '[server]\nmax_body = "2 MiB"\ndrain = "1m"\n')
        self.assertEqual((loaded.server.max_body, loaded.server.drain), (2 * 2**20, 60))
        self.assertEqual(loaded.server.listen, ("tcp:3000",))
        self.assertEqual(loaded.routes, (Route(prefix="/api/users", upstream="core"),))

    def test_unreadable(self) -> None:
        """A file that is not there, or has no possible name, is said so."""
        for path in ("/nowhere.toml", "a\0b", "/"):
            error = self.assertRaises(ConfigError, load, path, {})
            self.assertIn(f"{path}: cannot be read", str(error))

    def test_syntax(self) -> None:
        """What is no TOML is named with its line."""
        self.assertEqual(self.mistakes("[server]\nlisten = ["), [", line 2: is not valid TOML: Invalid value"])
        self.assertEqual(
            self.mistakes("[server]\nlisten = = 1"), [", line 2, column 10: is not valid TOML: Invalid value"]
        )
        self.assertEqual(self.mistakes(b"\n\n# \xff"), [", line 3: is not UTF-8"])

    def test_monsters(self) -> None:
        """Numbers and nesting beyond measure are mistakes, not crashes."""
        self.assertIn("too long", self.mistakes("a = " + "9" * 5000)[0])
        self.assertIn("nested too deeply", self.mistakes("a = " + "[" * 5000)[0])
        self.assertIn("nested too deeply", self.mistakes("a." * 5000 + "a = 1")[0])
        self.assertEqual(
            self.mistakes("[server]\nmax_fields = 0x" + "f" * 5000 + "\n" + GOOD)[0].split(": ")[:2],
            ["server.max_fields", "a number beyond 64 bits"],
        )


class EnvironmentTests(_Loading):
    """``${VAR}`` in strings."""

    def test_filled_in(self) -> None:
        """Variables stand in strings at any depth; a default stands in for what is unset or empty."""
        text = GOOD.replace("http://core:3002", "${CORE:-http://core:3002}").replace("/api/", "/${A}/${B:-x}-$$/")
        loaded = self.load(text, A="a", B="")
        self.assertEqual(loaded.upstreams[0].instances, (Instance(url="http://core:3002"),))
        self.assertEqual(loaded.routes[0].prefix, "/a/x-$/users")
        self.assertEqual(self.load(text, A="a", CORE="https://c:1").upstreams[0].instances[0].url, "https://c:1")

    def test_numbers(self) -> None:
        """Numbers and truths can come from the environment too."""
        text = GOOD + 'websocket = "${WS}"\n[rate_limit]\ndefault = "${GUESTS}"\n[server]\nworkers = "${WORKERS}"\n'
        loaded = self.load(text, WS="true", GUESTS="7", WORKERS="2")
        self.assertEqual((loaded.routes[0].websocket, loaded.rate_limit.default, loaded.server.workers), (True, 7, 2))

    def test_unset(self) -> None:
        """A variable that is not set is the one mistake of its key."""
        said = self.mistakes(GOOD.replace("JWT_SECRET", "OTHER"))
        self.assertEqual(
            said, ["jwt.secret: the environment variable OTHER is not set: set it, or write ${OTHER:-a default}"]
        )

    def test_empty(self) -> None:
        """A variable that is set and empty is an empty string, judged like one."""
        self.assertEqual(
            self.mistakes(GOOD, JWT_SECRET=""), ["jwt.secret: is missing: HS256 needs secret or secret_file"]
        )

    def test_malformed(self) -> None:
        """A brace that is no variable is a mistake; what a variable holds is not filled in again."""
        self.assertIn("jwt.issuer: a variable is written", self.mistakes("jwt.issuer = '${1}'\n" + PARTS)[0])
        self.assertEqual(self.load(GOOD.replace("[jwt]", "[jwt]\nissuer = '${A}'"), A="${B}").jwt.issuer, "${B}")

    def test_not_text(self) -> None:
        """Bytes of the environment that are no UTF-8 are a mistake."""
        said = self.mistakes(GOOD.replace("[jwt]", "[jwt]\nissuer = '${A}'"), A="caf\udce9")
        self.assertEqual(said, ["jwt.issuer: the environment variable A must be text in UTF-8"])


class MistakeTests(_Loading):
    """What is wrong in one place."""

    def test_all_at_once(self) -> None:
        """Mistakes of the syntax of values, of keys and between tables are named together."""
        said = self.mistakes(
            'port = 1\n[server]\nmax_bdy = 1\ndrain = "soon"\nadmin = "tcp:3000"\n[redis]\non_failure = "panic"\n'
            "[cors]\norigins = ['*']\ncredentials = true\n[jwt]\nsecret = 'short'\n"
            + PARTS
            + "colour = 1\n[[routes]]\nprefix = '/api/users'\nupstream = 'cor'\n[[routes]]\nprefix = '/x/'\n"
        )
        keys = [line.partition(": ")[0] for line in said]
        self.assertEqual(
            sorted(keys),
            sorted([
                "port", "server.max_bdy", "server.drain", "server.admin", "redis.on_failure", "cors.origins",
                "jwt.secret", "routes[0].colour", "routes[1].prefix", "routes[1].upstream", "routes[2].prefix",
                "routes[2].upstream",
            ]),
        )  # fmt: skip
        self.assertIn('server.max_bdy: there is no such key; did you mean "max_body"?', said)
        self.assertIn('redis.on_failure: "panic": must be "local", "open" or "closed"', said)
        self.assertIn('routes[1].upstream: "cor": must be the name of an upstream; did you mean "core"?', said)
        self.assertIn("routes[2].upstream: is missing", said)

    def test_unknown_keys(self) -> None:
        """The keys that a table has are named when none is near; what stands there is not shown."""
        self.assertEqual(
            self.mistakes(GOOD.replace("[[routes]]", "health = { zzz = 'x', pth = 1 }\n[[routes]]")),
            [
                "upstreams[0].health.zzz: there is no such key; known are fall, interval, path, rise, timeout",
                'upstreams[0].health.pth: there is no such key; did you mean "path"?',
            ],
        )
        self.assertIn('"<roles>": there is no such key', self.mistakes('"<roles>" = 1\n' + GOOD)[0])

    def test_kinds_of_values(self) -> None:
        """What stands there is shown as TOML has it, and what must stand there is said."""
        for line, expected in {
            "public_url = 1": "server.public_url: 1: must be a string",
            "listen = 'tcp:1'": 'server.listen: "tcp:1": must be a list',
            "listen = []": "server.listen: []: must be a list with at least one entry",
            "listen = ['tcp:1', 'tcp:1']": 'server.listen: ["tcp:1", "tcp:1"]: must be a list without repetitions; '
            '"tcp:1" is there more than once',
            "max_fields = true": "server.max_fields: true: must be a whole number, 1 or more",
            "public_url = 1979-05-27": "server.public_url: 1979-05-27: must be a string",
            "public_url = {}": "server.public_url: a table: must be a string",
            "public_url = [[1]]": "server.public_url: [a list]: must be a string",
            f"public_url = '{'x' * 200}'": f'server.public_url: "{"x" * 100}...": must be an absolute URL such as '
            '"https://api.example.com", or ""',
        }.items():
            self.assertEqual(self.mistakes(f"{GOOD}\n[server]\n{line}\n"), [expected])
        self.assertEqual(self.mistakes("server = 1\n" + GOOD), ["server: 1: must be a table"])
        self.assertEqual(self.mistakes("upstreams = [1]\nroutes = []\n")[0], "upstreams[0]: 1: must be a table")
        self.assertIn("routes[0].websocket: 3: must be true or false", self.mistakes(GOOD + "websocket = 3\n"))

    def test_nothing_to_do(self) -> None:
        """A gateway without upstreams or routes is a mistake."""
        self.assertEqual(self.mistakes(""), ["upstreams: is missing", "routes: is missing"])
        self.assertIn(
            "routes: []: must be a list with at least one entry", self.mistakes("routes = []\nupstreams = []")
        )

    def test_odd_keys(self) -> None:
        """A key that TOML has to quote is quoted."""
        self.assertIn(
            'rate_limit.roles."a b": "a b": must be a name', self.mistakes(GOOD + '[rate_limit.roles]\n"a b" = 1')[0]
        )


class CrossCheckTests(_Loading):
    """What is wrong between two places."""

    def test_names(self) -> None:
        """Upstreams have different names, routes different prefixes."""
        self.assertEqual(
            self.mistakes(GOOD + PARTS),
            [
                'upstreams[1].name: "core": must differ from upstreams[0].name',
                'routes[1].prefix: "/api/users": must differ from routes[0].prefix',
            ],
        )

    def test_instances(self) -> None:
        """An instance is a URL, or a table that says more."""
        named = '["http://a:1", { url = "http://b:2", weight = 3 }]'
        loaded = self.load(GOOD.replace('["http://core:3002"]', named)).upstreams[0].instances
        self.assertEqual(loaded, (Instance(url="http://a:1"), Instance(url="http://b:2", weight=3)))
        for wrong, expected in (
            ('["a"]', 'instances[0]: "a": must be http://host:port or https://host:port, without user, path or query'),
            ("[1]", 'instances[0]: 1: must be a URL such as "http://core:3002", or a table of url and weight'),
            ("[{ weight = 2 }]", "instances[0].url: is missing"),
            ('[{ url = "http://a", weigth = 2 }]', 'instances[0].weigth: there is no such key; did you mean "weight"?'),
            ('[{ url = "http://a", weight = 0 }]', "instances[0].weight: 0: must be a whole number from 1 to 1000"),
            (
                '["http://a", { url = "http://a" }]',
                'must be a list without repetitions; "http://a" is there more than once',
            ),
        ):
            (said,) = self.mistakes(GOOD.replace('["http://core:3002"]', wrong))
            self.assertTrue(said.startswith("upstreams[0].") and said.endswith(expected), said)

    def test_instances_or_discover(self) -> None:
        """Instances are named or discovered: one of both."""
        line, discover = 'instances = ["http://core:3002"]', 'discover = "dns://core:3002"'
        self.assertEqual(self.load(GOOD.replace(line, discover)).upstreams[0].discover, "dns://core:3002")
        right = "must name an instance, unless discover says where they are"
        self.assertEqual(self.mistakes(GOOD.replace(line, "")), [f"upstreams[0].instances: {right}"])
        self.assertEqual(self.mistakes(GOOD.replace(line, "instances = []")), [f"upstreams[0].instances: []: {right}"])
        both = 'upstreams[0].discover: "dns://core:3002": must be left out where instances are named'
        self.assertEqual(self.mistakes(GOOD.replace(line, f"{line}\n{discover}")), [both])

    def test_hash_on(self) -> None:
        """Is there when it is needed, and then alone."""
        for key in ("client", "user", "header:X-Tenant", "cookie:sid"):
            good = GOOD.replace("[[routes]]", f'balance = "hash"\nhash_on = "{key}"\n[[routes]]')
            self.assertEqual(self.load(good).upstreams[0].hash_on, key)
        known = '"client", "user", "header:NAME" or "cookie:NAME"'
        for lines, expected in (
            ('balance = "hash"', f'is missing: balance = "hash" needs {known}'),
            ('hash_on = "user"', '"user": must be left out without balance = "hash"'),
            ('balance = "hash"\nhash_on = "address"', f'"address": must be {known}'),
            ('balance = "hash"\nhash_on = "header:"', '"header:": must be "header:" and the name of a header'),
            ('balance = "hash"\nhash_on = "cookie:a b"', '"cookie:a b": must be "cookie:" and the name of a cookie'),
        ):
            said = self.mistakes(GOOD.replace("[[routes]]", f"{lines}\n[[routes]]"))
            self.assertEqual(said, [f"upstreams[0].hash_on: {expected}"])

    def test_many_upstreams(self) -> None:
        """Of many names, some are given."""
        many = "".join(f'[[upstreams]]\nname = "u{index:02}"\ninstances = ["http://u:1"]\n' for index in range(30))
        said = self.mistakes(many + GOOD.replace('upstream = "core"', 'upstream = "zzz"'))
        self.assertIn("u18, ...", said[0])
        self.assertNotIn("u20", said[0])

    def test_roles(self) -> None:
        """Roles of routes are those of the rate limit, where it has any; a list, or lists by method."""
        roles = "[rate_limit.roles]\nuser = 60\n"
        self.assertEqual(self.load(roles + GOOD + "roles = ['user']").routes[0].roles, ("user",))
        self.assertEqual(self.load(GOOD + "roles = ['usr']").routes[0].roles, ("usr",))
        by_method = self.load(roles + GOOD + "roles = { GET = ['user'], '*' = ['user'] }").routes[0].roles
        self.assertEqual(by_method, {"GET": ("user",), "*": ("user",)})
        self.assertEqual(
            self.mistakes(roles + GOOD + "roles = { GET = ['usr'], POST = 1, put = ['user'], HEAD = [1] }"),
            [
                "routes[0].roles.POST: 1: must be a list",
                'routes[0].roles.put: "put": must be a request method in upper case, such as GET',
                "routes[0].roles.HEAD[0]: 1: must be a string",
                'routes[0].roles.GET[0]: "usr": must be a role of rate_limit.roles; did you mean "user"?',
            ],
        )

    def test_roles_without_tokens(self) -> None:
        """A route that asks for no token cannot ask for a role."""
        self.assertIn("routes[0].auth", self.mistakes(PARTS + "auth = 'none'\nroles = ['user']")[0])

    def test_upstream_headers(self) -> None:
        """Only security headers can be left to an upstream: the defaults, and those the file adds."""
        extra = '[security_headers]\n"Permissions-Policy" = "camera=()"\n'
        good = extra + GOOD + "upstream_headers = ['permissions-policy', 'X-Frame-Options']"
        self.assertEqual(self.load(good).routes[0].upstream_headers, ("permissions-policy", "X-Frame-Options"))
        said = self.mistakes(GOOD + "upstream_headers = ['X-Frame-Option', 1, 'a b']")
        self.assertEqual(len(said), 3)
        self.assertIn('did you mean "x-frame-options"?', said[2])

    def test_memory(self) -> None:
        """What is kept in one process cannot be shared by several."""
        memory = GOOD + "[redis]\nurl = 'memory:'\n[server]\nworkers = "
        self.assertIn("server.workers: 2: must be 0 or 1", self.mistakes(memory + "2")[0])
        self.assertEqual(self.load(memory + "'auto'").redis.url, "memory:")

    def test_bans(self) -> None:
        """The longest ban is no shorter than the first, and weights are those of refusals there are."""
        self.assertEqual(
            self.mistakes(GOOD + '[bans]\ntime = "2h"\nmax_time = "1h"\n'),
            ["bans.max_time: 3600.0: must be bans.time or more: 7200 s"],
        )
        said = self.mistakes(GOOD + "[bans]\nweights = { 404 = 1 }\n")
        self.assertEqual(len(said), 1)
        self.assertIn("upstream_401", said[0])
        weights = self.load(GOOD + "[bans]\nweights = { 401 = 3 }\n").bans.weights
        self.assertEqual((weights["401"], weights["malformed"]), (3, 5))

    def test_cors(self) -> None:
        """Credentials are for pages that are named."""
        cors = GOOD + "[cors]\norigins = ['*']\ncredentials = "
        self.assertIn("cors.origins", self.mistakes(cors + "true")[0])
        self.assertEqual(self.load(cors + "false").cors.origins, ("*",))

    def test_admin(self) -> None:
        """The admin port is another one."""
        self.assertIn("server.admin", self.mistakes(GOOD + "[server]\nadmin = 'tcp:3000'")[0])
        self.assertEqual(self.load(GOOD + "[server]\nadmin = ''").server.admin, "")


class ListenerTests(_Loading):
    """What listeners need of other tables."""

    def setUp(self) -> None:
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        (directory / "a.pem").write_bytes(Authority("servers").certificate("a"))
        self.tls = f'[server]\nlisten = ["tcp:3000", "tls:{directory}:443"]\n'
        self.clients = self.file(Authority("clients").pem)

    def test_certificates_of_clients(self) -> None:
        """Clients are asked for them where there is TLS and somebody who issues them."""
        asked = f'[tls]\nclient_auth = "required"\nca_file = "{self.clients}"\n'
        self.assertEqual(self.load(GOOD + self.tls + asked).tls.client_auth, "required")
        (said,) = self.mistakes(GOOD + asked)
        self.assertIn('tls.client_auth: "required": must be "none" where no endpoint', said)
        (said,) = self.mistakes(GOOD + self.tls + '[tls]\nclient_auth = "optional"')
        self.assertIn("tls.ca_file: is missing", said)

    def test_one_mistake_each(self) -> None:
        """What is wrong by itself is not said twice."""
        wrong = '[server]\nlisten = ["tls:/nowhere:443"]\ntrusted_proxies = "x"\n[tls]\nclient_auth = "optional"\n'
        said = self.mistakes(GOOD + wrong + 'ca_file = "/nowhere"')
        self.assertEqual([line.partition(":")[0] for line in said], WRONG)

    def test_proxies(self) -> None:
        """A listener for proxies needs to know them, unless they come by a Unix socket."""
        proxied = '[server]\nlisten = ["haproxy:tcp:3000"]\n'
        self.assertIn("server.trusted_proxies: []: must name the proxies", self.mistakes(GOOD + proxied)[0])
        self.load(GOOD + proxied + 'trusted_proxies = ["10.0.0.0/8"]')
        self.load(GOOD + proxied.replace("tcp:3000", "unix:/run/x.sock"))


class KeyTests(_Loading):
    """What tokens are verified with."""

    def jwt(self, **keys: object) -> str:
        return "[jwt]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items()) + PARTS

    def test_lengths(self) -> None:
        """A secret has at least as many bytes as RFC 7518 section 3.2 asks for the longest algorithm."""
        for algorithms, needed in ((["HS256"], 32), (["HS384"], 48), (["HS256", "HS512"], 64)):
            long, short = "ä" * (needed // 2), "x" * (needed - 1)
            self.assertEqual(self.load(self.jwt(algorithms=algorithms, secret=long)).jwt.key(), long.encode())
            said = self.mistakes(self.jwt(algorithms=algorithms, secret=short))
            self.assertIn(f"jwt.secret: (not shown): must be a secret of {needed} bytes or more", said[0])
            self.assertNotIn(short, said[0])

    def test_secret_files(self) -> None:
        """A secret may stand in a file, where a line break ends it."""
        path = self.file(SECRET.encode() + b"\r\n")
        self.assertEqual(self.load(self.jwt(secret_file=path)).jwt.key(), SECRET.encode())
        self.assertIn("jwt.secret_file", self.mistakes(self.jwt(secret_file=self.file(b"short\n")))[0])
        self.assertIn("No such file", self.mistakes(self.jwt(secret_file="/nowhere"))[0])

    def test_no_key_needed(self) -> None:
        """Where no route takes tokens, nothing verifies them; a secret that is there is still a good one."""
        loaded = self.load(PARTS + "auth = 'none'")
        self.assertEqual(loaded.jwt.key(), b"")
        self.assertIn("jwt.secret", self.mistakes(self.jwt(secret="short") + "auth = 'none'")[0])
        no_key = self.load(self.jwt(algorithms=["ES256"]) + "auth = 'none'")
        self.assertEqual((no_key.jwt.symmetric, no_key.jwt.key()), (False, b""))

    def test_public_keys(self) -> None:
        """A public key fits every algorithm: its kind, its size, its curve."""
        rsa_key = rsa.generate_private_key(65537, 2048)
        keys = {
            ("RS256", "PS512"): rsa_key,
            ("ES256",): ec.generate_private_key(ec.SECP256R1()),
            ("ES384",): ec.generate_private_key(ec.SECP384R1()),
            ("EdDSA",): ed25519.Ed25519PrivateKey.generate(),
        }
        for algorithms, right in keys.items():
            for key in keys.values():
                text = self.jwt(algorithms=algorithms, public_key_file=self.file(public_pem(key)))
                if right is key:
                    self.assertEqual(self.load(text).jwt.key(), public_pem(key))
                else:
                    self.assertIn("must be a key for", self.mistakes(text)[0])
        small = self.file(public_pem(rsa.generate_private_key(65537, 1024)))
        self.assertIn("2048 bits", self.mistakes(self.jwt(algorithms=["RS256"], public_key_file=small))[0])
        for content in (b"", SECRET.encode()):
            text = self.jwt(algorithms=["ES256"], public_key_file=self.file(content))
            self.assertIn("must be a PEM file of a public key", self.mistakes(text)[0])

    def test_confusion(self) -> None:
        """Algorithms of two kinds, keys of the other kind, two keys and ``none`` are refused (RFC 8725 section 3.1)."""
        mixed = self.mistakes(self.jwt(algorithms=["HS256", "RS256"], secret=SECRET))
        self.assertIn("must not be mixed", mixed[0])
        self.assertIn("must be one of", self.mistakes(self.jwt(algorithms=["none"]))[0])
        other = self.mistakes(self.jwt(algorithms=["ES256"], secret=SECRET))
        self.assertEqual(
            other,
            [
                "jwt.secret: must be left out: ES256 needs public_key_file or jwks_url",
                "jwt.public_key_file: is missing: ES256 needs public_key_file or jwks_url",
            ],
        )
        two = self.mistakes(self.jwt(secret=SECRET, secret_file="/x"))
        self.assertIn("jwt.secret_file: must be left out where secret is given", two[0])

    def test_published_keys(self) -> None:
        """A key set's URL is judged, and takes the place of a key."""
        said = self.mistakes(self.jwt(algorithms=["RS256"], jwks_url="http://id.example.com/k"))
        self.assertIn("must be an https:// URL", said[0])
        loaded = self.load(self.jwt(algorithms=["RS256"], jwks_url="https://id.example.com/k"))
        self.assertEqual(loaded.jwt.key(), b"")


class SecretTests(_Loading):
    """What nobody gets to see."""

    def test_repr(self) -> None:
        """Neither the secret nor the password of Redis is in the repr of the settings."""
        loaded = self.load(GOOD + "[redis]\nurl = 'redis://:hunter2@h'")
        self.assertEqual(loaded.jwt.key(), SECRET.encode())
        for hidden in (SECRET, "hunter2"):
            self.assertNotIn(hidden, repr(loaded) + str(loaded))

    def test_passwords(self) -> None:
        """A URL with a password is not shown."""
        self.assertNotIn("hunter2", str(self.mistakes(GOOD + "[redis]\nurl = 'redis://:hunter2@h:x'")))

    def test_misplaced(self) -> None:
        """A secret in the wrong place is not shown there either."""
        for line in ("secret_file", "algorithms", "leeway", "jwks_url"):
            said = self.mistakes(f"[jwt]\n{line} = '${{JWT_SECRET}}'\n" + PARTS)
            self.assertIn(f"jwt.{line}", said[0])
        for value in (f"['{SECRET}']", f"{{ a = '{SECRET}' }}"):
            self.assertIn("jwt.secret: (not shown)", self.mistakes(f"[jwt]\nsecret = {value}\n" + PARTS)[0])

    def test_no_cause(self) -> None:
        """A traceback of the error shows nothing more."""
        error = self.assertRaises(ConfigError, self.load, "[jwt]\nsecret = ['x']")
        self.assertTrue(error.__suppress_context__ or error.__context__ is None)


class SecurityHeaderTests(_Loading):
    """The fields of every answer."""

    def test_merged(self) -> None:
        """Configured fields stand over the defaults, whatever their case; an empty one drops a default."""
        self.assertEqual(self.load(GOOD).security_lines(), SECURITY_HEADERS)
        text = GOOD + '[security_headers]\nx-frame-options = "DENY"\nX-XSS-Protection = ""\nX-New = "1"\n'
        lines = self.load(text).security_lines()
        self.assertEqual((lines["x-frame-options"], lines["X-New"]), ("DENY", "1"))
        self.assertNotIn("X-Frame-Options", lines)
        self.assertNotIn("X-XSS-Protection", lines)

    def test_refused(self) -> None:
        """A field that would break the answer is refused."""
        text = GOOD + '[security_headers]\n"X A" = "1"\nX-B = "a\\r\\nSet-Cookie: b"\nContent-Length = "1"\n'
        self.assertEqual(len(self.mistakes(text)), 3)


class PlatformTests(SynchronousTestCase):
    """etc/smartgate.toml."""

    path = str(Path(__file__).parents[2] / "etc" / "smartgate.toml")

    def test_the_platform(self) -> None:
        """The specification's routes lead to its services, on its port."""
        loaded = load(self.path, {"JWT_SECRET": SECRET})
        instances = {upstream.name: upstream.instances for upstream in loaded.upstreams}
        self.assertEqual(
            {
                route.prefix: (instances[route.upstream][0].url, route.strip_prefix, route.auth)
                for route in loaded.routes
            },
            {
                "/api/auth": ("http://auth-service:3001", True, "none"),
                "/api/users": ("http://core-service:3002", False, "required"),
                "/api/credits": ("http://core-service:3002", False, "required"),
                "/api/mcp": ("http://mcp-server:3003", False, "required"),
                "/api/ws": ("http://mcp-server:3003", False, "required"),
            },
        )
        self.assertEqual([route.prefix for route in loaded.routes if route.websocket], ["/api/ws"])
        self.assertEqual((loaded.server.listen, loaded.access_log.path), (("tcp:3000",), "-"))
        self.assertEqual(loaded.rate_limit.roles, {"admin": None, "manager": 120, "user": 60})
        self.assertEqual((loaded.rate_limit.default, loaded.rate_limit.window), (10, 60))

    def test_environment(self) -> None:
        """The environment changes where things are."""
        environ = {"JWT_SECRET": SECRET, "PORT": "8080", "REDIS_URL": "memory:", "CORE_SERVICE_URL": "https://core:1"}
        loaded = load(self.path, environ)
        self.assertEqual((loaded.server.listen, loaded.redis.url), (("tcp:8080",), "memory:"))
        self.assertEqual(loaded.upstreams[1].instances[0].url, "https://core:1")

    def test_no_secret(self) -> None:
        """Without a secret it does not start."""
        self.assertIn("JWT_SECRET is not set", str(self.assertRaises(ConfigError, load, self.path, {})))


_LEAVES = st.one_of(
    st.booleans(), st.integers(), st.floats(), st.text(max_size=8).map(lambda text: text.replace("\0", "")),
    st.sampled_from(["5s", "10 MiB", "/a", "core", "tcp:1", "HS256", "*", "none", "unlimited", "http://a:1"]),
    st.sampled_from(["${JWT_SECRET}", "${NOPE}", "${", "memory:", "redis://:p@h:1/0"]),
)  # fmt: skip
_KEYS = st.one_of(
    st.sampled_from([
        *Settings.model_fields, *Route.model_fields, "secret", "algorithms", "listen", "name", "instances", "health",
        "discover", "balance", "hash_on", "weight",
        "origins", "credentials", "roles", "url", "timeout", "GET", "", "<roles>", "[key]",
    ]),
    st.text(max_size=4),
)  # fmt: skip
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_KEYS, inner, max_size=4)),
    max_leaves=8,
)
_TABLES = st.dictionaries(_KEYS, _VALUES, max_size=4)
_FILES = st.fixed_dictionaries(
    {},
    optional={
        **{key: _TABLES for key in Settings.model_fields if key not in ("upstreams", "routes")},
        "upstreams": st.lists(_TABLES, max_size=3),
        "routes": st.lists(_TABLES, max_size=3),
        "jwt": st.fixed_dictionaries(
            {"secret": st.one_of(st.just(SECRET), _VALUES)}, optional={"algorithms": _VALUES, "leeway": _VALUES}
        ),
        "odd": _VALUES,
    },
)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    return str(value).lower()


class AnythingTests(_Loading):
    """Files that nobody would write."""

    @settings(max_examples=40)
    @given(_FILES)
    def test_any_table(self, tables: dict[str, Any]) -> None:
        """Whatever the tables are, they load or every mistake is named; the secret is never among the words."""
        try:
            self.load("".join(f"{key} = {_toml(value)}\n" for key, value in tables.items()))
        except ConfigError as error:
            self.assertNotIn("is not valid TOML", str(error))
            self.assertNotIn(SECRET, str(error))
            str(error).encode()

    @given(st.sampled_from([*Route.model_fields]), _VALUES)
    def test_any_value_of_a_route(self, key: str, value: Any) -> None:
        """One odd value in a good file loads, or is named with its key."""
        good = GOOD if key not in ("prefix", "upstream") else GOOD.replace(f"\n{key} = ", f"\nold_{key} = ")
        try:
            self.load(good + f"{key} = {_toml(value)}\n")
        except ConfigError as error:
            self.assertIn("routes[0].", str(error))

    @given(st.binary(max_size=40))
    def test_any_bytes(self, content: bytes) -> None:
        """Whatever the bytes are, there is an answer."""
        self.assertRaises(ConfigError, self.load, content)
