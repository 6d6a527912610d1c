"""Bans: what refusals weigh, how long a ban lasts, and whom those in force keep out. Time is in seconds since 1970."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from ipaddress import ip_network
from typing import Final, Literal, NamedTuple

from gateway.core.addresses import Network, Networks, bucket, enclosing, unmapped

Refusal = Literal["401", "403", "429", "malformed", "upstream_401", "upstream_403"]
"""The kinds of refusals: by the gateway itself, malformed requests, and by an upstream."""

WEIGHTS: Final[dict[Refusal, int]] = {
    "401": 1,
    "403": 1,
    "429": 1,
    "malformed": 5,
    "upstream_401": 1,
    "upstream_403": 0,
}
"""What each kind of refusal counts, unless the configuration says otherwise."""

MOST: Final = 65_536
"""Bans that are kept, at most: 30 MB of memory."""

_MALFORMED: Final = (400, 408, 414, 431, 501, 505)
_LONGEST_WHY: Final = 200


class Ban(NamedTuple):
    """Why somebody is kept out, and until when."""

    since: float
    until: float | None
    """None: until it is lifted."""
    why: str
    times: int
    """How many bans there were lately, this one included; 0 when a person made it."""

    def holds(self, now: float) -> bool:
        """Whether it has not ended."""
        return self.until is None or self.until > now

    def dump(self) -> str:
        """As it is written into a record: JSON."""
        return json.dumps(self._asdict(), separators=(",", ":"))

    @classmethod
    def load(cls, text: str, now: float, left: float | None) -> Ban:
        """What a record says that ends in ``left`` seconds, or stays; what is no JSON of ours is the reason itself."""
        try:
            told = json.loads(text)
            since, why, times = float(told["since"]), str(told["why"]), int(told["times"])
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
            since, why, times = now, text, 0
        return cls(since, None if left is None else now + left, why[:_LONGEST_WHY], times)


class Weights:
    """What a refused request counts.

    :param weights: of every kind of refusal.
    """

    def __init__(self, weights: Mapping[Refusal, int]) -> None:
        self._own = {401: weights["401"], 403: weights["403"], 429: weights["429"]}
        self._own |= dict.fromkeys(_MALFORMED, weights["malformed"])
        self._upstream = {401: weights["upstream_401"], 403: weights["upstream_403"]}

    def of(self, status: int, from_upstream: bool) -> int:
        """What an answer with this status counts, given by an upstream or by the gateway itself."""
        return (self._upstream if from_upstream else self._own).get(status, 0)


def ban_time(times: int, first: float, longest: float) -> float:
    """Seconds that the ban number ``times`` lasts, from 1: each twice as long as the one before it."""
    return min(first * 2.0 ** min(times - 1, 64), longest)


def ban_prefix(text: str, ipv6_prefix: int) -> str:
    """Who is banned with ``text``: an IPv4 address alone, an IPv6 address with its subscriber's network, or a network.

    :raises ValueError: when it is neither an address nor a network, or one so wide that it must be a slip.
    """
    if "/" not in text:
        return _spelled(ip_network(bucket(text, ipv6_prefix)))
    network = unmapped(ip_network(text))
    least = 8 if network.version == 4 else 16
    if network.prefixlen < least:
        raise ValueError(f"a network as wide as {network} is not banned; /{least} is the widest")
    return _spelled(network)


class BanList:
    """Bans by whom they keep out: an address costs one look into a dict, however many there are.

    :param exempt: who is never kept out, whatever is banned.
    :param ipv6_prefix: bits of an IPv6 address that stand for its subscriber.
    :param most: bans that are kept; one more, and the one that was put in first is forgotten.
    """

    def __init__(self, exempt: Networks, ipv6_prefix: int, most: int = MOST) -> None:
        self._exempt = exempt
        self._ipv6_prefix = ipv6_prefix
        self._most = most
        self._bans: dict[str, Ban] = {}
        self._widths: Counter[tuple[int, int]] = Counter()  # of networks that the first look does not find

    def __len__(self) -> int:
        return len(self._bans)

    def put(self, prefix: str, ban: Ban) -> None:
        """Ban a network, or the one address that ``prefix`` is.

        :raises ValueError: when it is neither.
        """
        network = ip_network(prefix)
        self.remove(prefix)
        if len(self._bans) >= self._most:
            self.remove(next(iter(self._bans)))
        self._bans[_spelled(network)] = ban
        if (width := self._width(network)) is not None:
            self._widths[width] += 1

    def remove(self, prefix: str) -> None:
        """Lift a ban, if there is one.

        :raises ValueError: when ``prefix`` is no network.
        """
        network = ip_network(prefix)
        if self._bans.pop(_spelled(network), None) is not None and (width := self._width(network)) is not None:
            self._widths[width] -= 1
            self._widths += Counter()  # forgets what is zero

    def _width(self, network: Network) -> tuple[int, int] | None:
        """The bits of IPv4 and IPv6 that :func:`enclosing` is asked for; None where :func:`bucket` is enough."""
        length = network.prefixlen
        if network.version == 4:
            return None if length == 32 else (length, self._ipv6_prefix)
        return None if length == self._ipv6_prefix else (32, length)

    def sweep(self, now: float) -> None:
        """Forget the bans that have ended."""
        for prefix in [prefix for prefix, ban in self._bans.items() if not ban.holds(now)]:
            self.remove(prefix)

    def find(self, address: str, now: float) -> Ban | None:
        """The ban that keeps ``address``, in its normal spelling, out."""
        bans = self._bans
        if not bans:
            return None
        ban = bans.get(bucket(address, self._ipv6_prefix))
        if ban is None or not ban.holds(now):
            for width in self._widths:
                ban = bans.get(enclosing(address, *width))
                if ban is not None and ban.holds(now):
                    break
            else:
                return None
        return None if address in self._exempt else ban


def _spelled(network: Network) -> str:
    return str(network).removesuffix("/32") if network.version == 4 else str(network)
