"""Instances found by DNS: the addresses of a name, or the targets of a service, looked up again as they expire."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from ipaddress import IPv6Address
from random import random
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, FirstError, gatherResults
from twisted.internet.interfaces import IDelayedCall, IResolver
from twisted.logger import Logger
from twisted.names import dns
from twisted.names.error import DNSNameError
from twisted.python.failure import Failure

from gateway.upstreams.instance import shown

ResultT = TypeVar("ResultT")

MOST: Final = 256
"""Instances of an upstream; of more, the first by priority, address and port are taken."""
SHORTEST: Final = 1.0
"""Seconds until the next look-up, whatever the answers' time to live says."""
LONGEST: Final = 300.0
"""Seconds until the next look-up at the latest."""
JITTER: Final = 0.1
"""The share of the time to the next look-up that it may be later, so that not all gateways ask at once."""
RETRIES: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds until the next look-up after one failed, after two ...; the last one holds from there on."""
TIMEOUT: Final = 60.0
"""Seconds that a look-up may take with all its questions."""
_AT_ONCE: Final = 8
"""Questions of one look-up under way."""
_LOCAL_TTL: Final = 10.0
"""Seconds until the local names are read again."""
_LEAST_WEIGHT: Final = 0.1
"""For a weight of 0: a small chance next to others, an equal one among its like (RFC 2782)."""


class Found(NamedTuple):
    """Where an instance is."""

    address: str
    port: int
    weight: float = 1.0
    priority: int = 0
    """The lowest goes first."""


class Place(NamedTuple):
    """What an upstream's ``discover`` says."""

    name: str
    """What is asked for."""
    service: bool
    """Whether it is a service (SRV), whose answers have ports and weights, or a host (A and AAAA)."""
    tls: bool
    port: int | None
    """Of a host's instances; None: the usual one."""

    @classmethod
    def of(cls, url: str) -> Place:
        """From ``dns://HOST[:PORT]``, ``srv://SERVICE``, or either with ``+https``."""
        parts = urlsplit(url)
        kind, _, secured = parts.scheme.partition("+")
        return cls(parts.hostname or "", kind == "srv", bool(secured), parts.port)

    @property
    def host(self) -> str:
        """The name that instances answer to: of ``_http._tcp.core.internal`` it is ``core.internal``."""
        labels = self.name.split(".")
        while len(labels) > 1 and labels[0].startswith("_"):
            labels.pop(0)
        return ".".join(labels)

    def url(self, found: Found) -> str:
        """What an instance would be called in the configuration, if it were named there."""
        port = found.port if self.service else self.port
        return f"http{'s' * self.tls}://{self.host}{'' if port is None else f':{port}'}"


