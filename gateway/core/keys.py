"""The keys that access tokens are verified with: each is good for the algorithms it was given for, and no others."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt import PyJWK, PyJWS, PyJWTError

SYMMETRIC: Final = ("HS256", "HS384", "HS512")
ASYMMETRIC: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
MAX_KEYS: Final = 64
"""How many keys of a published set are looked at."""

_JWS: Final = PyJWS()


@dataclass(frozen=True, slots=True)
class Key:
    """One key, and what it may verify."""

    id: str | None
    """The ``kid`` it was published under, ``""`` when under none; None for a key of the configuration, which verifies
    tokens whatever ``kid`` they name."""
    algorithms: frozenset[str]
    material: Any
    """What PyJWT takes: the secret's bytes, or a public key of the ``cryptography`` package."""


def configured_key(key: bytes, algorithms: Iterable[str]) -> Key:
    """The shared secret, or the public key in PEM, that the configuration names for ``algorithms``.

    :raises ValueError: when the key fits none of them, because it is of another kind, or too short
        (RFC 7518 sections 3.2 to 3.5).
    """
    wanted = frozenset(algorithms)
    fitting = frozenset(name for name in wanted.intersection(SYMMETRIC) if _fits(key, name))
    material: Any = key
    if not fitting and wanted.intersection(ASYMMETRIC):
        try:
            material = load_pem_public_key(key)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ValueError("not a public key in PEM") from error
        fitting = frozenset(name for name in wanted.intersection(ASYMMETRIC) if _fits(material, name))
    if not fitting:
        raise ValueError(f"the key is of the wrong kind or too short for {', '.join(sorted(wanted))}")
    return Key(None, fitting, material)


def published_keys(document: bytes, algorithms: Iterable[str]) -> tuple[Key, ...]:
    """The public signature keys in a JWK set (RFC 7517 section 5) that fit some of ``algorithms``.

    Keys for encryption, private and shared ones, those of unknown kinds and those too short are passed over.

    :raises ValueError: when it is no JWK set, or none of its keys can be used.
    """
    try:
        members = json.loads(document)["keys"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError("not a JWK set") from None
    if not isinstance(members, list):
        raise ValueError("not a JWK set")
    wanted = frozenset(algorithms).intersection(ASYMMETRIC)
    keys = tuple(key for member in members[:MAX_KEYS] if (key := _published_key(member, wanted)) is not None)
    if not keys:
        raise ValueError("a JWK set without a key that can be used")
    return keys


def _published_key(member: Any, wanted: frozenset[str]) -> Key | None:
    if not isinstance(member, dict) or "d" in member or "k" in member:
        return None
    key_id, operations = member.get("kid", ""), member.get("key_ops", ["verify"])
    if (
        not isinstance(key_id, str)
        or member.get("use", "sig") != "sig"
        or not isinstance(operations, list)
        or "verify" not in operations
    ):
        return None
    stated = member.get("alg")
    for name in sorted(wanted) if stated is None else [stated]:
        if name not in ASYMMETRIC:
            return None
        try:
            material = PyJWK.from_dict(member, algorithm=name).key
        except (PyJWTError, ValueError, TypeError, UnsupportedAlgorithm):
            continue
        allowed = wanted if stated is None else wanted.intersection([stated])
        fitting = frozenset(each for each in allowed if _fits(material, each))
        return Key(key_id, fitting, material) if fitting else None
    return None


def _fits(material: Any, algorithm: str) -> bool:
    """Whether the key is of the algorithm's kind and curve, and as long as it asks for."""
    rules = _JWS.get_algorithm_by_name(algorithm)
    try:
        return rules.check_key_length(rules.prepare_key(material)) is None
    except (PyJWTError, TypeError, ValueError):
        return False
