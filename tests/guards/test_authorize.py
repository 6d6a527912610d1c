"""Tests of gateway.guards.authorize."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from gateway.core.errors import Forbidden, MethodNotAllowed, Unauthorized
from gateway.core.tokens import Claims
from gateway.guards.authorize import AuthorizeGuard
from gateway.interfaces import IGuard


class FakeRequest:
    """What the guard looks at."""

    def __init__(self, role: str, method: bytes) -> None:
        self.role = role
        self.method = method
        self.claims = Claims("ann", role, "", 0.0, 1.0) if role else None


class AuthorizeTests(SynchronousTestCase):
    """Methods and roles of a route."""

    def check(self, guard: AuthorizeGuard, role: str, method: bytes = b"GET") -> None:
        request: Any = FakeRequest(role, method)
        guard.check(request)

    def test_interface(self) -> None:
        """It is a guard."""
        guard = AuthorizeGuard(None)
        self.assertTrue(verifyObject(IGuard, guard))
        self.assertEqual(guard.name, "authorize")

    def test_everybody(self) -> None:
        """Where nothing is said, everybody may do everything."""
        for role in ("", "user", "admin"):
            self.check(AuthorizeGuard(None), role, b"BREW")

    def test_roles(self) -> None:
        """The named roles may, exactly as they are named."""
        guard = AuthorizeGuard(("user", "admin"))
        self.check(guard, "user")
        self.check(guard, "admin", b"DELETE")
        for role in ("manager", "Admin", "use", "user "):
            self.assertRaises(Forbidden, self.check, guard, role)

    def test_nobody(self) -> None:
        """An empty list of roles lets nobody pass."""
        self.assertRaises(Forbidden, self.check, AuthorizeGuard(()), "admin")
        self.assertRaises(Forbidden, self.check, AuthorizeGuard({}), "admin")

    def test_guests(self) -> None:
        """A guest who may not is asked for a token."""
        error = self.assertRaises(Unauthorized, self.check, AuthorizeGuard(("user",)), "")
        self.assertEqual(error.fields, (b"WWW-Authenticate: Bearer\r\n",))

    def test_table(self) -> None:
        """Roles by method, with * for the methods that are not named."""
        guard = AuthorizeGuard({"GET": ("user", "admin"), "DELETE": (), "*": ("admin",)})
        self.check(guard, "user")
        self.check(guard, "admin", b"POST")
        self.assertRaises(Forbidden, self.check, guard, "user", b"POST")
        self.assertRaises(Forbidden, self.check, guard, "admin", b"DELETE")
        self.assertRaises(Forbidden, self.check, guard, "user", b"get")

    def test_table_without_others(self) -> None:
        """A method that the table does not name is nobody's."""
        guard = AuthorizeGuard({"GET": ("user",)})
        self.check(guard, "user")
        self.assertRaises(Forbidden, self.check, guard, "user", b"POST")
        self.assertRaises(Forbidden, self.check, guard, "user", b"*")

    def test_head_follows_get(self) -> None:
        """HEAD is allowed to whom GET is, unless it is named."""
        guard = AuthorizeGuard({"GET": ("user",), "*": ("admin",)}, ["GET"])
        self.check(guard, "user", b"HEAD")
        self.assertRaises(Forbidden, self.check, guard, "admin", b"HEAD")
        self.check(AuthorizeGuard({"GET": ("user",), "HEAD": ("admin",)}), "admin", b"HEAD")

    def test_methods(self) -> None:
        """Other methods than the route's are refused before the role is looked at, with those that would do."""
        guard = AuthorizeGuard(("admin",), ["GET", "POST"])
        error = self.assertRaises(MethodNotAllowed, self.check, guard, "", b"PUT")
        self.assertEqual(error.fields, (b"Allow: GET, POST, HEAD\r\n",))
        self.check(guard, "admin", b"POST")
        self.assertRaises(MethodNotAllowed, self.check, AuthorizeGuard(None, ["POST"]), "admin", b"HEAD")
        self.check(AuthorizeGuard(None, ["HEAD", "GET"]), "", b"HEAD")