class Discovery:
    """Keeps the instances of one upstream as DNS has them; while it has none, the last ones stay.

    :param upstream: its name, for the log.
    :param resolver: who is asked.
    :param local: the addresses of a name that is known without asking, as in hosts(5).
    :param reactor: for the time and timers.
    :param changed: called with the instances each time that others, or other weights, were found.
    :ivar resolved: whether any were ever found.
    """

    _log = Logger()

    def __init__(
        self,
        upstream: str,
        place: Place,
        resolver: IResolver,
        local: Callable[[str], Sequence[str]],
        reactor: Any,
        changed: Callable[[list[Found]], None],
    ) -> None:
        self.resolved = False
        self._upstream = upstream
        self._place = place
        self._resolver = resolver
        self._local = local
        self._reactor = reactor
        self._changed = changed
        self._instances: list[Found] = []
        self._answers: dict[tuple[str, int], list[Any]] = {}
        self._failures = 0
        self._running = False
        self._asking: Deferred[None] | None = None
        self._timer: IDelayedCall | None = None

    def start(self) -> None:
        """Look up now, and go on doing so."""
        self._running = True
        self._timer = None
        questions = _Questions(self._resolver, self._local, self._answers)
        self._asking = asking = Deferred.fromCoroutine(self._look_up(questions))
        asking.addTimeout(TIMEOUT, self._reactor)
        asking.addErrback(self._failed)

    def stop(self) -> None:
        """Look up no more."""
        self._running = False
        if self._asking is not None:
            self._asking.cancel()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _look_up(self, questions: _Questions) -> None:
        place = self._place
        found = await (self._targets(questions) if place.service else self._host(questions))
        self._answers = questions.answers
        if found:
            self._take(sorted(found, key=lambda each: (each.priority, *each)))
        else:
            questions.failure = questions.failure or f"{place.name} has no addresses"
        if questions.failure:
            self._later(questions.failure)
            return
        if self._failures:
            self._log.info("{upstream}: {name} is resolved again", upstream=self._upstream, name=place.name)
        self._failures = 0
        self._after(min(max(questions.ttl, SHORTEST), LONGEST))

    async def _host(self, questions: _Questions) -> list[Found]:
        place = self._place
        port = place.port or (443 if place.tls else 80)
        return [Found(address, port) for address in await questions.addresses(place.name)]

    async def _targets(self, questions: _Questions) -> list[Found]:
        """Those of all priorities (RFC 2782); a target's addresses share its weight."""
        targets = sorted(
            (record.priority, _name(record.target), record.port, record.weight)
            for record in await questions.ask(self._place.name, dns.SRV)
            if _name(record.target) and record.port
        )[:MOST]
        several = await _all([questions.addresses(name) for _, name, _, _ in targets])
        found: dict[tuple[str, int], Found] = {}
        for (priority, _, port, weight), addresses in zip(targets, several, strict=True):
            share = max(weight, _LEAST_WEIGHT) / max(len(addresses), 1)
            for address in addresses[:MOST]:
                found.setdefault((address, port), Found(address, port, share, priority))
        return list(found.values())

    def _take(self, found: list[Found]) -> None:
        self.resolved = True
        found, all_found = found[:MOST], len(found)
        if found == self._instances:
            return
        before, now = ({shown(each.address, each.port) for each in several} for several in (self._instances, found))
        self._instances = found
        self._log.info(
            "{upstream}: {count} of {found} instances; joined: {joined}; left: {left}",
            upstream=self._upstream,
            count=len(found),
            found=all_found,
            joined=", ".join(sorted(now - before)) or "none",
            left=", ".join(sorted(before - now)) or "none",
        )
        self._changed(found)

    def _failed(self, failure: Failure) -> None:
        if self._running:
            self._later(_said(failure.value))

    def _later(self, why: str) -> None:
        if not self._failures:
            self._log.warn(
                "{upstream}: {name} could not be resolved, what is known is kept: {why}",
                upstream=self._upstream,
                name=self._place.name,
                why=why,
            )
        self._after(RETRIES[min(self._failures, len(RETRIES) - 1)])
        self._failures += 1

    def _after(self, seconds: float) -> None:
        self._timer = self._reactor.callLater(seconds * (1 + JITTER * random()), self.start)


class _Questions:
    """One look-up: what was asked, how long the answers hold, and what went wrong.

    :param before: the answers of the last look-up, which stand in for those that cannot be had now.
    """

    def __init__(
        self,
        resolver: IResolver,
        local: Callable[[str], Sequence[str]],
        before: dict[tuple[str, int], list[Any]],
    ) -> None:
        self.answers: dict[tuple[str, int], list[Any]] = {}
        self.ttl = LONGEST
        self.failure = ""
        self._resolver = resolver
        self._local = local
        self._before = before
        self._turns = DeferredSemaphore(_AT_ONCE)

    async def addresses(self, name: str) -> list[str]:
        """The addresses of a host."""
        local = self._local(name)
        if local:
            self.ttl = min(self.ttl, _LOCAL_TTL)
            return list(dict.fromkeys(local))
        four, six = await _all([self.ask(name, dns.A), self.ask(name, dns.AAAA)])
        return sorted({record.dottedQuad() for record in four}) + sorted(
            {str(IPv6Address(record.address)) for record in six}
        )

    async def ask(self, name: str, kind: int) -> list[Any]:
        """The records of a name; an answer that fails is taken for the one before it."""
        query: Any = self._resolver.query
        try:
            headers, _, _ = await self._turns.run(query, dns.Query(name, kind))
            self.ttl = min([self.ttl, *(header.ttl for header in headers)])
            records = [header.payload for header in headers if header.type == kind]
        except CancelledError:
            raise
        except DNSNameError:
            records = []
        except Exception as error:
            self.failure = _said(error)
            records = self._before.get((name, kind), [])
        self.answers[name, kind] = records
        return records


async def _all(several: Sequence[Coroutine[Any, Any, ResultT]]) -> list[ResultT]:
    """The results of coroutines that run side by side."""
    try:
        return await gatherResults([Deferred.fromCoroutine(each) for each in several], consumeErrors=True)
    except FirstError as error:  # in which gatherResults wraps the one error there can be
        raise CancelledError from error


def _name(target: dns.Name) -> str:
    """A host in a record; "" for one that says there is none."""
    return target.name.decode("ascii", "replace").rstrip(".")


def _said(error: BaseException | None) -> str:
    return f"{type(error).__name__} {error}".strip()
