"""Paths: what is matched is what is forwarded, and no spelling of one leads around its guards."""

from __future__ import annotations

from tests.integration.conformance.case import WireTestCase, head, token


class NormalFormTests(WireTestCase):
    """RFC 3986 section 6.2.2."""

    def test_what_is_forwarded(self) -> None:
        """Unreserved escapes are decoded, others upper case, dot segments removed; the query stays as it is."""
        for sent, expected in {
            "/open": "/open",
            "/open/": "/open/",
            "/open/%7euser%2d1": "/open/~user-1",
            "/%6Fpen/x": "/open/x",
            "/open/%c3%a9%3a": "/open/%C3%A9%3A",
            "/open/a/./b/../c": "/open/a/c",
            "/open/a/%2e%2E/c": "/open/c",
            "/open/a/%2e": "/open/a/",
            "/open/a/..": "/open/",
            "/x/../open": "/open",
            "/../../open": "/open",
            "/open/a//b": "/open/a//b",
            "/open/a;b=c": "/open/a;b=c",
            "/open/...": "/open/...",
            "/open/%252e%252e/x": "/open/%252e%252e/x",
            "/open?q=%2e%2E/../%2f&r=//": "/open?q=%2e%2E/../%2f&r=//",
            "/open/a?": "/open/a",
        }.items():
            self.assertForwarded(expected, head(sent))

    def test_stripped_routes_forward_the_rest(self) -> None:
        """What is left after the prefix, in its normal form; ``/`` when nothing is."""
        for sent, expected in {
            "/api/auth": "/",
            "/api/auth/": "/",
            "/api/auth?x=1": "/?x=1",
            "/api/auth/login": "/login",
            "/api/%61uth/%6cogin": "/login",
            "/api/users/../auth/login": "/login",
            "/api/auth/a/../b": "/b",
            "/api/auth/a//b": "/a//b",
        }.items():
            self.assertForwarded(expected, head(sent))

    def test_what_has_no_normal_form(self) -> None:
        """Broken escapes, fragments, backslashes and dot segments with parameters are 400."""
        for path in (
            "/open/%",
            "/open/%2",
            "/open/%zz",
            "/open/#x",
            "/open/\\x",
            "/open/..;/x",
            "/open/.;a=b/x",
            "/open/..%3Bx/y",
        ):
            self.assertRefused(400, head(path))


class CrossingTests(WireTestCase):
    """From an open route to a guarded one."""

    def test_dot_segments_lead_to_the_guard(self) -> None:
        """Whatever their spelling, they are gone before a route is looked for."""
        for path in (
            "/api/auth/../users",
            "/api/auth/%2e%2e/users",
            "/api/auth/.%2E/users",
            "/api/auth/x/../../users",
            "/open/../api/users",
            "/api/./users",
            "/api%2e/../api/users",
            "/%61pi/%75sers",
        ):
            self.assertEqual(self.ask(head(path)).status, 401, path)
        self.assertEqual(self.origin.received, [])

    def test_near_misses_are_no_route(self) -> None:
        """Prefixes match whole segments, in their case, and empty segments are segments."""
        for path in (
            "/api%2e/users",
            "//api/users",
            "/api//users",
            "/api%2Fusers",
            "/API/users",
            "/api/usersx",
            "/opens",
        ):
            self.assertEqual(self.ask(head(path)).status, 404, path)
        self.assertEqual(self.origin.received, [])

    def test_hidden_separators_on_stripped_routes(self) -> None:
        """An encoded slash, backslash or NUL, or an empty segment where the prefix was, is 400."""
        for path in (
            "/api/auth/a%2Fb",
            "/api/auth/a%2fb",
            "/api/auth%2F/x",
            "/api/auth/%5Cx",
            "/api/auth/%5cx",
            "/api/auth/x%00",
            "/api/auth//x",
            "/api/auth/x/..//y",
            "/api/auth/..%2fusers",
            "/api/auth/%2e%2e%5cusers",
        ):
            self.assertIn(self.ask(head(path)).status, (400, 404), path)
        self.assertEqual(self.origin.received, [])

    def test_hidden_dot_segments_on_any_route(self) -> None:
        """A path that an origin could decode into another guard's is 400, on routes that keep their prefix too."""
        for path in (
            "/api/users/..%2Fadmin",
            "/api/users/%2e%2e%2fadmin",
            "/api/users/x%2F..%2F..%2Fadmin",
            "/api/users/..%5Cadmin",
            "/api/users/x%5c../admin",
            "/api/users/.%2F",
            "/api/users/x%00",
        ):
            self.assertRefused(400, head(path, token()))
        self.assertForwarded("/api/users/group%2Fproject", head("/api/users/group%2fproject", token()))
